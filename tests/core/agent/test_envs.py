"""Envs on a host: built once, whole or not at all, kept while a job uses them."""

import fcntl
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import tiny_wheels
from tiny_wheels import begin, build, end, environment, says, spec_of

from drawbar.agent import blobs, envs, processes

TOOLS = ["uv", "pip"]
ANOTHER = [os.path.expanduser(f"~/.pyenv/versions/{version}/bin/python") for version in ("3.9.18", "3.12.1")]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """A folder on the host with two tiny wheels, of which one requires the other."""
    folder = tmp_path_factory.mktemp("wheels")
    tiny_wheels.make(folder, "leaf", "2.0", size=5000)
    tiny_wheels.make(folder, "tiny", "1.0", ["leaf>=1"])
    return folder


@pytest.fixture
def root(tmp_path):
    """A host's root whose path has a space."""
    return tmp_path / "the root"


@pytest.fixture
def uv(tmp_path):
    """Variables for builds with uv, whose cache is the test's own."""
    return environment("uv", UV_CACHE_DIR=str(tmp_path / "cache"))


def left(root):
    """What is under envs/ besides the locks."""
    folder = root / "envs"
    return sorted(one for one in os.listdir(folder) if not one.endswith(".lock")) if folder.exists() else []


def script(path, text):
    """A program that stands for uv."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def until(condition, what):
    """Wait for a condition, for a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.parametrize("tool", TOOLS)
def test_an_env_has_what_it_requires(tool, root, wheels, tmp_path):
    """A job would run without its packages, or nobody could see later what was installed by what."""
    spec = spec_of("tiny", wheels=wheels)
    stray = tmp_path / "stray"
    (stray / "tiny-1.0.dist-info").mkdir(parents=True)
    (stray / "tiny-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    environ = environment(tool, UV_CACHE_DIR=str(tmp_path / "cache"), PIP_TARGET=str(stray), PIP_USER="1")
    python, error, log = build(root, spec, environ)
    assert error is None, log
    assert python == envs.ready(str(root), spec["digest"]) == str(root / "envs" / spec["digest"] / "bin" / "python")
    assert says(python, "import tiny, leaf; print(tiny.VERSION, leaf.VERSION)") == "1.0 2.0"
    told = json.loads((root / "envs" / spec["digest"] / "complete.json").read_text())
    assert (told["requirements"], told["tool"]) == (["tiny"], tool)
    assert told["packages"]["leaf"] == "2.0"
    assert told["seconds"] > 0
    assert told["python"] == says(python, "import platform; print(platform.python_version())")
    assert not (root / "envs" / spec["digest"] / "inputs").exists()
    assert "building the Env" in log
    assert "tiny" in log
    again, _, log = build(root, spec, environ)
    assert (again, log) == (python, "")


def test_eight_jobs_build_one_env_once(root, wheels, uv):
    """Eight jobs of a fan-out would download the same gigabytes eight times, or spoil each other's folder."""
    spec = spec_of("tiny", wheels=wheels)
    ends = [end(one) for one in [begin(root, spec, uv) for _ in range(8)]]
    assert {python for python, _, _ in ends} == {envs.ready(str(root), spec["digest"])}
    assert sum("building the Env" in log for _, _, log in ends) == 1
    assert all(
        log in {"", f"waiting for the Env {spec['digest'][:12]}, which another job builds\n"} or "built" in log
        for _, _, log in ends
    )


def test_a_build_killed_at_any_moment_leaves_no_env(root, wheels, uv):
    """A later job would start in half an Env, and fail with an ImportError that nobody can explain."""
    spec = spec_of("tiny", wheels=wheels)
    began = time.monotonic()
    assert build(root, spec, uv)[0]
    whole = time.monotonic() - began
    chance = random.Random(8)
    killed = 0
    for _ in range(20):
        assert [name for name, _ in envs.remove_unused(str(root), 0, time.time() + 1)] == [spec["digest"]]
        assert left(root) == []
        one = begin(root, spec, uv)
        time.sleep(chance.uniform(0, whole))
        one.kill()
        one.communicate(timeout=60)
        killed += one.returncode == -signal.SIGKILL
        python = envs.ready(str(root), spec["digest"])
        if python is not None:
            assert says(python, "import tiny, leaf; print(tiny.VERSION)") == "1.0"
        python, error, log = build(root, spec, uv)
        assert error is None, log
        assert says(python, "import tiny, leaf; print(tiny.VERSION)") == "1.0"
    assert killed >= 10


@pytest.mark.parametrize("tool", TOOLS)
def test_a_failed_build_leaves_nothing(tool, root, wheels, tmp_path):
    """Later jobs would take the rest for an Env, or the user would not learn which requirement is wrong."""
    spec = spec_of("tiny", "no-such-thing>=3", wheels=wheels)
    python, error, log = build(root, spec, environment(tool, UV_CACHE_DIR=str(tmp_path / "cache")))
    assert python is None
    assert error["what"].startswith(f"The Env {spec['digest'][:12]} cannot be built on ")
    assert error["expected"] == "tiny, no-such-thing>=3 to be installed"
    assert "no-such-thing" in error["found"]
    assert " ended with status 1\n" in error["found"]
    assert error["todo"].startswith("correct the Env")
    assert "no-such-thing" in log
    assert left(root) == []
    assert envs.ready(str(root), spec["digest"]) is None
    assert envs.use(str(root), spec["digest"]) is None


@pytest.mark.parametrize(
    ("said", "todo"),
    [
        ("error: No space left on device (os error 28)", "make room on the host's disk"),
        ("ensurepip is not available", "install uv on the host"),
    ],
)
def test_what_to_do_fits_the_fault(said, todo, root, tmp_path):
    """A full disk, or a Python without ensurepip, would be told as a wrong requirement."""
    fake = script(tmp_path / "fake", f"echo '{said}'; exit 2")
    _, error, _ = build(root, spec_of("tiny"), environment(fake))
    assert error["todo"].startswith(todo)
    assert error["found"] == f"fake ended with status 2\n{said}"
    assert left(root) == []


def test_a_base_that_is_gone_is_an_error_that_names_it(root):
    """The job would be lost without a word."""
    _, error, _ = build(root, spec_of("tiny", base="/no/such/python"), environment("pip"))
    assert "/no/such/python" in error["found"]
    assert error["todo"]
    assert left(root) == []


def test_output_comes_while_the_tool_works(root, tmp_path):
    """A user would look at nothing for the quarter of an hour that a build takes; passwords would be in the log."""
    going = tmp_path / "going"
    fake = script(
        tmp_path / "fake",
        f"echo 'from https://me:hunter22@index.site/simple'\nwhile [ ! -e {going} ]; do sleep 0.05; done\nexit 1",
    )
    one = begin(root, spec_of("tiny"), environment(fake))
    assert one.stderr.readline().startswith(b"building the Env ")
    assert one.stderr.readline() == b"from https://***@index.site/simple\n"
    assert one.poll() is None
    going.touch()
    _, error, _ = end(one)
    assert "hunter22" not in error["found"]


def test_who_waits_says_so_and_goes_on_when_the_builder_dies(root, wheels, uv, tmp_path):
    """A job would wait forever, in silence, for a builder that was killed; or build beside a tool that lives on."""
    spec = spec_of("tiny", wheels=wheels)
    pid = tmp_path / "pid"
    slow = script(tmp_path / "slow", f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 100")
    first = begin(root, spec, environment(slow))
    until(pid.exists, "the tool did not start")
    second = begin(root, spec, uv)
    line = second.stderr.readline().decode()
    assert line == f"waiting for the Env {spec['digest'][:12]}, which another job builds\n"
    first.kill()
    first.communicate(timeout=60)
    python, error, log = end(second)
    assert error is None, log
    assert says(python, "import tiny; print(tiny.VERSION)") == "1.0"
    until(lambda: (processes.stat(int(pid.read_text())) or "Z")[0] == "Z", "the first builder's tool lives on")


@pytest.mark.parametrize("tool", TOOLS)
def test_a_lock_file_is_kept_to(tool, root, tmp_path):
    """A job would get another version than was locked, or a file that somebody exchanged."""
    folder = tmp_path / "wheels"
    old, new = (
        hashlib.sha256(tiny_wheels.make(folder, "tiny", one).read_bytes()).hexdigest() for one in ("1.0", "1.1")
    )
    environ = environment(tool, UV_CACHE_DIR=str(tmp_path / "cache"))
    for digest, pinned in (("a" * 64, old), ("b" * 64, new)):
        kept, _ = blobs.Blobs(str(root)).store([f"tiny==1.0 --hash=sha256:{pinned}\n".encode()])
        lock = {"lock": kept, "lock_name": "requirements.txt", "digest": digest}
        python, error, log = build(root, spec_of("tiny", wheels=folder, **lock), environ)
        if pinned == old:
            assert error is None, log
            assert says(python, "import tiny; print(tiny.VERSION)") == "1.0"
        else:
            assert "hash" in error["found"].lower()


def test_a_pylock_is_kept_to_and_needs_uv(root, tmp_path, uv):
    """The standard lock file would not be read, or pip would fail on it with a riddle."""
    wheel = tiny_wheels.make(tmp_path, "tiny", "1.0")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    text = (
        'lock-version = "1.0"\ncreated-by = "tests"\n[[packages]]\nname = "tiny"\nversion = "1.0"\n[[packages.wheels]]\n'
        f'name = "{wheel.name}"\nurl = "{wheel.as_uri()}"\nhashes = {{ sha256 = "{digest}" }}\n'
    )
    kept, _ = blobs.Blobs(str(root)).store([text.encode()])
    spec = spec_of(digest="a" * 64, lock=kept, lock_name="pylock.toml")
    _, error, _ = build(root, spec, environment("pip"))
    assert error["todo"].startswith("install uv on the host")
    python, error, log = build(root, spec, uv)
    assert error is None, log
    assert says(python, "import tiny; print(tiny.VERSION)") == "1.0"


def test_wheels_that_were_sent(root, tmp_path, uv):
    """A wheel of the user's own would have to be put on the host by hand."""
    digest, _ = blobs.Blobs(str(root)).store([tiny_wheels.make(tmp_path, "tiny", "3.0").read_bytes()])
    for environ in (uv, environment("pip")):
        spec = {**spec_of("tiny", digest=os.urandom(32).hex()), "wheels": {"tiny-3.0-py3-none-any.whl": digest}}
        python, error, log = build(root, spec, environ)
        assert error is None, log
        assert says(python, "import tiny; print(tiny.VERSION)") == "3.0"


@pytest.mark.parametrize("base", ANOTHER)
def test_another_python(base, root, wheels, uv):
    """A job that needs another Python than the agent's would get an Env of the wrong one."""
    if not os.path.exists(base):
        pytest.skip(f"no {base} on this machine")
    python, error, log = build(root, spec_of("tiny", wheels=wheels, base=base), uv)
    assert error is None, log
    assert (
        says(python, "import sys, tiny; print(*sys.version_info[:2], sep='.')")
        == base.split("/")[-3].rpartition(".")[0]
    )


def test_the_agent_builds_with_the_oldest_python(root, wheels, uv):
    """A host with Python 3.9 could start jobs, but build no Env."""
    if not os.path.exists(ANOTHER[0]):
        pytest.skip(f"no {ANOTHER[0]} on this machine")
    agent = str(tiny_wheels.ROOT / "core" / "drawbar" / "agent")
    text = (
        "import json, sys, types\n"
        "package = types.ModuleType('agent')\n"
        f"package.__path__ = [{agent!r}]\n"
        "sys.modules['agent'] = package\n"
        "from agent import envs\n"
        "print(envs.build(sys.argv[1], json.loads(sys.argv[2])))\n"
    )
    argv = [ANOTHER[0], "-c", text, str(root), json.dumps(spec_of("tiny", wheels=wheels))]
    done = subprocess.run(argv, env=uv, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert says(done.stdout.strip(), "import sys, tiny; print(*sys.version_info[:2])") == "3 9"


def test_an_env_is_kept_while_it_is_used(root, wheels, uv):
    """A clean-up would take the packages from under a running job, or never remove anything."""
    spec = spec_of("tiny", wheels=wheels)
    build(root, spec, uv)
    held = envs.use(str(root), spec["digest"])
    late = time.time() + 1000
    assert envs.remove_unused(str(root), 100, late) == []
    os.close(held)
    assert envs.remove_unused(str(root), 2000, late) == []
    (name, size), *others = envs.remove_unused(str(root), 100, late, dry=True)
    assert (name, others, left(root)) == (spec["digest"], [], [spec["digest"]])
    assert size > 1000
    assert envs.remove_unused(str(root), 100, late) == [(name, size)]
    assert left(root) == []
    assert envs.use(str(root), spec["digest"]) is None
    assert envs.remove_unused(str(root / "nowhere"), 0, late) == []


def test_a_job_that_begins_to_use_an_env_makes_it_young(root, wheels, uv):
    """What is used every day would be removed as soon as nothing runs for a moment."""
    spec = spec_of("tiny", wheels=wheels)
    build(root, spec, uv)
    folder = root / "envs" / spec["digest"]
    os.utime(folder / "complete.json", (time.time() - 10, time.time() - 10))
    os.close(envs.use(str(root), spec["digest"]))
    os.utime(folder / "used", (1, 1))
    os.close(envs.use(str(root), spec["digest"]))
    assert envs.remove_unused(str(root), 5, time.time()) == []


def test_what_broken_builds_left_is_removed_but_not_a_build_underway(root):
    """The disk would fill with half Envs; or a clean-up would pull the folder from under a build."""
    broken, underway = (root / "envs" / (letter * 64) for letter in "ab")
    for folder in (broken, underway):
        folder.mkdir(parents=True)
    lock = os.open(f"{underway}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert [name for name, _ in envs.remove_unused(str(root), 1e9, time.time())] == [broken.name]
    assert left(root) == [underway.name]
    assert envs.use(str(root), underway.name) is None
    os.close(lock)


def test_what_a_power_cut_left_is_looked_at_before_it_is_believed(root, wheels, uv):
    """A package whose files lost their content would be used for ever; or every boot would build everything anew."""
    spec = spec_of("tiny", wheels=wheels)
    python = build(root, spec, uv)[0]
    marker = root / "envs" / spec["digest"] / "complete.json"
    os.utime(marker, (1, 1))
    assert envs.ready(str(root), spec["digest"]) is None
    assert envs.use(str(root), spec["digest"]) is None
    assert build(root, spec, uv) == (python, None, "")
    assert envs.ready(str(root), spec["digest"]) == python
    data = next((root / "envs" / spec["digest"]).glob("lib/python*/site-packages/leaf_data.txt"))
    data.unlink()
    data.write_text("")
    os.utime(marker, (1, 1))
    assert "building the Env" in build(root, spec, uv)[2]
    assert data.stat().st_size == 5000


def test_an_env_whose_python_is_gone_is_built_again(root, wheels, uv):
    """After an upgrade of the host every job of the Env would fail to start."""
    spec = spec_of("tiny", wheels=wheels)
    python = build(root, spec, uv)[0]
    os.unlink(python)
    os.symlink("/no/such/python", python)
    assert envs.ready(str(root), spec["digest"]) is None
    assert "building the Env" in build(root, spec, uv)[2]
    assert says(python, "import tiny; print(tiny.VERSION)") == "1.0"


def test_a_job_finds_the_programs_of_its_env(root, wheels, uv):
    """`subprocess.run(["torchrun", …])` in a job would find another one, or none."""
    python = build(root, spec_of("tiny", wheels=wheels), uv)[0]
    environ = {**os.environ, **envs.activated(python)}
    done = subprocess.run(["say-tiny"], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "tiny 1.0\n"
    assert environ["VIRTUAL_ENV"] == os.path.dirname(os.path.dirname(python))


def test_uv_is_found_where_its_installers_put_it(tmp_path, monkeypatch):
    """A connection has no login shell's PATH: uv in ~/.local/bin would not be used."""
    monkeypatch.delenv("DRAWBAR_UV", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    assert envs._uv() is None
    (tmp_path / ".local" / "bin").mkdir(parents=True)
    found = script(tmp_path / ".local" / "bin" / "uv", "exit 0")
    assert envs._uv() == str(found)
    monkeypatch.setenv("DRAWBAR_UV", sys.executable)
    assert envs._uv() == sys.executable


@pytest.mark.parametrize("digest", ["../../x", "a" * 63, None])
def test_what_is_no_digest_is_no_path(digest, root):
    """A damaged spec could have any folder removed."""
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        envs.ready(str(root), digest)
