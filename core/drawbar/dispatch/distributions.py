"""Which distribution an import name comes from here, so that a host can be asked for it before a job starts.

Names of installed modules come from `code`, and so do those of compiled modules of the project; what the host has comes
from its facts. A PreflightError goes out where a job could not even be imported there.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from drawbar.errors import PreflightError

_MACHINES = {3: "i686", 22: "s390x", 40: "armv7l", 62: "x86_64", 183: "aarch64", 21: "ppc64le", 243: "riscv64"}
"""What an ELF file's header calls the machines that `uname` names so."""
_SAME = {"arm64": "aarch64", "amd64": "x86_64"}
_HEADER = 20


def distribution_of(name: str, file: str) -> str | None:
    """The distribution that installed the module `name`, whose file is `file`; None for what no distribution lists.

    >>> import packaging
    >>> distribution_of("packaging", packaging.__file__)
    'packaging'
    """
    return _distribution_of(name, file)


@functools.lru_cache(maxsize=4096)
def _distribution_of(name: str, file: str) -> str | None:
    top = name.partition(".")[0]
    try:
        same = metadata.distribution(top)  # most are called like their package, and looking at one is quick
    except (metadata.PackageNotFoundError, ValueError):
        pass
    else:
        if _lists(same, file):
            return str(same.metadata["Name"])
    for one in _all(tuple(sys.path)).get(top, ()):
        if _lists(metadata.distribution(one), file):
            return one
    return None


@functools.lru_cache(maxsize=2)
def _all(path: tuple[str, ...]) -> Mapping[str, Sequence[str]]:  # noqa: ARG001 - the key
    found = metadata.packages_distributions()
    return {name: list(dict.fromkeys(several)) for name, several in found.items()}


def _lists(distribution: metadata.Distribution, file: str) -> bool:
    """Whether a distribution says that it installed `file`; the text of its RECORD is looked at, never parsed."""
    inside = os.path.relpath(file, str(distribution.locate_file("")))
    record = distribution.read_text("RECORD") or distribution.read_text("installed-files.txt") or ""
    if record:
        return f"\n{inside}," in f"\n{record}" or inside in record.splitlines()
    tops = (distribution.read_text("top_level.txt") or "").split()  # conda and Debian may keep no RECORD
    return Path(inside).parts[0].partition(".")[0] in tops


def refuse_missing(job: str, host: str, needed: Mapping[str, str], there: Collection[str]) -> None:
    """PreflightError if the host lacks one of `needed` (import name to distribution); `there` are import names it has.

    >>> refuse_missing("site/train", "gpu", {"PIL": "pillow"}, {"PIL"})
    """
    absent = {name: needed[name] for name in sorted(needed) if name not in there}
    if not absent:
        return
    names = ", ".join(f'"{one}"' for one in dict.fromkeys(absent.values()))
    raise PreflightError(
        f"{host} lacks what {job} imports.",
        expected=", ".join(_told(name, needed[name]) for name in sorted(needed)),
        found=f"no {', '.join(_told(name, one) for name, one in absent.items())}",
        todo=f"require it: env=Env({names}); install it there; or import it inside the functions that use it",
    )


def _told(name: str, distribution: str) -> str:
    same = re.sub(r"[-_.]+", "-", distribution).lower() == name.lower().replace("_", "-")
    return name if same else f"{name} ({distribution})"


def refuse_compiled(job: str, host: str, compiled: Mapping[str, Iterable[Path]], python: str, platform: str) -> None:
    """PreflightError for a compiled module of the project of which no file fits the host.

    `python` is the full version that the job will run in, `platform` what the agent's HELLO says: `linux-x86_64`.
    """
    for name, several in compiled.items():
        files = list(several)
        if not any(_fits(file, python, platform) for file in files):
            raise PreflightError(
                f"{job} imports {name}, which is compiled for another Python or machine than {host} has.",
                expected=f"{name.rpartition('.')[2]} built for Python {_minor(python)} on {platform}",
                found=", ".join(str(file) for file in files),
                todo="build it for that host too, and put the file beside this one; or require its package in the Env; "
                "or choose a Python that fits: Env(python=…)",
            )


def _fits(file: Path, python: str, platform: str) -> bool:
    system, _, machine = platform.partition("-")
    tag = file.name.partition(".")[2].removesuffix(".so").removesuffix(".pyd")
    named = re.match(r"cpython-(\d)(\d+)", tag)
    if named and f"{named[1]}.{named[2]}" != _minor(python):
        return False
    if file.suffix != ".so" or system != "linux":
        return False
    try:
        with file.open("rb") as opened:
            header = opened.read(_HEADER)
    except OSError:
        return False
    built = _MACHINES.get(int.from_bytes(header[18:20], "big" if header[5:6] == b"\x02" else "little"), "")
    return header[:4] == b"\x7fELF" and built in ("", _SAME.get(machine, machine))


def _minor(python: str) -> str:
    return ".".join(python.split(".")[:2])
