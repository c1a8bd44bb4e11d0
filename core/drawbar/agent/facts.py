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
from typing import Any, Optional

from . import files, processes

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
_PATIENCE = 10.0
_ASK = (
    "import sys,json,importlib.metadata as m\n"
    "def v(n):\n"
    " try: return m.version(n)\n"
    " except m.PackageNotFoundError: return None\n"
    "print(json.dumps({n: v(n) for n in sys.argv[1:]}))"
)
_GPU_FIELDS = ("index", "uuid", "name", "memory.total", "memory.used", "utilization.gpu", "driver_version")


def begin(root: str, packages: list[str], python: Optional[str] = None, *, brief: bool = False) -> tuple[int, int]:
    """Start to find out; the child's process id and a pipe that gives the facts as JSON, then ends."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        processes.close_all_but(writer)
        files.write_all(writer, json.dumps(gather(root, packages, python, brief=brief)).encode())
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
        "gpus": [] if brief else _gpus(),
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
            version = (_said([path, "-c", "import platform;print(platform.python_version())"]) or "").strip()
            if version:
                found[real] = {"path": path, "version": version}
    return list(found.values())


def _listed(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if _PYTHON.match(name))
    except OSError:
        return []


def _packages(names: list[str], python: Optional[str]) -> dict[str, Optional[str]]:
    if python:
        said = _said([python, "-c", _ASK, *names])
        return json.loads(said) if said else dict.fromkeys(names)
    from importlib import metadata

    versions: dict[str, Optional[str]] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0


def _gpus() -> list[dict[str, Any]]:
    """The GPUs that nvidia-smi names, in its own words; memory in bytes."""
    said = _said(["nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits"])
    gpus = []
    for line in (said or "").splitlines():
        values = dict(zip(_GPU_FIELDS, (value.strip() for value in line.split(","))))
        if len(values) < len(_GPU_FIELDS):
            continue
        gpus.append(
            {
                "index": _number(values["index"]),
                "uuid": values["uuid"],
                "name": values["name"],
                "memory": _number(values["memory.total"]) << 20,
                "used": _number(values["memory.used"]) << 20,
                "busy": _number(values["utilization.gpu"]),
                "driver": values["driver_version"],
            }
        )
    return gpus


def _number(text: str) -> int:
    """A number as nvidia-smi says it; 0 for the "[N/A]" of devices that do not count it."""
    return int(text) if text.isdigit() else 0


def _said(command: list[str]) -> Optional[str]:
    """What a program prints; None where it is missing, fails or takes too long."""
    import subprocess

    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
