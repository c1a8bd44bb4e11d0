"""The index: it may lack a record, is never wrong about one, and costs a plan a few requests."""

from __future__ import annotations

import hashlib
import json
import pickle
import uuid
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drawbar.entries import Entry
from drawbar.errors import CorruptError, StoreDeniedError, StoreError
from drawbar.files import open_files
from drawbar.index import LINES, SEGMENTS, Index, part_of
from drawbar.keys import AssetKey
from drawbar.records import Parts, Record
from drawbar.segments import lines_of

KEY = AssetKey("site", "text/features")
VERSION = "a" * 64
DAY = "2026-11-20"


def record(partition: str = DAY, content: bytes = b"[1]", version: str = VERSION, run: str = "run", **more) -> Record:
    digest = hashlib.sha256(content).hexdigest()
    told = {
        "key": KEY.at(partition),
        "version": version,
        "data_version": digest,
        "value": f"values/{digest}.json",
        "format": "json",
        "ext": ".json",
        "type": "list",
        "bytes": len(content),
        "rows": 1,
        "columns": (("a", "int"), ("ä", "string")),
        "parts": Parts(inputs={"up": "b" * 64}),
        "run_id": run,
        "at": datetime(2026, 11, 21, 9, 33, 54, 802340, tzinfo=UTC),
        "by": "me",
        "host": "h",
        "target": "here",
        "seconds": 0.5,
        "checks": ({"name": "full", "passed": True, "details": {"share": 0.5}},),
        "profile": {"rows": 1, "columns": {}},
    }
    return Record(**{**told, **more})


def keep(files, one: Record, content: bytes = b"[1]") -> Record:
    """The record and its value, as they stand in a store."""
    folder = f"{one.key.namespace}/{one.key.name}/{part_of(one.key.partition)}"
    files.write(f"{folder}/{one.value}", [content])
    files.write(f"{folder}/records/{one.version}.json", [one.to_json()])
    return one


def strict(files) -> Index:
    """An index that looks at the folder each time, as another process would that begins now."""
    found = Index(files)
    found._fresh = -1.0
    return found


@pytest.fixture(params=["local", "memory"])
def files(request, tmp_path):
    """A store's files on a disk and in fsspec's memory."""
    return open_files(str(tmp_path / "s") if request.param == "local" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def disk(tmp_path):
    return open_files(str(tmp_path / "s"))


def segments(files) -> list[str]:
    return files.list("site/text/features/index")


def test_what_one_process_added_another_finds(files):
    """A record comes out of the index with all that it said, and what the index leaves out from its own file."""
    index = Index(files)
    kept = keep(files, record())
    index.add(kept)
    index.flush()
    found = Index(files).find(kept.key, VERSION)
    assert isinstance(found, Entry)
    assert [getattr(found, one.name) for one in fields(Record)] == [getattr(kept, one.name) for one in fields(Record)]
    assert found.told == "made 2026-11-21 09:33 UTC by me@h"
    assert found == Index(files).find(kept.key, VERSION)
    assert len(segments(files)) == 1


def test_no_record_is_opened_for_a_plan(files, monkeypatch):
    """What a plan says of a reusable partition, and hands to a consumer, needs no request of its own."""
    index = Index(files)
    index.add(keep(files, record()))
    index.flush()
    reader = Index(files)
    reader.load([KEY.at("whichever")])
    monkeypatch.setattr(files, "read", lambda _: pytest.fail("a file was opened"))
    found = reader.find(KEY.at(DAY), VERSION)
    assert (found.data_version, found.value, found.bytes, found.by) == (found.data_version, found.value, 3, "me")
    assert found.made("u", "p") == replace(record().made("u", "p"), profile=None)
    assert repr(found).startswith("Entry('site/text/features@2026-11-20'")
    assert len({found, reader.find(KEY.at(DAY), VERSION)}) == 1


def test_what_waits_is_found_here_and_is_lacking_elsewhere(files):
    """A process that is killed before it wrote its entries costs lookups, and nothing else."""
    index = Index(files)
    index.add(keep(files, record()))
    assert index.find(KEY.at(DAY), VERSION) is not None
    assert Index(files).find(KEY.at(DAY), VERSION) is None
    assert segments(files) == []


def test_a_thousand_entries_are_one_file(files):
    """A backfill writes few files: its entries go out together, and each stands once."""
    index = Index(files)
    for number in range(LINES):
        index.add(record(str(number)))
    assert [lines_of(name) for name in segments(files)] == [LINES]
    index.add(record("7"))
    index.flush()
    assert len(segments(files)) == 1
    body = json.loads(files.read(f"site/text/features/index/{segments(files)[0]}"))
    assert body["by"] == {"of": ["me"], "at": []}


@pytest.mark.parametrize("gone", ["records/" + VERSION + ".json", "values", ""])
def test_what_a_person_removed_is_made_again(disk, gone):
    """A partition's folder, record or value may be deleted by hand: the plan does not reuse what is not there."""
    index = Index(disk)
    kept = keep(disk, record())
    index.add(kept)
    assert index.find(kept.key, VERSION) is not None
    place = Path(disk.root) / "site/text/features/@2026-11-20" / gone
    for file in [place] if place.is_file() else [one for one in place.rglob("*") if one.is_file()]:
        file.unlink()
    assert index.find(kept.key, VERSION) is None


def test_a_value_that_was_cut_off_is_not_reused(disk):
    """A value of another size is as good as none."""
    index = Index(disk)
    kept = keep(disk, record())
    index.add(kept)
    disk.write(f"site/text/features/@2026-11-20/{kept.value}", [b"["])
    assert index.find(kept.key, VERSION) is None


def test_a_record_that_is_gone_is_said(files):
    """What `explain` wants of an entry whose record was removed is an error that says what to do."""
    index = Index(files)
    kept = keep(files, record())
    index.add(kept)
    found = index.find(kept.key, VERSION)
    files.remove(f"site/text/features/@2026-11-20/records/{VERSION}.json")
    with pytest.raises(CorruptError, match="A record of site/text/features@2026-11-20 is gone") as error:
        _ = found.parts
    assert error.value.todo.endswith("text/features/index: it comes again by itself")
    with pytest.raises(AttributeError):
        _ = found.nothing


def test_a_replaced_record_is_not_found_before_the_new_one_is_told(files):
    """After `--force` nobody takes the old value, even if its slow maker tells of it only now."""
    slow, index = strict(files), strict(files)
    old = keep(files, record())
    slow.add(old)
    token = index.void(old.key, VERSION)
    new = keep(files, record(content=b"[2]", run="again"), b"[2]")
    slow.flush()
    assert strict(files).find(old.key, VERSION) is None
    index.add(new, token)
    index.flush()
    late = Index(files)
    late.add(old)
    late.flush()
    for reader in (strict(files), slow, index, late):
        assert reader.find(old.key, VERSION).data_version == new.data_version


def test_another_replacement_takes_over(files):
    """Forced again and again, by whomever: the last one counts."""
    for number in range(4):
        index = Index(files)
        token = index.void(KEY.at(DAY), VERSION)
        index.add(keep(files, record(run=f"run {number}")), token)
        index.flush()
        assert strict(files).find(KEY.at(DAY), VERSION).run_id == f"run {number}"


def test_of_two_at_once_none_counts(files):
    """Two replacers who saw nothing of each other: the record's file says which of them was last."""
    one, two = Index(files), Index(files)
    one.load([KEY.at(DAY)])
    two.load([KEY.at(DAY)])
    for index in (one, two):
        index.add(keep(files, record(run=str(id(index)))), index.void(KEY.at(DAY), VERSION))
        index.flush()
    assert strict(files).find(KEY.at(DAY), VERSION) is None
    third = strict(files)
    third.add(keep(files, record(run="third")), third.void(KEY.at(DAY), VERSION))
    third.flush()
    assert strict(files).find(KEY.at(DAY), VERSION).run_id == "third"


@pytest.mark.parametrize("who", ["one that knows nothing of the other", "one that knows both"])
def test_of_two_different_entries_none_counts(files, who):
    """A record that was removed by hand and made again elsewhere: what the index has of either is not believed."""
    unaware, index = Index(files), Index(files)
    unaware.load([KEY.at(DAY)])
    for one in (index, unaware) if who == "one that knows nothing of the other" else (index, index):
        one.add(keep(files, record(run=str(len(segments(files))))))
        one.flush()
    assert strict(files).find(KEY.at(DAY), VERSION) is None
    assert index.find(KEY.at(DAY), VERSION) is None or index is not one


def test_many_files_become_few(files):
    """However often it was added to, an index stays a few files, with all that they said."""
    for number in range(3 * SEGMENTS):
        index = Index(files)
        index.add(keep(files, record(str(number))))
        if number % 5 == 0:
            index.add(keep(files, record(str(number), run="again")), index.void(KEY.at(str(number)), VERSION))
        index.flush()
    assert len(segments(files)) <= 2 * SEGMENTS
    reader = strict(files)
    assert all(reader.find(KEY.at(str(number)), VERSION) for number in range(3 * SEGMENTS))
    reader.add(record("0"))
    assert reader.find(KEY.at("0"), VERSION).run_id == "again"


def test_a_large_file_is_not_written_again_for_each_small_one(files):
    """Ten thousand entries stay where they are while single ones come."""
    index = Index(files)
    for number in range(LINES):
        index.add(record(str(number)))
    large = segments(files)[0]
    for number in range(2 * SEGMENTS):
        index.add(record(f"more {number}"))
        index.flush()
    assert large in segments(files)
    assert len(segments(files)) <= 2 * SEGMENTS


def test_files_that_vanish_are_looked_for_again(files, monkeypatch):
    """While a plan reads the index, somebody merges it: the plan sees what it became."""
    for number in range(SEGMENTS - 1):
        index = Index(files)
        index.add(keep(files, record(str(number))))
        index.flush()
    reader, read_many, merged = Index(files), files.read_many, []

    def vanishing(paths):
        if not merged:
            merged.append(True)
            other = Index(files)
            other.add(keep(files, record("last")))
            other.flush()
            assert len(segments(files)) == 1
        return read_many(paths)

    monkeypatch.setattr(files, "read_many", vanishing)
    assert reader.find(KEY.at("3"), VERSION) is not None
    assert reader.find(KEY.at("last"), VERSION) is not None


def test_the_folder_may_be_removed(files):
    """Without its index an asset is reused from its records, and gets a new one."""
    index = Index(files)
    index.add(keep(files, record()))
    index.flush()
    for name in segments(files):
        files.remove(f"site/text/features/index/{name}")
    again = Index(files)
    assert again.find(KEY.at(DAY), VERSION) is None
    again.add(record())
    again.flush()
    assert Index(files).find(KEY.at(DAY), VERSION) is not None


@pytest.mark.parametrize("nonsense", [b"", b"{}", b'{"drawbar": 2}'])
def test_a_damaged_file_is_told_and_nothing_is_believed(files, nonsense):
    """It may have said that another's entries count no more; so until it is removed, records are looked up."""
    index = Index(files)
    index.add(keep(files, record()))
    index.flush()
    path = f"site/text/features/index/{segments(files)[0]}"
    whole = bytes(files.read(path))
    files.write(path, [nonsense or whole[:-20]])
    reader = strict(files)
    with pytest.warns(UserWarning, match="cannot be read .*remove that folder while nothing runs"):
        assert reader.find(KEY.at(DAY), VERSION) is None
    assert reader.latest_of([KEY.at(DAY)]) == [None]
    reader.add(record())
    reader.flush()
    assert reader.find(KEY.at(DAY), VERSION) is None
    assert len(segments(files)) == 1
    files.remove(path)
    reader.add(record())
    reader.flush()
    assert strict(files).find(KEY.at(DAY), VERSION) is not None


def test_a_store_that_cannot_be_written_to_can_be_read(files, monkeypatch):
    """Whoever may only read reuses as before; whoever replaces a record must be able to say so."""
    index = Index(files)

    def denied(*_):
        raise StoreDeniedError("Not allowed.")

    monkeypatch.setattr(files, "write", denied)
    index.add(record())
    index.flush()
    with pytest.raises(StoreError):
        index.void(KEY.at(DAY), VERSION)
    assert segments(files) == []


def test_an_asset_without_partitions_has_no_index(files):
    """Its one record is read as before, and nothing is written beside it."""
    index = Index(files)
    index.add(replace(record(), key=KEY))
    assert (index.void(KEY, VERSION), index.find(KEY, VERSION), index.knows(KEY, VERSION)) == ("", None, False)
    assert index.latest_of([KEY]) == [None]
    index.flush()
    assert segments(files) == []


def test_the_latest_of_each_partition(files):
    """Why something is made again is told against what was made last, whichever its Version."""
    index = Index(files)
    early = record()
    for number, version in enumerate(("b" * 64, "c" * 64, "a" * 64)):
        index.add(keep(files, record(version=version, at=early.at + timedelta(hours=number % 2))))
    found = index.latest_of([KEY.at(DAY), KEY.at("2026-11-21"), KEY.at(DAY)])
    assert [one and one.version for one in found] == ["c" * 64, None, "c" * 64]
    assert found[0].parts == early.parts


def test_any_text_is_a_partition(files):
    """Keys of two dimensions, with spaces, '@' or letters of other scripts are found like dates."""
    index = Index(files)
    texts = ["a|b", "x@y", "50 %", "né", "..", "a/b", '"quoted"']
    for text in texts:
        index.add(keep(files, record(text)))
    index.flush()
    reader = Index(files)
    assert [reader.find(KEY.at(text), VERSION).key.partition for text in texts] == texts
    assert [one.key.partition for one in reader.latest_of([KEY.at(text) for text in texts])] == texts


def test_an_entry_travels_as_a_record(disk):
    """An entry that goes to another process is whole there."""
    index = Index(disk)
    kept = keep(disk, record())
    index.add(kept)
    found = index.find(kept.key, VERSION)
    assert pickle.loads(pickle.dumps(found)) == kept == replace(found)
    assert replace(found, run_id="again").run_id == "again"
