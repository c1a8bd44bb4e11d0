"""What a value looks like in figures, in each library that makes tables and arrays."""

from __future__ import annotations

import datetime as dt
import json
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from drawbar.agent.encoding import encode
from drawbar.agent.profiling import COLUMNS, LONGEST, profile

AT = dt.datetime(2026, 11, 20, 8, 30)  # noqa: DTZ001 - a table's times often have no zone
ROWS = {
    "n": [3, 1, 2],
    "x": [0.5, None, -1.5],
    "text": ["b", "a", None],
    "ok": [True, False, True],
    "day": [dt.date(2026, 11, 20), None, dt.date(2026, 1, 2)],
    "at": [AT, AT + dt.timedelta(microseconds=5), None],
    "price": [Decimal("1.50"), Decimal("0.25"), None],
    "blob": [b"x", None, b"y"],
    "list": [[1], [2, 3], None],
    "none": [None, None, None],
}
RANGES = {
    "n": (0, 1, 3),
    "x": (1, -1.5, 0.5),
    "text": (1, "a", "b"),
    "ok": (0, False, True),
    "day": (1, "2026-01-02", "2026-11-20"),
    "at": (1, "2026-11-20T08:30:00", "2026-11-20T08:30:00.000005"),
    "price": (1, "0.25", "1.50"),
    "blob": (1, None, None),
    "list": (1, None, None),
    "none": (3, None, None),
}


def column(value, name=None):
    """The figures of the only column, or of the one of that name, as nulls, min and max."""
    columns = profile(value)["columns"]
    figures = columns[name] if name is not None else next(iter(columns.values()))
    return figures["nulls"], figures["min"], figures["max"]


@pytest.mark.parametrize("library", ["pandas", "pandas arrow", "pandas objects", "polars", "pyarrow"])
def test_one_table_has_the_same_figures_in_every_library(library):
    """A dashboard would jump where a team moves from pandas to polars and nothing in the data changed."""
    table = {
        "pandas": lambda: pd.DataFrame(ROWS),
        "pandas arrow": lambda: pa.table(ROWS).to_pandas(types_mapper=pd.ArrowDtype),
        "pandas objects": lambda: pd.DataFrame(ROWS, dtype=object),
        "polars": lambda: pl.DataFrame(ROWS, strict=False),
        "pyarrow": lambda: pa.table(ROWS),
    }[library]()
    found = profile(table)
    assert found["rows"] == 3
    assert {name: (one["nulls"], one["min"], one["max"]) for name, one in found["columns"].items()} == RANGES
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
def test_types_are_called_as_in_the_record(library):
    """`drawbar show` would call one column by two types, and a contract would not meet its profile."""
    value = library({name: cells for name, cells in ROWS.items() if name not in ("none", "blob")})
    types = [(name, one["type"]) for name, one in profile(value)["columns"].items()]
    assert types == list(encode(value).columns)


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pd.Series([1, None, 3], dtype="Int64"), (1, 1, 3)),
        (pd.Series([True, None], dtype="boolean"), (1, True, True)),
        (pd.Series(["b", None, "a"], dtype="string[python]"), (1, "a", "b")),
        (pd.Series(["z", "y", None, "x"], dtype="category").iloc[:3], (1, "y", "z")),
        (pd.Series(pd.to_datetime(["2026-01-01", None]).tz_localize("Europe/Berlin")), (1,) + 2 * ("2026-01-01T00:00:00+01:00",)),
        (pd.Series([float("inf"), 1.0]), (0, 1.0, "inf")),
        (pd.Series(pd.to_timedelta(["1 days", None])), (1, "1 day, 0:00:00", "1 day, 0:00:00")),
        (pd.Series(pd.period_range("2026-01", periods=2, freq="M")), (0, "2026-01", "2026-02")),
        (pd.Series([], dtype="float64"), (0, None, None)),
        (pd.Series([], dtype="category"), (0, None, None)),
        (pd.Series([1, "a", None]), (1, None, None)),
        (pd.Series([1 + 2j]), (0, None, None)),
    ],
)  # fmt: skip
def test_pandas_own_types_are_looked_at_as_well(series, expected):
    """A column of a type that only pandas has would be shown without figures, or with wrong ones."""
    assert column(series.to_frame("a")) == column(series) == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (pl.Series(["b", None, "a"], dtype=pl.Categorical), (1, "a", "b")),
        (pl.Series(["b", "a"], dtype=pl.Enum(["b", "a", "c"])), (0, "a", "b")),
        (pl.Series([dt.timedelta(days=1)]), (0, "1 day, 0:00:00", "1 day, 0:00:00")),
        (pl.Series([dt.time(8, 30)]), (0, "08:30:00", "08:30:00")),
        (pl.Series([float("nan"), 2.0]), (0, 2.0, 2.0)),
        (pl.Series([object()], dtype=pl.Object), (0, None, None)),
        (pl.Series([], dtype=pl.Int8), (0, None, None)),
    ],
)
def test_polars_own_types_are_looked_at_as_well(cells, expected):
    """One column of an unusual type would cost the whole table its figures."""
    assert column(cells) == column(pl.DataFrame({"a": cells, "n": range(len(cells))}), "a") == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (pa.array(["b", None, "a"]).dictionary_encode(), (1, "a", "b")),
        (pa.chunked_array([pa.array(["b"]).dictionary_encode(), pa.array(["a"]).dictionary_encode()]), (0, "a", "b")),
        (pa.array([float("nan"), 2.0]), (0, 2.0, 2.0)),
        (pa.array([1], pa.timestamp("ns", "UTC")), (0,) + 2 * ("1970-01-01T00:00:00.000000001+00:00",)),
        (pa.array([b"ab"], pa.binary(2)), (0, None, None)),
    ],
)  # fmt: skip
def test_arrows_own_types_are_looked_at_as_well(cells, expected):
    """A dictionary, or one of several chunks, would be shown without its least and greatest value."""
    assert column(pa.table({"a": cells})) == expected


@pytest.mark.parametrize("name", ["*", "^a.*$", "", "a\nb", "日本"])
def test_a_columns_name_is_never_a_pattern(name):
    """A column called `*` would be given all the others' figures, or end the run."""
    for table in (pd.DataFrame, pl.DataFrame, pa.table):
        assert column(table({name: [1, 2], "other": [7, 8]}), name) == (0, 1, 2)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[3.0, np.nan], [1.0, 2.0]]), (1, 1.0, 3.0)),
        (np.array([np.nan]), (1, None, None)),
        (np.arange(1_000_000).reshape(1000, 1000)[::2, 1::3], (0, 1, 998_997)),
        (np.asfortranarray(np.ones((300, 300), "float32")), (0, 1.0, 1.0)),
        (np.array(["2026-01-01", "NaT"], "datetime64[ns]"), (1, "2026-01-01T00:00:00", "2026-01-01T00:00:00")),
        (np.array([90], "timedelta64[s]"), (0, "0:01:30", "0:01:30")),
        (np.array([True, False]), (0, False, True)),
        (np.array(5), (0, 5, 5)),
        (np.empty((0, 4)), (0, None, None)),
        (np.array(["b", "a"]), (0, None, None)),
    ],
)
def test_an_array_is_one_column_without_a_name(array, expected):
    """Embeddings full of NaN would look like any others."""
    found = profile(array)
    assert column(array) == expected
    assert found["columns"][""]["shape"] == list(array.shape)
    assert found["columns"][""]["type"] == str(array.dtype)
    json.dumps(found, allow_nan=False)


def test_only_what_has_figures_has_a_profile():
    """A model or a text would be taken for a table without columns."""
    assert profile([1, 2]) == profile({"a": 1, "b": 2}) == {"rows": 2, "columns": {}}
    assert profile(np.array([object()])) == {"rows": 1, "columns": {}}
    for value in ("text", 5, None, object(), pl.LazyFrame({"a": [1]}), pd.DataFrame):
        assert profile(value) is None


def test_nothing_in_a_value_makes_it_raise():
    """A value that took nine hours would be lost to a bug in looking at it."""

    class Odd(list):
        def __len__(self):
            raise RuntimeError("no length")

    assert profile(Odd()) is None
    assert profile(pd.DataFrame([[1, 2]], columns=["a", "a"]))["rows"] == 1
    odd = pd.DataFrame({"a": [object(), 1], "b": ["\udcff", "x" * 200]}, dtype=object)
    found = profile(odd)
    assert found["columns"]["a"] == {"type": "object", "nulls": 0, "min": None, "max": None}
    json.dumps(found, ensure_ascii=False).encode()


def test_long_texts_are_cut_and_wide_tables_too():
    """One column of documents, or a table of a million columns, would make every record and event as large."""
    low, high = column(pd.DataFrame({"a": ["x" * 500]}))[1:]
    assert low == high == "x" * (LONGEST - 1) + "…"
    for wide in (pd.DataFrame(np.ones((1, COLUMNS + 5))), pa.table({str(n): [1] for n in range(COLUMNS + 5)})):
        found = profile(wide)
        assert found["truncated"] is True
        assert len(found["columns"]) == COLUMNS
    assert "truncated" not in profile(pd.DataFrame(np.ones((1, COLUMNS))))


def test_large_tables_have_the_same_figures_as_small_ones():
    """The threads that look at a large table's columns would mix them up."""
    many = pd.DataFrame({str(at): np.arange(300_000) + at for at in range(8)})
    columns = profile(many)["columns"]
    assert [(one["min"], one["max"]) for one in columns.values()] == [(at, 299_999 + at) for at in range(8)]


def test_looking_changes_nothing_and_loads_nothing():
    """A profile that was switched on would change what the next function is given."""
    frame = pd.DataFrame(ROWS)
    before = frame.copy(deep=True)
    profile(frame)
    pd.testing.assert_frame_equal(frame, before)
    code = "import sys; from drawbar.agent.profiling import profile; profile([1]); profile({}); profile('')\n"
    code += "print([one for one in ('numpy', 'pandas', 'polars', 'pyarrow') if one in sys.modules])"
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"
