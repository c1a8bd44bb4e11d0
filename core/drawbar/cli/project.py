"""From the words and options of a command line to a project: its configuration, its modules, the assets meant.

Text comes here from click; a `Project` goes to the commands, which ask it for the graph and for a run's settings.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import click

from drawbar.cli import VERBOSE
from drawbar.config import Config
from drawbar.errors import ConfigError, DrawbarError
from drawbar.graph import Graph
from drawbar.keys import AssetKey

F = TypeVar("F", bound=Callable[..., Any])
# So many keys a shell offers at most: a person types on rather than read more.
_MOST_KEYS = 200


def common(function: F) -> F:
    """The options that every command has."""
    for option in (
        click.option(
            "-v", "--verbose", is_flag=True, expose_value=False, callback=_verbose, help="Show our traceback."
        ),
        click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object on stdout."),
        click.option(
            "--project",
            type=click.Path(exists=True, path_type=Path),
            envvar="DRAWBAR_PROJECT",
            metavar="DIR",
            help="The project's folder; default: that of the module, else of the working directory.",
        ),
    ):
        function = option(function)
    return function


def words(function: F) -> F:
    """The options of commands about assets: which modules and assets, in which store."""
    for option in (
        click.option("--namespace", metavar="NAME", help="Instead of the project's own."),
        click.option("--store", metavar="URL", help="A folder (relative to here) or any fsspec URL."),
        click.argument("words", nargs=-1, metavar="[MODULE_OR_FILE]... [ASSET]...", shell_complete=complete_words),
    ):
        function = option(function)
    return common(function)


def settings(function: F) -> F:
    """The options of commands that decide what is to be made."""
    for option in (
        click.option("--force", multiple=True, metavar="ASSET", help="Make it again, whatever is there."),
        click.option(
            "--partition",
            multiple=True,
            metavar="KEY|FROM..TO",
            shell_complete=complete_partitions,
            help="A partition's key, a range, `latest` or `all`, of the assets that have partitions; may be repeated.",
        ),
        click.option(
            "--target",
            multiple=True,
            metavar="NAME|OLD=NEW",
            help="Where to make what names a target; OLD=NEW moves one target, or one asset.",
        ),
        click.option("--param", "-p", multiple=True, metavar="NAME=VALUE", help="A run parameter; may be repeated."),
    ):
        function = option(function)
    return function


def _verbose(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001  # click's signature
    ctx.meta[VERBOSE] = ctx.meta.get(VERBOSE) or value


@dataclass(frozen=True, slots=True)
class Project:
    """A project as the command line means it: `modules` as `modules.load` takes them, `wanted` assets as written."""

    config: Config
    modules: tuple[str, ...]
    wanted: tuple[str, ...]

    @classmethod
    def of(
        cls,
        given: Sequence[str] = (),
        *,
        project: Path | None = None,
        store: str | None = None,
        namespace: str | None = None,
    ) -> Project:
        """The project that these words and options mean; nothing of the user's is imported yet."""
        files = [word for word in given if _is_file(word)]
        start = project or (Path(files[0]) if files else None)
        config = Config.load(start, store=_absolute(store), namespace=namespace)
        chosen = [word for word in given if _is_file(word) or _is_module(word, config)]
        wanted = tuple(word for word in given if word not in chosen)
        modules = [str(Path(one).expanduser().resolve()) if _is_file(one) else one for one in chosen]
        if not modules:
            modules = [str(config.root / one) if _is_file(one) else one for one in config.modules]
        return cls(config, tuple(modules), wanted)

    def graph(self) -> Graph:
        """The graph of the modules. What the user's code prints while it is imported is part of no answer."""
        if not self.modules:
            raise ConfigError(
                "Nothing says which module has the assets.",
                expected="a module or a file, or `modules` in [tool.drawbar]",
                found=f"no `modules` in {self.config.file or self.config.root}",
                todo='name one, as in `drawbar run pipeline.py`, or set modules = ["pipeline"]',
            )
        for folder in (self.config.root / "src", self.config.root):
            if folder.is_dir() and str(folder) not in sys.path:
                sys.path.insert(0, str(folder))
                importlib.invalidate_caches()
        return Graph.from_modules(*self.modules, namespace=self.config.namespace, options=self.config.assets)

    def names(self, graph: Graph) -> list[str] | None:
        """The units wanted as `name` or `name@partition`; None for all. UnknownAssetError for what is none."""
        return _in_graph(graph, self.wanted) or None

    def key(self) -> AssetKey:
        """The one asset that a command about a single asset was given."""
        if len(self.wanted) != 1:
            raise click.UsageError("Name one asset." if not self.wanted else f"Name one asset, not {len(self.wanted)}.")
        return AssetKey.parse(self.wanted[0], self.config.namespace)

    def settings(
        self,
        graph: Graph,
        *,
        param: Sequence[str] = (),
        target: Sequence[str] = (),
        force: Sequence[str] = (),
        partition: Sequence[str] = (),
    ) -> dict[str, Any]:
        """What `drawbar.run` and `drawbar.plan` take: parameters as their annotations say, targets, what to force."""
        from drawbar import params

        return {
            "params": params.from_text(graph, _pairs(param, "--param", "NAME=VALUE")),
            "target": _target(target),
            "force": _in_graph(graph, force),
            "partitions": list(partition) or None,
            "config": self.config,
        }


def _in_graph(graph: Graph, words: Sequence[str]) -> list[str]:
    """Assets, perhaps at a partition, by their names in the graph; an expanded function stands for its variants."""
    parted = [word.partition("@") for word in words]
    return [f"{own}{at}{key}" for name, at, key in parted for own in graph.named(name)]


def _is_file(word: str) -> bool:
    """Whether a word can only be a path; `text/embeddings` is an asset in a group unless there is such a file."""
    if word.endswith(".py") or word.startswith(("./", "../", "/", "~")):
        return True
    return "/" in word and Path(word).exists()


def _is_module(word: str, config: Config) -> bool:
    """Whether a word is the name of a module: configured, or dotted as no asset's name can be."""
    return word in config.modules or ("." in word and "/" not in word and "@" not in word)


def _absolute(store: str | None) -> str | None:
    if not store or "://" in store or "::" in store:
        return store
    try:
        return str(Path(store).expanduser().absolute())
    except RuntimeError:
        raise ConfigError("The store is in nobody's home.", found=store, todo="write the folder out") from None


def _pairs(given: Sequence[str], option: str, form: str) -> dict[str, str]:
    for one in given:
        if "=" not in one:
            raise click.BadParameter(f"{one!r} is not {form}.", param_hint=option)
    return {name.strip(): value for name, _, value in (one.partition("=") for one in given)}


def _target(given: Sequence[str]) -> str | dict[str, str] | None:
    plain = [one for one in given if "=" not in one]
    if not plain:
        return _pairs(given, "--target", "OLD=NEW") or None
    if len(given) > 1:
        raise click.BadParameter("Give one name, or pairs OLD=NEW; not both.", param_hint="--target")
    return plain[0]


def complete_words(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[Any]:
    """Names of assets that begin so, and Python files; nothing where the project cannot be read."""
    from click.shell_completion import CompletionItem

    from drawbar.cli.output import reserved_stdout

    found: list[Any] = []
    try:
        with reserved_stdout():
            project = Project.of(ctx.params.get("words") or (), project=ctx.params.get("project"))
            graph = project.graph()
        found = [CompletionItem(name, help=one.doc.partition("\n")[0]) for name, one in graph.assets.items()]
    except (DrawbarError, OSError):
        pass
    return [one for one in found if one.value.startswith(incomplete)] or [CompletionItem(incomplete, type="file")]


def complete_partitions(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[Any]:
    """Keys of the assets named so far, of all without one, also behind a range's `..`; the newest of very many."""
    from click.shell_completion import CompletionItem

    from drawbar.cli.output import reserved_stdout
    from drawbar.store import Store

    first, to, typed = incomplete.rpartition("..")
    found: dict[str, None] = {}
    try:
        with reserved_stdout():
            # Behind an option that has no value yet click leaves the words where they are.
            words = ctx.params.get("words") or ctx.args
            project = Project.of(words, project=ctx.params.get("project"), store=ctx.params.get("store"))
            graph, place = project.graph(), Store(project.config.store)
            named = _in_graph(graph, [word.partition("@")[0] for word in project.wanted])
            for name in named or graph.assets:
                one = graph[name].partitions
                if one is not None:
                    found.update(dict.fromkeys(one.resolved(lambda name: place.members(graph.namespace, name)).keys()))
    except (DrawbarError, OSError):
        return []
    keys = [*(["latest", "all"] if found and not to else []), *reversed(found)]
    fitting = (key for key in keys if key.startswith(typed))
    return [CompletionItem(f"{first}{to}{key}") for key in islice(fitting, _MOST_KEYS)]


def complete_targets(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of targets that begin so."""
    try:
        known = ["local", *Config.load(ctx.params.get("project")).targets]
    except DrawbarError:
        known = ["local"]
    return [name for name in known if name.startswith(incomplete)]
