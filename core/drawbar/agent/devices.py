"""The GPUs of a host: which there are, how big, and who uses them. What leases (`gpus`) decide about.

They come from nvidia-smi, or from the target's configuration where there is none. nvidia-smi may take seconds or hang
with its driver, so each call of it has an end, and its answers are kept in files for every supervisor of the host.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Optional

from . import files, processes

PATIENCE = 10.0
"""Seconds that a program which tells a fact of the host may take."""

_FIELDS = ("index", "uuid", "name", "memory.total", "memory.used", "utilization.gpu", "driver_version")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt])(i?)b\s*\Z", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_APPS_PATIENCE = 5.0
_APPS_FRESH = 1.5
_APPS_AGAIN = 30.0
_SAMPLE_EVERY = 2
_SAME_ROUND = 1.0
_TIME = re.compile(r"\d+/\d+/\d+ (\d+):(\d+):(\d+(?:\.\d+)?)\Z")
_DAY = 86400.0
_APP_FIELDS = 4
_SERVERS = ("nvidia-cuda-mps-server",)
"""Programs of the driver, which use a GPU on behalf of others that are listed too."""


class Device(NamedTuple):
    """One GPU: `id` is what a program names it by, `index` its place, `memory` bytes (0: not known)."""

    id: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    name: str
    memory: int


class App(NamedTuple):
    """A process that computes on a GPU: `used` is device memory in bytes (0: not known)."""

    device: str
    pid: int
    name: str
    used: int


def parse_memory(text: str) -> int:
    """Bytes of a size such as "16GiB". Raises ValueError, whose text is what is expected.

    >>> parse_memory("16GiB"), parse_memory("1.5 GB"), parse_memory("512MiB")
    (17179869184, 1500000000, 536870912)
    """
    match = _SIZE.match(text)
    size = round(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].lower()]) if match else 0
    if not size:
        raise ValueError('a size such as "16GiB", "16GB" or "512MiB"')
    return size


def size_text(size: int) -> str:
    """A size as people say it.

    >>> size_text(16 << 30), size_text(23028 << 20), size_text(512 << 20), size_text(0)
    ('16 GiB', '22.5 GiB', '512 MiB', 'unknown memory')
    """
    if not size:
        return "unknown memory"
    return f"{size / (1 << 30):.1f}".replace(".0", "") + " GiB" if size >= 1 << 30 else f"{max(1, size >> 20)} MiB"


def wanted(gpus: int, memory: int) -> str:
    """What a request is for.

    >>> wanted(2, 0), wanted(0, 16 << 30), wanted(2, 16 << 30)
    ('2 GPUs', '16 GiB of a GPU', '16 GiB of each of 2 GPUs')
    """
    if not memory:
        return _counted(gpus)
    return f"{size_text(memory)} of " + ("a GPU" if gpus <= 1 else f"each of {gpus} GPUs")


def impossible(found: Sequence[Device], gpus: int, memory: int) -> str:
    """Why devices like these can never meet a request, in words that go on from "the host": "" where they can.

    >>> impossible([Device("GPU-1", 0, "NVIDIA A10", 24 << 30)], 2, 0)
    'it has 1 GPU of 24 GiB (NVIDIA A10)'
    >>> impossible([Device("GPU-1", 0, "NVIDIA A10", 24 << 30)], 0, 16 << 30)
    ''
    """
    if sum(device.memory >= memory for device in found) >= max(1, gpus):
        return ""
    if not found:
        return "it has no GPU: there is no nvidia-smi that names one, and the target declares no `devices`"
    kinds: dict[tuple[int, str], int] = {}
    for device in found:
        kinds[device.memory, device.name] = kinds.get((device.memory, device.name), 0) + 1
    said = (
        f"{_counted(count)} of {size_text(size)}" + (f" ({name})" if name else "")
        for (size, name), count in kinds.items()
    )
    return f"it has {', '.join(said)}"


def devices(folder: str, declared: Sequence[str] = ()) -> list[Device]:
    """The GPUs of this host in order; quick, but for the first time after a boot.

    `folder` is where the answer is kept. `declared` is a memory size for each, where the target says what there is.
    """
    if declared:
        return [Device(str(index), index, "", parse_memory(text)) for index, text in enumerate(declared)]
    kept = files.read_json(_kept(folder))
    if kept is not None:
        return [Device(*one) for one in kept["devices"]]
    return keep(folder, listing())


def keep(folder: str, listed: Sequence[Mapping[str, Any]]) -> list[Device]:
    """The same from what `listing` gave, kept in `folder` for the next who asks.

    None at all is not kept: a driver may come up late.
    """
    found = [Device(one["uuid"], one["index"], one["name"], one["memory"]) for one in listed]
    if found:
        files.write_json(_kept(folder), {"devices": found})
    return found


def listing() -> list[dict[str, Any]]:
    """The GPUs that nvidia-smi names, in its own words; memory in bytes."""
    told = said(["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"])
    gpus = []
    for line in (told or "").splitlines():
        values = dict(zip(_FIELDS, (value.strip() for value in line.split(","))))
        if len(values) < len(_FIELDS):
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


def apps(folder: str) -> list[App]:
    """Who computes on a GPU, at most a moment old; nobody where nvidia-smi fails, which is asked again later."""
    path, now = os.path.join(folder, "apps.json"), time.monotonic()
    kept = files.read_json(path)
    if kept is not None and 0 <= now - kept["at"] < (_APPS_AGAIN if kept["apps"] is None else _APPS_FRESH):
        return [App(*one) for one in kept["apps"] or ()]
    if shutil.which("nvidia-smi") is None:
        return []
    query = "--query-compute-apps=gpu_uuid,pid,process_name,used_memory"
    told = said(["nvidia-smi", query, "--format=csv,noheader,nounits"], _APPS_PATIENCE)
    found = None if told is None else _apps(told)
    with suppress(OSError):  # a full disk makes this slower, not wrong
        files.write_json(path, {"at": time.monotonic(), "apps": found})
    return found or []


def foreign(found: Sequence[App], owners: Mapping[str, Sequence[int]]) -> dict[str, list[App]]:
    """Those of `found` that no lease accounts for, by device. `owners` are the supervisors with a lease, by device."""
    strangers: dict[str, list[App]] = {}
    for app in found:
        if app.name not in _SERVERS and not _descends(app.pid, owners.get(app.device, ())) and _exists(app.pid):
            strangers.setdefault(app.device, []).append(app)
    return strangers


def said(command: list[str], patience: float = PATIENCE) -> Optional[str]:
    """What a program prints; None where it is missing, fails or takes longer than `patience` seconds."""
    import subprocess

    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdin=null, stdout=pipe, stderr=null, encoding="utf-8", errors="replace")
    except OSError:
        return None
    try:
        told, _ = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        try:
            process.communicate(timeout=1.0)
        except subprocess.TimeoutExpired:
            # A driver that hangs keeps its callers even from being killed; nobody waits for this one any more.
            process.returncode = -signal.SIGKILL
        return None
    return told if process.returncode == 0 else None


class Sampler:
    """The peak memory on its GPUs of one job: a running nvidia-smi, whose pipe the job's supervisor reads.

    Feed it what `fileno()` gives, with the process ids of the job; `peak` is bytes. A job shorter than the time between
    two looks may end unseen (0).
    """

    def __init__(self, leased: Sequence[Device]) -> None:
        import subprocess

        command = ["nvidia-smi", f"--id={','.join(device.id for device in leased)}", f"--loop={_SAMPLE_EVERY}"]
        query = ["--query-compute-apps=timestamp,gpu_uuid,pid,used_memory", "--format=csv,noheader,nounits"]
        null = subprocess.DEVNULL
        parent = os.getpid()
        self._process = subprocess.Popen(
            [*command, *query],
            stdin=null,
            stdout=subprocess.PIPE,
            stderr=null,
            preexec_fn=lambda: processes.die_with(parent),  # noqa: PLW1509 - nobody here has threads
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout
        os.set_blocking(self.fileno(), False)
        self.pid = self._process.pid
        self.peak = 0
        self._rest = b""
        self._round = 0.0
        self._used: dict[tuple[str, int], int] = {}

    def fileno(self) -> int:
        """The pipe to wait on; it ends when the program does."""
        return self._pipe.fileno()

    def feed(self, data: bytes, pids: Sequence[int]) -> None:
        """Take what the pipe gave; only `pids` count."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        ours = set(pids)
        for line in lines:
            parts = [part.strip() for part in line.decode(errors="replace").split(",")]
            moment = _TIME.match(parts[0])
            if moment is None or len(parts) < _APP_FIELDS or not parts[2].isdigit():
                continue
            at = 3600.0 * int(moment[1]) + 60.0 * int(moment[2]) + float(moment[3])
            if abs(at - self._round) % _DAY > _SAME_ROUND:
                self._round, self._used = at, {}
            if int(parts[2]) in ours:
                self._used[parts[1], int(parts[2])] = _number(parts[3]) << 20
                self.peak = max(self.peak, sum(self._used.values()))

    def stop(self) -> None:
        """End the program; what it still had to say is not heard."""
        import subprocess

        self._process.kill()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.returncode = -signal.SIGKILL  # as in `said`
        self._pipe.close()


def sampler(leased: Sequence[Device]) -> Optional[Sampler]:
    """Begin to watch the memory of a job on its GPUs; None where nothing tells of it."""
    if not any(device.name for device in leased):  # declared ones have no name
        return None
    try:
        return Sampler(leased)
    except OSError:
        return None


def _kept(folder: str) -> str:
    return os.path.join(folder, "devices.json")


def _counted(count: int) -> str:
    return f"{count} GPU{'s' if count != 1 else ''}"


def _apps(told: str) -> list[App]:
    """Of each line the first two values, the last, and what is between them: a program's path may hold commas."""
    found = []
    for line in told.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) >= _APP_FIELDS and parts[1].isdigit():
            name = os.path.basename(",".join(parts[2:-1])).partition(" ")[0]
            name = "" if name.startswith("[") else name
            found.append(App(parts[0], int(parts[1]), name, _number(parts[-1]) << 20))
    return found


def _descends(pid: int, ancestors: Sequence[int]) -> bool:
    """Whether `pid` is one of `ancestors`, or has one above it."""
    while pid > 1:
        if pid in ancestors:
            return True
        fields = processes.stat(pid)
        if fields is None:
            return False
        pid = int(fields[1])
    return False


def _exists(pid: int) -> bool:
    """Whether there is such a process, be it somebody else's; one of another namespace looks like a dead one."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _number(text: str) -> int:
    """A number as nvidia-smi says it; 0 for the "[N/A]" of devices that do not count it."""
    return int(text) if text.isdigit() else 0
