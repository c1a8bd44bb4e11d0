"""Profiles side by side: what differs between two versions of a value, and what several parts are like together.

Profiles come here out of records and events, as `agent.profiling` made them; what changed goes to `drawbar show`, and
the figures of many partitions as of one dataset to lineage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Profile: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shift:
    """One thing that differs between two profiles; `what` is rows, column, type, nulls, min or max.

    `column` is empty for what is of the whole value; `old` is None for a new column, `new` for one that is gone.
    """

    what: str
    column: str
    old: Any
    new: Any

    def __str__(self) -> str:
        """The difference as a person says it.

        >>> print(Shift("rows", "", 1000, 1200), Shift("nulls", "score", 0, 30), sep="; ")
        rows 1 000 → 1 200 (+20 %); nulls of score 0 → 30
        >>> print(Shift("column", "url", None, "string"), Shift("column", "x", "double", None), sep="; ")
        column url is new (string); column x is gone
        """
        if self.what == "column":
            return f"column {self.column} is " + ("gone" if self.new is None else f"new ({self.new})")
        name = self.what + (f" of {self.column}" if self.column else "")
        return f"{name} {shown(self.old)} → {shown(self.new)}" + (_percent(self) if self.what == "rows" else "")


def changed(old: Profile | None, new: Profile | None) -> list[Shift]:
    """What differs, rows first and then column by column; nothing where one of the two is not known.

    Which columns came and went cannot be told of a table of which only the first columns were looked at.

    >>> before = {"rows": 3, "columns": {"x": {"type": "int64", "nulls": 0, "min": 1, "max": 5}}}
    >>> after = {"rows": 3, "columns": {"x": {"type": "int64", "nulls": 1, "min": 1, "max": 9}}}
    >>> [str(one) for one in changed(before, after)]
    ['nulls of x 0 → 1', 'max of x 5 → 9']
    """
    if old is None or new is None:
        return []
    shifts = [Shift("rows", "", old["rows"], new["rows"])] if old["rows"] != new["rows"] else []
    before, after = old["columns"], new["columns"]
    whole = not (old.get("truncated") or new.get("truncated"))
    for name in dict.fromkeys([*before, *after]):
        if name in before and name in after:
            shifts += _of_column(name, before[name], after[name])
        elif whole:
            kinds = [side[name]["type"] if name in side else None for side in (before, after)]
            shifts.append(Shift("column", name, *kinds))
    return shifts


def _of_column(name: str, old: Profile, new: Profile) -> list[Shift]:
    """Figures that only one of the two has are no difference, unless the type stayed and the values went or came."""
    if old["type"] != new["type"]:
        return [Shift("type", name, old["type"], new["type"])]
    return [
        Shift(what, name, old[what], new[what])
        for what in ("nulls", "min", "max")
        if what in old and what in new and old[what] != new[what]
    ]


def together(profiles: Iterable[Profile | None]) -> dict[str, Any] | None:
    """The profile of all parts as of one value; None where one of them has none, or there is nothing.

    Columns that not every part has, or that are not of one type, are left out.

    >>> part = {"rows": 2, "columns": {"x": {"type": "int64", "nulls": 1, "min": 4, "max": 4}}}
    >>> together([part, {"rows": 1, "columns": {"x": {"type": "int64", "nulls": 0, "min": 9, "max": 9}}}])
    {'rows': 3, 'columns': {'x': {'type': 'int64', 'nulls': 1, 'min': 4, 'max': 9}}}
    """
    rows, columns = 0, dict[str, dict[str, Any]]()
    first = True
    for one in profiles:
        if one is None:
            return None
        rows += one["rows"]
        parts = one["columns"]
        if first:
            columns = {name: dict(figures) for name, figures in parts.items()}
        for name in [] if first else list(columns):
            if name not in parts or parts[name]["type"] != columns[name]["type"]:
                del columns[name]
            else:
                _add(columns[name], parts[name])
        first = False
    return None if first else {"rows": rows, "columns": columns}


def _add(so_far: dict[str, Any], part: Profile) -> None:
    so_far["nulls"] += part["nulls"]
    so_far.pop("shape", None)
    for what, better in (("min", min), ("max", max)):
        known = [one for one in (so_far[what], part[what]) if one is not None]
        # A number and a text ("inf") have no order.
        so_far[what] = better(known) if len({isinstance(one, str) for one in known}) == 1 else None


def nulls_in(profile: Profile | None) -> int | None:
    """Nulls in all columns together; None where they were not counted."""
    counts = [figures.get("nulls") for figures in profile["columns"].values()] if profile else []
    return sum(counts) if counts and None not in counts else None


def shown(value: Any) -> str:
    """A figure as a person reads it.

    >>> shown(1234567), shown(0.1 + 0.2), shown(None), shown("a b")
    ('1 234 567', '0.3', 'none', 'a b')
    """
    if value is None:
        return "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", " ")
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _percent(shift: Shift) -> str:
    if not isinstance(shift.old, int) or not isinstance(shift.new, int) or not shift.old:
        return ""
    part = 100 * (shift.new - shift.old) / shift.old
    return f" ({part:+.0f} %)" if abs(part) >= 1 else f" ({part:+.2g} %)"
