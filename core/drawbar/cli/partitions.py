"""`drawbar partitions`: which partitions an asset has, which of them are made, and the keys of a dynamic set."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from drawbar.asset import Asset
from drawbar.cli import output
from drawbar.cli.project import Project, words
from drawbar.errors import PartitionError
from drawbar.graph import Graph
from drawbar.partitions import Partitions
from drawbar.partitions.base import check_key
from drawbar.store import Store

_SHOWN = 20


@click.command("partitions", epilog="Example: drawbar partitions features --missing")
@words
@click.option("--missing", is_flag=True, help="Only the keys that were never made, one a line.")
@click.option("--add", multiple=True, metavar="KEY", help="Add a key to the dynamic set that the asset has.")
@click.option("--remove", multiple=True, metavar="KEY", help="Take a key out of it; what was made of it stays.")
def command(
    *,
    words: tuple[str, ...],
    project: Path | None,
    store: str | None,
    namespace: str | None,
    as_json: bool,
    missing: bool,
    add: tuple[str, ...],
    remove: tuple[str, ...],
) -> None:
    """Which partitions an asset has, and which of them are made.

    A partition that was made may be stale all the same: `drawbar plan ASSET --partition all` compares what each would
    be made from.
    """
    with output.reserved_stdout() as out:
        meant = Project.of(words, project=project, store=store, namespace=namespace)
        graph = meant.graph()
        one = graph[meant.key().name]
        if one.partitions is None:
            raise PartitionError(f"{one.name} has no partitions.", todo="`@asset(partitions=…)`", where=one.where)
        place = Store(meant.config.store)
        if add or remove:
            _change(place, graph, one, add, remove)
        definition = one.partitions.resolved(lambda name: place.members(graph.namespace, name))
        keys, whole = list(definition.keys()), graph.key(one.name)
        records = place.latest_of([whole.at(key) for key in place.partitions(whole)])
        there = {record.key.partition for record in records if record is not None}
        lacking = [key for key in keys if key not in there]
        if as_json:
            output.answer(_json(str(whole), definition, lacking if missing else keys, there), out)
            return
        if missing:
            out.write("".join(f"{key}\n" for key in lacking))
            return
        output.show(f"{one.name}: {definition.describe()}", out)
        output.show(f"{len(keys):,} partitions, {len(keys) - len(lacking):,} made, {len(lacking):,} missing", out)
        table = output.table("partition", "state")
        for key in keys[-_SHOWN:]:
            table.add_row(key, output.styled("made" if key in there else "missing"))
        output.show(table, out)


def _change(store: Store, graph: Graph, one: Asset, add: tuple[str, ...], remove: tuple[str, ...]) -> None:
    definition = one.partitions
    assert definition is not None
    if len(definition.dynamic) != 1:
        raise PartitionError(
            "There is no dynamic set to change.",
            expected="an asset with Dynamic(…) partitions",
            found=definition.describe(),
            where=one.where,
        )
    (name,) = definition.dynamic
    for key in add:
        check_key(key, name)
    added = store.add_members(graph.namespace, name, add)
    removed = store.remove_members(graph.namespace, name, remove)
    for key in dict.fromkeys(add):
        output.tell(output.one_line(f"added {key} to {name}" if key in added else f"{key} was in {name} already"))
    for key in dict.fromkeys(remove):
        output.tell(output.one_line(f"removed {key} from {name}" if key in removed else f"{key} is not in {name}"))


def _json(key: str, definition: Partitions, keys: list[str], there: Collection[str | None]) -> dict[str, Any]:
    states = [{"partition": one, "made": one in there} for one in keys]
    return {"key": key, "definition": definition.describe(), "partitions": states}
