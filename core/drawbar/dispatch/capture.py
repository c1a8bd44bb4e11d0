"""What a function prints, kept apart per job while it runs in this process.

Text written to `sys.stdout` and `sys.stderr` by a job's thread goes to that job's logs; all other threads print as
before. The two streams are wrapped only while a job runs. Threads that a function starts itself print as before, too.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

_JOB: ContextVar[Sink | None] = ContextVar("drawbar_job", default=None)
_LOCK = threading.Lock()
_WRAPPED: dict[str, tuple[_Splitter, Any]] = {}
_RUNNING = 0


class Sink(Protocol):
    """Where a job's output goes."""

    def write(self, stream: str, data: bytes) -> None:
        """Take the next bytes of `stream`, stdout or stderr."""


class _Splitter:
    """A text stream that sends what a job's thread writes to the job, and everything else where it went before."""

    def __init__(self, name: str, original: Any) -> None:
        self._name = name
        self._original = original

    def write(self, text: str) -> int:
        sink = _JOB.get()
        if sink is None:
            return int(self._original.write(text))
        sink.write(self._name, str(text).encode("utf-8", "replace"))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if _JOB.get() is None:
            self._original.flush()

    @property
    def buffer(self) -> Any:
        sink = _JOB.get()
        return self._original.buffer if sink is None else _Binary(self._name, sink)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _Binary:
    """The `buffer` of a job's stream: what is written as bytes."""

    def __init__(self, name: str, sink: Sink) -> None:
        self._name = name
        self._sink = sink

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._sink.write(self._name, piece)
        return len(piece)

    def flush(self) -> None:
        """Nothing is held back."""


@contextmanager
def captured(sink: Sink) -> Iterator[None]:
    """While this lasts, what this thread (and what it awaits) prints goes to `sink`."""
    _begin()
    token = _JOB.set(sink)
    try:
        yield
    finally:
        _JOB.reset(token)
        _end()


def _begin() -> None:
    global _RUNNING
    with _LOCK:
        _RUNNING += 1
        for name in ("stdout", "stderr"):
            present = getattr(sys, name)
            if name not in _WRAPPED and present is not None:
                _WRAPPED[name] = _Splitter(name, present), present
                setattr(sys, name, _WRAPPED[name][0])


def _end() -> None:
    """Put back what was there; a stream that somebody else has replaced meanwhile is theirs."""
    global _RUNNING
    with _LOCK:
        _RUNNING -= 1
        if _RUNNING:
            return
        for name, (splitter, original) in list(_WRAPPED.items()):
            if getattr(sys, name) is splitter:
                setattr(sys, name, original)
            del _WRAPPED[name]
