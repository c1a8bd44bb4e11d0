"""`drawbar history`: the audit trail, out of the journals and records that every run leaves in the store."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from drawbar.cli import output
from drawbar.cli.project import Project, words
from drawbar.keys import AssetKey
from drawbar.records import Ending, Journal
from drawbar.store import Store

SILENT = "ended without a word"
# A process that began so much later than a run, in seconds, only has the number of the one that made the run.
_SLACK = 5.0
# For one asset so many runs are looked through for every line that is shown.
_LOOKED_THROUGH = 20


@click.command("history", epilog="Example: drawbar history embeddings --limit 5")
@words
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many lines, newest first.")
def command(
    *, words: tuple[str, ...], project: Path | None, store: str | None, namespace: str | None, as_json: bool, limit: int
) -> None:
    """Who made what, when, how long it took, and how it ended.

    All runs, or all that happened to one asset. A run without an end whose process is gone is shown as "ended without
    a word".
    """
    meant = Project.of(words, project=project, store=store, namespace=namespace)
    place = Store(meant.config.store)
    if meant.wanted:
        key = meant.key()
        lines = of_asset(place, key, limit)
        if as_json:
            output.answer({"key": str(key), "history": lines})
            return
        _show_asset(lines)
        return
    journals = place.journals(meant.config.namespace, limit)
    if as_json:
        output.answer({"namespace": meant.config.namespace, "runs": [run_facts(one) for one in journals]})
        return
    table = output.table("when", "who", "what", "seconds", "ended", "assets", "run", right=("seconds",), wide=("what",))
    for one in journals:
        facts = run_facts(one)
        counts = ", ".join(f"{count} {state}" for state, count in facts["counts"].items())
        what = ", ".join(one.wanted) + "".join(f" {name}={value}" for name, value in one.params.items())
        table.add_row(
            output.when(one.started),
            f"{one.by}@{one.host}",
            output.one_line(what),
            output.seconds(facts["seconds"]),
            output.styled(facts["state"]),
            counts,
            one.run_id,
        )
    output.show(table if journals else f"No run of {meant.config.namespace} in {place.url} yet.")


def run_facts(one: Journal) -> dict[str, Any]:
    """A run as programs read it; `state` is that of its journal, or that it ended without a word."""
    counts: dict[str, int] = {}
    for ending in one.assets:
        counts[ending.state] = counts.get(ending.state, 0) + 1
    return {
        "run": one.run_id,
        "state": state_of(one),
        "started": one.started.isoformat(),
        "ended": one.ended.isoformat() if one.ended else None,
        "seconds": round((one.ended - one.started).total_seconds(), 3) if one.ended else 0.0,
        "by": one.by,
        "host": one.host,
        "wanted": list(one.wanted),
        "params": dict(one.params),
        "counts": counts,
        "assets": [asdict(ending) for ending in one.assets],
    }


def state_of(one: Journal) -> str:
    """How a run ended. Of one without an end on another machine nobody here can say more than that."""
    if one.ended is not None:
        return one.state
    if one.host != socket.gethostname():
        return f"running, or {SILENT}"
    return "running" if _lives(one.pid, one.started) else SILENT


def of_asset(place: Store, key: AssetKey, limit: int) -> list[dict[str, Any]]:
    """What happened to one asset, newest first. A record stands in for a run that was killed before it could tell.

    Of an asset with partitions what happened to any of them, as far as runs have told it.
    """
    lines: list[dict[str, Any]] = []
    told: set[str] = set()
    for journal in place.journals(key.namespace, limit * _LOOKED_THROUGH):
        for one in journal.assets:
            if one.key == str(key) or (key.partition is None and one.key.startswith(f"{key}@")):
                told |= {one.run_id} if one.state == "made" else set()
                lines.append(_line(journal, one))
    lines += [
        {
            "at": record.at.isoformat(),
            "partition": key.partition,
            "by": record.by,
            "host": record.host,
            "state": "made",
            "reason": "",
            "target": record.target,
            "seconds": record.seconds,
            "bytes": record.bytes,
            "version": record.version,
            "data_version": record.data_version,
            "run": record.run_id,
        }
        for record in place.records(key)
        if record.run_id not in told
    ]
    return sorted(lines, key=lambda line: (str(line["at"]), line["partition"] or ""), reverse=True)[:limit]


def _line(journal: Journal, one: Ending) -> dict[str, Any]:
    return {
        "at": (journal.ended or journal.started).isoformat(),
        "partition": AssetKey.parse(one.key).partition,
        "by": journal.by,
        "host": journal.host,
        "state": one.state,
        "reason": one.error or one.reason,
        "target": one.target,
        "seconds": one.seconds,
        "bytes": one.bytes,
        "version": one.version,
        "data_version": one.data_version,
        "run": one.run_id or journal.run_id,
    }


def _show_asset(lines: list[dict[str, Any]]) -> None:
    names = ["when", "who", "state", "target", "seconds", "size", "version", "data version", "why"]
    parts = any(line["partition"] for line in lines)
    if parts:
        names.insert(1, "partition")
    table = output.table(*names, right=("seconds", "size"), wide=("why",))
    for line in lines:
        table.add_row(
            output.when(datetime.fromisoformat(line["at"])),
            *([line["partition"] or ""] if parts else []),
            f"{line['by']}@{line['host']}",
            output.styled(line["state"]),
            line["target"],
            output.seconds(line["seconds"]),
            output.size(line["bytes"]),
            output.short(line["version"]),
            output.short(line["data_version"]),
            output.one_line(line["reason"]),
        )
    output.show(table if lines else "Nothing happened to it yet.")


def _lives(pid: int, started: datetime) -> bool:
    """Whether the process of a run of this machine is there, and not another that was given its number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        ticks = int(
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        )
    except (OSError, IndexError, ValueError):
        return True  # this system does not tell when a process began
    born = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    return born <= started.astimezone(UTC).timestamp() + _SLACK
