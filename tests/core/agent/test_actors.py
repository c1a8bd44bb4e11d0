"""Actors on their host: a call is carried out once however often it arrives, and nobody is left without an answer."""

import os
import signal

import pytest
from agent_peer import RefusedError, alive, until

from drawbar.agent import frames, ledger, payload, relay


class _Counter:
    def __init__(self, start=0):
        self.count = start

    def add(self, number=1):
        self.count += number
        return self.count

    def same(self, value):
        return value

    def hold(self, path):
        import os
        import time

        while not os.path.exists(path):
            time.sleep(0.01)
        return self.count

    def rows(self, number):
        yield from range(number)

    def pid(self):
        import os

        return os.getpid()


def counter(start=0):
    """By value, as everything in a test; the class goes with it."""
    return _Counter(start)


class Caller:
    """Calls of one actor over an agent, with every number in the test's hand."""

    def __init__(self, peer, job, client="a"):
        self.peer, self.job, self.client = peer, job, client

    def meta(self, seq, method, epoch=1, op="call", **more):
        return {
            "op": op, "job": self.job, "attempt": 1, "method": method, "client": self.client, "epoch": epoch,
            "seq": seq, **more,
        }  # fmt: skip

    def send(self, seq, method, *args, **more):
        body = b"".join(payload.encode((args, {}), payload.dumps))
        return self.peer.send(frames.CALL, self.meta(seq, method, **more), body)

    def call(self, seq, method, *args, **more):
        meta, body = self.peer.receive(self.send(seq, method, *args, **more))
        return payload.decode(body) if "value" in meta else meta


def start(peer, function=counter, *args, idle=60.0, concurrency=1, **options):
    """An actor that takes calls."""
    import sys

    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        told = {"name": "n", "digest": "d", "idle_timeout": idle, "concurrency": concurrency}
        job, _ = peer.submit(function, *args, actor=told, **options)
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    found = peer.ask(frames.CALL, {"op": "ready", "job": job, "attempt": 1, "timeout": 30})[0]
    assert found["actor"], peer.wait(job)
    return job


def end(peer, job):
    """Stop it; its outcome."""
    peer.ask(frames.CALL, {"op": "stop", "job": job, "attempt": 1})
    return peer.wait(job)[0]


def test_it_is_a_job_that_takes_calls_until_it_is_stopped(peer):
    """It would need a supervisor, a log and an outcome of its own kind."""
    job = start(peer)
    caller = Caller(peer, job)
    assert [caller.call(1, "add"), caller.call(2, "add", 4), caller.call(3, "count", op="get")] == [1, 5, 5]
    listed = peer.ask(frames.ACTORS)[0]["actors"]
    assert [one["name"] for one in listed if one["job"] == job] == ["n"]
    outcome = end(peer, job)
    assert (outcome["state"], outcome["cause"]) == ("succeeded", "value")
    assert not os.path.exists(os.path.join(peer.root, "jobs", job, "attempts", "1", relay.sockets.NAME))
    assert [one for one in peer.ask(frames.ACTORS)[0]["actors"] if one["job"] == job] == []


def test_a_call_that_arrives_twice_is_carried_out_once(peer, agents):
    """After a break a client sends again what it has no answer to: that must not count twice."""
    job = start(peer)
    caller = Caller(peer, job)
    assert [caller.call(1, "add"), caller.call(1, "add"), caller.call(1, "add", epoch=2)] == [1, 1, 1]
    other = Caller(agents(peer.root), job)
    assert other.call(1, "add", epoch=3) == 1, "over another agent, too"
    assert caller.call(7, "add", epoch=2) == {"end": "stale"}, "what an agent that was given up still passes on"
    assert Caller(peer, job, client="b").call(1, "add") == 2
    assert other.call(2, "count", op="get", epoch=3) == 2
    end(peer, job)


def test_an_answer_waits_for_whoever_comes_back_for_it(peer, agents, tmp_path):
    """A connection that is cut during a call would lose what the call gave."""
    job = start(peer)
    cut = agents(peer.root)
    Caller(cut, job).send(1, "hold", str(tmp_path / "go"))
    until(lambda: _busy(peer, job))
    cut.process.kill()
    number = Caller(peer, job).send(1, "hold", str(tmp_path / "go"), epoch=2)
    (tmp_path / "go").touch()
    assert payload.decode(peer.receive(number)[1]) == 0
    end(peer, job)


def _busy(peer, job):
    from drawbar.agent import files

    folder = os.path.join(peer.root, "jobs", job, "attempts", "1")
    return os.path.exists(os.path.join(folder, "socket")) and files.read_json(os.path.join(folder, relay.MARKER))


def test_answers_that_nobody_takes_do_not_fill_its_memory(peer):
    """Clients that vanish would each leave their results for ever."""
    job = start(peer)
    caller = Caller(peer, job)
    size = 7 << 20
    for seq in range(ledger.KEPT_BYTES // size + 2):
        caller.call(seq, "same", bytes(size))
    assert caller.call(0, "same", b"") == {"end": "forgotten"}, "it was carried out, and its answer is gone"
    assert caller.call(100, "same", 5, done=list(range(20))) == 5
    end(peer, job)


def test_a_big_answer_is_a_blob(peer):
    """A frame holds 8 MiB."""
    job = start(peer)
    caller = Caller(peer, job)
    digest = peer.put(b"".join(payload.encode(((bytes(9 << 20),), {}))))
    meta, _ = peer.ask(frames.CALL, caller.meta(1, "same", args=digest))
    assert payload.decode(bytearray(peer.get(meta["value"]["digest"]))) == bytes(9 << 20)
    end(peer, job)


def test_streams_end_for_whoever_asks_too_late(peer):
    """A pull beyond the end, or of a stream that is closed, would wait for ever."""
    job = start(peer)
    caller = Caller(peer, job)
    stream = caller.call(1, "rows", 2)["stream"]
    asked = [caller.send(10 + at, "rows", op="next", stream=stream, at=at) for at in (2, 0, 3, 1)]
    answers = [peer.receive(number) for number in asked]
    assert [payload.decode(answers[at][1]) for at in (1, 3)] == [0, 1], "in whatever order they are asked for"
    assert [answers[at][0] for at in (0, 2)] == [{"done": True}] * 2
    assert caller.call(20, "rows", op="next", stream=stream, at=4) == {"done": True}
    stream = caller.call(21, "rows", 5)["stream"]
    peer.ask(frames.CALL, caller.meta(0, "rows", op="close", stream=stream))
    assert caller.call(22, "rows", op="next", stream=stream, at=0) == {"done": True}
    end(peer, job)


def test_a_death_is_told_to_everybody_who_waits(peer, tmp_path):
    """They would wait for ever."""
    job = start(peer)
    caller = Caller(peer, job)
    pid = caller.call(1, "pid")
    waiting = [caller.send(seq, "hold", str(tmp_path / "never")) for seq in range(2, 6)]
    os.kill(pid, signal.SIGKILL)
    assert [peer.receive(number)[0]["end"] for number in waiting] == ["gone"] * 4
    outcome = peer.wait(job)[0]
    assert (outcome["state"], outcome["signal"]) == ("killed", signal.SIGKILL)
    assert caller.call(9, "add") == {"end": "gone", "begun": False, "why": ""}


def test_cancel_kills_it(peer):
    """Whoever holds a GPU without end must be made to let go."""
    job = start(peer)
    pid = Caller(peer, job).call(1, "pid")
    peer.ask(frames.CANCEL, {"job": job, "attempt": 1})
    assert not alive(pid)
    assert peer.wait(job)[0]["state"] == "cancelled"


def test_an_actor_that_nobody_calls_ends(peer):
    """It would hold what it holds for ever; why it ended is told."""
    job = start(peer, idle=0.2)
    assert peer.wait(job)[0]["state"] == "succeeded"
    assert Caller(peer, job).call(1, "add") == {"end": "gone", "begun": False, "why": "idle"}


def test_a_stopped_process_holds_up_nobody_else(peer, tmp_path):
    """An actor that takes nothing would stop the agent, and with it every other job."""
    job = start(peer)
    caller = Caller(peer, job)
    pid = caller.call(1, "pid")
    os.kill(pid, signal.SIGSTOP)
    waiting = [caller.send(seq, "same", bytes(1 << 20)) for seq in range(2, 12)]
    assert peer.ask(frames.HAVE, {"blobs": []})[0] == {"missing": [], "partial": {}}
    os.kill(pid, signal.SIGCONT)
    assert all(payload.decode(peer.receive(number)[1]) == bytes(1 << 20) for number in waiting)
    end(peer, job)


def test_threads_carry_out_as_many_as_were_asked_for(peer, tmp_path):
    """With a concurrency of 2 one call that waits must not hold up another."""
    job = start(peer, concurrency=2)
    caller = Caller(peer, job)
    holds = caller.send(1, "hold", str(tmp_path / "go"))
    assert caller.call(2, "add") == 1
    (tmp_path / "go").touch()
    assert payload.decode(peer.receive(holds)[1]) == 1
    end(peer, job)


def test_secrets_are_masked_in_what_it_raises(peer):
    """A traceback would carry them to whoever called."""

    def teller():
        class Teller:
            def tell(self):
                import os

                raise ValueError(os.environ["TOKEN"])

        return Teller()

    job = start(peer, teller, secrets={"TOKEN": "hunter2222"})
    told = Caller(peer, job).call(1, "tell")["error"]
    assert (told["type"], told["message"]) == ("ValueError", "***")
    assert "hunter2222" not in told["traceback"]
    end(peer, job)


@pytest.mark.parametrize(
    "meta", [{}, {"op": "call", "job": "none", "attempt": 1}, {"op": "call", "job": 5, "attempt": 1}]
)
def test_a_call_that_makes_no_sense_is_refused(peer, meta):
    """A client's fault would end the connection of all its jobs."""
    with pytest.raises(RefusedError):
        peer.ask(frames.CALL, meta)
    assert peer.ask(frames.HAVE, {"blobs": []})[0] == {"missing": [], "partial": {}}
