"""Windows of time as partitions: what hours, days, weeks, months and cron ticks have in common.

A kind of window gives its rule for the clock's face and the form of its keys; the rest, from a key to its window and
from a moment to what has ended by then, is here. Inside, boundaries are instants in UTC.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar

from drawbar.agent.partition import Partition
from drawbar.errors import PartitionError
from drawbar.partitions import clock
from drawbar.partitions.base import Partitions, moment, unknown

_LEAST = timedelta(microseconds=1)
_FURTHEST = 366


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Windows(Partitions):
    """Windows of time, each from one tick of a clock to the next, with no gap between them.

    They begin with the first whole one at or after `start`, and end with the last whole one at or before `end`. A
    window is a partition once it has ended; `end_offset` moves that by as many windows: 1 takes the one that is still
    running, -1 waits for one more.
    """

    start: datetime
    end: datetime | None = None
    timezone: str = "UTC"
    end_offset: int = 0

    # How keys look.
    _form: ClassVar[str]

    @property
    def _repeats(self) -> bool:
        """Whether the rule repeats through the hours of a day, so that a doubled hour holds its ticks twice."""
        return False

    @abstractmethod
    def _last(self, wall: datetime) -> datetime:
        """The last tick at or before what the clock reads."""

    @abstractmethod
    def _following(self, wall: datetime) -> datetime:
        """The first tick after what the clock reads."""

    @abstractmethod
    def _tick(self, key: str) -> datetime:
        """What the clock reads where that window begins, as an aware or a naive time; ValueError for another form."""

    @abstractmethod
    def _name(self, begin: datetime) -> str:
        """The key of the window that begins at that instant."""

    @abstractmethod
    def _rule(self) -> str:
        """The rule as a person says it."""

    def describe(self) -> str:
        """The rule, from when to when, and the time zone."""
        end = f" to {_plain(self.end)}" if self.end else ""
        return f"{self._rule()} from {_plain(self.start)}{end}, {self.timezone}"

    def __repr__(self) -> str:
        """As it is written."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        start, end = _plain(given.pop("start")), given.pop("end")
        first = [repr(start), *([repr(_plain(end))] if end else [])]
        first[:0] = [repr(given.pop("cron"))] if "cron" in given else []
        defaults = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        rest = [f"{name}={value!r}" for name, value in given.items() if value != defaults.get(name, MISSING)]
        return f"{type(self).__name__}({', '.join(first + rest)})"

    def keys(self, now: datetime | None = None) -> list[str]:
        """The keys of all windows that have ended, in order."""
        return self._names(*self._span(now))

    def partition(self, key: str, now: datetime | None = None) -> Partition:
        """The window of that key."""
        begin = self._begin(key, now)
        return Partition(key, self._local(begin), self._local(self.after(begin)))

    def between(self, first: str | None, last: str | None, now: datetime | None = None) -> list[str]:
        """The keys from `first` to `last`."""
        begin, stop = self._span(now)
        begin = begin if first is None else self._begin(first, now)
        return self._names(begin, stop if last is None else self.after(self._begin(last, now)))

    def preceding(self, key: str | None, count: int, now: datetime | None = None) -> list[str]:
        """The last `count` windows that end with `key`; of those the ones that have ended, and began after `start`."""
        first, stop = self._span(now)
        begin = self.floor(stop - _LEAST) if key is None else self._parse(key)
        found = []
        for _ in range(count):
            if begin < first:
                break
            if begin < stop:
                found.append(self._name(begin))
            begin = self.floor(begin - _LEAST)
        return found[::-1]

    def overlapping(self, begin: datetime, end: datetime, now: datetime | None = None) -> list[str]:
        """The keys of the windows that share some time with that from `begin` to `end`."""
        first, stop = self._span(now)
        begin, end = begin.astimezone(UTC), end.astimezone(UTC)
        return self._names(max(first, self.floor(begin)), min(stop, end))

    def name_at(self, instant: datetime) -> str:
        """The key of the window that holds an instant, whether or not it exists."""
        return self._name(self.floor(instant.astimezone(UTC)))

    def position(self, key: str) -> datetime:
        """The instant at which the window begins."""
        return self._parse(key)

    def fits(self, above: Partitions) -> bool:
        """Whether the windows of both begin at the same times, from whenever on."""
        return isinstance(above, Windows) and self.beat() == above.beat()

    def beat(self) -> tuple[Any, ...]:
        """What decides where windows begin: everything but from when to when they are wanted."""
        ends = {f.name for f in fields(Windows)} - {"timezone"}
        return (type(self), *(getattr(self, f.name) for f in fields(self) if f.name not in ends))

    def example(self) -> Partition:
        """The first window."""
        first = self._first()
        return Partition(self._name(first), self._local(first), self._local(self.after(first)))

    def lack(self, now: datetime | None = None) -> str:
        """That the first window has not ended, or that none fits between start and end."""
        first = self._first()
        end = self.after(first)
        if self.end and end > self.end.astimezone(UTC):
            return "there is no whole window between its start and its end"
        late = f", and end_offset={self.end_offset} waits for more" if self.end_offset < 0 else ""
        return f"the first one, {self._name(first)}, ends at {_iso(self._local(end))}{late}; it is {_iso(moment(now))}"

    def floor(self, instant: datetime) -> datetime:
        """The beginning of the window that holds an instant; both in UTC."""
        return clock.floor(instant, clock.zone(self.timezone), self._last, repeats=self._repeats)

    def after(self, instant: datetime) -> datetime:
        """The first beginning of a window after an instant; both in UTC."""
        return clock.after(instant, clock.zone(self.timezone), self._following, repeats=self._repeats)

    def _local(self, instant: datetime) -> datetime:
        return instant.astimezone(clock.zone(self.timezone))

    def _first(self) -> datetime:
        start = self.start.astimezone(UTC)
        found = self.floor(start)
        return found if found == start else self.after(start)

    def _span(self, now: datetime | None) -> tuple[datetime, datetime]:
        """Where the first window begins and the last one that exists ends; not after the former where there is none."""
        stop = self.floor(moment(now))
        for _ in range(abs(self.end_offset)):
            stop = self.after(stop) if self.end_offset > 0 else self.floor(stop - _LEAST)
        return self._first(), min(stop, self.floor(self.end.astimezone(UTC))) if self.end else stop

    def _names(self, begin: datetime, stop: datetime) -> list[str]:
        """The keys of the windows from `begin` to `stop`."""
        found = []
        while begin < stop:
            found.append(self._name(begin))
            begin = self.after(begin)
        return found

    def _parse(self, key: str) -> datetime:
        """Where the window of that key begins, whether or not it exists; ValueError where it is not a key's text."""
        try:
            tick = self._tick(key)
            if tick.year == date.max.year:
                raise OverflowError  # noqa: TRY301 - as it comes where there is a next window to be found
            begin = tick.astimezone(UTC) if tick.tzinfo else clock.strike(tick, clock.zone(self.timezone))
            if self.floor(begin) != begin or self._name(begin) != key:
                raise ValueError(key)
        except OverflowError as error:
            raise ValueError(key) from error
        return begin

    def _begin(self, key: str, now: datetime | None) -> datetime:
        """Where the window of that key begins; PartitionError that says why it does not exist."""
        first, stop = self._span(now)
        try:
            begin = self._parse(key)
        except (ValueError, TypeError):
            near = self._near(key, first, stop)
            raise self._unknown(
                key, first, stop, "text of another form", f"did you mean {near!r}?" if near else ""
            ) from None
        if first <= begin < stop:
            return begin
        if begin < first:
            found, todo = "it lies before the first one", "set `start` earlier, or choose a later one"
        elif self.end and self.after(begin) > self.end.astimezone(UTC):
            found, todo = "it lies after the end", "set `end` later, or choose an earlier one"
        else:
            ends = self.after(begin)
            late = (
                "which is still to come" if ends > moment(now) else f"and end_offset={self.end_offset} waits for more"
            )
            found = f"its window ends at {_iso(self._local(ends))}, {late}"
            todo = "choose an earlier one, or wait until it has ended"
        raise self._unknown(key, first, stop, found, todo)

    def _near(self, text: object, first: datetime, stop: datetime) -> str:
        """The key of the window that holds the time that a text of another form seems to mean."""
        try:
            meant = clock.instant(text, clock.zone(self.timezone), "be")
            begin = self.floor(meant)
        except (PartitionError, OverflowError):
            return ""
        return self._name(begin) if first <= begin < stop else ""

    def _unknown(self, key: object, first: datetime, stop: datetime, found: str, todo: str) -> PartitionError:
        if first < stop:
            there = f"{self._name(first)} to {self._name(self.floor(stop - _LEAST))}"
        else:
            there = f"which begin with {self._name(first)}, and none of which exists yet"
        return unknown(key, self, expected=f"{self._form}: {there}", found=found, todo=todo)


def settle(windows: Windows, start: object, end: object, timezone: str, rest: Mapping[str, Any]) -> None:
    """Set the fields of a new definition, checked and in their one form."""
    zone = clock.zone(str(timezone))
    begins = clock.instant(start, zone, "start").astimezone(zone)
    ends = None if end is None else clock.instant(end, zone, "end").astimezone(zone)
    for name, value in {"start": begins, "end": ends, "timezone": timezone, **rest}.items():
        object.__setattr__(windows, name, value)
    bounded("end_offset", windows.end_offset, -_FURTHEST, _FURTHEST)
    if ends and ends.astimezone(UTC) <= begins.astimezone(UTC):
        raise PartitionError(
            f"{type(windows).__name__} ends before it has begun.",
            expected="an end after the start; the end itself is not in it",
            found=f"start {_plain(begins)}, end {_plain(ends)}",
            todo="exchange the two, or leave the end out",
        )


def bounded(name: str, value: object, low: int, high: int) -> None:
    """Raise PartitionError unless `value` is a whole number from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise PartitionError(
            f"{name}={value!r} does not fit.", expected=f"a whole number from {low} to {high}", found=repr(value)
        )


def _plain(time: datetime | None) -> str:
    """The time as it is written in a definition: a day where it is midnight, and no offset, which is the zone's."""
    if time is None:
        return ""
    text = time.replace(tzinfo=None).isoformat(timespec="auto" if time.second or time.microsecond else "minutes")
    # The second of two equal times on the clock needs its offset to be known from the first.
    return text.removesuffix("T00:00") if not time.fold else time.isoformat()


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="minutes")
