"""`drawbar freeze`: the columns and types of what was made last, written into the contract file that a person reviews.

A record comes here from the store; a file goes to the project, and the differences to the terminal or to a program.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from drawbar.agent.columns import ANY, known
from drawbar.agent.contracting import TABLES
from drawbar.asset import Asset
from drawbar.cli import output as screen
from drawbar.cli.project import Project, words
from drawbar.contracts import MODES, Column, Contract, default_path, dump, load
from drawbar.errors import ContractError, DrawbarError, UnknownAssetError, did_you_mean
from drawbar.keys import AssetKey
from drawbar.records import Record
from drawbar.store import Store

_UNSAID = "null"  # the type of a column in which every value is missing: the next one with a value would break it


@dataclass(frozen=True, slots=True)
class Difference:
    """What a new contract says otherwise than the old one; `changed` maps what differs to what it was and is."""

    added: Mapping[str, str]
    removed: Mapping[str, str]
    changed: Mapping[str, tuple[str, str]]

    def lines(self) -> list[str]:
        """As a person reads it, one line each."""
        return [
            *(f"+ {name}  {kind}" for name, kind in self.added.items()),
            *(f"- {name}  {kind}" for name, kind in self.removed.items()),
            *(f"~ {name}  {old} → {new}" for name, (old, new) in self.changed.items()),
        ]


@click.command("freeze", epilog="Example: drawbar freeze pages")
@words
@click.option(
    "--mode",
    type=click.Choice(MODES),
    help="What becomes of what does not fit; default: what the file says, else freeze.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="PATH", help="Another file.")
@click.option("--force", is_flag=True, help="Replace a file that says otherwise.")
def command(
    *,
    words: tuple[str, ...],
    project: Path | None,
    store: str | None,
    namespace: str | None,
    as_json: bool,
    mode: str | None,
    output: Path | None,
    force: bool,
) -> None:
    """Write the columns and types of what was made last into a contract.

    The file is contracts/ASSET.toml in the project, or the one that the asset names. What stands in it already is
    compared, and replaced only with --force; modes and `nullable` that a person has set there are kept.
    """
    with screen.reserved_stdout() as out:
        meant = Project.of(words, project=project, store=store, namespace=namespace)
        key = meant.key()
        place = Store(meant.config.store)
        assets = _assets(meant)
        record = newest(place, key) or _none(place, key, assets)
        file = output or meant.config.root / _file(key, assets.get(key.name))
        old = _old(file, force=force)
        new, notes = frozen(record, old, mode)
        differs = old is None or old.digest != new.digest
        written = differs and (force or not file.exists())
        if written:
            _write(file, dump(new, _header(record), notes))
        difference = compare(old, new)
        if as_json:
            screen.answer(_answer(record, file, new, difference, written=written), out)
        else:
            for line in difference.lines():
                screen.show(screen.one_line(line), out)
            if not differs or written:
                said = "frozen into" if written else "nothing has changed in"
                count = f"{len(new.columns)} {'column' if len(new.columns) == 1 else 'columns'}"
                screen.show(f"{key}: {count}, {said} {file}", out)
    if differs and not written:
        raise ContractError(
            f"{file} says otherwise, and is not replaced.",
            expected=f"{len(difference.lines())} lines as above",
            todo="`--force` replaces it; or change the function, or the file by hand",
        )


def newest(place: Store, key: AssetKey) -> Record | None:
    """What was made last, even where a check rejected it: it may be the contract that is out of date.

    Of an asset in partitions, that of the partition that was made last.
    """
    found = [place.latest(key), *place.rejected(key)]
    if key.partition is None and not any(found):
        parts = [key.at(one) for one in place.partitions(key)]
        found = [*place.latest_of(parts), *(one for part in parts for one in place.rejected(part))]
    return max((one for one in found if one is not None), key=lambda one: one.at, default=None)


def frozen(record: Record, old: Contract | None, mode: str | None) -> tuple[Contract, dict[str, str]]:
    """The contract that a record's columns make, and notes on columns whose type it cannot name.

    Columns stand in the order of the old contract, so that only what differs moves; what a person decided there stays.
    """
    if record.type not in TABLES or not record.columns:
        raise ContractError(
            f"{record.key} has no columns to freeze.",
            expected=" or ".join(TABLES),
            found=record.type if record.type not in TABLES else f"a {record.type} without columns",
        )
    before = old.columns if old is not None else {}
    there = dict(record.columns)
    notes: dict[str, str] = {}
    columns: dict[str, Column] = {}
    for name in [*(one for one in before if one in there), *(one for one in there if one not in before)]:
        kind = known(there[name])
        was = before.get(name)
        if was is not None and (was.type == ANY or kind == _UNSAID):
            kind = was.type
        elif kind is None or kind == _UNSAID:
            notes[name] = "no value in it yet" if kind else f"{there[name]}, which has no name of its own"
            kind = ANY
        columns[name] = Column(kind, was.nullable, was.mode) if was is not None else Column(kind)
    chosen = mode or (old.mode if old is not None else MODES[1])
    return Contract(columns, mode=chosen, extra=old.extra if old is not None else None), notes


def compare(old: Contract | None, new: Contract) -> Difference:
    """What `new` says otherwise; all of it is added where there is no old one."""
    before = {name: one.type for name, one in old.columns.items()} if old is not None else {}
    after = {name: one.type for name, one in new.columns.items()}
    changed = {name: (before[name], kind) for name, kind in after.items() if before.get(name, kind) != kind}
    if old is not None and old.mode != new.mode:
        changed["mode of the table"] = (old.mode, new.mode)
    return Difference(
        {name: kind for name, kind in after.items() if name not in before},
        {name: kind for name, kind in before.items() if name not in after},
        changed,
    )


def _assets(meant: Project) -> Mapping[str, Asset]:
    """The project's assets; none where it cannot be read, because a contract can be frozen all the same."""
    try:
        return meant.graph().assets if meant.modules else {}
    except DrawbarError:
        return {}


def _file(key: AssetKey, asset: Asset | None) -> Path:
    """Where the contract lies, from the project's folder: where the asset says, else at the usual place."""
    declared = asset.options.contract if asset is not None else None
    if asset is not None and isinstance(declared, Contract):
        raise ContractError(
            f"The contract of {key} stands in the code, where no file can replace it.",
            todo="change it there; or remove it, so that the file counts; or name a file with --output",
            where=asset.where,
        )
    return Path(declared) if isinstance(declared, str) else default_path(key.name)


def _old(file: Path, *, force: bool) -> Contract | None:
    """The contract that is there; with `force` one that is nonsense is as good as none."""
    if not file.exists():
        return None
    try:
        return load(file)
    except ContractError:
        if force:
            return None
        raise


def _header(record: Record) -> list[str]:
    version = screen.short(record.version)
    return [
        f"The contract of {record.key.at(None)}: the columns and types that it keeps to.",
        f"Frozen from version {version}, made {record.at:%Y-%m-%d %H:%M} UTC"
        + (f" for {record.key.partition}." if record.key.partition is not None else "."),
        "",
        "Review it, change it and commit it as code. A column can be written as",
        '  score = { type = "float64", nullable = false, mode = "discard_rows" }',
        "What does not fit: evolve accepts it, freeze fails, discard_rows and discard_columns drop it.",
        "`extra` is the mode of columns that are not named here; without it, `mode` is.",
        f"`drawbar freeze {record.key.name} --force` takes the types anew, and keeps the rest.",
    ]


def _write(file: Path, text: str) -> None:
    """The whole file, or nothing of it."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise ContractError(
            f"The contract {file} cannot be written.",
            found=f"{type(error).__name__}: {error}",
            todo="name another place with --output",
        ) from None


def _answer(record: Record, file: Path, new: Contract, difference: Difference, *, written: bool) -> dict[str, Any]:
    return {
        "key": str(record.key),
        "version": record.version,
        "file": str(file),
        "written": written,
        "contract": new.to_dict(),
        "added": dict(difference.added),
        "removed": dict(difference.removed),
        "changed": {name: list(pair) for name, pair in difference.changed.items()},
    }


def _none(place: Store, key: AssetKey, assets: Mapping[str, Asset]) -> Record:
    """There is nothing to freeze: say whether the name is wrong, or the asset was never made."""
    raise UnknownAssetError(
        f"{key} was never made, so that its columns are not known.",
        found=f"nothing of it in {place.url}",
        todo=(f"`drawbar run {key.name}` makes it" if key.name in assets else "")
        or did_you_mean(key.name, assets, otherwise="check its name, --namespace and --store"),
    )
