"""Blobs: whole or absent, whatever happens on the way."""

import hashlib
import os
import resource

import pytest
from agent_peer import RefusedError

from drawbar.agent import frames
from drawbar.agent.blobs import BlobError, Blobs

DATA = os.urandom(3_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()


def put(blobs, start, end, data=DATA, digest=DIGEST):
    """Send a piece of a blob."""
    return blobs.put(digest, start, len(data), memoryview(data)[start:end])


def test_a_blob_is_visible_only_when_whole(tmp_path):
    """A reader could get a part of a value."""
    blobs = Blobs(str(tmp_path))
    assert put(blobs, 0, 1000) == 1000
    assert not blobs.has(DIGEST)
    assert not os.path.exists(blobs.path(DIGEST))
    assert put(blobs, 1000, len(DATA)) == len(DATA)
    assert blobs.has(DIGEST)
    assert blobs.read(DIGEST, 5, 10) == (len(DATA), DATA[5:15])
    assert os.stat(blobs.path(DIGEST)).st_mode & 0o777 == 0o400
    assert blobs.missing([DIGEST]) == ([], {})


def test_an_upload_goes_on_where_it_broke(tmp_path):
    """A broken connection would send everything again, or end in a wrong digest."""
    first = Blobs(str(tmp_path))
    put(first, 0, 2_000_001)
    first.close()
    again = Blobs(str(tmp_path))
    assert again.missing([DIGEST]) == ([DIGEST], {DIGEST: 2_000_001})
    put(again, 2_000_001, len(DATA))
    assert again.has(DIGEST)


def test_wrong_bytes_leave_nothing(tmp_path):
    """A damaged upload would be found again, and gone on with."""
    blobs = Blobs(str(tmp_path))
    wrong = b"x" + DATA[1:]
    with pytest.raises(BlobError, match="not what its digest says") as caught:
        put(blobs, 0, len(wrong), wrong)
    assert caught.value.code == "digest"
    assert caught.value.found == hashlib.sha256(wrong).hexdigest()
    assert os.listdir(tmp_path / "partial") == []


def test_pieces_out_of_order_are_refused(tmp_path):
    """A lost piece would go unnoticed until the end."""
    blobs = Blobs(str(tmp_path))
    with pytest.raises(BlobError, match="out of order") as caught:
        put(blobs, 10, 20)
    assert (caught.value.expected, caught.value.found) == ("offset 0", "10")
    assert os.listdir(tmp_path / "partial") == []
    put(blobs, 0, 10)
    with pytest.raises(BlobError, match="out of order"):
        put(blobs, 5, 20)
    with pytest.raises(BlobError, match="out of order"):
        blobs.put(DIGEST, 10, 12, memoryview(DATA[10:20]))


def test_two_uploads_at_once_do_not_mix(tmp_path):
    """Two clients that send the same value would spoil each other's."""
    one, two = Blobs(str(tmp_path)), Blobs(str(tmp_path))
    put(one, 0, 1000)
    put(two, 0, 500)
    put(two, 500, len(DATA))
    assert two.has(DIGEST)
    assert put(one, 1000, 2000) == len(DATA)
    two.close()
    one.close()
    assert os.listdir(tmp_path / "partial") == []


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, 7])
def test_only_digests_name_blobs(tmp_path, digest):
    """A client could reach other files than blobs."""
    with pytest.raises(BlobError, match="not a digest"):
        Blobs(str(tmp_path)).path(digest)


def test_a_power_cut_is_noticed(tmp_path):
    """A blob that lost its content in a power cut would be used."""
    blobs = Blobs(str(tmp_path))
    good, _ = blobs.store([DATA])
    bad, _ = blobs.store([b"other"])
    for digest in (good, bad):
        os.utime(blobs.path(digest), (1, 1))
    os.chmod(blobs.path(bad), 0o600)
    with open(blobs.path(bad), "wb"):
        pass
    os.utime(blobs.path(bad), (1, 1))
    assert blobs.has(good)
    assert not blobs.has(bad)
    assert os.stat(blobs.path(good)).st_mtime > 1


def test_an_empty_blob_is_a_blob(tmp_path):
    """Empty text could not be a value."""
    blobs = Blobs(str(tmp_path))
    digest = hashlib.sha256(b"").hexdigest()
    assert blobs.put(digest, 0, 0, memoryview(b"")) == 0
    assert blobs.read(digest, 0, 10) == (0, b"")


def test_a_full_disk_is_told_and_leaves_nothing(agents):
    """An upload to a full disk would end in a fault of the agent, or leave half a file for ever."""
    peer = agents()
    resource.prlimit(peer.process.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    with pytest.raises(RefusedError) as caught:
        peer.put(DATA)
    assert caught.value.meta["code"] == "disk"
    assert caught.value.meta["what"] == "There is no space left on the host."
    assert caught.value.meta["todo"] == "free some, or set `root` to a folder on a bigger disk"
    assert os.listdir(f"{peer.root}/partial") == []
    assert peer.put(b"small")


def test_blobs_go_both_ways_over_the_wire(peer):
    """What was sent would come back as something else."""
    digest = peer.put(DATA)
    assert peer.get(digest) == DATA
    with pytest.raises(RefusedError, match="No such blob"):
        peer.ask(frames.GET, {"digest": "0" * 64, "offset": 0, "length": 1})
