"""A run: what was asked for is checked and planned, walked, told and kept in the journal.

A graph and settings come in from a caller; the walk does the work; a `RunResult` goes back.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drawbar import plugins
from drawbar.config import whoami
from drawbar.crew import Teller
from drawbar.errors import StoreError
from drawbar.events import Listener, Parent, RunEnded, RunStarted
from drawbar.graph import Graph
from drawbar.planner import Planner
from drawbar.records import Ending, Journal
from drawbar.redact import Redactor
from drawbar.results import AssetResult, RunResult, error_text
from drawbar.tools import REMOTE_AT_ONCE, Tools
from drawbar.walk import Evicted, Walk

__all__ = ["AssetResult", "Evicted", "RunResult", "run"]


def run(
    graph: Graph,
    wanted: Iterable[str] | None = None,
    *,
    listeners: Sequence[Listener] = (),
    on_interrupt: str = "cancel",
    max_workers: int | None = None,
    parent: Parent | None = None,
    lineage: bool = True,
    **settings: Any,
) -> RunResult:
    """Make what is wanted (all assets without it), reusing what the store has; see `Planner.of` for `settings`.

    `params`, `store`, `config`, `target`, `partitions` and `force` are the settings. At most `max_workers` assets are
    made at once; without it as many functions in threads of this process as configured, and 64 jobs on targets. On
    Ctrl-C, jobs on targets are cancelled, or left running with `on_interrupt="leave"`. Errors in what was asked for are
    raised before anything runs; an asset's own failure is in the result, and stops only what depends on it.

    >>> def one() -> int: return 1
    >>> def two(one: int) -> int: return one + 1
    >>> result = run(Graph.from_functions(one, two), ["two"], store="memory://doc-run", lineage=False)
    >>> result["two"].state, result["two"].value()
    ('made', 2)
    """
    planner = Planner.of(graph, wanted, **settings)
    if max_workers is not None:
        planner.config = replace(planner.config, max_workers=max_workers)
    heard = list(listeners)
    if lineage:
        heard += plugins.listeners(planner.config.lineage, planner.config.root)
    asked = tuple(graph.assets) if wanted is None else tuple(wanted)
    try:
        tools = Tools.of(planner, Teller(heard), parent, max_workers or REMOTE_AT_ONCE)
        return _accounted(tools, Walk(tools, on_interrupt=on_interrupt), asked)
    finally:
        for one in heard:
            if one not in listeners:
                getattr(one, "close", lambda: None)()


def _accounted(tools: Tools, walk: Walk, wanted: tuple[str, ...]) -> RunResult:
    """The walk, with its beginning and end told, and kept in the store's journal."""
    planner, redactor = tools.planner, Redactor()
    for name in planner.assets:
        redactor = redactor.knowing(planner.params_of(planner.graph.assets[name]))
    journal = Journal(
        run_id=tools.run_id,
        namespace=planner.graph.namespace,
        started=datetime.now(UTC),
        by=whoami(),
        host=socket.gethostname(),
        pid=os.getpid(),
        wanted=wanted if len(wanted) < len(planner.graph) else ("all assets",),
        params={name: redactor.value(name, value) for name, value in planner.params.items()},
    )
    planner.store.write_journal(journal)
    _ignore_own_folder(planner.config.root / ".drawbar")
    tools.tell(
        RunStarted(
            run_id=tools.run_id,
            at=journal.started,
            namespace=journal.namespace,
            wanted=wanted,
            assets=tuple(unit.key for unit in planner.units.values()),
            params=planner.params,
            parent=tools.parent,
        )
    )
    state = walk.go()
    result = RunResult(tools.run_id, state, {name: walk.results[name] for name in planner.units})
    now = datetime.now(UTC)
    tools.tell(RunEnded(run_id=tools.run_id, at=now, state=state, counts=result.counts))
    endings = tuple(_ending(one, redactor) for one in result.assets.values())
    try:
        planner.store.write_journal(replace(journal, ended=now, state=state, assets=endings))
    except StoreError:
        # The values are in the store, and the caller learns of every failure from the result itself.
        if result.ok:
            raise
    return result


def _ignore_own_folder(folder: Path) -> None:
    """What drawbar keeps in a project by itself is no part of the project: version control is told so, once."""
    with contextlib.suppress(OSError):
        if folder.is_dir() and not (folder / ".gitignore").exists():
            (folder / ".gitignore").write_text("*\n", encoding="ascii")


def _ending(one: AssetResult, redactor: Redactor) -> Ending:
    return Ending(
        key=str(one.key),
        state=one.state,
        reason=redactor.text(one.reason) if one.error else one.reason,
        version=one.version,
        data_version=one.data_version,
        target=one.target,
        seconds=round(one.seconds, 6),
        bytes=one.bytes,
        run_id=one.run_id,
        error=redactor.text(error_text(one.error)) if one.error else "",
    )
