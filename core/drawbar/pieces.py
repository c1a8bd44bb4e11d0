"""Pieces of big files in a store: of local ones read in place, of remote ones from a copy that is fetched once.

`packs` asks for the bytes of single values, in any order; a store reads whole files only. So a remote pack is copied,
when something of it is first wanted, to the end of one nameless file on this machine, which is gone when it is closed.
"""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from typing import Any

from drawbar.files import Files, LocalFiles, mapped

_OPEN = 64


class Pieces:
    """The packs of one folder; for one thread."""

    def __init__(self, files: Files, folder: str) -> None:
        self._files, self._folder = files, folder
        self._open: OrderedDict[str, int] = OrderedDict()
        self._copies: dict[str, tuple[int, int]] = {}
        self._file: Any = None

    def read(self, pack: str, offset: int, length: int) -> bytes | None:
        """So many bytes, fewer where the pack is shorter; None where there is no such pack."""
        if isinstance(self._files, LocalFiles):
            handle = self._handle(self._files.uri(f"{self._folder}/{pack}.pack"))
            return None if handle is None else _pread(handle, length, offset)
        begin, size = self._copied(pack)
        if begin < 0:
            return None
        return _pread(self._file.fileno(), max(0, min(length, size - offset)), begin + offset)

    def _handle(self, path: str) -> int | None:
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        with mapped(path, "read"):
            try:
                self._open[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
        if len(self._open) > _OPEN:
            os.close(self._open.popitem(last=False)[1])
        return self._open[path]

    def _copied(self, pack: str) -> tuple[int, int]:
        """Where in the nameless file the pack's copy lies, and its size; -1 for a pack that is not there."""
        if pack in self._copies:
            return self._copies[pack]
        content = self._files.read(f"{self._folder}/{pack}.pack")
        if content is None:
            return -1, 0
        with mapped(tempfile.gettempdir(), "write"):
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
            begin = self._file.seek(0, os.SEEK_END)
            self._file.write(content)
            self._file.flush()
        self._copies[pack] = begin, len(content)
        return self._copies[pack]

    def close(self) -> None:
        """Let go of what is open; the copy goes with it."""
        for handle in self._open.values():
            os.close(handle)
        self._open.clear()
        self._copies.clear()
        if self._file is not None:
            self._file.close()
            self._file = None


def _pread(handle: int, length: int, offset: int) -> bytes:
    data = os.pread(handle, length, offset)
    while len(data) < length and (more := os.pread(handle, length - len(data), offset + len(data))):
        data += more
    return data
