"""The graph: functions of modules become assets, parameter names become edges, and both are checked when it is built.

Functions come here from `asset` and from the user's modules; names in dependency order go from here to `plan` and
`run`. Building reads signatures only: nothing is executed, no value and no store is touched.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any

from drawbar import fits
from drawbar.asset import MISSING, OPTIONS_ATTRIBUTE, Asset, Options, Param, Source, check_options
from drawbar.errors import (
    CycleError,
    DefinitionError,
    DuplicateAssetError,
    OptionError,
    TypeMismatchError,
    UnknownAssetError,
    did_you_mean,
)
from drawbar.keys import AssetKey, check_name, check_namespace

_DEFAULTS = Options()


class Graph:
    """Assets by name, their edges, and the order in which they can be made. Immutable once built.

    `assets` maps names to assets in dependency order; `edges` maps a name to its {parameter: name of the asset}.

    >>> def numbers() -> list[int]: return [1, 2, 3]
    >>> def total(numbers: list[int], scale: int = 1) -> int: return sum(numbers) * scale
    >>> graph = Graph.from_functions(numbers, total, namespace="doc")
    >>> list(graph.assets), dict(graph.edges["total"])
    (['numbers', 'total'], {'numbers': 'numbers'})
    """

    __slots__ = ("assets", "edges", "namespace")

    assets: Mapping[str, Asset]
    edges: Mapping[str, Mapping[str, str]]
    namespace: str

    def __init__(self, assets: Iterable[Asset], *, namespace: str) -> None:
        check_namespace(namespace)
        by_name: dict[str, Asset] = {}
        for one in assets:
            other = by_name.setdefault(one.name, one)
            if other is not one and (one.source is None or other.source is not one.source):
                raise DuplicateAssetError(
                    f"Two assets are named {one.name!r}.",
                    found=f"{other.where} and {one.where}",
                    todo="rename one function, or give one `@asset(name=…)`; a helper's name begins with '_'",
                )
        edges = {name: _edges(one, by_name) for name, one in by_name.items()}
        order = _ordered(edges, by_name)
        self.namespace = namespace
        self.assets = MappingProxyType({name: by_name[name] for name in order})
        self.edges = MappingProxyType({name: edges[name] for name in order})
        for name in order:
            if edges[name]:
                _check_types(by_name[name], edges[name], by_name)

    @classmethod
    def from_functions(
        cls,
        *functions: Callable[..., Any],
        namespace: str = "default",
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Graph:
        """A graph of just these functions; `options` by asset name go over what is written on them."""
        return cls(_with_config([_asset(fn, fn.__name__) for fn in functions], options), namespace=namespace)

    @classmethod
    def from_modules(
        cls,
        *modules: Any,
        namespace: str | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Graph:
        """A graph of the public functions and `Source`s that these modules define; paths to files are loaded first.

        Without `namespace`, the project's name in the nearest pyproject.toml, else the folder's. Modules that cannot be
        imported raise DefinitionError with the user's line.
        """
        from drawbar.modules import load, project_of

        loaded = [load(one) for one in modules]
        if not loaded:
            raise DefinitionError("A graph needs at least one module.", todo="name modules or paths to Python files")
        found = [one for module in loaded for one in _assets_of(module)]
        if namespace is None:
            namespace = project_of(loaded[0]).namespace
        return cls(_with_config(found, options), namespace=namespace)

    def __getitem__(self, name: str) -> Asset:
        """The asset of that name, or of that key as text; UnknownAssetError with the closest name otherwise."""
        found = self.assets.get(name) or self.assets.get(name.removeprefix(f"{self.namespace}/"))
        if found is None:
            raise UnknownAssetError(
                f"There is no asset {name!r}.",
                expected="one of " + ", ".join(list(self.assets)[:12]) + (" …" if len(self.assets) > 12 else ""),  # noqa: PLR2004  # a line's worth
                found=name,
                todo=did_you_mean(name, self.assets, otherwise="`drawbar graph` shows them all"),
            )
        return found

    def __len__(self) -> int:
        """How many assets it has."""
        return len(self.assets)

    def key(self, name: str) -> AssetKey:
        """The identity of the asset of that name."""
        return AssetKey(self.namespace, self[name].name)

    def select(self, wanted: Iterable[str] | None = None) -> tuple[str, ...]:
        """The names of `wanted` and of all that they are made from, in dependency order; all without `wanted`."""
        if wanted is None:
            return tuple(self.assets)
        todo = [self[name].name for name in wanted]
        needed = set(todo)
        while todo:
            for name in self.edges[todo.pop()].values():
                if name not in needed:
                    needed.add(name)
                    todo.append(name)
        if len(needed) * 8 < len(self.assets):
            return _ordered_subset(needed, self.edges)
        return tuple(name for name in self.assets if name in needed)

    def dependents(self) -> dict[str, list[str]]:
        """Each name's direct consumers."""
        below: dict[str, list[str]] = {name: [] for name in self.assets}
        for name, inputs in self.edges.items():
            for upstream in dict.fromkeys(inputs.values()):
                below[upstream].append(name)
        return below

    def run_params(self, names: Iterable[str] | None = None) -> dict[str, list[tuple[Asset, Param]]]:
        """The run parameters of these assets (all without): name → every (asset, parameter) that takes it."""
        taken: dict[str, list[tuple[Asset, Param]]] = {}
        for name in self.assets if names is None else names:
            one, inputs = self.assets[name], self.edges[name]
            for param in one.params:
                if param.name not in inputs:
                    taken.setdefault(param.name, []).append((one, param))
        return taken


def _assets_of(module: ModuleType) -> list[Asset]:
    found = []
    own = module.__name__
    for name, value in vars(module).items():
        if name[0] == "_":
            continue
        if isinstance(value, FunctionType):
            if value.__module__ == own and not _given(value).get("ignore"):
                found.append(_asset(value, name))
        elif isinstance(value, Source):
            found.append(_source(value, name, module))
        elif OPTIONS_ATTRIBUTE in getattr(value, "__dict__", ()):
            raise OptionError(
                f"{own}.{name} is marked as an asset and is not a function.",
                expected="a plain function",
                found=f"{type(value).__name__}: {value!r}",
                todo="put @asset above all other decorators, or use decorators made with functools.wraps",
            )
    return found


def _given(fn: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(fn, OPTIONS_ATTRIBUTE, {})
    return found


def _asset(fn: Any, name: str) -> Asset:
    given = _given(fn)
    plain = inspect.unwrap(fn) if hasattr(fn, "__wrapped__") else fn
    code = getattr(plain, "__code__", None)
    if code is None:
        raise OptionError(
            f"{fn!r} cannot be an asset.", expected="a plain function", found=type(fn).__name__, todo="wrap it in a def"
        )
    named = given.get("name") or name.replace("__", "/").strip("/")
    try:
        check_name(named)
    except DefinitionError as error:
        error.where = f"{code.co_filename}:{code.co_firstlineno}"
        raise
    return Asset(
        name=named,
        fn=fn,
        params=_params(plain, code),
        returns=plain.__annotations__.get("return", MISSING),
        options=Options(**given) if given else _DEFAULTS,
        module=fn.__module__,
        file=code.co_filename,
        line=code.co_firstlineno,
    )


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
    """Configuration has the last word over what is written on a function: where it runs is the deployment's affair."""
    if not options:
        return assets
    names = [one.name for one in assets]
    for name in options:
        if name not in names:
            raise UnknownAssetError(
                f"The configuration sets options of {name!r}, which is not an asset.",
                expected="one of " + ", ".join(names[:12]),
                found=f"[assets.{name}]",
                todo=did_you_mean(name, names, otherwise="remove the table"),
            )
    return [
        one.called(check_options(options[one.name], where=f"[assets.{one.name}]")) if one.name in options else one
        for one in assets
    ]


def _edges(one: Asset, known: Mapping[str, Asset]) -> dict[str, str]:
    edges = {}
    renamed = one.options.inputs
    for param in one.params:
        name = param.name
        if renamed and name in renamed:
            if renamed[name] not in known:
                raise UnknownAssetError(
                    f"{one.name} names {renamed[name]!r} as its input {name!r}, and there is no such asset.",
                    found=renamed[name],
                    todo=did_you_mean(renamed[name], known, otherwise="name an asset of this graph"),
                    where=one.where,
                )
            edges[name] = renamed[name]
        elif name in known and name != one.name:
            edges[name] = name
        elif "__" in name and name.replace("__", "/") in known:
            edges[name] = name.replace("__", "/")
        elif name == one.name:
            raise CycleError(
                f"{one.name} takes itself as a parameter.",
                found=f"parameter {name!r} of {one.fn.__qualname__ if one.fn else one.name}",
                todo="rename the parameter or the function",
                where=one.where,
            )
    for name in renamed:
        if name not in edges:
            raise OptionError(
                f"{one.name} renames an input {name!r} that it does not take.",
                expected="one of its parameters: " + ", ".join(param.name for param in one.params),
                found=name,
                where=one.where,
            )
    return edges


def _ordered(edges: Mapping[str, Mapping[str, str]], assets: Mapping[str, Asset]) -> list[str]:
    """Names in dependency order, ties as written (Kahn 1962); CycleError names the circle."""
    waits = {name: len(set(inputs.values())) for name, inputs in edges.items()}
    below: dict[str, list[str]] = {}
    for name, inputs in edges.items():
        for upstream in set(inputs.values()):
            below.setdefault(upstream, []).append(name)
    order = [name for name, count in waits.items() if not count]
    for name in order:
        for consumer in below.get(name, ()):
            waits[consumer] -= 1
            if not waits[consumer]:
                order.append(consumer)
    if len(order) < len(edges):
        circle = _circle(edges, [name for name, count in waits.items() if count])
        raise CycleError(
            "Assets need each other in a circle: " + " → ".join([*circle, circle[0]]) + ".",
            found="; ".join(f"{name} at {assets[name].where}" for name in circle),
            todo="break it: rename a parameter that is not meant as an input, or split an asset",
        )
    return order


def _circle(edges: Mapping[str, Mapping[str, str]], stuck: list[str]) -> list[str]:
    left = set(stuck)
    path: list[str] = [stuck[0]]
    while True:
        following = next(name for name in edges[path[-1]].values() if name in left)
        if following in path:
            return path[path.index(following) :][::-1]
        path.append(following)


def _ordered_subset(needed: set[str], edges: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """The order of a few names out of many, without walking the many."""
    order: list[str] = []
    placed: set[str] = set()
    for start in sorted(needed):
        stack = [start]
        while stack:
            name = stack[-1]
            waiting = [up for up in edges[name].values() if up not in placed] if name not in placed else []
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            if name not in placed:
                placed.add(name)
                order.append(name)
    return tuple(order)


def _check_types(one: Asset, edges: Mapping[str, str], assets: Mapping[str, Asset]) -> None:
    for param in one.params:
        upstream = edges.get(param.name)
        if upstream is None or param.annotation is MISSING:
            continue
        maker = assets[upstream]
        if maker.returns is MISSING or maker.returns is param.annotation:
            continue
        if isinstance(maker.returns, str) and maker.returns == param.annotation and maker.module == one.module:
            continue
        made, wanted = fits.made_by(maker.returns, maker.fn), fits.resolve(param.annotation, one.fn)
        if not fits.fits(made, wanted):
            raise TypeMismatchError(
                f"{one.name} cannot take what {upstream} makes.",
                expected=f"{param.name}: {fits.shown(wanted)}, in {one.where}",
                found=f"{upstream} returns {fits.shown(made)}, in {maker.where}",
                todo="change one of the two annotations, or put an asset that converts between them",
                where=one.where,
            )
