"""What `path=` publishes is what other tools read under that extension."""

from __future__ import annotations

import datetime as dt
import io
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from drawbar.errors import FormatError
from drawbar.publishing import write

ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
TABLES = {
    "pandas": pd.DataFrame(ROWS),
    "polars": pl.DataFrame(ROWS),
    "arrow": pa.Table.from_pylist(ROWS),
    "rows": ROWS,
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_published_as_text(name):
    """The same rows as csv, tsv, json lines and json, whichever library made them."""
    table = TABLES[name]
    assert pd.read_csv(io.BytesIO(write(table, ".csv").join())).to_dict("list")["a"] == [1, 2]
    assert pd.read_csv(io.BytesIO(write(table, ".tsv").join()), sep="\t")["b"].isna().tolist() == [False, True]
    assert [json.loads(line) for line in bytes(write(table, ".jsonl").join()).splitlines()] == ROWS
    assert json.loads(bytes(write(table, ".JSON").join())) == ROWS
    assert pd.read_parquet(io.BytesIO(write(table, ".parquet").join()))["a"].tolist() == [1, 2]


def test_an_index_that_means_something_is_published():
    """The count of rows is left out of a csv; labels are not."""
    assert bytes(write(pd.DataFrame({"a": [1]}), ".csv").join()) == b"a\n1\n"
    labelled = pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="k"))
    assert bytes(write(labelled, ".csv").join()) == b"k,a\nx,1\n"
    assert json.loads(bytes(write(labelled, ".json").join())) == [{"k": "x", "a": 1}]


def test_published_json_is_json_to_everyone():
    """NaN is null, arrays are lists, times and decimals are text."""
    value = {
        "loss": np.float32(0.5),
        "nan": float("nan"),
        "vector": np.array([1.0, np.inf]),
        "day": dt.date(2026, 11, 21),
        "price": Decimal("1.50"),
    }
    text = bytes(write(value, ".json").join()).decode()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "loss": 0.5,
        "nan": None,
        "vector": [1.0, None],
        "day": "2026-11-21",
        "price": "1.50",
    }
    with_nan = pd.DataFrame({"a": [1.5, None], "t": pd.to_datetime(["2026-11-21", None])})
    assert json.loads(bytes(write(with_nan, ".json").join()), parse_constant=pytest.fail)[1] == {"a": None, "t": None}


@pytest.mark.parametrize(
    ("value", "ext"),
    [
        ({"a": 1}, ".csv"),
        ([1], ".csv"),
        (np.ones(2), ".parquet"),
        ({"a": {1}}, ".json"),
        ({(1,): 1}, ".json"),
        (1, ".txt"),
    ],
)
def test_what_does_not_fit_the_extension_is_an_error(value, ext):
    """The error names type and extension, and offers to change either."""
    with pytest.raises(FormatError) as caught:
        write(value, ext)
    assert caught.value.what.endswith(f"cannot be published as {ext}.")
    assert caught.value.todo == "change the ending of `path`, or what the function returns"


@pytest.mark.parametrize("value", ["a,b\n1,2\n", b"\x89PNG", bytearray(b"x"), Path("x")])
def test_content_is_published_as_it_is(value):
    """Text, bytes and files are not written into another format, whatever the place is called."""
    for ext in (".csv", ".json", ".png", ".parquet"):
        assert write(value, ext) is None
    assert write({"a": 1}, ".unknown") is None


def test_a_pickle_is_published_where_it_is_asked_for():
    """`.pkl` holds any value, text too."""
    assert write("a", ".pkl").format == "pickle"
    assert write((1,), ".pickle").format == "pickle"
