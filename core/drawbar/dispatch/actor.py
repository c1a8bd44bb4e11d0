"""Actors on a target: a job that constructs an object and keeps it, and the proxy through which it is called.

Made by `Target.actor`. The job is found again by its name, from any process; calls go as frames to the host's agent,
which passes them on to the actor, and a call that a broken connection cut off is found again there by its number.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from drawbar.agent import frames, packing, proxies
from drawbar.asset import Env
from drawbar.dispatch import payload
from drawbar.dispatch.actor_calls import Call
from drawbar.dispatch.actor_identity import digest_of, job_id, same
from drawbar.dispatch.agents import AgentDispatcher
from drawbar.dispatch.here import Here
from drawbar.dispatch.link import Link
from drawbar.dispatch.port import Bytes, Dispatcher, Failure, Handle, Job, Outcome
from drawbar.dispatch.transfer import download
from drawbar.errors import ActorDiedError, FormatError, LostError, OptionError

T = TypeVar("T")
_READY = 1.0  # what it waits for may change, and an interrupt is noticed only in between
_SLACK = 60.0
_TRIES = 5
_PAUSE = 0.05
_LAST = 5.0
_STOPPING = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorOptions:
    """How an actor is made; see `Target.actor`."""

    name: str | None = None
    env: Env | None = None
    gpus: int = 0
    gpu_memory: str | None = None
    concurrency: int = 1
    idle_timeout: float | None = None
    restart: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)


class RemoteActor(proxies.Proxy[T]):
    """An actor on a target, with its methods; beside them `stop`, `cancel` and `handle`, which names its job.

    In a `with` statement an actor without a name is stopped at the end; one with a name stays for others.
    """

    _line: AgentLine

    @property
    def handle(self) -> Handle:
        """Its job: for `drawbar logs`, `jobs` and `cancel`."""
        return self._line.handle

    def stop(self) -> None:
        """End it politely: calls under way are carried out, then its `close()` is called if it has one. Blocks."""
        self._line.stop()

    def cancel(self) -> None:
        """Kill it, whatever it does."""
        self._line.cancel()

    def __enter__(self) -> RemoteActor[T]:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._line.named:
            self.stop()


def actor(  # noqa: PLR0917 - what a target passes on, in its order
    dispatcher: Dispatcher,
    cls: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: ActorOptions,
    trust: str,
    watch: Callable[[str], None] | None = None,
    version: str = "",
) -> proxies.Proxy[Any]:
    """The actor of that name, constructed unless it is there already; blocks until it takes calls.

    `version` tells of all its code, where an asset knows that. Meanwhile `watch` hears for what it waits, "" when no
    more. Interrupted, it cancels what it has begun. Raises what constructing raises, and OptionError where another
    class, other code or other arguments go by its name.
    """
    idle = _idle(dispatcher, options)
    if isinstance(dispatcher, Here):
        from drawbar.dispatch.actor_here import actor_here

        return actor_here(dispatcher, cls, args, kwargs, options, trust, idle, version)
    named = options.name is not None
    name = options.name or f"{getattr(cls, '__qualname__', 'actor')}-{uuid.uuid4().hex[:8]}"
    told = {
        "name": name,
        "digest": digest_of(cls, args, kwargs),
        "version": version,
        "concurrency": options.concurrency,
        "idle_timeout": idle,
    }
    job = Job(
        id=job_id(name),
        name=name,
        function=cls,
        call=(args, kwargs),
        run_id=str(uuid.uuid4()),
        payload=True,
        env=options.env,
        gpus=options.gpus,
        gpu_memory=options.gpu_memory,
        variables=options.variables,
        actor=told,
    )
    line = AgentLine(dispatcher, name, trust, job=job, restart=options.restart, named=named)
    line.construct(watch)
    if not named:
        _stop_at_exit(line)
    return RemoteActor(line, line.methods)


def reattach(about: Mapping[str, Any]) -> RemoteActor[Any]:
    """The proxy that was pickled in another process; the target is configured here by the same name."""
    from drawbar.dispatch.target import target

    dispatcher = target(about["target"]).dispatcher
    line = AgentLine(dispatcher, about["name"], about["trust"])
    line.handle = Handle(about["target"], about["job"], about["attempt"], "", "attached", name=about["name"])
    line.link = link_of(dispatcher, line.handle)
    line.methods, line.boot = dict(about["methods"]), about["boot"]
    return RemoteActor(line, line.methods)


def link_of(dispatcher: Dispatcher, handle: Handle) -> Link:
    """The connection to the host that has the job; of a pool, to that one of its hosts."""
    member = getattr(dispatcher, "member", None)
    host = dispatcher if member is None else member(handle)
    assert isinstance(host, AgentDispatcher)
    return host.link


def _idle(dispatcher: Dispatcher, options: ActorOptions) -> float:
    config = getattr(dispatcher, "config", None)
    idle = options.idle_timeout if options.idle_timeout is not None else getattr(config, "idle_timeout", 600.0)
    for name, value, least in (("idle_timeout", idle, 0.0), ("concurrency", options.concurrency, 0)):
        if not value > least:
            raise OptionError(
                f"The {name} of an actor must be more than {least:g}.",
                expected=f"{name} > {least:g}",
                found=f"{value!r}" + (f", from the target {dispatcher.name}" if options.idle_timeout is None else ""),
                todo=f"give target.actor(…) its own {name}",
            )
    return float(idle)


class AgentLine(proxies.Line):
    """Calls of one actor over the connection to its host. `job` constructs it, where this proxy may."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        name: str,
        trust: str,
        *,
        job: Job | None = None,
        restart: bool = False,
        named: bool = True,
    ) -> None:
        self.name = name
        self.trust = trust
        self.named = named
        self.restart = restart
        self.dispatcher = dispatcher
        self.link: Link
        self.methods: dict[str, str] = {}
        self.boot = ""
        self.handle = Handle(dispatcher.name, job.id if job else "", 0, "", "")
        self._job = job
        self._ended: ActorDiedError | None = None
        self._start()

    def _start(self) -> None:
        """Of this process: a forked one is another client."""
        self._pid = os.getpid()
        self._client = uuid.uuid4().hex
        self._numbers = itertools.count(1)
        self._done: list[int] = []
        self._lock = threading.Lock()

    def construct(self, watch: Callable[[str], None] | None = None) -> None:
        """Have it constructed, or find it running; raises what constructing raises."""
        assert self._job is not None
        job = replace(self._job, run_id=str(uuid.uuid4()))
        for _ in range(_TRIES):
            handle = self.dispatcher.submit(job, again="always")
            link = link_of(self.dispatcher, handle)
            told = self._until_ready(handle, link, watch or (lambda _: None))
            if told is not None:
                self._check(told)
                self.handle, self.link, self._ended = handle, link, None
                self.methods.clear()
                self.methods.update(told["methods"])
                self.boot = told["boot"]
                return
        raise LostError(
            f"The actor {self.name} ends whenever it is there.",
            expected=f"one that takes calls on {self.dispatcher.name}",
            found=f"{_TRIES} that were stopped before",
            todo="see who stops it, or give it a longer idle_timeout",
        )

    def _until_ready(self, handle: Handle, link: Link, watch: Callable[[str], None]) -> Mapping[str, Any] | None:
        """What it says of itself once it takes calls; None where one that was there before has ended."""
        meta = {"op": "ready", "job": handle.job, "attempt": handle.attempt, "timeout": _READY}
        waiting = ""
        try:
            while True:
                found = link.call(lambda agent: agent.ask(frames.CALL, meta, timeout=_READY + _SLACK)).meta
                if found["waiting"] != waiting:
                    waiting = found["waiting"]
                    watch(waiting)
                told: Mapping[str, Any] | None = found["actor"]
                if told is not None and not told["ended"]:
                    return told
                if found["state"] == "ended":
                    outcome = self.dispatcher.collect(handle)
                    if outcome.ok or handle.how != "started":
                        return None
                    raise outcome.exception()
                if told is not None:
                    time.sleep(_PAUSE)  # it ends just now
        except KeyboardInterrupt:
            if not self.named or handle.how == "started":  # who else waits for it has it constructed again
                self.dispatcher.cancel(handle)
            raise

    def _check(self, told: Mapping[str, Any]) -> None:
        assert self._job is not None
        if same(told, self._job.actor or {}):
            return
        wanted = self._job.function
        raise OptionError(
            f"Another actor goes by the name {self.name!r} on {self.dispatcher.name}.",
            expected=f"{wanted.__module__}.{wanted.__qualname__}, as it is now, with these arguments",
            found=f"{told['class']}, constructed from another class, other code or other arguments",
            todo="stop that one (`drawbar cancel`, or `stop()` of its proxy), or give this one another name",
        )

    def begin(self, meta: dict[str, Any], parts: list[Bytes]) -> Call:
        """See `Line.begin`."""
        if os.getpid() != self._pid:
            self._start()
        if self._ended is not None and meta["op"] in ("call", "get"):
            if not self.restart:
                raise self._again()
            self.reconstruct(self._ended)
        call = Call(self, meta, parts, next(self._numbers))
        call.send()
        return call

    def _again(self) -> ActorDiedError:
        """That it has ended, once more: the call at hand was not even sent."""
        assert self._ended is not None
        return self.died(self._ended.outcome, "", carried_out=False)

    def reconstruct(self, seen: ActorDiedError | None) -> None:
        """Construct it anew after `seen`, unless another thread has done so."""
        with self._lock:
            if self._ended is seen:
                self.construct()

    def marked(self, meta: dict[str, Any], seq: int) -> dict[str, Any]:
        """The request as it goes over the present connection."""
        done, self._done = self._done, []
        handle = {"job": self.handle.job, "attempt": self.handle.attempt}
        return {**handle, **meta, "client": self._client, "epoch": self.link.opened, "seq": seq, "done": done}

    def answered(self, seq: int) -> None:
        """The answer to that call is here, or nobody wants it: the actor need not keep it."""
        self._done.append(seq)

    def ended(self, method: str, why: str, handle: Handle, *, begun: bool) -> ActorDiedError:
        """The error of a call that found the actor gone; with `begun` it may have been carried out."""
        outcome = self.dispatcher.collect(handle, _SLACK)
        error = self.died(outcome, method, carried_out=None if begun else False, why=why)
        if handle.attempt == self.handle.attempt:
            self._ended = error
        return error

    def died(self, outcome: Outcome, method: str, *, carried_out: bool | None, why: str = "") -> ActorDiedError:
        """The error that says how the actor ended, and what that means for a call."""
        how = "it was stopped" if outcome.ok and why != "idle" else "nobody had called it for its idle_timeout"
        cause = None if outcome.ok else outcome.exception()
        said = how if cause is None else str(cause).partition("\n")[0].removeprefix(f"{self.name} ").rstrip(".")
        when = f"has ended while {method} was under way" if carried_out is None else "has ended"
        fate = "the call was not carried out" if carried_out is False else "whether the call was carried out is unknown"
        error = ActorDiedError(
            f"The actor {self.name} on {self.dispatcher.name} {when}: {said}.",
            found=fate,
            todo="construct it anew by target.actor(…); with restart=True the next call does, and its state is fresh",
        )
        error.carried_out, error.outcome, error.__cause__ = carried_out, outcome, cause
        return error

    def fault(self, method: str, told: dict[str, Any], body: Any) -> BaseException:
        """See `Line.fault`."""
        original = payload.load_exception(body) if self.trust != "data" and len(body) else None
        failure = Failure.from_wire(told, original)
        return Outcome(state="failed", cause="exception", name=f"{self.name}.{method}", error=failure).exception()

    def fetch(self, digest: str, size: int) -> bytearray:
        """See `Line.fetch`."""
        return self.link.call(lambda agent: download(agent, digest, size))

    def pack(self, value: Any) -> list[Bytes]:
        """See `Line.pack`."""
        if packing.is_plain(value):
            return packing.encode(value)
        return payload.dump(value, what=f"An argument of {self.name}").parts

    def refuse(self, kind: str) -> FormatError:
        """See `Line.refuse`."""
        return FormatError(
            f"{self.name}.{kind} gave a pickle, and pickles are not trusted here.",
            expected="a value in a data format",
            todo='construct the actor with trust = "data" of its target, too, or trust pickles',
        )

    def reduced(self) -> tuple[Any, ...]:
        """See `Line.reduced`."""
        handle = {"target": self.handle.target, "job": self.handle.job, "attempt": self.handle.attempt}
        known = {"name": self.name, "boot": self.boot, "methods": self.methods, "trust": self.trust}
        about = {**handle, **known, "by": f"{reattach.__module__}:{reattach.__qualname__}"}
        return proxies.attach, (about,)

    def stop(self, timeout: float = _STOPPING) -> None:
        """End it politely, and see it ended."""
        _UNNAMED.discard(self)
        meta = {"op": "stop", "job": self.handle.job, "attempt": self.handle.attempt}
        self.link.call(lambda agent: agent.ask(frames.CALL, meta, timeout=timeout))
        self.dispatcher.collect(self.handle, timeout)

    def cancel(self) -> None:
        """Kill it."""
        _UNNAMED.discard(self)
        self.dispatcher.cancel(self.handle)


_UNNAMED: set[AgentLine] = set()


def _stop_at_exit(line: AgentLine) -> None:
    """An actor without a name is nobody else's: it goes with this process, or idle if that is killed."""
    if not _UNNAMED:
        atexit.register(_stop_unnamed, os.getpid())
    _UNNAMED.add(line)


def _stop_unnamed(owner: int) -> None:
    if os.getpid() == owner:
        for line in list(_UNNAMED):
            with contextlib.suppress(Exception):  # it ends idle, then
                line.stop(_LAST)
