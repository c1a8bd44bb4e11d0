"""How objects that code reaches count: what they hold, or their name where they hold nothing that makes a value.

Objects of a user's module come here from `reach`, with its encoder; bytes go back. What is not known here or to
`digest` is an error there.
"""

from __future__ import annotations

import contextvars
import dataclasses
import enum
import functools
import inspect
import itertools
import logging
import os
import pathlib
import sys
import types
import weakref
from collections.abc import Mapping
from typing import Any

from drawbar.digest import Encoder, UnfitError, cell
from drawbar.fingerprint.origins import is_library_file, is_library_module, is_own

_DESCRIPTORS = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
# What Python itself puts into a class, or what cannot make a difference to a value.
_OF_PYTHON = frozenset(
    [
        "__module__",
        "__dict__",
        "__weakref__",
        "__doc__",
        "__qualname__",
        "__firstlineno__",
        "__static_attributes__",
        "__orig_bases__",
        "__parameters__",
        "__annotations__",
        "__annotate__",
        "__abstractmethods__",
        "_abc_impl",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__match_args__",
        "__slots__",
    ]
)
_MARKERS = ("pyproject.toml", "drawbar.toml", ".git")


def qualified(value: Any) -> str:
    """A library's function or class by package and name, which stay when a release moves it between modules.

    >>> qualified(pathlib.Path), qualified(os.path.join)
    ('pathlib.Path', 'posixpath.join')
    """
    if isinstance(value, types.FunctionType):
        module, name = str(value.__globals__.get("__name__")), value.__code__.co_qualname
    else:
        module, name = str(value.__module__), value.__qualname__
    return f"{module.partition('.')[0]}.{name.replace('.<locals>', '')}"


def short_name(value: Any) -> str:
    """The name of code inside its module; of a module the last of its name."""
    if isinstance(value, types.ModuleType):
        return value.__name__.rpartition(".")[2]
    return str(value.__code__.co_qualname if isinstance(value, types.FunctionType) else value.__qualname__)


def encode(encoder: Encoder, value: Any) -> bytes | None:
    """The bytes of what is no plain value, but known: methods, partials, loggers, locks, types; None for others."""
    if isinstance(value, _OF_C):
        return _of_c(encoder, value)
    for kind, names in _PARTS:
        if isinstance(value, kind):
            return encoder.named(type(value).__name__, [(name, getattr(value, name)) for name in names])
    name = _name_alone(value)
    if name is not None:
        return cell(f"named {type(value).__qualname__}", name.encode())
    if "__wrapped__" in getattr(value, "__dict__", ()) and _is_foreign(value):
        return encoder.named(f"wrapper {type(value).__qualname__}", [("__wrapped__", value.__wrapped__)])
    return None


_OF_C = (types.BuiltinFunctionType, types.MethodWrapperType, *_DESCRIPTORS)


def _of_c(encoder: Encoder, value: Any) -> bytes:
    """A function or descriptor without Python code: its name, and the object that it is bound to."""
    if isinstance(value, _DESCRIPTORS):
        return cell("builtin", f"{value.__objclass__.__qualname__}.{value.__name__}".encode())
    held = None if isinstance(value.__self__, types.ModuleType) else value.__self__
    return encoder.named(f"builtin {value.__module__}.{value.__qualname__}", [("__self__", held)])


_PARTS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (types.MethodType, ("__func__", "__self__")),
    ((staticmethod, classmethod), ("__func__",)),
    (property, ("fget", "fset", "fdel")),
    ((functools.partial, functools.partialmethod), ("func", "args", "keywords")),
    (functools.cached_property, ("func",)),
    (type(functools.lru_cache(lambda: None)), ("__wrapped__",)),
)


def exported(value: Any) -> str | None:
    """The name of what is no plain function, and yet one of a library's: in C, cached, or bound; None for others.

    >>> import math, random
    >>> exported(math.sin), exported(random.choice), exported("".join)
    ('math.sin', 'random.choice', None)
    """
    if not callable(value) or isinstance(value, types.FunctionType | type):
        return None
    try:
        name = value.__name__
        homes = (getattr(value, "__module__", None), type(getattr(value, "__self__", value)).__module__)
    except Exception:  # whatever a foreign object does when it is asked
        return None
    for home in homes:
        top = str(home).partition(".")[0]
        for module in (home, top):
            if vars(sys.modules.get(str(module), types)).get(str(name)) is value and is_library_module(str(module)):
                return f"{top}.{name}"
    return None


def _is_foreign(value: Any) -> bool:
    return is_library_module(type(value).__module__)


# What a process keeps for itself as it goes: no value is made from it.
_STATE = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet, itertools.count, type(os.environ))


def _name_alone(value: Any) -> str | None:
    """What stands for an object that carries no data of its own; None for one that does."""
    kind = type(value)
    if kind is object or isinstance(value, _STATE):
        return kind.__qualname__
    if isinstance(value, logging.Logger | logging.LoggerAdapter | logging.Handler | contextvars.ContextVar):
        return str(getattr(value, "name", kind.__qualname__))
    if kind.__module__ in ("threading", "_thread") and not inspect.isgenerator(value):
        return kind.__qualname__
    if kind.__module__ == "typing" or isinstance(value, types.GenericAlias | types.UnionType):
        return repr(value)
    if is_own(kind.__module__):
        text = repr(value)
        return kind.__qualname__ if " at 0x" in text else text
    return None


_BUILTIN_KINDS: tuple[Any, ...] = (tuple, list, dict, set, frozenset, str, bytes, int, float, complex)


def state(encoder: Encoder, value: Any) -> bytes:
    """The bytes of what an instance of a project's class holds."""
    if isinstance(value, enum.Enum):
        name = "" if isinstance(value, enum.Flag) else value.name
        return encoder.named("enum", [("name", name), ("value", value.value)])
    content = b""
    for kind in _BUILTIN_KINDS:
        if isinstance(value, kind):
            content = encoder.step("", kind(value))
            break
    if isinstance(value, BaseException):
        content = encoder.step(".args", value.args)
    try:
        held = value.__getstate__()
    except Exception as error:
        raise UnfitError(value, encoder.path(), f"its __getstate__ raised {type(error).__name__}: {error}") from None
    if isinstance(held, dict):
        return cell("state", content + encoder.named("", [(name, held[name]) for name in sorted(held, key=str)]))
    return cell("state", content + encoder.step("", held))


def class_file(cls: type) -> str:
    """The file that a class was defined in, as its methods say, else its module; "" where nothing tells."""
    for method in _functions(cls):
        code = method.__code__
        if code.co_qualname == f"{cls.__qualname__}.{code.co_name}" and not code.co_filename.startswith("<string"):
            return code.co_filename
    return getattr(sys.modules.get(cls.__module__), "__file__", None) or ""


def class_scope(cls: type) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The globals that a class's body reads, and the cells that its methods share."""
    functions = _functions(cls)
    cells: dict[str, Any] = {}
    for one in functions:
        cells.update(zip(one.__code__.co_freevars, one.__closure__ or (), strict=True))
    module = sys.modules.get(cls.__module__)
    if module is not None:
        return vars(module), cells
    return (functions[0].__globals__ if functions else {}), cells


def _functions(cls: type) -> list[types.FunctionType]:
    found = []
    for member in vars(cls).values():
        inner = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
        if isinstance(inner, types.FunctionType):
            found.append(inner)
    return found


def class_content(cls: type) -> dict[str, Any]:
    """What a class consists of that has no text: a named tuple, one made by a call, or one typed into an old REPL."""
    bases = list(cls.__bases__)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return {"bases": bases, "fields": cls._fields, "defaults": getattr(cls, "_field_defaults", {})}
    if issubclass(cls, enum.Enum):
        return {"bases": bases, "members": {name: member.value for name, member in cls.__members__.items()}}
    members = {name: value for name, value in vars(cls).items() if name not in _OF_PYTHON}
    annotated = [f"{name}: {kind}" for name, kind in vars(cls).get("__annotations__", {}).items()]
    content: dict[str, Any] = {"bases": bases, "annotated": annotated}
    if dataclasses.is_dataclass(cls):
        # Its methods are generated, by each Python in its own way, from what is said here.
        members = {name: value for name, value in members.items() if not _is_generated(value)}
        fields = dataclasses.fields(cls)
        content["fields"] = [(f.name, f.init, f.repr, f.compare, f.kw_only) for f in fields]
        content["options"] = repr(vars(cls).get("__dataclass_params__"))
        content["defaults"] = {
            f.name: default
            for f in fields
            for default in (f.default, f.default_factory)
            if default is not dataclasses.MISSING
        }
    members = {name: value for name, value in members.items() if not isinstance(value, _DESCRIPTORS)}
    return {**content, "members": members}


def _is_generated(value: Any) -> bool:
    inner = getattr(value, "__wrapped__", value)
    return isinstance(inner, types.FunctionType) and inner.__code__.co_filename == "<string>"


def inside_project(value: Any, module: str) -> str | None:
    """A path inside the project of `module`, from where its imports start; None for any other value.

    Two checkouts of one project lie at different places, and must not differ for it.
    """
    if type(value) is str:
        text = value if value.startswith(os.sep) else ""
    else:
        text = str(value) if isinstance(value, pathlib.PurePath) else ""
    file = getattr(sys.modules.get(module), "__file__", None) if text.startswith(os.sep) else None
    if not file or is_library_file(file):
        return None
    for start, root in _roots(file, module.count(".") + (pathlib.Path(file).name == "__init__.py")):
        if text == root or text.startswith(root + os.sep):
            return os.path.relpath(text, start)
    return None


@functools.lru_cache(maxsize=1000)
def _roots(file: str, depth: int) -> tuple[tuple[str, str], ...]:
    """Where a module's imports start, and the project's root, as spelled and with symbolic links resolved."""
    found = []
    for path in dict.fromkeys((pathlib.Path(file).absolute(), pathlib.Path(file).resolve())):
        start = path.parents[min(depth, len(path.parents) - 1)]
        root = next((one for one in (start, *start.parents) if any((one / m).exists() for m in _MARKERS)), start)
        found.append((str(start), str(root)))
    return tuple(found)
