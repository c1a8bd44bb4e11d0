"""The agent: one event loop between a client's channel and the folders of this host. It never runs a user's code.

Frames come from stdin and go to stdout; everything that lasts is in the file system, so that the agent may end at any
moment. It ends with its connection; jobs go on.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Callable, Deque, Optional

from . import frames
from .answers import Answers, FactsWanted, load_for_workers
from .frames import Bytes
from .refusals import RefusedError
from .relay import Line, Relayed, gone
from .waits import Answer, Later

_CONGESTED = 16 << 20
_TURN = 4 << 20
_VECTORS = 64
_F_SETPIPE_SZ = 1031
_LAST_WORDS = 2.0
_IDLE = 50.0


def main(root: str) -> None:
    """Serve the client on stdin and stdout until it goes. Whatever prints goes to stderr from here on."""
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    Agent(root, source, sink).run()


class Agent:
    """The loop, its queue of output, and the requests that wait."""

    def __init__(self, root: str, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self._answers = Answers(root)
        self._parser = frames.Parser()
        self._poll = select.poll()
        self._watched: dict[int, Callable[[int], None]] = {}
        self._requests: Deque[frames.Frame] = deque()
        self._output: Deque[memoryview] = deque()
        self._queued = 0
        self._later: list[Later] = []
        self._lines: dict[int, Line] = {}
        self._done = False
        self._reading = False
        self._writing = False
        self._cold = True
        for fd in (source, sink):
            os.set_blocking(fd, False)
            _widen(fd)

    def run(self) -> None:
        """Until the client goes, or sends what is no frame."""
        self._watch(_wake_pipe(), self._child_ended)
        self._listen(on=True)
        while not self._done:
            ready = self._poll.poll(self._timeout())
            for fd, _ in ready:
                if fd in self._watched:
                    self._watched[fd](fd)
            if self._requests:
                self._take_all()
            if self._later:
                self._tick()
            elif self._cold and not ready:
                self._warm_up()
        self._last_words()
        self._answers.close()

    def _timeout(self) -> Optional[float]:
        """Milliseconds to wait for something to happen."""
        if self._queued <= _CONGESTED and self._later:
            return 1000 * max(0.0, min(later.due for later in self._later) - time.monotonic())
        return _IDLE if self._cold else None

    def _warm_up(self) -> None:
        """A first quiet moment, well spent."""
        self._cold = False
        load_for_workers()

    def _watch(self, fd: int, ready: Callable[[int], None], events: int = select.POLLIN) -> None:
        self._poll.register(fd, events)
        self._watched[fd] = ready

    def _ignore(self, fd: int) -> None:
        self._poll.unregister(fd)
        del self._watched[fd]

    def _listen(self, *, on: bool) -> None:
        """Whether requests are read: not while a client does not take its answers."""
        if on and not self._reading:
            self._watch(self._source, self._read)
        elif self._reading and not on:
            self._ignore(self._source)
        self._reading = on
        for line in self._lines.values():
            self._attend(line)

    def _read(self, source: int) -> None:
        taken = 0
        try:
            while taken < _TURN and not self._requests:
                room = self._parser.room()
                count = os.readv(source, [room])
                if not count:
                    self._done = True
                    return
                taken += count
                self._requests.extend(self._parser.advance(count))
                self._take_all()
                if count < len(room):
                    return  # that was all; to find that out from the system would cost as much as a small request
        except BlockingIOError:
            return
        except OSError:
            self._done = True
        except frames.FrameError as error:
            meta = frames.error_meta("protocol", error.what, error.expected, error.found, "use the same drawbar")
            self._send(frames.ERROR, error.number, meta)
            self._done = True

    def _take_all(self) -> None:
        """Do what is asked for, until the client has more answers to take than is good."""
        while self._requests and self._queued <= _CONGESTED and not self._done:
            self._take(self._requests.popleft())

    def _take(self, frame: frames.Frame) -> None:
        try:
            given = self._answers.answer(frame)
        except RefusedError as refusal:
            self._send(frames.ERROR, frame.number, refusal.meta)
            return
        if isinstance(given, Answer):
            self._send(frames.OK, frame.number, given.meta, *given.body)
        elif isinstance(given, FactsWanted):
            self._watch(given.pipe, lambda _: self._facts(given))
        elif isinstance(given, Relayed):
            self._attend(given.line)
        else:
            self._later.append(given)
        self._done = self._done or frame.kind == frames.BYE

    def _facts(self, wanted: FactsWanted) -> None:
        data = os.read(wanted.pipe, 1 << 16)
        wanted.data += data
        if data:
            return
        self._ignore(wanted.pipe)
        os.close(wanted.pipe)
        try:
            self._send(frames.OK, wanted.number, json.loads(wanted.data))
        except ValueError:
            what = "The host's facts could not be found out."
            self._send(frames.ERROR, wanted.number, frames.error_meta("internal", what))

    def _attend(self, line: Line) -> None:
        """Hear of an actor's answers, unless the client does not take them, and of room for what it has not taken."""
        wanted = (select.POLLIN if self._reading else 0) | (select.POLLOUT if line.full else 0)
        if self._lines.get(line.fd) is not line or line.watched != wanted:
            self._lines[line.fd], line.watched = line, wanted
            self._watch(line.fd, self._hear, wanted)

    def _hear(self, fd: int) -> None:
        """Answers of an actor go on to the client."""
        line = self._lines[fd]
        line.write()
        for frame in line.read():
            self._queue(frames.again(frame))
        if line.open:
            self._attend(line)
            return
        self._ignore(fd)
        del self._lines[fd]
        self._answers.relay.forget(line)
        for number in line.close():
            self._send(frames.OK, number, gone(line.attempt, begun=True).meta)

    def _tick(self) -> None:
        """Answer what can be answered now."""
        now = time.monotonic()
        for later in [later for later in self._later if later.due <= now]:
            if self._queued > _CONGESTED:
                return
            try:
                answer = later.check(now)
            except OSError as error:
                meta = frames.error_meta("unknown", "The job's folder cannot be read.", found=str(error))
                self._send(frames.ERROR, later.number, meta)
                self._later.remove(later)
                continue
            if answer is not None:
                self._later.remove(later)
                self._send(frames.OK, later.number, answer.meta, *answer.body)

    def _send(self, kind: int, number: int, meta: dict[str, Any], *body: Bytes) -> None:
        self._queue(frames.pack(kind, number, meta, *body))

    def _queue(self, parts: Sequence[Bytes]) -> None:
        for part in parts:
            self._output.append(memoryview(part))
            self._queued += len(part)
        self._write(self._sink)

    def _write(self, sink: int) -> None:
        """As much of the queue as the client takes; the loop comes back for the rest."""
        try:
            while self._output:
                self._shift(os.writev(sink, list(islice(self._output, _VECTORS))))
        except BlockingIOError:
            pass
        except OSError:
            self._done = True
            self._output.clear()
        if bool(self._output) != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._watch(sink, self._write, select.POLLOUT)
            else:
                self._ignore(sink)
        if self._reading != (self._queued <= _CONGESTED and not self._done):
            self._listen(on=not self._reading)

    def _shift(self, count: int) -> None:
        self._queued -= count
        frames.written(self._output, count)

    def _last_words(self) -> None:
        """What is queued, the reason of an end most of all, for as long as a client that is alive would need."""
        deadline = time.monotonic() + _LAST_WORDS
        self._listen(on=False)
        while self._output and time.monotonic() < deadline:
            for fd, _ in self._poll.poll(100):
                if fd == self._sink:
                    self._write(self._sink)

    def _child_ended(self, wake: int) -> None:
        """Collect supervisors that have ended, and look at once at whatever somebody waits for."""
        try:
            os.read(wake, 4096)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except (BlockingIOError, ChildProcessError):
            pass
        for later in self._later:
            later.due = 0.0


def _wake_pipe() -> int:
    """A pipe that becomes readable when a child ends, so that the end of a job is seen at once."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reader


def _widen(fd: int) -> None:
    """A bigger pipe means fewer turns per megabyte; what is no pipe, or refused, stays as it is."""
    with suppress(OSError):
        fcntl.fcntl(fd, _F_SETPIPE_SZ, 1 << 20)
