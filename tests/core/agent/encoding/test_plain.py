"""Plain data, text, bytes and pickles come back exactly, or are not written so."""

from __future__ import annotations

import enum
import math
import pickle
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drawbar.agent.encoding import EncodingError, decode, encode
from drawbar.agent.encoding.pandas_same import same
from drawbar.agent.encoding.pickles import FromHostMemory

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
PLAIN = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
ANYTHING = st.recursive(
    SCALARS | st.binary() | st.complex_numbers(allow_nan=False) | st.frozensets(st.integers() | st.text()),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


def round_trip(value):
    made = encode(value)
    return made, decode(bytearray(made.join()), made.format, made.type, made.ext)


@settings(max_examples=300, deadline=None)
@given(PLAIN)
def test_plain_data_comes_back_as_it_was(value):
    """Type, order, -0.0, NaN and large ints survive json and text."""
    made, back = round_trip(value)
    assert same(back, value)
    assert made.format in ("json", "text")


@settings(max_examples=300, deadline=None)
@given(ANYTHING)
def test_anything_made_of_builtins_comes_back_as_it_was(value):
    """Whichever format is chosen, nothing turns into something else."""
    _, back = round_trip(value)
    assert same(back, value)


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [Colour.RED, Name("a"), [Colour.RED], {"a": Name("b")}, {Name("a"): 1}, {None: 1}, [(1,)], "\ud800", 10**5000],
    ids=range(9),
)
def test_what_json_would_change_is_pickled(value):
    """Subclasses, tuples, other keys, lone surrogates and endless ints are not written as json or text."""
    made, back = round_trip(value)
    assert made.format == "pickle"
    assert same(back, value)


def test_a_list_that_holds_itself_is_pickled():
    """A circle neither hangs nor becomes json."""
    value = [1]
    value.append(value)
    made, back = round_trip(value)
    assert made.format == "pickle"
    assert back[1] is back


def test_numbers_beyond_json_are_written_as_python_does():
    """NaN and infinities stay floats; the file says NaN and Infinity."""
    made, back = round_trip([math.inf, -math.inf, math.nan])
    assert bytes(made.join()) == b"[Infinity, -Infinity, NaN]"
    assert same(back, [math.inf, -math.inf, math.nan])


def test_sets_are_read_as_sets_by_any_pickle_reader():
    """The order in which a set is written shows in its bytes only."""
    value = ({"b", "a"}, [frozenset({2, 1})], {"k": set()})
    made = encode(value)
    assert pickle.loads(made.join()) == value
    assert type(pickle.loads(made.join())[1][0]) is frozenset


def test_one_object_twice_stays_one_object():
    """Ordering sets in a pickle does not take apart what is shared."""
    shared = [{1, 2}]
    _, back = round_trip((shared, shared))
    assert back[0] is back[1]
    assert back[0] == shared


def test_what_cannot_be_pickled_says_why():
    """The error of a value that no format holds names its type and what to return instead."""
    with pytest.raises(EncodingError) as caught:
        encode(x for x in "a")
    assert caught.value.what == "A value of type generator cannot be pickled."
    assert "cannot pickle 'generator' object" in caught.value.found
    assert caught.value.todo == "return plain data, arrays, tables, text, bytes or a Path instead"


def test_a_pickle_of_a_missing_module_names_it():
    """Who lacks the code of a pickled value is told which module to get."""
    with pytest.raises(EncodingError, match="needs code that cannot be imported here") as caught:
        decode(b"cnowhere_at_all\nThing\n.", "pickle", "nowhere_at_all.Thing")
    assert "'nowhere_at_all'" in caught.value.todo


def test_tensors_in_a_pickle_are_written_from_host_memory(tmp_path):
    """A checkpoint with tensors beside plain values comes back, parameters as parameters that share what they shared."""
    torch = pytest.importorskip("torch", reason="torch is left out of the test environment for its size")
    weight = torch.nn.Parameter(torch.ones(3))
    value = {"epoch": 3, "w": weight, "again": weight, "plain": torch.arange(2)}
    with (tmp_path / "file").open("wb") as file:
        FromHostMemory(file, 5).dump(value)
    back = pickle.loads((tmp_path / "file").read_bytes())
    assert type(back["w"]) is torch.nn.Parameter
    assert back["w"] is back["again"]
    assert torch.equal(back["plain"], value["plain"])


def test_bytes_are_not_copied():
    """A large bytes value goes into the store, and comes from it, without a second copy in memory."""
    value = b"x" * 1000
    assert encode(value).parts[0] is value
    assert decode(value, "bytes", "bytes") is value
    data = bytearray(value)
    assert decode(data, "bytes", "bytearray") is data
    assert sys.getrefcount(value) < 10
