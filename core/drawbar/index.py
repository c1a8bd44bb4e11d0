"""The index: what a partitioned asset's records say, in a few files, so that a plan opens none of ten thousand records.

Records come here from the store as they are put, and go from here to plans as entries. The record files stay the truth:
the index may lack a record, and is never wrong about one. Layout: `<namespace>/<name>/index/`, whole segments that
anyone may add at any time (see `segments`).

A record that is about to be replaced is *voided* before: from then on only the entry that its replacer adds counts,
whatever a slow writer still brings of the old one. Replacers of one Version are kept apart by its lease.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import quote

from drawbar.entries import Entry, entry_of
from drawbar.errors import CorruptError, StoreDeniedError, StoreError
from drawbar.files import Files, LocalFiles, unique
from drawbar.keys import AssetKey
from drawbar.records import Record
from drawbar.segments import PLACE, Row, Segment, Told, Void, lines_of, parsed, row_of

# Seconds for which the last look at a folder counts, on a local disk and elsewhere: the time after which what other
# processes add, and void, is seen.
FRESH, FRESH_AFAR = 1.0, 10.0
# A segment is written when so many entries wait, or when one comes so many seconds after the first.
LINES, AGE = 1000, 2.0
# So many segments of about one size become one, of the next size; so a line is rarely written again.
# A size is three bits long: 1 to 7 lines, 8 to 63, and so on.
SEGMENTS, BITS = 8, 3
_TRIES = 8
_AT_ONCE = 16
_DATA_VERSION, _VALUE, _EXT, _BYTES, _AT, _SIZE = (
    PLACE[name] for name in ("data_version", "value", "ext", "bytes", "at", "size")
)
_AS_IT_IS = re.compile(r"[\w.~-]+\Z", re.ASCII).match


@dataclass(slots=True)
class _Known:
    """One asset's index as this process knows it: what it says, the segments taken in, and the entries that wait."""

    told: Told = field(default_factory=Told)
    names: set[str] = field(default_factory=set)
    listed: list[str] = field(default_factory=list)
    looked: float = float("-inf")
    readable: bool = True
    waiting: dict[str, Row] = field(default_factory=dict)
    since: float = 0.0

    def forget(self) -> None:
        """Begin anew with what is in the folder."""
        self.told, self.names = Told(), set()


class Index:
    """The indexes of one store's partitioned assets; several threads may use it.

    Keys without a partition have no index: nothing is found for them and nothing is kept.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._local = isinstance(files, LocalFiles)
        self._fresh = FRESH if self._local else FRESH_AFAR
        self._known: dict[str, _Known] = {}
        self._lock = threading.RLock()

    def load(self, keys: Iterable[AssetKey]) -> None:
        """Read the indexes of these keys' assets together; what is fresh is not read again."""
        folders = {f"{key.namespace}/{key.name}": None for key in keys if key.partition is not None}
        with self._lock:
            now = time.monotonic()
            stale = [one for one in folders if now - self._known.setdefault(one, _Known()).looked > self._fresh]
            if stale:
                self._refresh(stale)

    def find(self, key: AssetKey, version: str) -> Entry | None:
        """What the index has of that Version, or None: then its record's file says whether there is one.

        On a local disk only if the record and the value are there and have their sizes.
        """
        if key.partition is None:
            return None
        known = self._of(key)
        row = known.told.rows.get(f"{version}@{key.partition}")
        if row is None or not known.readable:
            return None
        if self._local:
            folder, size = f"{key.namespace}/{key.name}/{part_of(key.partition)}", self._files.size
            value = row[_VALUE] or f"values/{row[_DATA_VERSION]}{row[_EXT]}"
            if size(f"{folder}/records/{version}.json") != row[_SIZE] or size(f"{folder}/{value}") != row[_BYTES]:
                return None
        return entry_of(key, version, row, self._record)

    def latest_of(self, keys: Sequence[AssetKey]) -> list[Entry | None]:
        """For each key the entry that was made last, whichever its Version; their files are not looked at."""
        self.load(keys)
        newest: dict[str, dict[str, tuple[str, str, Row]]] = {}
        found: list[Entry | None] = []
        for key in keys:
            folder = f"{key.namespace}/{key.name}"
            if key.partition is not None and folder not in newest:
                by_partition: dict[str, tuple[str, str, Row]] = {}
                newest[folder] = by_partition
                known = self._of(key)
                for one, row in list(known.told.rows.items()) if known.readable else ():
                    version, _, partition = one.partition("@")
                    before = by_partition.get(partition)
                    if before is None or before[0] < row[_AT]:
                        by_partition[partition] = (row[_AT], version, row)
            last = None if key.partition is None else newest[folder].get(key.partition)
            found.append(None if last is None else entry_of(key, last[1], last[2], self._record))
        return found

    def add(self, record: Record, token: str = "") -> None:
        """Note a record that is in the store: one that was put, or one that was found there and the index lacked.

        `token` is that of `void`, if it replaced another. Written to the store together with others, or by `flush`.
        """
        if record.key.partition is None or isinstance(record, Entry):
            return
        one, row = f"{record.version}@{record.key.partition}", row_of(record, token)
        with self._lock:
            known = self._of(record.key)
            before = known.told.rows.get(one)
            if before == row or not (known.told.note(one, row) or before):
                return
            known.since = known.since if known.waiting else time.monotonic()
            known.waiting[one] = row
            doubted = one not in known.told.rows
            due = doubted or len(known.waiting) >= LINES or time.monotonic() - known.since > AGE
        if due:
            self._write_waiting(f"{record.key.namespace}/{record.key.name}", known)

    def void(self, key: AssetKey, version: str) -> str:
        """Let no entry of that Version count, because its record is about to be replaced; the token for `add`.

        StoreError if that cannot be written: then the record must not be replaced.
        """
        if key.partition is None:
            return ""
        one, token = f"{version}@{key.partition}", unique()
        with self._lock:
            known = self._of(key)
            before = known.told.voids.get(one, Void())
            segment = Segment({}, {one: Void({token}, before.live | before.gone)})
            known.told.take([segment])
            known.waiting.pop(one, None)
        self._write(f"{key.namespace}/{key.name}", known, segment)
        return token

    def knows(self, key: AssetKey, version: str) -> bool:
        """Whether the index has that Version; its files are not looked at."""
        return key.partition is not None and f"{version}@{key.partition}" in self._of(key).told.rows

    def flush(self) -> None:
        """Write what waits. A store that cannot be written to is no fault, for the index only saves time."""
        for folder, known in list(self._known.items()):
            if known.waiting:
                self._write_waiting(folder, known)

    def _record(self, key: AssetKey, version: str) -> Record:
        path = f"{key.namespace}/{key.name}/{part_of(key.partition or '')}/records/{version}.json"
        content = self._files.read(path)
        if content is None:
            raise CorruptError(
                f"A record of {key} is gone.",
                expected=f"{self._files.uri(path)}, which the index names",
                found="nothing there",
                todo=f"remove {self._files.uri(f'{key.namespace}/{key.name}/index')}: it comes again by itself",
            )
        return Record.from_json(content, self._files.uri(path), key)

    def _of(self, key: AssetKey) -> _Known:
        folder = f"{key.namespace}/{key.name}"
        known = self._known.get(folder)
        if known is None or time.monotonic() - known.looked > self._fresh:
            self.load([key])
            known = self._known[folder]
        return known

    def _refresh(self, folders: Sequence[str]) -> None:
        """Take in the segments that are new; all requests of one kind go out together."""
        for _ in range(_TRIES):
            listed = dict(zip(folders, self._list(folders), strict=True))
            for folder, names in listed.items():
                # Others have merged: what they left out of it, because it counts no more, must not be held against it.
                if not self._known[folder].names.issubset(names):
                    self._known[folder].forget()
            new = {
                folder: [one for one in names if one not in self._known[folder].names]
                for folder, names in listed.items()
            }
            paths = [f"{folder}/index/{name}" for folder, names in new.items() for name in names]
            contents = dict(zip(paths, self._files.read_many(paths), strict=True))
            for folder, names in new.items():
                read = {name: contents[f"{folder}/index/{name}"] for name in names}
                if None not in read.values():
                    self._take(folder, {name: content or b"" for name, content in read.items()}, listed[folder])
            # What was gone was merged meanwhile: the next list has what it was merged into.
            folders = [
                folder for folder, names in new.items() if None in (contents[f"{folder}/index/{one}"] for one in names)
            ]
            if not folders:
                return
        for folder in folders:
            self._known[folder].forget()
            self._known[folder].readable = False

    def _take(self, folder: str, contents: Mapping[str, bytes | bytearray], listed: list[str]) -> None:
        known = self._known[folder]
        known.looked, known.listed = time.monotonic(), listed
        try:
            segments = [parsed(name, content) for name, content in contents.items()]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            if known.readable:
                warnings.warn(
                    f"{self._files.uri(f'{folder}/index')} cannot be read ({error}), so each record is looked up by "
                    "itself; remove that folder while nothing runs: it comes again by itself",
                    stacklevel=2,
                )
            # A segment that cannot be read may have voided any of the others' entries.
            known.forget()
            known.readable = False
            return
        known.readable = True
        known.told.take(segments)
        known.names.update(contents)
        for one, row in known.waiting.items():
            known.told.note(one, row)

    def _list(self, folders: Sequence[str]) -> list[list[str]]:
        if self._local or len(folders) == 1:
            return [self._list_one(folder) for folder in folders]
        with ThreadPoolExecutor(min(len(folders), _AT_ONCE)) as pool:
            return list(pool.map(self._list_one, folders))

    def _list_one(self, folder: str) -> list[str]:
        """The names of an index's segments, as they were at one moment.

        While somebody merges, one look could miss a new segment and, later in it, those that were merged into it. Two
        that see the same missed nothing: the new one was there before the others went.
        """
        before: list[str] | None = None
        for _ in range(_TRIES):
            names = [name for name in self._files.list(f"{folder}/index") if lines_of(name)]
            if names == before:
                break
            before = names
        return names

    def _write_waiting(self, folder: str, known: _Known) -> None:
        with self._lock:
            # Of one that was voided since, or is in doubt, that is said: its record's file will tell.
            segment, known.waiting = known.told.part(known.waiting), {}
        if not known.readable or not (segment.rows or segment.voids):
            return
        try:
            self._write(folder, known, segment)
        except StoreDeniedError:  # whoever may only read is not told at every plan
            return
        except StoreError as error:
            warnings.warn(
                f"{self._files.uri(f'{folder}/index')} cannot be written ({error.what}), so each record is looked up "
                "by itself; what was made is kept",
                stacklevel=2,
            )

    def _write(self, folder: str, known: _Known, segment: Segment) -> None:
        """One more segment, and what is to be merged by now is."""
        name = self._put(folder, segment.to_json(), segment)
        with self._lock:
            # Once more, because it may have been forgotten before it was there.
            known.told.take([segment])
            known.names.add(name)
            known.listed.append(name)
            due = known.readable and _due(known)
        if due:
            with contextlib.suppress(StoreError):
                self._merge(folder, known)

    def _put(self, folder: str, content: bytes, segment: Segment) -> str:
        name = segment.named(content)
        self._files.write(f"{folder}/index/{name}", [content])
        return name

    def _merge(self, folder: str, known: _Known) -> None:
        with self._lock:
            self._refresh([folder])
            merged = _due(known) if known.readable else []
            contents = self._files.read_many([f"{folder}/index/{name}" for name in merged])
            if not merged or None in contents:
                return
            ids: dict[str, None] = {}
            for name, content in zip(merged, contents, strict=True):
                segment = parsed(name, content or b"")
                ids |= dict.fromkeys([*segment.rows, *segment.voids])
            one, whole = known.told.part(ids), len(merged) == len(known.listed)
            name = self._put(folder, one.to_json(whole=whole), one)
            known.listed = [*(one for one in known.listed if one not in merged), name]
            known.names = (known.names - set(merged)) | {name}
        for name in merged:
            self._files.remove(f"{folder}/index/{name}")


def _due(known: _Known) -> list[str]:
    """The segments that are to become one: all, once half of what they say was said again; else many of one size."""
    lines, told = sum(map(lines_of, known.listed)), known.told
    # Counting exactly is worth it only where it may matter.
    if lines > 2 * max(len(told.rows), len(told.voids)) and lines > 2 * len(told.rows.keys() | told.voids):
        return list(known.listed) if len(known.listed) > 1 else []
    sizes = [lines_of(name).bit_length() // BITS for name in known.listed]
    many = max((size for size in sizes if sizes.count(size) >= SEGMENTS), default=-1)
    return [name for name, size in zip(known.listed, sizes, strict=True) if size <= many]


def part_of(partition: str) -> str:
    """The folder of a partition in its asset's.

    >>> part_of("2026-11-21"), part_of("a b|c")
    ('@2026-11-21', '@a%20b%7Cc')
    """
    return f"@{partition}" if _AS_IT_IS(partition) else f"@{quote(partition, safe='')}"
