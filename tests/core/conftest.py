"""A ground for whole runs: a project in a folder of its own, written, edited and run by a test in this process."""

from __future__ import annotations

import importlib
import linecache
import sys
from pathlib import Path

import pytest

import drawbar
from drawbar import Graph
from drawbar.config import Config
from drawbar.store import Store

HEAD = """
import drawbar
from pathlib import Path
from drawbar import (
    All, CheckResult, Column, Contract, Daily, Dynamic, Hourly, Last, Monthly, Multi, Overlap, Partition, Partitioned,
    Same, Source, Static, asset, check, expand,
)

def _noted(name):
    with Path({made!r}).open("a") as file:
        file.write(f"{{name}}\\n")

"""


class Ground:
    """A project: what `pipeline.py` says is a graph, and its functions can note that they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = folder / "notes"
        self.store = Store(str(folder / "store"))
        self.configure("")

    def configure(self, more: str) -> None:
        """Settings beside the target `worker`, which is a process on this machine."""
        (self.folder / "drawbar.toml").write_text(
            f'namespace = "g"\nstore = "store"\n[targets.worker]\nroot = "{self.folder / ".worker"}"\n{more}\n'
        )

    def write(self, text: str) -> None:
        """The pipeline, from now on; `_noted(name)` in it notes a call."""
        self.forget()
        (self.folder / "pipeline.py").write_text(HEAD.format(made=str(self.notes)) + text)

    def edit(self, old: str, new: str) -> None:
        """Replace a text in the pipeline that is there once."""
        text = (self.folder / "pipeline.py").read_text()
        assert text.count(old) == 1
        self.forget()
        (self.folder / "pipeline.py").write_text(text.replace(old, new))

    def forget(self) -> None:
        """Nothing of the pipeline stays imported."""
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(self.folder)):
                del sys.modules[name]
        importlib.invalidate_caches()
        linecache.checkcache()

    @property
    def config(self) -> Config:
        """What the files say now."""
        return Config.load(self.folder)

    def graph(self) -> Graph:
        """The graph of the pipeline as it is written now."""
        config = self.config
        return Graph.from_modules(self.folder / "pipeline.py", namespace="g", options=config.assets)

    def run(self, *wanted: str, **settings):
        """Run what is wanted, without lineage."""
        self.notes.unlink(missing_ok=True)
        return drawbar.run(self.graph(), wanted or None, config=self.config, lineage=False, **settings)

    def states(self, *wanted: str, **settings) -> dict[str, str]:
        """How each unit of a run ended."""
        return {name: one.state for name, one in self.run(*wanted, **settings).assets.items()}

    def plan(self, *wanted: str, **settings):
        """What a run would do."""
        return drawbar.plan(self.graph(), wanted or None, config=self.config, **settings)

    def called(self) -> list[str]:
        """What the last run's functions noted, sorted."""
        return sorted(self.notes.read_text().split()) if self.notes.exists() else []

    def files(self, pattern: str) -> list[Path]:
        """What there is in the store."""
        return sorted((self.folder / "store").glob(pattern))


@pytest.fixture
def ground(tmp_path, monkeypatch):
    """A project of a test's own; nothing of it stays imported."""
    # Python takes a file that was edited within one second, to the same length, for unchanged.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("DRAWBAR_STORE", "DRAWBAR_NAMESPACE", "DRAWBAR_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    path = list(sys.path)
    made = Ground(tmp_path)
    yield made
    sys.path[:] = path
    made.forget()
