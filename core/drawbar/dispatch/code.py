"""Which folders of the user's project a function needs: from the names of modules to the roots to put on `sys.path`.

Names come from the function's module or its pickle; roots go to `archive`, which makes a zip of each. What is installed
(the standard library, site-packages) is the Env's business and never travels; neither does drawbar itself.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from drawbar.agent.parsing import parse

_OURS = frozenset({"drawbar", "drawbar_adapters", "airflow_provider_drawbar", "dagster_drawbar", "kedro_drawbar"})
_MAIN = frozenset({"__main__", "__mp_main__"})
_SITE = frozenset({"site-packages", "dist-packages"})
_STRAYS: dict[tuple[str, str], bool] = {}


def importable(module: str) -> bool:
    """Whether a target that has the project's code can import a loaded `module` by its name."""
    loaded = sys.modules.get(module)
    return module not in _MAIN and loaded is not None and not is_stray(module, loaded)


def is_stray(name: str, module: ModuleType) -> bool:
    """Whether a loaded module has a file of the user's that no root provides under that name.

    Such are files run or loaded by path under another name; their functions can only go by value.
    """
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return False
    known = _STRAYS.get((name, file))
    if known is None:
        known = _STRAYS[name, file] = not _installed(file) and _root_of(name, Path(file)) is None
    return known


def roots(modules: Iterable[str]) -> tuple[Path, ...]:
    """The folders that must be on `sys.path` so that `modules`, and the project's modules they import, can be imported.

    Imports are read from the source, so those inside functions count. Empty if everything is installed.

    >>> roots(["json", "decimal"])
    ()
    """
    found: dict[Path, None] = {}
    waiting, seen = list(modules), set()
    while waiting:
        name = waiting.pop()
        if name in seen or name.partition(".")[0] in _OURS | _MAIN:
            continue
        seen.add(name)
        root = _root(name.partition(".")[0], found)
        if root is None:
            continue
        found[root] = None
        for file, package in _files(root, name):
            stat = file.stat()
            waiting += _imports(file, package, stat.st_mtime_ns, stat.st_size)
    return tuple(sorted(found))


def _root(top: str, known: Iterable[Path]) -> Path | None:
    """The folder that holds the project's module or package `top`; None if it is installed, built in or not there."""
    if top in sys.stdlib_module_names:
        return None
    loaded = sys.modules.get(top)
    places: list[str] = []
    if loaded is not None:
        places = [getattr(loaded, "__file__", None) or "", *map(str, getattr(loaded, "__path__", ()))]
    else:
        for root in known:
            if (root / f"{top}.py").is_file() or (root / top).is_dir():
                return root
        try:
            spec = importlib.util.find_spec(top)
        except (
            ImportError,
            ValueError,
            AttributeError,
        ):  # a finder of the user's that fails, or a module without a spec
            return None
        if spec is not None:
            places = [spec.origin or "", *map(str, spec.submodule_search_locations or ())]
    for place in places:
        if place.endswith(".py") and not _installed(place):
            return _root_of(top, Path(place))
        if place and Path(place).name == top and Path(place).is_dir() and not _installed(place):
            return Path(place).resolve().parent
    return None


def _root_of(name: str, file: Path) -> Path | None:
    """The folder from which `file` is imported as `name`, or None where the two do not fit together."""
    resolved = file.resolve()
    parts = name.split(".")
    if resolved.name == "__init__.py":
        here = resolved.parent
    elif resolved.stem == parts[-1]:
        parts, here = parts[:-1], resolved.parent
    else:
        return None
    for part in reversed(parts):
        if here.name != part:
            return None
        here = here.parent
    return here


def _files(root: Path, name: str) -> Iterator[tuple[Path, str]]:
    """The source files that importing `name` runs, each with the package that its relative imports begin from."""
    here = root
    package: list[str] = []
    for part in name.split("."):
        if (here / f"{part}.py").is_file():
            yield here / f"{part}.py", ".".join(package)
            return
        here = here / part
        package.append(part)
        if (here / "__init__.py").is_file():
            yield here / "__init__.py", ".".join(package)


@functools.lru_cache(maxsize=4096)
def _imports(file: Path, package: str, mtime: int, size: int) -> tuple[str, ...]:  # noqa: ARG001 - the key
    """Every module that a source file imports anywhere in it; a file that does not parse imports nothing."""
    try:
        tree = parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return ()
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            begin = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*filter(None, begin), *filter(None, [node.module])])
            names += [base, *(f"{base}.{alias.name}" if base else alias.name for alias in node.names)]
    return tuple(dict.fromkeys(filter(None, names)))


def _installed(path: str) -> bool:
    """Whether a file or folder belongs to Python or to an installed distribution."""
    if _SITE & set(Path(path).parts):
        return True
    return path.startswith(_prefixes()) or str(Path(path).resolve()).startswith(_prefixes())


@functools.cache
def _prefixes() -> tuple[str, ...]:
    places = [sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    places += [*site.getsitepackages(), site.getusersitepackages()]
    both = {place for one in places for place in (one, str(Path(one).resolve()))}
    return tuple(f"{place.rstrip('/')}/" for place in sorted(both))
