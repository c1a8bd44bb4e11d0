"""drawbar: data assets written once, computed wherever the hardware is, remembered and accounted for everywhere.

Only names live here, each loaded when it is first used, so that `import drawbar` costs next to nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType

# What `typing.TYPE_CHECKING` is to a checker, without the milliseconds that importing typing takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Actor": "agent.proxies",
    "All": "partitions",
    "Asset": "asset",
    "AssetKey": "keys",
    "Check": "checks",
    "CheckResult": "checks",
    "Column": "contracts",
    "Config": "config",
    "Contract": "contracts",
    "Cron": "partitions",
    "Daily": "partitions",
    "DrawbarError": "errors",
    "Dynamic": "partitions",
    "Env": "asset",
    "Graph": "graph",
    "Hourly": "partitions",
    "Last": "partitions",
    "Monthly": "partitions",
    "Multi": "partitions",
    "Options": "asset",
    "Overlap": "partitions",
    "Partition": "partitions",
    "Partitioned": "agent.lazily",
    "Plan": "plan",
    "RunResult": "run",
    "Same": "partitions",
    "Source": "asset",
    "Static": "partitions",
    "Store": "store",
    "Target": "dispatch.target",
    "Weekly": "partitions",
    "asset": "asset",
    "check": "checks",
    "expand": "expansion",
    "plan": "plan",
    "run": "run",
    "target": "dispatch.target",
}
__all__ = [
    "Actor",
    "All",
    "Asset",
    "AssetKey",
    "Check",
    "CheckResult",
    "Column",
    "Config",
    "Contract",
    "Cron",
    "Daily",
    "DrawbarError",
    "Dynamic",
    "Env",
    "Graph",
    "Hourly",
    "Last",
    "Monthly",
    "Multi",
    "Options",
    "Overlap",
    "Partition",
    "Partitioned",
    "Plan",
    "RunResult",
    "Same",
    "Source",
    "Static",
    "Store",
    "Target",
    "Weekly",
    "asset",
    "check",
    "expand",
    "plan",
    "run",
    "target",
]

if TYPE_CHECKING:
    from drawbar.agent.lazily import Partitioned
    from drawbar.agent.proxies import Actor
    from drawbar.asset import Asset, Env, Options, Source, asset
    from drawbar.checks import Check, CheckResult, check
    from drawbar.config import Config
    from drawbar.contracts import Column, Contract
    from drawbar.dispatch.target import Target, target
    from drawbar.errors import DrawbarError
    from drawbar.expansion import expand
    from drawbar.graph import Graph
    from drawbar.keys import AssetKey
    from drawbar.partitions import (
        All,
        Cron,
        Daily,
        Dynamic,
        Hourly,
        Last,
        Monthly,
        Multi,
        Overlap,
        Partition,
        Same,
        Static,
        Weekly,
    )
    from drawbar.plan import Plan, plan
    from drawbar.run import RunResult, run
    from drawbar.store import Store


def __getattr__(name: str) -> Any:
    """The public name, from the module it lives in (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'drawbar' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"drawbar.{home}"), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """This package: `drawbar.asset`, `drawbar.plan` and `drawbar.run` stay functions.

    They live in files of the same name, and importing a submodule would put the module in the function's place.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    """The public names, for completion."""
    return [*__all__, "__version__"]
