"""Which format a value gets, what is refused, and what is known about what was written."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from drawbar.agent.encoding import EXTENSIONS, EncodingError, decode, encode

CHOSEN = {
    "none": (None, "json", ".json", "NoneType", None),
    "int": (3, "json", ".json", "int", None),
    "list": ([1, 2.5, None], "json", ".json", "list", 3),
    "dict": ({"a": [True]}, "json", ".json", "dict", None),
    "text": ("é\r\n", "text", ".txt", "str", None),
    "bytes": (b"\0", "bytes", ".bin", "bytes", None),
    "bytearray": (bytearray(b"\0"), "bytes", ".bin", "bytearray", None),
    "tuple": ((1, 2), "pickle", ".pkl", "tuple", None),
    "int keys": ({1: 2}, "pickle", ".pkl", "dict", None),
    "decimal": (Decimal("1.0"), "pickle", ".pkl", "decimal.Decimal", None),
    "array": (np.ones((4, 2)), "npy", ".npy", "numpy.ndarray", 4),
    "scalar": (np.float32(1.5), "npy", ".npy", "numpy.float32", None),
    "objects": (np.array([1, None]), "pickle", ".pkl", "numpy.ndarray", None),
    "arrays": ({"a": np.ones(2)}, "safetensors", ".safetensors", "dict[str, numpy.ndarray]", None),
    "texts": ({"a": np.array(["x"])}, "npz", ".npz", "dict[str, numpy.ndarray]", None),
    "array and int": ({"a": np.ones(2), "b": 1}, "items", ".items", "dict", None),
    "array and set": ({"a": np.ones(2), "b": {1}}, "pickle", ".pkl", "dict", None),
    "pandas": (pd.DataFrame({"a": [1, 2]}), "parquet", ".parquet", "pandas.DataFrame", 2),
    "series": (pd.Series([1, 2]), "parquet", ".parquet", "pandas.Series", 2),
    "polars": (pl.DataFrame({"a": [1, 2]}), "parquet", ".parquet", "polars.DataFrame", 2),
    "arrow": (pa.table({"a": [1, 2]}), "parquet", ".parquet", "pyarrow.Table", 2),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_each_kind_of_value_gets_its_format(name):
    """A value's format, extension, type and rows are those that the documentation names."""
    value, *expected = CHOSEN[name]
    made = encode(value)
    assert [made.format, made.ext, made.type, made.rows] == expected
    assert EXTENSIONS[made.format] == made.ext


@pytest.mark.parametrize("name", CHOSEN)
def test_the_digest_is_that_of_the_bytes(name):
    """`sha256sum` of the stored file is the DataVersion, and the size is the file's."""
    made = encode(CHOSEN[name][0])
    data = b"".join(made.parts)
    assert made.digest() == hashlib.sha256(data).hexdigest()
    assert made.bytes == len(data)
    assert bytes(made.join()) == data


@pytest.mark.parametrize("name", CHOSEN)
def test_the_same_value_has_the_same_bytes_again(name):
    """Encoding twice, and encoding what was decoded, give the same DataVersion."""
    made = encode(CHOSEN[name][0])
    again = decode(bytearray(made.join()), made.format, made.type, made.ext)
    assert encode(CHOSEN[name][0]).digest() == made.digest()
    assert encode(again).digest() == made.digest()


def test_the_hash_seed_does_not_change_the_bytes():
    """Another process with another hash seed gives the same DataVersions, for sets too."""
    program = """
import numpy as np, pandas as pd
from drawbar.agent.encoding import encode
values = [{"b": 1, "a": 2}, {"x", "y", "z"}, ({"k": frozenset({"p", "q"})}, [{3, "a", None}]), np.arange(3),
          {"b": np.ones(2), "a": np.ones(1)}, pd.DataFrame({"b": ["x"], "a": pd.Categorical(["y"])})]
print([encode(value).digest() for value in values])
"""
    path = os.pathsep.join(sys.path)
    seeds = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert seeds[0] == seeds[1]
    assert len(seeds[0]) > 6 * 64


def test_no_library_is_imported_for_a_plain_value():
    """Who returns plain data, text, bytes or a Path does not pay for numpy or pandas."""
    program = """
import sys
from pathlib import Path
from drawbar.agent.encoding import decode, encode
for value in (1, [1], {"a": "b"}, "text", b"bytes", (1, 2), Path(sys.executable)):
    encode(value)
print([name for name in ("numpy", "pandas", "polars", "pyarrow", "torch", "safetensors") if name in sys.modules])
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert told.stdout.strip() == b"[]"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (1, "text"),
        ("a", "bytes"),
        (b"a", "text"),
        ((1,), "json"),
        ([1], "npy"),
        ([1], "npz"),
        ([1], "safetensors"),
        ([1], "parquet"),
        ([1], "file"),
        ("file.txt", "folder"),
        ({"a": (1,)}, "json"),
        (np.array([None]), "npy"),
        ({"a": 1}, "safetensors"),
    ],
)
def test_a_named_format_that_does_not_fit_is_refused(value, wanted):
    """A format that would not give the same back never gets the value, even where it was asked for by name."""
    with pytest.raises(EncodingError) as caught:
        encode(value, wanted)
    assert caught.value.expected
    assert caught.value.found


def test_the_message_says_what_to_do():
    """What does not fit, what would, what was found, and the way out are all in the message."""
    with pytest.raises(EncodingError) as caught:
        encode({"a": [1, (2, 3)]}, "json")
    assert str(caught.value) == (
        "A value of type dict does not fit the json format.\n"
        "  expected: None, bool, int, float, str, and lists and dicts (with str keys) of these; no subclasses, no tuples\n"
        "  found: tuple at value['a'][1]\n"
        '  do: add format="pickle" to its @asset, if those who read it trust those who write it'
    )


def test_an_unknown_format_is_named_with_the_known_ones():
    """A misspelt format is an error that lists those that exist, both ways."""
    for attempt in (lambda: encode(1, "jsn"), lambda: decode(b"1", "jsn", "int")):
        with pytest.raises(EncodingError, match="no format named 'jsn'") as caught:
            attempt()
        assert "safetensors" in caught.value.expected


def test_trust_in_data_only_refuses_pickles():
    """With trust="data" nothing is pickled and no pickle is read; the message says where the odd value lies."""
    with pytest.raises(EncodingError) as caught:
        encode({"a": [1, {2}]}, trust="data")
    assert caught.value.found == "set at value['a'][1]"
    assert caught.value.todo == 'return one of these, or set trust = "pickle"'
    with pytest.raises(EncodingError):
        encode(1, "pickle", trust="data")
    with pytest.raises(EncodingError, match="does not fit the parquet format") as caught:
        encode(pd.DataFrame({"a": [1j]}), trust="data")
    assert (
        caught.value.todo == 'return a value that fits, or set trust = "pickle" and add format="pickle" to its @asset'
    )
    with pytest.raises(EncodingError, match="The value is a pickle, and pickles are not trusted here"):
        decode(encode((1,)).join(), "pickle", "tuple", trust="data")


def test_a_missing_library_is_named(monkeypatch):
    """On a host without pyarrow the error says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EncodingError, match="parquet format needs the package 'pyarrow'") as caught:
        decode(b"PAR1", "parquet", "pyarrow.Table")
    assert caught.value.todo == "pip install pyarrow"


def test_the_encoder_runs_on_an_old_python():
    """Nothing in it needs more than Python 3.9 and the standard library."""
    old = sorted(Path.home().glob(".pyenv/versions/3.9*/bin/python"))
    if not old:
        pytest.skip("no Python 3.9 on this machine")
    import drawbar.agent

    program = (
        "from agent.encoding import encode, decode; e = encode({'a': 1}); print(decode(e.join(), e.format, e.type))"
    )
    environment = {"PYTHONPATH": str(Path(drawbar.agent.__file__).parent.parent), "PATH": os.environ["PATH"]}
    told = subprocess.run([old[0], "-c", program], env=environment, capture_output=True, check=True)
    assert told.stdout.strip() == b"{'a': 1}"
