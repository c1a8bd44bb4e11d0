"""The walk: every wanted asset is reused or made, independent ones at the same time, and each end is noted.

A run's tools come in; works go to crews of threads and endings come back over one queue to the caller's thread, which
alone decides what is next. So the walk's own state needs no locks, and Ctrl-C arrives where it is understood.
"""

from __future__ import annotations

import queue
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from drawbar.asset import MISSING
from drawbar.crew import Crew
from drawbar.errors import CancelledError
from drawbar.events import AssetBlocked, Made
from drawbar.making import Maker
from drawbar.planner import HERE, consumers
from drawbar.records import Record
from drawbar.results import AssetResult, error_text
from drawbar.stopping import stop
from drawbar.tools import Tools
from drawbar.version import transient_version
from drawbar.work import Cell, Input, Many, Result, Work

# How long works wait before another thread is started for them, and endings while works wait, in seconds.
SHORT = 0.003
PAUSE = 0.001
_UNWELL = ("failed", "blocked", "cancelled")
_SHARED = (str, bytes, int, float, bool, complex, type(None), frozenset)


class Evicted(KeyboardInterrupt):
    """The process was asked to go (SIGTERM): its jobs on targets are left running for whoever comes next."""


@dataclass(slots=True)
class _Node:
    """What the walk knows of one asset that has ended well, for those that take it."""

    made: Made
    record: Record | None
    stands: str
    held: Any = MISSING
    cell: Cell | None = None


class Walk:
    """One walk, from the first decision to the last ending; `results` holds them by name."""

    def __init__(self, tools: Tools, *, on_interrupt: str) -> None:
        planner = tools.planner
        self.tools, self.planner, self.graph = tools, planner, planner.graph
        self.maker, self.on_interrupt = Maker(tools), on_interrupt
        self.here = Crew(planner.config.max_workers, "drawbar-here", eager=False)
        self.there = Crew(tools.at_targets, "drawbar-there")
        self.endings: queue.SimpleQueue[tuple[str, Result | BaseException]] = queue.SimpleQueue()
        self.nodes: dict[str, _Node] = {}
        self.results: dict[str, AssetResult] = {}
        self.doing: dict[str, tuple[Work, float]] = {}
        self.units = planner.units
        self.below = consumers(self.units)
        self.uses = {name: len(takers) for name, takers in self.below.items()}
        self.waits = {name: sum(1 for _ in unit.above) for name, unit in self.units.items()}
        self.ready = deque(name for name, waits in self.waits.items() if not waits)
        # What is one of many in a parameter is read again when it is needed: all of them may be more than memory holds.
        self._many = {
            up for unit in self.units.values() for feed in unit.feeds.values() if feed.labels for up in feed.units
        }

    def go(self) -> str:
        """Walk to the end, or until interrupted; the run's state, when every asset has a result."""
        state = "succeeded"
        try:
            self._walk()
        except KeyboardInterrupt as interrupt:
            stop(self, leave=self.on_interrupt == "leave" or isinstance(interrupt, Evicted))
            state = "cancelled"
        finally:
            self.here.dismiss()
            self.there.dismiss()
            self.planner.store.index.flush()
            self.planner.store.files.tidy()
            self.tools.values.tidy()
        self._settle_transients()
        if state == "succeeded" and any(one.state in _UNWELL for one in self.results.values()):
            return "failed"
        return state

    def _walk(self) -> None:
        while self.ready or self.doing:
            while self.ready:
                self._decide(self.ready.popleft())
            if self.doing:
                self.ended(*self._next())
                while not self.endings.empty():
                    self.ended(*self.endings.get())

    def _next(self) -> tuple[str, Result | BaseException]:
        """The next ending. Long functions get more threads; short ones share one, as they share Python's lock."""
        if self.here.waiting:
            # Hands that have enough to do are not disturbed for each ending: Python lets only one thread run.
            time.sleep(PAUSE)
        while self.here.wanting:
            try:
                return self.endings.get(timeout=SHORT)
            except queue.Empty:
                self.here.relieve()
        return self.endings.get()

    def _decide(self, name: str) -> None:
        """Reuse the asset, or hand it to a crew; all that needs no waiting happens here, in the caller's thread."""
        unit = self.units[name]
        one = unit.asset
        try:
            if one.source is not None:
                now = self.planner.source(unit)
                made = Made(
                    key=unit.key,
                    data_version=now.data_version,
                    uri=now.uri,
                    bytes=now.bytes,
                    source=True,
                    pattern=one.source.path,
                )
                self._done(name, _Node(made, None, now.data_version), "reused", "an input from outside", None)
                return
            inputs = self.planner.inputs(unit, lambda up: self.nodes[up].stands)
            version = self.planner.version(unit, inputs)
            work = Work(
                unit=unit,
                version=version,
                parts=self.planner.shared_parts(one),
                inputs={},
                params=self.planner.params_of(one),
                target=self.planner.target(one.name),
                reason="",
                modules=self.planner.codes[one.name].modules if one.name in self.planner.codes else (),
                again=name in self.planner.forced,
            )
            if not one.options.persist:
                work.parts = self.planner.parts(unit, inputs)
                self._decide_transient(name, work)
                return
            record, trouble = self.planner.record(unit, version)
            if record is not None:
                if self.planner.unchecked(unit, record):
                    work.inputs = self._inputs(name)
                    self._send(name, work, lambda: self.maker.check_again(work, record))
                else:
                    self._reuse(name, work, record)
                return
            work.parts = self.planner.parts(unit, inputs)
            work.reason, _ = self.planner.why(unit, work.parts, trouble)
            work.again = work.again or bool(trouble)
        except Exception as error:
            self._failed(name, error)
            return
        work.inputs = self._inputs(name)
        self._send(name, work)

    def _decide_transient(self, name: str, work: Work) -> None:
        """A transient asset is made by the first that needs it; if nothing takes it here, it is what was asked for."""
        cell = Cell(lambda: self.maker.transient(work))
        work.inputs = self._inputs(name)
        stands = transient_version(work.version)
        made = Made(key=work.key, data_version=stands, version=work.version)
        if self.below[name]:
            self.nodes[name] = _Node(made, None, stands, cell=cell)
            self._settle(name)
            return
        work.reason = "transient"
        self.doing[name] = (work, time.monotonic())

        def make() -> None:
            self.doing[name] = (work, time.monotonic())
            try:
                value = cell.value()
                self.endings.put((name, Result("made", None, made, "transient", held=value)))
            except BaseException as error:
                self.endings.put((name, error))

        self.nodes[name] = _Node(made, None, stands, cell=cell)
        (self.here if work.target == HERE else self.there).do(make)

    def _inputs(self, name: str) -> dict[str, Input | Many]:
        """The inputs of a work. A value in memory goes to its last taker as it is; the others read their own copies."""
        unit = self.units[name]
        for up in unit.above:
            self.uses[up] -= 1
        return {
            param: self._input(feed.units[0])
            if feed.labels is None
            else Many({label: self._input(up) for label, up in zip(feed.labels, feed.units, strict=True)})
            for param, feed in unit.feeds.items()
        }

    def _input(self, up: str) -> Input:
        node = self.nodes[up]
        held = MISSING
        if node.held is not MISSING:
            last = self.uses[up] <= 0
            if last or type(node.held) in _SHARED:
                held = node.held
            if last:
                node.held = MISSING
        return Input(up, node.made, node.record, held, node.cell)

    def _send(self, name: str, work: Work, how: Callable[[], Result] | None = None) -> None:
        """Have a work done by a crew: made, as often as it takes, unless `how` says otherwise."""
        self.doing[name] = (work, time.monotonic())

        def make() -> None:
            # It may have waited for a thread as long as all before it took.
            self.doing[name] = (work, time.monotonic())
            try:
                self.endings.put((name, self._tried(work) if how is None else how()))
            except BaseException as error:
                self.endings.put((name, error))

        (self.here if work.target == HERE else self.there).do(make)

    def _tried(self, work: Work) -> Result:
        """Make it, as often as its options allow, waiting twice as long each time, with some chance in it."""
        options = work.asset.options
        # A fan-out tries each of its items so often.
        retries = 0 if options.over else options.retries
        for attempt in range(1, retries + 2):
            try:
                return self.maker.make(work, attempt)
            except Exception:
                if attempt > retries or self.tools.stopped.is_set():
                    raise
                delay = options.retry_delay * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)  # noqa: S311  # jitter
                self.maker.tell_waiting(work, "", f"trying again in {delay:.0f} s ({attempt} of {retries})")
                self.tools.stopped.wait(delay)
        raise AssertionError  # pragma: no cover  # the last attempt returns or raises

    def ended(self, name: str, ending: Result | BaseException) -> None:
        """Take in how a work ended."""
        work, began = self.doing.pop(name)
        if isinstance(ending, BaseException):
            self._failed(name, ending, time.monotonic() - began, work)
            return
        keep = self.uses[name] > 0 and ending.held is not MISSING and name not in self._many
        stands = ending.record.data_version if ending.record else ending.made.data_version
        node = _Node(ending.made, ending.record, stands, ending.held if keep else MISSING, self._cell(name))
        self._done(name, node, ending.state, ending.reason, work, ending.seconds)

    def _cell(self, name: str) -> Cell | None:
        known = self.nodes.get(name)
        return known.cell if known else None

    def _reuse(self, name: str, work: Work, record: Record) -> None:
        made = self.tools.values.published(work.unit, record)
        reason = record.told
        work.inputs = self._inputs(name)
        self.maker.tell_reused(work, made, reason)
        self._done(name, _Node(made, record, record.data_version), "reused", reason, work)

    def _done(  # noqa: PLR0917  # an ending has so many facts
        self, name: str, node: _Node, state: str, reason: str, work: Work | None, seconds: float = 0.0
    ) -> None:
        self.nodes[name] = node
        made = node.made
        self.results[name] = AssetResult(
            key=made.key,
            state=state,
            reason=reason,
            version=made.version,
            data_version="" if made.data_version.startswith("transient:") else made.data_version,
            target=work.target if work else HERE,
            seconds=seconds,
            bytes=made.bytes,
            uri=made.published or made.uri,
            run_id=made.run_id,
            rows=made.rows,
            _load=self._loader(name, node),
        )
        self._settle(name)

    def _settle_transients(self) -> None:
        """Say how each transient asset ended: its cell knows whether something needed it."""
        for name, node in self.nodes.items():
            if name in self.results or node.cell is None:
                continue
            error = node.cell.error
            self.results[name] = AssetResult(
                key=self.units[name].key,
                state="failed" if error else "made" if node.cell.made else "skipped",
                reason=error_text(error) if error else "transient" if node.cell.made else "nothing that takes it ran",
                version=node.made.version,
                target=self.target(name),
                error=error,
                _load=node.cell.value,
            )

    def target(self, name: str) -> str:
        """Where a unit is made."""
        return self.planner.target(self.units[name].asset.name)

    def _loader(self, name: str, node: _Node) -> Callable[[], Any]:
        if node.cell is not None:
            return node.cell.value
        one, taken = self.units[name].asset, Input(name, node.made, node.record)
        return lambda: self.tools.values.value(taken, None if one.returns is MISSING else one.returns, one.fn)

    def _settle(self, name: str) -> None:
        for taker in self.below[name]:
            self.waits[taker] -= 1
            if not self.waits[taker]:
                self.ready.append(taker)

    def _failed(self, name: str, error: BaseException, seconds: float = 0.0, work: Work | None = None) -> None:
        self.results[name] = AssetResult(
            key=self.units[name].key,
            state="cancelled" if isinstance(error, CancelledError) else "failed",
            reason=error_text(error),
            version=work.version if work else "",
            target=self.target(name),
            seconds=seconds,
            error=error,
        )
        for blocked in self._all_below(name):
            if blocked not in self.results:
                unit = self.units[blocked]
                because = tuple(
                    self.units[up].key for up in unit.above if up in self.results and self.results[up].state in _UNWELL
                )
                self.results[blocked] = AssetResult(
                    key=unit.key,
                    state="blocked",
                    reason=f"{name} {self.results[name].state}",
                    target=self.target(blocked),
                )
                self.tools.tell(
                    AssetBlocked(
                        run_id=self.tools.run_id,
                        at=datetime.now(UTC),
                        key=unit.key,
                        asset=unit.asset,
                        because=because,
                    )
                )

    def _all_below(self, name: str) -> Iterator[str]:
        todo, seen = deque(self.below[name]), set(self.below[name])
        while todo:
            yield (one := todo.popleft())
            for taker in self.below[one]:
                if taker not in seen:
                    seen.add(taker)
                    todo.append(taker)
