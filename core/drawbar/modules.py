"""From what a user names (a module, its name, a path to a file) to an imported module, under its real name.

A path comes here from the command line or from configuration and a module goes to `graph`. The real name matters: it is
what a host imports, what a traceback shows and what a fingerprint's parts are called.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from drawbar.config import Config
from drawbar.errors import DefinitionError, did_you_mean


def load(named: Any) -> ModuleType:
    """The module, imported if it is a name or a path. DefinitionError says which of the user's lines failed."""
    if isinstance(named, ModuleType):
        return named
    text = str(named)
    if isinstance(named, Path) or text.endswith(".py") or "/" in text:
        return _from_file(Path(text).expanduser())
    return _import(text, where=text)


def project_of(module: ModuleType) -> Config:
    """The configuration of the project that a module's file lies in."""
    return Config.load(getattr(module, "__file__", None))


def _from_file(path: Path) -> ModuleType:
    file = path.resolve()
    if file.is_dir() and (file / "__init__.py").is_file():
        file = file / "__init__.py"
    if not file.is_file():
        near = [one.name for one in file.parent.glob("*.py")] if file.parent.is_dir() else []
        raise DefinitionError(
            f"There is no file {path}.",
            expected="a Python file with functions",
            found="a folder that is no package" if file.is_dir() else "nothing there",
            todo=did_you_mean(file.name, near, otherwise="check the path"),
        )
    parts = [] if file.name == "__init__.py" else [file.stem]
    root = file.parent
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    name = ".".join(parts)
    if not all(part.isidentifier() for part in parts):
        raise DefinitionError(
            f"{path} cannot be imported by its name.",
            expected="a file and folders named like Python identifiers",
            found=name,
            todo="rename it, for instance with '_' for '-'",
        )
    known = sys.modules.get(name)
    if known is not None and Path(getattr(known, "__file__", None) or "").resolve() == file:
        return known
    if known is not None or _elsewhere(name, file):
        raise DefinitionError(
            f"{path} would be imported as {name!r}, and that is another module.",
            found=f"{getattr(known, '__file__', None) or _elsewhere(name, file)}",
            todo="rename the file",
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()
    return _import(name, where=str(path))


def _elsewhere(name: str, file: Path) -> str:
    """Where `name` would be imported from now, if that is a module of Python's own, which others need."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names and file.name != "__init__.py":
        return f"Python's own module {top!r}"
    return ""


def _import(name: str, *, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]:
            raise DefinitionError(
                f"There is no module {name!r}.",
                expected="a module that can be imported from here, or a path to a file",
                found=f"nothing of that name on {len(sys.path)} folders of sys.path",
                todo="check `modules` in [tool.drawbar], or give the path to the file",
            ) from None
        frames = [one for one in traceback.extract_tb(error.__traceback__) if "importlib" not in one.filename]
        home = str(Path(__file__).parent)
        last = next((one for one in reversed(frames) if not one.filename.startswith(home)), None)
        line = f"{last.filename}:{last.lineno}" if last else where
        if isinstance(error, SyntaxError) and error.filename:
            line = f"{error.filename}:{error.lineno}"
        raise DefinitionError(
            f"{name} cannot be imported.",
            found=f"{type(error).__name__}: {error}",
            todo="mend that line; `python -c 'import " + name + "'` shows the whole traceback",
            where=line,
        ) from error
