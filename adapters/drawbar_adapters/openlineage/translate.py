"""Core events in, OpenLineage RunEvents out, as lines of JSON: one run per asset, children of the walk's run.

What many events share (a walk's parent, an asset's job, a value's dataset) is encoded once and joined as text, since
this happens in the run's path, between one asset and the next.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drawbar import events as core
from drawbar.asset import Asset
from drawbar.events import Made, Parent
from drawbar.keys import AssetKey
from drawbar.redact import Redactor
from drawbar_adapters.naming import openlineage_job
from drawbar_adapters.openlineage import facets, source
from drawbar_adapters.openlineage.datasets import dataset_facets, dataset_of
from drawbar_adapters.openlineage.facets import Facet, encode
from drawbar_adapters.openlineage.parents import parent_from_environment

_NAMED = 20


@dataclass(slots=True)
class _Walk:
    """What the events of one walk share; `parent` is the encoded facet of its assets' runs."""

    parent: str
    namespace: str
    name: str
    redact: Redactor
    own_parent: Facet | None = None
    silent: bool = False
    failed: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Begun:
    """An asset's run that has a START and no end yet; `made_from` is what its events share, encoded."""

    target: str = "here"
    job: str = ""
    attempt: int = 1
    adopted: bool = False
    inputs: tuple[Made, ...] = ()
    made_from: str = ""


class Translator:
    """Turns events into lines; calling it with an event gives the lines to keep, none for what lineage does not tell.

    `namespace` is the job namespace where it is not each asset's own; `project` is the folder that relative paths are
    taken from. A run whose start was told elsewhere gets no second START, and none gets a second end.
    """

    def __init__(self, project: Path, redact: Redactor, namespace: str | None = None) -> None:
        self._project = str(project)
        self._redact = redact
        # A dataset has the same name in every process, whatever its environment holds.
        self._names = replace(redact, values=())
        self._namespace = namespace
        self._walks: dict[str, _Walk] = {}
        self._begun: dict[str, _Begun] = {}
        self._ended: set[str] = set()
        self._jobs: dict[AssetKey, tuple[Asset, str]] = {}
        self._described = functools.lru_cache(maxsize=4096)(self._describe)
        self._input = functools.lru_cache(maxsize=4096)(self._encode_input)
        self._engine = f'"processing_engine":{encode(facets.processing_engine())}'
        self._head = f'"producer":{encode(facets.producer())},"schemaURL":{encode(facets.EVENT_SCHEMA)}'
        # An asset that is blocked never begins, so it has no run; the walk's own end says which and why.
        self._told: Mapping[type, Callable[[Any], list[str]]] = {
            core.RunStarted: self._run_started,
            core.RunEnded: self._run_ended,
            core.AssetStarted: self._started,
            core.AssetReused: self._reused,
            core.AssetMade: self._made,
            core.AssetFailed: self._failed,
            core.AssetCancelled: self._cancelled,
            core.AssetBlocked: self._blocked,
        }

    def __call__(self, event: core.Event) -> list[str]:
        """The lines of `event`, each one whole RunEvent without its line end."""
        tell = self._told.get(type(event))
        return tell(event) if tell else []

    # The walk

    def _run_started(self, event: core.RunStarted) -> list[str]:
        source.forget()
        self._jobs.clear()
        outer = event.parent or parent_from_environment(os.environ)
        namespace = self._namespace or event.namespace
        redact = self._redact.knowing(event.params)
        if event.parent:
            parent, own = event.parent, None
        else:
            mine = (facets.uuid_of(event.run_id), namespace, event.namespace)
            roots = (outer.root_run_id, outer.root_job_namespace, outer.root_job_name) if outer else mine
            parent, own = Parent(*mine, *roots), facets.parent_run(outer) if outer else None
        encoded = encode(facets.parent_run(parent))
        walk = _Walk(encoded, namespace, event.namespace, redact, own, silent=event.parent is not None)
        self._walks[event.run_id] = walk
        if walk.silent:
            return []
        more = {"executionParameters": _parameters(event.params, redact)} if event.params else {}
        return [self._walk_line("START", event, walk, more)]

    def _run_ended(self, event: core.RunEnded) -> list[str]:
        walk = self._walks.pop(event.run_id, None)
        self._ended.clear()
        if walk is None or walk.silent:
            return []
        kind = {"succeeded": "COMPLETE", "cancelled": "ABORT"}.get(event.state, "FAIL")
        more = {"errorMessage": facets.error_message(_why(walk, event.counts))} if kind == "FAIL" else {}
        return [self._walk_line(kind, event, walk, more)]

    def _walk_line(self, kind: str, event: core.RunStarted | core.RunEnded, walk: _Walk, more: dict[str, Facet]) -> str:
        said = {**({"parent": walk.own_parent} if walk.own_parent else {}), **more}
        run = f"{self._engine},{encode(said)[1:-1]}" if said else self._engine
        job = {"namespace": walk.namespace, "name": walk.name, "facets": {"jobType": facets.job_type("GRAPH")}}
        return self._line(kind, facets.timestamp(event.at), facets.uuid_of(event.run_id), run=run, job=encode(job))

    # An asset

    def _started(self, event: core.AssetStarted) -> list[str]:
        if event.asset_run_id in self._begun or event.asset_run_id in self._ended:
            return []
        begun = _Begun(
            event.target, event.job, event.attempt, event.adopted, event.inputs, made_from=self._made_from(event)
        )
        self._begun[event.asset_run_id] = begun
        return [] if event.told else [self._asset_line("START", event, begun, self._execution(begun))]

    def _made(self, event: core.AssetMade) -> list[str]:
        begun = self._end(event)
        if begun is None:
            return []
        if not begun.made_from:
            begun = _Begun(event.target, event.job, event.attempt, False, event.inputs, self._made_from(event))
        cost = self._execution(begun, seconds=event.seconds, costs=event.costs)
        return [self._asset_line("COMPLETE", event, begun, cost, event.made)]

    def _reused(self, event: core.AssetReused) -> list[str]:
        if event.asset_run_id in self._ended:
            return []
        self._ended.add(event.asset_run_id)
        began = self._begun.pop(event.asset_run_id, None) is not None
        found = _Begun(inputs=event.inputs, made_from=self._made_from(event))
        cache = facets.cache(event.made, event.version, self._redact.text(event.reason))
        end = self._asset_line("COMPLETE", event, found, f'"drawbar_cache":{encode(cache)}', event.made)
        start = end.replace('"eventType":"COMPLETE"', '"eventType":"START"', 1)
        return [end] if began else [start, end]

    def _failed(self, event: core.AssetFailed) -> list[str]:
        begun = self._end(event, event.inputs)
        if begun is None:
            return []
        walk = self._walk_of(event)
        if not event.will_retry:
            walk.failed.append(str(event.key))
        error = facets.error_message(walk.redact.text(_said(event.error)), walk.redact.text(event.traceback))
        cost = self._execution(begun, seconds=event.seconds, will_retry=event.will_retry)
        return [self._asset_line("FAIL", event, begun, f'"errorMessage":{encode(error)},{cost}')]

    def _cancelled(self, event: core.AssetCancelled) -> list[str]:
        if event.left:  # the job goes on, and whoever adopts it ends this same run
            self._begun.pop(event.asset_run_id, None)
            return []
        begun = self._end(event, event.inputs)
        if begun is None:
            return []
        return [self._asset_line("ABORT", event, begun, self._execution(begun, seconds=event.seconds))]

    def _blocked(self, event: core.AssetBlocked) -> list[str]:
        walk = self._walks.get(event.run_id)
        if walk:
            walk.blocked.append(f"{event.key} (needs {', '.join(map(str, event.because))})")
        return []

    def _end(self, event: core.AssetEvent, inputs: tuple[Made, ...] = ()) -> _Begun | None:
        """The run that ends, None if it ended before; of one that began in another process little is known."""
        if event.asset_run_id in self._ended:
            return None
        self._ended.add(event.asset_run_id)
        return self._begun.pop(event.asset_run_id, None) or _Begun(inputs=inputs)

    # Pieces of a line

    def _asset_line(self, kind: str, event: core.AssetEvent, begun: _Begun, more: str, made: Made | None = None) -> str:
        walk = self._walk_of(event)
        said = (f'"parent":{walk.parent}', self._engine, begun.made_from, more)
        return self._line(
            kind,
            facets.timestamp(event.at),
            facets.uuid_of(event.asset_run_id),
            run=",".join([each for each in said if each]),
            job=self._job(event.asset, event.key, walk),
            inputs=",".join([self._input(each) for each in begun.inputs]),
            outputs=self._output(made, event.asset) if made else "",
        )

    def _line(self, kind: str, at: str, run_id: str, *, run: str, job: str, inputs: str = "", outputs: str = "") -> str:
        return (
            f'{{"eventType":"{kind}","eventTime":"{at}",{self._head},"run":{{"runId":"{run_id}","facets":{{{run}}}}},'
            f'"job":{job},"inputs":[{inputs}],"outputs":[{outputs}]}}'
        )

    def _walk_of(self, event: core.AssetEvent) -> _Walk:
        walk = self._walks.get(event.run_id)
        if walk is None:  # an adapter may tell assets of a walk whose start was another process's
            namespace = self._namespace or event.key.namespace
            parent = parent_from_environment(os.environ) or Parent(event.run_id, namespace, event.key.namespace)
            encoded = encode(facets.parent_run(parent))
            walk = _Walk(encoded, namespace, event.key.namespace, self._redact, silent=True)
            self._walks[event.run_id] = walk
        return walk

    def _made_from(self, event: core.AssetStarted | core.AssetMade | core.AssetReused) -> str:
        said = {"drawbar_fingerprint": facets.fingerprint(event.version, event.code)}
        if event.params:
            walk = self._walk_of(event)
            walk.redact = walk.redact.knowing(event.params)
            said["executionParameters"] = _parameters(event.params, walk.redact)
        return encode(said)[1:-1]

    def _execution(self, begun: _Begun, **more: Any) -> str:
        ran = facets.execution(begun.target, begun.job, begun.attempt, adopted=begun.adopted, **more)
        return f'"drawbar_execution":{encode(ran)}'

    def _job(self, asset: Asset, key: AssetKey, walk: _Walk) -> str:
        plain = key.at(None)
        kept = self._jobs.get(plain)
        if kept and kept[0] is asset:
            return kept[1]
        said: dict[str, Facet] = {"jobType": facets.job_type("ASSET")}
        location = source.source_location(asset.file, asset.line)
        if location:
            said["sourceCodeLocation"] = location
        if asset.doc:
            said["documentation"] = facets.facet("DocumentationJobFacet", description=self._redact.text(asset.doc))
        if asset.options.tags:
            said["tags"] = facets.tags(asset.options.tags, of="Job")
        if asset.options.owners:
            said["ownership"] = facets.ownership(asset.options.owners, of="Job")
        text = encode({"namespace": walk.namespace, "name": openlineage_job(plain), "facets": said})
        self._jobs[plain] = (asset, text)
        return text

    def _describe(self, made: Made) -> tuple[str, str]:
        """The dataset that `made` is a version of, encoded: how it begins, and its facets without their braces."""
        namespace, name = dataset_of(made, folder=self._project)
        begin = f'"namespace":{encode(namespace)},"name":{encode(self._names.text(name))}'
        return begin, encode(dataset_facets(made, namespace))[1:-1]

    def _encode_input(self, made: Made) -> str:
        begin, said = self._described(made)
        return f'{{{begin},"facets":{{{said}}},"inputFacets":{encode(_use(made, output=False))}}}'

    def _output(self, made: Made, asset: Asset) -> str:
        begin, said = self._described(made)
        more: dict[str, Facet] = {}
        if asset.doc:
            description = self._redact.text(asset.doc)
            more["documentation"] = facets.facet("DocumentationDatasetFacet", description=description)
        if asset.options.tags:
            more["tags"] = facets.tags(asset.options.tags, of="Dataset")
        if asset.options.owners:
            more["ownership"] = facets.ownership(asset.options.owners, of="Dataset")
        said = f"{said},{encode(more)[1:-1]}" if more else said
        return f'{{{begin},"facets":{{{said}}},"outputFacets":{encode(_use(made, output=True))}}}'


def _use(made: Made, *, output: bool) -> dict[str, Facet]:
    said: dict[str, Facet] = {}
    if made.rows is not None or made.bytes:
        said["outputStatistics" if output else "inputStatistics"] = facets.statistics(made, output=output)
    if made.key.partition is not None:
        said["subset"] = facets.subset(made.key.partition, output=output)
    return said


def _parameters(params: Mapping[str, Any], redact: Redactor) -> Facet:
    return facets.execution_parameters({name: redact.value(name, value) for name, value in params.items()})


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # the user's own __str__ may raise
        return type(error).__name__


def _why(walk: _Walk, counts: Mapping[str, int]) -> str:
    """One sentence on a walk that failed: how many assets ended how, then which."""
    lines = [", ".join(f"{count} {state}" for state, count in counts.items() if count) or "failed"]
    for label, named in (("failed", walk.failed), ("blocked", walk.blocked)):
        if named:
            more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
            lines.append(f"{label}: {', '.join(named[:_NAMED])}{more}")
    return "; ".join(lines)
