"""Clean-up of a host: what ended long ago and what nothing refers to goes; whatever a job or a client counts on stays.

Asked for by GC, and done in a child process of the agent (`begin`), whose answer comes through a pipe. Digests that
stand anywhere in a remaining job's papers refer to blobs, code and Envs. A blob that nothing refers to is a cache: it
goes only where it was not asked for within a day and all blobs together are over their budget.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Optional

from . import archives, envs, facts, files, jobs

DAY = 86400.0
AGENTS = 30 * DAY
"""After how many seconds without a use an agent's zip goes, which the next client of its release would send again."""
_CLAIMED = 3600.0
"""How old the beginnings of an attempt must be for its agent to count as dead, in seconds; as in `jobs`."""
_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_PAPERS = ("spec.json", "outcome.json", "report.json")
_GOING = ".gone-"


def begin(root: str, budget: int, older: float, *, dry_run: bool = False) -> tuple[int, int]:
    """Start a clean-up; the child's process id and a pipe that gives its answer as JSON, then ends."""
    return facts.begin_with(lambda: collect(root, budget=budget, older=older, dry_run=dry_run))


def collect(
    root: str, *, budget: int, older: float, now: Optional[float] = None, dry_run: bool = False
) -> dict[str, Any]:
    """Clean up; how many things of each kind went (or would go) and their bytes, and what blobs are left.

    Jobs go `older` seconds after the last that happened to them; blobs down to `budget` bytes. One at a time cleans a
    root. What cannot be read or removed stays; nothing is raised for it.

    >>> import tempfile
    >>> collect(tempfile.mkdtemp(), budget=0, older=0.0)["removed"]["jobs"]
    {'count': 0, 'bytes': 0}
    """
    lock = os.open(os.path.join(root, "gc.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _Collection(root, time.time() if now is None else now, dry_run=dry_run).run(budget, older)
    finally:
        os.close(lock)


class _Collection:
    """One clean-up of one root."""

    def __init__(self, root: str, now: float, *, dry_run: bool) -> None:
        self._root = root
        self._now = now
        self._dry = dry_run
        self._removed: dict[str, dict[str, int]] = {}

    def run(self, budget: int, older: float) -> dict[str, Any]:
        gone = self._jobs(older)
        seen = time.time()
        named = _named(self._root, gone)
        left = self._blobs(named, budget, seen)
        self._code(named, seen)
        self._partial()
        self._envs(older)
        self._agents()
        self._warm()
        self._files("places", older)
        return {"dry_run": self._dry, "removed": self._removed, "kept": {"blobs": left}}

    def _count(self, kind: str, count: int = 0, size: int = 0) -> None:
        counted = self._removed.setdefault(kind, {"count": 0, "bytes": 0})
        counted["count"] += count
        counted["bytes"] += size

    def _aged(self, path: str) -> float:
        """Seconds since `path` was changed or touched; less than none where it is gone."""
        try:
            return self._now - os.lstat(path).st_mtime
        except OSError:
            return -1.0

    def _quiet(self, job: str) -> float:
        """Seconds since something happened to the job in that folder: its log has a line for each submit, too."""
        log = os.path.join(job, "log.jsonl")
        return self._aged(log if os.path.exists(log) else job)

    def _jobs(self, older: float) -> set[str]:
        """Remove old jobs; their ids."""
        self._count("jobs")
        folder = os.path.join(self._root, "jobs")
        known = jobs.Jobs(self._root)
        gone = set()
        for name in _listed(folder):
            path = os.path.join(folder, name)
            if name.startswith(_GOING):
                self._drop(path)  # left by a clean-up that was killed
                continue
            attempts = _listed(os.path.join(path, "attempts"))
            # Where an agent may be making an attempt just now, only what is left of one that died is old enough.
            age = older if attempts and attempts[0].isdigit() else max(older, _CLAIMED)
            if self._quiet(path) > age and not _alive(known, name):
                size = _size(path)
                if self._dry or self._take_away(path, attempts, age):
                    gone.add(name)
                    self._count("jobs", 1, size)
        return gone

    def _take_away(self, path: str, before: list[str], older: float) -> bool:
        """Remove a job's folder, unless a client has come back to it since its attempts were those of `before`."""
        away = os.path.join(os.path.dirname(path), f"{_GOING}{os.getpid()}-{os.path.basename(path)}")
        try:
            os.rename(path, away)
        except OSError:
            return False
        if self._quiet(away) <= older or _listed(os.path.join(away, "attempts")) != before:
            with suppress(OSError):
                os.rename(away, path)
            return False
        files.remove_folder(away)
        return True

    def _blobs(self, named: set[str], budget: int, seen: float) -> dict[str, int]:
        """Remove blobs over the budget, the one that was used longest ago first; what is left."""
        self._count("blobs")
        total, loose, count = 0, [], 0
        for path in _blob_files(self._root):
            try:
                found = os.stat(path)
            except OSError:
                continue
            total, count = total + found.st_size, count + 1
            used = max(found.st_mtime, found.st_atime)
            if os.path.basename(path) not in named and self._now - found.st_mtime > DAY:
                loose.append((used, found.st_size, path))
        loose.sort()
        late = set() if self._dry or total <= budget else _named(self._root, set(), since=seen)
        for _, size, path in loose:
            if total <= budget:
                break
            if os.path.basename(path) not in late and (self._dry or self._take_blob(path)):
                total, count = total - size, count - 1
                self._count("blobs", 1, size)
        return {"count": count, "bytes": total}

    def _take_blob(self, path: str) -> bool:
        """Remove a blob, unless somebody was told that it is here (which touches it) since it was looked at."""
        away = os.path.join(files.make_folder(os.path.join(self._root, "partial")), f"{_GOING}{os.path.basename(path)}")
        try:
            os.rename(path, away)
            if self._aged(away) <= DAY:
                os.rename(away, path)
                return False
            os.unlink(away)
        except OSError:
            return False
        return True

    def _code(self, named: set[str], seen: float) -> None:
        """Remove unpacked code that no remaining job was sent with."""
        self._count("code")
        folder = os.path.join(self._root, "code")
        old = [name for name in _listed(folder) if name != ".lock" and self._aged(os.path.join(folder, name)) > DAY]
        loose = [name for name in old if name not in named]
        late = _named(self._root, set(), since=seen) if loose and not self._dry else set()
        for name in loose:
            if name not in late:
                self._drop(os.path.join(folder, name), "code")

    def _partial(self) -> None:
        """Remove uploads that nobody goes on with."""
        self._count("uploads")
        folder = os.path.join(self._root, "partial")
        for name in _listed(folder):
            path = os.path.join(folder, name)
            if self._aged(path) > DAY and not _held(path):
                self._drop(path, "uploads")

    def _envs(self, older: float) -> None:
        removed = self._unused_envs(older) if self._dry else envs.remove_unused(self._root, older, self._now)
        self._count("envs", len(removed), sum(size for _, size in removed))

    def _unused_envs(self, older: float) -> list[tuple[str, int]]:
        """What `envs.remove_unused` would remove."""
        folder = os.path.join(self._root, "envs")
        found = []
        for name in _listed(folder):
            path = os.path.join(folder, name)
            used = min(self._aged(os.path.join(path, marker)) for marker in ("used", "complete.json"))
            if os.path.isdir(path) and (used < 0 or used >= older) and not _held(f"{path}.lock"):
                found.append((name, _size(path)))
        return found

    def _agents(self) -> None:
        """Remove the zips of releases that nobody has used for long, and that no process runs from."""
        self._count("agents")
        folder = os.path.join(self._root, "agent")
        for name in _listed(folder):
            path = os.path.join(folder, name)
            with suppress(OSError):
                found = os.stat(path)
                used = max(found.st_atime, found.st_mtime)
                if self._now - used > AGENTS and path not in __file__ and not _runs(name.partition(".")[0]):
                    self._drop(path, "agents")

    def _warm(self) -> None:
        """Remove what warm interpreters left that are no more."""
        self._count("warm")
        folder = os.path.join(self._root, "warm")
        for name in _listed(folder):
            path = os.path.join(folder, name)
            if self._aged(path) > DAY and not _held(os.path.join(path, "lock")):
                self._drop(path, "warm")

    def _files(self, kind: str, older: float) -> None:
        self._count(kind)
        folder = os.path.join(self._root, kind)
        for name in _listed(folder):
            path = os.path.join(folder, name)
            if name != ".lock" and self._aged(path) > older:
                self._drop(path, kind)

    def _drop(self, path: str, kind: str = "") -> None:
        """Remove a file or folder, which nobody sees half of: it loses its name first."""
        size = _size(path)
        if not self._dry:
            away = path
            if not os.path.basename(path).startswith(_GOING):
                away = os.path.join(os.path.dirname(path), f"{_GOING}{os.path.basename(path)}")
            try:
                os.rename(path, away)
                if os.path.isdir(away):
                    files.remove_folder(away)
                else:
                    files.remove(away)
            except OSError:
                return
        if kind:
            self._count(kind, 1, size)


def _named(root: str, without: set[str], since: float = 0.0) -> set[str]:
    """Every digest in the papers of jobs but those of `without`, and what their code is called where it is unpacked.

    With `since`, only of jobs to which something happened from then on, by the clock.
    """
    found: set[bytes] = set()
    trees: set[str] = set()
    folder = os.path.join(root, "jobs")
    for job in _listed(folder):
        if job in without or job.startswith(_GOING) or _changed(os.path.join(folder, job, "log.jsonl")) < since - 1.0:
            continue
        attempts = os.path.join(folder, job, "attempts")
        for number in _listed(attempts):
            for paper in _PAPERS:
                data = _read(os.path.join(attempts, number, paper))
                found.update(_DIGEST.findall(data))
                if paper == "spec.json":
                    trees.update(_trees(data))
    return {digest.decode() for digest in found} | trees


def _trees(spec: bytes) -> list[str]:
    """What the folders below `code/` are called that a spec's code is unpacked to, one for each group of packs."""
    try:
        told = json.loads(spec).get("code") or []
        groups = [[one] if isinstance(one, str) else list(one) for one in told]
        return [archives.name_of(group) for group in groups]
    except (ValueError, TypeError, AttributeError):
        return []


def _alive(known: jobs.Jobs, job: str) -> bool:
    """Whether a supervisor holds any attempt of the job."""
    try:
        names = os.listdir(os.path.join(known.folder(job), "attempts"))
        return any(jobs.locked(known.attempt(job, int(name))) for name in names if name.isdigit())
    except (FileNotFoundError, jobs.UnknownJobError):
        return False
    except (OSError, ValueError):
        return True  # what cannot be looked at, or is no job, is not ours


def _runs(digest: str) -> bool:
    """Whether a process of this user's was started with the agent of that digest, which its command line names."""
    for pid in _listed("/proc"):
        if pid.isdigit() and digest.encode() in _read(f"/proc/{pid}/cmdline"):
            return True
    return not digest


def _held(path: str) -> bool:
    """Whether a process holds the lock of the file at `path`."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _blob_files(root: str) -> Iterator[str]:
    folder = os.path.join(root, "blobs")
    for begin_ in _listed(folder):
        yield from (os.path.join(folder, begin_, name) for name in _listed(os.path.join(folder, begin_)))


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _changed(path: str) -> float:
    """When it was changed; now, where it is just being made."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return time.time()


def _size(path: str) -> int:
    """The bytes of a file, or of all files in a folder."""
    total = files.size_of(path) if not os.path.isdir(path) else 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
