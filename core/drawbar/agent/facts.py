"""What a host has: interpreters, packages, disk, memory, CPUs, GPUs. Asked by preflight and `drawbar doctor`.

Finding out runs other programs and may take seconds, so the agent does it in a child process (`begin`) and goes on
serving; the answer comes through a pipe.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import sys
import time
from typing import Any, Callable, Optional

from . import devices, files, processes

_PLACES = (
    "~/.pyenv/versions/*/bin/python3",
    "~/.local/share/uv/python/*/bin/python3",
    "~/.local/bin/python3",
    "~/miniconda3/bin/python3",
    "~/miniforge3/bin/python3",
    "~/anaconda3/bin/python3",
    "/opt/*/bin/python3",
    "/usr/local/bin/python3.*",
    "/usr/bin/python3.*",
)
_PYTHON = re.compile(r"python3(\.\d+)?\Z")
_ASK = (
    "import sys,json,importlib.util as u,importlib.metadata as m\n"
    "def v(n):\n"
    " try:\n"
    "  if n[:7]=='import ': return '' if u.find_spec(n[7:]) else None\n"
    "  return m.version(n)\n"
    " except (ImportError,ValueError): return None\n"
    "print(json.dumps({n: v(n) for n in sys.argv[1:]}))"
)


def begin(root: str, packages: list[str], python: Optional[str] = None, *, brief: bool = False) -> tuple[int, int]:
    """Start to find out; the child's process id and a pipe that gives the facts as JSON, then ends."""
    return begin_with(lambda: gather(root, packages, python, brief=brief))


def begin_with(give: Callable[[], dict[str, Any]]) -> tuple[int, int]:
    """Start a child process that finds something out; its id and a pipe that gives the answer as JSON, then ends.

    The pipe ends without an answer where `give` raises.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        processes.close_all_but(writer)
        files.write_all(writer, json.dumps(give()).encode())
    finally:
        os._exit(0)


def gather(root: str, packages: list[str], python: Optional[str] = None, *, brief: bool = False) -> dict[str, Any]:
    """All facts. Sizes are bytes, `clock` is seconds since the epoch; `packages` are those of `python` or of this one.

    What cannot be found out is 0, empty or None; nothing is raised. `brief` leaves out what other programs must be
    started for: all interpreters but this one, and GPUs.
    """
    return {
        "interpreters": [] if brief else interpreters(),
        "packages": _packages(packages, python),
        "disk": shutil.disk_usage(root).free,
        "memory": _memory(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "gpus": [] if brief else devices.listing(),
        "libc": "-".join(platform.libc_ver()),
        "boot": files.boot_id(),
        "clock": time.time(),
    }


def interpreters() -> list[dict[str, str]]:
    """Every Python 3 found in the usual places, this one first: path and full version, each real file once."""
    import glob

    found = {os.path.realpath(sys.executable): {"path": sys.executable, "version": platform.python_version()}}
    on_path = (os.path.join(folder, name) for folder in os.get_exec_path() for name in _listed(folder))
    candidates = [*on_path, *(path for place in _PLACES for path in sorted(glob.glob(os.path.expanduser(place))))]
    for path in candidates:
        real = os.path.realpath(path)
        if real not in found and _PYTHON.match(os.path.basename(path)) and os.access(path, os.X_OK):
            version = (devices.said([path, "-c", "import platform;print(platform.python_version())"]) or "").strip()
            if version:
                found[real] = {"path": path, "version": version}
    return list(found.values())


def _listed(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if _PYTHON.match(name))
    except OSError:
        return []


def _packages(names: list[str], python: Optional[str]) -> dict[str, Optional[str]]:
    """The version of each distribution; for `import <module>` an empty text if there is such a module."""
    if python:
        said = devices.said([python, "-c", _ASK, *names])
        return json.loads(said) if said else dict.fromkeys(names)
    from importlib import metadata, util

    versions: dict[str, Optional[str]] = {}
    for name in names:
        try:
            if name.startswith("import "):
                versions[name] = "" if util.find_spec(name[len("import ") :]) else None
            else:
                versions[name] = metadata.version(name)
        except (ImportError, ValueError):  # PackageNotFoundError, a package above it that is missing, an odd module
            versions[name] = None
    return versions


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0
