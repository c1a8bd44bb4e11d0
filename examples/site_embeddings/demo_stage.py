"""What the demo needs around the example: a site to crawl, a host to compute on, and a folder that may be changed.

Everything is on loopback and in temporary folders, and is gone when the demo ends, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drawbar.testing.sshd import Sshd

HERE = Path(__file__).resolve().parent
FILES = ("pipeline.py", "crawl.py", "embed.py", "drawbar.toml")
_INSTALLED = {"envs": "installed"}  # an Env would be built first, which takes minutes where the network is slow
PATIENCE = 30.0  # seconds that the command line has to put things away after Ctrl-C


@contextlib.contextmanager
def site() -> Iterator[str]:
    """The address of Python's own `pydoc` server, which shows every module of the standard library.

    `-I -S` keeps what is installed in this environment out of it, so that every machine shows the same kind of site.
    pydoc imports what it shows, and one module opens a browser when imported: hence `BROWSER`.
    """
    with tempfile.TemporaryDirectory(prefix="drawbar-demo-site-") as folder:
        server = subprocess.Popen(
            [sys.executable, "-I", "-S", "-W", "ignore", "-m", "pydoc", "-n", "127.0.0.1", "-p", "0"],
            stdin=subprocess.PIPE,  # it serves until this ends
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "BROWSER": "true"},
            start_new_session=True,
        )
        try:
            assert server.stdout is not None
            said = (re.search(r"http://\S+", line) for line in server.stdout)
            ready = next((found for found in said if found), None)
            if ready is None:
                raise SystemExit("pydoc did not start: run `python -m pydoc -p 0` to see why")
            yield ready[0]
        finally:
            server.kill()
            server.communicate()


@dataclass(frozen=True, slots=True)
class Host:
    """Where the heavy step runs: the name of a target, what a person calls it, and its table in drawbar.toml."""

    target: str
    told: str
    settings: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def host(*, local: bool = False) -> Iterator[Host]:
    """A throwaway sshd where one is installed, else (or if `local` is wanted) a worker on this machine."""
    if local or not Sshd.available():
        why = "as asked" if local else Sshd.why_not()
        yield Host("local", f"a worker on this machine, through the same agent as over SSH ({why})", _INSTALLED)
        return
    with Sshd() as sshd:
        told = f"ssh {sshd.user}@{sshd.host}:{sshd.port}, a throwaway sshd with keys of its own"
        yield Host("gpu", told, {**sshd.settings(), "python": sys.executable, **_INSTALLED})


@dataclass(frozen=True, slots=True)
class Stage:
    """A copy of the example that the demo may edit, and the command line as a user would call it there."""

    folder: Path
    host: Host

    @property
    def project(self) -> Path:
        """The copy."""
        return self.folder / "site_embeddings"

    def show(self, *words: str) -> None:
        """Run `drawbar …` on this terminal. `UntrueError` where it does not end well, here and below."""
        self._call(words, None)

    def text(self, *words: str) -> str:
        """What `drawbar …` prints."""
        return self._call(words, subprocess.PIPE)

    def json(self, *words: str) -> dict[str, Any]:
        """What `drawbar … --json` answers."""
        answer: dict[str, Any] = json.loads(self.text(*words, "--json"))
        return answer

    def _call(self, words: Sequence[str], stdout: int | None) -> str:
        """Run a command in a session of its own, so that Ctrl-C reaches it once: from here."""
        process = subprocess.Popen(
            [*_command(), *words],
            cwd=self.project,
            env=self._environment(),
            stdout=stdout,
            text=True,
            start_new_session=True,
        )
        try:
            out, _ = process.communicate()
        except BaseException:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=PATIENCE)
            process.kill()
            raise
        if process.returncode:
            raise UntrueError(f"`drawbar {' '.join(words)}` ended with {process.returncode}")
        return out or ""

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a piece of one of the example's files, which must be there once."""
        file = self.project / name
        text = file.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise UntrueError(f"{name} holds {old!r} {text.count(old)} times, not once")
        file.write_text(text.replace(old, new), encoding="utf-8")

    def end_jobs(self) -> None:
        """End what runs on the host by itself: the embedder, which would wait for another run's questions."""
        for job in self.json("jobs", self.host.target)["jobs"]:
            if job["ended"] is None:
                self.text("cancel", self.host.target, job["job"])

    def _environment(self) -> dict[str, str]:
        """The user's environment without what would send the demo's records or lineage to real places."""
        ours = ("OPENLINEAGE", "DRAWBAR")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {**kept, "DRAWBAR_HOME": str(self.folder / "home")}


@contextlib.contextmanager
def stage(host: Host) -> Iterator[Stage]:
    """A stage in a temporary folder, whose drawbar.toml says how to reach the host."""
    with tempfile.TemporaryDirectory(prefix="drawbar-demo-") as folder:
        made = Stage(Path(folder).resolve(), host)
        made.project.mkdir()
        for name in FILES:
            shutil.copy(HERE / name, made.project)
        with (made.project / "drawbar.toml").open("a", encoding="utf-8") as file:
            file.writelines(["" if host.target == "gpu" else f"[targets.{host.target}]\n"])
            file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in host.settings.items())
        try:
            yield made
        finally:
            made.end_jobs()


class UntrueError(Exception):
    """Something that the demo says is not so."""


def _command() -> list[str]:
    script = Path(sys.executable).with_name("drawbar")
    return [str(script)] if script.exists() else [sys.executable, "-m", "drawbar.cli"]
