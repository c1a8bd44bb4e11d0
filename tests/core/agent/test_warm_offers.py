"""How a job is offered to a warm interpreter that may stop or die at any moment: one process runs it."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from drawbar.agent import jobs, warm


@pytest.fixture
def offered(tmp_path):
    """A maker of an attempt with its lock, and of the socket of a warm interpreter that the test plays."""
    made = []

    def make():
        root = str(tmp_path / "host")
        attempt, lock = jobs.Jobs(root).claim("job", 1, {"function": {}})
        folder = Path(root) / "warm" / warm.key(root, {})
        folder.mkdir(parents=True)
        listener = socket.socket(socket.AF_UNIX)
        bind_in(folder, listener)
        listener.listen()
        made.extend((lock, listener))
        return root, attempt, lock, listener

    yield make
    os.close(made[0])
    made[1].close()
    warm._silent.clear()


def bind_in(folder, listener):
    place = os.open(folder, os.O_RDONLY)
    listener.bind(f"/proc/self/fd/{place}/socket")
    os.close(place)


def played(listener, *, claims):
    """One who greets, takes the job or not, and never answers; the process that it says it is."""
    victim = subprocess.Popen(["sleep", "1000"])
    kept = []

    def play():
        connection, _ = listener.accept()
        connection.recv(1)
        connection.sendall(b"%d" % victim.pid)
        said = socket.recv_fds(connection, 4, 1)
        told = connection.recv(1 << 16)
        if claims:
            assert warm.claim(json.loads(told)["attempt"][0])
        os.close(said[1][0])
        kept.append(connection)

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    return victim, thread, kept


@pytest.mark.parametrize("claims", [True, False])
def test_who_never_answers_is_asked_who_runs_the_job(offered, claims):
    """A job would be started twice, or not at all, by an agent that waited in vain."""
    root, attempt, lock, listener = offered()
    victim, thread, kept = played(listener, claims=claims)
    began = time.monotonic()
    assert warm.hand_over(root, attempt, lock, {}, {}) is claims
    assert time.monotonic() - began < 10
    thread.join()
    assert not os.path.exists(attempt.path("offer"))
    if claims:
        assert victim.poll() is None
    else:
        assert victim.wait(10) == -signal.SIGKILL  # else it would keep the job's lock for as long as it is stopped
        assert warm.hand_over(root, attempt, lock, {}, {}) is False  # at once: nobody is asked for a while
    victim.kill()
    victim.wait()
    for one in kept:
        one.close()


def test_one_takes_an_offer(tmp_path):
    """Two processes would run one job."""
    for _ in range(50):
        (tmp_path / "offer").touch()
        won = []
        racers = [threading.Thread(target=lambda won=won: won.append(warm.claim(str(tmp_path)))) for _ in range(4)]
        for one in racers:
            one.start()
        for one in racers:
            one.join()
        assert sorted(won) == [False, False, False, True]
