"""How a job ended: the value it left on the target, or the error, and what it cost.

An Outcome is made from what a target reports (`Outcome.from_wire`) or by a dispatcher that runs jobs in this process;
it goes to whoever collects the job, who asks `ok` or calls `raise_`.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from drawbar import errors
from drawbar.checks import refusal
from drawbar.events import Costs

SUCCEEDED = "succeeded"


@dataclass(frozen=True, slots=True)
class ValueRef:
    """A value that lies on a target: its digest (the DataVersion), size in bytes, and how to decode it.

    `checks` are the outcomes of its checks, and `profile` its rows and columns in figures, as the job's `examine`
    asked; a value that failed a blocking check is here all the same, for whoever collects it to refuse. `stored` is
    the seconds in which the target put it into the job's store, None if it did not; `unstored` why it could not.
    """

    digest: str
    bytes: int
    format: str
    type: str
    ext: str = ""
    rows: int | None = None
    columns: tuple[tuple[str, str], ...] = ()
    checks: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    profile: Mapping[str, Any] | None = field(default=None, hash=False)
    stored: float | None = None
    unstored: str = ""

    @classmethod
    def from_wire(cls, value: Mapping[str, Any]) -> ValueRef:
        """The value as a target's outcome names it."""
        return cls(
            digest=value["digest"],
            bytes=value["bytes"],
            format=value["format"],
            type=value.get("type") or "",
            ext=value.get("ext") or "",
            rows=value.get("rows"),
            columns=tuple((str(name), str(kind)) for name, kind in value.get("columns") or ()),
            checks=tuple(value.get("checks") or ()),
            profile=value.get("profile"),
            stored=value.get("stored"),
            unstored=value.get("unstored") or "",
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """What the user's function raised: type, module, message and traceback as the target saw them.

    `exception` is the original where it could be rebuilt here, and may be raised again; `blob` is where the target
    keeps it pickled, or empty. `checks` are outcomes about the inputs, where these kept the function from being called;
    `details` are expected, found and todo of what the host itself refused.
    """

    type: str
    module: str
    message: str
    traceback: str = ""
    notes: tuple[str, ...] = ()
    exception: BaseException | None = None
    blob: str = ""
    checks: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    details: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def from_wire(cls, error: Mapping[str, Any], exception: BaseException | None = None) -> Failure:
        """The failure as a target's outcome tells it."""
        return cls(
            type=error.get("type") or "",
            module=error.get("module") or "",
            message=error.get("message") or "",
            traceback=error.get("traceback") or "",
            notes=tuple(error.get("notes") or ()),
            exception=exception,
            blob=error.get("blob") or "",
            checks=tuple(error.get("checks") or ()),
            details={key: str(error[key]) for key in ("expected", "found", "todo") if error.get(key)},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended, and what it cost.

    `state` is succeeded, failed, cancelled, timed_out, killed, out_of_memory or lost; `cause` says more (exception,
    unpicklable_value, check, exit, signal, oom_killer, cuda_oom, timeout, waiting, silence, cancel, reboot, lost, env,
    gpus, setup, value).
    `started` and `ended` are seconds since the epoch by the host's clock; `dropped` counts bytes of output over the log
    limit.

    >>> Outcome(name="site/train", state="killed", cause="exit", exit=3).raise_()
    Traceback (most recent call last):
    drawbar.errors.KilledError: site/train ended by its own exit with status 3, without a value.
      do: return from the function instead of calling os._exit or sys.exit
    """

    state: str
    cause: str
    name: str = ""
    value: ValueRef | None = None
    error: Failure | None = None
    exit: int | None = None
    signal: int | None = None
    costs: Costs = field(default_factory=Costs)
    started: float | None = None
    ended: float | None = None
    host: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether it ended with a value."""
        return self.state == SUCCEEDED

    @classmethod
    def from_wire(
        cls, outcome: Mapping[str, Any], *, name: str = "", exception: BaseException | None = None
    ) -> Outcome:
        """The outcome as a target tells it; `exception` is the original one where the caller could rebuild it."""
        costs = outcome.get("costs") or {}
        host = outcome.get("host") or ""
        return cls(
            state=outcome["state"],
            cause=outcome.get("cause") or "",
            name=name,
            value=ValueRef.from_wire(outcome["value"]) if outcome.get("value") else None,
            error=Failure.from_wire(outcome["error"], exception) if outcome.get("error") else None,
            exit=outcome.get("exit"),
            signal=outcome.get("signal"),
            costs=Costs(
                host=host,
                **{one.name: costs[one.name] for one in fields(Costs) if costs.get(one.name)},
            ),
            started=outcome.get("started"),
            ended=outcome.get("ended"),
            host=host,
            dropped=dict(outcome.get("dropped") or {}),
        )

    def raise_(self) -> None:
        """Nothing if it succeeded; else the user's original exception, or the JobError that fits.

        The original exception has a RemoteError as its `__cause__`, with the host's traceback as a note.
        """
        if not self.ok:
            raise self.exception()

    def exception(self) -> BaseException:
        """What `raise_` raises: a CheckError if an input was refused; a JobError's `outcome` is this."""
        if self.cause == "check" and self.error is not None:
            return refusal(self.name or "the job", self.error.checks)
        if self.cause in ("env", "gpus") and self.error is not None:
            return self._refused()
        fault: errors.DrawbarError = self._job_error()
        if self.cause == "unpicklable_value" and self.error is not None and self.error.type == "OSError":
            who = self.name or "the job"
            fault = errors.DiskFullError(f"{who} could not keep its value. {self.error.message}", todo=fault.todo)
        if self.error is not None and self.error.traceback:
            fault.add_note(self.error.traceback)
        if self.state == "failed" and self.error is not None and self.error.exception is not None:
            original = self.error.exception
            original.__cause__ = fault
            return original
        return fault

    def _refused(self) -> errors.PreflightError:
        """The host could not give the job what it needs; its code never ran."""
        assert self.error is not None
        who, on = self.name or "the job", f" on {self.host}" if self.host else ""
        what = "The environment of {} could not be built" if self.cause == "env" else "{} cannot have its GPUs"
        return errors.PreflightError(f"{what.format(who)}{on}. {self.error.message}", **self.error.details)

    def _job_error(self) -> errors.JobError:
        kind = _KINDS.get(self.state, errors.LostError)
        fault = kind(self._sentence(), **self._details())
        fault.outcome = self
        if isinstance(fault, errors.RemoteError) and self.error is not None:
            fault.type_name = ".".join(part for part in (self.error.module, self.error.type) if part)
            fault.message = self.error.message
            fault.traceback = self.error.traceback
        return fault

    def _details(self) -> dict[str, str]:
        """What is known beside the sentence; a value that cannot be sent has notes that say `expected: …` and so on."""
        details = {"todo": _TODO.get((self.state, self.cause), "")}
        if self.cause == "unpicklable_value" and self.error is not None:
            for note in self.error.notes:
                label, _, text = note.partition(": ")
                if label in _LABELS and text:
                    details[_LABELS[label]] = text
        return details

    def _sentence(self) -> str:
        who, on = self.name or "the job", f" on {self.host}" if self.host else ""
        if self.cause == "exit":
            return f"{who} ended by its own exit with status {self.exit}, without a value{on}."
        if self.cause == "signal":
            return f"{who} was killed by signal {_signal_name(self.signal)}{on}."
        if self.error is not None and (self.state == "failed" or self.cause == "cuda_oom"):
            return f"{who} {self._said(self.error, on)}"
        known = _SENTENCES.get((self.state, self.cause))
        if known is None:
            return f"{who} ended as {self.state} ({self.cause}){on}."
        return f"{who} {known.format(on=on, host=self.host or 'its machine')}"

    def _said(self, error: Failure, on: str) -> str:
        told = f"{error.type}: {error.message}" if error.message else error.type
        if self.cause == "cuda_oom":
            return f"ran out of GPU memory{on}: {error.message}"
        if self.cause == "unpicklable_value":
            place = f" from {self.host}" if self.host else ""
            return f"returned what cannot be sent back{place}. {error.message}"
        return f"could not be set up{on}: {told}" if self.cause == "setup" else f"raised {told}"


def _signal_name(number: int | None) -> str:
    """`11 (SIGSEGV)`, or the number alone where this machine has no such signal."""
    try:
        return f"{number} ({signal.Signals(number or 0).name})"
    except ValueError:
        return str(number)


_LABELS = {"expected": "expected", "found": "found", "do": "todo"}
_KINDS: dict[str, type[errors.JobError]] = {
    "failed": errors.RemoteError,
    "out_of_memory": errors.OutOfMemoryError,
    "killed": errors.KilledError,
    "timed_out": errors.TimedOutError,
    "cancelled": errors.CancelledError,
    "lost": errors.LostError,
}
_SENTENCES = {
    ("timed_out", "timeout"): "ran longer than it may and was stopped{on}.",
    ("timed_out", "waiting"): "waited longer than it may{on}, and never began.",
    ("timed_out", "silence"): "printed nothing for longer than it may and was stopped{on}.",
    ("cancelled", "cancel"): "was cancelled{on}.",
    ("out_of_memory", "oom_killer"): "was killed by the kernel because memory ran out{on}.",
    ("lost", "reboot"): "was lost: {host} was restarted while it ran.",
    ("lost", "lost"): "was lost{on}: its supervisor is gone and nobody can say how it ended.",
}
_TODO = {
    ("failed", "setup"): "give the target what the function imports: declare it in an `Env`, install it there, or set "
    "`python` of the target to an interpreter that has it",
    ("killed", "exit"): "return from the function instead of calling os._exit or sys.exit",
    ("timed_out", "timeout"): "raise its `timeout`, or make it do less",
    ("timed_out", "waiting"): "raise its `wait_timeout`, or see who holds what: `drawbar gpus`",
    ("timed_out", "silence"): "raise its `silence_timeout`, or have it print now and then",
    ("out_of_memory", "oom_killer"): "make it need less memory, or choose a target that has more",
    ("out_of_memory", "cuda_oom"): "make it need less GPU memory, or choose a target that has more",
    ("lost", "reboot"): "run it again; a new attempt starts from the beginning",
    ("lost", "lost"): "run it again; a new attempt starts from the beginning",
}
