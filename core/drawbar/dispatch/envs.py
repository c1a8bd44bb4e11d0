"""What an Env asks for: its digest, what of it travels to a host that builds it, and whether a host has it already.

An Env comes from a Job, its lock file and its wheels from the project's folder. A part of the job's spec goes to
`prepare`, with blobs, for the host's agent to build from (`agent/envs.py`); where that is not wished, a list of what
does not fit goes to `preflight`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import mmap
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from drawbar.asset import Env
from drawbar.dispatch.port import Bytes
from drawbar.dispatch.transfer import Blob, blob_of
from drawbar.errors import OptionError

_LOCKS = "a requirements file with pins (*.txt), or a pylock.toml"
_EXPORT = "uv export --no-emit-project --output-file requirements.txt"
_PIN = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*(?:===?\s*([^\s;\\,]+)|@)")
_ELSEWHERE = re.compile(r"(-r|-c|-e|--requirement|--constraint|--editable)\b|\.{0,2}/|file:|\.\s*$")
_WHEELS = (".whl", ".tar.gz")
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Unmet:
    """One requirement that a host does not meet; `found` is the installed version, or empty where there is none."""

    requirement: str
    found: str

    def __str__(self) -> str:
        """As messages tell it."""
        return f"{self.requirement} ({f'it has {self.found}' if self.found else 'not installed'})"


def digest(env: Env, folder: Path | None = None) -> str:
    """The Env's identity: the same requirements in another order or spelling are the same Env.

    The content of its lock file and of the wheels it sends counts, not where they lie; a relative path is taken from
    `folder`, by default the working folder. OptionError for what cannot be read.

    >>> digest(Env("numpy>=2", "Pandas")) == digest(Env("pandas", "numpy >= 2"))
    True
    """
    said = {
        "requirements": sorted({str(one) for one in _parsed(env)}),
        "python": str(python_wanted(env) or ""),
        "contents": contents(env, folder),
        "find_links": _find_links(env, folder)[0],
        "variables": dict(env.variables),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def contents(env: Env, folder: Path | None = None) -> tuple[str, ...]:
    """The files of this machine that are part of the Env, by content: `lock:<sha256>`, `wheel:<name>:<sha256>`."""
    lock = _lock(env, folder)
    wheels = (f"wheel:{path.name}:{_sha256(path)}" for path in _find_links(env, folder)[1])
    return (*([f"lock:{hashlib.sha256(lock).hexdigest()}"] if lock else []), *wheels)


def builds(env: Env | None) -> bool:
    """Whether there is anything to build: without requirements and lock file, the host's own Python does.

    >>> builds(Env(python=">=3.11")), builds(Env("numpy"))
    (False, True)
    """
    return env is not None and bool(env.requirements or env.lock)


def wire(env: Env, folder: Path | None = None) -> tuple[dict[str, Any], tuple[Blob, ...]]:
    """What of an Env stands in a job's spec, and the blobs that it names: the lock file and each wheel.

    `placed` completes it once the interpreter is known. OptionError as in `digest`.

    >>> wire(Env("NumPy >=2"))[0]["requirements"]
    ['numpy>=2']
    """
    lock = _lock(env, folder)
    links, wheels = _find_links(env, folder)
    blobs = [_blob_of_file(path) for path in wheels]
    named = {path.name: blob.digest for path, blob in zip(wheels, blobs, strict=True)}
    if lock:
        blobs.append(blob_of([lock]))
    spec = {
        "digest": digest(env, folder),
        "requirements": sorted({str(one) for one in _parsed(env)}),
        "base": None,
        "lock": blobs[-1].digest if lock else "",
        "lock_name": Path(env.lock).name if env.lock else "",
        "find_links": links,
        "wheels": named,
    }
    return spec, tuple(blobs)


def placed(spec: Mapping[str, Any], base: str | None, version: str) -> dict[str, Any]:
    """The same, to be made from the interpreter `base` on the host (None: the agent's own), which is of `version`.

    Made from another minor version of Python it is another Env, so its digest is another.

    >>> spec, _ = wire(Env("numpy"))
    >>> placed(spec, None, "3.11.7")["digest"] == placed(spec, "/opt/bin/python3.11", "3.11.9")["digest"]
    True
    """
    minor = ".".join(version.split(".")[:2])
    return {**spec, "base": base, "digest": hashlib.sha256(f"{spec['digest']} {minor}".encode()).hexdigest()}


def requirements(env: Env) -> dict[str, Requirement]:
    """The requirements that count on this platform, by normalised name. OptionError for text that is none.

    >>> list(requirements(Env("Scikit_Learn>=1.5")))
    ['scikit-learn']
    """
    return {one.name: one for one in _parsed(env) if one.marker is None or one.marker.evaluate()}


def python_wanted(env: Env | None) -> SpecifierSet | None:
    """The versions of Python that an Env allows; a bare version such as "3.11" means that minor version."""
    if env is None or env.python is None:
        return None
    text = env.python.strip()
    try:
        return SpecifierSet(f"=={text}.*" if text[:1].isdigit() and text.count(".") == 1 else _exact(text))
    except InvalidSpecifier:
        raise OptionError(
            f"{env.python!r} is not a version of Python.",
            expected="a specifier such as '>=3.11', or a version such as '3.11'",
            found=env.python,
            todo="mend `python` of the Env",
        ) from None


def unmet(env: Env, packages: Mapping[str, str | None]) -> list[Unmet]:
    """Which requirements the installed versions do not meet.

    >>> [str(one) for one in unmet(Env("numpy>=2"), {"numpy": "1.26.4"})]
    ['numpy>=2 (it has 1.26.4)']
    """
    missing = []
    for name, one in requirements(env).items():
        found = packages.get(name)
        if found is None or not _fits(one, found):
            missing.append(Unmet(str(one), found or ""))
    return missing


def _exact(text: str) -> str:
    return f"=={text}" if text[:1].isdigit() else text


def _fits(requirement: Requirement, version: str) -> bool:
    try:
        return not requirement.specifier or requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:  # a distribution built by hand: it is there, and nobody can compare it
        return True


def _parsed(env: Env) -> Iterator[Requirement]:
    """All requirements with their names normalised, those for other platforms too: the host decides."""
    for text in env.requirements:
        try:
            one = Requirement(text)
        except InvalidRequirement as error:
            raise _no_requirement(text, str(error)) from None
        if one.url and one.url.startswith("file:"):
            raise _no_requirement(text, "a path on this machine")
        one.name = canonicalize_name(one.name)
        yield one


def _no_requirement(text: str, found: str) -> OptionError:
    todo = "mend it in the Env"
    if text.lstrip().startswith(("-e", "--editable", ".", "/", "~")) or "file:" in text:
        todo = (
            "leave it out if it is this project, whose code travels by itself; else make a wheel of it "
            "(pip wheel --no-deps -w wheels PATH) and write its name, with find_links='wheels'"
        )
    elif text.lstrip().startswith("-"):
        todo = "leave options of pip out: what index to use is set up on the host; for a requirements file use `lock`"
    return OptionError(
        f"{text!r} is not a requirement.",
        expected="a requirement as pip reads it, such as 'numpy>=2'",
        found=found,
        todo=todo,
    )


def _path(text: str, folder: Path | None) -> Path:
    return (folder or Path.cwd()) / Path(text).expanduser()


def _lock(env: Env, folder: Path | None) -> bytes:
    """The content of the Env's lock file, looked through; empty without one."""
    if not env.lock:
        return b""
    path = _path(env.lock, folder)
    is_toml = path.name.startswith("pylock.") and path.suffix == ".toml"
    if not is_toml and path.suffix != ".txt":
        raise OptionError(
            f"The Env's lock file {env.lock} is of a kind that pip and uv do not install from.",
            expected=_LOCKS,
            found=path.name,
            todo=f"export it: {_EXPORT}",
        )
    try:
        data = path.read_bytes()
        pins = _pins_of_toml(data, env.lock) if is_toml else _pins_of_text(data.decode(), env.lock)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError(
            f"The Env's lock file {env.lock} cannot be read.",
            expected=f"{_LOCKS}, at {path}",
            found=f"{type(error).__name__}: {error}",
            todo="correct `lock` of the Env, or make the file",
        ) from None
    if is_toml and env.find_links:
        raise OptionError(
            f"The Env has find_links beside {env.lock}, which says itself where each file comes from.",
            expected="one of them",
            todo="leave out find_links, or lock with a requirements file",
        )
    missing = unmet(env, pins)
    if missing:
        raise OptionError(
            f"The Env's lock file {env.lock} does not pin what the Env requires.",
            expected=", ".join(one.requirement for one in missing),
            found=", ".join(f"pinned to {one.found}" if one.found else "no pin" for one in missing),
            todo="make the lock file again",
        )
    return data


def _pins_of_text(text: str, name: str) -> dict[str, str | None]:
    pins: dict[str, str | None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if _ELSEWHERE.match(line.strip()):
            raise _refers(name, f"line {number}: {line.strip()}")
        if found := _PIN.match(line):
            pins[canonicalize_name(found[1])] = found[2] or "by address"
    return pins


def _pins_of_toml(data: bytes, name: str) -> dict[str, str | None]:
    pins: dict[str, str | None] = {}
    for one in tomllib.loads(data.decode())["packages"]:
        if "directory" in one:
            raise _refers(name, f"{one['name']}, from the folder {one['directory'].get('path', '')}")
        pins[canonicalize_name(one["name"])] = one.get("version") or "by address"
    return pins


def _refers(name: str, found: str) -> OptionError:
    return OptionError(
        f"The Env's lock file {name} refers to other files of this machine.",
        expected="everything that it pins in the one file, and nothing from a local folder",
        found=found,
        todo=f"export it without the project, whose code travels by itself: {_EXPORT}",
    )


def _find_links(env: Env, folder: Path | None) -> tuple[str, Sequence[Path]]:
    """Where the host looks for wheels besides its indexes, and the wheels that are sent."""
    text = env.find_links
    if not text or "://" in text:
        return text or "", ()
    path = _path(text, folder)
    if path.is_dir():
        wheels = sorted(one for one in path.iterdir() if one.name.endswith(_WHEELS) and one.stat().st_size)
        if wheels:
            return "", wheels
        raise OptionError(
            f"The Env's find_links {text} holds no wheels.",
            expected="files named *.whl or *.tar.gz",
            found=f"none in {path}",
            todo="put them there (pip wheel -w does), or leave out find_links",
        )
    if text.startswith(("/", "~")):
        return text, ()
    raise OptionError(
        f"The Env's find_links {text} is not there.",
        expected="a folder with wheels here, or an address or an absolute path that the host reaches",
        found=f"no folder {path}",
        todo="correct `find_links` of the Env",
    )


def _blob_of_file(path: Path) -> Blob:
    """A wheel as a blob, read where the host lacks it only, and never as a whole."""

    def read() -> Sequence[Bytes]:
        with path.open("rb") as file:
            return [memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))]

    return Blob(_sha256(path), path.stat().st_size, read)


def _sha256(path: Path) -> str:
    found = path.stat()
    return _sha256_of(path, found.st_mtime_ns, found.st_ctime_ns, found.st_size)


@functools.lru_cache(maxsize=4096)
def _sha256_of(path: Path, *_unchanged: int) -> str:
    """Of a file that has not changed since, so that a plan of many assets reads each wheel once."""
    made = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            made.update(piece)
    return made.hexdigest()
