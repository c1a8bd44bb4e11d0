"""What a check cannot do: change what is kept of a value, or speak for a run that asked for other checks."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from drawbar.errors import CheckError

PLACES = ["here", "worker"]
SPOILED = """
import numpy as np
import pandas as pd

@asset({own})
def made() -> {kind}:
    return {value}

@check(made)
def spoils(value) -> bool:
    {spoil}
    return True

@check(made)
def spoils_more(value) -> bool:
    {spoil}
    return True

@asset({bare})
def taken(made: {kind}) -> str:
    return f"{{made!r}}"

@asset({bare})
def taken_as_well(made: {kind}) -> str:
    return f"{{made!r}}"
"""
VALUES = {
    "list": ("list[list[int]]", "[[1], [2]]", "value[0].append(3); value.append([4])"),
    "dict": ("dict[str, bytes]", '{"a": b"1", "b": b"2"}', 'value["a"] = b"3"; value["c"] = b"4"'),
    "frame": ("pd.DataFrame", 'pd.DataFrame({"a": [1, 2]})', 'value["a"] = 0; value.loc[len(value)] = 7; value["b"] = 1'),
    "array": ("np.ndarray", "np.arange(6.0)", "value[:] = 7"),
    "pickle": ("set[str]", '{"a"}', 'value.add(f"b{len(value)}")'),
}  # fmt: skip
KEPT = {
    "list": "[[1], [2]]",
    "dict": "{'a': b'1', 'b': b'2'}",
    "frame": "   a\n0  1\n1  2",
    "array": "array([0., 1., 2., 3., 4., 5.])",
    "pickle": "{'a'}",
}

BEST = {"frame": 2, "array": 5.0}


def spoiled(ground, place, what, own=""):
    """A pipeline whose checks change the value in place."""
    kind, value, spoil = VALUES[what]
    bare = "" if place == "here" else 'target="worker"'
    options = ", ".join(one for one in (bare, own) if one)
    ground.write(SPOILED.format(own=options, bare=bare, kind=kind, value=value, spoil=spoil))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", VALUES)
def test_what_a_check_changes_is_changed_for_nobody(ground, place, what):
    """A check that sorts, fills or drops in place would make its mark in the store, and in all that is made from it."""
    spoiled(ground, place, what)
    result = ground.run().check()
    assert [result[name].value() for name in ("taken", "taken_as_well")] == [KEPT[what]] * 2
    assert repr(result["made"].value()) == KEPT[what]
    profile = ground.store.latest(result["made"].key).profile
    assert what not in ("frame", "array") or [one["max"] for one in profile["columns"].values()] == [BEST[what]]
    assert repr(ground.run().check()["made"].value()) == KEPT[what]


@pytest.mark.parametrize("place", PLACES)
def test_what_a_check_changes_of_a_kept_value_stays_there(ground, place):
    """A new check of a value that is in the store is given a copy of it: nobody finds the value changed."""
    spoiled(ground, place, "list")
    ground.run().check()
    ground.edit("def spoils_more(value) -> bool:\n    value", "def spoils_anew(value) -> bool:\n    value")
    result = ground.run().check()
    assert result["made"].state == "reused"
    assert repr(result["made"].value()) == KEPT["list"]


ORPHAN = """
import time

@asset(target="worker")
def orphan() -> list[int]:
    _noted("orphan")
    while Path({shut!r}).exists():
        time.sleep(0.02)
    return [1, 2]
"""
ASKED = "\n@check(orphan, min={least})\ndef {name}(value) -> int:\n    return len(value)\n"


@pytest.fixture
def orphan(ground):
    """Have a process submit a job with some checks, and be killed; the pipeline has others when the job ends."""

    def leave(checks, later):
        shut = ground.folder / "shut"
        shut.touch()
        ground.write(ORPHAN.format(shut=str(shut)) + checks)
        program = "from drawbar.cli import main; main()"
        words = [sys.executable, "-c", program, "run", "pipeline.py", "--no-lineage"]
        client = subprocess.Popen(words, cwd=ground.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not ground.notes.exists() and time.monotonic() < deadline:
            assert client.poll() is None
            time.sleep(0.02)
        client.kill()
        client.wait()
        ground.write(ORPHAN.format(shut=str(shut)) + later)
        shut.unlink()

    return leave


@pytest.mark.parametrize(
    ("theirs", "ours", "found"),
    [
        ([("many", 5)], [("some", 1)], {"some": True}),
        ([("some", 1)], [("many", 5)], {"many": False}),
        ([("same", 5)], [("same", 1)], {"same": True}),
        ([("many", 5)], [], {}),
        ([], [("many", 5)], {"many": False}),
    ],
)
def test_a_job_of_a_dead_client_is_held_to_the_checks_of_who_adopts_it(ground, orphan, theirs, ours, found):
    """What was demanded when the job was submitted would refuse a value that is fine now, or let through one that is not."""

    def text(checks):
        return "".join(ASKED.format(name=name, least=least) for name, least in checks)

    orphan(text(theirs), text(ours))
    result = ground.run()
    assert ground.called() == []
    if all(found.values()):
        (record,) = ground.store.records(result.check()["orphan"].key)
    else:
        assert isinstance(result["orphan"].error, CheckError)
        (record,) = ground.store.rejected(result["orphan"].key)
    assert {one["name"]: one["passed"] for one in record.checks} == found
