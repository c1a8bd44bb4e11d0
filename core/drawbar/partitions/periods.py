"""Hours, days, weeks and months: the windows that follow from the calendar alone.

Each says how the clock's face is divided and how its keys look; `windows` does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import ClassVar

from drawbar.errors import PartitionError, did_you_mean
from drawbar.partitions import clock
from drawbar.partitions.windows import Windows, bounded, settle

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# Every month has them.
_LONGEST_MONTH_DAY = 28


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Hourly(Windows):
    """Hours of the clock of `timezone`, each from `minute` past; keys are their first minute: `2026-11-20T14:00`.

    In another zone than UTC keys have the offset, `2026-10-25T02:00+02:00`, so that the two hours of one name on a
    night in autumn are two partitions; an hour that a night in spring lacks is none. Where a clock is moved by half an
    hour, the windows around the change are 30 and 90 minutes long.

    >>> Hourly("2024-01-01").partition("2024-01-20T14:00").end.isoformat()
    '2024-01-20T15:00:00+00:00'
    """

    minute: int = 0

    kind: ClassVar[str] = "hourly"
    _form: ClassVar[str] = "an hour such as 2026-11-20T14:00, with its offset where the zone is not UTC"

    def __init__(
        self,
        start: date | str,
        end: date | str | None = None,
        *,
        timezone: str = "UTC",
        minute: int = 0,
        end_offset: int = 0,
    ) -> None:
        bounded("minute", minute, 0, 59)
        settle(self, start, end, timezone, {"minute": minute, "end_offset": end_offset})

    @property
    def _repeats(self) -> bool:
        return True

    def _rule(self) -> str:
        return f"hourly at minute {self.minute}" if self.minute else "hourly"

    def _last(self, wall: datetime) -> datetime:
        tick = wall.replace(minute=self.minute, second=0, microsecond=0)
        return tick if tick <= wall else tick - _HOUR

    def _following(self, wall: datetime) -> datetime:
        return self._last(wall) + _HOUR

    def _tick(self, key: str) -> datetime:
        return datetime.fromisoformat(key)

    def _name(self, begin: datetime) -> str:
        return minute_name(begin, self.timezone)


@dataclass(frozen=True, slots=True, init=False, repr=False)
class _Dated(Windows):
    """Windows that begin at a time of day and are named after the date."""

    hour: int = 0
    minute: int = 0

    def _tick(self, key: str) -> datetime:
        day = date.fromisoformat(key)
        return datetime(day.year, day.month, day.day, self.hour, self.minute)  # noqa: DTZ001 - the clock's face

    def _name(self, begin: datetime) -> str:
        return self._struck(begin).date().isoformat()

    def _struck(self, begin: datetime) -> datetime:
        """The tick whose strike is at `begin`, which a clock that skipped it does not read."""
        local = begin.astimezone(clock.zone(self.timezone))
        return self._last(local.replace(tzinfo=None, fold=0))

    def _at(self) -> str:
        return f" at {self.hour:02}:{self.minute:02}" if self.hour or self.minute else ""


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Daily(_Dated):
    """Days, from `hour` and `minute` on the clock of `timezone` to the same time of the next; keys are their dates.

    >>> days = Daily("2024-01-01", timezone="Europe/Berlin")
    >>> days, days.describe()
    (Daily('2024-01-01', timezone='Europe/Berlin'), 'daily from 2024-01-01, Europe/Berlin')
    >>> days.partition("2024-10-27").start.isoformat(), days.partition("2024-10-27").end.isoformat()
    ('2024-10-27T00:00:00+02:00', '2024-10-28T00:00:00+01:00')
    """

    kind: ClassVar[str] = "daily"
    _form: ClassVar[str] = "a day such as 2026-11-20"

    def __init__(
        self,
        start: date | str,
        end: date | str | None = None,
        *,
        timezone: str = "UTC",
        hour: int = 0,
        minute: int = 0,
        end_offset: int = 0,
    ) -> None:
        _check_time(hour, minute)
        settle(self, start, end, timezone, {"hour": hour, "minute": minute, "end_offset": end_offset})

    def _rule(self) -> str:
        return f"daily{self._at()}"

    def _last(self, wall: datetime) -> datetime:
        tick = wall.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0)
        return tick if tick <= wall else tick - _DAY

    def _following(self, wall: datetime) -> datetime:
        return self._last(wall) + _DAY

    def _names(self, begin: datetime, stop: datetime) -> list[str]:
        """Dates counted up, without a look at each instant; ten thousand of them are asked for in a moment."""
        if begin >= stop:
            return []
        first, last = (self._struck(at).date().toordinal() for at in (begin, self.floor(stop - _LEAST)))
        days = [date.fromordinal(day) for day in range(first, last + 1)]
        zone = clock.zone(self.timezone)
        if zone is not UTC:
            days = _there(days, self)
        return [day.isoformat() for day in days]


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Weekly(_Dated):
    """Weeks from one `weekday` to the next; keys are their first days: `2026-11-16`.

    >>> Weekly("2024-01-01").partition("2024-01-08").end.date().isoformat()
    '2024-01-15'
    """

    weekday: str = "monday"

    kind: ClassVar[str] = "weekly"
    _form: ClassVar[str] = "the first day of a week, such as 2026-11-16"

    def __init__(
        self,
        start: date | str,
        end: date | str | None = None,
        *,
        timezone: str = "UTC",
        weekday: str = "monday",
        hour: int = 0,
        minute: int = 0,
        end_offset: int = 0,
    ) -> None:
        if weekday not in _DAYS:
            raise PartitionError(
                f"weekday={weekday!r} does not fit.",
                expected=", ".join(_DAYS),
                found=repr(weekday),
                todo=did_you_mean(str(weekday).lower(), _DAYS),
            )
        _check_time(hour, minute)
        rest = {"weekday": weekday, "hour": hour, "minute": minute, "end_offset": end_offset}
        settle(self, start, end, timezone, rest)

    def _rule(self) -> str:
        return f"weekly on {self.weekday}{self._at()}"

    def _last(self, wall: datetime) -> datetime:
        back = (wall.weekday() - _DAYS.index(self.weekday)) % 7
        tick = wall.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0) - back * _DAY
        return tick if tick <= wall else tick - 7 * _DAY

    def _following(self, wall: datetime) -> datetime:
        return self._last(wall) + 7 * _DAY


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Monthly(_Dated):
    """Months from one `day` (1 to 28) to the same of the next; keys are `2026-11`, the month they begin in.

    >>> Monthly("2024-01").partition("2024-02").end.date().isoformat()
    '2024-03-01'
    """

    day: int = 1

    kind: ClassVar[str] = "monthly"
    _form: ClassVar[str] = "a month such as 2026-11"

    def __init__(
        self,
        start: date | str,
        end: date | str | None = None,
        *,
        timezone: str = "UTC",
        day: int = 1,
        hour: int = 0,
        minute: int = 0,
        end_offset: int = 0,
    ) -> None:
        bounded("day", day, 1, _LONGEST_MONTH_DAY)
        _check_time(hour, minute)
        settle(self, start, end, timezone, {"day": day, "hour": hour, "minute": minute, "end_offset": end_offset})

    def _rule(self) -> str:
        return "monthly" + (f" on day {self.day}" if self.day > 1 else "") + self._at()

    def _last(self, wall: datetime) -> datetime:
        tick = wall.replace(day=self.day, hour=self.hour, minute=self.minute, second=0, microsecond=0)
        return tick if tick <= wall else (tick.replace(day=1) - _DAY).replace(day=self.day)

    def _following(self, wall: datetime) -> datetime:
        return (self._last(wall).replace(day=_LONGEST_MONTH_DAY) + 4 * _DAY).replace(day=self.day)

    def _tick(self, key: str) -> datetime:
        first = date.fromisoformat(f"{key}-01")
        return datetime(first.year, first.month, self.day, self.hour, self.minute)  # noqa: DTZ001 - the clock's face

    def _name(self, begin: datetime) -> str:
        return self._struck(begin).date().isoformat()[: len("2026-11")]


def minute_name(begin: datetime, timezone: str) -> str:
    """An instant as a key: to the minute, in its zone, with the offset where that can change."""
    if timezone == "UTC":
        return begin.replace(tzinfo=None).isoformat(timespec="minutes")
    return begin.astimezone(clock.zone(timezone)).isoformat(timespec="minutes")


def _check_time(hour: int, minute: int) -> None:
    bounded("hour", hour, 0, 23)
    bounded("minute", minute, 0, 59)


def _there(days: list[date], windows: Daily) -> list[date]:
    """The days that the zone has: one that moves over the date line leaves a whole day out."""
    zone = clock.zone(windows.timezone)
    hour, minute = windows.hour, windows.minute
    ahead = [datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).utcoffset() or _NONE for day in days]
    ahead.append(ahead[-1])
    # As long as the clock moves by less than a day, there is something of each day.
    return [day for day, now, then in zip(days, ahead, ahead[1:], strict=False) if then - now < _DAY]


_NONE = timedelta()
_LEAST = timedelta(microseconds=1)
