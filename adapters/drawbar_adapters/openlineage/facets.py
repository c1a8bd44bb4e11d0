"""The facets drawbar sends, each a plain dict with its producer and its schema, and nothing left empty.

They are dicts and not the client's classes because those are checked on every construction and walked on every
serialisation: an event of 6 KB took 590 µs to build and write with them and takes 30 µs so, and importing them costs
half a second that a run should not wait for. A test holds every URL here equal to the class's own.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeAlias
from uuid import NAMESPACE_URL, UUID, uuid5

from drawbar.events import Costs, Made, Parent

Facet: TypeAlias = dict[str, Any]

# Where our own facets' schemas can be read; the tag changes with them, not with every release.
OWN_SCHEMAS = (
    "https://raw.githubusercontent.com/drawbar/drawbar/facets-1-0-0/adapters/drawbar_adapters/openlineage/schemas/"
)
EVENT_SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_STANDARD = {
    "DataQualityAssertionsDatasetFacet": "1-1-0",
    # 1-0-1 only adds a date that we do not tell.
    "DataQualityMetricsDatasetFacet": "1-0-0",
    "DataQualityMetricsInputDatasetFacet": "1-0-3",
    "DatasetTypeDatasetFacet": "1-0-1",
    "DatasetVersionDatasetFacet": "1-0-1",
    "DocumentationDatasetFacet": "1-1-0",
    "DocumentationJobFacet": "1-1-0",
    "ErrorMessageRunFacet": "1-0-1",
    "ExecutionParametersRunFacet": "1-0-0",
    "InputStatisticsInputDatasetFacet": "1-0-0",
    "JobTypeJobFacet": "2-0-4",
    "NominalTimeRunFacet": "1-0-1",
    "OutputStatisticsOutputDatasetFacet": "1-0-2",
    "OwnershipDatasetFacet": "1-0-1",
    "OwnershipJobFacet": "1-0-1",
    "ParentRunFacet": "1-2-0",
    "ProcessingEngineRunFacet": "1-1-1",
    "SchemaDatasetFacet": "1-2-0",
    "SourceCodeLocationJobFacet": "1-1-0",
    "StorageDatasetFacet": "1-0-1",
    "SymlinksDatasetFacet": "1-0-1",
    "TagsDatasetFacet": "1-0-0",
    "TagsJobFacet": "1-0-0",
    "TestRunFacet": "1-0-1",
}
_SUBSET = "https://openlineage.io/spec/facets/1-0-0/BaseSubsetDatasetFacet.json#/$defs/"

# So many partitions are told one by one; of more, the range they lie in.
_LISTED = 100

encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


@functools.cache
def version_of(distribution: str) -> str:
    """The installed version of a distribution, `unknown` where it runs from a bare folder."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


@functools.cache
def producer() -> str:
    """The URI that tells which program, in which version, wrote an event."""
    return f"https://github.com/drawbar/drawbar/tree/v{version_of('drawbar-adapters')}/adapters"


@functools.cache
def schema_url(name: str) -> str:
    """The address of the schema of the facet class `name`.

    >>> schema_url("ParentRunFacet")
    'https://openlineage.io/spec/facets/1-2-0/ParentRunFacet.json#/$defs/ParentRunFacet'
    """
    if name.startswith("Drawbar"):
        return f"{OWN_SCHEMAS}{name}.json#/$defs/{name}"
    if "Subset" in name:
        return _SUBSET + name
    return f"https://openlineage.io/spec/facets/{_STANDARD[name]}/{name}.json#/$defs/{name}"


def facet(class_name: str, **fields: Any) -> Facet:
    """A facet of `class_name`; what is None is left out, because OpenLineage has no nulls."""
    made: Facet = {"_producer": producer(), "_schemaURL": schema_url(class_name)}
    made.update((name, value) for name, value in fields.items() if value is not None)
    return made


def uuid_of(run_id: str) -> str:
    """`run_id` as a UUID: itself where it is one, else the same one for the same text each time."""
    try:
        return str(UUID(run_id))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, run_id))


def parent_run(parent: Parent) -> Facet:
    """Who asked for this run, and the root of that chain: itself where it names none."""
    run_id = uuid_of(parent.run_id)
    return facet(
        "ParentRunFacet",
        run={"runId": run_id},
        job={"namespace": parent.job_namespace, "name": parent.job_name},
        root={
            "run": {"runId": uuid_of(parent.root_run_id) if parent.root_run_id else run_id},
            "job": {
                "namespace": parent.root_job_namespace or parent.job_namespace,
                "name": parent.root_job_name or parent.job_name,
            },
        },
    )


def processing_engine() -> Facet:
    """Which program computes, in which versions."""
    return facet(
        "ProcessingEngineRunFacet",
        version=version_of("drawbar"),
        name="drawbar",
        openlineageAdapterVersion=version_of("drawbar-adapters"),
    )


def execution_parameters(shown: Mapping[str, str]) -> Facet:
    """Run parameters, already as the text that may be shown."""
    return facet("ExecutionParametersRunFacet", parameters=[{"key": k, "value": v} for k, v in shown.items()])


def error_message(message: str, trace: str = "") -> Facet:
    """Why a run failed, already redacted."""
    return facet("ErrorMessageRunFacet", message=message, programmingLanguage="PYTHON", stackTrace=trace or None)


def job_type(kind: str) -> Facet:
    """`kind` is ASSET for the making of one asset, GRAPH for a walk."""
    return facet("JobTypeJobFacet", processingType="BATCH", integration="DRAWBAR", jobType=kind)


def schema(columns: Iterable[tuple[str, str]]) -> Facet:
    """Columns in their order, each a name and a type."""
    return facet(
        "SchemaDatasetFacet",
        fields=[{"name": name, "type": kind, "ordinal_position": at} for at, (name, kind) in enumerate(columns, 1)],
    )


def statistics(made: Made, *, output: bool) -> Facet:
    """Rows and bytes of a value that was written or read."""
    name = "OutputStatisticsOutputDatasetFacet" if output else "InputStatisticsInputDatasetFacet"
    return facet(name, rowCount=made.rows, size=made.bytes or None)


def metrics(profile: Mapping[str, Any], size: int, *, output: bool) -> Facet:
    """The columns of a value in figures; `min` and `max` of numbers only, because the standard knows no others."""
    rows = profile["rows"]
    columns = {name: _column_metrics(one, rows) for name, one in profile["columns"].items() if name}
    name = "DataQualityMetricsDatasetFacet" if output else "DataQualityMetricsInputDatasetFacet"
    return facet(name, rowCount=rows, bytes=size or None, columnMetrics=columns)


def _column_metrics(one: Mapping[str, Any], rows: int) -> dict[str, Any]:
    bounds = {name: one[name] for name in ("min", "max") if type(one[name]) in (int, float)}
    return {"nullCount": one["nulls"], "count": rows - one["nulls"], **bounds}


def assertions(checks: Iterable[Mapping[str, Any]], shown: Callable[[str], str]) -> Facet:
    """How a value's checks ended; `shown` takes secrets out of a text."""
    told = [
        _some(
            assertion=one["name"],
            name=one["name"],
            success=one["passed"],
            column=one["column"],
            severity=_severity(one),
            expected=shown(one["expected"]),
            actual=shown(one["found"]),
        )
        for one in checks
    ]
    return facet("DataQualityAssertionsDatasetFacet", assertions=told)


def tests(checks: Iterable[Mapping[str, Any]], shown: Callable[[str], str]) -> Facet:
    """The same as the run tells it, which held its value to them."""
    told = [
        _some(
            name=one["name"],
            status="pass" if one["passed"] else "fail",
            severity=_severity(one),
            expected=shown(one["expected"]),
            actual=shown(one["found"]),
            params={"column": one["column"]} if one["column"] else "",
        )
        for one in checks
    ]
    return facet("TestRunFacet", tests=told)


def _severity(check: Mapping[str, Any]) -> str:
    return "error" if check["blocking"] else "warn"


def _some(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value != ""}


def nominal_time(start: datetime, end: datetime | None) -> Facet:
    """The window of time that a run's partition is."""
    return facet(
        "NominalTimeRunFacet",
        nominalStartTime=timestamp(start),
        nominalEndTime=timestamp(end) if end else None,
    )


def subset(partitions: Mapping[str, Mapping[str, str]], *, output: bool) -> Facet:
    """That a run read or wrote these partitions of a dataset only: keys, each with what it is in every dimension.

    Of more than a hundred the range is told in which they lie, from the first key to the last.
    """
    condition: Facet
    if len(partitions) <= _LISTED:
        listed = [{"identifier": key, "dimensions": dict(dims)} for key, dims in partitions.items()]
        condition = {"type": "partition", "partitions": listed}
    else:
        low, high = _compared("GREATER_EQUAL_THAN", min(partitions)), _compared("LESS_EQUAL_THAN", max(partitions))
        condition = {"type": "binary", "operator": "AND", "left": low, "right": high}
    if output:
        return facet("OutputSubsetOutputDatasetFacet", outputCondition=condition)
    return facet("InputSubsetInputDatasetFacet", inputCondition=condition)


def _compared(how: str, key: str) -> dict[str, Any]:
    left, right = {"type": "field", "field": "partition"}, {"type": "literal", "value": key}
    return {"type": "compare", "comparison": how, "left": left, "right": right}


def tags(given: Iterable[str], *, of: str) -> Facet:
    """What the user tagged a Job or a Dataset with; `tier:gold` and `tier=gold` are a key and a value."""
    fields = []
    for tag in given:
        key, separator, value = tag.partition("=" if "=" in tag else ":")
        fields.append({"key": key, "value": value if separator else "true", "source": "USER"})
    return facet(f"Tags{of}Facet", tags=fields)


def ownership(owners: Iterable[str], *, of: str) -> Facet:
    """Who the user says owns a Job or a Dataset."""
    return facet(f"Ownership{of}Facet", owners=[{"name": owner} for owner in owners])


def fingerprint(version: str, code: Mapping[str, str]) -> Facet:
    """What the asset was made from: its Version, and the digest of each function it reaches."""
    return facet(
        "DrawbarFingerprintRunFacet",
        version=version,
        code=[{"name": name, "digest": digest} for name, digest in code.items()] or None,
    )


def cache(made: Made, version: str, reason: str) -> Facet:
    """That nothing ran: which run made the value that was reused, and why it could be."""
    return facet(
        "DrawbarCacheRunFacet",
        reused=True,
        madeByRunId=uuid_of(made.run_id) if made.run_id else None,
        madeAt=timestamp(made.at) if made.at else None,
        version=version,
        dataVersion=made.data_version,
        reason=reason or None,
    )


def execution(
    target: str,
    job: str,
    attempt: int,
    *,
    adopted: bool,
    seconds: float | None = None,
    costs: Costs | None = None,
    will_retry: bool | None = None,
) -> Facet:
    """Where and how often it ran, and what it cost: seconds by stage and of GPUs, bytes of memory at the peak."""
    costs = costs or Costs()
    return facet(
        "DrawbarExecutionRunFacet",
        target=target,
        host=costs.host or None,
        jobId=job or None,
        attempt=attempt,
        adopted=adopted,
        seconds=_finite(seconds),
        queueSeconds=_finite(costs.queue) or None,
        setupSeconds=_finite(costs.setup) or None,
        transferSeconds=_finite(costs.transfer) or None,
        computeSeconds=_finite(costs.compute) or None,
        peakMemoryBytes=costs.peak_memory or None,
        buildSeconds=_finite(costs.build) or None,
        gpu=costs.gpu or None,
        gpuSeconds=_finite(costs.gpu_seconds) or None,
        peakDeviceMemoryBytes=costs.peak_device_memory or None,
        willRetry=will_retry,
    )


def timestamp(at: datetime) -> str:
    """An ISO 8601 time with its zone; a naive one is taken as UTC, because a consumer would guess otherwise."""
    text = at.isoformat()
    return text if at.tzinfo else f"{text}+00:00"


def _finite(number: float | None) -> float | None:
    return round(number, 6) if number is not None and math.isfinite(number) else None
