"""A Path as what it points to: a file as its bytes, a folder as a tar that is the same for the same content.

Paths come from functions and are read from disk (large files by mapping them), and are put back below a folder that
the reader names. Times, owners and the order on disk are left out; whether a file may be executed is kept.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Any, Optional

from . import tars
from .base import Buffer, Encoded, EncodingError, unfit, unreadable

TYPE = "pathlib.Path"
_SMALL = 1 << 16
_EXTENSION = re.compile(r"(\.[A-Za-z0-9_+-]{1,16}){1,2}\Z")
_COMPRESSED = frozenset({".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip"})


def holds(value: Any) -> bool:
    """Whether `value` is a path of this machine, which has a file or folder behind it."""
    return type(value) is type(Path())


def encode(value: Any) -> Encoded:
    """The file or folder behind `value`; it must not change until the parts are written.

    EncodingError where nothing is there, or where it is neither (a socket, a device).
    """
    if not holds(value):
        raise unfit(value, "file", "a pathlib.Path")
    try:
        mode = value.stat().st_mode
        if stat.S_ISREG(mode):
            return Encoded("file", extension(value), [_content(value)], TYPE, None, ())
        if stat.S_ISDIR(mode):
            return Encoded("folder", ".tar", [tars.write(value)], TYPE, None, ())
    except OSError as error:
        raise _unreadable_path(value, f"{type(error).__name__}: {error.strerror or error}") from error
    raise _unreadable_path(value, f"neither a file nor a folder (mode {mode:o})")


def _unreadable_path(path: Path, found: str) -> EncodingError:
    return EncodingError(
        f"The path {str(path)!r} cannot be read.",
        expected="a file or a folder that stays until the function's value is stored",
        found=found,
        todo="return the path of what the function wrote",
    )


def extension(path: Path) -> str:
    """What a file's name ends with, where it is a plain one; of a compressed file, the two last.

    >>> extension(Path("runs/model.v2.onnx")), extension(Path("a.tar.gz")), extension(Path("README"))
    ('.onnx', '.tar.gz', '')
    """
    suffixes = path.suffixes
    ending = "".join(suffixes[-2:]) if suffixes and suffixes[-1] in _COMPRESSED else path.suffix
    return ending if _EXTENSION.match(ending) else ""


def decode_file(data: Buffer, ext: str, folder: Optional[str]) -> Path:
    """A new file below `folder` that holds `data`, named `value` and its extension."""
    if ext and not _EXTENSION.match(ext):
        unreadable("file", f"the extension {ext!r}")
    target = _new_place(folder) / f"value{ext}"
    target.write_bytes(data)
    return target


def decode_folder(data: Buffer, folder: Optional[str]) -> Path:
    """A new folder below `folder` with what the tar in `data` holds; nothing is written outside of it."""
    entries = tars.entries(memoryview(data).cast("B"))  # all of them are checked before anything is made
    target = _new_place(folder) / "value"
    tars.unpack(entries, target)
    return target


def _new_place(folder: Optional[str]) -> Path:
    """An empty folder of its own, so that two values never meet."""
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="value-", dir=folder))


def _content(path: Path) -> Buffer:
    """The bytes of a file: read where it is small, else mapped."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return file.read() if size <= _SMALL else memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
