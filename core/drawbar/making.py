"""How one asset is made: its lease, its execution, its value into the store, and what is told of it.

A `Work` comes here from the walk in `run` and a `Result` goes back; facts go to listeners as they happen. Nothing is
shared between two works but the store, the dispatchers and the cells of transient values.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from drawbar.config import whoami
from drawbar.events import AssetReused, AssetWaiting, Made
from drawbar.execution import Execution
from drawbar.identity import asset_run_uuid
from drawbar.leases import Holder, Lease
from drawbar.plan import HERE
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
            record, _ = self.tools.planner.record(work.asset.name, work.version)
            found[:] = [record] if record is not None else []
            return record is not None

        def waiting(holder: Holder | None) -> None:
            self.tell_waiting(work, run_id, f"being made by {holder or 'somebody'}")

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
        reason = f"made meanwhile by {record.by}@{record.host}"
        made = record.made(self.tools.planner.store.uri(record), self.tools.values.publish(work.asset, record))
        self.tell_reused(work, made, reason)
        return Result("reused", record, made, reason)

    def _make_leased(self, work: Work, lease: Lease, run_id: str, attempt: int) -> Result:
        began = time.monotonic()
        execution = Execution(self.tools, work, run_id, attempt, lease.before)
        try:
            if self.tools.stopped.is_set():
                raise KeyboardInterrupt  # noqa: TRY301  # it passes the `except` below on purpose
            encoded = execution.here() if work.target == HERE else execution.there()
            record = self._record(work, execution, encoded, time.monotonic() - began)
            kept = self.tools.planner.store.put(record, encoded.parts, replace=work.again)
            made = kept.made(self.tools.planner.store.uri(kept), self.tools.values.publish(work.asset, kept))
        except BaseException as error:
            self._tell_failed(execution, error, time.monotonic() - began)
            raise
        if kept is not record:
            reason = f"made meanwhile by {kept.by}@{kept.host}"
            execution.tell_made(made, record.seconds)
            return Result("reused", kept, made, reason, record.seconds)
        execution.tell_made(made, record.seconds)
        return Result("made", kept, made, work.reason, record.seconds, execution.held)

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
        )

    def transient(self, work: Work) -> Any:
        """Make a transient asset and give its value, which goes to no store."""
        began = time.monotonic()
        execution = Execution(self.tools, work, asset_run_uuid(self.tools.run_id, work.key), 1, None)
        try:
            if work.target == HERE:
                execution.here(keep=False)
                size = 0
            else:
                encoded = execution.there()
                size = encoded.bytes
                execution.held = self.tools.values.formats.decode(
                    encoded.parts[0],
                    encoded.format,
                    encoded.type,
                    encoded.ext,
                    self.tools.values.folder(work.key),
                    self.tools.planner.config.trust,
                )
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
