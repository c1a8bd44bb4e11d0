"""Which code is the project's and which a library's, and where a module's source is, without importing it.

File and module names come here from `fingerprint` and `statics`; what is a library's counts there by its name alone.
"""

from __future__ import annotations

import functools
import os
import pkgutil
import sys
import sysconfig
import time
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

_SEPARATE = ("site-packages", "dist-packages")


@functools.cache
def _stdlib() -> tuple[str, ...]:
    places = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(Path(os.__file__).parent)}
    return tuple({variant + os.sep for place in places if place for variant in (place, os.path.realpath(place))})


@functools.lru_cache(maxsize=10_000)
def is_library_file(filename: str) -> bool:
    """Whether a file was installed, rather than being the project's; an editable install is the project's.

    >>> is_library_file(os.__file__), is_library_file("/home/me/site/pipeline.py"), is_library_file("<stdin>")
    (True, False, False)
    """
    if filename.startswith("<"):
        return filename.startswith("<frozen")
    path = os.path.abspath(filename)  # noqa: PTH100 - a hot path, and symbolic links must stay as they are
    return path.startswith(_stdlib()) or any(part in _SEPARATE for part in path.split(os.sep))  # noqa: PTH206 - as above


def is_own(module: str) -> bool:
    """Whether a module is drawbar's own, which never counts as the project's.

    >>> is_own("drawbar.asset"), is_own("kedro_drawbar.hooks"), is_own("drawbars")
    (True, True, False)
    """
    top = module.partition(".")[0]
    return top == "drawbar" or top.startswith("drawbar_") or top.endswith("_drawbar")


def is_library_module(name: str) -> bool:
    """Whether an imported module is a library's: installed, built in, or drawbar's own."""
    if name == "__main__":  # whatever file started it: a notebook's kernel is a library's
        return False
    if is_own(name) or name in sys.builtin_module_names:
        return True
    module = sys.modules.get(name)
    filename = getattr(module, "__file__", None)
    if filename:
        return is_library_file(filename)
    places = list(getattr(module, "__path__", ()))
    if places:
        return all(is_library_file(os.path.join(place, "x")) for place in places)  # noqa: PTH118 - a text compare
    return name.partition(".")[0] in sys.stdlib_module_names


@dataclass(frozen=True, slots=True)
class Place:
    """Where a module's source is: its file ("" where it has none), and the package that its relative imports are of."""

    name: str
    file: str
    package: str
    library: bool


def locate(name: str) -> Place | None:
    """Where module `name` is, found without importing it or its packages; None where there is none.

    >>> locate("json.decoder").library, locate("no_such_module")
    (True, None)
    """
    module = sys.modules.get(name)
    if module is not None:
        is_package = hasattr(module, "__path__")
        file = getattr(module, "__file__", None) or ""
        package = name if is_package else getattr(module, "__package__", None) or name.rpartition(".")[0]
        return Place(name, file, package, is_library_module(name))
    spec = _spec(name)
    if spec is None:
        return None
    is_package = spec.submodule_search_locations is not None
    file = spec.origin if spec.has_location and spec.origin else ""
    some = file or next((os.path.join(p, "x") for p in spec.submodule_search_locations or ()), "<frozen>")  # noqa: PTH118
    return Place(name, file, name if is_package else name.rpartition(".")[0], is_own(name) or is_library_file(some))


def _spec(name: str) -> ModuleSpec | None:
    """What `importlib.util.find_spec` gives, which would import the packages that the module is in."""
    parent = name.rpartition(".")[0]
    if not parent:
        found = (finder.find_spec(name, None) for finder in list(sys.meta_path) if hasattr(finder, "find_spec"))
        return next((spec for spec in found if spec is not None), None)
    loaded = sys.modules.get(parent)
    if loaded is None:
        outer = _spec(parent)
        path = outer.submodule_search_locations if outer is not None else None
    else:
        path = getattr(loaded, "__path__", None)
    # Not by the finders of packages, which want the packages around a folder without `__init__.py` imported.
    portions: list[str] = []
    for entry in path or ():
        finder = pkgutil.get_importer(entry)
        spec = finder.find_spec(name) if finder is not None else None
        if spec is not None and spec.loader is not None:
            return spec
        portions += (spec.submodule_search_locations or []) if spec is not None else []
    if not portions:
        return None
    spaces = ModuleSpec(name, None, is_package=True)
    spaces.submodule_search_locations = portions
    return spaces


_FORKED_WITHOUT_EXEC = 0x40  # PF_FORKNOEXEC of the kernel's process flags


@functools.cache
def program_began(_pid: int) -> float:
    """When the program in this process began, in seconds since the epoch; infinitely early where that is not known.

    A forked child has what its parent imported, so the program began with the one that was started by exec. `_pid` is
    this process's, which tells a child from its parent in the cache.
    """
    try:
        process = "self"
        while True:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            process, flags, ticks = fields[1], int(fields[6]), int(fields[19])
            if not flags & _FORKED_WITHOUT_EXEC or process == "0":
                break
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return float("-inf")
    return time.time() - age - 1  # file systems keep time by another, coarser clock
