"""The Dispatcher of this process: a job is a thread, for debugging, for tests and for what needs no other place.

The verbs and endings are those of every target; what a process cannot give is said: a job ends with the process, its
handle is valid inside it only, and a thread that does not return to Python code cannot be stopped.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from drawbar.config import TargetConfig
from drawbar.dispatch.port import (
    Bytes,
    Facts,
    Handle,
    Interpreter,
    Job,
    JobInfo,
    Outcome,
    Progress,
    Status,
    ValueRef,
)
from drawbar.dispatch.preflight import Needs, choose_python, refuse_gpus
from drawbar.dispatch.thread import Attempt
from drawbar.errors import CorruptError, LostError, TargetError

_KEPT_JOBS = 200
_KEPT_BYTES = 256 << 20


class Here:
    """Jobs in this process; `name` is the target's, `config` gives variables, trust, grace and log limit."""

    def __init__(self, name: str = "here", config: TargetConfig | None = None) -> None:
        self.name = name
        self.config = config or TargetConfig()
        self._jobs: OrderedDict[str, list[Attempt]] = OrderedDict()
        self._values: OrderedDict[str, Sequence[Bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def submit(self, job: Job, *, again: str = "unsuccessful") -> Handle:
        """See `Dispatcher.submit`. Arguments are given to the function as they are, without a copy."""
        refuse_gpus(job)
        choose_python(job, Needs(), self.name, lambda packages, _: self.facts(packages), _version())
        with self._lock:
            attempts = self._jobs.setdefault(job.id, [])
            how = self._how(attempts, again)
            if how == "started":
                attempts.append(Attempt(job, len(attempts) + 1, self.config, self._keep))
                self._jobs.move_to_end(job.id)
                self._forget()
            attempt = attempts[-1]
        if how == "started":
            attempt.start()
        return Handle(self.name, job.id, attempt.number, attempt.job.run_id, how, attempt.told, job.name)

    def poll(self, handle: Handle) -> Status:
        """See `Dispatcher.poll`."""
        return self._attempt(handle).status()

    def wait(self, handle: Handle, stdout: int = 0, stderr: int = 0, timeout: float = 30.0) -> Progress:
        """See `Dispatcher.wait`."""
        attempt = self._attempt(handle)
        out, err = attempt.streams["stdout"], attempt.streams["stderr"]
        with attempt.changed:
            attempt.changed.wait_for(
                lambda: attempt.outcome is not None or len(out) > stdout or len(err) > stderr, timeout
            )
            if attempt.outcome is not None:
                attempt.collected = True
            status = attempt.status()
            return Progress(status.state, status.waiting, bytes(out[stdout:]), bytes(err[stderr:]), attempt.outcome)

    def logs(self, handle: Handle, stream: str = "stdout", offset: int = 0, limit: int | None = None) -> bytes:
        """See `Dispatcher.logs`."""
        attempt = self._attempt(handle)
        with attempt.changed:
            end = None if limit is None else offset + limit
            return bytes(attempt.streams[stream][offset:end])

    def collect(self, handle: Handle, timeout: float | None = None) -> Outcome:
        """See `Dispatcher.collect`."""
        attempt = self._attempt(handle)
        with attempt.changed:
            if not attempt.changed.wait_for(lambda: attempt.outcome is not None, timeout):
                raise TimeoutError(f"{handle.name or handle.job} in this process has not ended within {timeout:g} s")
            assert attempt.outcome is not None
            attempt.collected = True
            return attempt.outcome

    def fetch(self, value: ValueRef) -> bytearray:
        """See `Dispatcher.fetch`. Values are kept while they are recent and, together, under 256 MiB."""
        with self._lock:
            parts = self._values.get(value.digest)
        if parts is None:
            raise LostError(
                "The value is not kept in this process any more.",
                found=f"the value {value.digest} was made long ago, or by another process",
                todo="run the job again",
            )
        data = bytearray()
        for part in parts:
            data += part
        if hashlib.sha256(data).hexdigest() != value.digest:
            raise CorruptError("A value has changed since it was made.", todo="do not change what a function returned")
        return data

    def cancel(self, handle: Handle) -> Status:
        """See `Dispatcher.cancel`. Waits for the grace of the target; a thread that stays is told of in `waiting`."""
        attempt = self._attempt(handle)
        attempt.stop("cancelled")
        with attempt.changed:
            if not attempt.changed.wait_for(lambda: attempt.outcome is not None, self.config.grace):
                return Status("running", "asked to stop; a thread of this process cannot be killed")
        return Status("ended")

    def told(self, handle: Handle) -> None:
        """See `Dispatcher.told`."""
        self._attempt(handle).told = True

    def jobs(self, limit: int = 100) -> list[JobInfo]:
        """See `Dispatcher.jobs`."""
        with self._lock:
            latest = [attempts[-1] for attempts in reversed(self._jobs.values())][:limit]
        return [attempt.info() for attempt in latest]

    def gpus(self) -> Mapping[str, Any]:
        """TargetError: a lease of GPUs is held by a job's own process."""
        raise TargetError("This process leases no GPUs.", todo="name a host, or `local` for those of this machine")

    def gc(self, older: float, budget: int, *, dry_run: bool = False) -> Mapping[str, Any]:
        """TargetError: nothing is left of jobs that ran here."""
        del older, budget, dry_run
        raise TargetError("This process keeps nothing of its jobs.", todo="name a host, or `local`")

    def facts(self, packages: Sequence[str] = ()) -> Facts:
        """See `Dispatcher.facts`."""
        here = Interpreter(sys.executable, _version())
        return Facts(
            interpreter=here,
            interpreters=(here,),
            packages={name: _package(name) for name in packages},
            cpus=os.cpu_count() or 1,
            platform=sys.platform,
            clock=time.time(),
            host=socket.gethostname(),
        )

    def close(self) -> None:
        """See `Dispatcher.close`. There is no connection; jobs go on."""

    def _keep(self, value: ValueRef, parts: Sequence[Bytes]) -> None:
        with self._lock:
            self._values[value.digest] = parts
            self._values.move_to_end(value.digest)

    def _how(self, attempts: list[Attempt], again: str) -> str:
        if not attempts:
            return "started"
        outcome = attempts[-1].outcome
        if outcome is None:
            return "attached"
        if outcome.ok and again != "always" and outcome.value and outcome.value.digest in self._values:
            return "adopted"
        return "ended" if again == "never" else "started"

    def _attempt(self, handle: Handle) -> Attempt:
        with self._lock:
            attempts = self._jobs.get(handle.job, [])
            found = next((one for one in attempts if one.number == handle.attempt), None)
        if found is None:
            raise LostError(
                f"{handle.name or 'The job'} is not a job of this process.",
                expected="a handle from this process, and not from long ago",
                found=f"job {handle.job}, attempt {handle.attempt}",
                todo="submit it again; a target that outlives a process is 'local' or a host",
            )
        return found

    def _forget(self) -> None:
        """Let go of jobs that were collected long ago, and of old values over the limit."""
        over = len(self._jobs) - _KEPT_JOBS
        for job in list(self._jobs) if over > 0 else ():
            if over <= 0:
                break
            if all(one.collected for one in self._jobs[job]):
                del self._jobs[job]
                over -= 1
        size = sum(_size(parts) for parts in self._values.values())
        for digest in list(self._values)[:-1]:
            if size <= _KEPT_BYTES:
                break
            size -= _size(self._values.pop(digest))


def _size(parts: Sequence[Bytes]) -> int:
    return sum(memoryview(part).nbytes for part in parts)


def _version() -> str:
    return "{}.{}.{}".format(*sys.version_info)


def _package(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
