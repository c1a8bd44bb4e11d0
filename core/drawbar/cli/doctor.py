"""`drawbar doctor`: whether this machine and project, or a target, have what a run needs, and what to do where not."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import click

from drawbar import __version__
from drawbar.cli import FAILED, output
from drawbar.cli.project import Project, common, complete_targets
from drawbar.config import Config, home
from drawbar.dispatch.doctor import Finding, examine
from drawbar.dispatch.target import target
from drawbar.errors import DrawbarError
from drawbar.store import Store

_LITTLE = 1 << 30


@click.command("doctor", epilog="Example: drawbar doctor gpu")
@click.argument("name", metavar="[TARGET]", required=False, shell_complete=complete_targets)
@click.option("--store", metavar="URL", help="A folder (relative to here) or any fsspec URL.")
@common
@click.pass_context
def command(ctx: click.Context, *, name: str | None, store: str | None, project: Path | None, as_json: bool) -> None:
    """Examine this machine and project, or a target. Exits with 1 if something is amiss."""
    with output.reserved_stdout() as out:
        findings: list[Finding] = []
        for one in _of_target(name, project) if name else _of_project(project, store):
            if not as_json and one.host and (not findings or findings[-1].host != one.host):
                output.show(f"{one.host}:", out)
            findings.append(one)
            if not as_json:
                _show(one, out)
        if as_json:
            output.answer({"target": name, "findings": [asdict(one) for one in findings]}, out)
        if any(one.ok is False for one in findings):
            ctx.exit(FAILED)


def _of_target(name: str, project: Path | None) -> Iterator[Finding]:
    """What is found there, in view of what the project's assets on that target require."""
    meant = Project.of((), project=project)
    try:
        assets = meant.graph().assets.values() if meant.modules else ()
    except DrawbarError as error:
        yield _wrong("modules", error)
        assets = ()
    envs = [one.options.env for one in assets if one.options.target == name and one.options.env is not None]
    place = target(name, meant.config)
    try:
        yield from examine(place, envs)
    finally:
        place.close()


def _of_project(project: Path | None, store: str | None) -> Iterator[Finding]:
    yield Finding("drawbar", True, f"{__version__}, on Python {platform.python_version()} ({platform.system()})")
    yield _home()
    try:
        meant = Project.of((), project=project, store=store)
    except DrawbarError as error:
        yield _wrong("project", error)
        return
    config = meant.config
    yield Finding("project", True, f"{config.namespace}, in {config.file or config.root}")
    yield _checked("modules", lambda: _modules(meant))
    yield _checked("store", lambda: _store(config.store))
    yield _checked("lineage", lambda: _lineage(config))
    names = ", ".join(config.targets) or "none configured"
    yield Finding("targets", None, f"{names}; `drawbar doctor NAME` examines one")


def _checked(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except DrawbarError as error:
        return _wrong(name, error)


def _wrong(name: str, error: DrawbarError) -> Finding:
    details = "; ".join(part for part in (error.what, error.where, error.found) if part)
    return Finding(name, False, details, error.todo)


def _home() -> Finding:
    folder = home()
    nearest = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(nearest).free
    told = f"{folder}, {output.size(free)} free"
    if not os.access(nearest, os.W_OK):
        return Finding("memory", False, f"{told}, not writable", "correct its permissions, or set DRAWBAR_HOME")
    return Finding("memory", free > _LITTLE, told, "" if free > _LITTLE else "make room, or set DRAWBAR_HOME")


def _modules(meant: Project) -> Finding:
    if not meant.modules:
        return Finding("modules", None, "none configured", 'set modules = ["…"], or name files on the command line')
    graph = meant.graph()
    return Finding("modules", True, f"{', '.join(meant.config.modules)}: {len(graph)} assets")


def _store(url: str) -> Finding:
    """Whether a small file can be put there, read and taken away."""
    place = Store(url)
    path, content = f".tmp/doctor-{os.getpid()}", b"drawbar doctor\n"
    place.files.write(path, [content])
    same = bytes(place.files.read(path) or b"") == content
    place.files.remove(path)
    text = f"{place.url}, writable" if same else f"{place.url} gives back something else than was written"
    return Finding("store", same, text, "" if same else "examine that file system")


def _lineage(config: Config) -> Finding:
    from drawbar.cli.lineage import facts

    told = facts("status", config.lineage, config.root)
    return Finding("lineage", True, output.told(told))


def _show(one: Finding, out: TextIO) -> None:
    from rich.text import Text

    mark, style = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("·", "dim")}[one.ok]
    line = Text.assemble((mark, style), f"  {one.name:<10} {output.visible(one.text)}")
    if one.todo:
        line.append(f"\n   {'':<10} do: {output.visible(one.todo)}", style="dim")
    output.console(out).print(line, soft_wrap=True)
