"""`drawbar config`: the settings in force, and where each of them comes from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click

from drawbar.cli import output
from drawbar.cli.project import Project, words
from drawbar.config import Config
from drawbar.redact import MASK, Redactor, is_secret

_TABLES = ("targets", "assets", "params", "lineage")


@click.command("config", epilog="Example: drawbar config --project examples/site_embeddings")
@words
def command(
    *, words: tuple[str, ...], project: Path | None, store: str | None, namespace: str | None, as_json: bool
) -> None:
    """The settings in force, and where each comes from. Values whose names look secret are not shown."""
    config = Project.of(words, project=project, store=store, namespace=namespace).config
    lines = list(settings(config, {"store": store, "namespace": namespace}))
    if as_json:
        told = {name: {"value": value, "from": origin} for name, value, origin in lines}
        output.answer({"root": str(config.root), "file": str(config.file or ""), "settings": told})
        return
    table = output.table("setting", "value", "from")
    for name, value, origin in lines:
        table.add_row(name, output.told(value), origin)
    output.show(table)


def settings(config: Config, options: Mapping[str, str | None]) -> Iterator[tuple[str, Any, str]]:
    """Name, value and origin of every setting; tables are given key by key."""
    written = _written(config.file)
    for one in fields(Config):
        if one.name in ("root", "file"):
            continue
        value = getattr(config, one.name)
        origin = _origin(one.name, config, options, written)
        if one.name not in _TABLES:
            yield one.name, _hidden(one.name, list(value) if isinstance(value, tuple) else value), origin
            continue
        for path, inner in _flat(one.name, value, written.get(one.name, {})):
            yield path, _hidden(path, inner), origin


def _origin(name: str, config: Config, options: Mapping[str, str | None], written: Mapping[str, Any]) -> str:
    variable = f"DRAWBAR_{name.upper()}"
    if options.get(name):
        return f"--{name}"
    if name in options and os.environ.get(variable):
        return f"${variable}"
    if name in written:
        return str(config.file)
    if name == "namespace":
        return f"the project's name, or its folder's: {config.root}"
    return "default"


def _written(file: Path | None) -> Mapping[str, Any]:
    """The table as the file has it: `Config` has read and checked it already."""
    if file is None:
        return {}
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    found: Mapping[str, Any] = document if file.name == "drawbar.toml" else document.get("tool", {}).get("drawbar", {})
    return found


def _flat(path: str, value: Any, written: Any) -> Iterator[tuple[str, Any]]:
    """A table's values by dotted name; of targets only what was written, the rest being defaults of no interest."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{path}.{name}", inner, written.get(name, {}) if isinstance(written, Mapping) else {})
    elif hasattr(value, "__dataclass_fields__"):
        given = {name: inner for name, inner in asdict(value).items() if name in written} if written else {}
        yield from (_flat(path, given, written) if given else [(path, "defaults")])
    else:
        yield path, value


def _hidden(path: str, value: Any) -> Any:
    if path.startswith("targets.") and path.endswith(".secrets"):
        return list(value)  # names of variables, not their values
    if is_secret(path.rpartition(".")[2]):
        return MASK
    return Redactor().text(value) if isinstance(value, str) else value
