"""How a walk stops before its end: jobs are cancelled or left, and what is unfinished is told so.

A walk that was interrupted comes in; when this is over every unit has a result, and nothing of the walk is at work.
"""

from __future__ import annotations

import queue
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from drawbar.crew import Crew
from drawbar.errors import CancelledError
from drawbar.events import AssetCancelled
from drawbar.planner import HERE
from drawbar.results import AssetResult
from drawbar.work import Result

if TYPE_CHECKING:
    from drawbar.walk import Walk

AT_ONCE = 64
# The time a function in this process has to notice that it was interrupted, in seconds.
NOTICE = 5.0


def stop(walk: Walk, *, leave: bool) -> None:
    """Stop: jobs are cancelled or left, functions here are interrupted, what is unfinished is told so."""
    walk.tools.leave = leave
    walk.tools.stopped.set()
    confirmed: set[str] = set()
    stopping = Crew(AT_ONCE, "drawbar-stopping")
    for dispatcher, handle in () if leave else list(walk.tools.running.values()):
        stopping.do(lambda d=dispatcher, h=handle: d.cancel(h))  # type: ignore[misc]
    walk.here.interrupt()
    deadline = time.monotonic() + NOTICE
    over: set[str] = set()
    # What was once left stays so: its thread may bring its value after all, and then tells its end itself.
    left = _left(walk, leave=leave)
    # A job that is being submitted now is still waited for: it may be left only once it is known to be there.
    while set(walk.doing) - over - left and time.monotonic() < deadline:
        left |= _left(walk, leave=leave)
        try:
            name, ending = walk.endings.get(timeout=0.1)
        except queue.Empty:
            continue
        except KeyboardInterrupt:
            break
        over.add(name)
        if isinstance(ending, CancelledError):
            confirmed.add(name)
        if isinstance(ending, Result) and name in walk.doing:
            walk.ended(name, ending)
    for name in walk.planner.names:
        if name not in walk.results:
            _cancelled(walk, name, left=name in left, confirmed=name in confirmed)


def _left(walk: Walk, *, leave: bool) -> set[str]:
    """The assets whose jobs are under way on their targets, and are to stay so."""
    return {name for name in list(walk.doing) if leave and str(walk.units[name].key) in walk.tools.running}


def _cancelled(walk: Walk, name: str, *, left: bool, confirmed: bool) -> None:
    work, began = walk.doing.get(name, (None, time.monotonic()))
    reason = "interrupted"
    if left:
        reason = "left running on its target"
    elif confirmed:
        reason = "cancelled on its target"
    elif work is not None and work.target != HERE:
        reason = "interrupted; its target has not confirmed that it stopped"
    seconds = time.monotonic() - began
    key = walk.units[name].key
    walk.results[name] = AssetResult(
        key=key,
        state="cancelled",
        reason=reason,
        version=work.version if work else "",
        target=walk.target(name),
        seconds=seconds,
    )
    lease = walk.tools.leases.get(str(key))
    if left and lease is not None:
        lease.release()  # whoever comes next attaches to the job at once, on any machine
    accounts = walk.tools.accounts
    run_id = accounts.get(str(key)) if left else accounts.pop(str(key), None)
    if work is not None and run_id is not None:
        walk.tools.tell(
            AssetCancelled(
                run_id=walk.tools.run_id,
                asset_run_id=run_id,
                at=datetime.now(UTC),
                key=work.key,
                asset=work.asset,
                seconds=seconds,
                left=left,
                inputs=work.inputs_made,
            )
        )
