"""Two profiles side by side, and several as one."""

from __future__ import annotations

import pytest

from drawbar.profiles import changed, nulls_in, together


def one(rows: int = 10, **columns):
    """A profile; a column is (type, nulls, min, max)."""
    names = ("type", "nulls", "min", "max")
    return {"rows": rows, "columns": {name: dict(zip(names, of, strict=True)) for name, of in columns.items()}}


def said(old, new):
    """What differs, in words."""
    return [str(shift) for shift in changed(old, new)]


def test_what_changed_is_told_from_the_whole_to_its_columns():
    """A person would have to compare two tables of figures by eye."""
    old = one(
        1000, a=("int64", 0, 1, 5), b=("double", 0, 0.5, 1.0), c=("string", 0, "a", "k"), gone=("bool", 0, False, True)
    )
    new = one(
        1200,
        a=("int64", 30, -1, 5),
        b=("string", 0, "0.5", "1"),
        c=("string", 0, "a", "z"),
        new=("date32[day]", 0, None, None),
    )
    assert said(old, new) == [
        "rows 1 000 → 1 200 (+20 %)",
        "nulls of a 0 → 30",
        "min of a 1 → -1",
        "type of b double → string",
        "max of c k → z",
        "column gone is gone",
        "column new is new (date32[day])",
    ]  # fmt: skip
    assert said(old, old) == []


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ((1000, 1001), "rows 1 000 → 1 001 (+0.1 %)"),
        ((1000, 10), "rows 1 000 → 10 (-99 %)"),
        ((0, 5), "rows 0 → 5"),
        ((5, None), "rows 5 → none"),
    ],
)
def test_rows_are_told_with_their_share_where_there_is_one(rows, text):
    """A loss of half the rows would look like any other pair of numbers."""
    old, new = one(rows[0]), one(rows[1])
    assert said(old, new) == [text]


def test_nothing_changed_against_what_is_not_known():
    """The first version would be shown as if everything had come anew."""
    assert said(None, one(3)) == said(one(3), None) == []
    bare = {"rows": 10, "columns": {"a": {"type": "int64"}}}
    assert said(bare, one(10, a=("int64", 3, 1, 2))) == []


def test_columns_beyond_the_first_do_not_come_and_go():
    """A column put in front of a very wide table would seem to have pushed another one out."""
    wide = {**one(1, a=("int64", 0, 1, 1)), "truncated": True}
    assert said(wide, one(1, b=("int64", 0, 1, 1))) == []


def test_parts_are_one_value_together():
    """Lineage of an asset that reads a month of partitions would tell the figures of one day."""
    days = [
        one(2, a=("int64", 1, 4, 9), b=("string", 0, "k", "m")),
        one(3, a=("int64", 2, None, None), b=("string", 1, "b", "c")),
    ]
    assert together(days) == one(5, a=("int64", 3, 4, 9), b=("string", 1, "b", "m"))
    assert days[0]["columns"]["a"]["nulls"] == 1
    assert together(iter([])) is None
    assert together([days[0], None]) is None


def test_columns_that_do_not_fit_together_are_left_out():
    """The greatest of a number and a text would be one of them by chance."""
    parts = [
        one(1, a=("int64", 0, 1, 1), b=("double", 0, 1.0, "inf")),
        one(1, a=("string", 0, "x", "x"), b=("double", 0, 2.0, 3.0)),
    ]
    assert together(parts) == one(2, b=("double", 0, 1.0, None))
    assert together([one(1, a=("int64", 0, 1, 1)), one(1)]) == one(2)


def test_nulls_are_counted_over_all_columns():
    """A version full of nulls could not be seen in the list of versions."""
    assert nulls_in(one(3, a=("int64", 1, 1, 1), b=("int64", 2, 1, 1))) == 3
    assert nulls_in(None) is None
    assert nulls_in(one(3)) is None
