"""The item cache: what a fan-out made of each item of a list, kept many to a file, so that each is made once.

Encoded values come here from `fanout` by the Version of their item, and go back there in a later run. They lie in
`<asset folder>/items/` as pairs of files: a `.pack`, which is values one after another, and then a `.index`, which says
what is where. Files are written whole and never changed; a pack without an index is nobody's. Names differ between
processes and sort by time, and of two values for one Version the later one counts.

    index: "dBx1" · count of entries (u32) · length of the heads (u32) · length of the pack (u64)
           [[format, type, ext], …] as json
           for each entry, by Version: Version (32 bytes) · offset (u64) · head << 48 | length (u64) · crc32 (u32)
           sha256 of all before it
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import json
import operator
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from drawbar.agent.encoding.items import Item
from drawbar.files import Files, Part, unique
from drawbar.pieces import Pieces

MANY = 32
"""With more packs than this that are not full, they are merged."""
FULL = 64 << 20
"""A pack of so many bytes is written, and not merged any more."""
MOST = 100_000
"""A pack of so many items is written."""
OLDEST = 5.0
"""Seconds that a value waits for others before it is written."""

_MAGIC = b"dBx1"
_HEAD = struct.Struct("!4sIIQ")
_ENTRY = struct.Struct("!32sQQI")
_DIGEST = 32
_LENGTH = (1 << 48) - 1
_OFFSET = 40
_RECENT = 1 << 16
_ABANDONED = 24 * 3600


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the value of one item lies, and how it is read."""

    version: bytes
    pack: str
    offset: int
    length: int
    head: tuple[str, str, str]
    crc: int


class Packs:
    """The items of one asset; `folder` is the asset's, `tell` gets a sentence about what cannot be read, once.

    For one thread. Nothing is read before the first `find`.

    >>> from drawbar.files import open_files
    >>> packs = Packs(open_files("memory://doc-packs"), "site/lengths")
    >>> with packs.writer() as writer:
    ...     writer.add("00" * 32, Item("json", "int", ".json", b"3"))
    >>> again = Packs(open_files("memory://doc-packs"), "site/lengths")
    >>> bytes(again.read("00" * 32).data), again.read("11" * 32)
    (b'3', None)
    >>> again.close()
    """

    def __init__(self, files: Files, folder: str, tell: Callable[[str], None] = lambda _: None) -> None:
        self._files, self._folder, self._tell = files, f"{folder}/items", tell
        self._content = Pieces(files, self._folder)
        self._names: list[str] = []
        self._sizes: dict[str, int] = {}
        self._heads: list[tuple[str, str, str]] = []
        self._sorted = bytearray()
        self._recent: dict[bytes, Entry] = {}
        self._bad: set[str] = set()
        self._listed = False

    def find(self, version: str) -> Entry | None:
        """Where the value for that item Version (64 hex digits) is said to lie; None where none is kept."""
        if not self._listed:
            self._list()
        key = bytes.fromhex(version)
        recent = self._recent.get(key)
        if recent is not None:
            return recent
        # All entries in one sorted text: a million of them take 52 MB, and a dict of them would take four times that.
        at = bisect.bisect_right(_Keys(self._sorted), key) - 1
        while at >= 0:
            found, place, kind, crc = _ENTRY.unpack_from(self._sorted, at * _ENTRY.size)
            if found != key:
                return None
            pack = self._names[place >> _OFFSET]
            if pack not in self._bad:
                offset = place & ((1 << _OFFSET) - 1)
                return Entry(key, pack, offset, kind & _LENGTH, self._heads[kind >> 48], crc)
            at -= 1
        return None

    def read(self, version: str) -> Item | None:
        """The value for an item Version; None where none is kept, or what is kept is damaged, which is told once."""
        listed_again = False
        while (entry := self.find(version)) is not None:
            data = self._content.read(entry.pack, entry.offset, entry.length)
            if data is not None and len(data) == entry.length and zlib.crc32(data) == entry.crc:
                return _item(entry.head, data)
            if data is None and not listed_again:  # merged meanwhile by another run: it is in another pack now
                listed_again = True
                self._list()
                continue
            self._recent.pop(entry.version, None)
            self._damaged(entry.pack, "are gone" if data is None else "are not what was written")
        return None

    def writer(self) -> Writer:
        """What takes new values; use it in a `with` block, at whose end all that it took is in the store."""
        return Writer(self)

    def _damaged(self, pack: str, how: str) -> None:
        if pack not in self._bad:
            self._bad.add(pack)
            place = self._files.uri(f"{self._folder}/{pack}.pack")
            self._tell(f"kept items {how}, in {place}: those that are wanted are made again")

    def _list(self) -> None:
        """Read all indexes, asked for together."""
        self._listed = True
        self._names = [name[:-6] for name in self._files.list(self._folder) if name.endswith(".index")]
        self._sizes = {}
        self._recent = {}  # they are in the indexes by now
        contents = self._files.read_many([f"{self._folder}/{name}.index" for name in self._names])
        numbered = []
        known: dict[tuple[str, str, str], int] = {}
        for number, (name, content) in enumerate(zip(self._names, contents, strict=True)):
            if content is None:
                continue
            try:
                heads, entries, self._sizes[name] = _parsed(content)
            except ValueError:
                self._damaged(name, "cannot be looked up")
                continue
            renumbered = [known.setdefault(head, len(known)) for head in heads]
            numbered.append((number, renumbered, entries))
        self._heads = list(known)
        self._sorted = _merged(numbered)

    def put(self, values: Sequence[tuple[bytes, Item]], after: str = "") -> None:
        """Write a pack and its index, which counts as if it had been written right after the pack `after`."""
        name = f"{after[:16] or format(time.time_ns(), '016x')}-{unique()}"
        known: dict[tuple[str, str, str], int] = {}
        entries, packed, offset = [], [], 0
        for version, item in values:
            head, size, crc = (item.format, item.type, item.ext), len(item.data), zlib.crc32(item.data)
            entries.append(Entry(version, name, offset, size, head, crc))
            packed.append(_ENTRY.pack(version, offset, known.setdefault(head, len(known)) << 48 | size, crc))
            offset += size
        told = json.dumps(list(known)).encode()
        body = b"".join([_HEAD.pack(_MAGIC, len(packed), len(told), offset), told, *sorted(packed)])
        self._files.write(f"{self._folder}/{name}.pack", [item.data for _, item in values])
        self._files.write(f"{self._folder}/{name}.index", [body, hashlib.sha256(body).digest()])
        if self._listed:
            self._recent.update((one.version, one) for one in entries)
            if len(self._recent) > _RECENT:
                self._list()

    def compact(self) -> None:
        """Merge packs that are not full, if there are many; remove what was abandoned a day ago.

        Another run may do the same at the same time: values are then there twice for a while, and never missing.
        """
        self._list()
        before = f"{time.time_ns() - _ABANDONED * 10**9:016x}"
        packs = [name[:-5] for name in self._files.list(self._folder) if name.endswith(".pack")]
        for name in set(packs) - set(self._names):
            if name < before:
                self._files.remove(f"{self._folder}/{name}.pack")
        small = [name for name in self._names if self._sizes.get(name, 0) < FULL // 2]
        if len(small) > MANY:
            for group in _groups(small, self._sizes):
                self._merge(group)
            self._list()

    def _merge(self, group: Sequence[str]) -> None:
        """One pack in place of several, with those of their values that no later pack has another for."""
        values = []
        for name in group:
            index = self._files.read(f"{self._folder}/{name}.index")
            data = self._files.read(f"{self._folder}/{name}.pack")
            if index is None:
                return  # another run merges these
            with contextlib.suppress(ValueError):  # a damaged one is left out, and goes
                values += [
                    (version, item)
                    for version, item in _values(index, data or b"")
                    if (found := self.find(version.hex())) is not None and found.pack == name
                ]
        if values:
            self.put(values, after=group[-1])
        for name in group:  # the index first: a pack without one is nobody's
            self._files.remove(f"{self._folder}/{name}.index")
            self._files.remove(f"{self._folder}/{name}.pack")

    def close(self) -> None:
        """Let go of the files that are open; a copy of remote packs goes with them."""
        self._content.close()


class Writer:
    """Takes values and writes them by packs: when they are many, when they are big, when the first has waited."""

    def __init__(self, packs: Packs) -> None:
        self._packs = packs
        self._values: list[tuple[bytes, Item]] = []
        self._size, self._since, self._written = 0, 0.0, 0

    def __enter__(self) -> Writer:  # noqa: PYI034  # it is not to be derived from
        return self

    def __exit__(self, *_: object) -> None:
        """What it took is written, whatever ended the block."""
        self.flush()
        if self._written:
            self._packs.compact()

    def add(self, version: str, item: Item) -> None:
        """Keep a value for an item Version; its bytes must not change before they are written."""
        if not self._values:
            self._since = time.monotonic()
        self._values.append((bytes.fromhex(version), item))
        self._size += len(item.data)
        if self._size >= FULL or len(self._values) >= MOST:
            self.flush()

    def flush_due(self) -> None:
        """Write what has waited long enough: to be called now and then."""
        if self._values and time.monotonic() - self._since > OLDEST:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if not self._values:
            return
        self._packs.put(self._values)  # an interrupt in it leaves them to be written again, which does no harm
        self._values, self._size = [], 0
        self._written += 1
        if not self._written % MANY:
            self._packs.compact()


class _Keys(Sequence[bytes]):
    """The Versions of a sorted text of entries, for `bisect`."""

    __slots__ = ("_text",)

    def __init__(self, text: bytearray | memoryview) -> None:
        self._text = text

    def __len__(self) -> int:
        return len(self._text) // _ENTRY.size

    def __getitem__(self, at: Any) -> Any:
        return bytes(self._text[at * _ENTRY.size : at * _ENTRY.size + _DIGEST])


def _parsed(content: bytes | bytearray) -> tuple[list[tuple[str, str, str]], memoryview, int]:
    """The heads, the entries and the pack's length; ValueError where the index is not what was written."""
    body = memoryview(content)[:-_DIGEST]  # not copied: an index of a million items is 52 MB
    if len(body) < _HEAD.size or hashlib.sha256(body).digest() != content[-_DIGEST:]:
        raise ValueError("not whole")
    magic, count, length, size = _HEAD.unpack_from(body)
    entries = body[_HEAD.size + length :]
    if magic != _MAGIC or len(entries) != count * _ENTRY.size:
        raise ValueError("not an index")
    return (
        [(one[0], one[1], one[2]) for one in json.loads(bytes(body[_HEAD.size : -len(entries) or None]))],
        entries,
        size,
    )


def _values(index: bytes | bytearray, data: bytes | bytearray) -> Iterator[tuple[bytes, Item]]:
    """The values of one pack that are whole, in the order in which they were put."""
    heads, entries, _ = _parsed(index)
    view = memoryview(data)
    for version, offset, kind, crc in sorted(_ENTRY.iter_unpack(entries), key=operator.itemgetter(1)):
        piece = view[offset : offset + (kind & _LENGTH)]
        if zlib.crc32(piece) == crc and len(piece) == kind & _LENGTH:
            yield version, _item(heads[kind >> 48], piece)


def _item(head: tuple[str, str, str], data: Part) -> Item:
    return Item(head[0], head[1], head[2], data)


def _merged(packs: Sequence[tuple[int, list[int], memoryview]]) -> bytearray:
    """All entries in one sorted text, each with its pack's number above the offset and the common numbers of heads.

    Done by the Version's first byte, so that what Python needs besides is a small part of the whole.
    """
    merged = bytearray()
    for first in range(256):
        entries = []
        for number, heads, text in packs:
            keys = _Keys(text)
            begin = bisect.bisect_left(keys, bytes([first]))
            end = bisect.bisect_right(keys, bytes([first]) + b"\xff" * _DIGEST)
            for version, offset, kind, crc in _ENTRY.iter_unpack(text[begin * _ENTRY.size : end * _ENTRY.size]):
                place, head = number << _OFFSET | offset, heads[kind >> 48]
                entries.append(_ENTRY.pack(version, place, head << 48 | kind & _LENGTH, crc))
        merged += b"".join(sorted(entries))
    return merged


def _groups(names: Sequence[str], sizes: dict[str, int]) -> Iterator[list[str]]:
    """Neighbours in time whose sum fills a pack."""
    group: list[str] = []
    total = 0
    for name in names:
        size = sizes.get(name, 0)
        if total + size > FULL:
            if len(group) > 1:
                yield group
            group, total = [], 0
        group.append(name)
        total += size
    if len(group) > 1:
        yield group
