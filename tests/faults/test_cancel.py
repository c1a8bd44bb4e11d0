"""Cancel at every stage of a job: nothing of it is left soon after, and the outcome says so."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from calls import data_of, until, work

from drawbar import errors
from drawbar.agent import jobs

GRACE = 0.5
LEEWAY = 20.0
"""Seconds that ending a few processes may take on a machine that is busy with other things."""


def cancelled(calls, target, future):
    """Cancel; how long it took until nothing of the job was left, which it is when the call returns."""
    began = time.monotonic()
    target.dispatcher.cancel(future.handle)
    left = calls.at_work()
    took = time.monotonic() - began
    assert left == []
    assert took < GRACE + LEEWAY
    return took


def test_while_it_runs_whatever_it_started(calls):
    """Children that ignore SIGTERM and a daemon in a session of its own end with the job, 2 s after `grace` at most."""
    target = calls.target()
    future = target.function(work().stubborn, key="run", quiet=True).submit(str(calls.folder))
    until(lambda: calls.made() and len(calls.at_work()) >= 4)
    at_work = len(calls.at_work())
    took = cancelled(calls, target, future)
    with pytest.raises(errors.CancelledError):
        future.result(10)
    assert [line["event"] for line in calls.log("run", "stubborn")][-1] == "ended"
    print(f"cancel of {at_work} stubborn processes with a grace of {GRACE} s: {took:.2f} s")


def test_while_it_waits_to_begin(calls):
    """A job whose agent died before it began is called off: it never runs, also not for whoever asks next for its end."""
    target = calls.target()
    assert target.function(work().negative, quiet=True)(1) == -1
    job = target.function(work().backwards, key="waiting", quiet=True)._job(((str(calls.folder), b"abc"), {}))
    attempt, lock = jobs.Jobs(str(calls.root)).claim(job.id, 1, {"function": {}, "run_id": job.run_id})
    jobs.os.close(lock)
    handle = replace(target.function(work().negative, quiet=True).submit(2).handle, job=job.id, attempt=1)
    assert target.dispatcher.cancel(handle).ended
    assert jobs.look(attempt).outcome["state"] == "cancelled"
    assert calls.made() == 0


def test_while_its_argument_is_sent(calls):
    """Ctrl-C in an upload leaves no job, and the next call goes on with what had arrived."""
    client = calls.client("sent", 24 << 20)
    until(lambda: any(one.stat().st_size > 1 << 20 for one in calls.root.glob("partial/*")), client)
    client.send_signal(2)
    client.communicate(timeout=60)
    if client.returncode:
        assert not list(calls.root.glob("jobs/*"))
        assert calls.made() == 0
    (told,) = calls.told(calls.client("sent", 24 << 20))
    assert told.get("right"), told
    assert calls.starts() == [1]
    assert list(calls.root.glob("partial/*")) == []


def test_while_it_finishes(calls):
    """A value that is there already is not taken away by a cancel; exit handlers that hang are ended with it."""
    target = calls.target()
    future = target.function(work().late, key="late", quiet=True).submit(str(calls.folder))
    until(calls.made)
    took = cancelled(calls, target, future)
    assert future.result(10) == "value"
    print(f"cancel of a job in its exit handlers: {took:.2f} s")


def test_at_the_moment_it_begins_or_ends(calls):
    """Cancelled at any moment around its start, a job is cancelled or has its value: nothing else, and nothing is left."""
    target = calls.target()
    states = []
    for number in range(12):
        key = f"moment{number}"
        future = target.function(work().backwards, key=key, quiet=True).submit(str(calls.folder), data_of(key, 1000))
        time.sleep(number * 0.004)
        assert target.dispatcher.cancel(future.handle).ended
        assert calls.at_work() == []
        states.append(future.outcome(10).state)
    assert set(states) <= {"cancelled", "succeeded"}
    print(
        f"12 cancels in the first 50 ms: {states.count('cancelled')} cancelled, {states.count('succeeded')} succeeded"
    )


def test_many_cancels_at_once(calls):
    """Cancels of the same job by many threads all return, and it was cancelled once."""
    target = calls.target()
    calls.closed.touch()
    future = target.function(work().backwards, key="many", quiet=True).submit(str(calls.folder), b"abc")
    until(calls.made)
    ended = []
    threads = [
        threading.Thread(target=lambda: ended.append(target.dispatcher.cancel(future.handle).ended)) for _ in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert ended == [True] * 8
    assert [line["event"] for line in calls.log("many")].count("ended") == 1
    assert calls.at_work() == []
