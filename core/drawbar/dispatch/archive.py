"""A folder of the user's project as a zip of real files, named by its digest: the same files give the same bytes.

A root comes from `code`; the zip goes to the target as a blob, is unpacked there once, and stands on `sys.path`. What
goes is every `.py` file and, inside packages, the small files beside them; what version control ignores stays here.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import threading
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from drawbar.errors import PreflightError

FILES_LIMIT = 20_000
BYTES_LIMIT = 50 << 20
DATA_LIMIT = 1 << 20
"""The size up to which a file that is not code goes along with the package it lies in, in bytes."""

_SEEN_LIMIT = 200_000
_SKIPPED = frozenset(
    {"__pycache__", "node_modules", "site-packages", "dist-packages", "build", "dist", "__pypackages__"}
)
_EPOCH = (1980, 1, 1, 0, 0, 0)
_CACHE: dict[Path, tuple[tuple[tuple[str, int, int], ...], Archive]] = {}
_CACHING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip of `files` (paths inside `root`, sorted); `digest` is the sha256 of `data`."""

    root: Path
    digest: str
    data: bytes
    files: tuple[str, ...]


def archive(root: Path) -> Archive:
    """The zip of the project's code below `root`; made again only where a file has changed.

    PreflightError, which names the largest things, if it is over 20 000 files or 50 MiB: then `root` is not a project.
    """
    chosen = _chosen(root)
    with _CACHING:
        known = _CACHE.get(root)
        if known is not None and known[0] == chosen:
            return known[1]
        data = _zip(root, [name for name, _, _ in chosen])
        made = Archive(root, hashlib.sha256(data).hexdigest(), data, tuple(name for name, _, _ in chosen))
        _CACHE[root] = chosen, made
        return made


def _chosen(root: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, time of change and size of each file that goes."""
    names = _tracked(root)
    files = [_stat(root, name) for name in (_walked(root) if names is None else names)]
    packages = {_folder(name) for name, _, _ in filter(None, files) if name.endswith("/__init__.py")}
    chosen = sorted(one for one in files if one and (one[0].endswith(".py") or _is_data(one, packages)))
    if len(chosen) > FILES_LIMIT or sum(size for _, _, size in chosen) > BYTES_LIMIT:
        raise _too_big(root, chosen)
    return tuple(chosen)


def _is_data(file: tuple[str, int, int], packages: set[str]) -> bool:
    """Whether a file that is not code goes along: small, and somewhere below a package's folder."""
    name, _, size = file
    folder = _folder(name)
    while folder and folder not in packages:
        folder = _folder(folder)
    return bool(folder) and size <= DATA_LIMIT and not name.endswith((".pyc", ".pyo"))


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _stat(root: Path, name: str) -> tuple[str, int, int] | None:
    try:
        name.encode()
        found = (root / name).stat()
    except (OSError, UnicodeEncodeError):  # gone since it was listed, or a name that a zip cannot hold
        return None
    return name, found.st_mtime_ns, found.st_size


def _tracked(root: Path) -> list[str] | None:
    """What git does not ignore below `root`; None without git, outside a repository, or where all is ignored."""
    if not any((folder / ".git").exists() for folder in (root, *root.parents)):
        return None
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    names = list(dict.fromkeys(os.fsdecode(name) for name in listed.split(b"\0") if name))
    made = {_folder(name) for name in names if name.endswith("/pyvenv.cfg")}
    above = {name.partition("/jobs/")[0] for name in names if "/jobs/" in name}
    made |= {folder for folder in above if _is_made(root / folder)}
    left_out = tuple(f"{folder}/" for folder in made)
    kept = [name for name in names if not any(map(_pruned, name.split("/")[:-1])) and not name.startswith(left_out)]
    nested = [name for name in kept if (root / name).is_dir() and not (root / name).is_symlink()]
    plain = [name for name in kept if name not in set(nested)]
    inside = [f"{name.rstrip('/')}/{deeper}" for name in nested for deeper in _walked(root / name)]
    return plain + inside or None


def _walked(root: Path) -> Iterator[str]:
    """Every file below `root` but those in hidden folders, virtual environments, caches and build outputs."""
    seen = 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(one for one in folders if not _pruned(one) and not _is_made(Path(folder, one)))
        seen += len(files)
        if seen > _SEEN_LIMIT:
            raise _too_big(root, ())
        inside = os.path.relpath(folder, root)
        yield from (one if inside == "." else f"{inside}/{one}" for one in files)


def _pruned(folder: str) -> bool:
    return folder.startswith(".") or folder in _SKIPPED or folder.endswith(".egg-info")


def _is_made(folder: Path) -> bool:
    """Whether it is no code: a virtual environment, or a target's root, which holds all archives before this one."""
    if (folder / "pyvenv.cfg").exists() or (folder / "conda-meta").is_dir():
        return True
    return (folder / "jobs").is_dir() and (folder / "blobs").is_dir()


def _zip(root: Path, names: Iterable[str]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for name in names:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(entry, (root / name).read_bytes())
    return target.getvalue()


def _too_big(root: Path, chosen: Iterable[tuple[str, int, int]]) -> PreflightError:
    sizes: dict[str, tuple[int, int]] = {}
    for name, _, size in chosen:
        top = name.partition("/")[0]
        count, total = sizes.get(top, (0, 0))
        sizes[top] = count + 1, total + size
    largest = sorted(sizes.items(), key=lambda one: (one[1][1], one[1][0]), reverse=True)[:5]
    told = ", ".join(f"{name} ({count} files, {total / (1 << 20):.1f} MiB)" for name, (count, total) in largest)
    return PreflightError(
        f"The code below {root} is too much to send.",
        expected=f"at most {FILES_LIMIT} files and {BYTES_LIMIT >> 20} MiB of project code",
        found=told or f"more than {_SEEN_LIMIT} files",
        todo="move the module into a project folder of its own, or list what is not code in .gitignore",
    )
