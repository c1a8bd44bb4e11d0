"""One execution of a Job in a thread of this process: what it prints, how it ends, and how it is asked to stop.

Made and kept by `here`; the value goes, as the bytes it would travel in, back there.
"""

from __future__ import annotations

import ctypes
import resource
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from drawbar.agent import encoding
from drawbar.agent.calling import finished
from drawbar.checks import blocked, examined, input_outcomes
from drawbar.config import TargetConfig
from drawbar.dispatch.calls import arguments_of, call_each, opened, value_of
from drawbar.dispatch.capture import captured
from drawbar.dispatch.port import Bytes, Failure, Job, JobInfo, Outcome, Status, ValueRef
from drawbar.errors import DrawbarError, FormatError
from drawbar.events import Costs

_HERE = __name__.rpartition(".")[0]


class _Stopped(BaseException):
    """Raised inside a job's thread to end it; a function that catches Exception does not catch it."""


class Attempt:
    """One execution. `changed` guards its fields and is notified with every change."""

    def __init__(
        self, job: Job, number: int, config: TargetConfig, keep: Callable[[ValueRef, Sequence[Bytes]], None]
    ) -> None:
        self.job = job
        self.number = number
        self.streams = {"stdout": bytearray(), "stderr": bytearray()}
        self.outcome: Outcome | None = None
        self.told = False
        self.collected = False
        self.changed = threading.Condition()
        self._config = config
        self._keep = keep
        self._dropped = {"stdout": 0, "stderr": 0}
        self._submitted = time.time()
        self._started: float | None = None
        self._stopping = ""
        self._called: tuple[float, float] | None = None
        self._thread = threading.Thread(target=self._run, name=f"drawbar job {job.name}", daemon=True)
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        """Begin; once only."""
        self._thread.start()
        if self.job.timeout is not None:
            self._timer = threading.Timer(self.job.timeout, self.stop, ("timed_out",))
            self._timer.daemon = True
            self._timer.start()

    def stop(self, why: str) -> None:
        """Raise into the thread; it is obeyed when the thread next runs Python code. `why` becomes the end's state."""
        with self.changed:
            if self.outcome is not None or self._stopping:
                return
            self._stopping = why
            ident = self._thread.ident
            if ident is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(_Stopped))

    def write(self, stream: str, data: bytes) -> None:
        """Take what the function prints, up to the log limit."""
        with self.changed:
            kept = data[: max(0, self._config.log_limit - len(self.streams[stream]))]
            self.streams[stream] += kept
            self._dropped[stream] += len(data) - len(kept)
            self.changed.notify_all()

    def status(self) -> Status:
        """Where it is now."""
        if self.outcome is not None:
            return Status("ended")
        return Status("running", f"asked to stop ({self._stopping})" if self._stopping else "")

    def info(self) -> JobInfo:
        """Its line in `jobs`."""
        outcome = self.outcome
        return JobInfo(
            job=self.job.id,
            name=self.job.name,
            attempt=self.number,
            state=outcome.state if outcome else "running",
            cause=outcome.cause if outcome else "",
            run_id=self.job.run_id,
            submitted=self._submitted,
            started=self._started,
            ended=outcome.ended if outcome else None,
        )

    def _run(self) -> None:
        self._started = time.time()
        begun = time.perf_counter()
        try:
            try:
                found = self._made()
            except BaseException as error:
                # A user's function may raise anything, and SystemExit must not end this thread without an outcome.
                found = self._fault(error)
        except _Stopped:  # it was asked to stop just when it had ended by itself
            found = {"state": self._stopping, "cause": _CAUSES.get(self._stopping, "cancel")}
        if self._timer is not None:
            self._timer.cancel()
        host = socket.gethostname()
        called, ended = self._called or (begun, time.perf_counter())
        costs = Costs(
            queue=self._started - self._submitted,
            setup=called - begun,
            compute=ended - called,
            peak_memory=_peak_memory(),
            host=host,
        )
        with self.changed:
            self.outcome = Outcome(
                name=self.job.name,
                costs=costs,
                started=self._started,
                ended=time.time(),
                host=host,
                dropped=dict(self._dropped),
                **found,
            )
            self.changed.notify_all()

    def _made(self) -> dict[str, Any]:
        """The value as it would travel, so that what works here works on a host."""
        job = self.job
        args, kwargs = arguments_of(job)
        refused = blocked(input_outcomes(job.function, kwargs)) if job.examine is not None else []
        if refused:
            failed = Failure(type="CheckError", module="drawbar.errors", message=_REFUSED, checks=tuple(refused))
            return {"state": "failed", "cause": "check", "error": failed}
        with captured(self):
            result = self._result(args, kwargs)
            try:
                value = self._examined(result)
            except (encoding.EncodingError, FormatError) as error:
                said = (("expected", error.expected), ("found", error.found), ("do", error.todo))
                notes = tuple(f"{label}: {text}" for label, text in said if text)
                kind = type(error)
                failure = Failure(type=kind.__name__, module=kind.__module__, message=error.what, notes=notes)
                return {"state": "failed", "cause": "unpicklable_value", "error": failure}
        return {"state": "succeeded", "cause": "value", "value": value}

    def _result(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        called = time.perf_counter()
        try:
            if self.job.each:
                return call_each(self.job, args, kwargs, self._config.trust)
            return finished(self.job.function(*args, **kwargs))
        finally:
            self._called = called, time.perf_counter()

    def _examined(self, result: Any) -> ValueRef:
        """Keep the value as its contract leaves it; its reference, with what was found (nothing for a plain job)."""
        job = self.job
        kept: list[ValueRef] = []

        def keep(result: Any, _outcomes: Sequence[Any] = ()) -> None:
            value, parts = value_of(result, job, self._config.trust)
            if job.examine is not None and job.examine.checks:
                parts = [b"".join(parts)]  # they may share memory with the value, which checks see next
            self._keep(value, parts)
            kept.append(value)

        if job.examine is None:
            keep(result)
            return kept[0]
        stored = job.examine.last

        def last() -> Any:
            return None if stored is None else opened(stored)

        partition = job.partition[1] if job.partition is not None else None
        _, found = examined(result, job.examine, job.function, partition, last, keep)
        return replace(kept[0], checks=tuple(found["checks"]), profile=found["profile"])

    def _fault(self, error: BaseException) -> dict[str, Any]:
        if isinstance(error, _Stopped):
            return {"state": self._stopping, "cause": _CAUSES[self._stopping]}
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            return {"state": "killed", "cause": "exit", "exit": code}
        failure = Failure(
            type=type(error).__qualname__,
            module=type(error).__module__,
            message=str(error),
            traceback=_traceback(error),
            notes=tuple(getattr(error, "__notes__", ())),
            exception=None if self._config.trust == "data" else error,
        )
        cause = "setup" if isinstance(error, DrawbarError | encoding.EncodingError) else "exception"
        return {"state": "failed", "cause": cause, "error": failure}


_REFUSED = "an input is not as its schema says"
_CAUSES = {"cancelled": "cancel", "timed_out": "timeout"}


def _traceback(error: BaseException) -> str:
    """The traceback of the user's code, without the frames that lead to it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__package__") == _HERE:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _peak_memory() -> int:
    """The most memory that this process has used, in bytes: a thread has none of its own."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
