"""Requests that are answered later: WAIT and CANCEL watch a job's folder, and look more rarely the longer it is quiet.

The event loop calls `check` when an answer is `due`; nothing here blocks.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Any, NamedTuple, Optional

from . import files, jobs
from .frames import BODY_LIMIT
from .outcomes import ended

_QUICKEST = 0.001
_SLOWEST = 0.2
_ALIVE_EVERY = 0.1
LONGEST = 60.0
"""Seconds that a WAIT may take at most."""


class Answer(NamedTuple):
    """Meta and body of an OK."""

    meta: dict[str, Any]
    body: tuple[bytes, ...] = ()


class Later:
    """A request on one attempt that waits for something; `due` is when to look next, by the monotonic clock."""

    def __init__(self, number: int, attempt: jobs.Attempt, timeout: float) -> None:
        self.number = number
        self.attempt = attempt
        self._began = time.monotonic()
        self._deadline = self._began + timeout
        self.due = 0.0

    def check(self, now: float) -> Optional[Answer]:
        """The answer, once there is one; else `due` is set again. OSError where the job's files are damaged."""
        try:
            answer = self.answer(late=now >= self._deadline)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise OSError(errno.EINVAL, f"its files are damaged ({type(error).__name__}: {error})") from error
        quiet = now - self._began
        self.due = min(self._deadline, now + min(_SLOWEST, max(_QUICKEST, quiet / 10)))
        return answer

    def answer(self, *, late: bool) -> Optional[Answer]:
        """The answer, once there is one, or when it is `late`."""
        raise NotImplementedError


class Cancelled(Later):
    """CANCEL: until nothing of the job runs any more."""

    def answer(self, *, late: bool) -> Optional[Answer]:
        """The state, once it has ended or it is late."""
        view = jobs.look(self.attempt)
        if view.outcome is None and not late:
            return None
        return Answer({"state": view.state, "ended": ended(view.outcome), "waiting": view.waiting})


class News(Later):
    """WAIT: until there is output past the offsets, another state, or an end."""

    def __init__(self, number: int, attempt: jobs.Attempt, meta: dict[str, Any]) -> None:
        super().__init__(number, attempt, min(LONGEST, max(0.0, float(meta.get("timeout", 0.0)))))
        self._offsets = {name: max(0, int(meta.get(name, 0))) for name in ("stdout", "stderr")}
        self._limit = min(BODY_LIMIT, max(1, int(meta.get("limit", BODY_LIMIT))))
        self._known: Optional[tuple[str, str]] = None
        if "state" in meta:
            self._known = str(meta["state"]), str(meta.get("waiting") or "")
        self._view = jobs.View("waiting", "", None)
        self._looked = float("-inf")
        self._marks: tuple[int, int] = (-1, -1)

    def answer(self, *, late: bool) -> Optional[Answer]:
        """Where it is and what is new, once something is new or it is late."""
        self._look()
        # The view first, the output second: what a job writes is in its files before its outcome is.
        bodies = self._read()
        state = self._view.state, self._view.waiting
        if self._known is None:
            self._known = state
        if not late and self._view.outcome is None and not any(bodies) and state == self._known:
            return None
        out, err = bodies
        whole = all(
            self._offsets[name] + len(body) >= files.size_of(self.attempt.path(name))
            for name, body in zip(("stdout", "stderr"), bodies)
        )
        outcome = self._view.outcome if whole else None
        meta = {"state": state[0], "waiting": state[1], "stdout": len(out), "stderr": len(err), "outcome": outcome}
        return Answer({**meta, "ended": ended(self._view.outcome)}, bodies)

    def _look(self) -> None:
        """Look closely where a file was replaced, and now and then whether the supervisor still lives."""
        now = time.monotonic()
        marks = (_inode(self.attempt.path("state.json")), _inode(self.attempt.path("outcome.json")))
        if marks != self._marks or now - self._looked > _ALIVE_EVERY:
            self._marks, self._looked = marks, now
            self._view = jobs.look(self.attempt)

    def _read(self) -> tuple[bytes, bytes]:
        out = read(self.attempt, "stdout", self._offsets["stdout"], self._limit)[1]
        err = read(self.attempt, "stderr", self._offsets["stderr"], max(0, self._limit - len(out)))[1]
        return out, err


def read(attempt: jobs.Attempt, stream: str, offset: int, limit: int) -> tuple[int, bytes]:
    """The size of a stream so far, and at most `limit` bytes of it from `offset`."""
    try:
        fd = os.open(attempt.path(stream), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0, b""
    try:
        size = os.fstat(fd).st_size
        return size, os.pread(fd, min(limit, size - offset), offset) if size > offset and limit > 0 else b""
    finally:
        os.close(fd)


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0
