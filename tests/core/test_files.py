"""Files on any place: whole when visible, created by one only, and every refusal in words."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
import uuid

import pytest

from drawbar.errors import DiskFullError, StoreDeniedError, StoreError, StoreUnreachableError
from drawbar.files import LocalFiles, open_files, redacted


@pytest.fixture(params=["local", "memory", "dir"])
def files(request, tmp_path):
    """The same promises on a local folder, in fsspec's memory, and through fsspec's folder (which moves into place)."""
    urls = {"local": str(tmp_path / "s"), "memory": f"memory://{uuid.uuid4().hex}", "dir": f"dir::file://{tmp_path}/d"}
    return open_files(urls[request.param])


def test_what_was_written_is_read(files):
    """A file has its content, its size and its place in the listing; what is not there is None."""
    files.write("a/b/c.bin", [b"one", memoryview(b"two"), bytearray(b"")])
    assert files.read("a/b/c.bin") == b"onetwo"
    assert (files.size("a/b/c.bin"), files.list("a/b"), files.list("a/none")) == (6, ["c.bin"], [])
    assert (files.read("a/none"), files.size("a/none")) == (None, None)
    assert files.read_many(["a/none", "a/b/c.bin"]) == [None, bytearray(b"onetwo")]
    files.write("a/b/c.bin", [b"new"])
    assert files.read("a/b/c.bin") == b"new"
    files.remove("a/b/c.bin")
    files.remove("a/b/c.bin")
    assert files.list("a/b") == []


def test_create_succeeds_once(files):
    """Of two that create one file, the second learns that it is there, and changes nothing."""
    assert files.create("x/one", [b"first"])
    assert not files.create("x/one", [b"second"])
    assert not files.claim("x/one", b"third")
    assert files.read("x/one") == b"first"


def test_a_link_follows_its_target(files):
    """`replace_with_link` makes the same content readable under another name, again and again."""
    for content in (b"1", b"2"):
        files.write("x/record", [content])
        files.replace_with_link("x/latest", "x/record")
        assert files.read("x/latest") == content


def _create_all(root, barrier, wins):
    files = LocalFiles(root)
    barrier.wait()
    wins.put(sum(files.create(f"n/{i}", [str(os.getpid()).encode() * 1000]) for i in range(50)))


def test_of_many_processes_one_creates(tmp_path):
    """Eight processes that create the same fifty files create fifty in all, each whole."""
    context = multiprocessing.get_context("spawn")
    barrier, wins = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_create_all, args=(str(tmp_path), barrier, wins)) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert sum(wins.get(timeout=60) for _ in workers) == 50
    for worker in workers:
        worker.join()
    files = LocalFiles(str(tmp_path))
    assert all(len(set(bytes(files.read(f"n/{i}")).split(b"x"))) == 1 for i in range(50))
    assert files.list(".tmp") == []


def test_a_reader_never_sees_a_part(tmp_path):
    """While a file is replaced over and over, whoever reads it reads one whole version."""
    files = LocalFiles(str(tmp_path))
    files.write("v", [b"a" * 100_000])
    stop = threading.Event()

    def replace():
        while not stop.is_set():
            for letter in (b"b", b"c"):
                files.write("v", [letter * 100_000])

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        seen = [files.read("v") for _ in range(300)]
    finally:
        stop.set()
        writer.join()
    assert all(len(content) == 100_000 and len(set(content)) == 1 for content in seen)


def _write_limited(root, told):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        LocalFiles(root).write("big", [b"x" * 50_000])
    except DiskFullError as error:
        told.put((error.what, error.todo))


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    """No half of a file is left where the space ends (a limit on file sizes stands in for the disk)."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    worker = context.Process(target=_write_limited, args=(str(tmp_path), told))
    worker.start()
    what, todo = told.get(timeout=60)
    worker.join()
    assert what == f"There is no space to write {tmp_path}/big."
    assert todo == "free space, or set `store` (DRAWBAR_STORE) to a larger place; nothing was half-written"
    assert [one for _, _, names in os.walk(tmp_path) for one in names] == []


def test_no_permission_is_said(tmp_path):
    """A place that may not be written is named, with what to do; root may write anywhere but in /proc."""
    with pytest.raises(StoreError) as refused:
        LocalFiles("/proc/drawbar").write("a", [b"x"])
    assert refused.value.what.startswith("Cannot write /proc/drawbar")
    if os.getuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(StoreDeniedError, match="Not allowed to write"):
            LocalFiles(str(tmp_path)).write("a/b", [b"x"])


def test_a_file_in_the_way_is_said(tmp_path):
    """A store whose path is a file is an error, not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Cannot write"):
        LocalFiles(str(tmp_path / "file")).write("a", [b"x"])


def test_an_unknown_protocol_is_said():
    """The error names the URL and what to install."""
    with pytest.raises(StoreUnreachableError, match="cannot be opened") as refused:
        open_files("nosuch://place")
    assert "install what fsspec needs" in refused.value.todo


def test_credentials_are_not_shown():
    """A password in a URL is in no message."""
    assert redacted("s3://key:secret@bucket/x") == "s3://bucket/x"
    assert "hunter2" not in str(open_files("memory://user:hunter2@x").uri("a"))


def test_a_place_that_cannot_create_exclusively_says_so():
    """Where two makers cannot be kept apart, the user is told, once."""
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    class Old(MemoryFileSystem):
        protocol = ("olddrawbar",)
        store = {}  # noqa: RUF012  # as its parent has it

        def pipe_file(self, path, value, **kwargs):
            return super().pipe_file(path, value)

    fsspec.register_implementation("olddrawbar", Old, clobber=True)
    files = open_files("olddrawbar://x")
    with pytest.warns(UserWarning, match="cannot create a file only if there is none"):
        assert files.create("a", [b"1"])
    assert not files.create("a", [b"2"])
    assert files.read("a") == b"1"


@pytest.mark.parametrize("url", ["", "file://", "::", ":"])
def test_a_url_without_a_place_is_said(url):
    """An empty variable in a URL would put the store wherever the program happens to stand."""
    with pytest.raises(StoreUnreachableError, match="names no place"):
        open_files(url)


def test_a_host_that_does_not_answer_is_said():
    """What a file system's own library raises when it connects does not come out."""
    with pytest.raises(StoreUnreachableError, match="Cannot open sftp://127") as refused:
        open_files("sftp://127.0.0.1:1/store")
    assert "check the URL, the network" in refused.value.todo
