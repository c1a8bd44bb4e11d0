"""Blobs: content-addressed bytes under `<root>/blobs/`, shared by all jobs; what the host has is never sent again.

Bytes come from a client in pieces (`put`) or from a worker in one go (`store`), are hashed as they pass, and become
visible under their digest by a rename, read-only. They go out again by `read`, or to a worker by `path`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterable
from typing import Any, Optional

from . import files

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_PIECE = 1 << 20
_FRESH = 3600.0
"""For how long a blob that was asked for counts as such without being touched again, in seconds."""


class BlobError(Exception):
    """Bytes that are not what their digest or offset says; `code` is the ERROR code."""

    def __init__(self, code: str, what: str, expected: str = "", found: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.expected = expected
        self.found = found


class _Partial:
    """One upload underway. The lock on its file keeps a second agent from writing to the same one."""

    __slots__ = ("fd", "hash", "hashed", "path", "size")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.size = os.fstat(fd).st_size
        self.hash = hashlib.sha256()
        self.hashed = 0

    def write(self, body: memoryview) -> None:
        if self.hashed < self.size:
            self._hash_what_is_there()
        files.write_all(self.fd, body)
        self.hash.update(body)
        self.size += len(body)
        self.hashed = self.size

    def digest(self) -> str:
        if self.hashed < self.size:
            self._hash_what_is_there()
        return self.hash.hexdigest()

    def _hash_what_is_there(self) -> None:
        """A resumed upload: what an earlier connection left is hashed once."""
        while self.hashed < self.size:
            piece = os.pread(self.fd, _PIECE, self.hashed)
            if not piece:
                raise BlobError("digest", "A partial blob became shorter.", f"{self.size} bytes", f"{self.hashed}")
            self.hash.update(piece)
            self.hashed += len(piece)


class Blobs:
    """The blobs of one root, and the uploads that this process is taking."""

    def __init__(self, root: str) -> None:
        self._blobs = os.path.join(root, "blobs")
        self._parts = os.path.join(root, "partial")
        self._underway: dict[str, _Partial] = {}
        self._booted = files.boot_time()
        self._made = 0

    def path(self, digest: str) -> str:
        """Where the blob of `digest` lies or would lie. Raises BlobError for a text that is no digest."""
        if not isinstance(digest, str) or not _DIGEST.match(digest):
            raise BlobError("protocol", "That is not a digest.", "64 hexadecimal digits", repr(digest)[:80])
        return os.path.join(self._blobs, digest[:2], digest)

    def has(self, digest: str) -> bool:
        """Whether the blob is here whole; one that is stays for a day at least, since whoever asks counts on it (`gc`).

        One that is older than the last boot is hashed once more: a power cut may have kept its name and lost its bytes.
        """
        path = self.path(digest)
        try:
            found = os.stat(path)
            if found.st_mtime < self._booted and _hash_file(path) != digest:
                files.remove(path)
                return False
            if found.st_mtime < max(self._booted, time.time() - _FRESH):
                os.utime(path)  # also the proof that no clean-up took it since the look
        except FileNotFoundError:
            return False
        return True

    def missing(self, digests: Iterable[str]) -> tuple[list[str], dict[str, int]]:
        """Those that are not here, and how many bytes of which of them are, so that an upload can go on there."""
        missing = [digest for digest in dict.fromkeys(digests) if not self.has(digest)]
        partial: dict[str, int] = {}
        for digest in missing:
            if digest in self._underway or os.path.exists(os.path.join(self._parts, digest)):
                size = self._begin(digest).size
                if size:
                    partial[digest] = size
        return missing, partial

    def put(self, digest: str, offset: int, size: int, body: memoryview) -> int:
        """Take the next bytes of an upload; the bytes here now. The piece that completes `size` makes the blob visible.

        Raises BlobError where the offset is not where the upload stands, or the digest is wrong at the end (the partial
        is removed then), and OSError where the disk is full (removed as well).
        """
        if self.has(digest):
            self._forget(digest)  # another client was quicker
            return size
        partial = self._begin(digest)
        if offset != partial.size or offset + len(body) > size:
            expected = f"offset {partial.size}"
            if not partial.size:
                self._forget(digest)
            raise BlobError("protocol", "A piece of a blob is out of order.", expected, f"{offset}")
        try:
            partial.write(body)
            if partial.size == size:
                self._finish(digest, partial)
        except (OSError, BlobError):
            self._forget(digest)
            raise
        return partial.size

    def store(self, parts: Iterable[Any]) -> tuple[str, int]:
        """Keep the bytes of `parts`; their digest and how many they are. Raises OSError, leaving nothing."""
        self._made += 1
        staging = os.path.join(files.make_folder(self._parts), f"new-{os.getpid()}-{self._made}")
        fd = os.open(staging, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        partial = _Partial(staging, fd)
        try:
            for part in parts:
                view = memoryview(part).cast("B")
                for start in range(0, len(view), _PIECE):
                    partial.write(view[start : start + _PIECE])
            digest = partial.digest()
            self._show(digest, staging)
        except BaseException:
            files.remove(staging)
            raise
        finally:
            os.close(fd)
        return digest, partial.size

    def read(self, digest: str, offset: int, length: int) -> tuple[int, bytes]:
        """The blob's size, and up to `length` bytes from `offset`. Raises BlobError where it is not here."""
        try:
            fd = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BlobError("unknown", "No such blob on the host.", found=digest) from None
        try:
            return os.fstat(fd).st_size, os.pread(fd, length, offset)
        finally:
            os.close(fd)

    def _begin(self, digest: str) -> _Partial:
        """The upload of `digest` that this process owns: a file of its own, where another owns the usual one."""
        partial = self._underway.get(digest)
        if partial is None:
            files.make_folder(self._parts)
            usual = os.path.join(self._parts, digest)
            partial = _open_partial(usual) or _open_partial(f"{usual}.{os.getpid()}")
            if partial is None:
                raise BlobError("internal", "Another process writes this process's partial blob.", found=digest)
            self._underway[digest] = partial
        return partial

    def _finish(self, digest: str, partial: _Partial) -> None:
        found = partial.digest()
        if found != digest:
            raise BlobError("digest", "The bytes of a blob are not what its digest says.", digest, found)
        self._show(digest, partial.path)
        del self._underway[digest]
        os.close(partial.fd)

    def close(self) -> None:
        """Let go of all uploads; those under the usual name stay, to be gone on with."""
        for digest, partial in list(self._underway.items()):
            if os.path.basename(partial.path) != digest:
                self._forget(digest)
            else:
                os.close(self._underway.pop(digest).fd)

    def _forget(self, digest: str) -> None:
        partial = self._underway.pop(digest, None)
        if partial is not None:
            files.remove(partial.path)
            os.close(partial.fd)

    def _show(self, digest: str, staging: str) -> None:
        path = self.path(digest)
        files.make_folder(os.path.dirname(path))
        os.chmod(staging, 0o400)
        os.rename(staging, path)


def _open_partial(path: str) -> Optional[_Partial]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    if not os.path.exists(path) or os.stat(path).st_ino != os.fstat(fd).st_ino:
        # Its owner finished between our open and our lock: the name is gone, or somebody else's.
        os.close(fd)
        return _open_partial(path)
    return _Partial(path, fd)


def _hash_file(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        for piece in iter(lambda: file.read(_PIECE), b""):
            digest.update(piece)
    return digest.hexdigest()
