"""The stand-in for `drawbar` in processes that a job starts, which do not have the worker's import hook yet."""

import importlib
import sys

_shim = importlib.import_module("drawbar_agent.shim")
_shim.install()
sys.modules[__name__] = _shim.stand_in()
