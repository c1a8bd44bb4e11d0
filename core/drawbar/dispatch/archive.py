"""A folder of the user's project as packs of files, each named by its digest: the same files give the same bytes.

A root comes from `code`, with the files that modules are known to need; the packs go to the target as blobs, so that
after an edit one of them travels, and are unpacked there to one folder on `sys.path`. What goes is every `.py` file and
compiled module, and the files inside packages; what git ignores or `exclude` names stays here, unless it is imported.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drawbar.agent import archives
from drawbar.dispatch import ignored
from drawbar.dispatch.transfer import Blob, blob_of
from drawbar.errors import PreflightError

FILES_LIMIT = 20_000
BYTES_LIMIT = 200 << 20

_CODE = (".py", ".so")
_NEVER = (".pyc", ".pyo")
_ALONE = 256 << 10
_FULL = 256 << 10
_TOGETHER = 16
"""How many files share a pack, on average: an edit sends all of them, and each pack costs the host a file."""
_SETTLED = 2_000_000_000
"""A file that changed less than this many nanoseconds before it was read may change again within one tick of its
file system's clock; it is read again the next time."""

_Stamp = tuple[int, int, int, int, int] | None
_CACHE: dict[Path, _Known] = {}
_CACHING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Archive:
    """The packs of what goes of `root`, and the names of the `files` in them, sorted.

    `packs`, as digests, are what a job's spec says; `agent.archives.name_of` names the folder that they become.
    """

    root: Path
    packs: tuple[Blob, ...]
    files: tuple[str, ...]


@dataclass(slots=True)
class _Pack:
    """One pack, the stamps of its files when they were read, the digest of their bytes, and when that was."""

    stamps: tuple[_Stamp, ...]
    content: bytes
    blob: Blob
    read: int


@dataclass(slots=True)
class _Known:
    """What was found below a root: while no stamp of a watched path changes, nothing is listed again."""

    listing: ignored.Listing
    watched: tuple[_Stamp, ...]
    listed: int
    packs: dict[tuple[str, ...], _Pack] = field(default_factory=dict)
    made: Archive | None = None


def archive(root: Path, needed: Iterable[str] = ()) -> Archive:
    """The packs of the project's code below `root`, a folder or a zip; made again only where a file has changed.

    `needed` are names of files that go even if git ignores them, and so do loaded modules. Nothing is listed or read
    while sizes, inodes and times stay as they are. PreflightError, which names the largest folders, if it is over
    20 000 files or 200 MiB, and for a file that cannot be read.
    """
    if not root.is_dir():
        return _of_zip(root)
    with _CACHING:
        known = _CACHE.get(root)
        if known is None or not _settled(known):
            known = _CACHE[root] = _listed(root, known)
        imported = {*needed, *_loaded(root)}
        stamps = _chosen(root, known.listing.names, imported)
        groups = list(_groups({name: one[2] for name, one in stamps.items()}))
        packs = {names: _pack(root, names, stamps, known.packs.get(names)) for names in groups}
        known.packs = packs
        blobs = tuple(one.blob for one in packs.values())
        if known.made is None or known.made.packs != blobs:
            known.made = Archive(root, blobs, tuple(stamps))
        return known.made


def _listed(root: Path, before: _Known | None) -> _Known:
    began = time.time_ns()
    try:
        found = ignored.listing(root)
    except ignored.TooManyError:
        raise _too_big(root, {}) from None
    packs = before.packs if before else {}
    return _Known(found, tuple(map(_stamp, found.watched)), began, packs, before.made if before else None)


def _settled(known: _Known) -> bool:
    """Whether the names that were listed are still those that would be."""
    return all(
        (now := _stamp(path)) == then and not _fresh(now, known.listed)
        for path, then in zip(known.listing.watched, known.watched, strict=True)
    )


def _fresh(one: _Stamp, when: int) -> bool:
    return one is not None and max(one[0], one[1]) > when - _SETTLED


def _stamp(path: str) -> _Stamp:
    """Times of change, size, inode and mode; None for what is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path would take longer to make than to look at, for each file
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode


def _chosen(root: Path, names: Iterable[str], imported: set[str]) -> dict[str, tuple[int, int, int, int, int]]:
    """The stamp of each file that goes, by name, sorted."""
    above = f"{str(root).rstrip('/')}/"
    packages = {_folder(name) for name in names if name.endswith("/__init__.py")}
    packages |= {_folder(name) for name in imported if "/" in name}
    wanted = [name for name in names if name.endswith(_CODE) or _is_data(name, packages)]
    chosen: dict[str, tuple[int, int, int, int, int]] = {}
    for name in sorted({*wanted, *imported}):
        one = _stamp(above + name)
        if one and stat.S_ISREG(one[4]):
            chosen[name] = one
    if len(chosen) > FILES_LIMIT or sum(one[2] for one in chosen.values()) > BYTES_LIMIT:
        raise _too_big(root, {name: one[2] for name, one in chosen.items()})
    return chosen


def _is_data(name: str, packages: set[str]) -> bool:
    """Whether a file that is not code goes along: it lies somewhere below a package's folder."""
    folder = _folder(name)
    while folder and folder not in packages:
        folder = _folder(folder)
    return bool(folder) and not name.endswith(_NEVER)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _loaded(root: Path) -> Iterator[str]:
    """The files of modules that were imported from `root` itself."""
    above = f"{str(root).rstrip('/')}/"
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str) and file.startswith(above):
            inside, stem = file[len(above) :], name.replace(".", "/")
            compiled = inside.startswith(f"{stem}.") and inside.endswith(".so")
            if compiled or inside in (f"{stem}.py", f"{stem}/__init__.py"):
                yield inside


def _groups(sizes: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    """The names that share a pack. Names and big files decide where one ends, so that an edit moves no other's end."""
    group: list[str] = []
    full = 0
    for name, size in sizes.items():
        if size >= _ALONE:
            yield (name,)
            continue
        group.append(name)
        full += size
        if zlib.crc32(os.fsencode(name)) % _TOGETHER == 0 or full >= _FULL:
            yield tuple(group)
            group, full = [], 0
    if group:
        yield tuple(group)


def _pack(root: Path, names: tuple[str, ...], stamps: Mapping[str, _Stamp], known: _Pack | None) -> _Pack:
    seen = tuple(stamps[name] for name in names)
    if known is not None and known.stamps == seen and not any(_fresh(one, known.read) for one in seen):
        return known
    began = time.time_ns()
    entries = [
        (name, bool(one and one[4] & stat.S_IXUSR), _bytes(root, name)) for name, one in zip(names, seen, strict=True)
    ]
    return _packed(entries, seen, began, known)


def _packed(
    entries: Sequence[tuple[str, bool, bytes]], seen: tuple[_Stamp, ...], began: int, known: _Pack | None
) -> _Pack:
    """A pack of these files; the known one where it has the same in it, because hashing is quicker than packing."""
    hashed = hashlib.sha256()
    for _, executable, data in entries:
        hashed.update(b"%d %d " % (executable, len(data)))
        hashed.update(data)
    content = hashed.digest()
    blob = known.blob if known is not None and known.content == content else blob_of([archives.pack(entries)])
    return _Pack(seen, content, blob, began)


def _bytes(root: Path, name: str) -> bytes:
    try:
        return (root / name).read_bytes()
    except OSError as error:
        raise PreflightError(
            f"A file of the project below {root} cannot be read.",
            expected="every file that goes with a job to be readable here",
            found=f"{name}: {error.strerror or error}",
            todo="make it readable, or leave it out: .gitignore, or `exclude` in [tool.drawbar]",
        ) from None


def _of_zip(root: Path) -> Archive:
    """The packs of a zip on `sys.path`, or of a folder in one: all that is in it."""
    file = next((one for one in (root, *root.parents) if one.is_file()), root)
    inside = "" if file == root else f"{root.relative_to(file)}/"
    with _CACHING:
        now = _stamp(str(file))
        known = _CACHE.get(root)
        if known and known.made and known.watched == (now,) and not _fresh(now, known.listed):
            return known.made
        began = time.time_ns()
        entries = sorted((name, False, data) for name, data in _zipped(file, inside))
        sizes = {name: len(data) for name, _, data in entries}
        if len(sizes) > FILES_LIMIT or sum(sizes.values()) > BYTES_LIMIT:
            raise _too_big(root, sizes)
        by_name = {one[0]: one for one in entries}
        packs = [_packed([by_name[name] for name in names], (now,), began, None) for names in _groups(sizes)]
        made = Archive(root, tuple(one.blob for one in packs), tuple(sizes))
        _CACHE[root] = _Known(ignored.Listing((), (str(file),)), (now,), began, {}, made)
        return made


def _zipped(file: Path, inside: str) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(file) as zipped:
            for entry in zipped.infolist():
                if entry.filename.startswith(inside) and not entry.is_dir() and not entry.filename.endswith(_NEVER):
                    yield entry.filename[len(inside) :], zipped.read(entry)
    except (OSError, zipfile.BadZipFile) as error:
        raise PreflightError(
            "A zip that modules were imported from cannot be read.",
            expected="the same zip as when they were imported",
            found=f"{file}: {error}",
            todo="put it back, or unpack it to a folder on sys.path",
        ) from None


def _too_big(root: Path, sizes: Mapping[str, int]) -> PreflightError:
    told = ", ".join(f"{name} ({count} files, {size / (1 << 20):.1f} MiB)" for name, count, size in _largest(sizes))
    return PreflightError(
        f"The code below {root} is too much to send.",
        expected=f"at most {FILES_LIMIT} files and {BYTES_LIMIT >> 20} MiB of project code",
        found=told or f"more than {ignored.SEEN_LIMIT} files",
        todo="list what is not code in .gitignore or in `exclude` of [tool.drawbar], "
        "or move the module into a project folder of its own",
    )


def _largest(sizes: Mapping[str, int], most: int = 5) -> list[tuple[str, int, int]]:
    """What holds most: name, files, bytes of folders and of files in the root; each as deep as holds nearly all."""
    counts: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    children: dict[str, set[str]] = {}
    for name, size in sizes.items():
        below = name
        while below:
            counts[below] += 1
            totals[below] += size
            above = _folder(below)
            children.setdefault(above, set()).add(below)
            below = above
    weigh: Callable[[str], tuple[int, int]] = lambda one: (totals[one], counts[one])  # noqa: E731 - a key with a type
    found = []
    for one in sorted(children.get("", ()), key=weigh, reverse=True)[:most]:
        deepest = one
        while deepest in children:
            biggest = max(children[deepest], key=weigh)
            if biggest not in children or totals[biggest] * 10 < totals[deepest] * 9:
                break
            deepest = biggest
        found.append((deepest, counts[deepest], totals[deepest]))
    return found
