"""Which parts an asset has, which of them a person means, and which upstream parts each is made from.

Definitions come here from `@asset` and from configuration, texts from the command line; keys go to plans and runs.
Names are loaded when they are first used, so that assets without partitions do not pay for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

_HOMES = {
    "All": "partitions.mappings",
    "Cron": "partitions.cron",
    "Daily": "partitions.periods",
    "Dynamic": "partitions.listed",
    "Hourly": "partitions.periods",
    "Last": "partitions.mappings",
    "Mapping": "partitions.mappings",
    "Monthly": "partitions.periods",
    "Multi": "partitions.multi",
    "Overlap": "partitions.mappings",
    "Partition": "agent.partition",
    "Partitions": "partitions.base",
    "Same": "partitions.mappings",
    "Static": "partitions.listed",
    "Weekly": "partitions.periods",
    "check_key": "partitions.base",
    "choose": "partitions.choosing",
    "default": "partitions.mappings",
    "from_config": "partitions.configured",
    "mapping_of": "partitions.mappings",
}
__all__ = [
    "All",
    "Cron",
    "Daily",
    "Dynamic",
    "Hourly",
    "Last",
    "Mapping",
    "Monthly",
    "Multi",
    "Overlap",
    "Partition",
    "Partitions",
    "Same",
    "Static",
    "Weekly",
    "check_key",
    "choose",
    "default",
    "from_config",
    "mapping_of",
]

if TYPE_CHECKING:
    from drawbar.agent.partition import Partition
    from drawbar.partitions.base import Partitions, check_key
    from drawbar.partitions.choosing import choose
    from drawbar.partitions.configured import from_config
    from drawbar.partitions.cron import Cron
    from drawbar.partitions.listed import Dynamic, Static
    from drawbar.partitions.mappings import All, Last, Mapping, Overlap, Same, default, mapping_of
    from drawbar.partitions.multi import Multi
    from drawbar.partitions.periods import Daily, Hourly, Monthly, Weekly


def __getattr__(name: str) -> Any:
    """The public name, from the module it lives in (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'drawbar.partitions' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"drawbar.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, for completion."""
    return list(__all__)
