"""The example by its own command: from any folder, through a failure, an interrupt, and the death of the client."""

from __future__ import annotations

import shutil
import signal

import pytest

from drawbar.testing.sshd import Sshd

ASSETS = ["site/pages", "site/embedder", "site/embeddings", "site/saved_embeddings", "site/neighbours"]
FIELDS = ["key", "state", "reason", "version", "data_version", "target", "seconds", "bytes", "uri", "error"]


def states(answer):
    """How each asset ended."""
    return {one["key"]: one["state"] for one in answer["assets"]}


def targets(answer):
    """Where each asset's function ran."""
    return {one["key"]: one["target"] for one in answer["assets"]}


def test_one_json_object_from_any_folder(desk):
    """The command works outside the project, and stdout holds one JSON object with a line for each asset."""
    code, answer, err = desk.run(*desk.words, "--target", desk.target)
    assert code == 0, err
    assert list(answer) == ["run", "state", "assets"]
    assert answer["state"] == "succeeded"
    assert states(answer) == dict.fromkeys(ASSETS, "made")
    for one in answer["assets"]:
        assert list(one) == FIELDS
        assert len(one["version"]) == len(one["data_version"]) == 64
        assert one["bytes"] > 0
        assert one["error"] is None
    assert targets(answer) == {**dict.fromkeys(ASSETS, "here"), "site/embeddings": desk.target}


def test_a_host_of_ones_ssh_config_needs_no_other_word(desk):
    """An alias of ~/.ssh/config is a target as it is, with the Python that its PATH has."""
    if desk.sshd is None:
        pytest.skip(Sshd.why_not())
    settings = desk.folder / "user" / ".ssh"
    settings.mkdir(parents=True)
    shutil.copy(desk.sshd.ssh_config, settings / "config")
    desk.environment["HOME"] = str(desk.folder / "user")
    pipeline = desk.project / "pipeline.py"
    pipeline.write_text(pipeline.read_text().replace(", env=GPU_HOST", ""))  # or one would be built, over the network
    code, answer, err = desk.run(*desk.words, "--target", desk.sshd.alias)
    assert code == 0, err
    assert targets(answer)["site/embeddings"] == desk.sshd.alias


def test_pages_of_a_topic_are_neighbours(desk):
    """The example does what it is for: the pages nearest to one about rivers are about rivers."""
    import pandas as pd

    _, answer, _ = desk.run(*desk.words, "--target", desk.target)
    table = pd.read_parquet(answer["assets"][-1]["uri"])
    nearest = table[(table["title"] == "rivers 0") & (table["rank"] <= 2)]
    assert sorted(nearest["neighbour"]) == ["rivers 1", "rivers 2"]


@pytest.mark.parametrize("how", ["attached", "adopted"])
def test_a_killed_client_costs_nothing(desk, how):
    """After SIGKILL in the middle of the embedding the next run takes the same job, which was executed once."""
    desk.add_gate()
    first = desk.start(*desk.words, "--target", desk.target)
    desk.until_embedding(first)
    first.kill()
    first.communicate()
    if how == "adopted":
        desk.gate.touch()
        desk.until(lambda: desk.history_of_job()[-1]["event"] == "ended")
    second = desk.start(*desk.words, "--target", desk.target)
    if how == "attached":
        desk.until(lambda: desk.history_of_job()[-1]["event"] == "attached")
        desk.gate.touch()
    code, answer, err = desk.finish(second)
    assert code == 0, err
    assert states(answer) == {**dict.fromkeys(ASSETS, "made"), "site/pages": "reused", "site/embedder": "reused"}
    events = [one["event"] for one in desk.history_of_job()]
    assert sorted(events) == sorted(["submitted", "started", how, "ended"])
    assert desk.embeddings() == 1


def test_lineage_of_a_failed_run(desk, faults):
    """A run whose embedding raises on the host says so in valid lineage, and what needs it is blocked."""
    code, answer, err = desk.run(*desk.words, "--target", desk.target, "--param", "limit=1")
    assert code == 1
    assert "in tfidf_svd" in err
    assert "ValueError: at least two texts are needed to compare any, not 1" in err
    assert list(states(answer).values()) == ["made", "made", "failed", "blocked", "blocked"]
    lineage = desk.lineage()
    assert '"eventType":"FAIL"' in lineage.read_text().replace(" ", "")
    assert faults(lineage) == ""


def test_lineage_of_a_cancelled_run(desk, faults):
    """Ctrl-C in the middle of the embedding cancels its job, and the lineage says ABORT and is valid."""
    desk.add_gate()
    process = desk.start(*desk.words, "--target", desk.target)
    desk.until_embedding(process)
    process.send_signal(signal.SIGINT)
    code, answer, err = desk.finish(process)
    assert code == 130, err
    assert list(states(answer).values()) == ["made", "made", "cancelled", "cancelled", "cancelled"]
    assert desk.history_of_job()[-1]["event"] == "ended"
    assert desk.history_of_job()[-1]["state"] == "cancelled"
    lineage = desk.lineage()
    assert '"eventType":"ABORT"' in lineage.read_text().replace(" ", "")
    assert faults(lineage) == ""
