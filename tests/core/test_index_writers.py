"""The index under several writers: processes that add, replace, merge and die at any moment never make it wrong."""

from __future__ import annotations

import random
import threading
import warnings
from datetime import UTC, datetime

import pytest

from drawbar.files import open_files
from drawbar.index import SEGMENTS, Index
from drawbar.keys import AssetKey
from drawbar.records import Parts, Record

KEY = AssetKey("site", "features")
VERSION, DIGEST = "a" * 64, "d" * 64
AT = datetime(2026, 11, 21, 9, 33, 54, tzinfo=UTC)


@pytest.fixture
def disk(tmp_path):
    return open_files(str(tmp_path / "s"))


def record(partition: str, run: str = "run") -> Record:
    value, made = (f"values/{DIGEST}.json", "json", ".json", "int", 1, None, ()), (run, AT, "me", "h", "here", 0.5)
    return Record(KEY.at(partition), VERSION, DIGEST, *value, Parts(), *made)


def keep(files, one: Record) -> Record:
    """The record and its value, as they stand in a store."""
    files.write(f"site/features/@{one.key.partition}/{one.value}", [b"1"])
    files.write(f"site/features/@{one.key.partition}/records/{VERSION}.json", [one.to_json()])
    return one


def strict(files) -> Index:
    """An index that looks at the folder each time, as another process would that begins now."""
    found = Index(files)
    found._fresh = -1.0
    return found


@pytest.mark.parametrize("seed", range(12))
def test_the_index_is_never_wrong(disk, seed):
    """Processes that make, force, find, write late, merge and are killed at any point: what is found is what is kept."""
    chance = random.Random(seed)
    truth: dict[str, str] = {}
    leases: dict[str, Index] = {}
    processes = [strict(disk) for _ in range(3)]
    under_way: list[tuple[Index, str, str]] = []
    hits = 0
    for step in range(150):
        who, partition = chance.choice(processes), str(chance.randrange(6))
        act = chance.choice(["make", "void", "replace", "flush", "find", "find", "note", "kill"])
        if act == "make" and partition not in truth:
            truth[partition] = f"run {step}"
            who.add(keep(disk, record(partition, run=truth[partition])))
        elif act == "void" and partition in truth and partition not in leases:
            leases[partition] = who
            under_way.append((who, partition, who.void(KEY.at(partition), VERSION)))
        elif act == "replace" and under_way:
            who, partition, token = under_way.pop(chance.randrange(len(under_way)))
            truth[partition] = f"run {step}"
            who.add(keep(disk, record(partition, run=truth[partition])), token)
            del leases[partition]
        elif act == "flush":
            who.flush()
        elif act == "note" and partition in truth:
            who.add(record(partition, run=truth[partition]))
        elif act == "kill":
            processes[processes.index(who)] = strict(disk)
            for one in [one for one in under_way if one[0] is who]:
                under_way.remove(one)
                del leases[one[1]]
        for reader in (who, strict(disk)):
            found = reader.find(KEY.at(partition), VERSION)
            hits += found is not None
            assert found is None or found.run_id == truth[partition]
    assert hits


def test_a_reader_that_stays_sees_what_others_merged(disk):
    """A notebook that was open while everything was made again, twice, reuses it as any other process does."""
    parts = [str(number) for number in range(50)]
    reader = strict(disk)
    for run in ("run", "again", "and again"):
        index = Index(disk)
        for part in parts:
            token = index.void(KEY.at(part), VERSION) if run != "run" else ""
            index.add(keep(disk, record(part, run)), token)
        index.flush()
        if run != "again":
            assert [reader.find(KEY.at(part), VERSION).run_id for part in parts] == [run] * len(parts)
    reader.add(keep(disk, record("one more")))
    reader.flush()
    assert all(strict(disk).find(KEY.at(part), VERSION).run_id == "and again" for part in parts)


def test_many_at_once(disk):
    """Writers that add, replace and merge at the same time lose nothing that they wrote."""
    wrong = []

    def work(number: int) -> None:
        try:
            index = strict(disk)
            for each in range(25):
                key = KEY.at(f"{number}-{each}")
                index.add(keep(disk, record(key.partition)))
                if each % 3 == 0:
                    index.add(keep(disk, record(key.partition, run="again")), index.void(key, VERSION))
                index.flush()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    reader = Index(disk)
    found = [reader.find(KEY.at(f"{number}-{each}"), VERSION) for number in range(4) for each in range(25)]
    assert [one.run_id for one in found] == ["run" if each % 3 else "again" for _ in range(4) for each in range(25)]
    assert len(disk.list("site/features/index")) <= 2 * SEGMENTS
