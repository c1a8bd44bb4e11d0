"""The plan: for every asset what it would be made from, whether that is in the store already, and if not, why not.

A planner comes in; decisions go to the command line and to adapters. A Version enters downstream by its DataVersion, so
a plan is certain only down to the first asset that runs.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from drawbar.errors import CorruptError, SourceError
from drawbar.graph import Graph
from drawbar.keys import AssetKey
from drawbar.planner import HERE, Planner, consumers
from drawbar.records import Record
from drawbar.selection import Unit
from drawbar.version import Change, transient_version

__all__ = ["HERE", "Decision", "Plan", "Planner", "plan"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to happen with one asset: `action` is reuse, run, skip (transient and not needed), source or blocked.

    `certain` is False where it depends on what an asset above comes out as: it may still be reused then.
    """

    name: str
    key: AssetKey
    action: str
    reason: str
    target: str = HERE
    version: str = ""
    data_version: str = ""
    record: Record | None = None
    changes: tuple[Change, ...] = ()
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """Decisions by asset name, in dependency order."""

    decisions: Mapping[str, Decision]

    def __getitem__(self, name: str) -> Decision:
        """The decision on that asset."""
        return self.decisions[name]

    @property
    def counts(self) -> dict[str, int]:
        """How many assets meet each action."""
        found: dict[str, int] = {}
        for one in self.decisions.values():
            found[one.action] = found.get(one.action, 0) + 1
        return found


def plan(graph: Graph, wanted: Iterable[str] | None = None, **settings: Any) -> Plan:
    """What a run would do and why, without doing it; `settings` are those of `Planner.of`.

    Lookups of one depth of the graph go out together, and only for what is selected.
    """
    with _uncollected():
        planner = Planner.of(graph, wanted, **settings)
        decisions: dict[str, Decision] = {}
        for level in _levels(planner.units):
            _decide_level(planner, level, decisions)
        _settle_transients(planner.units, decisions)
        return Plan({name: decisions[name] for name in planner.units})


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection: nothing of a plan is garbage, and a quarter of its time went into looking."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _levels(units: Mapping[str, Unit]) -> list[list[Unit]]:
    depth: dict[str, int] = {}
    levels: list[list[Unit]] = []
    for unit in units.values():
        depth[unit.id] = own = 1 + max((depth[up] for up in unit.above), default=-1)
        if own == len(levels):
            levels.append([])
        levels[own].append(unit)
    return levels


def _decide_level(planner: Planner, level: list[Unit], decisions: dict[str, Decision]) -> None:
    lookups: list[tuple[Unit, dict[str, str], str]] = []
    for unit in level:
        one, name, key = unit.asset, unit.id, unit.key
        target = planner.target(one.name)
        unsure = [decisions[up] for up in unit.above if not decisions[up].data_version]
        if one.source is not None:
            decisions[name] = _decide_source(planner, unit)
        elif unsure:
            blocked = next((up.name for up in unsure if up.action == "blocked"), None)
            if blocked is not None:
                decisions[name] = Decision(name, key, "blocked", f"{blocked} cannot be had", target)
                continue
            reason = f"{unsure[0].name} is made first; reused if that comes out the same"
            decisions[name] = Decision(name, key, "run", reason, target, certain=False)
        else:
            inputs = planner.inputs(unit, lambda up: decisions[up].data_version)
            version = planner.version(unit, inputs)
            if one.options.persist:
                lookups.append((unit, inputs, version))
            else:
                stands = transient_version(version)
                decisions[name] = Decision(name, key, "run", "transient", target, version, stands)
    found = _lookup(planner, [(unit, version) for unit, _, version in lookups])
    for (unit, inputs, version), record in zip(lookups, found, strict=True):
        name, key, target = unit.id, unit.key, planner.target(unit.asset.name)
        usable, trouble = (None, "asked to be made again") if name in planner.forced else planner.usable(record)
        if usable is not None:
            reason = usable.told
            unchecked = planner.unchecked(unit, usable)
            if unchecked:
                reason = f"{reason}; checked again: {', '.join(unchecked)}"
            decisions[name] = Decision(
                name, key, "reuse", reason, target, version, usable.data_version, usable, certain=not unchecked
            )
        else:
            reason, changes = planner.why(unit, planner.parts(unit, inputs), trouble)
            decisions[name] = Decision(name, key, "run", reason, target, version, changes=changes)


def _lookup(planner: Planner, wanted: list[tuple[Unit, str]]) -> list[Record | CorruptError | None]:
    """Records of these Versions: from what was fetched with the plan's first request, the rest in one more."""
    found: list[Record | CorruptError | None] = []
    missing: list[tuple[int, AssetKey, str]] = []
    for index, (unit, version) in enumerate(wanted):
        latest = planner.latest.get(unit.id) if planner.latest else None
        found.append(latest if latest and latest.version == version else planner.store.index.find(unit.key, version))
        if found[-1] is None:
            missing.append((index, unit.key, version))
    for (index, _, _), record in zip(
        missing, planner.store.lookup_many([(key, version) for _, key, version in missing]), strict=True
    ):
        found[index] = record
    return found


def _decide_source(planner: Planner, unit: Unit) -> Decision:
    try:
        now = planner.source(unit)
    except SourceError as error:
        return Decision(unit.id, unit.key, "blocked", f"{error.what} {error.found}")
    return Decision(unit.id, unit.key, "source", now.uri, data_version=now.data_version)


def _settle_transients(units: Mapping[str, Unit], decisions: dict[str, Decision]) -> None:
    """A transient asset runs only if something that takes it runs, or if nothing takes it and it was asked for."""
    below = consumers(units)
    for unit in reversed(list(units.values())):
        if unit.asset.options.persist:
            continue
        one, takers = decisions[unit.id], [decisions[taker] for taker in below[unit.id]]
        if takers and all(t.action in ("reuse", "skip") for t in takers):
            reason = "transient, and nothing that takes it runs"
            decisions[unit.id] = Decision(unit.id, one.key, "skip", reason, one.target, one.version, one.data_version)
