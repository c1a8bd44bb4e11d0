"""Bytes that are not what they say end in an EncodingError: no other error, no hang, no memory taken, no code run."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from drawbar.agent.encoding import EncodingError, decode, encode

VALUES = {
    "json": {"a": [1, {"b": None}], "c": "é"},
    "text": "héllo",
    "npy": np.arange(12.0).reshape(3, 4),
    "structure": np.zeros(3, [("a", "i4"), ("b", "U3")]),
    "npz": {"a": np.array(["x"]), "b": np.ones(2)},
    "safetensors": {"a": np.ones(3), "b": np.zeros((2, 2), "i4")},
    "pandas": pd.DataFrame({"a": ["x", None], "c": pd.Categorical([1, 2])}, index=pd.date_range("2026", periods=2)),
    "polars": pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
    "arrow": pa.table({"a": [1], "b": ["x"]}),
}


def damaged(data, chance, *, flipped=True):
    """`data` cut, extended, replaced or (unless `flipped` is False) overwritten, as disks, networks and people do."""
    data = bytearray(data)
    way = chance.random()
    if way < 0.2:
        return data[: chance.randrange(len(data))]
    if way < 0.3:
        return data + chance.randbytes(chance.randrange(1, 600))
    if way < 0.4 or not flipped:
        return bytearray(chance.randbytes(chance.randrange(300)))
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data) if chance.random() < 0.5 else min(len(data), 300))
        data[at] = chance.choice([0, 255, 127, 128, data[at] ^ (1 << chance.randrange(8))])
    return data


@pytest.mark.parametrize("name", VALUES)
def test_damaged_bytes_give_an_error_or_a_value(name, capfd):
    """Whatever happened to the bytes, reading ends soon, and with nothing but an EncodingError.

    Not so for flipped bits in polars' files, on which its engine can abort: there the digest, checked before, protects.
    """
    made = encode(VALUES[name])
    chance = random.Random(name)
    refused, began = 0, time.monotonic()
    for _ in range(200):
        try:
            data = damaged(bytes(made.join()), chance, flipped=name != "polars")
            decode(data, made.format, made.type, made.ext)
        except EncodingError:
            refused += 1
    capfd.readouterr()  # polars' engine tells of its panics there
    assert refused > 50
    assert time.monotonic() - began < 20


def test_a_damaged_folder_leaves_nothing_outside(tmp_path):
    """The same for tars, which write files: all that comes into being lies below the folder that was named."""
    (tmp_path / "made" / "sub").mkdir(parents=True)
    (tmp_path / "made" / "sub" / ("n" * 120)).write_text("x")
    (tmp_path / "made" / "link").symlink_to("sub")
    made, chance = encode(tmp_path / "made"), random.Random(1)
    for _ in range(300):
        with contextlib.suppress(EncodingError):
            decode(damaged(bytes(made.join()), chance), "folder", made.type, ".tar", str(tmp_path / "back"))
    assert sorted(path.name for path in tmp_path.iterdir()) in (["back", "made"], ["made"])


def npy(header):
    text = header.encode()
    return bytearray(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + b"\0" * 8)


def tensors(header):
    return bytearray(struct.pack("<Q", len(header)) + header + b"\0" * 8)


BOMBS = {
    "deep json": (b"[" * 1_000_000, "json"),
    "deep json objects": (b'{"a":' * 1_000_000, "json"),
    "endless int": (b"1" * 1_000_000, "json"),
    "huge array": (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"), "npy"),
    "negative array": (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }"), "npy"),
    "array of nothing": (npy("{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000,), }"), "npy"),
    "array of objects": (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"), "npy"),
    "code as header": (npy("__import__('os').system('touch hacked')"), "npy"),
    "endless header": (bytearray(struct.pack("<Q", 1 << 60) + b"{}"), "safetensors"),
    "overlapping tensors": (
        tensors(
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'
        ),
        "safetensors",
    ),
    "a gap": (tensors(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'), "safetensors"),
    "a huge tensor": (tensors(b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,8]}}'), "safetensors"),
    "a bool as size": (tensors(b'{"a":{"dtype":"F64","shape":[true],"data_offsets":[0,8]}}'), "safetensors"),
    "unknown numbers": (tensors(b'{"a":{"dtype":"X9","shape":[2],"data_offsets":[0,8]}}'), "safetensors"),
    "not utf-8": (b"\xff\xfe", "text"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once(name):
    """Headers that promise what is not there cost neither memory nor time, and run nothing."""
    data, wanted = BOMBS[name]
    began = time.process_time()
    with pytest.raises(EncodingError, match=f"The bytes cannot be read as {wanted}"):
        decode(data, wanted, "")
    assert time.process_time() - began < 2
    assert not Path("hacked").exists()


def test_a_zip_bomb_is_refused():
    """A compressed entry is refused before it is opened."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\0" * 50_000_000)
    with pytest.raises(EncodingError, match="a compressed entry"):
        decode(bytearray(sink.getvalue()), "npz", "")


def test_no_data_format_unpickles():
    """A pickle under another format's name is refused unread; a npz of objects is, too."""
    bomb = b"cposix\nsystem\n(S'touch hacked'\ntR."
    for wanted in ("json", "text", "npy", "npz", "safetensors", "parquet", "folder"):
        if wanted == "text":
            continue  # any ASCII is text
        with pytest.raises(EncodingError):
            decode(bytearray(bomb), wanted, "")
    sink = io.BytesIO()
    np.savez(sink, a=np.array([None]))
    with pytest.raises(EncodingError):
        decode(bytearray(sink.getvalue()), "npz", "")
    assert not Path("hacked").exists()


def test_a_damaged_pickle_is_an_error():
    """Bytes that are no pickle end in an EncodingError."""
    for data in (b"", b"nonsense", encode((1, [2] * 100)).join()[:-20]):
        with pytest.raises(EncodingError, match="cannot be read as pickle"):
            decode(data, "pickle", "tuple")


def test_reading_takes_no_more_memory_than_the_value():
    """A process with little memory reads an array of 64 MiB from its buffer."""
    program = """
import resource
import numpy as np
from drawbar.agent.encoding import decode, encode
data = bytearray(encode(np.zeros(64 << 17)).join())
kept = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (kept + (8 << 20),) * 2)
print(decode(data, "npy", "numpy.ndarray").shape)
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc on this system")
    environment = {"PYTHONPATH": ":".join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    told = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert told.stdout.strip() == b"(8388608,)"
