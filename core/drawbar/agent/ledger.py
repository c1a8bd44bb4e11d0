"""Which calls an actor has heard of, and what came of each: so that none is carried out twice, and no answer is lost.

A proxy numbers its calls; after a break it sends those without an answer again, with a higher epoch. An answer is kept
until its proxy has said that it has it (`done`), or until too many are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Optional

from .peers import Peer

Made = tuple[dict[str, Any], Any]
"""An answer: meta and body, as `frames.pack` takes them."""

KEPT_BYTES = 64 << 20
_KEPT = 1024
_CLIENTS = 1024
_STALE: Made = ({"end": "stale"}, b"")
_FORGOTTEN: Made = ({"end": "forgotten"}, b"")


class Record:
    """One call: who waits for it, and what came of it."""

    __slots__ = ("made", "number", "peer")

    def __init__(self, peer: Peer, number: int) -> None:
        self.peer = peer
        self.number = number
        self.made: Optional[Made] = None


class _Client:
    """One proxy: its calls by number, and how often it has connected."""

    __slots__ = ("epoch", "records")

    def __init__(self) -> None:
        self.epoch = 0
        self.records: dict[int, Record] = {}


class Ledger:
    """The calls of all proxies of one actor."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._kept: OrderedDict[Record, int] = OrderedDict()
        self._bytes = 0

    def enter(self, peer: Peer, number: int, meta: dict[str, Any], refusal: Optional[Made]) -> Optional[Record]:
        """The record of a call that is new; None for one that was heard of before, which is answered from here.

        A new one is answered by `refusal`, if there is one.
        """
        client = self._client(meta["client"])
        if meta["epoch"] < client.epoch:
            peer.answer(number, *_STALE)  # over a connection that its client has given up: it has asked again
            return None
        client.epoch = meta["epoch"]
        self._acknowledge(client, meta.get("done") or ())
        record = client.records.get(meta["seq"])
        if record is not None:
            record.peer, record.number = peer, number
            if record.made is not None:
                peer.answer(number, *record.made)
            return None
        if refusal is not None:
            peer.answer(number, *refusal)
            return None
        record = client.records[meta["seq"]] = Record(peer, number)
        return record

    def acknowledge(self, meta: dict[str, Any]) -> None:
        """A proxy has the answers to its calls `done`."""
        self._acknowledge(self._client(meta["client"]), meta.get("done") or ())

    def answer(self, record: Record, made: Made) -> None:
        """Answer whoever waits, and keep the answer."""
        record.made = made
        self._kept[record] = len(made[1])
        self._bytes += len(made[1])
        record.peer.answer(record.number, *made)
        while self._bytes > KEPT_BYTES or len(self._kept) > _KEPT:
            oldest = next(iter(self._kept))
            self._let_go(oldest)
            oldest.made = _FORGOTTEN

    def _client(self, name: str) -> _Client:
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = _Client()
            for other in list(self._clients)[: max(0, len(self._clients) - _CLIENTS)]:
                if all(record.made is not None for record in self._clients[other].records.values()):
                    for record in self._clients.pop(other).records.values():
                        self._let_go(record)
        return client

    def _acknowledge(self, client: _Client, done: Any) -> None:
        for seq in done:
            record = client.records.pop(seq, None)
            if record is not None:
                self._let_go(record)

    def _let_go(self, record: Record) -> None:
        self._bytes -= self._kept.pop(record, 0)
