"""The host's side of a store: seen or not, read into blobs, written whole, and refused in words."""

import fcntl
import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
import time

import pytest

from drawbar.agent import storing
from drawbar.agent.blobs import Blobs
from drawbar.agent.pump import Masker
from drawbar.agent.worker import Task

DATA = os.urandom(3 << 20)
DIGEST = hashlib.sha256(DATA).hexdigest()
NOBODY = 65534


@pytest.fixture
def store(tmp_path):
    """A store in a folder, with its marker and one value; a client made it."""
    folder = tmp_path / "store"
    (folder / "g" / "x" / "values").mkdir(parents=True)
    (folder / storing.MARKER).write_text("abc\n")
    (folder / "g" / "x" / "values" / f"{DIGEST}.bin").write_bytes(DATA)
    return folder


@pytest.fixture
def root(tmp_path):
    """The host's folder."""
    folder = tmp_path / "root"
    folder.mkdir(0o700)
    return folder


def value_url(store):
    return str(store / "g" / "x" / "values" / f"{DIGEST}.bin")


def task_of(root, store, **changes):
    """A task in an attempt's folder, which is to put its value into `store`."""
    folder = root / "jobs" / "j" / "attempts" / "1"
    folder.mkdir(parents=True, exist_ok=True)
    told = {"url": str(store), "folder": "g/made", "python": sys.executable, "why": "", **changes}
    return Task(str(root), str(folder), {"store": told}, {}, Masker(["hunter2"]))


def kept(root, data=DATA):
    """A value as a worker names it once its blob is there."""
    digest, size = Blobs(str(root)).store([data])
    return {"digest": digest, "ext": ".bin", "bytes": size}


def events(root):
    return [json.loads(line) for line in (root / "jobs" / "j" / "log.jsonl").read_text().splitlines()]


def look(url, text="abc", **more):
    return storing.look({"url": str(url), "id": text, **more})


def test_the_same_folder_is_known_by_its_marker(store):
    """A host that mounts the store reads and writes it; looking leaves nothing behind."""
    before = sorted(path.name for path in store.iterdir())
    assert look(store) == {"reads": True, "writes": True, "why": "", "python": sys.executable}
    assert sorted(path.name for path in store.iterdir()) == before


def test_another_folder_of_that_name_is_not_the_store(store):
    """A folder that only has the same path would be written in vain, so its marker must be the client's."""
    found = look(store, "another")
    assert (found["reads"], found["writes"]) == (False, False)
    assert "is another store on this host" in found["why"]


def test_no_such_folder(tmp_path):
    """What is not mounted is told by its path."""
    found = look(tmp_path / "nowhere")
    assert not found["reads"]
    assert f"there is no {tmp_path}/nowhere/.drawbar on this host" in found["why"]


def as_stranger(folder, text):
    """What Python code says that runs in `folder` as a user who owns nothing there."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.chdir(folder)  # pytest's folders above are closed to others
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        os.write(writer, json.dumps(eval(text)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        told = json.load(file)
    os.waitpid(pid, 0)
    return told


def test_a_store_that_may_only_be_read(store):
    """Inputs are read there, and the value goes another way: the host's user has no right to write."""
    os.chmod(store, 0o555)
    found = as_stranger(store, "storing.look({'url': '.', 'id': 'abc'})")
    os.chmod(store, 0o755)
    assert (found["reads"], found["writes"]) == (True, False)
    assert found["why"] == ". cannot be written: Permission denied"


def test_a_marker_that_may_not_be_read(store):
    """A store that is closed to the host's user is none for it."""
    os.chmod(store / storing.MARKER, 0)
    found = as_stranger(store, "storing.look({'url': '.', 'id': 'abc'})")
    assert not found["reads"]
    assert found["why"] == "./.drawbar cannot be read: Permission denied"


def test_a_value_is_brought_once(store, root):
    """It becomes a blob like any other, and is not read again once it is here."""
    path = storing.bring(str(root), DIGEST, value_url(store), sys.executable)
    assert path == Blobs(str(root)).path(DIGEST)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o400
    os.unlink(value_url(store))
    assert storing.bring(str(root), DIGEST, value_url(store), sys.executable) == path
    with open(path, "rb") as file:
        assert file.read() == DATA
    assert os.listdir(root / "partial") == []


def test_jobs_that_need_the_same_value_read_it_once(store, root, monkeypatch):
    """Of many at once one reads, and the others take what it brought."""
    copied = []
    real = storing._copied

    def slowly(path, staging):
        copied.append(path)
        return real(path, staging)

    monkeypatch.setattr(storing, "_copied", slowly)
    lock = root / "partial" / f"read-{DIGEST}.lock"
    lock.parent.mkdir()
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        bring = (str(root), DIGEST, value_url(store), sys.executable)
        threads = [threading.Thread(target=storing.bring, args=bring) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        assert copied == []
    for thread in threads:
        thread.join(60)
    assert copied == [value_url(store)]


@pytest.mark.parametrize("spoil", [b"", b"short", DATA[:-1] + b"x"])
def test_what_is_not_the_value_is_not_used(store, root, spoil):
    """A damaged value in the store is refused with both digests, and becomes no blob."""
    with open(value_url(store), "wb") as file:
        file.write(spoil)
    with pytest.raises(storing.StoreAccessError, match=f"{len(spoil)} bytes with sha256 .*, expected {DIGEST}"):
        storing.bring(str(root), DIGEST, value_url(store), sys.executable)
    assert not Blobs(str(root)).has(DIGEST)
    assert os.listdir(root / "partial") == []


def test_a_value_that_is_gone_is_named(store, root):
    """The error says where it was looked for, and how else it comes."""
    os.unlink(value_url(store))
    task = task_of(root, store)
    named = {"blob": DIGEST, "url": value_url(store)}
    with pytest.raises(storing.StoreAccessError, match=r"No such file or directory; with `store_access = \"relay\"`"):
        storing.argument(task, named)


def test_a_value_is_put_where_the_layout_says(store, root):
    """Whole, under its digest, with nothing left beside; a store of one group stays that group's."""
    os.chmod(store, 0o2775)
    value = kept(root, b"made")
    told = storing.keep(task_of(root, store), value)
    assert set(told) == {"stored"}
    place = store / "g" / "made" / "values" / f"{value['digest']}.bin"
    assert place.read_bytes() == b"made"
    assert not (store / ".tmp").exists()
    os.chmod(store / "g", 0o2775)
    storing.keep(task_of(root, store, folder="g/other"), value)
    assert stat.S_IMODE((store / "g" / "other" / "values").stat().st_mode) == 0o2775


def test_a_value_that_is_there_is_written_over(store, root):
    """What a person damaged is whole again once the value is made again."""
    value = kept(root)
    place = store / "g" / "made" / "values" / f"{DIGEST}.bin"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"damaged")
    storing.keep(task_of(root, store), value)
    assert place.read_bytes() == DATA


def test_what_cannot_be_put_stays_here(store, root):
    """The job has succeeded all the same: the client is told why, takes the value itself, and the log says so."""
    (store / "g" / "made").write_text("in the way")
    told = storing.keep(task_of(root, store), kept(root))
    assert told["unstored"].startswith(f"{store}/g/made/values/{DIGEST}.bin cannot be written: ")
    assert [(one["event"], one["attempt"]) for one in events(root)] == [("relayed", 1)]
    assert not (store / ".tmp").exists()


def test_why_a_host_does_not_reach_the_store_is_in_the_log(store, root):
    """A person who wonders why values travel finds the reason, without secrets, in the job's folder."""
    told = storing.keep(task_of(root, store, why="no hunter2 here"), kept(root))
    assert told == {"unstored": "no *** here"}
    assert events(root)[0]["why"] == "no *** here"


def test_a_job_whose_value_is_nobodys_puts_nothing(store, root):
    """A part of a fan-out, or a transient value, goes to no store."""
    before = sorted(store.rglob("*"))
    assert storing.keep(task_of(root, store, folder=""), kept(root)) == {}
    assert sorted(store.rglob("*")) == before


def test_what_fsspec_lacks_is_said(tmp_path):
    """A protocol that is not installed for the host's Python is no store; the reason names the interpreter."""
    found = look("nosuch://bucket/store")
    assert not found["reads"]
    assert "cannot be read: ValueError: Protocol not known: nosuch" in found["why"]


def test_fsspec_moves_values_both_ways(store, root):
    """Other places than folders go through a process of the agent's Python: the marker, a value there, a value back."""
    url = f"file://{store}"
    assert look(url)["reads"]
    path = storing.bring(str(root), DIGEST, f"file://{value_url(store)}", sys.executable)
    with open(path, "rb") as file:
        assert file.read() == DATA
    assert set(storing.keep(task_of(root, url), kept(root))) == {"stored"}
    assert [one.name for one in (store / "g" / "made" / "values").iterdir()] == [f"{DIGEST}.bin"]


def test_a_python_that_is_gone_is_said(root):
    """The interpreter that could reach the store was removed since: an error, and not a hang."""
    with pytest.raises(storing.StoreAccessError, match="/nowhere/python cannot be started: No such file"):
        storing.bring(str(root), DIGEST, "s3://bucket/x", "/nowhere/python")


def test_a_process_that_dies_is_said(root, tmp_path):
    """What it printed last is in the error."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho dying >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(storing.StoreAccessError, match="ended with status 3: dying"):
        storing.bring(str(root), DIGEST, "s3://bucket/x", str(python))


def test_it_needs_the_standard_library_only():
    """The agent runs on hosts that have nothing installed: fsspec is loaded where it is used."""
    text = (
        f"import sys; sys.path.insert(0, {str(os.path.dirname(os.path.dirname(storing.__file__)))!r});"
        "from agent import storing; print(sorted(set(sys.modules) & {'fsspec', 'drawbar', 's3fs', 'subprocess'}))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
