"""Every kind of target, and a real sshd; where none is installed those tests are skipped, and say so."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drawbar.testing.sshd import Sshd

sys.path.insert(0, str(Path(__file__).parent))  # the tests are not a package

from places import agent_place, jobs, place, places

__all__ = ["agent_place", "jobs", "place", "places"]


@pytest.fixture(scope="session")
def sshd_installed() -> None:
    """Skip without an sshd; with DRAWBAR_REQUIRE_SSHD=1 that is a failure."""
    why = Sshd.why_not()
    if why and os.environ.get("DRAWBAR_REQUIRE_SSHD") == "1":
        pytest.fail(f"DRAWBAR_REQUIRE_SSHD is set, but {why}")
    if why:
        pytest.skip(why)


@pytest.fixture(scope="session")
def sshd(sshd_installed: None) -> Iterator[Sshd]:
    """One throwaway host for all tests that leave it as it is."""
    with Sshd() as host:
        yield host


@pytest.fixture
def make_sshd(sshd_installed: None) -> Iterator[Callable[..., Sshd]]:
    """Throwaway hosts of a test's own, to be stopped, started and set up as it likes."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Sshd(**options))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and no SSH agent."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """A function that writes files into a folder on the path, and forgets the modules afterwards."""
    packages = set()

    def write(files: dict[str, str], folder: str = "project") -> Path:
        root = tmp_path / folder
        packages.update(name.removeprefix("src/").partition("/")[0].removesuffix(".py") for name in files)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        root.mkdir(exist_ok=True)
        monkeypatch.syspath_prepend(str(root))
        return root

    yield write
    # By name, too: a namespace package has no file, and whoever looks at one without its parent gets a KeyError.
    for name, module in list(sys.modules.items()):
        file = str(getattr(module, "__file__", None) or "")
        if name.partition(".")[0] in packages or file.startswith(str(tmp_path)):
            del sys.modules[name]
