"""Which folders of the user's project a function needs: from the names of modules to the roots to put on `sys.path`.

Names come from the function's module or its pickle; roots go to `archive`, with the files that are imported. What is
installed (the standard library, site-packages) is the Env's business and never travels; of that the names go to
`preflight`, which asks the host for it. Neither does drawbar itself.
"""

from __future__ import annotations

import ast
import functools
import importlib.machinery
import importlib.util
import os
import site
import sys
import sysconfig
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from drawbar.agent.parsing import parse
from drawbar.dispatch.distributions import distribution_of
from drawbar.errors import PreflightError

_OURS = frozenset({"drawbar", "drawbar_adapters", "airflow_provider_drawbar", "dagster_drawbar", "kedro_drawbar"})
_MAIN = frozenset({"__main__", "__mp_main__"})
_NOT_OURS_TO_FIND = _OURS | _MAIN | sys.stdlib_module_names | {"cloudpickle"}  # the agent brings that
_SITE = frozenset({"site-packages", "dist-packages"})
_COMPILED = (*importlib.machinery.EXTENSION_SUFFIXES, ".so")
_STRAYS: dict[tuple[str, str], bool] = {}


@dataclass(frozen=True, slots=True)
class Reach:
    """What modules of the project need.

    `roots` are the folders (or zips) for `sys.path`, each with the files below it that are imported; `third_party` the
    installed modules that are imported as soon as the project's are, each with its distribution; `compiled` the
    project's own compiled modules, likewise, each with its files for whatever platforms there are.
    """

    roots: Mapping[Path, frozenset[str]]
    third_party: Mapping[str, str]
    compiled: Mapping[str, tuple[Path, ...]]


class _Import(NamedTuple):
    """A module's name in a source file; `at_once` if importing the file cannot do without it."""

    name: str
    at_once: bool
    line: int


class _Place(NamedTuple):
    """Where a name is found: below `roots`, which a namespace package may have several of; at `file`, if it has one.

    With a file and no roots it does not travel; one that was `made` in this process has neither.
    """

    roots: tuple[Path, ...] = ()
    file: str = ""
    made: bool = False


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
        known = _STRAYS[name, file] = not _installed(file) and _root_of(name, file) is None
    return known


def roots(modules: Iterable[str]) -> tuple[Path, ...]:
    """The folders that must be on `sys.path` so that `modules`, and the project's modules they import, can be imported.

    >>> roots(["json", "decimal"])
    ()
    """
    return tuple(reach(modules).roots)


def reach(modules: Iterable[str], deferred: Iterable[str] = ()) -> Reach:
    """What `modules` need, found through the import statements of the project's own source.

    `deferred` are modules that only the body of a function imports, so that the job may do without what they need.

    Those inside functions count for `roots`; for `third_party` and `compiled` only what an import cannot do without:
    not in a function, `try` or `if`. PreflightError for a module that the project imports, and that is here, but in no
    file that could be imported on a host under its name.

    >>> reach(["json"])
    Reach(roots={}, third_party={}, compiled={})
    """
    names = frozenset(modules), frozenset(deferred)
    known = _REMEMBERED.get(names)
    if known is None or not known.holds():
        if len(_REMEMBERED) >= _MOST:
            _REMEMBERED.clear()
        known = _REMEMBERED[names] = _searched(*names)
    return known.reach


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found, and what must be as it was for it to hold: the path, which modules are loaded, files, folders."""

    reach: Reach
    path: tuple[str, ...]
    loaded: Mapping[str, tuple[int, str | None]]
    changed: Mapping[str, tuple[int, int]]

    def holds(self) -> bool:
        """Whether a search would find the same."""
        return (
            self.path == tuple(sys.path)
            and all(_identity(name) == then for name, then in self.loaded.items())
            and all(_changed(path) == then for path, then in self.changed.items())
        )


_REMEMBERED: dict[tuple[frozenset[str], frozenset[str]], _Known] = {}
_MOST = 256


def _identity(name: str) -> tuple[int, str | None]:
    loaded = sys.modules.get(name)
    return id(loaded), getattr(loaded, "__dict__", {}).get("__file__")


def _searched(names: Iterable[str], deferred: Iterable[str]) -> _Known:
    found: dict[Path, set[str]] = {}
    third_party: dict[str, str] = {}
    compiled: dict[str, tuple[Path, ...]] = {}
    changed: dict[str, tuple[int, int]] = {}
    memory: dict[str, _Place | None] = {}
    seen: dict[str, bool] = {}
    waiting: list[tuple[_Import, Path | None]] = [(_Import(name, True, 0), None) for name in names]
    waiting += [(_Import(name, False, 0), None) for name in deferred]
    while waiting:
        (name, at_once, line), asker = waiting.pop()
        if seen.get(name, False) >= at_once and name in seen:
            continue
        seen[name] = at_once
        if name.partition(".")[0] in _NOT_OURS_TO_FIND:
            continue
        place = _find(name, found, memory)
        if not place.roots and at_once:
            if place.file and _installed(place.file):
                third_party.update(_third_party(name, place.file))
            elif asker and (place.file or place.made):
                raise _cannot_go(name, asker, line)
        for root in place.roots:
            inside = found.setdefault(root, set())
            for file, package in _files(root, name):
                inside.add(file.relative_to(root).as_posix())
                changed[str(file.parent)] = _changed(str(file.parent))
                if file.suffix != ".py":
                    if at_once:
                        compiled[name] = (*compiled.get(name, ()), file)
                    continue
                changed[str(file)] = _changed(str(file))
                waiting += [
                    (_Import(one.name, one.at_once and at_once, one.line), file)
                    for one in _imports(file, package, *changed[str(file)])
                ]
    result = Reach({root: frozenset(found[root]) for root in sorted(found)}, third_party, compiled)
    return _Known(result, tuple(sys.path), {name: _identity(name) for name in memory}, changed)


def _find(name: str, known: Iterable[Path], memory: dict[str, _Place | None]) -> _Place:
    """Where `name` is imported from; of a namespace package's roots those that hold the rest of the name."""
    parts = name.split(".")
    several: tuple[Path, ...] = ()
    for count in range(1, len(parts) + 1):
        prefix = ".".join(parts[:count])
        if prefix not in memory:
            memory[prefix] = _look(prefix, known)
        place = memory[prefix]
        if place is None:
            return _Place(tuple(root for root in several if any(_files(root, prefix))))
        if place.file or place.made:
            return place
        several = place.roots or several
    return _Place(several)


def _look(prefix: str, known: Iterable[Path]) -> _Place | None:
    """Where one module or package is, without what is in it; None where nothing is known, as inside an unloaded one."""
    loaded = sys.modules.get(prefix)
    if loaded is None and "." not in prefix:
        for root in known:
            if any(_files(root, prefix)):
                return _Place((root,), str(root / prefix))
    if loaded is not None:
        told = vars(loaded) if isinstance(loaded, ModuleType) else {}
        file, paths = told.get("__file__"), told.get("__path__") or ()
    else:
        spec = None if "." in prefix else _spec(prefix)
        if spec is None:
            return None
        file, paths = spec.origin if spec.has_location else None, spec.submodule_search_locations or ()
    if isinstance(file, str) and file:
        root_of = None if _installed(file) or not file.endswith((".py", *_COMPILED)) else _root_of(prefix, file)
        return _Place(() if root_of is None else (root_of,), file)
    if not paths:
        return _Place(made=loaded is not None)
    depth = prefix.count(".") + 1
    folders = [Path(path).resolve() for path in map(str, paths) if not _installed(path)]
    return _Place(tuple(one.parents[depth - 1] for one in folders if ".".join(one.parts[-depth:]) == prefix))


def _spec(top: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):  # a finder of the user's that fails, a module without a spec
        return None


@functools.lru_cache(maxsize=4096)
def _root_of(name: str, file: str) -> Path | None:
    """The folder from which `file` is imported as `name`, or None where the two do not fit together."""
    resolved = Path(file).resolve()
    parts = name.split(".")
    if resolved.name == "__init__.py":
        here = resolved.parent
    elif resolved.name.partition(".")[0] == parts[-1] and resolved.suffix in (".py", ".so", ".pyd"):
        parts, here = parts[:-1], resolved.parent
    else:
        return None
    for part in reversed(parts):
        if here.name != part:
            return None
        here = here.parent
    return here


def _files(root: Path, name: str) -> Iterator[tuple[Path, str]]:
    """The files that importing `name` runs, each with the package that its relative imports begin from."""
    here = root
    package: list[str] = []
    exists = Path.is_file if root.is_dir() else _is_zipped
    for part in name.split("."):
        if exists(here / part / "__init__.py"):
            yield here / part / "__init__.py", ".".join((*package, part))
        elif exists(here / f"{part}.py"):
            yield here / f"{part}.py", ".".join(package)
            return
        elif not (here / part).is_dir():
            yield from ((here / one, "") for one in _compiled_in(here) if one.startswith(f"{part}."))
            return
        here = here / part
        package.append(part)


def _compiled_in(folder: Path) -> tuple[str, ...]:
    try:
        return _compiled_listed(folder, folder.stat().st_mtime_ns)
    except OSError:  # not there, or in a zip, which compiled modules cannot be imported from
        return ()


@functools.lru_cache(maxsize=4096)
def _compiled_listed(folder: Path, mtime: int) -> tuple[str, ...]:  # noqa: ARG001 - the key
    return tuple(sorted(one.name for one in folder.iterdir() if one.name.endswith(_COMPILED)))


def _zip_of(path: Path) -> Path | None:
    return next((one for one in path.parents if one.is_file()), None)


def _is_zipped(path: Path) -> bool:
    file = _zip_of(path)
    return file is not None and path.relative_to(file).as_posix() in _zipped(file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _zipped(file: Path, mtime: int) -> frozenset[str]:  # noqa: ARG001 - the key
    with zipfile.ZipFile(file) as zipped:
        return frozenset(zipped.namelist())


def _changed(path: str) -> tuple[int, int]:
    """When a file or folder, or the zip that it lies in, was changed, and its size; zeros for what is gone."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path would take longer to make than to look at, for each file
    except OSError:
        within = _zip_of(Path(path))
        if within is None:
            return 0, 0
        found = within.stat()
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=4096)
def _imports(file: Path, package: str, mtime: int, size: int) -> tuple[_Import, ...]:  # noqa: ARG001 - the key
    """Every module that a source file imports anywhere in it; one that does not parse, or is gone, imports nothing."""
    within = None if file.is_file() else _zip_of(file)
    try:
        if within is None:
            tree = parse(file.read_bytes())
        else:
            with zipfile.ZipFile(within) as zipped:
                tree = parse(zipped.read(file.relative_to(within).as_posix()))
    except (SyntaxError, ValueError, RecursionError, OSError):
        return ()
    found: dict[str, _Import] = {}
    waiting: list[tuple[ast.AST, bool]] = [(tree, True)]
    while waiting:
        node, at_once = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in _named(node, package):
                if name not in found or (at_once and not found[name].at_once):
                    found[name] = _Import(name, at_once, node.lineno)
            continue
        inner = at_once and not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.If | ast.Try | ast.TryStar | ast.Match
        )
        waiting += [(one, inner) for one in ast.iter_child_nodes(node) if isinstance(one, _HOLDERS)]
    return tuple(found.values())


_HOLDERS = (ast.stmt, ast.excepthandler, ast.match_case)
"""Parts of a syntax tree in which there can be statements."""


def _named(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    """The names of the modules that a statement may import; what it takes out of one may be a module, too."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    begin = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    base = ".".join([*filter(None, begin), *filter(None, [node.module])])
    if base:
        yield base
    yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names if alias.name != "*")


def _third_party(name: str, file: str) -> Iterator[tuple[str, str]]:
    """The import name to ask a host for, with its distribution: of a namespace package that of the part with a file."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        prefix = ".".join(parts[:count])
        loaded = sys.modules.get(prefix)
        if loaded is None or getattr(loaded, "__dict__", {}).get("__file__") or count == len(parts):
            distribution = distribution_of(prefix, file)
            if distribution:
                yield prefix, distribution
            return


def _cannot_go(name: str, asker: Path, line: int) -> PreflightError:
    loaded = sys.modules.get(name)
    file = getattr(loaded, "__dict__", {}).get("__file__")
    last = name.rpartition(".")[2]
    return PreflightError(
        f"{asker.name} imports {name}, which cannot be sent along.",
        expected=f"a module that Python finds in a folder, as {last}.py or {last}/__init__.py",
        found=f"{file}, which was loaded as {name}" if file else f"{name} has no file: it was made in this process",
        todo=f"call it {last}, below a folder that is on sys.path; or install it, and require it in the Env",
        where=f"{asker}:{line}",
    )


@functools.lru_cache(maxsize=16384)
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
