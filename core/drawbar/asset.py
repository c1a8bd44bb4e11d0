"""Assets: a plain function, what it is called, what it needs, and the options that say how it is made.

A value comes here from a user's module (a function, its signature, the options written on it) and goes to the graph.
Nothing in this file looks at a value, a store or a target.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar, overload
from urllib.parse import quote

from drawbar.contracts import Contract
from drawbar.errors import OptionError, did_you_mean
from drawbar.partitions import Dynamic, Partition, Partitions

if TYPE_CHECKING:
    from pathlib import Path

    from drawbar.checks import Check

F = TypeVar("F", bound=Callable[..., Any])
# What of a partition's key stands in a path as it is.
_SAFE = " -_.~+:@,=|"

OPTIONS_ATTRIBUTE = "__drawbar__"


@dataclass(frozen=True, slots=True, init=False)
class Env:
    """What a target must have installed: requirements as pip writes them, and a Python version.

    `python` is a version specifier such as ">=3.11"; `variables` are set for the job and are part of the Env's
    identity (use `secrets` of a target for what must not be).

    >>> Env("scikit-learn>=1.5", "numpy").requirements
    ('scikit-learn>=1.5', 'numpy')
    """

    requirements: tuple[str, ...]
    python: str | None
    lock: str | None
    find_links: str | None
    variables: Mapping[str, str]

    def __init__(
        self,
        *requirements: str,
        python: str | None = None,
        lock: str | None = None,
        find_links: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        for requirement in requirements:
            if not isinstance(requirement, str):
                raise OptionError(
                    f"{requirement!r} is not a requirement.",
                    expected="text such as 'numpy>=2'",
                    found=type(requirement).__name__,
                    todo="write Env('numpy', 'pandas'), one text for each",
                )
        object.__setattr__(self, "requirements", requirements)
        object.__setattr__(self, "python", python)
        object.__setattr__(self, "lock", lock)
        object.__setattr__(self, "find_links", find_links)
        object.__setattr__(self, "variables", types.MappingProxyType(dict(variables or {})))

    def at(self, folder: Path) -> Env:
        """It with the files that it names taken from `folder`: a relative `lock`, and `find_links` that exist there."""
        links = self.find_links and folder / self.find_links
        return Env(
            *self.requirements,
            python=self.python,
            lock=self.lock and str(folder / self.lock),
            find_links=str(links)
            if links and "://" not in str(self.find_links) and links.exists()
            else self.find_links,
            variables=self.variables,
        )

    def __hash__(self) -> int:
        """Requirements and Python decide; the mapping does not hash."""
        return hash((self.requirements, self.python, self.lock, self.find_links, tuple(sorted(self.variables.items()))))


@dataclass(frozen=True, slots=True)
class Options:
    """How an asset is made; every field can be given to `@asset` or set in `[tool.drawbar.assets.<name>]`.

    `target` names where it runs; `persist=False` keeps the value in memory only; `path` publishes a copy; `version`
    replaces the digest of the code; `inputs` names the asset behind a parameter; `retries` is how many times more it is
    tried, `retry_delay` the seconds before the first, doubled each time; `timeout` bounds the running, `wait_timeout`
    the waiting for GPUs and an Env, `silence_timeout` the time without output, in seconds.

    `gpus` are leased whole, or with `gpu_memory` (such as "16GiB") a share of each; `env` is built on the target; with
    `isolate` the function runs in an interpreter started for it alone.

    `partitions` says which parts it has, and `mappings`, by parameter, from which parts of an input one of them is
    made; `adds` puts the texts of its value into a dynamic set. `checks` are functions of the value, `contract` its
    columns, and `expects`, by parameter, the columns required of an input. With `over` the function is called for each
    item of that input, on a target in jobs of `batch` items. `outputs` are the names, with options of their own, of the
    assets that one call makes.
    """

    name: str | None = None
    target: str | None = None
    gpus: int = 0
    gpu_memory: str | None = None
    env: Env | None = None
    format: str | None = None
    path: str | None = None
    persist: bool = True
    version: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    retries: int = 0
    retry_delay: float = 1.0
    timeout: float | None = None
    wait_timeout: float | None = None
    silence_timeout: float | None = None
    isolate: bool = False
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    description: str | None = None
    ignore: bool = False
    partitions: Partitions | None = None
    mappings: Mapping[str, Any] = field(default_factory=dict)
    adds: Dynamic | None = None
    checks: tuple[Any, ...] = ()
    contract: Contract | str | None = None
    expects: Mapping[str, Contract] = field(default_factory=dict)
    over: str | None = None
    batch: int | None = None
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


OPTION_NAMES = tuple(f.name for f in fields(Options))
_KINDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "target": (str,),
    "gpus": (int,),
    "gpu_memory": (str,),
    "env": (Env,),
    "format": (str,),
    "path": (str,),
    "persist": (bool,),
    "version": (str,),
    "inputs": (Mapping,),
    "retries": (int,),
    "retry_delay": (int, float),
    "timeout": (int, float),
    "wait_timeout": (int, float),
    "silence_timeout": (int, float),
    "isolate": (bool,),
    "tags": (tuple, list),
    "owners": (tuple, list),
    "description": (str,),
    "ignore": (bool,),
    "partitions": (Partitions,),
    "mappings": (Mapping,),
    "adds": (Dynamic,),
    "checks": (tuple, list),
    "contract": (Contract, str),
    "expects": (Mapping,),
    "over": (str,),
    "batch": (int,),
    "outputs": (tuple, list, Mapping),
}
_COUNTS = ("gpus", "retries", "retry_delay", "timeout", "wait_timeout", "silence_timeout")
_LISTS = ("tags", "owners")


def _texts_in(name: str, value: Any) -> tuple[Any, ...]:
    """What in an option's value must be text, besides the value itself."""
    if isinstance(value, Mapping):
        return (*value.keys(), *value.values()) if name == "inputs" else tuple(value.keys())
    return tuple(value or ()) if name in _LISTS or name == "outputs" else ()


def _check_memory(text: Any, where: str) -> None:
    from drawbar.agent.gpus import parse_memory

    try:
        parse_memory(text)
    except ValueError as error:
        what = "option 'gpu_memory' is no size."
        raise OptionError(what, expected=str(error), found=repr(text), where=where) from None


def check_options(given: Mapping[str, Any], *, where: str = "") -> dict[str, Any]:
    """The options of `given`, with lists made tuples; OptionError for an unknown name or a value of the wrong type."""
    checked: dict[str, Any] = {}
    for name, value in given.items():
        kinds = _KINDS.get(name)
        if kinds is None:
            raise OptionError(
                f"{name!r} is not an option of an asset.",
                expected=", ".join(OPTION_NAMES),
                found=name,
                todo=did_you_mean(name, OPTION_NAMES, otherwise="remove it"),
                where=where,
            )
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise OptionError(
                f"option {name!r} has the wrong type.",
                expected=" or ".join(kind.__name__ for kind in kinds),
                found=f"{value!r} ({type(value).__name__})",
                where=where,
            )
        if name in _COUNTS and isinstance(value, (int, float)) and not value >= 0:
            raise OptionError(f"option {name!r} cannot be negative.", found=repr(value), where=where)
        if name == "gpu_memory" and value is not None:
            _check_memory(value, where)
        for one in _texts_in(name, value):
            if not isinstance(one, str):
                raise OptionError(
                    f"option {name!r} has the wrong type.",
                    expected="texts only",
                    found=f"{one!r} ({type(one).__name__})",
                    where=where,
                )
        checked[name] = tuple(value) if isinstance(value, list) else value
    if checked.get("batch") == 0:
        raise OptionError("option 'batch' cannot be 0.", expected="1 or more", found="0", where=where)
    if isinstance(names := checked.get("outputs"), tuple):
        checked["outputs"] = {key: {} for key in names}
        if len(checked["outputs"]) < len(names):
            raise OptionError(
                "option 'outputs' names an output twice.",
                expected="a name of its own for each",
                found=", ".join(map(repr, names)),
                where=where,
            )
    for name, inner in checked.get("outputs", {}).items():
        if not isinstance(inner, Mapping):
            raise OptionError(
                f"the output {name!r} has the wrong type.",
                expected="its options, as a mapping",
                found=f"{inner!r} ({type(inner).__name__})",
                where=where,
            )
    return checked


@overload
def asset(fn: F, /) -> F: ...
@overload
def asset(**options: Any) -> Callable[[F], F]: ...
def asset(fn: Any = None, /, **options: Any) -> Any:
    """Add options to a function; the function itself comes back, callable and testable as it was.

    Options are the fields of `Options`. Without any, the decorator only marks the function.

    >>> @asset(target="gpu", retries=2)
    ... def embeddings(urls: list[str]) -> list[float]: ...
    >>> embeddings.__name__
    'embeddings'
    """
    if fn is None:
        checked = check_options(options)
        return lambda function: _with_options(function, checked)
    return _with_options(fn, check_options(options))


def _with_options(fn: Any, options: dict[str, Any]) -> Any:
    if not inspect.isfunction(fn):
        raise OptionError(
            f"@asset cannot decorate {fn!r}.",
            expected="a function",
            found=type(fn).__name__,
            todo="put @asset above a plain function; @asset(…) takes options by name only",
        )
    setattr(fn, OPTIONS_ATTRIBUTE, {**getattr(fn, OPTIONS_ATTRIBUTE, {}), **options})
    return fn


@dataclass(frozen=True, slots=True)
class Source:
    """An input from outside: a file, a folder or an object that nobody here makes.

    Written at module level, its variable's name is the asset's name. `path` is a path or an fsspec URL; a relative path
    is taken from the project's root. A function that takes it receives a `Path` to a local copy where its parameter is
    annotated so, else what its format reads. With `by="stat"` a local file's DataVersion comes from size and time of
    change, with `by="content"` (default) from its bytes; a remote object's always from its etag, checksum or stat.

    With `partitions` the path holds `{partition}`, or `{start:%Y/%m/%d}` and `{end:…}` of its window, or the name of a
    dimension in braces, and each partition is an input of its own.

    >>> Source("data/urls.csv").path
    'data/urls.csv'
    """

    path: str
    format: str | None = None
    by: str = "content"
    partitions: Partitions | None = None

    def at(self, partition: Partition | None) -> Source:
        """The file, folder or object of one partition."""
        return self if partition is None else replace(self, path=filled(self.path, partition))


def filled(text: str, partition: Partition) -> str:
    """A path with the names in braces replaced by what they are for `partition`; OptionError for a name it lacks.

    >>> from drawbar.partitions import Daily
    >>> filled("in/{start:%Y/%m}/{partition}.csv", Daily("2026-01-01").partition("2026-03-09"))
    'in/2026/03/2026-03-09.csv'
    """
    window = {} if partition.start is None else {"start": partition.start, "end": partition.end}
    known: dict[str, Any] = {"partition": partition.key, **window, **partition.keys}
    try:
        safe = {name: quote(value, safe=_SAFE) if isinstance(value, str) else value for name, value in known.items()}
        return text.format_map(safe)
    except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise OptionError(
            f"The path {text!r} cannot be filled in for partition {partition.key}.",
            expected="in braces only " + ", ".join(known),
            found=f"{type(error).__name__}: {error}",
        ) from None


class _Missing:
    """The default of a parameter that has none."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of an asset's function: its name, its annotation as written, and its default or MISSING."""

    name: str
    annotation: Any = MISSING
    default: Any = MISSING


def is_partition(annotation: Any) -> bool:
    """Whether a parameter is annotated as the partition; annotations are as written, so text counts as well."""
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2] == "Partition"
    return annotation is Partition


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset of a graph: the function or `Source`, its name there, its parameters and its options.

    `returns` is the annotation as written (MISSING without one); `file` and `line` are where it was defined. `bound`
    are parameters whose values an expansion has fixed, `family` and `variant` its function's name and the variant's;
    `checks` are those of `options` and those that `@check` put on it.
    """

    name: str
    fn: Callable[..., Any] | None
    params: tuple[Param, ...]
    returns: Any
    options: Options
    module: str
    file: str
    line: int
    source: Source | None = None
    bound: Mapping[str, Any] = field(default_factory=dict)
    family: str = ""
    variant: str = ""
    checks: tuple[Check, ...] = ()

    @property
    def partitions(self) -> Partitions | None:
        """Which partitions it has; None for one that is made whole."""
        return self.source.partitions if self.source is not None else self.options.partitions

    @property
    def takes_partition(self) -> str | None:
        """The parameter that receives the partition: the one of that name, or the one annotated so."""
        for param in self.params:
            if param.name == "partition" or is_partition(param.annotation):
                return param.name
        return None

    @property
    def where(self) -> str:
        """`file:line`, as messages point at it."""
        return f"{self.file}:{self.line}"

    @property
    def doc(self) -> str:
        """What the user wrote about it: the `description` option, else the function's docstring."""
        return self.options.description or inspect.cleandoc((self.fn and self.fn.__doc__) or "")

    def called(self, options: Mapping[str, Any]) -> Asset:
        """The same asset with some options replaced."""
        return replace(self, options=replace(self.options, **options))
