"""Generators of an actor's methods: each item is made when somebody asks for it, and ended when nobody will any more.

Used by `actors`, whose `run` has an item made where calls are carried out. A stream takes the items' numbers from those
who ask, so that they may ask for several ahead, and again after a break.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from types import AsyncGeneratorType
from typing import Any, Optional

from .ledger import Made, Record
from .peers import Peer

DONE: Made = ({"done": True}, b"")
_ABANDONED = 60.0
"""Seconds after which a stream ends whose client has gone and has not come back."""


class Stream:
    """One generator; `at` is the number of its next item."""

    __slots__ = ("at", "items", "number", "peer", "running", "shut", "waiting")

    def __init__(self, number: int, items: Any) -> None:
        self.number = number
        self.items = items
        self.at = 0
        self.waiting: dict[int, Record] = {}
        self.running = False
        self.shut = False
        self.peer: Optional[Peer] = None


class Streams:
    """The open streams of one actor."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._open: dict[int, Stream] = {}
        self._numbers = itertools.count(1)

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, items: Any) -> Made:
        """Keep a generator; the answer that names it. From any thread."""
        number = next(self._numbers)
        self._open[number] = Stream(number, items)
        return {"stream": number}, b""

    def own(self, number: int, peer: Peer) -> None:
        """The stream's caller is `peer`."""
        self._open[number].peer = peer

    def pull(self, record: Record, meta: dict[str, Any]) -> None:
        """Somebody wants item `at`."""
        stream = self._open.get(meta["stream"])
        if stream is None:
            self._server.answer(record, DONE)
            return
        stream.waiting[meta["at"]] = record
        stream.peer = record.peer
        self._pump(stream)

    def close(self, number: int) -> None:
        """Nobody wants more of it."""
        stream = self._open.get(number)
        if stream is not None:
            self._shut(stream)

    def close_all(self) -> None:
        """End all of them."""
        for stream in list(self._open.values()):
            self._shut(stream)

    def lost(self, peer: Peer) -> None:
        """A connection has closed: its streams end, unless somebody comes back for them."""
        for stream in list(self._open.values()):
            if stream.peer is peer:
                self._server.loop.call_later(_ABANDONED, self._abandon, stream, peer)

    def _abandon(self, stream: Stream, peer: Peer) -> None:
        if stream.peer is peer and stream.number in self._open:
            self._shut(stream)

    def _pump(self, stream: Stream) -> None:
        """Have the next item made, if somebody waits for it."""
        if stream.running or stream.shut or stream.at not in stream.waiting:
            return
        stream.running = True
        if isinstance(stream.items, AsyncGeneratorType):
            self._server.spawn(self._pulled, stream, self._next_async(stream.items))
        else:
            self._server.run(self._pulled, stream, lambda: self._next(stream.items))

    def _next(self, items: Any) -> Made:
        try:
            made: Made = self._server.encoded(next(items))
        except StopIteration:
            return DONE
        except BaseException as error:  # as any method of the user's
            made = self._server.error(error)
        return made

    async def _next_async(self, items: Any) -> Made:
        try:
            made: Made = self._server.encoded(await items.__anext__())
        except StopAsyncIteration:
            return DONE
        except BaseException as error:  # as above
            made = self._server.error(error)
        return made

    def _pulled(self, stream: Stream, made: Made) -> None:
        stream.running = False
        self._server.answer(stream.waiting.pop(stream.at), made)
        stream.at += 1
        if stream.shut or "value" not in made[0]:
            self._shut(stream)
        elif stream.waiting:
            self._server.loop.call_soon(self._pump, stream)  # other calls have their turn between two items

    def _shut(self, stream: Stream) -> None:
        """End it; one that makes an item just now ends after that."""
        stream.shut = True
        if stream.running or self._open.pop(stream.number, None) is None:
            return
        for record in stream.waiting.values():
            self._server.answer(record, DONE)
        stream.waiting.clear()
        if isinstance(stream.items, AsyncGeneratorType):
            self._server.spawn(_nothing, stream, _closed_async(stream.items))
        else:
            self._server.run(_nothing, stream, lambda: _closed(stream.items))


def _nothing(_stream: Stream, _made: Any) -> None:
    """It is closed: nobody waits for that."""


def _closed(items: Any) -> None:
    with suppress(BaseException):  # nobody is there who could be told
        items.close()


async def _closed_async(items: Any) -> None:
    with suppress(BaseException):  # as above
        await items.aclose()
