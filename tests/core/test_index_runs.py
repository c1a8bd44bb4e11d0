"""The index through whole runs: plans that rely on it see what was made, forced or removed since, by whomever."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from drawbar.errors import StoreDeniedError, StoreError
from drawbar.files import LocalFiles

DAYS = """
import time

@asset(partitions=Static(["a", "b", "c"]), version="1")
def day(partition: Partition) -> str:
    _noted(f"day-{partition.key}")
    time.sleep(SLEEP)
    return partition.key + Path(SAID).read_text()

@asset(partitions=Static(["a", "b", "c"]))
def below(day: str) -> str:
    _noted("below")
    return day.upper()
"""
REUSED = {f"{name}@{key}": "reuse" for name in ("day", "below") for key in "abc"}


@pytest.fixture
def days(ground):
    """Three partitions, made once and in the index."""
    said = ground.folder / "said"
    said.write_text("1")
    ground.write(DAYS.replace("SAID", repr(str(said))).replace("SLEEP", "0.0"))
    ground.run(partitions="all").check()
    assert len(ground.files("g/*/index/*")) == 2
    return ground


def actions(ground):
    """What a plan by a process that begins now would do."""
    return {name: one.action for name, one in ground.plan(partitions="all").decisions.items()}


def test_what_was_forced_is_what_the_next_plan_sees(days):
    """A partition made again on purpose counts at once, and what is below it is made of the new value."""
    assert actions(days) == REUSED
    (days.folder / "said").write_text("2")
    result = days.run("day@b", force=["day@b"]).check()
    assert days.called() == ["day-b"]
    assert actions(days) == {**REUSED, "below@b": "run"}
    planned = days.plan("day", partitions="b")["day@b"].record
    assert planned.data_version == result["day@b"].data_version
    assert days.run(partitions="all").check()["below@b"].value() == "B2"
    assert days.called() == ["below"]
    assert actions(days) == REUSED


@pytest.mark.parametrize("gone", ["values", "records", ""])
def test_what_was_removed_by_hand_is_made_again(days, gone):
    """A person deletes a value, a record or all of a partition: it is made again, and only that."""
    shutil.rmtree(days.folder / "store" / "g" / "day" / "@b" / gone)
    assert actions(days) == {**REUSED, "day@b": "run", "below@b": "run"}
    result = days.run(partitions="all").check()
    assert days.called() == ["day-b"]
    assert result["below@b"].state == "reused"
    assert result["day@b"].value() == "b1"
    assert actions(days) == REUSED


def test_the_index_may_be_removed(days):
    """Nothing is made again for it, and it comes again by itself."""
    for name in ("day", "below"):
        shutil.rmtree(days.folder / "store" / "g" / name / "index")
    assert actions(days) == REUSED
    assert set(days.states(partitions="all").values()) == {"reused"}
    assert days.called() == []
    assert len(days.files("g/*/index/*")) == 2


def test_two_processes_at_once(ground):
    """Each partition is made by one of them, both have all, and the index says what is there."""
    said = ground.folder / "said"
    said.write_text("1")
    ground.write(DAYS.replace("SAID", repr(str(said))).replace("SLEEP", "0.2"))
    words = [sys.executable, "-c", "from drawbar.cli import main; main()", "backfill", "pipeline.py", "--no-lineage"]
    for force in ([], ["--force", "day"]):
        ground.notes.unlink(missing_ok=True)
        both = [
            subprocess.Popen([*words, "--json", *force], cwd=ground.folder, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        answers = [json.loads(one.communicate(timeout=60)[0]) for one in both]
        assert [one["state"] for one in answers] == ["succeeded"] * 2
        made = [[one["data_version"] for one in answer["assets"]] for answer in answers]
        assert made[0] == made[1]
        if not force:
            assert ground.called() == [*["below"] * 3, "day-a", "day-b", "day-c"]
        assert actions(ground) == REUSED


def test_a_store_that_may_only_be_read_can_be_planned_on(days, monkeypatch):
    """Whoever has no right to write sees what would be reused, also where an index would have to be written anew."""

    def denied(*_args, **_options):
        raise StoreDeniedError("Not allowed.")

    shutil.rmtree(days.folder / "store" / "g" / "day" / "index")
    for name in ("write", "create", "replace_with_link", "remove"):
        monkeypatch.setattr(LocalFiles, name, denied)
    assert actions(days) == REUSED


def test_an_index_that_cannot_be_written_costs_no_run(days):
    """The index only saves time: where its folder cannot be one, values are made and kept, and a warning says so."""
    for name in ("day", "below"):
        shutil.rmtree(days.folder / "store" / "g" / name)
        (days.folder / "store" / "g" / name).mkdir()
        (days.folder / "store" / "g" / name / "index").write_text("no folder")
    with pytest.warns(UserWarning, match="index"):
        assert days.run(partitions="all").counts == {"made": 6}
    assert actions(days) == REUSED
    # That the old value counts no more must be in the index before there is a new one.
    result = days.run("day@b", force=["day@b"])
    assert isinstance(result["day@b"].error, StoreError)
    assert "g/day/index" in str(result["day@b"].error)
