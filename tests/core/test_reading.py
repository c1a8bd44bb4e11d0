"""A Source's file becomes what its reader's annotation asks for."""

from __future__ import annotations

import collections.abc
from pathlib import Path
from typing import Annotated, Any, Optional, TypedDict

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from drawbar.errors import FormatError
from drawbar.reading import kind_of, read


class Row(TypedDict):
    """A dict with known keys."""

    a: int


ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


@pytest.fixture
def folder(tmp_path):
    """One file of each kind."""
    (tmp_path / "t.csv").write_text("a,b\n1,x\n2,\n")
    (tmp_path / "t.tsv").write_text("a\tb\n1\tx\n2\t\n")
    (tmp_path / "t.jsonl").write_text('{"a": 1, "b": "x"}\n{"a": 2, "b": null}\n')
    (tmp_path / "t.json").write_text('[{"a": 1, "b": "x"}, {"a": 2, "b": null}]')
    pa.parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    (tmp_path / "d.json").write_text('{"k": [1]}')
    (tmp_path / "n.csv").write_text("1,2\n3,4\n")
    (tmp_path / "t.txt").write_bytes("é\r\n".encode())
    np.save(tmp_path / "a.npy", np.arange(3))
    np.savez_compressed(tmp_path / "z.npz", x=np.arange(3))
    (tmp_path / "blob.xyz").write_bytes(b"\0\1")
    return tmp_path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.json", "t.parquet"])
@pytest.mark.parametrize("kind", ["pandas.DataFrame", "polars.DataFrame", "pyarrow.Table"])
def test_a_table_is_read_as_the_library_that_is_wanted(folder, name, kind):
    """The same rows in each of the three libraries, from each kind of file."""
    table = read(folder / name, kind)
    assert kind_of(type(table)) == ("pyarrow.Table" if kind == "pyarrow.Table" else kind)
    if kind == "pandas.DataFrame":
        assert table["a"].tolist() == [1, 2]
        assert table["b"].isna().tolist() == [False, True]
    elif kind == "polars.DataFrame":
        assert table["a"].to_list() == [1, 2]
    else:
        assert table["a"].to_pylist() == [1, 2]


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.parquet"])
def test_a_table_is_read_as_rows(folder, name):
    """Who wants a list gets dicts with the types of the file."""
    assert read(folder / name, "list") == ROWS


def test_a_csv_is_read_as_rows_of_text(folder):
    """A csv has no types, so its rows are text."""
    assert read(folder / "t.csv", "list") == [{"a": "1", "b": "x"}, {"a": "2", "b": ""}]


@pytest.mark.parametrize("name", ["t.csv", "d.json", "a.npy", "blob.xyz", "t.txt"])
def test_every_file_is_a_path_and_bytes(folder, name):
    """Path and bytes never depend on what the name ends with."""
    assert read(folder / name, "pathlib.Path") == folder / name
    assert read(folder / name, "bytes") == (folder / name).read_bytes()


def test_without_an_annotation_the_name_decides(folder):
    """A json file is plain data, npy an array, npz a dict, txt text, and a table is that of the first library there is."""
    assert read(folder / "d.json", "") == {"k": [1]}
    assert read(folder / "a.npy", "").tolist() == [0, 1, 2]
    assert read(folder / "z.npz", "")["x"].tolist() == [0, 1, 2]
    assert read(folder / "t.txt", "") == "é\r\n"
    assert isinstance(read(folder / "t.csv", ""), pd.DataFrame)


def test_numbers_in_a_csv_are_an_array(folder):
    """A csv of nothing but numbers is an array where one is wanted; one with a heading is an error."""
    assert read(folder / "n.csv", "numpy.ndarray").tolist() == [[1, 2], [3, 4]]
    with pytest.raises(FormatError, match=r"The file 't\.csv' cannot be read as numpy\.ndarray"):
        read(folder / "t.csv", "numpy.ndarray")


def test_an_extension_that_says_nothing_needs_an_annotation(folder):
    """What cannot be guessed is an error with the annotations that would do."""
    with pytest.raises(FormatError) as caught:
        read(folder / "blob.xyz", "")
    assert caught.value.found == "extension '.xyz'"
    assert caught.value.todo == "annotate the parameter as Path, str or bytes, and read it in the function"


@pytest.mark.parametrize(
    ("name", "kind"), [("a.npy", "pandas.DataFrame"), ("t.parquet", "dict"), ("t.csv", "dict"), ("t.txt", "list")]
)
def test_a_type_that_the_file_is_not_is_an_error(folder, name, kind):
    """Nothing is converted into a type that the file does not have."""
    with pytest.raises(FormatError, match=f"The file '{name}' cannot be read as {kind}"):
        read(folder / name, kind)


def test_json_of_another_type_says_so(folder):
    """A list where a dict was wanted is an error, not a surprise in the function."""
    with pytest.raises(FormatError) as caught:
        read(folder / "t.json", "dict")
    assert (caught.value.expected, caught.value.found) == ("dict", "list")


def test_broken_and_missing_files_are_errors(folder):
    """The message names the file and what its library said."""
    (folder / "b.parquet").write_bytes(b"PAR1 nonsense")
    (folder / "b.json").write_text("{")
    (folder / "b.txt").write_bytes(b"\xff")
    for name in ("b.parquet", "b.json", "b.txt", "missing.csv"):
        with pytest.raises(FormatError) as caught:
            read(folder / name, "str" if name.endswith("txt") else "pandas.DataFrame")
        assert caught.value.todo
    with pytest.raises(FormatError, match=r"missing\.npy"):
        read(folder / "missing.npy", "")


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (pd.DataFrame, "pandas.DataFrame"),
        (pl.DataFrame, "polars.DataFrame"),
        (pa.Table, "pyarrow.Table"),
        (NDArray[np.float64], "numpy.ndarray"),
        (list[dict[str, int]], "list"),
        (collections.abc.Sequence[int], "list"),
        (collections.abc.Mapping[str, int], "dict"),
        (Path | None, "pathlib.Path"),
        (Optional[str], "str"),  # noqa: UP045 - both ways of writing it
        (Annotated[bytes, "x"], "bytes"),
        (Row, "dict"),
        (Any, ""),
        (object, ""),
        (None, ""),
        ("unresolved", ""),
    ],
)
def test_annotations_are_understood(annotation, kind):
    """Generics, unions, aliases and Annotated ask for the type inside them; Any asks for nothing."""
    assert kind_of(annotation) == kind
