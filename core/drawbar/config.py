"""What a project says about itself: pyproject.toml or drawbar.toml, read once, checked key by key.

Text comes here from files and the environment; a frozen `Config` goes to whoever starts a run: the command line, an
adapter, `drawbar.target`. Nothing below reads a file or the environment for settings again.
"""

from __future__ import annotations

import getpass
import math
import os
import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from drawbar.asset import Env, check_options
from drawbar.errors import ConfigError, OptionError, PartitionError, did_you_mean
from drawbar.keys import check_namespace
from drawbar.partitions import from_config

FILES = ("drawbar.toml", "pyproject.toml")
_EMPTY: Mapping[str, Any] = types.MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """`[tool.drawbar.targets.<name>]`: a place to compute, and how to get there.

    `host` is an alias of ~/.ssh/config or `user@host:port`; without it the target is a worker on this machine.
    `secrets` names variables of this environment whose values the job receives, over the connection only. `grace` is
    how long, in seconds, a cancelled job may take to end by itself; `log_limit` how much of each stream is kept, in
    bytes; `trust="data"` refuses pickle in results. `hosts` names several, of which each job goes to one.

    `devices` declares the GPUs of a host without nvidia-smi: a memory size each, such as "24GiB". `envs` is "build", or
    "installed" for a host whose own Python must meet an Env. `idle_timeout` is for how long, in seconds, an interpreter
    and an actor stay warm with nothing to do (0: not at all). `blobs_budget` is the size over which `gc` removes blobs
    that nothing refers to, in bytes. `store_access` is "relay" (values go through this process), "direct" (the host
    reads and writes the store) or "auto".
    """

    host: str | None = None
    user: str | None = None
    port: int | None = None
    python: str | None = None
    identity_file: str | None = None
    known_hosts: str | None = None
    ssh_config: str | None = None
    root: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    trust: str = "pickle"
    connect_timeout: float | None = None
    grace: float = 1.0
    log_limit: int = 64 << 20
    hosts: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    envs: str = "build"
    idle_timeout: float = 600.0
    blobs_budget: int = 64 << 30
    store_access: str = "auto"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a project's configuration says, with defaults filled in. `root` is the project's folder.

    `exclude` is what does not go to a host with the code, in the notation of .gitignore; `dispatch.ignored` reads it.
    """

    root: Path
    namespace: str
    store: str
    file: Path | None = None
    modules: tuple[str, ...] = ()
    targets: Mapping[str, TargetConfig] = field(default_factory=dict)
    assets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)
    trust: str = "pickle"
    packages: str = "declared"
    max_workers: int = 8
    profile: bool = True
    exclude: tuple[str, ...] = ()

    @classmethod
    def load(cls, start: str | Path | None = None, **overrides: Any) -> Config:
        """The configuration of the project that `start` (a folder or file; default: here) lies in.

        The nearest folder upwards that holds a drawbar.toml, or a pyproject.toml with a [tool.drawbar] table, is the
        project; failing that the nearest pyproject.toml; failing that `start` itself. `overrides` that are not None
        win over DRAWBAR_STORE and DRAWBAR_NAMESPACE, and those over the file. Raises ConfigError.
        """
        begin = Path(start) if start is not None else Path.cwd()
        folder = begin.parent if begin.is_file() else begin
        file, table, name = _find(folder.resolve())
        root = file.parent if file else folder.resolve()
        values = _checked(cls, table, str(file)) if file else {}
        for key, variable in (("store", "DRAWBAR_STORE"), ("namespace", "DRAWBAR_NAMESPACE")):
            if os.environ.get(variable):
                values[key] = os.environ[variable]
        values |= {key: value for key, value in overrides.items() if value is not None}
        values.setdefault("namespace", _slug(name or root.name))
        check_namespace(values["namespace"])
        values["store"] = _store(values.get("store"), root)
        return cls(root=root, file=file, **values)


def home() -> Path:
    """The folder for what this user's machine must remember: $DRAWBAR_HOME, else ~/.drawbar."""
    return Path(os.environ.get("DRAWBAR_HOME") or Path.home() / ".drawbar")


@cache
def whoami() -> str:
    """The user's name, for records; a container without one says its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _find(folder: Path) -> tuple[Path | None, dict[str, Any], str]:
    """The project's file, its drawbar table, and the project's name where it says one."""
    fallback: tuple[Path | None, dict[str, Any], str] = (None, {}, "")
    for parent in (folder, *folder.parents):
        for name in FILES:
            file = parent / name
            if not file.is_file():
                continue
            document = _read(file)
            if name == "drawbar.toml":
                return file, document, ""
            tool, project = (_inner(document, key, file) for key in ("tool", "project"))
            called = project.get("name", "")
            if not isinstance(called, str):
                raise ConfigError(
                    "project.name has the wrong type.", expected="str", found=_told(called), where=str(file)
                )
            if "drawbar" in tool:
                return file, tool["drawbar"], called
            if fallback[0] is None:
                fallback = (file, {}, called)
    return fallback


def _inner(document: Mapping[str, Any], key: str, file: Path) -> Mapping[str, Any]:
    return _table(document.get(key, {}), str(file), key)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file.name} is not TOML.", found=str(error), todo="mend the line it names", where=str(file)
        ) from None
    except OSError as error:
        raise ConfigError(f"{file.name} cannot be read.", found=str(error), where=str(file)) from None


def _slug(name: str) -> str:
    """A folder's name as a namespace: what cannot stand in one becomes '-'."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "default"


def _store(given: str | None, root: Path) -> str:
    if given is None:
        return str(root / ".drawbar" / "store")
    if "://" in given or "::" in given:
        return given
    try:
        return str(root / Path(given).expanduser())
    except RuntimeError:
        raise ConfigError("The store is in nobody's home.", found=given, todo="write the folder out") from None


_TEXTS = {"modules", "exclude", "secrets", "hosts", "devices"}
# Least and greatest, both allowed: what is outside would hang, or fail in the middle of a run.
_BOUNDS: dict[str, tuple[float, float]] = {
    "max_workers": (1, math.inf),
    "port": (1, 65535),
    "connect_timeout": (0, math.inf),
    "grace": (0, math.inf),
    "log_limit": (0, math.inf),
    "idle_timeout": (0, math.inf),
    "blobs_budget": (0, math.inf),
}
_CHOICES = {
    "trust": ("pickle", "data"),
    "packages": ("declared", "installed"),
    "envs": ("build", "installed"),
    "store_access": ("auto", "direct", "relay"),
}
_SECONDS = {"connect_timeout", "grace", "idle_timeout"}


def _checked(kind: type, table: Any, where: str, path: str = "") -> dict[str, Any]:
    """The table's values, each of the type that `kind`'s field has; ConfigError names the key and its place."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path or 'drawbar'} must be a table.", found=_told(table), where=where)
    known = [f.name for f in fields(kind) if f.name not in ("root", "file") or kind is TargetConfig]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(
                f"{_dotted(path, key)} is not a configuration key.",
                expected=", ".join(known),
                found=key,
                todo=_hint(key, known, where),
                where=where,
            )
        values[key] = _value(kind, key, value, where, _dotted(path, key))
    return values


def _hint(key: str, known: list[str], where: str) -> str:
    if key == "tool" and where.endswith("drawbar.toml"):
        return "leave out the prefix: [targets.gpu] here is what [tool.drawbar.targets.gpu] is in pyproject.toml"
    return did_you_mean(key, known, otherwise="remove it")


def _value(kind: type, key: str, value: Any, where: str, path: str) -> Any:
    if key == "targets":
        return {
            name: _target(name, table, where, f"{path}.{name}") for name, table in _table(value, where, path).items()
        }
    if key == "assets":
        return {
            name: _asset_options(table, where, f"{path}.{name}") for name, table in _table(value, where, path).items()
        }
    if key in _TEXTS:
        if not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            raise ConfigError(f"{path} must be a list of texts.", found=_told(value), where=where)
        return _sizes(value, where, path) if key == "devices" else tuple(value)
    default = next(f for f in fields(kind) if f.name == key)
    if default.default is NO_DEFAULT and default.default_factory is not NO_DEFAULT:
        return dict(_texts(value, where, path) if key == "variables" else _table(value, where, path))
    wanted: tuple[type, ...] = (type(default.default),) if isinstance(default.default, int) else (str,)
    if key in _SECONDS or key == "port":
        wanted = (int,) if key == "port" else (int, float)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted != (bool,)):
        raise ConfigError(
            f"{path} has the wrong type.",
            expected=" or ".join(one.__name__ for one in wanted),
            found=_told(value),
            where=where,
        )
    if key in _CHOICES and value not in _CHOICES[key]:
        raise ConfigError(
            f"{path} has a value that means nothing.",
            expected=" or ".join(_CHOICES[key]),
            found=str(value),
            where=where,
        )
    least, most = _BOUNDS.get(key, (-math.inf, math.inf))
    if isinstance(value, (int, float)) and not least <= value <= most:
        bounds = f"from {least} to {most}" if most < math.inf else f"{least} or more"
        raise ConfigError(f"{path} has a value that cannot be used.", expected=bounds, found=str(value), where=where)
    if key == "store" and not value:
        raise ConfigError(f"{path} is empty.", expected="a folder or an fsspec URL", found=_told(value), where=where)
    return value


def _target(name: str, table: Any, where: str, path: str) -> TargetConfig:
    """One target's settings; the two names that mean this machine cannot be made to mean another."""
    target = TargetConfig(**_checked(TargetConfig, table, where, path))
    if target.hosts and (target.host is not None or name in ("here", "local")):
        raise ConfigError(
            f"{path} names several hosts, and one.",
            expected="`host`, or `hosts` of a pool, and a name that does not mean this machine",
            found=f"hosts {list(target.hosts)} and {f'host {target.host!r}' if target.host else f'the name {name!r}'}",
            todo="remove one of them, or rename the table",
            where=where,
        )
    if name == "here" or (name == "local" and target.host is not None):
        raise ConfigError(
            f"{path} cannot be configured so.",
            expected="another name: `here` is always this process, and `local` a worker on this machine",
            found=f"host {target.host!r}" if target.host is not None else f"[targets.{name}]",
            todo="rename the table" if target.host is not None else "remove the table, or rename it",
            where=where,
        )
    return target


def _sizes(value: list[str], where: str, path: str) -> tuple[str, ...]:
    """Sizes of GPUs as they are written, each of which a host can read."""
    from drawbar.agent.gpus import parse_memory

    for one in value:
        try:
            parse_memory(one)
        except ValueError as error:
            told = f"{path} names what is no size."
            raise ConfigError(told, expected=str(error), found=repr(one), where=where) from None
    return tuple(value)


def _texts(value: Any, where: str, path: str) -> Mapping[str, Any]:
    """Environment variables: texts under names that an environment can hold."""
    for name, text in _table(value, where, path).items():
        if not isinstance(text, str) or "\0" in text:
            raise ConfigError(
                f"{path}.{name} must be a text.", expected=f'{name} = "…"', found=_told(text), where=where
            )
        if not name or "=" in name or not name.isprintable():
            raise ConfigError(
                f"{path} has a name that no variable can have.",
                expected="a name without '=' and control characters",
                found=repr(name),
                where=where,
            )
    return _table(value, where, path)


def _asset_options(table: Any, where: str, path: str) -> dict[str, Any]:
    """Options of one asset; `env` is written as a list of requirements, or as a table of Env's parameters."""
    options = dict(_table(table, where, path))
    env = options.get("env")
    try:
        if isinstance(options.get("partitions"), Mapping):
            options["partitions"] = from_config(options["partitions"])
        if isinstance(env, list):
            options["env"] = Env(*env)
        elif isinstance(env, Mapping):
            options["env"] = _env(env, where, f"{path}.env")
        elif "env" in options:
            raise ConfigError(f"{path}.env cannot be read.", expected=_ENV, found=_told(env), where=where)
        return check_options(options, where=where)
    except (OptionError, PartitionError) as error:
        raise ConfigError(
            f"{path}: {error.what}", expected=error.expected, found=error.found, todo=error.todo, where=where
        ) from None
    except TypeError as error:
        raise ConfigError(f"{path}.env cannot be read.", found=str(error), where=where) from None


_ENV = 'a list of requirements, or a table such as { requirements = ["numpy"], python = ">=3.11" }'


def _env(table: Mapping[str, Any], where: str, path: str) -> Env:
    requirements = table.get("requirements", [])
    if not isinstance(requirements, list):
        raise ConfigError(f"{path}.requirements must be a list.", expected=_ENV, found=_told(requirements), where=where)
    others = {key: value for key, value in table.items() if key != "requirements"}
    for key, value in others.items():
        if key == "variables":
            _texts(value, where, f"{path}.variables")
        elif not isinstance(value, str):
            raise ConfigError(f"{path}.{key} must be a text.", expected=_ENV, found=_told(value), where=where)
    return Env(*requirements, **others)


def _table(value: Any, where: str, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path} must be a table.", found=_told(value), where=where)
    return value


def _dotted(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _told(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"
