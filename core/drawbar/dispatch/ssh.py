"""Opens a channel to a program on an SSH host, and says in our words why it cannot.

A `HostSpec` (dispatch/ssh_config.py) and a command come in, a `Channel` (dispatch/port.py) goes out. paramiko and its
exceptions stop here: the host's key is checked (ssh_hosts.py) before the host learns anything about the user
(ssh_auth.py), over a transport that is quick (ssh_transport.py).
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from drawbar.dispatch import ssh_hosts
from drawbar.dispatch.port import Bytes
from drawbar.dispatch.ssh_auth import authenticate
from drawbar.dispatch.ssh_config import HostSpec, aliases, known_alias, resolve
from drawbar.dispatch.ssh_transport import ProxyCommand, Transport, paramiko
from drawbar.errors import UnreachableError

__all__ = ["HostSpec", "SshChannel", "aliases", "known_alias", "open_channel", "resolve"]

# Bytes that may be on their way to us. With 8 MiB and more, sshd now and then falls to a sixth of its rate (measured).
_WINDOW = 3 << 20
_CONFIRM = _WINDOW // 8
_STDERR = 16 << 10
# What sshd says in plain text when more clients log in at once than MaxStartups allows: some are turned away by lot.
_CROWDED = "Exceeded MaxStartups"
_PAUSES = (0.2, 1.6)  # how long to stay away then, in seconds: at most this the first time, that later


def open_channel(spec: HostSpec, command: str | Callable[[], str]) -> SshChannel:
    """Connect to `spec`, run `command` there and give the stream to it; closing that closes the connection.

    A command that is a function is asked for once the host has let us in: what it says may be made meanwhile.
    Raises `UnreachableError`, `HostKeyError` or `AuthenticationError`, each with what to do.
    """
    connections: list[Transport] = []
    try:
        for hop in (*spec.proxy_jump, spec):
            connections.append(_connect(hop, connections[-1] if connections else None))
        with _in_our_words(spec):
            channel = connections[-1].open_session(window_size=_WINDOW, timeout=spec.connect_timeout)
            _execute(spec, connections, channel, command if isinstance(command, str) else command())
    except BaseException:
        _close(connections)
        raise
    return SshChannel(spec, connections, channel)


class SshChannel:
    """A stream each way to a program on an SSH host; see `drawbar.dispatch.port.Channel`.

    A host that does not answer for `alive_interval * alive_count` seconds counts as gone.
    """

    def __init__(self, spec: HostSpec, connections: list[Transport], channel: Any) -> None:
        self.spec = spec
        self._connections = connections
        self._channel = channel
        self._tail = b""
        self._reason = ""
        self._taken = 0
        self._ended = False
        self._confirmations: SimpleQueue[int] = SimpleQueue()
        channel.in_stderr_buffer.listen(self._keep)
        threading.Thread(target=self._watch, name=f"drawbar ssh {spec.address}", daemon=True).start()

    def send(self, parts: Sequence[Bytes]) -> None:
        """Send all of `parts`, in order; `UnreachableError` once the host is gone."""
        for part in parts:
            view = memoryview(part).cast("B")
            while view:
                try:
                    sent = self._channel.send(view)
                except (OSError, EOFError, paramiko.SSHException) as error:
                    raise self._broken() from error
                if not sent:
                    raise self._broken()
                view = view[sent:]

    def listen(self, take: Callable[[bytes], None]) -> None:
        """Have `take` called with what comes, in paramiko's thread; with the end, in one of its own. See `Channel`."""

        def taken(data: bytes) -> None:
            if data:
                take(data)
                self._count(data)
            elif not self._ended:
                # paramiko holds a lock of the channel while it tells of the end, and whoever closes that takes it too.
                self._ended = True
                threading.Thread(target=take, args=(data,), name="drawbar ssh end", daemon=True).start()

        self._channel.in_buffer.listen(taken)

    def close(self) -> None:
        """Let go of the connection, from any thread, any number of times."""
        self._confirmations.put(0)
        _close(self._connections)

    def stderr(self) -> str:
        """Give what the program, or the shell that could not start it, has said beside the stream: the last 16 KiB."""
        return self._tail.decode(errors="replace") + self._reason

    def _broken(self) -> UnreachableError:
        return UnreachableError(
            f"the connection to {self.spec.address} broke",
            found=self.stderr().strip()[-500:],
            todo="what runs there goes on; run again to attach to it",
        )

    def _keep(self, data: bytes) -> None:
        """Keep the end of stderr; unread, it would fill the window that the stream needs."""
        self._tail = (self._tail + data)[-_STDERR:]
        self._count(data)

    def _count(self, data: bytes) -> None:
        """Have the host told now and then how much was taken: by another thread, for this one must not wait."""
        self._taken += len(data)
        if self._taken > _CONFIRM:
            self._confirmations.put(self._taken)
            self._taken = 0

    def _watch(self) -> None:
        """Confirm what was taken; where nothing is, ask now and then whether the host lives, and cut it off if not."""
        transport = self._connections[-1]
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            while transport.is_active():
                try:
                    count = self._confirmations.get(timeout=self.spec.alive_interval)
                except Empty:
                    self._ask_for_life(transport)
                    continue
                if not count:
                    return
                transport.confirm(self._channel, count)

    def _ask_for_life(self, transport: Transport) -> None:
        patience = threading.Timer(self.spec.alive_interval * self.spec.alive_count, self._give_up)
        patience.daemon = True
        patience.start()
        try:
            transport.global_request("keepalive@openssh.com")  # granted or refused: an answer is an answer
        finally:
            patience.cancel()

    def _give_up(self) -> None:
        self._reason = f"\nno answer for {self.spec.alive_interval * self.spec.alive_count:g} s\n"
        _close(self._connections)


def _connect(spec: HostSpec, through: Transport | None) -> Transport:
    """A connection that is let in; a host that is crowded just now is tried again, for `connect_timeout` seconds."""
    end = time.monotonic() + spec.connect_timeout
    longest, most = _PAUSES
    while True:
        try:
            return _connect_once(spec, through)
        except UnreachableError as error:
            pause = random.uniform(longest / 4, longest)  # noqa: S311  so that a crowd does not come back as one
            if _CROWDED not in error.found or time.monotonic() + pause > end:
                raise
        time.sleep(pause)
        longest = min(2 * longest, most)


def _connect_once(spec: HostSpec, through: Transport | None) -> Transport:
    known = ssh_hosts.known_keys(spec)
    types = {key.kind for key in known if not key.marker}
    with _in_our_words(spec):
        transport = Transport(_stream(spec, through), types, spec.connect_timeout)
    try:
        with _in_our_words(spec, transport):
            key = transport.negotiate(spec.connect_timeout)
        ssh_hosts.check(spec, known, key.get_name(), key.asbytes())
        with _in_our_words(spec, transport):
            authenticate(spec, transport)
    except BaseException:
        transport.close()
        raise
    return transport


def _execute(spec: HostSpec, connections: list[Transport], channel: Any, command: str) -> None:
    """Have `command` run; TimeoutError where the host does not say that it does (paramiko would wait without end)."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        _close(connections)

    patience = threading.Timer(spec.connect_timeout, give_up)
    patience.daemon = True
    patience.start()
    try:
        channel.exec_command(command)
    except (EOFError, paramiko.SSHException):
        if late.is_set():
            raise TimeoutError(f"it let us in, and then said nothing for {spec.connect_timeout:g} s") from None
        raise
    finally:
        patience.cancel()


def _close(connections: list[Transport]) -> None:
    for transport in reversed(connections):
        transport.close()


def _stream(spec: HostSpec, through: Transport | None) -> Any:
    """Give what to speak SSH over: a socket, or something that looks like one."""
    if through is not None:
        target, origin = (spec.host, spec.port), ("127.0.0.1", 0)
        return through.open_channel("direct-tcpip", target, origin, _WINDOW, timeout=spec.connect_timeout)
    if spec.proxy_command:
        return ProxyCommand(spec.proxy_command)
    stream = socket.create_connection((spec.host, spec.port), timeout=spec.connect_timeout)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


@contextlib.contextmanager
def _in_our_words(spec: HostSpec, transport: Transport | None = None) -> Iterator[None]:
    """Turn every foreign exception of the block into an `UnreachableError`."""
    try:
        yield
    except (OSError, UnicodeError, EOFError, paramiko.SSHException) as error:
        raise _unreachable(spec, error, transport.told if transport else "") from error


def _unreachable(spec: HostSpec, error: Exception, told: str) -> UnreachableError:
    said = "; ".join(text for text in (told.strip(), str(error)) if text) or type(error).__name__
    what, todo = _WORDS.get(type(error), ("the connection to {} broke", "try again; look into the log of its sshd"))
    if isinstance(error, OSError) and error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        what, todo = "there is no way to {}", "check this machine's network, VPN and routes"
    elif isinstance(error, paramiko.SSHException) and "protocol banner" in str(error):
        what = "what listens at {} does not speak SSH, or takes no more connections"
        todo = "check the port; or the host has too many connections at once (MaxStartups): try again"
        said = told.strip() or str(error).partition("protocol banner")[2] or "it said nothing, and hung up"
    if spec.proxy_jump:
        todo += f"; it is reached through {', '.join(hop.address for hop in spec.proxy_jump)}"
    elif spec.proxy_command:
        todo += f"; it is reached by ProxyCommand {spec.proxy_command}"
    return UnreachableError(what.format(spec.address), found=said, todo=todo)


_WORDS: dict[type[Exception], tuple[str, str]] = {
    socket.gaierror: ("the name of {} is not known here", "check the name; an alias belongs into ~/.ssh/config"),
    UnicodeError: ("{} is no name that a host can have", "check the name"),
    ConnectionRefusedError: ("nothing listens at {}", "check the port, and that sshd runs there"),
    TimeoutError: ("{} does not answer", "check that it is on, and the VPN or firewall between; or connect_timeout"),
    paramiko.ChannelException: ("the host before {} does not connect to it", "check that sshd there may forward to it"),
    paramiko.ssh_exception.IncompatiblePeer: ("{} has no algorithm that is allowed here", "renew its sshd"),
    EOFError: ("{} hung up while connecting", "look into the log of its sshd; or try again"),
}
