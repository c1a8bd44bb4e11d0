"""Contracts held against tables of the three libraries: what each mode accepts, refuses and drops."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from drawbar.agent.contracting import apply
from drawbar.contracts import Column, Contract

LIBRARIES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


@pytest.fixture(params=LIBRARIES)
def table(request):
    """Makes a table of one of the libraries out of columns."""
    return LIBRARIES[request.param]


def held(value, columns, **options):
    """The value that comes back, the outcome in all, and those of columns by name."""
    kept, (first, *others) = apply(value, Contract(columns, **options).to_dict())
    assert (first["name"], first["column"], first["blocking"]) == ("contract", "", True)
    return kept, first, {one["column"]: one for one in others}


def rows(value):
    """The rows of a table as lists by column."""
    if isinstance(value, pa.Table):
        return value.to_pydict()
    return value.to_dict("list") if isinstance(value, pd.DataFrame) else value.to_dict(as_series=False)


def test_a_table_that_fits_comes_back_itself(table):
    """Every value with a contract would be copied, or converted, though nothing is wrong with it."""
    value = table({"url": ["a", "b"], "score": [0.5, 1.0]})
    kept, first, others = held(value, {"score": Column("float64", nullable=False), "url": "string"})
    assert kept is value
    assert (first["passed"], first["expected"], first["found"]) == (True, "2 columns as the contract says", "it fits")
    assert others == {}


def test_frozen_says_which_column_what_was_expected_and_what_found(table):
    """A person would have to find out by hand which column broke the contract."""
    value = table({"url": [1, 2], "score": [0.5, None], "lang": ["x", "y"]})
    kept, first, others = held(value, {"url": "string", "score": Column("float64", nullable=False), "n": "int64"})
    assert kept is value
    assert not first["passed"]
    assert first["found"] == "'url', 'score', 'n' and 1 more do not fit"
    assert first["details"] == {"rows_discarded": 0, "columns_discarded": 0}
    assert {name: (one["expected"], one["found"]) for name, one in others.items()} == {
        "url": ("string", "int64"),
        "score": ("float64, no nulls", "nulls in 1 of 2 rows"),
        "n": ("int64", "no such column"),
        "lang": ("no column of this name", "string"),
    }
    assert all(one["blocking"] and not one["passed"] for one in others.values())


def test_evolve_accepts_all_and_tells_all(table):
    """What changed under `evolve` would stay unseen."""
    value = table({"url": [1], "score": [None], "lang": ["x"]})
    kept, first, others = held(
        value, {"url": "string", "score": Column("float64", nullable=False), "n": "int64"}, mode="evolve"
    )
    assert kept is value
    assert first["passed"]
    assert first["found"] == "it fits, with 'url', 'score', 'n' and 1 more as their modes allow"
    assert {name: one["passed"] for name, one in others.items()} == dict.fromkeys(("url", "score", "n", "lang"), True)


def test_rows_with_a_null_are_dropped_and_counted(table):
    """Rows without a value that is needed would reach whoever counts on it."""
    value = table({"url": ["a", None, "c"], "n": [1, 2, 3]})
    kept, first, others = held(value, {"url": Column("string", nullable=False), "n": "int64"}, mode="discard_rows")
    assert rows(kept) == {"url": ["a", "c"], "n": [1, 3]}
    assert type(kept) is type(value)
    assert first["passed"]
    assert first["details"] == {"rows_discarded": 1, "columns_discarded": 0}
    assert (others["url"]["found"], others["url"]["details"]) == (
        "it does not fit in 1 of 3 rows",
        {"rows": 1},
    )


def test_rows_with_a_value_in_a_new_column_are_dropped_and_the_column_with_them(table):
    """A row of a newer kind would come through without what makes it new."""
    value = table({"url": ["a", "b", "c"], "new": ["x", None, None]})
    kept, first, _ = held(value, {"url": "string"}, extra="discard_rows")
    assert rows(kept) == {"url": ["b", "c"]}
    assert first["details"] == {"rows_discarded": 1, "columns_discarded": 1}


def test_new_columns_are_dropped(table):
    """A column that nobody reviewed would be published."""
    value = table({"a": [1], "new": ["x"], "b": [2]})
    kept, first, others = held(value, {"b": "int64", "a": "int64"}, extra="discard_columns")
    assert rows(kept) == {"a": [1], "b": [2]}
    assert first["passed"]
    assert (others["new"]["passed"], others["new"]["found"]) == (True, "string; its mode drops the column")


def test_a_promised_column_that_is_dropped_leaves_a_warning(table):
    """Nobody would notice that a column which others count on is missing."""
    value = table({"a": [1], "b": ["x"]})
    kept, first, others = held(value, {"a": "int64", "b": Column("float64", mode="discard_columns")})
    assert rows(kept) == {"a": [1]}
    assert first["passed"]
    assert first["found"] == "'b' does not fit"
    assert (others["b"]["passed"], others["b"]["blocking"]) == (False, False)
    assert others["b"]["found"] == "string; its mode drops the column"


@pytest.mark.parametrize("mode", ["freeze", "discard_rows", "discard_columns"])
def test_a_missing_column_fails_in_every_mode_that_keeps_to_something(table, mode):
    """A mode that drops things would turn a missing column into an empty promise."""
    _, first, others = held(table({"a": [1]}), {"a": "int64", "b": "int64"}, mode=mode)
    assert not first["passed"]
    assert (others["b"]["found"], others["b"]["blocking"]) == ("no such column", True)


def test_a_column_of_another_type_fails_where_rows_are_to_be_dropped(table):
    """Every row would be dropped, or none, because one column has one type: an empty table would be published."""
    value = table({"a": ["1", "2"], "b": [1, 2]})
    kept, first, others = held(value, {"a": "int64", "b": "int64"}, mode="discard_rows")
    assert kept is value
    assert not first["passed"]
    assert others["a"]["found"] == "string throughout"


def test_a_table_that_would_lose_every_row_fails_and_stays_as_it_is(table):
    """A source that turned bad altogether would be published as an empty table."""
    value = table({"a": [1, 2], "new": ["x", "y"]})
    kept, first, _ = held(value, {"a": "int64"}, extra="discard_rows")
    assert kept is value
    assert not first["passed"]
    assert first["found"] == "none of 2 rows fits"
    assert first["details"] == {"rows_discarded": 0, "columns_discarded": 0}


def test_nothing_is_dropped_from_a_value_that_fails(table):
    """Whoever looks at a rejected value would not see it as it was made."""
    value = table({"a": [1, 2], "b": ["x", "y"], "new": [None, "z"]})
    kept, first, _ = held(value, {"a": "int64", "b": "int64"}, extra="discard_rows")
    assert kept is value
    assert first["details"] == {"rows_discarded": 0, "columns_discarded": 0}


def test_empty_tables_fit_by_their_columns_alone(table):
    """A day without rows would break a contract, or count as one that lost them all."""
    empty = {pd.DataFrame: lambda: pd.DataFrame({"a": []}, dtype="int64")}.get(
        table, lambda: table({"a": [1]})[:0] if table is not pa.table else pa.table({"a": [1]}).slice(0, 0)
    )()
    _, first, _ = held(empty, {"a": Column("int64", nullable=False)}, mode="discard_rows")
    assert first["passed"]
    assert not held(empty, {"b": "int64"})[1]["passed"]


def test_a_column_without_any_value_fits_where_nulls_may_be(table):
    """The first small batch in which a comment is missing everywhere would break the contract."""
    value = table({"a": [None, None]})
    assert held(value, {"a": "string"})[1]["passed"]
    assert not held(value, {"a": Column("string", nullable=False)})[1]["passed"]


def test_rows_of_python_objects_are_told_apart_one_by_one():
    """One text among numbers would cost the whole column."""
    value = pd.DataFrame({"n": pd.array([1, "two", None, 4], dtype="object"), "k": list("abcd")}, index=[5, 6, 7, 8])
    kept, first, others = held(value, {"n": Column("int64", mode="discard_rows"), "k": "string"})
    assert list(kept.index) == [5, 7, 8]
    assert kept["n"].tolist() == [1, None, 4]
    assert others["n"]["details"] == {"rows": 1}
    assert first["details"]["rows_discarded"] == 1
    both = held(value, {"n": Column("int64", nullable=False, mode="discard_rows"), "k": "string"})[0]
    assert both["n"].tolist() == [1, 4]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["a", None], "string"),
        ([b"a", None], "binary"),
        ([True, None], "bool"),
        ([1, None], "int64"),
        ([1.5, None], "float64"),
        ([dt.date(2026, 1, 1), None], "date"),
        ([dt.time(1), None], "time"),
        ([[1, 2], None], "list<int64>"),
        ([{"a": 1}, None], "struct<a: int64>"),
        ([1, "a"], "mixed"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_column_of_python_objects_has_the_type_that_its_values_have(cells, kind):
    """Texts in an older pandas, and lists in any, would be of no type that a contract can name."""
    value = pd.DataFrame({"a": pd.Series(cells, dtype="object")})
    found = held(value, {"b": "any"}, extra="evolve")[2]["a"]["found"]
    assert found == kind


def test_whole_numbers_with_nulls_are_told_from_their_cause():
    """Whoever uses pandas would not see why a column of whole numbers suddenly is one of floats."""
    found = held(pd.DataFrame({"n": [1, None]}), {"n": "int64"})[2]["n"]["found"]
    assert found == "float64 (pandas has whole numbers with nulls so; dtype 'Int64' keeps them whole)"
    assert held(pd.DataFrame({"n": pd.array([1, None], dtype="Int64")}), {"n": "int64"})[1]["passed"]


@pytest.mark.parametrize("value", [[1, 2], {"a": [1]}, None, pd.Series([1]), pl.Series([1]), pl.LazyFrame({"a": [1]})])
def test_what_is_no_table_fails(value):
    """A contract on a function that gives a list would pass, and mean nothing."""
    kept, first, others = held(value, {"a": "int64"})
    assert kept is value
    assert first["expected"] == "a pandas or polars DataFrame, or a pyarrow Table"
    assert not first["passed"]
    assert others == {}


def test_two_columns_of_one_name_fail():
    """Which of the two the contract means could not be said."""
    _, first, _ = held(pa.table([[1], [2]], names=["a", "a"]), {"a": "int64"})
    assert first["found"] == "two columns named 'a'"
    assert not first["passed"]


def test_names_with_newlines_make_no_second_line():
    """A column's name could forge lines of a log."""
    _, first, others = held(pd.DataFrame({"a\nb": [1]}), {"a": "int64"})
    assert "\n" not in first["found"]
    assert all("\n" not in one["found"] + one["expected"] for one in others.values())


def test_a_thousand_columns_at_fault_are_told_of_in_a_hundred():
    """A table of the wrong kind would fill the record with what is wrong with it."""
    value = pa.table({f"c{at}": [1] for at in range(1000)})
    _, first, others = held(value, {"a": "int64"}, extra="evolve")
    assert len(others) == 100
    assert next(iter(others)) == "a"
    assert first["details"]["columns_not_told"] == 901


def test_no_library_is_loaded_for_a_value_that_is_no_table():
    """A job that makes a number would load three table libraries on its host."""
    code = (
        "import sys; from drawbar.agent.contracting import apply; apply(1, {});"
        "print([one for one in ('pandas', 'polars', 'pyarrow', 'numpy') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
