"""Project code as it travels and as it lies on a host: packs of files, and the folder that they are unpacked to.

A client packs files a few dozen at a time (`pack`), each pack a blob, so that an edit sends one pack. Workers ask for
the folder that holds them all (`tree`) and put it on `sys.path`: modules, tracebacks and source lines are real.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Callable

from . import files

_MAGIC = b"dBf\x01"
_LEVEL = 3
"""Half as long as zlib's usual 6, and source code comes out a tenth bigger."""
_LENGTH = 4
_READ_ONLY = 0o400
_EXECUTABLE = 0o500


def pack(entries: Iterable[tuple[str, bool, Any]]) -> bytes:
    """Files as one pack: path with slashes, whether it is executable, bytes. The same files give the same bytes.

    >>> [(name, bytes(data)) for name, _, data in unpack(pack([("a/b.py", False, b"x = 1")]))]
    [('a/b.py', b'x = 1')]
    """
    head, bodies = [], []
    for name, executable, data in entries:
        head.append([name, int(executable), len(data)])
        bodies.append(data)
    told = json.dumps(head, separators=(",", ":")).encode()
    made = zlib.compressobj(_LEVEL)
    parts = [made.compress(part) for part in (len(told).to_bytes(_LENGTH, "big"), told, *bodies)]
    return b"".join([_MAGIC, *parts, made.flush()])


def unpack(data: bytes) -> list[tuple[str, bool, memoryview]]:
    """The files of a pack, as `pack` took them. ValueError for what is none, or names a place outside its folder."""
    if data[: len(_MAGIC)] != _MAGIC:
        raise ValueError("these bytes are no pack of files")
    try:
        plain = memoryview(zlib.decompress(memoryview(data)[len(_MAGIC) :]))
    except zlib.error as error:
        raise ValueError(f"a pack of files is damaged: {error}") from None
    begin = _LENGTH + int.from_bytes(plain[:_LENGTH], "big")
    found = []
    for name, executable, size in json.loads(bytes(plain[_LENGTH:begin])):
        if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
            raise ValueError(f"a pack names a place outside its folder: {name!r}")
        found.append((name, bool(executable), plain[begin : begin + size]))
        begin += size
    if begin != len(plain):
        raise ValueError(f"a pack has {len(plain)} bytes where its files have {begin}")
    return found


def name_of(packs: Iterable[str]) -> str:
    """The name of the folder below `code/` that holds the packs of these digests.

    >>> name_of(["a", "b"]) == name_of(["b", "a"])
    False
    """
    return hashlib.sha256("\n".join(packs).encode()).hexdigest()


def tree(root: str, packs: Sequence[str], path: Callable[[str], str]) -> str:
    """The folder with the files of `packs` (digests); `path` says where the blob of each lies. OSError, ValueError.

    Its files are copies that all jobs of this code share, so they are read-only. What was unpacked before the last
    boot is compared with the packs once, because a power cut may have left files without their content.
    """
    folder = os.path.join(root, "code", name_of(packs))
    if _recent(folder):
        return folder
    above = files.make_folder(os.path.dirname(folder))
    lock = os.open(os.path.join(above, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _recent(folder):
            _remove_staging(above)
            _unpack(folder, [path(digest) for digest in packs])
        return folder
    finally:
        os.close(lock)


def _recent(folder: str) -> bool:
    try:
        return os.stat(folder).st_mtime >= files.boot_time()
    except FileNotFoundError:
        return False


def _remove_staging(above: str) -> None:
    """Who holds the lock knows that what others were unpacking is nobody's: they were killed."""
    for name in os.listdir(above):
        if "." in name.lstrip("."):
            files.remove_folder(os.path.join(above, name))


def _unpack(folder: str, packs: Sequence[str]) -> None:
    if os.path.isdir(folder) and all(_same(folder, pack_file) for pack_file in packs):
        os.utime(folder)
        return
    staging = f"{folder}.{os.getpid()}"
    try:
        files.make_folder(staging)
        made = {staging}
        for pack_file in packs:
            for name, executable, data in unpack(_bytes(pack_file)):
                place = os.path.join(staging, name)
                above = os.path.dirname(place)
                if above not in made:
                    made.add(files.make_folder(above))
                _write(place, data, _EXECUTABLE if executable else _READ_ONLY)
        files.remove_folder(folder)
        os.rename(staging, folder)
    except BaseException:
        files.remove_folder(staging)
        raise


def _write(place: str, data: memoryview, mode: int) -> None:
    fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        files.write_all(fd, data)
    finally:
        os.close(fd)


def _same(folder: str, pack_file: str) -> bool:
    try:
        return all(_bytes(os.path.join(folder, name)) == data for name, _, data in unpack(_bytes(pack_file)))
    except OSError:
        return False


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
