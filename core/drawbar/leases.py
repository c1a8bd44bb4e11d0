"""Leases: concurrent makers of one Version are kept apart by a file in the store that only one of them can create.

A lease goes from the store to the one who makes the value; everybody else waits for the record, or takes over when the
holder is dead. No clock is compared across machines: a holder that renews its lease changes the file, and one whose
file has not changed for `TTL` seconds *of the watcher's own clock* is dead. On one machine a dead process is seen at
once. A take-over is the creation of the next generation's file, so of several watchers one succeeds (the fencing of
Gray and Cheriton's leases, SOSP 1989, with a generation in place of a clock).
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from drawbar.config import whoami
from drawbar.files import Files

TTL = 30.0
_HELD = ("walk", "attempt", "host", "boot", "pid", "born", "by", "since")
_counter = itertools.count()


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease: a process on a machine, since when, for which walk and attempt."""

    walk: str
    attempt: int
    host: str
    boot: str
    pid: int
    born: str
    by: str
    since: float

    @property
    def alive_here(self) -> bool | None:
        """Whether its process lives, where this machine can know; None elsewhere."""
        if (self.host, self.boot) != (socket.gethostname(), boot_id()):
            return None
        return _born(self.pid) == self.born and _exists(self.pid)

    def __str__(self) -> str:
        """Who, as a person reads it in a waiting line."""
        at = time.strftime("%H:%M", time.localtime(self.since))
        return f"{self.by}@{self.host} (pid {self.pid}) since {at}"


class Lease:
    """The right to make one Version, held until `release`; `before` is the dead holder that it was taken over from."""

    __slots__ = ("_files", "_held", "_released", "before", "path")

    def __init__(self, files: Files, path: str, before: Holder | None, held: Held) -> None:
        self._files, self.path, self.before, self._held = files, path, before, held
        self._released = False

    def release(self) -> None:
        """Let others make it; called when the record is in the store, when the making failed, or when it is left.

        Releasing again does nothing: the file may be somebody else's by then.
        """
        if self._released:
            return
        self._released = True
        self._held.forget(self.path)
        self._files.remove(self.path)


class Held:
    """The leases of one store in this process, and the thread that renews those held for long."""

    def __init__(self, files: Files, ttl: float = TTL) -> None:
        self._files, self.ttl = files, ttl
        self._since: dict[str, tuple[float, bytes]] = {}
        self._lock = threading.Lock()
        self._renewer: threading.Thread | None = None
        self._written: tuple[tuple[str, int], bytes] = (("", 0), b"")

    def acquire(
        self,
        namespace: str,
        version: str,
        walk: str,
        attempt: int = 1,
        *,
        made: Callable[[], bool],
        waiting: Callable[[Holder | None], None],
        stopped: Callable[[], bool],
    ) -> Lease | None:
        """The lease on `version`, or None as soon as `made()` says that another's record is there.

        `walk` and `attempt` say for which run it is held, so that whoever takes over knows which account is open.
        `waiting(holder)` is called when the wait begins and when the holder changes; `stopped()` ends it (None).
        """
        folder = f"{namespace}/leases"
        first = f"{folder}/{version}.1.json"
        content = self._content(walk, attempt)
        if self._files.claim(first, content):
            return self._hold(first, content, None)
        seen: tuple[int, bytes] | None = None
        since, pause, told = time.monotonic(), 0.02, ""
        while not stopped():
            if made():
                return None
            generation, current = self._highest(folder, version)
            if not generation:
                if self._files.claim(first, content):
                    return self._hold(first, content, None)
                continue
            if seen != (generation, current):
                seen, since = (generation, current), time.monotonic()
            holder = _holder(current)
            if self._dead(holder, since):
                path = f"{folder}/{version}.{generation + 1}.json"
                if self._files.claim(path, content):
                    for older in range(1, generation + 1):
                        self._files.remove(f"{folder}/{version}.{older}.json")
                    return self._hold(path, content, holder)
                continue
            if told != str(holder):
                waiting(holder)
                told = str(holder)
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        return None

    def _content(self, walk: str, attempt: int) -> bytes:
        """The same bytes for every lease of a walk, so that a local store needs one file for all of them."""
        if self._written[0] != (walk, attempt):
            body = {**_me(), "walk": walk, "attempt": attempt, "since": time.time()}
            self._written = ((walk, attempt), json.dumps(body).encode())
        return self._written[1]

    def _dead(self, holder: Holder | None, since: float) -> bool:
        alive = holder.alive_here if holder else None
        if alive is not None:
            return not alive
        return time.monotonic() - since > self.ttl

    def _highest(self, folder: str, version: str) -> tuple[int, bytes]:
        """The newest generation and its content; (0, b"") where nobody holds it."""
        generations = [
            int(name.split(".")[1])
            for name in self._files.list(folder)
            if name.startswith(version + ".") and name.split(".")[1].isdigit()
        ]
        if not generations:
            return 0, b""
        content = self._files.read(f"{folder}/{version}.{max(generations)}.json")
        return (0, b"") if content is None else (max(generations), bytes(content))

    def _hold(self, path: str, content: bytes, before: Holder | None) -> Lease:
        with self._lock:
            self._since[path] = (time.monotonic(), content)
            if self._renewer is None:
                self._renewer = threading.Thread(target=self._renew, name="drawbar-leases", daemon=True)
                self._renewer.start()
        return Lease(self._files, path, before, self)

    def forget(self, path: str) -> None:
        """Renew it no more."""
        with self._lock:
            self._since.pop(path, None)

    def _renew(self) -> None:
        while True:
            time.sleep(self.ttl / 6)
            now = time.monotonic()
            with self._lock:
                due = [(path, body) for path, (since, body) in self._since.items() if now - since > self.ttl / 4]
            for path, body in due:
                renewed = json.dumps({**json.loads(body), "renewed": next(_counter)}).encode()
                with self._lock:
                    if path not in self._since:
                        continue
                    try:
                        self._files.write(path, [renewed])
                    except Exception:  # noqa: S112  # tried again at the next turn, long before the lease is lost
                        continue
                    self._since[path] = (now, body)


def _me() -> dict[str, Any]:
    return _me_of(os.getpid())


@cache
def _me_of(pid: int) -> dict[str, Any]:
    return {"host": socket.gethostname(), "boot": boot_id(), "pid": pid, "born": _born(pid), "by": whoami()}


def _holder(content: bytes) -> Holder | None:
    """Who the file names; None while it is still being written, or if it was damaged."""
    try:
        body = json.loads(content)
        return Holder(**{name: body[name] for name in _HELD})
    except (ValueError, KeyError, TypeError):
        return None


@cache
def boot_id() -> str:
    """What tells this start of this machine from others; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process began, in the kernel's ticks, so that a number used again is not taken for the same process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
