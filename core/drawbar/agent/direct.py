"""Calls of an actor from inside a job on its own host: over the actor's socket, with no agent and no client between.

A proxy that was pickled into a job finds out here whether the actor lies under the job's own root. Each call under way
has a connection of its own, used again by the next; arguments and results that are big pass through the blobs.
"""

from __future__ import annotations

import itertools
import os
import pickle
import socket
import threading
import time
import uuid
from typing import Any, Optional

from . import files, frames, jobs, packing, sockets
from .blobs import Blobs
from .execution import read_whole
from .payload import Bytes
from .proxies import Line, attach

_OUTCOME = 10.0
_Connection = tuple[socket.socket, frames.Parser]


class ActorError(RuntimeError):
    """The actor is gone, or raised what could not be rebuilt here."""


def line_to(about: dict[str, Any]) -> Optional[DirectLine]:
    """The line to the actor that `about` tells of; None where this is no job, or the actor lies elsewhere."""
    mine = os.environ.get("DRAWBAR_ATTEMPT")
    if not mine or about.get("boot") != files.boot_id():
        return None
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(mine))))
    attempt = jobs.Jobs(root).latest(about["job"])
    if attempt is None or attempt.number < about["attempt"]:
        return None
    return DirectLine(root, attempt, about)


class DirectLine(Line):
    """The connections of this process to one actor."""

    def __init__(self, root: str, attempt: jobs.Attempt, about: dict[str, Any]) -> None:
        self.name = about["name"]
        self.trust = about["trust"]
        self._about = about
        self._attempt = attempt
        self._blobs = Blobs(root)
        self._start()

    def _start(self) -> None:
        """Of this process: a forked one has its own connections, and is another client."""
        self._pid = os.getpid()
        self._client = uuid.uuid4().hex
        self._numbers = itertools.count(1)
        self._free: list[_Connection] = []
        self._done: list[int] = []
        self._lock = threading.Lock()

    def begin(self, meta: dict[str, Any], parts: list[Bytes]) -> Asked:
        """See `Line.begin`."""
        if os.getpid() != self._pid:
            self._start()
        body = parts
        if packing.size_of(parts) > frames.BODY_LIMIT:
            meta, body = {**meta, "args": self._blobs.store(parts)[0]}, []
        with self._lock:
            connection = self._free.pop() if self._free else None
            done, self._done = self._done, []
        seq = next(self._numbers)
        meta = {**meta, "client": self._client, "epoch": 1, "seq": seq, "done": done}
        try:
            if connection is None:
                connection = sockets.connect(self._attempt.folder), frames.Parser()
            connection[0].sendall(b"".join(frames.pack(frames.CALL, seq % (1 << 32), meta, *body)))
        except OSError:
            if connection is not None:
                connection[0].close()
            raise self.ended(sent=connection is not None) from None
        return Asked(self, connection, seq)

    def close(self) -> None:
        """Let go of the connections; the next call opens another."""
        with self._lock:
            free, self._free = self._free, []
        for connection, _ in free:
            connection.close()

    def over(self, connection: _Connection, seq: int) -> None:
        """A call has its answer: its connection is free."""
        with self._lock:
            self._free.append(connection)
            self._done.append(seq)

    def ended(self, *, sent: bool) -> ActorError:
        """What to raise for an actor that is gone, with how its job ended if that is known soon."""
        end = time.monotonic() + _OUTCOME
        view = jobs.look(self._attempt)
        while view.outcome is None and time.monotonic() < end:
            time.sleep(0.01)
            view = jobs.look(self._attempt)
        told = view.outcome or {"state": "gone", "cause": "unknown"}
        signal = f", signal {told['signal']}" if told.get("signal") else ""
        how = f"{told['state']} ({told['cause']}{signal})"
        fate = "while a call was under way; whether it was carried out is not known" if sent else "before the call"
        return ActorError(f"the actor {self.name} ended {fate}: {how}")

    def fault(self, method: str, told: dict[str, Any], body: Any) -> BaseException:
        """See `Line.fault`."""
        text = f"{self.name}.{method} raised {told['type']}: {told['message']}\n{told['traceback']}"
        if self.trust != "data" and len(body):
            try:
                original: BaseException = pickle.loads(body)
            except Exception:  # its class may be missing here, or object: the text has all of it
                return ActorError(text)
            original.__cause__ = ActorError(text)
            return original
        return ActorError(text)

    def refuse(self, kind: str) -> BaseException:
        """See `Line.refuse`."""
        return ActorError(f"{self.name}.{kind} gave a pickle, and pickles are not trusted here")

    def fetch(self, digest: str, size: int) -> Any:  # noqa: ARG002 - the blob knows its size
        """See `Line.fetch`."""
        return read_whole(self._blobs.path(digest))

    def reduced(self) -> tuple[Any, ...]:
        """See `Line.reduced`."""
        return attach, (self._about,)


class Asked:
    """A call under way."""

    def __init__(self, line: DirectLine, connection: _Connection, seq: int) -> None:
        self._line = line
        self._connection = connection
        self._seq = seq

    def result(self) -> tuple[dict[str, Any], Any]:
        """See `Line.begin`."""
        connection, parser = self._connection
        found: list[frames.Frame] = []
        try:
            while not found:
                count = connection.recv_into(parser.room())
                if not count:
                    raise ConnectionResetError
                found = parser.advance(count)
        except OSError:
            connection.close()
            raise self._line.ended(sent=True) from None
        self._line.over(self._connection, self._seq)
        meta = found[0].meta
        if meta.get("end"):
            raise self._line.ended(sent=False)
        return meta, found[0].body

    def drop(self) -> None:
        """See `Line.begin`: its answer would come to a connection that is used again, so that one is closed."""
        self._connection[0].close()
