"""The project's code on real hosts: by difference, whole, and refused before anything is sent where it cannot run."""

import importlib
import importlib.util
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from places import job_of, make_ssh, run

from drawbar import errors
from drawbar.dispatch.target import Target, dispatcher


@pytest.fixture
def ssh(request, sshd):
    """A throwaway host with a root of this test's own."""
    made = make_ssh(request)
    yield made
    made.dispatcher.close()


def sent_by(place, job):
    """What the job returned, and how many bytes went over the wire for it."""
    link = place.dispatcher.link
    before = link.call(lambda agent: agent.sent)
    value = run(place, job)
    return value, link.call(lambda agent: agent.sent) - before


def test_an_edit_sends_a_few_kilobytes(ssh, project):
    """A project of a thousand files is sent once; after an edit only the files around it are sent, and they count."""
    filler = "".join(f"# {n * 2654435761 % 4294967296:x} a line that no other line is like\n" for n in range(90))
    root = project(
        {
            "edited_w/__init__.py": "",
            "edited_w/main.py": "from edited_w.part7 import m7\ndef answer():\n    return m7.x\n",
            **{f"edited_w/part{n % 20}/m{n}.py": f"x = {n}\n{filler}" for n in range(1000)},
        }
    )
    main = importlib.import_module("edited_w.main")
    started, figures = [], []
    for edit in (None, None, "x = 'edited'\n"):
        if edit:
            (root / "edited_w/part7/m7.py").write_text(edit + filler)
        began = time.perf_counter()
        value, sent = sent_by(ssh, job_of(main.answer))
        figures.append((sent, round(time.perf_counter() - began, 3)))
        started.append(value)
    print(f"1000 files: bytes over the wire and seconds of the first job, the second, after an edit: {figures}")
    assert started == [7, 7, "edited"]
    first, second, third = (sent for sent, _ in figures)
    assert second < 20_000
    assert third * 8 < first
    assert len(list((ssh.root / "code").glob("*/edited_w/main.py"))) == 2


def test_everything_that_was_found_can_be_imported_there(ssh, project, tmp_path, monkeypatch):
    """src/ layout, ignored but imported files, namespace packages, data, a zip, a compiled module: all work on the host."""
    speedups = importlib.util.find_spec("markupsafe._speedups").origin
    root = project(
        {
            "src/all_y/__init__.py": "from ._version import version",
            "src/all_y/_version.py": "version = 'generated'",
            "src/all_y/native/__init__.py": "",
            "src/all_y/words.txt": "some words",
            ".gitignore": "_version.py\n",
        },
        "one",
    )
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    shutil.copy(speedups, root / "src/all_y/native" / Path(speedups).name)
    monkeypatch.syspath_prepend(str(root / "src"))
    project({"shared_y/left.py": "x = 'left'"}, "two")
    project({"shared_y/right.py": "x = 'right'"}, "three")
    with zipfile.ZipFile(tmp_path / "lib.zip", "w") as made:
        made.writestr("zipped_y.py", "x = 'zipped'")
    monkeypatch.syspath_prepend(str(tmp_path / "lib.zip"))
    (root / "src/all_y/main.py").write_text(
        "from pathlib import Path\n"
        "import all_y, zipped_y\n"
        "from shared_y import left\n"
        "from .native import _speedups\n"
        "def told():\n"
        "    from shared_y import right\n"
        "    words = Path(__file__).with_name('words.txt').read_text()\n"
        "    return all_y.version, zipped_y.x, left.x, right.x, words, Path(_speedups.__file__).parent.name\n"
    )
    main = importlib.import_module("all_y.main")
    assert run(ssh, job_of(main.told)) == ("generated", "zipped", "left", "right", "some words", "native")


def test_by_value_with_modules_of_the_project(ssh, project):
    """A function of a notebook goes by value, and finds the project's modules that it names or imports."""
    project({"named_u.py": "x = 'named'", "inner_u.py": "x = 'inner'"})
    named_u = importlib.import_module("named_u")

    def told():
        import inner_u

        return named_u.x, inner_u.x

    assert run(ssh, job_of(told)) == ("named", "inner")


@pytest.fixture
def bare(ssh):
    """The host with a Python that has nothing installed."""
    other = next((one for one in _pythons() if one != sys.executable), None)
    if other is None:
        pytest.skip("there is no second Python on this machine to be a host without packages")
    config = replace(ssh.target.config, python=other, root=f"{ssh.target.config.root}-bare")
    made = replace(ssh, target=Target("bare", dispatcher("bare", config), config), root=Path(config.root))
    yield made
    made.dispatcher.close()


def _pythons():
    for one in (*sorted(Path.home().glob(".pyenv/versions/3.1*/bin/python3")), Path("/usr/bin/python3")):
        bare = [
            str(one),
            "-c",
            "import sys, importlib.util as u; sys.exit(sys.version_info < (3, 9) or bool(u.find_spec('numpy')))",
        ]
        if one.exists() and subprocess.run(bare, capture_output=True, check=False).returncode == 0:
            yield str(one)


def test_package_that_the_host_lacks(bare, project):
    """A module that imports what the host has not is refused before anything is sent, and what it lacks is named."""
    project({"lacks_l.py": "import numpy\ndef f():\n    return 1\n", "fine_l.py": "def f():\n    import numpy\n"})
    lacks, fine = importlib.import_module("lacks_l"), importlib.import_module("fine_l")
    with pytest.raises(errors.PreflightError) as caught:
        bare.dispatcher.submit(job_of(lacks.f))
    assert caught.value.what == "bare lacks what site/f imports."
    assert caught.value.found == "no numpy"
    assert not list(bare.root.glob("blobs/*/*"))
    outcome = bare.dispatcher.collect(bare.dispatcher.submit(job_of(fine.f)), timeout=60)
    assert outcome.error.type == "ModuleNotFoundError"  # only the function needs it: that is for the function to say


def test_compiled_module_that_does_not_fit(bare, project):
    """A compiled module of another Python is refused by name before anything is sent."""
    speedups = Path(importlib.util.find_spec("markupsafe._speedups").origin)
    root = project({"native_l/__init__.py": "from . import _speedups", "native_l/main.py": "def f():\n    return 1\n"})
    shutil.copy(speedups, root / "native_l" / speedups.name)
    main = importlib.import_module("native_l.main")
    with pytest.raises(errors.PreflightError, match="_speedups, which is compiled for another Python"):
        bare.dispatcher.submit(job_of(main.f))
    assert not list(bare.root.glob("blobs/*/*"))


def test_local_module_that_cannot_go(ssh, project):
    """A module loaded from a file of another name is refused before anything is sent, and the import is named."""
    root = project({"asks_l.py": "import made_l\ndef f():\n    return made_l.x\n", "some-file.py": "x = 1"})
    spec = importlib.util.spec_from_file_location("made_l", root / "some-file.py")
    sys.modules["made_l"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["made_l"])
    asks = importlib.import_module("asks_l")
    with pytest.raises(errors.PreflightError, match=r"asks_l\.py imports made_l, which cannot be sent along"):
        ssh.dispatcher.submit(job_of(asks.f))
    assert not list(ssh.root.glob("blobs/*/*"))
