"""Processes of a job: who descends from it, how to end all of them, and what the kernel says about memory.

Used by the supervisor, which adopts whatever its worker leaves behind (Linux: child subreaper), so that "no children
left" means that nothing of the job runs any more. Elsewhere only the worker's process group is reached.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Optional

_STDERR = 2
LINUX = sys.platform.startswith("linux")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Descendants whose parents end become children of this process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """This process is killed when `parent`, which forked it, ends in whatever way."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def close_all_but(*kept: int) -> None:
    """Close every file descriptor from 3 on but `kept`."""
    for name in os.listdir("/dev/fd"):
        if int(name) > _STDERR and int(name) not in kept:
            with suppress(OSError):  # the one that listed them is closed already
                os.close(int(name))


def _prctl(option: int, value: int) -> None:
    if LINUX:
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants(pid: int) -> list[int]:
    """All live processes below `pid`, in no order; zombies do not count."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    below = list(children.get(pid, ()))
    while below:
        one = below.pop()
        found.append(one)
        below += children.get(one, ())
    return found


def send(pids: Iterable[int], number: int) -> None:
    """Send a signal to each of `pids` that is still there."""
    for pid in pids:
        # A set-uid program is not ours to end; whoever runs it does.
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def stat(pid: int) -> Optional[list[str]]:
    """The fields of /proc/<pid>/stat after the name: state, parent, group, session, …; None once it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def leftovers(session: int, marker: str) -> list[int]:
    """Processes that a killed supervisor could not end: of its session, or started with `marker` in their environment.

    Where the number of the session belongs to a live process again, it tells nothing any more.
    """
    if not LINUX:
        return []
    found = []
    reused = stat(session) is not None
    for pid in _pids():
        fields = stat(pid)
        if fields is None or fields[0] in "ZX" or pid == os.getpid():
            continue
        if (not reused and int(fields[3]) == session) or _carries(pid, marker.encode()):
            found.append(pid)
    return found


def killed_for_memory(counters: Iterable[str] = ()) -> Optional[int]:
    """How many processes the kernel has killed for memory so far, in this control group or else on the machine.

    `counters` are the files to look in, the first that counts decides; None where none does.
    """
    for path in counters or (_memory_events(), "/proc/vmstat"):
        try:
            with open(path, encoding="ascii") as file:
                for line in file:
                    name, _, count = line.partition(" ")
                    if name == "oom_kill":
                        return int(count)
        except OSError:
            continue
    return None


def _memory_events() -> str:
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            for line in file:
                if line.startswith("0::"):
                    return f"/sys/fs/cgroup{line[3:].strip()}/memory.events"
    except OSError:
        pass
    return "/proc/vmstat"


def _carries(pid: int, marker: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return marker in file.read().split(b"\0")
    except OSError:
        return False


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _parents() -> list[tuple[int, int]]:
    if LINUX:
        known = ((pid, stat(pid)) for pid in _pids())
        return [(pid, int(fields[1])) for pid, fields in known if fields is not None and fields[0] not in "ZX"]
    import subprocess

    lines = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=False).stdout.split("\n")
    return [(int(pid), int(parent)) for pid, parent in (line.split() for line in lines if line.strip())]


def package() -> str:
    """What this package was imported from: on a host the agent's zip."""
    place = os.path.abspath(__file__)
    for _ in __name__.split("."):
        place = os.path.dirname(place)
    return place


def program(python: str, module: str, call: str) -> list[str]:
    """The argv by which `python` imports this package's `module` and evaluates `call`; more arguments may follow.

    >>> program("python3", "worker", "worker.entry()")[:2]
    ['python3', '-c']
    """
    text = (
        "import sys;sys.path[:]=[sys.argv[1]]+[p for p in sys.path if p];"
        f"from {__name__.rpartition('.')[0]} import {module};sys.argv[:]=['',*sys.argv[2:]];{call}"
    )
    return [python, "-c", text, package()]
