"""Schemas in annotations: a value is validated against the pandera schema its parameter or return is annotated with.

Annotations come from the function where it is called, so nothing of a schema travels; outcomes go to `examine`. pandera
is met here only, and never imported: an annotation that holds a schema has loaded it.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

from . import checking

_UNIONS = (typing.Union, getattr(types, "UnionType", typing.Union))
_MOST = 100
_SHOWN = 3


def of_value(fn: Any, value: Any) -> list[dict[str, Any]]:
    """The outcomes named `schema` of what `fn` returned; empty where its annotation holds no schema."""
    hint = _hints(fn).get("return")
    return [] if hint is None else _outcomes("schema", hint, value)


def of_inputs(fn: Any, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The outcomes named `schema of <parameter>` of what `fn` is about to be called with."""
    hints = _hints(fn)
    return [
        one for name in given if name in hints for one in _outcomes(checking.OF_INPUT + name, hints[name], given[name])
    ]


def _hints(fn: Any) -> Mapping[str, Any]:
    """The annotations of `fn`, resolved; none where pandera is not loaded, or where they cannot be resolved."""
    if fn is None or "pandera" not in sys.modules:
        return {}
    fn = checking.plain_function(fn)
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except (
        Exception
    ):  # a name for type checkers only, or a type newer than this Python: evaluating it may raise anything
        return _one_by_one(fn)


def _one_by_one(fn: Any) -> Mapping[str, Any]:
    """Those annotations that can be resolved by themselves."""
    found = {}
    for name, note in (getattr(fn, "__annotations__", None) or {}).items():
        holder = types.SimpleNamespace(__annotations__={name: note})
        try:
            found.update(typing.get_type_hints(holder, getattr(fn, "__globals__", {}), include_extras=True))
        except Exception:  # noqa: S112 - as above
            continue
    return found


def _outcomes(name: str, hint: Any, value: Any) -> list[dict[str, Any]]:
    schema = _schema(hint, value)
    if schema is None:
        return []
    shown = _name(schema)
    try:
        schema.validate(value, lazy=True)
    except BaseException as error:  # pandera's errors, and whatever a check of the user's raises past it
        if not checking.survivable(error):
            raise
        failures = getattr(error, "schema_errors", None)
        if not isinstance(failures, list) or not failures:
            return [checking.outcome(name, passed=False, expected=f"as {shown} says", found=checking.told(error))]
        return [_failed(name, shown, one) for one in failures[:_MOST]]
    return [checking.outcome(name, passed=True, expected=f"as {shown} says", found="it is so")]


def _schema(hint: Any, value: Any) -> Any:
    """The schema in an annotation, None if it holds none, or if `value` is the None that it allows."""
    origin = typing.get_origin(hint)
    args = typing.get_args(hint)
    if origin in _UNIONS:
        found = [schema for schema in (_schema(one, value) for one in args) if schema is not None]
        return found[0] if len(found) == 1 and not (value is None and type(None) in args) else None
    if origin is typing.Annotated:
        return next((one for one in args[1:] if _is_schema(one)), None) or _schema(args[0], value)
    if _is_schema(hint):
        return hint
    if isinstance(origin, type) and origin.__module__.startswith("pandera.typing") and args and _is_schema(args[0]):
        return args[0]
    return None


def _is_schema(one: Any) -> bool:
    """A schema object of pandera, or a model: a class that was made from its `DataFrameModel`."""
    kinds = one.__mro__ if isinstance(one, type) else type(one).__mro__
    if not callable(getattr(one, "validate", None)):
        return False
    named = "DataFrameModel" if isinstance(one, type) else "BaseSchema"
    return any(kind.__name__ == named and kind.__module__.partition(".")[0] == "pandera" for kind in kinds)


def _name(schema: Any) -> str:
    name = schema.__name__ if isinstance(schema, type) else getattr(schema, "name", None)
    return str(name or type(schema).__name__)


def _failed(name: str, schema: str, error: Any) -> dict[str, Any]:
    """One failure of many that pandera told: what it expected of which column, and how many values are not so."""
    reason = getattr(getattr(error, "reason_code", None), "name", "")
    cases = getattr(error, "failure_cases", None)
    column = _column(error)
    rows = None if cases is None or not hasattr(cases, "columns") else len(cases)
    if reason == "COLUMN_NOT_IN_DATAFRAME":
        column, expected, found = str(cases), f"a column {cases}", "no such column"
    elif reason == "COLUMN_NOT_IN_SCHEMA":
        column, expected, found = str(cases), f"only the columns of {schema}", f"a column {cases}"
    elif rows is None:
        expected, found = _expected(error), str(cases)
    else:
        shown = ", ".join(checking.line(one)[:80] for one in _examples(cases, column))
        expected, found = _expected(error), f"{rows} {'value' if rows == 1 else 'values'} not so: {shown}"
    details = {"schema": schema, "reason": reason.lower(), **({} if rows is None else {"failures": rows})}
    return checking.outcome(name, passed=False, expected=expected, found=found, details=details, column=column)


def _column(error: Any) -> str:
    """The column that a failure is about; the whole table's failures have none."""
    named = getattr(error, "column_name", None)
    return "" if named is None else str(named)


def _expected(error: Any) -> str:
    """The check of pandera that failed, as it words itself."""
    check = getattr(error, "check", "")
    return str(getattr(check, "error", None) or getattr(check, "name", None) or check)


def _examples(cases: Any, column: str) -> list[Any]:
    """The first values that failed: pandas puts them in `failure_case`, polars under the name of the column."""
    names = [str(one) for one in cases.columns]
    chosen = "failure_case" if "failure_case" in names else column if column in names else names[0]
    values = cases[chosen].head(_SHOWN)
    return list(values.tolist() if hasattr(values, "tolist") else values.to_list())
