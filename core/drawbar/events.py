"""Frozen facts about a run, told as they happen: what progress, adapters and lineage are fed with.

An event goes from the walk (`run`) to listeners, and nothing comes back: a listener cannot change a run, and one that
raises is reported once and then left out. Times are aware UTC datetimes, durations seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, TypeAlias

from drawbar.asset import Asset
from drawbar.keys import AssetKey


@dataclass(frozen=True, slots=True)
class Parent:
    """The run that asked for this one, and the root of the whole chain, as OpenLineage's parent facet names them."""

    run_id: str
    job_namespace: str
    job_name: str
    root_run_id: str = ""
    root_job_namespace: str = ""
    root_job_name: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """A value that exists: where it lies, what it is, and which run made it.

    `pattern` is the path of its published copy, or of a source, as it is written: with a partition's fields in braces.
    `checks` are the outcomes of its checks (dicts of name, passed, blocking, expected, found, details, column), and
    `profile` its rows and columns in figures, where one was taken.
    """

    key: AssetKey
    data_version: str
    version: str = ""
    uri: str = ""
    published: str = ""
    format: str = ""
    type: str = ""
    bytes: int = 0
    rows: int | None = None
    columns: tuple[tuple[str, str], ...] = ()
    run_id: str = ""
    at: datetime | None = None
    source: bool = False
    pattern: str = ""
    checks: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    profile: Mapping[str, Any] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Costs:
    """What a job cost: seconds by stage, and of GPUs (times their number), whose model is `gpu`; bytes at the peak."""

    queue: float = 0.0
    build: float = 0.0
    setup: float = 0.0
    transfer: float = 0.0
    compute: float = 0.0
    peak_memory: int = 0
    host: str = ""
    gpu: str = ""
    gpu_seconds: float = 0.0
    peak_device_memory: int = 0

    def __add__(self, more: Costs) -> Costs:
        """What two jobs of one asset cost: seconds added, the higher peak, the later host and GPU."""
        peaks = {name: max(getattr(self, name), getattr(more, name)) for name in ("peak_memory", "peak_device_memory")}
        texts = {name: getattr(more, name) or getattr(self, name) for name in ("host", "gpu")}
        rest = [one.name for one in fields(self) if one.name not in peaks and one.name not in texts]
        return Costs(**peaks, **texts, **{name: getattr(self, name) + getattr(more, name) for name in rest})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """A walk begins; with a `parent` it is part of an orchestrator's run and has no account of its own."""

    run_id: str
    at: datetime
    namespace: str
    wanted: tuple[str, ...]
    assets: tuple[AssetKey, ...]
    params: Mapping[str, Any]
    parent: Parent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """A walk is over; `state` is succeeded, failed or cancelled, `counts` the assets by their state."""

    run_id: str
    at: datetime
    state: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetEvent:
    """What every event about one asset's run says.

    `asset_run_id` is the same for all events of one attempt, in whichever process they are told; `run_id` is the walk.
    """

    run_id: str
    asset_run_id: str
    at: datetime
    key: AssetKey
    asset: Asset


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetStarted(AssetEvent):
    """It is being made. `adopted` tells that the job was found running or finished, started by somebody else before.

    `told` is True where the somebody already told this start, so that an account must not be opened twice.
    """

    version: str
    inputs: tuple[Made, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    target: str = "here"
    job: str = ""
    attempt: int = 1
    adopted: bool = False
    told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetWaiting(AssetEvent):
    """It waits for something outside its inputs: a lease in the store, a GPU, an Env, an actor, a retry's delay.

    `message` says for what; it is empty once what waited for its target waits no more.
    """

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetProgress(AssetEvent):
    """How far a fan-out is: items done and failed so far, of `total` where that is known."""

    done: int
    failed: int = 0
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetLog(AssetEvent):
    """What it wrote to `stream` (stdout or stderr), as bytes, in order, each byte once."""

    stream: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetReused(AssetEvent):
    """Nothing ran: `made` is the value that an earlier run left; `inputs` are what it was made from."""

    version: str
    made: Made
    reason: str
    inputs: tuple[Made, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetMade(AssetEvent):
    """It ran and its value is in the store; `made.run_id` equals `asset_run_id`."""

    version: str
    made: Made
    seconds: float
    costs: Costs = Costs()
    inputs: tuple[Made, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    target: str = "here"
    job: str = ""
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetFailed(AssetEvent):
    """It ended otherwise than with a value; a retry, if `will_retry`, is a run of its own.

    `made` is a value that failed a blocking check: it is kept for inspection only.
    """

    error: BaseException
    traceback: str
    seconds: float
    will_retry: bool = False
    inputs: tuple[Made, ...] = ()
    made: Made | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetCancelled(AssetEvent):
    """Somebody asked it to stop; `left` tells that its job was left running on the target instead."""

    seconds: float
    left: bool = False
    inputs: tuple[Made, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetBlocked:
    """It never began, because what it needs failed or was cancelled."""

    run_id: str
    at: datetime
    key: AssetKey
    asset: Asset
    because: tuple[AssetKey, ...]


Event: TypeAlias = (
    RunStarted
    | RunEnded
    | AssetStarted
    | AssetWaiting
    | AssetProgress
    | AssetLog
    | AssetReused
    | AssetMade
    | AssetFailed
    | AssetCancelled
    | AssetBlocked
)
Listener: TypeAlias = Callable[[Event], None]
