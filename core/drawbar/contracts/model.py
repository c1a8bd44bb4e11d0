"""What a contract says: columns, their types, and the mode of each; checked when it is made, so that none is nonsense.

Texts come here from code or a file; a `Contract` goes to the graph, and its dict to where the value is. The dict is
`{"mode", "columns": [{"name", "type", "nullable", "mode"}], "extra"}`, modes that are not given being "".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from drawbar.agent.columns import DISCARD_COLUMNS, DISCARD_ROWS, FREEZE, MODES, NAMES, known
from drawbar.errors import ContractError, did_you_mean

_DISCARDS = (DISCARD_ROWS, DISCARD_COLUMNS)
# What people write, which says too little, or what another library would take it for.
_MEANT = {
    "float": "float64, or float32 (which is what arrow calls float)",
    "int": "int64",
    "integer": "int64",
    "text": "string",
    "object": "string, or any",
    "datetime": "timestamp[us], or timestamp for any unit",
    "datetime64": "timestamp[us], or timestamp for any unit",
    "timedelta": "duration[us], or duration for any unit",
    "timestamptz": "timestamp[us, tz=UTC]",
    "list": "list<string>, or of another type",
    "decimal": "decimal(10, 2): digits in all, and after the point",
    "json": "string",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a contract: its type, whether values may be missing, and a mode of its own.

    `type` is one of arrow's names; those of pandas and polars are taken too, and put in that form. `any` is a column
    that must be there, whatever its type. Raises ContractError.

    >>> Column("Int64"), Column("datetime64[ns, UTC]", nullable=False).type
    (Column(type='int64', nullable=True, mode=None), 'timestamp[ns, tz=UTC]')
    """

    type: str
    nullable: bool = True
    mode: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", _type(self.type))
        if not isinstance(self.nullable, bool):
            raise ContractError("`nullable` is true or false.", found=repr(self.nullable))
        if self.mode is not None:
            check_mode(self.mode)


@dataclass(frozen=True, slots=True, init=False)
class Contract:
    """The columns of a table, and what becomes of what does not fit.

    `mode` is that of the table, `extra` that of columns the contract does not name (default: the table's), and a column
    can have its own. `evolve` accepts and tells; `freeze` fails, so that the value is not published; `discard_rows`
    drops rows whose value does not fit, `discard_columns` the column. A missing column fails except under `evolve`.
    The order of columns does not count. Raises ContractError.

    >>> pages = Contract({"url": Column("string", nullable=False), "score": "float64"}, extra="evolve")
    >>> pages.columns["score"].type, pages.changes_values
    ('float64', False)
    """

    columns: Mapping[str, Column]
    mode: str
    extra: str | None

    def __init__(self, columns: Mapping[str, str | Column], *, mode: str = FREEZE, extra: str | None = None) -> None:
        if not isinstance(columns, Mapping) or not columns:
            raise ContractError(
                "A contract names at least one column.",
                expected='a mapping such as {"url": "string", "score": Column("float64", nullable=False)}',
                found=repr(columns),
            )
        made = {_name(name): _column(name, given) for name, given in columns.items()}
        object.__setattr__(self, "columns", MappingProxyType(made))
        object.__setattr__(self, "mode", check_mode(mode))
        object.__setattr__(self, "extra", None if extra is None else check_mode(extra))

    def __hash__(self) -> int:
        """The mapping does not hash."""
        return hash((self.mode, self.extra, frozenset(self.columns.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        """A read-only mapping cannot be pickled; its content can."""
        return Contract.from_dict, (self.to_dict(),)

    def to_dict(self) -> dict[str, Any]:
        """The contract as it travels to where the value is."""
        columns = [
            {"name": name, "type": one.type, "nullable": one.nullable, "mode": one.mode or ""}
            for name, one in self.columns.items()
        ]
        return {"mode": self.mode, "columns": columns, "extra": self.extra or ""}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Contract:
        """The inverse of `to_dict`."""
        columns = {one["name"]: Column(one["type"], one["nullable"], one["mode"] or None) for one in given["columns"]}
        return cls(columns, mode=given["mode"], extra=given["extra"] or None)

    @property
    def digest(self) -> str:
        """Sha256 in hex over what the contract says, in whichever order it names the columns."""
        content = self.to_dict()
        content["columns"].sort(key=lambda one: str(one["name"]))
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def changes_values(self) -> bool:
        """Whether any mode discards: the contract is then part of what the asset is made from."""
        modes = (self.mode, self.extra, *(one.mode for one in self.columns.values()))
        return any(mode in _DISCARDS for mode in modes)


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise ContractError("The name of a column is text.", found=f"{name!r} ({type(name).__name__})")
    return name


def _column(name: str, given: object) -> Column:
    if isinstance(given, Column):
        return given
    try:
        return Column(given)  # type: ignore[arg-type]  # what is no text is refused there
    except ContractError as error:
        raise ContractError(
            f"Column {name!r}: {error.what}", expected=error.expected, found=error.found, todo=error.todo
        ) from None


def _type(given: object) -> str:
    if isinstance(given, str):
        low = given.strip().lower()
        found = None if low in _MEANT else known(given.strip())
        if found:
            return found
        todo = f"write {_MEANT[low]}" if low in _MEANT else did_you_mean(given, NAMES, otherwise="write any")
    else:
        todo = "write the type's name in quotes"
    raise ContractError(
        f"{given!r} is no type of a column.", expected="one such as " + ", ".join(NAMES), found=repr(given), todo=todo
    )


def check_mode(given: object) -> str:
    """A mode as it was given; ContractError for what is none."""
    if isinstance(given, str) and given in MODES:
        return given
    raise ContractError(
        f"{given!r} is no mode of a contract.",
        expected=", ".join(MODES),
        found=repr(given),
        todo=did_you_mean(str(given), MODES),
    )
