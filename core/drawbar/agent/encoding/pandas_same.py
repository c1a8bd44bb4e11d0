"""Whether a pandas frame that was read is the one that was written: index, names, dtypes, and what objects it holds.

Both frames come from `pandas_tables`, which refuses to write what would come back otherwise; nothing goes on from here
but that refusal, with the name of the column.
"""

from __future__ import annotations

import math
from typing import Any

from .tables import refuse_column

_SHORT = 60
_COMPARED_AT_ONCE = frozenset({str, bytes, int, bool, type(None)})


def compare(value: Any, frame: Any, back: Any) -> None:
    """Raise EncodingError that names the first thing in which `back`, read from the file, differs from `frame`."""
    for axis, left, right in (("index", frame.index, back.index), ("column names", frame.columns, back.columns)):
        changed = _index_change(left, right)
        if changed:
            raise refuse_column(value, None, f"{axis}: {changed}")
    for position, name in enumerate(frame.columns):
        changed = _column_change(frame.iloc[:, position], back.iloc[:, position])
        if changed:
            raise refuse_column(value, name, changed)
    if not same(frame.attrs, back.attrs):
        raise refuse_column(value, None, f"attrs that are no plain data: {_short(frame.attrs)}")


def _dtype_change(left: Any, right: Any) -> str:
    if left != right:
        return f"{left} would become {right}"
    if left.name != "category" or left.ordered != right.ordered:
        return ""
    changed = _index_change(left.categories, right.categories)
    return f"its categories: {changed}" if changed else ""


def _index_change(left: Any, right: Any) -> str:
    if type(left) is not type(right):
        return f"{type(left).__name__} would become {type(right).__name__}"
    if left.nlevels > 1:
        pairs = zip(left.levels, right.levels)
        changed = next((_dtype_change(one.dtype, two.dtype) for one, two in pairs if one.dtype != two.dtype), "")
    else:
        changed = _dtype_change(left.dtype, right.dtype)
    if changed:
        return changed
    if list(left.names) != list(right.names) or not left.equals(right):
        return "its values would change"
    if getattr(left, "freq", None) != getattr(right, "freq", None):
        return f"the frequency {left.freq!r} would be lost"
    return "" if left.dtype.name != "object" or same(list(left), list(right)) else "its values would change"


def _column_change(left: Any, right: Any) -> str:
    changed = _dtype_change(left.dtype, right.dtype)
    if changed:
        return changed
    if left.dtype.name == "category" and not (left.cat.codes.to_numpy() == right.cat.codes.to_numpy()).all():
        return "its values would change"
    if left.dtype.name != "object":
        return ""
    one, two = list(left), list(right)
    if same(one, two):
        return ""
    index = next(index for index, pair in enumerate(zip(one, two)) if not same(*pair))
    return f"{_short(one[index])} would become {_short(two[index])} in row {index}"


def _short(cell: Any) -> str:
    text = repr(cell)
    return f"{text if len(text) <= _SHORT else text[:_SHORT] + '…'} ({type(cell).__name__})"


def same(left: Any, right: Any) -> bool:
    """Whether two cells are the same in type and value, at any depth; NaN is NaN.

    >>> same([1, float("nan")], [1, float("nan")]), same([1], [1.0]), same([True], [1])
    (True, False, False)
    """
    kind = type(left)
    if kind is not type(right):
        equal = False
    elif kind is list or kind is tuple:
        equal = _same_items(left, right)
    elif kind is dict:
        equal = list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    elif kind.__name__ == "ndarray":
        equal = left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    else:
        equal = left == right or (kind is float and math.isnan(left) and math.isnan(right))
    return bool(equal)


def _same_items(left: Any, right: Any) -> bool:
    """The same for two lists or tuples; at C's speed where all elements are of a few plain types."""
    if len(left) != len(right):
        return False
    kinds = set(map(type, left))
    if kinds <= _COMPARED_AT_ONCE:
        return bool(left == right and list(map(type, left)) == list(map(type, right)))
    return all(map(same, left, right))
