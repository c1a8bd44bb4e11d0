"""Definitions of partitions out of a configuration file.

Tables come from TOML, where a day is text or a date of TOML's own; definitions go to the asset's options.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from drawbar.errors import PartitionError, did_you_mean
from drawbar.partitions.base import Partitions
from drawbar.partitions.cron import Cron
from drawbar.partitions.listed import Dynamic, Static
from drawbar.partitions.multi import Multi
from drawbar.partitions.periods import Daily, Hourly, Monthly, Weekly

# The first parameter of each is what stands behind its name in the table.
_KINDS: Mapping[str, Callable[..., Partitions]] = {
    "hourly": Hourly,
    "daily": Daily,
    "weekly": Weekly,
    "monthly": Monthly,
    "cron": Cron,
    "static": Static,
    "dynamic": Dynamic,
}


def from_config(table: Mapping[str, Any]) -> Partitions:
    """The definition that a table means: one kind with its options, or a table for each of two dimensions.

    >>> from_config({"daily": "2024-01-01", "timezone": "Europe/Berlin"})
    Daily('2024-01-01', timezone='Europe/Berlin')
    >>> from_config({"date": {"monthly": "2024-01"}, "region": {"static": ["eu", "us"]}})
    Multi(date=Monthly('2024-01-01'), region=Static(['eu', 'us']))
    """
    if not isinstance(table, Mapping) or not table:
        raise _refused(table, type(table).__name__ if table else "nothing")
    if all(isinstance(value, Mapping) for value in table.values()):
        bad = next((name for name in table if not name.isidentifier()), None)
        if bad is not None:
            raise PartitionError(
                f"{bad!r} cannot be the name of a dimension.", expected="a Python identifier", found=repr(bad)
            )
        return Multi(**{name: from_config(value) for name, value in table.items()})
    kinds = [name for name in table if name in _KINDS]
    if len(kinds) != 1:
        raise _refused(table, " and ".join(kinds) or ", ".join(table))
    kind = kinds[0]
    make = _KINDS[kind]
    known = list(inspect.signature(make).parameters)[1:]
    for name in table:
        if name != kind and name not in known:
            raise PartitionError(
                f"{name!r} is not an option of {kind} partitions.",
                expected=", ".join(known) or "no option",
                found=repr(name),
                todo=did_you_mean(name, known, otherwise="remove it"),
            )
    if kind == "cron" and "start" not in table:
        raise PartitionError(
            "cron partitions have no start.", expected='start = "2024-01-01"', found="none", todo="add `start`"
        )
    return make(table[kind], **{name: value for name, value in table.items() if name != kind})


def _refused(table: Any, found: str) -> PartitionError:
    unknown = next((name for name in table if name not in _KINDS), "") if isinstance(table, Mapping) else ""
    return PartitionError(
        f"{table!r} does not define partitions.",
        expected=f"exactly one of {', '.join(_KINDS)}, or a table for each of two dimensions",
        found=found,
        todo=did_you_mean(str(unknown), _KINDS, otherwise='write it as in { daily = "2024-01-01" }'),
    )
