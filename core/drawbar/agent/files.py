"""Small habits of the file system that the agent's database is made of: whole files or none, appended lines, boots.

Every state change of a job goes through here. Nothing is fsynced (it would cost more than a short job): what a power
cut left behind is recognised by being older than the last boot, and looked at again before it is believed.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from typing import Any, Optional

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the kernel says where there is no space left, by disk, quota or limit."""


def make_folder(path: str) -> str:
    """`path`, as a folder that only its owner can read, made with its parents where missing."""
    os.makedirs(path, 0o700, exist_ok=True)
    return path


def write_all(fd: int, data: Any) -> None:
    """Write all bytes of `data` to `fd`. Raises OSError."""
    view = memoryview(data).cast("B")
    while len(view):
        view = view[os.write(fd, view) :]


def write_json(path: str, value: Any) -> None:
    """Put `value` at `path`: a reader sees the old file or the whole new one. Raises OSError, leaving the old."""
    staging = f"{path}.{os.getpid()}.tmp"
    fd = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(fd, json.dumps(value).encode())
        finally:
            os.close(fd)
        os.rename(staging, path)
    except BaseException:
        remove(staging)
        raise


def read_json(path: str) -> Optional[dict[str, Any]]:
    """The object in the file at `path`; None where there is no file, or what a power cut left of one."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def append_json(path: str, value: Any) -> None:
    """Append one line to the log at `path` by a single write, so that lines of several processes never mix."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps(value).encode() + b"\n")
    finally:
        os.close(fd)


def touch(path: str) -> None:
    """Make an empty marker file at `path`; it may be there already."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def remove(path: str) -> None:
    """Remove the file at `path`; it may be gone already."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def remove_folder(path: str) -> None:
    """Remove the folder at `path` with what is in it, as far as that is permitted; it may be gone already."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def size_of(path: str) -> int:
    """The size of the file at `path` in bytes; 0 where there is none."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def boot_id() -> str:
    """An id of this boot of the machine; empty where the system gives none, so that a reboot looks like a loss."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def boot_time() -> float:
    """When this machine was booted, in seconds since the epoch; 0.0 where the system does not say."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            for line in file:
                if line.startswith("btime "):
                    return float(line.split()[1])
    except OSError:
        pass
    return 0.0
