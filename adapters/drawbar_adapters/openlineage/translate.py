"""Core events in, OpenLineage RunEvents out, as lines of JSON: one run per asset, children of the walk's run.

What many events share (a walk's parent, an asset's job, a value's dataset) is encoded once and joined as text, since
this happens in the run's path, between one asset and the next.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drawbar import events as core
from drawbar.asset import Asset
from drawbar.events import Made, Parent
from drawbar.keys import AssetKey
from drawbar.partitions import Multi
from drawbar.redact import Redactor
from drawbar_adapters.naming import openlineage_job
from drawbar_adapters.openlineage import facets, source
from drawbar_adapters.openlineage.datasets import dataset_facets, dataset_of, partition_of, together
from drawbar_adapters.openlineage.facets import Facet, encode
from drawbar_adapters.openlineage.parents import parent_from_environment

_NAMED = 20
# So many values are kept encoded: what one asset made is the input of others.
_KEPT = 4096


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
    """An asset's run that has a START and no end yet; `inputs` and `made_from` are what its events share, encoded."""

    target: str = "here"
    job: str = ""
    attempt: int = 1
    adopted: bool = False
    inputs: str = ""
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
        self._inputs: dict[tuple[Any, ...], str] = {}
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
        read = self._read(event.inputs)
        begun = _Begun(event.target, event.job, event.attempt, event.adopted, read, made_from=self._made_from(event))
        self._begun[event.asset_run_id] = begun
        return [] if event.told else [self._asset_line("START", event, begun, self._execution(begun))]

    def _made(self, event: core.AssetMade) -> list[str]:
        begun = self._end(event)
        if begun is None:
            return []
        if not begun.made_from:
            read = self._read(event.inputs)
            begun = _Begun(event.target, event.job, event.attempt, False, read, self._made_from(event))
        cost = self._execution(begun, seconds=event.seconds, costs=event.costs)
        return [self._asset_line("COMPLETE", event, begun, cost, event.made)]

    def _reused(self, event: core.AssetReused) -> list[str]:
        if event.asset_run_id in self._ended:
            return []
        self._ended.add(event.asset_run_id)
        began = self._begun.pop(event.asset_run_id, None) is not None
        found = _Begun(inputs=self._read(event.inputs), made_from=self._made_from(event))
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
        said = f'"errorMessage":{encode(error)},{cost}'
        return [self._asset_line("FAIL", event, begun, said, refused=event.made)]

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
        return self._begun.pop(event.asset_run_id, None) or _Begun(inputs=self._read(inputs))

    # Pieces of a line

    def _asset_line(
        self,
        kind: str,
        event: core.AssetEvent,
        begun: _Begun,
        more: str,
        made: Made | None = None,
        *,
        refused: Made | None = None,
    ) -> str:
        walk = self._walk_of(event)
        said = (f'"parent":{walk.parent}', self._engine, begun.made_from, self._tests(event, made or refused), more)
        output = self._output(event, made) if made else self._refused(event, refused) if refused else ""
        return self._line(
            kind,
            facets.timestamp(event.at),
            facets.uuid_of(event.asset_run_id),
            run=",".join([each for each in said if each]),
            job=self._job(event.asset, event.key, walk),
            inputs=begun.inputs,
            outputs=output,
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
        partition = partition_of(event.asset, event.key)
        if partition is not None and partition.start is not None:
            said["nominalTime"] = facets.nominal_time(partition.start, partition.end)
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

    def _tests(self, event: core.AssetEvent, made: Made | None) -> str:
        """The checks that this run made; one that reuses a value made none."""
        if made is None or not made.checks or isinstance(event, core.AssetReused):
            return ""
        return f'"test":{encode(facets.tests(made.checks, self._walk_of(event).redact.text))}'

    def _described(self, made: Made, pattern: str) -> tuple[str, dict[str, Facet]]:
        """The dataset that `made` is a version of: how it begins, encoded, and its facets."""
        namespace, name = dataset_of(made, folder=self._project, pattern=pattern)
        begin = f'"namespace":{encode(namespace)},"name":{encode(self._names.text(name))}'
        return begin, dataset_facets(made, namespace)

    def _dimensions(self, key: AssetKey, asset: Asset | None = None) -> Mapping[str, str]:
        """What a partition is in each dimension; of an asset that nobody told of it is the key alone."""
        known = self._jobs.get(key.at(None))
        asset = asset or (known[0] if known else None)
        partition = partition_of(asset, key) if asset and isinstance(asset.partitions, Multi) else None
        return partition.keys if partition else {"partition": key.partition or ""}

    def _read(self, inputs: Iterable[Made]) -> str:
        """The inputs, encoded: one dataset for each asset, however many of its partitions were read."""
        parts: dict[tuple[str, str], dict[AssetKey, Made]] = {}
        for made in inputs:
            parts.setdefault((made.key.namespace, made.key.name), {})[made.key] = made
        return ",".join([self._input(list(several.values())) for several in parts.values()])

    def _input(self, parts: Sequence[Made]) -> str:
        if len(parts) > 1:
            return self._encode_input(together(parts), [one.key for one in parts])
        (made,) = parts
        # A profile and checks do not hash; these decide them.
        known = (made.key, made.version, made.data_version, made.run_id, made.uri, made.published)
        found = self._inputs.get(known)
        if found is None:
            if len(self._inputs) >= _KEPT:
                self._inputs.clear()
            found = self._inputs[known] = self._encode_input(made, [made.key])
        return found

    def _encode_input(self, made: Made, keys: Sequence[AssetKey]) -> str:
        # What a source or a published copy is called for all partitions, where its maker says so.
        begin, said = self._described(made, made.pattern)
        if len(keys) > 1:
            said.pop("version")
        use: dict[str, Facet] = {}
        if made.rows is not None or made.bytes:
            use["inputStatistics"] = facets.statistics(made, output=False)
        if made.profile and any(made.profile["columns"]):
            use["dataQualityMetrics"] = facets.metrics(made.profile, made.bytes, output=False)
        if made.checks:
            use["dataQualityAssertions"] = facets.assertions(made.checks, self._redact.text)
        dims = {key.partition: self._dimensions(key) for key in keys if key.partition is not None}
        if dims:
            use["subset"] = facets.subset(dims, output=False)
        return f'{{{begin},"facets":{{{encode(said)[1:-1]}}},"inputFacets":{encode(use)}}}'

    def _output(self, event: core.AssetEvent, made: Made) -> str:
        begin, said = self._described(made, event.asset.options.path or "")
        use: dict[str, Facet] = {}
        if made.rows is not None or made.bytes:
            use["outputStatistics"] = facets.statistics(made, output=True)
        return self._written(event, made, begin, said, use)

    def _refused(self, event: core.AssetEvent, made: Made) -> str:
        """What was to be written: a value that failed a check is no version of the dataset."""
        if event.asset.options.path:
            made = replace(made, published=event.asset.options.path)
        begin, said = self._described(made, event.asset.options.path or "")
        for name in ("version", "schema"):
            said.pop(name, None)
        return self._written(event, made, begin, said, {})

    def _written(
        self, event: core.AssetEvent, made: Made, begin: str, said: dict[str, Facet], use: dict[str, Facet]
    ) -> str:
        """An output, encoded; what its asset, its profile and its checks say of it is added to what is `said`."""
        options, doc = event.asset.options, event.asset.doc
        if doc:
            said["documentation"] = facets.facet("DocumentationDatasetFacet", description=self._redact.text(doc))
        if options.tags:
            said["tags"] = facets.tags(options.tags, of="Dataset")
        if options.owners:
            said["ownership"] = facets.ownership(options.owners, of="Dataset")
        if made.profile and any(made.profile["columns"]):
            said["dataQualityMetrics"] = facets.metrics(made.profile, made.bytes, output=True)
        if made.checks:
            said["dataQualityAssertions"] = facets.assertions(made.checks, self._walk_of(event).redact.text)
        if made.key.partition is not None:
            use["subset"] = facets.subset({made.key.partition: self._dimensions(made.key, event.asset)}, output=True)
        return f'{{{begin},"facets":{encode(said)},"outputFacets":{encode(use)}}}'


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
