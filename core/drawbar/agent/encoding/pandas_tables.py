"""pandas frames and series as parquet, so exactly that a reader cannot tell a stored one from a fresh one.

pyarrow keeps index, column names and most dtypes. What it would change (objects, seconds, categories that are no text,
the frequency of an index) is noted in the file under the key `drawbar` and put back when it is read; what was written
is then compared, and a frame that would still differ is refused.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any, Dict, List, Tuple

from .base import Buffer, Encoded, EncodingError, library
from .pandas_same import compare
from .plain import strange
from .tables import arrow, read_arrow, refuse_column, refuse_duplicates, write_arrow

_KEY = b"drawbar"
_UNNAMED = "value"  # what a series without a name is called in the file
_SMALL = 10_000  # rows up to which a frame is read back whole to compare it: about a millisecond


def encode(value: Any, kind: str) -> Encoded:
    """The frame or series as parquet; EncodingError that names the column, or the index, that would not come back."""
    frame = value
    if kind == "pandas.Series":
        frame = value.to_frame(_UNNAMED) if value.name is None else value.to_frame()
    _check_names(value, frame)
    notes = {"unnamed": True} if frame is not value and value.name is None else {}
    data = _write(value, frame, notes)
    risky = any(dtype.name in ("object", "category") for dtype in (*frame.dtypes, frame.index.dtype))
    if risky or len(frame) <= _SMALL:
        compare(value, frame, _read_back(value, data))
    else:  # whether the other dtypes, and the names, come back does not depend on how many rows there are
        head = frame.iloc[:1]
        compare(value, head, _read_back(value, _write(value, head, notes)))
    return Encoded("parquet", ".parquet", [data], kind, len(frame), _columns(frame, data))


def _columns(frame: Any, data: Buffer) -> Tuple[Tuple[str, str], ...]:
    """Names and types of the columns; of what pandas only calls objects, the type that is in the file."""
    kinds = [str(dtype) for dtype in frame.dtypes]
    if "object" in kinds:
        schema = library("pyarrow.parquet", "parquet").read_schema(library("pyarrow", "parquet").BufferReader(data))
        kinds = [str(schema.field(at).type) if kind == "object" else kind for at, kind in enumerate(kinds)]
    return tuple((str(name), kind) for name, kind in zip(frame.columns, kinds))


def decode(data: Buffer, type_: str) -> Any:
    """The frame or series in `data`; a file that another tool wrote is read as pyarrow reads it."""
    table = read_arrow(data)
    frame = _restore(table)
    if type_ != "pandas.Series":
        return frame
    series = frame.iloc[:, 0]
    return series.rename(None) if "unnamed" in _noted(table) else series


def _check_names(value: Any, frame: Any) -> None:
    """Raise EncodingError for names that pyarrow would turn into text, or could not tell apart."""
    refuse_duplicates(value, frame.columns)
    if frame.columns.nlevels == 1 and frame.columns.inferred_type.startswith("mixed"):
        kinds = ", ".join(sorted({type(name).__name__ for name in frame.columns}))
        raise refuse_column(value, None, f"column names of several types: {kinds}")
    for name in frame.index.names:
        if name is not None and type(name) is not str:
            raise refuse_column(value, None, f"an index named {name!r}")


def _write(value: Any, frame: Any, notes: Dict[str, Any]) -> Any:
    """The frame's parquet bytes, with all that `_restore` needs to know."""
    pyarrow, _ = arrow()
    notes = {**notes, **_notes(frame)}
    try:
        keep = True if not len(frame.columns) else None  # rows without columns are counted by their index alone
        table = pyarrow.Table.from_pandas(_dense(frame, notes), preserve_index=keep)
        if notes:
            text = json.dumps(notes).encode()
            table = table.replace_schema_metadata({**table.schema.metadata, _KEY: text})
        return write_arrow(table)
    except (pyarrow.ArrowException, OSError, OverflowError, TypeError, ValueError) as error:
        raise _unwritable(pyarrow, value, frame, error) from error


def _unwritable(pyarrow: Any, value: Any, frame: Any, error: Exception) -> EncodingError:
    """The error that names the column at fault: the first that cannot be converted alone."""
    for position, name in enumerate(frame.columns):
        column = frame.iloc[:, position]
        try:
            pyarrow.Array.from_pandas(column)
        except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):
            kinds = sorted({type(cell).__name__ for cell in column}) if column.dtype.name == "object" else []
            return refuse_column(value, name, f"values of types {', '.join(kinds)}" if kinds else str(column.dtype))
    if frame.index.dtype.name == "object" and frame.index.nlevels == 1:
        kinds = sorted({type(cell).__name__ for cell in frame.index})
        return refuse_column(value, None, f"an index with values of types {', '.join(kinds)}")
    return refuse_column(value, None, f"{type(error).__name__}: {error}")


# What pyarrow does not note.


def _notes(frame: Any) -> Dict[str, Any]:
    """By position of columns, or for an axis, how it is put back; nothing for the usual frame."""
    objects, casts, categories = {}, {}, {}
    for position, dtype in enumerate(frame.dtypes):
        if dtype.name == "object":
            objects[str(position)] = _object_note(frame.iloc[:, position])
        elif dtype.name == "category" and not _kept(dtype.categories):
            categories[str(position)] = _category_note(dtype)
        elif _cast(dtype):
            casts[str(position)] = _cast(dtype)
    notes = {
        "objects": objects,
        "casts": casts,
        "categories": categories,
        "index": _axis_note(frame.index, counted=bool(len(frame.columns))),
        "columns": _axis_note(frame.columns, counted=False),
        "attrs": {} if strange(frame.attrs, "attrs") else frame.attrs,
    }
    return {name: note for name, note in notes.items() if note}


def _cast(dtype: Any) -> str:
    """The dtype to cast back to, where parquet has none like it: times in seconds, and pandas' older text."""
    name = str(dtype)
    if name.startswith("datetime64[s"):
        return name
    return "string[python]" if name == "string" and getattr(dtype, "storage", "") == "python" else ""


def _axis_note(index: Any, *, counted: bool) -> Dict[str, Any]:
    """What an axis is beside its values; `counted` where pyarrow itself keeps a range as one."""
    kind = type(index).__name__
    if kind == "RangeIndex" and not counted:
        return {"range": [index.start, index.stop, index.step]}
    if kind in ("DatetimeIndex", "TimedeltaIndex") and index.freqstr:
        return {"dtype": str(index.dtype), "freq": index.freqstr}
    cast = "object" if index.nlevels == 1 and index.dtype.name == "object" else _cast(index.dtype)
    return {"dtype": cast} if cast else {}


def _kept(categories: Any) -> bool:
    """Whether pyarrow keeps categories as they are: text without a name for them."""
    return categories.dtype.name in ("object", "str", "string") and categories.name is None


def _object_note(column: Any) -> List[str]:
    """Whether cells come back as arrays or as Python's own objects, and what a missing one is."""
    arrays = nan = False
    for cell in column:
        arrays = arrays or type(cell).__name__ == "ndarray"
        nan = nan or (type(cell) is float and math.isnan(cell))
    return ["arrays" if arrays else "python", "nan" if nan else "none"]


def _category_note(dtype: Any) -> List[Any]:
    """The categories as the index of a parquet file of their own, in base64, and whether they are ordered."""
    frame = dtype.categories.to_frame()[[]]
    return [base64.b64encode(_write(frame, frame, {})).decode("ascii"), dtype.ordered]


def _dense(frame: Any, notes: Dict[str, Any]) -> Any:
    """The frame with those categories as plain values that pyarrow would not write as it does the others."""
    dense = frame
    for position in map(int, notes.get("categories", {})):
        column = frame.iloc[:, position]
        if type(column.dtype.categories.dtype).__module__.partition(".")[0] == "pandas":
            dense = dense.copy(deep=False) if dense is frame else dense
            dense[frame.columns[position]] = column.astype(column.dtype.categories.dtype)
    return dense


# Putting it back.


def _noted(table: Any) -> Dict[str, Any]:
    noted: Dict[str, Any] = json.loads((table.schema.metadata or {}).get(_KEY, b"{}"))
    return noted


def _restore(table: Any) -> Any:
    """The frame that an arrow table with our notes (or without any) was made from."""
    pandas = library("pandas", "parquet")
    notes = _noted(table)
    frame = table.to_pandas()
    names = frame.columns
    for position, (cells, missing) in notes.get("objects", {}).items():
        column = frame.iloc[:, int(position)] if cells == "arrays" else _python_objects(table.column(int(position)))
        if missing == "nan":
            column = [float("nan") if cell is None else cell for cell in column]
        frame[names[int(position)]] = pandas.Series(column, frame.index, "object")
    for position, dtype in notes.get("casts", {}).items():
        frame[names[int(position)]] = frame.iloc[:, int(position)].astype(dtype)
    for position, (categories, ordered) in notes.get("categories", {}).items():
        dtype = pandas.CategoricalDtype(_restore(read_arrow(base64.b64decode(categories))).index, ordered)
        frame[names[int(position)]] = frame.iloc[:, int(position)].astype(dtype)
    frame.index = _restore_axis(pandas, frame.index, notes.get("index", {}))
    frame.columns = _restore_axis(pandas, frame.columns, notes.get("columns", {}))
    frame.attrs = notes.get("attrs", {})
    return frame


def _restore_axis(pandas: Any, index: Any, note: Dict[str, Any]) -> Any:
    if "range" in note:
        return pandas.RangeIndex(*note["range"], name=index.name)
    if "dtype" in note:
        index = index.astype(note["dtype"])
    if "freq" in note:
        index.freq = note["freq"]
    return index


def _python_objects(column: Any) -> Any:
    """The cells of an arrow column as Python's own objects, None for a missing one."""
    text = str(column.type) in ("string", "large_string", "binary", "large_binary")
    return column.to_numpy(zero_copy_only=False) if text else column.to_pylist()


def _read_back(value: Any, data: Buffer) -> Any:
    try:
        return _restore(read_arrow(data))
    except Exception as error:  # whatever goes wrong here would go wrong for every reader
        raise refuse_column(value, None, f"{type(error).__name__}: {error}") from error
