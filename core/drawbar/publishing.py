"""Values as other tools want to read them: what `path=` publishes under an extension that is not the value's own.

Values come here from `formats` with the extension of the place they go to. Unlike a format, these files need not give a
value back exactly: a csv has no dtypes.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drawbar.agent import encoding
from drawbar.agent.encoding import Encoded, EncodingError
from drawbar.errors import FormatError
from drawbar.reading import ROWS, SEPARATORS, TABLES, TEXTS

_BUILT_IN = {ext: name for name, ext in encoding.EXTENSIONS.items() if ext and name != "folder"}
_PICKLED = (".pkl", ".pickle")
_HOLDS_ROWS = "a pandas, polars or pyarrow table, or a list of dicts"


def write(value: Any, ext: str) -> Encoded | None:
    """`value` as a file with that extension holds it; None where the value's own format will do.

    That is for an extension that says nothing, and for text, bytes and Paths, which are a file's content already.
    FormatError where the extension says something that the value is not.
    """
    ext = ext.lower()
    if isinstance(value, (str, bytes, bytearray, Path)) and ext not in _PICKLED:
        return None
    try:
        if ext in (*ROWS, ".json"):
            return _write_text(value, ext)
        if ext == ".parquet" and _is_rows(value):
            value = encoding.library("pyarrow", "parquet").Table.from_pylist(value)
        name = "pickle" if ext in _PICKLED else "text" if ext in TEXTS else _BUILT_IN.get(ext)
        return encoding.encode(value, name) if name else None
    except EncodingError as error:
        raise _cannot(value, ext, error.expected, error.found) from error
    except (TypeError, ValueError) as error:
        raise _cannot(value, ext, "", str(error)) from error


def _cannot(value: Any, ext: str, expected: str, found: str) -> FormatError:
    return FormatError(
        f"A value of type {encoding.type_name(value)} cannot be published as {ext}.",
        expected=expected,
        found=found,
        todo="change the ending of `path`, or what the function returns",
    )


def _write_text(value: Any, ext: str) -> Encoded:
    """Tables by row, and anything that json can say."""
    kind = _table_kind(value)
    if ext == ".json":
        data = _json(_rows(value, kind) if kind else value).encode()
    elif not kind:
        raise _cannot(value, ext, _HOLDS_ROWS, encoding.type_name(value))
    elif ext == ".jsonl":
        data = "".join(f"{_json(row)}\n" for row in _rows(value, kind)).encode()
    else:
        sink = io.BytesIO()
        _WRITERS[kind](value, SEPARATORS[ext], sink)
        data = sink.getvalue()
    return Encoded(ext[1:], ext, [data], encoding.type_name(value), len(value) if kind else None, ())


def _is_rows(value: Any) -> bool:
    return type(value) is list and all(type(row) is dict and all(type(name) is str for name in row) for row in value)


def _table_kind(value: Any) -> str:
    """Which table `value` is, of TABLES or "rows"; empty for none."""
    kind = f"{encoding.root(value)}.{type(value).__name__}"
    if kind in TABLES:
        return kind
    return "rows" if _is_rows(value) else ""


def _rows(value: Any, kind: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = value
    if kind == "pandas.DataFrame":
        named = value if _counted(value) else value.reset_index()
        rows = named.astype("object").where(named.notna(), None).to_dict("records")
    elif kind == "polars.DataFrame":
        rows = value.to_dicts()
    elif kind == "pyarrow.Table":
        rows = value.to_pylist()
    return rows


def _counted(frame: Any) -> bool:
    """Whether a pandas index is just the count of rows, which no other tool wants to see."""
    index = frame.index
    return type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1 and index.name is None


def _json(value: Any) -> str:
    """`value` as json that every tool reads: null where a number is none."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        return json.dumps(_without_nan(value), ensure_ascii=False, allow_nan=False, default=_plain_without_nan)


def _plain(value: Any) -> Any:
    """What json has for a value that is none of its own: lists for arrays, text for times and decimals."""
    if encoding.root(value) == "numpy":
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if encoding.root(value) in ("decimal", "uuid", "pathlib", "datetime"):
        return str(value)
    raise TypeError(f"json has nothing for {encoding.type_name(value)}")


def _plain_without_nan(value: Any) -> Any:
    return _without_nan(_plain(value))


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, (list, tuple)) else value


def _write_pandas(value: Any, separator: str, sink: io.BytesIO) -> None:
    value.to_csv(sink, sep=separator, index=not _counted(value), lineterminator="\n")


def _write_polars(value: Any, separator: str, sink: io.BytesIO) -> None:
    value.write_csv(sink, separator=separator)


def _write_arrow(value: Any, separator: str, sink: io.BytesIO) -> None:
    arrow = encoding.library("pyarrow.csv", "csv")
    arrow.write_csv(value, sink, arrow.WriteOptions(delimiter=separator))


def _write_dicts(value: Any, separator: str, sink: io.BytesIO) -> None:
    text = io.StringIO(newline="")
    names = dict.fromkeys(name for row in value for name in row)
    writer = csv.DictWriter(text, list(names), delimiter=separator, lineterminator="\n")
    writer.writeheader()
    writer.writerows(value)
    sink.write(text.getvalue().encode())


_WRITERS: dict[str, Callable[[Any, str, io.BytesIO], None]] = {
    "pandas.DataFrame": _write_pandas,
    "polars.DataFrame": _write_polars,
    "pyarrow.Table": _write_arrow,
    "rows": _write_dicts,
}
