"""The local, append-only store of events that are still to be sent: a run writes here, and only here.

    <outbox>/<project digest>/project                 the path of the project, for a person who looks
    <outbox>/<project digest>/<time>-<pid>.ndjson      a segment: one event a line, written by one process
    <outbox>/<project digest>/<time>-<pid>.sent        how many of its bytes each destination has taken
    <outbox>/<project digest>/refused.ndjson           events that a destination refused for good, and why
    <outbox>/<project digest>/totals.json              what was sent since the outbox exists

A segment belongs to whoever holds its lock: the process that writes it, and after that one's end whoever takes it up.
A line is appended by one write(2) and so survives the death of its process at any moment; one that was torn has no
end and is passed over. Power loss is not guarded against, since that would cost a run milliseconds.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drawbar.errors import LineageError

SEGMENT_BYTES = 8 << 20
_READ_BYTES = 256 << 10


def outbox_of(root: Path, project: Path) -> Path:
    """The folder for `project`'s events below `root`, made if need be; LineageError where it cannot be."""
    where = str(project.resolve())
    folder = root / hashlib.sha256(os.fsencode(where)).hexdigest()[:16]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        named = folder / "project"
        if not named.exists():
            named.write_text(where + "\n", "utf-8", "surrogateescape")
    except OSError as error:
        raise LineageError(
            "The outbox for lineage cannot be written.",
            expected="a folder of your own",
            found=f"{error.strerror or error} ({folder})",
            todo="set DRAWBAR_HOME or `outbox` in [tool.drawbar.lineage] to a folder that can be written, "
            "or `enabled = false`",
        ) from error
    return folder


class Writer:
    """Appends events to segments of this process; a forked child begins its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._fd = -1
        self._size = 0
        self._sealed = False
        self._before: dict[Path, int] = {}
        self.path: Path | None = None
        _writers.add(self)

    def append(self, lines: Sequence[str]) -> None:
        """Keep `lines` by one write, whole or not at all; OSError where the disk takes no more."""
        data = ("\n".join(lines) + "\n").encode("ascii")
        with self._lock:
            if self._fd < 0 or self._sealed or self._size > SEGMENT_BYTES:
                self._begin()
            written = os.write(self._fd, data)
            if written < len(data):
                os.ftruncate(self._fd, self._size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            self._size += written

    def seal(self) -> None:
        """Append no more to this segment, which stays ours until `close`; what comes later begins another."""
        with self._lock:
            self._sealed = True

    def release(self, segment: Path) -> None:
        """Let go of a segment that is no longer appended to."""
        with self._lock:
            if segment in self._before:
                os.close(self._before.pop(segment))

    def close(self) -> None:
        """Give all segments up, so that any process may send them."""
        with self._lock:
            self._let_go()

    def after_fork(self) -> None:
        """In the child: let go of the parent's files, whose locks would otherwise outlive the parent."""
        self._lock = threading.Lock()
        self._let_go()

    def _begin(self) -> None:
        if self.path is not None and self._fd >= 0:
            self._before[self.path] = self._fd
        self.path = self._folder / f"{time.time_ns():020d}-{os.getpid()}.ndjson"
        # Seen by others only when it is locked: an empty segment without an owner would be removed as sent.
        unseen = self.path.with_suffix(".new")
        self._fd = os.open(unseen, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        unseen.rename(self.path)
        self._size, self._sealed = 0, False

    def _let_go(self) -> None:
        for fd in (self._fd, *self._before.values()):
            if fd >= 0:
                os.close(fd)
        self._before.clear()
        self._fd = -1


_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


def _after_fork() -> None:
    for writer in tuple(_writers):
        writer.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def segments(folder: Path) -> list[Path]:
    """All segments, the oldest first."""
    return sorted(path for path in folder.glob("*-*.ndjson"))


@contextmanager
def taken_up(segment: Path) -> Iterator[bool]:
    """Hold the segment of a process that is gone; gives False where its process lives or another has taken it up."""
    try:
        fd = os.open(segment, os.O_RDONLY)
    except OSError:  # sent and removed meanwhile
        yield False
        return
    try:
        # Whoever held it before may have sent and removed it between our open and our lock.
        yield _locked(fd) and segment.exists()
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def whole_lines(segment: Path, offset: int) -> tuple[list[bytes], int]:
    """Some whole lines from `offset` on, and the offset behind them; a line longer than a read comes alone."""
    size = _READ_BYTES
    with segment.open("rb") as file:
        while True:
            file.seek(offset)
            data = file.read(size)
            end = data.rfind(b"\n") + 1
            if end or len(data) < size:
                break
            size *= 2
    return [line for line in data[:end].split(b"\n") if line], offset + end


class Progress:
    """How far each destination has taken a segment; kept beside it, replaced atomically."""

    def __init__(self, segment: Path) -> None:
        self._segment = segment
        self._path = segment.with_suffix(".sent")
        self._offsets: dict[str, int] = _read_json(self._path)

    def of(self, label: str) -> int:
        """Bytes that the destination has."""
        return self._offsets.get(label, 0)

    def advance(self, label: str, offset: int) -> None:
        """Remember that the destination has everything before `offset`."""
        self._offsets[label] = offset
        _write_json(self._path, self._offsets)

    def waiting(self, label: str) -> int:
        """How many whole lines the destination does not have yet."""
        with self._segment.open("rb") as file:
            file.seek(self.of(label))
            return sum(data.count(b"\n") for data in iter(lambda: file.read(_READ_BYTES), b""))

    def remove(self) -> None:
        """Drop the segment: every destination has all of it."""
        self._segment.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)


class Totals:
    """What was sent and refused since the outbox exists, by destination; for people who ask."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "totals.json"

    def read(self) -> dict[str, dict[str, Any]]:
        """`{label: {"sent": …, "refused": …, "error": …, "at": …}}`."""
        return _read_json(self._path)

    def add(self, label: str, *, sent: int = 0, refused: int = 0, error: str = "") -> None:
        """Add to a destination's figures; `error` is why it takes nothing now, empty where it does."""
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            totals = self.read()
            before = totals.get(label, {})
            totals[label] = {
                "sent": before.get("sent", 0) + sent,
                "refused": before.get("refused", 0) + refused,
                "error": error,
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
            _write_json(self._path, totals)


def keep_refused(folder: Path, label: str, reason: str, event: bytes) -> None:
    """Put an event aside that `label` will never take, with the reason; one write, as in a segment."""
    record = {"destination": label, "reason": reason, "event": event.decode("utf-8", "replace")}
    fd = os.open(folder / "refused.ndjson", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, (json.dumps(record) + "\n").encode("ascii"))
    finally:
        os.close(fd)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, content: Any) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    beside.write_text(json.dumps(content), "utf-8")
    beside.replace(path)
