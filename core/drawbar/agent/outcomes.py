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
    unpicklable_value, check, exit, signal, oom_killer, cuda_oom, timeout, waiting, silence, cancel, reboot, lost, env,
    gpus or setup. Times are seconds since the epoch, costs seconds, memory and sizes bytes.

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


def costs(**known: Any) -> dict[str, Any]:
    """What a job cost, with every key it has; `known` fills what is known.

    Seconds: `queue` waiting to start, `transfer` sending what it needs, `build` of its Env, `setup` up to the call of
    the function, `compute` in it, `gpu_seconds` for which it held GPUs, times their number. Bytes: `peak_memory`, and
    `peak_device_memory` on its GPUs, whose model is `gpu`.
    """
    seconds = dict.fromkeys(("queue", "transfer", "build", "setup", "compute", "gpu_seconds"), 0.0)
    return {**seconds, "peak_memory": 0, "peak_device_memory": 0, "gpu": "", **known}


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
