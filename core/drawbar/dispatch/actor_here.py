"""Actors of the target `here`: the same server in a thread of this process, for debugging, tests and small models.

The object is constructed in that thread, and called there; arguments and results are pickled as for any other target,
so that what works here works on a host. It ends with the process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from drawbar.agent import files, frames, jobs, payload, proxies, sockets
from drawbar.agent.direct import DirectLine
from drawbar.agent.pump import Masker
from drawbar.agent.relay import MARKER
from drawbar.agent.worker import Task
from drawbar.dispatch.actor_identity import digest_of, job_id, same
from drawbar.dispatch.port import Dispatcher, Failure, Outcome
from drawbar.errors import ActorDiedError, OptionError

_LINES: dict[str, HereLine] = {}


class HereActor(proxies.Proxy[Any]):
    """An actor in a thread of this process, with its methods; beside them `stop`."""

    _line: HereLine

    def stop(self) -> None:
        """End it politely: calls under way are carried out, then its `close()` is called if it has one. Blocks."""
        self._line.stop()

    def cancel(self) -> None:
        """As `stop`: a thread of this process cannot be killed."""
        self._line.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._line.named:
            self.stop()


class HereLine(DirectLine):
    """Calls of an actor of this process."""

    def __init__(self, root: str, attempt: jobs.Attempt, about: dict[str, Any], *, named: bool) -> None:
        super().__init__(root, attempt, about)
        self.named = named
        self.folder = attempt.folder
        self.thread = threading.Thread(target=lambda: None)

    def fault(self, method: str, told: dict[str, Any], body: Any) -> BaseException:
        """See `Line.fault`."""
        from drawbar.dispatch.payload import load_exception

        original = load_exception(body) if self.trust != "data" and len(body) else None
        failure = Failure.from_wire(told, original)
        return Outcome(state="failed", cause="exception", name=f"{self.name}.{method}", error=failure).exception()

    def ended(self, *, sent: bool) -> ActorDiedError:  # type: ignore[override]  # it is the error of this side
        """What to raise for an actor that is gone."""
        error = ActorDiedError(f"The actor {self.name} in this process has ended.", todo="construct it anew")
        error.carried_out = None if sent else False
        return error

    def stop(self) -> None:
        """End it, and see it ended."""
        with contextlib.suppress(OSError), contextlib.closing(sockets.connect(self._attempt.folder)) as connection:
            connection.sendall(b"".join(frames.pack(frames.CALL, 1, {"op": "stop"})))
            connection.recv(1)
        self.thread.join()
        self.clear()

    def clear(self) -> None:
        """Leave nothing behind."""
        self.close()
        files.remove_folder(self.folder)


def actor_here(  # noqa: PLR0917 - as `dispatch.actor.actor`
    dispatcher: Dispatcher,
    cls: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: Any,
    trust: str,
    idle: float,
    version: str,
) -> HereActor:
    """See `dispatch.actor.actor`."""
    about_code = {"digest": digest_of(cls, args, kwargs), "version": version}
    name = options.name or f"{cls.__qualname__}-{os.urandom(4).hex()}"
    known = _LINES.get(name)
    if known is not None and known.thread.is_alive():
        found = files.read_json(str(Path(known.folder) / MARKER)) or {}
        if not same(found, about_code):
            raise OptionError(
                f"Another actor goes by the name {name!r} in this process.",
                found=f"{found.get('class')}, constructed from another class, other code or other arguments",
                todo="stop that one, or give this one another name",
            )
        return HereActor(known, found["methods"])
    folder = tempfile.mkdtemp(prefix="drawbar-actor-")
    attempt = jobs.Attempt(folder, job_id(name), 1)
    told = {"name": name, **about_code, "concurrency": options.concurrency, "idle_timeout": idle}
    spec = {"actor": told, "result": {"trust": trust}, "submitted": time.time()}
    about = {"target": dispatcher.name, "job": attempt.job, "attempt": 1, "name": name, "trust": trust}
    line = HereLine(folder, attempt, about, named=options.name is not None)
    call = b"".join(payload.encode((args, dict(kwargs)), payload.dumps))
    task = Task(folder, folder, spec, {}, Masker(()))
    raised: list[BaseException] = []

    def live() -> None:
        from drawbar.agent import actors

        try:
            given = payload.decode(bytearray(call))
            actors.serve(task, cls(*given[0], **given[1]))
        except BaseException as error:  # constructing it may raise anything, which is told to whoever waits
            raised.append(error)

    line.thread = threading.Thread(target=live, name=f"drawbar actor {name}", daemon=True)
    line.thread.start()
    while not (Path(folder) / MARKER).exists():
        line.thread.join(0.001)
        if not line.thread.is_alive():
            raise raised[0] if raised else line.ended(sent=False)
    if not _LINES:
        atexit.register(_clear)
    _LINES[name] = line
    return HereActor(line, (files.read_json(str(Path(folder) / MARKER)) or {})["methods"])


def _clear() -> None:
    """The process ends, and its actors with it."""
    for line in _LINES.values():
        line.clear()
