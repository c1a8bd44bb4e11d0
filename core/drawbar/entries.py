"""An Entry: a Record as a row of an index tells it, without a look into the record's own file.

Rows come here from `index`, and what a plan, a walk and lineage want of a record goes out. Only what is asked for is
unpacked, because a plan asks ten thousand of them for two or three fields.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from drawbar.events import Made
from drawbar.keys import AssetKey
from drawbar.records import Record
from drawbar.segments import LEFT_OUT, NESTED, PLACE, Row

_AT, _BY, _HOST = PLACE["at"], PLACE["by"], PLACE["host"]


class Entry(Record):
    """A Record as the index tells it; `parts` and `profile` are read from the record's file when they are asked for.

    CorruptError then, if that file is gone or cannot be read.
    """

    __slots__ = ("_open", "_row")
    _open: Callable[[AssetKey, str], Record]
    _row: Row

    def __new__(cls, *args: Any, **told: Any) -> Record:  # type: ignore[misc]  # only an index makes entries
        """What is made from fields, as by `dataclasses.replace`, is a plain Record."""
        return Record(*args, **told)

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process it is a plain Record, too."""
        return Record, tuple(getattr(self, one.name) for one in fields(Record))

    def __getattr__(self, name: str) -> Any:
        """A field that nobody asked for until now: only then is its slot empty."""
        if name in LEFT_OUT:
            record = self._open(self.key, self.version)
            for one in LEFT_OUT:
                _SET[one](self, getattr(record, one))
            return getattr(record, name)
        if name not in _SET:
            raise AttributeError(name)
        value: Any = self._row[PLACE[name]]
        if name == "at":
            value = datetime.fromisoformat(value)
        elif name == "value" and value is None:
            value = f"values/{self.data_version}{self.ext}"
        elif name in NESTED:
            value = json.loads(value)
            if name == "columns":
                value = tuple(map(tuple, value))
            elif name == "checks":
                value = tuple(value)
        _SET[name](self, value)
        return value

    @property
    def told(self) -> str:
        """When and by whom it was made, as a plan says it."""
        row = self._row
        return f"made {row[_AT][:10]} {row[_AT][11:16]} UTC by {row[_BY]}@{row[_HOST]}"

    def made(self, *args: Any, **told: Any) -> Made:
        """As that of a Record, but without a profile: a run that reuses opens no record, either."""
        bare = entry_of(self.key, self.version, self._row, self._open)
        _SET["profile"](bare, None)
        return Record.made(bare, *args, **told)

    def __eq__(self, other: object) -> bool:
        """Whether both tell of the same record; no file is opened for it."""
        if not isinstance(other, Entry):
            return NotImplemented
        return (self.key, self.version, self._row) == (other.key, other.version, other._row)

    def __hash__(self) -> int:
        return hash((self.key, self.version))

    def __repr__(self) -> str:
        return f"Entry({str(self.key)!r}, version={self.version!r}, data_version={self.data_version!r})"


# A Record is frozen, and made from all of its fields; an Entry's slots are filled one by one.
_SET: Mapping[str, Any] = {name: Record.__dict__[name].__set__ for name in Record.__slots__}
_set_key, _set_version = _SET["key"], _SET["version"]
_set_open, _set_row = (Entry.__dict__[name].__set__ for name in Entry.__slots__)
_new = object.__new__


def entry_of(key: AssetKey, version: str, row: Row, opened: Callable[[AssetKey, str], Record]) -> Entry:
    """The entry that a row is; `opened` gives the record from its file."""
    entry = _new(Entry)
    _set_key(entry, key)
    _set_version(entry, version)
    _set_row(entry, row)
    _set_open(entry, opened)
    return entry
