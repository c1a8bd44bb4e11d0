"""The figures of many jobs and calls at a time: `python crowds.py NAME [CALLERS]` prints seconds, or jobs or calls a second.

Jobs go to a loopback sshd over one connection, and run in processes forked from a warm interpreter that has numpy;
that each of them found it there is asserted. Calls of an actor are made by threads of one process, each of which waits
for its answer before it asks again; Ray's actors get the same.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hosts

_JOBS = 40
_CALLS_FOR = 5.0
_PATIENCE = 60.0


@contextlib.contextmanager
def _warm() -> Iterator[Any]:
    """A function on a fresh host that tells whether numpy was loaded before it; from now on it is."""

    def loaded(_: int = 0) -> bool:
        import sys

        before = "numpy" in sys.modules
        import numpy as np

        return before and np.ndim(0) == 0

    with hosts._ours() as target:
        root = Path(target.dispatcher.link.agent().hello["root"])
        remote = target.function(loaded, quiet=True)
        end = time.monotonic() + _PATIENCE
        while not remote():
            assert time.monotonic() < end, "no warm interpreter came"
        yield remote
        for pid in warm_pids(root):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def warm_pids(root: Path) -> list[int]:
    """The processes of a host's warm interpreters."""
    return [json.loads(state.read_text())["pid"] for state in root.glob("warm/*/state.json")]


def warm_job(_: int) -> float:
    """A job whose imports are done: from submit until its outcome is here, over a warm connection."""
    with _warm() as remote:
        seconds = hosts._median(lambda: remote.submit().outcome(), _JOBS)
        assert remote(), "a cold process was measured"
        return seconds


def fresh_python(_: int) -> float:
    """What a job would cost without: a new Python that imports numpy, over an SSH connection that is open already."""
    with hosts._paramiko() as client:
        return hosts._median(lambda: _import(client), _JOBS)


def at_once(count: int) -> float:
    """Jobs a second where `count` are submitted at once, each by a thread of its own."""
    with _warm() as remote:
        values: list[bool] = []
        threads = [threading.Thread(target=lambda: values.append(remote())) for _ in range(count)]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - begun
        assert values == [True] * count
        return count / seconds


def one_after_another(count: int) -> float:
    """Jobs a second where 64 of `count` are under way at a time."""
    with _warm() as remote:
        begun = time.perf_counter()
        values = list(remote.map(range(count), parallel=64))
        seconds = time.perf_counter() - begun
        assert values == [True] * count
        return count / seconds


def fresh_pythons(count: int) -> float:
    """The same without: new Pythons that import numpy, six at a time, for sshd lets one connection have ten."""
    with hosts._paramiko() as client, ThreadPoolExecutor(6) as pool:
        begun = time.perf_counter()
        ended = list(pool.map(lambda _: _import(client), range(count)))
        seconds = time.perf_counter() - begun
        assert ended == [0] * count
        return count / seconds


def _import(client: Any) -> int:
    with client.get_transport().open_session() as channel:
        channel.exec_command(f"{sys.executable} -c 'import numpy'")
        return int(channel.recv_exit_status())


class Echo:
    """What the actors of both sides are."""

    def same(self, value: int) -> int:
        """It."""
        return value


def _rate(call: Callable[[int], int], callers: int) -> float:
    """Calls a second of that many threads."""
    counts = itertools.count()
    begun = time.perf_counter()
    end = begun + _CALLS_FOR

    def work() -> None:
        while time.perf_counter() < end:
            assert call(1) == 1
            next(counts)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return next(counts) / (time.perf_counter() - begun)


def calls(callers: int) -> float:
    """Calls of an actor on this machine (`drawbar.target("local")`)."""
    import drawbar

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        os.environ["DRAWBAR_HOME"] = home
        target = drawbar.target("local")
        with target.actor(Echo) as actor:
            for _ in range(100):
                actor.same(1)
            rate = _rate(actor.same, callers)
        target.close()
        return rate


def calls_ray(callers: int) -> float:
    """The same by Ray, whose cluster is this machine; nothing of it listens elsewhere than on loopback."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
    import ray

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
        )
        actor = ray.remote(Echo).remote()
        for _ in range(100):
            ray.get(actor.same.remote(1))
        rate = _rate(lambda value: ray.get(actor.same.remote(value)), callers)
        ray.shutdown()
        return rate


def call_ssh(_: int) -> float:
    """Seconds of a warm actor's call over SSH: a method, its argument and its value."""
    with hosts._ours() as target, target.actor(Echo) as actor:
        return hosts._median(lambda: actor.same(1), hosts._TRIPS)


if __name__ == "__main__":
    print(globals()[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 0))
