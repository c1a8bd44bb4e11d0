"""The table of commands, and the group that loads the file of the one that is called, and turns errors into text."""

from __future__ import annotations

import importlib
from typing import Any

import click

from drawbar.cli import COMMANDS, FAILED, INTERRUPTED, VERBOSE, WRONG
from drawbar.errors import (
    ConfigError,
    DefinitionError,
    DrawbarError,
    FingerprintError,
    LineageError,
    ParameterError,
    UnknownTargetError,
)

_ASKED_WRONGLY = (ConfigError, DefinitionError, FingerprintError, LineageError, ParameterError, UnknownTargetError)


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
