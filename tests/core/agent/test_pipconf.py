"""What pip is set up for counts where uv builds, unless uv is set up itself."""

import os

import pytest

from drawbar.agent import pipconf


@pytest.fixture
def host(tmp_path):
    """A host whose pip.conf names an index of the team's own."""
    folder = tmp_path / ".config" / "pip"
    folder.mkdir(parents=True)
    (folder / "pip.conf").write_text(
        "[global]\nindex-url = https://me:p%40ss@index.site/simple\nextra-index-url =\n  https://a.site/simple\n"
        "  https://b.site/simple\nfind-links = /opt/wheels\ncert = /etc/own.pem\n[install]\nno-index = false\n"
    )
    return {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "nowhere")}


def test_uv_uses_the_index_that_pip_is_set_up_for(host):
    """On a host behind a firewall uv would ask the public index, and fail."""
    variables, options = pipconf.for_uv(host)
    assert options == []
    assert variables == {
        "UV_INDEX_URL": "https://me:p%40ss@index.site/simple",
        "UV_EXTRA_INDEX_URL": "https://a.site/simple https://b.site/simple",
        "UV_FIND_LINKS": "/opt/wheels",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/etc/own.pem",
    }


def test_a_variable_counts_more_than_a_file(host):
    """PIP_INDEX_URL would be passed over."""
    more = {"PIP_INDEX_URL": "https://c.site/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_NO_INDEX": "1"}
    variables, options = pipconf.for_uv({**host, **more})
    assert variables["UV_INDEX_URL"] == "https://c.site/simple"
    assert "UV_EXTRA_INDEX_URL" not in variables
    assert options == ["--no-index"]


def test_what_uv_is_told_itself_is_left_alone(host, tmp_path):
    """A uv.toml or UV_INDEX_URL would be overruled by an old pip.conf."""
    assert pipconf.for_uv({**host, "UV_INDEX_URL": "https://d.site/simple"}) == ({}, [])
    (tmp_path / ".config" / "uv").mkdir()
    (tmp_path / ".config" / "uv" / "uv.toml").write_text("")
    assert pipconf.for_uv(host) == ({}, [])


def test_a_file_that_cannot_be_read_is_passed_over(host, tmp_path):
    """A typo in a file that uv does not need would keep every Env from being built."""
    (tmp_path / ".config" / "pip" / "pip.conf").write_text("index-url = x\n")
    assert "UV_INDEX_URL" not in pipconf.for_uv(host)[0]
    assert "UV_INDEX_URL" not in pipconf.for_uv({**host, "PIP_CONFIG_FILE": os.devnull})[0]
