"""`drawbar explain`: which function, parameter, input or package changed since an asset was last made."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from drawbar.asset import MISSING
from drawbar.cli import output
from drawbar.cli.project import Project, settings, words
from drawbar.errors import PartitionError
from drawbar.graph import Graph
from drawbar.keys import AssetKey
from drawbar.partitions import choose
from drawbar.plan import Plan
from drawbar.planner import Planner
from drawbar.store import Store
from drawbar.version import Change, compare

# So many assets above are looked into for what changed in transient ones.
_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is to happen with one asset, what of its own changed, and what changed in the assets it is made from."""

    verdict: str
    changes: tuple[Change, ...]
    above: Mapping[str, tuple[Change, ...]]


@click.command("explain", epilog="Example: drawbar explain embeddings")
@words
@settings
def command(
    *,
    words: tuple[str, ...],
    project: Path | None,
    store: str | None,
    namespace: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Say what changed since an asset was last made.

    One line for each thing. A run parameter without a value is taken as it was then.
    """
    with output.reserved_stdout() as out:
        meant = Project.of(words, project=project, store=store, namespace=namespace)
        key = meant.key()
        graph = meant.graph()
        chosen, place = meant.settings(graph, **given), Store(meant.config.store)
        name = _unit(graph, key, chosen, place)
        remembered = as_last_time(graph, graph.select([key.name]), place, name)
        for param, value in remembered.items():
            if param not in chosen["params"] and param not in meant.config.params:
                chosen["params"][param] = value
                output.tell(f"{param} as last time: {output.one_line(repr(value))}")
        found = explain(graph, name, chosen)
        if as_json:
            output.answer(_json(f"{graph.namespace}/{name}", found), out)
            return
        output.show(output.one_line(f"{name}: {found.verdict}"), out)
        for change in found.changes:
            output.show(output.one_line(f"  {change}"), out)
        for others, changes in _alike(found.above):
            output.show(output.one_line(f"  {others}, which it is made from:"), out)
            for change in changes:
                output.show(output.one_line(f"    {change}"), out)


def _alike(above: Mapping[str, tuple[Change, ...]]) -> list[tuple[str, tuple[Change, ...]]]:
    """What changed above, once for all partitions of an asset of which the same is true."""
    found: dict[tuple[str, tuple[Change, ...]], list[str]] = {}
    for unit, changes in above.items():
        found.setdefault((unit.partition("@")[0], changes), []).append(unit)
    return [
        (units[0] if len(units) == 1 else f"{name} ({len(units):,} partitions, {units[0]} the first)", changes)
        for (name, changes), units in found.items()
    ]


def _unit(graph: Graph, key: AssetKey, chosen: dict[str, Any], store: Store) -> str:
    """The asset, at the one partition that its own name or `--partition` means; it is taken out of `chosen`."""
    one, texts = graph[key.name], chosen.pop("partitions")
    if key.partition is None and one.partitions is not None and texts:
        definition = one.partitions.resolved(lambda name: store.members(graph.namespace, name))
        keys = choose(definition, texts)
        if len(keys) > 1:
            raise PartitionError(
                f"One partition of {one.name} can be explained at a time.",
                expected=f"a key, as in `drawbar explain {one.name}@{keys[-1]}`",
                found=f"{len(keys):,} partitions",
                todo=f"`drawbar plan {one.name} --partition …` has a line for each",
                where=one.where,
            )
        return f"{one.name}@{keys[0]}"
    if texts:
        chosen["partitions"] = texts
    return AssetKey(graph.namespace, one.name, key.partition).unit


def explain(graph: Graph, name: str, chosen: Mapping[str, Any]) -> Explanation:
    """Why an asset would be made, from a plan of it; what changed above counts only where it may reach the asset."""
    planner = Planner.of(graph, [name], **chosen)
    found = _plan(graph, name, planner, chosen)
    one = found[name]
    if one.action in ("reuse", "source", "skip"):
        return Explanation(f"nothing changed: {'it is reused, ' if one.action == 'reuse' else ''}{one.reason}", (), {})
    above = {
        other: decision.changes or (Change("asset", other, "made again"),)
        for other, decision in found.decisions.items()
        if other != name and decision.certain and decision.action == "run" and decision.reason != "transient"
    }
    changes, latest = one.changes, planner.store.latest(one.key)
    known = {name: latest, **{other: planner.store.latest(found[other].key) for other in list(above)[:_LOOKED_AT]}}
    for other, record in known.items():
        above |= _within(planner, found, other, record.parts.inputs) if record is not None else {}
    if not one.certain:
        changes = (
            tuple(compare(latest.parts, planner.parts(planner.units[name], latest.parts.inputs))) if latest else ()
        )
    if one.certain or changes:
        return Explanation(one.reason if one.certain and not changes else "it is made again", changes, above)
    return Explanation(f"nothing of its own changed; {one.reason}", (), above)


def _within(planner: Planner, found: Plan, name: str, inputs: Mapping[str, str]) -> dict[str, tuple[Change, ...]]:
    """What changed in the transient assets that it is made from; `inputs` are the DataVersions that it had then."""
    changed: dict[str, tuple[Change, ...]] = {}
    for param, feed in planner.units[name].feeds.items():
        for up, label in zip(feed.units, feed.labels or ("",), strict=True):
            before = inputs.get(f"{param}[{label}]" if label else param, "").partition(" as ")[0]
            unit, version = planner.units[up], before.removeprefix("transient:")
            if version == before or not found[up].version or found[up].version == version:
                continue
            old = planner.store.parts(unit.key, version)
            if old is not None:
                new = planner.parts(unit, planner.inputs(unit, lambda one: found[one].data_version))
                changed[up] = tuple(compare(old, new))
                changed |= _within(planner, found, up, old.inputs)
    return changed


def _plan(graph: Graph, name: str, planner: Planner, chosen: Mapping[str, Any]) -> Plan:
    from drawbar.plan import plan

    return plan(graph, [name], **{**chosen, "store": planner.store})


def as_last_time(graph: Graph, names: Sequence[str], store: Store, unit: str) -> dict[str, Any]:
    """The run parameters without a default, as the records of the assets that take them have them.

    Of an asset in partitions that is the record of the partition in `unit`, else of its last one.
    """
    wanted = {
        param: asset.name
        for param, takers in graph.run_params(names).items()
        for asset, one in takers
        if one.default is MISSING
    }
    keys = [_remembered(graph, name, store, unit) for name in wanted.values()]
    found: dict[str, Any] = {}
    for param, record in zip(wanted, store.latest_of(keys), strict=True):
        text = record.parts.params.get(param, "").rpartition(" #")[0] if record else ""
        try:
            found[param] = ast.literal_eval(text)
        except (ValueError, SyntaxError):  # not kept whole, or not plain data: the user must give it
            continue
    return found


def _remembered(graph: Graph, name: str, store: Store, unit: str) -> AssetKey:
    whole, (asked, _, partition) = graph.key(name), unit.partition("@")
    if graph[name].partitions is None:
        return whole
    there = store.partitions(whole)
    return whole.at(partition if asked == name and partition in there else there[-1]) if there else whole


def _json(key: str, found: Explanation) -> dict[str, Any]:
    def plain(changes: Sequence[Change]) -> list[dict[str, str]]:
        return [{"kind": one.kind, "name": one.name, "how": one.how, "old": one.old, "new": one.new} for one in changes]

    above = {name: plain(changes) for name, changes in found.above.items()}
    return {"key": key, "verdict": found.verdict, "changes": plain(found.changes), "above": above}
