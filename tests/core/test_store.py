"""The store: records and values that are whole or not there, and what is said of those that were damaged."""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drawbar import Store
from drawbar.errors import CorruptError
from drawbar.keys import AssetKey
from drawbar.records import Ending, Journal, Parts, Record
from drawbar.store import folder_of

KEY = AssetKey("site", "text/embeddings")
VERSION = "a" * 64


def record(content: bytes = b"[1]", version: str = VERSION, key: AssetKey = KEY) -> Record:
    digest = hashlib.sha256(content).hexdigest()
    return Record(
        key=key,
        version=version,
        data_version=digest,
        value=f"values/{digest}.json",
        format="json",
        ext=".json",
        type="list",
        bytes=len(content),
        rows=1,
        columns=(("a", "int"),),
        parts=Parts(code={"m.f": "1"}, params={"k": "3 #ab"}, env=("numpy",)),
        run_id="run",
        at=datetime.now(UTC),
        by="me",
        host="h",
        target="here",
        seconds=0.5,
    )


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    """A store on a disk and one in fsspec's memory."""
    return Store(str(tmp_path / "s") if request.param == "local" else f"memory://{uuid.uuid4().hex}")


def test_what_was_put_is_found(store):
    """A record comes back equal, its value with its digest, by version and as the latest."""
    kept = store.put(record(), [b"[1", b"]"])
    assert store.lookup(KEY, VERSION) == kept == store.latest(KEY)
    assert store.read(kept) == b"[1]"
    assert store.has_value(kept)
    assert store.lookup(KEY, "b" * 64) is None
    assert store.records(KEY) == [kept]


def test_the_layout_is_the_documented_one(tmp_path):
    """A person finds values and records where docs/store.md says, and `sha256sum` agrees with a value's name."""
    store = Store(str(tmp_path))
    kept = store.put(record(key=KEY.at("2026/11")), [b"[1]"])
    folder = tmp_path / "site" / "text" / "embeddings" / "@2026%2F11"
    assert json.loads((folder / "records" / f"{VERSION}.json").read_text())["data_version"] == kept.data_version
    assert (
        hashlib.sha256((folder / "values" / f"{kept.data_version}.json").read_bytes()).hexdigest() == kept.data_version
    )
    assert store.partitions(KEY) == ["2026/11"]


def test_the_first_of_two_makers_counts(store):
    """Two values made of one Version: the one whose record was there first is everybody's."""
    first = store.put(record(b"[1]"), [b"[1]"])
    assert store.put(record(b"[2]"), [b"[2]"]) == first
    assert store.lookup(KEY, VERSION) == first
    again = store.put(record(b"[2]"), [b"[2]"], replace=True)
    assert store.lookup(KEY, VERSION) == again


def test_a_record_whose_value_was_lost_gives_way(store):
    """A record without its value is no maker's result, so the next value takes its place."""
    first = store.put(record(b"[1]"), [b"[1]"])
    store.files.remove(f"{folder_of(KEY)}/{first.value}")
    second = record(b"[2]")
    assert store.put(second, [b"[2]"]) == second


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda path: path.write_bytes(b"[2]"), "3 bytes with another digest"),
        (lambda path: path.write_bytes(b"["), "1 bytes with another digest"),
        (Path.unlink, "nothing there"),
    ],
    ids=["edited", "truncated", "removed"],
)
def test_a_damaged_value_is_never_given(tmp_path, damage, found):
    """A value that was edited, cut off or removed is an error that says so and how to make it again."""
    store = Store(str(tmp_path))
    kept = store.put(record(), [b"[1]"])
    damage(Path(store.uri(kept)))
    with pytest.raises(CorruptError) as refused:
        store.read(kept)
    assert str(refused.value).splitlines() == [
        "The value of site/text/embeddings is not what was made.",
        f"  expected: 3 bytes with sha256 {kept.data_version}",
        f"  found: {found}, in {store.uri(kept)}",
        "  do: `drawbar run text/embeddings --force text/embeddings` makes it again",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "JSONDecodeError"),
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"drawbar": 1}', "KeyError"),
        ('{"drawbar": 99}', "layout 99"),
    ],
)
def test_a_damaged_record_is_said(tmp_path, text, found):
    """A record that is no record names its file and what is wrong with it."""
    store = Store(str(tmp_path))
    store.put(record(), [b"[1]"])
    path = tmp_path / folder_of(KEY) / "records" / f"{VERSION}.json"
    path.unlink()
    path.write_text(text)
    with pytest.raises(CorruptError) as refused:
        store.lookup(KEY, VERSION)
    assert found in refused.value.found
    assert str(path) in refused.value.found
    assert store.records(KEY) == []


def test_every_field_of_a_record_is_checked(tmp_path):
    """A record with one field of another type is refused, whichever field."""
    good = json.loads(record().to_json())
    for name in (
        "version",
        "data_version",
        "value",
        "format",
        "bytes",
        "type",
        "columns",
        "parts",
        "at",
        "key",
        "seconds",
    ):
        text = json.dumps({**good, name: None}).encode()
        with pytest.raises(CorruptError):
            Record.from_json(text, "x")
    assert Record.from_json(json.dumps(good).encode(), "x").key == KEY


def test_lookups_of_many_are_one_question(store):
    """Many records are asked for together; one that is damaged spoils no other."""
    store.put(record(), [b"[1]"])
    other = AssetKey("site", "other")
    store.files.write(f"{folder_of(other)}/records/{VERSION}.json", [b"nonsense"])
    found = store.lookup_many([(KEY, VERSION), (other, VERSION), (KEY, "c" * 64)])
    assert found[0] == store.lookup(KEY, VERSION)
    assert isinstance(found[1], CorruptError)
    assert found[2] is None
    assert store.latest_of([other, KEY])[0] is None


def test_journals_come_newest_first(store):
    """The audit trail is in order of time, and an entry that cannot be read is left out."""
    for hour in (1, 2, 3):
        started = datetime(2026, 11, 21, hour, tzinfo=UTC)
        ending = Ending("site/a", "failed", error="ValueError: x")
        store.write_journal(Journal(f"r{hour}", "site", started, "me", "h", 1, ("a",), assets=(ending,)))
    store.files.write("site/runs/2026-11-21T09-00-00.000000Z-x.json", [b"{"])
    found = store.journals("site")
    assert [one.run_id for one in found] == ["r3", "r2", "r1"]
    assert found[0].assets[0].error == "ValueError: x"
