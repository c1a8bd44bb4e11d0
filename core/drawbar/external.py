"""External inputs: which version of a file, folder or object is there now, and where it lies.

A `Source` comes here from the graph; its DataVersion goes to `plan`, its path to `making`. Nothing is written.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from drawbar.asset import Source
from drawbar.errors import SourceError
from drawbar.files import redacted


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a source is now: its DataVersion (64 hex digits), where it lies, and its size in bytes."""

    data_version: str
    uri: str
    bytes: int


def state(source: Source, root: Path, *, name: str = "", where: str = "") -> SourceState:
    """The state of a source; SourceError if there is nothing, or it cannot be read."""
    try:
        return _remote(source.path) if is_remote(source) else _local(source, root)
    except (OSError, ImportError, ValueError) as error:
        raise SourceError(
            f"The source {name or source.path!r} cannot be read.",
            expected="a file, folder or object",
            found=f"{type(error).__name__}: {redacted(str(error))}",
            todo="check the path (a relative one is taken from the project's folder) and its permissions",
            where=where,
        ) from None


def local_path(source: Source, root: Path) -> Path:
    """Where a source of this machine lies."""
    return root / Path(source.path).expanduser()


def is_remote(source: Source) -> bool:
    """Whether it is reached through fsspec."""
    return "://" in source.path or "::" in source.path


def _local(source: Source, root: Path) -> SourceState:
    path = local_path(source, root)
    if path.is_dir():
        entries = [(one.relative_to(path).as_posix(), one) for one in sorted(path.rglob("*")) if one.is_file()]
        digests = [f"{name}\0{_file_digest(one, source.by)}" for name, one in entries]
        size = sum(one.stat().st_size for _, one in entries)
        return SourceState(hashlib.sha256("\n".join(digests).encode()).hexdigest(), str(path), size)
    return SourceState(_file_digest(path, source.by), str(path), path.stat().st_size)


def _file_digest(path: Path, by: str) -> str:
    stat = path.stat()
    if by == "stat":
        return hashlib.sha256(f"{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()
    return _content_digest(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=10_000)
def _content_digest(path: str, _size: int, _changed: int, _inode: int) -> str:
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _remote(url: str) -> SourceState:
    """What the other side says of it: an etag or checksum where it has one, else size and time of change."""
    from fsspec.core import url_to_fs

    fs, path = url_to_fs(url)
    fs.invalidate_cache()
    info: dict[str, Any] = fs.info(path)
    if info.get("type") == "directory":
        found: dict[str, dict[str, Any]] = fs.find(path, detail=True)
        told = "\n".join(f"{name}\0{_identity(one)}" for name, one in sorted(found.items()))
        size = sum(int(one.get("size") or 0) for one in found.values())
        return SourceState(hashlib.sha256(told.encode()).hexdigest(), redacted(url), size)
    digest = hashlib.sha256(_identity(info).encode()).hexdigest()
    return SourceState(digest, redacted(url), int(info.get("size") or 0))


_TELLING = ("ETag", "etag", "md5", "content_md5", "md5Hash", "crc32c", "checksum", "sha256")
_CHANGED = ("LastModified", "last_modified", "mtime", "updated", "created")


def _identity(info: dict[str, Any]) -> str:
    for name in _TELLING:
        if info.get(name):
            return f"{name}={info[name]}"
    changed = next((info[name] for name in _CHANGED if info.get(name)), "")
    return f"size={info.get('size')} changed={changed}"
