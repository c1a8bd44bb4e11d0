"""The figures of what a host does for its jobs: `python upkeep.py NAME` prints seconds, or bytes of memory.

Adoption after a client's death, memory that idle processes keep, Envs built, GPUs handed over; each on a loopback sshd
that never saw drawbar. Memory is what the kernel calls resident, shared pages included.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crowds
import hosts

_ADOPTIONS = 7
_BUILDS = 3
_TURNS = 20
_WHEELS = 5
_CLIENT = """
import sys, time, drawbar
def slow():
    import time
    time.sleep(60)
handle = drawbar.target("bench").function(slow, key="adopted", quiet=True).submit().handle
print(handle.how, flush=True)
time.sleep(60)
"""


def adoption() -> float:
    """Seconds from the SIGKILL of a client until a fresh one, its Python not yet started, is attached to the job."""
    with hosts._host() as sshd, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = {**sshd.settings(), "python": sys.executable}
        text = "".join(f"{name} = '{value}'\n" for name, value in settings.items() if isinstance(value, str))
        (Path(folder) / "drawbar.toml").write_text(f"[targets.bench]\nport = {sshd.port}\n{text}")
        (Path(folder) / "client.py").write_text(_CLIENT)
        variables = {**os.environ, "DRAWBAR_HOME": f"{folder}/home"}

        def client(how: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-W", "ignore", "client.py"]
            process = subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            assert process.stdout.readline().strip() == how
            return process

        last, seconds = client("started"), []
        for _ in range(_ADOPTIONS):
            begun = time.perf_counter()
            _kill(last)
            last = client("attached")
            seconds.append(time.perf_counter() - begun)
        _kill(last)
        return statistics.median(seconds)


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def agent_memory() -> float:
    """An agent with nothing to do, that has seen a job."""
    with hosts._ours() as target:
        target.function(os.getpid, quiet=True)()
        return _resident(target.dispatcher.link.agent().hello["pid"])


def agent_memory_execnet() -> float:
    """What execnet keeps on a host for one connection."""
    with hosts._execnet() as gateway:
        return _resident(gateway.remote_exec("import os; channel.send(os.getpid())").receive())


def warm_memory() -> float:
    """A warm interpreter that has numpy, with nothing to do."""
    with crowds._warm() as remote:
        root = Path(remote._dispatcher.link.agent().hello["root"])
        (pid,) = crowds.warm_pids(root)
        return _resident(pid)


def numpy_memory() -> float:
    """A bare Python that has imported numpy."""
    command = [sys.executable, "-c", "import sys, numpy; print(1, flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = _resident(process.pid)
        process.communicate()
        return found


def _resident(pid: int) -> float:
    return float(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def _wheels() -> Iterator[Path]:
    """A folder with a few wheels of some hundred bytes, so that no index has a say."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(_WHEELS):
            name = f"drawbar_bench_{number}"
            info = f"{name}-1.0.dist-info"
            content = {
                f"{name}.py": "",
                f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
                f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            }
            record = "".join(f"{path},,\n" for path in (*content, f"{info}/RECORD"))
            with zipfile.ZipFile(Path(folder) / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
                for path, text in {**content, f"{info}/RECORD": record}.items():
                    wheel.writestr(path, text)
        yield Path(folder)


_NAMES = [f"drawbar-bench-{number}" for number in range(_WHEELS)]
_OFFLINE = {"UV_OFFLINE": "1", "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}


def _env(tool: str) -> float:
    from drawbar import Env

    seconds = []
    with _wheels() as wheels:
        for number in range(_BUILDS):
            with hosts._ours({**_OFFLINE, "DRAWBAR_UV": tool}) as target:
                env = Env(*_NAMES, find_links=str(wheels), variables={"ROUND": str(number)})
                outcome = target.function(os.getpid, env=env, quiet=True).submit().outcome()
                outcome.raise_()
                seconds.append(outcome.costs.build)
    return statistics.median(seconds)


def _by_hand(*commands: list[str]) -> float:
    seconds = []
    for _ in range(_BUILDS):
        with _wheels() as wheels, tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            for command in commands:
                filled = [one.format(venv=f"{folder}/venv", wheels=wheels) for one in command]
                subprocess.run(filled, check=True, capture_output=True, env={**os.environ, **_OFFLINE})
            seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def env_uv() -> float:
    """The build of an Env of five small wheels by uv, as its job's outcome tells it."""
    return _env(_uv())


def env_pip() -> float:
    """The same on a host without uv."""
    return _env("")


def uv_by_hand() -> float:
    """What a person would type."""
    install = [_uv(), "pip", "install", "--find-links", "{wheels}", "--python", "{venv}/bin/python", *_NAMES]
    return _by_hand([_uv(), "venv", "--python", sys.executable, "{venv}"], install)


def pip_by_hand() -> float:
    """What a person would type without uv."""
    install = ["{venv}/bin/python", "-m", "pip", "install", "--find-links", "{wheels}", *_NAMES]
    return _by_hand([sys.executable, "-m", "venv", "{venv}"], install)


def _uv() -> str:
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if beside.exists() else "uv"


def hand_over() -> float:
    """Seconds between the end of a job and the start of the next that waited for its GPU, by the host's own clock."""
    from dataclasses import replace

    from drawbar.dispatch.target import Target, dispatcher

    with hosts._ours() as plain:
        config = replace(plain.config, devices=("24GiB",))
        target = Target("bench", dispatcher("bench", config), config)
        remote = target.function(time.sleep, gpus=1, quiet=True)
        futures: list[Any] = [remote.submit(0.2) for _ in range(_TURNS)]
        outcomes = sorted((future.outcome() for future in futures), key=lambda one: one.started)
        assert all(one.ok for one in outcomes)
        gaps = [later.started - before.ended for before, later in itertools.pairwise(outcomes)]
        assert min(gaps) >= 0, "two jobs had one GPU"
        return statistics.median(gaps)


if __name__ == "__main__":
    print(globals()[sys.argv[1]]())
