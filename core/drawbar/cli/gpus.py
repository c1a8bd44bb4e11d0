"""`drawbar gpus`: the GPUs of a target, what of them is free, who holds them, and who waits for them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from drawbar.cli import output
from drawbar.cli.jobs import complete_hosts, dispatcher
from drawbar.cli.project import common

_EVERY = 2.0


@click.command("gpus", epilog="Example: drawbar gpus gpu --watch")
@click.argument("target", shell_complete=complete_hosts)
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@common
def command(*, target: str, watch: bool, project: Path | None, as_json: bool) -> None:
    """Who holds the GPUs of a target, and who waits for them. Foreign processes count, too.

    With --json and --watch each look is an object on a line of its own.
    """
    with dispatcher(target, project) as found:
        looks = _looks(found.gpus) if watch else iter([found.gpus()])
        if as_json:
            for overview in looks:
                output.answer({"target": target, **overview})
        elif watch and sys.stdout.isatty():
            _show_live(target, looks)
        else:
            for overview in looks:
                for part in _shown(target, overview):
                    output.show(part)


def _looks(ask: Any) -> Iterator[Mapping[str, Any]]:
    while True:
        yield ask()
        time.sleep(_EVERY)


def _show_live(target: str, looks: Iterator[Mapping[str, Any]]) -> None:
    from rich.console import Group
    from rich.live import Live

    with Live(console=output.console(), auto_refresh=False) as live:
        for overview in looks:
            live.update(Group(*_shown(target, overview)), refresh=True)


def _shown(target: str, overview: Mapping[str, Any]) -> list[Any]:
    """A table of devices, and one of requests that wait, if any do."""
    devices, queue = overview["devices"], overview["queue"]
    if not devices:
        return [f"{target} has no GPU; one that nvidia-smi does not show is declared in `devices` of the target."]
    hosts = ["host"] if any(one.get("host") for one in devices) else []
    columns = [*hosts, "gpu", "name", "memory", "used", "busy", "free", "held by"]
    table = output.table(*columns, right=("gpu", "memory", "used", "busy", "free"))
    for one in devices:
        holders = [_holder(holder) for holder in one["holders"]] + [_foreign(process) for process in one["foreign"]]
        table.add_row(
            *[one.get("host", "")][: len(hosts)],
            str(one["index"]),
            output.one_line(str(one["name"])),
            amount(one["memory"]),
            amount(one["used"]),
            f"{one['busy']}%" if one.get("busy") is not None else "",
            amount(one["free"]),
            "; ".join(holders),
        )
    if not queue:
        return [table]
    waiting = output.table(*hosts, "next", "job", "name", "wants", "since", "waits for", right=("next",))
    for number, one in enumerate(queue, 1):
        waiting.add_row(
            *[one.get("host", "")][: len(hosts)],
            str(number),
            output.short(one["job"]),
            output.one_line(one["name"]),
            _wants(one),
            output.when(one["since"]),
            output.one_line(one.get("waiting") or ""),
        )
    return [table, "", waiting]


def _holder(one: Mapping[str, Any]) -> str:
    share = f" {amount(one['memory'])}" if one.get("memory") else ""
    return f"{output.one_line(one['name'])} ({output.short(one['job'])}){share} since {output.when(one['since'])}"


def _foreign(one: Mapping[str, Any]) -> str:
    used = f" {amount(one['used'])}" if one.get("used") else ""
    return f"{output.one_line(str(one['name']))} (pid {one['pid']}, no job of drawbar's){used}"


def _wants(one: Mapping[str, Any]) -> str:
    count = max(1, one["gpus"] or 0)
    share = f"{amount(one['memory'])} of " if one.get("memory") else ""
    return f"{share}{count} GPU{'s' if count > 1 else ''}"


def amount(size: int | None) -> str:
    """A size in the unit that GPUs are sold by.

    >>> amount(24 << 30), amount(512 << 20), amount(0)
    ('24 GiB', '0.5 GiB', '0 GiB')
    """
    return "" if size is None else f"{size / (1 << 30):.3g} GiB"
