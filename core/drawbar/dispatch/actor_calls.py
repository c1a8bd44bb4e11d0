"""One call of an actor over a connection that may break: sent again under its number, and never carried out twice.

Made by `dispatch.actor` for its proxies; the answer's meta and body go back to them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from drawbar.agent import frames, packing
from drawbar.dispatch.client import Agent, BrokenConnectionError
from drawbar.dispatch.client import Asked as Request
from drawbar.dispatch.port import Bytes
from drawbar.dispatch.transfer import Blob, blob_of
from drawbar.errors import LostError, UnreachableError

if TYPE_CHECKING:
    from drawbar.dispatch.actor import AgentLine

_SLACK = 60.0
_QUIET = 30.0
"""After how many seconds without an answer it is looked whether the agent lives."""


class Call:
    """A call under way, which is sent again, under its number, when the connection breaks."""

    __slots__ = ("_agent", "_attempt", "_blob", "_line", "_meta", "_parts", "_request", "_sent", "_seq")

    def __init__(self, line: AgentLine, meta: dict[str, Any], parts: list[Bytes], seq: int) -> None:
        self._line = line
        self._seq = seq
        self._sent = 0
        self._blob: Blob | None = None
        if packing.size_of(parts) > frames.BODY_LIMIT:
            self._blob = blob_of(parts)
            meta, parts = {**meta, "args": self._blob.digest}, []
        self._meta = meta
        self._parts = parts
        self._attempt = line.handle
        self._agent: Agent
        self._request: Request

    def send(self) -> None:
        """Send it, over a new connection if need be. UnreachableError where there is none."""
        self._line.link.call(self._send)

    def _send(self, agent: Agent) -> None:
        if self._blob is not None:
            self._line.link.uploads().ensure([self._blob])
        meta = self._line.marked(self._meta, self._seq)
        self._attempt = self._line.handle
        self._sent += 1
        self._agent = agent
        self._request = agent.request(frames.CALL, meta, *self._parts)

    def result(self) -> tuple[dict[str, Any], Any]:
        """See `Line.begin`."""
        while True:
            meta, body = self._answer()
            end = meta.get("end")
            if end is None:
                self._line.answered(self._seq)
                return meta, body
            if end == "forgotten":
                raise LostError(
                    f"What {self._name} gave is not kept any more; it was carried out.",
                    expected="an answer that is taken soon after a connection broke",
                    found="too many, or too big, answers that nobody had taken",
                    todo="have fewer calls under way at a time",
                )
            if end != "stale":
                self._again_or_raise(meta)
            self.send()

    def _answer(self) -> tuple[dict[str, Any], Any]:
        while True:
            try:
                reply = self._request.result(_QUIET)
                return reply.meta, reply.body
            except TimeoutError:
                with contextlib.suppress(BrokenConnectionError):  # which this call then finds out, too
                    self._agent.ask(frames.HAVE, {"blobs": []}, timeout=_SLACK)
            except BrokenConnectionError:
                self._resend()

    def _resend(self) -> None:
        try:
            self.send()
        except UnreachableError as error:
            raise UnreachableError(
                f"The connection to {self._line.dispatcher.name} broke during {self._name}.",
                found=f"whether the call was carried out is unknown; {error.what}",
                todo="the actor lives on: once the host can be reached again, ask it what it has done",
            ) from error

    def _again_or_raise(self, meta: Mapping[str, Any]) -> None:
        """The actor is gone: returns where the call, which was not carried out, may be made of a new one."""
        # One that ended politely has answered all that it had begun; but an answer to an earlier sending may be lost.
        again = self._sent > 1 and meta["end"] == "gone"
        known = self._line.ended(self._name, meta.get("why") or "", self._attempt, begun=False)
        begun = again or (bool(meta.get("begun")) and not known.outcome.ok)
        if begun:
            raise self._line.ended(self._name, meta.get("why") or "", self._attempt, begun=True)
        if not self._line.restart:
            raise known
        self._line.reconstruct(known)
        self._sent = 0

    @property
    def _name(self) -> str:
        return f"{self._line.name}.{self._meta.get('method', '')}"

    def drop(self) -> None:
        """See `Line.begin`."""
        self._line.answered(self._seq)
