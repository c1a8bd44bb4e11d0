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
    "Asset": "asset",
    "AssetKey": "keys",
    "Config": "config",
    "DrawbarError": "errors",
    "Env": "asset",
    "Graph": "graph",
    "Options": "asset",
    "Plan": "plan",
    "RunResult": "run",
    "Source": "asset",
    "Store": "store",
    "Target": "dispatch.target",
    "asset": "asset",
    "plan": "plan",
    "run": "run",
    "target": "dispatch.target",
}
__all__ = [
    "Asset",
    "AssetKey",
    "Config",
    "DrawbarError",
    "Env",
    "Graph",
    "Options",
    "Plan",
    "RunResult",
    "Source",
    "Store",
    "Target",
    "asset",
    "plan",
    "run",
    "target",
]

if TYPE_CHECKING:
    from drawbar.asset import Asset, Env, Options, Source, asset
    from drawbar.config import Config
    from drawbar.dispatch.target import Target, target
    from drawbar.errors import DrawbarError
    from drawbar.graph import Graph
    from drawbar.keys import AssetKey
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
