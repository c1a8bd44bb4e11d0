"""The item cache: what was put is found, damage is told once and costs only what is damaged, and files stay few."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from drawbar import packs as module
from drawbar.agent.encoding.items import Item
from drawbar.files import open_files
from drawbar.packs import MANY, Packs


def version(n):
    return hashlib.sha256(b"%d" % n).hexdigest()


def item(n, ext=".json"):
    return Item("json", "int", ext, b"%d" % n)


@pytest.fixture(params=["local", "memory"])
def files(request, tmp_path):
    """A folder, and a place that is only reached through fsspec."""
    return open_files(str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path.name}-packs")


@pytest.fixture
def opened(files):
    """A maker of Packs on one folder, each as another process would open it; `told` are its sentences."""
    made = []

    def make(told=None):
        made.append(Packs(files, "site/lengths", tell=(told if told is not None else []).append))
        return made[-1]

    yield make
    for one in made:
        one.close()


def put(packs, numbers, value=item):
    with packs.writer() as writer:
        for n in numbers:
            writer.add(version(n), value(n))


def names(files, ending):
    return [name for name in files.list("site/lengths/items") if name.endswith(ending)]


def test_what_was_put_is_found_by_another_process(opened, files):
    """A later run reads exactly what an earlier one kept, with its format, type and extension, and nothing else."""
    put(opened(), range(500))
    put(opened(), [1000], lambda n: item(n, ".x"))
    packs = opened()
    assert [bytes(packs.read(version(n)).data) for n in range(500)] == [b"%d" % n for n in range(500)]
    assert packs.read(version(1000)) == Item("json", "int", ".x", b"1000")
    assert packs.read(version(501)) is None
    assert len(names(files, ".pack")) == 2


def test_a_process_finds_what_it_put_itself(opened):
    """The second of two equal items in one list is not made again."""
    packs = opened()
    assert packs.read(version(1)) is None
    put(packs, [1])
    assert packs.read(version(1)).data == b"1"


def test_the_later_value_counts(opened, monkeypatch):
    """What was made again on purpose replaces what was there, also after packs were merged."""
    put(opened(), range(3))
    put(opened(), [1], lambda _: item(111))
    assert opened().read(version(1)).data == b"111"
    monkeypatch.setattr(module, "MANY", 1)
    packs = opened()
    packs.compact()
    assert [bytes(packs.read(version(n)).data) for n in range(3)] == [b"0", b"111", b"2"]


def test_many_small_packs_become_few(opened, files):
    """A run of hours, or hundreds of runs, leave no thousands of files, and lose nothing by the merging."""
    for n in range(MANY + 5):
        put(opened(), [n])
    assert len(names(files, ".pack")) == len(names(files, ".index")) < MANY
    packs = opened()
    assert [bytes(packs.read(version(n)).data) for n in range(MANY + 5)] == [b"%d" % n for n in range(MANY + 5)]


def test_a_reader_follows_packs_that_were_merged(opened):
    """A run goes on where another merges the packs that it is reading."""
    for n in range(MANY):
        put(opened(), [n])
    reader = opened()
    assert reader.read(version(0)).data == b"0"
    put(opened(), [MANY])  # one more than is left alone
    assert [bytes(reader.read(version(n)).data) for n in range(MANY)] == [b"%d" % n for n in range(MANY)]


def test_packs_are_written_when_they_are_due(opened, files, monkeypatch):
    """A killed process loses seconds of work: by count, by size and by age, what is done is written."""
    packs = opened()
    monkeypatch.setattr(module, "MOST", 3)
    with packs.writer() as writer:
        for n in range(3):
            writer.add(version(n), item(n))
        assert len(names(files, ".index")) == 1
        writer.add(version(3), item(3))
        writer.flush_due()
        assert len(names(files, ".index")) == 1
        monkeypatch.setattr(module, "OLDEST", -1.0)
        writer.flush_due()
        assert len(names(files, ".index")) == 2
        monkeypatch.setattr(module, "FULL", 2)
        writer.add(version(14), item(14))
        assert len(names(files, ".index")) == 3


def test_an_error_in_the_block_loses_nothing(opened):
    """What was finished before Ctrl-C is kept."""
    packs = opened()
    with pytest.raises(KeyboardInterrupt), packs.writer() as writer:
        writer.add(version(1), item(1))
        raise KeyboardInterrupt
    assert opened().read(version(1)).data == b"1"


@pytest.mark.parametrize("ending", [".pack", ".index"])
@pytest.mark.parametrize("how", ["cut", "flipped", "emptied"])
def test_a_damaged_pack_is_ignored_and_told_once(opened, files, ending, how):
    """Its items are made again, the others are read, and the user learns of it in one sentence."""
    put(opened(), [1])
    before = set(names(files, ending))
    put(opened(), range(10, 20))
    (name,) = set(names(files, ending)) - before
    data = bytearray(files.read(f"site/lengths/items/{name}"))
    if how == "flipped":
        data[:] = bytes(255 - byte for byte in data)
    files.write(
        f"site/lengths/items/{name}", [data[: len(data) // 2] if how == "cut" else b"" if how == "emptied" else data]
    )
    told = []
    packs = opened(told)
    found = [packs.read(version(n)) for n in range(10, 20)]
    assert None in found
    assert packs.read(version(1)).data == b"1"
    assert len(told) == 1
    assert name.partition(".")[0] in told[0]
    put(packs, range(10, 20))
    assert all(opened().read(version(n)).data == b"%d" % n for n in range(10, 20))


def test_a_pack_without_an_index_is_removed_after_a_day(opened, files):
    """What a killed process left half does not stay for ever; what another is writing now is left alone."""
    put(opened(), [1])
    files.write("site/lengths/items/0000000000000001-dead.pack", [b"x"])
    files.write("site/lengths/items/7fffffffffffffff-new.pack", [b"x"])
    opened().compact()
    assert "0000000000000001-dead.pack" not in names(files, ".pack")
    assert "7fffffffffffffff-new.pack" in names(files, ".pack")


def test_writers_at_the_same_time_do_not_meet(opened, monkeypatch):
    """Two runs of one asset keep all that both of them made, also while both merge."""
    monkeypatch.setattr(module, "MANY", 3)
    threads = [
        threading.Thread(target=lambda begin=begin: [put(opened(), [n]) for n in range(begin, begin + 12)])
        for begin in (0, 100, 200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    packs = opened()
    for begin in (0, 100, 200):
        assert [bytes(packs.read(version(n)).data) for n in range(begin, begin + 12)] == [
            b"%d" % n for n in range(begin, begin + 12)
        ]


def test_a_hundred_thousand_items_take_little_memory(tmp_path):
    """The index of a large cache is looked up in a few dozen bytes an item."""
    files = open_files(str(tmp_path))
    packs = Packs(files, "a")
    put(packs, range(100_000))
    packs.close()
    again = Packs(files, "a")
    before = _resident()
    assert again.read(version(77_777)).data == b"77777"
    assert _resident() - before < 40 << 20
    again.close()


def _resident():
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("this system does not tell how much memory a process has")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
