"""`drawbar backfill`, and `drawbar run --partition`: what is made, what is left after a kill, how it exits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

DAYS = """
import os, time
from pathlib import Path
from drawbar import *

FOLDER = Path(r"PLACE")

def _noted(name):
    with (FOLDER / "notes").open("a") as file:
        file.write(f"{name}\\n")

@asset(partitions=Daily("2024-01-01", "2024-01-13"), version="1"TARGET)
def features(partition: Partition) -> int:
    _noted(partition.key)
    if (FOLDER / f"bad-{partition.key}").exists():
        raise ValueError(f"no data for {partition}")
    if (FOLDER / "slow").exists():
        time.sleep(0.15)
    return partition.start.day

@asset(partitions=Daily("2024-01-01", "2024-01-13"), checks=[lambda value: value < 100], version="1")
def scaled(features: int, factor: int = 10) -> int:
    return features * factor

def total(scaled: dict[str, int]) -> int:
    return sum(scaled.values())
"""


QUIET = ("--no-lineage", "--json")


@pytest.fixture
def days(folder):
    """Twelve days of features, what is scaled from each, and a total."""
    (folder / "days.py").write_text(DAYS.replace("TARGET", "").replace("PLACE", str(folder)))
    return folder


def states(done):
    """How each unit ended, by `name@partition`."""
    return {one["key"].removeprefix("demo/"): one["state"] for one in json.loads(done.stdout)["assets"]}


def noted(folder):
    """The days that were made, in the order in which they were begun; the notes are gone then."""
    file = folder / "notes"
    found = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return found


def test_a_backfill_makes_what_is_missing_and_no_more(call, days):
    """Days that are there are reused; without `--partition` all that exist are made, and the exit status is 0."""
    assert call("run", "days.py", "features", "--partition", "2024-01-03..2024-01-05", *QUIET).exit_code == 0
    assert sorted(noted(days)) == ["2024-01-03", "2024-01-04", "2024-01-05"]
    done = call("backfill", "days.py", "features", *QUIET)
    assert done.exit_code == 0
    assert len(states(done)) == 12
    assert [key for key, state in states(done).items() if state == "reused"] == [
        f"features@2024-01-0{day}" for day in (3, 4, 5)
    ]
    assert len(noted(days)) == 9
    assert set(states(call("backfill", "days.py", "features", *QUIET)).values()) == {"reused"}
    assert noted(days) == []


def test_a_backfill_without_names_makes_all_that_have_partitions(call, days):
    """The total over all days is none of them; a range bounds the backfill."""
    done = call("backfill", "days.py", "--partition", "..2024-01-02", *QUIET)
    assert list(states(done)) == [f"{name}@2024-01-0{day}" for name in ("features", "scaled") for day in (1, 2)]
    assert set(states(done).values()) == {"made"}


def test_a_failing_day_stops_only_what_is_made_of_it(call, days):
    """The others are made, the exit status is 1, and after mending it the same command makes that day alone."""
    (days / "bad-2024-01-02").touch()
    done = call("backfill", "days.py", "scaled", "-p", "factor=1", *QUIET)
    assert done.exit_code == 1
    found = states(done)
    assert (found["features@2024-01-02"], found["scaled@2024-01-02"]) == ("failed", "blocked")
    assert sorted(found.values()).count("made") == 22
    assert "── features@2024-01-02 failed on here ──" in done.stderr
    assert "ValueError: no data for 2024-01-02" in done.stderr
    (days / "bad-2024-01-02").unlink()
    noted(days)
    assert call("backfill", "days.py", "scaled", "-p", "factor=1", *QUIET).exit_code == 0
    assert noted(days) == ["2024-01-02"]


def test_a_day_that_fails_its_check_is_said_in_full(call, days):
    """Exit status 1; the message has the check, what was expected and found, the place of the value, and what to do."""
    done = call("run", "days.py", "scaled", "--partition", "2024-01-09..2024-01-10", "--no-lineage")
    assert done.exit_code == 1
    assert "error" not in done.stdout
    said = done.stderr
    assert "scaled@2024-01-10 failed its check check_1." in said
    assert "  expected: True\n  found: False\n" in said
    assert "/demo/scaled/@2024-01-10/values/" in said
    assert "  at: " in said
    assert "days.py:" in said
    assert "1 failed" in done.stdout


@pytest.mark.parametrize("target", ["", ', target="gpu"'])
def test_a_killed_backfill_goes_on_where_it_was(program, days, target):
    """SIGKILL in the middle loses nothing that was made: the same command makes the rest, and no day twice."""
    (days / "days.py").write_text(DAYS.replace("TARGET", target).replace("PLACE", str(days)))
    (days / "slow").touch()
    words = ["backfill", "days.py", "features", "--workers", "2", *QUIET]
    process = subprocess.Popen(
        [sys.executable, "-c", "from drawbar.cli import main; main()", *words],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while len(list((days / ".drawbar").glob("store/demo/features/*/records/*"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (days / "slow").unlink()
    there = {path.parts[-3][1:] for path in (days / ".drawbar").glob("store/demo/features/*/records/*.json")}
    assert len(there) >= 4
    before = noted(days)
    done = program(*words)
    assert done.returncode == 0, done.stderr
    found = states(done)
    assert {key.partition("@")[2] for key, state in found.items() if state == "reused"} >= there
    after = noted(days)
    assert not there & set(after)
    assert set(before) | set(after) == {key.partition("@")[2] for key in found}
    if target:  # jobs that ran on are adopted
        assert not set(before) & set(after)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "days.py", "features"), "features has partitions, and none is named."),
        (("run", "days.py", "features", "--partition", "2024-02-01"), "'2024-02-01' is no partition of: daily from"),
        (("run", "days.py", "features", "--partition", "eu"), "text of another form"),
        (("backfill", "days.py", "features", "--partition", "2024-01-05..2024-01-02"), "runs backwards"),
        (("backfill", "days.py", "total"), "Nothing that is wanted has partitions."),
        (("run", "days.py", "total@2024-01-01"), "total has no partitions."),
        (("run", "days.py", "total", "--force", "features@2025-01-01"), "features@2025-01-01 is not selected"),
        (("plan", "days.py", "features"), "features has partitions, and none is named."),
    ],
)
def test_wrong_questions_exit_with_2(call, days, words, said):
    """A key that does not exist, of another kind, a range that runs backwards: told with what to do, nothing made."""
    done = call(*words)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert noted(days) == []


def test_one_partition_can_be_named_and_forced(call, days):
    """`ASSET@KEY` is one unit, for a run, a plan and `--force`."""
    assert states(call("run", "days.py", "features@2024-01-02", *QUIET)) == {"features@2024-01-02": "made"}
    words = ("days.py", "features", "--partition", "2024-01-01..2024-01-03", "--force", "features@2024-01-02")
    plan = json.loads(call("plan", *words, "--json").stdout)
    assert [one["action"] for one in plan["assets"]] == ["run", "run", "run"]
    assert [one["reason"] for one in plan["assets"]] == ["never made", "asked to be made again", "never made"]
    noted(days)
    call("run", "days.py", "features", "--partition", "2024-01-01..2024-01-03", *QUIET)
    done = call("run", *words, *QUIET)
    assert list(states(done).values()) == ["reused", "made", "reused"]


def test_the_total_takes_what_a_backfill_made(call, days):
    """An asset without partitions needs no word about those of its inputs."""
    call("backfill", "days.py", "features", "--no-lineage")
    noted(days)
    done = call("run", "days.py", "total", "-p", "factor=1", *QUIET)
    assert done.exit_code == 0
    assert noted(days) == []
    assert states(done)["total"] == "made"


def test_many_failures_are_told_in_part(call, folder):
    """Ten thousand failing partitions do not print ten thousand tracebacks; how many there were is said."""
    (folder / "days.py").write_text(
        "from drawbar import *\n"
        "@asset(partitions=Static([f'k{n:03}' for n in range(100)]))\n"
        "def parts(partition: Partition) -> int:\n    raise ValueError(partition.key)\n"
    )
    done = call("backfill", "days.py", "--no-lineage")
    assert done.exit_code == 1
    assert done.stderr.count("Traceback") == 20
    assert "… and 80 more failures: `drawbar history ASSET` has a line for each\n" in done.stderr
    assert "failed: 100 failed (60 not shown), in " in done.stdout


def test_what_is_reused_by_the_hundred_leaves_no_empty_table(call, folder):
    """Nothing to tell is one line, and not the head of a table with nothing below it."""
    (folder / "days.py").write_text(
        "from drawbar import *\n"
        "@asset(partitions=Static([f'k{n:03}' for n in range(100)]))\n"
        "def parts(partition: Partition) -> str:\n    return partition.key\n"
    )
    call("backfill", "days.py", "--no-lineage")
    assert call("backfill", "days.py", "--no-lineage").stdout.startswith("succeeded: 100 reused (100 not shown), in ")


def test_what_a_check_warns_of_is_told_when_it_is_made_and_reused(call, folder):
    """A warning that only `show` knows of is read by nobody."""
    (folder / "days.py").write_text(
        "from drawbar import *\n"
        "def rows() -> int:\n    return 3\n"
        "@check(rows, min=10, blocking=False)\n"
        "def enough(rows: int) -> int:\n    return rows\n"
    )
    for _ in range(2):
        done = call("run", "days.py", "--no-lineage")
        assert done.exit_code == 0
        assert "warning: rows: enough: expected at least 10, found 3\n" in done.stderr


def test_a_failure_does_not_count_what_it_waited_for_a_thread(call, folder):
    """A partition that failed at once would be said to have taken as long as all that was made before it."""
    (folder / "days.py").write_text(
        "import time\nfrom drawbar import *\n"
        "@asset(partitions=Static(['a', 'b', 'c', 'd']))\n"
        "def parts(partition: Partition) -> str:\n"
        "    if partition.key == 'd':\n        raise ValueError(partition.key)\n"
        "    time.sleep(0.2)\n    return partition.key\n"
    )
    call("backfill", "days.py", "--workers", "1", *QUIET)
    (last,) = json.loads(call("history", "days.py", "parts@d", "--json").stdout)["history"]
    assert last["state"] == "failed"
    assert last["seconds"] < 0.2
