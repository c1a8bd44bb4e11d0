"""Direct calls to break things on: a target with a folder of its own, clients that are processes, and what is counted.

Functions come from sample/fault_work.py; what a host's folder says about its jobs is read here, and nowhere believed
from a client.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from drawbar.config import TargetConfig
from drawbar.dispatch.target import Target, dispatcher

PATIENCE = 60.0
ROUNDS = int(os.environ.get("DRAWBAR_FAULT_ROUNDS", "0"))
SAMPLE = Path(__file__).parent / "sample"
# A client: settings, how many of it, then the call. Children are forked after all imports, and begin together.
_CLIENT = """
import hashlib, json, os, sys, time
sys.path.insert(0, sys.argv[1])
import cloudpickle, drawbar.dispatch.hosts, drawbar.dispatch.local, drawbar.dispatch.ssh, fault_work
from drawbar.config import TargetConfig
from drawbar.dispatch.remote import RemoteFuture
from drawbar.dispatch.target import Target, dispatcher
settings, many, folder, key, size, options = json.loads(sys.argv[2])
settings["devices"] = tuple(settings.get("devices", ()))

def call():
    config = TargetConfig(**settings)
    target = Target("place", dispatcher("place", config), config)
    data = hashlib.shake_256(key.encode()).digest(size)
    told = {"began": time.time()}
    try:
        future = target.function(fault_work.backwards, key=key, quiet=True, **options).submit(folder, data)
        told |= {"how": future.handle.how, "submitted": time.time()}
        told |= {"right": future.result() == data[::-1], "ended": time.time()}
    except Exception as error:
        told |= {"error": f"{type(error).__module__}.{type(error).__name__}: {error}"}
    target.close()
    sys.stdout.write(json.dumps(told) + "\\n")
    sys.stdout.flush()

if many == 1:
    call()
else:
    children = []
    gate = os.pipe()
    for _ in range(many):
        children.append(os.fork())
        if not children[-1]:
            os.close(gate[1])
            os.read(gate[0], 1)
            call()
            os._exit(0)
    os.close(gate[0])
    os.close(gate[1])
    for child in children:
        os.waitpid(child, 0)
"""


def work():
    """The module of the functions, as the clients import it."""
    if str(SAMPLE) not in sys.path:
        sys.path.insert(0, str(SAMPLE))
    return importlib.import_module("fault_work")


def data_of(key, size):
    """What a client with this key sends."""
    return hashlib.shake_256(key.encode()).digest(size)


def job_of(key, function="backwards"):
    """The id of the job of a call with this key."""
    return hashlib.sha256(f"call:fault_work:{function}:{key}".encode()).hexdigest()


def until(true, process=None, patience=PATIENCE):
    """Return when it is so; AssertionError when it does not become so, or the process ended before."""
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, "it did not happen"
        if process is not None and process.poll() is not None and not true():
            raise AssertionError(f"the process ended before: {process.communicate()}")
        time.sleep(0.002)


def kill(pid, number=signal.SIGKILL):
    """Send a signal; to one that has ended already, none."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


class Calls:
    """A target at `settings` with a root of its own in `folder`; `closed` holds the calls of `backwards` up."""

    def __init__(self, folder, settings):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.root, self.closed = folder, folder / "host", folder / "closed"
        self.settings = {"python": sys.executable, "grace": 0.5, **settings, "root": str(self.root)}
        self._made = []
        self._clients = []

    def target(self, **changes):
        """The target, in this process, over a connection that no other of them has."""
        config = TargetConfig(**{**self.settings, **changes})
        made = Target("place", dispatcher("place", config), config)
        self._made.append(made)
        return made

    def client(self, key, size=1000, many=1, **options):
        """Begin a call of `backwards` in a process, or in `many`; each tells one line of JSON."""
        return self.program(_CLIENT, [self.settings, many, str(self.folder), key, size, options])

    def program(self, text, told):
        """Begin a process of Python that gets the folder of the sample, and `told` as JSON."""
        client = subprocess.Popen(
            [sys.executable, "-c", text, str(SAMPLE), json.dumps(told)], text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._clients.append(client)
        return client

    def told(self, client):
        """What each of a client's processes told at its end."""
        out, err = client.communicate(timeout=2 * PATIENCE)
        assert client.returncode == 0, err
        return [json.loads(line) for line in out.splitlines()]

    def attempt(self, key, number=1, function="backwards"):
        """The folder of an attempt."""
        return self.root / "jobs" / job_of(key, function) / "attempts" / str(number)

    def log(self, key, function="backwards"):
        """The job's own log."""
        file = self.root / "jobs" / job_of(key, function) / "log.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def state(self, key, function="backwards", number=1):
        """What the supervisor says of itself; nothing where it does not."""
        try:
            return json.loads((self.attempt(key, number, function) / "state.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return {}

    def state_of(self, handle):
        """The same, by the handle of any job."""
        return json.loads(
            (self.root / "jobs" / handle.job / "attempts" / str(handle.attempt) / "state.json").read_text()
        )

    def runs(self, key, function="backwards", number=1):
        """Whether the user's function runs, as far as the supervisor knows."""
        return self.state(key, function, number).get("state") == "running"

    def starts(self):
        """How often each job was executed, by its own log."""
        logs = [one.read_text().splitlines() for one in self.root.glob("jobs/*/log.jsonl")]
        return [sum(json.loads(line)["event"] == "started" for line in log) for log in logs]

    def made(self):
        """How often a function of the sample was entered."""
        file = self.folder / "made"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def supervisors(self):
        """The process ids of the supervisors that live, by the folder of their attempt."""
        found = {}
        for folder in self.root.glob("jobs/*/attempts/*"):
            with suppress(OSError):
                pid = json.loads((folder / "state.json").read_text()).get("pid")
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if not (folder / "outcome.json").exists() and str(self.root).encode() in words:
                    found[folder] = pid
        return found

    def warm(self):
        """The process ids of the warm interpreters that say they live."""
        found = []
        for state in self.root.glob("warm/*/state.json"):
            with suppress(OSError):
                pid = json.loads(state.read_text())["pid"]
                if str(self.root).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    found.append(pid)
        return found

    def at_work(self):
        """Processes in a job's folder, or started for one of its attempts, or supervisors; none of them a zombie."""
        found = []
        mark = f"DRAWBAR_ATTEMPT={self.root}/".encode()
        supervisors = {
            json.loads(one.read_text()).get("pid")
            for one in self.root.glob("jobs/*/attempts/*/state.json")
            if not (one.parent / "outcome.json").exists()
        }
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (folder / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                    continue
                inside = os.readlink(folder / "cwd").startswith(f"{self.root}/jobs")
                # A supervisor has the words of the agent that forked it; its number alone may be anybody's by now.
                words = (folder / "cmdline").read_bytes().split(b"\0")
                inside = inside or (int(folder.name) in supervisors and str(self.root).encode() in words)
                if inside or mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def close(self):
        """End what a failed test left: our own clients, and what is in our own job folders."""
        for one in self._made:
            one.close()
        for client in self._clients:
            if client.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(client.pid, signal.SIGKILL)
                client.communicate()
        for pid in [*self.at_work(), *self.warm()]:
            kill(pid)
