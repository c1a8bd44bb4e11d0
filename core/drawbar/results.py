"""How a run ended, asset by asset: what `drawbar.run` returns and what `drawbar run --json` prints."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from drawbar.errors import DrawbarError, RunError, StoreError
from drawbar.keys import AssetKey
from drawbar.planner import HERE

_LONGEST = 500


@dataclass(frozen=True, slots=True)
class AssetResult:
    """How one asset ended: `state` is made, reused, skipped, failed, blocked or cancelled."""

    key: AssetKey
    state: str
    reason: str = ""
    version: str = ""
    data_version: str = ""
    target: str = HERE
    seconds: float = 0.0
    bytes: int = 0
    uri: str = ""
    error: BaseException | None = None
    run_id: str = ""
    rows: int | None = None
    _load: Callable[[], Any] | None = field(default=None, repr=False, compare=False)

    def value(self) -> Any:
        """The value, read from the store (from memory for a transient asset); its error, if it has none, is raised."""
        if self._load is not None:
            return self._load()
        if self.error is not None:
            raise self.error
        raise RunError(f"{self.key} has no value.", found=f"{self.state}: {self.reason}")

    def to_json(self) -> dict[str, Any]:
        """The asset's line in what `drawbar run --json` prints."""
        return {
            "key": str(self.key),
            "state": self.state,
            "reason": self.reason,
            "version": self.version,
            "data_version": self.data_version,
            "target": self.target,
            "seconds": round(self.seconds, 6),
            "bytes": self.bytes,
            "uri": self.uri,
            "error": error_text(self.error) if self.error else None,
        }


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended: `state` is succeeded, failed or cancelled; `assets` by name, in dependency order."""

    run_id: str
    state: str
    assets: Mapping[str, AssetResult]

    def __getitem__(self, name: str) -> AssetResult:
        """How that asset ended."""
        return self.assets[name]

    @property
    def ok(self) -> bool:
        """Whether everything wanted is there."""
        return self.state == "succeeded"

    @property
    def counts(self) -> dict[str, int]:
        """How many assets ended in each state."""
        found: dict[str, int] = {}
        for one in self.assets.values():
            found[one.state] = found.get(one.state, 0) + 1
        return found

    def check(self) -> RunResult:
        """The result itself if all went well; RunError, caused by the first failure, otherwise."""
        if self.ok:
            return self
        first = next((one for one in self.assets.values() if one.error is not None), None)
        error = RunError(
            f"The run {self.state}.",
            found=", ".join(f"{count} {state}" for state, count in self.counts.items()),
            todo=f"see {first.key}: {error_text(first.error)}" if first and first.error else "run it again",
        )
        error.result = self
        raise error from (first.error if first else None)

    def to_json(self) -> dict[str, Any]:
        """What `drawbar run --json` prints."""
        return {"run": self.run_id, "state": self.state, "assets": [one.to_json() for one in self.assets.values()]}


def error_text(error: BaseException) -> str:
    """An error in one line, of a length that a person reads; also of one whose own `__str__` fails."""
    try:
        text = error.what if isinstance(error, DrawbarError) else str(error).partition("\n")[0]
    except Exception as broken:
        text = f"its __str__ raised {type(broken).__name__}"
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def shown_traceback(error: BaseException) -> str:
    """The traceback as the user should see it: from their own function on, without drawbar's frames above it."""
    if isinstance(error, StoreError):
        return ""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith("drawbar."):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))
