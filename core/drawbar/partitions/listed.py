"""Partitions that are listed by name: fixed in the code, or held by a set in the store that grows.

Names come from the user's code, or from the store through `resolved`; they go on as keys.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar

from drawbar.agent.partition import Partition
from drawbar.errors import PartitionError, did_you_mean
from drawbar.partitions.base import Partitions, check_key, unknown

_SET_NAME = re.compile(r"\w[\w.-]{0,99}\Z")
_SHOWN = 5


@dataclass(frozen=True, slots=True, init=False, repr=False)
class _Listed(Partitions):
    """Keys in the order in which they are listed."""

    @abstractmethod
    def _places(self) -> Mapping[str, int]:
        """Each key's place in the list."""

    @abstractmethod
    def _missing(self) -> str:
        """What to do where a key is not there."""

    def keys(self, now: datetime | None = None) -> Sequence[str]:  # noqa: ARG002 - a list is the same at any time
        """The keys as they are listed."""
        return tuple(self._places())

    def partition(self, key: str, now: datetime | None = None) -> Partition:  # noqa: ARG002 - as above
        """The partition of that name."""
        self._place(key)
        return Partition(key)

    def between(self, first: str | None, last: str | None, now: datetime | None = None) -> list[str]:
        """The keys from `first` to `last`, in the order of the list."""
        begin = 0 if first is None else self._place(first)
        end = None if last is None else self._place(last) + 1
        return list(self.keys(now)[begin:end])

    def preceding(self, key: str | None, count: int, now: datetime | None = None) -> list[str]:
        """The `count` keys up to `key` in the list."""
        keys = self.keys(now)
        end = len(keys) if key is None else self._places().get(key, -1) + 1
        return list(keys[max(0, end - count) : end])

    def position(self, key: str) -> int:
        """The place in the list."""
        return self._place(key)

    def example(self) -> Partition:
        """The first of the list."""
        return Partition(next(iter(self._places())))

    def lack(self, now: datetime | None = None) -> str:  # noqa: ARG002 - as above
        """That nothing is listed."""
        return "it holds no key yet"

    def _place(self, key: str) -> int:
        places = self._places()
        place = places.get(key) if isinstance(key, str) else None
        if place is None:
            some = [repr(one) for _, one in zip(range(_SHOWN), places, strict=False)]
            more = f", … ({len(places)} in all)" if len(places) > _SHOWN else ""
            raise unknown(
                key,
                self,
                expected=f"one of {', '.join(some)}{more}" if some else "a key that the set holds; it holds none yet",
                found=f"no such key, {type(key).__name__}" if not isinstance(key, str) else "no such key",
                todo=did_you_mean(str(key), places, otherwise=self._missing()),
            )
        return place


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Static(_Listed):
    """The partitions of a fixed list, in its order.

    >>> Static(["eu", "us"]).keys()
    ('eu', 'us')
    """

    names: tuple[str, ...]
    _index: Mapping[str, int] = field(compare=False)

    kind: ClassVar[str] = "static"

    def __init__(self, keys: Iterable[str]) -> None:
        if isinstance(keys, str) or not isinstance(keys, Iterable):
            raise PartitionError(
                "Static takes a list of keys.",
                expected="texts, as in Static(['eu', 'us'])",
                found=f"{keys!r} ({type(keys).__name__})",
                todo=f"write Static([{keys!r}])",
            )
        names = tuple(keys)
        if not names:
            raise PartitionError(
                "Static has no key.",
                expected="at least one",
                found="an empty list",
                todo="name its keys, or use Dynamic(name) for a set that is filled later",
            )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "_index", _indexed(names, "Static"))

    def __repr__(self) -> str:
        return f"Static({list(self.names)!r})"

    def __reduce__(self) -> tuple[type[Static], tuple[tuple[str, ...]]]:
        """The names are all there is to it."""
        return Static, (self.names,)

    def describe(self) -> str:
        """The kind and the first few keys."""
        more = f", … ({len(self.names)} in all)" if len(self.names) > _SHOWN else ""
        return f"static {', '.join(self.names[:_SHOWN])}{more}"

    def fits(self, above: Partitions) -> bool:
        """Whether the list of `above` has all of these keys."""
        return isinstance(above, Static) and self._index.keys() <= above._index.keys()  # noqa: SLF001 - of its own kind

    def _places(self) -> Mapping[str, int]:
        return self._index

    def _missing(self) -> str:
        return "add it to the list of Static"


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Dynamic(_Listed):
    """The partitions of a set in the store, sorted by their keys; an asset or a command adds to it.

    A definition in code knows the name only; `resolved` gives the one that knows the keys. Both are equal.

    >>> Dynamic("customers").resolved(lambda name: ["acme", "globex"]).keys()
    ('acme', 'globex')
    """

    name: str
    _index: Mapping[str, int] | None = field(compare=False)

    kind: ClassVar[str] = "dynamic"

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not _SET_NAME.match(name):
            raise PartitionError(
                f"{name!r} cannot be the name of a dynamic set.",
                expected="at most 100 letters, digits, '_', '.' and '-', beginning with a letter or digit",
                found=repr(name),
            )
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "_index", None)

    def __repr__(self) -> str:
        return f"Dynamic({self.name!r})"

    def __reduce__(self) -> tuple[type[Dynamic], tuple[str]]:
        """The keys are looked up again where it arrives."""
        return Dynamic, (self.name,)

    def describe(self) -> str:
        """The kind and the set's name."""
        return f"dynamic set {self.name!r}"

    def fits(self, above: Partitions) -> bool:
        """Whether `above` is the same set."""
        return self == above

    def example(self) -> Partition:
        """One that nobody added, for what the set holds changes."""
        return Partition("example")

    @property
    def dynamic(self) -> tuple[str, ...]:
        """The set's name."""
        return (self.name,)

    def resolved(self, lookup: Callable[[str], Sequence[str]]) -> Dynamic:
        """The set with the keys that it holds now."""
        found = Dynamic(self.name)
        object.__setattr__(found, "_index", _indexed(tuple(lookup(self.name)), self.describe()))
        return found

    def _places(self) -> Mapping[str, int]:
        if self._index is None:
            raise PartitionError(
                f"The keys of the {self.describe()} are not known here.",
                expected="a definition with the keys that the set in the store holds",
                found="its name only",
                todo="call .resolved(lookup) first",
            )
        return self._index

    def _missing(self) -> str:
        return f"add it to the set {self.name!r} first"


def _indexed(names: tuple[str, ...], of: str) -> Mapping[str, int]:
    index = {check_key(name, of): place for place, name in enumerate(names)}
    if len(index) < len(names):
        twice = next(name for place, name in enumerate(names) if index[name] != place)
        raise PartitionError(
            f"{of} has the key {twice!r} twice.", expected="each key once", found=repr(twice), todo="remove one of them"
        )
    return MappingProxyType(index)
