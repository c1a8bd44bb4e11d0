"""The queue of GPU leases on disk, with no daemon: whoever waits decides for all, under a kernel lock.

    <root>/gpus/<boot id>/        one for each machine and boot, so that a home shared by several cannot mix them
      ledger                      the lock of whoever decides; holds the last number, and when was decided last
      queue/<number>              a ticket, who asks for what; locked by the job's supervisor while it lives
      grants.json                 the last decision: who has which device, who waits, what strangers use
      devices.json  apps.json     what nvidia-smi said (see `devices`)

Numbers are handed out under the ledger's lock, so order never depends on a clock. A ticket whose lock is free is dead,
and whoever decides next removes it. `gpus` makes tickets and asks for decisions; the rule is in `grants`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Optional

from . import devices, files, grants, processes

_UNLOCKABLE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_EVERY = 1.0
_PAUSE = 0.002
_STALE = 30 * 86400.0


class GpuError(Exception):
    """No lease can be had: what was wrong, what was expected, what was found, what to do."""

    def __init__(self, what: str, expected: str = "", found: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what, self.expected, self.found, self.todo = what, expected, found, todo


class Ticket(NamedTuple):
    """A live request: its number, what it asks for, and all that its file says."""

    number: int
    request: grants.Request
    told: dict[str, Any]


def folder(root: str) -> str:
    """Where the leases of this boot are, made where missing."""
    above = os.path.join(root, "gpus")
    path = os.path.join(above, files.boot_id() or "boot")
    if not os.path.isdir(os.path.join(path, "queue")):
        files.make_folder(os.path.join(path, "queue"))
        _sweep(above)
    return path


def ticket(place: str, number: int) -> str:
    """The path of a ticket."""
    return os.path.join(place, "queue", str(number))


def take(place: str, told: dict[str, Any], patience: float) -> tuple[int, int]:
    """A ticket that says `told`: its number, and the file descriptor whose life is the ticket's. Raises OSError."""
    with _ledger(place, patience) as ledger:
        if ledger is None:
            raise TimeoutError(errno.ETIMEDOUT, "another process keeps the lock", os.path.join(place, "ledger"))
        number = 1 + max(int(_noted(ledger)[0]), max(_numbers(place), default=0))
        staging = os.path.join(place, "queue", ".new")
        files.remove(staging)
        fd = os.open(staging, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _lock(fd, fcntl.LOCK_EX)
            files.write_all(fd, json.dumps(told).encode())
            _note(ledger, number, 0.0)
            os.rename(staging, ticket(place, number))
        except BaseException:
            os.close(fd)
            raise
        return number, fd


def due(place: str, number: int) -> bool:
    """Whether something may have changed since the last decision, or it did not know of this ticket yet."""
    known = last(place)
    try:
        with open(os.path.join(place, "ledger"), "rb") as ledger:
            decided = _noted(ledger.fileno())[1]
    except FileNotFoundError:
        return True
    if not 0 <= time.monotonic() - decided < _EVERY or known["changed"] != _changed(place):
        return True
    return str(number) not in known["grants"] and all(one["number"] != number for one in known["waiting"])


def decide(place: str, patience: float, number: int = 0) -> Optional[list[Ticket]]:
    """Grant what can be granted, and wake who got something; all live tickets, or None where somebody else decides.

    With the `number` of a ticket only where it still is `due` when its turn has come.
    """
    used = devices.apps(place)
    with _ledger(place, patience) as ledger:
        if ledger is None or (number and not due(place, number)):
            return None
        changed = _changed(place)
        tickets = _live(place)
        before = last(place)
        after = {**_decided(tickets, before["grants"], used), "changed": changed}
        if after != before:
            files.write_json(os.path.join(place, "grants.json"), after)
        _note(ledger, int(_noted(ledger)[0]), time.monotonic())
    wake([grant for key, grant in after["grants"].items() if key not in before["grants"] and key != str(number)])
    return tickets


def last(place: str) -> dict[str, Any]:
    """The last decision: `grants` by number, those `waiting` in order, and `foreign` processes by device."""
    nothing: dict[str, Any] = {"grants": {}, "waiting": [], "foreign": {}, "changed": 0}
    return files.read_json(os.path.join(place, "grants.json")) or nothing


def wake(those: Sequence[dict[str, Any]]) -> None:
    """Tell supervisors that another look is worth while; a process that only has the number of one is left alone."""
    for one in those:
        if one["born"] and one["born"] == born(one["pid"]):
            processes.send([one["pid"]], signal.SIGUSR1)


def born(pid: int) -> str:
    """When a process began, in ticks since the boot, which no other process of its number did; "" where none tells."""
    fields = processes.stat(pid)
    return fields[19] if fields else ""


def _decided(tickets: Sequence[Ticket], before: dict[str, Any], used: Sequence[devices.App]) -> dict[str, Any]:
    held = {str(one.number): before[str(one.number)] for one in tickets if str(one.number) in before}
    owners: dict[str, list[int]] = {}
    for grant in held.values():
        for device in grant["devices"]:
            owners.setdefault(device, []).append(grant["pid"])
    foreign = devices.foreign(used, owners)
    granted = {place: held[str(one.number)]["devices"] for place, one in enumerate(tickets) if str(one.number) in held}
    for place, got in grants.decide([one.request for one in tickets], granted, foreign).items():
        told = tickets[place].told
        grant = {key: told[key] for key in ("job", "attempt", "name", "pid", "born", "memory")}
        grant.update(devices=[device.id for device in got], since=time.time())
        held[str(tickets[place].number)] = grant
    waiting = [
        {"number": one.number, "pid": one.told["pid"], "born": one.told["born"]}
        for one in tickets
        if str(one.number) not in held
    ]
    strangers = {
        device: [{"pid": app.pid, "name": app.name, "used": app.used} for app in those]
        for device, those in foreign.items()
    }
    return {"grants": held, "waiting": waiting, "foreign": strangers}


def _live(place: str) -> list[Ticket]:
    """All tickets whose supervisors live, in order; the others are removed. For whoever holds the ledger."""
    tickets = []
    for number in sorted(_numbers(place)):
        path = ticket(place, number)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            _lock(fd, fcntl.LOCK_SH)
        except BlockingIOError:
            told = json.loads(os.read(fd, os.fstat(fd).st_size))
            there = [devices.Device(*one) for one in told["devices"]]
            tickets.append(Ticket(number, grants.Request(told["gpus"], told["memory"], there), told))
        else:
            files.remove(path)
        finally:
            os.close(fd)
    return tickets


@contextmanager
def _ledger(place: str, patience: float) -> Iterator[Optional[int]]:
    """Hold the ledger, which nobody does for long; None where it is not had in `patience` seconds."""
    fd = os.open(os.path.join(place, "ledger"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience
    try:
        held = False
        while not held:
            try:
                _lock(fd, fcntl.LOCK_EX)
                held = True
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    break
                time.sleep(_PAUSE)  # a lock waited for in the kernel could not be given up
        yield fd if held else None
    finally:
        os.close(fd)


def _lock(fd: int, kind: int) -> None:
    """Raises BlockingIOError where another process holds it, and GpuError where the file system has no locks."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _UNLOCKABLE:
            raise
        raise GpuError(
            "The host cannot lease GPUs: the file system of its folder has no kernel locks.",
            "a lock that ends with its process; without it two jobs could get one GPU",
            f"{os.strerror(error.errno or 0)}, at flock",
            "set `root` of the target to a folder on a local disk",
        ) from None


def _noted(ledger: int) -> tuple[float, float]:
    """The last number, and when was decided last by the monotonic clock of this boot."""
    words = os.pread(ledger, 64, 0).split()
    try:
        return int(words[0]), float(words[1])
    except (IndexError, ValueError):
        return 0, 0.0


def _note(ledger: int, number: int, decided: float) -> None:
    os.pwrite(ledger, b"%020d %020.6f\n" % (number, decided), 0)


def _numbers(place: str) -> list[int]:
    return [int(name) for name in os.listdir(os.path.join(place, "queue")) if name.isdigit()]


def _changed(place: str) -> int:
    """When a ticket came or went last, by the clock of the disk, in nanoseconds."""
    return os.stat(os.path.join(place, "queue")).st_mtime_ns


def _sweep(above: str) -> None:
    """Remove what boots of long ago left; a folder in which a ticket is locked belongs to another machine's boot."""
    for name in os.listdir(above):
        place = os.path.join(above, name)
        with suppress(OSError):
            if time.time() - os.stat(os.path.join(place, "ledger")).st_mtime > _STALE and not _live(place):
                files.remove_folder(place)
