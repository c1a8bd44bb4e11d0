"""Arrays and tensors come back exactly, are readable by the libraries' own readers, and are never copied needlessly."""

from __future__ import annotations

import io

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from drawbar.agent.encoding import EncodingError, decode, encode


def round_trip(value):
    made = encode(value)
    return made, decode(bytearray(made.join()), made.format, made.type, made.ext)


def assert_same_array(left, right):
    assert type(left) is type(right)
    assert left.dtype == right.dtype
    assert left.shape == right.shape
    assert left.tobytes() == right.tobytes()


DTYPES = (
    arrays.scalar_dtypes()
    | arrays.byte_string_dtypes()
    | arrays.unicode_string_dtypes()
    | arrays.array_dtypes(arrays.scalar_dtypes())
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_every_array_comes_back_as_it_was(data):
    """Byte order, units of time, structures, empty and zero-dimensional arrays all survive."""
    value = data.draw(arrays.arrays(data.draw(DTYPES), arrays.array_shapes(min_dims=0, min_side=0, max_side=4)))
    made, back = round_trip(value)
    assert_same_array(back, value)
    assert (
        made.format == "npy" or value.dtype.names
    )  # names of fields can be such that npy's header has no place for them
    if made.format == "npy":
        assert_same_array(np.load(io.BytesIO(made.join())), value)


def test_the_order_in_memory_is_kept():
    """A Fortran array comes back as one; a view with gaps as a plain C array of the same values."""
    fortran = np.asfortranarray(np.arange(6).reshape(2, 3))
    assert round_trip(fortran)[1].flags.f_contiguous
    gaps = np.arange(20)[::3]
    assert_same_array(round_trip(gaps)[1], gaps.copy())


@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.1),
        np.int8(-1),
        np.bool_(1),
        np.datetime64("2026-11-21", "s"),
        np.str_("é"),
        np.bytes_(b"a"),
    ],
)
def test_scalars_come_back_as_scalars(value):
    """A numpy scalar is not turned into an array or into Python's own number."""
    made, back = round_trip(value)
    assert made.format == "npy"
    assert type(back) is type(value)
    assert back == value
    assert back.dtype == value.dtype


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, "a"], object),
        np.ma.masked_array([1, 2], [True, False]),
        np.zeros(2, np.dtype("f8", metadata={"unit": "m"})),
        np.array(["a"], np.dtypes.StringDType()),
        np.rec.array([(1,)], dtype=[("a", "i4")]),
        np.str_("ends in\0"),
        np.zeros(3, "V0"),
    ],
    ids=["objects", "masked", "metadata", "strings", "records", "nul", "nothing"],
)
def test_what_npy_would_change_is_pickled(value):
    """Objects, subclasses and dtypes that npy does not know are not written as npy."""
    made, back = round_trip(value)
    assert made.format == "pickle"
    assert type(back) is type(value)


def test_bytes_between_fields_are_no_part_of_the_digest():
    """Two structures with equal fields are equal, whatever lay between the fields in memory."""
    aligned = np.dtype([("a", "i1"), ("b", "f8"), ("c", [("d", "i1"), ("e", "i4")])], align=True)
    one = np.frombuffer(b"\0" * aligned.itemsize * 2, aligned).copy()
    other = np.frombuffer(b"\xff" * aligned.itemsize * 2, aligned).copy()
    for array in (one, other):
        array["a"], array["b"], array["c"]["d"], array["c"]["e"] = 1, 2, 3, 4
    assert encode(one).digest() == encode(other).digest()
    assert np.array_equal(round_trip(other)[1], one)


def test_large_arrays_are_neither_copied_to_write_nor_to_read():
    """Parts are views of the array's own memory, and what is read lies in the buffer that was given."""
    value = np.arange(1000.0)
    assert np.shares_memory(np.frombuffer(encode(value).parts[1]), value)
    assert np.shares_memory(np.frombuffer(encode({"a": value}).parts[1]), value)
    for made in (encode(value), encode({"a": value})):
        data = bytearray(made.join())
        back = decode(data, made.format, made.type)
        assert np.shares_memory(back if made.format == "npy" else back["a"], np.frombuffer(data, "u1"))


@pytest.mark.parametrize("value", [np.arange(3), {"a": np.arange(3)}, {"a": np.array(["x"])}])
@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_what_was_read_can_be_changed(value, buffer):
    """A function that changes its input in place works on a reused value as on a fresh one, from whatever buffer."""
    made = encode(value)
    back = decode(buffer(bytes(made.join())), made.format, made.type)
    array = back if made.format == "npy" else back["a"]
    array[0] = array[-1]
    assert array[0] == array[-1]


NATIVE = ["bool", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", "c8"]


def test_dicts_of_arrays_are_safetensors_that_the_library_reads():
    """Every dtype that it knows, in any order of names and sizes, reads the same by safetensors itself."""
    value = {f"{dtype}é": np.ones((2, 3), dtype) * 3 for dtype in NATIVE} | {
        "0d": np.array(1.5),
        "": np.ones((0, 2)),
    }
    made, back = round_trip(value)
    theirs = safetensors.numpy.load(bytes(made.join()))
    assert made.format == "safetensors"
    assert list(back) == list(value)
    assert set(theirs) == set(value)
    for name, array in value.items():
        assert_same_array(back[name], array)
        assert_same_array(theirs[name], array)
        assert back[name].ctypes.data % array.itemsize == 0


def test_files_of_the_safetensors_library_are_read():
    """A file that others wrote is read as it is, without knowing which type it had."""
    value = {"b": np.arange(3, dtype="i2"), "a": np.ones((2, 2))}
    back = decode(bytearray(safetensors.numpy.save(value, {"format": "np"})), "safetensors", "")
    assert set(back) == {"a", "b"}
    assert_same_array(back["b"], value["b"])


@pytest.mark.parametrize(
    "value",
    [
        {"a": np.array(["x"]), "b": np.ones(1)},
        {"a": np.ones(1, ">f8")},
        {"a": np.ones(1, "c16")},
        {"a": np.zeros(1, "M8[D]")},
        {"__metadata__": np.ones(1)},
    ],
    ids=["text", "order", "complex", "time", "name"],
)
def test_other_dicts_of_arrays_are_npz_that_numpy_reads(value):
    """What safetensors has no name for is written as npz, and comes back with its order and dtypes."""
    made, back = round_trip(value)
    assert made.format == "npz"
    assert list(back) == list(value)
    with np.load(io.BytesIO(made.join())) as theirs:
        for name, array in value.items():
            assert_same_array(back[name], array)
            assert_same_array(theirs[name], array)


def test_a_dict_that_is_not_only_arrays_names_the_other():
    """Asked for by name, the format says which item does not fit."""
    with pytest.raises(EncodingError, match="does not fit the safetensors format") as caught:
        encode({"a": np.ones(1), "b": [1]}, "safetensors")
    assert caught.value.found == "list at 'b'"
    with pytest.raises(EncodingError) as caught:
        encode({"a": np.ones(1, "c16")}, "safetensors")
    assert caught.value.found == "dtype complex128 at 'a'"


def test_tensors_come_back_as_tensors():
    """A dict of tensors, a model's state and one tensor come back with type, dtype, order and notes."""
    torch = pytest.importorskip("torch", reason="torch is left out of the test environment for its size")
    state = torch.nn.BatchNorm1d(3).state_dict()
    made, back = round_trip(state)
    assert made.format == "safetensors"
    assert type(back) is type(state)
    assert back._metadata == state._metadata
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    value = {"b": torch.ones(2, 3).bfloat16(), "a": torch.arange(3), "t": torch.rand(2, 3).T, "s": torch.tensor(1.5)}
    made, back = round_trip(value)
    assert list(back) == list(value)
    assert all(back[name].dtype == tensor.dtype and torch.equal(back[name], tensor) for name, tensor in value.items())
    assert torch.equal(round_trip(value["t"])[1], value["t"])
    assert round_trip(torch.ones(2, requires_grad=True))[0].format == "pickle"
