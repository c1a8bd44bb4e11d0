"""Batches of a fan-out's items: how one is done in this process, and how it is done as a job on a target.

A Batch comes from `fanout`; the outcome of each of its items goes back, encoded: a value, or the description of what
the function raised (`drawbar.agent.each`). Both sides are called by several threads at once.
"""

from __future__ import annotations

import contextvars
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from drawbar import plugins
from drawbar.agent import each, encoding
from drawbar.agent.calling import finished
from drawbar.agent.encoding.items import Item, Writer, item_of
from drawbar.errors import JobError
from drawbar.events import AssetLog, AssetWaiting, Costs
from drawbar.files import mapped
from drawbar.identity import job_id
from drawbar.tools import Tools
from drawbar.work import Work

if TYPE_CHECKING:
    from drawbar.dispatch.outcome import Outcome
    from drawbar.dispatch.port import Dispatcher, Handle, Stored

MOST = 1000
"""A batch has at most so many items …"""
BIGGEST = 64 << 20
"""… and, where it is sent somewhere, so many bytes."""
TURN = 0.1
"""Seconds after which a thread of this process gives back what is left of its batch."""
AT_ONCE = 32
_PATIENCE = 5.0
_ITEMS_FAULT = ("killed", "out_of_memory", "timed_out")


@dataclass(frozen=True, slots=True)
class Batch:
    """Some items with their Versions, in order; `first` is the position of the first, `tries` how often it was tried.

    `again` says that what a target has of them does not count.
    """

    first: int
    items: list[Any] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    tries: int = 0
    again: bool = False

    def __len__(self) -> int:
        return len(self.items)

    def part(self, which: Sequence[int], **changed: Any) -> Batch:
        """Only those of its items."""
        items, versions = [self.items[at] for at in which], [self.versions[at] for at in which]
        return replace(self, items=items, versions=versions, **changed)


Done = tuple[list[Item], bool]
"""The outcomes, fewer than items where others are to be done later; whether an earlier process had them made."""


class Doer(Protocol):
    """Does batches, on its target; `at_once` is how many it does at a time."""

    at_once: int

    @property
    def costs(self) -> Costs:
        """What they cost so far."""

    def do(self, batch: Batch) -> Done:
        """Do a batch. Raises what is no single item's fault."""

    def close(self) -> None:
        """Tell no more of what is still under way."""


class Here:
    """Calls the function in threads of this process."""

    def __init__(self, tools: Tools, work: Work, over: str) -> None:
        fn = work.asset.fn
        assert fn is not None
        notes = {param.name: param.annotation for param in work.asset.params}
        inputs = {name: tools.values.value(one, notes[name], fn) for name, one in work.inputs.items() if name != over}
        self._fn, self._given, self._over = fn, {**inputs, **work.params, **work.given_partition}, over
        self._format, self._trust = work.asset.options.format, tools.planner.config.trust
        self._stopped = tools.stopped
        self._began = time.monotonic()
        # What the calls print goes where it would from the thread that the asset is made in.
        self._context = contextvars.copy_context()
        self.at_once = tools.planner.config.max_workers

    @property
    def costs(self) -> Costs:
        """The time since it began."""
        return Costs(compute=time.monotonic() - self._began, host=socket.gethostname())

    def do(self, batch: Batch) -> Done:
        """See `Doer.do`."""
        return self._context.copy().run(self._done, batch)

    def _done(self, batch: Batch) -> Done:
        from drawbar.dispatch.calls import described

        def call_one(item: Any) -> Any:
            return finished(self._fn(**{**self._given, self._over: item}))

        with mapped("the folder for temporary files", "write"):
            made = each.apply(call_one, self._in_turn(batch), self._format, self._trust, described)
        return [item for item, _ in each.outcomes(made.join())], False

    def _in_turn(self, batch: Batch) -> Iterator[Any]:
        """The first item, and others while the turn lasts."""
        ends = time.monotonic() + TURN
        for at, item in enumerate(batch.items):
            if at and (time.monotonic() > ends or self._stopped.is_set()):
                return
            yield item

    def close(self) -> None:
        """See `Doer.close`: nothing is told."""


class There:
    """Has the function called by jobs on the work's target, one job a batch."""

    def __init__(
        self,
        tools: Tools,
        work: Work,
        over: str,
        *,
        run_id: str,
        tell: Callable[..., None],
    ) -> None:
        fn = work.asset.fn
        assert fn is not None
        self._tools, self._work, self._over = tools, work, over
        self._run_id, self._tell = run_id, tell
        notes = {param.name: param.annotation for param in work.asset.params}
        self._fn = fn
        self._inputs = {
            name: tools.values.stored(one, notes[name], fn) for name, one in work.inputs.items() if name != over
        }
        self._dispatcher: Dispatcher = tools.dispatcher(work.target)
        self._lock = threading.Lock()
        self._jobs: list[tuple[Dispatcher, Handle]] = []
        self._waiting = ""
        self._ended = threading.Event()
        self.costs = Costs()
        self.at_once = self._most()

    def _most(self) -> int:
        """As many jobs as the target has processors; where they take GPUs, so many as fit, and one that waits."""
        gpus = self._work.asset.options.gpus
        # Asked for a package, a target starts no other program to answer; its GPUs are told by one.
        facts = self._dispatcher.facts(() if gpus else ("cloudpickle",))
        if gpus:
            return min(self._tools.at_targets, max(1, len(facts.gpus) // gpus) + 1)
        return min(AT_ONCE, self._tools.at_targets, max(2, facts.cpus))

    def close(self) -> None:
        """See `Doer.close`."""
        self._ended.set()

    def cancel(self) -> None:
        """Stop all jobs that are under way."""
        with self._lock:
            jobs = list(self._jobs)
        for dispatcher, handle in jobs:
            dispatcher.cancel(handle)

    def do(self, batch: Batch) -> Done:
        """See `Doer.do`. Of a batch that was killed each half is tried by itself, down to the item that did it."""
        stored = self._stored(batch)
        if stored.bytes > BIGGEST and len(batch) > 1:
            return self._halves(batch)
        outcome, adopted = self._outcome(batch, stored)
        if outcome.state in _ITEMS_FAULT:
            if len(batch) > 1:
                return self._halves(batch)
            return [_failed(outcome.exception())], adopted
        if not outcome.ok or outcome.value is None:
            raise outcome.exception()
        begun = time.monotonic()
        content = self._dispatcher.fetch(outcome.value)
        self._cost(replace(outcome.costs, transfer=outcome.costs.transfer + time.monotonic() - begun))
        return [item for item, _ in each.outcomes(content)], adopted

    def _halves(self, batch: Batch) -> Done:
        made: list[Item] = []
        any_adopted = False
        half = len(batch) // 2
        for which in (range(half), range(half, len(batch))):
            some, adopted = self.do(batch.part(which))
            made += some
            any_adopted = any_adopted or adopted
        return made, any_adopted

    def _stored(self, batch: Batch) -> Stored:
        """The items as an argument: one list, each item in the format that fits it."""
        from drawbar.dispatch.port import Stored

        trust = self._tools.planner.config.trust
        with mapped("the folder for temporary files", "write"), Writer(plain=True) as writer:
            for item in batch.items:
                writer.add(item_of(encoding.encode(item, None, trust)))
            made = writer.finish()
        return Stored(made.digest(), made.format, made.type, made.ext, made.bytes, made.join)

    def _outcome(self, batch: Batch, stored: Stored) -> tuple[Outcome, bool]:
        """The end of the batch's job, and whether it was there before."""
        from drawbar.dispatch.port import Job

        tools, work, options = self._tools, self._work, self._work.asset.options
        # The same items in the same batch are the same job, for whoever comes after this process.
        together = hashlib.sha256("\n".join([self._over, *batch.versions]).encode()).hexdigest()
        handle = self._dispatcher.submit(
            Job(
                id=job_id(work.key, together),
                name=f"{work.key} [{batch.first}+{len(batch)}]",
                function=self._fn,
                run_id=self._run_id,
                arguments={**self._inputs, **work.params, self._over: stored},
                each=self._over,
                partition=work.partition,
                format=options.format,
                timeout=None if options.timeout is None else options.timeout * len(batch),
                **self._tools.needs(options),
                variables=plugins.job_variables(
                    namespace=work.key.namespace,
                    key=work.key,
                    asset_run_id=self._run_id,
                    run_id=tools.run_id,
                    parent=tools.parent,
                ),
                modules=work.modules,
                store=tools.place(),
            ),
            again="always" if batch.again else "unsuccessful",
        )
        pair = (self._dispatcher, handle)
        self._note(pair)
        try:
            if tools.stopped.is_set() and not tools.leave:
                self._dispatcher.cancel(handle)
            return self._followed(handle), handle.how == "adopted"
        finally:
            self._note(pair, gone=True)

    def _note(self, pair: tuple[Dispatcher, Handle], *, gone: bool = False) -> None:
        """Have the walk know of all jobs under way, one of them by the key alone: it is there while any is."""
        key, (_, handle) = str(self._work.key), pair
        with self._lock:
            if gone:
                self._jobs.remove(pair)
                self._tools.running.pop(f"{key} {handle.job}", None)
                self._tools.running.pop(key, None)
            else:
                self._jobs.append(pair)
                self._tools.running[f"{key} {handle.job}"] = pair
            if self._jobs:
                self._tools.running[key] = self._jobs[0]

    def _followed(self, handle: Handle) -> Outcome:
        """Follow a job to its end, telling what it writes."""
        out = err = 0
        while True:
            progress = self._dispatcher.wait(handle, out, err, timeout=_PATIENCE)
            if self._ended.is_set():
                raise KeyboardInterrupt
            for stream, data in (("stdout", progress.stdout), ("stderr", progress.stderr)):
                if data:
                    self._tell(AssetLog, stream=stream, data=data)
            out, err = out + len(progress.stdout), err + len(progress.stderr)
            if progress.waiting != self._waiting and not progress.stdout:
                self._waiting = progress.waiting
                if progress.waiting:
                    self._tell(AssetWaiting, message=progress.waiting)
            if progress.outcome is not None:
                return progress.outcome

    def _cost(self, more: Costs) -> None:
        with self._lock:
            self.costs += more


def _failed(error: BaseException) -> Item:
    """The end of a job as the outcome of its only item."""
    told = error.what if isinstance(error, JobError) else str(error)
    notes = [f"do: {error.todo}"] if isinstance(error, JobError) and error.todo else []
    return each.failed({"type": type(error).__name__, "module": "drawbar.errors", "message": told, "notes": notes})
