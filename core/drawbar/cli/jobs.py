"""`drawbar jobs`, and what `logs` and `cancel` need as well: a target by its name, a job by the beginning of its id."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from drawbar.cli import output
from drawbar.cli.project import common, complete_targets
from drawbar.config import Config
from drawbar.dispatch.port import Dispatcher, Handle, JobInfo
from drawbar.errors import TargetError, did_you_mean

SEARCHED = 1000


@click.command("jobs", epilog="Example: drawbar jobs gpu")
@click.argument("target", shell_complete=complete_targets)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many, newest first.")
@common
def command(*, target: str, limit: int, project: Path | None, as_json: bool) -> None:
    """List the jobs of a target. The latest ones, whoever submitted them."""
    with dispatcher(target, project) as found:
        jobs = found.jobs(limit)
    if as_json:
        output.answer({"target": target, "jobs": [asdict(one) for one in jobs]})
        return
    table = output.table("job", "name", "attempt", "state", "submitted", "seconds", right=("attempt", "seconds"))
    for one in jobs:
        told = one.cause if one.state not in ("succeeded", one.cause) else ""
        state = f"{one.state} ({told})" if told else one.state
        took = (one.ended or time.time()) - one.started if one.started else 0.0
        table.add_row(
            output.short(one.job),
            output.one_line(one.name),
            str(one.attempt),
            output.styled(state),
            output.when(one.submitted),
            output.seconds(took),
        )
    output.show(table if jobs else f"No job on {target} yet.")


@contextmanager
def dispatcher(name: str, project: Path | None) -> Iterator[Dispatcher]:
    """What runs the jobs of a target; the connection is let go of afterwards."""
    from drawbar.dispatch.target import target

    found = target(name, Config.load(project))
    try:
        yield found.dispatcher
    finally:
        found.close()


def find(dispatcher: Dispatcher, text: str) -> JobInfo:
    """The job whose id begins so, or the latest of that name. TargetError if there is none, or more than one."""
    jobs = dispatcher.jobs(SEARCHED)
    named = [one for one in jobs if text in (one.name, one.name.partition("/")[2])]
    begun = [one for one in jobs if one.job.startswith(text)]
    if len({one.job for one in begun}) > 1:
        raise TargetError(
            f"{text!r} is the beginning of several jobs on {dispatcher.name}.",
            expected="more of the id",
            found=", ".join(f"{one.job[:16]} ({one.name})" for one in begun[:8]),
        )
    found = begun or named
    if not found:
        raise TargetError(
            f"There is no job {text!r} on {dispatcher.name}.",
            expected="the beginning of a job's id, or an asset's name",
            found=f"{len(jobs)} other jobs there" if jobs else "no job there at all",
            todo=did_you_mean(
                text, {one.name for one in jobs}, otherwise=f"`drawbar jobs {dispatcher.name}` lists the latest"
            ),
        )
    return found[0]


def handle_of(dispatcher: Dispatcher, info: JobInfo) -> Handle:
    """The handle of a job that somebody else may have submitted."""
    return Handle(dispatcher.name, info.job, info.attempt, info.run_id, "attached", name=info.name)
