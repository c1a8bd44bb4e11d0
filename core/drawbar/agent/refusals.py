"""Requests that cannot be done: what an agent says instead of an answer, by its own checks or by the system's word."""

from __future__ import annotations

import errno
import os

from . import files, frames


class RefusedError(Exception):
    """A request that cannot be done; `meta` is that of the ERROR."""

    def __init__(self, code: str, what: str, expected: str = "", found: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.meta = frames.error_meta(code, what, expected, found, todo)


def by_system(error: OSError, root: str) -> RefusedError:
    """What the client is told of an error of the host's system, on requests about `root`."""
    found = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    if error.errno in files.FULL:
        return RefusedError(
            "disk",
            "There is no space left on the host.",
            "room for what is sent",
            f"{found}; {free(root)} bytes are free under {root}",
            "free some, or set `root` to a folder on a bigger disk",
        )
    if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
        return RefusedError(
            "denied",
            "The file system of drawbar's folder on the host has no kernel locks.",
            "a file system on which flock works",
            f"{found}, under {root}",
            "set `root` of the target to a folder on a local disk",
        )
    if isinstance(error, PermissionError):
        return RefusedError("denied", "The host does not permit it.", found=found, todo=f"see who owns {root}")
    return RefusedError("internal", "The host's system refused.", found=found)


def free(root: str) -> int:
    """The bytes that this user may still write under `root`."""
    found = os.statvfs(root)
    return found.f_frsize * found.f_bavail
