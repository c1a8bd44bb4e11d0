"""One attempt at one asset: its function run here or as a job on a target, and its account told from start to end.

A Work comes here from `making`; encoded bytes go back, to be put into the store.
"""

from __future__ import annotations

import inspect
import socket
import time
import traceback
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from drawbar import plugins
from drawbar.asset import MISSING
from drawbar.errors import CancelledError, LostError, StoreError, UnreachableError
from drawbar.events import AssetCancelled, AssetFailed, AssetLog, AssetMade, AssetStarted, AssetWaiting, Costs, Made
from drawbar.identity import asset_run_uuid, job_id
from drawbar.leases import Holder
from drawbar.tools import Tools
from drawbar.work import Work

if TYPE_CHECKING:
    from drawbar.dispatch.port import Dispatcher, Handle

PATIENCE = 20.0


@dataclass(slots=True)
class Fetched:
    """A value as it came from a target, with what is known of it: the like of `Encoded`."""

    parts: list[Any]
    format: str
    ext: str
    type: str
    bytes: int
    rows: int | None
    columns: tuple[tuple[str, str], ...]
    data_version: str

    def digest(self) -> str:
        """The DataVersion: computed on the target, and checked when the bytes came."""
        return self.data_version


@dataclass(slots=True)
class Execution:
    """One attempt at one asset: which run it is in lineage, and what was told of it."""

    tools: Tools
    work: Work
    run_id: str
    attempt: int
    before: Holder | None
    started: bool = False
    submitted: bool = False
    job: str = ""
    costs: Costs = field(default_factory=Costs)
    held: Any = MISSING

    def here(self, *, keep: bool = True) -> Any:
        """Run the function in this process; the encoded value comes back, and the value itself is kept in `held`."""
        work, fn = self.work, self.work.asset.fn
        assert fn is not None
        self._end_before(adopted=False)
        self._tell_started()
        notes = {param.name: param.annotation for param in work.asset.params}
        inputs = {name: self.tools.values.value(one, notes[name], fn) for name, one in work.inputs.items()}
        begun = time.perf_counter()
        value = finished(fn(**inputs, **work.params))
        self.costs = Costs(compute=time.perf_counter() - begun, host=socket.gethostname())
        self.held = value
        if not keep:
            return None
        return self.tools.values.formats.encode(value, work.asset.options.format, self.tools.planner.config.trust)

    def there(self) -> Any:
        """Run the function as a job on the work's target; the encoded value comes back, checked."""
        from drawbar.dispatch.port import Job

        tools, work, options = self.tools, self.work, self.work.asset.options
        fn = work.asset.fn
        assert fn is not None
        dispatcher = tools.dispatcher(work.target)
        notes = {param.name: param.annotation for param in work.asset.params}
        inputs = {name: tools.values.stored(one, notes[name], fn) for name, one in work.inputs.items()}
        self.job = job_id(work.key, work.version)
        handle = dispatcher.submit(
            Job(
                id=self.job,
                name=str(work.key),
                function=fn,
                run_id=self.run_id,
                arguments={**inputs, **work.params},
                format=options.format,
                timeout=options.timeout,
                env=options.env,
                gpus=options.gpus,
                gpu_memory=options.gpu_memory,
                variables=plugins.job_variables(
                    namespace=work.key.namespace,
                    key=work.key,
                    asset_run_id=self.run_id,
                    run_id=tools.run_id,
                    parent=tools.parent,
                ),
                modules=work.modules,
            ),
            again="always" if work.again else "unsuccessful",
        )
        # A holder before whose job this is not, or whose job this would be the first attempt of, never came to submit
        # it: no account of theirs is open.
        unheard = handle.how != "started" or handle.attempt == 1
        self._end_before(adopted=unheard or handle.run_id == self._run_id_before())
        self.run_id = handle.run_id
        self.submitted = True
        tools.running[str(work.key)] = (dispatcher, handle)
        try:
            if tools.stopped.is_set() and not tools.leave:
                dispatcher.cancel(handle)
            self._tell_started(adopted=handle.how != "started", told=handle.told)
            if not handle.told:
                dispatcher.told(handle)
            return self._collected(dispatcher, handle)
        finally:
            tools.running.pop(str(work.key), None)

    def _collected(self, dispatcher: Dispatcher, handle: Handle) -> Any:
        """Follow a job to its end, telling what it writes, and bring its value."""
        out = err = 0
        waiting = ""
        while True:
            progress = dispatcher.wait(handle, out, err, timeout=PATIENCE)
            for stream, data in (("stdout", progress.stdout), ("stderr", progress.stderr)):
                if data:
                    self._tell(AssetLog, stream=stream, data=data)
            out, err = out + len(progress.stdout), err + len(progress.stderr)
            if progress.waiting != waiting:
                waiting = progress.waiting
                if waiting:
                    self._tell(AssetWaiting, message=waiting)
            if progress.outcome is not None:
                break
        outcome = progress.outcome
        self.costs = outcome.costs
        if not outcome.ok or outcome.value is None:
            outcome.raise_()
        value = outcome.value
        assert value is not None
        begun = time.monotonic()
        content = dispatcher.fetch(value)
        self.costs = replace(self.costs, transfer=self.costs.transfer + time.monotonic() - begun)
        return Fetched(
            [content], value.format, value.ext, value.type, value.bytes, value.rows, value.columns, value.digest
        )

    def _run_id_before(self) -> str:
        return asset_run_uuid(self.before.walk, self.work.key, self.before.attempt) if self.before else ""

    def _end_before(self, *, adopted: bool) -> None:
        """Close the account of a dead process whose lease was taken over, unless this one goes on with its job."""
        if self.before is None or adopted:
            return
        error = LostError(f"{self.work.key} was being made by {self.before}, which is gone.")
        self.tools.tell(
            AssetFailed(
                run_id=self.tools.run_id,
                asset_run_id=self._run_id_before(),
                at=datetime.now(UTC),
                key=self.work.key,
                asset=self.work.asset,
                error=error,
                traceback="",
                seconds=max(0.0, time.time() - self.before.since),
                will_retry=True,
                inputs=self.work.inputs_made,
            )
        )

    def _tell(self, kind: Any, **facts: Any) -> None:
        if not self.tools.tell.heard:
            return
        self.tools.tell(
            kind(
                run_id=self.tools.run_id,
                asset_run_id=self.run_id,
                at=datetime.now(UTC),
                key=self.work.key,
                asset=self.work.asset,
                **facts,
            )
        )

    def _tell_started(self, *, adopted: bool = False, told: bool = False) -> None:
        self.started = True
        work = self.work
        self.tools.accounts[str(work.key)] = self.run_id
        self._tell(
            AssetStarted,
            version=work.version,
            inputs=work.inputs_made,
            params=work.params,
            code=work.parts.code,
            target=work.target,
            job=self.job,
            attempt=self.attempt,
            adopted=adopted,
            told=told,
        )

    def tell_made(self, made: Made, seconds: float) -> None:
        """The end of the account: it came out."""
        work = self.work
        self.tools.accounts.pop(str(work.key), None)
        self._tell(
            AssetMade,
            version=work.version,
            made=made,
            seconds=seconds,
            costs=self.costs,
            inputs=work.inputs_made,
            params=work.params,
            code=work.parts.code,
            target=work.target,
            job=self.job,
            attempt=self.attempt,
        )

    def tell_failed(self, error: BaseException, seconds: float) -> None:
        """The end of the account: it did not. An attempt that never began has no account to end, so it gets both."""
        if not self.started:
            self._tell_started()
        self.tools.accounts.pop(str(self.work.key), None)
        # Out of reach is not over: the job goes on, and whoever adopts it ends this very account.
        left = isinstance(error, UnreachableError) and self.submitted
        if left or isinstance(error, CancelledError):
            self._tell(AssetCancelled, seconds=seconds, left=left, inputs=self.work.inputs_made)
            return
        self._tell(
            AssetFailed,
            error=error,
            traceback=shown_traceback(error),
            seconds=seconds,
            will_retry=self.attempt <= self.work.asset.options.retries,
            inputs=self.work.inputs_made,
        )


def finished(value: Any) -> Any:
    """What an asset's function leaves: a coroutine's result, and the list of a generator's rows."""
    if inspect.iscoroutine(value):
        import asyncio

        return asyncio.run(value)
    if inspect.isgenerator(value):
        return list(value)
    if inspect.isasyncgen(value):
        import asyncio

        async def rows() -> list[Any]:
            return [row async for row in value]

        return asyncio.run(rows())
    return value


def shown_traceback(error: BaseException) -> str:
    """The traceback as the user should see it: from their own function on, without drawbar's frames above it."""
    if isinstance(error, StoreError):
        return ""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith("drawbar."):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))
