"""`drawbar show`: what is known of the value that an asset has now, and the beginning of the value itself."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import click

from drawbar.cli import output
from drawbar.cli.project import Project, words
from drawbar.errors import DrawbarError, UnknownAssetError, did_you_mean
from drawbar.keys import AssetKey
from drawbar.records import Record
from drawbar.store import Store


@click.command("show", epilog="Example: drawbar show neighbours")
@words
@click.option("--version", "beginning", metavar="VERSION", help="Another version than the last; its first digits do.")
@click.option("--rows", type=click.IntRange(0), default=10, show_default=True, help="How much of the value to show.")
def command(
    *,
    words: tuple[str, ...],
    project: Path | None,
    store: str | None,
    namespace: str | None,
    as_json: bool,
    beginning: str | None,
    rows: int,
) -> None:
    """Show what was made last: what it is, its place, its head.

    Nothing of the project is imported, and a pickle is not opened.
    """
    meant = Project.of(words, project=project, store=store, namespace=namespace)
    key = meant.key()
    place = Store(meant.config.store)
    record = find(place, key, beginning) or _none(place, key, meant, beginning)
    if as_json:
        output.answer({**facts(place, record), "columns": [list(one) for one in record.columns]})
        return
    from rich.text import Text

    table = output.table("", "", wide=())
    table.show_header = False
    for name, value in facts(place, record).items():
        if value not in ("", None):
            shown = output.size(value) if name == "bytes" else output.one_line(str(value))
            table.add_row(Text(name.replace("_", " "), style="dim"), shown)
    output.show(table)
    if rows:
        from drawbar.cli.preview import preview

        output.show("")
        output.show(preview(place, record, rows))


def find(place: Store, key: AssetKey, beginning: str | None) -> Record | None:
    """The last record of an asset, or the one whose version begins so."""
    if beginning is None:
        return place.latest(key)
    return next((one for one in reversed(place.records(key)) if one.version.startswith(beginning)), None)


def facts(place: Store, record: Record) -> dict[str, Any]:
    """What a record says, in the order in which it is read."""
    return {
        "key": str(record.key),
        "type": record.type,
        "format": record.format,
        "version": record.version,
        "data_version": record.data_version,
        "bytes": record.bytes,
        "rows": record.rows,
        "made": output.when(record.at),
        "by": f"{record.by}@{record.host}",
        "target": record.target,
        "seconds": record.seconds,
        "run": record.run_id,
        "job": record.job,
        "parameters": ", ".join(f"{name}={_shown(text)}" for name, text in record.parts.params.items()),
        "uri": place.uri(record),
    }


def _shown(text: str) -> str:
    return text.rpartition(" #")[0] or "***"


def _none(place: Store, key: AssetKey, meant: Project, beginning: str | None) -> Record:
    """There is none: say whether the name is wrong, or the asset was never made."""
    try:
        known = list(meant.graph().assets) if meant.modules else []
    except DrawbarError:
        known = []
    if beginning is not None and place.latest(key) is not None:
        versions = [output.short(one.version) for one in place.records(key)]
        raise UnknownAssetError(
            f"No version of {key} begins with {beginning!r}.",
            expected="one of " + ", ".join(versions),
            todo=f"`drawbar history {key.name}` lists them",
        )
    raise UnknownAssetError(
        f"{key} was never made.",
        found=f"nothing of it in {place.url}, as {getpass.getuser()} sees it",
        todo=(f"`drawbar run {key.name}` makes it" if key.name in known else "")
        or did_you_mean(key.name, known, otherwise="check its name, --namespace and --store"),
    )
