"""Files that other tools wrote, read as the type that a function wants: how a Source becomes a parameter.

Paths come here from `formats` with the annotation of the parameter, and values go to the function.
"""

from __future__ import annotations

import collections.abc
import importlib.util
import json
import os
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drawbar import fits
from drawbar.agent import encoding
from drawbar.agent.encoding import EncodingError
from drawbar.errors import FormatError

RAW = ("pathlib.Path", "str", "bytes")
TABLES = ("pandas.DataFrame", "polars.DataFrame", "pyarrow.Table")
ROWS = (".csv", ".tsv", ".jsonl")
SEPARATORS = {".csv": ",", ".tsv": "\t"}
TEXTS = (".txt", ".md", ".log", ".html", ".xml", ".yaml", ".yml", ".sql")
_SAME = {
    list: "list",
    collections.abc.Sequence: "list",
    collections.abc.Iterable: "list",
    dict: "dict",
    collections.abc.Mapping: "dict",
    os.PathLike: "pathlib.Path",
}


def kind_of(annotation: Any) -> str:
    """What a parameter's annotation asks for, as the formats name types; empty where it asks for nothing definite.

    >>> kind_of(list[dict[str, int]]), kind_of(Path | None), kind_of(typing.Any)
    ('list', 'pathlib.Path', '')
    """
    if hasattr(annotation, "__value__"):  # a `type X = …` of Python 3.12
        return kind_of(annotation.__value__)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return kind_of(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return next((kind for kind in map(kind_of, typing.get_args(annotation)) if kind), "")
    return _kind_of_class(origin or annotation)


def _kind_of_class(kind: Any) -> str:
    kind = fits.table_of(kind)
    if not isinstance(kind, type) or kind in (object, type(None), Any):
        return ""
    if typing.is_typeddict(kind):
        return "dict"
    if kind in _SAME or issubclass(kind, Path):
        return _SAME.get(kind, "pathlib.Path")
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}.{name}"


def content(path: Path) -> bytearray:
    """The file's bytes, in memory that the value read from them may keep; FormatError where it cannot be read."""
    try:
        with path.open("rb") as file:
            data = bytearray(os.fstat(file.fileno()).st_size)
            size = file.readinto(data)
            return data[:size] + file.read() if size != len(data) else data
    except OSError as error:
        raise FormatError(
            f"The file {str(path)!r} cannot be read.",
            expected="a file",
            found=f"{type(error).__name__}: {error.strerror or error}",
            todo="check the path of the Source",
        ) from error


def read(path: Path, kind: str) -> Any:
    """The file as a `kind` (of `kind_of`); without one, as what its extension usually holds.

    Tables (.csv, .tsv, .jsonl, .parquet) become a pandas, polars or pyarrow table, or a list of dicts; .json a dict,
    a list or a table; .npy an array, .npz and .safetensors a dict; every file a Path, str or bytes. Else FormatError.
    """
    if kind == "pathlib.Path":
        return path
    ext = path.suffix.lower()
    try:
        if kind in ("str", "bytes"):
            return encoding.decode(content(path), "text" if kind == "str" else "bytes", kind)
        reader = _reader(ext)
        if reader is not None:
            return reader(path, ext, kind or _usual_table(ext))
    except EncodingError as error:
        raise FormatError(
            error.what, expected=error.expected, found=f"{path}: {error.found}", todo=error.todo
        ) from error
    except FormatError:
        raise
    except Exception as error:  # of a library that reads a foreign file
        raise FormatError(
            f"The file {path.name!r} cannot be read as {kind or 'what its name says'}.",
            found=f"{type(error).__name__}: {error}",
            todo="repair the file, or annotate the parameter as Path and read it in the function",
        ) from error
    raise _no_way(path, kind)


def _reader(ext: str) -> Callable[[Path, str, str], Any] | None:
    if ext in ROWS:
        return _read_rows
    if ext in TEXTS:
        return _read_text
    readers = {".parquet": _read_parquet, ".json": _read_json, ".npy": _read_npy, ".npz": _read_npz}
    return readers.get(ext, _read_safetensors if ext == ".safetensors" else None)


def _usual_table(ext: str) -> str:
    """For a table that nobody annotated: the first of the libraries that is installed, or a list of dicts."""
    if ext not in (*ROWS, ".parquet"):
        return ""
    return next((kind for kind in TABLES if importlib.util.find_spec(kind.partition(".")[0])), "list")


def _no_way(path: Path, kind: str) -> FormatError:
    return FormatError(
        f"The file {path.name!r} cannot be read as {kind or 'a value'}.",
        expected="a table, json, npy, npz, safetensors or text by its extension, in a type that fits it",
        found=f"extension {path.suffix!r}",
        todo="annotate the parameter as Path, str or bytes, and read it in the function",
    )


def _read_rows(path: Path, ext: str, kind: str) -> Any:
    """A table in text: one row a line."""
    if ext == ".jsonl":
        rows = [json.loads(line) for line in content(path).decode("utf-8").split("\n") if line.strip()]
        return _as_table(path, rows, kind)
    separator = SEPARATORS[ext]
    if kind == "pandas.DataFrame":
        return _library("pandas", path).read_csv(path, sep=separator)
    if kind == "polars.DataFrame":
        return _library("polars", path).read_csv(path, separator=separator)
    if kind == "pyarrow.Table":
        csv = _library("pyarrow.csv", path)
        return csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=separator))
    if kind == "numpy.ndarray":
        return _library("numpy", path).loadtxt(path, delimiter=separator)
    if kind == "list":
        import csv as text

        with path.open(encoding="utf-8", newline="") as file:
            return list(text.DictReader(file, delimiter=separator))
    raise _no_way(path, kind)


def _as_table(path: Path, rows: Any, kind: str) -> Any:
    """Rows (dicts) as the wanted table."""
    if kind == "list":
        return rows
    if kind == "pandas.DataFrame":
        return _library("pandas", path).DataFrame(rows)
    if kind == "polars.DataFrame":
        return _library("polars", path).DataFrame(rows, infer_schema_length=None)
    if kind == "pyarrow.Table":
        return _library("pyarrow", path).Table.from_pylist(rows)
    raise _no_way(path, kind)


def _read_text(path: Path, _ext: str, kind: str) -> str:
    if kind:
        raise _no_way(path, kind)
    return content(path).decode("utf-8")


def _read_parquet(path: Path, _ext: str, kind: str) -> Any:
    if kind not in (*TABLES, "list"):
        raise _no_way(path, kind)
    value = encoding.decode(content(path), "parquet", "pyarrow.Table" if kind == "list" else kind)
    return value.to_pylist() if kind == "list" else value


def _read_json(path: Path, _ext: str, kind: str) -> Any:
    value = json.loads(content(path))
    if kind in TABLES and isinstance(value, list):
        return _as_table(path, value, kind)
    if kind and type(value).__name__ != kind:
        raise FormatError(
            f"The file {path.name!r} holds another type than its reader wants.",
            expected=kind,
            found=type(value).__name__,
            todo=f"annotate the parameter as {type(value).__name__}",
        )
    return value


def _read_npy(path: Path, _ext: str, kind: str) -> Any:
    if kind not in ("numpy.ndarray", ""):
        raise _no_way(path, kind)
    return encoding.decode(content(path), "npy", "numpy.ndarray")


def _read_npz(path: Path, _ext: str, kind: str) -> Any:
    """Compressed ones too, unlike the format: who names a file as his source has chosen to trust its size."""
    if kind not in ("dict", ""):
        raise _no_way(path, kind)
    with _library("numpy", path).load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _read_safetensors(path: Path, _ext: str, kind: str) -> Any:
    """As torch tensors where the file says that we wrote them from such; else as arrays."""
    if kind not in ("dict", "torch.Tensor", ""):
        raise _no_way(path, kind)
    return encoding.decode(content(path), "safetensors", "torch.Tensor" if kind == "torch.Tensor" else "")


def _library(name: str, path: Path) -> Any:
    return encoding.library(name, path.suffix)
