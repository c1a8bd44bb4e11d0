"""A worker on this machine through the agent: the same protocol and job folder as on a host, over two pipes.

The channel starts this process's own interpreter with the same loader that goes to hosts. The agent ends with the
connection; its jobs do not.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from drawbar.agent import launch
from drawbar.config import TargetConfig, home
from drawbar.dispatch.agents import AgentDispatcher
from drawbar.dispatch.link import Link, link_to
from drawbar.dispatch.port import Bytes
from drawbar.errors import PreflightError, UnreachableError

_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031
_STDERR_TAIL = 64 << 10
_END = 2.0
_MANY = 512
_PIECE = 256 << 10


class ProcessChannel:
    """A Channel to a program started here: its stdin and stdout; what it says on stderr is kept aside."""

    def __init__(self, command: Sequence[str]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the channel
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise PreflightError(
                f"{command[0]} cannot be started.",
                expected="a Python interpreter",
                found=str(error),
                todo="set `python` of the target to the path of one",
            ) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._sending = threading.Lock()
        self._reading = threading.Lock()
        self._ending = threading.Lock()
        self._closed = False
        self._last = ""
        _widen(self._in.fileno())
        _widen(self._out.fileno())

    def send(self, parts: Sequence[Bytes]) -> None:
        """See `Channel.send`."""
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        with self._sending:
            if self._closed:
                raise UnreachableError("The worker's connection is closed.")
            while views:
                written = os.writev(self._in.fileno(), views[:_MANY])
                while views and written >= len(views[0]):
                    written -= len(views.pop(0))
                if written:
                    views[0] = views[0][written:]

    def listen(self, take: Callable[[bytes], None]) -> None:
        """See `Channel.listen`."""
        threading.Thread(target=self._read, args=(take,), name="drawbar local", daemon=True).start()

    def _read(self, take: Callable[[bytes], None]) -> None:
        data = b"-"
        while data:
            with self._reading:
                data = b"" if self._out.closed else os.read(self._out.fileno(), _PIECE)
            take(data)

    def close(self) -> None:
        """See `Channel.close`: the agent sees the end of its stdin and goes; one that does not is killed."""
        with self._ending:
            if self._closed:
                return
            self._closed = True
            if not self._sending.acquire(timeout=_END):
                self._process.kill()  # a sender is stuck in a full pipe
                self._sending.acquire()
            with contextlib.suppress(OSError):
                self._in.close()
            self._sending.release()
            try:
                self._process.wait(_END)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._last = self._read_stderr()
            self._stderr.close()
            if self._reading.acquire(timeout=_END):  # the reader has seen the end, unless something holds the pipe open
                self._out.close()
                self._reading.release()

    def stderr(self) -> str:
        """See `Channel.stderr`."""
        with self._ending:
            return self._last if self._closed else self._read_stderr()

    def _read_stderr(self) -> str:
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), _STDERR_TAIL, max(0, size - _STDERR_TAIL)).decode(errors="replace")


def local_dispatcher(name: str, config: TargetConfig) -> AgentDispatcher:
    """The dispatcher for a worker on this machine; all of one folder and interpreter share one agent."""
    root = str(Path(config.root).expanduser().absolute()) if config.root else str(home().absolute())
    python = str(Path(config.python).expanduser()) if config.python else sys.executable

    def make() -> Link:
        return Link(name, lambda digest: ProcessChannel(launch.argv(python, digest(), root)))

    return AgentDispatcher(name, link_to(("local", python, root), make), config)


def _widen(fd: int) -> None:
    """A pipe of 1 MiB where the kernel has that; a smaller one only costs more turns."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_BYTES)
