"""Where the code of an asset lies: which repository, which commit, which file, read from `.git` without running git.

The file's path comes from the asset; the address goes into the job's facets, without the credentials that a clone's
address often holds.
"""

from __future__ import annotations

import configparser
import functools
import re
from dataclasses import dataclass
from pathlib import Path

from drawbar_adapters.openlineage.facets import Facet, facet

_SCP_LIKE = re.compile(r"(?:[^@/]+@)?(?P<host>[\w.-]+):(?P<path>(?!/).+)\Z")


@dataclass(frozen=True, slots=True)
class Checkout:
    """A working tree: its root, the address it was cloned from, and what is checked out."""

    root: str
    address: str
    commit: str
    branch: str


def source_location(file: str, line: int) -> Facet | None:
    """The facet that points at `line` of `file`; None for code that stands in no file."""
    known = _location(file)
    if known is None or "version" not in known or "repoUrl" not in known:
        return known
    return {**known, "url": f"{known['repoUrl']}/blob/{known['version']}/{known['path']}#L{line}"}


@functools.lru_cache(maxsize=256)
def _location(file: str) -> Facet | None:
    if not Path(file).is_absolute() or not Path(file).exists():
        return None
    where = Path(file).resolve()
    checkout = _checkout(where.parent)
    if checkout is None:
        return facet("SourceCodeLocationJobFacet", type="file", url=where.as_uri(), path=str(where))
    return facet(
        "SourceCodeLocationJobFacet",
        type="git",
        url=checkout.address or where.as_uri(),
        repoUrl=checkout.address or None,
        path=str(where.relative_to(checkout.root)),
        version=checkout.commit or None,
        branch=checkout.branch or None,
    )


def forget() -> None:
    """Read again what is checked out: a process that lives long sees more than one commit."""
    _location.cache_clear()
    _checkout.cache_clear()


def web_address(address: str) -> str:
    """A clone's address as a page that can be opened, without user, password and query; empty for a local folder.

    >>> web_address("git@github.com:acme/site.git")
    'https://github.com/acme/site'
    >>> web_address("https://me:ghp_secret@gitlab.com/acme/site.git?token=1")
    'https://gitlab.com/acme/site'
    """
    scheme, separator, rest = address.strip().partition("://")
    if not separator:
        found = _SCP_LIKE.match(address.strip())
        return _page(found["host"], found["path"]) if found else ""
    if scheme == "file":
        return ""
    authority, _, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    host = authority.rpartition("@")[2]
    return _page(host.partition(":")[0] if scheme in ("ssh", "git", "git+ssh") else host, path)


def _page(host: str, path: str) -> str:
    return f"https://{host}/{path.strip('/').removesuffix('.git')}"


@functools.lru_cache(maxsize=64)
def _checkout(folder: Path) -> Checkout | None:
    for root in (folder, *folder.parents):
        dot_git = root / ".git"
        if dot_git.exists():
            try:
                return _read(root, dot_git)
            except (OSError, ValueError, configparser.Error):
                return None
    return None


def _read(root: Path, dot_git: Path) -> Checkout:
    own = dot_git
    if dot_git.is_file():  # a linked working tree or a submodule: one line that says where the rest lies
        own = (root / dot_git.read_text().partition("gitdir:")[2].strip()).resolve()
    common = own / "commondir"
    shared = (own / common.read_text().strip()).resolve() if common.is_file() else own
    head = (own / "HEAD").read_text().strip()
    reference = head.removeprefix("ref: ") if head.startswith("ref: ") else ""
    return Checkout(
        root=str(root),
        address=_origin(shared / "config"),
        commit=_commit(shared, reference) if reference else head,
        branch=reference.removeprefix("refs/heads/"),
    )


def _origin(config: Path) -> str:
    # Git allows a key without a value, a key twice and a BOM; interpolation would trip over `%`.
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    parser.read_string("\n".join(line.strip() for line in config.read_text("utf-8-sig").splitlines()))
    remotes = [section for section in parser.sections() if section.startswith("remote ")]
    chosen = 'remote "origin"' if 'remote "origin"' in remotes else (remotes or [""])[0]
    return web_address(parser.get(chosen, "url", fallback="") or "")


def _commit(shared: Path, reference: str) -> str:
    loose = shared / reference
    if loose.is_file():
        return loose.read_text().strip()
    packed = shared / "packed-refs"
    for line in packed.read_text().splitlines() if packed.is_file() else ():
        commit, _, name = line.partition(" ")
        if name == reference:
            return commit
    return ""
