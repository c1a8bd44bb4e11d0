"""`drawbar cancel`: stop jobs on a target, and wait until nothing of them runs any more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from drawbar.cli import FAILED, output
from drawbar.cli.jobs import complete_hosts, complete_jobs, dispatcher, find
from drawbar.cli.project import common
from drawbar.dispatch.port import Dispatcher, Handle, JobInfo, Status

_AT_ONCE = 16


@click.command("cancel", epilog="Example: drawbar cancel gpu 4f1c 77a0")
@click.argument("target", shell_complete=complete_hosts)
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=complete_jobs)
@common
@click.pass_context
def command(ctx: click.Context, *, target: str, jobs: tuple[str, ...], project: Path | None, as_json: bool) -> None:
    """Stop jobs and all they started. JOB is the beginning of an id, or an asset's name.

    None is stopped if one of them is not found. With --json each job is an object on a line of its own.
    """
    with dispatcher(target, project) as found:
        meant = {info.job: (info, handle) for info, handle in (find(found, job) for job in jobs)}
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            stopped = [(info, threads.submit(_stop, found, handle)) for info, handle in meant.values()]
            left = [not _tell(target, info, *future.result(), as_json=as_json) for info, future in stopped]
    if any(left):
        ctx.exit(FAILED)


def _stop(found: Dispatcher, handle: Handle) -> tuple[Status, Status]:
    """Where the job was, and where it is now."""
    before = found.poll(handle)
    return before, before if before.ended else found.cancel(handle)


def _tell(target: str, info: JobInfo, before: Status, after: Status, *, as_json: bool) -> bool:
    """Say what became of it; whether nothing of it runs any more."""
    if as_json:
        told = {"target": target, "job": info.job, "name": info.name, "before": before.state, "state": after.state}
        output.answer(told)
    elif before.ended:
        output.show(f"{info.name} had ended before ({info.state}).")
    elif after.ended:
        output.show(f"{info.name} is cancelled; nothing of it runs on {target} any more.")
    else:
        output.show(f"{info.name} has not ended yet: {after.waiting or after.state}.")
    return after.ended
