"""The fan-out: a function called once for each item of a list, each result kept by itself, the whole a list in order.

A Work whose asset is made `over` one of its inputs comes here from `making`, and an encoded list goes back. What was
made of an item before comes from the item cache (`packs`); the rest goes in batches to threads of this process or to
jobs on the target (`batches`), so many at a time as it can take. In memory are those under way; what is done out of
order waits in a temporary file (`inorder`). Decided is all of it in the caller's thread, as in the walk.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import random
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any

from drawbar.agent import each, encoding
from drawbar.agent.encoding import Encoded, EncodingError
from drawbar.agent.encoding.items import Items, Writer
from drawbar.batches import MOST, Batch, Doer, Done, Here, There
from drawbar.crew import Crew
from drawbar.digest import digest_value
from drawbar.errors import CancelledError, FingerprintError, RemoteError, TypeMismatchError
from drawbar.events import AssetLog, AssetProgress, Costs
from drawbar.files import mapped
from drawbar.formats import told
from drawbar.inorder import InOrder
from drawbar.packs import Packs
from drawbar.packs import Writer as Keeper
from drawbar.planner import HERE
from drawbar.records import Parts
from drawbar.redact import Redactor
from drawbar.store import folder_of
from drawbar.tools import Tools
from drawbar.version import version_of
from drawbar.work import Many, Work

AHEAD = 20_000
"""So many items are looked at before the first of them that is not done."""
ROUNDS = 64
"""A list goes to a target in so many batches, where they are not too large for it."""
SHORT = 0.05
"""Seconds that a batch in this process should last."""
_BEAT = 0.25
_TELLING = 1.0
_NOTICE = 4.0
_SHOWN = 200


class Fanout:
    """One fan-out; `tell(kind, **facts)` tells an event of the asset's run, whose lineage run is `run_id`.

    `costs` are known when it has ended, however it has.
    """

    def __init__(
        self,
        tools: Tools,
        work: Work,
        *,
        run_id: str,
        tell: Callable[..., None],
    ) -> None:
        over = work.asset.options.over
        assert over is not None
        self._tools, self._work, self._over = tools, work, over
        self._run_id, self._tell = run_id, tell
        # Where only the list counts no more, its items do all the same.
        self._again = work.unit.id in tools.planner.forced
        self._base = version_of(without(work.parts, over), work.asset.name)
        self._doer: Doer | None = None
        self._crew: Crew | None = None
        self._endings: queue.SimpleQueue[tuple[Batch, Done | BaseException, float]] = queue.SimpleQueue()
        self._flying: dict[str, list[int]] = {}
        self._under_way = self._seen = self._failures = 0
        self._size = 1
        self._next = Batch(0)
        self._first: tuple[int, Any, each.Described] | None = None
        self._told_at = 0.0
        self._ended = False
        self._total: int | None = None
        self.costs = Costs()

    def run(self) -> Encoded:
        """The encoded list of the results; RemoteError where the function failed for some items, the others kept.

        TypeMismatchError if the input is no list; CancelledError or KeyboardInterrupt once the run is stopped; and
        whatever the target or the store raises. What was made until then is kept, too.
        """
        items = self._source()
        store, persist = self._tools.planner.store, self._work.asset.options.persist
        with contextlib.ExitStack() as stack:
            packs = stack.enter_context(contextlib.closing(Packs(store.files, folder_of(self._work.key), self._warn)))
            results = stack.enter_context(Writer(plain=True))
            order = stack.enter_context(contextlib.closing(InOrder(results)))
            stack.callback(self._end)
            keeper = stack.enter_context(packs.writer()) if persist else None
            try:
                self._go(iter(items), packs if persist and not self._again else None, keeper, order)
            except KeyboardInterrupt:
                self._stop(keeper)
                raise
            except CancelledError:
                if isinstance(self._doer, There):
                    self._doer.cancel()
                raise
            except EncodingError as error:
                raise told(error) from error
            self._progress(order, now=True)
            if self._first is not None:
                raise self._error(*self._first)
            with mapped("the folder for temporary files", "write"):
                return results.finish()

    def _source(self) -> Any:
        """The items: of a list that was stored item by item, each is read when it is its turn."""
        one = self._work.inputs[self._over]
        values, planner = self._tools.values, self._tools.planner
        record = None if isinstance(one, Many) else one.record
        if record is not None and record.format == "items" and record.type == "list":
            items: Any = Items(planner.store.read(record), values.folder(record.key), planner.config.trust)
        else:
            items = values.value(one, Sequence[Any], self._work.asset.fn)
        plain = isinstance(items, Sequence) and not isinstance(items, str | bytes | bytearray | memoryview)
        if not plain and not isinstance(items, Iterator):
            raise TypeMismatchError(
                f"{self._work.key} is made over {self._over}, which is no list.",
                expected="a list, a tuple, another sequence, or an iterator",
                found=encoding.type_name(items),
                todo="make it a list, such as `table.to_dict('records')` of a table",
                where=self._work.asset.where,
            )
        self._total = len(items) if isinstance(items, Sized) else None
        return items

    def _go(self, items: Iterator[Any], kept: Packs | None, keeper: Keeper | None, order: InOrder) -> None:
        """Look up and send, until all is done. Raises what is no single item's fault."""
        for item in items:
            at, version = self._seen, self._version(item)
            self._seen += 1
            same = self._flying.get(version)
            found = kept.read(version) if kept is not None and same is None else None
            if same is not None:
                same.append(at)
            elif found is not None:
                order.settle(at, found)
            else:
                if not self._next.items:
                    self._next = Batch(at, again=self._again)
                self._next.items.append(item)
                self._next.versions.append(version)
                self._flying[version] = [at]
            if self._full():
                self._send(self._next)
            while self._under_way >= self._most() or (self._under_way and at - order.next >= AHEAD):
                self._take(keeper, order)
            self._take(keeper, order, wait=False)
        self._send(self._next)
        while self._under_way:
            self._take(keeper, order)

    def _version(self, item: Any) -> str:
        try:
            digest = digest_of(item, f"an item of {self._over}", self._tools.planner.config.trust)
        except FingerprintError as error:
            error.where = self._work.asset.where
            raise
        return hashlib.sha256(f"drawbar-item-1\0{self._base}\0{digest}".encode()).hexdigest()

    def _full(self) -> bool:
        """Whether the batch is to be sent now.

        For a target it is cut by position alone, so that a process that comes after this one cuts the same jobs, and
        adopts them.
        """
        if self._work.target == HERE:
            idle = self._under_way == 0 and self._seen - self._next.first >= MOST
            return len(self._next) >= self._size or idle
        size = self._work.asset.options.batch
        if size is None:
            size = ROUNDS if self._total is None else -(-self._total // ROUNDS)
        return self._seen % max(1, min(size, MOST)) == 0

    def _most(self) -> int:
        """How many batches are under way at most: in this process one more for each thread, so that none is idle."""
        if self._doer is None:
            return 1
        return self._doer.at_once * (2 if isinstance(self._doer, Here) else 1)

    def _send(self, batch: Batch) -> None:
        """Have a batch done by the next free thread."""
        if batch is self._next:
            self._next = Batch(self._seen)
        if not batch.items:
            return
        if self._crew is None:
            self._doer = self._made_doer()
            self._crew = Crew(self._doer.at_once, "drawbar-items", eager=isinstance(self._doer, There))
        doer, options = self._doer, self._work.asset.options
        assert doer is not None
        delay = options.retry_delay * 2 ** (batch.tries - 1) * random.uniform(0.8, 1.2) if batch.tries else 0.0  # noqa: S311  # jitter

        def do() -> None:
            begun = time.monotonic()
            try:
                if self._tools.stopped.wait(delay) or self._ended:
                    raise KeyboardInterrupt  # noqa: TRY301  # taken as any ending is
                begun = time.monotonic()
                self._endings.put((batch, doer.do(batch), time.monotonic() - begun))
            except BaseException as error:
                self._endings.put((batch, error, time.monotonic() - begun))

        self._under_way += 1
        self._crew.do(do)

    def _made_doer(self) -> Doer:
        if self._work.target == HERE:
            return Here(self._tools, self._work, self._over)
        return There(self._tools, self._work, self._over, run_id=self._run_id, tell=self._tell)

    def _take(self, keeper: Keeper | None, order: InOrder, *, wait: bool = True) -> None:
        """Take what has ended; without `wait`, only what has ended already."""
        if self._tools.stopped.is_set():
            raise KeyboardInterrupt
        if self._seen % 64 == 0 or wait:
            self._progress(order)
            if keeper is not None:
                keeper.flush_due()
        if not wait and self._endings.empty():
            return
        try:
            ending = self._endings.get(timeout=SHORT if self._crew is not None and self._crew.wanting else _BEAT)
        except queue.Empty:
            if self._crew is not None:
                self._crew.relieve()
            return
        batch, done, seconds = ending
        self._under_way -= 1
        if isinstance(done, BaseException):
            raise done
        made, adopted = done
        self._size = max(1, min(2 * self._size, int(SHORT * len(made) / max(seconds, 1e-6)), MOST))
        failed = self._settle(batch, done, keeper, order)
        if len(made) < len(batch):
            self._send(batch.part(range(len(made), len(batch))))
        if failed:
            tries = batch.tries if adopted else batch.tries + 1
            self._send(batch.part(failed, tries=tries, again=True))

    def _settle(self, batch: Batch, done: Done, keeper: Keeper | None, order: InOrder) -> list[int]:
        """Note what came of the items; which of them are to be tried again."""
        made, adopted = done
        again = []
        tried_enough = not adopted and batch.tries >= self._work.asset.options.retries
        for at, item in enumerate(made):
            error = each.error_of(item)
            if error is not None and not tried_enough:
                again.append(at)
                continue
            positions = self._flying.pop(batch.versions[at])
            if error is not None:
                self._failures += len(positions)
                if self._first is None or positions[0] < self._first[0]:
                    self._first = positions[0], batch.items[at], error
            elif keeper is not None:
                keeper.add(batch.versions[at], item)
            for position in positions:
                order.settle(position, None if error is not None else item)
        return again

    def _progress(self, order: InOrder, *, now: bool = False) -> None:
        moment = time.monotonic()
        if now or moment - self._told_at > _TELLING:
            self._told_at = moment
            self._tell(AssetProgress, done=order.done - self._failures, failed=self._failures, total=self._total)

    def _stop(self, keeper: Keeper | None) -> None:
        """Keep what has ended; where jobs are being cancelled, wait for them, so as to say that they were."""
        if self._tools.leave or self._crew is None:
            return
        there = self._work.target != HERE
        ends = time.monotonic() + (_NOTICE if there else _BEAT)
        left = self._under_way
        while left and time.monotonic() < ends:
            try:
                batch, done, _ = self._endings.get(timeout=_BEAT / 2)
            except queue.Empty:
                continue
            left -= 1
            if not isinstance(done, BaseException) and keeper is not None:
                for version, item in zip(batch.versions, done[0], strict=False):
                    if each.error_of(item) is None:
                        keeper.add(version, item)
        if there and not left:
            raise CancelledError(f"{self._work.key} was cancelled on its target.")

    def _end(self) -> None:
        """Let the threads go; batches that none of them has begun are not done any more."""
        self._ended = True
        if self._doer is not None:
            self.costs = self._doer.costs
            self._doer.close()
        if self._crew is not None:
            if self._work.target == HERE and self._tools.stopped.is_set():
                self._crew.interrupt()
            self._crew.dismiss()

    def _warn(self, sentence: str) -> None:
        self._tell(AssetLog, stream="stderr", data=f"drawbar: {sentence}\n".encode())

    def _error(self, at: int, item: Any, error: each.Described) -> RemoteError:
        """The error of a fan-out some of whose items failed: how many, and all about the first of them."""
        kind = ".".join(part for part in (error.get("module"), error.get("type")) if part and part != "builtins")
        message = str(error.get("message") or "")
        redactor = Redactor().knowing(self._work.params)
        shown = redactor.value(self._over, item)
        shown = redactor.text(repr(shown) if isinstance(item, str) else shown, _SHOWN)
        all_of_them = self._failures == self._seen
        fault = RemoteError(
            f"{self._failures} of {self._seen} items of {self._work.key} failed"
            + ("." if all_of_them else "; what was made of the others is kept."),
            found=f"item {at}, {shown}: {kind}{': ' if message else ''}{message}",
            todo="correct the function or its input; the next run calls it only for items that have no value yet",
            where=self._work.asset.where,
        )
        fault.type_name, fault.message = kind, message
        fault.traceback = str(error.get("traceback") or "")
        for note in (fault.traceback, *error.get("notes", ())):
            if note:
                fault.add_note(str(note))
        return fault


def without(parts: Parts, over: str) -> Parts:
    """The parts of an asset's Version that all of its items have in common; a contract is one for the whole list."""
    inputs = {name: one for name, one in parts.inputs.items() if name != over}
    return replace(parts, inputs=inputs, options={"over": over})


def digest_of(item: Any, what: str, trust: str = "pickle") -> str:
    """The digest of one item: of a file its content, of plain data what `digest_value` says, else of its encoding.

    FingerprintError, naming `what`, where there is none of these.

    >>> digest_of("a", "x") == digest_value("a", what="x")
    True
    """
    try:
        if isinstance(item, Path):
            return f"file:{encoding.encode(item).digest()}"
        return digest_value(item, what=what)
    except FingerprintError as error:
        try:
            made = encoding.encode(item, None, trust)
        except EncodingError:
            raise error from None
        return f"{made.type}:{made.digest()}"
