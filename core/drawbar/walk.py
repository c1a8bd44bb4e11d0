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

from drawbar.asset import MISSING, Asset
from drawbar.crew import Crew
from drawbar.errors import CancelledError
from drawbar.events import AssetBlocked, AssetCancelled, Made
from drawbar.making import Maker
from drawbar.plan import HERE
from drawbar.records import Record
from drawbar.results import AssetResult, error_text
from drawbar.tools import Tools
from drawbar.version import transient_version, version_of
from drawbar.work import Cell, Input, Result, Work

REMOTE_AT_ONCE = 64
# The time a function in this process has to notice that it was interrupted, in seconds.
NOTICE = 5.0
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

    def __init__(self, tools: Tools, *, crew_size: int, on_interrupt: str) -> None:
        planner = tools.planner
        self.tools, self.planner, self.graph = tools, planner, planner.graph
        self.maker, self.on_interrupt = Maker(tools), on_interrupt
        self.here, self.there = Crew(crew_size, "drawbar-here", eager=False), Crew(REMOTE_AT_ONCE, "drawbar-there")
        self.endings: queue.SimpleQueue[tuple[str, Result | BaseException]] = queue.SimpleQueue()
        self.nodes: dict[str, _Node] = {}
        self.results: dict[str, AssetResult] = {}
        self.doing: dict[str, tuple[Work, float]] = {}
        names = set(planner.names)
        self.below = {name: [one for one in takers if one in names] for name, takers in self.graph.dependents().items()}
        self.uses = {name: len(takers) for name, takers in self.below.items()}
        self.waits = {name: len(set(self.graph.edges[name].values())) for name in planner.names}
        self.ready = deque(name for name in planner.names if not self.waits[name])
        self._keys = planner.keys

    def go(self) -> str:
        """Walk to the end, or until interrupted; the run's state, when every asset has a result."""
        state = "succeeded"
        try:
            self._walk()
        except KeyboardInterrupt as interrupt:
            self._interrupted(leave=self.on_interrupt == "leave" or isinstance(interrupt, Evicted))
            state = "cancelled"
        finally:
            self.here.dismiss()
            self.there.dismiss()
            self.planner.store.files.tidy()
        self._settle_transients()
        if state == "succeeded" and any(one.state in _UNWELL for one in self.results.values()):
            return "failed"
        return state

    def _walk(self) -> None:
        while self.ready or self.doing:
            while self.ready:
                self._decide(self.ready.popleft())
            if self.doing:
                self._ended(*self._next())
                while not self.endings.empty():
                    self._ended(*self.endings.get())

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
        one = self.graph.assets[name]
        try:
            if one.source is not None:
                now = self.planner.source(name)
                made = Made(
                    key=self._keys[name], data_version=now.data_version, uri=now.uri, bytes=now.bytes, source=True
                )
                self._done(name, _Node(made, None, now.data_version), "reused", "an input from outside", None)
                return
            edges = self.graph.edges[name]
            parts = self.planner.parts(name, {param: self.nodes[up].stands for param, up in edges.items()})
            version = version_of(parts, name)
            work = Work(
                asset=one,
                key=self._keys[name],
                version=version,
                parts=parts,
                inputs={},
                params=self.planner.params_of(one),
                target=self.planner.target(name),
                reason="",
                modules=self.planner.codes[name].modules if name in self.planner.codes else (),
                again=name in self.planner.forced,
            )
            if not one.options.persist:
                self._decide_transient(name, work)
                return
            record, trouble = self.planner.record(name, version)
            if record is not None:
                self._reuse(name, work, record)
                return
            work.reason, _ = self.planner.why(name, parts, trouble)
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
            try:
                value = cell.value()
                self.endings.put((name, Result("made", None, made, "transient", held=value)))
            except BaseException as error:
                self.endings.put((name, error))

        self.nodes[name] = _Node(made, None, stands, cell=cell)
        (self.here if work.target == HERE else self.there).do(make)

    def _inputs(self, name: str) -> dict[str, Input]:
        """The inputs of a work. A value in memory goes to its last taker as it is; the others read their own copies."""
        found = {}
        for up in set(self.graph.edges[name].values()):
            self.uses[up] -= 1
        for param, up in self.graph.edges[name].items():
            node = self.nodes[up]
            held = MISSING
            if node.held is not MISSING:
                last = self.uses[up] <= 0
                if last or type(node.held) in _SHARED:
                    held = node.held
                if last:
                    node.held = MISSING
            found[param] = Input(up, node.made, node.record, held, node.cell)
        return found

    def _send(self, name: str, work: Work) -> None:
        self.doing[name] = (work, time.monotonic())

        def make() -> None:
            try:
                self.endings.put((name, self._tried(work)))
            except BaseException as error:
                self.endings.put((name, error))

        (self.here if work.target == HERE else self.there).do(make)

    def _tried(self, work: Work) -> Result:
        """Make it, as often as its options allow, waiting twice as long each time, with some chance in it."""
        options = work.asset.options
        for attempt in range(1, options.retries + 2):
            try:
                return self.maker.make(work, attempt)
            except Exception:
                if attempt > options.retries or self.tools.stopped.is_set():
                    raise
                delay = options.retry_delay * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)  # noqa: S311  # jitter
                self.maker.tell_waiting(work, "", f"trying again in {delay:.0f} s ({attempt} of {options.retries})")
                self.tools.stopped.wait(delay)
        raise AssertionError  # pragma: no cover  # the last attempt returns or raises

    def _ended(self, name: str, ending: Result | BaseException) -> None:
        work, began = self.doing.pop(name)
        if isinstance(ending, BaseException):
            self._failed(name, ending, time.monotonic() - began, work)
            return
        keep = self.uses[name] > 0 and ending.held is not MISSING
        stands = ending.record.data_version if ending.record else ending.made.data_version
        node = _Node(ending.made, ending.record, stands, ending.held if keep else MISSING, self._cell(name))
        self._done(name, node, ending.state, ending.reason, work, ending.seconds)

    def _cell(self, name: str) -> Cell | None:
        known = self.nodes.get(name)
        return known.cell if known else None

    def _reuse(self, name: str, work: Work, record: Record) -> None:
        published = self.tools.values.publish(work.asset, record)
        made = record.made(self.planner.store.uri(record), published)
        reason = f"made {record.at:%Y-%m-%d %H:%M} UTC by {record.by}@{record.host}"
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
            _load=self._loader(self.graph.assets[name], node),
        )
        self._settle(name)

    def _settle_transients(self) -> None:
        """Say how each transient asset ended: its cell knows whether something needed it."""
        for name, node in self.nodes.items():
            if name in self.results or node.cell is None:
                continue
            error = node.cell.error
            self.results[name] = AssetResult(
                key=self._keys[name],
                state="failed" if error else "made" if node.cell.made else "skipped",
                reason=error_text(error) if error else "transient" if node.cell.made else "nothing that takes it ran",
                version=node.made.version,
                target=self.planner.target(name),
                error=error,
                _load=node.cell.value,
            )

    def _loader(self, one: Asset, node: _Node) -> Callable[[], Any]:
        if node.cell is not None:
            return node.cell.value
        taken = Input(one.name, node.made, node.record)
        return lambda: self.tools.values.value(taken, None if one.returns is MISSING else one.returns, one.fn)

    def _settle(self, name: str) -> None:
        for taker in self.below[name]:
            self.waits[taker] -= 1
            if not self.waits[taker]:
                self.ready.append(taker)

    def _failed(self, name: str, error: BaseException, seconds: float = 0.0, work: Work | None = None) -> None:
        self.results[name] = AssetResult(
            key=self._keys[name],
            state="cancelled" if isinstance(error, CancelledError) else "failed",
            reason=error_text(error),
            version=work.version if work else "",
            target=self.planner.target(name),
            seconds=seconds,
            error=error,
        )
        for blocked in self._all_below(name):
            if blocked not in self.results:
                because = tuple(
                    self._keys[up]
                    for up in dict.fromkeys(self.graph.edges[blocked].values())
                    if up in self.results and self.results[up].state in _UNWELL
                )
                self.results[blocked] = AssetResult(
                    key=self._keys[blocked],
                    state="blocked",
                    reason=f"{name} {self.results[name].state}",
                    target=self.planner.target(blocked),
                )
                self.tools.tell(
                    AssetBlocked(
                        run_id=self.tools.run_id,
                        at=datetime.now(UTC),
                        key=self._keys[blocked],
                        asset=self.graph.assets[blocked],
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

    def _interrupted(self, *, leave: bool) -> None:
        """Stop: jobs are cancelled or left, functions here are interrupted, what is unfinished is told so."""
        self.tools.leave = leave
        self.tools.stopped.set()
        confirmed: set[str] = set()
        stopping = Crew(REMOTE_AT_ONCE, "drawbar-stopping")
        for dispatcher, handle in () if leave else list(self.tools.running.values()):
            stopping.do(lambda d=dispatcher, h=handle: d.cancel(h))  # type: ignore[misc]
        self.here.interrupt()
        deadline = time.monotonic() + NOTICE
        over: set[str] = set()
        # A job that is being submitted now is still waited for: it may be left only once it is known to be there.
        while set(self.doing) - over - self._left(leave=leave) and time.monotonic() < deadline:
            try:
                name, ending = self.endings.get(timeout=0.1)
            except queue.Empty:
                continue
            except KeyboardInterrupt:
                break
            over.add(name)
            if isinstance(ending, CancelledError):
                confirmed.add(name)
            if isinstance(ending, Result) and name in self.doing:
                self._ended(name, ending)
        left = self._left(leave=leave)
        for name in self.planner.names:
            if name not in self.results:
                self._cancelled(name, left=name in left, confirmed=name in confirmed)

    def _left(self, *, leave: bool) -> set[str]:
        """The assets whose jobs are under way on their targets, and are to stay so."""
        return {name for name in list(self.doing) if leave and str(self._keys[name]) in self.tools.running}

    def _cancelled(self, name: str, *, left: bool, confirmed: bool) -> None:
        work, began = self.doing.get(name, (None, time.monotonic()))
        reason = "interrupted"
        if left:
            reason = "left running on its target"
        elif confirmed:
            reason = "cancelled on its target"
        elif work is not None and work.target != HERE:
            reason = "interrupted; its target has not confirmed that it stopped"
        seconds = time.monotonic() - began
        self.results[name] = AssetResult(
            key=self._keys[name],
            state="cancelled",
            reason=reason,
            version=work.version if work else "",
            target=self.planner.target(name),
            seconds=seconds,
        )
        lease = self.tools.leases.get(str(self._keys[name]))
        if left and lease is not None:
            lease.release()  # whoever comes next attaches to the job at once, on any machine
        run_id = self.tools.accounts.pop(str(self._keys[name]), None)
        if work is not None and run_id is not None:
            self.tools.tell(
                AssetCancelled(
                    run_id=self.tools.run_id,
                    asset_run_id=run_id,
                    at=datetime.now(UTC),
                    key=work.key,
                    asset=work.asset,
                    seconds=seconds,
                    left=left,
                    inputs=work.inputs_made,
                )
            )
