"""One connection to an actor, at the actor's end: bytes in, frames out to whoever takes them, answers back.

Used by `actors`; everything happens in the thread of its event loop.
"""

from __future__ import annotations

import socket
from asyncio import AbstractEventLoop
from collections import deque
from itertools import islice
from typing import Any, Callable, Deque

from . import frames

_VECTORS = 64
_PATIENCE = 5.0
_TURN = 4 << 20


class Peer:
    """Whoever is connected. `take` gets each frame, `gone` hears of the end."""

    def __init__(
        self,
        connection: socket.socket,
        loop: AbstractEventLoop,
        take: Callable[[Peer, frames.Frame], None],
        gone: Callable[[Peer], None],
    ) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._loop = loop
        self._take = take
        self._gone = gone
        self._parser = frames.Parser()
        self._output: Deque[memoryview] = deque()
        self._open = True
        self._writing = False
        loop.add_reader(connection.fileno(), self._read)

    def answer(self, number: int, meta: dict[str, Any], body: frames.Bytes) -> None:
        """Send an OK; nothing if nobody is there any more."""
        if self._open:
            waiting = bool(self._output)
            self._output.extend(memoryview(part) for part in frames.pack(frames.OK, number, meta, body))
            if not waiting:
                self._write()

    def finish(self) -> None:
        """Send what is left, for as long as somebody who is alive would need to take it, and close."""
        if self._open:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.settimeout(_PATIENCE)
            try:
                for part in self._output:
                    self._socket.sendall(part)
            except OSError:
                pass  # they have gone
            self._socket.close()
            self._open = False

    def _read(self) -> None:
        taken = 0
        try:
            while self._open and taken < _TURN:
                room = self._parser.room()
                count = self._socket.recv_into(room)
                if not count:
                    self._close()
                    return
                taken += count
                for frame in self._parser.advance(count):
                    self._take(self, frame)
                if count < len(room):
                    return
        except BlockingIOError:
            return
        except (OSError, frames.FrameError, KeyError, TypeError):
            self._close()  # it is broken, or speaks something else

    def _write(self) -> None:
        try:
            while self._output:
                count = self._socket.sendmsg(list(islice(self._output, _VECTORS)))
                frames.written(self._output, count)
        except BlockingIOError:
            self._writing = True
            self._loop.add_writer(self._socket.fileno(), self._write)
            return
        except OSError:
            self._close()
            return
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket.fileno())

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._output.clear()
            self._gone(self)
