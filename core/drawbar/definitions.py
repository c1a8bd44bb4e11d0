"""From what a module holds to assets: functions with their options, sources, and what expands into several assets.

Functions and modules come here from `graph`; Assets and Checks go back. Signatures are read, nothing is called.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import FunctionType, ModuleType
from typing import Any

from drawbar import fits
from drawbar.agent.checking import OF_INPUT
from drawbar.asset import MISSING, OPTIONS_ATTRIBUTE, Asset, Options, Param, Source, check_options, is_partition
from drawbar.checks import CHECK_ATTRIBUTE, Check, Decorator, as_check
from drawbar.errors import DefinitionError, OptionError, UnknownAssetError, did_you_mean
from drawbar.expansion import variants
from drawbar.keys import check_name

_DEFAULTS = Options()
# Names of outcomes that are no user's check.
_RESERVED = ("contract", "schema")
# Options that belong to the call, and those that belong to each of its outputs.
_OF_OUTPUTS = ("path", "format", "persist", "checks", "contract", "tags", "owners", "description", "adds")


def of_module(module: ModuleType) -> tuple[list[Asset], list[Check]]:
    """The assets that the module defines, as written, and its checks."""
    assets: list[Asset] = []
    checks: list[Check] = []
    own, helpers = module.__name__, _helpers(module)
    for name, value in vars(module).items():
        if name[0] == "_":
            continue
        if isinstance(value, FunctionType):
            if value.__module__ != own:
                continue
            if CHECK_ATTRIBUTE in value.__dict__:
                checks += value.__dict__[CHECK_ATTRIBUTE]
            elif not given(value).get("ignore") and (given(value) or id(value) not in helpers):
                assets += of_function(value, name)
        elif isinstance(value, Decorator):
            raise value.unused(name, f"{module.__file__}:1")
        elif isinstance(value, Source):
            assets.append(_source(value, name, module))
        elif OPTIONS_ATTRIBUTE in getattr(value, "__dict__", ()):
            raise OptionError(
                f"{own}.{name} is marked as an asset and is not a function.",
                expected="a plain function",
                found=f"{type(value).__name__}: {value!r}",
                todo="put @asset above all other decorators, or use decorators made with functools.wraps",
            )
    return assets, checks


def _helpers(module: ModuleType) -> set[int]:
    """The functions that stand in the options of others, as checks or mappings: without `@asset` they are none."""
    found: set[int] = set()
    for value in vars(module).values():
        if isinstance(value, FunctionType) and (options := given(value)):
            uses = (*(options.get("checks") or ()), *(options.get("mappings") or {}).values())
            found.update(id(getattr(one, "fn", one)) for one in uses)
    return found


def given(fn: Any) -> dict[str, Any]:
    """The options written on a function."""
    found: dict[str, Any] = getattr(fn, OPTIONS_ATTRIBUTE, {})
    return found


def of_function(fn: Any, name: str) -> list[Asset]:
    """The asset of a function that is called `name`; several where it is expanded."""
    options = given(fn)
    plain = inspect.unwrap(fn) if hasattr(fn, "__wrapped__") else fn
    code = getattr(plain, "__code__", None)
    if code is None:
        raise OptionError(
            f"{fn!r} cannot be an asset.", expected="a plain function", found=type(fn).__name__, todo="wrap it in a def"
        )
    named = options.get("name") or name.replace("__", "/").strip("/")
    try:
        check_name(named)
    except DefinitionError as error:
        error.where = f"{code.co_filename}:{code.co_firstlineno}"
        raise
    one = Asset(
        name=named,
        fn=fn,
        params=_params(plain, code),
        returns=plain.__annotations__.get("return", MISSING),
        options=Options(**options) if options else _DEFAULTS,
        module=fn.__module__,
        file=code.co_filename,
        line=code.co_firstlineno,
    )
    return list(_expanded(one)) if options or (hasattr(fn, "__dict__") and fn.__dict__) else [one]


def _expanded(one: Asset) -> Iterator[Asset]:
    for variant, bound in variants(one.fn, {param.name for param in one.params}, one.where):
        yield (
            one
            if variant is None
            else replace(one, name=f"{one.name}_{variant}", family=one.name, variant=variant, bound=bound)
        )


def finished(
    assets: Iterable[Asset], checks: Iterable[Check], options: Mapping[str, Mapping[str, Any]] | None
) -> list[Asset]:
    """All assets as they are in the graph: with configuration's options, outputs of their own, and checks."""
    written = [made for one in assets for made in (_outputs(one) if one.options.outputs else (one,))]
    return _with_checks([_sound(one) for one in _with_config(written, options)], checks)


class Pick:
    """The function of an asset that is one of several outputs: it takes what the call made, and gives its own part."""

    def __init__(self, name: str, names: tuple[str, ...], where: str) -> None:
        self.name, self.names, self.where = name, names, where
        self.__name__ = self.__qualname__ = name
        self.__module__ = __name__
        self.__doc__: str | None = f"The output {name!r}."
        self.__annotations__: dict[str, Any] = {}

    def __call__(self, **made: Any) -> Any:
        """The part of that name, or at its place in a tuple; OptionError where there is none."""
        (value,) = made.values()
        if self.name in getattr(value, "_fields", ()):
            return getattr(value, self.name)
        if isinstance(value, Mapping) and self.name in value:
            return value[self.name]
        if isinstance(value, (tuple, list)) and len(value) == len(self.names):
            return value[self.names.index(self.name)]
        if not isinstance(value, (Mapping, tuple, list)) and hasattr(value, self.name):
            return getattr(value, self.name)
        found = f"keys {', '.join(map(repr, value))}" if isinstance(value, Mapping) else type(value).__name__
        if isinstance(value, (tuple, list)):
            found = f"{len(value)} values"
        raise OptionError(
            f"What was made has no output {self.name!r}.",
            expected=f"a mapping with the keys {', '.join(self.names)}, or so many values in that order",
            found=found,
            where=self.where,
        )


def _outputs(one: Asset) -> Iterator[Asset]:
    """The call itself, which is kept by no one, and an asset for each of its outputs."""
    names = tuple(one.options.outputs)
    of_outputs = [name for name in _OF_OUTPUTS if getattr(one.options, name) != getattr(_DEFAULTS, name)]
    if of_outputs or one.options.over or one.bound:
        raise OptionError(
            f"{one.name} has several outputs, and cannot take the option "
            f"{of_outputs[0] if of_outputs else 'over' if one.options.over else 'expand'!r} itself.",
            expected="such options on its outputs",
            found=", ".join(of_outputs) or "both",
            todo=f'write outputs={{"{names[0]}": {{"path": …}}, …}}',
            where=one.where,
        )
    yield one.called({"persist": False})
    group = one.name.rpartition("/")[0]
    kinds = _kinds(one, names)
    for name in names:
        inner = check_options(one.options.outputs[name], where=one.where)
        wrong = [key for key in inner if key not in _OF_OUTPUTS]
        if wrong or name == one.name:
            raise OptionError(
                f"The output {name!r} of {one.name} cannot be so.",
                expected="a name of its own, and of the options " + ", ".join(_OF_OUTPUTS),
                found=wrong[0] if wrong else name,
                where=one.where,
            )
        full = f"{group}/{name}" if group else name
        try:
            check_name(full)
        except DefinitionError as error:
            error.where = one.where
            raise
        pick = Pick(name, names, one.where)
        if name in kinds:
            pick.__annotations__["return"] = kinds[name]
        yield Asset(
            name=full,
            fn=pick,
            params=(Param(one.name),),
            returns=kinds.get(name, MISSING),
            options=Options(
                inputs={one.name: one.name},
                version=f"output {name} of {one.name}",
                partitions=one.options.partitions,
                tags=one.options.tags,
                owners=one.options.owners,
            ),
            module=one.module,
            file=one.file,
            line=one.line,
        ).called(inner)


def _kinds(one: Asset, names: tuple[str, ...]) -> Mapping[str, Any]:
    """What each output is, where the function's return annotation says so: tuple, NamedTuple, TypedDict or dict."""
    if one.returns is MISSING:
        return {}
    kind = fits.made_by(one.returns, one.fn)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and len(args) == len(names) and Ellipsis not in args:
        return dict(zip(names, args, strict=True))
    if origin in (dict, Mapping) and len(args) == 2:  # noqa: PLR2004  # a key and a value
        return dict.fromkeys(names, args[1])
    if isinstance(kind, type) and (issubclass(kind, tuple) or typing.is_typeddict(kind)):
        return typing.get_type_hints(kind)
    return {}


def _source(source: Source, name: str, module: ModuleType) -> Asset:
    return Asset(
        name=name.replace("__", "/").strip("/"),
        fn=None,
        params=(),
        returns=MISSING,
        options=_DEFAULTS,
        module=module.__name__,
        file=module.__file__ or module.__name__,
        line=1,
        source=source,
    )


def _params(fn: Any, code: Any) -> tuple[Param, ...]:
    """The parameters, read off the code object: `inspect.signature` takes ten times as long."""
    count = code.co_argcount + code.co_kwonlyargcount
    if code.co_posonlyargcount or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        raise OptionError(
            f"{fn.__qualname__} takes parameters that have no names of their own.",
            expected="parameters that can be passed by name",
            found=f"def {fn.__name__}{inspect.signature(fn)}",
            todo="give each parameter a name of its own; a helper's name begins with '_'",
            where=f"{code.co_filename}:{code.co_firstlineno}",
        )
    if not count:
        return ()
    names = code.co_varnames[:count]
    notes = fn.__annotations__
    defaults = fn.__defaults__ or ()
    values = dict(zip(names[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True))
    if fn.__kwdefaults__:
        values.update(fn.__kwdefaults__)
    return tuple(Param(name, notes.get(name, MISSING), values.get(name, MISSING)) for name in names)


def _with_config(assets: list[Asset], options: Mapping[str, Mapping[str, Any]] | None) -> list[Asset]:
    """Configuration has the last word over what is written on a function: where it runs is the deployment's affair.

    A table for an expanded function counts for all its variants; one for a variant goes over it.
    """
    if not options:
        return assets
    names = [one.name for one in assets] + [one.family for one in assets if one.family]
    for name in options:
        if name not in names:
            raise UnknownAssetError(
                f"The configuration sets options of {name!r}, which is not an asset.",
                expected="one of " + ", ".join(names[:12]),
                found=f"[assets.{name}]",
                todo=did_you_mean(name, names, otherwise="remove the table"),
            )
    found = []
    for one in assets:
        for name in dict.fromkeys((one.family, one.name)):
            if name in options:
                one = one.called(check_options(options[name], where=f"[assets.{name}]"))  # noqa: PLW2901  # by steps
        found.append(one)
    return found


def _sound(one: Asset) -> Asset:
    """The asset, if its options fit each other and its signature."""
    options = one.options
    if one.partitions is None and options is _DEFAULTS and not any(is_partition(p.annotation) for p in one.params):
        return one
    fault = next(_faults(one), None)
    if fault is not None:
        what, expected, found = fault
        raise OptionError(what, expected=expected, found=found, where=one.where)
    return one


def _faults(one: Asset) -> Iterator[tuple[str, str, str]]:
    """What does not fit: what is wrong, what was expected, what was found."""
    options, names = one.options, [param.name for param in one.params]
    taken = "one of its parameters: " + ", ".join(names)
    if one.partitions is None:
        for param in one.params:
            if is_partition(param.annotation):
                yield f"{one.name} takes a Partition and has no partitions.", "`@asset(partitions=…)`", param.name
    elif options.path and "{" not in options.path:
        what = f"The partitions of {one.name} would all be published to one path."
        yield what, "`{partition}` in it", options.path
    elif one.source is not None and "{" not in one.source.path:
        what = f"The partitions of {one.name} would all be read from one path."
        yield what, "`{partition}` in it", one.source.path
    for option in ("mappings", "expects"):
        for name in getattr(options, option):
            if name not in names:
                yield f"{one.name} sets {option!r} for {name!r}, which it does not take.", taken, name
    if options.adds is not None and not options.persist:
        yield f"{one.name} adds to a dynamic set and is not kept.", "persist=True", "persist=False"
    if options.over is not None and options.over not in names:
        yield f"{one.name} is made over {options.over!r}, which it does not take.", taken, options.over


def _with_checks(assets: list[Asset], checks: Iterable[Check]) -> list[Asset]:
    """The assets with their checks, those of the option first; each check must be of an asset that is there."""
    by_function: dict[int, list[str]] = {}
    for one in assets:
        if one.fn is not None:
            by_function.setdefault(id(one.fn), []).append(one.name)
    found: dict[str, list[Check]] = {}
    for one in assets:
        if one.options.checks:
            found[one.name] = [as_check(each, one.where, at) for at, each in enumerate(one.options.checks, 1)]
    known = {one.name for one in assets}
    for check in checks:
        names = [check.of] if check.of in known else by_function.get(id(check.of), []) if callable(check.of) else []
        if not names:
            said = check.of if isinstance(check.of, str) else getattr(check.of, "__name__", repr(check.of))
            raise UnknownAssetError(
                f"The check {check.name} is of {said!r}, and there is no such asset.",
                found=str(said),
                todo=did_you_mean(str(said), known, otherwise="name an asset of this graph"),
                where=check.where,
            )
        for name in names:
            found.setdefault(name, []).append(check)
    if not found:
        return assets
    for name, own in found.items():
        twice = next((one for one in own if sum(other.name == one.name for other in own) > 1), None)
        reserved = next((one for one in own if one.name in _RESERVED or one.name.startswith(OF_INPUT)), None)
        if reserved is not None:
            raise OptionError(
                f"A check of {name} has a name that drawbar uses itself: {reserved.name!r}.",
                todo="give it another: @check(…, name=…)",
                where=reserved.where,
            )
        if twice is not None:
            raise OptionError(f"Two checks of {name} are named {twice.name!r}.", todo="name one", where=twice.where)
    return [replace(one, checks=tuple(found[one.name])) if one.name in found else one for one in assets]
