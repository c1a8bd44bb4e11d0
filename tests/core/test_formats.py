"""The registry: plugins before built-in formats, errors as FormatErrors, sources in and published files out."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drawbar.errors import FormatError
from drawbar.formats import Encoded, Formats, default


class FractionFormat:
    """A third-party format: a fraction as text, `1/3`."""

    name = "fraction"
    extensions = (".frac",)

    def claims(self, value):
        return type(value) is Fraction

    def encode(self, value):
        if type(value) is not Fraction:
            raise FormatError("Only fractions.", expected="a Fraction", found=type(value).__name__)
        return Encoded("fraction", ".frac", [str(value).encode()], "fractions.Fraction", None, ())

    def decode(self, data, type, ext, folder):  # noqa: A002 - the port's names
        return Fraction(bytes(data).decode())


class WrongName(FractionFormat):
    """A plugin that names another format than its own."""

    name = "wrong"


@pytest.fixture
def formats():
    return default([FractionFormat()])


def test_a_plugin_writes_and_reads_what_it_claims(formats):
    """A value that a plugin claims gets its format instead of a pickle, and comes back through it."""
    made = formats.encode(Fraction(1, 3))
    assert (made.format, bytes(made.join())) == ("fraction", b"1/3")
    assert formats.decode(made.join(), made.format, made.type, made.ext) == Fraction(1, 3)
    assert default().encode(Fraction(1, 3)).format == "pickle"
    assert formats.known[:2] == ("fraction", "parquet")


def test_a_plugins_format_can_be_named(formats):
    """`format=` reaches a plugin, also for a value that it then refuses with its own words."""
    assert formats.encode(Fraction(1, 2), "fraction").format == "fraction"
    assert formats.encode(Fraction(1, 2), "pickle").format == "pickle"
    with pytest.raises(FormatError, match="Only fractions"):
        formats.encode(1, "fraction")


def test_a_plugins_extension_is_read_and_published(formats, tmp_path):
    """A Source with a plugin's extension is read by the plugin, and `path=` with it is written by the plugin."""
    path = tmp_path / "a.frac"
    path.write_bytes(formats.encode_for(Fraction(3, 4), ".frac").join())
    assert formats.for_path(path, Fraction) == Fraction(3, 4)
    assert formats.for_path(path) == Fraction(3, 4)
    assert formats.for_path(path, str) == "3/4"
    assert formats.for_path(path, Path) == path


def test_whatever_a_plugin_raises_is_a_format_error(formats):
    """Bytes that break a plugin are reported like those that break a built-in format."""
    with pytest.raises(FormatError) as caught:
        formats.decode(b"nonsense", "fraction", "fractions.Fraction")
    assert caught.value.what == "The bytes cannot be read as fraction."
    assert "Invalid literal for Fraction" in caught.value.found
    with pytest.raises(FormatError, match="gave a value in another format"):
        Formats([WrongName()]).encode(Fraction(1))


def test_two_formats_of_one_name_are_refused(formats):
    """Bytes in the store mean the same to everyone: neither a plugin's nor a built-in name can be taken again."""
    with pytest.raises(FormatError, match="There are two formats named 'fraction'"):
        Formats([FractionFormat(), FractionFormat()])
    taken = FractionFormat()
    taken.name = "json"
    with pytest.raises(FormatError, match="There are two formats named 'json'"):
        Formats([taken])


def test_an_unknown_format_offers_the_closest():
    """A misspelt `format=` is answered with the one that was meant."""
    with pytest.raises(FormatError) as caught:
        default().encode(1, "parket")
    assert str(caught.value) == (
        "There is no format named 'parket'.\n"
        "  expected: parquet, npy, npz, safetensors, json, text, bytes, file, folder, items, actor, pickle\n"
        "  found: 'parket'\n"
        "  do: did you mean 'parquet'?"
    )


def test_a_value_that_does_not_fit_is_a_format_error():
    """What the agent's encoder refuses reaches the user in the client's tree of errors, with all its parts."""
    with pytest.raises(FormatError) as caught:
        default().encode(pd.DataFrame({"s": pd.Series([1, "y"], dtype=object)}))
    assert str(caught.value) == (
        "A value of type pandas.DataFrame does not fit the parquet format.\n"
        "  expected: a pandas, polars or pyarrow table whose columns have one type each, and names that are unique\n"
        "  found: column 's': values of types int, str\n"
        '  do: add format="pickle" to its @asset, if those who read it trust those who write it'
    )


def test_trust_in_data_only_holds_both_ways(formats):
    """With trust="data" no pickle is written or read."""
    with pytest.raises(FormatError, match="needs a pickle, and pickles are not trusted here"):
        formats.encode((1, 2), trust="data")
    with pytest.raises(FormatError, match="pickles are not trusted here"):
        formats.decode(b"", "pickle", "tuple", trust="data")
    assert formats.decode(b"[1]", "json", "list", trust="data") == [1]


def test_a_missing_library_names_its_package(monkeypatch):
    """Where pandas is not installed, reading its table says what to install."""
    made = default().encode(pd.DataFrame({"a": [1]}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(FormatError) as caught:
        default().decode(bytearray(made.join()), made.format, made.type)
    assert caught.value.todo == "pip install pyarrow"


def test_the_same_format_is_published_as_it_is():
    """A table published as .parquet, an array as .npy and text under any name are the stored bytes."""
    formats = default()
    for value, ext in (
        (pd.DataFrame({"a": [1]}), ".parquet"),
        (np.ones(2), ".npy"),
        ("a,b\n", ".csv"),
        (b"x", ".png"),
    ):
        assert formats.encode_for(value, ext).digest() == formats.encode(value).digest()


def test_an_extension_that_says_nothing_gets_the_values_own_format():
    """Publishing under an unknown ending, or none, writes what the store has."""
    for ext in (".out", "", ".v2"):
        assert default().encode_for({"a": 1}, ext).format == "json"
