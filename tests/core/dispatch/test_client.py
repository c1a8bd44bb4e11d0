"""The client's end of a connection, against peers that break off, lie and write nonsense."""

import contextlib
import socket
import struct
import threading
import time

import pytest

from drawbar import errors
from drawbar.agent import frames
from drawbar.dispatch.bundle import Bundle
from drawbar.dispatch.client import Agent, BrokenConnectionError, error_of
from drawbar.dispatch.transfer import Blob, Uploads, download

HELLO = {"protocol": 1, "python": "3.11.7", "executable": "/usr/bin/python3"}
READY = b"\0drawbar1 have\n"


class SocketChannel:
    """A Channel over a socket, whose far end is played by the test."""

    def __init__(self, end, said=""):
        self._end = end
        self._said = said

    def send(self, parts):
        for part in parts:
            self._end.sendall(part)

    def listen(self, take):
        threading.Thread(target=self._read, args=(take,), daemon=True).start()

    def _read(self, take):
        data = b"-"
        while data:
            try:
                data = self._end.recv(1 << 16)
            except OSError:
                data = b""
            take(data)

    def close(self):
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        self._end.close()

    def stderr(self):
        return self._said


class Peer:
    """The far end: `script` plays it, in a thread, with `frame()` to read a request and `send` to answer."""

    def __init__(self, script, said=""):
        here, self._there = socket.socketpair()
        self.channel = SocketChannel(here, said)
        self._parser = frames.Parser()
        self._frames = []
        self._thread = threading.Thread(target=self._play, args=(script,))
        self._thread.start()

    def _play(self, script):
        try:
            script(self)
        finally:
            self._there.close()

    def frame(self):
        """The next request."""
        while not self._frames:
            data = self._there.recv(1 << 16)
            if not data:
                raise EOFError
            self._frames += self._parser.feed(data)
        return self._frames.pop(0)

    def send(self, *parts):
        """Raw bytes."""
        for part in parts:
            self._there.sendall(part)

    def answer(self, frame, meta=None, *body, kind=frames.OK):
        """An answer to `frame`."""
        self.send(*frames.pack(kind, frame.number, meta or {}, *body))

    def greet(self):
        """A loader that has the agent, and its HELLO."""
        self.send(READY)
        self.answer(self.frame(), HELLO)

    def until_closed(self):
        """Say nothing more."""
        try:
            while True:
                self.frame()
        except (EOFError, OSError):
            pass

    def join(self):
        """Wait for the script's end."""
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def connect():
    """An Agent at a Peer that plays a script."""
    opened = []

    def make(script, *, said="", timeout=10.0):
        peer = Peer(script, said)
        opened.append((peer, None))
        agent = Agent(peer.channel, Bundle("d" * 64, b"the zip"), name="gpu", timeout=timeout)
        opened[-1] = peer, agent
        return agent

    yield make
    for peer, agent in opened:
        if agent is not None:
            agent.close()
        peer.channel.close()
        peer.join()


def greeting_then(action):
    """A script that greets, then does `action` with the peer and the next request."""

    def script(peer):
        peer.greet()
        action(peer, peer.frame())
        peer.until_closed()

    return script


def test_noise_of_a_login_shell_is_skipped(connect):
    """What a shell prints before the loader's mark is no part of the conversation."""

    def script(peer):
        peer.send(b"Welcome to gpu-box!\r\n\0 100% beep\n", READY[:5])
        time.sleep(0.02)
        peer.send(READY[5:])
        peer.answer(peer.frame(), HELLO)
        peer.until_closed()

    assert connect(script).hello["python"] == "3.11.7"


def test_zip_is_sent_where_it_is_needed(connect):
    """A host without the agent gets its length and its bytes, and nothing else before the first frame."""
    taken = []

    def script(peer):
        peer.send(b"\0drawbar1 need\n")
        data = b""
        while len(data) < 15:
            data += peer._there.recv(15 - len(data))
        taken.append(data)
        peer.answer(peer.frame(), HELLO)
        peer.until_closed()

    connect(script)
    assert taken == [struct.pack("!Q", 7) + b"the zip"]


@pytest.mark.parametrize(
    ("printed", "said", "kind", "what"),
    [
        (b"", "bash: line 1: python3: command not found", errors.PreflightError, "gpu has no Python of that name."),
        (
            b"",
            "drawbar needs Python 3.9 or newer; this is Python 3.6.8 at /usr/bin/python3",
            errors.PreflightError,
            "gpu has no Python that drawbar's agent runs on.",
        ),
        (
            b"This account is not available.\n",
            "",
            errors.UnreachableError,
            "gpu closed the connection before drawbar's agent started.",
        ),
    ],
)
def test_no_agent(connect, printed, said, kind, what):
    """A host where the agent cannot start is an error that says why, and shows what the host said."""
    with pytest.raises(kind) as caught:
        connect(lambda peer: peer.send(printed or b""), said=said)
    assert caught.value.what == what
    assert (said or printed.decode().strip()) in caught.value.found
    assert caught.value.todo


def test_silence(connect):
    """A host that says nothing is given up after the timeout, with what to do."""
    with pytest.raises(errors.UnreachableError) as caught:
        connect(lambda peer: peer.until_closed(), timeout=0.2)
    assert caught.value.what == "gpu did not answer."
    assert caught.value.todo == "see whether a command runs there at all: `drawbar doctor gpu`"


def test_answers_out_of_order(connect):
    """Each answer reaches the request of its number."""

    def script(peer):
        peer.greet()
        first, second = peer.frame(), peer.frame()
        peer.answer(second, {"to": 2}, b"two")
        peer.answer(first, {"to": 1}, b"one")
        peer.until_closed()

    agent = connect(script)
    one, two = agent.request(frames.READ), agent.request(frames.READ)
    assert (one.result(5).meta, bytes(two.result(5).body)) == ({"to": 1}, b"two")


def _frame(
    meta=b"{}", body=b"", *, magic=b"dB", version=1, kind=128, number=2, meta_size=None, body_size=None, crc=None
):
    import zlib

    head = struct.pack(
        "!2sBBIIQ",
        magic,
        version,
        kind,
        number,
        len(meta) if meta_size is None else meta_size,
        len(body) if body_size is None else body_size,
    )
    return head + struct.pack("!I", zlib.crc32(meta, zlib.crc32(head)) if crc is None else crc) + meta + body


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (_frame(magic=b"xx"), "b'xx"),
        (_frame(version=9), "version 9"),
        (_frame(meta_size=1 << 31), str(1 << 31)),
        (_frame(body_size=1 << 40), str(1 << 40)),
        (_frame(crc=1), ""),
        (_frame(b"[1]"), "list"),
        (_frame(b"{nonsense"), ""),
        (_frame(kind=77), "(77, 2)"),
        (_frame(number=999), "(128, 999)"),
    ],
)
def test_bad_frames(connect, data, found):
    """A frame of a wrong magic, version, length, check, JSON, type or number ends the connection with an error."""
    agent = connect(greeting_then(lambda peer, _: peer.send(data)))
    with pytest.raises(errors.ProtocolError) as caught:
        agent.ask(frames.JOBS, timeout=5)
    assert caught.value.what.startswith("gpu does not speak drawbar's protocol: ")
    assert found in caught.value.found
    assert not agent.alive
    with pytest.raises(errors.ProtocolError):
        agent.request(frames.JOBS)


def test_closed_in_the_middle_of_a_frame(connect):
    """A host that closes in mid-transfer fails all that is under way, and says that jobs go on."""

    def script(peer):
        peer.greet()
        first = peer.frame()
        peer.frame()
        peer.send(b"".join(frames.pack(frames.OK, first.number, {}, b"x" * 1000))[:500])

    agent = connect(script, said="packet_write_wait: broken")
    futures = [agent.request(frames.READ), agent.request(frames.READ)]
    for future in futures:
        with pytest.raises(BrokenConnectionError) as caught:
            future.result(5)
    assert caught.value.what == "The connection to gpu broke; jobs on it go on."
    assert caught.value.found == "it closed in the middle of a frame; packet_write_wait: broken"
    assert isinstance(caught.value, errors.UnreachableError)


def test_no_answer_breaks_the_connection(connect):
    """A request that gets no answer in time is a broken connection, not an endless wait."""
    agent = connect(greeting_then(lambda peer, _: None))
    with pytest.raises(BrokenConnectionError, match="The connection to gpu broke"):
        agent.ask(frames.WAIT, timeout=0.1)
    assert not agent.alive


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("protocol", errors.ProtocolError),
        ("digest", errors.CorruptError),
        ("disk", errors.DiskFullError),
        ("denied", errors.TargetError),
        ("unknown", errors.LostError),
        ("python", errors.PreflightError),
        ("internal", errors.TargetError),
        ("from the future", errors.TargetError),
    ],
)
def test_error_codes(connect, code, kind):
    """Each code of the protocol is one of drawbar's errors, with all the host said; the connection goes on."""
    meta = frames.error_meta(code, "It is so.", "this", "that", "do it")

    def script(peer):
        peer.greet()
        peer.answer(peer.frame(), meta, kind=frames.ERROR)
        peer.answer(peer.frame(), {"fine": True})
        peer.until_closed()

    agent = connect(script)
    with pytest.raises(kind) as caught:
        agent.ask(frames.TOLD, timeout=5)
    assert type(caught.value) is kind
    assert str(caught.value) == "gpu: It is so.\n  expected: this\n  found: that\n  do: do it"
    assert agent.ask(frames.TOLD, timeout=5).meta == {"fine": True}


def test_every_code_has_an_error():
    """A code that the protocol gains must be mapped here, too."""
    kinds = {code: type(error_of({"code": code, "what": "x"}, "gpu")) for code in frames.CODES}
    assert {code for code, kind in kinds.items() if kind is errors.TargetError} == {"denied", "internal"}


@pytest.mark.parametrize(
    ("sent", "expected", "found"),
    [
        (b"abc", "5 bytes", "no more than 3 bytes"),
        (b"hallo", "sha256 " + "d" * 64, "sha256 "),
    ],
)
def test_download_is_checked(connect, sent, expected, found):
    """Bytes that are too few, or not what the digest says, are never given to anybody."""
    agent = connect(greeting_then(lambda peer, frame: peer.answer(frame, {"size": 5}, sent)))
    with pytest.raises(errors.CorruptError) as caught:
        download(agent, "d" * 64, 5)
    assert caught.value.what == "A value that came from gpu is not what its name says."
    assert caught.value.expected == expected
    assert caught.value.found.startswith(found)


def test_closed_during_an_upload(connect):
    """A host that closes while it is sent a blob is a broken connection."""

    def script(peer):
        peer.greet()
        peer.answer(peer.frame(), {"missing": ["d" * 64], "partial": {}})
        peer.frame()

    agent = connect(script)
    data = bytes(30 << 20)
    with pytest.raises(BrokenConnectionError):
        Uploads(agent).ensure([Blob("d" * 64, len(data), lambda: [data])])


def test_meta_too_big(connect):
    """A request that no frame can hold is refused here, and the connection goes on."""
    agent = connect(greeting_then(lambda peer, frame: peer.answer(frame, {"fine": True})))
    with pytest.raises(errors.FormatError, match="too long"):
        agent.request(frames.SUBMIT, {"spec": "x" * (frames.META_LIMIT + 1)})
    assert agent.ask(frames.JOBS, timeout=5).meta == {"fine": True}
