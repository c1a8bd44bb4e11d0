"""Tables come back as the library's own type, exactly as they were, or are refused with the name of the column."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pyarrow.parquet
import pytest

from drawbar.agent.encoding import EncodingError, decode, encode
from drawbar.agent.encoding.pandas_same import same


def round_trip(value):
    made = encode(value)
    return made, decode(bytearray(made.join()), made.format, made.type, made.ext)


def column(values, dtype=None):
    return pd.DataFrame({"s": pd.Series(values, dtype=dtype)})


def frame(index=None, columns=None):
    return pd.DataFrame(np.ones((3, 2)), index=index, columns=columns)


DAYS = pd.date_range("2026-11-21", periods=3)
FRAMES = {
    "numbers": pd.DataFrame({"a": [1, 2, 3], "b": [1.0, np.nan, -0.0], "c": [True, False, True]}),
    "text": column(["x", None, "é"]),
    "text as objects": column(["x", None], object),
    "text as objects with NaN": column(["x", np.nan], object),
    "ints as objects": column([1, None], object),
    "bools with None": column([True, None], object),
    "decimals": column([Decimal("1.5"), None]),
    "dates": column([dt.date(2026, 11, 21), None]),
    "datetimes as objects": column([dt.datetime(2026, 11, 21), None], object),  # noqa: DTZ001 - on purpose
    "bytes": column([b"a", None]),
    "lists": column([[1.5, 2.0], None, []]),
    "lists of text": column([["a"], ["b", None]]),
    "equal dicts": column([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),
    "vectors": column([np.array([1, np.nan], "f4"), np.array([], "f4"), None]),
    "seconds": column(pd.to_datetime(["2026-11-21"]).astype("datetime64[s]")),
    "nanoseconds": column(pd.to_datetime(["2026-11-21"]).astype("datetime64[ns]")),
    "zone": column(pd.to_datetime(["2026-11-21"]).tz_localize("Europe/Berlin")),
    "durations": column(pd.to_timedelta([1], unit="s")),
    "half floats": column([1, 2], "float16"),
    "unsigned": column([2**64 - 1], "uint64"),
    "nullable ints": column([1, None], "Int64"),
    "nullable bools": column([True, None], "boolean"),
    "nullable floats": column([1.5, None], "Float32"),
    "nullable text": column(["a", None], "string"),
    "older text": column(["a", None], "string[python]"),
    "arrow": column([1, None], "int64[pyarrow]"),
    "categories": column(pd.Categorical(["b", None], categories=["c", "b", "a"], ordered=True)),
    "int categories": column(pd.Categorical([1, None], categories=[3, 2, 1])),
    "bool categories": column(pd.Categorical([True, None])),
    "time categories": column(pd.Categorical(DAYS)),
    "bins": column(pd.cut([1, 2, 3], 2)),
    "no category used": column(pd.Categorical([None], categories=["a", "b"])),
    "named categories": column(pd.Categorical(["a"], pd.Index(["a", "b"], name="letters"))),
    "periods": column(pd.period_range("2026", periods=3)),
    "intervals": column(pd.interval_range(0, 3)),
    "days": frame(DAYS),
    "hours of a zone": frame(pd.date_range("2026", periods=3, freq="h", tz="UTC", name="t")),
    "seconds as index": frame(pd.DatetimeIndex(["2026-11-21"] * 3, dtype="datetime64[s]")),
    "levels": frame(pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, "a")], names=["x", None])),
    "labels": frame(list("xyz")),
    "labels as objects": frame(pd.Index(list("xyz"), dtype=object)),
    "a range": frame(pd.RangeIndex(5, 11, 2, name="r")),
    "category index": frame(pd.CategoricalIndex(["a", "b", "a"], categories=["b", "a"])),
    "counted columns": frame(),
    "int columns": frame(columns=[7, 3]),
    "float columns": frame(columns=[3.5, 1.0]),
    "time columns": frame(columns=DAYS[:2]),
    "column levels": frame(columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["p", "q"])),
    "named columns": frame(columns=pd.Index(["a", "b"], name="names")),
    "index named as a column": pd.DataFrame({"a": [1]}, index=pd.Index([2], name="a")),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="i8"), "s": pd.Series([], dtype=object)}),
    "nothing": pd.DataFrame(),
    "rows without columns": pd.DataFrame(index=range(3)),
    "labels without columns": pd.DataFrame(index=list("abc")),
    "many rows": pd.DataFrame({"a": np.arange(20_000)}, index=pd.date_range("2026", periods=20_000, freq="min")),
}


@pytest.mark.parametrize("name", FRAMES)
def test_pandas_frames_come_back_as_they_were(name):
    """Index, frequency, dtypes, categories, column names, missing values and the objects in cells are the same."""
    value = FRAMES[name]
    made, back = round_trip(value)
    assert made.format == "parquet"
    pd.testing.assert_frame_equal(back, value, check_freq=True)
    for position in range(value.shape[1]):
        if value.dtypes.iloc[position].name == "object":
            assert same(list(back.iloc[:, position]), list(value.iloc[:, position]))
    assert encode(back).digest() == made.digest()


def test_what_is_known_about_a_frame_needs_no_reading():
    """Rows and the names and types of columns are with the bytes."""
    made = encode(pd.DataFrame({"a": [1], "b": [0.5]}))
    assert made.rows == 1
    assert made.columns == (("a", "int64"), ("b", "float64"))
    lists = pd.DataFrame({"v": [[1.0, 2.0], [3.0]]})
    assert encode(lists).columns == (("v", "list<item: double>"),)
    assert encode(pl.DataFrame({"a": [1]})).columns == (("a", "Int64"),)
    assert encode(pa.table({"a": ["x"]})).columns == (("a", "string"),)


def test_notes_beside_a_frame_come_back():
    """`attrs` of plain data survive; others are refused rather than lost."""
    value = pd.DataFrame({"a": [1]})
    value.attrs = {"unit": "m", "tags": [1, None]}
    assert round_trip(value)[1].attrs == value.attrs
    value.attrs = {"unit": ("m",)}
    with pytest.raises(EncodingError, match="attrs that are no plain data"):
        encode(value)


@pytest.mark.parametrize(
    "value", [pd.Series([1, 2]), pd.Series(["a", None], name="x", index=[3, 4]), pd.Series([1.5], name=7)]
)
def test_series_come_back_as_series(value):
    """A pandas Series keeps its name, also where it has none, or a number."""
    made, back = round_trip(value)
    pd.testing.assert_series_equal(back, value)
    assert made.type == "pandas.Series"


def test_categories_come_back_however_many_there_are():
    """Their order and the unused ones survive beyond the size at which parquet gives dictionaries up."""
    names = [f"category {number:040}" for number in range(60_000)][::-1]
    value = column(pd.Categorical.from_codes(np.arange(30_000), names))
    assert list(round_trip(value)[1]["s"].cat.categories) == names


REFUSED = {
    "mixed": (column([1, "y", 2.5], object), "column 's': values of types float, int, str"),
    "complex": (column([1j]), "column 's': complex128"),
    "sparse": (column(pd.arrays.SparseArray([0, 1])), "column 's': Sparse[int64, 0]"),
    "two missing": (
        column(["a", None, np.nan], object),
        "column 's': None (NoneType) would become nan (float) in row 1",
    ),
    "dicts": (
        column([{"a": 1}, {"b": 2}]),
        "column 's': {'a': 1} (dict) would become {'a': 1, 'b': None} (dict) in row 0",
    ),
    "tuples": (column([(1, 2)]), "column 's': (1, 2) (tuple) would become [1, 2] (list) in row 0"),
    "duplicates": (frame(columns=["a", "a"]), "column 'a': the name of two columns"),
    "names": (frame(columns=[3, "a"]), "column names of several types: int, str"),
    "index name": (frame(pd.Index([1, 2, 3], name=3)), "an index named 3"),
    "index": (frame(pd.Index([1, "b", 2.5])), "an index with values of types float, int, str"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_frame_that_parquet_would_change_is_refused(name):
    """The error names the column and what would become of it; the frame is not pickled in silence."""
    value, found = REFUSED[name]
    with pytest.raises(EncodingError) as caught:
        encode(value)
    assert caught.value.what == "A value of type pandas.DataFrame does not fit the parquet format."
    assert caught.value.found == found
    assert 'format="pickle"' in caught.value.todo
    back = decode(bytearray(encode(value, "pickle").join()), "pickle", "")
    assert list(map(str, back.columns)) == list(map(str, value.columns))


POLARS = {
    "categories": pl.Series(["b", "a", None], dtype=pl.Categorical),
    "enum": pl.Series(["b", "a"], dtype=pl.Enum(["c", "b", "a"])),
    "durations": pl.Series([dt.timedelta(seconds=1)], dtype=pl.Duration("ms")),
    "zone": pl.Series([dt.datetime(2026, 11, 21)], dtype=pl.Datetime("us", "UTC")),  # noqa: DTZ001
    "time": pl.Series([dt.time(1)]),
    "lists": pl.Series([[1], None, []], dtype=pl.List(pl.Int16)),
    "arrays": pl.Series([[1, 2]], dtype=pl.Array(pl.Int8, 2)),
    "structs": pl.Series([{"a": 1}, {"a": None}]),
    "nulls": pl.Series([None]),
    "wide ints": pl.Series([2**100], dtype=pl.Int128),
    "NaN and null": pl.Series([1.0, float("nan"), None]),
    "bytes": pl.Series([b"a", None]),
    "empty": pl.Series([], dtype=pl.UInt8),
}


@pytest.mark.parametrize("name", POLARS)
def test_polars_frames_come_back_as_they_were(name):
    """Each of polars' own types comes back, in a frame and as a series."""
    value = pl.DataFrame({"s": POLARS[name]})
    made, back = round_trip(value)
    pl.testing.assert_frame_equal(back, value)
    pl.testing.assert_series_equal(round_trip(POLARS[name])[1], POLARS[name])
    assert back.schema == value.schema
    assert encode(back).digest() == made.digest()


def test_a_polars_column_of_objects_is_named():
    """What polars cannot write is refused with the name of its column; a lazy frame with the word that makes it one."""
    with pytest.raises(EncodingError, match="column 's'"):
        encode(pl.DataFrame({"a": [1], "s": pl.Series([object()], dtype=pl.Object)}))
    with pytest.raises(EncodingError) as caught:
        encode(pl.LazyFrame({"a": [1]}))
    assert caught.value.todo == "return value.collect()"


ARROW = {
    "plain": pa.table({"a": [1, None], "b": ["x", "y"]}),
    "metadata": pa.table({"a": [1]}).replace_schema_metadata({"k": "v"}),
    "dictionary": pa.table({"a": pa.array(["x", None]).dictionary_encode()}),
    "large text": pa.table({"a": pa.array(["x"], pa.large_string())}),
    "seconds": pa.table({"a": pa.array([1], pa.duration("s"))}),
    "nested": pa.table({"a": pa.array([[{"b": 1}]])}),
    "decimals": pa.table({"a": pa.array([Decimal("1.5")])}),
    "not null": pa.table({"a": [1]}, schema=pa.schema([pa.field("a", pa.int8(), nullable=False)])),
    "empty": pa.table({"a": pa.array([], pa.int8())}),
    "no columns": pa.table({}),
}


@pytest.mark.parametrize("name", ARROW)
def test_arrow_tables_come_back_as_they_were(name):
    """Types, nullability, metadata and values are the same."""
    made, back = round_trip(ARROW[name])
    assert back.schema.equals(ARROW[name].schema, check_metadata=True)
    assert back.equals(ARROW[name])
    assert made.type == "pyarrow.Table"


@pytest.mark.parametrize(
    "value",
    [
        pa.table({"ok": [1], "bad": pa.array([1]).dictionary_encode()}),
        pa.table({"ok": [1], "bad": pa.array([1], pa.timestamp("s"))}),
        pa.table([[1], [2]], names=["bad", "bad"]),
    ],
    ids=["int dictionary", "seconds", "duplicates"],
)
def test_an_arrow_column_that_parquet_would_change_is_named(value):
    """A type that would come back as another, and a name used twice, are errors that say where."""
    with pytest.raises(EncodingError, match="column 'bad'"):
        encode(value)


def test_other_tools_read_the_file():
    """The stored file is plain parquet to who does not know drawbar, and theirs is read by us."""
    made = encode(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    assert pa.parquet.read_table(io.BytesIO(made.join())).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    theirs = io.BytesIO()
    pl.DataFrame({"a": [1]}).write_parquet(theirs)
    assert decode(bytearray(theirs.getvalue()), "parquet", "pandas.DataFrame")["a"].tolist() == [1]
