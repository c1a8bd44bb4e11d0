"""The event loop: live output, many requests at once, and a client that says nonsense."""

import contextlib
import os
import random
import struct
import time

import pytest
from agent_peer import RefusedError

from drawbar.agent import frames
from drawbar.agent.serve import _CONGESTED


def test_hello_says_where_we_are(peer):
    """Preflight could not know the interpreter, the user or the room on the disk."""
    told = peer.hello
    assert told["protocol"] == 1
    assert told["root"] == peer.root
    assert told["free"] > 0
    assert os.path.exists(told["executable"])
    assert len(told["agent"]) == 64
    assert told["pid"] == peer.process.pid


@pytest.mark.parametrize(
    ("kind", "meta", "body", "what"),
    [
        (99, {}, b"", "That is not a request."),
        (frames.OK, {}, b"", "That is not a request."),
        (frames.HELLO, {"protocol": 2}, b"", "The client speaks another protocol."),
        (frames.HELLO, {}, b"", "The request HELLO does not say what it must."),
        (frames.HAVE, {"blobs": 5}, b"", "The request HAVE does not say what it must."),
        (frames.HAVE, {"blobs": ["x"]}, b"", "That is not a digest."),
        (frames.PUT, {"digest": "0" * 64, "offset": "x", "size": 1}, b"", "The request PUT does not say what it must."),
        (frames.SUBMIT, {"job": "a", "spec": 1}, b"", "SUBMIT has no spec of a function."),
        (frames.SUBMIT, {"job": "a", "spec": {}, "again": "so"}, b"", "SUBMIT does not say when to try again."),
        (
            frames.SUBMIT,
            {"job": "a", "run_id": "r", "spec": {"function": {}}},
            b"[1]",
            "The secrets of SUBMIT are not variables.",
        ),
        (frames.WAIT, {"job": 5}, b"", "The request WAIT does not say what it must."),
        (frames.READ, {"job": "a", "stream": "lock", "offset": 0}, b"", "There is no such stream."),
    ],
)
def test_a_request_that_makes_no_sense_is_answered(peer, kind, meta, body, what):
    """A client's fault would end the connection of all its jobs, or be met with silence."""
    with pytest.raises(RefusedError) as caught:
        peer.ask(kind, meta, body)
    assert caught.value.meta["code"] == "protocol"
    assert caught.value.meta["what"] == what
    assert peer.ask(frames.HAVE, {"blobs": []})[0] == {"missing": [], "partial": {}}


def test_output_arrives_while_the_job_runs(peer):
    """A user would see nothing until the end."""

    def speaks():
        import time

        for n in range(3):
            print(n)
            time.sleep(0.15)

    job, _ = peer.submit(speaks)
    seen, size = [], 0
    while True:
        meta, body = peer.ask(frames.WAIT, {"job": job, "attempt": 1, "stdout": size, "stderr": 0, "timeout": 5})
        size += len(body)
        if body:
            seen.append((bytes(body), time.monotonic()))
        if meta["outcome"]:
            break
    assert [text for text, _ in seen] == [b"0\n", b"1\n", b"2\n"]
    assert seen[-1][1] - seen[0][1] > 0.2


def test_the_outcome_comes_after_the_last_byte(peer):
    """A client would stop reading before it had all the output."""

    def speaks():
        print("x" * 100_000)

    job, _ = peer.submit(speaks)
    got = 0
    while True:
        ask = {"job": job, "attempt": 1, "stdout": got, "stderr": 0, "timeout": 5, "limit": 30_000}
        meta, body = peer.ask(frames.WAIT, ask)
        assert len(body) <= 30_000
        got += len(body)
        if meta["outcome"]:
            break
    assert got == 100_001


def test_a_wait_ends_with_its_timeout(peer):
    """A client could not tell a slow job from a dead connection."""
    job, _ = peer.submit(time.sleep, 3)
    peer.ask(frames.WAIT, {"job": job, "attempt": 1, "timeout": 5, "state": "waiting"})
    began = time.monotonic()
    meta, _ = peer.ask(frames.WAIT, {"job": job, "attempt": 1, "timeout": 0.1, "state": "running"})
    assert 0.05 < time.monotonic() - began < 2.5
    assert (meta["state"], meta["outcome"]) == ("running", None)
    assert peer.wait(job)[0]["state"] == "succeeded"


def test_a_change_of_state_is_news(peer):
    """A client that knows "waiting" would not learn that the job runs."""
    job, _ = peer.submit(time.sleep, 4)
    time.sleep(0.2)
    began = time.monotonic()
    meta, _ = peer.ask(frames.WAIT, {"job": job, "attempt": 1, "timeout": 5, "state": "waiting", "waiting": ""})
    assert meta["state"] == "running"
    assert time.monotonic() - began < 3
    peer.wait(job)


def test_many_jobs_over_one_connection(peer):
    """Waiting for one job would keep the answers of the others back."""
    submitted = [peer.submit(lambda n=n: n)[0] for n in range(20)]
    waits = [peer.send(frames.WAIT, {"job": job, "attempt": 1, "timeout": 30}) for job in submitted]
    ended = [peer.receive(number)[0] for number in reversed(waits)]
    assert len(ended) == 20
    assert [peer.value(peer.wait(job)[0]) for job in submitted] == list(range(20))


def test_a_client_that_does_not_read_is_waited_for(agents):
    """Answers that nobody takes would fill the agent's memory."""
    peer = agents()
    digest = peer.put(bytes(frames.CHUNK))
    numbers = [peer.send(frames.GET, {"digest": digest, "offset": 0, "length": frames.CHUNK}) for _ in range(200)]
    time.sleep(0.3)
    with open(f"/proc/{peer.process.pid}/statm") as file:
        assert int(file.read().split()[1]) * 4096 < 2 * _CONGESTED + (64 << 20)
    assert [len(peer.receive(number)[1]) for number in numbers] == [frames.CHUNK] * 200


def test_a_damaged_frame_is_answered_and_ends_the_connection(agents):
    """A client of another version would wait for ever."""
    peer = agents()
    damaged = bytearray(b"".join(frames.pack(frames.HAVE, 77, {"blobs": []})))
    damaged[-1] ^= 1
    peer.write([damaged])
    with pytest.raises(RefusedError) as caught:
        peer.receive(77)
    assert caught.value.meta["code"] == "protocol"
    assert caught.value.meta["what"] == "A frame is damaged."
    assert peer.process.wait(5) == 0


def test_an_idle_agent_costs_nothing(agents):
    """A connection kept open would burn a core."""
    peer = agents()
    peer.submit(time.sleep, 3)
    time.sleep(0.5)
    before = _ticks(peer.process.pid)
    time.sleep(1)
    assert _ticks(peer.process.pid) - before <= 2


def _ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_fuzzed_frames_end_in_an_error_or_a_close(agents):
    """Somewhere in the protocol a byte would crash, hang or bloat the agent."""
    chance = random.Random(11)
    digest = "ab" * 32
    requests = [
        (frames.HELLO, {"protocol": 1}, b""),
        (frames.HAVE, {"blobs": [digest]}, b""),
        (frames.PUT, {"digest": digest, "offset": 0, "size": 3}, b"abc"),
        (frames.SUBMIT, {"job": "f", "run_id": "r", "spec": {"function": {"blob": digest}}}, b"{}"),
        (frames.WAIT, {"job": "f", "attempt": 1, "stdout": 0, "stderr": 0, "timeout": 0}, b""),
        (frames.READ, {"job": "f", "attempt": 1, "stream": "stdout", "offset": 0, "limit": 10}, b""),
        (frames.GET, {"digest": digest, "offset": 0, "length": 10}, b""),
        (frames.CANCEL, {"job": "f", "attempt": None, "timeout": 0}, b""),
        (frames.JOBS, {"limit": 3}, b""),
        (frames.TOLD, {"job": "f", "attempt": 1}, b""),
    ]
    values = [None, -1, 1 << 70, 1e308, "", "x" * 5000, [], {}, [[]], True, "../..", "\0", digest, float("nan")]
    peer = agents()
    codes = []
    for _ in range(3000):  # whole frames with wrong meta: each is answered, and the connection stays
        kind, meta, body = chance.choice(requests)
        wrong = dict(meta)
        for key in chance.sample(sorted(meta), chance.randint(1, len(meta))):
            wrong[key] = chance.choice(values)
        try:
            peer.ask(kind, wrong, body)
        except RefusedError as refused:
            codes.append(refused.meta["code"])
    assert len(codes) > 1000
    assert "internal" not in codes
    with open(f"/proc/{peer.process.pid}/statm") as file:
        assert int(file.read().split()[1]) * 4096 < 100 << 20
    for _ in range(15):  # bytes that are no frame: an error where the number can be known, then the end
        spoiled = bytearray(
            b"".join(part for request in requests[:3] for part in frames.pack(request[0], 5, *request[1:]))
        )
        spoiled[chance.randrange(24)] ^= 1 << chance.randrange(8)
        other = agents()
        with contextlib.suppress(BrokenPipeError):  # the agent may be gone before it was sent all of it
            other.write([spoiled, struct.pack("!Q", 0) * 8])
        other.process.stdin.close()
        assert other.process.wait(10) == 0
