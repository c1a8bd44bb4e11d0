"""Files on any fsspec URL, with the few promises a store needs: whole when visible, created by one only, read together.

Bytes come here from `store` and go to a disk or an object store, and back. Local folders are reached without fsspec,
which costs ten times more per small file; every foreign exception ends here, as a StoreError that names the place.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias

from drawbar.errors import DiskFullError, StoreDeniedError, StoreError, StoreUnreachableError

Part: TypeAlias = bytes | bytearray | memoryview

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TRIES = 5
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOENT, errno.EXDEV)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]+@")


class Files(Protocol):
    """What a place for files can do; paths are relative to it and use `/`."""

    root: str

    def read(self, path: str) -> bytearray | None:
        """The whole content, or None where there is no such file."""

    def read_many(self, paths: Sequence[str]) -> list[bytearray | None]:
        """The contents of all of them, asked for together."""

    def size(self, path: str) -> int | None:
        """Its size in bytes, or None where there is no such file."""

    def write(self, path: str, parts: Sequence[Part]) -> None:
        """Put a whole file there, replacing what was."""

    def create(self, path: str, parts: Sequence[Part]) -> bool:
        """Put a whole file there unless there is one already; False says there was."""

    def claim(self, path: str, content: bytes) -> bool:
        """`create` for a small marker, as cheaply as the place can; a reader may see it empty for an instant."""

    def tidy(self) -> None:
        """Remove what this process keeps there for its own use."""

    def replace_with_link(self, path: str, target: str) -> None:
        """Make `path` another name, or a copy, of the file `target`."""

    def remove(self, path: str) -> None:
        """Take it away; it is no fault if it is gone."""

    def list(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none where there is no folder."""

    def uri(self, path: str) -> str:
        """Where it is, for people and for lineage."""


def open_files(url: str) -> Files:
    """The place that a path or an fsspec URL names. StoreUnreachableError for an unknown protocol, or no place."""
    if not url.removeprefix("file://").strip(":"):
        raise StoreUnreachableError(
            f"{url!r} names no place.",
            expected="a folder, or a URL with something behind '://'",
            todo="correct the URL",
        )
    if url.startswith("file://"):
        return LocalFiles(url.removeprefix("file://"))
    if "://" in url or "::" in url:
        from drawbar.fsspec_files import FsspecFiles

        return FsspecFiles(url)
    return LocalFiles(url)


_names, _token = itertools.count(), os.urandom(6).hex()


def unique() -> str:
    """A name that no other file has, whichever thread, process or machine asks."""
    return f"{_token}-{os.getpid()}-{next(_names)}"


def redacted(url: str) -> str:
    """A URL without the user and password that may stand in it."""
    return _CREDENTIALS.sub("", url)


class LocalFiles:
    """A folder on this machine, made when first written to."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))  # noqa: PTH100, PTH111  # strings: pathlib doubles the cost
        self._known: set[str] = set()
        self._claimed, self._claiming = ("", b""), threading.RLock()

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def read(self, path: str) -> bytearray | None:
        """The whole content, or None."""
        try:
            handle = os.open(self._full(path), os.O_RDONLY)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise told(error, self._full(path), "read") from error
        try:
            content = bytearray(os.fstat(handle).st_size)
            view, done = memoryview(content), 0
            while done < len(content):
                count = os.readv(handle, [view[done:]])
                if not count:
                    break
                done += count
            view.release()
            del content[done:]
            return content
        except OSError as error:
            raise told(error, self._full(path), "read") from error
        finally:
            os.close(handle)

    def read_many(self, paths: Sequence[str]) -> list[bytearray | None]:
        """One after another: a local disk gains nothing from asking together."""
        return [self.read(path) for path in paths]

    def size(self, path: str) -> int | None:
        """Its size, or None."""
        try:
            return os.stat(self._full(path)).st_size  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise told(error, self._full(path), "read") from error

    def write(self, path: str, parts: Sequence[Part]) -> None:
        """Written beside, then renamed."""
        full = self._full(path)
        with self._staged(full, parts) as staged:
            os.rename(staged, full)  # noqa: PTH104

    def create(self, path: str, parts: Sequence[Part]) -> bool:
        """Written beside, then linked: a link fails where the name is taken, and is whole where it is not."""
        full = self._full(path)
        with self._staged(full, parts) as staged:
            try:
                os.link(staged, full)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return self._create_unlinked(full, parts)
            return True

    def claim(self, path: str, content: bytes) -> bool:
        """`create` by one more link to a file with that content, which costs no inode and a twentieth of the time."""
        full = self._full(path)
        self._folder(full)
        with mapped(full, "write"), self._claiming:
            if self._claimed[1] != content:
                self.tidy()
                staged = f"{self.root}/.tmp/{unique()}"
                self._folder(staged)
                handle = self._opened(staged)
                try:
                    _write_all(handle, (content,))
                finally:
                    os.close(handle)
                self._claimed = (staged, content)
            try:
                os.link(self._claimed[0], full)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return self._create_unlinked(full, (content,))
            return True

    def tidy(self) -> None:
        """Remove the file that claims were links to, and the folder of files on their way if none is left."""
        staged, self._claimed = self._claimed[0], ("", b"")
        with contextlib.suppress(OSError):
            if staged:
                os.unlink(staged)  # noqa: PTH108
            os.rmdir(f"{self.root}/.tmp")  # noqa: PTH106
            self._known.discard(f"{self.root}/.tmp")

    def _create_unlinked(self, full: str, parts: Sequence[Part]) -> bool:
        try:
            handle = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        try:
            _write_all(handle, parts)
        except OSError:
            os.unlink(full)  # noqa: PTH108
            raise
        finally:
            os.close(handle)
        return True

    def replace_with_link(self, path: str, target: str) -> None:
        """Make `path` another name of `target`, atomically; a copy where the file system has no links."""
        staged = f"{self.root}/.tmp/{unique()}"
        with mapped(self._full(path), "write"):
            try:
                os.link(self._full(target), staged)
            except OSError:
                self.write(path, [self.read(target) or b""])
                return
            os.rename(staged, self._full(path))  # noqa: PTH104

    def remove(self, path: str) -> None:
        """Take it away."""
        try:
            os.unlink(self._full(path))  # noqa: PTH108
        except FileNotFoundError:
            return
        except OSError as error:
            raise told(error, self._full(path), "remove") from error

    def list(self, folder: str) -> list[str]:
        """The names in a folder."""
        try:
            return sorted(os.listdir(self._full(folder)))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise told(error, self._full(folder), "read") from error

    def uri(self, path: str) -> str:
        """The path itself."""
        return self._full(path)

    def _folder(self, full: str) -> None:
        folder = full.rpartition("/")[0]
        if folder in self._known:
            return
        with mapped(folder, "write"):
            try:
                os.mkdir(folder)  # noqa: PTH102
            except FileExistsError:
                if not os.path.isdir(folder):  # noqa: PTH112
                    raise
            except FileNotFoundError:
                self._folder(folder)
                os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        self._known.add(folder)

    def _opened(self, staged: str) -> int:
        """A new file; its folder is made again if somebody else tidied it away just now."""
        for _ in range(_TRIES):
            try:
                return os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            except FileNotFoundError:
                os.makedirs(staged.rpartition("/")[0], exist_ok=True)  # noqa: PTH103
        return os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    @contextlib.contextmanager
    def _staged(self, full: str, parts: Sequence[Part]) -> Iterator[str]:
        """A file with the parts in the store's own `.tmp`, which is on the same disk; gone afterwards in any case."""
        staged = f"{self.root}/.tmp/{unique()}"
        self._folder(staged)
        self._folder(full)
        with mapped(full, "write"):
            try:
                handle = self._opened(staged)
                try:
                    _write_all(handle, parts)
                finally:
                    os.close(handle)
                yield staged
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(staged)  # noqa: PTH108


def _write_all(handle: int, parts: Sequence[Part]) -> None:
    for part in parts:
        view = memoryview(part).cast("B")
        while len(view):
            view = view[os.write(handle, view) :]


@contextlib.contextmanager
def mapped(place: str, verb: str) -> Iterator[None]:
    """Operating system errors inside become StoreErrors that name the place."""
    try:
        yield
    except OSError as error:
        raise told(error, place, verb) from error


def told(error: OSError, place: str, verb: str) -> StoreError:
    """The one place where an operating system's refusal becomes an error that a person can act on."""
    text = f"{os.strerror(error.errno) if error.errno else error}"
    if error.errno in _FULL:
        return DiskFullError(
            f"There is no space to {verb} {place}.",
            found=text,
            todo="free space, or set `store` (DRAWBAR_STORE) to a larger place; nothing was half-written",
        )
    if error.errno in _DENIED or isinstance(error, PermissionError):
        return StoreDeniedError(
            f"Not allowed to {verb} {place}.",
            expected="a place that this user can read and write",
            found=text,
            todo="change its permissions, or set `store` (DRAWBAR_STORE) to another place",
        )
    return StoreError(f"Cannot {verb} {place}.", found=text, todo="check that the path is a folder that can be used")
