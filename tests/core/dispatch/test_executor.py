"""A target as a concurrent.futures.Executor: what the standard library and asyncio make of it, on every kind of target."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future, as_completed, wait

import pytest

from drawbar.dispatch.executor import TargetExecutor
from drawbar.dispatch.remote import CallOptions
from drawbar.errors import KilledError, OptionError, TimedOutError


def executor_on(place, max_workers=4, **options):
    return TargetExecutor(place.dispatcher, CallOptions(quiet=True, **options), max_workers=max_workers)


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def test_futures_are_the_standard_librarys(place):
    """What takes futures takes these: as_completed, wait, callbacks, map in order, with closures and keywords."""
    base = 10
    with executor_on(place) as pool:
        futures = {pool.submit(lambda one, *, more: base + one + more, one, more=1): one for one in range(6)}
        assert all(type(future) is Future for future in futures)
        assert {futures[done]: done.result() for done in as_completed(futures, timeout=60)} == {
            one: 11 + one for one in range(6)
        }
        told = threading.Event()
        later = pool.submit(pow, 2, 5)
        later.add_done_callback(lambda future: told.set())
        assert wait([later], timeout=60).done == {later}
        assert told.wait(10)
        assert list(pool.map(pow, [1, 2, 3], [2, 2, 2], timeout=60)) == [1, 4, 9]
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(pow, 2, 5)


def test_asyncio_takes_it(place):
    """`run_in_executor` and `wrap_future` await jobs as they await threads."""

    async def main(pool):
        loop = asyncio.get_running_loop()
        first = loop.run_in_executor(pool, pow, 2, 4)
        second = asyncio.wrap_future(pool.submit(pow, 2, 6))
        return await asyncio.gather(first, second)

    with executor_on(place) as pool:
        assert asyncio.run(main(pool)) == [16, 64]


def test_exceptions_are_the_users_own(place):
    """What the function raises comes out of the future as it is; a job that ends otherwise raises the JobError that fits."""
    with executor_on(place) as pool:
        failed = pool.submit(lambda: {}["missing"])
        with pytest.raises(KeyError, match="missing"):
            failed.result(60)
        assert isinstance(failed.exception(), KeyError)


def test_a_job_that_is_killed_fails_its_future_alone(agent_place):
    """One worker that dies by a signal says so in its future, and the executor goes on: no broken pool."""
    with executor_on(agent_place) as pool:
        killed = pool.submit(lambda: os.kill(os.getpid(), 9))
        with pytest.raises(KilledError, match="SIGKILL"):
            killed.result(60)
        assert pool.submit(pow, 3, 2).result(60) == 9


def test_options_hold_for_every_call(agent_place):
    """Variables reach the job, and a timeout stops it; a `key`, which would make all calls one, is refused."""
    with executor_on(agent_place, variables={"COLOUR": "green"}, timeout=0.5) as pool:
        assert pool.submit(os.getenv, "COLOUR").result(60) == "green"
        with pytest.raises(TimedOutError):
            pool.submit(time.sleep, 60).result(60)
    with pytest.raises(OptionError, match="cannot have a `key`"):
        executor_on(agent_place, key="once")
    with pytest.raises(ValueError, match="at least 1"):
        executor_on(agent_place, max_workers=0)


def test_one_that_waits_is_cancelled_and_one_that_runs_is_not(agent_place, tmp_path):
    """Future.cancel keeps its contract: what has not begun never begins, what runs goes on to its value."""
    gate, begun = tmp_path / "gate", tmp_path / "begun"

    def hold(begun, gate):
        import pathlib
        import time

        pathlib.Path(begun).touch()
        while not pathlib.Path(gate).exists():
            time.sleep(0.01)
        return "held"

    with executor_on(agent_place, max_workers=1) as pool:
        running = pool.submit(hold, str(begun), str(gate))
        waiting = pool.submit(hold, str(tmp_path / "never"), str(gate))
        last = pool.submit(hold, str(tmp_path / "nor this"), str(gate))
        until(begun.exists)
        assert waiting.cancel()
        assert not running.cancel()
        pool.shutdown(wait=False, cancel_futures=True)
        assert last.cancelled()
        gate.touch()
        assert running.result(60) == "held"
    with pytest.raises(CancelledError):
        waiting.result()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "gate"]


def test_chunks_of_a_map_are_one_job_each(agent_place):
    """With a chunksize small calls share jobs, the values stay in order, and an exception comes where its call stands."""
    before = len(agent_place.dispatcher.jobs(1000))
    with executor_on(agent_place) as pool:
        assert list(pool.map(lambda one: one * 2, range(10), chunksize=4)) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
        assert len(agent_place.dispatcher.jobs(1000)) - before == 3
        with pytest.raises(ZeroDivisionError):
            list(pool.map(lambda one: 1 // one, [1, 0], chunksize=2))
        with pytest.raises(RuntimeError, match="StopIteration"):
            list(pool.map(lambda one: next(iter(())), [1, 2], chunksize=2))
        with pytest.raises(ValueError, match="chunksize"):
            pool.map(pow, [1], [1], chunksize=0)


def test_a_map_that_is_late_says_so(agent_place):
    """`timeout` of map bounds the wait for the values, as in the standard library."""
    with executor_on(agent_place, timeout=5.0) as pool, pytest.raises(TimeoutError):
        list(pool.map(time.sleep, [3.0], timeout=0.2))


def test_a_process_that_ends_waits_for_what_it_submitted(tmp_path):
    """A script whose last line is a submit still has the job done, as with threads."""
    script = (
        "import drawbar, pathlib\n"
        "from drawbar.config import TargetConfig\n"
        "from drawbar.dispatch.executor import TargetExecutor\n"
        "from drawbar.dispatch.remote import CallOptions\n"
        "from drawbar.dispatch.target import dispatcher\n"
        f"place = dispatcher('worker', TargetConfig(root={str(tmp_path / 'root')!r}))\n"
        "place.facts()\n"
        "pool = TargetExecutor(place, CallOptions(), max_workers=1)\n"
        f"for name in ('a', 'b'): pool.submit(pathlib.Path.touch, pathlib.Path({str(tmp_path)!r}, name))\n"
        "pool.shutdown(wait=False)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=100)
    assert done.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "root"]


def test_many_calls_need_few_threads(agent_place):
    """A hundred calls are under way four at a time, by four threads of ours, in one connection."""
    opened = agent_place.dispatcher.link.opened
    with executor_on(agent_place) as pool:
        futures = [pool.submit(divmod, one, 7) for one in range(100)]
        threads = [one for one in threading.enumerate() if one.name.startswith(f"drawbar {agent_place.target.name}_")]
        assert len(threads) <= 4
        assert [future.result(100) for future in futures] == [divmod(one, 7) for one in range(100)]
    assert agent_place.dispatcher.link.opened - opened <= 1
