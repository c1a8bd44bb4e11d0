"""Mutated frames, payloads, records, configuration and job folders: an error each time; never a hang, a crash, or code run."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import select
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from calls import ROUNDS, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drawbar import errors
from drawbar.agent import frames, launch, payload
from drawbar.config import Config
from drawbar.dispatch.bundle import bundle
from drawbar.keys import AssetKey
from drawbar.records import Parts, Record

MUTATIONS = 10_000 if ROUNDS else 500
ANSWER = 30.0
QUIET = settings(
    max_examples=MUTATIONS, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
SPOTS = st.lists(
    st.tuples(st.integers(0, 1 << 20), st.integers(0, 255), st.sampled_from("xidt")), min_size=1, max_size=4
)

pytestmark = pytest.mark.timeout(120 + 20 * ROUNDS)


def mutated(data, spots):
    """`data` with bytes exchanged, put in, or taken out, or cut off, at places of any number."""
    made = bytearray(data)
    for place, byte, how in spots:
        at = place % max(1, len(made))
        if how == "x" and made:
            made[at] = byte
        elif how == "i":
            made[at:at] = bytes([byte])
        elif how == "d":
            del made[at : at + byte % 9]
        elif how == "t" and byte > 200:
            del made[at:]
    return bytes(made)


class Canary:
    """A value whose pickle, once loaded, leaves a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


class Agent:
    """A real agent over pipes; what it sends is read as it comes, and bytes that are no frame may be sent."""

    def __init__(self, root):
        made = bundle()
        self.process = subprocess.Popen(
            launch.argv(sys.executable, made.digest, str(root)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        self.numbers = itertools.count(1)
        self.parser = frames.Parser()
        said = b""
        while not said.endswith(b"\n"):
            piece = self.process.stdout.read(1)
            assert piece, self.process.stderr.read()
            said += piece
        if b"need" in said:
            self.write(len(made.data).to_bytes(8, "big") + made.data)
        self.ask(frames.HELLO, {"protocol": 1})

    def write(self, data):
        """All of `data`, as far as it is taken."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.process.stdin.write(rest) :]

    def answers(self):
        """The next frames. AssertionError where nothing comes, or the agent has ended."""
        assert select.select([self.process.stdout], [], [], ANSWER)[0], "the agent hangs"
        data = os.read(self.process.stdout.fileno(), 1 << 20)
        assert data, f"the agent ended: {self.process.stderr.read().decode()}"
        return self.parser.feed(data)

    def ask(self, kind, meta=None, *body):
        """The answer to one request."""
        number = next(self.numbers)
        self.write(b"".join(frames.pack(kind, number, meta, *body)))
        while True:
            for frame in self.answers():
                if frame.number == number:
                    return frame

    def memory(self):
        """Bytes that it holds."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def end(self):
        """Its exit status and what it said, once it has no more input."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        status = self.process.wait(ANSWER)
        said = self.process.stderr.read().decode()
        self.process.stderr.close()
        return status, said


@pytest.fixture
def agents(tmp_path):
    """A maker of agents of one root; all have ended at the end, and none by a fault of its own."""
    made = []

    def make():
        made.append(Agent(tmp_path / "root"))
        return made[-1]

    yield make
    for one in made:
        if one.process.returncode is None:
            status, said = one.end()
            assert (status, said) == (0, "")


def test_the_agents_stdin(agents, tmp_path):
    """Streams with bytes changed, added and lost: each is answered or ends the connection; the agent neither hangs nor dies."""
    chance = random.Random(3)
    digest = hashlib.sha256(b"abc").hexdigest()
    canary = tmp_path / "canary"
    call = b"".join(payload.encode(((Canary(canary),), {})))
    good = [
        (frames.HAVE, {"blobs": [digest]}, b""),
        (frames.PUT, {"digest": digest, "offset": 0, "size": 3}, b"abc"),
        (frames.PUT, {"digest": hashlib.sha256(call).hexdigest(), "offset": 0, "size": len(call)}, call),
        (frames.WAIT, {"job": "f", "attempt": 1, "stdout": 0, "stderr": 0, "timeout": 0}, b""),
        (frames.GET, {"digest": digest, "offset": 0, "length": 3}, b""),
        (frames.CANCEL, {"job": "f", "attempt": None, "timeout": 0}, b""),
        (frames.JOBS, {"limit": 3}, b""),
    ]
    agent, ends = agents(), 0
    for _ in range(MUTATIONS):
        spots = [
            (chance.randrange(1 << 20), chance.randrange(256), chance.choice("xidt"))
            for _ in range(chance.randint(1, 3))
        ]
        kind, meta, body = chance.choice(good)
        text = mutated(json.dumps(meta).encode(), spots)
        number = next(agent.numbers)
        if chance.random() < 0.95:  # a frame that is whole, with meta that is not what it was
            try:
                changed = json.loads(text)
            except ValueError:
                continue
            if isinstance(changed, dict):
                assert agent.ask(kind, changed, body).kind in (frames.OK, frames.ERROR)
            continue
        spoiled = mutated(b"".join(frames.pack(kind, number, meta, body)), spots)
        with contextlib.suppress(BrokenPipeError):
            agent.write(spoiled)
        status, said = agent.end()
        assert (status, said) == (0, "")
        agent, ends = agents(), ends + 1
    assert agent.memory() < 150 << 20
    assert not canary.exists()
    print(f"{MUTATIONS} mutations of what an agent is told: {ends} connections ended, no agent died")


@QUIET
@given(spots=SPOTS)
def test_payloads(tmp_path, spots):
    """A container that was changed is refused or gives its pickle's own error; lengths in it make nobody allocate."""
    data = b"".join(payload.encode({"a": [1, 2, bytearray(500)], "b": "text"}))
    head = mutated(data[:64], spots) + data[64:]
    with contextlib.suppress(payload.PayloadError):
        stream, buffers = payload.split(bytearray(head))
        assert len(stream) + sum(map(len, buffers)) <= 2 * len(head)


def test_a_payload_is_opened_by_the_worker_alone(agents, tmp_path):
    """A pickle that does harm when it is loaded does it in a job's worker, never in an agent, whatever is asked of that."""
    agent, canary = agents(), tmp_path / "canary"
    call = b"".join(payload.encode(((Canary(canary),), {})))
    digest = hashlib.sha256(call).hexdigest()
    put = {"digest": digest, "offset": 0, "size": len(call)}
    assert agent.ask(frames.PUT, put, call).kind == frames.OK
    for kind, meta in (
        (frames.GET, {"digest": digest, "offset": 0, "length": len(call)}),
        (frames.HAVE, {"blobs": [digest]}),
    ):
        assert agent.ask(kind, meta).kind == frames.OK
    assert not canary.exists()
    spec = {"function": {"module": "builtins", "qualname": "len"}, "call": digest, "result": {"payload": True}}
    agent.ask(frames.SUBMIT, {"job": "job", "name": "job", "run_id": "r", "spec": spec})
    until((tmp_path / "root" / "jobs" / "job" / "attempts" / "1" / "outcome.json").exists)
    assert canary.exists()
    assert agent.ask(frames.JOBS, {"limit": 3}).meta["jobs"][0]["job"] == "job"


RECORD = Record(
    key=AssetKey("site", "embeddings"), version="v" * 16, data_version="d" * 64, value="values/x.json", format="json",
    ext=".json", type="list", bytes=3, rows=None, columns=(("a", "int"),), parts=Parts(digest="x", code={"f": "1"}),
    run_id="r", at=datetime(2026, 11, 21, tzinfo=UTC), by="me", host="here", target="gpu", seconds=1.5,
)  # fmt: skip


@QUIET
@given(spots=SPOTS)
def test_records(spots):
    """A record that was changed is read, or refused as corrupt with the file's name and what to do."""
    text = mutated(RECORD.to_json(), spots)
    refused = None
    try:
        assert isinstance(Record.from_json(text, "records/x.json"), Record)
    except errors.CorruptError as error:
        refused = error
    assert refused is None or ("records/x.json" in refused.found and refused.todo)


TOML = b"""modules = ["pipeline"]
namespace = "site"
store = "s3://bucket/assets"
max_workers = 4
[params]
size = 3
[targets.gpu]
host = "gpu-box"
port = 22
secrets = ["TOKEN"]
grace = 1.5
devices = ["24GiB"]
[targets.gpu.variables]
A = "1"
[assets.embeddings]
target = "gpu"
gpus = 1
"""


@QUIET
@given(spots=SPOTS, name=st.sampled_from(["drawbar.toml", "pyproject.toml"]))
def test_configuration(tmp_path, spots, name):
    """A project's file that was changed is read, or refused with an error of drawbar's own that names the place."""
    text = TOML if name == "drawbar.toml" else b"[tool.drawbar]\n" + TOML.replace(b"\n[", b"\n[tool.drawbar.")
    for one in ("drawbar.toml", "pyproject.toml"):
        (tmp_path / one).unlink(missing_ok=True)
    (tmp_path / name).write_bytes(mutated(text, spots))
    refused = None
    try:
        assert isinstance(Config.load(tmp_path), Config)
    except errors.DrawbarError as error:
        refused = error
    assert refused is None or str(refused)


def test_job_folders_under_a_live_agent(agents, tmp_path):
    """Whatever lies in a job's files, each request about the job is answered, and the next job runs."""
    agent, chance = agents(), random.Random(4)
    spec = {"function": {"module": "builtins", "qualname": "dict"}, "result": {"payload": True}}
    folder = tmp_path / "root" / "jobs" / "job" / "attempts" / "1"
    agent.ask(frames.SUBMIT, {"job": "job", "name": "job", "run_id": "r", "spec": spec})
    until((folder / "outcome.json").exists)
    until(lambda: not (folder / "report.json").exists())
    whole = {name: (folder / name).read_bytes() for name in ("spec.json", "state.json", "outcome.json")}
    odd = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b"\xff\xfe",
        b"{}" * 3,
        b"[" * 50_000,
        b'{"state": 5, "pid": "x", "value": 3}',
    ]
    codes = []
    for _ in range(MUTATIONS // 4):
        for name, text in whole.items():
            spots = [(chance.randrange(1 << 20), chance.randrange(256), chance.choice("xidt")) for _ in range(2)]
            made = chance.choice([text, text, mutated(text, spots), mutated(text, spots), chance.choice(odd)])
            # A live process's number in a garbled file must not be taken for a supervisor's: none is there to be killed.
            (folder / name).write_bytes(made.replace(b'"pid"', b'"p-d"'))
        for kind, meta in (
            (frames.WAIT, {"job": "job", "attempt": 1, "stdout": 0, "stderr": 0, "timeout": 0}),
            (frames.JOBS, {"limit": 5}),
            (frames.SUBMIT, {"job": "job", "name": "job", "run_id": "r", "again": "never", "spec": spec}),
        ):
            answer = agent.ask(kind, meta)
            codes.append(f"{frames.NAMES[kind]} {answer.meta['code'] if answer.kind == frames.ERROR else 'answered'}")
    print(f"{len(codes)} requests about garbled jobs: { ({one: codes.count(one) for one in sorted(set(codes))}) }")
    agent.ask(frames.SUBMIT, {"job": "next", "name": "next", "run_id": "r", "spec": spec})
    until((tmp_path / "root" / "jobs" / "next" / "attempts" / "1" / "outcome.json").exists)
    assert {code.partition(" ")[2] for code in codes} <= {"answered", "unknown"}
