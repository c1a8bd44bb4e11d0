"""Folders as tars: the same bytes for the same content, and read so that nothing is ever written outside of a folder.

Paths come from `files`; a tar goes to the store and back. It is read here and not by `tarfile`, which on old Pythons
can be made to loop, and to write anywhere.
"""

from __future__ import annotations

import io
import mmap
import os
import stat
import tarfile
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, List, NamedTuple, Tuple

from .base import Buffer, EncodingError, unreadable

_IN_MEMORY = 64 << 20
_BLOCK = 512
_SHORTEST_RECORD = 5
_LONGEST_NAME = 255


class Entry(NamedTuple):
    """One file, folder or link of a tar that is read."""

    name: str
    kind: bytes
    mode: int
    link: str
    data: memoryview


def write(top: Path) -> Buffer:
    """All of a folder as one tar: in memory where it is small, else in a nameless file beside it, which is mapped."""
    found = sorted(_below(top), key=lambda item: item[0])
    size = sum(path.stat().st_size for _, path in found if path.is_file())
    if size <= _IN_MEMORY:
        sink = io.BytesIO()
        _write_tar(sink, top, found)
        return sink.getvalue()
    beside = top.parent if os.access(top.parent, os.W_OK) else None
    with tempfile.TemporaryFile(dir=beside) as file:
        _write_tar(file, top, found)
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _below(top: Path) -> Iterator[Tuple[str, Path]]:
    """Everything in a folder, with its name from there."""
    for parent, folders, files in os.walk(top, onerror=_cannot_list):
        for name in (*folders, *files):
            path = Path(parent, name)
            yield path.relative_to(top).as_posix(), path


def _cannot_list(error: OSError) -> None:
    raise error  # `os.walk` would leave the folder out, and the copy would be a part of the whole


def _write_tar(sink: Any, top: Path, found: List[Tuple[str, Path]]) -> None:
    for name, path in found:
        mode = path.lstat().st_mode
        entry = tarfile.TarInfo(name)
        entry.mode = 0o755 if mode & 0o100 else 0o644
        if stat.S_ISLNK(mode):
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, _inside(top, name, str(path.readlink())), 0o777
            sink.write(_head(top, entry))
        elif stat.S_ISDIR(mode):
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            sink.write(_head(top, entry))
        elif stat.S_ISREG(mode):
            with path.open("rb") as file:
                _write_file(sink, top, entry, file)
        else:
            raise _cannot_hold(top, f"{name!r} is none of these (mode {mode:o})", "remove it")
    sink.write(bytes(2 * _BLOCK))


def _head(top: Path, entry: tarfile.TarInfo) -> bytes:
    try:
        (entry.name + entry.linkname).encode()  # else `tobuf` would write it in a way of its own
        return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")
    except UnicodeEncodeError as error:
        raise _cannot_hold(top, f"the name {entry.name!r}, which is not utf-8", "rename it") from error


def _cannot_hold(top: Path, found: str, todo: str) -> EncodingError:
    return EncodingError(
        f"The folder {str(top)!r} cannot be stored.",
        expected="files, folders, and relative links between them",
        found=found,
        todo=todo,
    )


def _write_file(sink: Any, top: Path, entry: tarfile.TarInfo, file: BinaryIO) -> None:
    """Header, content and filling; the header's size is that of what is really there."""
    left = entry.size = os.fstat(file.fileno()).st_size
    sink.write(_head(top, entry))
    while left:
        chunk = file.read(min(left, 1 << 20))
        if not chunk:
            raise OSError(f"{file.name} became shorter while it was read")
        sink.write(chunk)
        left -= len(chunk)
    sink.write(bytes(-entry.size % _BLOCK))


def _inside(top: Path, name: str, link: str) -> str:
    """The target of a symbolic link, where it stays inside the folder; EncodingError otherwise."""
    if not _stays(name, link):
        raise _cannot_hold(
            top, f"the link {name!r} -> {link!r} leads out of it", "copy what it points to into the folder"
        )
    return link


def _stays(name: str, link: str) -> bool:
    """Whether the link's target is below the top: `..` only at its beginning, where it leaves real folders."""
    parts = link.split("/")
    up = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
    if not link or link.startswith("/") or "\0" in link:
        return False
    return up <= name.count("/") and ".." not in parts[up:]


def entries(view: memoryview) -> List[Entry]:
    """The entries of a tar as `write` makes it, each checked; anything else that tars can have is refused."""
    found: List[Entry] = []
    seen: Dict[str, bytes] = {}
    more: Dict[str, str] = {}
    at = 0
    while True:
        block = bytes(view[at : at + _BLOCK])
        if len(block) < _BLOCK:
            unreadable("folder", f"a tar cut off at byte {len(view)}")
        at += _BLOCK
        if not block.strip(b"\0"):
            return found
        entry, size = _parse(block, more, view[at:])
        at += size + -size % _BLOCK
        if entry.kind == b"x":
            more = _records(bytes(entry.data))
            continue
        more = {}
        _check(entry, seen)
        found.append(entry)


def _parse(block: bytes, more: Dict[str, str], rest: memoryview) -> Tuple[Entry, int]:
    """The entry that a header begins, and its size; `more` is what an extended header before it said."""
    try:
        if int(block[148:156].strip(b" \0"), 8) != sum(block[:148]) + 8 * 32 + sum(block[156:]):
            unreadable("folder", "a header with a wrong sum")
        name, link = _text(block[:100]), _text(block[157:257])
        prefix = _text(block[345:500])
        kind = block[156:157]
        size = int(more.get("size") or block[124:136].strip(b" \0") or b"0", 10 if "size" in more else 8)
        mode = int(block[100:108].strip(b" \0"), 8)
    except ValueError as error:
        unreadable("folder", error)
    full = more.get("path", f"{prefix}/{name}" if prefix else name)
    if not 0 <= size <= len(rest):
        unreadable("folder", f"{size} bytes of {full!r} where {len(rest)} follow")
    return Entry(full.rstrip("/"), kind, mode, more.get("linkpath", link), rest[:size]), size


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8")


def _records(data: bytes) -> Dict[str, str]:
    """The records of an extended header: `length key=value`, where one field was too long for the plain one."""
    found: Dict[str, str] = {}
    try:
        while data:
            length = int(data.split(b" ", 1)[0])
            key, equals, value = data[:length].decode("utf-8").partition(" ")[2].partition("=")
            whole = length >= _SHORTEST_RECORD and equals and value.endswith("\n")
            if not whole or key not in ("path", "linkpath", "size"):
                unreadable("folder", f"an extended header {key!r}")
            found[key] = value[:-1]
            data = data[length:]
    except ValueError as error:
        unreadable("folder", error)
    return found


def _check(entry: Entry, seen: Dict[str, bytes]) -> None:
    """Raise EncodingError unless the entry lies below the top, in a folder that came before it, and came once."""
    parts = entry.name.split("/")
    if "\0" in entry.name or any(part in ("", ".", "..") or len(part.encode()) > _LONGEST_NAME for part in parts):
        unreadable("folder", f"the name {entry.name!r}")
    if entry.name in seen or any(seen.get("/".join(parts[:end])) != b"5" for end in range(1, len(parts))):
        unreadable("folder", f"the place of {entry.name!r}")
    if entry.kind not in (b"0", b"2", b"5") or (entry.kind != b"0" and len(entry.data)):
        unreadable("folder", f"an entry of kind {entry.kind!r}")
    if entry.kind == b"2" and not _stays(entry.name, entry.link):
        unreadable("folder", f"a link {entry.name!r} -> {entry.link!r} that leads out of it")
    seen[entry.name] = entry.kind


def unpack(found: List[Entry], top: Path) -> None:
    """Make the folder `top` and all its entries; nothing is written through a link, which `entries` has checked."""
    top.mkdir()
    for entry in found:
        path = top / entry.name
        if entry.kind == b"5":
            path.mkdir()
        elif entry.kind == b"2":
            path.symlink_to(entry.link)
        else:
            path.write_bytes(entry.data)
            if entry.mode & 0o100:
                path.chmod(path.stat().st_mode | 0o111)
