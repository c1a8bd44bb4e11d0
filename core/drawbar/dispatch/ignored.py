"""Which files below a folder are the project's: what git does not ignore, or what git would not, where there is none.

A root comes from `archive`; names with slashes go back to it, with the paths to watch: while none of those changes, the
same names would be found again.
"""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

SEEN_LIMIT = 200_000
"""How many files may lie below a root, whether they go or not."""

_SKIPPED = frozenset(
    {"__pycache__", "node_modules", "site-packages", "dist-packages", "build", "dist", "__pypackages__"}
)
_CONFIGURATION = ("drawbar.toml", "pyproject.toml")


class TooManyError(Exception):
    """More than SEEN_LIMIT files lie below the root."""


@dataclass(frozen=True, slots=True)
class Listing:
    """`names` of files, with slashes; `watched` are the folders and files whose change can change the names."""

    names: tuple[str, ...]
    watched: tuple[str, ...]


def listing(root: Path) -> Listing:
    """The project's files below `root`, but those in hidden folders, environments, caches and build outputs.

    git is asked where it and a repository are there; else the .gitignore files are read. `exclude` of [tool.drawbar]
    leaves out more, in the same notation. A root that is ignored as a whole is taken as it is: something there was
    imported, so it is wanted. Changes of git's own settings are seen by the next process. TooManyError.
    """
    top = next((str(folder) for folder in (root, *root.parents) if (folder / ".git").exists()), None)
    excluding = _exclude(root)
    names, folders, more = _by_git(root, excluding) if top else (None, (), ())
    if names is None:
        names, folders = _walk(root, [*_specs_above(root, top), *excluding])
        if not names:
            names, folders = _walk(root, [])
    if excluding:
        names = [name for name in names if not _ignores(excluding, f"{root}/{name}")]
    watched = [*(str(root / one) for one in folders), *more, *_settings(root, top)]
    watched += [f"{root}/{name}" for name in names if name.rpartition("/")[2] == ".gitignore"]
    return Listing(tuple(names), tuple(dict.fromkeys(watched)))


def _settings(root: Path, top: str | None) -> Iterator[str]:
    """Files at and above `root` that say what is left out, whether they are there or not."""
    for folder in (root, *root.parents):
        yield from (f"{folder}/{name}" for name in _CONFIGURATION)
        if top and str(folder).startswith(top):
            yield f"{folder}/.gitignore"


def _by_git(root: Path, excluding: Sequence[_Spec]) -> tuple[list[str] | None, Iterable[str], Iterable[str]]:
    """What git lists, the folders it looked into, and its own files; no names without git, or where all is ignored."""
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    ignored = _git(root, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
    own = _git(root, "rev-parse", "--git-path", "index", "--git-path", "info/exclude")
    if not listed or ignored is None or own is None:
        return None, (), ()
    left_out = {name.rstrip("/") for name in _texts(ignored) if name.endswith("/")}
    folders = list(_folders(root, left_out, excluding))
    there = set(folders)
    names = [name for name in _texts(listed) if name.rpartition("/")[0] in there]
    nested = [name.rstrip("/") for name in names if name.rstrip("/") in there]  # repositories inside this one
    names = [name for name in names if name.rstrip("/") not in there]
    more = [str(root / one) for one in os.fsdecode(own).splitlines()]
    for name in nested:
        inner = listing(root / name)
        names += [f"{name}/{deeper}" for deeper in inner.names]
        more += inner.watched
    return names or None, folders, more


def _git(root: Path, *command: str) -> bytes | None:
    try:
        return subprocess.run(["git", "-C", str(root), *command], capture_output=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _texts(listed: bytes) -> list[str]:
    return list(dict.fromkeys(os.fsdecode(name) for name in listed.split(b"\0") if name))


def _folders(root: Path, left_out: set[str], excluding: Sequence[_Spec]) -> Iterator[str]:
    """Every folder at or below `root` ("" is the root) that may hold what goes."""
    waiting, seen = [""], 0
    while waiting:
        inside = waiting.pop()
        found = _entries(root / inside)
        seen += len(found)
        if seen > SEEN_LIMIT:
            raise TooManyError
        if inside and _is_made(found):
            continue
        yield inside
        for entry in found:
            deeper = f"{inside}/{entry.name}" if inside else entry.name
            if deeper not in left_out and _is_kept(entry) and not _ignores(excluding, f"{entry.path}/"):
                waiting.append(deeper)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:  # gone meanwhile, or not ours to read
        return []


@dataclass(frozen=True, slots=True)
class _Spec:
    """The patterns of one file, which count from its folder `base`, written with a slash at its end."""

    base: str
    patterns: GitIgnoreSpec


def _ignores(specs: Sequence[_Spec], path: str) -> bool:
    """Whether the last pattern that fits `path` leaves it out; a folder's path ends with a slash."""
    for spec in reversed(specs):
        if path.startswith(spec.base) and len(path) > len(spec.base):
            found = spec.patterns.check_file(path[len(spec.base) :]).include
            if found is not None:
                return found
    return False


def _walk(root: Path, specs: list[_Spec]) -> tuple[list[str], list[str]]:
    """Files and folders below `root` that the patterns of `specs`, and those of .gitignore files on the way, leave."""
    names: list[str] = []
    folders: list[str] = []
    waiting, seen = [("", specs)], 0
    while waiting:
        inside, above = waiting.pop()
        found = _entries(root / inside)
        if inside and _is_made(found):
            continue
        folders.append(inside)
        here = [*above, *_specs(root / inside)] if any(one.name == ".gitignore" for one in found) else above
        seen += len(found)
        if seen > SEEN_LIMIT:
            raise TooManyError
        for entry in sorted(found, key=lambda one: one.name):
            name = f"{inside}/{entry.name}" if inside else entry.name
            if entry.is_dir(follow_symlinks=False):
                if _is_kept(entry) and not _ignores(here, f"{entry.path}/"):
                    waiting.append((name, here))
            elif not _ignores(here, entry.path):
                names.append(name)
    return names, folders


def _specs_above(root: Path, top: str | None) -> list[_Spec]:
    """What the .gitignore files between the repository's folder and `root` say, the farthest first."""
    if top is None:
        return []
    between = [folder for folder in root.parents if str(folder).startswith(top)]
    return [spec for folder in reversed(between) for spec in _specs(folder)]


def _specs(folder: Path) -> list[_Spec]:
    try:
        lines = (folder / ".gitignore").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    return [_spec(folder, lines)]


def _spec(folder: Path, lines: Iterable[str]) -> _Spec:
    # Loaded here: most projects are in a repository and exclude nothing more.
    from pathspec import GitIgnoreSpec

    return _Spec(f"{str(folder).rstrip('/')}/", GitIgnoreSpec.from_lines(lines))


def _exclude(root: Path) -> list[_Spec]:
    """`exclude` of the configuration that `root` lies under; a file that is wrong is `config`'s to complain about."""
    for folder in (root, *root.parents):
        for name in _CONFIGURATION:
            try:
                document: Any = tomllib.loads((folder / name).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            table = document if name == "drawbar.toml" else (document.get("tool") or {}).get("drawbar")
            if isinstance(table, dict):
                lines = table.get("exclude") or ()
                return [_spec(folder, [one for one in lines if isinstance(one, str)])] if lines else []
    return []


def _is_kept(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder that by its name may hold code: not hidden, no cache, no build output."""
    name = entry.name
    hidden = name.startswith(".") or name in _SKIPPED or name.endswith(".egg-info")
    return not hidden and entry.is_dir(follow_symlinks=False)


def _is_made(found: Iterable[os.DirEntry[str]]) -> bool:
    """Whether a folder with this in it is no code: an environment, or a target's root, which holds earlier archives."""
    names = {one.name for one in found}
    return bool(names & {"pyvenv.cfg", "conda-meta"}) or {"jobs", "blobs"} <= names
