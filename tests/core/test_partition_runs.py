"""Partitions in runs: each one's own memory, what it is made from, and what is chosen of them."""

from __future__ import annotations

import pytest

from drawbar.errors import PartitionError, UnknownAssetError

DAYS = """
days = Source("in/{partition}.txt", partitions=Daily("2024-01-01", "2024-01-05"))

@asset(partitions=Daily("2024-01-01", "2024-01-05"))
def counted(days: str, partition: Partition) -> int:
    _noted(f"counted@{partition.key}")
    return len(days.split())

@asset(partitions=Daily("2024-01-01", "2024-01-05"))
def doubled(counted: int, partition: Partition) -> int:
    _noted(f"doubled@{partition.key}")
    return counted * 2

@asset(partitions=Daily("2024-01-01", "2024-01-05"), mappings={"counted": Last(2)})
def rolling(counted: dict[str, int]) -> dict[str, int]:
    _noted("rolling")
    return counted

def total(doubled: dict[str, int]) -> int:
    _noted("total")
    return sum(doubled.values())
"""
KEYS = ("2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04")


@pytest.fixture
def days(ground):
    """Four days of input, one file each, and what is made from them."""
    ground.write(DAYS)
    (ground.folder / "in").mkdir()
    for number, key in enumerate(KEYS, 1):
        (ground.folder / "in" / f"{key}.txt").write_text("word " * number)
    return ground


def _of(states, name):
    return {key.partition("@")[2]: state for key, state in states.items() if key.split("@")[0] == name}


def test_one_partition_is_made_alone(days):
    """`--partition` makes that one and what it is made from, with a record, a value and a key of its own."""
    result = days.run("doubled", partitions="2024-01-02")
    assert list(result.assets) == ["days@2024-01-02", "counted@2024-01-02", "doubled@2024-01-02"]
    assert result["doubled@2024-01-02"].value() == 4
    assert str(result["doubled@2024-01-02"].key) == "g/doubled@2024-01-02"
    assert days.called() == ["counted@2024-01-02", "doubled@2024-01-02"]
    assert len(days.files("g/doubled/@2024-01-02/records/*.json")) == 1
    (record,) = days.store.records(result["doubled@2024-01-02"].key)
    assert record.parts.partition == "2024-01-02"
    assert days.store.partitions(result["doubled@2024-01-02"].key) == ["2024-01-02"]


def test_partitions_with_equal_values_have_versions_of_their_own(days):
    """Two days of the same content are two Versions and two records, for the function may look at its partition."""
    (days.folder / "in" / "2024-01-02.txt").write_text("word ")
    result = days.run("counted", partitions="2024-01-01..2024-01-02")
    one, other = result["counted@2024-01-01"], result["counted@2024-01-02"]
    assert one.data_version == other.data_version
    assert one.version != other.version


def test_an_edited_day_makes_only_what_depends_on_it(days):
    """Of a changed input file only that day is made again, and what takes that day; all other days are reused."""
    days.run("total", "rolling", partitions="all")
    (days.folder / "in" / "2024-01-02.txt").write_text("many more words than before")
    result = days.run("total", "rolling", partitions="all")
    states = {name: one.state for name, one in result.assets.items()}
    assert _of(states, "counted") == {key: "made" if key == "2024-01-02" else "reused" for key in KEYS}
    assert _of(states, "doubled") == {key: "made" if key == "2024-01-02" else "reused" for key in KEYS}
    assert _of(states, "rolling") == {key: "made" if key in KEYS[1:3] else "reused" for key in KEYS}
    assert result["total"].value() == 2 * (1 + 5 + 3 + 4)
    assert days.called() == ["counted@2024-01-02", "doubled@2024-01-02", "rolling", "rolling", "total"]


def test_a_day_that_comes_out_the_same_stops_there(days):
    """Early cut-off is each partition's own: other words, the same count, and nothing below is called."""
    days.run("total", partitions=None)
    (days.folder / "in" / "2024-01-03.txt").write_text("three other words")
    states = days.states("total")
    assert states["counted@2024-01-03"] == "made"
    assert states["doubled@2024-01-03"] == "reused"
    assert states["total"] == "reused"
    assert days.called() == ["counted@2024-01-03"]


def test_a_missing_day_fails_alone(days):
    """One file that is not there fails its day with its name; the other days are made, and the total says why not."""
    (days.folder / "in" / "2024-01-03.txt").unlink()
    result = days.run("total")
    states = {name: one.state for name, one in result.assets.items()}
    assert _of(states, "doubled") == {key: "blocked" if key == "2024-01-03" else "made" for key in KEYS}
    assert states["days@2024-01-03"] == "failed"
    assert "in/2024-01-03.txt" in str(result["days@2024-01-03"].error)
    assert states["total"] == "blocked"
    assert days.plan("total")["days@2024-01-03"].action == "blocked"


def test_last_takes_the_days_before(days):
    """`Last(2)` gives a dict by key in order, with fewer at the beginning."""
    result = days.run("rolling", partitions=["2024-01-01", "2024-01-03"])
    assert result["rolling@2024-01-01"].value() == {"2024-01-01": 1}
    assert list(result["rolling@2024-01-03"].value().items()) == [("2024-01-02", 2), ("2024-01-03", 3)]
    assert sorted(_of(result.assets, "counted")) == list(KEYS[:3])


def test_one_partition_can_be_forced(days):
    """`--force counted@KEY` makes that day again and no other; a day that is not there is refused, not ignored."""
    days.run("counted", partitions="all")
    states = days.states("counted", partitions="all", force=["counted@2024-01-02"])
    assert _of(states, "counted") == {key: "made" if key == "2024-01-02" else "reused" for key in KEYS}
    assert days.states("counted", partitions="2024-01-01..2024-01-02", force=["counted"]) == {
        "days@2024-01-01": "reused", "days@2024-01-02": "reused",
        "counted@2024-01-01": "made", "counted@2024-01-02": "made",
    }  # fmt: skip
    with pytest.raises(PartitionError, match="counted@2024-02-30"):
        days.run("counted", partitions="all", force=["counted@2024-02-30"])


@pytest.mark.parametrize(
    ("wanted", "settings", "said"),
    [
        (["counted"], {"partitions": "2024-01-09"}, "'2024-01-09' is no partition of: daily from 2024-01-01"),
        (["counted"], {"partitions": "2024-W01"}, "'2024-W01' is no partition of"),
        (["counted"], {"partitions": "eu"}, "text of another form"),
        (["counted@2024-01"], {}, "'2024-01' is no partition of"),
        (["counted"], {"partitions": "2024-01-04..2024-01-01"}, "runs backwards"),
        (["counted"], {"partitions": "2024-01-01..2023-12-01"}, "'2023-12-01' is no partition of"),
        (["counted"], {}, "counted has partitions, and none is named"),
        (["counted"], {"partitions": []}, "No partition is chosen"),
        (["total@2024-01-01"], {}, "total has no partitions"),
        (["total"], {"partitions": "2024-01-01"}, "Nothing that is wanted has partitions"),
    ],
)
def test_partitions_that_are_none_are_refused_before_anything_runs(days, wanted, settings, said):
    """A key that does not exist or is of another kind, a range that runs backwards, none at all: said, nothing made."""
    with pytest.raises(PartitionError) as refused:
        days.run(*wanted, **settings)
    assert said in str(refused.value)
    assert days.called() == []
    assert not days.files("g/*")


def test_an_unpartitioned_graph_refuses_partitions(ground):
    """`--partition` where nothing has partitions is a mistake, and is told so."""
    ground.write("def one() -> int:\n    return 1\n")
    with pytest.raises(PartitionError, match="Nothing that is wanted has partitions"):
        ground.run("one", partitions="2024-01-01")
    with pytest.raises(UnknownAssetError):
        ground.run("two@2024-01-01")


LAZY = """
import gc, weakref

class Big:
    alive, most = 0, 0
    def __init__(self):
        Big.alive += 1
        Big.most = max(Big.most, Big.alive)
    def __del__(self):
        Big.alive -= 1
    def __setstate__(self, state):
        self.__init__()
    def __reduce__(self):
        return Big, ()

@asset(partitions=Static([str(n) for n in range(12)]){target})
def big(partition: Partition) -> Big:
    return Big()

@asset({bare})
def most(big: {kind}[Big]) -> int:
    gc.collect()
    Big.most = Big.alive
    before = Big.alive
    seen = 0
    for key in big:
        one = big[key]
        seen += 1
        del one
    assert seen == 12 and len(big) == 12 and "3" in big
    return Big.most - before

@asset({bare})
def held(big: dict[str, Big]) -> int:
    gc.collect()
    return Big.alive
"""


@pytest.mark.parametrize("place", ["here", "worker"])
def test_partitioned_holds_one_value_at_a_time(ground, place):
    """A loop over a `Partitioned` has one of its values in memory, also on a target; a dict has all of them."""
    target = "" if place == "here" else f', target="{place}"'
    bare = 'version="1"' + target
    ground.write(LAZY.format(target="", bare=bare, kind="Partitioned"))
    # One after the other: in this process they would be counted together.
    assert ground.run("most").check()["most"].value() == 1
    assert ground.run("held").check()["held"].value() >= 12


@pytest.mark.parametrize("place", ["here", "worker"])
def test_transient_partitions_are_made_for_those_that_need_them(ground, place):
    """A transient partition is made once if something takes it, not at all where that is reused, and never kept."""
    target = "" if place == "here" else ', target="worker"'
    ground.write(
        f"""
@asset(partitions=Static(["a", "b"]), persist=False{target})
def raw(partition: Partition) -> dict[str, str]:
    _noted(partition.key)
    return {{"key": partition.key, "kind": type(partition).__name__}}

@asset(partitions=Static(["a", "b"]){target})
def clean(raw: dict[str, str]) -> dict[str, str]:
    return raw
"""
    )
    assert ground.run("clean@a").check()["clean@a"].value() == {"key": "a", "kind": "Partition"}
    assert ground.states("clean", partitions="all") == {
        "raw@a": "skipped", "raw@b": "made", "clean@a": "reused", "clean@b": "made",
    }  # fmt: skip
    assert ground.called() == ["b"]
    assert {one.name for one in ground.files("g/raw/@*/*")} == {"parts"}


def test_as_many_as_workers_at_once(ground):
    """Twelve partitions are made by two threads if that is asked for, not by twelve."""
    ground.write(
        """
import threading, time
LIMIT = threading.Semaphore(2)

@asset(partitions=Static([str(n) for n in range(12)]), version="1")
def slow(partition: Partition) -> int:
    assert LIMIT.acquire(blocking=False), "a third at once"
    time.sleep(0.03)
    LIMIT.release()
    return 1
"""
    )
    assert ground.run("slow", partitions="all", max_workers=2).counts == {"made": 12}


def test_as_many_jobs_as_workers_at_once(ground):
    """Ten partitions are two jobs at a time on a target, too, if that is asked for: it may be shared, or small."""
    busy = ground.folder / "busy"
    busy.mkdir()
    ground.write(
        f"""
import os, time

@asset(partitions=Static([str(n) for n in range(10)]), target="worker", version="1")
def slow(partition: Partition) -> int:
    mine = os.path.join({str(busy)!r}, partition.key)
    open(mine, "x").close()
    time.sleep(0.2)
    count = len(os.listdir({str(busy)!r}))
    os.unlink(mine)
    return count
"""
    )
    result = ground.run("slow", partitions="all", max_workers=2).check()
    assert max(one.value() for one in result.assets.values()) == 2
    result = ground.run("slow", partitions="all", force=["slow"]).check()
    assert max(one.value() for one in result.assets.values()) > 2
