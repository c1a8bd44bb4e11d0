"""`drawbar graph`: a picture of the assets, their targets and how each of them last ended."""

from __future__ import annotations

import tempfile
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from drawbar.asset import Asset
from drawbar.cli import output, picture
from drawbar.cli.picture import Card
from drawbar.cli.project import Project, words
from drawbar.errors import StoreError
from drawbar.graph import Graph
from drawbar.planner import HERE
from drawbar.records import Ending, Record
from drawbar.store import Store

# The journals of so many runs are looked through for how each asset last ended.
_RUNS = 50
_WRITERS: dict[str, Callable[[Sequence[Card], str], str]] = {
    ".svg": picture.svg,
    ".html": picture.page,
    ".mmd": lambda cards, _title: picture.mermaid(cards),
    ".dot": lambda cards, _title: picture.dot(cards),
}


@click.command("graph", epilog="Example: drawbar graph pipeline.py --output graph.html --open")
@words
@click.option("--output", "file", type=click.Path(dir_okay=False, path_type=Path), help="A .svg, .html, .mmd or .dot.")
@click.option("--open", "opened", is_flag=True, help="Open the picture in a browser.")
def command(
    *,
    words: tuple[str, ...],
    project: Path | None,
    store: str | None,
    namespace: str | None,
    as_json: bool,
    file: Path | None,
    opened: bool,
) -> None:
    """Draw assets, targets and last states.

    A tree in the terminal, or a picture with --output. With assets named, these and what they are made from. Nothing
    but a browser is needed to look at the picture.
    """
    with output.reserved_stdout() as out:
        if file is not None and file.suffix not in _WRITERS:
            raise click.BadParameter(f"{file.name!r} ends in none of {', '.join(_WRITERS)}.", param_hint="--output")
        meant = Project.of(words, project=project, store=store, namespace=namespace)
        graph = meant.graph()
        cards = cards_of(graph, graph.select(meant.names(graph)), Store(meant.config.store))
        if opened and file is None:
            folder = tempfile.mkdtemp(prefix="drawbar-graph-")
            file = Path(folder) / f"{graph.namespace}.html"
        if file is not None:
            title = f"{graph.namespace}: {len(cards)} assets"
            file.write_text(_WRITERS[file.suffix](cards, title), encoding="utf-8")
        if as_json:
            output.answer({"namespace": graph.namespace, "file": str(file or ""), "assets": _plain(cards)}, out)
        elif file is not None:
            output.show(f"{file} shows {len(cards)} assets.", out)
        else:
            output.show(tree(cards, graph.namespace), out)
        if opened and file is not None:
            webbrowser.open(file.resolve().as_uri())


def cards_of(graph: Graph, names: Sequence[str], store: Store) -> list[Card]:
    """What the picture says of each asset. A store that cannot be reached leaves the states out, and says so."""
    try:
        endings = _endings(store, graph.namespace)
        records = dict(zip(names, store.latest_of([graph.key(name) for name in names]), strict=True))
        parts = {name: store.partitions(graph.key(name)) for name in names if graph[name].partitions}
    except StoreError as error:
        output.tell_error(error)
        endings, records, parts = {}, {}, {}
    return [
        _parted(graph, graph[name], endings, parts.get(name, []))
        if graph[name].partitions
        else _card(graph, graph[name], endings.get(str(graph.key(name))), records.get(name))
        for name in names
    ]


def _parted(graph: Graph, asset: Asset, endings: Mapping[str, Ending], there: Sequence[str]) -> Card:
    """The card of an asset with partitions: how many are made, and how many failed when they were last tried."""
    card = _card(graph, asset, None, None)
    if asset.source is not None:
        return card
    begin = f"{graph.namespace}/{asset.name}@"
    failed = sum(one.state == "failed" for key, one in endings.items() if key.startswith(begin))
    detail = f"{len(there):,} partitions" + (f", {failed:,} failed" if failed else "")
    return replace(card, state="failed" if failed else "made" if there else card.state, detail=detail if there else "")


def _endings(store: Store, namespace: str) -> Mapping[str, Ending]:
    """How each asset ended when it last did, by its key."""
    found: dict[str, Ending] = {}
    for journal in store.journals(namespace, _RUNS):
        for one in journal.assets:
            found.setdefault(one.key, one)
    return found


def _card(graph: Graph, asset: Asset, ending: Ending | None, record: Record | None) -> Card:
    kind = "source" if asset.source is not None else "asset" if asset.options.persist else "transient"
    state = "source" if kind == "source" else ending.state if ending else "made" if record else "never made"
    target = asset.options.target or ""
    if ending and ending.target != HERE:
        target = ending.target
    detail = last = ""
    if record is not None:
        table = record.rows is not None and record.columns
        detail = f"{record.rows:,} rows" if table else output.size(record.bytes)
        last = (
            f"last made {output.when(record.at)} by {record.by}@{record.host}, version {output.short(record.version)}"
        )
    about = [f"{graph.namespace}/{asset.name}", asset.doc, asset.where, last, ending.error if ending else ""]
    inputs = list(dict.fromkeys(graph.edges[asset.name].values()))
    return Card(asset.name, inputs, state, target, detail, kind, "\n".join(line for line in about if line))


def tree(cards: Sequence[Card], title: str) -> Any:
    """The graph for a terminal: under each asset what it is made from; what was shown above is not shown again."""
    from rich.tree import Tree

    by_name = {card.name: card for card in cards}
    taken = {up for card in cards for up in card.inputs}
    root = Tree(title, guide_style="dim")
    shown: set[str] = set()
    todo = [(root, card.name) for card in reversed(cards) if card.name not in taken]
    while todo:
        branch, name = todo.pop()
        again = name in shown and bool(by_name[name].inputs)
        leaf = branch.add(_line(by_name[name], again=again))
        if not again:
            shown.add(name)
            todo += [(leaf, up) for up in reversed(by_name[name].inputs)]
    return root


def _line(card: Card, *, again: bool) -> Any:
    from rich.text import Text

    line = Text(card.name, style="bold")
    if again:
        return line.append("  (see above)", style="dim not bold")
    line.append("  ")
    state = card.state.partition(" ")[0]
    line.append(card.state, style=f"not bold {output.STYLES.get(state, 'dim')}".replace("bold bold", "bold"))
    rest = " · ".join(part for part in (f"on {card.target}" if card.target else "", card.detail) if part)
    return line.append(f"  {rest}" if rest else "", style="not bold dim")


def _plain(cards: Sequence[Card]) -> list[dict[str, Any]]:
    return [
        {
            "name": card.name,
            "inputs": list(card.inputs),
            "state": card.state,
            "target": card.target,
            "kind": card.kind,
        }
        for card in cards
    ]
