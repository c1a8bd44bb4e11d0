"""Project code on a host: whole or not there, the same for all jobs, whoever is killed while it is unpacked."""

import hashlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drawbar.agent import archives, files
from drawbar.agent.blobs import Blobs

CORE = str(Path(archives.__file__).parents[2])


@pytest.fixture
def host(tmp_path):
    """A root with the blobs of three packs, and their digests."""
    blobs = Blobs(str(tmp_path))
    entries = [[(f"pack/part{n}/m{i}.py", False, b"x = %d\n" % i * 400) for i in range(20)] for n in range(3)]
    entries[0].append(("pack/__init__.py", False, b""))
    entries[0].append(("bin/run.sh", True, b"#!/bin/sh\n"))
    return blobs, [blobs.store([archives.pack(one)])[0] for one in entries]


def text_of(folder):
    """Everything in a folder: names and bytes."""
    return {str(one.relative_to(folder)): one.read_bytes() for one in Path(folder).rglob("*") if one.is_file()}


def test_unpacked_as_packed(host, tmp_path):
    """Files have their bytes and places; a script may be run, and nothing may be written, because it is shared."""
    blobs, packs = host
    folder = archives.tree(str(tmp_path), packs, blobs.path)
    assert folder == str(tmp_path / "code" / archives.name_of(packs))
    assert len(text_of(folder)) == 62
    assert Path(folder, "pack/part2/m7.py").read_bytes() == b"x = 7\n" * 400
    assert os.stat(f"{folder}/bin/run.sh").st_mode & 0o777 == 0o500
    assert os.stat(f"{folder}/pack/__init__.py").st_mode & 0o777 == 0o400
    assert os.stat(folder).st_mode & 0o777 == 0o700
    before = os.stat(f"{folder}/pack/__init__.py").st_ino
    assert archives.tree(str(tmp_path), packs, blobs.path) == folder
    assert os.stat(f"{folder}/pack/__init__.py").st_ino == before


def test_blobs_are_not_the_files(host, tmp_path):
    """Who gets past the permissions and writes into the code's folder does not spoil the blob it came from."""
    blobs, packs = host
    folder = archives.tree(str(tmp_path), packs, blobs.path)
    before = [hashlib.sha256(Path(blobs.path(one)).read_bytes()).hexdigest() for one in packs]
    os.chmod(f"{folder}/pack/__init__.py", 0o600)
    Path(folder, "pack/__init__.py").write_text("spoilt")
    assert before == packs
    assert all(blobs.has(one) for one in packs)


def test_code_from_before_a_boot_is_looked_at(host, tmp_path, monkeypatch):
    """A power cut keeps names and loses bytes: what is older than the boot is mended, or believed once it was read."""
    blobs, packs = host
    folder = archives.tree(str(tmp_path), packs, blobs.path)
    whole, inode = text_of(folder), os.stat(folder).st_ino
    os.utime(folder, (1, 1))
    assert archives.tree(str(tmp_path), packs, blobs.path) == folder
    assert os.stat(folder).st_ino == inode
    assert os.stat(folder).st_mtime >= files.boot_time()
    os.chmod(f"{folder}/pack/part1/m3.py", 0o600)
    Path(folder, "pack/part1/m3.py").write_bytes(b"")
    os.utime(folder, (1, 1))
    assert text_of(archives.tree(str(tmp_path), packs, blobs.path)) == whole


@pytest.mark.parametrize("name", ["../up.py", "/etc/up.py", "a/../../up.py", "a//b.py", "", "a/\0.py"])
def test_nothing_outside_the_folder(tmp_path, name):
    """A pack that names a place elsewhere on the host is refused, and nothing of it is written."""
    blobs = Blobs(str(tmp_path))
    packs = [blobs.store([archives.pack([("good.py", False, b""), (name, False, b"bad")])])[0]]
    with pytest.raises(ValueError, match="outside its folder"):
        archives.tree(str(tmp_path), packs, blobs.path)
    assert [one for one in os.listdir(tmp_path / "code") if one != ".lock"] == []


def test_what_is_no_pack(tmp_path):
    """Other bytes, and a pack with bytes missing, are errors that say so."""
    whole = archives.pack([("a.py", False, b"x" * 5000)])
    for data in (b"", b"PK\3\4", whole[:-3], whole[:10]):
        with pytest.raises(ValueError, match="pack"):
            archives.unpack(data)


def _take(root, packs, begin, told):
    begin.wait()
    blobs = Blobs(root)
    folder = archives.tree(root, packs, blobs.path)
    told.put((folder, len(text_of(folder))))


def test_many_at_once(host, tmp_path):
    """Jobs that start together on new code all see the whole of it."""
    _, packs = host
    context = multiprocessing.get_context("spawn")
    begin, told = context.Event(), context.Queue()
    takers = [context.Process(target=_take, args=(str(tmp_path), packs, begin, told)) for _ in range(6)]
    for one in takers:
        one.start()
    begin.set()
    found = {told.get(timeout=100) for _ in takers}
    for one in takers:
        one.join(100)
    assert found == {(str(tmp_path / "code" / archives.name_of(packs)), 62)}


ENDLESS = """
import os, sys
sys.path.insert(0, sys.argv[1])
from drawbar.agent import archives, files
from drawbar.agent.blobs import Blobs
root, packs = sys.argv[2], sys.argv[3:]
while True:
    files.remove_folder(archives.tree(root, packs, Blobs(root).path))
    print("once", flush=True)
"""


def test_killed_while_unpacking(host, tmp_path):
    """SIGKILL at any moment leaves nothing that the next job takes for code, and no litter once it was there."""
    _, packs = host
    blobs = Blobs(str(tmp_path))
    whole = text_of(archives.tree(str(tmp_path), packs, blobs.path))
    dice, halves = random.Random(3), 0
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, CORE, str(tmp_path), *packs], stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        time.sleep(dice.uniform(0, 0.03))  # the moment is what is tried
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        halves += any("." in one.lstrip(".") for one in os.listdir(tmp_path / "code"))
        folder = tmp_path / "code" / archives.name_of(packs)
        if folder.exists() and text_of(folder) != whole:
            files.remove_folder(str(folder))  # it was killed while it removed what was whole
        assert text_of(archives.tree(str(tmp_path), packs, blobs.path)) == whole
        os.utime(folder, (1, 1))
    archives.tree(str(tmp_path), packs, blobs.path)
    files.remove_folder(str(folder))
    archives.tree(str(tmp_path), packs, blobs.path)
    print(f"{halves} of 20 kills left a folder half unpacked")
    assert sorted(os.listdir(tmp_path / "code")) == sorted([".lock", archives.name_of(packs)])
