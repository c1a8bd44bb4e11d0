"""Fan-outs in whole runs: who is called how often, what is kept when something goes wrong, and what a consumer reads."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from drawbar.errors import CheckError, RemoteError

PLACES = pytest.mark.parametrize("place", ["here", "worker"])


def write(ground, place, text):
    """The text, with `{target}` as a further option that says where."""
    ground.write(text.replace("{target}", "" if place == "here" else f', target="{place}"'))


TRIED = """
def items() -> list[int]:
    return [1, 2, 3]

@asset(over="items", retries=2, retry_delay=0.01{target})
def tried(items: int) -> int:
    _noted(f"tried-{items}")
    if items == 2:
        raise OSError("never")
    return items
"""


@PLACES
def test_retries_are_for_items_alone(ground, place):
    """The run does not try the whole again what its items tried already: an item is called 1 + `retries` times."""
    write(ground, place, TRIED)
    told = []
    result = ground.run(listeners=[told.append])
    assert isinstance(result["tried"].error, RemoteError)
    assert ground.called() == ["tried-1", "tried-2", "tried-2", "tried-2", "tried-3"]
    (failed,) = [one for one in told if type(one).__name__ == "AssetFailed"]
    assert not failed.will_retry
    assert [one.key.name for one in told if type(one).__name__ == "AssetStarted"].count("tried") == 1
    ground.run()
    assert ground.called() == ["tried-2"] * 3


TRANSIENT = """
def items() -> list[int]:
    return [1, 2]

@asset(over="items", persist=False{target})
def passing(items: int) -> dict[str, int]:
    _noted("passing")
    return {"of": items}

@asset(version="1"{target})
def total(passing: list[dict[str, int]], plus: int = 0) -> int:
    return sum(one["of"] for one in passing) + plus
"""


@PLACES
def test_a_transient_fan_out_is_made_for_whom_it_needs(ground, place):
    """It is called for its items while something takes it, leaves nothing in the store, and is not called for nothing."""
    write(ground, place, TRANSIENT)
    assert ground.run().check()["total"].value() == 3
    assert ground.called() == ["passing", "passing"]
    assert ground.states() == {"items": "reused", "passing": "skipped", "total": "reused"}
    assert ground.run("passing").check()["passing"].value() == [{"of": 1}, {"of": 2}]
    assert ground.run(params={"plus": 1}).check()["total"].value() == 4
    assert {one.name for one in ground.files("g/passing/*")} == {"parts"}


CHECKED = """
def items() -> list[int]:
    return [1, 2]

@asset(over="items", checks=[drawbar.Check(len, name="many", min=3)], path="out/made.json"{target})
def made(items: int) -> int:
    _noted(f"made-{items}")
    return items

def below(made: list[int]) -> int:
    return sum(made)
"""


@PLACES
def test_a_list_that_fails_its_check_is_refused_and_its_items_are_kept(ground, place):
    """What was made of each item is no worse for it: with the check mended, or one item more, none is called again."""
    write(ground, place, CHECKED)
    result = ground.run()
    assert isinstance(result["made"].error, CheckError)
    assert (result["made"].error.found, result["below"].state) == ("2", "blocked")
    (kept,) = ground.store.rejected(result["made"].key)
    assert json.loads(ground.store.read(kept)) == [1, 2]
    assert not (ground.folder / "out").exists()
    assert ground.called() == ["made-1", "made-2"]
    assert ground.run()["made"].state == "failed"
    assert ground.called() == []
    ground.edit("return [1, 2]", "return [1, 2, 3]")
    assert ground.run().check()["below"].value() == 6
    assert ground.called() == ["made-3"]
    assert ground.run(force=["made"]).check()["made"].state == "made"
    assert ground.called() == ["made-1", "made-2", "made-3"]


def test_a_list_that_was_removed_is_put_together_again(ground):
    """A person who removes the value pays for no item a second time, for each of them is kept by itself."""
    write(ground, "here", CHECKED)
    ground.edit("return [1, 2]", "return [1, 2, 3]")
    ground.run().check()
    (value,) = ground.files("g/made/values/*")
    value.unlink()
    result = ground.run().check()
    assert (result["made"].state, result["below"].state) == ("made", "reused")
    assert ground.called() == []
    assert value.exists()


BIG = """
import gc
from collections.abc import Iterator, Sequence

class Big:
    alive = most = read = 0
    def __init__(self, number):
        self.number = number
        Big.alive += 1
        Big.read += 1
        Big.most = max(Big.most, Big.alive)
    def __del__(self):
        Big.alive -= 1
    def __reduce__(self):
        return Big, (self.number,)

def numbers() -> list[int]:
    return list(range(40))

@asset(over="numbers"{partitions}, version="1")
def big(numbers: int) -> Big:
    return Big(numbers)

def _sum(some):
    Big.most = Big.alive
    before = Big.alive
    total = 0
    for one in some:
        total += one.number
    return [total, Big.most - before <= 2]

@asset({taken}version="2"{target})
def looked(big: {kind}) -> list:
    gc.collect()
    Big.read = 0
    return {how}
"""
DAYS = ', partitions=Static(["a", "b"])'
BOTH = "[found for one in big.values() for found in _sum(one)]"
KINDS = {
    "all of a list": ("", "list[Big]", "[sum(one.number for one in big), Big.read]", [780, 0]),
    "one of a sequence": ("", "Sequence[Big]", "[big[-1].number, len(big), Big.read]", [39, 40, 1]),
    "one of an iterator": ("", "Iterator[Big]", "[next(big).number, Big.read]", [0, 1]),
    "one of a short list": ("", "Iterator[int]", "[next(big), next(big)]", [0, 1]),
    "a sequence": ("", "Sequence[Big]", "_sum(big)", [780, True]),
    "an iterator": ("", "Iterator[Big]", "_sum(big)", [780, True]),
    "an iterator of a day": (DAYS, "Iterator[Big]", "_sum(big)", [780, True]),
    "sequences of all days": (DAYS, "dict[str, Sequence[Big]]", BOTH, [780, True, 780, True]),
    "one of an iterator of what is not kept": (
        ", persist=False",
        "Iterator[Big]",
        "[next(big).number, next(big).number]",
        [0, 1],
    ),
    "lazy iterators of all days": (DAYS, "Partitioned[Iterator[Big]]", BOTH, [780, True, 780, True]),
}


@PLACES
@pytest.mark.parametrize("what", KINDS)
def test_a_long_list_is_read_as_its_taker_asks(ground, place, what):
    """`Sequence` and `Iterator` decode an item when it is looked at, so that a list may be larger than memory."""
    partitions, kind, how, found = KINDS[what]
    taken = DAYS[2:] + ", " if partitions and "dict" not in kind and "Partitioned" not in kind else ""
    text = BIG.replace("-> Big:\n    return Big(numbers)", "-> int:\n    return numbers") if "[int]" in kind else BIG
    text = text.replace("{partitions}", partitions).replace("{kind}", kind).replace("{how}", how)
    write(ground, place, text.replace("{taken}", taken))
    name = "looked@a" if taken else "looked"
    assert ground.run(name).check()[name].value() == found


BUSY = """
import os, time

def items() -> list[int]:
    return list(range(12))

@asset(over="items", batch=1, version="1"{target})
def busy(items: int) -> int:
    mine = Path({folder}) / str(items)
    mine.touch()
    time.sleep(0.1)
    count = len(list(mine.parent.iterdir()))
    mine.unlink()
    return count
"""


@PLACES
def test_no_more_items_at_once_than_workers(ground, place):
    """`--workers 1` is one item at a time, in threads of this process and in jobs of a target alike."""
    folder = ground.folder / "busy"
    folder.mkdir()
    write(ground, place, BUSY.replace("{folder}", repr(str(folder))))
    assert max(ground.run(max_workers=1).check()["busy"].value()) == 1
    assert 1 < max(ground.run(max_workers=2, force=["busy"]).check()["busy"].value()) <= 2


SLOW = """
import time

def items() -> list[int]:
    return list(range(COUNT))

@asset(over="items", batch=4{target})
def slow(items: int) -> int:
    _noted(str(items))
    time.sleep(0.06)
    return items
"""
# What waits to be kept is written after half a second here, not after five.
PROGRAM = "import drawbar.packs; drawbar.packs.OLDEST = 0.5; from drawbar.cli import main; main()"


def stopped(ground, count, number):
    """Exit status, and the items that were called for, of a run that gets a signal when it has called for `count`."""
    words = [sys.executable, "-c", PROGRAM, "run", "pipeline.py", "--no-lineage", "--workers", "2"]
    client = subprocess.Popen(words, cwd=ground.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(ground.called()) < count and time.monotonic() < deadline:
        assert client.poll() is None, client.communicate()
        time.sleep(0.01)
    client.send_signal(number)
    client.communicate(timeout=60)
    return client.returncode, ground.called()


@PLACES
def test_ctrl_c_keeps_what_is_done(ground, place):
    """Exit status 130, no job goes on, and the next run calls only for what was not done."""
    write(ground, place, SLOW.replace("COUNT", "60"))
    code, before = stopped(ground, 30, signal.SIGINT)
    assert code == 130
    if place == "worker":
        from drawbar.dispatch.target import target

        jobs = target("worker", config=ground.config).dispatcher.jobs()
        assert {job.state for job in jobs} == {"succeeded", "cancelled"}
    time.sleep(0.3)
    assert ground.called() == before
    assert ground.run().check()["slow"].value() == list(range(60))
    after = ground.called()
    assert set(before) | set(after) == {str(number) for number in range(60)}
    # Two batches were under way at most.
    assert len(set(before) & set(after)) <= 8
    assert len(after) == len(set(after))


@PLACES
def test_a_killed_run_is_gone_on_with(ground, place):
    """After SIGKILL the next run makes the rest: of jobs on a target, which go on, none is called for twice."""
    write(ground, place, SLOW.replace("COUNT", "80"))
    _, before = stopped(ground, 50, signal.SIGKILL)
    result = ground.run().check()
    assert result["slow"].value() == list(range(80))
    after = ground.called()
    assert set(before) | set(after) == {str(number) for number in range(80)}
    assert {"0", "1", "2", "3", "4"} & set(after) == set()
    assert len(after) == len(set(after)) < 80
