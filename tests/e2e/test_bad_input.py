"""What a user may do wrong, and what a function may do to drawbar, by the program itself: each has a message to act on.

The functions run as assets on a worker of this machine and behind SSH, all in one run each; every test looks at one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from drawbar.testing.sshd import Sshd

HOSTILE = """
import os, signal, sys, threading, time
from drawbar import asset

class Odd(Exception):
    def __init__(self, text, code):
        super().__init__(text)
        self.lock = threading.Lock()

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")

def gigabyte() -> int:
    line = "x" * 65535 + "\\n"
    for _ in range(16384):
        sys.stdout.write(line)
    return 1

def binary() -> int:
    sys.stdout.buffer.write(bytes(range(256)) * 4)
    sys.stdout.flush()
    os.write(2, b"\\xff\\xfe\\x00\\x1b[31mraw")
    return 1

def leaves() -> int:
    os._exit(3)

def exits() -> int:
    sys.exit(3)

def odd() -> int:
    raise Odd("odd", 7)

def mute() -> int:
    raise Mute

def huge() -> int:
    raise ValueError("y" * 20_000_000)

def interrupts() -> int:
    raise KeyboardInterrupt

def lock() -> object:
    return threading.Lock()

def daemon() -> int:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    return 1

@asset(timeout=0.5)
def deaf() -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
    return 1

def killed() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)
    return 1

def closes() -> int:
    os.closerange(0, 1024)
    return 1

def recursive() -> int:
    return recursive()

def below(odd: int) -> int:
    return odd
"""
NAMES = ("gigabyte", "binary", "leaves", "exits", "odd", "mute", "huge", "interrupts", "lock", "daemon", "deaf", "killed",
         "closes", "recursive")  # fmt: skip


class Project:
    """A project of one file, and drawbar as a program in it."""

    def __init__(self, folder, code, config=""):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pipeline.py").write_text(code)
        (folder / "drawbar.toml").write_text(f"modules = ['pipeline']\nnamespace = 'bad'\n{config}")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRAWBAR", "OPENLINEAGE"))}
        self.environment = {**kept, "DRAWBAR_HOME": str(folder / "client")}

    def run(self, *words, before=(), **environment):
        """The program to its end: exit status, what is on stdout, what is on stderr."""
        command = [*before, sys.executable, "-c", "from drawbar.cli import main; main()", *words]
        done = subprocess.run(
            command, cwd=self.folder, env={**self.environment, **environment}, check=False, timeout=100,
            capture_output=True, text=True,
        )  # fmt: skip
        assert "Traceback (most recent call last)" not in done.stderr or "in <module>" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr


def table(settings):
    """A target's settings as TOML."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())


@pytest.fixture(scope="module")
def sshd():
    """One host for this file."""
    why = Sshd.why_not()
    if why and os.environ.get("DRAWBAR_REQUIRE_SSHD") == "1":
        pytest.fail(f"DRAWBAR_REQUIRE_SSHD is set, but {why}")
    if why:
        pytest.skip(why)
    with Sshd() as host:
        yield host


@pytest.fixture(scope="module", params=["local", "ssh"])
def place(request, tmp_path_factory):
    """A target's settings: a worker on this machine, and one behind SSH; its folder is new."""
    behind = request.getfixturevalue("sshd").settings() if request.param == "ssh" else {}
    root = str(tmp_path_factory.mktemp("host") / "root")
    return {**behind, "python": sys.executable, "root": root, "log_limit": 1 << 20}


@pytest.fixture(scope="module")
def hostile(place, tmp_path_factory):
    """All hostile functions in one run: the project, how each ended, and what was said."""
    config = f"[targets.place]\n{table(place)}" + "".join(f"[assets.{name}]\ntarget = 'place'\n" for name in NAMES)
    project = Project(tmp_path_factory.mktemp("hostile") / "project", HOSTILE, config)
    code, out, err = project.run("run", "--json")
    assert code == 1, err
    return {one["key"].partition("/")[2]: one for one in json.loads(out)["assets"]}, err, place


def at_work(root):
    """Processes whose working folder is a job's."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(folder / "cwd").startswith(root):
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize("name", ["gigabyte", "binary", "daemon", "closes"])
def test_what_a_function_does_beside_its_value_does_not_cost_the_value(hostile, name):
    """A gigabyte of output, bytes that are no text, a daemon left behind, closed files: the value is there all the same."""
    assert (hostile[0][name]["state"], hostile[0][name]["error"]) == ("made", None)


def test_a_gigabyte_is_bounded_and_said_so(hostile):
    """Of endless output the host keeps `log_limit` bytes, and the log says that there was more."""
    _, err, place = hostile
    logs = [one for one in Path(place["root"]).glob("jobs/*/attempts/1/stdout") if one.stat().st_size > 1 << 19]
    assert len(logs) == 1
    assert logs[0].stat().st_size < (1 << 20) + 4096
    assert "gigabyte │ [drawbar: " in err


def test_output_that_is_no_text_cannot_move_the_terminal(hostile):
    """Control characters and bytes that are no UTF-8 are shown as such."""
    assert "binary │ ��" in hostile[1]
    assert "\x1b" not in hostile[1]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("leaves", "KilledError: bad/leaves ended by its own exit with status 3, without a value"),
        ("exits", "KilledError: bad/exits ended by its own exit with status 3, without a value"),
        ("odd", "RemoteError: bad/odd raised Odd: odd"),
        ("mute", "Mute: its __str__ raised RuntimeError"),
        ("huge", "RemoteError: bad/huge raised ValueError: yyyy"),
        ("interrupts", "KeyboardInterrupt"),
        ("lock", "RemoteError: bad/lock returned what cannot be sent back"),
        ("deaf", "TimedOutError: bad/deaf ran longer than it may"),
        ("killed", "KilledError: bad/killed was killed by signal 9 (SIGKILL)"),
        ("recursive", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_how_a_function_ended_is_said(hostile, name, error):
    """Each way to end badly has its own error, of a length that a person reads, and none ends the run or another asset."""
    found = hostile[0][name]
    assert found["state"] == "failed"
    assert found["error"].startswith(error)
    assert len(found["error"]) < 600
    assert len(found["reason"]) < 600


def test_what_needs_a_failed_asset_is_blocked_and_the_rest_is_not(hostile):
    """One failure stops what depends on it, and nothing else."""
    assert (hostile[0]["below"]["state"], hostile[0]["below"]["reason"]) == ("blocked", "odd failed")


def test_nothing_that_a_function_started_is_left(hostile):
    """The daemon, and the function that ignores SIGTERM, are gone when the run is over."""
    assert at_work(hostile[2]["root"]) == []


def test_in_this_process_too_no_exception_ends_the_run(tmp_path):
    """SystemExit, KeyboardInterrupt, an exception without words or with too many: the asset failed, and said why."""
    project = Project(tmp_path / "project", HOSTILE)
    names = ("exits", "odd", "mute", "huge", "interrupts", "lock", "recursive")
    code, out, err = project.run("run", "--json", *names, "below")
    assert code == 1
    errors = {one["key"].partition("/")[2]: one["error"] for one in json.loads(out)["assets"]}
    assert errors["exits"] == "SystemExit: 3"
    assert errors["interrupts"] == "KeyboardInterrupt"
    assert errors["mute"] == "Mute: its __str__ raised RuntimeError"
    assert errors["huge"].startswith("ValueError: yyyy")
    assert len(errors["huge"]) < 600
    assert errors["lock"].startswith("FormatError: A value of type _thread.lock cannot be pickled.")
    assert errors["below"] is None
    lineage = [json.loads(line) for line in (project.folder / ".drawbar" / "lineage.ndjson").read_text().splitlines()]
    ends = {one["run"]["runId"]: one["eventType"] for one in lineage if one["eventType"] != "START"}
    assert {one["run"]["runId"] for one in lineage} == set(ends)
    assert "Exception ignored" not in err


PLAIN = """
from drawbar import asset
@asset(target="there")
def far(near: int = 1) -> int:
    return near
"""
ODD = ["with space", "..", "../up", "quo'te", 'quo"te', "emoji💥", "a;b", "$(b)", "-x"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_refused_wherever_they_come_from(tmp_path, name):
    """A file, a function, `name=`, a namespace, a target, an asset, a parameter: each is refused, and nothing is written."""
    project = Project(tmp_path / "project", PLAIN)
    words = {
        "namespace": (f"--namespace={name}", "cannot be a namespace."),
        "target": (f"--target={name}", "There is no target named "),
        "parameter": (f"--param={name}=1", "No asset takes a parameter "),
    }
    for word, said in words.values():
        code, out, err = project.run("run", "--no-lineage", word)
        assert (code, out) == (2, ""), err
        assert said in err
    if not name.startswith(("..", "-")):
        assert "There is no asset " in project.run("run", "--no-lineage", name)[2]
    if "/" not in name:
        (project.folder / f"{name}.py").write_text(PLAIN)
        assert "cannot be imported by its name." in project.run("run", "--no-lineage", f"./{name}.py")[2]
    for text in (f"from drawbar import asset\n@asset(name={name!r})\ndef one() -> int: return 1\n",
                 f"def one() -> int: return 1\nglobals()[{name!r}] = one\ndel one\n"):  # fmt: skip
        (project.folder / "odd.py").write_text(text)
        code, _, err = project.run("run", "--no-lineage", "odd.py")
        assert code == 2
        assert f"{name!r} cannot be the name of an asset." in err
        assert f"{project.folder}/odd.py:" in err
    assert not (project.folder / ".drawbar").exists()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["project"]


def test_odd_names_that_are_nobodys_business_work(tmp_path):
    """Folders, the store, a published file and a parameter's value may be called anything."""
    code = "from drawbar import asset\n@asset(path='out/a b/💥\\'\".json')\ndef one(text: str) -> str: return text\n"
    project = Project(tmp_path / "my 'project' 💥", code)
    status, out, err = project.run("run", "--json", "--store", "sto 're\" 💥", "--param", "text=a\nb 💥 '\"")
    assert status == 0, err
    assert (project.folder / "out" / "a b" / "💥'\".json").read_text() == "a\nb 💥 '\""
    assert json.loads(out)["assets"][0]["uri"].endswith("💥'\".json")
    assert project.run("show", "one", "--store", "sto 're\" 💥")[0] == 0


CHAIN = "def one(n: int = 1) -> str: return 'x' * 9 * n\ndef two(one: str) -> str: return one * 2\n"


def value_of(project, name):
    """The file with an asset's only value."""
    return next((project.folder / ".drawbar" / "store" / "bad" / name / "values").iterdir())


@pytest.mark.parametrize("harm", ["truncated", "removed", "record", "empty record"])
def test_what_is_visibly_damaged_is_made_again(tmp_path, harm):
    """A value of another size, one that is gone, a record that cannot be read: noticed, said, and made again."""
    project = Project(tmp_path / "project", CHAIN)
    assert project.run("run", "--no-lineage")[0] == 0
    record = next((project.folder / ".drawbar" / "store" / "bad" / "one" / "records").iterdir())
    if harm == "truncated":
        os.truncate(value_of(project, "one"), 3)
    elif harm == "removed":
        value_of(project, "one").unlink()
    else:
        record.write_text("{" if harm == "record" else "")
    code, out, _ = project.run("run", "--no-lineage", "--json")
    first, second = json.loads(out)["assets"]
    assert (code, first["state"], second["state"]) == (0, "made", "reused")
    told = {"truncated": "its value is missing", "removed": "its value is missing"}.get(
        harm, "its record cannot be read"
    )
    assert first["reason"].startswith(told)
    assert value_of(project, "one").read_text() == "x" * 9


def test_a_value_edited_by_hand_is_never_used(tmp_path):
    """Of the same size, it is noticed when it is read: with what to do, which then works."""
    project = Project(tmp_path / "project", CHAIN)
    assert project.run("run", "--no-lineage", "one")[0] == 0
    value_of(project, "one").write_text("y" * 9)
    for words in (("run", "--no-lineage", "two"), ("show", "one")):
        code, _, err = project.run(*words)
        assert code == 1
        assert "The value of bad/one is not what was made." in err
        assert "  do: `drawbar run one --force one` makes it again\n" in err
    assert not list((project.folder / ".drawbar" / "store" / "bad").glob("two/values/*"))
    assert project.run("run", "--no-lineage", "one", "--force", "one")[0] == 0
    assert project.run("run", "--no-lineage", "two")[0] == 0


def without_privileges():
    """How to start a program to which permissions apply, also where the tests run as root."""
    if os.getuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not there, and root may write anywhere")
    return ("setpriv", "--inh-caps=-all", "--bounding-set=-all")


def test_a_store_that_may_not_be_written_is_named(tmp_path):
    """Without write permission nothing runs; what is there can still be read and planned with."""
    before = without_privileges()
    project = Project(tmp_path / "project", CHAIN)
    assert project.run("run", "--no-lineage", "one")[0] == 0
    folders = [project.folder / ".drawbar" / "store", *(project.folder / ".drawbar" / "store").rglob("*")]
    folders = [one for one in folders if one.is_dir()]
    for one in folders:
        one.chmod(0o500)
    try:
        code, out, err = project.run("run", "--no-lineage", "two", before=before)
        planned = project.run("plan", "one", before=before)
    finally:
        for one in folders:
            one.chmod(0o700)
    assert (code, out) == (1, "")
    assert f"error: Not allowed to write {project.folder}/.drawbar/store/" in err
    assert "  found: Permission denied\n" in err
    assert "  do: change its permissions, or set `store` (DRAWBAR_STORE) to another place\n" in err
    assert planned[0] == 0
    assert "reuse" in planned[1]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes; where this user may not mount one, None."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = os.getuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    ).returncode == 0  # fmt: skip
    yield folder if mounted else None
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


BIG = """
from drawbar import asset
@asset(target="place")
def big(size: int = 3_000_000) -> bytes:
    return bytes(size)
def small(size: int = 1) -> int:
    return 1
"""


def test_a_full_disk_here(tmp_path, small_disk):
    """The value that does not fit is not half there, the message names the place, and with more room the run goes on."""
    project = Project(tmp_path / "project", BIG, "[assets.big]\ntarget = 'here'\n")
    store = small_disk or tmp_path / "store"
    limit = () if small_disk else ("sh", "-c", 'ulimit -f 2000; exec "$@"', "sh")
    # One after the other, so that the small value is not written at the moment at which the big one has filled the disk.
    code, out, err = project.run("run", "--no-lineage", "--json", "--workers", "1", "--store", str(store), before=limit)
    big, small = json.loads(out)["assets"]
    assert (code, big["state"], small["state"]) == (1, "failed", "made")
    assert big["error"].startswith(f"DiskFullError: There is no space to write {store}/bad/big/values/")
    assert "free space, or set `store` (DRAWBAR_STORE) to a larger place; nothing was half-written\n" in err
    assert [one for one in store.rglob("*") if one.is_file() and one.stat().st_size > 10_000] == []
    assert list(store.glob("bad/leases/*")) == []
    assert project.run("run", "--no-lineage", "--store", str(store), "-p", "size=2000")[0] == 0


def test_a_full_disk_on_the_host(tmp_path, small_disk, place):
    """A host without room says so, and keeps no half of the value."""
    if small_disk is None:
        pytest.skip("no small file system can be mounted here")
    project = Project(
        tmp_path / "project",
        BIG,
        f"[targets.place]\n{table({**place, 'root': str(small_disk / 'root'), 'idle_timeout': 0})}",
    )
    code, out, err = project.run("run", "--no-lineage", "--json", "big")
    assert code == 1
    assert "could not be written on the host: No space left on device." in json.loads(out)["assets"][0]["error"], err
    assert [one for one in small_disk.rglob("*") if one.is_file() and one.stat().st_size > 1_000_000] == []
    code, out, err = project.run("run", "--no-lineage", "--json", "big", "-p", "size=2000")
    assert code == 0, err


PICKLED = """
from drawbar import asset
class Thing:
    pass
@asset(target="place")
def thing(n: int = 1) -> Thing:
    return Thing()
def uses(thing: Thing) -> int:
    return 1
"""


def test_trust_data_holds_from_end_to_end(tmp_path, place):
    """With `trust = "data"` no pickle is made here or there, and one that lies in the store is not read."""
    project = Project(tmp_path / "project", PICKLED, f"[targets.place]\n{table(place)}")
    distrust = {
        "there": ("[targets.place]\n", '[targets.place]\ntrust = "data"\n'),
        "store": ("modules", 'trust = "data"\nmodules'),
    }
    file = project.folder / "drawbar.toml"
    before = file.read_text()
    file.write_text(before.replace(*distrust["there"]))
    code, out, err = project.run("run", "--no-lineage", "--json", "thing")
    assert (code, json.loads(out)["assets"][0]["state"]) == (1, "failed"), err
    assert "trust" in err
    file.write_text(before)
    assert project.run("run", "--no-lineage", "thing")[0] == 0
    file.write_text(before.replace(*distrust["store"]))
    code, out, err = project.run("run", "--no-lineage", "--json", "uses")
    assert (code, json.loads(out)["assets"][-1]["state"]) == (1, "failed"), err
    assert "trust" in err
    file.write_text(
        before.replace(*distrust["store"]).replace("[targets.place]", "[assets.thing]\ntarget='here'\n[targets.place]")
    )
    code, out, err = project.run("run", "--no-lineage", "--json", "thing", "-p", "n=2")
    assert (code, json.loads(out)["assets"][0]["state"]) == (1, "failed"), err
    assert "trust" in err
