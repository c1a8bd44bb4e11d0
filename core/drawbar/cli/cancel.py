"""`drawbar cancel`: stop a job on a target, and wait until nothing of it runs any more."""

from __future__ import annotations

from pathlib import Path

import click

from drawbar.cli import FAILED, output
from drawbar.cli.jobs import dispatcher, find, handle_of
from drawbar.cli.project import common, complete_targets


@click.command("cancel", epilog="Example: drawbar cancel gpu 4f1c")
@click.argument("target", shell_complete=complete_targets)
@click.argument("job")
@common
@click.pass_context
def command(ctx: click.Context, *, target: str, job: str, project: Path | None, as_json: bool) -> None:
    """Stop a job and all it started. JOB is the beginning of its id, or an asset's name."""
    with dispatcher(target, project) as found:
        info = find(found, job)
        handle = handle_of(found, info)
        before = found.poll(handle)
        after = before if before.ended else found.cancel(handle)
    if as_json:
        told = {"target": target, "job": info.job, "name": info.name, "before": before.state, "state": after.state}
        output.answer(told)
    elif before.ended:
        output.show(f"{info.name} had ended before ({info.state}).")
    elif after.ended:
        output.show(f"{info.name} is cancelled; nothing of it runs on {target} any more.")
    else:
        output.show(f"{info.name} has not ended yet: {after.waiting or after.state}.")
    if not after.ended:
        ctx.exit(FAILED)
