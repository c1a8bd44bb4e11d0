"""The plan: for every asset what it would be made from, whether that is in the store already, and if not, why not.

The graph, the run parameters and what the store remembers come in; decisions go to `run`, to the command line and to
adapters. A Version enters downstream by its DataVersion, so a plan is certain only down to the first asset that runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drawbar import fits
from drawbar import params as parameters
from drawbar.asset import MISSING, Asset
from drawbar.config import Config
from drawbar.digest import digest_value
from drawbar.errors import CorruptError, OptionError, SourceError, UnknownTargetError, did_you_mean
from drawbar.external import SourceState, state
from drawbar.files import redacted
from drawbar.fingerprint import Code, Fingerprints
from drawbar.graph import Graph
from drawbar.keys import AssetKey
from drawbar.records import Parts, Record
from drawbar.redact import Redactor, is_secret
from drawbar.store import Store
from drawbar.version import Change, compare, env_parts, installed, transient_version, version_of

HERE = "here"
SHOWN = 200
_REDACTOR = Redactor()


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to happen with one asset: `action` is reuse, run, skip (transient and not needed), source or blocked.

    `certain` is False where it depends on what an asset above comes out as: it may still be reused then.
    """

    name: str
    key: AssetKey
    action: str
    reason: str
    target: str = HERE
    version: str = ""
    data_version: str = ""
    record: Record | None = None
    changes: tuple[Change, ...] = ()
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """Decisions by asset name, in dependency order."""

    decisions: Mapping[str, Decision]

    def __getitem__(self, name: str) -> Decision:
        """The decision on that asset."""
        return self.decisions[name]

    @property
    def counts(self) -> dict[str, int]:
        """How many assets meet each action."""
        found: dict[str, int] = {}
        for one in self.decisions.values():
            found[one.action] = found.get(one.action, 0) + 1
        return found


@dataclass(slots=True)
class Planner:
    """What is known before anything runs: the assets wanted, their parameters and code, the store, the settings."""

    graph: Graph
    names: tuple[str, ...]
    params: Mapping[str, Any]
    store: Store
    config: Config
    targets: Mapping[str, str]
    forced: frozenset[str]
    keys: dict[str, AssetKey]
    codes: dict[str, Code] = field(default_factory=dict)
    latest: dict[str, Record | None] | None = None
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
    ) -> Planner:
        """Check all that can be checked before a run: names, parameters, options, and that all code has a digest."""
        names = graph.select(wanted)
        settings = config or project_config(graph)
        found = store if isinstance(store, Store) else Store(settings.store if store is None else store)
        values = parameters.check(graph, names, params or {}, settings.params)
        _check_paths(graph, names, settings.root)
        forced = frozenset(graph[name].name for name in force)
        keys = {name: AssetKey(graph.namespace, name) for name in names}
        planner = cls(graph, names, values, found, settings, _targets(graph, names, target), forced, keys)
        prints = Fingerprints()
        for name in names:
            one = graph.assets[name]
            if one.fn is not None and one.options.version is None:
                planner.codes[name] = prints.code(one.fn, where=one.where)
        if not found.local:
            made = [keys[name] for name in names if graph.assets[name].source is None]
            planner.latest = {key.name: record for key, record in zip(made, found.latest_of(made), strict=True)}
        return planner

    def target(self, name: str) -> str:
        """Where the asset runs: the override, else its own option, else here."""
        return self.targets.get(name) or self.graph.assets[name].options.target or HERE

    def params_of(self, one: Asset) -> dict[str, Any]:
        """The values of its run parameters, defaults filled in."""
        known = self._values.get(one.name)
        if known is None:
            edges, given = self.graph.edges[one.name], self.params
            known = {
                param.name: given.get(param.name, param.default) for param in one.params if param.name not in edges
            }
            self._values[one.name] = known
        return known

    def parts(self, name: str, inputs: Mapping[str, str]) -> Parts:
        """What the asset would be made from, given the DataVersions of its inputs by parameter."""
        one = self.graph.assets[name]
        known = self.codes.get(name)
        env = one.options.env
        return Parts(
            digest=known.digest if known else "",
            code=known.parts if known else {},
            params={key: self._param(key, value, one) for key, value in self.params_of(one).items()},
            inputs=self._inputs(one, inputs),
            env=env_parts(env) if env else (),
            format=one.options.format or "",
            packages=installed(known) if known and self.config.packages == "installed" else {},
            declared=one.options.version or "",
        )

    def _inputs(self, one: Asset, inputs: Mapping[str, str]) -> Mapping[str, str]:
        """The DataVersions; an external input is read as its parameter is annotated, so there that counts, too."""
        edges, assets = self.graph.edges[one.name], self.graph.assets
        if all(assets[up].source is None for up in edges.values()):
            return inputs
        notes = {param.name: fits.shown(param.annotation) for param in one.params if param.annotation is not MISSING}
        return {
            name: f"{digest} as {notes[name]}" if assets[edges[name]].source is not None and name in notes else digest
            for name, digest in inputs.items()
        }

    def _param(self, name: str, value: Any, one: Asset) -> str:
        """What a record says of a parameter: the value as a person reads it where it is short, and its digest."""
        kept = self._digests.get(id(value))
        if kept is None or kept[0] is not value:
            kept = (value, digest_value(value, what=f"parameter {name!r} of {one.name} ({one.where})"))
            self._digests[id(value)] = kept
        text = "" if is_secret(name) else _REDACTOR.text(repr(value))
        return f"{text} #{kept[1][:32]}" if len(text) <= SHOWN else f"{text[:SHOWN]}… #{kept[1][:32]}"

    def record(self, name: str, version: str) -> tuple[Record | None, str]:
        """The record of that Version if its value can be used, else None with the reason."""
        if name in self.forced:
            return None, "asked to be made again"
        try:
            latest = self.latest.get(name) if self.latest else None
            if latest is not None and latest.version == version:
                return latest, ""
            found = self.store.lookup(self.keys[name], version)
        except CorruptError as error:
            return None, f"its record cannot be read ({error.found})"
        return self.usable(found)

    def usable(self, found: Record | CorruptError | None) -> tuple[Record | None, str]:
        """The record if its value is there, else None with the reason."""
        if isinstance(found, CorruptError):
            return None, f"its record cannot be read ({found.found})"
        if found is not None and self.store.local and not self.store.has_value(found):
            return None, "its value is missing from the store, or has another size"
        return found, ""

    def source(self, name: str) -> SourceState:
        """What an external input is now."""
        one = self.graph.assets[name]
        assert one.source is not None
        return state(one.source, self.config.root, name=name, where=one.where)

    def why(self, name: str, parts: Parts, trouble: str = "") -> tuple[str, tuple[Change, ...]]:
        """Why there is no record of this Version: the trouble with it, or what changed since the last one."""
        if trouble:
            return trouble, ()
        latest = self.latest.get(name) if self.latest else self.store.latest(self.keys[name])
        if latest is None:
            return "never made", ()
        changes = tuple(compare(latest.parts, parts))
        if not changes:
            return "its last record does not count any more", ()
        more = f" (and {len(changes) - 1} more)" if len(changes) > 1 else ""
        return f"{changes[0]}{more}", changes


def plan(graph: Graph, wanted: Iterable[str] | None = None, **settings: Any) -> Plan:
    """What a run would do and why, without doing it; `settings` are those of `Planner.of`.

    Lookups of one depth of the graph go out together, and only for what is selected.
    """
    planner = Planner.of(graph, wanted, **settings)
    decisions: dict[str, Decision] = {}
    for level in _levels(graph, planner.names):
        _decide_level(planner, level, decisions)
    _settle_transients(graph, planner.names, decisions)
    return Plan({name: decisions[name] for name in planner.names})


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
        for option in ("gpus", "gpu_memory", "timeout"):
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


def _levels(graph: Graph, names: tuple[str, ...]) -> list[list[str]]:
    depth: dict[str, int] = {}
    levels: list[list[str]] = []
    for name in names:
        depth[name] = 1 + max((depth[up] for up in graph.edges[name].values()), default=-1)
        if depth[name] == len(levels):
            levels.append([])
        levels[depth[name]].append(name)
    return levels


def _decide_level(planner: Planner, level: list[str], decisions: dict[str, Decision]) -> None:
    lookups: list[tuple[str, Parts, str]] = []
    for name in level:
        one, key = planner.graph.assets[name], planner.keys[name]
        above = {param: decisions[up] for param, up in planner.graph.edges[name].items()}
        target = planner.target(name)
        if one.source is not None:
            decisions[name] = _decide_source(planner, name, key)
        elif blocked := [up.name for up in above.values() if up.action == "blocked"]:
            decisions[name] = Decision(name, key, "blocked", f"{blocked[0]} cannot be had", target)
        elif unsure := [up.name for up in above.values() if not up.data_version]:
            reason = f"{unsure[0]} is made first; reused if that comes out the same"
            decisions[name] = Decision(name, key, "run", reason, target, certain=False)
        else:
            parts = planner.parts(name, {param: up.data_version for param, up in above.items()})
            version = version_of(parts, name)
            if one.options.persist:
                lookups.append((name, parts, version))
            else:
                stands = transient_version(version)
                decisions[name] = Decision(name, key, "run", "transient", target, version, stands)
    found = _lookup(planner, [(name, version) for name, _, version in lookups])
    for (name, parts, version), record in zip(lookups, found, strict=True):
        key, target = planner.keys[name], planner.target(name)
        usable, trouble = (None, "asked to be made again") if name in planner.forced else planner.usable(record)
        if usable is not None:
            reason = f"made {usable.at:%Y-%m-%d %H:%M} UTC by {usable.by}@{usable.host}"
            decisions[name] = Decision(name, key, "reuse", reason, target, version, usable.data_version, usable)
        else:
            reason, changes = planner.why(name, parts, trouble)
            decisions[name] = Decision(name, key, "run", reason, target, version, changes=changes)


def _lookup(planner: Planner, wanted: list[tuple[str, str]]) -> list[Record | CorruptError | None]:
    """Records of these Versions: from what was fetched with the plan's first request, the rest in one more."""
    found: list[Record | CorruptError | None] = []
    missing: list[tuple[int, AssetKey, str]] = []
    for index, (name, version) in enumerate(wanted):
        latest = planner.latest.get(name) if planner.latest else None
        found.append(latest if latest is not None and latest.version == version else None)
        if found[-1] is None:
            missing.append((index, planner.keys[name], version))
    for (index, _, _), record in zip(
        missing, planner.store.lookup_many([(key, version) for _, key, version in missing]), strict=True
    ):
        found[index] = record
    return found


def _decide_source(planner: Planner, name: str, key: AssetKey) -> Decision:
    try:
        now = planner.source(name)
    except SourceError as error:
        return Decision(name, key, "blocked", f"{error.what} {error.found}")
    return Decision(name, key, "source", now.uri, data_version=now.data_version)


def _settle_transients(graph: Graph, names: tuple[str, ...], decisions: dict[str, Decision]) -> None:
    """A transient asset runs only if something that takes it runs, or if nothing takes it and it was asked for."""
    below = graph.dependents()
    for name in reversed(names):
        one = decisions[name]
        takers = [decisions[taker] for taker in below[name] if taker in decisions]
        if not graph.assets[name].options.persist and takers and all(t.action in ("reuse", "skip") for t in takers):
            reason = "transient, and nothing that takes it runs"
            decisions[name] = Decision(name, one.key, "skip", reason, one.target, one.version, one.data_version)
