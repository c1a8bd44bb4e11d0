"""Tables of pandas, polars and pyarrow as parquet; each comes back as the library's own type that it was.

Tables come from functions; a table that parquet would change is refused with the name of the column, never pickled in
silence, so that what other tools read in the store is what the function made.
"""

from __future__ import annotations

import io
from typing import Any, Callable, Dict, Tuple

from .base import Buffer, Encoded, EncodingError, library, root, unfit, unreadable

HOLDS = "a pandas, polars or pyarrow table whose columns have one type each, and names that are unique"
_LIBRARIES = frozenset({"pandas", "polars", "pyarrow"})
_TABLES = frozenset({"DataFrame", "Series", "LazyFrame", "Table"})


def holds(value: Any) -> bool:
    """Whether `value` is a table or a column of one of the three libraries; none of them is imported to know."""
    return root(value) in _LIBRARIES and type(value).__name__ in _TABLES


def encode(value: Any) -> Encoded:
    """The table as parquet, compressed with zstd; EncodingError that names the column where it does not fit."""
    if not holds(value):
        raise unfit(value, "parquet", HOLDS)
    kind = f"{root(value)}.{type(value).__name__}"
    if kind in ("pandas.DataFrame", "pandas.Series"):
        from . import pandas_tables

        return pandas_tables.encode(value, kind)
    if kind not in _WRITERS:
        todo = "return value.collect()" if kind == "polars.LazyFrame" else "return a table"
        raise unfit(value, "parquet", HOLDS, todo=todo)
    return _WRITERS[kind](value, kind)


def decode(data: Buffer, type_: str) -> Any:
    """The table in `data`, as `type_` names it; a pyarrow table where it names none."""
    from . import pandas_tables

    readers: Dict[str, Callable[[Buffer, str], Any]] = {
        "pandas.DataFrame": pandas_tables.decode,
        "pandas.Series": pandas_tables.decode,
        "polars.DataFrame": _read_polars,
        "polars.Series": _read_polars,
    }
    try:
        return readers.get(type_, _read_arrow)(data, type_)
    except EncodingError:
        raise
    except Exception as error:
        unreadable("parquet", error)


def arrow(wanted_by: str = "parquet") -> Tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet; refused before 14.0.1, where a parquet file could run code."""
    pyarrow = library("pyarrow", wanted_by)
    if tuple(map(int, pyarrow.__version__.split(".")[:2])) < (14, 0) or pyarrow.__version__ == "14.0.0":
        raise EncodingError(
            "The parquet format needs a newer pyarrow.",
            expected="pyarrow >= 14.0.1, the first that runs no code from a file",
            found=f"pyarrow {pyarrow.__version__}",
            todo="pip install --upgrade pyarrow",
        )
    return pyarrow, library("pyarrow.parquet", wanted_by)


def write_arrow(table: Any) -> Any:
    """The arrow table as parquet bytes (a memoryview).

    Dictionaries are written whole, however large, so that categories keep their order and the unused ones stay.
    """
    pyarrow, parquet = arrow()
    dictionaries = [field.name for field in table.schema if pyarrow.types.is_dictionary(field.type)]
    large: Dict[str, Any] = (
        {"use_dictionary": dictionaries, "dictionary_pagesize_limit": 1 << 30} if dictionaries else {}
    )
    sink = pyarrow.BufferOutputStream()
    # The names of list elements are kept, which parquet's rules would replace.
    parquet.write_table(table, sink, compression="zstd", use_compliant_nested_type=False, **large)
    return memoryview(sink.getvalue())


def read_arrow(data: Buffer, columns: Any = None) -> Any:
    """The arrow table in `data`."""
    pyarrow, parquet = arrow()
    return parquet.read_table(pyarrow.BufferReader(pyarrow.py_buffer(data)), columns=columns)


def refuse_column(value: Any, name: Any, found: str) -> EncodingError:
    """The error for a column that parquet would change or cannot hold."""
    return unfit(value, "parquet", HOLDS, f"column {name!r}: {found}" if name is not None else found)


def _culprit(names: Any, write: Callable[[Any], Any]) -> Any:
    """The first column that cannot be written alone; None where each of them can."""
    for name in names:
        try:
            write(name)
        except Exception:  # of the library; which one does not matter, the first has been kept
            return name
    return None


def refuse_duplicates(value: Any, names: Any) -> None:
    """Raise EncodingError where two columns have one name."""
    seen = set()
    for name in names:
        if name in seen:
            raise refuse_column(value, name, "the name of two columns")
        seen.add(name)


def _write_arrow(value: Any, kind: str) -> Encoded:
    pyarrow, parquet = arrow()
    refuse_duplicates(value, value.column_names)
    try:
        data = write_arrow(value)
        back = parquet.read_schema(pyarrow.BufferReader(pyarrow.py_buffer(data)))
    except (pyarrow.ArrowException, OSError, ValueError, TypeError) as error:
        culprit = _culprit(value.column_names, lambda name: write_arrow(value.select([name]).slice(0, 1)))
        raise refuse_column(value, culprit, f"{type(error).__name__}: {error}") from error
    for field in value.schema:
        if not back.field(field.name).equals(field):
            raise refuse_column(value, field.name, f"{field.type} would become {back.field(field.name).type}")
    columns = tuple((field.name, str(field.type)) for field in value.schema)
    return Encoded("parquet", ".parquet", [data], kind, value.num_rows, columns)


def _read_arrow(data: Buffer, type_: str) -> Any:
    if type_ not in ("pyarrow.Table", ""):
        unreadable("parquet", f"the type {type_}")
    return read_arrow(data)


def _write_polars(value: Any, kind: str) -> Encoded:
    polars = library("polars", "parquet")
    frame = value.to_frame() if kind == "polars.Series" else value
    sink = io.BytesIO()
    try:
        frame.write_parquet(sink)
        back = polars.read_parquet_schema(io.BytesIO(sink.getvalue()))
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException, TypeError, ValueError) as error:
        culprit = _culprit(frame.columns, lambda name: frame.select(name).head(1).write_parquet(io.BytesIO()))
        raise refuse_column(value, culprit, f"{type(error).__name__}: {error}") from error
    for name, dtype in frame.schema.items():
        if back.get(name) != dtype:
            raise refuse_column(value, name, f"{dtype} would become {back.get(name)}")
    columns = tuple((name, str(dtype)) for name, dtype in frame.schema.items())
    return Encoded("parquet", ".parquet", [sink.getvalue()], kind, frame.height, columns)


def _read_polars(data: Buffer, type_: str) -> Any:
    """As polars reads it. Some flipped bits make its engine abort the process: check the digest first, as we do."""
    polars = library("polars", "parquet")
    try:
        frame = polars.read_parquet(io.BytesIO(data))
    except polars.exceptions.PanicException as error:  # no Exception, and nothing that should end the process
        unreadable("parquet", error)
    return frame.to_series() if type_ == "polars.Series" else frame


_WRITERS: Dict[str, Callable[[Any, str], Encoded]] = {
    "pyarrow.Table": _write_arrow,
    "polars.DataFrame": _write_polars,
    "polars.Series": _write_polars,
}
