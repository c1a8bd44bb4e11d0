"""How soon a host of a pool could begin a job, in seconds: an estimate that orders hosts, and promises nothing.

A host's dispatcher and a Job come from `pool`, which takes the host with the least. What the host lacks of the job's
stored inputs has to be sent; jobs that run there share it; GPUs that are held have to be waited for.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from drawbar.agent import frames
from drawbar.agent.gpus import parse_memory
from drawbar.dispatch.agents import AgentDispatcher
from drawbar.dispatch.port import Job, Many, Stored

RATE = 100e6
"""How fast inputs are taken to travel, in bytes a second."""
SHARED = 10.0
"""What each job under way on a host counts for, in seconds."""
QUEUED = 60.0
"""What a wait for GPUs counts for, in seconds, and each request that waits before."""
_STALE = 2.0
_LOOKED_AT = 200


class Load:
    """What is known of the hosts' load; asked for again every two seconds, and counted on in between."""

    def __init__(self) -> None:
        self._active: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def began(self, host: str) -> None:
        """One more job is under way there."""
        with self._lock:
            asked, count = self._active.get(host, (0.0, 0))
            self._active[host] = asked, count + 1

    def cost(self, host: AgentDispatcher, job: Job) -> float:
        """Seconds until `job` could begin there; infinite where its GPUs are not."""
        cost = _missing(host, job) / RATE + SHARED * self._under_way(host)
        return cost + _queue(host.gpus(), job) if job.gpus or job.gpu_memory else cost

    def _under_way(self, host: AgentDispatcher) -> int:
        now = time.monotonic()
        with self._lock:
            asked, count = self._active.get(host.name, (float("-inf"), 0))
        if now - asked > _STALE:
            count = sum(one.state in ("waiting", "running") for one in host.jobs(_LOOKED_AT))
            with self._lock:
                self._active[host.name] = now, count
        return count


def _missing(host: AgentDispatcher, job: Job) -> int:
    """How many bytes of the job's stored inputs the host lacks."""
    sizes = {one.digest: one.bytes for one in _inputs(job)}
    if not sizes:
        return 0
    missing = host.link.call(lambda agent: agent.ask(frames.HAVE, {"blobs": list(sizes)})).meta["missing"]
    return sum(sizes[digest] for digest in missing)


def _inputs(job: Job) -> Iterator[Stored]:
    for one in job.arguments.values():
        if isinstance(one, Stored):
            yield one
        elif isinstance(one, Many):
            yield from one.values.values()


def _queue(overview: Mapping[str, Any], job: Job) -> float:
    """What the wait for the job's GPUs counts for.

    >>> one = {"memory": 24, "holders": [], "foreign": []}
    >>> job = Job(id="", name="", function=print, run_id="", gpus=1)
    >>> _queue({"devices": [one], "queue": []}, job), _queue({"devices": [], "queue": []}, job)
    (0.0, inf)
    """
    share = parse_memory(job.gpu_memory) if job.gpu_memory else 0
    wanted = max(1, job.gpus)
    fitting = [one for one in overview["devices"] if one["memory"] >= share]
    if len(fitting) < wanted:
        return math.inf
    if sum(_is_free(one, share) for one in fitting) >= wanted and not overview["queue"]:
        return 0.0
    return QUEUED * (1 + len(overview["queue"]))


def _is_free(device: Mapping[str, Any], share: int) -> bool:
    """Whether nobody holds any of the device, or with a `share`, whether that much of its memory is free."""
    return bool(device["free"] >= share if share else not device["holders"] and not device["foreign"])
