"""`drawbar gc`: remove from a target what ended long ago and what nothing refers to; how much that was."""

from __future__ import annotations

import re
from pathlib import Path

import click

from drawbar.cli import output
from drawbar.cli.jobs import complete_hosts, place
from drawbar.cli.project import common

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_KINDS = {
    "jobs": "jobs that ended",
    "blobs": "values and arguments over the budget",
    "code": "unpacked code",
    "envs": "Envs",
    "uploads": "uploads that broke off",
    "agents": "agents of other releases",
    "warm": "traces of warm interpreters",
    "places": "notes of pools",
}


@click.command("gc", epilog="Example: drawbar gc gpu --older 30d --budget 100GiB --dry-run")
@click.argument("target", shell_complete=complete_hosts)
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@click.option(
    "--older", metavar="14d", default="14d", help="Jobs that ended, and Envs unused, for longer: s, m, h, d, w."
)
@click.option("--budget", metavar="64GiB", help="Keep unneeded values up to this size; default: the target's.")
@common
def command(*, target: str, dry_run: bool, older: str, budget: str | None, project: Path | None, as_json: bool) -> None:
    """Remove from a target what ended long ago and nothing refers to. Nothing that a job or a client counts on.

    Values, arguments and code that no remaining job names are a cache: what was not used for longest goes, and only
    where all of them together are over the budget.
    """
    age, size = seconds(older), None if budget is None else _bytes(budget)
    with place(target, project) as found:
        room = found.config.blobs_budget if size is None else size
        told = found.dispatcher.gc(age, room, dry_run=dry_run)
    if as_json:
        output.answer({"target": target, **told})
        return
    removed = {kind: counted for kind, counted in told["removed"].items() if counted["count"]}
    table = output.table("would go" if dry_run else "gone", "count", "size", right=("count", "size"))
    for kind, counted in removed.items():
        table.add_row(_KINDS.get(kind, kind), str(counted["count"]), output.size(counted["bytes"]))
    output.show(table if removed else f"There is nothing to remove on {target}.")
    kept = told["kept"]["blobs"]
    if kept["count"]:
        blobs = "value, argument or piece" if kept["count"] == 1 else "values, arguments and pieces"
        output.tell(f"{kept['count']} {blobs} of code kept ({output.size(kept['bytes'])}).")


def seconds(text: str) -> float:
    """A duration as people write it; click.BadParameter for what is none.

    >>> seconds("14d"), seconds("1.5h"), seconds("90")
    (1209600.0, 5400.0, 90.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", text.strip().lower())
    if found is None:
        raise click.BadParameter(f"{text!r} is no duration such as 14d, 12h or 90m.", param_hint="--older")
    return float(found[1]) * _UNITS[found[2] or "s"]


def _bytes(text: str) -> int:
    from drawbar.agent.gpus import parse_memory

    if text.strip() == "0":
        return 0
    try:
        return parse_memory(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no size: {error}", param_hint="--budget") from None
