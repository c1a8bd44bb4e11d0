"""Leases: one maker at a time, a dead one is followed, a live one is waited for."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
import uuid

import pytest

from drawbar.files import open_files
from drawbar.leases import Held

NEVER = dict.fromkeys(["made", "stopped"], lambda: False)


def _silent(holder):
    pass


@pytest.fixture(params=["local", "memory"])
def files(request, tmp_path):
    """A disk, and fsspec's memory."""
    return open_files(str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}")


def test_a_lease_is_had_once(files):
    """While one holds it, another waits, and has it when it is released."""
    held = Held(files)
    first = held.acquire("a", "v", "r1", waiting=_silent, **NEVER)
    told, got = [], []
    waiter = threading.Thread(
        target=lambda: got.append(held.acquire("a", "v", "r2", waiting=lambda h: told.append(h.walk), **NEVER))
    )
    waiter.start()
    time.sleep(0.2)
    assert (told, got) == (["r1"], [])
    first.release()
    waiter.join(5)
    assert got[0].before is None
    got[0].release()
    assert files.list("a/leases") == []


def test_a_waiter_leaves_when_the_record_is_there_or_the_run_stops(files):
    """Waiting ends without a lease as soon as there is nothing left to make, or nobody who wants it."""
    held = Held(files)
    lease = held.acquire("a", "v", "r1", waiting=_silent, **NEVER)
    assert held.acquire("a", "v", "r2", made=lambda: True, waiting=_silent, stopped=lambda: False) is None
    assert held.acquire("a", "v", "r2", made=lambda: False, waiting=_silent, stopped=lambda: True) is None
    lease.release()


def _hold(root, ready):
    Held(open_files(root)).acquire("a", "v", "dead-run", waiting=_silent, **NEVER)
    ready.set()
    time.sleep(60)


def test_a_killed_holder_on_this_machine_is_followed_at_once(tmp_path):
    """SIGKILL leaves the file; the next maker sees that the process is gone, and knows whose run it was."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path), ready))
    holder.start()
    assert ready.wait(30)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    begun = time.monotonic()
    lease = Held(open_files(str(tmp_path))).acquire("a", "v", "r2", waiting=_silent, **NEVER)
    assert lease.before.walk == "dead-run"
    assert time.monotonic() - begun < 20
    lease.release()


def _elsewhere(files, renew):
    """A holder on another machine, as its file shows it."""
    body = {
        "walk": "far",
        "attempt": 1,
        "host": "elsewhere",
        "boot": "b",
        "pid": 1,
        "born": "1",
        "by": "x",
        "since": time.time(),
    }
    files.write("a/leases/v.1.json", [json.dumps({**body, "renewed": renew}).encode()])


def test_a_silent_holder_elsewhere_is_followed_after_the_ttl(files):
    """Only the watcher's own clock counts: an unchanged file for the TTL is a dead holder."""
    _elsewhere(files, 0)
    begun = time.monotonic()
    lease = Held(files, ttl=0.5).acquire("a", "v", "r2", waiting=_silent, **NEVER)
    assert lease.before.walk == "far"
    assert 0.4 < time.monotonic() - begun < 20
    assert files.list("a/leases") == ["v.2.json"]
    lease.release()


def test_a_holder_that_renews_is_not_followed(files):
    """A live holder keeps its lease however long it takes."""
    stop = threading.Event()

    def renew():
        count = 0
        while not stop.wait(0.1):
            count += 1
            _elsewhere(files, count)

    _elsewhere(files, 0)
    renewer = threading.Thread(target=renew)
    renewer.start()
    deadline = time.monotonic() + 1.5
    lease = Held(files, ttl=0.5).acquire(
        "a", "v", "r", made=lambda: False, waiting=_silent, stopped=lambda: time.monotonic() > deadline
    )
    stop.set()
    renewer.join()
    assert lease is None


def test_a_lease_held_long_is_renewed(files):
    """The file of a live holder changes, so that watchers elsewhere see it live."""
    held = Held(files, ttl=0.6)
    lease = held.acquire("a", "v", "r", waiting=_silent, **NEVER)
    before = files.read("a/leases/v.1.json")
    time.sleep(0.8)
    assert files.read("a/leases/v.1.json") != before
    lease.release()


def _make(root, barrier, log):
    held, mine = Held(open_files(root)), f"{os.getpid()}"
    barrier.wait()
    for i in range(20):
        done = f"done-{i}"
        files = open_files(root)
        lease = held.acquire(
            "a",
            f"v{i}",
            mine,
            made=lambda d=done, f=files: f.size(d) is not None,
            waiting=_silent,
            stopped=lambda: False,
        )
        if lease is not None:
            if files.size(done) is None:
                log.put(i)
                files.write(done, [b"x"])
            lease.release()


def test_of_many_processes_one_makes_each(tmp_path):
    """Four processes that want the same twenty versions make each once."""
    context = multiprocessing.get_context("spawn")
    barrier, log = context.Barrier(4), context.Queue()
    makers = [context.Process(target=_make, args=(str(tmp_path), barrier, log)) for _ in range(4)]
    for one in makers:
        one.start()
    made = [log.get(timeout=60) for _ in range(20)]
    for one in makers:
        one.join(30)
    assert sorted(made) == list(range(20))
    assert log.empty()


def test_a_lease_is_released_once(files):
    """Releasing again, late, does not take the lease from whoever holds it by then."""
    held = Held(files)
    first = held.acquire("a", "v", "r1", waiting=_silent, **NEVER)
    first.release()
    second = held.acquire("a", "v", "r2", waiting=_silent, **NEVER)
    first.release()
    assert second.path == first.path
    assert json.loads(files.read(second.path))["walk"] == "r2"
