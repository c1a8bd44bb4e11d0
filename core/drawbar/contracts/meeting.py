"""Whether what a consumer expects of a table is what its maker promises, or what a record says of it.

Contracts come here from both sides of an edge, columns from a record; sentences go to the graph and to the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drawbar.agent.columns import ANY, EVOLVE, FREEZE, fits, neutral
from drawbar.contracts.model import Column, Contract


def compatible(upstream: Contract, wanted: Contract) -> list[str]:
    """What a consumer wants of a table that its contract does not promise, in sentences; empty where they meet.

    Columns that the consumer does not name are none of its business, unless its `extra` says "freeze".

    >>> compatible(Contract({"url": "string", "n": "int32"}), Contract({"url": "string", "n": "int64"}))
    ["column 'n' is promised as int32, and int64 is expected"]
    """
    said = _discarding(wanted)
    for name, one in _required(wanted):
        promised = upstream.columns.get(name)
        if promised is None:
            # What may come with the table, though nobody promises it, is looked for when it is there.
            if (upstream.extra or upstream.mode) != EVOLVE:
                said.append(f"column {name!r} is not promised, and {one.type} is expected")
        elif promised.type != ANY and not fits(promised.type, one.type):
            said.append(f"column {name!r} is promised as {promised.type}, and {one.type} is expected")
        elif promised.nullable and not one.nullable:
            said.append(f"column {name!r} may have nulls, and none are expected")
    return said + _unwanted(list(upstream.columns), wanted)


def unmet(columns: Sequence[tuple[str, str]], wanted: Contract, profile: Mapping[str, Any] | None = None) -> list[str]:
    """What a consumer wants of a value that its record says it lacks, in sentences; no data is read.

    `columns` are names and types as a record has them, in the words of whichever library; `profile` is the record's,
    and tells of nulls where there is one.

    >>> unmet([("url", "str"), ("n", "Int64")], Contract({"url": "string", "n": "string"}))
    ["column 'n' is int64, and string is expected"]
    """
    said = _discarding(wanted)
    kinds = {name: neutral(kind) for name, kind in columns}
    figures = (profile or {}).get("columns") or {}
    for name, one in _required(wanted):
        nulls = (figures.get(name) or {}).get("nulls") or 0
        if name not in kinds:
            said.append(f"column {name!r} is not there, and {one.type} is expected")
        elif not fits(kinds[name], one.type):
            said.append(f"column {name!r} is {kinds[name]}, and {one.type} is expected")
        elif nulls and not one.nullable:
            said.append(f"column {name!r} has {nulls} nulls, and none are expected")
    return said + _unwanted(list(kinds), wanted)


def _required(wanted: Contract) -> list[tuple[str, Column]]:
    return [(name, one) for name, one in wanted.columns.items() if (one.mode or wanted.mode) != EVOLVE]


def _unwanted(names: Sequence[str], wanted: Contract) -> list[str]:
    if wanted.extra != FREEZE:
        return []
    return [f"column {name!r} is there, and is not expected" for name in names if name not in wanted.columns]


def _discarding(wanted: Contract) -> list[str]:
    if not wanted.changes_values:
        return []
    return ["what is expected of an input cannot discard: its modes are freeze and evolve"]
