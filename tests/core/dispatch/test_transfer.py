"""Bytes to a real agent and back: resumed, shared, checked, and refused where there is no room."""

import hashlib
import itertools
import stat
import sys
import threading
from pathlib import Path

import pytest

from drawbar import errors
from drawbar.agent import frames
from drawbar.config import TargetConfig
from drawbar.dispatch.local import local_dispatcher
from drawbar.dispatch.transfer import Blob, Uploads, _chunks, blob_of, download

SIZE = 5 * frames.CHUNK + 12345


@pytest.fixture
def link(tmp_path):
    """A link to a worker with a folder of its own."""
    made = local_dispatcher("worker", TargetConfig(root=str(tmp_path / "root"))).link
    yield made
    made.close()


def data_of(size=SIZE):
    """Bytes that differ everywhere."""
    return b"".join(
        hashlib.sha256(bytes([i % 256, i // 256 % 256, i // 65536])).digest() for i in range(-(-size // 32))
    )[:size]


def test_there_and_back(link):
    """Parts of any sizes arrive as one blob, and come back as they were, into one buffer."""
    data = data_of()
    cuts = [0, 1, 1, 700_000, 3 * frames.CHUNK, SIZE]
    blob = blob_of([memoryview(data)[a:b] for a, b in itertools.pairwise(cuts)])
    assert blob.digest == hashlib.sha256(data).hexdigest()
    assert link.uploads().ensure([blob]) == SIZE
    assert download(link.agent(), blob.digest, SIZE) == data


def test_empty_blob(link):
    """No bytes at all are a blob, too."""
    blob = blob_of([])
    link.uploads().ensure([blob])
    assert download(link.agent(), blob.digest, 0) == b""


def test_chunks_are_cut_evenly():
    """Chunks are of one size whatever the parts, and begin where they are asked to."""
    parts = [b"abc", b"", b"defgh", b"i"]
    assert [b"".join(one) for one in _chunks(parts, 0, 4)] == [b"abcd", b"efgh", b"i"]
    assert [b"".join(one) for one in _chunks(parts, 5, 4)] == [b"fghi"]
    assert list(_chunks(parts, 9, 4)) == []


def test_upload_is_resumed(link):
    """What an earlier connection left of a blob is not sent again."""
    data = data_of()
    blob = blob_of([data])
    first = {"digest": blob.digest, "offset": 0, "size": SIZE}
    link.agent().ask(frames.PUT, first, data[: 2 * frames.CHUNK], timeout=10)
    link.close()
    assert link.uploads().ensure([blob]) == SIZE - 2 * frames.CHUNK
    assert download(link.agent(), blob.digest, SIZE) == data


def test_threads_send_a_blob_once(link):
    """Threads that need the same blob at once send it once between them."""
    reads = []
    data = data_of()
    blob = Blob(hashlib.sha256(data).hexdigest(), SIZE, lambda: reads.append(1) or [data])
    threads = [threading.Thread(target=link.uploads().ensure, args=([blob],)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert reads == [1]
    assert link.uploads().ensure([blob]) == 0


def test_two_clients_send_a_blob_at_once(link, tmp_path):
    """Another process that is sending the same blob does not disturb."""
    data = data_of()
    blob = blob_of([data])
    link.agent().ask(frames.PUT, {"digest": blob.digest, "offset": 0, "size": SIZE}, data[: frames.CHUNK], timeout=10)
    from drawbar.dispatch.agents import AgentDispatcher
    from drawbar.dispatch.link import Link

    other = Link("other", link._open_channel)
    try:
        assert AgentDispatcher("other", other, TargetConfig()).link.uploads().ensure([blob]) == SIZE
    finally:
        other.close()
    assert Uploads(link.agent()).ensure([blob]) == 0


def test_read_gives_other_bytes(link):
    """A stored value that is not what its digest says never becomes a blob; the host keeps nothing of it."""
    with pytest.raises(errors.CorruptError) as caught:
        link.uploads().ensure([Blob("a" * 64, 3, lambda: [b"abc"])])
    assert caught.value.what == "worker: The bytes of a blob are not what its digest says."
    assert link.agent().ask(frames.HAVE, {"blobs": ["a" * 64]}, timeout=10).meta == {
        "missing": ["a" * 64],
        "partial": {},
    }


def test_read_gives_too_few_bytes(link):
    """A stored value that is shorter than its record says is an error that says so."""
    with pytest.raises(errors.CorruptError) as caught:
        link.uploads().ensure([Blob("b" * 64, 30, lambda: [b"abc"])])
    assert caught.value.what == "A value is not as long as its record says."
    assert (caught.value.expected, caught.value.found) == (f"30 bytes of {'b' * 64}", "3 bytes")


def test_missing_blob(link):
    """A blob that the host does not have is an error that names it."""
    with pytest.raises(errors.LostError, match="No such blob on the host"):
        download(link.agent(), "c" * 64, 10)


def test_disk_full(tmp_path):
    """A host without room refuses the blob with what to do, keeps nothing of it, and goes on serving."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nulimit -f 4096\nexec {sys.executable} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    root = tmp_path / "root"
    worker = local_dispatcher("worker", TargetConfig(root=str(root), python=str(python)))
    blob = blob_of([data_of()])
    try:
        with pytest.raises(errors.DiskFullError) as caught:
            worker.link.uploads().ensure([blob])
        assert caught.value.what == "worker: There is no space left on the host."
        assert caught.value.todo
        small = blob_of([b"small"])
        worker.link.uploads().ensure([small])
        assert download(worker.link.agent(), small.digest, 5) == b"small"
    finally:
        worker.close()
    assert not list(Path(root).rglob(f"*{blob.digest}*"))
