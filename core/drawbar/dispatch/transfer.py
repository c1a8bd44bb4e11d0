"""Bytes to a target and back, by digest: what is there is not sent, what broke off is resumed, what came is checked.

Blobs come from `prepare` (payloads, code, stored values) and leave in chunks of 1 MiB, many under way at once; values
come back into one preallocated buffer, hashed while the rest is still coming.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from drawbar.agent import frames
from drawbar.dispatch.client import Agent, Asked
from drawbar.dispatch.port import Bytes
from drawbar.errors import CorruptError, DrawbarError, ProtocolError

_WINDOW = 16
"""How many chunks are asked for, or sent and not yet confirmed, at a time."""
_TURNS = 200
_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes with their digest; `read` gives them as parts, and is called only where the target lacks them."""

    digest: str
    bytes: int
    read: Callable[[], Sequence[Bytes]]


def blob_of(parts: Sequence[Bytes]) -> Blob:
    """A Blob of bytes that are here already; they must not change until it is sent.

    >>> blob_of([b"ab", b"c"]).digest[:8]
    'ba7816bf'
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return Blob(digest.hexdigest(), sum(memoryview(part).nbytes for part in parts), lambda: parts)


class Uploads:
    """What one connection has sent or found to be there, so that two threads do not send the same blob at once."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._there: set[str] = set()
        self._turns: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def forget(self, digests: Iterable[str]) -> None:
        """Ask for these again: the target said that they are gone."""
        with self._lock:
            self._there -= set(digests)

    def ensure(self, blobs: Iterable[Blob]) -> int:
        """Have all of `blobs` on the target; how many bytes were sent for it.

        DiskFullError, CorruptError (where `read` gave other bytes than its digest says), BrokenConnectionError.
        """
        with self._lock:
            wanted = {blob.digest: blob for blob in blobs if blob.digest not in self._there}
            turns = [self._turns.setdefault(digest, threading.Lock()) for digest in sorted(wanted)]
        if not wanted:
            return 0
        for turn in turns:
            turn.acquire()
        try:
            with self._lock:
                missing = [blob for digest, blob in wanted.items() if digest not in self._there]
            sent = _send(self._agent, missing)
            with self._lock:
                self._there.update(wanted)
            return sent
        finally:
            for turn in turns:
                turn.release()
            with self._lock:
                for digest in wanted:
                    self._turns.pop(digest, None)


def _send(agent: Agent, blobs: Sequence[Blob]) -> int:
    """Send what is missing, again where another client is sending the same and was first."""
    sent = 0
    left = {blob.digest: blob for blob in blobs}
    for _ in range(_TURNS):
        if not left:
            return sent
        there = agent.ask(frames.HAVE, {"blobs": list(left)}).meta
        left = {digest: left[digest] for digest in there["missing"]}
        partial = there.get("partial") or {}
        crossed = False
        for digest, blob in left.items():
            try:
                sent += _send_one(agent, blob, int(partial.get(digest, 0)))
            except ProtocolError:
                crossed = True
        if not crossed:
            return sent
        time.sleep(_PAUSE)
    raise ProtocolError(
        f"{agent.name} did not take what was sent.",
        expected="each chunk to be taken at its offset",
        found=f"{len(left)} blobs still missing after {_TURNS} tries",
        todo="see whether another client sends the same without end; else report it",
    )


def _send_one(agent: Agent, blob: Blob, begin: int) -> int:
    """Send one blob from byte `begin`; how many bytes that were. ProtocolError where the agent is at another offset."""
    waiting: deque[Asked] = deque()
    offset = begin
    if not blob.bytes:
        agent.ask(frames.PUT, {"digest": blob.digest, "offset": 0, "size": 0})
    try:
        for chunk in _chunks(blob.read(), begin):
            meta = {"digest": blob.digest, "offset": offset, "size": blob.bytes}
            waiting.append(agent.request(frames.PUT, meta, *chunk))
            offset += sum(map(len, chunk))
            while len(waiting) > _WINDOW or (waiting and waiting[0].done()):
                waiting.popleft().result()
    except DrawbarError:
        _drain(waiting)
        raise
    try:
        while waiting:
            waiting.popleft().result()
    finally:
        _drain(waiting)
    if offset != blob.bytes:
        raise CorruptError(
            "A value is not as long as its record says.",
            expected=f"{blob.bytes} bytes of {blob.digest}",
            found=f"{offset} bytes",
            todo="make the asset again",
        )
    return offset - begin


def _drain(waiting: Iterable[Asked]) -> None:
    """Wait for the answers that are still to come, whatever they are, so that none is taken for another's."""
    for asked in waiting:
        asked.exception()


def _chunks(parts: Sequence[Bytes], begin: int, size: int = frames.CHUNK) -> Iterator[list[memoryview]]:
    """Views of `parts` from byte `begin`, in lists of `size` bytes, the last one shorter."""
    chunk: list[memoryview] = []
    room = size
    for part in parts:
        view = memoryview(part).cast("B")
        skipped = min(begin, len(view))
        begin -= skipped
        view = view[skipped:]
        while len(view):
            piece = view[:room]
            chunk.append(piece)
            view = view[len(piece) :]
            room -= len(piece)
            if not room:
                yield chunk
                chunk, room = [], size
    if chunk:
        yield chunk


def download(agent: Agent, digest: str, size: int) -> bytearray:
    """The `size` bytes of a blob; CorruptError if they are not what the digest says."""
    data = bytearray(size)
    view = memoryview(data)
    hashed = hashlib.sha256()
    waiting: deque[tuple[int, int, Asked]] = deque()
    offset = 0
    while offset < size or waiting:
        while offset < size and len(waiting) < _WINDOW:
            length = min(frames.CHUNK, size - offset)
            meta = {"digest": digest, "offset": offset, "length": length}
            place = view[offset : offset + length]
            waiting.append((offset, length, agent.request(frames.GET, meta, place=place)))
            offset += length
        begin, length, asked = waiting.popleft()
        body = asked.result().body
        if len(body) != length:
            raise _corrupt(agent, digest, f"{size} bytes", f"no more than {begin + len(body)} bytes")
        hashed.update(body)
    if hashed.hexdigest() != digest:
        raise _corrupt(agent, digest, f"sha256 {digest}", f"sha256 {hashed.hexdigest()}")
    return data


def _corrupt(agent: Agent, digest: str, expected: str, found: str) -> CorruptError:
    return CorruptError(
        f"A value that came from {agent.name} is not what its name says.",
        expected=expected,
        found=found,
        todo=f"delete blobs/{digest[:2]}/{digest} in drawbar's folder there, and make the asset again",
    )
