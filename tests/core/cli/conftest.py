"""A small project in a folder of its own, and two ways to call drawbar on it: in this process, and as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from drawbar.cli.commands import cli

PIPELINE = '''
from drawbar import Source, asset

seeds = Source("seeds.txt")

def numbers(seeds: str, count: int = 3) -> list[int]:
    """So many numbers."""
    print("counting")
    return list(range(count))

def _doubled(one: int) -> int:
    return one * 2

@asset(target="gpu", description="Twice as much.")
def doubled(numbers: list[int]) -> list[int]:
    return [_doubled(one) for one in numbers]

def total(doubled: list[int], label: str = "sum") -> str:
    return f"{label} {sum(doubled)}"
'''
SETTINGS = """
[project]
name = "demo"
[tool.drawbar]
modules = ["pipeline"]
[tool.drawbar.targets.gpu]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project `demo` with three assets and a source, as the working directory; nothing of it stays imported."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pipeline.py").write_text(PIPELINE)
    (project / "pyproject.toml").write_text(SETTINGS)
    (project / "seeds.txt").write_text("seed")
    monkeypatch.chdir(project)
    # Python takes a file that was edited within one second, to the same length, for unchanged.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("DRAWBAR_HOME", str(tmp_path / "home"))
    for name in ("DRAWBAR_STORE", "DRAWBAR_NAMESPACE", "DRAWBAR_PROJECT", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    path = list(sys.path)
    yield project
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def call(folder: Path) -> Callable[..., Result]:
    """Call a command in this process."""

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(cli, list(words), prog_name="drawbar")

    return invoke


@pytest.fixture
def program(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Call drawbar as a program of its own, with pipes for its streams."""

    def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *words], capture_output=True, text=True, check=False, timeout=60, env=os.environ, **options
        )

    return run


PROGRAM = (sys.executable, "-c", "from drawbar.cli import main; main()")


@pytest.fixture
def made(call: Callable[..., Result]) -> Result:
    """The project's assets, made once in this process."""
    result = call("run", "--target", "here", "--no-lineage")
    assert result.exit_code == 0, result.output
    return result
