"""pandera schemas in annotations: which are found, and what their failures say."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Annotated, Any, Optional

import pandas as pd
import pandera.pandas as pa
import pandera.polars as pp
import polars as pl
import pytest
from pandera.typing import DataFrame, Series
from pandera.typing.polars import DataFrame as PolarsFrame

from drawbar.agent import schemas

if TYPE_CHECKING:
    from somewhere import Missing


class Model(pa.DataFrameModel):
    a: int = pa.Field(ge=0)
    b: str

    class Config:
        strict = True


class PolarsModel(pp.DataFrameModel):
    a: int = pp.Field(ge=0)


SCHEMA = pa.DataFrameSchema({"a": pa.Column(int)}, name="mine")
GOOD = pd.DataFrame({"a": [1], "b": ["x"]})
BAD = pd.DataFrame({"a": [-1, 2, -3], "b": ["x", None, "y"]})


def frame() -> DataFrame[Model]: ...
def model() -> Model: ...
def annotated() -> Annotated[pd.DataFrame, "text", SCHEMA]: ...
def annotated_model() -> Annotated[pd.DataFrame, Model]: ...
def optional() -> Optional[DataFrame[Model]]: ...  # noqa: UP045  # both ways to write it
def union() -> DataFrame[Model] | None: ...
async def awaited() -> DataFrame[Model]: ...
def plain() -> pd.DataFrame: ...
def nothing(): ...
def bare() -> DataFrame: ...
def polars() -> PolarsFrame[PolarsModel]: ...
def unresolved(one: Missing, two: DataFrame[Model]) -> DataFrame[Model]: ...
def takes(one: DataFrame[Model], two: Any, three: Annotated[pd.DataFrame, SCHEMA] = None): ...
def series() -> Annotated[pd.Series, pa.SeriesSchema(int, pa.Check.ge(0), name="s")]: ...
def pandera_series() -> Series[int]: ...


@pytest.mark.parametrize("fn", [frame, model, annotated, annotated_model, optional, union, awaited, unresolved])
def test_schemas_are_found(fn):
    """A schema in one of the ways that people write it would not be looked at."""
    (found,) = schemas.of_value(fn, GOOD)
    assert (found["name"], found["passed"], found["blocking"]) == ("schema", True, True)
    assert not all(one["passed"] for one in schemas.of_value(fn, pd.DataFrame({"a": ["x"], "b": [1]})))


@pytest.mark.parametrize("fn", [plain, nothing, bare, pandera_series, len, None, lambda: 1])
def test_no_schema_no_outcome(fn):
    """A value without a schema would be told to have one."""
    assert schemas.of_value(fn, GOOD) == []


@pytest.mark.parametrize("fn", [optional, union])
def test_none_where_none_is_allowed(fn):
    """An optional table that is None would fail."""
    assert schemas.of_value(fn, None) == []
    assert not schemas.of_value(frame, None)[0]["passed"]


def test_all_failures_are_told():
    """A person would mend one column, and meet the next failure an hour later."""
    found = schemas.of_value(frame, BAD)
    assert [(one["column"], one["expected"], one["found"], one["details"]["failures"]) for one in found] == [
        ("a", "greater_than_or_equal_to(0)", "2 values not so: -1, -3", 2),
        ("b", "not_nullable", "1 value not so: nan", 1),
    ]
    assert not any(one["passed"] for one in found)


def test_columns_missing_and_too_many():
    """A column that is not there, or should not be, would be told by a riddle."""
    found = schemas.of_value(frame, pd.DataFrame({"a": [1], "c": [2]}))
    assert [(one["column"], one["expected"], one["found"]) for one in found] == [
        ("c", "only the columns of Model", "a column c"),
        ("b", "a column b", "no such column"),
    ]


def test_wrong_types():
    """The type that was expected and the one that was found would not be told."""
    (found,) = schemas.of_value(annotated, pd.DataFrame({"a": [1.5]}))
    assert (found["column"], found["expected"], found["found"]) == ("a", "dtype('int64')", "float64")
    (found,) = schemas.of_value(frame, [1])
    assert (found["passed"], found["expected"]) == (False, "as Model says")
    assert found["found"].startswith("TypeError: expected pd.DataFrame, got <class 'list'>")


def test_polars():
    """Schemas of polars would be looked at with pandas' eyes."""
    assert schemas.of_value(polars, pl.DataFrame({"a": [1]}))[0]["passed"]
    (found,) = schemas.of_value(polars, pl.DataFrame({"a": [-1, 3, -2]}))
    assert (found["column"], found["expected"], found["found"]) == (
        "a",
        "greater_than_or_equal_to(0)",
        "2 values not so: -1, -2",
    )
    (found,) = schemas.of_value(polars, GOOD)
    assert found["found"].startswith("BackendNotFoundError")


def test_series():
    """A series has a schema as well."""
    assert schemas.of_value(series, pd.Series([1], name="s"))[0]["passed"]
    (found,) = schemas.of_value(series, pd.Series([-1], name="s"))
    assert found["found"] == "1 value not so: -1"


def test_a_schema_whose_check_raises():
    """A fault in a schema's own check would lose the value."""

    def explodes(frame):
        raise ZeroDivisionError("none")

    def made() -> Annotated[pd.DataFrame, pa.DataFrameSchema(checks=pa.Check(explodes))]: ...

    made.__annotations__["return"] = Annotated[pd.DataFrame, pa.DataFrameSchema(checks=pa.Check(explodes))]
    (found,) = schemas.of_value(made, GOOD)
    assert not found["passed"]
    assert "ZeroDivisionError" in found["found"]


def test_inputs():
    """The wrong parameter would be blamed, or one without a schema be held to one."""
    found = schemas.of_inputs(takes, {"one": BAD, "two": BAD, "three": GOOD})
    assert [(one["name"], one["passed"]) for one in found] == [
        ("schema of one", False),
        ("schema of one", False),
        ("schema of three", True),
    ]
    assert schemas.of_inputs(nothing, {}) == []


def test_values_are_not_changed():
    """A check that coerces would make another value than the function returned."""

    def coerced() -> Annotated[pd.DataFrame, 1]: ...

    coerced.__annotations__["return"] = Annotated[
        pd.DataFrame, pa.DataFrameSchema({"a": pa.Column(float, coerce=True)})
    ]
    value = pd.DataFrame({"a": [1]})
    assert schemas.of_value(coerced, value)[0]["passed"]
    assert value["a"].dtype == "int64"


def test_pandera_is_not_loaded_for_it():
    """A job without schemas would pay half a second for a library that it does not use."""
    code = (
        "import sys, pandas as pd\nfrom drawbar.agent import examine\ndef f() -> pd.DataFrame: ...\n"
        "examine.examine(pd.DataFrame(), {'checks': [], 'profile': True}, [], f)\n"
        "print('pandera' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
