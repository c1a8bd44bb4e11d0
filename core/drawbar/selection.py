"""The selection: which assets, at which of their partitions, and for each what it is made from.

Names and partitions wanted come in from a caller, and the graph's edges; Units in dependency order go to `plan` and the
walk, which know nothing of partitions beyond them. Nothing is read but the keys of dynamic sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from drawbar.asset import Asset
from drawbar.errors import PartitionError
from drawbar.graph import Edge, Graph
from drawbar.keys import AssetKey
from drawbar.partitions import Partition, Partitions, Same, choose

Lookup: TypeAlias = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Feed:
    """Where one parameter gets its value: the units by id; with `labels`, a mapping from those to their values."""

    units: tuple[str, ...]
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """One asset at one partition, or an unpartitioned asset: what a plan decides on, and a walk makes.

    `feeds` are its inputs by parameter; `id` is its key without the namespace.
    """

    id: str
    asset: Asset
    key: AssetKey
    feeds: Mapping[str, Feed]
    definition: Partitions | None = None
    now: datetime | None = None

    @property
    def partition(self) -> Partition | None:
        """The partition, made when it is asked for: a plan over many needs their keys only."""
        if self.definition is None or self.key.partition is None:
            return None
        return self.definition.partition(self.key.partition, self.now)

    @property
    def above(self) -> Iterable[str]:
        """The ids of all that it is made from, each once."""
        feeds = self.feeds
        if len(feeds) == 1:
            (feed,) = feeds.values()
            return feed.units
        return dict.fromkeys(up for feed in feeds.values() for up in feed.units)


def select(
    graph: Graph,
    wanted: Iterable[str] | None = None,
    partitions: str | Iterable[str] | None = None,
    *,
    lookup: Lookup,
    now: datetime | None = None,
) -> dict[str, Unit]:
    """The units of what is wanted and of all that it is made from, in dependency order.

    `partitions` are keys, ranges (`a..b`), `latest` or `all`, for the wanted assets that have partitions; `wanted` may
    also name single ones, as `features@2026-11-20`. `lookup` gives the keys of a dynamic set. PartitionError where
    there is no such partition, and where none is named and nothing else says which are needed.
    """
    texts = [partitions] if isinstance(partitions, str) else None if partitions is None else list(partitions)
    words = None if wanted is None else [one.partition("@") for one in wanted]
    named = None if words is None else [(name, at, key) for word, at, key in words for name in graph.named(word)]
    names = graph.select(None if named is None else [name for name, _, _ in named])
    if not any(graph.assets[name].partitions for name in names):
        _refuse_partitions(graph, named, texts)
        return {name: _whole(graph, name) for name in names}
    asked = _asked(graph, names, named, texts)
    return _Choosing(graph, names, lookup, now).units(asked, some=named is None)


def _whole(graph: Graph, name: str) -> Unit:
    """An unpartitioned asset made from unpartitioned assets."""
    feeds: dict[str, Feed] = {}
    for param, up in graph.edges[name].items():
        if param[-1] == "]":
            _add_variant(feeds, param, (up,))
        else:
            feeds[param] = Feed((up,))
    return Unit(name, graph.assets[name], AssetKey(graph.namespace, name), feeds)


def _add_variant(feeds: dict[str, Feed], param: str, units: tuple[str, ...]) -> None:
    """One more variant for a parameter that takes all of an expanded function."""
    family, _, variant = param[:-1].partition("[")
    before = feeds.get(family, Feed((), ()))
    feeds[family] = Feed((*before.units, *units), (*(before.labels or ()), variant))


def _refuse_partitions(graph: Graph, named: list[tuple[str, str, str]] | None, texts: list[str] | None) -> None:
    asked = next((f"{name}@{key}" for name, at, key in named or () if at), None) or (texts[0] if texts else None)
    if asked is not None:
        some = [name for name, one in graph.assets.items() if one.partitions]
        raise PartitionError(
            "Nothing that is wanted has partitions.",
            expected="no partition" + (f", or one of {', '.join(some[:8])}" if some else ""),
            found=asked,
        )


# What is asked of each wanted asset: texts to choose its partitions by; None where nothing was said.
_Asked: TypeAlias = dict[str, list[str] | None]


def _asked(
    graph: Graph, names: tuple[str, ...], named: list[tuple[str, str, str]] | None, texts: list[str] | None
) -> _Asked:
    """The texts by asset: those in its own name, else those given for all.

    Where partitions are given and no names, the partitioned assets are meant: a total over all days is not made because
    one day is.
    """
    found: _Asked = {}
    for name, at, key in named or ():
        if at and graph[name].partitions is None:
            raise PartitionError(f"{name} has no partitions.", found=f"{name}@{key}", where=graph[name].where)
        found[name] = [*(found.get(name) or ()), key] if at else found.get(name) or texts
    if found and texts is not None and not any(graph.assets[name].partitions for name in found):
        _refuse_partitions(graph, named, texts)
    if named is None and texts is not None:
        return {name: texts for name in names if graph.assets[name].partitions}
    if named is None:
        taken = {up for name in names for up in graph.edges[name].values()}
        return {name: None for name in names if not (graph.assets[name].partitions and name in taken)}
    return found


class _Choosing:
    """Which partitions of each asset are needed, from the consumers up to what they are made from."""

    def __init__(self, graph: Graph, names: tuple[str, ...], lookup: Lookup, now: datetime | None) -> None:
        # One moment for all of it: a window that ends meanwhile changes nothing.
        self.graph, self.names, self.now = graph, names, now or datetime.now(UTC)
        self.definitions: dict[str, Partitions] = {
            name: defined.resolved(lookup) for name in names if (defined := graph.assets[name].partitions) is not None
        }
        self.needed: dict[str, dict[str | None, None]] = {name: {} for name in names}
        self.feeds: dict[str, Mapping[str, Feed]] = {}

    def units(self, asked: _Asked, *, some: bool) -> dict[str, Unit]:
        """All units in dependency order, those of one asset in the order of its partitions.

        With `some`, an asset that has none of the partitions asked for is left out, if another has them.
        """
        wrong: list[PartitionError] = []
        for name, texts in asked.items():
            try:
                self._want(name, texts)
            except PartitionError as error:
                error.where = self.graph.assets[name].where
                wrong.append(error)
        if wrong and not (some and len(wrong) < len(asked)):
            raise wrong[0]
        for name in reversed(self.names):
            self._feed(name, self.needed[name])
        found: dict[str, Unit] = {}
        for name in self.names:
            one, whole = self.graph.assets[name], AssetKey(self.graph.namespace, name)
            for part in self._in_order(name):
                unit = name if part is None else f"{name}@{part}"
                definition = self.definitions.get(name)
                found[unit] = Unit(unit, one, whole.at(part), self.feeds[unit], definition, self.now)
        return found

    def _want(self, name: str, texts: list[str] | None) -> None:
        definition = self.definitions.get(name)
        if definition is None:
            self.needed[name][None] = None
            return
        if texts is None:
            raise PartitionError(
                f"{name} has partitions, and none is named.",
                expected=f"which of them: {definition.describe()}",
                found="no partition",
                todo="--partition latest, a key, a range a..b or all; partitions=… in Python; "
                f"`drawbar backfill {name}` makes all that are missing",
            )
        self.needed[name].update(dict.fromkeys(choose(definition, texts, self.now)))

    def _feed(self, name: str, keys: Iterable[str | None]) -> None:
        """What the units of one asset are made from; the partitions that they take are needed."""
        edges = self.graph.edges[name]
        mappings = self.graph.mappings.get(name, {})
        choosers = {param: self._chooser(name, up, mappings[param]) for param, up in edges.items() if param in mappings}
        for key in keys:
            feeds: dict[str, Feed] = {}
            for param, up in edges.items():
                taken: Sequence[str | None] = choosers[param](key) if param in choosers else (None,)
                needed = self.needed[up]
                for one in taken:
                    needed[one] = None
                units = tuple([up if one is None else f"{up}@{one}" for one in taken])
                if param[-1] == "]":
                    _add_variant(feeds, param, units)
                else:
                    many = param in mappings and mappings[param].many
                    feeds[param] = Feed(units, tuple(map(str, taken)) if many else None)
            self.feeds[name if key is None else f"{name}@{key}"] = feeds

    def _chooser(self, name: str, up: str, edge: Edge) -> Callable[[str | None], Sequence[str | None]]:
        """Which partitions of `up` one partition of `name` is made from, as a function of its key."""
        own, above, now = self.definitions.get(name), self.definitions[up], self.now
        if type(edge.mapping) is Same and own == above:
            return lambda key: (key,)

        def chosen(key: str | None) -> Sequence[str]:
            partition = None if own is None or key is None else own.partition(key, now)
            try:
                return edge.mapping.upstream(partition, own, above, now)
            except PartitionError as error:
                error.where = error.where or self.graph.assets[name].where
                raise

        return chosen

    def _in_order(self, name: str) -> Iterable[str | None]:
        needed = self.needed[name]
        definition = self.definitions.get(name)
        if definition is None or len(needed) < 2:  # noqa: PLR2004  # one has any order
            return needed
        return [key for key in definition.keys(self.now) if key in needed]
