"""Segments: what they say together does not depend on their order, and what is in a file comes back from it."""

from __future__ import annotations

import itertools
import zlib

import pytest

from drawbar.segments import FIELDS, Segment, Told, Void, lines_of, parsed

ONE, TWO = "v1@2026-11-20", "v1@2026-11-21"


def row(run: str, token: str = "") -> tuple:
    told = dict.fromkeys(FIELDS, 0) | {"run_id": run, "token": token}
    return tuple(told[name] for name in FIELDS)


def said(*batches: list[Segment]) -> dict[str, str]:
    """Which run counts, by id, once all of these were taken in, batch after batch."""
    told = Told()
    for batch in batches:
        told.take(batch)
    return {one: found[FIELDS.index("run_id")] for one, found in told.rows.items()}


OLD = Segment({ONE: row("old"), TWO: row("other")})
FIRST = Segment({}, {ONE: Void({"t1"})})
SECOND = Segment({}, {ONE: Void({"t2"}, {"t1"})})
BESIDE = Segment({}, {ONE: Void({"t3"})})


@pytest.mark.parametrize(
    ("segments", "found"),
    [
        ([OLD], "old"),
        ([OLD, OLD], "old"),
        ([OLD, FIRST], None),
        ([OLD, FIRST, Segment({ONE: row("new", "t1")})], "new"),
        ([OLD, Segment({ONE: row("new", "t1")})], "new"),
        ([OLD, FIRST, SECOND, Segment({ONE: row("new", "t1")})], None),
        ([OLD, FIRST, SECOND, Segment({ONE: row("new", "t1")}), Segment({ONE: row("newer", "t2")})], "newer"),
        ([OLD, FIRST, BESIDE, Segment({ONE: row("new", "t1")}), Segment({ONE: row("newer", "t3")})], None),
        ([OLD, Segment({ONE: row("else")})], None),
    ],
)
def test_in_any_order_the_same_counts(segments, found):
    """A listing has no order, and writers are slow: whichever segment is read late, the same record counts."""
    for order in itertools.permutations(segments):
        assert said(list(order)) == {TWO: "other"} | ({ONE: found} if found else {})
        late = said(*([one] for one in order))
        assert late[TWO] == "other"
        assert late.get(ONE) in (found, None)


def test_a_void_may_be_merged_away_only_into_what_says_it():
    """A whole index without the voids that its entries bear still beats an old entry that comes late."""
    told = Told()
    told.take([OLD, FIRST, Segment({ONE: row("new", "t1")})])
    content = told.part([ONE, TWO]).to_json(whole=True)
    assert b'"voids":{}' in content
    merged = Segment.from_json(content)
    assert said([merged], [OLD]) == said([OLD], [merged]) == {ONE: "new", TWO: "other"}
    assert said([merged], [SECOND]) == {TWO: "other"}


def test_a_segment_comes_back_from_its_file():
    """Columns of the same, of few and of different values all come back, and so do voids."""
    rows = {f"v{number}@k": (number, *row(f"run {number % 3}")[1:]) for number in range(40)}
    segment = Segment(rows, {ONE: Void({"t2"}, {"t1"})})
    content = segment.to_json()
    name = segment.named(content)
    assert lines_of(name) == 41
    assert parsed(name, content) == segment == Segment.from_json(content)
    assert content.count(b"run 1") == 1


@pytest.mark.parametrize("at", [0, 20, -2])
def test_a_changed_byte_is_noticed(at):
    """A disk's error, or a person's edit, does not become a record that was never made."""
    content = bytearray(OLD.to_json())
    name = OLD.named(bytes(content))
    content[at] ^= 1
    with pytest.raises(ValueError, match="is not what was written"):
        parsed(name, content)


def test_a_layout_of_another_release_is_refused():
    """What a later release wrote is not guessed at."""
    content = OLD.to_json().replace(b'"drawbar":1', b'"drawbar":2')
    with pytest.raises(ValueError, match="layout 2"):
        parsed(f"2-x-{zlib.crc32(content):08x}.json", content)
