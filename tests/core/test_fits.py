"""Types across edges: what fits, what does not, and that doubt is the user's."""

from __future__ import annotations

import collections.abc as cabc
import typing
from typing import Annotated, Any, Generic, Literal, NewType, Optional, Protocol, TypeVar, Union

import pandas as pd
import pandera.pandas as pa
import pandera.polars as pp
import polars as pl
import pytest
from pandera.typing import DataFrame, Series
from pandera.typing.polars import DataFrame as PolarsFrame

from drawbar import fits

T = TypeVar("T")
Bound = TypeVar("Bound", bound=int)
UserId = NewType("UserId", int)


class Base: ...


class Derived(Base): ...


class Box(Generic[T]): ...


class Model(pa.DataFrameModel):
    a: int


class Other(pp.DataFrameModel):
    a: int


class HasLength(Protocol):
    def __len__(self) -> int: ...


FITTING = [
    (int, int),
    (Derived, Base),
    (bool, int),
    (int, float),
    (int, Any),
    (Any, int),
    (int, object),
    (int, int | None),
    (int, Optional[int]),  # noqa: UP045
    (int | str, str | int | float),
    (Union[int, str], object),  # noqa: UP007
    (None, int | None),
    (list[int], list),
    (list, list[int]),
    (list[int], cabc.Sequence[float]),
    (list[Derived], cabc.Iterable[Base]),
    (dict[str, int], cabc.Mapping[str, float]),
    (tuple[int, str], tuple[float, str]),
    (tuple[int, ...], cabc.Sequence[int]),
    (tuple[int, int], tuple[int, ...]),
    (Literal["a"], str),
    (Literal["a"], Literal["a", "b"]),
    (Annotated[int, "meters"], float),
    (UserId, int),
    (int, T),
    (bool, Bound),
    (list[int], HasLength),
    (pd.DataFrame, pd.DataFrame),
    (typing.List[int], list[int]),  # noqa: UP006
    (Box[int], Box[int]),
    (pd.DataFrame, DataFrame[Model]),
    (DataFrame[Model], pd.DataFrame),
    (DataFrame[Model], DataFrame[Other]),
    (DataFrame, pd.DataFrame | None),
    (PolarsFrame[Other], pl.DataFrame),
    (pd.Series, Series[int]),
    (Model, pd.DataFrame),
    (pl.DataFrame, Other),
    (list[pd.DataFrame], list[DataFrame[Model]]),
    (Annotated[pd.DataFrame, Model], DataFrame[Model]),
    ("unresolved", int),
    (cabc.Callable[[int], str], cabc.Callable[..., Any]),
]
UNFIT = [
    (str, int),
    (Base, Derived),
    (float, int),
    (int | None, int),
    (int | str, int),
    (list[str], list[int]),
    (dict[str, str], dict[str, int]),
    (tuple[int, str], tuple[int, int]),
    (tuple[int, ...], tuple[int, int]),
    (Literal["c"], Literal["a", "b"]),
    (str, Literal["a"]),
    (str, Bound),
    (int, HasLength),
    (pd.DataFrame, pl.DataFrame),
    (list[pd.DataFrame], list[pl.DataFrame]),
    (pl.DataFrame, DataFrame[Model]),
    (PolarsFrame[Other], DataFrame[Model]),
    (Series[int], DataFrame[Model]),
    (int, DataFrame[Model]),
    (Box[str], Box[int]),
    (None, int),
]


@pytest.mark.parametrize(("made", "wanted"), FITTING)
def test_fits(made, wanted):
    """What may be passed by PEP 484, or cannot be judged, is no error."""
    assert fits.fits(made, wanted)


@pytest.mark.parametrize(("made", "wanted"), UNFIT)
def test_does_not_fit(made, wanted):
    """What may not be passed is seen, at any depth of the type."""
    assert not fits.fits(made, wanted)


def test_a_generator_of_rows_leaves_a_list():
    """A function that yields makes the list of what it yields, so a list is what its consumer may ask for."""

    def rows() -> cabc.Iterator[int]:
        yield 1

    assert fits.made_by(rows.__annotations__["return"], rows) == list[int]
    assert fits.fits(list[int], list[float])


def test_text_that_names_nothing_here_is_any():
    """A name imported for type checkers only cannot be judged, and is not an error."""

    def late(x: Nowhere): ...  # noqa: F821

    assert fits.resolve(late.__annotations__["x"], late) is Any
