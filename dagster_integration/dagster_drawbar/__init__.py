"""drawbar for Dagster: registers itself as a Dagster library, so that `dagster` knows which version is installed."""

from __future__ import annotations

from dagster_shared.libraries import DagsterLibraryRegistry

__version__ = "0.1.0"

DagsterLibraryRegistry.register("dagster-drawbar", __version__, is_dagster_package=False)
