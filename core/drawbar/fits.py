"""Whether what one function makes fits where another takes it: annotations compared, without a value.

Annotations come from two functions at an edge of the graph; an answer goes back to `graph`, which words the error.
The rule of PEP 484 with the doubt in the user's favour: what cannot be resolved, or is not known here, fits.
"""

from __future__ import annotations

import collections.abc
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

from drawbar.agent.encoding.base import ITERATOR, LAZY
from drawbar.agent.lazily import Partitioned

UNIONS = (typing.Union, types.UnionType)
# PEP 484's numeric tower: an int is taken where a float is wanted.
_PROMOTED: dict[type, tuple[type, ...]] = {float: (int,), complex: (int, float), bytes: (bytearray, memoryview)}
# Where the tables are from that pandera's types are made of.
_TABLES = ("pandas", "polars", "geopandas", "pyspark", "dask", "modin", "ibis")
_ROWS = (
    collections.abc.Iterator,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncGenerator,
)


def resolve(annotation: Any, fn: Callable[..., Any] | None) -> Any:
    """The annotation as an object; text (`from __future__ import annotations`) is evaluated where `fn` was defined.

    What cannot be evaluated, such as a name imported for type checkers only, is Any.
    """
    if not isinstance(annotation, str):
        return annotation
    scope = getattr(inspect.unwrap(fn), "__globals__", {}) if fn is not None else {}
    try:
        return eval(annotation, dict(scope), {})  # noqa: S307  # the user's own annotation, in the user's own module
    except Exception:
        return Any


def made_by(annotation: Any, fn: Callable[..., Any] | None) -> Any:
    """What a function with this return annotation leaves: a generator of rows leaves the list of its rows."""
    made = resolve(annotation, fn)
    if typing.get_origin(made) in _ROWS and _yields(fn):
        rows = typing.get_args(made)
        return list[rows[0]] if rows else list  # type: ignore[valid-type]  # a type made at run time
    return list if made in _ROWS and _yields(fn) else made


def _yields(fn: Callable[..., Any] | None) -> bool:
    return fn is not None and (inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn))


def values_of(wanted: Any) -> Any:
    """What a parameter that receives a mapping takes as each of its values; None if it takes no mapping.

    >>> values_of(dict[str, int]), values_of(dict), values_of(list[int]) is None
    (<class 'int'>, typing.Any, True)
    """
    wanted = _plain(wanted)
    if wanted in (Any, object):
        return Any
    origin, args = typing.get_origin(wanted) or wanted, typing.get_args(wanted)
    if origin in UNIONS:
        return next((found for one in args if (found := values_of(one)) is not None), None)
    if not (isinstance(origin, type) and issubclass(origin, collections.abc.Mapping)):
        return None
    return args[-1] if args else Any


def is_lazy(wanted: Any) -> bool:
    """Whether a parameter takes its mapping as `Partitioned`, which loads each value when it is asked for."""
    origin = typing.get_origin(_plain(wanted)) or _plain(wanted)
    return isinstance(origin, type) and issubclass(origin, Partitioned)


def lazy_items(wanted: Any) -> str | None:
    """How a parameter takes a long list without having all of it in memory; None for one that takes a plain list.

    >>> lazy_items(collections.abc.Iterator[int]), lazy_items(list[int]) is None
    ('collections.abc.Iterator', True)
    """
    origin = typing.get_origin(_plain(wanted)) or _plain(wanted)
    if origin is collections.abc.Iterator:
        return ITERATOR
    return LAZY if origin in (collections.abc.Sequence, collections.abc.Iterable) else None


def handed_over(made: Any, wanted: Any) -> Any:
    """What a parameter receives of a value of type `made`: of a list an iterator, if it wants one; else the value.

    >>> handed_over(list[int], collections.abc.Iterator[int]), handed_over(list[int], list)
    (collections.abc.Iterator[int], list[int])
    """
    if lazy_items(wanted) != ITERATOR or (typing.get_origin(_plain(made)) or _plain(made)) is not list:
        return made
    rows = typing.get_args(_plain(made))
    return collections.abc.Iterator[rows[0]] if rows else collections.abc.Iterator  # type: ignore[valid-type]  # made at run time


def is_actor(made: Any) -> bool:
    """Whether a return annotation means an actor, which its function describes: `Actor`, `Actor[T]`, or that or None.

    >>> from drawbar import Actor
    >>> is_actor(Actor[int]), is_actor(Actor[int] | None), is_actor(int)
    (True, True, False)
    """
    origin = typing.get_origin(made) or made
    if isinstance(origin, type):
        return (origin.__module__, origin.__qualname__) == ("drawbar.agent.proxies", "Actor")
    return any(is_actor(one) for one in typing.get_args(made))


def items_of(made: Any) -> Any:
    """What a fan-out over a value of this type hands to each call; Any where the type does not say.

    >>> items_of(list[int]), items_of(dict)
    (<class 'int'>, typing.Any)
    """
    made = _plain(made)
    origin, args = typing.get_origin(made) or made, typing.get_args(made)
    if not (isinstance(origin, type) and issubclass(origin, collections.abc.Iterable)) or not args:
        return Any
    if origin is tuple:
        return args[0] if len(args) == 2 and args[1] is ... else typing.Union[tuple(one for one in args)]  # noqa: PLR2004, UP007
    return Any if issubclass(origin, collections.abc.Mapping) else args[0]


def fits(made: Any, wanted: Any) -> bool:
    """Whether every value of type `made` may be passed as `wanted`.

    >>> fits(list[int], collections.abc.Sequence[float]), fits(int | None, int), fits(bool, int | str)
    (True, False, True)
    """
    made, wanted = _plain(made), _plain(wanted)
    if made is wanted or made is Any or wanted in (Any, object):
        return True
    if typing.get_origin(made) in UNIONS:
        return all(fits(one, wanted) for one in typing.get_args(made))
    if typing.get_origin(wanted) in UNIONS:
        return any(fits(made, one) for one in typing.get_args(wanted))
    if typing.Literal in (typing.get_origin(made), typing.get_origin(wanted)):
        return _literals_fit(made, wanted)
    return _classes_fit(made, wanted)


def _plain(annotation: Any) -> Any:
    """Annotated, NewType, Final, TypeVar, aliases and frames with a schema, down to what they stand for."""
    while True:
        origin = typing.get_origin(annotation)
        table = table_of(origin or annotation)
        if table is not (origin or annotation):
            return table
        if origin in (typing.Annotated, typing.Final, typing.ClassVar):
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.TypeVar):
            several = annotation.__constraints__
            annotation = annotation.__bound__ or (typing.Union[several] if several else Any)  # noqa: UP007  # of a tuple
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__") and type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif isinstance(annotation, (str, typing.ForwardRef)) or annotation is inspect.Parameter.empty:
            return Any
        else:
            return type(None) if annotation is None else annotation


def table_of(kind: Any) -> Any:
    """The table that pandera's `DataFrame[Model]` is made from; Any for a model by itself, which fits several kinds.

    What is not pandera's is given back. Schemas are not compared: each value is held to them where it is made, and
    where it is taken.
    """
    if "pandera" not in sys.modules or not isinstance(kind, type):
        return kind
    if all(one.__module__.partition(".")[0] != "pandera" for one in kind.__mro__):
        return kind
    return next((one for one in kind.__mro__ if one.__module__.partition(".")[0] in _TABLES), Any)


def _literals_fit(made: Any, wanted: Any) -> bool:
    if typing.get_origin(wanted) is not typing.Literal:
        return all(fits(type(value), wanted) for value in typing.get_args(made))
    return typing.get_origin(made) is typing.Literal and set(typing.get_args(made)) <= set(typing.get_args(wanted))


def _classes_fit(made: Any, wanted: Any) -> bool:
    made_class, wanted_class = typing.get_origin(made) or made, typing.get_origin(wanted) or wanted
    if not (isinstance(made_class, type) and isinstance(wanted_class, type)):
        return True
    if made_class in _PROMOTED.get(wanted_class, ()):
        return True
    if getattr(wanted_class, "_is_protocol", False):
        return _has_members(made_class, wanted_class)
    if not issubclass(made_class, wanted_class):
        return False
    return _arguments_fit(made, wanted)


# What every class or protocol has, and so none asks for.
_NOT_MEMBERS = frozenset(dir(typing.Protocol)) | {
    "__abstractmethods__", "__annotations__", "__firstlineno__", "__match_args__", "__non_callable_proto_members__",
    "__orig_bases__", "__parameters__", "__protocol_attrs__", "__slots__", "__static_attributes__", "__weakref__",
    "_abc_impl", "_is_runtime_protocol", "__dict__", "__annotate__", "__annotate_func__", "__type_params__",
}  # fmt: skip


def _has_members(made: type, protocol: type) -> bool:
    """A protocol asks for names, which a class either has or, as annotations only, may have."""
    asked = {
        name
        for base in protocol.__mro__
        if getattr(base, "_is_protocol", False)
        for name in (*vars(base), *getattr(base, "__annotations__", {}))
        if name not in _NOT_MEMBERS
    }
    return all(hasattr(made, name) or name in getattr(made, "__annotations__", {}) for name in asked)


def _arguments_fit(made: Any, wanted: Any) -> bool:
    """Arguments are compared where both sides name as many: a container is read by who takes it, so covariantly."""
    ours, theirs = typing.get_args(made), typing.get_args(wanted)
    if not ours or not theirs or typing.get_origin(wanted) is collections.abc.Callable:
        return True
    if typing.get_origin(made) is tuple:
        return _tuples_fit(ours, theirs, wanted)
    return len(ours) != len(theirs) or all(fits(one, other) for one, other in zip(ours, theirs, strict=True))


def _tuples_fit(ours: tuple[Any, ...], theirs: tuple[Any, ...], wanted: Any) -> bool:
    if typing.get_origin(wanted) is not tuple:
        return all(fits(one, theirs[0]) for one in ours if one is not ...)
    if theirs[-1] is ...:
        return all(fits(one, theirs[0]) for one in ours if one is not ...)
    if ours[-1] is ...:
        return False
    return len(ours) == len(theirs) and all(fits(one, other) for one, other in zip(ours, theirs, strict=True))


def shown(annotation: Any) -> str:
    """An annotation as a person writes it.

    >>> shown(list[int]), shown(int | None), shown(dict)
    ('list[int]', 'int | None', 'dict')
    """
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and not typing.get_args(annotation):
        module = annotation.__module__.split(".", 1)[0]
        return annotation.__qualname__ if module == "builtins" else f"{module}.{annotation.__qualname__}"
    return str(annotation).replace("typing.", "")
