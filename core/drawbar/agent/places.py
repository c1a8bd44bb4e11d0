"""Where a job of a pool goes: clients that submit the same job at once agree on one host, by a note on one of them.

    <root>/places/<job>     host, turn, past; replaced under a lock

A pool's client asks here what became of the job, and proposes a host. The first proposal of a turn stands, and whoever
comes later is told of it. A host is only a name here: nobody is called.
"""

from __future__ import annotations

import fcntl
import os
from typing import Any

from . import files, jobs, outcomes

NOWHERE: dict[str, Any] = {"host": "", "turn": 0, "past": 0}


def answer(root: str, known: jobs.Jobs, meta: dict[str, Any]) -> dict[str, Any]:
    """PLACE: how `job` is on this host, and where it goes; with a `host`, that is proposed for the turn after `turn`.

    `place` has the host that stands (empty: none), its `turn`, and `past`: the last attempt that its host had then, so
    that a later one which has ended tells that the place is used up. `attempt` (0: none), `state` and `ended` are those
    of the job here. Raises ValueError for what is no job id, KeyError, OSError.
    """
    job = os.path.basename(known.folder(meta["job"]))
    host = str(meta.get("host") or "")
    place = propose(root, job, host, int(meta["turn"]), int(meta["past"])) if host else _read(root, job)
    latest = known.latest(job)
    if latest is None:
        return {"place": place, "attempt": 0, "state": "", "ended": None}
    view = jobs.look(latest)
    return {"place": place, "attempt": latest.number, "state": view.state, "ended": outcomes.ended(view.outcome)}


def propose(root: str, job: str, host: str, turn: int, past: int) -> dict[str, Any]:
    """The place that stands now: `host`, if nobody was quicker since the caller saw `turn`."""
    folder = files.make_folder(os.path.join(root, "places"))
    lock = os.open(os.path.join(folder, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stands = _read(root, job)
        if stands["turn"] == turn:
            stands = {"host": host, "turn": turn + 1, "past": past}
            files.write_json(os.path.join(folder, job), stands)
        return stands
    finally:
        os.close(lock)


def _read(root: str, job: str) -> dict[str, Any]:
    return files.read_json(os.path.join(root, "places", job)) or dict(NOWHERE)
