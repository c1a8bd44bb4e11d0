"""A stand-in for `drawbar` on hosts that lack it, so that `from drawbar import asset, Env` works in user modules.

`asset`, `check` and `expand` give the function back, and what a function meets while it runs (a Partition, a
CheckResult) is the agent's own, so real. Any other name is inert: it can be called, subscripted, subclassed, used as
annotation or decorator, which is what a module does with it when it is imported. What would need the real one raises.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Sequence
from typing import Any, Callable, Optional

_NAME = "drawbar"
_REAL = {"Actor": "proxies", "CheckResult": "checking", "Partition": "partition", "Partitioned": "lazily"}
"""Names that are the agent's own classes, and the modules they live in."""
_OURS = frozenset(f"{_NAME}.agent.{module}" for module in _REAL.values())


def asset(function: Optional[Callable[..., Any]] = None, **_options: Any) -> Any:
    """As the real one: the function itself, or a decorator that gives it back."""
    return function if function is not None else lambda decorated: decorated


def check(*_about: Any, **_options: Any) -> Any:
    """As the real one, whatever it is given: a decorator that gives the function back."""
    return lambda decorated: decorated


def public(name: str) -> Any:
    """The class that user code knows as `drawbar.<name>`: that of the stand-in, or of a drawbar installed here.

    An installed one that is too old to have the name is passed over.
    """
    found = getattr(importlib.import_module(_NAME), name, None)
    return _public(name) if found is None else found


def _public(name: str) -> Any:
    """The agent's own class, by the name of its module on the client: a pickle of its objects names that."""
    try:
        module = importlib.import_module(f"{_NAME}.agent.{_REAL[name]}")
    except ImportError:  # an installed drawbar, too old to have it
        module = importlib.import_module(f".{_REAL[name]}", __package__)
    return getattr(module, name)


def install() -> None:
    """Make `import drawbar` work where it is not installed; an installed one always comes first.

    The folder on `sys.path` is for processes that the job starts: multiprocessing hands the path on to them.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inert")
    if folder not in sys.path:
        sys.path.append(folder)


def stand_in() -> types.ModuleType:
    """The module that stands for `drawbar`."""
    loader: Any = _Finder()
    return importlib.util.module_from_spec(importlib.machinery.ModuleSpec(_NAME, loader, is_package=True))


def unusable(name: str) -> TypeError:
    """The error of a name that was used for more than a host without drawbar can do."""
    return TypeError(
        f"{_NAME}.{name} is used inside a job, on a host that has no drawbar installed; there it only stands for its "
        "name. Use it where the job is submitted, or add 'drawbar' to the host's environment."
    )


class _Kind(type):
    """What inert classes have in common: any attribute, any subscript, any call is inert again."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _inert(f"{cls.__name__}.{name}")

    def __getitem__(cls, item: Any) -> Any:
        return cls

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) >= 1 and isinstance(args[0], types.FunctionType):
            return args[0]  # a decorator, or `target.function(f)`
        return super().__call__(*args, **kwargs)

    def __iter__(cls) -> Any:
        raise unusable(cls.__name__)


class Inert(metaclass=_Kind):
    """Base of all names that stand for nothing here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _inert(f"{type(self).__name__}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As its kind does: a function comes back as it is."""
        return type(self)(*args, **kwargs)

    def __getitem__(self, item: Any) -> Any:
        return self


def _refuse(self: Any, *_: Any) -> Any:
    raise unusable(type(self).__name__)


for _name in ("bool", "len", "iter", "int", "float", "index", "contains", "enter", "await", "fspath", "add", "lt"):
    setattr(Inert, f"__{_name}__", _refuse)


def _inert(name: str) -> Any:
    last = name.rpartition(".")[2]
    if last.endswith("Error"):
        return type(last, (Exception,), {"__module__": _NAME})
    return _Kind(name, (Inert,), {"__module__": _NAME})


_DECORATORS = {"asset": asset, "check": check, "expand": check}


_PUBLIC = [
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


class _Module(types.ModuleType):
    """`drawbar` or one of its modules: it has every public name."""

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return list(_PUBLIC)  # so that `from drawbar import *` works, too
        if name.startswith("__"):
            raise AttributeError(name)
        value = _DECORATORS.get(name) or (_public(name) if name in _REAL else _inert(name))
        setattr(self, name, value)
        return value


class _Finder:
    """Finder and loader in one; `importlib.abc`, which names these roles, would be a third of a worker's imports."""

    def find_spec(
        self,
        fullname: str,
        path: Optional[Sequence[str]],  # noqa: ARG002 - the import system gives it
        target: Any = None,  # noqa: ARG002 - and this
    ) -> Optional[importlib.machinery.ModuleSpec]:
        """A stand-in for `drawbar` and whatever is in it, nothing for other names."""
        if fullname.partition(".")[0] != _NAME:
            return None
        package = sys.modules.get(_NAME)
        if package is not None and not isinstance(package, _Module):
            return None  # the real one, which lacks this module
        loader: Any = self
        return importlib.util.spec_from_loader(fullname, loader, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """A module that has every name."""
        return _Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run: names come as they are asked for. Where the agent has the module, that takes its place.

        Its classes and functions then say that they are of `drawbar.agent`, so that pickles of their objects can be
        read on both sides.
        """
        name = module.__name__
        if name not in _OURS:
            return
        real = importlib.import_module(name[len(f"{_NAME}.agent") :], __package__)
        for value in vars(real).values():
            if isinstance(value, (type, types.FunctionType)) and value.__module__ == real.__name__:
                value.__module__ = name
        sys.modules[name] = real
