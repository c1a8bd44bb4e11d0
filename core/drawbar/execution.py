"""One attempt at one asset: its function run here or as a job on a target, and its account told from start to end.

A Work comes here from `making`; encoded bytes go back, to be put into the store.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from drawbar import plugins
from drawbar.actor import of_code
from drawbar.agent.calling import finished
from drawbar.agent.encoding import actors
from drawbar.asset import MISSING
from drawbar.checks import Examination, blocked, examined, input_outcomes, refusal
from drawbar.contracts import unmet
from drawbar.errors import CancelledError, ContractError, FormatError, LostError, UnreachableError
from drawbar.events import AssetCancelled, AssetFailed, AssetLog, AssetMade, AssetStarted, AssetWaiting, Costs, Made
from drawbar.identity import asset_run_uuid, job_id
from drawbar.leases import Holder
from drawbar.records import Record
from drawbar.redact import Redactor
from drawbar.results import shown_traceback
from drawbar.store import folder_of
from drawbar.tools import Tools
from drawbar.work import Many, Work

if TYPE_CHECKING:
    from drawbar.agent.encoding import Encoded
    from drawbar.dispatch.port import Dispatcher, Handle, ValueRef

PATIENCE = 20.0


@dataclass(slots=True)
class Fetched:
    """A value as it came from a target, with what is known of it: the like of `Encoded`.

    Without `parts` the target has put it into the store, and it is there.
    """

    parts: list[Any] | None
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
    rejected: Made | None = None
    found: dict[str, Any] = field(default_factory=lambda: {"checks": [], "profile": None})

    def here(self, *, keep: bool = True) -> Any:
        """Run the function in this process; the encoded value comes back, and the value itself is kept in `held`."""
        work, fn = self.work, self.work.asset.fn
        assert fn is not None
        self._end_before(adopted=False)
        self._tell_started()
        notes = {param.name: param.annotation for param in work.asset.params}
        inputs = {name: self.tools.values.value(one, notes[name], fn) for name, one in work.inputs.items()}
        inputs |= work.given_partition
        self._refuse_inputs(inputs)
        begun = time.perf_counter()
        value = finished(fn(**inputs, **work.params))
        if actors.holds(value):
            value = of_code(value, work.version, work.parts)  # or a changed class would be taken for the same actor
        self.costs = Costs(compute=time.perf_counter() - begun, host=socket.gethostname())
        encoded: list[Any] = []

        def kept(value: Any, outcomes: list[dict[str, Any]]) -> None:
            encoded.append(self._encoded(value, outcomes))

        self.held = self._examined(value, keep=kept if keep else None)
        if keep and self.work.asset.checks:
            self.held = MISSING  # a check may have changed it
        return encoded[0] if keep else None

    def _encoded(self, value: Any, outcomes: list[dict[str, Any]]) -> Any:
        """The value in its format; pickled where that cannot hold what failed its contract, for a person to look at."""
        encode, trust = self.tools.values.formats.encode, self.tools.planner.config.trust
        try:
            made = encode(value, self.work.asset.options.format, trust)
        except FormatError:
            if not blocked(outcomes):
                raise
            try:
                made = encode(value, "pickle", trust)
            except FormatError:
                raise refusal(self.work.key.unit, outcomes, self.work.asset.where) from None
        if self.work.asset.checks:
            # Parts may share memory with the value, which checks see next.
            return type(made)(made.format, made.ext, [bytes(made.join())], made.type, made.rows, made.columns)
        return made

    def over(self) -> Encoded:
        """Call the function for each item of one input, here or on the work's target; the encoded list comes back."""
        from drawbar.fanout import Fanout

        self._end_before(adopted=False)
        self._tell_started()
        fanout = Fanout(self.tools, self.work, run_id=self.run_id, tell=self._tell)
        try:
            encoded = fanout.run()
        finally:
            self.costs = fanout.costs
        if self.work.asset.name in self.tools.planner.demands:
            formats, trust = self.tools.values.formats, self.tools.planner.config.trust
            self._examined(formats.decode(encoded.join(), encoded.format, encoded.type, encoded.ext, trust=trust))
        return encoded

    def refuse_columns(self) -> None:
        """Raise ContractError where an input lacks what `expects` asks for; records tell, no value is read."""
        for param, wanted in self.work.asset.options.expects.items():
            one = self.work.inputs[param]
            for each in one.inputs.values() if isinstance(one, Many) else (one,):
                faults = [] if each.made.source else unmet(each.made.columns, wanted, each.made.profile)
                if faults:
                    raise ContractError(
                        f"{self.work.key.unit} expects of {each.made.key.unit} what that does not have.",
                        expected=f"what {self.work.asset.where} expects",
                        found="; ".join(faults),
                        todo="mend what makes that input, or change `expects`",
                        where=self.work.asset.where,
                    )

    def _refuse_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Raise CheckError where an input does not keep to the schema of its parameter."""
        assert self.work.asset.fn is not None
        failed = [one for one in input_outcomes(self.work.asset.fn, inputs) if not one["passed"]]
        if failed:
            raise refusal(self.work.key.unit, failed, self.work.asset.where)

    def _examination(self, again: Record | None = None) -> Examination:
        """What is demanded of the value (of `again`, if that is there already), and whether its profile is taken."""
        planner, work = self.tools.planner, self.work
        demands = planner.demands.get(work.asset.name)
        checks = demands.checks if demands else ()
        last = None
        if any(check.wants_last for check in checks):
            before = planner.store.latest(work.key)
            if again is not None:
                before = next((one for one in reversed(planner.store.records(work.key)) if one.at < again.at), None)
            if before is not None:
                last = self.tools.values.kept(before)
        contract = demands.contract.to_dict() if demands and demands.contract else None
        return Examination(
            checks=checks, contract=contract, profile=planner.config.profile and work.asset.options.persist, last=last
        )

    def _examined(self, value: Any, again: Record | None = None, keep: Callable[..., None] | None = None) -> Any:
        """The value, as its contract leaves it; what was found is kept in `found`."""
        demanded, fn = self._examination(again), self.work.asset.fn
        last = demanded.last

        def before() -> Any:
            return None if last is None else self.tools.values.opened(last, self.work.key)

        value, found = examined(value, demanded, fn, self.work.unit.partition, before, keep)
        self._take(found)
        return value

    def _take(self, found: Mapping[str, Any]) -> None:
        """What was found, with no secret in what checks said."""
        checks = [dict(one) for one in found["checks"]]
        if checks:
            checks = Redactor().knowing(self.work.params).plain(checks)
        self.found = {"checks": checks, "profile": found["profile"]}

    def examine_again(self, record: Record) -> None:
        """Hold a value of the store to what is demanded now; a contract that would change it is in its Version."""
        self._examined(self.tools.values.decoded(record), record)

    def there(self) -> Any:
        """Run the function as a job on the work's target; the encoded value comes back, checked."""
        from drawbar.dispatch.port import Job

        tools, work, options = self.tools, self.work, self.work.asset.options
        fn = work.asset.fn
        assert fn is not None
        dispatcher = tools.dispatcher(work.target)
        notes = {param.name: param.annotation for param in work.asset.params}
        inputs = {name: tools.values.stored(one, notes[name], fn) for name, one in work.inputs.items()}
        handle = dispatcher.submit(
            Job(
                id=job_id(work.key, work.version),
                name=str(work.key),
                function=fn,
                run_id=self.run_id,
                arguments={**inputs, **work.params},
                examine=self._examination(),
                partition=work.partition,
                format=options.format,
                timeout=options.timeout,
                **self.tools.needs(options),
                variables=plugins.job_variables(
                    namespace=work.key.namespace,
                    key=work.key,
                    asset_run_id=self.run_id,
                    run_id=tools.run_id,
                    parent=tools.parent,
                ),
                modules=work.modules,
                store=tools.place(folder_of(work.key) if options.persist else ""),
            ),
            again="always" if work.again else "unsuccessful",
        )
        # A holder before whose job this is not, or whose job this would be the first attempt of, never came to submit
        # it: no account of theirs is open.
        unheard = handle.how != "started" or handle.attempt == 1
        self._end_before(adopted=unheard or handle.run_id == self._run_id_before())
        self.run_id, self.job = handle.run_id, handle.job
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
                self.tell_waiting(waiting)
            if progress.outcome is not None:
                break
        outcome = progress.outcome
        self.costs = outcome.costs
        if not outcome.ok or outcome.value is None:
            outcome.raise_()
        value = outcome.value
        assert value is not None
        self.tools.refuse_unstored(self.work, value)
        # Whoever submitted it may have had other checks: the job is adopted, what they said of it is not.
        unchecked = handle.how != "started" and (value.checks or self.work.asset.name in self.tools.planner.demands)
        begun = time.monotonic()
        content = None
        if (
            unchecked
            or self.work.asset.options.adds is not None
            or not self.tools.values.in_store(self.work.key, value)
        ):
            content = dispatcher.fetch(value)
        self.costs = replace(
            self.costs, transfer=self.costs.transfer + (value.stored or 0.0) + time.monotonic() - begun
        )
        self._take({"checks": value.checks, "profile": value.profile})
        if unchecked and content is not None:
            self._examined(self._opened(value, bytes(content)))
        parts = None if content is None else [content]
        return Fetched(parts, value.format, value.ext, value.type, value.bytes, value.rows, value.columns, value.digest)

    def _opened(self, value: ValueRef, content: bytes) -> Any:
        values = self.tools.values
        folder = values.folder(self.work.key) if value.format in ("file", "folder") else None
        trust = self.tools.planner.config.trust
        return values.formats.decode(content, value.format, value.type, value.ext, folder, trust)

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

    def tell_waiting(self, why: str) -> None:
        """For what it waits; empty once it waits no more."""
        self._tell(AssetWaiting, message=why)

    def tell_made(self, made: Made, seconds: float) -> None:
        """The end of the account: it came out."""
        work = self.work
        if self.tools.accounts.pop(str(work.key), None) is None:
            return  # the walk was stopped, and has told the end
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
        if self.submitted and self.tools.leave and not _of_job(error):
            return  # this process is going, and its connection with it: the job, left where it is, did not fail
        if not self.started:
            self._tell_started()
        if self.tools.accounts.pop(str(self.work.key), None) is None:
            return
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
            will_retry=self.attempt <= self.work.asset.options.retries and not self.work.asset.options.over,
            inputs=self.work.inputs_made,
            made=self.rejected,
        )


def _of_job(error: BaseException) -> bool:
    """Whether an error says how a job ended, and not only that we could not follow it."""
    return any(getattr(one, "outcome", None) is not None for one in (error, error.__cause__))
