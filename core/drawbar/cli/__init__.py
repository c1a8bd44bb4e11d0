"""The command `drawbar`: a table of commands, each in a file of its own that is loaded only when it is called.

Words come here from a shell; answers go to stdout and everything else to stderr. A DrawbarError leaves as its text, and
as exit status 2 where what was asked for is wrong, 1 where something failed on the way, 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

WRONG, FAILED, INTERRUPTED, EVICTED = 2, 1, 130, 143
VERBOSE = "drawbar.verbose"

# Name → one line for `drawbar --help`, so that showing the list loads none of them.
COMMANDS = {
    "run": "Make assets, reusing what is there.",
    "backfill": "Make every partition that is missing or stale.",
    "plan": "Say what a run would make, what it would reuse, and why.",
    "explain": "Say what changed since an asset was last made.",
    "show": "Show what was made last: what it is, its place, its head.",
    "freeze": "Write the columns and types of what was made last into a contract.",
    "partitions": "Which partitions an asset has, and which of them are made.",
    "history": "Who made what, when, how long it took, and how it ended.",
    "graph": "Draw assets, targets and last states.",
    "doctor": "Examine this machine and project, or a target.",
    "jobs": "List the jobs of a target.",
    "logs": "Print what a job wrote.",
    "cancel": "Stop jobs and all they started.",
    "gpus": "Who holds the GPUs of a target, and who waits for them.",
    "gc": "Remove from a target what ended long ago and nothing refers to.",
    "lineage": "Lineage that waits to be sent.",
    "config": "The settings in force, and where each comes from.",
    "completion": "Print the script that completes commands and asset names.",
}


def _deliver_again(lost: sys.UnraisableHookArgs, /) -> None:
    """Ctrl-C or SIGTERM that came in a finaliser, which no exception can leave: it comes again a moment later.

    Imports run such finalisers by the hundred, so that without this one Ctrl-C in a hundred or so would be lost.
    """
    if lost.exc_type is not None and issubclass(lost.exc_type, KeyboardInterrupt):
        import signal
        import threading

        number = signal.SIGINT if lost.exc_type is KeyboardInterrupt else signal.SIGTERM
        again = threading.Timer(0.02, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(lost)


def _warn(  # noqa: PLR0917 - as `warnings.showwarning`
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    """A warning on stderr; of our own the text alone, for which line of ours it comes from helps nobody."""
    own = issubclass(category, UserWarning) and filename.startswith(__file__.rpartition(f"cli{os.sep}")[0])
    told = f"warning: {message}\n" if own else warnings.formatwarning(message, category, filename, lineno)
    if sys.stderr is not None:
        sys.stderr.write(told)


def main() -> None:
    """What the console script `drawbar` calls; does not return."""
    sys.unraisablehook = _deliver_again
    warnings.showwarning = _warn
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  # for good
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows '?', and nothing breaks
    from drawbar.cli.commands import cli

    cli(prog_name="drawbar")
