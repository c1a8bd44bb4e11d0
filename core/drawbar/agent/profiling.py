"""What a value looks like in figures: rows, and for each column its type, its nulls, its least and its greatest value.

A value comes here where it was made, on a host or in the client; a small dict that JSON can hold goes into its record,
and from there to `drawbar show` and to lineage. One pass over the value; no library is loaded that did not make it.
"""

from __future__ import annotations

import importlib
import math
import os
from datetime import date, datetime, time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from .encoding.base import root

COLUMNS = 1000
"""So many columns of a table are looked at; of a wider one the profile says `truncated`."""
LONGEST = 80
"""So many characters of a text are kept."""
# From so many cells on, columns are looked at by several threads, as the libraries do when they read them.
_MANY, _THREADS = 1 << 20, 4
# So many cells of an array are looked at together: they are still in the processor's cache the second time.
_CHUNK = 1 << 16
# As numpy calls them: bools, integers, floats, times and durations have an order; NaN and NaT are in the last three.
_ORDERED = "biufMm"
_MISSING = "fcMm"

Figures = Dict[str, Any]
_Range = Tuple[int, Any, Any]


def profile(value: Any) -> Optional[Figures]:
    """The figures of a table, an array, a list or a dict; None for anything else, and for what cannot be looked at.

    `{"rows": …, "columns": {name: {"type": …, "nulls": …, "min": …, "max": …}}}`: `min` and `max` are None where there
    is no order or nothing but nulls; times are ISO texts, and so are numbers that JSON lacks. In pandas and numpy NaN
    counts as a null. Types are called as `Encoded` calls them. An array is one column without a name that also has a
    `shape`. Never raises.

    >>> profile([3, 1])
    {'rows': 2, 'columns': {}}
    >>> profile("text") is None
    True
    """
    try:
        return _profile(value)
    except Exception:  # whatever a table's library, or a value's own method, does
        return None


def _profile(value: Any) -> Optional[Figures]:
    if isinstance(value, (list, dict)):
        return {"rows": len(value), "columns": {}}
    reader = _READERS.get(f"{root(value)}.{type(value).__name__}")
    return reader(value) if reader is not None else None


def _table(rows: int, names: Sequence[Any], look: Callable[[int], Figures]) -> Figures:
    """The figures of a table, column by column: `look` gives those of one, by its position."""
    shown = [str(name) for name in names[:COLUMNS]]
    found = _each(look, len(shown)) if rows * len(shown) >= _MANY else map(look, range(len(shown)))
    said: Figures = {"rows": rows, "columns": dict(zip(shown, found))}
    return {**said, "truncated": True} if len(names) > COLUMNS else said


def _each(look: Callable[[int], Figures], count: int) -> List[Figures]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
        return list(threads.map(look, range(count)))


def _figures(kind: str, nulls: int, low: Any = None, high: Any = None) -> Figures:
    return {"type": kind, "nulls": int(nulls), "min": _plain(low), "max": _plain(high)}


# pandas


def _pandas_frame(value: Any) -> Figures:
    return _table(len(value), list(value.columns), lambda at: _pandas_column(value.iloc[:, at]))


def _pandas_series(value: Any) -> Figures:
    name = "value" if value.name is None else value.name
    return _table(len(value), [name], lambda _: _pandas_column(value))


def _pandas_column(column: Any) -> Figures:
    kind = str(column.dtype)
    try:
        if kind == "object":  # arrow tells what they are
            cells = importlib.import_module("pyarrow").array(column, from_pandas=True)
            return _figures(str(cells.type), *_arrow_range(cells))
        return _figures(kind, *_pandas_range(column))
    except Exception:  # cells of several types, or of one without an order
        return _figures(kind, column.isna().sum())


def _pandas_range(column: Any) -> _Range:
    dtype = column.dtype
    if type(dtype).__module__.partition(".")[0] == "numpy":
        return _numpy_range(column.to_numpy())
    if dtype.name == "category":
        present = column.unique().remove_unused_categories().categories
        return int(column.isna().sum()), present.min(), present.max()
    if hasattr(column.array, "__arrow_array__"):
        nulls, low, high = _arrow_range(column.array.__arrow_array__())
        if low is not None or nulls == len(column) or type(dtype).__name__ == "ArrowDtype":
            return nulls, low, high  # of the others, periods are in order as well, and only pandas knows how
    return int(column.isna().sum()), column.min(), column.max()


# pyarrow


def _arrow_table(value: Any) -> Figures:
    def look(at: int) -> Figures:
        column = value.column(at)
        return _figures(str(column.type), *_arrow_range(column))

    return _table(value.num_rows, value.column_names, look)


def _arrow_range(column: Any) -> _Range:
    """Nulls, least and greatest of an array, whole or in chunks."""
    types = importlib.import_module("pyarrow").types
    kind, nulls = column.type, column.null_count
    if types.is_nested(kind) or types.is_null(kind) or "binary" in str(kind) or nulls == len(column):
        return nulls, None, None
    try:
        if types.is_dictionary(kind):
            column = column.unify_dictionaries() if hasattr(column, "chunks") else column
            column = column.unique().dictionary_decode()
        found = importlib.import_module("pyarrow.compute").min_max(column)
        return nulls, found["min"].as_py(), found["max"].as_py()
    except Exception:  # a type that arrow does not order
        return nulls, None, None


# polars


def _polars_frame(value: Any) -> Figures:
    """All columns in one query, which polars answers on all cores; one by one where it cannot answer that."""
    kinds = value.dtypes[:COLUMNS]
    try:
        found = _polars_ranges(value, range(len(kinds)))
    except BaseException as error:
        _unless_panic(error)
        found = [_polars_range(value, at) for at in range(len(kinds))]
    return _table(value.height, value.columns, lambda at: _figures(str(kinds[at]), *found[at]))


def _polars_series(value: Any) -> Figures:
    return _polars_frame(value.to_frame())


def _polars_ranges(value: Any, positions: Sequence[int]) -> List[_Range]:
    polars = importlib.import_module("polars")
    asked, kinds = [], value.dtypes
    plainly = value.select([value.to_series(at).alias(str(at)) for at in positions])  # a name may be a pattern
    for at in positions:
        column, kind = polars.col(str(at)), kinds[at]
        asked.append(column.null_count().alias(f"{at} nulls"))
        if kind.is_nested() or kind in (polars.Binary, polars.Object, polars.Null):
            continue
        if kind in (polars.Categorical, polars.Enum):
            column = column.unique().cast(polars.String)
        asked += [column.min().alias(f"{at} min"), column.max().alias(f"{at} max")]
    (row,) = plainly.select(asked).rows(named=True) if asked else ({},)
    return [(row[f"{at} nulls"], row.get(f"{at} min"), row.get(f"{at} max")) for at in positions]


def _polars_range(value: Any, at: int) -> _Range:
    try:
        return _polars_ranges(value, [at])[0]
    except BaseException as error:
        _unless_panic(error)
        return int(value.to_series(at).null_count()), None, None


def _unless_panic(error: BaseException) -> None:
    """Raise what should end the process; a panic of polars is no Exception, and should not."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error


# numpy


def _numpy_array(value: Any) -> Figures:
    rows = len(value) if value.ndim else 1
    if value.dtype.hasobject:
        return {"rows": rows, "columns": {}}
    said = {**_figures(str(value.dtype), *_numpy_range(value)), "shape": list(value.shape)}
    return {"rows": rows, "columns": {"": said}}


def _numpy_range(array: Any) -> _Range:
    """Missing cells, the least and the greatest of the others, a cache's worth of cells at a time."""
    numpy = importlib.import_module("numpy")
    kind = array.dtype.kind
    if kind not in f"{_ORDERED}{_MISSING}":
        return 0, None, None
    missing = numpy.isnat if kind in "Mm" else numpy.isnan
    nulls, lows, highs = 0, [], []
    for chunk in _chunks(numpy, array):
        cells = chunk
        if kind in _MISSING:
            gone = missing(chunk)
            if gone.any():
                nulls += int(numpy.count_nonzero(gone))
                cells = chunk[~gone]
        if kind in _ORDERED and cells.size:
            lows.append(cells.min())
            highs.append(cells.max())
    return nulls, min(lows, default=None), max(highs, default=None)


def _chunks(numpy: Any, array: Any) -> Any:
    """The cells in pieces without an axis; the array itself is not copied, however it lies in memory."""
    if array.flags.forc:
        flat = array.reshape(-1, order="A")
        return (flat[at : at + _CHUNK] for at in range(0, flat.size, _CHUNK))
    return numpy.nditer(array, ["external_loop", "buffered", "zerosize_ok"], order="K", buffersize=_CHUNK)


# What JSON can hold


def _plain(value: Any) -> Any:
    """A cell as JSON has it: numbers, bools, short texts; None for a missing one."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        text = value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"
        return text.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None if math.isnan(value) else str(value)
    if root(value) == "numpy":
        return _plain_numpy(value)
    if isinstance(value, (date, datetime, time)):
        return value.isoformat() if value == value else None  # noqa: PLR0124 - NaT is no time, and is not itself
    return _plain(str(value))


def _plain_numpy(value: Any) -> Any:
    if value.dtype.kind == "M":
        text = str(value)
        return text.rstrip("0").rstrip(".") if "." in text else text
    return _plain(value.astype("m8[us]").item() if value.dtype.kind == "m" else value.item())


_READERS: Dict[str, Callable[[Any], Figures]] = {
    "pandas.DataFrame": _pandas_frame,
    "pandas.Series": _pandas_series,
    "polars.DataFrame": _polars_frame,
    "polars.Series": _polars_series,
    "pyarrow.Table": _arrow_table,
    "numpy.ndarray": _numpy_array,
}
