"""Figures, checks and partitions in RunEvents."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from openlineage_series import Told, asset, made, one_made
from openlineage_spec import faults

from drawbar import events as core
from drawbar.identity import run_uuid
from drawbar.partitions import Daily, Dynamic, Multi, Static
from drawbar.redact import redactor
from drawbar_adapters.openlineage.translate import Translator

PROFILE = {
    "rows": 12,
    "columns": {
        "url": {"type": "string", "nulls": 2, "min": "a", "max": "z"},
        "x": {"type": "double", "nulls": 0, "min": -0.5, "max": 3.0},
    },
}


def check(name: str = "positive", **facts: Any) -> dict[str, Any]:
    """One outcome, passed where nothing else is said."""
    said = {"name": name, "passed": True, "blocking": True, "expected": "", "found": "", "details": {}, "column": ""}
    return {**said, **facts}


CHECKS = (
    check(expected="at least 0", found="-0.5", passed=False, column="x", details={"rows": [1, 2]}),
    check("fresh", passed=False, blocking=False, found="2 days old"),
    check("schema"),
)


def told(events, environment=None) -> list[dict[str, Any]]:
    """What a translator makes of events, held against the specification."""
    translate = Translator(Path("/project"), redactor(environment=environment or {}))
    lines = [json.loads(line) for event in events for line in translate(event)]
    assert [fault for fault in faults(lines) if "['START']" not in fault] == []
    return lines


def of_one(name="embeddings", value=None, **facts) -> tuple[dict[str, Any], dict[str, Any]]:
    """START and end of one asset that was made."""
    walk, one = Told(), asset(name, **facts.pop("options", {}))
    run_id = run_uuid()
    value = value or made(name, partition=facts.get("partition"))
    _, start, end, _ = told(
        [
            walk.begin(),
            walk.started(run_id, one, **facts),
            walk.made(run_id, one, value=value, **facts),
            walk.end(made=1),
        ]
    )
    return start, end


def plain(said):
    """A facet without what every facet has."""
    return {name: value for name, value in said.items() if not name.startswith("_")}


def test_figures_are_told_of_what_is_written_and_of_what_is_read():
    """A data quality dashboard would stay empty, or show figures at one end of an edge only."""
    _, end = of_one(value=made("embeddings", profile=PROFILE), inputs=(made("urls", profile=PROFILE),))
    expected = {
        "rowCount": 12,
        "bytes": 2048,
        "columnMetrics": {"url": {"nullCount": 2, "count": 10}, "x": {"nullCount": 0, "count": 12, "min": -0.5, "max": 3.0}},
    }  # fmt: skip
    assert plain(end["outputs"][0]["facets"]["dataQualityMetrics"]) == expected
    assert plain(end["inputs"][0]["inputFacets"]["dataQualityMetrics"]) == expected


@pytest.mark.parametrize("profile", [None, {"rows": 3, "columns": {}}, {"rows": 3, "columns": {"": {"type": "int8", "nulls": 0, "min": 0, "max": 1, "shape": [3]}}}])  # fmt: skip
def test_what_has_no_columns_has_no_metrics(profile):
    """A list or an array would be shown as a table with no column, or with one that has no name."""
    _, end = of_one(value=made("embeddings", profile=profile), inputs=(made("urls", profile=profile),))
    assert "dataQualityMetrics" not in end["outputs"][0]["facets"]
    assert "dataQualityMetrics" not in end["inputs"][0]["inputFacets"]


def test_checks_are_assertions_of_the_dataset_and_tests_of_the_run():
    """Nobody could see in a lineage backend what a value was held to, or that a warning was given."""
    start, end = of_one(value=made("embeddings", checks=CHECKS[1:]), inputs=(made("urls", checks=CHECKS[1:]),))
    assertions = [
        {"assertion": "fresh", "name": "fresh", "success": False, "severity": "warn", "actual": "2 days old"},
        {"assertion": "schema", "name": "schema", "success": True, "severity": "error"},
    ]
    assert end["outputs"][0]["facets"]["dataQualityAssertions"]["assertions"] == assertions
    assert end["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"] == assertions
    assert end["run"]["facets"]["test"]["tests"] == [
        {"name": "fresh", "status": "fail", "severity": "warn", "actual": "2 days old"},
        {"name": "schema", "status": "pass", "severity": "error"},
    ]
    assert "test" not in start["run"]["facets"]


def test_a_refused_value_tells_its_checks_on_the_fail_event():
    """A run would fail without a word in lineage on which check it was, or a refused value would be a version."""
    walk, run_id, one = Told(), run_uuid(), asset("embeddings", path="s3://bucket/embeddings.parquet")
    refused = made("embeddings", checks=CHECKS, profile=PROFILE)
    failed = walk.of(core.AssetFailed, run_id, one, error=ValueError("no"), traceback="", seconds=1.0, made=refused)
    end = told([walk.begin(), walk.started(run_id, one), failed, walk.end("failed", failed=1)])[2]
    assert end["eventType"] == "FAIL"
    (output,) = end["outputs"]
    assert (output["namespace"], output["name"]) == ("s3://bucket", "embeddings.parquet")
    first = output["facets"]["dataQualityAssertions"]["assertions"][0]
    assert first == {
        "assertion": "positive",
        "name": "positive",
        "success": False,
        "column": "x",
        "severity": "error",
        "expected": "at least 0",
        "actual": "-0.5",
    }
    assert {"version", "schema"} & output["facets"].keys() == set()
    assert output["outputFacets"] == {}
    assert end["run"]["facets"]["test"]["tests"][0]["params"] == {"column": "x"}
    assert output["facets"]["dataQualityMetrics"]["rowCount"] == 12


def test_a_reused_value_tells_its_assertions_and_no_tests():
    """A run in which nothing was checked would seem to have checked, or a reused value to be unchecked."""
    walk, value = Told(), made("urls", checks=CHECKS[2:])
    reused = walk.of(core.AssetReused, run_uuid(), asset("urls"), version="c" * 64, made=value, reason="unchanged")
    _, _, end, _ = told([walk.begin(), reused, walk.end(reused=1)])
    assert end["outputs"][0]["facets"]["dataQualityAssertions"]["assertions"][0]["success"] is True
    assert "test" not in end["run"]["facets"]


def test_secrets_in_what_a_check_found_do_not_leave():
    """A check that quotes what it read would carry a password into lineage."""
    planted = "pl4ntedS3cret"
    checks = (check(expected=f"not {planted}", found=f"token={planted}", passed=False, blocking=False),)
    walk, run_id, one = Told(), run_uuid(), asset("a")
    events = told(
        [
            walk.begin(params={"api_key": planted}),
            walk.started(run_id, one, params={"api_key": planted}),
            walk.made(run_id, one, value=made("a", checks=checks), params={"api_key": planted}),
            walk.end(made=1),
        ]
    )
    assert planted not in json.dumps(events)


# Partitions


def test_a_partition_of_time_is_when_its_run_is_about():
    """A backend could not put the runs of a backfill in the order of the days that they are about."""
    options = {"partitions": Daily("2024-01-01", timezone="Europe/Berlin"), "path": "out/{partition}.csv"}
    value = made("embeddings", partition="2025-10-26", published="/project/out/2025-10-26.csv")
    start, end = of_one(partition="2025-10-26", options=options, value=value)
    nominal = plain(start["run"]["facets"]["nominalTime"])
    assert nominal == {"nominalStartTime": "2025-10-26T00:00:00+02:00", "nominalEndTime": "2025-10-27T00:00:00+01:00"}
    assert plain(end["run"]["facets"]["nominalTime"]) == nominal
    assert end["job"]["name"] == "site.embeddings"
    assert (end["outputs"][0]["namespace"], end["outputs"][0]["name"]) == ("file", "/project/out")


def test_two_dimensions_are_told_apart():
    """Nobody could ask for all that was made of one region."""
    options = {"partitions": Multi(date=Daily("2024-01-01"), customer=Dynamic("customers"))}
    _, end = of_one(partition="2025-03-01|acme", options=options)
    condition = end["outputs"][0]["outputFacets"]["subset"]["outputCondition"]
    assert condition["partitions"] == [
        {"identifier": "2025-03-01|acme", "dimensions": {"date": "2025-03-01", "customer": "acme"}}
    ]
    assert end["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2025-03-01T00:00:00+00:00"


@pytest.mark.parametrize("partitions", [None, Static(["eu", "us"]), Daily("2024-01-01")])
def test_a_partition_without_a_window_has_no_nominal_time(partitions):
    """A partition that its definition no longer knows would cost the run its account."""
    start, end = of_one(partition="eu", options={"partitions": partitions})
    assert "nominalTime" not in start["run"]["facets"]
    condition = end["outputs"][0]["outputFacets"]["subset"]["outputCondition"]
    assert condition["partitions"] == [{"identifier": "eu", "dimensions": {"partition": "eu"}}]


def days(count: int, **facts: Any):
    """Partitions of one asset, as a parameter over many of them is given."""
    start = datetime(2024, 1, 1, tzinfo=UTC).toordinal()
    keys = [datetime.fromordinal(start + day).strftime("%Y-%m-%d") for day in range(count)]
    return tuple(made("pages", partition=key, data_version=f"{at:064x}", profile=PROFILE, **facts) for at, key in enumerate(keys))  # fmt: skip


def test_many_partitions_of_an_asset_are_one_input():
    """A run over a month would read thirty datasets, and a consumer would draw thirty edges."""
    warned = days(1, checks=(check("fresh", passed=False, blocking=False),))
    start, end = of_one(inputs=(*warned, *days(7, checks=(check("fresh"),))[1:], made("model")))
    assert [one["name"] for one in end["inputs"]] == ["/work/store/site/pages", "/work/store/site/model"]
    pages = end["inputs"][0]
    listed = pages["inputFacets"]["subset"]["inputCondition"]["partitions"]
    assert [one["identifier"] for one in listed] == [f"2024-01-0{day}" for day in range(1, 8)]
    assert pages["inputFacets"]["inputStatistics"]["rowCount"] == 7 * 12
    assert pages["inputFacets"]["dataQualityMetrics"]["columnMetrics"]["url"] == {"nullCount": 14, "count": 70}
    (assertion,) = pages["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert assertion["success"] is False
    assert "version" not in pages["facets"]
    assert start["inputs"] == end["inputs"]


def test_very_many_partitions_are_told_as_a_range():
    """One event would be a megabyte, and a backend would refuse it."""
    _, end = of_one(inputs=days(1000))
    (pages,) = end["inputs"]
    condition = pages["inputFacets"]["subset"]["inputCondition"]
    assert (condition["type"], condition["operator"]) == ("binary", "AND")
    sides = [(condition[side]["comparison"], condition[side]["right"]["value"]) for side in ("left", "right")]
    assert sides == [("GREATER_EQUAL_THAN", "2024-01-01"), ("LESS_EQUAL_THAN", "2026-09-26")]
    assert len(json.dumps(pages)) < 4000


def test_one_partition_under_two_parameters_is_one_input():
    """A value that is taken twice would seem to be read twice as large."""
    (value,) = days(1)
    _, end = of_one(inputs=(value, value))
    (pages,) = end["inputs"]
    assert pages["facets"]["version"]["datasetVersion"] == value.data_version
    assert pages["inputFacets"]["inputStatistics"]["rowCount"] == 12


def test_a_partition_costs_the_run_little():
    """A backfill of ten thousand partitions would wait for its lineage."""
    translate = Translator(Path("/project"), redactor())
    one, walk = asset("embeddings", partitions=Daily("2024-01-01")), Told()
    inputs = (made("urls", profile=PROFILE, checks=CHECKS),)
    said = []
    for key in ("2025-01-01", "2025-01-02") * 100:
        run_id, value = run_uuid(), made("embeddings", partition=key, profile=PROFILE, checks=CHECKS)
        said.append(walk.started(run_id, one, partition=key, inputs=inputs))
        said.append(walk.made(run_id, one, partition=key, inputs=inputs, value=value))
    began = time.perf_counter()
    lines = sum(len(translate(event)) for event in said)
    spent = (time.perf_counter() - began) / lines
    print(f"{spent * 1e6:.0f} µs an event")
    assert lines == 400
    assert spent < 0.001


def test_one_asset_in_partitions_follows_the_specification():
    """A backend would refuse the events of a backfill."""
    walk = Told()
    options = {"partitions": Multi(date=Daily("2024-01-01"), region=Static(["eu", "us"]))}
    events = [walk.begin()]
    for region in ("eu", "us"):
        run_id, one, key = run_uuid(), asset("pages", **options), f"2025-01-01|{region}"
        events.append(walk.started(run_id, one, partition=key))
        events.append(walk.made(run_id, one, partition=key, value=made("pages", partition=key, profile=PROFILE, checks=CHECKS)))  # fmt: skip
    inputs = tuple(made("pages", partition=f"2025-01-01|{one}") for one in ("eu", "us"))
    lines = told([*events, *one_made(walk, inputs=inputs), walk.end(made=3)])
    listed = lines[-2]["inputs"][0]["inputFacets"]["subset"]["inputCondition"]["partitions"]
    assert [one["dimensions"] for one in listed] == [
        {"date": "2025-01-01", "region": "eu"},
        {"date": "2025-01-01", "region": "us"},
    ]
