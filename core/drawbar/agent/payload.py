"""The payload container: a pickle-5 stream with its out-of-band buffers beside it, so that no array is copied.

Arguments of direct calls come here on the client and are opened in the worker; results without a data format go the
other way. Both sides use this file; who pickles (pickle or cloudpickle) is given by the caller.

    "dBp1" · count of buffers (u32) · length of the stream (u64) · length of each buffer (u64), network order
    the stream, then each buffer at the next multiple of 64 bytes from the beginning
"""

from __future__ import annotations

import pickle
import struct
from typing import Any, Callable, Union

Bytes = Union[bytes, bytearray, memoryview]

FORMAT = "payload"
EXT = ".payload"
ALIGNMENT = 64
_MAGIC = b"dBp1"
_HEAD = struct.Struct("!4sI")


class PayloadError(Exception):
    """The bytes are not a payload container, or not a whole one."""

    def __init__(self, what: str, expected: str = "", found: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.found = found


def encode(value: Any, dumps: Callable[..., bytes] = pickle.dumps) -> list[Bytes]:
    """The container of `value` as parts to be written one after another; big buffers are views, not copies.

    `dumps` takes what `pickle.dumps` takes (cloudpickle's does too). Raises what it raises.

    >>> decode(bytearray(b"".join(encode({"a": [1, 2]}))))
    {'a': [1, 2]}
    """
    buffers: list[memoryview] = []

    def aside(buffer: pickle.PickleBuffer) -> None:
        buffers.append(buffer.raw())

    stream = dumps(value, protocol=5, buffer_callback=aside)
    return join(stream, buffers)


def decode(data: Bytes, loads: Callable[..., Any] = pickle.loads) -> Any:
    """The value in a container. Arrays are views into `data`: give a bytearray (not bytes) for writable ones.

    Raises PayloadError where the container is not whole, and what `loads` raises.
    """
    stream, buffers = split(data)
    return loads(stream, buffers=buffers)


def dumps(value: Any, **options: Any) -> bytes:
    """As `pickle.dumps`, by cloudpickle: what is defined in `__main__` or in a function goes by value."""
    import cloudpickle

    return cloudpickle.dumps(value, **options)  # type: ignore[no-any-return, unused-ignore]


def is_payload(data: Bytes) -> bool:
    """Whether `data` begins as a container does."""
    return bytes(memoryview(data)[:4]) == _MAGIC


def join(stream: Bytes, buffers: list[memoryview]) -> list[Bytes]:
    """The parts of a container of a pickle stream and its buffers (each contiguous, of bytes)."""
    lengths = [len(stream), *map(len, buffers)]
    parts: list[Bytes] = [_HEAD.pack(_MAGIC, len(buffers)) + struct.pack(f"!{len(lengths)}Q", *lengths), stream]
    position = len(parts[0]) + len(stream)
    for buffer in buffers:
        padding = -position % ALIGNMENT
        if padding:
            parts.append(bytes(padding))
        parts.append(buffer)
        position += padding + len(buffer)
    return parts


def split(data: Bytes) -> tuple[memoryview, list[memoryview]]:
    """The pickle stream and the buffers of a container, as views. Raises PayloadError; allocates nothing by a length.

    >>> split(b"other")
    Traceback (most recent call last):
    ...
    drawbar.agent.payload.PayloadError: The bytes are not a payload.
    """
    view = memoryview(data).cast("B")
    if len(view) < _HEAD.size or bytes(view[:4]) != _MAGIC:
        raise PayloadError("The bytes are not a payload.", repr(_MAGIC), repr(bytes(view[:4])))
    (_, count) = _HEAD.unpack_from(view)
    position = _HEAD.size + 8 * (count + 1)
    if position > len(view):
        raise PayloadError("The payload is not whole.", f"at least {position} bytes", f"{len(view)}")
    lengths = struct.unpack_from(f"!{count + 1}Q", view, _HEAD.size)
    pieces: list[memoryview] = []
    for length in lengths:
        if pieces:
            position += -position % ALIGNMENT
        if position + length > len(view):
            raise PayloadError("The payload is not whole.", f"at least {position + length} bytes", f"{len(view)}")
        pieces.append(view[position : position + length])
        position += length
    return pieces[0], pieces[1:]
