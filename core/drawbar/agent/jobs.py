"""Jobs as folders: the file system is the database, and a lock held by a live supervisor is the only sign of life.

    <root>/jobs/<job>/log.jsonl             what happened to the job, one line each; proves how often it was executed
    <root>/jobs/<job>/attempts/<n>/         spec.json state.json stdout stderr lock cancel told outcome.json work/

The agent claims an attempt here (an exclusive rename of a complete folder) and looks at where it is; the supervisor
writes what becomes of it. Nothing here waits.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from typing import Any, NamedTuple, Optional

from . import files
from .outcomes import outcome

_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)
_STALE = 3600.0
RESERVE = 16 << 10
"""Bytes that each attempt sets aside, so that how it ended can be written down on a full disk too."""


class UnknownJobError(Exception):
    """No such job or attempt on this host."""


class Attempt(NamedTuple):
    """One attempt of a job; what it is made of lies under `folder`."""

    folder: str
    job: str
    number: int

    def path(self, name: str) -> str:
        """The path of one of its files."""
        return os.path.join(self.folder, name)


class View(NamedTuple):
    """Where an attempt is: `state` is waiting, running or ended, and `outcome` is there once it has ended.

    `stranded` tells that whoever claimed it died before it began: nothing ran, and it can be started still.
    """

    state: str
    waiting: str
    outcome: Optional[dict[str, Any]]
    stranded: bool = False


class Jobs:
    """The job folders of one root."""

    def __init__(self, root: str) -> None:
        self._folder = os.path.join(root, "jobs")

    def folder(self, job: str) -> str:
        """Where the job lies or would lie. Raises ValueError for a text that cannot be a job id."""
        if not isinstance(job, str) or not _JOB.match(job):
            raise ValueError(f"a job id is up to 128 letters, digits, '_', '.' and '-', not {job!r:.80}")
        return os.path.join(self._folder, job)

    def attempt(self, job: str, number: Optional[int] = None) -> Attempt:
        """That attempt, or the latest. Raises UnknownJobError."""
        found = self.latest(job) if number is None else self._attempt(job, number)
        if found is None or not os.path.isdir(found.folder):
            raise UnknownJobError(job if number is None else f"{job}, attempt {number}")
        return found

    def latest(self, job: str) -> Optional[Attempt]:
        """The job's last attempt, None where it has none."""
        try:
            names = os.listdir(os.path.join(self.folder(job), "attempts"))
        except FileNotFoundError:
            return None
        numbers = [int(name) for name in names if name.isdigit()]
        return self._attempt(job, max(numbers)) if numbers else None

    def claim(self, job: str, number: int, spec: dict[str, Any]) -> Optional[tuple[Attempt, int]]:
        """Make attempt `number`, and its lock's file descriptor, held; None where somebody else just made it.

        The folder is complete and locked before it gets its name, so nobody ever sees half of one, or a free one.
        """
        attempts = files.make_folder(os.path.join(self.folder(job), "attempts"))
        _sweep(attempts)
        staging = os.path.join(attempts, f".new-{os.getpid()}-{time.monotonic_ns()}")
        os.mkdir(staging, 0o700)
        lock = -1
        try:
            os.mkdir(os.path.join(staging, "work"), 0o700)
            lock = os.open(os.path.join(staging, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            files.write_json(os.path.join(staging, "spec.json"), spec)
            files.write_json(os.path.join(staging, "state.json"), {"state": "waiting", "since": time.time()})
            for name in ("report", "outcome"):
                _reserve(os.path.join(staging, f"{name}.reserve"))
            os.rename(staging, os.path.join(attempts, str(number)))
        except BaseException as error:
            if lock >= 0:
                os.close(lock)
            files.remove_folder(staging)
            if isinstance(error, OSError) and error.errno in _TAKEN:
                return None
            raise
        return self._attempt(job, number), lock

    def note(self, job: str, event: str, **facts: Any) -> None:
        """Append `event` to the job's log."""
        note(self.folder(job), event, **facts)

    def newest(self, limit: int) -> list[Attempt]:
        """The latest attempts of the `limit` jobs that something happened to last, newest first."""
        try:
            names = [name for name in os.listdir(self._folder) if _JOB.match(name)]
        except FileNotFoundError:
            return []
        names.sort(key=lambda name: _changed(os.path.join(self._folder, name, "log.jsonl")), reverse=True)
        latest = (self.latest(name) for name in names[: max(0, limit)])
        return [attempt for attempt in latest if attempt is not None]

    def _attempt(self, job: str, number: int) -> Attempt:
        return Attempt(os.path.join(self.folder(job), "attempts", str(int(number))), job, int(number))


def look(attempt: Attempt) -> View:
    """Where `attempt` is now."""
    told = _told(attempt)
    if told is not None:
        return View("ended", "", told)
    if locked(attempt):
        state = files.read_json(attempt.path("state.json")) or {}
        return View(state.get("state", "waiting"), state.get("waiting", ""), None)
    return look_unlocked(attempt)


def look_unlocked(attempt: Attempt) -> View:
    """Where it is, by whoever knows that no supervisor lives: it may have ended just now, or nobody will ever know."""
    told = _told(attempt)
    return View("ended", "", told) if told is not None else _abandoned(attempt)


def _told(attempt: Attempt) -> Optional[dict[str, Any]]:
    """The outcome as it was written down; None where there is none, or the file is damaged: then the job is lost."""
    told = files.read_json(attempt.path("outcome.json"))
    if told is None or not isinstance(told.get("state"), str) or "value" not in told:
        return None
    value = told["value"]
    whole = value is None or (isinstance(value, dict) and _DIGEST.match(str(value.get("digest"))))
    return told if whole else None


def locked(attempt: Attempt) -> bool:
    """Whether a supervisor (or the agent that is starting one) holds the attempt's lock."""
    held = lock(attempt, fcntl.LOCK_SH)
    if held is None:
        return True
    os.close(held)
    return False


def lock(attempt: Attempt, kind: int = fcntl.LOCK_EX) -> Optional[int]:
    """The file descriptor of the attempt's lock, now held; None where another process holds it."""
    fd = os.open(attempt.path("lock"), os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def note(folder: str, event: str, **facts: Any) -> None:
    """Append `event` to the log of the job in `folder`."""
    files.append_json(os.path.join(folder, "log.jsonl"), {"time": time.time(), "event": event, **facts})


def write_down(folder: str, name: str, told: dict[str, Any]) -> None:
    """Write an attempt's `report` or `outcome`; on a full disk, into the space set aside, with less traceback."""
    path = os.path.join(folder, f"{name}.json")
    try:
        files.write_json(path, told)
    except OSError as error:
        if error.errno not in files.FULL:
            raise
        _write_reserve(f"{path[: -len('.json')]}.reserve", told)
        os.rename(f"{path[: -len('.json')]}.reserve", path)


def write_outcome(attempt: Attempt, told: dict[str, Any]) -> None:
    """Write down how it ended; from here on it has."""
    write_down(attempt.folder, "outcome", told)
    for name in ("outcome.reserve", "report.reserve", "report.json"):
        files.remove(attempt.path(name))


def _write_reserve(reserve: str, told: dict[str, Any]) -> None:
    import json

    if told["error"]:
        short = {key: value[-4000:] for key, value in told["error"].items() if isinstance(value, str)}
        told = {**told, "error": {**told["error"], **short, "notes": []}}
    text = json.dumps({**told, "value": told["value"] and {**told["value"], "columns": []}}).encode()
    fd = os.open(reserve, os.O_WRONLY | os.O_CLOEXEC)
    try:
        files.write_all(fd, text[:RESERVE].ljust(RESERVE))
    finally:
        os.close(fd)


def _abandoned(attempt: Attempt) -> View:
    """Nobody holds the lock, and nobody wrote how it ended."""
    state = files.read_json(attempt.path("state.json")) or {}
    if state.get("state") != "running":
        return View("ended", "", outcome("lost", "lost"), stranded=True)
    rebooted = state.get("boot", "") != files.boot_id()
    facts = {"started": state.get("started"), "host": state.get("host", ""), "pid": state.get("pid")}
    return View("ended", "", outcome("lost", "reboot" if rebooted else "lost", **facts))


def _reserve(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        files.write_all(fd, b" " * RESERVE)
    finally:
        os.close(fd)


def _changed(path: str) -> float:
    """When `path` was changed, by the clock of its disk; now, where it is just being made or taken away."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return time.time()


def _sweep(attempts: str) -> None:
    """Remove what agents left that died while they made a claim, long ago."""
    for name in os.listdir(attempts):
        path = os.path.join(attempts, name)
        if name.startswith(".new-") and time.time() - _changed(path) > _STALE:
            files.remove_folder(path)
