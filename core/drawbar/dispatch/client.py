"""One connection to an agent: starts it over a channel, then pairs requests with answers, from any thread.

Bytes come from a Channel; answers go to whoever asked, errors as drawbar's own. A connection that breaks fails every
request that is under way with BrokenConnectionError; `link` decides whether to open another.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from drawbar import __version__, errors
from drawbar.agent import frames
from drawbar.config import whoami
from drawbar.dispatch.bundle import Bundle
from drawbar.dispatch.port import Bytes, Channel

MARK = b"\0drawbar1 "
_ANSWERS = {b"have": False, b"need": True}
_NOISE_LIMIT = 1 << 20
_NUMBERS = 1 << 32
_TOLD = 2000
_FULL = f"[Errno {errno.ENOSPC}]"  # of the loader, which has no frames to say it in


class BrokenConnectionError(errors.UnreachableError):
    """The connection broke while it was in use; opening another may help."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What an agent answered; `body` is empty where the bytes went to the place that the request named."""

    meta: dict[str, Any]
    body: memoryview


class Asked:
    """A request that is under way. Its methods may be called from any thread, any number of times.

    A `concurrent.futures.Future` would take longer to make and to wait for than the agent takes to answer.
    """

    __slots__ = ("_coming", "_error", "_reply", "place")

    def __init__(self, place: memoryview | None = None) -> None:
        self.place = place
        self._reply: Reply | None = None
        self._error: BaseException | None = None
        self._coming = threading.Lock()
        self._coming.acquire()

    def done(self) -> bool:
        """Whether the answer is here."""
        return not self._coming.locked()

    def result(self, timeout: float | None = None) -> Reply:
        """The answer; blocks until it is here, TimeoutError after `timeout` s. Raises the agent's error."""
        error = self.exception(timeout)
        if error is not None:
            raise error
        assert self._reply is not None
        return self._reply

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What `result` would raise, None where there is an answer; blocks like it."""
        if not self._coming.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutError
        self._coming.release()
        return self._error

    def finish(self, reply: Reply | None, error: BaseException | None = None) -> None:
        """Let whoever waits have the answer; called once, by the connection."""
        self._reply, self._error = reply, error
        self._coming.release()


class Agent:
    """A running agent at the other end of `channel`; `name` is the target's, for messages.

    `hello` is what it said about itself: protocol, python, executable, platform, host, user, pid, boot, root, free.
    """

    def __init__(self, channel: Channel, bundle: Bundle, *, name: str, timeout: float = 60.0) -> None:
        self.name = name
        self.hello: dict[str, Any] = {}
        self.sent = 0
        self._channel = channel
        self._bundle = bundle
        self._numbers = itertools.count(1)
        self._pending: dict[int, Asked] = {}
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._fault: errors.DrawbarError | None = None
        self._said = bytearray()
        self._parser = frames.Parser(self._place)
        self._greeted: Future[bool] = Future()
        channel.listen(self._take)
        try:
            if self._greeted.result(timeout):
                self._send_bundle()
            self.hello = self.request(frames.HELLO, _introduction()).result(timeout).meta
        except TimeoutError:
            self.close()
            raise errors.UnreachableError(
                f"{name} did not answer.",
                expected=f"drawbar's agent within {timeout:g} s",
                found=_tail(channel.stderr()) or "silence",
                todo=f"see whether a command runs there at all: `drawbar doctor {name}`",
            ) from None
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """False once the connection has broken or was closed."""
        return self._fault is None

    def request(
        self, kind: int, meta: Mapping[str, Any] | None = None, *body: Bytes, place: memoryview | None = None
    ) -> Asked:
        """Send one request; `result` of it gives its answer, or raises. `place` is where the answer's body shall go.

        The parts of `body` are read until this returns. FormatError where they are too big for a frame.
        """
        asked = Asked(place)
        with self._lock:
            if self._fault is not None:
                raise self._fault
            number = next(self._numbers) % _NUMBERS
            self._pending[number] = asked
        try:
            parts = frames.pack(kind, number, dict(meta or {}), *body)
            with self._sending:
                self._channel.send(parts)
                self.sent += sum(map(len, parts))
        except frames.FrameError as error:
            self._pending.pop(number, None)
            raise errors.FormatError(error.what, expected=error.expected, found=error.found) from None
        except (OSError, EOFError, errors.UnreachableError) as error:
            raise self._break(self._broken(str(error))) from error
        return asked

    def ask(
        self, kind: int, meta: Mapping[str, Any] | None = None, *body: Bytes, timeout: float | None = None
    ) -> Reply:
        """Send one request and wait for its answer; BrokenConnectionError where none comes within `timeout` s."""
        asked = self.request(kind, meta, *body)
        try:
            return asked.result(timeout)
        except TimeoutError:
            raise self._break(self._broken(f"no answer to {frames.NAMES[kind]} within {timeout:g} s")) from None

    def close(self) -> None:
        """End the connection; what is under way fails. Jobs go on."""
        self._break(BrokenConnectionError(f"The connection to {self.name} was closed.", todo="open it again"))

    def _break(self, fault: errors.DrawbarError) -> errors.DrawbarError:
        """The fault that ended the connection, the first one; every request under way gets it."""
        with self._lock:
            first = self._fault is None
            if self._fault is None:
                self._fault = fault
            waiting, self._pending = list(self._pending.values()), {}
        if first:
            self._channel.close()
        for pending in waiting:
            pending.finish(None, self._fault)
        return self._fault

    def _broken(self, found: str) -> BrokenConnectionError:
        said = _tail(self._channel.stderr())
        return BrokenConnectionError(
            f"The connection to {self.name} broke; jobs on it go on.",
            found="; ".join(filter(None, (found, said))),
            todo="do the same again: a job that runs is found running",
        )

    def _take(self, data: bytes) -> None:
        """What comes, in the thread that brings it; whatever ends the stream fails what is still waiting."""
        if self._fault is not None:
            return
        try:
            self._hear(data if self._greeted.done() else self._greet(data))
        except errors.DrawbarError as error:
            self._end(error)
        except frames.FrameError as error:
            self._end(
                errors.ProtocolError(
                    f"{self.name} does not speak drawbar's protocol: {error.what}",
                    expected=error.expected,
                    found=error.found,
                    todo="see that nothing on the host writes into the connection; else report it",
                )
            )
        except Exception as error:
            # Nothing else is expected; but above us is the channel's thread, which could not tell anybody.
            self._end(self._broken(f"{type(error).__name__}: {error}"))

    def _hear(self, data: bytes | None) -> None:
        """The answers in `data`; none yet where that is None."""
        if data is None:
            return
        if not data:
            if not self.hello and _FULL in self._channel.stderr():
                raise _no_room(self.name, _tail(self._channel.stderr()))
            raise self._broken("it closed in the middle of a frame" if self._parser.midway else "the far end closed")
        for frame in self._parser.feed(data):
            self._answer(frame)

    def _end(self, fault: errors.DrawbarError) -> None:
        fault = self._break(fault)
        if not self._greeted.done():
            self._greeted.set_exception(fault)

    def _greet(self, data: bytes) -> bytes | None:
        """Skip what a login shell printed, and hear whether the loader wants the zip; the bytes left over, if any."""
        said = self._said
        said += data
        at = said.find(MARK)
        end = said.find(b"\n", at) if at >= 0 else -1
        if end < 0:
            if not data or len(said) >= _NOISE_LIMIT:
                raise _no_agent(self.name, bytes(said), self._channel.stderr())
            return None
        answer = bytes(said[at + len(MARK) : end])
        if answer not in _ANSWERS:
            raise frames.FrameError("The loader's answer is none.", "have or need", repr(answer[:40]))
        self._greeted.set_result(_ANSWERS[answer])
        return bytes(said[end + 1 :]) or None

    def _send_bundle(self) -> None:
        with self._sending:
            try:
                self._channel.send([len(self._bundle.data).to_bytes(8, "big"), self._bundle.data])
            except (OSError, EOFError, errors.UnreachableError) as error:
                raise self._break(self._broken(str(error))) from error
            self.sent += len(self._bundle.data)

    def _place(self, kind: int, number: int, _meta: dict[str, Any], size: int) -> memoryview | None:
        pending = self._pending.get(number)
        if kind != frames.OK or pending is None or pending.place is None:
            return None
        return pending.place if len(pending.place) == size else None

    def _answer(self, frame: frames.Frame) -> None:
        if frame.kind == frames.ERROR and frame.number == 0:
            raise error_of(frame.meta, self.name)
        with self._lock:
            known = frame.kind in (frames.OK, frames.ERROR)
            pending = self._pending.pop(frame.number, None) if known else None
        if pending is None:
            raise frames.FrameError("An answer to nothing.", "OK or ERROR with a number that was asked", f"{frame[:2]}")
        if frame.kind == frames.ERROR:
            pending.finish(None, error_of(frame.meta, self.name))
        else:
            pending.finish(Reply(frame.meta, frame.body))


def gather(asked: Sequence[Asked], timeout: float | None = None) -> list[Reply]:
    """All answers, in order; the first error otherwise."""
    return [one.result(timeout) for one in asked]


def _introduction() -> dict[str, Any]:
    """Who asks: a job's log on the host names it."""
    return {
        "protocol": frames.VERSION,
        "drawbar": __version__,
        "host": socket.gethostname(),
        "user": whoami(),
        "pid": os.getpid(),
    }


_KINDS: dict[str, type[errors.DrawbarError]] = {
    "protocol": errors.ProtocolError,
    "digest": errors.CorruptError,
    "disk": errors.DiskFullError,
    "denied": errors.TargetError,
    "unknown": errors.LostError,
    "python": errors.PreflightError,
}


def error_of(meta: Mapping[str, Any], name: str) -> errors.DrawbarError:
    """The error that an ERROR frame's meta tells of; the sentence names the target."""
    texts = {key: str(meta.get(key) or "") for key in ("what", "expected", "found", "todo")}
    what = texts.pop("what") or f"it refused a request: {json.dumps(meta)[:_TOLD]}"
    return _KINDS.get(str(meta.get("code")), errors.TargetError)(f"{name}: {what}", **texts)


def _no_agent(name: str, said: bytes, stderr: str) -> errors.DrawbarError:
    """Why no agent came up: the disk is full, Python is missing or too old, or the shell ended first."""
    found = _tail("\n".join(filter(None, (said.decode(errors="replace").strip(), stderr.strip()))))
    if _FULL in found:
        return _no_room(name, found)
    if "Python" in found and "3.9" in found:
        return errors.PreflightError(
            f"{name} has no Python that drawbar's agent runs on.",
            expected="Python 3.9 or newer",
            found=found,
            todo=f"install one there, and set `python` of [tool.drawbar.targets.{name}] to its path",
        )
    if "not found" in found or "No such file" in found:
        return errors.PreflightError(
            f"{name} has no Python of that name.",
            expected="Python 3.9 or newer",
            found=found,
            todo=f"install it there, or set `python` of [tool.drawbar.targets.{name}] to its path",
        )
    return errors.UnreachableError(
        f"{name} closed the connection before drawbar's agent started.",
        found=found or "nothing was said",
        todo=f"see what is wrong with it: `drawbar doctor {name}`",
    )


def _no_room(name: str, found: str) -> errors.DiskFullError:
    return errors.DiskFullError(
        f"There is no space left on {name} for drawbar's agent.",
        expected="room for a megabyte",
        found=found,
        todo=f"free some there, or set `root` of [tool.drawbar.targets.{name}] to a folder on a bigger disk",
    )


def _tail(text: str) -> str:
    return text.strip()[-_TOLD:]
