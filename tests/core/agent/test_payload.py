"""The payload container: a pickle whose buffers lie beside it."""

import pickle

import numpy as np
import pytest

from drawbar.agent import payload


def test_arrays_come_back_without_a_copy():
    """A big argument would be copied on its way, or come back read-only."""
    array = np.arange(100_000.0)
    parts = payload.encode({"a": array, "b": [1, "x"], "c": np.zeros(3, "u1")})
    assert any(isinstance(part, memoryview) and part.nbytes == array.nbytes for part in parts)
    data = bytearray(b"".join(parts))
    value = payload.decode(data)
    np.testing.assert_array_equal(value["a"], array)
    assert value["b"] == [1, "x"]
    value["a"][0] = 5.0
    assert np.frombuffer(data, "f8", 1, offset=_offset(value["a"], data))[0] == 5.0


def _offset(array, data):
    return array.ctypes.data - np.frombuffer(data, "u1").ctypes.data


def test_buffers_are_aligned():
    """Arrays would lie where vector instructions are slow."""
    _, buffers = payload.split(b"".join(payload.join(b"12345", [memoryview(b"a"), memoryview(b"bc")])))
    whole = np.frombuffer(buffers[0].obj, "u1").ctypes.data
    assert [(np.frombuffer(piece, "u1").ctypes.data - whole) % payload.ALIGNMENT for piece in buffers] == [0, 0]
    assert [bytes(piece) for piece in buffers] == [b"a", b"bc"]


@pytest.mark.parametrize("cut", [0, 3, 7, 15, 20, 40, -1])
def test_a_cut_container_is_refused(cut):
    """Half a payload would be read as a whole one."""
    data = b"".join(payload.encode(np.arange(10)))
    with pytest.raises(payload.PayloadError):
        payload.decode(data[:cut])


def test_huge_lengths_allocate_nothing():
    """A container could make its reader allocate what it says."""
    data = b"dBp1" + b"\xff" * 12
    with pytest.raises(payload.PayloadError, match="not whole"):
        payload.split(data)


def test_cloudpickle_sends_functions_by_value():
    """A function defined in a function could not travel."""
    data = b"".join(payload.encode(lambda x: x + 1, payload.dumps))
    assert payload.is_payload(data)
    assert payload.decode(data)(1) == 2
    assert not payload.is_payload(pickle.dumps(1))
