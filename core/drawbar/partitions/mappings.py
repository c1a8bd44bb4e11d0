"""Which upstream partitions a partition is made from.

A mapping comes from the parameter of a user's function, or from the two definitions alone; keys of upstream partitions
go to the plan, and whether there are many of them to the check of types.
"""

from __future__ import annotations

import inspect
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from drawbar.agent.partition import Partition
from drawbar.errors import PartitionError
from drawbar.partitions.base import Partitions
from drawbar.partitions.meeting import Meeting, meeting
from drawbar.partitions.multi import Multi
from drawbar.partitions.periods import Daily, Hourly, Monthly, Weekly
from drawbar.partitions.windows import Windows

_WAYS = "Same(), Last(n), All(), Overlap(), or a function from a Partition to a key or keys"


class Mapping(ABC):
    """From a partition to those that it is made from; `own` are the partitions downstream, `above` those upstream."""

    __slots__ = ()

    @abstractmethod
    def many(self, own: Partitions | None, above: Partitions) -> bool:
        """Whether the parameter receives a mapping from key to value, however many there are; one value otherwise."""

    @abstractmethod
    def upstream(
        self, partition: Partition | None, own: Partitions | None, above: Partitions, now: datetime | None = None
    ) -> list[str]:
        """The keys above that `partition` is made from, in order; all of them exist.

        PartitionError where those that it cannot do without do not.
        """

    @abstractmethod
    def fault(self, own: Partitions | None, above: Partitions) -> str:
        """Why the two do not meet, or nothing."""

    def check(self, own: Partitions | None, above: Partitions | None, *, edge: str = "", where: str = "") -> None:
        """Raise PartitionError unless the two definitions meet; `edge` says of whom the message speaks."""
        fault = "what is upstream has no partitions" if above is None else self.fault(own, above)
        if fault:
            raise _apart(own, above, f"{self!r} does not fit", fault=fault, edge=edge, where=where)


@dataclass(frozen=True, slots=True)
class Same(Mapping):
    """The partition of the same key; between one and two dimensions, those that agree in the dimension they share.

    From two dimensions to one that is single there is one value; from one to two, there are many.
    """

    def many(self, own: Partitions | None, above: Partitions) -> bool:
        """Where upstream has one dimension more."""
        met = meeting(own, above)
        return isinstance(met, Meeting) and met.spreads

    def upstream(
        self, partition: Partition | None, own: Partitions | None, above: Partitions, now: datetime | None = None
    ) -> list[str]:
        """The one key, or one for each key of the other dimension."""
        assert partition is not None
        if own == above:
            return [partition.key]
        met = meeting(own, above)
        assert isinstance(met, Meeting), "checked when the graph was built"
        keys = met.keys(partition, now)
        # That one dimension has the key holds for each pair that it is in.
        for key in keys[:1]:
            try:
                above.partition(key, now)
            except PartitionError as error:
                raise _lacks(partition, above, error.found, error.todo) from error
        return keys

    def fault(self, own: Partitions | None, above: Partitions) -> str:
        """Where keys are of other kinds, or more than one dimension could be meant."""
        met = meeting(own, above)
        return met if isinstance(met, str) else ""


@dataclass(frozen=True, slots=True)
class Last(Mapping):
    """The `count` partitions that end with the one of the same key, or fewer at the beginning; always a mapping.

    Downstream of two dimensions they follow each other in the one of time. An asset without partitions takes the last
    that there are.
    """

    count: int

    def __post_init__(self) -> None:
        if not isinstance(self.count, int) or isinstance(self.count, bool) or self.count < 1:
            raise PartitionError(
                f"Last({self.count!r}) does not say how many.",
                expected="a whole number of partitions, 1 or more",
                found=repr(self.count),
                todo="write Last(7) for a key and the six before it",
            )

    def many(self, own: Partitions | None, above: Partitions) -> bool:  # noqa: ARG002 - the same for all
        """Always, also for `Last(1)` and at the beginning, so that the function takes one kind of thing."""
        return True

    def upstream(
        self, partition: Partition | None, own: Partitions | None, above: Partitions, now: datetime | None = None
    ) -> list[str]:
        """Step by step back from the same key."""
        key = None
        if partition is not None:
            met = meeting(own, above)
            assert isinstance(met, Meeting), "checked when the graph was built"
            (key,) = met.keys(partition, now)
        found = above.preceding(key, self.count, now)
        if not found:
            raise _lacks(partition, above, f"of the {self.count} that end with {key!r} none exists", "")
        return found

    def fault(self, own: Partitions | None, above: Partitions) -> str:
        """As of Same, and where upstream has no order or two dimensions against one."""
        if isinstance(above, Multi) and above.time is None:
            return "what is upstream has no dimension of time, so none comes before another"
        if own is None:
            return ""
        met = meeting(own, above)
        if isinstance(met, str):
            return met
        return "what is upstream has one dimension more, so the same key is many already" if met.spreads else ""


@dataclass(frozen=True, slots=True)
class All(Mapping):
    """Every partition that exists; a mapping, which is empty where none exists yet."""

    def many(self, own: Partitions | None, above: Partitions) -> bool:  # noqa: ARG002 - the same for all
        """Always."""
        return True

    def upstream(
        self,
        partition: Partition | None,  # noqa: ARG002 - the same for all
        own: Partitions | None,  # noqa: ARG002 - as above
        above: Partitions,
        now: datetime | None = None,
    ) -> list[str]:
        """All keys above."""
        return list(above.keys(now))

    def fault(self, own: Partitions | None, above: Partitions) -> str:  # noqa: ARG002 - the same for all
        """Nothing."""
        return ""


@dataclass(frozen=True, slots=True)
class Overlap(Mapping):
    """The windows that share some time with the partition's own: the hours of a day, the month of a day.

    One value where each window downstream lies within one upstream by the calendar (an hour in a day, a day in a week
    or month, of one time zone and from the same time of day); a mapping otherwise.
    """

    def many(self, own: Partitions | None, above: Partitions) -> bool:
        """Unless the windows above are made of whole ones downstream."""
        return not _within(_time(own), above)

    def upstream(
        self,
        partition: Partition | None,
        own: Partitions | None,  # noqa: ARG002 - the partition knows its window
        above: Partitions,
        now: datetime | None = None,
    ) -> list[str]:
        """Those windows that overlap and exist."""
        assert partition is not None
        assert partition.start is not None
        assert partition.end is not None
        assert isinstance(above, Windows)
        found = above.overlapping(partition.start, partition.end, now)
        if not found:
            raise _lacks(partition, above, _why_none(partition, above, now), "")
        return found

    def fault(self, own: Partitions | None, above: Partitions) -> str:
        """Where one of them has no time, or upstream has another dimension as well."""
        if not isinstance(above, Windows):
            return "what is upstream is not windows of time alone"
        return "" if _time(own) else "what is downstream has no windows of time"


@dataclass(frozen=True, slots=True)
class Function(Mapping):
    """What a user's function says: a key for one value, an iterable of keys for a mapping."""

    function: Callable[[Partition], str | Iterable[str]]

    def many(self, own: Partitions | None, above: Partitions) -> bool:  # noqa: ARG002 - the function knows
        """Unless its annotation, or without one what it gives for an example of a partition, is a text."""
        try:
            returns = typing.get_type_hints(self.function).get("return", inspect.Parameter.empty)
        except Exception:  # an annotation that cannot be looked up says as little as none
            returns = inspect.Parameter.empty
        if returns is not inspect.Parameter.empty:
            return returns is not str
        assert own is not None, "checked when the graph was built"
        try:
            return not isinstance(self._called(own.example()), str)
        except PartitionError as error:
            error.todo = "annotate what it returns, with `-> str` or `-> list[str]`, and it is not tried"
            raise

    def upstream(
        self, partition: Partition | None, own: Partitions | None, above: Partitions, now: datetime | None = None
    ) -> list[str]:
        """What the function gives, each key once, if all of them exist."""
        assert partition is not None
        given = self._called(partition)
        keys = [given] if isinstance(given, str) else list(dict.fromkeys(given))
        if not isinstance(given, str) and not self.many(own, above):
            raise self._nonsense(partition, f"{given!r}, where one key was announced")
        for key in keys:
            try:
                above.partition(key, now)
            except PartitionError as error:
                raise PartitionError(
                    f"{self!r} gives {key!r} for {partition.key!r}, which is no partition of: {above.describe()}.",
                    expected=error.expected,
                    found=error.found,
                    todo=error.todo,
                    where=self._where(),
                ) from error
        return keys

    def fault(self, own: Partitions | None, above: Partitions) -> str:  # noqa: ARG002 - the function knows
        """Where there is no partition to give to the function."""
        return "" if own else "what is downstream has no partitions that the function could be given"

    def _called(self, partition: Partition) -> Any:
        try:
            given = self.function(partition)
            keys = given if isinstance(given, str) else list(given)
        except Exception as error:
            raise self._nonsense(partition, f"{type(error).__name__}: {error}") from error
        if not all(isinstance(key, str) for key in keys):
            raise self._nonsense(partition, repr(given))
        return keys

    def _nonsense(self, partition: Partition, found: str) -> PartitionError:
        return PartitionError(
            f"{self!r} does not say what {partition.key!r} is made from.",
            expected="a key of an upstream partition, or an iterable of keys",
            found=found,
            where=self._where(),
        )

    def _where(self) -> str:
        code = getattr(self.function, "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if code else ""

    def __repr__(self) -> str:
        return f"The function {getattr(self.function, '__name__', self.function)!s}"


def mapping_of(value: Any) -> Mapping:
    """The mapping that a value stands for: itself, or a function; PartitionError for anything else.

    >>> mapping_of(Last(7))
    Last(count=7)
    """
    if isinstance(value, Mapping):
        return value
    if callable(value) and not isinstance(value, type):
        return Function(value)
    todo = f"write {value.__name__}()" if isinstance(value, type) and issubclass(value, Mapping) else ""
    raise PartitionError(f"{value!r} is not a mapping of partitions.", expected=_WAYS, found=repr(value), todo=todo)


def default(own: Partitions | None, above: Partitions | None, *, edge: str = "", where: str = "") -> Mapping | None:
    """The mapping that goes without saying; None where upstream has no partitions.

    PartitionError, which names both definitions and what can be written, where none does. `edge` says whose parameter
    it is, `where` in which file and line.
    """
    if above is None:
        return None
    if own is None:
        return All()
    met = meeting(own, above)
    if isinstance(met, Meeting):
        return Same()
    if isinstance(own, Windows) and isinstance(above, Windows):
        return Overlap()
    raise _apart(own, above, "No mapping goes without saying", fault=met, edge=edge, where=where)


def _apart(
    own: Partitions | None, above: Partitions | None, what: str, *, fault: str, edge: str, where: str
) -> PartitionError:
    of = f"{edge}: " if edge else ""
    two = [one.describe() if one else "no partitions" for one in (own, above)]
    return PartitionError(
        f"{of}{what}: downstream {two[0]}, upstream {two[1]}.",
        expected=f"partitions that meet, or another mapping: {_WAYS}",
        found=fault,
        todo="remove the mapping" if above is None else "write @asset(mappings={…}), by parameter",
        where=where,
    )


def _lacks(partition: Partition | None, above: Partitions, found: str, todo: str) -> PartitionError:
    who = "An asset without partitions" if partition is None else f"The partition {partition.key!r}"
    return PartitionError(
        f"{who} has nothing upstream in: {above.describe()}.",
        expected="at least one partition there that it is made from",
        found=found,
        todo=todo or "choose another partition, or let what is upstream start earlier",
    )


def _why_none(partition: Partition, above: Windows, now: datetime | None) -> str:
    """Why no window above that overlaps exists: the reason of the first one that would."""
    assert partition.start is not None
    try:
        above.partition(above.name_at(partition.start), now)
    except PartitionError as error:
        return error.found
    return "its windows overlap none that exists"


def _time(own: Partitions | None) -> Windows | None:
    """The windows of a definition, alone or as one dimension of two."""
    if isinstance(own, Multi) and own.time:
        own = dict(own.dims)[own.time]
    return own if isinstance(own, Windows) else None


def _within(own: Windows | None, above: Partitions) -> bool:
    """Whether each window of `own` lies within one of `above`, because one begins wherever one above does."""
    if own is None or not isinstance(above, Windows) or own.timezone != above.timezone:
        return False
    if own.fits(above):
        return True
    if not isinstance(above, (Daily, Weekly, Monthly)):
        return False
    if isinstance(own, Hourly):
        return own.minute == above.minute
    return (
        isinstance(own, Daily) and not isinstance(above, Daily) and (own.hour, own.minute) == (above.hour, above.minute)
    )
