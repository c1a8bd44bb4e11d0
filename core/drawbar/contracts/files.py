"""Contracts as TOML files, which `drawbar freeze` writes and a person reviews.

A path or an asset comes here from the graph and the command line; a `Contract`, or the text of a file, goes back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from drawbar.agent.columns import FREEZE
from drawbar.contracts.model import Column, Contract, check_mode
from drawbar.errors import ContractError, did_you_mean

if TYPE_CHECKING:
    from drawbar.asset import Asset

T = TypeVar("T")

FOLDER = "contracts"


def resolve(asset: Asset, root: Path) -> Contract | None:
    """The contract of an asset: what its options say, else the file in the project's folder of contracts, if any.

    Paths are relative to `root`, the project's folder. Raises ContractError for a file that is missing or is nonsense.
    """
    given = asset.options.contract
    if isinstance(given, Contract):
        return given
    if given is None:
        file = root / default_path(asset.name)
        return load(file) if file.is_file() else None
    file = root / given
    if not file.is_file():
        raise ContractError(
            f"The contract of {asset.name} is not there.",
            expected=f"the file {given}",
            found=f"no file {file}",
            todo=f"write it by hand; or take `contract` out, make the asset once, run `drawbar freeze {asset.name} "
            f"--output {given}`, and put `contract` back",
            where=asset.where,
        )
    return load(file)


def default_path(name: str) -> Path:
    """Where the contract of an asset lies, under the project's folder.

    >>> str(default_path("text/pages"))
    'contracts/text/pages.toml'
    """
    return Path(FOLDER, *f"{name}.toml".split("/"))


def load(path: Path) -> Contract:
    """The contract in a TOML file; ContractError says what is nonsense in it, and in which line where that is known."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(
            f"The contract {path} cannot be read.", found=f"{type(error).__name__}: {error}", where=str(path)
        ) from None


def parse(text: str, where: str) -> Contract:
    """The contract that a TOML text says; `where` is the file's path, for errors."""
    import tomllib

    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        named = re.search(r"at line (\d+)", str(error))
        line = int(named.group(1)) if named else len(text.splitlines())
        raise ContractError(
            "A contract is not TOML.",
            expected='lines such as score = "float64", each name once',
            found=str(error),
            todo="mend that line",
            where=f"{where}:{line}",
        ) from None
    at = _Lines(text, where)
    _check_keys(document, ("mode", "extra", "columns"), at)
    columns = document.get("columns")
    if not isinstance(columns, dict) or not columns:
        raise ContractError(
            "A contract names no columns.",
            expected='a table [columns], with a line such as score = "float64" for each',
            found=repr(columns) if "columns" in document else "no [columns]",
            where=at("columns"),
        )
    made = {name: _placed(_column, given, at(name, within=True), f"column {name!r}") for name, given in columns.items()}
    modes = {key: _placed(check_mode, document[key], at(key), key) for key in ("mode", "extra") if key in document}
    return Contract(made, mode=modes.get("mode", FREEZE), extra=modes.get("extra"))


def _column(given: Any) -> Column:
    if not isinstance(given, dict):
        return Column(given)
    _check_keys(given, ("type", "nullable", "mode"))
    if "type" not in given:
        raise ContractError("it has no type.", expected='type = "…"', found=repr(given))
    return Column(**given)


def _check_keys(given: Mapping[str, Any], known: Sequence[str], at: Callable[[str], str] = lambda _: "") -> None:
    for key in given:
        if key not in known:
            raise ContractError(
                f"{key!r} is no key of a {'contract' if 'columns' in known else 'column'}.",
                expected=", ".join(known),
                found=repr(key),
                todo=did_you_mean(key, known, otherwise="columns stand below [columns]" if "columns" in known else ""),
                where=at(key),
            )


def _placed(make: Callable[[Any], T], given: Any, where: str, of: str) -> T:
    """What `make` makes of a part of the file; an error says which part it is, and where."""
    try:
        return make(given)
    except ContractError as error:
        raise ContractError(
            f"In a contract, {of}: {error.what}",
            expected=error.expected,
            found=error.found,
            todo=error.todo,
            where=where,
        ) from None


class _Lines:
    """Where a key stands in a text of TOML, as `file:line`; the file alone where it is written in an unusual way."""

    def __init__(self, text: str, where: str) -> None:
        self.lines = [line.strip() for line in text.splitlines()]
        self.where = where
        self.columns = next((at for at, line in enumerate(self.lines) if line.startswith("[columns")), 0)

    def __call__(self, key: str, *, within: bool = False) -> str:
        """`within` the table of columns, or outside of it."""
        forms = "|".join(re.escape(form) for form in (key, _quoted(key), f"'{key}'"))
        if within:
            written = re.compile(rf"(columns\s*\.\s*)?({forms})\s*[=.]|\[\s*columns\s*\.\s*({forms})\s*\]")
        else:
            written = re.compile(rf"({forms})\s*[=.]|\[\s*({forms})\s*[.\]]")
        begin = self.columns if within else 0
        for at, line in enumerate(self.lines[begin:], begin + 1):
            if written.match(line):
                return f"{self.where}:{at}"
        return self.where


def dump(contract: Contract, header: Sequence[str] = (), notes: Mapping[str, str] = MappingProxyType({})) -> str:
    """The contract as TOML: `header` as comments above it, `notes` as comments beside columns; columns in their order.

    >>> print(dump(Contract({"url": "string", "n": Column("int64", nullable=False)}, extra="evolve"), ["By hand."]))
    # By hand.
    mode = "freeze"
    extra = "evolve"
    <BLANKLINE>
    [columns]
    url = "string"
    n = { type = "int64", nullable = false }
    <BLANKLINE>
    """
    lines = [f"# {_line(line)}".rstrip() for line in header]
    lines.append(f"mode = {_quoted(contract.mode)}")
    if contract.extra is not None:
        lines.append(f"extra = {_quoted(contract.extra)}")
    lines += ["", "[columns]"]
    for name, one in contract.columns.items():
        note = f"  # {_line(notes[name])}" if name in notes else ""
        lines.append(f"{_key(name)} = {_value(one)}{note}")
    return "\n".join(lines) + "\n"


def _value(column: Column) -> str:
    if column.nullable and column.mode is None:
        return _quoted(column.type)
    parts = [f"type = {_quoted(column.type)}"]
    parts += [] if column.nullable else ["nullable = false"]
    parts += [f"mode = {_quoted(column.mode)}"] if column.mode is not None else []
    return f"{{ {', '.join(parts)} }}"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)


def _quoted(text: str) -> str:
    """A text as TOML's basic string."""
    inner = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(sign if sign.isprintable() else f"\\U{ord(sign):08X}" for sign in inner) + '"'


def _line(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text)
