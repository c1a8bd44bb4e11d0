"""What goes by reference and what goes by value: the one place that pickles a user's functions and arguments.

A function of a module that the target can import (the project's, or an installed one) goes as a name; what lives in
`__main__`, a notebook, a lambda or another function goes by value, and then needs the same minor version of Python on
the other side. Values come from a Job and go, as parts of a payload container, to `transfer`.
"""

from __future__ import annotations

import dis
import functools
import io
import pickle
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from drawbar.agent import payload as container
from drawbar.dispatch import code
from drawbar.dispatch.port import Bytes
from drawbar.errors import FormatError

_MAIN = ("__main__", "__mp_main__")
_REGISTERING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Pickled:
    """A payload container as parts, and what must be there to open it.

    `modules` are named in it and must be importable, `deferred` are imported by the bodies of its functions; `by_value`
    are the functions whose bytecode is inside, which only the same minor version of Python can run.
    """

    parts: list[Bytes]
    modules: frozenset[str]
    by_value: tuple[str, ...]
    deferred: frozenset[str] = frozenset()


def reference(function: Callable[..., Any]) -> tuple[str, str] | None:
    """Module and qualified name by which a target can import `function`, or None if it must go by value.

    >>> import json
    >>> reference(json.dumps)
    ('json', 'dumps')
    >>> reference(lambda: 1) is None
    True
    """
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not isinstance(function, FunctionType | BuiltinFunctionType | type) or not module or not name:
        return None
    if module in _MAIN or not code.importable(module):
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if type(found).__module__.partition(".")[0] == "drawbar":  # `@gpu.function` above it; the worker unwraps it, too
        found = getattr(found, "__wrapped__", found)
    return (module, name) if found is function else None


def dump(value: Any, *, what: str = "A value") -> Pickled:
    """`value` as a payload container; big buffers are views, not copies.

    FormatError if it cannot be pickled; it calls it `what`.
    """
    modules: set[str] = set()
    deferred: set[str] = set()
    by_value: list[str] = []

    def dumps(obj: Any, protocol: int, buffer_callback: Any) -> bytes:
        stream = io.BytesIO()
        pickler = _pickler()(stream, protocol=protocol, buffer_callback=buffer_callback)
        pickler.modules, pickler.deferred, pickler.by_value = modules, deferred, by_value
        pickler.dump(obj)
        return stream.getvalue()

    try:
        with _by_value(_unimportable()):
            parts = container.encode(value, dumps)
    except Exception as error:
        # Any `__reduce__` of the user's may raise anything; all of it means the same: this cannot travel.
        raise FormatError(
            f"{what} cannot be pickled.",
            expected="plain data, arrays, tables, and objects that pickle",
            found=f"{type(error).__name__}: {error}",
            todo="pass plain data, and open files, connections, locks and the like inside the function",
        ) from error
    return Pickled(parts, frozenset(modules), tuple(by_value), frozenset(deferred))


def load(data: Bytes) -> Any:
    """The value in a payload container; arrays are views into `data`. Runs code that the container names: `trust`."""
    return container.decode(data)


def load_exception(data: Bytes) -> BaseException | None:
    """The exception pickled in `data`, None where it cannot be rebuilt here: its class may be missing, or object."""
    try:
        found = pickle.loads(data)
    except Exception:
        # Unpickling runs the class's own code, which may raise anything; the caller has the text of the exception.
        return None
    return found if isinstance(found, BaseException) else None


@functools.cache
def _pickler() -> type:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc, no-any-unimported, unused-ignore]
        """Notes which modules are named and which functions go by value."""

        modules: set[str]
        deferred: set[str]
        by_value: list[str]

        def reducer_override(self, obj: Any) -> Any:
            reduced = super().reducer_override(obj)
            if isinstance(obj, ModuleType):
                self.modules.add(obj.__name__)
            elif isinstance(obj, FunctionType) and reduced is not NotImplemented:
                self.by_value.append(obj.__qualname__)
                self.deferred.update(_imports(obj.__code__))
            elif isinstance(obj, FunctionType | type) and reduced is NotImplemented:
                self.modules.add(obj.__module__ or "builtins")
            return reduced

    return Pickler


def _imports(code_object: CodeType) -> Iterator[str]:
    """Modules imported by the body of a function or of one inside it, which its pickle does not name."""
    for instruction in dis.get_instructions(code_object):
        if instruction.opname == "IMPORT_NAME" and instruction.argval:
            yield instruction.argval
    for constant in code_object.co_consts:
        if isinstance(constant, CodeType):
            yield from _imports(constant)


def _unimportable() -> list[ModuleType]:
    """Loaded modules that have a file but that no folder on a target could provide under their name."""
    return [module for name, module in list(sys.modules.items()) if name not in _MAIN and code.is_stray(name, module)]


@contextmanager
def _by_value(modules: Iterable[ModuleType]) -> Iterator[None]:
    """What is defined in `modules` goes by value meanwhile; cloudpickle's registry is global, so one at a time."""
    chosen = list(modules)
    if not chosen:
        yield
        return
    import cloudpickle

    with _REGISTERING:
        known = set(cloudpickle.list_registry_pickle_by_value())
        added = [module for module in chosen if module.__name__ not in known]
        for module in added:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in added:
                cloudpickle.unregister_pickle_by_value(module)
