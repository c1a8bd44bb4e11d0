"""What is known of each asset while a run goes on, kept from its events: what the live table and the report show.

Events come here one at a time from the walk; rows go to whoever shows them. Nothing is printed here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from drawbar.cli.output import check_failure
from drawbar.events import (
    AssetBlocked,
    AssetCancelled,
    AssetFailed,
    AssetMade,
    AssetProgress,
    AssetReused,
    AssetStarted,
    AssetWaiting,
    Event,
    Made,
    RunEnded,
    RunStarted,
)
from drawbar.graph import Graph
from drawbar.redact import Redactor
from drawbar.results import error_text

TO_COME = "to come"
UNDER_WAY = ("running", "waiting", "retrying")


@dataclass(slots=True)
class Row:
    """One asset: `since` is when it began, by the monotonic clock; `traceback` what the user's function left."""

    name: str
    state: str = TO_COME
    target: str = ""
    since: float = 0.0
    seconds: float = 0.0
    bytes: int = 0
    note: str = ""
    job: str = ""
    attempt: int = 1
    traceback: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def elapsed(self) -> float:
        """Seconds it took, or has taken until now."""
        return time.monotonic() - self.since if self.state in UNDER_WAY and self.since else self.seconds


@dataclass(slots=True)
class Board:
    """Rows by unit, in dependency order; `began` is the run's start, by the monotonic clock.

    What `redactor` takes out of a message is not shown.
    """

    graph: Graph
    redactor: Redactor = field(default_factory=Redactor)
    rows: dict[str, Row] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    headline: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """How many assets are in each state."""
        found: dict[str, int] = {}
        for row in list(self.rows.values()):
            found[row.state] = found.get(row.state, 0) + 1
        return found

    def note(self, event: Event) -> Row | None:
        """Take in an event; the row that it changed, if it is about one asset."""
        if isinstance(event, RunStarted | AssetStarted):
            self.redactor = self.redactor.knowing(event.params)
        if isinstance(event, RunStarted):
            for key in event.assets:
                source = self.graph.assets[key.name].source is not None
                self.rows[key.unit] = Row(key.unit, state="source" if source else TO_COME)
            return None
        if isinstance(event, RunEnded):
            return None
        row = self.rows.setdefault(event.key.unit, Row(event.key.unit))
        _apply(row, event)
        if isinstance(event, AssetFailed):
            row.note = self.redactor.text(row.note)
        return row


def _apply(row: Row, event: Event) -> None:
    match event:
        case AssetStarted():
            row.state, row.target, row.job, row.attempt = "running", event.target, event.job, event.attempt
            row.since, row.note = time.monotonic(), _beginning(event)
        case AssetWaiting():
            row.note = event.message
            if row.state != "running":
                row.state = "retrying" if row.state == "retrying" else "waiting"
                row.since = row.since or time.monotonic()
        case AssetProgress():
            of = "" if event.total is None else f" of {event.total:,}"
            row.note = f"{event.done:,}{of} items" + (f", {event.failed:,} failed" if event.failed else "")
        case AssetReused():
            row.state, row.bytes, row.note = "reused", event.made.bytes, event.reason
            row.warnings = _warnings(event.made)
        case AssetMade():
            row.state, row.seconds, row.bytes, row.note = "made", event.seconds, event.made.bytes, ""
            row.warnings = _warnings(event.made)
        case AssetFailed():
            row.state = "retrying" if event.will_retry else "failed"
            row.seconds, row.note, row.traceback = event.seconds, error_text(event.error), event.traceback
        case AssetCancelled():
            row.state, row.seconds = "cancelled", event.seconds
            row.note = f"left running on {row.target}" if event.left else ""
        case AssetBlocked():
            row.state, row.note = "blocked", "needs " + ", ".join(key.unit for key in event.because)
        case _:
            pass


def _warnings(made: Made) -> tuple[str, ...]:
    """What its checks warn of, a line each: those that failed and block nothing."""
    return tuple(check_failure(one) for one in made.checks if not one["passed"])


def _beginning(event: AssetStarted) -> str:
    if event.adopted:
        return "found its job there"
    return f"attempt {event.attempt}" if event.attempt > 1 else ""
