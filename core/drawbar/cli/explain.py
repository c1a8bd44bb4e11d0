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
from drawbar.graph import Graph
from drawbar.keys import AssetKey
from drawbar.plan import Plan
from drawbar.planner import Planner
from drawbar.store import Store
from drawbar.version import Change, compare


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
        name = AssetKey(graph.namespace, graph[key.name].name, key.partition).unit
        chosen = meant.settings(graph, **given)
        remembered = as_last_time(graph, graph.select([key.name]), Store(meant.config.store), meant)
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
        for other, changes in found.above.items():
            output.show(f"  {other}, which it is made from:", out)
            for change in changes:
                output.show(output.one_line(f"    {change}"), out)


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
    changes = one.changes
    if not one.certain:
        latest = planner.store.latest(one.key)
        changes = (
            tuple(compare(latest.parts, planner.parts(planner.units[name], latest.parts.inputs))) if latest else ()
        )
    if one.certain or changes:
        return Explanation(one.reason if one.certain and not changes else "it is made again", changes, above)
    return Explanation(f"nothing of its own changed; {one.reason}", (), above)


def _plan(graph: Graph, name: str, planner: Planner, chosen: Mapping[str, Any]) -> Plan:
    from drawbar.plan import plan

    return plan(graph, [name], **{**chosen, "store": planner.store})


def as_last_time(graph: Graph, names: Sequence[str], store: Store, meant: Project) -> dict[str, Any]:
    """The run parameters without a default, as the records of the assets that take them have them."""
    wanted = {
        param: asset.name
        for param, takers in graph.run_params(names).items()
        for asset, one in takers
        if one.default is MISSING
    }
    keys = [AssetKey(meant.config.namespace, name) for name in wanted.values()]
    found: dict[str, Any] = {}
    for param, record in zip(wanted, store.latest_of(keys), strict=True):
        text = record.parts.params.get(param, "").rpartition(" #")[0] if record else ""
        try:
            found[param] = ast.literal_eval(text)
        except (ValueError, SyntaxError):  # not kept whole, or not plain data: the user must give it
            continue
    return found


def _json(key: str, found: Explanation) -> dict[str, Any]:
    def plain(changes: Sequence[Change]) -> list[dict[str, str]]:
        return [{"kind": one.kind, "name": one.name, "how": one.how, "old": one.old, "new": one.new} for one in changes]

    above = {name: plain(changes) for name, changes in found.above.items()}
    return {"key": key, "verdict": found.verdict, "changes": plain(found.changes), "above": above}
