"""Many values in one: a list whose items, or a dict whose values, are each in the format that fits it by itself.

Encoded values come from a function that was called for each item of a list (`each`, and the client's fan-out), or out
of a dict that no other data format holds, one after another, and go to a temporary file: what is in memory at a time
is one item. One value goes back, which is a list, a dict, or `Items`, which decodes an item when it is looked at.

    "dBi1", then the items' bytes, those of arrays at multiples of 64 bytes
    for each item a u64: where it ends << 16 | the number of its head (an item begins where the one before it ends)
    {"heads": [[format, type, ext], …], "keys": [text, …] or null} as json
    where the ends begin (u64) · count of items (u64) · length of the json (u64) · "dBi1", network order

A list of up to 16 MiB of plain data is written as json instead, which people can read; which of the two it is, follows
from the value alone, so that equal lists have equal bytes.
"""

from __future__ import annotations

import array
import json
import mmap
import struct
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import plain
from .base import ITERATOR, LAZY, Buffer, Encoded, EncodingError, unfit, unreadable

_MAGIC = b"dBi1"
_TAIL = struct.Struct("!QQQ4s")
_END = struct.Struct("!Q")
_HEADS = 1 << 16
_ALIGNMENT = 64
_ALIGNED = frozenset(("npy", "npz", "safetensors", "items"))
_IN_MEMORY = 4 << 20
_PLAIN_LIMIT = 16 << 20  # read twice as fast as a container, but all of it at once
_SEPARATOR = b", "
_MOST_NAMES = 1000
_HOLDS = "a list, or a dict with str keys, each item of which fits a data format"


class Item(NamedTuple):
    """One encoded value, as it stands in a container: its head and its bytes."""

    format: str
    type: str
    ext: str
    data: Buffer


class Writer:
    r"""Takes encoded items one by one and gives the whole; `plain=True` writes a list of plain data as json.

    Use it in a `with` block, which ends its temporary file, whatever happens.

    >>> with Writer(plain=True) as made:
    ...     made.add(Item("text", "str", ".txt", b"a"))
    ...     made.add(Item("json", "int", ".json", b"1"))
    ...     whole = made.finish()
    >>> whole.format, whole.parts
    ('json', [b'["a", 1]'])
    """

    def __init__(self, *, plain: bool = False) -> None:
        self._json: Optional[bytearray] = bytearray(b"[") if plain else None
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by `__exit__`
        self._file.write(_MAGIC)
        self._at = len(_MAGIC)
        self._ends = array.array("Q")
        self._heads: Dict[Tuple[str, str, str], int] = {}

    def __enter__(self) -> Writer:  # noqa: PYI034 - Python 3.9 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, item: Item) -> None:
        """The next item; OSError where the disk is full, EncodingError where there are 65 537 kinds of items."""
        if self._json is not None:
            if item.format in ("json", "text") and len(self._json) + len(item.data) < _PLAIN_LIMIT:
                self._json += (_SEPARATOR if self._ends else b"") + _as_json(item)
                self._ends.append(len(self._json) << 16 | self._head(item))
                return
            self._as_container()
        self._write(item)

    def _as_container(self) -> None:
        """No plain list after all: what came so far is written as it was given."""
        whole, ends, heads = self._json, self._ends, list(self._heads)
        assert whole is not None
        self._json, self._ends, begin = None, array.array("Q"), 1
        for both in ends:
            head = heads[both & (_HEADS - 1)]
            data = bytes(whole[begin : both >> 16])
            self._write(Item(*head, data if head[0] == "json" else json.loads(data).encode()))
            begin = (both >> 16) + len(_SEPARATOR)

    def _head(self, item: Item) -> int:
        head = self._heads.setdefault((item.format, item.type, item.ext), len(self._heads))
        if head >= _HEADS:
            raise EncodingError(
                "The items are of too many types.",
                expected=f"at most {_HEADS} types and extensions",
                found="one more",
                todo="return items of one type",
            )
        return head

    def _write(self, item: Item) -> None:
        head = self._head(item)
        padding = -self._at % _ALIGNMENT if item.format in _ALIGNED else 0
        if padding:
            self._file.write(bytes(padding))
        self._file.write(item.data)
        self._at += padding + len(item.data)
        self._ends.append(self._at << 16 | head)

    def finish(self, keys: Optional[Sequence[str]] = None) -> Encoded:
        """The whole, of one part that outlives this writer; with `keys`, a dict."""
        count = len(self._ends)
        if self._json is not None:
            return Encoded("json", ".json", [bytes(self._json + b"]")], "list", count, ())
        table = {"heads": list(self._heads), "keys": None if keys is None else list(keys)}
        told = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
        if sys.byteorder == "little":
            self._ends.byteswap()
        self._file.write(self._ends.tobytes())
        self._file.write(told + _TAIL.pack(self._at, count, len(told), _MAGIC))
        kind, rows = ("list", count) if keys is None else ("dict", None)
        return Encoded("items", ".items", [self._whole()], kind, rows, ())

    def _whole(self) -> Buffer:
        self._file.flush()
        size = self._file.tell()
        if size <= _IN_MEMORY:
            self._file.seek(0)
            return self._file.read()
        return memoryview(mmap.mmap(self._file.fileno(), size, access=mmap.ACCESS_READ))


def _as_json(item: Item) -> bytes:
    return bytes(item.data) if item.format == "json" else plain.encode_json(str(item.data, "utf-8")).parts[0]  # type: ignore[return-value]


def item_of(encoded: Encoded) -> Item:
    """An encoded value as an item."""
    return Item(encoded.format, encoded.type, encoded.ext, encoded.join())


def encode(value: Any, trust: str = "data") -> Encoded:
    """A list, or a dict with str keys, each item in its own format; EncodingError that says where one does not fit.

    What was read lazily (`Items`) is written as it is.

    >>> decode(encode({"a": b"x", "b": [1]}).join(), "dict")
    {'a': b'x', 'b': [1]}
    """
    kind = type(value)
    if kind is Items:
        return Encoded("items", ".items", [value.data], "list", len(value), ())
    if kind is not list and (kind is not dict or not all(type(key) is str for key in value)):
        raise unfit(value, "items", _HOLDS)
    try:
        with Writer() as made:
            for key, item in value.items() if kind is dict else enumerate(value):
                made.add(_encoded(value, key, item, trust))
            return made.finish(list(value) if kind is dict else None)
    except (RecursionError, UnicodeEncodeError) as error:  # it holds itself; a key is no text that utf-8 can hold
        raise unfit(value, "items", _HOLDS, f"{type(error).__name__}: {error}") from error


def _encoded(value: Any, key: Any, item: Any, trust: str) -> Item:
    from . import encode as encode_one

    try:
        return item_of(encode_one(item, None, trust))
    except EncodingError as error:
        place, found = f"value[{key!r}]", error.found
        found = found.replace(" at value[", f" at {place}[") if " at value[" in found else f"{found} at {place}"
        raise unfit(value, "items", _HOLDS, found) from error


def holds(value: Any) -> bool:
    """Whether `value` is written so unasked: a dict of few names, whose values are not many small things themselves."""
    return type(value) is Items or (type(value) is dict and 0 < len(value) <= _MOST_NAMES)


def decode(data: Buffer, type_: str, folder: Optional[str] = None, trust: str = "pickle") -> Any:
    """The list or dict in `data`; of type LAZY the `Items`, of type ITERATOR an iterator over them."""
    items = Items(data, folder, trust)
    if type_ == LAZY:
        return items
    if type_ == ITERATOR:
        return iter(items)
    if (items.keys is not None) != (type_ == "dict"):
        unreadable("items", f"{'no ' if items.keys is None else ''}keys where a {type_} was expected")
    try:
        values = items.all()
    except RecursionError as error:
        unreadable("items", error)
    return values if items.keys is None else dict(zip(items.keys, values))


class Items(Sequence[Any]):
    """The items of a container as a sequence: each is decoded when it is looked at, anew each time.

    `folder` is where Paths are put. A slice is a list. EncodingError where the bytes are not what they should be.

    >>> items = Items(encode([1, "a", b"b"]).join())
    >>> len(items), items[-1], items[:2], list(items)
    (3, b'b', [1, 'a'], [1, 'a', b'b'])
    """

    def __init__(self, data: Buffer, folder: Optional[str] = None, trust: str = "pickle") -> None:
        self.data = memoryview(data).cast("B")
        self._folder, self._trust = folder, trust
        size = len(self.data)
        if size < len(_MAGIC) + _TAIL.size or bytes(self.data[: len(_MAGIC)]) != _MAGIC:
            unreadable("items", f"{size} bytes that begin with {bytes(self.data[:4])!r}")
        self._stop, self._count, length, magic = _TAIL.unpack_from(self.data, size - _TAIL.size)
        if magic != _MAGIC or self._stop + 8 * self._count + length + _TAIL.size != size or self._stop < len(_MAGIC):
            unreadable("items", "an end that does not fit what is before it")
        told = bytes(self.data[size - _TAIL.size - length : size - _TAIL.size])
        self._heads, self.keys = _table(told, self._count)
        if trust == "data" and any(head[0] == "pickle" for head in self._heads):
            raise EncodingError(
                "The value has pickles in it, and pickles are not trusted here.",
                expected="items in data formats",
                found="a pickled " + next(head[1] for head in self._heads if head[0] == "pickle"),
                todo='make the asset again so that a data format fits it, or set trust = "pickle"',
            )

    def __len__(self) -> int:
        return int(self._count)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(self._count))]
        item = self.item(range(self._count)[at])
        # An array is read in the memory that it is given: two looks at one item must not share theirs.
        return self.value(item._replace(data=bytearray(item.data)))

    def __iter__(self) -> Iterator[Any]:
        return map(self.__getitem__, range(self._count))

    def __repr__(self) -> str:
        return f"<Items of {self._count}>"

    def __reduce__(self) -> Any:
        """Pickled with its bytes; whoever reads it decides about trust and folders anew."""
        return Items, (bytes(self.data),)

    def item(self, at: int) -> Item:
        """The item at `at` (from 0) as it was encoded; its bytes are a view of the container's."""
        begin = len(_MAGIC) if at == 0 else self._end(at - 1)[0]
        end, head = self._end(at)
        if head >= len(self._heads):
            unreadable("items", f"head {head} of {len(self._heads)}")
        format_, kind, ext = self._heads[head]
        if format_ in _ALIGNED:
            begin += -begin % _ALIGNMENT
        if not begin <= end <= self._stop:
            unreadable("items", f"an item from byte {begin} to {end}")
        return Item(format_, kind, ext, self.data[begin:end])

    def all(self) -> List[Any]:
        """All of them decoded, in memory that they share with the container where that can be written to."""
        ends = array.array("Q", bytes(self.data[self._stop : self._stop + 8 * self._count]))
        if sys.byteorder == "little":
            ends.byteswap()
        # A million small items come as plain data: what is the same for all of them is not asked for each.
        plainly = [head[0] == "json" for head in self._heads]
        values, begin = [], len(_MAGIC)
        for at, both in enumerate(ends):
            end, head = both >> 16, both & (_HEADS - 1)
            if head < len(plainly) and plainly[head] and begin <= end <= self._stop:
                values.append(plain.decode_json(self.data[begin:end]))
            else:
                values.append(self.value(self.item(at)))
            begin = end
        return values

    def value(self, item: Item) -> Any:
        """What an item holds."""
        from . import decode as decode_one

        return decode_one(item.data, item.format, item.type, item.ext, self._folder, self._trust)

    def _end(self, at: int) -> Tuple[int, int]:
        (both,) = _END.unpack_from(self.data, self._stop + 8 * at)
        return both >> 16, both & (_HEADS - 1)


def _table(told: bytes, count: int) -> Tuple[List[Tuple[str, str, str]], Optional[List[str]]]:
    """The heads and the keys, each checked: the bytes may be anything."""
    try:
        table = json.loads(told.decode())
        heads = [tuple(head) for head in table["heads"]]
        keys = table["keys"]
        if not all(map(_texts, heads)) or any(len(head) != 3 for head in heads):  # noqa: PLR2004 - format, type, ext
            unreadable("items", "a head that is not three texts")
        if keys is not None and (type(keys) is not list or not _texts(keys) or len(set(keys)) != count):
            unreadable("items", "keys that do not fit the items")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        unreadable("items", error)
    return heads, keys


def _texts(many: Iterable[Any]) -> bool:
    return all(type(one) is str for one in many)
