"""Wall clocks and instants: where a rule for a clock's face strikes, over nights that lack or repeat an hour.

Rules come from the definitions as two functions over naive times (the tick at or before, the tick after); instants,
all in UTC, go back. What holds: a tick that a clock skips strikes at the moment of the skip; a tick that comes twice
strikes the first time, and both times where the rule repeats through the hours of a day.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from typing import TypeAlias

from drawbar.errors import PartitionError, did_you_mean

Tick: TypeAlias = Callable[[datetime], datetime]

_LEAST = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
# Room for every offset at both ends of what a datetime can say.
_YEARS = range(2, 9998)


@cache
def zone(name: str) -> tzinfo:
    """The time zone of that name; PartitionError where this machine knows none."""
    if name == "UTC":
        return UTC
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError, TypeError) as error:
        known = zoneinfo.available_timezones()
        otherwise = (
            "write it as in Europe/Berlin" if known else "pip install tzdata, for this machine has no time zones"
        )
        raise PartitionError(
            f"{name!r} is not a time zone.",
            expected="a name of the IANA database, such as Europe/Berlin, or UTC",
            found=repr(name),
            todo=did_you_mean(str(name), known, otherwise=otherwise),
        ) from error


def instant(value: object, zone: tzinfo, what: str) -> datetime:
    """The instant that a date, a datetime or an ISO text means; without an offset of its own it is the zone's."""
    found = value
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(f"{value}-01" if len(value) == len("2024-01") else value)
        except ValueError:
            found = None
    if isinstance(found, datetime):
        # A plain one, also out of a subclass such as pandas' Timestamp.
        parts = (found.year, found.month, found.day, found.hour, found.minute, found.second, found.microsecond)
        found = datetime(*parts, tzinfo=found.tzinfo, fold=found.fold)
    elif isinstance(found, date):
        found = datetime(found.year, found.month, found.day)  # noqa: DTZ001 - the zone comes below
    if not isinstance(found, datetime) or found.year not in _YEARS:
        raise PartitionError(
            f"{value!r} is not a time at which partitions can {what}.",
            expected="a date, a datetime, or an ISO text such as '2024-01-01' or '2024-01-01T06:00'",
            found=f"{value!r} ({type(value).__name__})",
        )
    return found.astimezone(UTC) if found.tzinfo else strike(found, zone)


def strike(wall: datetime, zone: tzinfo) -> datetime:
    """The first instant at which the clock reads `wall`, or has passed it where it skips that time."""
    if zone is UTC:
        return wall.replace(tzinfo=UTC)
    before, after = _offsets(wall, zone)
    return _change(wall - after, wall - before, zone) if before < after else (wall - before).replace(tzinfo=UTC)


def floor(instant: datetime, zone: tzinfo, last: Tick, *, repeats: bool) -> datetime:
    """The last strike at or before `instant`."""
    if zone is UTC:
        return last(instant.replace(tzinfo=None)).replace(tzinfo=UTC)
    wall, second = _reading(instant, zone)
    if not second:
        tick = last(wall)
        # A tick of another night may have struck twice by now; one of this night has struck once.
        twice = repeats and not _doubled(wall, zone)
        return _strike_again(tick, zone) if twice else strike(tick, zone)
    begin, end = _doubled(wall, zone) or (wall, wall)
    tick = last(wall)
    if repeats and tick >= begin:
        return _strike_again(tick, zone)
    return strike(last(end - _LEAST), zone)


def after(instant: datetime, zone: tzinfo, following: Tick, *, repeats: bool) -> datetime:
    """The first strike after `instant`."""
    if zone is UTC:
        return following(instant.replace(tzinfo=None)).replace(tzinfo=UTC)
    wall, second = _reading(instant, zone)
    doubled = _doubled(wall, zone)
    if doubled is None:
        return strike(following(wall), zone)
    begin, end = doubled
    if not repeats:
        return strike(following(end - _LEAST if second else wall), zone)
    tick = following(wall)
    if tick < end:
        return _strike_again(tick, zone) if second else strike(tick, zone)
    again = tick if second else following(begin - _LEAST)
    return _strike_again(again, zone) if again < end else strike(tick, zone)


def _reading(instant: datetime, zone: tzinfo) -> tuple[datetime, bool]:
    """What the clock reads, and whether it reads so for the second time."""
    local = instant.astimezone(zone)
    return local.replace(tzinfo=None, fold=0), bool(local.fold)


def _offsets(wall: datetime, zone: tzinfo) -> tuple[timedelta, timedelta]:
    """The clock's offsets from UTC before and after a change around `wall`; equal where there is none."""
    first = wall.replace(tzinfo=zone)
    return first.utcoffset() or timedelta(), first.replace(fold=1).utcoffset() or timedelta()


def _doubled(wall: datetime, zone: tzinfo) -> tuple[datetime, datetime] | None:
    """The stretch of the clock's face around `wall` that it shows twice (the end not in it), or None."""
    before, after = _offsets(wall, zone)
    if before <= after:
        return None
    change = _change(wall - before, wall - after, zone).replace(tzinfo=None)
    return change + after, change + before


def _strike_again(wall: datetime, zone: tzinfo) -> datetime:
    """The last instant at which the clock reads `wall`; that of `strike` where there is but one."""
    before, after = _offsets(wall, zone)
    return (wall - after).replace(tzinfo=UTC) if before > after else strike(wall, zone)


def _change(low: datetime, high: datetime, zone: tzinfo) -> datetime:
    """The instant after `low` and not after `high` (naive, in UTC) at which the clock changes."""
    old = low.replace(tzinfo=UTC).astimezone(zone).utcoffset()
    low, high = low.replace(microsecond=0, tzinfo=UTC), high.replace(microsecond=0, tzinfo=UTC)
    while high - low > _SECOND:
        middle = low + (high - low) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == old:
            low = middle
        else:
            high = middle
    return high
