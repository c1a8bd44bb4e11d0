"""What drawbar finds here by the entry point group `drawbar`: the listener that leaves lineage, and what goes with it.

Each hook loads what it needs when it is called, so that finding this plugin costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from drawbar.events import Parent
    from drawbar.keys import AssetKey
    from drawbar_adapters.openlineage import LineageListener

hookimpl = pluggy.HookimplMarker("drawbar")


class Lineage:
    """What `drawbar lineage status|flush` show: where lineage goes, and how many events wait, were sent or refused."""

    def status(self, config: Mapping[str, Any], project: Path) -> dict[str, Any]:
        """How far lineage got."""
        from drawbar_adapters import openlineage

        return openlineage.status(config, project=project).facts

    def flush(self, config: Mapping[str, Any], project: Path) -> dict[str, Any]:
        """Send what earlier runs left waiting; the same facts afterwards."""
        from drawbar_adapters import openlineage

        return openlineage.flush(config, project=project).facts


@hookimpl
def drawbar_listener(config: Mapping[str, Any], project: Path) -> LineageListener | None:
    """The listener of a run in `project`; None where lineage is switched off."""
    from drawbar_adapters import openlineage

    return openlineage.listener(config, project=project)


@hookimpl
def drawbar_job_variables(key: AssetKey, asset_run_id: str, run_id: str, parent: Parent | None) -> Mapping[str, str]:
    """What makes an asset's run the parent of the runs that its job reports itself."""
    from drawbar_adapters import openlineage

    return openlineage.openlineage_environment(
        key,
        asset_run_id,
        run_id,
        parent or openlineage.parent_from_environment(os.environ),
        namespace=os.environ.get("OPENLINEAGE_NAMESPACE"),
    )


@hookimpl
def drawbar_lineage() -> Lineage:
    """What `drawbar lineage` calls."""
    return Lineage()
