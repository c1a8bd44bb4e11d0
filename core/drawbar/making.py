"""How one asset is made: its lease, its execution, its value into the store, and what is told of it.

A `Work` comes here from the walk in `run` and a `Result` goes back; facts go to listeners as they happen. Nothing is
shared between two works but the store, the dispatchers and the cells of transient values.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from drawbar.actor import watching
from drawbar.asset import MISSING
from drawbar.checks import blocked, refusal
from drawbar.config import whoami
from drawbar.errors import OptionError
from drawbar.events import AssetReused, AssetWaiting, Made
from drawbar.execution import Execution
from drawbar.files import Part
from drawbar.identity import asset_run_uuid
from drawbar.leases import Holder, Lease
from drawbar.partitions.base import check_key
from drawbar.planner import HERE
from drawbar.records import Record
from drawbar.tools import Tools
from drawbar.work import Result, Work


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes works, with the tools of their run."""

    tools: Tools

    def make(self, work: Work, attempt: int = 1) -> Result:
        """Make one persistent asset, or find that somebody else made it meanwhile. Raises what its function raised."""
        found: list[Record] = []

        def made() -> bool:
            record, _ = self.tools.planner.record(work.unit, work.version)
            found[:] = [record] if record is not None else []
            return record is not None

        def waiting(holder: Holder | None) -> None:
            self.tell_waiting(work, run_id, f"being made by {holder or 'somebody'}")

        if work.target != HERE and work.unit.id not in self.tools.planner.forced:
            # What a target has of a value that was refused is not to be adopted: its function is called again.
            store = self.tools.planner.store
            demanded = work.asset.name in self.tools.planner.demands
            work.again = work.again or (demanded and store.was_rejected(work.key, work.version))
        run_id = asset_run_uuid(self.tools.run_id, work.key, attempt)
        lease = self.tools.planner.store.leases.acquire(
            work.key.namespace,
            work.version,
            self.tools.run_id,
            attempt,
            made=made,
            waiting=waiting,
            stopped=self.tools.stopped.is_set,
        )
        if lease is None:
            if not found:
                raise KeyboardInterrupt
            return self._found(work, found[0])
        self.tools.leases[str(work.key)] = lease
        try:
            if made():
                return self._found(work, found[0])
            return self._make_leased(work, lease, run_id, attempt)
        finally:
            self.tools.leases.pop(str(work.key), None)
            lease.release()

    def _found(self, work: Work, record: Record) -> Result:
        if self.tools.planner.unchecked(work.unit, record):
            return self.check_again(work, record)
        reason = f"made meanwhile by {record.by}@{record.host}"
        made = self.tools.values.published(work.unit, record)
        self.tell_reused(work, made, reason)
        return Result("reused", record, made, reason)

    def _make_leased(self, work: Work, lease: Lease, run_id: str, attempt: int) -> Result:
        began = time.monotonic()
        execution = Execution(self.tools, work, run_id, attempt, lease.before)
        try:
            if self.tools.stopped.is_set():
                raise KeyboardInterrupt  # noqa: TRY301  # it passes the `except` below on purpose
            execution.refuse_columns()
            encoded = self._encoded(work, execution)
            record = self._record(work, execution, encoded, time.monotonic() - began)
            self._refuse(work, execution, record, encoded.parts)
            self._add_members(work, execution, encoded)
            kept = self.tools.planner.store.put(record, encoded.parts, replace=work.again)
            made = self.tools.values.published(work.unit, kept)
        except BaseException as error:
            self._tell_failed(execution, error, time.monotonic() - began)
            raise
        if kept is not record:
            reason = f"made meanwhile by {kept.by}@{kept.host}"
            execution.tell_made(made, record.seconds)
            return Result("reused", kept, made, reason, record.seconds)
        execution.tell_made(made, record.seconds)
        return Result("made", kept, made, work.reason, record.seconds, execution.held)

    def _encoded(self, work: Work, execution: Execution) -> Any:
        with watching(execution.tell_waiting):
            if work.asset.options.over:
                return execution.over()
            return execution.here() if work.target == HERE else execution.there()

    def _record(self, work: Work, execution: Execution, encoded: Any, seconds: float) -> Record:
        digest = encoded.digest()
        return Record(
            key=work.key,
            version=work.version,
            data_version=digest,
            value=f"values/{digest}{encoded.ext}",
            format=encoded.format,
            ext=encoded.ext,
            type=encoded.type,
            bytes=encoded.bytes,
            rows=encoded.rows,
            columns=tuple(encoded.columns),
            parts=work.parts,
            run_id=execution.run_id,
            at=datetime.now(UTC),
            by=whoami(),
            host=execution.costs.host or socket.gethostname(),
            target=work.target,
            seconds=round(seconds, 6),
            job=execution.job,
            checks=tuple(execution.found["checks"]),
            profile=execution.found["profile"],
            checked=self._passed(work, execution.found["checks"]),
        )

    def _add_members(self, work: Work, execution: Execution, encoded: Any) -> None:
        """Put the texts of the value into the dynamic set that the asset adds to; before the value counts as made."""
        adds = work.asset.options.adds
        if adds is None:
            return
        value = execution.held
        if value is MISSING:
            value = self.tools.values.formats.decode(encoded.parts[0], encoded.format, encoded.type, encoded.ext)
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise OptionError(
                f"{work.key.unit} adds to {adds.name!r} what is no list of texts.",
                expected="a list of texts, each the key of a partition",
                found=type(value).__name__,
                where=work.asset.where,
            )
        keys = [check_key(one, adds.name) for one in value]
        self.tools.planner.store.add_members(work.key.namespace, adds.name, keys)

    def _passed(self, work: Work, outcomes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """The digests of the checks that found nothing that blocks."""
        demands = self.tools.planner.demands.get(work.asset.name)
        failed = {one["name"] for one in blocked(outcomes)}
        return {} if demands is None else {name: text for name, text in demands.digests.items() if name not in failed}

    def _refuse(self, work: Work, execution: Execution, record: Record, parts: Sequence[Part] | None) -> None:
        """Raise CheckError if a blocking check failed; the value is kept where only people find it."""
        failed = blocked(record.checks)
        if not failed:
            return
        store = self.tools.planner.store
        place = store.reject(record, parts)
        execution.rejected = record.made(place)
        raise refusal(work.key.unit, record.checks, self._where(work, failed), place)

    def _where(self, work: Work, failed: Sequence[Mapping[str, Any]]) -> str:
        """The line of the check that failed; the asset's where it is a contract or a schema."""
        names = {one["name"] for one in failed}
        return next((check.where for check in work.asset.checks if check.name in names), work.asset.where)

    def check_again(self, work: Work, record: Record) -> Result:
        """Hold a value that is there to checks that it has not passed in their present form; no function is called."""
        began = time.monotonic()
        execution = Execution(self.tools, work, asset_run_uuid(self.tools.run_id, work.key), 1, None)
        store = self.tools.planner.store
        try:
            record = store.lookup(work.key, work.version) or record
            execution.examine_again(record)
            fresh = replace(
                record,
                checks=tuple(execution.found["checks"]),
                profile=execution.found["profile"] or record.profile,
                checked=self._passed(work, execution.found["checks"]),
            )
            self._refuse(work, execution, fresh, None)
        except BaseException as error:
            self._tell_failed(execution, error, time.monotonic() - began)
            raise
        store.rewrite(fresh)
        made = self.tools.values.published(work.unit, fresh)
        reason = f"{record.told}; passed its checks again"
        self.tell_reused(work, made, reason)
        return Result("reused", fresh, made, reason)

    def transient(self, work: Work) -> Any:
        """Make a transient asset and give its value, which goes to no store."""
        began = time.monotonic()
        execution = Execution(self.tools, work, asset_run_uuid(self.tools.run_id, work.key), 1, None)
        try:
            execution.refuse_columns()
            if work.target == HERE and not work.asset.options.over:
                with watching(execution.tell_waiting):
                    execution.here(keep=False)
                size = 0
            else:
                encoded = self._encoded(work, execution)
                size = encoded.bytes
                execution.held = self.tools.values.formats.decode(
                    encoded.parts[0],
                    encoded.format,
                    encoded.type,
                    encoded.ext,
                    self.tools.values.folder(work.key) if encoded.format in ("file", "folder") else None,
                    self.tools.planner.config.trust,
                )
            failed = blocked(execution.found["checks"])
            if failed:
                raise refusal(work.key.unit, failed, self._where(work, failed))  # noqa: TRY301  # told as any failure is
        except BaseException as error:
            self._tell_failed(execution, error, time.monotonic() - began)
            raise
        made = Made(
            key=work.key,
            data_version=work.version,
            version=work.version,
            type=type(execution.held).__qualname__,
            bytes=size,
            run_id=execution.run_id,
            at=datetime.now(UTC),
        )
        self.tools.planner.store.keep_parts(work.key, work.version, work.parts)
        execution.tell_made(made, time.monotonic() - began)
        return execution.held

    def _tell_failed(self, execution: Execution, error: BaseException, seconds: float) -> None:
        """End the account, unless the walk was interrupted, and with it this work: then the walk itself tells so."""
        if isinstance(error, Exception) or not self.tools.stopped.is_set():
            execution.tell_failed(error, seconds)

    def tell_reused(self, work: Work, made: Made, reason: str) -> None:
        """Nothing ran for this work: somebody left what it wants."""
        if not self.tools.tell.heard:
            return
        self.tools.tell(
            AssetReused(
                run_id=self.tools.run_id,
                asset_run_id=asset_run_uuid(self.tools.run_id, work.key),
                at=datetime.now(UTC),
                key=work.key,
                asset=work.asset,
                version=work.version,
                made=made,
                reason=reason,
                inputs=work.inputs_made,
                params=work.params,
                code=work.parts.code,
            )
        )

    def tell_waiting(self, work: Work, run_id: str, message: str) -> None:
        """A work waits for something that is not an input."""
        self.tools.tell(
            AssetWaiting(
                run_id=self.tools.run_id,
                asset_run_id=run_id,
                at=datetime.now(UTC),
                key=work.key,
                asset=work.asset,
                message=message,
            )
        )
