"""The planner: what is known before anything runs, and what each unit would be made from.

The graph, what is wanted, run parameters and configuration come in and are checked; Versions and records go to `plan`
and to the walk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drawbar import fits
from drawbar import params as parameters
from drawbar.actor import describes_an_actor
from drawbar.asset import MISSING, Asset, filled
from drawbar.config import Config
from drawbar.contracts.files import FOLDER
from drawbar.demands import Demands
from drawbar.digest import digest_value
from drawbar.errors import CorruptError, OptionError, PartitionError, UnknownTargetError, did_you_mean
from drawbar.external import SourceState, state
from drawbar.files import redacted
from drawbar.fingerprint import Code, Fingerprints
from drawbar.graph import Graph, check_contracts
from drawbar.partitions import Multi
from drawbar.partitions.windows import Windows
from drawbar.records import Parts, Record
from drawbar.redact import Redactor, is_secret
from drawbar.selection import Unit, select
from drawbar.store import Store
from drawbar.version import Change, compare, env_parts, head_of, installed, version_at

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

HERE = "here"
SHOWN = 200
# Inputs of one parameter that a record lists one by one.
_MANY = 100
_REDACTOR = Redactor()


@dataclass(slots=True)
class Planner:
    """What is known before anything runs: the assets wanted, their parameters and code, the store, the settings."""

    graph: Graph
    units: Mapping[str, Unit]
    assets: tuple[str, ...]
    params: Mapping[str, Any]
    store: Store
    config: Config
    targets: Mapping[str, str]
    forced: frozenset[str]
    codes: dict[str, Code] = field(default_factory=dict)
    demands: dict[str, Demands] = field(default_factory=dict)
    latest: dict[str, Record | None] | None = None
    _bases: dict[str, tuple[Parts, Hash]] = field(default_factory=dict)
    _values: dict[str, dict[str, Any]] = field(default_factory=dict)
    _digests: dict[int, tuple[Any, str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        graph: Graph,
        wanted: Iterable[str] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        store: Store | str | None = None,
        config: Config | None = None,
        target: str | Mapping[str, str] | None = None,
        force: Collection[str] = (),
        partitions: str | Iterable[str] | None = None,
        now: datetime | None = None,
    ) -> Planner:
        """Check all that can be checked before a run: names, parameters, options, and that all code has a digest.

        `partitions` are keys, ranges, `latest` or `all`, for the wanted assets that have partitions; `now` (aware) is
        until when time windows exist. Names in `wanted` and `force` may be of one partition, as `name@partition`.
        """
        settings = config or project_config(graph)
        found = store if isinstance(store, Store) else Store(settings.store if store is None else store)
        units = select(graph, wanted, partitions, lookup=lambda name: found.members(graph.namespace, name), now=now)
        names = tuple(dict.fromkeys(unit.asset.name for unit in units.values()))
        values = parameters.check(graph, names, params or {}, settings.params)
        _check_paths(graph, names, settings.root)
        forced = _forced(graph, units, force)
        _check_filled(units)
        planner = cls(graph, units, names, values, found, settings, _targets(graph, names, target), forced)
        prints, frozen = Fingerprints(), (settings.root / FOLDER).is_dir()
        for name in names:
            one = graph.assets[name]
            if one.fn is not None and one.options.version is None:
                planner.codes[name] = prints.code(one.fn, where=one.where)
            demands = Demands.of(one, settings, prints, frozen=frozen)
            if demands is not None:
                planner.demands[name] = demands
            for param, expected in one.options.expects.items():
                above = graph.edges[name].get(param)
                if above in planner.demands and (kept := planner.demands[above].contract) is not None:
                    check_contracts(one, expected, graph.assets[above], kept)
        if not found.local:
            made = [unit for unit in units.values() if unit.asset.source is None]
            known = found.index.latest_of([unit.key for unit in made])
            planner.latest = {unit.id: entry for unit, entry in zip(made, known, strict=True) if entry is not None}
            # What no index tells of is asked for together.
            rest = [unit for unit in made if unit.id not in planner.latest]
            planner.latest |= zip([u.id for u in rest], found.latest_of([u.key for u in rest]), strict=True)
        return planner

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of all units, in dependency order."""
        return tuple(self.units)

    def target(self, asset: str) -> str:
        """Where the asset's function runs: its place, but here for an actor, which it only describes."""
        return HERE if describes_an_actor(self.graph.assets[asset]) else self.place(asset)

    def place(self, asset: str) -> str:
        """Where the asset is to be: the override, else its own option, else here."""
        return self.targets.get(asset) or self.graph.assets[asset].options.target or HERE

    def params_of(self, one: Asset) -> dict[str, Any]:
        """The values of its run parameters, defaults filled in."""
        known = self._values.get(one.name)
        if known is None:
            given, free = self.params, self.graph.free_params(one)
            known = {**one.bound, **{param.name: given.get(param.name, param.default) for param in free}}
            self._values[one.name] = known
        return known

    def version(self, unit: Unit, inputs: Mapping[str, str]) -> str:
        """The Version of a unit, given the DataVersions of its inputs."""
        return version_at(self._base(unit.asset)[1], inputs, unit.key.partition or "")

    def parts(self, unit: Unit, inputs: Mapping[str, str]) -> Parts:
        """What a unit would be made from, given the DataVersions of its inputs."""
        return replace(self.shared_parts(unit.asset), inputs=inputs, partition=unit.key.partition or "")

    def shared_parts(self, one: Asset) -> Parts:
        """What all partitions of an asset are made from: all but inputs and partition."""
        return self._base(one)[0]

    def _base(self, one: Asset) -> tuple[Parts, Hash]:
        """What all partitions of an asset are made from, and its digest so far."""
        base = self._bases.get(one.name)
        if base is None:
            known = self.codes.get(one.name)
            env, demands = one.options.env, self.demands.get(one.name)
            parts = Parts(
                digest=known.digest if known else "",
                code=known.parts if known else {},
                params={key: self._param(key, value, one) for key, value in self.params_of(one).items()},
                env=env_parts(env.at(self.config.root)) if env else (),
                format=one.options.format or "",
                packages=installed(known) if known and self.config.packages == "installed" else {},
                declared=one.options.version or "",
                options={
                    **_windows(one),
                    **({"over": one.options.over} if one.options.over else {}),
                    **({"contract": demands.changes} if demands and demands.changes else {}),
                },
            )
            base = self._bases[one.name] = (parts, head_of(parts, one.name))
        return base

    def inputs(self, unit: Unit, stands: Callable[[str], str]) -> dict[str, str]:
        """The DataVersions of a unit's inputs by parameter; `stands` gives that of a unit by id.

        An external input is read as its parameter is annotated, so there that counts, too. A parameter that takes many
        has an entry for each, or one for all if they are more than a person would look through.
        """
        found: dict[str, str] = {}
        for param, feed in unit.feeds.items():
            if feed.labels is None:
                up = feed.units[0]
                found[param] = stands(up) + self._read_as(unit.asset, param, up)
            elif len(feed.labels) <= _MANY:
                for label, up in zip(feed.labels, feed.units, strict=True):
                    found[f"{param}[{label}]"] = stands(up) + self._read_as(unit.asset, param, up)
            else:
                told = "\n".join(f"{label}\0{stands(up)}" for label, up in zip(feed.labels, feed.units, strict=True))
                as_ = self._read_as(unit.asset, param, feed.units[0])
                found[param] = hashlib.sha256(told.encode()).hexdigest() + as_
        return found

    def _read_as(self, one: Asset, name: str, up: str) -> str:
        if self.units[up].asset.source is None:
            return ""
        param = next(param for param in one.params if param.name == name)
        return "" if param.annotation is MISSING else f" as {fits.shown(param.annotation)}"

    def _param(self, name: str, value: Any, one: Asset) -> str:
        """What a record says of a parameter: the value as a person reads it where it is short, and its digest."""
        kept = self._digests.get(id(value))
        if kept is None or kept[0] is not value:
            kept = (value, digest_value(value, what=f"parameter {name!r} of {one.name} ({one.where})"))
            self._digests[id(value)] = kept
        text = "" if is_secret(name) else _REDACTOR.text(repr(value))
        return f"{text} #{kept[1][:32]}" if len(text) <= SHOWN else f"{text[:SHOWN]}… #{kept[1][:32]}"

    def record(self, unit: Unit, version: str) -> tuple[Record | None, str]:
        """The record of that Version if its value can be used, else None with the reason."""
        if unit.id in self.forced:
            return None, "asked to be made again"
        try:
            latest = self.latest.get(unit.id) if self.latest else None
            if latest is not None and latest.version == version:
                return latest, ""
            entry = self.store.index.find(unit.key, version)
            if entry is not None:
                return entry, ""
            found = self.store.lookup(unit.key, version)
        except CorruptError as error:
            return None, f"its record cannot be read ({error.found})"
        usable, trouble = self.usable(found)
        if usable is not None:
            self.store.index.add(usable)
        return usable, trouble

    def usable(self, found: Record | CorruptError | None) -> tuple[Record | None, str]:
        """The record if its value is there, else None with the reason."""
        if isinstance(found, CorruptError):
            return None, f"its record cannot be read ({found.found})"
        # An entry is not given out where its value is missing.
        if type(found) is Record and self.store.local and not self.store.has_value(found):
            return None, "its value is missing from the store, or has another size"
        return found, ""

    def source(self, unit: Unit) -> SourceState:
        """What an external input is now."""
        one = unit.asset
        assert one.source is not None
        return state(one.source.at(unit.partition), self.config.root, name=unit.id, where=one.where)

    def unchecked(self, unit: Unit, record: Record) -> tuple[str, ...]:
        """The checks that a reusable value has not passed in their present form."""
        demands = self.demands.get(unit.asset.name)
        if demands is None:
            return ()
        return tuple(name for name, digest in demands.digests.items() if record.checked.get(name) != digest)

    def why(self, unit: Unit, parts: Parts, trouble: str = "") -> tuple[str, tuple[Change, ...]]:
        """Why there is no record of this Version: the trouble with it, or what changed since the last one."""
        if trouble:
            return trouble, ()
        if unit.asset.name in self.demands and self.store.was_rejected(unit.key, self.version(unit, parts.inputs)):
            return "the value that was made of this failed its checks", ()
        latest = self.latest.get(unit.id) if self.latest else self.store.latest(unit.key)
        if latest is None:
            return "never made", ()
        try:
            changes = tuple(compare(latest.parts, parts))
        except CorruptError as error:  # an entry of the index reads them from the record's file only now
            return f"its last record cannot be read ({error.found})", ()
        if not changes:
            return "its last record does not count any more", ()
        more = f" (and {len(changes) - 1} more)" if len(changes) > 1 else ""
        return f"{changes[0]}{more}", changes


def consumers(units: Mapping[str, Unit]) -> dict[str, list[str]]:
    """The ids of each unit's direct consumers."""
    below: dict[str, list[str]] = {name: [] for name in units}
    for unit in units.values():
        for up in unit.above:
            below[up].append(unit.id)
    return below


def project_config(graph: Graph) -> Config:
    """The configuration of the project that the graph's first asset lies in."""
    first = next(iter(graph.assets.values()), None)
    return Config.load(Path(first.file) if first and Path(first.file).is_file() else None, namespace=graph.namespace)


def _targets(graph: Graph, names: tuple[str, ...], target: str | Mapping[str, str] | None) -> dict[str, str]:
    """Overrides by asset: a text moves every asset that names a target; a mapping moves targets, or assets, by name."""
    moved: dict[str, str] = {}
    if isinstance(target, Mapping):
        _check_moves(graph, target)
    for name in names:
        options = graph.assets[name].options
        if isinstance(target, str) and options.target not in (None, HERE):
            moved[name] = target
        elif isinstance(target, Mapping):
            found = target.get(name) or target.get(options.target or HERE)
            if found:
                moved[name] = found
        runs_here = (moved.get(name) or options.target or HERE) == HERE
        for option in ("gpus", "gpu_memory", "timeout", "wait_timeout", "silence_timeout", "isolate"):
            if runs_here and getattr(options, option):
                raise OptionError(
                    f"{name} sets {option!r} and runs in this process, where nothing can hold to it.",
                    expected="a target: `local`, or a host",
                    found=f"target {HERE!r}",
                    todo=f"set `target` of {name}, or remove {option!r}",
                    where=graph.assets[name].where,
                )
    return moved


def _check_moves(graph: Graph, moves: Mapping[str, str]) -> None:
    """A move of what is not there would be a setting without effect, on the wrong hardware."""
    used = {one.options.target or HERE for one in graph.assets.values()}
    known = [*sorted(used | {HERE}), *graph.assets]
    for old, new in moves.items():
        if old not in known or not new:
            raise UnknownTargetError(
                f"{old!r} cannot be moved to {new!r}.",
                expected="an asset or a target that an asset names, and the name of another target",
                found=f"{old!r} is neither" if old not in known else "no name of a target",
                todo=did_you_mean(old, known, otherwise=f"name one of {', '.join(known[:20])}") if new else "name one",
            )


def _check_paths(graph: Graph, names: tuple[str, ...], root: Path) -> None:
    """Two assets that publish to one place would each undo what the other did."""
    taken: dict[str, str] = {}
    for name in names:
        one = graph.assets[name]
        if not one.options.path:
            continue
        place = one.options.path if "://" in one.options.path else str(root / Path(one.options.path).expanduser())
        if not place.rpartition("/")[2] or place.endswith(("/..", "/.")):
            raise OptionError(
                f"The path of {name} names no file.",
                expected="a place such as 'out/table.parquet'",
                found=repr(one.options.path),
                where=one.where,
            )
        if place in taken:
            raise OptionError(
                f"{taken[place]} and {name} publish to one place.",
                expected="a path of its own for each",
                found=redacted(place),
                todo=f"change the path of {name}",
                where=one.where,
            )
        taken[place] = name


def _check_filled(units: Mapping[str, Unit]) -> None:
    """A path has in braces what a partition has, and no two partitions are published to one place."""
    taken: dict[str, str] = {}
    seen: set[str] = set()
    for unit in units.values():
        one, path = unit.asset, unit.asset.options.path
        if unit.key.partition is None or not (path or (one.source and one.name not in seen)):
            continue
        seen.add(one.name)
        try:
            place = filled(path or one.source.path, unit.partition)  # type: ignore[union-attr, arg-type]  # it has both
        except OptionError as error:
            error.where = one.where
            raise
        if path and taken.setdefault(place, unit.id) != unit.id:
            raise OptionError(
                f"{taken[place]} and {unit.id} would be published to one path.",
                expected="a path of its own for each partition",
                found=redacted(path),
                todo="write {partition} into it",
                where=one.where,
            )


def _windows(one: Asset) -> dict[str, str]:
    """What decides which window of time a key is, for a function that is given it."""
    defined = one.partitions if one.takes_partition else None
    if isinstance(defined, Multi):
        defined = dict(defined.dims).get(defined.time or "")
    return {"windows": " ".join(map(str, defined.beat()[1:]))} if isinstance(defined, Windows) else {}


def _forced(graph: Graph, units: Mapping[str, Unit], force: Collection[str]) -> frozenset[str]:
    """The ids of what is to be made again: all selected partitions of an asset, or the one that is named."""
    found: set[str] = set()
    for name in force:
        word, at, key = name.partition("@")
        for own in graph.named(word):
            if at and f"{own}@{key}" not in units:
                raise PartitionError(
                    f"{own}@{key} is not selected, so it cannot be made again.",
                    found=name,
                    todo="select it by --partition",
                )
            if at:
                found.add(f"{own}@{key}")
            else:
                found.update(unit.id for unit in units.values() if unit.asset.name == own)
    return frozenset(found)
