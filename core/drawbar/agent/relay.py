"""CALL and ACTORS in the agent: calls go on to the actor's own socket, and its answers back, in the order they come.

One connection for each actor that this client calls. Requests and answers keep their numbers; nothing here blocks, and
nothing is kept: an actor goes on with a call whose client has gone, and keeps its result for a while.
"""

from __future__ import annotations

import os
import time
from collections import deque
from itertools import islice
from typing import Any, Deque, Optional

from . import files, frames, jobs, sockets
from .waits import LONGEST, Answer, Later

_VECTORS = 64
_TURN = 4 << 20
_MOST = 256 << 20
_SHOWN = 2000
MARKER = "actor.json"
"""What an actor writes into its attempt's folder once it takes calls: class, digest, methods, since, calls and more."""


class Line:
    """The connection to one actor. `watched` is the loop's: the events that it waits for."""

    def __init__(self, attempt: jobs.Attempt) -> None:
        """Raises OSError where the actor does not listen."""
        self.attempt = attempt
        self._socket = sockets.connect(attempt.folder)
        self._socket.setblocking(False)
        self.fd = self._socket.fileno()
        self._parser = frames.Parser()
        self._output: Deque[memoryview] = deque()
        self._queued = 0
        self._pending: set[int] = set()
        self.open = True
        self.watched = 0

    @property
    def full(self) -> bool:
        """Whether some output waits for the actor to take it."""
        return bool(self._output)

    def send(self, frame: frames.Frame) -> None:
        """Pass a request on. Raises OSError where the actor takes nothing and too much waits for it."""
        if self._queued > _MOST:
            raise OSError("the actor takes no calls, and too many wait for it: have fewer under way at a time")
        self._pending.add(frame.number)
        for part in frames.again(frame):
            self._output.append(memoryview(part))
            self._queued += len(part)
        self.write()

    def write(self) -> None:
        """As much as the actor takes now."""
        try:
            while self._output:
                count = os.writev(self.fd, list(islice(self._output, _VECTORS)))
                self._queued -= count
                frames.written(self._output, count)
        except BlockingIOError:
            pass
        except OSError:  # it is gone; reading finds the same, after the answers that came before
            self._output.clear()
            self._queued = 0

    def read(self) -> list[frames.Frame]:
        """The answers that have come; after the last one `open` is False."""
        found: list[frames.Frame] = []
        taken = 0
        try:
            while taken < _TURN:
                room = self._parser.room()
                count = os.readv(self.fd, [room])
                if not count:
                    self.open = False
                    break
                taken += count
                found += self._parser.advance(count)
                if count < len(room):
                    break
        except BlockingIOError:
            pass
        except (OSError, frames.FrameError):
            self.open = False
        self._pending.difference_update(frame.number for frame in found)
        return found

    def close(self) -> list[int]:
        """Let go of it; the numbers of the requests that nobody will answer any more."""
        self._socket.close()
        return sorted(self._pending)


class Relayed:
    """CALL: it was passed on, and its answer comes by `line`."""

    def __init__(self, line: Line) -> None:
        self.line = line


class Ready(Later):
    """CALL with `op` ready: until the actor takes calls, its job has ended, or it is late."""

    def __init__(self, number: int, attempt: jobs.Attempt, meta: dict[str, Any]) -> None:
        super().__init__(number, attempt, min(LONGEST, max(0.0, float(meta.get("timeout", 0.0)))))

    def answer(self, *, late: bool) -> Optional[Answer]:
        """`actor` with what it says about itself, or the state; neither while it is being constructed."""
        view = jobs.look(self.attempt)
        told = files.read_json(self.attempt.path(MARKER))
        if view.outcome is None and told is None and not late:
            return None
        state = {"state": view.state, "waiting": view.waiting}
        return Answer({**state, "actor": told if view.outcome is None else None})


class Relay:
    """The lines of one agent."""

    def __init__(self) -> None:
        self._lines: dict[tuple[Any, Any], Line] = {}

    def begin(self, frame: frames.Frame, known: jobs.Jobs) -> Any:
        """Pass CALL on, or wait for the actor: Relayed, Ready, or an Answer that it is gone.

        Raises UnknownJobError, and OSError where too much waits for the actor.
        """
        key = frame.meta["job"], frame.meta["attempt"]
        line = self._lines.get(key)
        if line is None or frame.meta["op"] == "ready":
            attempt = known.attempt(key[0], int(key[1]))
            if frame.meta["op"] == "ready":
                return Ready(frame.number, attempt, frame.meta)
            try:
                line = self._lines[key] = Line(attempt)
            except OSError:
                return gone(attempt, begun=False)
        line.send(frame)
        return Relayed(line)

    def forget(self, line: Line) -> None:
        """The line was closed."""
        self._lines = {key: one for key, one in self._lines.items() if one is not line}

    def close(self) -> None:
        """The client has gone: so have its connections, but no actor."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()


def gone(attempt: jobs.Attempt, *, begun: bool) -> Answer:
    """The answer for an actor that does not answer any more; with `begun` the call may have been carried out."""
    told = files.read_json(attempt.path(MARKER)) or {}
    return Answer({"end": "gone", "begun": begun, "why": told.get("ended") or ""})


def running(known: jobs.Jobs) -> list[dict[str, Any]]:
    """The actors that take calls now: job, attempt, name, class, pid, since, calls, idle (s since the last call)."""
    found = []
    for attempt in known.newest(_SHOWN):
        told = files.read_json(attempt.path(MARKER))
        if told is None or jobs.look(attempt).outcome is not None:
            continue
        line = {key: told.get(key) for key in ("name", "class", "pid", "since", "calls", "ended")}
        idle = 0.0 if told.get("busy") else max(0.0, time.time() - float(told.get("last") or time.time()))
        found.append({"job": attempt.job, "attempt": attempt.number, **line, "idle": idle})
    return found
