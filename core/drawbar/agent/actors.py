"""The actor's side of actors: a worker that keeps the object it constructed, and answers calls on a socket of its job.

Calls come from agents (`relay`) and from other jobs of this host (`direct`), as CALL frames; results go back the same
way, big ones as blobs. What runs in which thread: see `Server`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
import socket
import threading
import time
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Callable, Optional

from . import failure, files, frames, packing, payload, sockets
from .blobs import Blobs
from .execution import read_whole
from .ledger import Ledger, Made, Record
from .peers import Peer
from .proxies import ASYNC, ASYNC_STREAM, PLAIN, STREAM
from .relay import MARKER
from .streams import Streams
from .worker import Task

_NOTED_EVERY = 1.0
_STOPPING: Made = ({"end": "stopping"}, b"")
_Run = Callable[[], Any]


def serve(task: Task, instance: Any) -> None:
    """Answer calls of `instance` until somebody stops it, or nobody has called for its idle timeout; then close it.

    Raises OSError where the socket cannot be made, and what the instance's own `close` raises.
    """
    Server(task, instance).serve()


class Server:
    """The loop of one actor.

    With a concurrency of 1 and no asynchronous method, plain calls run one after another in the main thread, which is
    the one that constructed the instance. Else they run in as many threads as the concurrency says, and asynchronous
    ones in the main thread's event loop: all at once, or as many as the concurrency says if that is over 1.
    """

    def __init__(self, task: Task, instance: Any) -> None:
        told = task.spec["actor"]
        self.loop = asyncio.new_event_loop()
        self._task = task
        self._instance = instance
        self._trust = (task.spec.get("result") or {}).get("trust") or "pickle"
        self._blobs = Blobs(task.root)
        self._idle = float(told["idle_timeout"])
        self._methods = methods(type(instance))
        self._concurrency = int(told.get("concurrency") or 1)
        several = any(kind in (ASYNC, ASYNC_STREAM) for kind in self._methods.values())
        self._inline = self._concurrency == 1 and not several
        self._limit: Optional[asyncio.Semaphore] = None
        self._queue: Any = queue.SimpleQueue()
        self._ledger = Ledger()
        self._streams = Streams(self)
        self._peers: set[Peer] = set()
        self._tasks: set[Any] = set()
        self._busy = 0
        self._calls = 0
        self._last = time.monotonic()
        self._ended = ""
        self._noting = False
        self._over = self.loop.create_future()

    def serve(self) -> None:
        """Until it is stopped or idle."""
        listener = sockets.listen(self._task.folder)
        try:
            for _ in range(0 if self._inline else self._concurrency):
                threading.Thread(target=self._work, name="drawbar actor", daemon=True).start()
            self.loop.add_reader(listener.fileno(), self._accept, listener)
            self.loop.call_later(self._idle, self._look_idle)
            self._note()
            self.loop.run_until_complete(self._over)
        finally:
            self.loop.remove_reader(listener.fileno())
            listener.close()
            with suppress(OSError):
                os.unlink(self._task.path(sockets.NAME))
            self._note()
        for peer in list(self._peers):
            peer.finish()
        close = getattr(self._instance, "close", None)
        closed = close() if callable(close) else None
        if isinstance(closed, CoroutineType):
            self.loop.run_until_complete(closed)
        self.loop.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                self._peers.add(Peer(listener.accept()[0], self.loop, self._take, self._gone))

    def _gone(self, peer: Peer) -> None:
        """A connection has closed: its calls go on."""
        self._peers.discard(peer)
        self._streams.lost(peer)

    def _take(self, peer: Peer, frame: frames.Frame) -> None:
        """One request."""
        meta = frame.meta
        op = meta["op"]
        if op == "stop":
            peer.answer(frame.number, {}, b"")
            self._stop("stopped")
        elif op == "close":
            peer.answer(frame.number, {}, b"")
            self._streams.close(meta["stream"])
            self._ledger.acknowledge(meta)
        else:
            record = self._ledger.enter(peer, frame.number, meta, _STOPPING if self._ended else None)
            if record is not None and op == "next":
                self._streams.pull(record, meta)
            elif record is not None:
                self._begin(record, meta, frame.body)

    # Where things run

    def _begin(self, record: Record, meta: dict[str, Any], body: memoryview) -> None:
        self._calls += 1
        if self._methods.get(meta["method"], PLAIN) == PLAIN:
            self.run(self._called, record, lambda: self._call(meta, body))
        else:  # this only makes the coroutine or the generator, and runs none of the user's code
            self._busy += 1
            self._done(self._called, record, self._call(meta, body))

    def run(self, done: Callable[[Any, Any], None], of: Any, work: _Run) -> None:
        """Do `work` where calls are carried out; then, in the loop's thread, `done(of, what it gave)`."""
        self._busy += 1
        if self._inline:
            self._done(done, of, self._here(work))
        else:
            self._queue.put((done, of, work))

    def spawn(self, done: Callable[[Any, Any], None], of: Any, work: Any) -> None:
        """As `run`, for a coroutine, in the loop."""
        self._busy += 1
        task = self.loop.create_task(work)
        self._tasks.add(task)

        def ended(task: Any) -> None:
            self._tasks.discard(task)
            self._done(done, of, task.result())

        task.add_done_callback(ended)

    def _work(self) -> None:
        """A thread's life."""
        while True:
            done, of, work = self._queue.get()
            self.loop.call_soon_threadsafe(self._done, done, of, work())

    def _here(self, work: _Run) -> Any:
        """In the main thread, as if no event loop ran in it: a method may well use asyncio.run."""
        asyncio._set_running_loop(None)  # noqa: SLF001 - what event loops call; there is no public way
        try:
            return work()
        finally:
            asyncio._set_running_loop(self.loop)  # noqa: SLF001 - as above

    def _done(self, done: Callable[[Any, Any], None], of: Any, made: Any) -> None:
        done(of, made)
        self._busy -= 1
        self._last = time.monotonic()
        if not self._noting:
            self._noting = True
            self.loop.call_later(_NOTED_EVERY, self._note)
        if self._ended:
            self._stop(self._ended)

    # What a call does

    def _call(self, meta: dict[str, Any], body: memoryview) -> Any:
        """The answer, or the coroutine that gives the value."""
        try:
            found = self._named(meta["method"])
            if meta["op"] == "get":
                return self.encoded(found)
            data = read_whole(self._blobs.path(meta["args"])) if meta.get("args") else body
            args, kwargs = payload.decode(data)
            value = found(*args, **kwargs)
            return value if isinstance(value, CoroutineType) else self._given(value)
        except BaseException as error:  # a method may raise anything
            return self.error(error)

    def _named(self, name: str) -> Any:
        if name.startswith("_") and name != "__call__":
            raise AttributeError(f"{name!r} is private to the actor")
        return getattr(self._instance, name)

    def _given(self, value: Any) -> Made:
        return self._streams.add(value) if isinstance(value, _GENERATORS) else self.encoded(value)

    def _called(self, record: Record, made: Any) -> None:
        if isinstance(made, CoroutineType):
            self.spawn(self._called, record, self._awaited(made))
            return
        if "stream" in made[0]:
            self._streams.own(made[0]["stream"], record.peer)
        self.answer(record, made)

    async def _awaited(self, coroutine: Any) -> Made:
        if self._limit is None:  # here rather than before: of an older Python it belongs to the running loop
            self._limit = asyncio.Semaphore(self._concurrency if self._concurrency > 1 else 1 << 30)
        async with self._limit:
            try:
                return self._given(await coroutine)
            except BaseException as error:  # as any method
                return self.error(error)

    def answer(self, record: Record, made: Made) -> None:
        """Answer whoever waits for a call."""
        self._ledger.answer(record, made)

    def encoded(self, value: Any) -> Made:
        """The answer that holds `value`, or names the blob that does. Raises whatever pickling raises."""
        named: dict[str, Any] = {}
        if self._trust == "data":
            from . import encoding

            made = encoding.encode(value, None, "data")
            named = {"format": made.format, "type": made.type, "ext": made.ext}
            parts: Any = made.parts
        else:
            parts = packing.encode(value)
        if packing.size_of(parts) > frames.BODY_LIMIT:
            digest, size = self._blobs.store(parts)
            return {"value": {**named, "digest": digest, "bytes": size}}, b""
        # A copy: the next call may change the array that this one returned.
        return {"value": named}, b"".join(parts)

    def error(self, error: BaseException) -> Made:
        """The answer that tells of an exception; the exception itself goes with it where it can."""
        kept: Any = _Kept()
        told = failure.describe(error, self._task.masker, None if self._trust == "data" else kept)
        return {"error": told}, kept.data if len(kept.data) <= frames.BODY_LIMIT else b""

    # Its life

    def _look_idle(self) -> None:
        left = self._idle if self._busy or self._streams else self._last + self._idle - time.monotonic()
        if left > 0:
            self.loop.call_later(left, self._look_idle)
        else:
            self._stop("idle")

    def _stop(self, why: str) -> None:
        """Take no more calls, and end when none is under way."""
        self._ended = why
        self._streams.close_all()
        if not self._busy and not self._over.done():
            self._over.set_result(None)

    def _note(self) -> None:
        """Let others see what it is doing; at most once a second."""
        self._noting = False
        told, kind = self._task.spec["actor"], type(self._instance)
        known = {key: told.get(key) for key in ("name", "digest", "version", "concurrency")}
        known.update({"pid": os.getpid(), "boot": files.boot_id(), "since": self._task.spec.get("submitted")})
        known.update({"class": f"{kind.__module__}.{kind.__qualname__}", "methods": self._methods})
        last = time.time() - (time.monotonic() - self._last)
        now = {"calls": self._calls, "busy": self._busy, "last": last, "ended": self._ended}
        with suppress(OSError):  # a full disk must not end it
            files.write_json(self._task.path(MARKER), {**known, **now})


_GENERATORS = (GeneratorType, AsyncGeneratorType)


class _Kept:
    """Takes a pickled exception from `failure.describe`: it travels with the answer, and needs no blob."""

    def __init__(self) -> None:
        self.data = b""

    def store(self, parts: Any) -> tuple[str, int]:
        """Keep the bytes; of no digest."""
        self.data = b"".join(parts)
        return "", len(self.data)


def methods(kind: type) -> dict[str, str]:
    """The public methods of a class, and how each is called: plain, async, stream or asyncstream.

    >>> methods(type("Some", (), {"add": lambda self: 1, "size": property(lambda self: 2)}))
    {'add': 'plain'}
    """
    found = {}
    for name in dir(kind):
        if name.startswith("_") and name != "__call__":
            continue
        function = inspect.getattr_static(kind, name)
        function = getattr(function, "__func__", function)
        if callable(function):
            found[name] = _kind(inspect.unwrap(function))
    return found


def _kind(function: Any) -> str:
    if inspect.isasyncgenfunction(function):
        return ASYNC_STREAM
    if inspect.iscoroutinefunction(function):
        return ASYNC
    return STREAM if inspect.isgeneratorfunction(function) else PLAIN
