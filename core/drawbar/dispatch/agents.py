"""The Dispatcher over an agent, the same for a worker on this machine and for an SSH host: only the channel differs.

A Job goes through `prepare` and `preflight` to the agent behind a `Link`; handles, progress and outcomes come back. All
state is in the job's folder on the host, so nothing here has to survive this process.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from drawbar.agent import frames
from drawbar.agent.gpus import Device, impossible, parse_memory
from drawbar.config import TargetConfig
from drawbar.dispatch import payload
from drawbar.dispatch.access import Accesses
from drawbar.dispatch.client import Agent, BrokenConnectionError
from drawbar.dispatch.link import Link
from drawbar.dispatch.port import (
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
from drawbar.dispatch.preflight import Needs, check_gpus, check_imports, choose_python
from drawbar.dispatch.prepare import Prepared, prepare, secrets_of
from drawbar.dispatch.transfer import download
from drawbar.errors import LostError, TargetError

_LONGEST_WAIT = 30.0
_SLACK = 30.0
"""How much longer than asked, in seconds, an agent may take to answer before its connection counts as dead."""
_ANSWER = 120.0
_CLEANING = 3600.0
_LOG_PIECE = 1 << 20
_NO_LOGS = 1 << 62
_UPLOAD_TRIES = 2


class AgentDispatcher:
    """Jobs on the host behind `link`, as `config` says; `name` is the target's."""

    def __init__(self, name: str, link: Link, config: TargetConfig) -> None:
        self.name = name
        self.link = link
        self.config = config
        self._packages: dict[tuple[tuple[str, ...], str | None], Facts] = {}
        self._gpus: list[Device] = []
        self._lock = threading.Lock()
        self._accesses = Accesses(name, config, self._look)

    def submit(self, job: Job, *, again: str = "unsuccessful") -> Handle:
        """See `Dispatcher.submit`."""
        if job.gpus or job.gpu_memory:
            check_gpus(job, self.name, self._devices(job))
        access = self._accesses.of(job.store, secrets_of(job, self.config)) if job.store else None
        prepared = prepare(job, self.config, access)
        hello = self.link.call(lambda agent: agent.hello)
        needs = Needs(prepared.by_value)
        env = prepared.spec["env"]
        python, version = choose_python(job, needs, self.name, self._facts_of, hello["python"], build=bool(env))
        if env:
            from drawbar.dispatch import envs

            prepared.spec["env"] = envs.placed(env, python, version)
        else:
            prepared.spec["python"] = python
            check_imports(job, prepared.reach, python, self._facts_of, name=self.name, hello=hello)
        answer = self._submit(job, prepared, again)
        return Handle(
            target=self.name,
            job=job.id,
            attempt=answer["attempt"],
            run_id=answer["run_id"],
            how=answer["how"],
            told=bool(answer.get("told")),
            name=job.name,
        )

    def poll(self, handle: Handle) -> Status:
        """See `Dispatcher.poll`."""
        meta = self._wait(handle, _NO_LOGS, _NO_LOGS, 0.0, 0)[0]
        return Status(_state(meta), meta.get("waiting") or "")

    def wait(self, handle: Handle, stdout: int = 0, stderr: int = 0, timeout: float = 30.0) -> Progress:
        """See `Dispatcher.wait`."""
        meta, body = self._wait(handle, stdout, stderr, min(timeout, _LONGEST_WAIT), _LOG_PIECE)
        cut = meta.get("stdout") or 0
        outcome = self._outcome(handle, meta["outcome"]) if meta.get("outcome") else None
        return Progress(_state(meta), meta.get("waiting") or "", bytes(body[:cut]), bytes(body[cut:]), outcome)

    def logs(self, handle: Handle, stream: str = "stdout", offset: int = 0, limit: int | None = None) -> bytes:
        """See `Dispatcher.logs`."""
        pieces: list[bytes] = []
        left = limit if limit is not None else _NO_LOGS
        while left > 0:
            meta = {**_named(handle), "stream": stream, "offset": offset, "limit": min(left, _LOG_PIECE)}
            piece = bytes(self._ask(frames.READ, meta).body)
            pieces.append(piece)
            offset, left = offset + len(piece), left - len(piece)
            if len(piece) < meta["limit"]:
                break
        return b"".join(pieces)

    def collect(self, handle: Handle, timeout: float | None = None) -> Outcome:
        """See `Dispatcher.collect`."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _LONGEST_WAIT if end is None else min(_LONGEST_WAIT, max(0.0, end - time.monotonic()))
            outcome = self.wait(handle, _NO_LOGS, _NO_LOGS, left).outcome
            if outcome is not None:
                return outcome
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"{handle.name or handle.job} on {self.name} has not ended within {timeout:g} s")

    def fetch(self, value: ValueRef) -> bytearray:
        """See `Dispatcher.fetch`."""
        return self.link.call(lambda agent: download(agent, value.digest, value.bytes))

    def cancel(self, handle: Handle) -> Status:
        """See `Dispatcher.cancel`."""
        timeout = self.config.grace + _SLACK
        meta = self._ask(frames.CANCEL, {**_named(handle), "timeout": timeout}, timeout=timeout + _SLACK).meta
        return Status(_state(meta), meta.get("waiting") or "")

    def told(self, handle: Handle) -> None:
        """See `Dispatcher.told`."""
        self._ask(frames.TOLD, _named(handle))

    def jobs(self, limit: int = 100) -> list[JobInfo]:
        """See `Dispatcher.jobs`."""
        return [_job_info(one) for one in self._ask(frames.JOBS, {"limit": limit}).meta["jobs"]]

    def gpus(self) -> Mapping[str, Any]:
        """See `Dispatcher.gpus`."""
        found: Mapping[str, Any] = self._ask(frames.GPUS, {"devices": list(self.config.devices)}).meta
        return found

    def gc(self, older: float, budget: int, *, dry_run: bool = False) -> Mapping[str, Any]:
        """See `Dispatcher.gc`."""
        asked = {"older": older, "budget": budget, "dry_run": dry_run}
        found: Mapping[str, Any] = self._ask(frames.GC, asked, timeout=_CLEANING).meta
        return found

    def facts(self, packages: Sequence[str] = ()) -> Facts:
        """See `Dispatcher.facts`."""
        return self._ask_facts(packages, None)

    def close(self) -> None:
        """See `Dispatcher.close`. Other dispatchers of this process that use the same host open it again."""
        self.link.close()

    def _devices(self, job: Job) -> list[Device]:
        """The host's GPUs, asked for once, and again before a job is refused."""
        wanted = job.gpus, parse_memory(job.gpu_memory) if job.gpu_memory else 0
        if not self._gpus or impossible(self._gpus, *wanted):
            known = Device._fields
            self._gpus = [Device(*(one[name] for name in known)) for one in self.gpus()["devices"]]
        return self._gpus

    def _submit(self, job: Job, prepared: Prepared, again: str) -> Mapping[str, Any]:
        """Have the blobs there and submit; after a break find out first whether the first try arrived."""
        asked = False
        meta = {"job": job.id, "name": job.name, "run_id": job.run_id, "again": again, "spec": prepared.spec}

        def once(agent: Agent) -> Mapping[str, Any]:
            nonlocal asked
            began = time.monotonic()
            self.link.uploads().ensure(prepared.blobs)
            prepared.spec["transfer"] = time.monotonic() - began
            if asked:
                found = agent.ask(frames.SUBMIT, {**meta, "again": "never"}, prepared.secrets, timeout=_ANSWER).meta
                if found["run_id"] == job.run_id:
                    return {**found, "how": "started"}
                if again != "always" and found["how"] != "ended":
                    return found
            asked = True
            return agent.ask(frames.SUBMIT, meta, prepared.secrets, timeout=_ANSWER).meta

        for turn in range(_UPLOAD_TRIES):
            try:
                return self.link.call(once)
            except LostError:
                # What this connection had seen there was removed since (a person, or a clean-up): send it once more.
                if turn == _UPLOAD_TRIES - 1:
                    raise
                self.link.uploads().forget(blob.digest for blob in prepared.blobs)
        raise AssertionError

    def _wait(self, handle: Handle, stdout: int, stderr: int, timeout: float, limit: int) -> tuple[Any, memoryview]:
        meta = {**_named(handle), "stdout": stdout, "stderr": stderr, "timeout": timeout, "limit": limit}
        reply = self._ask(frames.WAIT, meta, timeout=timeout + _SLACK)
        return reply.meta, reply.body

    def _ask(self, kind: int, meta: Mapping[str, Any], *, timeout: float = _ANSWER) -> Any:
        return self.link.call(lambda agent: agent.ask(kind, meta, timeout=timeout))

    def _facts_of(self, packages: Sequence[str], python: str | None) -> Facts:
        """Facts that decide a preflight, asked once: a package that is installed meanwhile is found by a retry."""
        key = tuple(sorted(packages)), python
        with self._lock:
            known = self._packages.get(key)
        if known is not None and None not in known.packages.values():
            return known
        # Starting every interpreter of a host to ask for its version takes seconds, and decides nothing about packages.
        found = self._ask_facts(packages, python, brief=bool(packages))
        with self._lock:
            self._packages[key] = found
        return found

    def _look(self, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the host says of a store; variables may be secret, so they go beside, as those of a job do."""
        body = json.dumps({"variables": wanted["variables"]}).encode()
        meta = {"store": {"url": wanted["url"], "id": wanted["id"]}}
        found = self.link.call(lambda agent: agent.ask(frames.FACTS, meta, body, timeout=_ANSWER)).meta["store"]
        return dict(found)

    def _ask_facts(self, packages: Sequence[str], python: str | None, *, brief: bool = False) -> Facts:
        hello = self.link.call(lambda agent: agent.hello)
        asked = {"packages": list(packages), "brief": brief, **({"python": python} if python else {})}
        meta = self._ask(frames.FACTS, asked).meta
        return Facts(
            interpreter=Interpreter(python or hello["executable"], hello["python"]),
            interpreters=tuple(Interpreter(one["path"], one["version"]) for one in meta.get("interpreters") or ()),
            packages=dict(meta.get("packages") or {}),
            disk=_number(meta.get("disk")),
            memory=_number(meta.get("memory")),
            cpus=_number(meta.get("cpus")),
            gpus=tuple(meta.get("gpus") or ()),
            platform=hello.get("platform") or "",
            libc=str(meta.get("libc") or ""),
            boot=str(meta.get("boot") or ""),
            clock=float(meta.get("clock") or 0.0),
            host=hello.get("host") or "",
            user=hello.get("user") or "",
        )

    def _outcome(self, handle: Handle, told: Mapping[str, Any]) -> Outcome:
        outcome = Outcome.from_wire(told, name=handle.name)
        blob = outcome.error.blob if outcome.error else ""
        if not blob or outcome.error is None or self.config.trust == "data":
            return outcome
        return replace(outcome, error=replace(outcome.error, exception=self._exception(blob)))

    def _exception(self, blob: str) -> BaseException | None:
        """The original exception, None where it cannot be rebuilt here: then the RemoteError says all of it."""
        try:
            size = self.link.call(lambda agent: agent.ask(frames.GET, _first_byte(blob), timeout=_ANSWER)).meta["size"]
            exception = payload.load_exception(self.link.call(lambda agent: download(agent, blob, size)))
        except BrokenConnectionError:
            raise
        except (TargetError, LostError, OSError):
            return None
        return exception


def _named(handle: Handle) -> dict[str, Any]:
    return {"job": handle.job, "attempt": handle.attempt}


def _job_info(line: Mapping[str, Any]) -> JobInfo:
    return JobInfo(
        job=line["job"],
        name=line.get("name") or "",
        attempt=line["attempt"],
        state=line.get("ended_as") or line["state"],
        cause=line.get("cause") or "",
        run_id=line.get("run_id") or "",
        submitted=line.get("submitted"),
        started=line.get("started"),
        ended=line.get("ended"),
        waiting=line.get("waiting") or "",
        gpus=tuple(one["id"] for one in line.get("gpus") or ()),
    )


def _first_byte(digest: str) -> dict[str, Any]:
    return {"digest": digest, "offset": 0, "length": 1}


def _state(meta: Mapping[str, Any]) -> str:
    return meta["state"] if meta["state"] in ("waiting", "running") else "ended"


def _number(value: Any) -> int:
    """A size that an agent gives as a number, or as the `free` or `total` of an object."""
    if isinstance(value, Mapping):
        value = value.get("free", value.get("total"))
    return int(value or 0)
