"""The Unix socket of an actor, in its attempt's folder: nobody else can reach it there, and its path may be long.

A path of a socket holds about a hundred bytes, an attempt's folder is often longer; so it is named by way of /proc, or
from inside the folder where the system has none.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from . import processes

NAME = "socket"
_BACKLOG = 1024
_BUFFER = 1 << 20


def listen(folder: str) -> socket.socket:
    """A listening socket in `folder`, non-blocking. Raises OSError."""
    made = socket.socket(socket.AF_UNIX)
    try:
        with _named(folder) as path:
            made.bind(path)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def connect(folder: str) -> socket.socket:
    """A blocking connection to whoever listens in `folder`. Raises OSError where nobody does, at once."""
    made = socket.socket(socket.AF_UNIX)
    try:
        made.setblocking(False)
        with _named(folder) as path:
            made.connect(path)
        made.setblocking(True)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    except BaseException:
        made.close()
        raise
    return made


@contextmanager
def _named(folder: str) -> Iterator[str]:
    """A short path of the socket in `folder`."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    back = -1
    try:
        if processes.LINUX:
            yield f"/proc/self/fd/{fd}/{NAME}"
            return
        back = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchdir(fd)
        yield NAME
    finally:
        if back >= 0:
            os.fchdir(back)
            os.close(back)
        os.close(fd)
