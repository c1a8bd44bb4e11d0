"""`drawbar jobs`, and what all commands about hosts need: a target by its name, a job by the beginning of its id."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from drawbar.cli import output
from drawbar.cli.project import common, complete_targets
from drawbar.config import Config
from drawbar.dispatch.port import Dispatcher, Handle, JobInfo
from drawbar.dispatch.target import Target
from drawbar.errors import DrawbarError, TargetError, did_you_mean

SEARCHED = 1000
UNDER_WAY = ("waiting", "running")
ENDINGS = ("succeeded", "failed", "cancelled", "timed_out", "killed", "out_of_memory", "lost")
_OFFERED = 50
_TOLD = 8


def complete_hosts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of targets, and aliases of ~/.ssh/config, that begin so."""
    from drawbar.dispatch import ssh_config

    known = complete_targets(ctx, param, incomplete)
    try:
        aliases = [name for name in ssh_config.aliases() if name.startswith(incomplete)]
    except (DrawbarError, OSError):
        aliases = []
    return list(dict.fromkeys([*known, *aliases]))


def complete_jobs(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[Any]:
    """Jobs of a target on this machine whose ids or names begin so; a host is not asked each time Tab is pressed."""
    from click.shell_completion import CompletionItem

    from drawbar.dispatch.target import settings_of

    name, project = ctx.params.get("target") or "", ctx.params.get("project")
    try:
        config = settings_of(name, Config.load(project).targets)
        if config.host is not None or config.hosts:
            return []
        with dispatcher(name, project) as found:
            jobs = found.jobs(_OFFERED)
    except (DrawbarError, OSError):
        return []
    given = {output.short(one.job): f"{one.name} {one.state}" for one in jobs}
    given |= {one.name: one.state for one in reversed(jobs)}
    return [CompletionItem(one, help=told) for one, told in given.items() if one.startswith(incomplete)]


@click.command("jobs", epilog="Example: drawbar jobs gpu --state running")
@click.argument("target", shell_complete=complete_hosts)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many, newest first.")
@click.option(
    "--state",
    type=click.Choice([*UNDER_WAY, "ended", *ENDINGS]),
    multiple=True,
    help="Only those; may be repeated.",
)
@common
def command(*, target: str, limit: int, state: tuple[str, ...], project: Path | None, as_json: bool) -> None:
    """List the jobs of a target. The latest ones, whoever submitted them."""
    wanted = {*state, *(ENDINGS if "ended" in state else ())}
    with dispatcher(target, project) as found:
        jobs = listed(found, SEARCHED if wanted else limit)
    jobs = [(host, one) for host, one in jobs if not wanted or one.state in wanted][:limit]
    pooled = any(host for host, _ in jobs)
    if as_json:
        told = [{**asdict(one), **({"host": host} if pooled else {})} for host, one in jobs]
        output.answer({"target": target, "jobs": told})
        return
    if not jobs:
        output.show(f"No job on {target} is {' or '.join(state)}." if state else f"No job on {target} yet.")
        return
    leased = any(one.gpus for _, one in jobs)
    waits = any(one.waiting for _, one in jobs)
    columns = ["job", "name", "attempt", "state", *["host"] * pooled, *["gpus"] * leased, "submitted", "seconds"]
    table = output.table(*columns, *["waiting"] * waits, right=("attempt", "seconds"))
    for host, one in jobs:
        told_cause = one.cause if one.state not in ("succeeded", one.cause) else ""
        cells = [
            output.short(one.job),
            output.one_line(one.name),
            str(one.attempt),
            output.styled(f"{one.state} ({told_cause})" if told_cause else one.state),
            *[host] * pooled,
            *[", ".join(device[:_TOLD] for device in one.gpus)] * leased,
            output.when(one.submitted),
            output.seconds(_seconds(one)),
            *[output.one_line(one.waiting)] * waits,
        ]
        table.add_row(*cells)
    output.show(table)


def _seconds(one: JobInfo) -> float:
    """For how long it ran, or runs, or waits."""
    begun = one.started or (one.submitted if one.state == "waiting" else None)
    return max(0.0, (one.ended or time.time()) - begun) if begun else 0.0


@contextmanager
def place(name: str, project: Path | None) -> Iterator[Target]:
    """A target by its name; its connection is let go of afterwards."""
    from drawbar.dispatch.target import target

    found = target(name, Config.load(project))
    try:
        yield found
    finally:
        found.close()


@contextmanager
def dispatcher(name: str, project: Path | None) -> Iterator[Dispatcher]:
    """What runs the jobs of a target; the connection is let go of afterwards."""
    with place(name, project) as found:
        yield found.dispatcher


def listed(dispatcher: Dispatcher, limit: int) -> list[tuple[str, JobInfo]]:
    """The latest jobs, each with its host where the target is a pool of them."""
    from drawbar.dispatch.pool import Pool

    if isinstance(dispatcher, Pool):
        return dispatcher.listed(limit)
    return [("", one) for one in dispatcher.jobs(limit)]


def find(dispatcher: Dispatcher, text: str) -> tuple[JobInfo, Handle]:
    """The latest job of that name, else the one whose id, or whose name, begins so; and its handle.

    TargetError if there is none, or more than one.
    """
    jobs = listed(dispatcher, SEARCHED)
    named = [one for one in jobs if text in _names(one[1])]
    begun = [one for one in jobs if one[1].job.startswith(text)]
    alike = [one for one in jobs if any(name.startswith(text) for name in _names(one[1]))]
    found = named or begun or alike
    if not named and len({info.job if begun else info.name for _, info in found}) > 1:
        told = {output.short(info.job) if begun else info.name: info for _, info in found}
        raise TargetError(
            f"{text!r} is the beginning of several jobs on {dispatcher.name}.",
            expected="more of the id" if begun else "more of the name",
            found=", ".join(f"{key} ({one.name if begun else one.state})" for key, one in list(told.items())[:_TOLD]),
        )
    if not found:
        raise TargetError(
            f"There is no job {text!r} on {dispatcher.name}.",
            expected="the beginning of a job's id, or an asset's name",
            found=f"{len(jobs)} other jobs there" if jobs else "no job there at all",
            todo=did_you_mean(
                text, {info.name for _, info in jobs}, otherwise=f"`drawbar jobs {dispatcher.name}` lists the latest"
            ),
        )
    host, info = found[0]
    return info, Handle(dispatcher.name, info.job, info.attempt, info.run_id, "attached", name=info.name, host=host)


def _names(info: JobInfo) -> tuple[str, str]:
    """Its name with and without the namespace."""
    return info.name, info.name.partition("/")[2] or info.name
