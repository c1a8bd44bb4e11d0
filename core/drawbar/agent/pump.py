"""What a job writes: from its pipes into its folder, bounded, with secrets masked.

The supervisor feeds it with whatever the worker's pipes give; clients read the files through WAIT and READ.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from . import files

MASK = "***"
_SHORTEST = 4


class Masker:
    """Replaces secrets by ***, wherever a chunk ends. Values shorter than 4 characters are too common to be masked.

    >>> masker = Masker(["hunter22"])
    >>> masker.feed(b"password: hunt") + masker.feed(b"er22 ok") + masker.rest()
    b'password: *** ok'
    """

    __slots__ = ("_held", "_secrets")

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret.encode("utf-8", "surrogateescape") for secret in secrets if len(secret) >= _SHORTEST}
        self._secrets = sorted(known, key=len, reverse=True)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """`data` masked, as far as it cannot be the beginning of a secret; that is held back until more comes."""
        if not self._secrets:
            return data
        masked = self.mask(self._held + data)
        keep = max(_begun(masked, secret) for secret in self._secrets)
        self._held = masked[len(masked) - keep :]
        return masked[: len(masked) - keep]

    def rest(self) -> bytes:
        """What was held back, at the end."""
        held, self._held = self._held, b""
        return held

    def mask(self, data: bytes) -> bytes:
        """`data`, as a whole, without secrets."""
        for secret in self._secrets:
            data = data.replace(secret, MASK.encode())
        return data

    def text(self, text: str) -> str:
        """`text` without secrets."""
        return self.mask(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def holds(self, data: bytes) -> bool:
        """Whether a secret stands in `data`."""
        return any(secret in data for secret in self._secrets)


def _begun(data: bytes, secret: bytes) -> int:
    """How many bytes at the end of `data` could be the beginning of `secret`."""
    for length in range(min(len(secret) - 1, len(data)), 0, -1):
        if data.endswith(secret[:length]):
            return length
    return 0


class Log:
    """One stream of a job as a file of at most `limit` bytes; what comes after is counted, and said at the end."""

    __slots__ = ("_fd", "_limit", "_masker", "_size", "_why", "dropped")

    def __init__(self, path: str, limit: int, masker: Masker) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._limit = limit
        self._why = f"the limit is {limit}"
        self._masker = masker
        self._size = 0
        self.dropped = 0

    def write(self, data: bytes) -> None:
        """Take the next bytes of the stream. A full disk drops them, as the limit does; the job goes on."""
        self._keep(self._masker.feed(data))

    def finish(self) -> None:
        """Write what was held back and, where bytes were dropped, a line that says so."""
        self._keep(self._masker.rest())
        if self.dropped:
            line = f"[drawbar: {self.dropped} bytes of output not kept; {self._why}]\n"
            with suppress(OSError):  # the disk is full; the outcome tells how many were dropped
                files.write_all(self._fd, b"\n" + line.encode())
        os.close(self._fd)

    def _keep(self, data: bytes) -> None:
        fits = data[: max(0, self._limit - self._size)]
        written = 0
        try:
            while written < len(fits):
                written += os.write(self._fd, memoryview(fits)[written:])
        except OSError:
            self._limit = self._size + written
            self._why = "the disk was full"
        self._size += written
        self.dropped += len(data) - written
