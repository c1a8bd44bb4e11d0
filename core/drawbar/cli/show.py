"""`drawbar show`: what is known of the value that an asset has now, what changed, and how the value itself begins.

Records come here from the store; tables go to the terminal, or one JSON object to a program.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from drawbar import profiles
from drawbar.cli import output
from drawbar.cli.project import Project, complete_partitions, words
from drawbar.errors import DrawbarError, UnknownAssetError, did_you_mean
from drawbar.keys import AssetKey
from drawbar.profiles import Profile, shown
from drawbar.records import Record
from drawbar.store import Store

_OUTCOMES = {"passed": "green", "warned": "yellow", "failed": "bold red"}
_CELL = 40
# So many partitions are named one by one.
_FEW = 10


@click.command("show", epilog="Example: drawbar show neighbours")
@words
@click.option(
    "--partition", metavar="KEY", shell_complete=complete_partitions, help="One partition; `ASSET@KEY` says the same."
)
@click.option("--version", "beginning", metavar="VERSION", help="Another version than the last; its first digits do.")
@click.option("--versions", type=click.IntRange(0), default=5, show_default=True, help="How many versions to list.")
@click.option("--rows", type=click.IntRange(0), default=10, show_default=True, help="How much of the value to show.")
def command(
    *,
    words: tuple[str, ...],
    project: Path | None,
    store: str | None,
    namespace: str | None,
    as_json: bool,
    partition: str | None,
    beginning: str | None,
    versions: int,
    rows: int,
) -> None:
    """Show what was made last: what it is, its place, its head.

    Then its columns in figures, its checks, the versions before it and what changed. Of an asset in partitions, all of
    them together, unless one is named. Nothing of the project is imported, and a pickle is not opened.
    """
    meant = Project.of(words, project=project, store=store, namespace=namespace)
    key = meant.key()
    if partition is not None:
        if key.partition not in (None, partition):
            raise click.UsageError(f"Name one partition, not {key.partition} and {partition}.")
        key = key.at(partition)
    place = Store(meant.config.store)
    rejected = place.rejected(key)
    record = find(place, key, beginning, rejected)
    if key.partition is None and beginning is None:
        named = place.partitions(key)
        parts = _partitions(place, key, named)
        if parts and (record is None or parts[-1].at > record.at):
            _show_partitions(key, parts, len(named) - len(parts), versions, as_json=as_json)
            return
    record = record or _none(place, key, meant, beginning)
    kept = sorted({one.version: one for one in [*place.records(key), record]}.values(), key=lambda one: one.at)
    upto = kept.index(record) + 1
    history = _history(kept[:upto], versions)
    if as_json:
        output.answer(_answer(place, record, history, rejected))
        return
    _show_facts(place, record, rejected)
    _show_checks(record.checks)
    _show_columns(record.profile)
    _show_history(history)
    if rows:
        from drawbar.cli.preview import preview

        output.show("")
        output.show(preview(place, record, rows))


def find(place: Store, key: AssetKey, beginning: str | None, rejected: Sequence[Record]) -> Record | None:
    """The last record of an asset, or the one whose version begins so.

    What failed a blocking check is found by its version, or where there is nothing else.
    """
    if beginning is None:
        return place.latest(key) or (rejected[-1] if rejected else None)
    among = [*rejected, *place.records(key)]
    return next((one for one in reversed(among) if one.version.startswith(beginning)), None)


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
        "parameters": ", ".join(f"{name}={_readable(text)}" for name, text in record.parts.params.items()),
        "uri": place.uri(record),
    }


def outcome_of(check: Mapping[str, Any]) -> str:
    """How a check ended, in one word: a warning is one that failed and blocks nothing."""
    return "passed" if check["passed"] else "failed" if check["blocking"] else "warned"


def blocked(record: Record) -> bool:
    """Whether the value failed a blocking check: it is kept, and is no one's input."""
    return any(outcome_of(check) == "failed" for check in record.checks)


def _readable(text: str) -> str:
    return text.rpartition(" #")[0] or "***"


def _answer(
    place: Store, record: Record, history: Sequence[Mapping[str, Any]], rejected: Iterable[Record]
) -> dict[str, Any]:
    """All of it as one object."""
    return {
        **facts(place, record),
        "columns": [list(one) for one in record.columns],
        "state": "rejected" if blocked(record) else "made",
        "checks": [dict(check) for check in record.checks],
        "profile": record.profile,
        "versions": history,
        "rejected": [
            {
                "version": one.version,
                "data_version": one.data_version,
                "at": one.at.isoformat(),
                "checks": [dict(check) for check in one.checks if outcome_of(check) == "failed"],
                "uri": place.uri(one),
            }
            for one in rejected
        ],
    }


def _show_facts(place: Store, record: Record, rejected: Sequence[Record]) -> None:
    """What it is, and where; a value that was rejected says so, and a value says what was rejected after it."""
    from rich.text import Text

    table = output.table("", "", wide=())
    table.show_header = False
    for name, value in facts(place, record).items():
        if value not in ("", None):
            said = output.size(value) if name == "bytes" else output.one_line(str(value))
            table.add_row(Text(name.replace("_", " "), style="dim"), said)
    red = _OUTCOMES["failed"]
    if blocked(record):
        table.add_row(Text("state", style="dim"), Text("rejected: it is kept for inspection, and no one's input", red))
    for one in (one for one in rejected if one.at > record.at):
        why = "; ".join(output.check_failure(check) for check in one.checks if outcome_of(check) == "failed")
        text = f"{output.when(one.at)} version {output.short(one.version)}: {why}; it is kept in {place.uri(one)}"
        table.add_row(Text("rejected", red), output.one_line(text))
    output.show(table)


def _show_checks(checks: Sequence[Mapping[str, Any]]) -> None:
    from rich.text import Text

    if not checks:
        return
    output.show("")
    table = output.table("check", "outcome", "column", "expected", "found", "details", wide=("details",))
    for check in checks:
        outcome = outcome_of(check)
        table.add_row(
            output.one_line(check["name"]),
            Text(outcome, style=_OUTCOMES[outcome]),
            output.one_line(check["column"]),
            output.one_line(check["expected"]),
            output.one_line(check["found"]),
            output.told(check["details"]),
        )
    output.show(table)


def _show_columns(profile: Profile | None) -> None:
    """A table's columns, or an array as one, in figures; nothing for a value that has none."""
    if profile is None or not profile["columns"]:
        return
    output.show("")
    array = "" in profile["columns"]
    table = output.table("shape" if array else "column", "type", "nulls", "min", "max", right=("nulls", "min", "max"))
    for name, one in profile["columns"].items():
        what = " x ".join(map(str, one["shape"])) or "scalar" if array else name
        table.add_row(output.one_line(what), one["type"], shown(one["nulls"]), _figure(one["min"]), _figure(one["max"]))
    output.show(table)
    if profile.get("truncated"):
        output.show(f"… and more columns: only the first {len(profile['columns'])} were looked at")


def _figure(value: Any) -> str:
    text = "" if value is None else shown(value)
    return output.one_line(text if len(text) <= _CELL else f"{text[: _CELL - 1]}…")


def _history(records: Sequence[Record], count: int) -> list[dict[str, Any]]:
    """The last versions, newest first, each with what changed against the one before it."""
    shifts = [[str(one) for one in profiles.changed(_profile(old), _profile(new))] for old, new in pairwise(records)]
    told = [
        {
            "version": one.version,
            "data_version": one.data_version,
            "at": one.at.isoformat(),
            "when": output.when(one.at),
            "by": f"{one.by}@{one.host}",
            "rows": one.rows,
            "nulls": profiles.nulls_in(one.profile),
            "bytes": one.bytes,
            "changed": changes,
        }
        for one, changes in zip(records, [[], *shifts], strict=True)
    ]
    return told[::-1][:count]


def _profile(record: Record) -> Profile:
    """The record's profile, or what it says of rows and columns without one."""
    columns = {name: {"type": kind} for name, kind in record.columns}
    return record.profile or {"rows": record.rows, "columns": columns}


def _show_history(history: Sequence[Mapping[str, Any]]) -> None:
    """The versions as a table, and line by line what changed in the newest of them."""
    if len(history) < 2:  # noqa: PLR2004  # one version alone is what the facts are about
        return
    output.show("")
    names = ("version", "data version", "rows", "nulls", "size", "when", "by", "changed")
    table = output.table(*names, right=("rows", "nulls", "size"), wide=("changed",))
    for one in history:
        table.add_row(
            output.short(one["version"]),
            output.short(one["data_version"]),
            *("" if one[name] is None else shown(one[name]) for name in ("rows", "nulls")),
            output.size(one["bytes"]),
            one["when"],
            one["by"],
            output.one_line("; ".join(one["changed"])),
        )
    output.show(table)
    newest, before = history[0], history[1]
    if newest["changed"]:
        output.show("")
        output.show(f"changed since {output.short(before['version'])}:")
        for change in newest["changed"]:
            output.show(f"  {output.one_line(change)}")


# Partitions together


def _partitions(place: Store, key: AssetKey, named: Iterable[str]) -> list[Record]:
    """What was made last of every partition, oldest first."""
    found = place.latest_of([key.at(one) for one in named])
    return sorted((one for one in found if one is not None), key=lambda one: one.at)


def _show_partitions(key: AssetKey, parts: Sequence[Record], without: int, count: int, *, as_json: bool) -> None:
    """How many there are and what they hold together, then the last of them, by their keys.

    `without` are those of which there is something in the store, and no value that counts: it was refused, or removed.
    """
    by_key = sorted(parts, key=lambda one: one.key.partition or "")
    rows = [one.rows for one in parts]
    total: dict[str, Any] = {
        "key": str(key),
        "partitions": len(parts),
        "without_value": without,
        "first": by_key[0].key.partition,
        "last": by_key[-1].key.partition,
        "rows": sum(one for one in rows if one is not None) if None not in rows else None,
        "bytes": sum(one.bytes for one in parts),
        "made": output.when(parts[-1].at),
        "newest": parts[-1].key.partition,
    }
    if as_json:
        listed = [_part(one) for one in reversed(by_key[-count:] if count else [])]
        output.answer({**total, "listed": listed})
        return
    from rich.text import Text

    table = output.table("", "", wide=())
    table.show_header = False
    for name, value in total.items():
        if value is not None and (value or name != "without_value"):
            said = output.size(value) if name == "bytes" else output.one_line(shown(value))
            table.add_row(Text(name.replace("_", " "), style="dim"), said)
    output.show(table)
    if not count:
        return
    output.show("")
    table = output.table("partition", "rows", "nulls", "size", "when", "by", "checks", right=("rows", "nulls", "size"))
    for one in map(_part, reversed(by_key[-count:])):
        table.add_row(
            output.one_line(one["partition"]),
            *("" if one[name] is None else shown(one[name]) for name in ("rows", "nulls")),
            output.size(one["bytes"]),
            one["when"],
            one["by"],
            ", ".join(f"{number} {outcome}" for outcome, number in one["checks"].items()),
        )
    output.show(table)
    if len(parts) > count:
        output.show(f"… {len(parts) - count} more partitions; --versions lists more, --partition shows one")


def _part(one: Record) -> dict[str, Any]:
    outcomes = [outcome_of(check) for check in one.checks]
    return {
        "partition": one.key.partition,
        "version": one.version,
        "data_version": one.data_version,
        "at": one.at.isoformat(),
        "when": output.when(one.at),
        "by": f"{one.by}@{one.host}",
        "rows": one.rows,
        "nulls": profiles.nulls_in(one.profile),
        "bytes": one.bytes,
        "checks": {outcome: outcomes.count(outcome) for outcome in dict.fromkeys(outcomes)},
    }


# Nothing there


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
    if key.partition is not None:
        there = sorted(place.partitions(key))
        few = ", ".join(there) if len(there) <= _FEW else f"{len(there)} partitions from {there[0]} to {there[-1]}"
        raise UnknownAssetError(
            f"{key} was never made.",
            expected=f"one of what there is of it: {few}" if there else "",
            found=f"nothing of that partition in {place.url}",
            todo=f"`drawbar run {key.name} --partition '{key.partition}'` makes it",
        )
    raise UnknownAssetError(
        f"{key} was never made.",
        found=f"nothing of it in {place.url}, as {getpass.getuser()} sees it",
        todo=(f"`drawbar run {key.name}` makes it" if key.name in known else "")
        or did_you_mean(key.name, known, otherwise="check its name, --namespace and --store"),
    )
