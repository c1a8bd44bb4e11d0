"""Many values behind one parameter: each loaded when it is asked for, and not kept."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping

import pytest

from drawbar.agent.lazily import Partitioned


class _Value:
    """Something that can be seen to be gone."""


def _watched(count):
    loaded, alive = [], []

    def load(name):
        value = _Value()
        loaded.append(name)
        alive.append(weakref.ref(value))
        return value

    return Partitioned({f"p{n}": lambda n=n: load(f"p{n}") for n in range(count)}), loaded, alive


def test_nothing_is_loaded_until_it_is_asked_for():
    """Keys, length, membership and what is printed cost no reading."""
    many, loaded, _ = _watched(3)
    assert (list(many), len(many), "p1" in many, "x" in many, next(reversed(many))) == (
        ["p0", "p1", "p2"],
        3,
        True,
        False,
        "p2",
    )
    assert repr(many) == "Partitioned(3 values, 'p0' to 'p2')"
    assert (many != Partitioned({}), many != {}, bool(many)) == (True, True, True)
    assert loaded == []
    assert isinstance(many["p1"], _Value)
    assert loaded == ["p1"]


def test_a_loop_holds_one_value():
    """Going through a thousand partitions takes the memory of the one at hand."""
    many, loaded, alive = _watched(50)
    most = 0
    for value in many.values():
        assert isinstance(value, _Value)
        del value
        gc.collect()
        most = max(most, sum(ref() is not None for ref in alive))
    assert most == 0
    assert loaded == list(many)


def test_each_access_reads_again():
    """A value that a function changed in place is not what the next access gives."""
    many = Partitioned({"a": lambda: [1]})
    many["a"].append(2)
    assert many["a"] == [1]
    assert dict(many.items()) == {"a": [1]}
    assert many.get("b") is None
    with pytest.raises(KeyError):
        many["b"]


def test_it_is_a_mapping_that_an_annotation_can_name():
    """`Partitioned[pd.DataFrame]` works as an annotation, and functions that take a Mapping take it."""
    assert isinstance(Partitioned({}), Mapping)
    assert Partitioned[int].__origin__ is Partitioned
    assert (repr(Partitioned({})), repr(Partitioned({"a": list}))) == (
        "Partitioned(no values)",
        "Partitioned(1 value, 'a')",
    )
    with pytest.raises(TypeError):
        Partitioned({})["a"] = 1
