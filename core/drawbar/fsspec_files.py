"""Files on any place that fsspec reaches: object stores, SFTP, memory. What fsspec raises ends here."""

from __future__ import annotations

import contextlib
import inspect
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from drawbar.agent.storing import WHOLE_PUTS, WITH_FOLDERS
from drawbar.errors import StoreError, StoreUnreachableError
from drawbar.files import Part, redacted, told, unique

# A PUT on these is whole or not there; everywhere else a new file is written beside and moved into place.
_WHOLE_PUTS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory", "oss", "obs", "oci", "tos", "hf"}
_WITH_FOLDERS = {"sftp", "ssh", "ftp", "smb", "hdfs", "arrow_hdfs", "webhdfs", "dir", "local", "file"}

# fsspec's memory has no order among threads: a file's position, a listing and a conditional write are everybody's.
_MEMORY = threading.RLock()


class FsspecFiles:
    """Any place that fsspec reaches: object stores, SFTP, memory."""

    def __init__(self, url: str) -> None:
        self.root = redacted(url).rstrip("/")
        try:
            from fsspec.core import url_to_fs

            self._fs, base = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StoreUnreachableError(
                f"The store {self.root} cannot be opened.",
                found=str(error),
                todo="install what fsspec needs for it (s3fs, gcsfs, adlfs, …), or correct the URL",
            ) from error
        except Exception as error:  # some connect when they are opened, each with exceptions of its own
            raise self._unreachable("", "open", error) from error
        self._base: str = base.rstrip("/")
        protocol = self._fs.protocol if isinstance(self._fs.protocol, str) else self._fs.protocol[0]
        self._whole = protocol in WHOLE_PUTS
        self._folders = protocol in WITH_FOLDERS
        self._creates = _creates(self._fs)
        self._told = False
        self._alone: contextlib.AbstractContextManager[Any] = (
            _MEMORY if protocol == "memory" else contextlib.nullcontext()
        )

    def _full(self, path: str) -> str:
        return f"{self._base}/{path}" if path else self._base

    def read(self, path: str) -> bytearray | None:
        """The whole content, or None."""
        with self._mapped(path, "read"):
            try:
                return bytearray(self._fs.cat_file(self._full(path)))
            except FileNotFoundError:
                return None

    def read_many(self, paths: Sequence[str]) -> list[bytearray | None]:
        """One concurrent request for all: fsspec's asynchronous file systems gather them."""
        if not paths:
            return []
        full = [self._full(path) for path in paths]
        if len(full) == 1:
            return [self.read(paths[0])]
        with self._mapped(paths[0], "read"):
            # Not `cat`, which first looks for folders; and from byte 0, or s3fs would ask for the size before.
            found: list[Any] = self._fs.cat_ranges(full, 0, None, on_error="return")
            return [self._content(content) for content in found]

    @staticmethod
    def _content(content: Any) -> bytearray | None:
        if content is None or isinstance(content, FileNotFoundError):
            return None
        if isinstance(content, BaseException):
            raise content
        return bytearray(content)

    def size(self, path: str) -> int | None:
        """Its size, or None."""
        with self._mapped(path, "read"):
            try:
                self._fs.invalidate_cache()
                return int(self._fs.info(self._full(path))["size"])
            except FileNotFoundError:
                return None

    def write(self, path: str, parts: Sequence[Part]) -> None:
        """One PUT where that is whole; else written beside and moved."""
        with self._mapped(path, "write"):
            full = self._full(path)
            self._parent(full)
            if self._whole:
                self._fs.pipe_file(full, b"".join(parts))
                return
            staged = f"{full}.tmp-{unique()}"
            try:
                self._fs.pipe_file(staged, b"".join(parts))
                self._fs.mv(staged, full)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._fs.rm_file(staged)
                raise

    def create(self, path: str, parts: Sequence[Part]) -> bool:
        """A conditional PUT (fsspec's mode="create"); where that is not to be had, said once, a look and then a PUT."""
        if not (self._creates or self._told):
            self._told = True
            warnings.warn(
                f"{self.root} cannot create a file only if there is none: of two processes that make the same asset at "
                f"the same moment, both may ({type(self._fs).__name__} has no mode='create'; a newer release may)",
                stacklevel=2,
            )
        with self._mapped(path, "write"):
            full = self._full(path)
            self._parent(full)
            if not self._creates and self._fs.exists(full):
                return False
            try:
                self._fs.pipe_file(full, b"".join(parts), **({"mode": "create"} if self._creates else {}))
            except FileExistsError:
                return False
            return True

    def claim(self, path: str, content: bytes) -> bool:
        """The same as `create`."""
        return self.create(path, (content,))

    def tidy(self) -> None:
        """Nothing is kept."""

    def replace_with_link(self, path: str, target: str) -> None:
        """A copy: object stores have no links."""
        self.write(path, [self.read(target) or b""])

    def remove(self, path: str) -> None:
        """Take it away."""
        with self._mapped(path, "remove"), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._full(path))

    def list(self, folder: str) -> list[str]:
        """The names in a folder, as they are now."""
        with self._mapped(folder, "read"):
            try:
                self._fs.invalidate_cache()
                found = self._fs.ls(self._full(folder), detail=False)
            except FileNotFoundError:
                return []
            return sorted(one.rstrip("/").rpartition("/")[2] for one in found)

    def uri(self, path: str) -> str:
        """The URL, without credentials."""
        return f"{self.root}/{path}" if path else self.root

    def _parent(self, full: str) -> None:
        if self._folders:
            self._fs.makedirs(full.rpartition("/")[0], exist_ok=True)

    @contextlib.contextmanager
    def _mapped(self, path: str, verb: str) -> Iterator[None]:
        try:
            with self._alone:
                yield
        except StoreError:
            raise
        except OSError as error:
            mapped = told(error, self.uri(path), verb)
            if type(mapped) is StoreError:
                raise self._unreachable(path, verb, error) from error
            raise mapped from error
        except Exception as error:
            raise self._unreachable(path, verb, error) from error

    def _unreachable(self, path: str, verb: str, error: Exception) -> StoreUnreachableError:
        return StoreUnreachableError(
            f"Cannot {verb} {self.uri(path)}.",
            found=f"{type(error).__name__}: {redacted(str(error))}",
            todo="check the URL, the network and the credentials that fsspec uses for it",
        )


def _creates(fs: Any) -> bool:
    """Whether a file system (inside those that only wrap it) promises to create a file only where there is none."""
    while True:
        put = getattr(fs, "_pipe_file", None) or fs.pipe_file
        if "mode" in inspect.signature(put).parameters:
            return True
        if not hasattr(fs, "fs"):
            return False
        fs = fs.fs
