"""OpenLineage: a run's events become RunEvents, kept in an outbox and sent from there, and never delay or fail a run.

listener(config, project=…)     what a run tells its events to
flush(config, project=…)        send what earlier runs left waiting
status(config, project=…)       how far lineage got
openlineage_environment(…)      variables that make an asset's run the parent of what its job reports itself
"""

from drawbar_adapters.openlineage.listener import LineageListener, Status, flush, listener, status
from drawbar_adapters.openlineage.parents import openlineage_environment, parent_from_environment

__all__ = [
    "LineageListener",
    "Status",
    "flush",
    "listener",
    "openlineage_environment",
    "parent_from_environment",
    "status",
]
