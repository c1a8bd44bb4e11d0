"""`drawbar lineage`: how many events wait for a lineage backend, and sending them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from drawbar.cli import output
from drawbar.cli.project import Project, words
from drawbar.errors import LineageError


@click.group("lineage", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Lineage that waits to be sent. A run never waits for a backend: what it could not send stays here."""


@command.command("status", epilog="Example: drawbar lineage status --json")
@words
def status(**given: Any) -> None:
    """How many events wait, were sent and were refused, and where they go."""
    _tell("status", **given)


@command.command("flush", epilog="Example: drawbar lineage flush")
@words
def flush(**given: Any) -> None:
    """Send what waits. Sending again is harmless."""
    _tell("flush", **given)


def _tell(
    verb: str,
    *,
    words: tuple[str, ...],
    project: Path | None,
    store: str | None,
    namespace: str | None,
    as_json: bool,
) -> None:
    config = Project.of(words, project=project, store=store, namespace=namespace).config
    told = facts(verb, config.lineage, config.root)
    if as_json:
        output.answer(told)
        return
    table = output.table("", "")
    table.show_header = False
    for name, value in told.items():
        if text := output.told(value):
            table.add_row(name.replace("_", " "), text)
    output.show(table)


def facts(verb: str, config: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """What the installed lineage packages say. LineageError where there are none."""
    from drawbar.plugins import manager

    tools = manager().hook.drawbar_lineage()
    if not tools:
        raise LineageError(
            "Nothing here keeps lineage.",
            expected="a package that does, such as drawbar-adapters",
            found="no plugin with lineage",
            todo="pip install drawbar-adapters",
        )
    return {name: value for one in tools for name, value in getattr(one, verb)(config, root).items()}
