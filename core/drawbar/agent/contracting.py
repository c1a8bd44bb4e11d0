"""A contract held against a table, where the table is: what does not fit is told, refused or discarded, as modes say.

A function's value and the contract as a dict (`drawbar.contracts.Contract.to_dict`) come here; the table that is to be
kept and the outcomes go back. None of the three table libraries is imported unless the value is one of its tables.
"""

import datetime as dt
import decimal
import numbers
from collections import Counter
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from .columns import DISCARD_COLUMNS, DISCARD_ROWS, EVOLVE, fits, neutral
from .encoding.base import library, root, type_name

NAME = "contract"
TABLES = ("pandas.DataFrame", "polars.DataFrame", "pyarrow.Table")
"""The types of value that a contract can be for, as records call them."""

MIXED = "mixed"
_TOLD = 100  # columns that do not fit: a table of ten thousand wrong ones is told about in one page
_LONGEST = 200
_DROPPED = "; its mode drops the column"

Outcome = Dict[str, Any]


def apply(value: Any, contract: Mapping[str, Any]) -> Tuple[Any, List[Outcome]]:
    """The table as the contract lets it through, and what was found: one outcome in all, then one a column at fault.

    The value itself comes back where nothing is discarded, and where a blocking outcome failed, so that it can be
    looked at as it was made. Values are never converted. A table that would lose every row fails.
    """
    table = _table(value)
    if table is None:
        return value, [
            _outcome("a pandas or polars DataFrame, or a pyarrow Table", found=type_name(value), blocking=True)
        ]
    twice = [name for name, count in Counter(table.names).items() if count > 1]
    if twice:
        return value, [
            _outcome("column names that are unique", found=f"two columns named {_list(twice)}", blocking=True)
        ]
    held = _Held(table)
    held.judge(contract)
    return held.kept(value), held.outcomes(len(contract["columns"]))


class _Held:
    """One table and what its contract has found in it so far: the outcomes, the rows and the columns to discard."""

    def __init__(self, table: "_Table") -> None:
        self.table = table
        self.told: List[Outcome] = []
        self.rows: Any = None  # the mask of those to discard
        self.columns: List[int] = []

    def judge(self, contract: Mapping[str, Any]) -> None:
        """Hold every column of the contract, and every other column of the table, against their modes."""
        at = {name: position for position, name in enumerate(self.table.names)}
        for column in contract["columns"]:
            mode = column.get("mode") or contract["mode"]
            if column["name"] in at:
                self._promised(at.pop(column["name"]), column, mode)
            else:
                self._tell(column["name"], mode, column["type"], "no such column", evolves=mode == EVOLVE)
        for name, position in at.items():
            self._extra(name, position, contract.get("extra") or contract["mode"])

    def _promised(self, at: int, column: Mapping[str, Any], mode: str) -> None:
        name, wanted, found = column["name"], column["type"], self.table.type(at)
        misfits = None
        if not fits(found, wanted):
            if mode == DISCARD_ROWS:
                misfits = self.table.misfits(at, wanted)
            if misfits is None:
                told = self.table.hint(found, wanted)
                if mode == DISCARD_ROWS and found != MIXED:
                    told += " throughout"
                self._tell(name, mode, wanted, told, evolves=mode == EVOLVE, at=at)
                return
        nulls = 0 if column["nullable"] else self.table.null_count(at)
        if misfits is not None or (nulls and mode == DISCARD_ROWS):
            mask = self.table.nulls(at) if nulls else None
            mask = mask if misfits is None else misfits if mask is None else self.table.either(mask, misfits)
            expected = wanted if column["nullable"] else f"{wanted}, no nulls"
            self._discard(name, mask, expected)
        elif nulls:
            told = f"nulls in {nulls} of {self.table.rows} rows"
            self._tell(name, mode, f"{wanted}, no nulls", told, evolves=mode == EVOLVE, at=at)

    def _extra(self, name: str, at: int, mode: str) -> None:
        found, expected = self.table.type(at), "no column of this name"
        if mode == DISCARD_ROWS:
            self.columns.append(at)  # what is left of it says nothing
            self._discard(name, self.table.present(at), expected)
        elif mode == DISCARD_COLUMNS:
            self.columns.append(at)
            self.told.append(_outcome(expected, found + _DROPPED, passed=True, column=name))
        else:
            self._tell(name, mode, expected, found, evolves=mode == EVOLVE)

    def _tell(
        self, name: str, mode: str, expected: str, found: str, *, evolves: bool, at: Optional[int] = None
    ) -> None:
        """What does not fit: accepted, or the column goes and a warning stays, or it is a blocking failure."""
        discards = mode == DISCARD_COLUMNS and at is not None
        if discards and at is not None:
            self.columns.append(at)
            found += _DROPPED
        self.told.append(_outcome(expected, found, passed=evolves, blocking=not evolves and not discards, column=name))

    def _discard(self, name: str, mask: Any, expected: str) -> None:
        count = self.table.count(mask)
        if count:
            self.rows = mask if self.rows is None else self.table.either(self.rows, mask)
        found = f"it does not fit in {count} of {self.table.rows} rows"
        self.told.append(_outcome(expected, found, {"rows": count}, passed=True, column=name))

    @property
    def discarded(self) -> int:
        """How many rows are to go."""
        return 0 if self.rows is None else self.table.count(self.rows)

    @property
    def failed(self) -> bool:
        """Whether the value must not be published: a column fails, or no row would be left."""
        return 0 < self.table.rows == self.discarded or any(not one["passed"] and one["blocking"] for one in self.told)

    def kept(self, value: Any) -> Any:
        """The table without what is discarded."""
        if self.failed or (self.rows is None and not self.columns):
            return value
        kept = sorted(set(range(len(self.table.names))) - set(self.columns)) if self.columns else None
        return self.table.cut(kept, self.rows)

    def outcomes(self, wanted: int) -> List[Outcome]:
        """The one in all, then those of columns, failures first."""
        expected = f"{wanted} {'column' if wanted == 1 else 'columns'} as the contract says"
        told = sorted(self.told, key=lambda one: (one["passed"], not one["blocking"]))
        failed = self.failed
        details = {
            "rows_discarded": 0 if failed else self.discarded,
            "columns_discarded": 0 if failed else len(self.columns),
        }
        wrong = [one["column"] for one in told if not one["passed"]]
        found = f"{_list(wrong)} {'does' if len(wrong) == 1 else 'do'} not fit" if wrong else "it fits"
        if 0 < self.table.rows == self.discarded:
            found = f"none of {self.table.rows} rows fits" + (f"; {found}" if wrong else "")
        elif not wrong and told:
            found = f"it fits, with {_list([one['column'] for one in told])} as their modes allow"
        if len(told) > _TOLD:
            details["columns_not_told"] = len(told) - _TOLD
        return [_outcome(expected, found, details, passed=not failed, blocking=True), *told[:_TOLD]]


class _Table:
    """What judging asks of a table; positions are those of columns, masks one truth a row as its library has them."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.names: List[str] = [str(name) for name in value.columns]
        self.rows = len(value)

    def column(self, at: int) -> Any:
        """The column there."""
        raise NotImplementedError

    def type(self, at: int) -> str:
        """The neutral name of its type."""
        return neutral(str(self.column(at).dtype))

    def null_count(self, at: int) -> int:
        """How many of its values are missing."""
        return int(self.column(at).null_count())

    def nulls(self, at: int) -> Any:
        """Where they are missing."""
        return self.column(at).is_null()

    def present(self, at: int) -> Any:
        """Where they are not."""
        return ~self.nulls(at)

    def misfits(self, at: int, wanted: str) -> Any:  # noqa: ARG002 - of pandas alone
        """Where the values are of another type; None where all are of one, so that no row is worse than another."""
        return None

    def hint(self, found: str, wanted: str) -> str:  # noqa: ARG002 - of pandas alone
        """The type found, with how it came about where that is known."""
        return found

    def either(self, one: Any, other: Any) -> Any:
        """The mask of both."""
        return one | other

    def count(self, mask: Any) -> int:
        """How many rows a mask names."""
        return int(mask.sum() or 0)

    def cut(self, positions: Optional[Sequence[int]], rows: Any) -> Any:
        """The table with only these columns (None: all) and without these rows (None: none of them)."""
        raise NotImplementedError


class _Polars(_Table):
    def column(self, at: int) -> Any:
        return self.value.to_series(at)

    def cut(self, positions: Optional[Sequence[int]], rows: Any) -> Any:
        frame = self.value if rows is None else self.value.filter(~rows)
        return frame if positions is None else frame.select([self.value.columns[at] for at in positions])


class _Arrow(_Table):
    def __init__(self, value: Any) -> None:
        self.value = value
        self.names = list(value.column_names)
        self.rows = value.num_rows
        self.compute = library("pyarrow.compute", NAME)

    def column(self, at: int) -> Any:
        return self.value.column(at)

    def type(self, at: int) -> str:
        return neutral(str(self.value.schema.field(at).type))

    def null_count(self, at: int) -> int:
        return int(self.column(at).null_count)

    def present(self, at: int) -> Any:
        return self.column(at).is_valid()

    def either(self, one: Any, other: Any) -> Any:
        return self.compute.or_(one, other)

    def count(self, mask: Any) -> int:
        return int(self.compute.sum(mask).as_py() or 0)

    def cut(self, positions: Optional[Sequence[int]], rows: Any) -> Any:
        table = self.value if rows is None else self.value.filter(self.compute.invert(rows))
        return table if positions is None else table.select(list(positions))


class _Pandas(_Table):
    def column(self, at: int) -> Any:
        return self.value.iloc[:, at]

    def type(self, at: int) -> str:
        column = self.column(at)
        return _object_type(column) if column.dtype.name == "object" else neutral(str(column.dtype))

    def null_count(self, at: int) -> int:
        return int(self.nulls(at).sum())

    def nulls(self, at: int) -> Any:
        return self.column(at).isna().to_numpy(dtype=bool)

    def misfits(self, at: int, wanted: str) -> Any:
        column = self.column(at)
        right = _PYTHON.get(wanted.partition("[")[0].partition("(")[0].partition("<")[0])
        if column.dtype.name != "object" or right is None:
            return None
        numpy = library("numpy", NAME)
        nulls = self.nulls(at)
        mask = numpy.fromiter((not right(one) for one in column.array), dtype=bool, count=self.rows) & ~nulls
        return mask if mask.any() and fits(_object_type(column[~mask]), wanted) else None

    def hint(self, found: str, wanted: str) -> str:
        if found == "float64" and wanted.lstrip("u").startswith("int"):
            return "float64 (pandas has whole numbers with nulls so; dtype 'Int64' keeps them whole)"
        return found

    def cut(self, positions: Optional[Sequence[int]], rows: Any) -> Any:
        frame = self.value if rows is None else self.value[~rows]
        return frame if positions is None else frame.iloc[:, list(positions)]


_KINDS: Dict[str, Callable[[Any], _Table]] = dict(zip(TABLES, (_Pandas, _Polars, _Arrow)))
# What pandas finds in a column of objects, where arrow would surely say the same.
_INFERRED = {"string": "string", "bytes": "binary", "boolean": "bool", "date": "date", "empty": "null"}


def _table(value: Any) -> Optional[_Table]:
    kind = _KINDS.get(f"{root(value)}.{type(value).__name__}")
    return kind(value) if kind else None


def _object_type(column: Any) -> str:
    """The type that a column of Python objects has in a file; `mixed` where its values have none in common."""
    infer = library("pandas.api.types", NAME).infer_dtype
    known = _INFERRED.get(infer(column, skipna=True))
    if known:
        return known
    try:
        return neutral(str(library("pyarrow", NAME).Array.from_pandas(column).type))
    except Exception:  # of pyarrow, or of the values' own methods; they have no type in common, whatever it says
        return MIXED


def _is_bool(one: Any) -> bool:
    return type(one).__name__ in ("bool", "bool_")


def _is_whole(one: Any) -> bool:
    return isinstance(one, numbers.Integral) and not _is_bool(one)


def _is_number(one: Any) -> bool:
    return isinstance(one, numbers.Real) and not _is_bool(one)


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda one: isinstance(one, kinds)


# Whether one of Python's objects is of a type, by the beginning of the type's name.
_PYTHON: Dict[str, Callable[[Any], bool]] = {
    "bool": _is_bool,
    **{f"{sign}int{bits}": _is_whole for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": _is_number for bits in (16, 32, 64)},
    "string": _is(str),
    "binary": _is(bytes, bytearray, memoryview),
    "date": lambda one: isinstance(one, dt.date) and not isinstance(one, dt.datetime),
    "time": _is(dt.time),
    "timestamp": _is(dt.datetime),
    "duration": _is(dt.timedelta),
    "decimal": _is(decimal.Decimal),
    "list": lambda one: isinstance(one, (list, tuple)) or type(one).__name__ == "ndarray",
    "struct": _is(dict),
}


def _list(names: Sequence[str]) -> str:
    told = ", ".join(repr(name) for name in names[:3])
    return f"{told} and {len(names) - 3} more" if len(names) > 3 else told  # noqa: PLR2004 - as many as a line holds


def _outcome(
    expected: str,
    found: str,
    details: Optional[Mapping[str, Any]] = None,
    *,
    passed: bool = False,
    blocking: bool = False,
    column: str = "",
) -> Outcome:
    return {
        "name": NAME,
        "passed": passed,
        "blocking": blocking,
        "expected": _short(expected),
        "found": _short(found),
        "details": dict(details or {}),
        "column": column,
    }


def _short(text: str) -> str:
    line = "".join(sign if sign.isprintable() else " " for sign in text)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
