"""How a job ended, as the JSON object that its folder keeps and that WAIT gives to clients.

Made by the supervisor (or here, for a job that lost its supervisor); read by `drawbar.dispatch.outcome`.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Optional


def outcome(state: str, cause: str, **known: Any) -> dict[str, Any]:
    """The outcome object with every key it has; `known` fills what is known.

    `state` is succeeded, failed, cancelled, timed_out, killed, out_of_memory or lost; `cause` is value, exception,
    unpicklable_value, check, exit, signal, oom_killer, cuda_oom, timeout, cancel, reboot, lost or setup. Times are
    seconds since the epoch, costs seconds, memory and sizes bytes.

    >>> outcome("killed", "signal", signal=9)["signal"]
    9
    """
    made: dict[str, Any] = {
        "state": state,
        "cause": cause,
        "value": None,
        "error": None,
        "exit": None,
        "signal": None,
        "costs": costs(),
        "started": None,
        "ended": None,
        "host": os.uname().nodename,
        "python": version(),
        "pid": None,
        "dropped": {"stdout": 0, "stderr": 0},
    }
    made.update(known)
    return made


def version() -> str:
    """The version of this Python, as "3.11.7"."""
    return ".".join(map(str, sys.version_info[:3]))


def costs(queue: float = 0.0, setup: float = 0.0, compute: float = 0.0, peak_memory: int = 0) -> dict[str, Any]:
    """What a job cost: seconds from submit to start, to the function's call, and in it; bytes of memory at the peak."""
    return {"queue": queue, "setup": setup, "compute": compute, "peak_memory": peak_memory}


def error(kind: str, message: str, module: str = "", traceback: str = "", **more: Any) -> dict[str, Any]:
    """The error object: type, module, message and traceback as the host saw them; notes and the pickled exception."""
    made: dict[str, Any] = {
        "type": kind,
        "module": module,
        "message": message,
        "traceback": traceback,
        "notes": [],
        "blob": None,
    }
    made.update(more)
    return made


def ended(outcome: Optional[dict[str, Any]]) -> Optional[str]:
    """How it ended in one word, None while it has not."""
    return None if outcome is None else str(outcome["state"])
