"""`drawbar completion`: the script that a shell sources to complete commands, options, targets and asset names."""

from __future__ import annotations

from pathlib import Path

import click

from drawbar.cli import output
from drawbar.cli.project import common


@click.command("completion", epilog="Example: echo 'eval \"$(drawbar completion bash)\"' >> ~/.bashrc")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common
@click.pass_context
def command(ctx: click.Context, *, shell: str, project: Path | None, as_json: bool) -> None:  # noqa: ARG001  # common
    """Print the script that completes commands and asset names. Options and targets, too."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(ctx.find_root().command, {}, "drawbar", "_DRAWBAR_COMPLETE").source()
    if as_json:
        output.answer({"shell": shell, "script": script})
    else:
        click.echo(script)
