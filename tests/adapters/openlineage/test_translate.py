"""Core events as RunEvents."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from openlineage_series import Told, asset, every_ending, made, one_made
from openlineage_spec import faults

from drawbar import events as core
from drawbar.events import Parent
from drawbar.identity import run_uuid
from drawbar.redact import redactor
from drawbar_adapters.openlineage.translate import Translator

PARENT = Parent(run_uuid(), "airflow", "dag.task", run_uuid(), "airflow", "dag")


def told(events, namespace=None, redact=None) -> list[dict[str, Any]]:
    """What a translator makes of events."""
    translate = Translator(Path("/project"), redact or redactor(), namespace)
    return [json.loads(line) for event in events for line in translate(event)]


def facets_of(event: dict[str, Any]) -> dict[str, Any]:
    """The run's facets."""
    return event["run"]["facets"]


def test_every_ending_follows_the_specification():
    """A backend would refuse an event, or show a run that never ends."""
    events = told(every_ending())
    assert faults(events) == []
    kinds = Counter(event["eventType"] for event in events)
    assert kinds == {"START": 9, "COMPLETE": 5, "FAIL": 3, "ABORT": 1}


def test_assets_are_children_of_the_walk_which_is_the_root():
    """A consumer could not put the runs of one walk together."""
    walk, *assets, end = told(every_ending())
    run_id = walk["run"]["runId"]
    assert end["run"]["runId"] == run_id
    assert (walk["job"]["namespace"], walk["job"]["name"]) == ("site", "site")
    assert walk["job"]["facets"]["jobType"]["jobType"] == "GRAPH"
    assert "parent" not in facets_of(walk)
    for event in assets:
        parent = facets_of(event)["parent"]
        assert parent["run"]["runId"] == parent["root"]["run"]["runId"] == run_id
        assert parent["job"] == parent["root"]["job"] == {"namespace": "site", "name": "site"}
        assert event["job"]["facets"]["jobType"]["jobType"] == "ASSET"
        assert facets_of(event)["processing_engine"]["name"] == "drawbar"


def test_a_given_parent_takes_the_walks_place():
    """An orchestrator's task would be told twice, once by itself and once by the walk inside it."""
    walk = Told()
    events = told([walk.begin(parent=PARENT), *one_made(walk), walk.end(made=1)])
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]
    assert faults(events) == []
    for event in events:
        parent = facets_of(event)["parent"]
        assert parent["run"]["runId"] == PARENT.run_id
        assert parent["root"] == {"run": {"runId": PARENT.root_run_id}, "job": {"namespace": "airflow", "name": "dag"}}


def test_a_parent_in_the_environment_is_the_walks(monkeypatch):
    """A walk that a task's shell command started would hang in the air."""
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", f"airflow/dag.task/{PARENT.run_id}")
    monkeypatch.setenv("OPENLINEAGE_ROOT_PARENT_ID", f"airflow/dag/{PARENT.root_run_id}")
    walk = Told()
    events = told([walk.begin(), *one_made(walk), walk.end(made=1)])
    assert faults(events) == []
    assert facets_of(events[0])["parent"]["run"]["runId"] == PARENT.run_id
    assert facets_of(events[-1])["parent"] == facets_of(events[0])["parent"]
    for event in events[1:-1]:
        parent = facets_of(event)["parent"]
        assert parent["run"]["runId"] == walk.run_id
        assert parent["root"]["run"]["runId"] == PARENT.root_run_id


def test_complete_repeats_all_inputs_and_tells_outputs():
    """A consumer that keeps only the last event would lose what the asset was made from."""
    walk = Told()
    inputs = (made("urls"), made("model", uri="s3://bucket/assets/site/model/values/1.npy"))
    _, start, end = told([walk.begin(), *one_made(walk, inputs=inputs)])
    names = [(one["namespace"], one["name"]) for one in end["inputs"]]
    assert names == [("file", "/work/store/site/urls"), ("s3://bucket", "assets/site/model")]
    assert start["inputs"] == end["inputs"]
    (output,) = end["outputs"]
    assert (output["namespace"], output["name"]) == ("file", "/work/store/site/embeddings")
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 12
    assert output["outputFacets"]["outputStatistics"]["size"] == 2048
    assert [one["name"] for one in output["facets"]["schema"]["fields"]] == ["url", "x"]
    assert output["facets"]["documentation"]["description"] == "One vector for each page."
    assert end["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == 12


def test_the_job_says_where_its_code_is_and_whose_it_is():
    """Nobody could tell which function, in which file, makes the asset, or whom to ask."""
    walk, run_id = Told(), run_uuid()
    one = asset("text/embeddings", tags=("tier:gold", "pii"), owners=("team:ml",))
    _, start = told([walk.begin(), walk.started(run_id, one)])
    said = start["job"]["facets"]
    assert start["job"]["name"] == "site.text.embeddings"
    assert said["sourceCodeLocation"]["path"].endswith("openlineage_series.py")
    assert said["documentation"]["description"] == "One vector for each page."
    assert [(tag["key"], tag["value"]) for tag in said["tags"]["tags"]] == [("tier", "gold"), ("pii", "true")]
    assert said["ownership"]["owners"] == [{"name": "team:ml"}]


def test_reuse_is_a_run_that_names_the_one_that_made_the_value():
    """A consumer could not tell that nothing ran, or find the run that did."""
    walk, value = Told(), made("urls")
    reused = walk.of(core.AssetReused, run_uuid(), asset("urls"), version="c" * 64, made=value, reason="unchanged")
    _, start, end = told([walk.begin(), reused])
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"] != value.run_id
    cache = facets_of(end)["drawbar_cache"]
    assert (cache["reused"], cache["madeByRunId"], cache["dataVersion"], cache["version"], cache["reason"]) == (
        True,
        value.run_id,
        value.data_version,
        "c" * 64,
        "unchanged",
    )
    assert cache["madeAt"] == "2026-11-21T09:00:00+00:00"
    assert end["outputs"][0]["facets"]["version"]["datasetVersion"] == value.data_version


def test_a_partition_is_a_facet_and_never_part_of_a_name():
    """Each partition would be a dataset and a job of its own."""
    walk = Told()
    _, start, end = told([walk.begin(), *one_made(walk, partition="2026-11-21")])
    assert start["job"]["name"] == "site.embeddings"
    (output,) = end["outputs"]
    assert output["name"] == "/work/store/site/embeddings"
    condition = output["outputFacets"]["subset"]["outputCondition"]
    assert condition["partitions"] == [{"identifier": "2026-11-21", "dimensions": {"partition": "2026-11-21"}}]


def test_a_start_that_was_told_elsewhere_is_not_told_again():
    """An adopted job's run would begin twice."""
    walk, run_id, one = Told(), run_uuid(), asset("shared")
    events = told(
        [walk.begin(), walk.started(run_id, one, told=True, adopted=True, target="gpu"), walk.made(run_id, one)]
    )
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]
    assert events[1]["run"]["runId"] == run_id
    assert facets_of(events[1])["drawbar_execution"]["adopted"] is True
    assert facets_of(events[1])["drawbar_execution"]["target"] == "gpu"


def test_a_run_that_was_left_running_is_not_ended():
    """Whoever adopts the job would end the run a second time."""
    walk, run_id, one = Told(), run_uuid(), asset("slow")
    left = walk.of(core.AssetCancelled, run_id, one, seconds=1.0, left=True)
    events = told([walk.begin(), walk.started(run_id, one), left, walk.end("cancelled", cancelled=1)])
    assert [event["eventType"] for event in events] == ["START", "START", "ABORT"]
    assert events[-1]["run"]["runId"] == walk.run_id


def test_a_run_begins_and_ends_once():
    """A run told twice would have two ends."""
    walk, run_id, one = Told(), run_uuid(), asset("a")
    start, end = walk.started(run_id, one), walk.made(run_id, one)
    late = walk.of(core.AssetCancelled, run_id, one, seconds=1.0)
    events = told([walk.begin(), start, start, end, end, start, late])
    assert [event["eventType"] for event in events] == ["START", "START", "COMPLETE"]


def test_a_failed_walk_says_what_failed_and_what_it_blocked():
    """The walk's own run would say that something is wrong and not what."""
    end = told(every_ending())[-1]
    assert end["eventType"] == "FAIL"
    assert facets_of(end)["errorMessage"]["message"] == (
        "4 made, 1 reused, 1 failed, 1 blocked, 1 cancelled; failed: site/broken; "
        "blocked: site/below (needs site/broken)"
    )


def test_a_retry_is_a_run_of_its_own_with_its_attempt():
    """A retried asset would be one run that fails and then succeeds."""
    events = [event for event in told(every_ending()) if event["job"]["name"] == "site.flaky"]
    assert [event["eventType"] for event in events] == ["START", "FAIL", "START", "COMPLETE"]
    attempts = [facets_of(event)["drawbar_execution"]["attempt"] for event in events]
    assert attempts == [1, 1, 2, 2]
    assert facets_of(events[1])["drawbar_execution"]["willRetry"] is True
    assert facets_of(events[1])["errorMessage"]["stackTrace"].endswith("ValueError: no luck\n")
    assert len({event["run"]["runId"] for event in events}) == 2


def test_what_it_cost_and_was_made_from_is_told():
    """Nobody could compare two runs, or say what a GPU host was used for."""
    start, end = (event for event in told(every_ending()) if event["job"]["name"] == "site.text.embeddings")
    said = facets_of(end)["drawbar_execution"]
    assert {name: said[name] for name in said if not name.startswith("_")} == {
        "target": "gpu",
        "host": "gpu-box",
        "jobId": "f" * 64,
        "attempt": 1,
        "adopted": False,
        "seconds": 1.5,
        "queueSeconds": 0.5,
        "setupSeconds": 0.125,
        "transferSeconds": 0.25,
        "computeSeconds": 9.0,
        "peakMemoryBytes": 1 << 30,
    }
    assert facets_of(start)["drawbar_fingerprint"]["code"] == [{"name": "pipeline.embeddings", "digest": "ef" * 32}]
    assert facets_of(end)["drawbar_fingerprint"]["version"] == "cd" * 32
    assert facets_of(end)["executionParameters"]["parameters"] == [
        {"key": "model", "value": "small"},
        {"key": "n", "value": "3"},
    ]


def test_the_job_namespace_can_be_set_for_all():
    """A platform that keeps teams apart by namespace could not."""
    walk = Told()
    events = told([walk.begin(), *one_made(walk), walk.end(made=1)], namespace="team-a")
    assert {event["job"]["namespace"] for event in events} == {"team-a"}
    assert [event["job"]["name"] for event in events] == ["site", "site.embeddings", "site.embeddings", "site"]
    assert facets_of(events[1])["parent"]["job"] == {"namespace": "team-a", "name": "site"}


def test_a_dead_processs_run_is_ended_without_a_second_start():
    """The run of a process that died would begin twice, or never end."""
    walk = Told()
    lost = walk.of(core.AssetFailed, run_uuid(), asset("a"), error=OSError("gone"), traceback="", seconds=9.0)
    _, end = told([walk.begin(), lost])
    assert end["eventType"] == "FAIL"
    assert facets_of(end)["errorMessage"]["message"] == "OSError: gone"


def test_planted_secrets_do_not_leave(monkeypatch):
    """A password would stand in a lineage backend that a whole company reads."""
    planted = "pl4ntedS3cret"
    monkeypatch.setenv("WAREHOUSE_PASSWORD", planted)
    walk, run_id, out_id = Told(), run_uuid(), run_uuid()
    url = f"https://me:{planted}@host/a.csv?sig={planted}"
    one = asset("a", description=f"reads {url}")
    params = {"api_key": f"{planted}1", "url": url, "nested": {"token": planted}, "n": 1}
    source = made("pages", uri=url, source=True)
    error = RuntimeError(f"cannot log in with {planted}1 at {url}")
    trace = f"Traceback\n  connect(password='{planted}')\nRuntimeError: {planted}"
    events = told(
        [
            walk.begin(params=params),
            walk.started(run_id, one, params=params, inputs=(source,)),
            walk.of(core.AssetFailed, run_id, one, error=error, traceback=trace, seconds=1.0, inputs=(source,)),
            walk.started(out_id, asset("out"), params=params),
            walk.made(out_id, asset("out"), params=params, value=made("out", published=f"s3://k:{planted}@bucket/e")),
            walk.end("failed", failed=1),
        ],
        redact=redactor(environment={"WAREHOUSE_PASSWORD": planted}),
    )
    assert len(events) == 6
    assert faults(events) == []
    assert planted not in json.dumps(events)
    assert events[1]["inputs"][0]["name"] == "/a.csv"


def test_a_dataset_has_the_same_name_in_every_environment():
    """An asset would be another dataset wherever a variable happens to hold a part of its path."""
    walk = Told()
    redact = redactor(environment={"DB_PASSWORD": "embeddings"})
    _, _, end = told([walk.begin(), *one_made(walk)], redact=redact)
    assert end["outputs"][0]["name"] == "/work/store/site/embeddings"


class UnsayableError(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("error", [UnsayableError(), KeyboardInterrupt(), ValueError("\udcff\x00\u2028")])
def test_any_error_can_be_told(error):
    """An exception of an unusual kind would leave the run without an end."""
    walk, run_id, one = Told(), run_uuid(), asset("a")
    failed = walk.of(core.AssetFailed, run_id, one, error=error, traceback="\udcff", seconds=float("nan"))
    events = told([walk.begin(), walk.started(run_id, one), failed])
    assert events[-1]["eventType"] == "FAIL"
    assert facets_of(events[-1])["errorMessage"]["message"].startswith(type(error).__name__)
