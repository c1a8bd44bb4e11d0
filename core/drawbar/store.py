"""The store: values and their records under any fsspec URL, shared by everything that makes or reads assets.

Encoded values and records come here from `run`, and go from here to plans and to whoever asks for a value. Layout,
documented in docs/store.md: `<namespace>/<name>/[@<partition>/]` with `records/`, `values/`, `latest.json`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol
from urllib.parse import quote, unquote

from drawbar.errors import CorruptError, DrawbarError, StoreError
from drawbar.files import Files, LocalFiles, Part, open_files
from drawbar.index import Index, part_of
from drawbar.keys import AssetKey
from drawbar.leases import Held
from drawbar.records import Journal, Parts, Record

# No asset has such a name, so a dynamic set's folder is none's.
_SETS = "partitions.d"


class Bytes(Protocol):
    """An encoded value as `put` takes it."""

    @property
    def parts(self) -> Sequence[Part]:
        """Its bytes, in order."""


class Store:
    """Values and records at one place; `url` is a folder or any fsspec URL. Opening it reads and writes nothing.

    >>> Store("memory://doc").latest(AssetKey("site", "embeddings")) is None
    True
    """

    def __init__(self, url: str) -> None:
        self.files: Files = open_files(url)
        self.url = self.files.root
        self.leases = Held(self.files)
        self.index = Index(self.files)
        self.local = isinstance(self.files, LocalFiles)

    def lookup(self, key: AssetKey, version: str) -> Record | None:
        """The record of that Version, or None. CorruptError if it cannot be read."""
        path = f"{folder_of(key)}/records/{version}.json"
        content = self.files.read(path)
        return None if content is None else Record.from_json(content, self.files.uri(path), key)

    def lookup_many(self, wanted: Sequence[tuple[AssetKey, str]]) -> list[Record | CorruptError | None]:
        """`lookup` of many, asked for together; a record that cannot be read is given as its error."""
        paths = [f"{folder_of(key)}/records/{version}.json" for key, version in wanted]
        found: list[Record | CorruptError | None] = []
        for (key, _), path, content in zip(wanted, paths, self.files.read_many(paths), strict=True):
            try:
                found.append(None if content is None else Record.from_json(content, self.files.uri(path), key))
            except CorruptError as error:
                found.append(error)
        return found

    def latest(self, key: AssetKey) -> Record | None:
        """The record that was made last, whichever its Version; None if it was never made or cannot be read."""
        return self.latest_of([key])[0]

    def latest_of(self, keys: Sequence[AssetKey]) -> list[Record | None]:
        """`latest` of many assets, asked for together; what cannot be read counts as never made."""
        paths = [f"{folder_of(key)}/latest.json" for key in keys]
        found: list[Record | None] = []
        for path, content in zip(paths, self.files.read_many(paths), strict=True):
            try:
                found.append(None if content is None else Record.from_json(content, self.files.uri(path)))
            except CorruptError:
                found.append(None)
        return found

    def records(self, key: AssetKey) -> list[Record]:
        """Every readable record of an asset, oldest first."""
        return self._records(f"{folder_of(key)}/records")

    def _records(self, folder: str) -> list[Record]:
        paths = [f"{folder}/{name}" for name in self.files.list(folder) if name.endswith(".json")]
        found = []
        for path, content in zip(paths, self.files.read_many(paths), strict=True):
            if content is not None:
                try:
                    found.append(Record.from_json(content, self.files.uri(path)))
                except CorruptError:
                    continue
        return sorted(found, key=lambda record: record.at)

    def partitions(self, key: AssetKey) -> list[str]:
        """The partitions of an asset that have something in the store."""
        return [unquote(name[1:]) for name in self.files.list(folder_of(key.at(None))) if name.startswith("@")]

    def has_value(self, record: Record) -> bool:
        """Whether the record's value is there and has its size; its bytes are checked when they are read."""
        return self.files.size(f"{folder_of(record.key)}/{record.value}") == record.bytes

    def read(self, record: Record) -> bytearray:
        """The encoded bytes of a value, checked against its DataVersion. CorruptError if they are not what was made."""
        path = f"{folder_of(record.key)}/{record.value}"
        content = self.files.read(path)
        if content is not None and hashlib.sha256(content).hexdigest() == record.data_version:
            return content
        found = "nothing there" if content is None else f"{len(content)} bytes with another digest"
        raise CorruptError(
            f"The value of {record.key} is not what was made.",
            expected=f"{record.bytes} bytes with sha256 {record.data_version}",
            found=f"{found}, in {self.files.uri(path)}",
            todo=f"`drawbar run {record.key.name} --force {record.key.name}` makes it again",
        )

    def put(self, record: Record, parts: Sequence[Part] | None, *, replace: bool = False) -> Record:
        """Keep a value and then its record, each whole or not at all; the record that counts comes back.

        That is another maker's if it was first, unless `replace` (a value made again on purpose). Without
        `parts` the value is in the store already.
        """
        folder = folder_of(record.key)
        if parts is not None:
            self.files.write(f"{folder}/{record.value}", parts)
        path = f"{folder}/records/{record.version}.json"
        content = record.to_json()
        token = ""
        # What the index has of this Version is not true any more once the record is another.
        if replace or self.index.knows(record.key, record.version):
            token = self.index.void(record.key, record.version)
        if replace:
            self.files.write(path, [content])
        elif not self.files.create(path, [content]):
            try:
                first = self.lookup(record.key, record.version)
            except CorruptError:
                first = None
            if first is not None and self.has_value(first):
                self.index.add(first, token)
                return first
            token = token or self.index.void(record.key, record.version)
            self.files.write(path, [content])
        self.files.replace_with_link(f"{folder}/latest.json", path)
        self.index.add(record, token)
        return record

    def rewrite(self, record: Record) -> None:
        """Replace a record by one that knows more of the same value."""
        path = f"{folder_of(record.key)}/records/{record.version}.json"
        token = self.index.void(record.key, record.version)
        self.files.write(path, [record.to_json()])
        self.files.replace_with_link(f"{folder_of(record.key)}/latest.json", path)
        self.index.add(record, token)

    def reject(self, record: Record, parts: Sequence[Part] | None) -> str:
        """Keep a value that failed a blocking check where only people look; where it is. No plan finds it.

        Without `parts` the value is in the store already.
        """
        folder = folder_of(record.key)
        if parts is not None:
            self.files.write(f"{folder}/{record.value}", parts)
        self.files.write(f"{folder}/rejected/{record.version}.json", [record.to_json()])
        return self.uri(record)

    def was_rejected(self, key: AssetKey, version: str) -> bool:
        """Whether the value that was last made of this Version failed a blocking check."""
        return self.files.size(f"{folder_of(key)}/rejected/{version}.json") is not None

    def rejected(self, key: AssetKey) -> list[Record]:
        """The records of values that failed a blocking check and are kept for inspection, oldest first."""
        return self._records(f"{folder_of(key)}/rejected")

    def keep_parts(self, key: AssetKey, version: str, parts: Parts) -> None:
        """Remember what a transient asset was made from, for `explain`: where that cannot be written, no run fails."""
        with suppress(StoreError):
            self.files.create(f"{folder_of(key)}/parts/{version}.json", [parts.to_json()])

    def parts(self, key: AssetKey, version: str) -> Parts | None:
        """What a transient asset of that Version was made from, if that is still known."""
        content = self.files.read(f"{folder_of(key)}/parts/{version}.json")
        return None if content is None else Parts.from_json(content)

    def members(self, namespace: str, name: str) -> list[str]:
        """The keys of a dynamic set of partitions, sorted."""
        return sorted(unquote(one) for one in self.files.list(f"{namespace}/{_SETS}/{name}"))

    def add_members(self, namespace: str, name: str, keys: Iterable[str]) -> list[str]:
        """Add keys to a dynamic set; those that were not in it. Any number of processes may add at once."""
        folder = f"{namespace}/{_SETS}/{name}"
        there = set(self.files.list(folder))
        new = [key for key in dict.fromkeys(keys) if quote(key, safe="") not in there]
        return [key for key in new if self.files.create(f"{folder}/{quote(key, safe='')}", [b"\n"])]

    def remove_members(self, namespace: str, name: str, keys: Iterable[str]) -> list[str]:
        """Take keys out of a dynamic set; those that were in it. What was made of them stays."""
        folder = f"{namespace}/{_SETS}/{name}"
        there = set(self.files.list(folder))
        gone = [key for key in dict.fromkeys(keys) if quote(key, safe="") in there]
        for key in gone:
            self.files.remove(f"{folder}/{quote(key, safe='')}")
        return gone

    def uri(self, record: Record) -> str:
        """Where a record's value lies."""
        return self.files.uri(f"{folder_of(record.key)}/{record.value}")

    def place(self, key: AssetKey) -> str:
        """The folder of an asset: the name of it that stays the same from version to version."""
        return self.files.uri(folder_of(key))

    def write_journal(self, journal: Journal) -> None:
        """Keep a run's journal entry, replacing the one of its beginning."""
        self.files.write(journal.file, [journal.to_json()])

    def journals(self, namespace: str, limit: int = 100) -> list[Journal]:
        """The latest runs, newest first; entries that cannot be read are left out."""
        folder = f"{namespace}/runs"
        names = [name for name in self.files.list(folder) if name.endswith(".json")][-limit:]
        paths = [f"{folder}/{name}" for name in reversed(names)]
        found = []
        for path, content in zip(paths, self.files.read_many(paths), strict=True):
            try:
                if content is not None:
                    found.append(Journal.from_json(content, self.files.uri(path)))
            except DrawbarError:
                continue
        return found


def folder_of(key: AssetKey) -> str:
    """The folder of an asset, relative to the store; a partition is percent-encoded behind an '@'.

    >>> folder_of(AssetKey("site", "text/embeddings", "2026-11-21"))
    'site/text/embeddings/@2026-11-21'
    """
    plain = f"{key.namespace}/{key.name}"
    return plain if key.partition is None else f"{plain}/{part_of(key.partition)}"
