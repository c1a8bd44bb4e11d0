"""Containers of many values: exact, lazy, the same for the same, and safe to read whatever their bytes are."""

from __future__ import annotations

import collections.abc
import pickle
import random
import struct

import numpy as np
import pandas as pd
import pytest

from drawbar.agent.encoding import EncodingError, decode, encode
from drawbar.agent.encoding.base import ITERATOR, LAZY
from drawbar.agent.encoding.items import Item, Items, Writer, item_of


def written(values, *, plain=False):
    with Writer(plain=plain) as made:
        for value in values:
            made.add(item_of(encode(value)))
        return made.finish()


def test_several_tables_by_name_need_no_pickle():
    """A function that returns {"train": …, "test": …} can be read where pickles are not trusted."""
    value = {"train": pd.DataFrame({"a": [1, 2]}), "test": pd.DataFrame({"a": [3]}), "note": "é", "k": [1, None]}
    made = encode(value, trust="data")
    again = decode(bytearray(made.join()), made.format, made.type, trust="data")
    assert (made.format, made.ext, made.type, made.rows) == ("items", ".items", "dict", None)
    assert list(again) == list(value)
    pd.testing.assert_frame_equal(again["train"], value["train"])
    assert (again["note"], again["k"]) == ("é", [1, None])


@pytest.mark.parametrize(
    "value",
    [
        {"a": np.ones(1), "b": {1}},
        {"a": np.ones(1), 2: 3},
        {"a": np.ones(1), "b": {"c": (1,)}},
        {f"k{n}": (np.float64(n), n) for n in range(3)},
    ],
)
def test_a_dict_that_no_data_format_holds_is_pickled_as_before(value):
    """Sets, tuples and other keys come back as they were."""
    made = encode(value)
    assert made.format == "pickle"
    assert str(decode(made.join(), "pickle", "dict")) == str(value)
    with pytest.raises(EncodingError) as caught:
        encode(value, "items", "data")
    assert caught.value.found


def test_a_dict_that_holds_itself_ends():
    """No value makes the encoder run for ever."""
    value = {"a": np.ones(1)}
    value["self"] = value
    assert encode(value).format == "pickle"


def test_the_place_of_the_odd_value_is_told():
    """Whoever may not pickle learns where the value lies that does not fit."""
    with pytest.raises(EncodingError) as caught:
        encode([b"x", {"a": [1, (2,)]}], "items", "data")
    assert caught.value.found == "tuple at value[1]['a'][1]"


def test_every_kind_of_item_comes_back():
    """Arrays, tables, text, bytes, plain data and pickles can stand side by side, in order."""
    values = [1, "é", b"\0", [1, {"a": None}], np.arange(5.0), {"x": np.ones(2)}, (1, 2), bytearray(b"b")]
    made = written(values)
    for again in (decode(bytearray(made.join()), "items", "list"), decode(made.join(), "items", "list")):
        assert [type(one) for one in again] == [type(one) for one in values]
        assert str(again) == str(values)
    again[4][0] = 9.0  # what was read can be written to, as what was made
    assert again[4][0] == 9.0


def test_a_list_of_plain_data_is_json_that_people_can_read():
    """A fan-out over texts is, in the store, the very file that a function returning the list would have left."""
    values = [1, "é", [None, "x"], {"a": 1.5}, "", True, float("inf")]
    assert written(values, plain=True).join() == encode(values).join()
    assert written([], plain=True).join() == encode([]).join()
    assert written(values, plain=True).rows == len(values)


@pytest.mark.parametrize("last", [b"odd", "x" * (17 << 20)])
def test_what_is_no_plain_list_after_all_loses_nothing(last):
    """Bytes after a thousand texts, or more than 16 MiB of them, make it a container with all that came before."""
    values = [*(f'"{n}' for n in range(1000)), {"a": [1]}, last]
    made = written(values, plain=True)
    assert made.format == "items"
    assert decode(made.join(), "items", "list") == values
    assert made.digest() == written(values).digest()


def test_items_are_read_one_by_one():
    """A parameter annotated Sequence takes one item at a time into memory, and none of them twice the same."""
    values = [np.full(3, n) for n in range(4)]
    items = decode(written(values).join(), "items", LAZY)
    assert isinstance(items, collections.abc.Sequence)
    assert (len(items), items[-1][0], [one[0] for one in items[1:3]]) == (4, 3, [1, 2])
    items[0][0] = 7
    assert items[0][0] == 0
    assert [int(one[0]) for one in decode(written(values).join(), "items", ITERATOR)] == [0, 1, 2, 3]
    with pytest.raises(IndexError):
        items[4]


def test_lazy_items_can_be_returned_and_pickled():
    """A function may hand on what it was given."""
    items = Items(written([b"a", b"b"]).join())
    made = encode(items)
    assert (made.format, decode(made.join(), "items", "list")) == ("items", [b"a", b"b"])
    assert list(pickle.loads(pickle.dumps(items))) == [b"a", b"b"]


def test_pickled_items_are_refused_where_pickles_are_not_trusted():
    """A pickle inside of a container is a pickle."""
    data = written([b"a", {1}]).join()
    for kind in ("list", LAZY):
        with pytest.raises(EncodingError, match="pickles are not trusted here"):
            decode(data, "items", kind, trust="data")


def test_a_container_larger_than_memory_is_a_file():
    """The whole is one mapped part, and its digest that of its bytes."""
    block = random.Random(1).randbytes(1 << 20)
    with Writer() as writer:
        for _ in range(8):
            writer.add(Item("bytes", "bytes", ".bin", block))
        made = writer.finish()
    assert isinstance(made.parts[0], memoryview)
    assert [one == block for one in Items(made.join())] == [True] * 8


def test_damaged_containers_give_an_error_or_values():
    """Whatever happened to the bytes, reading ends with values or with an EncodingError."""
    whole = bytes(encode({"a": np.ones(3), "b": "é", "c": {"d": b"x"}}).join())
    chance = random.Random(5)
    refused = 0
    for _ in range(1500):
        data = bytearray(whole)
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)) :]
        else:
            for _ in range(chance.randrange(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            decode(data, "items", chance.choice(["dict", "list"]), trust="data")
        except EncodingError:
            refused += 1
    assert refused > 500


def test_overlapping_items_and_deep_nesting_are_refused():
    """A small file cannot stand for a huge value: its items follow one another, and do not nest without end."""
    table = b'{"heads":[["bytes","bytes",".bin"]],"keys":null}'
    ends = [104 << 16, 4 << 16, 104 << 16]
    data = b"dBi1" + bytes(100) + struct.pack("!3Q", *ends) + table + struct.pack("!QQQ4s", 104, 3, len(table), b"dBi1")
    with pytest.raises(EncodingError, match="cannot be read as items"):
        decode(data, "items", "list")
    deep = written([b"x"])
    for _ in range(2000):
        with Writer() as made:
            made.add(item_of(deep))
            deep = made.finish()
    with pytest.raises(EncodingError, match="cannot be read as items"):
        decode(deep.join(), "items", "list")
