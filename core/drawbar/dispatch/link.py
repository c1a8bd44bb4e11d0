"""The one connection of this process to a host: opened when first used, opened again when it breaks, shared by all.

Whoever needs the agent goes through `Link.call`; what is called must be safe to do twice, since it is repeated after a
break. `link_to` keeps one Link for each resolved place, and forgets them in a forked child.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Hashable
from typing import TypeAlias, TypeVar

from drawbar.dispatch.bundle import Bundle, bundle
from drawbar.dispatch.client import Agent
from drawbar.dispatch.port import Channel
from drawbar.dispatch.transfer import Uploads
from drawbar.errors import UnreachableError

T = TypeVar("T")
OpenChannel: TypeAlias = Callable[[Callable[[], str]], Channel]
"""Opens a channel to an agent whose digest is what the given function gives; ask it late, for it may have to wait."""
PATIENCE = 20.0
"""For how long a broken connection is tried again, in seconds; the first one to a host is tried once."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


class Link:
    """A connection that can break and come back. `open_channel` opens a new one; `name` is for messages."""

    def __init__(self, name: str, open_channel: OpenChannel, *, timeout: float = 60.0) -> None:
        self.name = name
        self._open_channel = open_channel
        self._timeout = timeout
        self._opening = threading.Lock()
        self._agent: Agent | None = None
        self._uploads: Uploads | None = None
        self._pid = os.getpid()
        self._met = False
        self.opened = 0

    def agent(self) -> Agent:
        """The agent at the other end, started if there is none; raises what opening raises."""
        return self._both()[0]

    def uploads(self) -> Uploads:
        """What the present connection knows to be there."""
        return self._both()[1]

    def call(self, action: Callable[[Agent], T], *, patience: float = PATIENCE) -> T:
        """What `action` gives; done again over a new connection if this one breaks, for up to `patience` seconds."""
        begun = 0.0
        pause = _FIRST_PAUSE
        while True:
            try:
                return action(self.agent())
            except UnreachableError:
                now = time.monotonic()
                begun = begun or now
                if not self._met or now + pause - begun > patience:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self) -> None:
        """Let go of the connection; the next use opens another."""
        agent, self._agent, self._uploads = self._agent, None, None
        if agent is not None and self._pid == os.getpid():
            agent.close()

    def _both(self) -> tuple[Agent, Uploads]:
        if self._pid != os.getpid():  # a forked child must not touch the parent's stream, nor wait for its locks
            self._pid, self._opening, self._agent, self._uploads = os.getpid(), threading.Lock(), None, None
        with self._opening:
            if self._agent is None or self._uploads is None or not self._agent.alive:
                self._agent = self._open()
                self._uploads = Uploads(self._agent)
                self._met = True
                self.opened += 1
            return self._agent, self._uploads

    def _open(self) -> Agent:
        """A new connection; the agent's zip is made while the host thinks about its handshake."""
        made: list[Bundle] = []
        # Not an executor's thread: those take no work any more while a process ends, and its last act may be a submit.
        aside = threading.Thread(target=lambda: made.append(bundle()), name="drawbar bundle", daemon=True)
        aside.start()

        def whole() -> Bundle:
            aside.join()
            return made[0] if made else bundle()  # which says why the first try failed

        channel = self._open_channel(lambda: whole().digest)
        return Agent(channel, whole(), name=self.name, timeout=self._timeout)


_LINKS: dict[Hashable, Link] = {}
_LOCK = threading.Lock()
_OWNER = 0


def link_to(place: Hashable, make: Callable[[], Link]) -> Link:
    """The Link of this process to `place`, which is whatever says where it is; made by `make` the first time."""
    global _LOCK, _OWNER
    if os.getpid() != _OWNER:
        if not _OWNER:
            atexit.register(close_links)
        _LINKS.clear()
        _OWNER, _LOCK = os.getpid(), threading.Lock()
    with _LOCK:
        if place not in _LINKS:
            _LINKS[place] = make()
        return _LINKS[place]


def close_links() -> None:
    """Close every connection of this process; done by itself at its end."""
    if os.getpid() == _OWNER:
        with _LOCK:
            links = list(_LINKS.values())
            _LINKS.clear()
        for link in links:
            link.close()
