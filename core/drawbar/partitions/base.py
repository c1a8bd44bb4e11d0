"""What every definition of partitions can be asked, and which texts may be the key of a partition.

The kinds of definitions answer; plans, mappings and the choosing of partitions ask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import quote

from drawbar.agent.partition import Partition
from drawbar.errors import PartitionError

# A key is the name of a folder when it is percent-encoded; with room for an ending below the 255 of file systems.
LONGEST = 200
EVERY = ("all", "*")
LATEST = "latest"
_SHOWN = 100


class Partitions(ABC):
    """Which partitions an asset has.

    One of `Hourly`, `Daily`, `Weekly`, `Monthly`, `Cron`, `Static`, `Dynamic` and `Multi`: frozen values, equal where
    they say the same. `now` (aware) is the moment at which is asked, None for this one: a window of time is a partition
    once it has ended.
    """

    __slots__ = ()

    kind: ClassVar[str]

    @abstractmethod
    def describe(self) -> str:
        """The definition as a person says it: `daily from 2024-01-01, Europe/Berlin`."""

    @abstractmethod
    def keys(self, now: datetime | None = None) -> Sequence[str]:
        """The keys of all partitions that exist, in order."""

    @abstractmethod
    def partition(self, key: str, now: datetime | None = None) -> Partition:
        """The partition of that key; PartitionError where it does not exist, or is the key of another kind."""

    @abstractmethod
    def between(self, first: str | None, last: str | None, now: datetime | None = None) -> list[str]:
        """The keys from `first` to `last`, both included and existing; None stands for the first or last there is."""

    @abstractmethod
    def preceding(self, key: str | None, count: int, now: datetime | None = None) -> list[str]:
        """Of the `count` keys that end with `key` those that exist; None stands for the last there is."""

    @abstractmethod
    def position(self, key: str) -> Any:
        """What keys that exist are sorted by, so that they stand in the definition's order."""

    @abstractmethod
    def fits(self, above: Partitions) -> bool:
        """Whether the keys of this one can be keys of `above`: windows that begin alike, or keys that it holds too."""

    @abstractmethod
    def example(self) -> Partition:
        """Some partition, always the same one, which need not exist: a function is tried on it."""

    @abstractmethod
    def lack(self, now: datetime | None = None) -> str:
        """Why there is no partition, where there is none."""

    @property
    def dynamic(self) -> tuple[str, ...]:
        """The names of the dynamic sets in it."""
        return ()

    def resolved(self, lookup: Callable[[str], Sequence[str]]) -> Partitions:  # noqa: ARG002 - Dynamic and Multi look
        """This definition with the keys of its dynamic sets, which `lookup` gives by name; itself without any."""
        return self

    def __contains__(self, key: object) -> bool:
        """Whether a partition of that key exists now; the same cost however many there are."""
        try:
            return isinstance(key, str) and bool(self.partition(key))
        except PartitionError:
            return False


def moment(now: datetime | None) -> datetime:
    """The moment that `now` stands for, in UTC."""
    if now is None:
        return datetime.now(UTC)
    if now.tzinfo is None:
        raise PartitionError(
            f"`now` has no time zone: {now.isoformat()}.",
            expected="an aware datetime",
            todo="write datetime.now(UTC), or give it a tzinfo",
        )
    return now.astimezone(UTC)


def check_key(key: object, of: str = "a set of partitions") -> str:
    """The key, if it can be one; PartitionError that says what is wrong with it.

    >>> check_key("eu-west")
    'eu-west'
    """
    fault = _fault(key)
    if fault:
        raise PartitionError(
            f"{_short(key)} cannot be a key of {of}.",
            expected=f"printable text, not blank, of 1 to {LONGEST} bytes when percent-encoded, without '..' and '|', "
            f"and none of 'all', '*' and 'latest'",
            found=fault,
        )
    return str(key)


def _fault(key: object) -> str:
    if not isinstance(key, str):
        return type(key).__name__
    if not key.isprintable():
        return "a character that does not print"
    if key.isspace():
        return "nothing but blanks"
    length = len(quote(key, safe="", errors="replace"))
    if not 0 < length <= LONGEST:
        return f"{length} bytes"
    if key in EVERY or key == LATEST:
        return f"{key!r}, which means more than one partition, or another one each day, where partitions are chosen"
    return next((f"{mark!r} in it" for mark in ("..", "|") if mark in key), "")


def unknown(key: object, definition: Partitions, *, expected: str, found: str, todo: str) -> PartitionError:
    """The error for a key that is no partition of `definition`."""
    return PartitionError(
        f"{_short(key)} is no partition of: {definition.describe()}.", expected=expected, found=found, todo=todo
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
