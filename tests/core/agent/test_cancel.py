"""Cancel ends everything that a job is, and says so only when it is true."""

import time

import pytest
from agent_peer import alive, until

from drawbar.agent import frames, jobs


def plain():
    """Sleep."""
    import os
    import time

    print(os.getpid(), flush=True)
    time.sleep(600)


def stubborn():
    """Sleep, and ignore being asked to end."""
    import os
    import signal
    import time

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(os.getpid(), flush=True)
    while True:
        time.sleep(1)


def hidden():
    """Sleep, in another session and no child of the worker's."""
    import os
    import signal
    import time

    if not os.fork():
        os.setsid()
        if not os.fork():
            os.closerange(3, 100)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.write(1, f"{os.getpid()}\n".encode())
            time.sleep(600)
        os._exit(0)
    time.sleep(600)


def breeding():
    """Sleep in many processes."""
    import os
    import time

    print(os.getpid(), flush=True)
    for _ in range(30):
        if not os.fork():
            time.sleep(600)
    time.sleep(600)


def nested(function):
    """A copy that goes by value: its module cannot be imported by a worker."""
    import types

    return types.FunctionType(function.__code__, {"__builtins__": __builtins__}, function.__name__)


@pytest.mark.parametrize("function", [plain, stubborn, hidden, breeding])
def test_cancel_ends_the_whole_tree(peer, function):
    """A cancelled job would go on in some process, and hold its GPU."""
    job, _ = peer.submit(nested(function), grace=0.3)
    read = {"job": job, "attempt": 1, "stream": "stdout", "offset": 0}
    until(lambda: peer.ask(frames.READ, read)[0]["size"])
    pid = int(bytes(peer.ask(frames.READ, read)[1]))
    assert alive(pid)
    began = time.monotonic()
    answer = peer.ask(frames.CANCEL, {"job": job, "attempt": None, "timeout": 20})[0]
    assert (answer["state"], answer["ended"]) == ("ended", "cancelled")
    assert not alive(pid)
    assert time.monotonic() - began < 5
    ended, _, _ = peer.wait(job)
    assert (ended["state"], ended["cause"], ended["value"]) == ("cancelled", "cancel", None)
    assert [line["event"] for line in peer.log(job)] == ["submitted", "started", "cancel asked", "ended"]


def test_cancel_of_an_ended_job_changes_nothing(peer):
    """A late cancel would turn a value into a cancellation."""
    job, _ = peer.submit(lambda: 1)
    peer.wait(job)
    answer = peer.ask(frames.CANCEL, {"job": job, "attempt": 1, "timeout": 1})[0]
    assert (answer["state"], answer["ended"]) == ("ended", "succeeded")
    assert peer.submit(lambda: 1, job=job)[1]["how"] == "adopted"


def test_cancel_holds_although_the_agent_dies(agents):
    """A client that cancels and goes would leave the job running."""
    peer = agents()
    job, _ = peer.submit(nested(plain), grace=0.2)
    until(lambda: peer.ask(frames.READ, {"job": job, "stream": "stdout", "offset": 0, "attempt": 1})[0]["size"])
    peer.send(frames.CANCEL, {"job": job, "attempt": 1})
    until(lambda: any(line["event"] == "cancel asked" for line in peer.log(job)))
    peer.process.kill()
    assert agents().wait(job)[0]["state"] == "cancelled"


def test_a_stranded_job_can_be_cancelled(peer):
    """A job that was claimed and never started could not be called off."""
    attempt, lock = jobs.Jobs(peer.root).claim("stranded", 1, {})
    jobs.os.close(lock)
    answer = peer.ask(frames.CANCEL, {"job": "stranded", "attempt": 1, "timeout": 5})[0]
    assert (answer["state"], answer["ended"]) == ("ended", "cancelled")
    assert jobs.look(attempt).outcome["cause"] == "cancel"
