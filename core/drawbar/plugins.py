"""What other packages can add to drawbar, as pluggy hooks under the entry point group `drawbar`.

Installed packages come in here, once, when the first of them is asked for; formats, listeners and variables go out to
whoever runs. Importing this module loads no plugin.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pluggy

    from drawbar.events import Listener, Parent
    from drawbar.formats import Format
    from drawbar.keys import AssetKey

GROUP = "drawbar"


class LineageTools(Protocol):
    """What `drawbar lineage` calls: both return facts to show, and never raise for a backend that is down."""

    def status(self, config: Mapping[str, Any], project: Path) -> Mapping[str, Any]:
        """How many events wait, were sent and were refused, and where they go."""

    def flush(self, config: Mapping[str, Any], project: Path) -> Mapping[str, Any]:
        """Send what waits; the same facts afterwards."""


class Hooks:
    """The hookspecs; a plugin implements any of them with `pluggy.HookimplMarker("drawbar")`."""

    def drawbar_formats(self) -> Sequence[Format]:
        """Formats to try before the built-in ones."""
        raise NotImplementedError

    def drawbar_listener(self, config: Mapping[str, Any], project: Path) -> Listener | None:
        """What is to hear the events of every run; `config` is the [tool.drawbar.lineage] table."""
        raise NotImplementedError

    def drawbar_job_variables(
        self, namespace: str, key: AssetKey, asset_run_id: str, run_id: str, parent: Parent | None
    ) -> Mapping[str, str]:
        """Environment variables for a job, such as the parent run that lineage emitted inside it should name."""
        raise NotImplementedError

    def drawbar_lineage(self) -> LineageTools:
        """What `drawbar lineage status|flush` calls."""
        raise NotImplementedError


_lock = threading.Lock()
_manager: pluggy.PluginManager | None = None


def manager() -> pluggy.PluginManager:
    """The one plugin manager of this process, with every installed plugin loaded."""
    global _manager
    with _lock:
        if _manager is None:
            import pluggy

            spec = pluggy.HookspecMarker(GROUP)
            for name, function in vars(Hooks).items():
                if name.startswith("drawbar_"):
                    spec(function)
            made = pluggy.PluginManager(GROUP)
            made.add_hookspecs(Hooks)
            made.load_setuptools_entrypoints(GROUP)
            _manager = made
        return _manager


def formats() -> list[Format]:
    """The formats of all plugins, in the order pluggy calls them."""
    return [one for several in manager().hook.drawbar_formats() for one in several]


def listeners(config: Mapping[str, Any], project: Path) -> list[Callable[..., None]]:
    """The listeners of all plugins for this project."""
    found: list[Any] = manager().hook.drawbar_listener(config=config, project=project)
    return [one for one in found if one is not None]


def job_variables(
    *, namespace: str, key: AssetKey, asset_run_id: str, run_id: str, parent: Parent | None
) -> dict[str, str]:
    """The variables that plugins want a job to see."""
    merged: dict[str, str] = {}
    for one in manager().hook.drawbar_job_variables(
        namespace=namespace, key=key, asset_run_id=asset_run_id, run_id=run_id, parent=parent
    ):
        merged.update(one or {})
    return merged
