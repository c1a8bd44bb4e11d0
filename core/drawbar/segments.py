"""What the files of an index say: entries and voids, how they stand in a file, and what several files say together.

Records come here from `index` and become lines of a segment; segments read from a store go back as rows. A segment is
written once and never changed. What a set of them says does not depend on their order; one that is taken in late can
only make fewer entries count:

- An entry has an id, `<version>@<partition>`. While nothing voids that id, it counts.
- A void has a token, and names the tokens that it takes over from. From then on only an entry with the token of the one
  void that nothing took over from counts; while there are two such voids, none does. An entry with a token says that
  there is that void.
- Of two different entries of one id with the same token, none counts.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC
from typing import Any, TypeAlias

from drawbar.files import unique
from drawbar.records import Record

LAYOUT = 1

# What stands in the record's file only: large, and of no use to a plan that reuses.
LEFT_OUT = ("parts", "profile")
FIELDS = (*(one.name for one in fields(Record) if one.name not in {"key", "version", *LEFT_OUT}), "size", "token")
PLACE = {name: place for place, name in enumerate(FIELDS)}
_TOKEN = PLACE["token"]
_NAME = re.compile(r"(\d+)-[\w-]+-([0-9a-f]{8})\.json\Z")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

# What is nested is kept as JSON text: then Python's collector of garbage has nothing to follow in ten thousand rows.
NESTED = ("columns", "checks", "checked")
# The FIELDS of one entry, all texts or numbers; `value` is None where it follows from the digest, `size` is the size
# of the record's file in bytes.
Row: TypeAlias = tuple[Any, ...]


@dataclass(slots=True)
class Void:
    """The tokens that count of one id, and those that they took over from."""

    live: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)

    def take(self, live: Iterable[str], gone: Iterable[str]) -> None:
        """Add what another void of the same id says."""
        self.gone.update(gone)
        self.live.update(live)
        self.live -= self.gone


@dataclass(slots=True)
class Segment:
    """One file: rows and voids by id."""

    rows: dict[str, Row] = field(default_factory=dict)
    voids: dict[str, Void] = field(default_factory=dict)

    def to_json(self, *, whole: bool = False) -> bytes:
        """As it stands in the store: a column for each field, in which what repeats itself stands once.

        `whole` says that this is all of an index, so that no other segment has a token that was taken over.
        """
        voids = {
            one: [sorted(void.live), [] if whole else sorted(void.gone)]
            for one, void in self.voids.items()
            if not (whole and one in self.rows and void.live == {self.rows[one][_TOKEN]})
        }
        columns: dict[str, Any] = {"ids": list(self.rows)}
        if self.rows:
            columns |= zip(FIELDS, map(_packed, zip(*self.rows.values(), strict=True)), strict=True)
        lines = [f'{{"drawbar":{LAYOUT}', f'"voids":{_encode(voids)}']
        return (
            ",\n".join([*lines, *(f'"{name}":{_encode(column)}' for name, column in columns.items())]).encode() + b"}\n"
        )

    @classmethod
    def from_json(cls, text: bytes | bytearray) -> Segment:
        """The inverse. ValueError, KeyError, TypeError or IndexError for what no release with this layout wrote."""
        body = json.loads(text)
        if body["drawbar"] != LAYOUT:
            raise ValueError(f"layout {body['drawbar']}")
        ids = body["ids"]
        columns = [_unpacked(body[name], len(ids)) for name in FIELDS] if ids else []
        voids = {one: Void(set(live), set(gone)) for one, (live, gone) in body["voids"].items()}
        return cls(dict(zip(ids, zip(*columns, strict=True), strict=True)) if ids else {}, voids)

    def named(self, content: bytes) -> str:
        """The name of a new file with that content: its lines, something unique, and a checksum."""
        return f"{len(self.rows) + len(self.voids)}-{unique()}-{zlib.crc32(content):08x}.json"


@dataclass(slots=True)
class Told:
    """What all segments so far say together: the entries that count, and the voids."""

    rows: dict[str, Row] = field(default_factory=dict)
    voids: dict[str, Void] = field(default_factory=dict)

    def take(self, segments: Sequence[Segment]) -> None:
        """Add what these say: first which entries no longer count, then the entries."""
        for segment in segments:
            for one, void in segment.voids.items():
                self._void(one, void.live, void.gone)
        for segment in segments:
            rows = segment.rows
            if not self.voids and self.rows.keys().isdisjoint(rows) and not any(row[_TOKEN] for row in rows.values()):
                self.rows.update(rows)
            else:
                for one, row in rows.items():
                    self.note(one, row)

    def note(self, one: str, row: Row) -> bool:
        """Add an entry, if it counts; whether it does. Of two that differ none does, until a void takes over."""
        if row[_TOKEN]:
            self._void(one, (row[_TOKEN],), ())
        void = self.voids.get(one)
        if void and void.live != {row[_TOKEN]}:
            return False
        if self.rows.setdefault(one, row) != row:
            self._void(one, (unique(),), ())
            return False
        return True

    def _void(self, one: str, live: Iterable[str], gone: Iterable[str]) -> None:
        known = self.voids.setdefault(one, Void())
        known.take(live, gone)
        row = self.rows.get(one)
        if row is not None and known.live != {row[_TOKEN]}:
            del self.rows[one]

    def part(self, ids: Iterable[str]) -> Segment:
        """What there is to say of these ids, as one segment."""
        return Segment(
            {one: self.rows[one] for one in ids if one in self.rows},
            {one: Void(set(known.live), set(known.gone)) for one in ids if (known := self.voids.get(one))},
        )


def parsed(name: str, content: bytes | bytearray) -> Segment:
    """The segment that a file holds; as `Segment.from_json`, and ValueError if a byte of it was changed."""
    found = _NAME.match(name)
    if not found or int(found[2], 16) != zlib.crc32(content):
        raise ValueError(f"{name} is not what was written")
    return Segment.from_json(content)


def lines_of(name: str) -> int:
    """How many entries and voids a segment has, by its name; 0 for a name that no segment has.

    >>> lines_of("1000-5f0c-77-3-9a0b1c2d.json"), lines_of("notes.txt")
    (1000, 0)
    """
    found = _NAME.match(name)
    return int(found[1]) if found else 0


def row_of(record: Record, token: str = "") -> Row:
    """A record as a segment has it, and as it comes back from one."""
    told = {name: getattr(record, name) for name in FIELDS[:-2]}
    told["at"] = record.at.astimezone(UTC).isoformat()
    if record.value == f"values/{record.data_version}{record.ext}":
        told["value"] = None
    for name in NESTED:
        told[name] = _encode(told[name])
    return (*told.values(), len(record.to_json()), token)


def _packed(values: Sequence[Any]) -> Any:
    """A column: its values, or where few differ, those and which of them each row has."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    if len(numbers) * 4 > len(values) and len(numbers) > 1:
        return list(values)
    return {"of": list(numbers), "at": [numbers[value] for value in values] if len(numbers) > 1 else []}


def _unpacked(column: Any, count: int) -> list[Any]:
    if isinstance(column, list):
        return column
    of, at = column["of"], column["at"]
    return [of[number] for number in at] if at else of * count
