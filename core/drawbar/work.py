"""What passes between the walk and the making of one unit: a Work goes out, a Result comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from drawbar.asset import MISSING, Asset
from drawbar.events import Made
from drawbar.keys import AssetKey
from drawbar.partitions import Partition
from drawbar.records import Parts, Record
from drawbar.selection import Unit


@dataclass(slots=True)
class Input:
    """One input of a work: what it is, and how its value is had.

    `held` is the value itself where this run made it and this work may have it; MISSING otherwise.
    """

    name: str
    made: Made
    record: Record | None = None
    held: Any = MISSING
    cell: Cell | None = None


@dataclass(slots=True)
class Many:
    """The inputs behind a parameter that receives a mapping, by label."""

    inputs: Mapping[str, Input]


@dataclass(slots=True)
class Work:
    """One unit to make: everything that was decided about it."""

    unit: Unit
    version: str
    parts: Parts
    inputs: Mapping[str, Input | Many]
    params: Mapping[str, Any]
    target: str
    reason: str
    modules: tuple[str, ...] = ()
    again: bool = False

    @property
    def asset(self) -> Asset:
        """The asset whose unit it is."""
        return self.unit.asset

    @property
    def key(self) -> AssetKey:
        """The unit's identity."""
        return self.unit.key

    @property
    def partition(self) -> tuple[str, Partition] | None:
        """The parameter that receives the partition (empty where none does), and the partition; None without one."""
        one = self.unit.partition
        return None if one is None else (self.asset.takes_partition or "", one)

    @property
    def given_partition(self) -> dict[str, Partition]:
        """The partition as an argument, for a function that takes it."""
        one = self.partition
        return {one[0]: one[1]} if one and one[0] else {}

    @property
    def inputs_made(self) -> tuple[Made, ...]:
        """The inputs as events tell of them."""
        found: list[Made] = []
        for one in self.inputs.values():
            found += [each.made for each in one.inputs.values()] if isinstance(one, Many) else [one.made]
        return tuple(found)


@dataclass(slots=True)
class Result:
    """How a work ended: `state` is made, reused or skipped; `held` is the value where it was made in this process."""

    state: str
    record: Record | None
    made: Made
    reason: str = ""
    seconds: float = 0.0
    held: Any = MISSING


class Cell:
    """The value of a transient asset: made when the first work needs it, once, and kept for this run only."""

    __slots__ = ("_lock", "_make", "_value", "error", "made")

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._value: Any = MISSING
        self.error: BaseException | None = None
        self.made = False

    def value(self) -> Any:
        """The value; the error of its making is raised again for everyone who needs it."""
        with self._lock:
            if self.error is not None:
                raise self.error
            if self._value is MISSING:
                try:
                    self._value = self._make()
                    self.made = True
                except BaseException as error:
                    self.error = error
                    raise
            return self._value
