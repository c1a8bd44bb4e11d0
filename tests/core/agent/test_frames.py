"""Frames: what one side packs, the other gets, whatever pieces it comes in, and nothing else."""

import random
import struct
import zlib

import pytest

from drawbar.agent import frames


def packed(*arguments):
    """One frame as bytes."""
    return b"".join(frames.pack(*arguments))


@pytest.mark.parametrize("size", [1, 2, 23, 24, 25, 1000, 1 << 20])
def test_frames_survive_any_chunking(size):
    """A frame would depend on how the channel cuts the stream."""
    data = packed(frames.PUT, 7, {"name": "é\udc80", "n": 1}, b"abc", memoryview(b"de")) + packed(frames.BYE, 8)
    parser = frames.Parser()
    got = [frame for at in range(0, len(data), size) for frame in parser.feed(data[at : at + size])]
    assert [(frame.kind, frame.number, frame.meta, bytes(frame.body)) for frame in got] == [
        (frames.PUT, 7, {"name": "é\udc80", "n": 1}, b"abcde"),
        (frames.BYE, 8, {}, b""),
    ]
    assert not parser.midway


def test_a_body_goes_where_place_says():
    """A download would be copied once more, or into a place of another size."""
    there = bytearray(5)
    places = iter([memoryview(there), memoryview(bytearray(4)), None])
    parser = frames.Parser(lambda *_: next(places))
    first, second, third = parser.feed(packed(frames.OK, 1, {}, b"12345") * 3)
    assert there == b"12345"
    assert first.body.obj is there
    assert [bytes(frame.body) for frame in (second, third)] == [b"12345"] * 2


def test_room_and_advance_read_without_a_copy():
    """The event loop, which fills the parser's own buffers, would see other frames than `feed`."""
    data = packed(frames.PUT, 1, {}, bytes(300_000))
    parser = frames.Parser()
    got = []
    while data:
        room = parser.room()
        count = min(len(room), len(data))
        room[:count] = data[:count]
        data = data[count:]
        got += parser.advance(count)
    assert [len(frame.body) for frame in got] == [300_000]


def head(*, magic=b"dB", version=1, kind=1, number=9, meta=b"{}", meta_size=None, body_size=0, crc=None):
    """The beginning of a frame with whatever is wrong about it."""
    start = struct.pack(
        "!2sBBIIQ", magic, version, kind, number, len(meta) if meta_size is None else meta_size, body_size
    )
    return start + struct.pack("!I", zlib.crc32(meta, zlib.crc32(start)) if crc is None else crc) + meta


@pytest.mark.parametrize(
    ("data", "what", "number"),
    [
        (b"HTTP/1.1 400", "The bytes are not a frame.", 0),
        (head(magic=b"dX"), "The bytes are not a frame.", 0),
        (head(version=2), "A frame of another protocol.", 0),
        (head(crc=1), "A frame is damaged.", 9),
        (head(meta=b"{"), "The meta of a frame is not JSON.", 9),
        (head(meta=b"\xff"), "The meta of a frame is not JSON.", 9),
        (head(meta=b"[" * 200_000), "The meta of a frame is not JSON.", 9),
        (head(meta=b"[]"), "The meta of a frame is not an object.", 9),
        (head(meta_size=frames.META_LIMIT + 1), "The meta of a frame is too long.", 9),
        (head(body_size=1 << 60), "The body of a frame is too long.", 9),
    ],
)
def test_what_is_no_frame_is_refused(data, what, number):
    """A stream that is not ours would be read on, or a length believed."""
    with pytest.raises(frames.FrameError) as caught:
        frames.Parser().feed(data)
    assert caught.value.what == what
    assert caught.value.number == number


def test_too_much_is_not_packed():
    """A sender could send what every reader refuses."""
    with pytest.raises(frames.FrameError, match="body of a frame is too long"):
        frames.pack(frames.PUT, 1, {}, bytes(frames.BODY_LIMIT), b"x")


def test_garbage_never_allocates_or_hangs():
    """A hostile stream could make the parser raise something else, or never stop."""
    good = packed(frames.WAIT, 3, {"job": "a"}, b"xyz")
    chance = random.Random(5)
    refused = 0
    for _ in range(3000):
        data = bytearray(good * 2)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            frames.Parser().feed(data)
        except frames.FrameError:
            refused += 1
    assert refused > 2000
