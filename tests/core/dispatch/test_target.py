"""From a name to a place, and what a person can do with it."""

import json
import platform
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import drawbar
from drawbar import errors
from drawbar.config import Config, TargetConfig
from drawbar.dispatch.agents import AgentDispatcher
from drawbar.dispatch.here import Here
from drawbar.dispatch.target import Target, dispatcher, settings_of, target


@pytest.fixture
def config(tmp_path):
    """A project with two targets."""
    targets = {"gpu": TargetConfig(host="gpu-box", user="me", port=2222), "worker": TargetConfig(root=str(tmp_path))}
    return Config(root=tmp_path, namespace="site", store=str(tmp_path / "store"), targets=targets)


def test_names(config, home):
    """Reserved names, configured ones, aliases and addresses each lead to their kind of dispatcher."""
    (home / ".ssh" / "config").write_text("Host lab-*\n  User x\nHost big-box\n  HostName 10.0.0.1\n")
    assert isinstance(target("here", config).dispatcher, Here)
    assert target("local", config).dispatcher.link.name == "local"
    for name in ("gpu", "big-box", "me@10.0.0.2", "me@10.0.0.2:2222", "10.0.0.2:22", "[::1]:22"):
        made = target(name, config)
        assert isinstance(made.dispatcher, AgentDispatcher), name
        assert made.dispatcher.name == name
    assert target("gpu", config).config.host == "gpu-box"
    assert target("big-box", config).config.host == "big-box"


def test_unknown_name(config, home):
    """A name that means nothing is an error that offers the nearest, or says how to add it."""
    (home / ".ssh" / "config").write_text("Host big-box\n  HostName 10.0.0.1\n")
    with pytest.raises(errors.UnknownTargetError) as caught:
        target("gpo", config)
    assert str(caught.value) == (
        "There is no target named 'gpo'.\n"
        "  expected: here, local, gpu, worker, an alias of ~/.ssh/config, or user@host:port\n"
        "  found: 'gpo'\n"
        "  do: did you mean 'gpu'?"
    )
    with pytest.raises(errors.UnknownTargetError) as caught:
        target("bigbox", config)
    assert caught.value.todo == "did you mean 'big-box'?"
    with pytest.raises(errors.UnknownTargetError) as caught:
        target("quite unknown", config)
    assert caught.value.todo == "add [tool.drawbar.targets.quite unknown] with its `host` to pyproject.toml"


def test_configuration_wins_over_reserved_meaning():
    """A project may say how `local` is set up."""
    assert settings_of("local", {"local": TargetConfig(root="/x")}).root == "/x"
    assert settings_of("here", {}) == TargetConfig()


def test_nothing_heavy_is_loaded():
    """Making targets and functions connects to nothing, and loads neither paramiko nor cloudpickle nor packaging."""
    code = (
        "import sys, json, drawbar\n"
        "from drawbar.config import TargetConfig\n"
        "from drawbar.dispatch.target import Target, dispatcher\n"
        "config = TargetConfig(host='me@10.0.0.1')\n"
        "remote = Target('gpu', dispatcher('gpu', config), config).function(json.dumps)\n"
        "drawbar.target('local')\n"
        "heavy = ['paramiko', 'cloudpickle', 'packaging', 'asyncio', 'numpy', 'fsspec']\n"
        "print([one for one in heavy if one in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_function_is_a_decorator_too():
    """`@target.function` works with and without options, and keeps name and documentation."""
    here = drawbar.target("here")

    @here.function
    def plain(number):
        """Say so."""
        return number + 1

    @here.function(timeout=60, quiet=True)
    def with_options(number):
        return number + 2

    assert (plain(1), with_options(1)) == (2, 3)
    assert (plain.__name__, plain.__doc__) == ("plain", "Say so.")
    assert "plain on here" in repr(plain)


def test_unknown_option():
    """An option that does not exist is refused when the function is made, with the nearest one."""
    with pytest.raises(errors.OptionError) as caught:
        drawbar.target("here").function(len, timout=3)
    assert caught.value.what == "'timout' is not an option of a remote function."
    assert caught.value.todo == "did you mean 'timeout'?"


def test_map_needs_room():
    """A map with nothing at a time is refused; one over nothing gives nothing."""
    remote = drawbar.target("here").function(abs)
    with pytest.raises(ValueError, match="parallel must be at least 1, not 0"):
        remote.map([1], parallel=0)
    assert list(remote.map([])) == []


def test_map_begins_at_once_and_keeps_its_bound():
    """`map` starts its first calls without waiting to be asked, and never more than `parallel` at a time."""
    running, most, lock = [0], [0], threading.Lock()

    def watch(number):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1
        return number

    values = drawbar.target("here").function(watch).map(range(9), parallel=3)
    time.sleep(0.02)
    assert running[0] > 0
    assert list(values) == list(range(9))
    assert most[0] <= 3


def test_decorated_function_runs_on_a_host(tmp_path):
    """A module-level `@gpu.function` goes by reference, although the module's name now means the remote function."""
    (tmp_path / "decorated.py").write_text(
        "from drawbar.config import TargetConfig\n"
        "from drawbar.dispatch.target import Target, dispatcher\n"
        f"config = TargetConfig(root={str(tmp_path / 'root')!r})\n"
        "worker = Target('worker', dispatcher('worker', config), config)\n"
        "@worker.function\n"
        "def twice(number):\n"
        "    return [__name__, 2 * number]\n"
    )
    code = "import json, decorated; print(json.dumps(decorated.twice(4)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["decorated", 8]


def other_python():
    """A Python of another minor version than this one that the agent runs on, None where there is none."""
    names = [f"python3.{minor}" for minor in range(9, 15) if minor != sys.version_info[1]]
    pyenv = sorted(Path("~/.pyenv/versions").expanduser().glob("3.*/bin/python3"))
    found = [*filter(None, map(shutil.which, names)), *map(str, pyenv)]
    ask = "import sys; print(sys.version_info >= (3, 9) and sys.version_info[1])"
    for python in found:
        said = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False).stdout.strip()
        if said.isdigit() and int(said) != sys.version_info[1]:
            return python
    return None


def test_other_python_on_the_host(tmp_path):
    """By reference a function runs in the host's Python; by value in one of this minor version, or it is refused."""
    python = other_python()
    if python is None:
        pytest.skip("no Python of another minor version here")
    config = TargetConfig(root=str(tmp_path), python=python)
    host = Target("other", dispatcher("other", config), config)
    try:
        assert host.function(platform.python_version)().split(".")[1] != str(sys.version_info[1])
        by_value = host.function(lambda: __import__("sys").version_info[1])
        versions = {one.version.split(".")[1] for one in host.facts().interpreters}
        if str(sys.version_info[1]) in versions:
            assert by_value() == sys.version_info[1]
        else:
            with pytest.raises(errors.PreflightError, match="has no Python that fits"):
                by_value()
    finally:
        host.close()


def test_ctrl_c_cancels_a_call(tmp_path):
    """Ctrl-C during a call stops the job on the host; one with a key goes on."""
    config = TargetConfig(root=str(tmp_path))
    code = (
        "import time, sys\n"
        "from drawbar.config import TargetConfig\n"
        "from drawbar.dispatch.target import Target, dispatcher\n"
        f"config = {config!r}\n"
        "worker = Target('worker', dispatcher('worker', config), config)\n"
        "def slow():\n"
        "    print('begun', flush=True)\n"
        "    time.sleep(60)\n"
        "worker.function(slow, key=sys.argv[1] or None)()\n"
    )
    worker = dispatcher("worker", config)
    try:
        for key, state in (("", "cancelled"), ("night", "running")):
            client = subprocess.Popen(
                [sys.executable, "-c", code, key], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            assert client.stdout.readline() == "begun\n"
            client.send_signal(2)
            client.wait(30)
            client.stdout.close()
            latest = worker.jobs(1)[0]
            assert latest.state == state
        from drawbar.dispatch.port import Handle

        worker.cancel(Handle("worker", latest.job, latest.attempt, latest.run_id, "started"))
    finally:
        worker.close()


def test_here_forgets_only_what_was_collected():
    """Old jobs of this process are let go of once collected; a value that is gone is an error that says so."""
    from drawbar.dispatch import here as module

    place = drawbar.target("here")
    remote = place.function(abs, quiet=True)
    first = remote.submit(-1)
    first.outcome()
    waiting = remote.submit(-2)
    for number in range(module._KEPT_JOBS + 5):
        remote(number)
    with pytest.raises(errors.LostError) as caught:
        place.attach(first.handle).outcome()
    assert caught.value.what == "abs is not a job of this process."
    assert waiting.result() == 2


def test_dispatcher_of_here_is_shared():
    """All who name `here` see the same jobs."""
    assert dispatcher("here", TargetConfig()) is drawbar.target("here").dispatcher
