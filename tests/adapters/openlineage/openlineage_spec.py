"""Holds events against the specification: each event and facet against its schema, each run against its life cycle.

The specification's own schemas are no part of this repository; they are looked for in `shared/openlineage-spec` beside
it, or where OPENLINEAGE_SPEC says, and lie there as in the `spec` folder of OpenLineage's repository.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

import drawbar_adapters.openlineage

OURS = Path(drawbar_adapters.openlineage.__file__).parent / "schemas"
_BESIDE = Path(__file__).resolve().parents[4] / "shared" / "openlineage-spec"
SPEC = Path(os.environ.get("OPENLINEAGE_SPEC", _BESIDE))
_FILES = [*sorted(SPEC.rglob("*.json")), *sorted(OURS.glob("*.json"))]
_DOCUMENTS = {document["$id"]: document for document in (json.loads(file.read_text()) for file in _FILES)}
_REGISTRY = Registry().with_resources((at, Resource.from_contents(document)) for at, document in _DOCUMENTS.items())
_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json"


def faults(events: list[dict[str, Any]]) -> list[str]:
    """All that the specification does not allow; the test is skipped where the specification is not at hand."""
    if _EVENT not in _DOCUMENTS:
        pytest.skip(f"OpenLineage's schemas are not in {SPEC}: set OPENLINEAGE_SPEC to its `spec` folder")
    found = [fault for event in events for fault in _event_faults(event)]
    return [*found, *_run_faults(events)]


def _event_faults(event: dict[str, Any]) -> Iterator[str]:
    yield from _against(_EVENT, event, "event")
    groups = [event["run"], event["job"]]
    facets = [group.get("facets", {}) for group in groups]
    for side, own in (("inputs", "inputFacets"), ("outputs", "outputFacets")):
        for dataset in event[side]:
            facets += [dataset.get("facets", {}), dataset.get(own, {})]
    for several in facets:
        for key, facet in several.items():
            base = facet["_schemaURL"].partition("#")[0]
            if base not in _DOCUMENTS:
                yield f"{key}: no such schema: {base}"
            elif key not in _DOCUMENTS[base]["properties"]:
                yield f"{key}: not the key of {base}"
            else:
                yield from _against(facet["_schemaURL"], facet, key)


def _against(url: str, said: Any, what: str) -> Iterator[str]:
    validator = Draft202012Validator({"$ref": url}, registry=_REGISTRY, format_checker=FormatChecker())
    for error in validator.iter_errors(said):
        yield f"{what} {error.json_path}: {error.message}"


def _run_faults(events: list[dict[str, Any]]) -> Iterator[str]:
    runs = defaultdict(list)
    for event in events:
        runs[event["run"]["runId"]].append(event)
    for run_id, its in runs.items():
        kinds = [event["eventType"] for event in its]
        if kinds[0] != "START" or len(kinds) != 2 or kinds[1] not in ("COMPLETE", "FAIL", "ABORT"):
            yield f"{run_id}: {kinds}"
        for side in ("inputs", "outputs"):
            before, after = ({(one["namespace"], one["name"]) for one in event[side]} for event in (its[0], its[-1]))
            if before - after:
                yield f"{run_id}: the end lacks {before - after}"
