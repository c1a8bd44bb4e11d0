"""Frames: how requests, answers and bytes travel on the one channel between a client and a host's agent.

Both sides use this file. Parts made by `pack` go to the channel; what the channel gives goes through a `Parser`, which
hands out whole frames and never trusts a length before it is checked.

    header (24 bytes, network order)   magic "dB" · version · kind · number · meta length · body length · crc32
    meta                               UTF-8 JSON object, at most 16 MiB; crc32 is of the header before it and meta
    body                               raw bytes, at most 8 MiB; meta says what they are, a digest whether they arrived
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Callable, Deque, NamedTuple, Optional, Union

Bytes = Union[bytes, bytearray, memoryview]

VERSION = 1
MAGIC = b"dB"
HEADER_SIZE = 24
META_LIMIT = 16 << 20
BODY_LIMIT = 8 << 20
CHUNK = 1 << 20
"""The usual size of a body that is one piece of something bigger, in bytes."""

HELLO, HAVE, PUT, SUBMIT, WAIT, READ, GET, CANCEL, JOBS, FACTS, TOLD, BYE, GPUS, GC, CALL, ACTORS, PLACE = range(1, 18)
OK, ERROR = 128, 129
NAMES = {
    HELLO: "HELLO",
    HAVE: "HAVE",
    PUT: "PUT",
    SUBMIT: "SUBMIT",
    WAIT: "WAIT",
    READ: "READ",
    GET: "GET",
    CANCEL: "CANCEL",
    JOBS: "JOBS",
    FACTS: "FACTS",
    TOLD: "TOLD",
    BYE: "BYE",
    GPUS: "GPUS",
    GC: "GC",
    CALL: "CALL",
    ACTORS: "ACTORS",
    PLACE: "PLACE",
    OK: "OK",
    ERROR: "ERROR",
}
CODES = ("protocol", "digest", "disk", "denied", "unknown", "python", "internal")
"""The codes that the meta of an ERROR can carry."""

_HEAD = struct.Struct("!2sBBIIQ")
_CRC = struct.Struct("!I")
_SCRATCH = 64 << 10
_JOINED = 16 << 10
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


class Frame(NamedTuple):
    """One whole frame. `body` is writable, and belongs to whoever took the frame; `text` is its meta as it came."""

    kind: int
    number: int
    meta: dict[str, Any]
    body: memoryview
    text: bytes


class FrameError(Exception):
    """The bytes are not a frame: the channel cannot be read any further.

    `number` is the request's number where the header could be read, else 0.
    """

    def __init__(self, what: str, expected: str = "", found: str = "", number: int = 0) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.found = found
        self.number = number


Place = Callable[[int, int, dict[str, Any], int], Optional[memoryview]]


def pack(kind: int, number: int, meta: Optional[dict[str, Any]] = None, *body: Bytes) -> list[Bytes]:
    """The parts of one frame, to be written one after another; a `body` over 16 KiB may be parts, and is not copied.

    Raises FrameError where meta or body is over its limit.

    >>> [len(part) for part in pack(PUT, 7, {"offset": 0}, b"abc")]
    [39]
    """
    return _packed(kind, number, _encode(meta or {}).encode("utf-8", "surrogatepass"), body)


def again(frame: Frame) -> list[Bytes]:
    """The parts of a frame as it came, for whoever passes it on: as `pack` gives them, in half the time."""
    return _packed(frame.kind, frame.number, frame.text, (frame.body,))


def _packed(kind: int, number: int, text: bytes, body: Sequence[Bytes]) -> list[Bytes]:
    parts = [memoryview(part).cast("B") if isinstance(part, memoryview) else part for part in body if len(part)]
    size = sum(map(len, parts))
    _check_lengths(len(text), size, number)
    head = _HEAD.pack(MAGIC, VERSION, kind, number, len(text), size)
    crc = zlib.crc32(text, zlib.crc32(head))
    if size <= _JOINED:  # one write, and over SSH one packet, instead of several
        return [b"".join((head, _CRC.pack(crc), text, *parts))]
    return [head + _CRC.pack(crc) + text, *parts]


def error_meta(code: str, what: str, expected: str = "", found: str = "", todo: str = "") -> dict[str, str]:
    """The meta of an ERROR frame.

    >>> error_meta("unknown", "No such job.")["code"]
    'unknown'
    """
    return {"code": code, "what": what, "expected": expected, "found": found, "todo": todo}


class Parser:
    """Bytes in, whole frames out, whatever pieces the bytes come in.

    `place(kind, number, meta, size)` may name a buffer of exactly `size` bytes where a body goes (a download writes
    straight into the value it makes); where it gives None, or is not given, the body gets memory of its own. After a
    FrameError the parser is dead, as the stream is.

    >>> parser = Parser()
    >>> [(frame.number, bytes(frame.body)) for frame in parser.feed(b"".join(pack(PUT, 7, {}, b"abc")))]
    [(7, b'abc')]
    """

    __slots__ = ("_body", "_filled", "_head", "_pending", "_place", "_scratch", "_text")

    def __init__(self, place: Optional[Place] = None) -> None:
        self._place = place
        self._scratch = memoryview(bytearray(_SCRATCH))
        self._pending = bytearray()
        self._head: Optional[tuple[int, int, dict[str, Any]]] = None
        self._text = b""
        self._body = memoryview(b"")
        self._filled = 0

    @property
    def midway(self) -> bool:
        """True where a frame has begun and is not whole: an end of the stream now is a broken one."""
        return self._head is not None or bool(self._pending)

    def room(self) -> memoryview:
        """Where the next bytes of the stream should be read into; call `advance` with how many came."""
        return self._scratch if self._head is None else self._body[self._filled :]

    def advance(self, count: int) -> list[Frame]:
        """The frames that are whole now that `count` bytes were read into `room()`. Raises FrameError."""
        if self._head is None:
            return self._take_heads(self._scratch[:count])
        self._filled += count
        return self._take_body()

    def feed(self, data: Bytes) -> list[Frame]:
        """The frames that are whole after `data`, for readers that get bytes rather than fill a buffer."""
        rest = memoryview(data)
        if self._head is None:
            return self._take_heads(rest)
        room = self.room()
        count = min(len(room), len(rest))
        room[:count] = rest[:count]
        frames = self.advance(count)
        return frames + self._take_heads(rest[count:]) if count < len(rest) else frames

    def _take_body(self) -> list[Frame]:
        if self._head is None or self._filled < len(self._body):
            return []
        frame = Frame(*self._head, self._body, self._text)
        self._head = None
        return [frame]

    def _take_heads(self, piece: memoryview) -> list[Frame]:
        """Whole frames, and the beginning of the next; what is not even a head stays pending."""
        if self._pending:
            self._pending += piece
        data = self._pending or piece  # nearly always nothing is pending, and nothing has to be copied
        frames: list[Frame] = []
        start = 0
        while self._head is None:
            head = _read_head(data, start)
            if head is None:
                break
            kind, number, self._text, size, start = head
            meta = _read_meta(self._text, number)
            self._begin_body(kind, number, meta, size)
            self._filled = min(size, len(data) - start)
            self._body[: self._filled] = data[start : start + self._filled]
            start += self._filled
            frames += self._take_body()
        if data is self._pending:
            del self._pending[:start]
        else:
            self._pending += data[start:]
        return frames

    def _begin_body(self, kind: int, number: int, meta: dict[str, Any], size: int) -> None:
        place = self._place(kind, number, meta, size) if self._place and size else None
        self._body = place if place is not None and len(place) == size else memoryview(bytearray(size))
        self._head = kind, number, meta


def _read_head(data: Union[bytearray, memoryview], start: int) -> Optional[tuple[int, int, bytes, int, int]]:
    """Kind, number, text of the meta, body length and where the body begins; None while not all of it is there."""
    if len(data) - start < HEADER_SIZE:
        begun = bytes(data[start : start + 3])
        if begun != (MAGIC + bytes([VERSION]))[: len(begun)]:
            raise _not_a_frame(begun)
        return None
    magic, version, kind, number, meta_size, body_size = _HEAD.unpack_from(data, start)
    if magic != MAGIC or version != VERSION:
        raise _not_a_frame(bytes(data[start : start + 3]))
    _check_lengths(meta_size, body_size, number)
    body_start = start + HEADER_SIZE + meta_size
    if len(data) < body_start:
        return None
    text = bytes(data[start + HEADER_SIZE : body_start])
    (expected,) = _CRC.unpack_from(data, start + _HEAD.size)
    found = zlib.crc32(text, zlib.crc32(data[start : start + _HEAD.size]))
    if found != expected:
        raise FrameError("A frame is damaged.", f"crc32 {expected:08x}", f"{found:08x}", number)
    return kind, number, text, body_size, body_start


def _read_meta(text: bytes, number: int) -> dict[str, Any]:
    try:
        meta = _decode(text.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise FrameError("The meta of a frame is not JSON.", "a UTF-8 JSON object", str(error), number) from None
    if not isinstance(meta, dict):
        raise FrameError("The meta of a frame is not an object.", "a JSON object", type(meta).__name__, number)
    return meta


def _check_lengths(meta_size: int, body_size: int, number: int) -> None:
    if meta_size > META_LIMIT:
        raise FrameError("The meta of a frame is too long.", f"at most {META_LIMIT} bytes", f"{meta_size}", number)
    if body_size > BODY_LIMIT:
        raise FrameError("The body of a frame is too long.", f"at most {BODY_LIMIT} bytes", f"{body_size}", number)


def _not_a_frame(begun: bytes) -> FrameError:
    if begun[:-1] == MAGIC:
        return FrameError("A frame of another protocol.", f"version {VERSION}", f"version {begun[-1]}")
    return FrameError("The bytes are not a frame.", repr(MAGIC), repr(begun))


def written(output: Deque[memoryview], count: int) -> None:
    """Take the first `count` bytes off a queue of parts: they have been written.

    >>> from collections import deque
    >>> parts = deque([memoryview(b"ab"), memoryview(b"cd")])
    >>> written(parts, 3)
    >>> [bytes(part) for part in parts]
    [b'd']
    """
    while count:
        first = output[0]
        if len(first) > count:
            output[0] = first[count:]
            return
        count -= len(first)
        output.popleft()
