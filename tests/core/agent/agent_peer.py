"""A small synchronous client for tests of the agent: starts a real one over pipes, and asks it one thing at a time."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from contextlib import suppress

from drawbar.agent import archives, frames, launch, payload
from drawbar.dispatch.bundle import bundle

MARK = b"\0drawbar1 "


class RefusedError(Exception):
    """The agent answered ERROR; `meta` is what it said."""

    def __init__(self, meta):
        super().__init__(str(meta))
        self.meta = meta


class Peer:
    """An agent of its own, in a process of its own, on the root given."""

    def __init__(self, root, python=sys.executable, env=None, argv=None):
        made = bundle()
        self.root = str(root)
        self.process = subprocess.Popen(
            argv or launch.argv(python, made.digest, self.root),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            bufsize=0,
        )
        self.numbers = itertools.count(1)
        self.parser = frames.Parser()
        self.answers = {}
        said = b""
        while b"\n" not in said[said.find(MARK) :] or MARK not in said:
            piece = self.process.stdout.read(1 << 16)
            if not piece:
                raise EOFError(self.process.stderr.read().decode())
            said += piece
        self.state = said[said.find(MARK) + len(MARK) :].split(b"\n")[0].decode()
        if self.state == "need":
            self.write([len(made.data).to_bytes(8, "big"), made.data])
        self.hello = self.ask(frames.HELLO, {"protocol": 1, "host": "here", "user": "tester", "pid": os.getpid()})[0]

    def write(self, parts):
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[self.process.stdin.write(rest) :]

    def send(self, kind, meta=None, *body):
        number = next(self.numbers)
        self.write(frames.pack(kind, number, meta, *body))
        return number

    def receive(self, number):
        while number not in self.answers:
            data = os.read(self.process.stdout.fileno(), 1 << 20)
            if not data:
                raise EOFError
            for frame in self.parser.feed(data):
                self.answers[frame.number] = frame
        frame = self.answers.pop(number)
        if frame.kind == frames.ERROR:
            raise RefusedError(frame.meta)
        return frame.meta, frame.body

    def ask(self, kind, meta=None, *body):
        return self.receive(self.send(kind, meta, *body))

    def put(self, data):
        digest = hashlib.sha256(data).hexdigest()
        if self.ask(frames.HAVE, {"blobs": [digest]})[0]["missing"]:
            for start in range(0, max(1, len(data)), frames.CHUNK):
                piece = data[start : start + frames.CHUNK]
                self.ask(frames.PUT, {"digest": digest, "offset": start, "size": len(data)}, piece)
        return digest

    def get(self, digest):
        found = b""
        while True:
            meta, body = self.ask(frames.GET, {"digest": digest, "offset": len(found), "length": frames.CHUNK})
            found += body
            if len(found) >= meta["size"]:
                return found

    def submit(self, function, *args, job=None, again="unsuccessful", secrets=None, run_id="run", **options):
        """Submit a call of `function`, which goes by value."""
        import cloudpickle

        kwargs = options.pop("kwargs", {})
        spec = {
            "function": options.pop("named", None) or {"blob": self.put(cloudpickle.dumps(function))},
            "call": self.put(b"".join(payload.encode((args, kwargs), cloudpickle.dumps))),
            "result": {"format": None, "trust": "pickle", "payload": True},
            **options,
        }
        job = job or os.urandom(8).hex()
        meta = {"job": job, "name": "test", "run_id": run_id, "again": again, "spec": spec}
        body = [json.dumps(secrets).encode()] if secrets else []
        return job, self.ask(frames.SUBMIT, meta, *body)[0]

    def wait(self, job, attempt=None, seconds=30):
        """The outcome and all output."""
        out, err = b"", b""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            meta, body = self.ask(
                frames.WAIT, {"job": job, "attempt": attempt, "stdout": len(out), "stderr": len(err), "timeout": 5}
            )
            out += body[: meta["stdout"]]
            err += body[meta["stdout"] :]
            if meta["outcome"]:
                return meta["outcome"], out, err
        raise TimeoutError(job)

    def code(self, **modules):
        """Project code as a spec names it, one module per keyword."""
        entries = [(f"{name}.py", False, textwrap.dedent(text).encode()) for name, text in modules.items()]
        return [self.put(archives.pack(entries))]

    def run(self, function, *args, **options):
        job, _ = self.submit(function, *args, **options)
        return self.wait(job)

    def value(self, outcome):
        from drawbar.agent import encoding

        named = outcome["value"]
        data = bytearray(self.get(named["digest"]))
        if named["format"] == payload.FORMAT:
            return payload.decode(data)
        return encoding.decode(data, named["format"], named["type"], named["ext"])

    def log(self, job):
        with open(os.path.join(self.root, "jobs", job, "log.jsonl"), encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def close(self):
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()
        self.process.wait(10)


def alive(pid):
    """Whether the process runs."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(true, seconds=10):
    """Wait for something to be true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def end_all(root):
    """Kill what a failed test left: supervisors whose jobs have not ended."""
    for folder, _, names in os.walk(os.path.join(root, "jobs")):
        if "state.json" in names and "outcome.json" not in names:
            with open(os.path.join(folder, "state.json"), encoding="utf-8") as file:
                pid = json.load(file).get("pid")
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, 15)
    shutil.rmtree(root, ignore_errors=True)
