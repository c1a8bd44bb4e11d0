"""One name for a column's type, whichever of three libraries wrote it."""

from __future__ import annotations

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from drawbar.agent.columns import NAMES, fits, known, neutral
from drawbar.agent.encoding import tables


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (pl.Int64, "int64"),
        (pl.Boolean(), "bool"),
        (pl.String(), "string"),
        (pl.Datetime("us"), "timestamp[us]"),
        (pl.Datetime("ns", "Europe/Berlin"), "timestamp[ns, tz=Europe/Berlin]"),
        (pl.Duration("ms"), "duration[ms]"),
        (pl.Date(), "date"),
        (pl.Time(), "time"),
        (pl.Decimal(10, 2), "decimal(10, 2)"),
        (pl.List(pl.Float32), "list<float32>"),
        (pl.Array(pl.Float32, (3, 2)), "list<list<float32>>"),
        (pl.Struct({"a": pl.Int64, "b, c'": pl.List(pl.String)}), "struct<a: int64, b, c': list<string>>"),
        (pl.Categorical(), "category"),
        (pl.Enum(["a", "b)"]), "category"),
        (pl.Null(), "null"),
        (pa.float16(), "float16"),
        (pa.float32(), "float32"),
        (pa.float64(), "float64"),
        (pa.large_string(), "string"),
        (pa.string_view(), "string"),
        (pa.binary(4), "binary"),
        (pa.date64(), "date"),
        (pa.time32("s"), "time"),
        (pa.timestamp("us", "UTC"), "timestamp[us, tz=UTC]"),
        (pa.decimal256(50, 2), "decimal(50, 2)"),
        (pa.list_(pa.field("x", pa.int8(), nullable=False)), "list<int8>"),
        (pa.list_(pa.float32(), 384), "list<float32>"),
        (pa.large_list(pa.struct([("a", pa.list_(pa.int64()))])), "list<struct<a: list<int64>>>"),
        (pa.map_(pa.string(), pa.list_(pa.int64()), keys_sorted=True), "map<string, list<int64>>"),
        (pa.dictionary(pa.int32(), pa.string()), "category"),
        (pd.Int64Dtype(), "int64"),
        (pd.StringDtype("python"), "string"),
        (pd.CategoricalDtype(["a"]), "category"),
        (pd.DatetimeTZDtype("us", "UTC"), "timestamp[us, tz=UTC]"),
        (pd.ArrowDtype(pa.timestamp("us", "UTC")), "timestamp[us, tz=UTC]"),
        (pd.ArrowDtype(pa.float64()), "float64"),
    ],
    ids=str,
)
def test_three_dialects_have_one_name(dtype, name):
    """A table that is made by another library than before would break its contract, though nothing in it changed."""
    assert neutral(str(dtype)) == name
    assert name.startswith("struct<a: int64, b, c'") or neutral(name) == name


@pytest.mark.parametrize(
    "text", ["", "float46", "period[D]", "list<>", "map<string>", "struct<a>", "object", "list<" * 9999]
)
def test_what_is_no_type_is_known_to_be_none(text):
    """Nonsense in a contract would be taken for a type that no column ever has."""
    assert known(text) is None
    assert neutral(text) == text


def test_every_name_that_a_message_offers_is_a_type():
    """Whoever follows an error's advice would get the next error."""
    assert all(known(name) == name for name in NAMES)


def test_a_type_fits_itself_and_what_leaves_it_open():
    """A column of any unit, or without a value yet, would break a contract that leaves that open."""
    assert fits("timestamp[ns]", "timestamp")
    assert not fits("timestamp[ns, tz=UTC]", "timestamp")
    assert fits("list<string>", "any")
    assert fits("null", "int64")
    assert not fits("int32", "int64")


def test_the_same_table_has_the_same_types_in_all_records():
    """What a record says of a table depends on the library; a contract must read all three alike."""
    arrow = pa.table({"n": [1, 2], "s": ["a", None], "x": [0.5, None], "l": [[1], []], "b": [True, False]})
    values = arrow, arrow.to_pandas(), pl.from_arrow(arrow)
    said = {tuple((name, neutral(kind)) for name, kind in tables.encode(value).columns) for value in values}
    assert said == {(("n", "int64"), ("s", "string"), ("x", "float64"), ("l", "list<int64>"), ("b", "bool"))}
