"""What of an Env travels: by content, not by path; what cannot work on a host is refused here, before anything is sent."""

import hashlib
import json

import pytest

from drawbar import errors
from drawbar.asset import Env
from drawbar.dispatch import envs

LOCK = "numpy==2.1.0 \\\n    --hash=sha256:abc\n# by uv\nTorch[cuda] == 2.5.1 ; sys_platform == 'linux'\n"
TOML = """
lock-version = "1.0"
[[packages]]
name = "numpy"
version = "2.1.0"
[[packages]]
name = "mine"
[packages.vcs]
url = "https://site/mine.git"
"""


def refused(env, folder):
    """The OptionError that an Env is refused with."""
    with pytest.raises(errors.OptionError) as caught:
        envs.wire(env, folder)
    assert caught.value.todo
    return caught.value


def test_a_lock_file_goes_as_a_blob_and_counts_by_content(tmp_path):
    """A lock file that was made again would not be installed, or moving the project would build everything anew."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "requirements.txt").write_text(LOCK)
    env = Env("torch>=2", "numpy", lock="requirements.txt")
    spec, blobs = envs.wire(env, here)
    assert [(one.digest, b"".join(one.read())) for one in blobs] == [(spec["lock"], LOCK.encode())]
    assert spec["lock"] == hashlib.sha256(LOCK.encode()).hexdigest()
    assert envs.contents(env, here) == (f"lock:{spec['lock']}",)
    assert (spec["lock_name"], spec["requirements"]) == ("requirements.txt", ["numpy", "torch>=2"])
    assert envs.digest(env, there) == spec["digest"] != envs.digest(Env("torch>=2", "numpy"), here)
    (there / "requirements.txt").write_text(LOCK.replace("2.1.0", "2.1.1"))
    assert envs.digest(env, there) != spec["digest"]
    assert json.loads(json.dumps(spec)) == spec


def test_a_pylock_goes_too(tmp_path):
    """The standard lock file could not be used."""
    (tmp_path / "pylock.toml").write_text(TOML)
    spec, blobs = envs.wire(Env("numpy>=2", "mine", lock="pylock.toml"), tmp_path)
    assert (spec["lock_name"], len(blobs)) == ("pylock.toml", 1)
    assert "no pin" in refused(Env("scipy", lock="pylock.toml"), tmp_path).found
    assert refused(Env("numpy", lock="pylock.toml", find_links="https://site/"), tmp_path).expected == "one of them"


def test_a_lock_file_that_is_stale_is_refused(tmp_path):
    """The job would run without a package that its Env requires, or with one that it excludes."""
    (tmp_path / "l.txt").write_text(LOCK)
    fault = refused(Env("numpy>=2.2", "scipy", lock="l.txt"), tmp_path)
    assert fault.what == "The Env's lock file l.txt does not pin what the Env requires."
    assert (fault.expected, fault.found) == ("numpy>=2.2, scipy", "pinned to 2.1.0, no pin")


@pytest.mark.parametrize(
    "line", ["-r others.txt", "-e .", "--constraint c.txt", "./mylib", "../x", ".", "file:///home/me/x", "/opt/x.whl"]
)
def test_a_lock_file_that_refers_to_other_files_is_refused(line, tmp_path):
    """The build would fail on the host, where these files are not."""
    (tmp_path / "l.txt").write_text(f"numpy==1\n{line}\n")
    fault = refused(Env(lock="l.txt"), tmp_path)
    assert fault.found == f"line 2: {line}"
    assert "--no-emit-project" in fault.todo


def test_a_pylock_with_a_local_folder_is_refused(tmp_path):
    """The project itself would be looked for on the host."""
    (tmp_path / "pylock.toml").write_text('[[packages]]\nname = "me"\n[packages.directory]\npath = "."\n')
    assert refused(Env(lock="pylock.toml"), tmp_path).found == "me, from the folder ."


def test_what_is_no_lock_file_is_refused(tmp_path):
    """uv.lock would go to a host whose tools cannot install from it; a file that is not there would be none."""
    (tmp_path / "uv.lock").write_text("version = 1\n")
    (tmp_path / "pylock.toml").write_text("packages = [{}]\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    assert refused(Env(lock="uv.lock"), tmp_path).todo.startswith("export it: uv export")
    for name in ("nowhere.txt", "pylock.toml", "binary.txt"):
        assert refused(Env(lock=name), tmp_path).what == f"The Env's lock file {name} cannot be read."


def test_wheels_of_a_folder_are_sent_each_by_itself(tmp_path):
    """With each change of one wheel all would be sent, or an exchanged wheel would be taken for the old one."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "mine-1.0-py3-none-any.whl").write_bytes(b"a wheel")
    (folder / "other-1.0.tar.gz").write_bytes(b"a source")
    (folder / "notes.md").write_text("not sent")
    env = Env("mine", find_links="wheels")
    spec, blobs = envs.wire(env, tmp_path)
    assert spec["find_links"] == ""
    assert list(spec["wheels"]) == ["mine-1.0-py3-none-any.whl", "other-1.0.tar.gz"]
    assert {one.digest: b"".join(one.read()) for one in blobs} == {
        digest: (folder / name).read_bytes() for name, digest in spec["wheels"].items()
    }
    assert [one.bytes for one in blobs] == [7, 8]
    assert envs.contents(env, tmp_path) == tuple(f"wheel:{name}:{digest}" for name, digest in spec["wheels"].items())
    (folder / "mine-1.0-py3-none-any.whl").write_bytes(b"another")
    assert envs.digest(env, tmp_path) != spec["digest"]


def test_links_that_only_the_host_reaches_go_as_they_are(tmp_path):
    """An index page or a folder on the host could not be named."""
    for text in ("https://site/wheels", "/no/such/folder/here", "~/no-such-folder-here"):
        spec, blobs = envs.wire(Env("mine", find_links=text), tmp_path)
        assert (spec["find_links"], spec["wheels"], blobs) == (text, {}, ())
    assert "is not there" in refused(Env("mine", find_links="wheels"), tmp_path).what
    (tmp_path / "wheels").mkdir()
    assert "holds no wheels" in refused(Env("mine", find_links="wheels"), tmp_path).what


@pytest.mark.parametrize("text", ["./mylib", "-e .", "mine @ file:///home/me/mine", "/home/me/mine"])
def test_a_local_path_is_no_requirement(text, tmp_path):
    """The host would look for a folder of this machine; the message says what to do instead."""
    assert refused(Env(text), tmp_path).todo.startswith("leave it out if it is this project")


def test_options_of_pip_are_no_requirements(tmp_path):
    """`-r requirements.txt` would be told as a typo."""
    assert "use `lock`" in refused(Env("-r requirements.txt"), tmp_path).todo


def test_requirements_for_other_platforms_travel(tmp_path):
    """A client on macOS would leave out what its host on Linux needs."""
    text = 'nvidia-ml-py; sys_platform == "beos"'
    env = Env("numpy", text)
    assert list(envs.requirements(env)) == ["numpy"]
    assert envs.wire(env, tmp_path)[0]["requirements"] == ["numpy", text]
    assert envs.digest(env) != envs.digest(Env("numpy"))


def test_an_env_of_another_python_is_another(tmp_path):
    """A job pickled by Python 3.12 would run in an Env that was built with 3.11."""
    spec, _ = envs.wire(Env("numpy"), tmp_path)
    one, same, other = (
        envs.placed(spec, base, version) for base, version in [(None, "3.11.7"), ("/a", "3.11.9"), (None, "3.12.1")]
    )
    assert one["digest"] == same["digest"] != other["digest"]
    assert (one["base"], same["base"], spec["base"]) == (None, "/a", None)


def test_without_requirements_nothing_is_built():
    """An Env that only names a Python would hide what is installed there."""
    assert [envs.builds(env) for env in (None, Env(), Env(python="3.11"), Env("a"), Env(lock="l.txt"))] == [
        False
    ] * 3 + [True] * 2
