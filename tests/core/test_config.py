"""Configuration: where it is found, what wins, and that every wrong key is named with its place."""

from __future__ import annotations

import pytest

from drawbar import Env
from drawbar.config import Config
from drawbar.errors import ConfigError, KeyFormatError


def _project(folder, text, name="pyproject.toml"):
    (folder / name).write_text(text)
    return folder


def test_the_nearest_project_upwards_is_found(tmp_path):
    """A file deep in a project has the project's configuration."""
    _project(tmp_path, '[project]\nname = "Site-Maker"\n[tool.drawbar]\nmodules = ["pipeline"]\n')
    deep = tmp_path / "src" / "pkg"
    deep.mkdir(parents=True)
    config = Config.load(deep)
    assert (config.root, config.namespace, config.modules) == (tmp_path, "Site-Maker", ("pipeline",))
    assert config.store == str(tmp_path / ".drawbar" / "store")


def test_a_folder_without_any_file_is_its_own_project(tmp_path):
    """No configuration is needed; the folder's name is the namespace, made fit to be one."""
    folder = tmp_path / "my site (2)"
    folder.mkdir()
    assert Config.load(folder).namespace == "my-site-2"


def test_drawbar_toml_holds_the_same_tables_without_the_prefix(tmp_path):
    """A project that is not Python's can be configured too."""
    _project(
        tmp_path, 'namespace = "site"\nstore = "s3://bucket/assets"\n[targets.gpu]\nhost = "gpu-box"\n', "drawbar.toml"
    )
    config = Config.load(tmp_path)
    assert (config.namespace, config.store, config.targets["gpu"].host) == ("site", "s3://bucket/assets", "gpu-box")


def test_what_wins(tmp_path, monkeypatch):
    """An argument wins over the environment, and that over the file."""
    _project(tmp_path, 'store = "from-file"\nnamespace = "file"\n', "drawbar.toml")
    monkeypatch.setenv("DRAWBAR_STORE", "memory://env")
    monkeypatch.setenv("DRAWBAR_NAMESPACE", "env")
    assert Config.load(tmp_path).store == "memory://env"
    assert Config.load(tmp_path, namespace="arg", store=None).namespace == "arg"


def test_options_of_assets_are_read(tmp_path):
    """Every option of @asset can be set, an Env as a list or a table."""
    _project(
        tmp_path,
        '[assets.train]\ntarget = "gpu"\ngpus = 2\nenv = ["torch", "numpy>=2"]\n'
        '[assets.tune]\nenv = { requirements = ["torch"], python = ">=3.11" }\n',
        "drawbar.toml",
    )
    assets = Config.load(tmp_path).assets
    assert assets["train"] == {"target": "gpu", "gpus": 2, "env": Env("torch", "numpy>=2")}
    assert assets["tune"]["env"] == Env("torch", python=">=3.11")


@pytest.mark.parametrize(
    ("text", "what", "found", "todo"),
    [
        ("stor = 1", "stor is not a configuration key.", "stor", "did you mean 'store'?"),
        ("store = 1", "store has the wrong type.", "1 (int)", ""),
        ("modules = 'a'", "modules must be a list of texts.", "'a' (str)", ""),
        ("max_workers = true", "max_workers has the wrong type.", "True (bool)", ""),
        ("trust = 'all'", "trust has a value that means nothing.", "all", ""),
        ("[targets]\ngpu = 'x'", "targets.gpu must be a table.", "'x' (str)", ""),
        ("[targets.gpu]\nhots = 'x'", "targets.gpu.hots is not a configuration key.", "hots", "did you mean 'hosts'?"),
        ("[targets.gpu]\nport = '22'", "targets.gpu.port has the wrong type.", "'22' (str)", ""),
        ("[assets.a]\ngpu = 1", "assets.a: 'gpu' is not an option of an asset.", "gpu", "did you mean 'gpus'?"),
        ("[tool.drawbar]\nstore = 'x'", "tool is not a configuration key.", "tool", "leave out the prefix"),
        ("store = ''", "store is empty.", "'' (str)", ""),
        ("max_workers = 0", "max_workers has a value that cannot be used.", "0", ""),
        ("max_workers = -1", "max_workers has a value that cannot be used.", "-1", ""),
        ("[targets.gpu]\nport = 65536", "targets.gpu.port has a value that cannot be used.", "65536", ""),
        ("[targets.gpu]\ngrace = -1", "targets.gpu.grace has a value that cannot be used.", "-1", ""),
        ("[targets.gpu]\nlog_limit = -1", "targets.gpu.log_limit has a value that cannot be used.", "-1", ""),
        (
            "[targets.gpu]\nconnect_timeout = nan",
            "targets.gpu.connect_timeout has a value that cannot be used.",
            "nan",
            "",
        ),
        ("[targets.gpu]\nvariables = { A = 1 }", "targets.gpu.variables.A must be a text.", "1 (int)", ""),
        (
            "[targets.gpu.variables]\n'A=B' = '1'",
            "targets.gpu.variables has a name that no variable can have.",
            "'A=B'",
            "",
        ),
        ("[targets.gpu]\nsecrets = 'A'", "targets.gpu.secrets must be a list of texts.", "'A' (str)", ""),
        (
            "[targets.gpu]\ndevices = ['24 elephants']",
            "targets.gpu.devices names what is no size.",
            "'24 elephants'",
            "",
        ),
        ("[targets.here]\n", "targets.here cannot be configured so.", "[targets.here]", "remove the table"),
        ("[targets.local]\nhost = 'x'", "targets.local cannot be configured so.", "host 'x'", "rename the table"),
        ("[assets.a]\nenv = 3", "assets.a.env cannot be read.", "3 (int)", ""),
        ("[assets.a.env]\nrequirements = 'numpy'", "assets.a.env.requirements must be a list.", "'numpy' (str)", ""),
        ("[assets.a.env]\npython = 3", "assets.a.env.python must be a text.", "3 (int)", ""),
        ("[assets.a]\ninputs = { b = 1 }", "assets.a: option 'inputs' has the wrong type.", "1 (int)", ""),
        ("[assets.a]\ntags = [1]", "assets.a: option 'tags' has the wrong type.", "1 (int)", ""),
        ("[assets.a]\ntimeout = -1", "assets.a: option 'timeout' cannot be negative.", "-1", ""),
        ("[assets.a]\nretry_delay = nan", "assets.a: option 'retry_delay' cannot be negative.", "nan", ""),
        ("a = ", "drawbar.toml is not TOML.", "Invalid value (at end of document)", "mend the line it names"),
    ],
)
def test_a_wrong_key_is_named_with_its_place(tmp_path, text, what, found, todo):
    """A typing error in a configuration file is an error that says where, never a setting without effect."""
    _project(tmp_path, text, "drawbar.toml")
    with pytest.raises(ConfigError) as refused:
        Config.load(tmp_path)
    error = refused.value
    assert (error.what, error.found, error.where) == (what, found, str(tmp_path / "drawbar.toml"))
    assert todo in error.todo


def test_a_namespace_that_cannot_be_one_is_refused(tmp_path):
    """A namespace stands in paths and URLs, so it is checked before it does."""
    _project(tmp_path, 'namespace = "../evil"', "drawbar.toml")
    with pytest.raises(KeyFormatError, match="cannot be a namespace"):
        Config.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("tool = 3", "tool must be a table."),
        ("project = 3", "project must be a table."),
        ("[project]\nname = 3", "project.name has the wrong type."),
        ("[tool]\ndrawbar = 3", "drawbar must be a table."),
    ],
)
def test_a_pyproject_that_is_none_is_named(tmp_path, text, what):
    """A pyproject.toml that is TOML and nonsense is an error of its own, not one of Python's."""
    _project(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        Config.load(tmp_path)
    assert (refused.value.what, refused.value.where) == (what, str(tmp_path / "pyproject.toml"))


def test_a_file_that_is_no_text_is_named(tmp_path):
    """Bytes that are no UTF-8 in a configuration file are said to be there."""
    (tmp_path / "drawbar.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"drawbar\.toml is not TOML\."):
        Config.load(tmp_path)


def test_the_worker_on_this_machine_can_be_set_up(tmp_path):
    """`local` takes every setting but another host."""
    _project(tmp_path, "[targets.local]\ngrace = 3\nvariables = { A = 'b' }\n", "drawbar.toml")
    assert Config.load(tmp_path).targets["local"].grace == 3
