"""paramiko's transport, made quick and candid for our one use of it; `dispatch/ssh.py` builds connections from it.

Bytes from the socket go through `Packetizer` and `Chunks` to whoever reads a channel. Each override says what it
spares; nothing here decides whom to trust.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any


class _Later:
    """Stands for the module `invoke` until somebody uses it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("invoke"), name)


@contextlib.contextmanager
def _without_invoke() -> Iterator[None]:
    """Have paramiko imported, but not yet `invoke`: two fifths of the time, for a feature that we have no use for."""
    if "paramiko" in sys.modules or "invoke" in sys.modules or importlib.util.find_spec("invoke") is None:
        yield
        return
    sys.modules["invoke"] = None  # type: ignore[assignment]  # Python's own way to say: as if it were not installed
    try:
        yield
    finally:
        del sys.modules["invoke"]
    vars(sys.modules["paramiko.config"])["invoke"] = _Later()  # others in this process may use that feature


with _without_invoke():
    import paramiko
    from paramiko.buffered_pipe import BufferedPipe, PipeTimeout
    from paramiko.packet import NeedRekeyException
    from paramiko.packet import Packetizer as _Packetizer

__all__ = ["LOG", "Chunks", "Packetizer", "Transport", "paramiko"]

LOG = "drawbar.ssh"  # set this logger to DEBUG to see what paramiko sees; it is silent otherwise
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")  # AEAD: twice the rate
_KEX = ("mlkem768x25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "diffie-hellman-group16-sha512")
_MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")  # for ctr
_READ = 256 << 10
_LONGEST_BANNER = 64 << 10


class Transport(paramiko.Transport):
    """One connection. `host_key_types` are those on file for the host: it is asked for one of them first."""

    def __init__(self, stream: Any, host_key_types: set[str], timeout: float) -> None:
        super().__init__(stream, packetizer_class=Packetizer)
        logger = logging.getLogger(LOG)
        logger.setLevel(logger.level or logging.CRITICAL)
        self.set_log_channel(LOG)
        self.auth_timeout = timeout
        self.banner_timeout = self.handshake_timeout = 2 * timeout  # `negotiate` is to give up before they do
        options = self.get_security_options()
        options.ciphers = [name for name in _CIPHERS if name in options.ciphers]
        options.digests = [name for name in _MACS if name in options.digests]
        options.kex = [name for name in _KEX if name in options.kex]
        options.key_types = sorted(options.key_types, key=lambda name: _file_type(name) not in host_key_types)

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """Plain host keys only: paramiko would take a host's certificate without asking who signed it."""
        return tuple(name for name in super().preferred_keys if "-cert-" not in name)

    @property
    def told(self) -> str:
        """What the host, or the command that leads to it, said in plain text before or instead of speaking SSH."""
        said = self.sock.said() if isinstance(self.sock, ProxyCommand) else ""
        lines = self.packetizer.lines if isinstance(self.packetizer, Packetizer) else []
        return "\n".join([*lines, said])

    def negotiate(self, timeout: float) -> Any:
        """Agree on ciphers and give the host's key; `TimeoutError` after `timeout` seconds, also in the middle."""
        done = threading.Event()
        self.start_client(done)
        if not done.wait(timeout):
            raise TimeoutError(f"no handshake within {timeout:g} s")
        if not self.is_active():
            raise self.get_exception() or EOFError()
        return self.get_remote_server_key()

    def _parse_channel_open_success(self, m: Any) -> None:
        """Give a new channel its buffers before the host's first bytes come."""
        channel = self._channels.get(m.get_int())  # type: ignore[attr-defined]  # what paramiko keeps to itself
        if channel is not None:
            channel.in_buffer = Chunks()
            channel.in_stderr_buffer = Chunks()
        m.rewind()
        super()._parse_channel_open_success(m)  # type: ignore[misc]  # as above

    def confirm(self, channel: Any, count: int) -> None:
        """Allow the host to send `count` bytes more on `channel`. May wait, so never from paramiko's own thread."""
        message = paramiko.Message()
        message.add_byte(paramiko.common.cMSG_CHANNEL_WINDOW_ADJUST)
        message.add_int(channel.remote_chanid)
        message.add_int(count)
        self._send_user_message(message)  # type: ignore[attr-defined]  # as above

    def _parse_disconnect(self, m: Any) -> None:
        """Keep the host's reason for hanging up, which paramiko only logs."""
        m.get_int()
        self.saved_exception = paramiko.SSHException(f"the host hung up: {m.get_text()}")

    def close(self) -> None:
        """Hang up at once; any number of times, from any thread."""
        self.packetizer.complete_handshake()  # stops a timer that would keep the process from ending
        with contextlib.suppress(OSError):
            if isinstance(self.sock, socket.socket):
                self.sock.shutdown(socket.SHUT_RDWR)  # wakes its reader, which otherwise looks up ten times a second
        super().close()
        self.sock.close()


class ProxyCommand(socket.socket):
    """A ProxyCommand of ssh_config as a socket; paramiko's own never notices that the command has ended."""

    def __init__(self, command: str) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(fileno=ours.detach())
        self._lock = threading.Lock()
        self._text = ""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the command may speak
        with theirs:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"], stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=self._said
            )

    def said(self) -> str:
        """Give what the command said on stderr, its first 4 KiB; also after it was closed."""
        with self._lock:
            if not self._said.closed:
                self._text = os.pread(self._said.fileno(), 4096, 0).decode(errors="replace").strip()
            return self._text

    def close(self) -> None:
        """End the command too."""
        super().close()
        self._process.terminate()
        self._process.wait()
        self.said()
        with self._lock:
            self._said.close()


def _file_type(algorithm: str) -> str:
    """The key type as known_hosts writes it."""
    return "ssh-rsa" if algorithm.startswith("rsa-") else algorithm


class Packetizer(_Packetizer):
    """Reads the socket in large pieces; paramiko's own asks the kernel at least twice for every packet."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.lines: list[str] = []
        self._stream = stream
        self._data = b""
        self._at = 0

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:  # noqa: FBT001, FBT002  paramiko's signature
        """Give exactly `n` bytes; `EOFError` where the stream ends before."""
        while len(self._data) - self._at < n:
            self._read_more(check_rekey=check_rekey)
        self._at += n
        return self._data[self._at - n : self._at]

    def readline(self, timeout: float) -> str:
        """Give one line of the banner, without its end; `TimeoutError` after `timeout` seconds."""
        until = time.monotonic() + timeout
        while (end := self._data.find(b"\n", self._at)) < 0:
            if len(self._data) - self._at > _LONGEST_BANNER:
                raise paramiko.SSHException("its first line does not end")
            self._read_more(until=until)
        line = self._data[self._at : end].removesuffix(b"\r").decode(errors="replace")
        self._at = end + 1
        if not line.startswith("SSH-"):
            self.lines.append(line)
        return line

    def _read_more(self, *, check_rekey: bool = False, until: float = float("inf")) -> None:
        rest = self._data[self._at :]
        while True:
            if self.handshake_timed_out() or self.closed:
                raise EOFError
            try:
                more = self._stream.recv(_READ)
            except TimeoutError:  # ten times a second, so that a closed connection is noticed
                if time.monotonic() >= until:
                    raise
                if check_rekey and not rest and self.need_rekey():
                    raise NeedRekeyException from None
                continue
            except ConnectionResetError:
                raise EOFError from None
            except OSError:
                if self.closed:
                    raise EOFError from None
                raise
            if not more:
                raise EOFError
            self._data, self._at = rest + more, 0
            return


class Chunks(BufferedPipe):  # type: ignore[type-arg]  # generic for mypy only
    """Hands packets on as they are; paramiko's own moves all that is buffered at every read.

    For one listener, which is called in paramiko's thread (to wake another costs as much as a small request), or for
    one reader.
    """

    def __init__(self) -> None:
        super().__init__()
        self._queue: SimpleQueue[bytes] = SimpleQueue()
        self._take: Callable[[bytes], None] | None = None
        self._turn = threading.Lock()
        self._rest = memoryview(b"")
        self._at_end = False

    def listen(self, take: Callable[[bytes], None]) -> None:
        """Have `take` called with what has come and what comes; with b"" at the end."""
        with self._turn:
            while not self._queue.empty():
                take(self._queue.get())
            self._take = take

    def feed(self, data: bytes) -> None:
        """Add what has come."""
        if data:
            self._hand_on(data)

    def close(self) -> None:
        """Let whoever takes find the end, after what came before it."""
        self._hand_on(b"")

    def _hand_on(self, data: bytes) -> None:
        if self._take is None:
            with self._turn:
                if self._take is None:
                    self._queue.put(data)
                    return
        self._take(data)

    def read(self, nbytes: int, timeout: float | None = None) -> bytes:
        """Give at most `nbytes`, at least one; b"" at the end. `PipeTimeout` after `timeout` seconds with nothing."""
        if not self._rest and not self._at_end:
            try:
                data = self._queue.get(timeout=timeout)
            except Empty:
                raise PipeTimeout from None
            if data and len(data) <= nbytes:
                return data
            self._at_end = not data
            self._rest = memoryview(data)
        piece, self._rest = self._rest[:nbytes], self._rest[nbytes:]
        return bytes(piece)
