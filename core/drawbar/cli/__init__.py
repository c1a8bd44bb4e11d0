"""The command `drawbar`: a table of commands, each in a file of its own that is loaded only when it is called.

Words come here from a shell; answers go to stdout and everything else to stderr. A DrawbarError leaves as its text, and
as exit status 2 where what was asked for is wrong, 1 where something failed on the way, 130 after Ctrl-C.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from drawbar.errors import (
    ConfigError,
    DefinitionError,
    DrawbarError,
    FingerprintError,
    LineageError,
    ParameterError,
    UnknownTargetError,
)

WRONG, FAILED, INTERRUPTED, EVICTED = 2, 1, 130, 143
VERBOSE = "drawbar.verbose"
_ASKED_WRONGLY = (ConfigError, DefinitionError, FingerprintError, LineageError, ParameterError, UnknownTargetError)

# Name → one line for `drawbar --help`, so that showing the list loads none of them.
COMMANDS = {
    "run": "Make assets, reusing what is there.",
    "plan": "Say what a run would make, what it would reuse, and why.",
    "explain": "Say what changed since an asset was last made.",
    "show": "Show what was made last: what it is, its place, its head.",
    "history": "Who made what, when, how long it took, and how it ended.",
    "graph": "Draw assets, targets and last states.",
    "doctor": "Examine this machine and project, or a target.",
    "jobs": "List the jobs of a target.",
    "logs": "Print what a job wrote.",
    "cancel": "Stop a job and all it started.",
    "lineage": "Lineage that waits to be sent.",
    "config": "The settings in force, and where each comes from.",
    "completion": "Print the script that completes commands and asset names.",
}


class Commands(click.Group):
    """A group that knows its commands by name, and loads the file of the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names, in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"drawbar.cli.{cmd_name}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the closest name where there is none such."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from drawbar.errors import did_you_mean

            hint = did_you_mean(args[0], COMMANDS, otherwise="`drawbar --help` lists them")
            ctx.fail(f"There is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's
        """The list of `--help`, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; errors that are ours become their text and an exit status."""
        try:
            return super().invoke(ctx)
        except DrawbarError as error:
            if ctx.meta.get(VERBOSE):
                import traceback

                traceback.print_exc()
            from drawbar.cli.output import tell_error

            tell_error(error)
            ctx.exit(WRONG if isinstance(error, _ASKED_WRONGLY) else FAILED)
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            ctx.exit(INTERRUPTED)


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: drawbar run pipeline.py neighbours --param base_url=https://docs.python.org",
)
@click.version_option(package_name="drawbar", message="drawbar %(version)s")
def cli() -> None:
    """Data assets written once as plain functions, made wherever the hardware is, remembered everywhere."""


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


def main() -> None:
    """What the console script `drawbar` calls; does not return."""
    sys.unraisablehook = _deliver_again
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  # for good
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows '?', and nothing breaks
    cli(prog_name="drawbar")
