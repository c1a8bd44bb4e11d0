"""Facets as plain dicts."""

from __future__ import annotations

import importlib
import json
import pkgutil
from datetime import UTC, datetime
from uuid import UUID

import pytest
from openlineage_spec import OURS

from drawbar.events import Costs, Parent
from drawbar_adapters.openlineage import facets


def test_schema_addresses_are_the_clients_own():
    """An event would claim a schema that its facets do not follow, or one that was never published."""
    from openlineage.client import facet_v2, generated

    known = {}
    for module in pkgutil.iter_modules(generated.__path__):
        for name, found in vars(importlib.import_module(f"openlineage.client.generated.{module.name}")).items():
            if name.endswith("Facet") and hasattr(found, "_get_schema"):
                known[name] = found._get_schema()
    assert facet_v2 is not None
    later = known.pop("DataQualityMetricsDatasetFacet")
    assert facets.schema_url("DataQualityMetricsDatasetFacet") == later.replace("/1-0-1/", "/1-0-0/")
    for name in facets._STANDARD.keys() & known.keys():
        assert facets.schema_url(name) == known[name]
    assert len(facets._STANDARD.keys() & known.keys()) == len(facets._STANDARD) - 1
    for name in ("InputSubsetInputDatasetFacet", "OutputSubsetOutputDatasetFacet"):
        assert facets.schema_url(name) == known[name]


def test_the_event_schema_is_the_clients_own():
    """Every event would name another schema than the client sends it under."""
    from openlineage.client.event_v2 import RunEvent

    assert RunEvent._get_schema() == facets.EVENT_SCHEMA


@pytest.mark.parametrize("name", ["DrawbarCacheRunFacet", "DrawbarExecutionRunFacet", "DrawbarFingerprintRunFacet"])
def test_our_own_schemas_lie_where_their_address_says(name):
    """A consumer that follows `_schemaURL` would find nothing, or another schema."""
    document = json.loads((OURS / f"{name}.json").read_text())
    assert facets.schema_url(name) == f"{document['$id']}#/$defs/{name}"
    assert document["$id"].endswith(f"/adapters/drawbar_adapters/openlineage/schemas/{name}.json")
    assert name in document["$defs"]


def test_a_parent_names_itself_as_root_where_it_has_none():
    """A consumer would make a second job out of a parent without a root."""
    run_id = "01941f29-7c00-7087-8906-40e512c257bd"
    said = facets.parent_run(Parent(run_id, "prod", "dag.task"))
    assert said["root"] == {"run": {"runId": run_id}, "job": {"namespace": "prod", "name": "dag.task"}}


def test_a_run_id_that_is_no_uuid_becomes_one_and_stays_it():
    """Backends refuse other run ids, and a parent would be lost if it changed from event to event."""
    one = facets.uuid_of("manual__2026-11-21")
    assert UUID(one).version == 5
    assert one == facets.uuid_of("manual__2026-11-21")
    assert facets.uuid_of("01941f29-7c00-7087-8906-40e512c257bd") == "01941f29-7c00-7087-8906-40e512c257bd"


def test_times_have_a_zone():
    """A consumer would read a naive time in its own zone."""
    assert facets.timestamp(datetime(2026, 11, 21, 9, 30)) == "2026-11-21T09:30:00+00:00"  # noqa: DTZ001
    assert facets.timestamp(datetime(2026, 11, 21, 9, 30, tzinfo=UTC)) == "2026-11-21T09:30:00+00:00"


def test_a_cost_that_is_no_number_is_left_out():
    """NaN and infinity are no JSON: one of them would make the whole event unreadable."""
    said = facets.execution("gpu", "", 1, adopted=False, seconds=float("nan"), costs=Costs(queue=float("inf")))
    assert "seconds" not in said
    assert "queueSeconds" not in said
    assert json.loads(facets.encode(said))["target"] == "gpu"


def test_a_figure_that_is_no_number_is_left_out_of_the_metrics():
    """A text, a date or infinity as a column's minimum would make the whole event unreadable for a backend."""
    columns = {
        "n": {"type": "int64", "nulls": 1, "min": 0, "max": 7},
        "text": {"type": "string", "nulls": 0, "min": "a", "max": "b"},
        "x": {"type": "double", "nulls": 0, "min": "-inf", "max": 0.5},
        "ok": {"type": "bool", "nulls": 10, "min": False, "max": None},
    }
    said = facets.metrics({"rows": 10, "columns": columns}, 2048, output=True)
    assert said["columnMetrics"] == {
        "n": {"nullCount": 1, "count": 9, "min": 0, "max": 7},
        "text": {"nullCount": 0, "count": 10},
        "x": {"nullCount": 0, "count": 10, "max": 0.5},
        "ok": {"nullCount": 10, "count": 0},
    }
    assert (said["rowCount"], said["bytes"]) == (10, 2048)
