"""`drawbar plan`: what a run would do with each asset, and why, without doing it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import click

from drawbar.cli import output
from drawbar.cli.project import Project, settings, words
from drawbar.plan import Decision

_LONG = 40
_QUIET = ("reuse", "source", "skip")


@click.command("plan", epilog="Example: drawbar plan pipeline.py neighbours -p base_url=http://localhost:8000/")
@words
@settings
def command(
    *,
    words: tuple[str, ...],
    project: Path | None,
    store: str | None,
    namespace: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Say what a run would make, what it would reuse, and why.

    An asset below one that runs is decided only then: it is reused if that comes out as it was.
    """
    with output.reserved_stdout() as out:
        from drawbar.plan import plan

        meant = Project.of(words, project=project, store=store, namespace=namespace)
        graph = meant.graph()
        found = plan(graph, meant.names(graph), **meant.settings(graph, **given))
        if as_json:
            assets = [decision_json(one) for one in found.decisions.values()]
            output.answer({"store": meant.config.store, "counts": found.counts, "assets": assets}, out)
            return
        table = output.table("asset", "target", "action", "why", wide=("why",))
        for name, one in told(found.decisions).items():
            action = output.styled(one.action) if one.certain else output.styled(f"{one.action} ?")
            table.add_row(name, one.target, action, output.one_line(one.reason))
        output.show(table, out)
        output.show(", ".join(f"{count} to {action}" for action, count in found.counts.items()), out)


def told(decisions: Mapping[str, Decision]) -> Mapping[str, Decision]:
    """The decisions that a person reads: of more than fill a screen, those on what runs or cannot."""
    if len(decisions) <= _LONG:
        return decisions
    return dict(islice(((name, one) for name, one in decisions.items() if one.action not in _QUIET), _LONG))


def decision_json(one: Decision) -> dict[str, Any]:
    """A decision as programs read it."""
    return {
        "key": str(one.key),
        "action": one.action,
        "certain": one.certain,
        "reason": one.reason,
        "target": one.target,
        "version": one.version,
        "data_version": one.data_version,
        "changes": [
            {"kind": change.kind, "name": change.name, "how": change.how, "old": change.old, "new": change.new}
            for change in one.changes
        ],
    }
