"""The port of dispatch: what a Job, a Handle and a Dispatcher are, whichever target is behind them.

A Job comes from a run or from `target.function`, goes to a Dispatcher, and comes back as an Outcome; everything between
the two is identified by a Handle, a small JSON value that any process with the same configuration can use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias

from drawbar.agent.partition import Partition
from drawbar.asset import Env
from drawbar.checks import Examination
from drawbar.dispatch.access import StorePlace
from drawbar.dispatch.outcome import Failure, Outcome, ValueRef

__all__ = [
    "AGAIN",
    "Bytes",
    "Channel",
    "Dispatcher",
    "Examination",
    "Facts",
    "Failure",
    "Handle",
    "Interpreter",
    "Job",
    "JobInfo",
    "Many",
    "Outcome",
    "Progress",
    "Status",
    "StorePlace",
    "Stored",
    "ValueRef",
]

Bytes: TypeAlias = bytes | bytearray | memoryview
AGAIN = ("never", "unsuccessful", "always")


class Channel(Protocol):
    """A byte stream each way to a program that runs on a target."""

    def send(self, parts: Sequence[Bytes]) -> None:
        """Send all of `parts`, in order; UnreachableError (or OSError) once the far end is gone."""

    def listen(self, take: Callable[[bytes], None]) -> None:
        """Have `take` called with whatever comes, in order, and with b"" (perhaps more than once) at the end.

        It is called in the thread that brings the bytes, so it must neither send nor wait. For one listener.
        """

    def close(self) -> None:
        """Let go of it, from any thread, any number of times; whoever listens is told of the end."""

    def stderr(self) -> str:
        """What the far end has said beside the stream (its last few KiB), for messages."""


def read_all(channel: Channel) -> bytes:
    """All that comes until the far end closes."""
    pieces: SimpleQueue[bytes] = SimpleQueue()
    channel.listen(pieces.put)
    return b"".join(iter(pieces.get, b""))


@dataclass(frozen=True, slots=True)
class Stored:
    """A value that exists already, and that is sent only where the target lacks it.

    `digest` is its DataVersion, `bytes` its size; `read` gives the encoded bytes, and is called only where needed.
    `url` is where it lies in the store, without credentials, for a target that reaches the store itself.
    """

    digest: str
    format: str
    type: str
    ext: str
    bytes: int
    read: Callable[[], Bytes]
    url: str = ""


@dataclass(frozen=True, slots=True)
class Many:
    """Values behind one parameter, by label, in order: the function receives a dict of them.

    With `lazy` it receives a `Partitioned`, which reads each value when it is asked for.
    """

    values: Mapping[str, Stored]
    lazy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One execution of a function on a target.

    `id` is the job's identity (64 hex digits): the same id is executed once, whoever submits it. `arguments` go by
    name; a Stored goes by its digest, a Many by those of all its values, any other value by itself. `call` is
    `(args, kwargs)` of a direct call. `format` is the one the value must have; with `payload` a value that no data
    format fits may come back pickled whole. `modules` are project modules that must be importable there beside those
    that the function and its arguments name. `examine` is what is done with the value where it is; with it, inputs are
    held to the schemas of their parameters, too. `partition` is the parameter that receives the partition (empty where
    only checks take it), and the partition. With `each`, a parameter, the function is called for each item of that
    argument, and the value is the container of what came of them (`drawbar.agent.each`). `timeout` bounds the running,
    `wait_timeout` the waiting for GPUs and an Env, `silence_timeout` the time without output, in seconds. `gpus` are
    whole ones, or with `gpu_memory` ("16GiB") a share of each. `isolate` asks for an interpreter of its own. With
    `actor` the function makes an object that serves calls (`drawbar.dispatch.actor`). `secrets`
    are environment variables that reach the job by frame only; `variables` are not secret. `store` is where its values
    lie, and where its own belongs.
    """

    id: str
    name: str
    function: Callable[..., Any]
    run_id: str
    arguments: Mapping[str, Stored | Many | Any] = field(default_factory=dict)
    call: tuple[tuple[Any, ...], Mapping[str, Any]] | None = None
    format: str | None = None
    payload: bool = False
    examine: Examination | None = None
    partition: tuple[str, Partition] | None = None
    each: str = ""
    timeout: float | None = None
    wait_timeout: float | None = None
    silence_timeout: float | None = None
    env: Env | None = None
    gpus: int = 0
    gpu_memory: str | None = None
    isolate: bool = False
    actor: Mapping[str, Any] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    modules: tuple[str, ...] = ()
    store: StorePlace | None = None


@dataclass(frozen=True, slots=True)
class Handle:
    """A job that was submitted: valid in any process on any machine with the same configuration.

    `how` tells what the submit found: started (nothing: it runs now), attached (running), adopted (succeeded before) or
    ended (unsuccessfully before, and not to be tried again). `run_id` is the one that won, which is the caller's own if
    `how` is started. `told` is True if whoever started it has told its start to lineage. `host` is which of a pool's
    hosts has it, and empty elsewhere.

    >>> Handle.from_json(Handle("gpu", "5f…", 1, "0197…", "started").to_json()).target
    'gpu'
    """

    target: str
    job: str
    attempt: int
    run_id: str
    how: str
    told: bool = False
    name: str = ""
    host: str = ""

    def to_json(self) -> dict[str, Any]:
        """It as a dict that `json.dumps` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Handle:
        """The inverse of `to_json`; keys that this release does not know are ignored."""
        return cls(
            target=value["target"],
            job=value["job"],
            attempt=value["attempt"],
            run_id=value["run_id"],
            how=value["how"],
            told=value.get("told", False),
            name=value.get("name", ""),
            host=value.get("host", ""),
        )


@dataclass(frozen=True, slots=True)
class Status:
    """Where a job is: `state` is waiting, running or ended; `waiting` says for what it waits."""

    state: str
    waiting: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more, so that `collect` returns at once."""
        return self.state == "ended"


@dataclass(frozen=True, slots=True)
class Progress:
    """What one `wait` gave: the new bytes of both streams; the outcome once it has ended and all bytes were given."""

    state: str
    waiting: str = ""
    stdout: bytes = b""
    stderr: bytes = b""
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class JobInfo:
    """One line of `jobs`: times are seconds since the epoch by the host's clock; it holds the GPUs with these ids."""

    job: str
    name: str
    attempt: int
    state: str
    cause: str = ""
    run_id: str = ""
    submitted: float | None = None
    started: float | None = None
    ended: float | None = None
    waiting: str = ""
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python on a target: its path and full version."""

    path: str
    version: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a target has. Sizes are bytes; `packages` maps the names asked for to versions, None where missing.

    `interpreter` is the one that jobs run in; `interpreters` are all that were found, that one among them.
    """

    interpreter: Interpreter
    interpreters: tuple[Interpreter, ...] = ()
    packages: Mapping[str, str | None] = field(default_factory=dict)
    disk: int = 0
    memory: int = 0
    cpus: int = 0
    gpus: tuple[Mapping[str, Any], ...] = ()
    platform: str = ""
    libc: str = ""
    boot: str = ""
    clock: float = 0.0
    host: str = ""
    user: str = ""


class Dispatcher(Protocol):
    """A place that runs jobs. All methods may be called from any thread; all raise TargetError if it cannot be used."""

    @property
    def name(self) -> str:
        """The target's name, as in configuration; handles carry it."""

    def submit(self, job: Job, *, again: str = "unsuccessful") -> Handle:
        """Start `job`, or attach to it, or adopt it; `again` is never, unsuccessful or always (see AGAIN).

        PreflightError, before anything is sent, if the target cannot run it.
        """

    def poll(self, handle: Handle) -> Status:
        """Where it is now; does not block."""

    def wait(self, handle: Handle, stdout: int = 0, stderr: int = 0, timeout: float = 30.0) -> Progress:
        """What is new after the first `stdout` and `stderr` bytes; blocks until there is something, or `timeout` s."""

    def logs(self, handle: Handle, stream: str = "stdout", offset: int = 0, limit: int | None = None) -> bytes:
        """What it has written to `stream` so far, from `offset`, at most `limit` bytes; does not block."""

    def collect(self, handle: Handle, timeout: float | None = None) -> Outcome:
        """How it ended; blocks until then, or raises TimeoutError after `timeout` s (the job goes on)."""

    def fetch(self, value: ValueRef) -> bytearray:
        """The encoded bytes of a value that a job left, checked against their digest."""

    def cancel(self, handle: Handle) -> Status:
        """Stop it and all it started; returns when nothing of it runs any more."""

    def told(self, handle: Handle) -> None:
        """Remember that the start of this attempt was told to lineage; later handles have `told`."""

    def jobs(self, limit: int = 100) -> list[JobInfo]:
        """The latest jobs, newest first."""

    def gpus(self) -> Mapping[str, Any]:
        """Its GPUs, who holds them, and who waits for them (`drawbar.agent.gpus.overview`)."""

    def gc(self, older: float, budget: int, *, dry_run: bool = False) -> Mapping[str, Any]:
        """Remove what ended more than `older` seconds ago and what nothing refers to; how much of what went."""

    def facts(self, packages: Sequence[str] = ()) -> Facts:
        """What the target has, and which versions of `packages`."""

    def close(self) -> None:
        """Let go of the connection. Jobs go on."""
