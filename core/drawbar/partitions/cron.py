"""Windows between the ticks of a cron expression, which croniter reads.

Only this file knows croniter; it is asked about the clock's face alone, and `clock` about the nights that lack or
repeat an hour.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, ClassVar

from drawbar.errors import PartitionError
from drawbar.partitions.periods import minute_name
from drawbar.partitions.windows import Windows, settle

_MINUTE = timedelta(minutes=1)
_FIELDS = 5
# croniter's random and hashed fields, which would be other times in every process.
_RANDOM = re.compile(r"\b[hr]\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Cron(Windows):
    """The time from each tick of a cron expression of five fields to the next; keys are as those of `Hourly`.

    As cron has it, an expression whose hours are `*` (or `*/n`) ticks in both of two equal hours of a night, any other
    only in the first. Needs the package croniter.

    >>> Cron("0 6 * * 1", "2024-01-01").partition("2024-01-08T06:00").end.isoformat()
    '2024-01-15T06:00:00+00:00'
    """

    cron: str = ""

    kind: ClassVar[str] = "cron"
    _form: ClassVar[str] = "the minute of a tick, such as 2026-11-20T06:00, with its offset where the zone is not UTC"

    def __init__(
        self,
        cron: str,
        start: date | str,
        end: date | str | None = None,
        *,
        timezone: str = "UTC",
        end_offset: int = 0,
    ) -> None:
        settle(self, start, end, timezone, {"cron": _checked(cron), "end_offset": end_offset})

    @property
    def _repeats(self) -> bool:
        return self.cron.split()[1].startswith("*")

    def _rule(self) -> str:
        return f"cron '{self.cron}'"

    def _last(self, wall: datetime) -> datetime:
        return _ticks(self.cron, wall.replace(second=0, microsecond=0) + _MINUTE, "get_prev")

    def _following(self, wall: datetime) -> datetime:
        return _ticks(self.cron, wall.replace(second=0, microsecond=0), "get_next")

    def _tick(self, key: str) -> datetime:
        return datetime.fromisoformat(key)

    def _name(self, begin: datetime) -> str:
        return minute_name(begin, self.timezone)


def _ticks(cron: str, wall: datetime, way: str) -> datetime:
    found: datetime = getattr(_croniter()(cron, wall), way)(datetime)
    return found


def _checked(cron: str) -> str:
    """The expression with single spaces; PartitionError where it is none, or never ticks."""
    if not isinstance(cron, str):
        raise _refused(cron, type(cron).__name__)
    plain = " ".join(cron.split())
    if plain.count(" ") != _FIELDS - 1:
        raise _refused(cron, f"{len(plain.split())} fields")
    if _RANDOM.search(plain):
        raise _refused(cron, "a random or hashed field")
    try:
        _ticks(plain, datetime(2000, 1, 1), "get_next")  # noqa: DTZ001 - the clock's face
    except (ValueError, KeyError) as error:
        raise _refused(cron, str(error) or type(error).__name__) from error
    return plain


def _refused(cron: object, found: str) -> PartitionError:
    return PartitionError(
        f"{cron!r} is not a cron expression.",
        expected="five fields that tick some day: minute, hour, day of month, month, day of week, as in '0 6 * * 1'",
        found=found,
    )


def _croniter() -> Any:
    try:
        from croniter import croniter
    except ImportError as error:
        raise PartitionError(
            "Cron needs the package croniter, which is not installed.",
            expected="croniter, to read the expression",
            found="no such package",
            todo="pip install croniter, or use Hourly, Daily, Weekly or Monthly",
        ) from error
    return croniter
