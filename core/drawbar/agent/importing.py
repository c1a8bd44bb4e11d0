"""Imports that a warm interpreter does ahead of its jobs: whether one left behind what a fork would break.

That is an open file or device (CUDA), a process, a thread, or code that somebody may edit while the interpreter lives.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import sysconfig
import time
from contextlib import suppress

from . import processes, warm

_PATIENCE = 300
_FORKED_WELL = ("jemalloc_bg_thd",)
"""Threads of libraries that take care of a fork by themselves, though they go on."""


def tried(name: str) -> str:
    """Import a module; why it must not be kept, or nothing."""
    opened, known = _open_files(), set(sys.modules)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_PATIENCE)
    try:
        importlib.import_module(name)
    except BaseException as error:  # a module may raise anything when it is imported
        return f"{type(error).__name__}: {error}"[:500]
    finally:
        signal.alarm(0)
    foreign = next((one for one in list(sys.modules) if one not in known and not _is_settled(one)), None)
    if foreign:
        return f"it imports {foreign}, which is not an installed package"
    if _open_files() != opened:
        return "it keeps a file open"
    if _has_children():
        return "it starts a process"
    threads = _threads()
    return f"it starts a thread, {threads[0]}" if threads else ""


def _is_settled(name: str) -> bool:
    """Whether a module lies where nobody edits it: among the packages, in Python itself, or nowhere."""
    path = getattr(sys.modules.get(name), "__dict__", {}).get("__file__")
    if not isinstance(path, str) or warm.is_below(path, warm.packages()):
        return True
    return warm.is_below(os.path.realpath(path), [os.path.realpath(one) for one in (processes.package(), *_standard())])


def _standard() -> list[str]:
    return [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]


def _open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def _has_children() -> bool:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _threads() -> list[str]:
    """The threads that a fork leaves running here: those of libraries that know of forks (OpenBLAS) end before it."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    found: list[str] = []
    for _ in range(20):  # one that has been joined may be seen for a moment still
        found = []
        for task in os.listdir("/proc/self/task"):
            with suppress(OSError):
                if int(task) != os.getpid():
                    with open(f"/proc/self/task/{task}/comm", encoding="utf-8", errors="replace") as file:
                        found.append(file.read().strip())
        found = [one for one in found if one not in _FORKED_WELL]
        if not found:
            break
        time.sleep(0.01)
    return found
