"""Two dimensions at once: a partition for each pair of keys, such as a day and a region.

Each dimension is a definition of its own, which is asked about its half of a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, overload

from drawbar.agent.partition import Partition
from drawbar.errors import PartitionError
from drawbar.partitions.base import Partitions, unknown
from drawbar.partitions.windows import Windows

BETWEEN = "|"
_TWO = 2


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Multi(Partitions):
    """The pairs of two dimensions, at most one of them of time; a key is `2026-11-20|eu`, in the order as written.

    >>> from drawbar.partitions import Daily, Static
    >>> both = Multi(date=Daily("2024-01-01", "2024-01-03"), region=Static(["eu", "us"]))
    >>> list(both.keys())
    ['2024-01-01|eu', '2024-01-01|us', '2024-01-02|eu', '2024-01-02|us']
    >>> dict(both.partition("2024-01-02|eu").keys)
    {'date': '2024-01-02', 'region': 'eu'}
    """

    dims: tuple[tuple[str, Partitions], ...]

    kind: ClassVar[str] = "multi"

    def __init__(self, /, **dims: Partitions) -> None:
        if len(dims) != _TWO:
            raise PartitionError(
                "Multi has two dimensions.",
                expected="exactly two, as in Multi(date=Daily('2024-01-01'), region=Static(['eu', 'us']))",
                found=f"{len(dims)}: {', '.join(dims)}" if dims else "none",
            )
        for name, dim in dims.items():
            if not isinstance(dim, Partitions) or isinstance(dim, Multi):
                raise PartitionError(
                    f"Dimension {name!r} is not a definition of partitions in one dimension.",
                    expected="one of Hourly, Daily, Weekly, Monthly, Cron, Static, Dynamic",
                    found=f"{dim!r} ({type(dim).__name__})",
                )
        if all(isinstance(dim, Windows) for dim in dims.values()):
            raise PartitionError(
                "Multi has two dimensions of time.",
                expected="at most one, so that a partition has one window",
                found=", ".join(f"{name}: {dim.describe()}" for name, dim in dims.items()),
                todo="keep the finer one; a coarser asset downstream takes many of its windows",
            )
        object.__setattr__(self, "dims", tuple(dims.items()))

    def __repr__(self) -> str:
        return f"Multi({', '.join(f'{name}={dim!r}' for name, dim in self.dims)})"

    def describe(self) -> str:
        """Both dimensions with their names."""
        return " by ".join(f"{name} ({dim.describe()})" for name, dim in self.dims)

    @property
    def time(self) -> str | None:
        """The name of the dimension of time, if there is one."""
        return next((name for name, dim in self.dims if isinstance(dim, Windows)), None)

    def keys(self, now: datetime | None = None) -> Sequence[str]:
        """All pairs, made as they are asked for: memory holds the keys of each dimension only."""
        return _Pairs(*(dim.keys(now) for _, dim in self.dims))

    def partition(self, key: str, now: datetime | None = None) -> Partition:
        """The partition of that pair; its window is that of the dimension of time."""
        parts = []
        for (name, dim), half in zip(self.dims, self.split(key), strict=True):
            try:
                parts.append(dim.partition(half, now))
            except PartitionError as error:
                raise unknown(
                    key, self, expected=f"as {name} {error.expected}", found=f"{half!r}: {error.found}", todo=error.todo
                ) from error
        return self._joined(parts)

    def _joined(self, parts: Sequence[Partition]) -> Partition:
        window = next((part for part in parts if part.start), parts[0])
        keys = {name: part.key for (name, _), part in zip(self.dims, parts, strict=True)}
        return Partition(BETWEEN.join(keys.values()), window.start, window.end, keys)

    def split(self, key: str) -> list[str]:
        """The halves of a key (or of a text that chooses some), in the order of the dimensions."""
        halves = key.split(BETWEEN) if isinstance(key, str) else []
        if len(halves) != _TWO:
            names = [name for name, _ in self.dims]
            raise unknown(
                key,
                self,
                expected=f"a pair {BETWEEN.join(names)}",
                found=f"{len(halves)} parts" if halves else type(key).__name__,
                todo=f"join the key of {names[0]!r} and that of {names[1]!r} by {BETWEEN!r}; '*' stands for each",
            )
        return halves

    def between(self, first: str | None, last: str | None, now: datetime | None = None) -> list[str]:
        """All keys; two pairs have no range between them, their halves do."""
        if first is None and last is None:
            return list(self.keys(now))
        raise PartitionError(
            f"{first or ''}..{last or ''} is not a range of: {self.describe()}.",
            expected=f"a range in each dimension, such as a..b{BETWEEN}*",
            found="a range of pairs",
        )

    def preceding(self, key: str | None, count: int, now: datetime | None = None) -> list[str]:
        """Along the dimension of time, at the same key of the other (at each of them where `key` is None)."""
        along = self.time
        if along is None:
            raise PartitionError(
                f"There is no order in: {self.describe()}.",
                expected="a dimension of time, along which one partition comes before another",
                found="none",
            )
        halves = self.split(key) if key is not None else [None] * _TWO
        found = [
            dim.preceding(half, count, now) if name == along else list(dim.keys(now)) if half is None else [half]
            for (name, dim), half in zip(self.dims, halves, strict=True)
        ]
        return list(_Pairs(*found))

    def position(self, key: str) -> Any:
        """The position in each dimension, the first before the second."""
        return tuple(dim.position(half) for (_, dim), half in zip(self.dims, self.split(key), strict=True))

    def fits(self, above: Partitions) -> bool:
        """Whether `above` has the same two dimensions, in any order."""
        if not isinstance(above, Multi):
            return False
        others = dict(above.dims)
        return others.keys() == dict(self.dims).keys() and all(dim.fits(others[name]) for name, dim in self.dims)

    def example(self) -> Partition:
        """The pair of both examples."""
        return self._joined([dim.example() for _, dim in self.dims])

    def lack(self, now: datetime | None = None) -> str:
        """Which dimension has no key, and why."""
        name, dim = next((name, dim) for name, dim in self.dims if not dim.keys(now))
        return f"{name}: {dim.lack(now)}"

    @property
    def dynamic(self) -> tuple[str, ...]:
        """The sets in either dimension."""
        return tuple(dict.fromkeys(name for _, dim in self.dims for name in dim.dynamic))

    def resolved(self, lookup: Callable[[str], Sequence[str]]) -> Multi:
        """Both dimensions with the keys that their sets hold now."""
        return Multi(**{name: dim.resolved(lookup) for name, dim in self.dims}) if self.dynamic else self


class _Pairs(Sequence[str]):
    """The keys of two dimensions, paired; made one by one."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: Sequence[str], second: Sequence[str]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) * len(self._second)

    def __iter__(self) -> Iterator[str]:
        return (f"{one}{BETWEEN}{other}" for one in self._first for other in self._second)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        places = range(len(self))[at]
        if isinstance(places, range):
            return [self[place] for place in places]
        first, second = divmod(places, len(self._second))
        return f"{self._first[first]}{BETWEEN}{self._second[second]}"
