"""The graph: functions of modules become assets, parameter names become edges, and both are checked when it is built.

Functions come here from `asset` and from the user's modules; names in dependency order go from here to `plan` and
`run`. Building reads signatures only: nothing is executed, no value and no store is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from drawbar import fits
from drawbar.asset import MISSING, Asset, Param
from drawbar.checks import CHECK_ATTRIBUTE
from drawbar.contracts import Contract, compatible
from drawbar.definitions import finished, of_function, of_module
from drawbar.errors import (
    ContractError,
    CycleError,
    DefinitionError,
    DuplicateAssetError,
    OptionError,
    PartitionError,
    TypeMismatchError,
    UnknownAssetError,
    did_you_mean,
)
from drawbar.keys import AssetKey, check_namespace
from drawbar.partitions import Mapping as Mapping_
from drawbar.partitions import default, mapping_of


class Graph:
    """Assets by name, their edges, and the order in which they can be made. Immutable once built.

    `assets` maps names to assets in dependency order; `edges` maps a name to its {parameter: name of the asset}, where
    a parameter that takes all variants of an expanded function stands once for each, as `parameter[variant]`.
    `families` are the variants of each expanded function; `mappings` has, for edges from partitioned assets, which of
    their partitions one is made from.

    >>> def numbers() -> list[int]: return [1, 2, 3]
    >>> def total(numbers: list[int], scale: int = 1) -> int: return sum(numbers) * scale
    >>> graph = Graph.from_functions(numbers, total, namespace="doc")
    >>> list(graph.assets), dict(graph.edges["total"])
    (['numbers', 'total'], {'numbers': 'numbers'})
    """

    __slots__ = ("assets", "edges", "families", "mappings", "namespace")

    assets: Mapping[str, Asset]
    edges: Mapping[str, Mapping[str, str]]
    families: Mapping[str, tuple[str, ...]]
    mappings: Mapping[str, Mapping[str, Edge]]
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
        families: dict[str, list[Asset]] = {}
        for one in by_name.values():
            if one.family:
                families.setdefault(one.family, []).append(one)
        edges = {name: _edges(one, by_name, families) for name, one in by_name.items()}
        order = _ordered(edges, by_name)
        self.namespace = namespace
        self.families = {family: tuple(one.name for one in variants) for family, variants in families.items()}
        self.assets = MappingProxyType({name: by_name[name] for name in order})
        self.edges = MappingProxyType({name: edges[name] for name in order})
        self.mappings = {name: found for name in order if (found := _mappings(by_name[name], edges[name], by_name))}
        for name in order:
            if edges[name]:
                for param, wanted in by_name[name].options.expects.items():
                    maker = by_name[edges[name][param]] if param in edges[name] else None
                    if maker is not None and isinstance(maker.options.contract, Contract):
                        check_contracts(by_name[name], wanted, maker, maker.options.contract)
                _check_types(by_name[name], edges[name], by_name, self.mappings.get(name, {}))

    @classmethod
    def from_functions(
        cls,
        *functions: Callable[..., Any],
        namespace: str = "default",
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Graph:
        """A graph of just these functions; `options` by asset name go over what is written on them."""
        assets = [one for fn in functions if not hasattr(fn, CHECK_ATTRIBUTE) for one in of_function(fn, fn.__name__)]
        checks = [one for fn in functions for one in getattr(fn, CHECK_ATTRIBUTE, ())]
        return cls(finished(assets, checks, options), namespace=namespace)

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
        found = [of_module(module) for module in loaded]
        assets = [one for some, _ in found for one in some]
        checks = [one for _, some in found for one in some]
        if namespace is None:
            namespace = project_of(loaded[0]).namespace
        return cls(finished(assets, checks, options), namespace=namespace)

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

    def named(self, word: str) -> tuple[str, ...]:
        """The names that a word stands for: the asset of that name, or all variants of an expanded function."""
        return self.families.get(word.removeprefix(f"{self.namespace}/")) or (self[word].name,)

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

    def free_params(self, one: Asset) -> list[Param]:
        """The parameters that a run gives: no inputs, not the partition, not fixed by an expansion."""
        inputs = {name.partition("[")[0] for name in self.edges[one.name]}
        if one.partitions is not None and one.takes_partition:
            inputs.add(one.takes_partition)
        return [param for param in one.params if param.name not in inputs and param.name not in one.bound]

    def run_params(self, names: Iterable[str] | None = None) -> dict[str, list[tuple[Asset, Param]]]:
        """The run parameters of these assets (all without): name → every (asset, parameter) that takes it."""
        taken: dict[str, list[tuple[Asset, Param]]] = {}
        for name in self.assets if names is None else names:
            for param in self.free_params(self.assets[name]):
                taken.setdefault(param.name, []).append((self.assets[name], param))
        return taken


@dataclass(frozen=True, slots=True)
class Edge:
    """How the partitions of an input are chosen, and whether the parameter receives a mapping of them."""

    mapping: Mapping_
    many: bool


def _edges(one: Asset, known: Mapping[str, Asset], families: Mapping[str, list[Asset]]) -> dict[str, str]:
    edges = {}
    renamed = one.options.inputs
    for param in one.params:
        name = param.name
        if name in one.bound:
            continue
        meant = renamed.get(name, name)
        if meant in families and meant not in known:
            edges.update({f"{name}[{other.variant}]": other.name for other in families[meant]})
        elif name in renamed:
            if meant not in known:
                raise UnknownAssetError(
                    f"{one.name} names {meant!r} as its input {name!r}, and there is no such asset.",
                    found=meant,
                    todo=did_you_mean(meant, known, otherwise="name an asset of this graph"),
                    where=one.where,
                )
            edges[name] = meant
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
        if name not in edges and not any(other.startswith(f"{name}[") for other in edges):
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


def check_contracts(one: Asset, wanted: Contract, maker: Asset, kept: Contract) -> None:
    """Raise ContractError unless whatever keeps to `kept`, the contract of `maker`, has what `one` expects of it."""
    faults = compatible(kept, wanted)
    if faults:
        raise ContractError(
            f"{one.name} expects of {maker.name} what its contract does not promise.",
            expected=f"what {one.where} expects",
            found="; ".join(faults),
            todo=f"change `expects` of {one.name}, or the contract of {maker.name}, in {maker.where}",
            where=one.where,
        )


def _mappings(one: Asset, edges: Mapping[str, str], assets: Mapping[str, Asset]) -> dict[str, Edge]:
    """How partitions meet along the edges of one asset; PartitionError where they do not."""
    found: dict[str, Edge] = {}
    own, asked = one.partitions, one.options.mappings
    for param, upstream in edges.items():
        above = assets[upstream].partitions
        if above is None:
            if param in asked:
                raise PartitionError(
                    f"{one.name} maps partitions of {upstream}, which has none.", found=param, where=one.where
                )
            continue
        try:
            edge = f"parameter {param!r} of {one.name!r}"
            mapping = mapping_of(asked[param]) if param in asked else default(own, above, edge=edge, where=one.where)
            assert mapping is not None
            mapping.check(own, above, edge=edge, where=one.where)
        except PartitionError as error:
            error.where = error.where or one.where
            raise
        found[param] = Edge(mapping, mapping.many(own, above))
        if found[param].many and "[" in param:
            raise PartitionError(
                f"{one.name} takes many partitions of all variants of {assets[upstream].family} at once.",
                expected="one of the two",
                todo=f"name the variants as parameters: {upstream}",
                where=one.where,
            )
    return found


def _check_types(
    one: Asset, edges: Mapping[str, str], assets: Mapping[str, Asset], mappings: Mapping[str, Edge]
) -> None:
    notes = {param.name: param.annotation for param in one.params}
    for name, upstream in edges.items():
        param = name.partition("[")[0]
        annotation, maker = notes[param], assets[upstream]
        if annotation is MISSING:
            continue
        many = param != name or (name in mappings and mappings[name].many)
        over = one.options.over == param
        if maker.returns is MISSING and not many:
            continue
        if not many and not over and not maker.options.over:
            if maker.returns is annotation:
                continue
            if isinstance(maker.returns, str) and maker.returns == annotation and maker.module == one.module:
                continue
        made = Any if maker.returns is MISSING else fits.made_by(maker.returns, maker.fn)
        if maker.options.over:
            made = list[made]  # type: ignore[valid-type]  # a type that is known at run time
        wanted = fits.resolve(annotation, one.fn)
        inner = fits.values_of(wanted) if many else wanted
        if over:
            made = fits.items_of(made)
        if inner is None:
            raise TypeMismatchError(
                f"{one.name} takes many {'partitions' if param == name else 'variants'} of {upstream}.",
                expected=f"{param}: dict[str, {fits.shown(made)}], or Partitioned[…] to load them one at a time",
                found=f"{param}: {fits.shown(wanted)}",
                todo="annotate it so, or choose one partition with `mappings`",
                where=one.where,
            )
        if not fits.fits(fits.handed_over(made, inner), inner):
            raise TypeMismatchError(
                f"{one.name} cannot take what {upstream} makes.",
                expected=f"{param}: {fits.shown(wanted)}, in {one.where}",
                found=f"{upstream} returns {fits.shown(made)}, in {maker.where}",
                todo="change one of the two annotations, or put an asset that converts between them",
                where=one.where,
            )
