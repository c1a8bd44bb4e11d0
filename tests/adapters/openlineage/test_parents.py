"""Parents in the environment."""

from __future__ import annotations

import json

import pytest

from drawbar.events import Parent
from drawbar.keys import AssetKey
from drawbar_adapters.openlineage import openlineage_environment, parent_from_environment

RUN, ROOT = "01941f29-7c00-7087-8906-40e512c257bd", "01941f29-7c00-7087-8906-40e512c257be"


def test_the_context_variable_is_read():
    """A run that Airflow started would not be known as its child."""
    parent = {
        "run": {"runId": RUN},
        "job": {"namespace": "prod", "name": "dag.task"},
        "root": {"run": {"runId": ROOT}, "job": {"namespace": "prod", "name": "dag"}},
    }
    found = parent_from_environment({"OPENLINEAGE_CONTEXT": json.dumps({"parent": parent, "later": 1})})
    assert found == Parent(RUN, "prod", "dag.task", ROOT, "prod", "dag")


def test_the_older_variables_are_read_also_with_slashes_in_the_namespace():
    """A run that an older launcher started would not be known as its child."""
    found = parent_from_environment(
        {"OPENLINEAGE_PARENT_ID": f"airflow://prod/eu/dag.task/{RUN}", "OPENLINEAGE_ROOT_PARENT_ID": f"prod/dag/{ROOT}"}
    )
    assert found == Parent(RUN, "airflow://prod/eu", "dag.task", ROOT, "prod", "dag")


def test_the_context_goes_before_the_older_variables():
    """A launcher that sets both would be misunderstood."""
    context = json.dumps({"parent": {"run": {"runId": RUN}, "job": {"namespace": "new", "name": "n"}}})
    found = parent_from_environment({"OPENLINEAGE_CONTEXT": context, "OPENLINEAGE_PARENT_ID": f"old/o/{ROOT}"})
    assert found == Parent(RUN, "new", "n", RUN, "new", "n")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OPENLINEAGE_CONTEXT": "not json"},
        {"OPENLINEAGE_CONTEXT": "[1]"},
        {"OPENLINEAGE_CONTEXT": '{"parent": null}'},
        {"OPENLINEAGE_CONTEXT": '{"parent": {"run": {"runId": "no uuid"}, "job": {"namespace": "a", "name": "b"}}}'},
        {"OPENLINEAGE_PARENT_ID": "only/two"},
        {"OPENLINEAGE_PARENT_ID": "ns/name/no-uuid"},
    ],
)
def test_what_cannot_be_understood_is_passed_over(environment):
    """Somebody else's broken variable would stop a run."""
    assert parent_from_environment(environment) is None


def test_a_job_is_told_its_asset_as_parent_and_the_walk_as_root():
    """What a job reports itself would hang in the air."""
    set_for_job = openlineage_environment(AssetKey("site", "text/embeddings"), RUN, ROOT)
    assert set_for_job["OPENLINEAGE_PARENT_ID"] == f"site/site.text.embeddings/{RUN}"
    assert set_for_job["OPENLINEAGE_ROOT_PARENT_ID"] == f"site/site/{ROOT}"
    found = parent_from_environment({"OPENLINEAGE_CONTEXT": set_for_job.pop("OPENLINEAGE_CONTEXT")})
    assert (
        found
        == parent_from_environment(set_for_job)
        == Parent(RUN, "site", "site.text.embeddings", ROOT, "site", "site")
    )


def test_a_job_is_told_the_root_of_the_whole_chain():
    """A job's own runs would have the walk as root, and their orchestrator's run would not find them."""
    parent = Parent(RUN, "prod", "dag.task", ROOT, "prod", "dag")
    set_for_job = openlineage_environment(AssetKey("site", "a"), RUN, RUN, parent, namespace="team")
    assert set_for_job["OPENLINEAGE_PARENT_ID"] == f"team/site.a/{RUN}"
    assert set_for_job["OPENLINEAGE_ROOT_PARENT_ID"] == f"prod/dag/{ROOT}"
