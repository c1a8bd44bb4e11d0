"""The outbox on disk: what survives, who owns what."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drawbar_adapters.openlineage import outbox
from drawbar_adapters.openlineage.outbox import Progress, Totals, Writer, outbox_of, segments, taken_up, whole_lines


@pytest.fixture
def folder(tmp_path) -> Path:
    """An empty outbox."""
    return outbox_of(tmp_path / "outbox", tmp_path)


def all_lines(segment: Path) -> list[bytes]:
    """Every whole line of a segment."""
    found, offset = [], 0
    while True:
        lines, after = whole_lines(segment, offset)
        if after == offset:
            return found
        found, offset = found + lines, after


def in_another_process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    begin = "import os, sys, signal, pathlib; from drawbar_adapters.openlineage.outbox import *\n"
    return subprocess.run(
        [sys.executable, "-c", begin + code, *arguments], check=False, capture_output=True, text=True, timeout=60
    )


def test_an_outbox_says_whose_it_is_and_is_private(folder, tmp_path):
    """A person who looks could not tell the projects apart, and others could read what is in their lineage."""
    assert (folder / "project").read_text() == f"{tmp_path}\n"
    assert folder.stat().st_mode & 0o077 == 0
    assert outbox_of(tmp_path / "outbox", tmp_path) == folder


def test_lines_survive_sigkill_right_after_they_were_appended(folder):
    """An event would be lost with the process that told it."""
    code = "w = Writer(pathlib.Path(sys.argv[1])); w.append(['one', 'two']); os.kill(os.getpid(), signal.SIGKILL)"
    assert in_another_process(code, str(folder)).returncode == -signal.SIGKILL
    (segment,) = segments(folder)
    assert all_lines(segment) == [b"one", b"two"]
    with taken_up(segment) as mine:
        assert mine


def test_a_torn_last_line_is_passed_over(folder):
    """A process killed in the middle of a write would leave an event that nobody can read, in everybody's way."""
    writer = Writer(folder)
    writer.append(["one"])
    writer.close()
    (segment,) = segments(folder)
    with segment.open("ab") as file:
        file.write(b'{"half')
    assert all_lines(segment) == [b"one"]
    assert Progress(segment).waiting("a") == 1


def test_a_line_longer_than_a_read_comes_whole(folder):
    """An event with a wide table's schema would never be sent."""
    writer = Writer(folder)
    long = "x" * 1_000_000
    writer.append(["short", long, "short"])
    writer.close()
    assert all_lines(segments(folder)[0]) == [b"short", long.encode(), b"short"]


def test_a_living_writers_segment_is_not_taken_up(folder):
    """Two processes would send the same events."""
    writer = Writer(folder)
    writer.append(["one"])
    code = "\nfor s in segments(pathlib.Path(sys.argv[1])):\n    with taken_up(s) as mine: print(mine)"
    assert in_another_process(code, str(folder)).stdout == "False\n"
    writer.close()
    assert in_another_process(code, str(folder)).stdout == "True\n"


def test_a_segment_that_is_gone_is_not_taken_up(folder):
    """A flush would fail because another one was quicker."""
    with taken_up(folder / "1-1.ndjson") as mine:
        assert not mine


def test_a_forked_child_does_not_keep_its_dead_parents_segment(folder):
    """A worker that outlives the run would lock its events away until it ends."""
    code = (
        "w = Writer(pathlib.Path(sys.argv[1])); w.append(['parent'])\n"
        "r, o = os.pipe()\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    w.append(['child']); os.write(o, b'x'); os.close(1); os.close(2)\n"
        "    signal.alarm(30); signal.pause()\n"
        "os.read(r, 1); print(pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = int(in_another_process(code, str(folder)).stdout)
    try:
        first, second = segments(folder)
        assert (all_lines(first), all_lines(second)) == ([b"parent"], [b"child"])
        with taken_up(first) as mine:
            assert mine
        with taken_up(second) as mine:
            assert not mine
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_full_disk_tears_no_line(folder):
    """The event after a full disk would be glued to half of the one before."""
    code = (
        "import resource; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "w = Writer(pathlib.Path(sys.argv[1])); w.append(['a' * 600])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1 << 30))\n"
        "try: w.append(['b' * 600])\n"
        "except OSError as error: print('told', error.errno)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30)); w.append(['c'])"
    )
    said = in_another_process(code, str(folder))
    assert said.stdout.startswith("told"), said.stderr
    assert all_lines(segments(folder)[0]) == [b"a" * 600, b"c"]


def test_a_long_run_begins_further_segments(folder, monkeypatch):
    """The outbox of a process that lives for weeks could never be emptied."""
    monkeypatch.setattr(outbox, "SEGMENT_BYTES", 10)
    writer = Writer(folder)
    for text in ("a" * 20, "b" * 20, "c"):
        writer.append([text])
    first, second, third = segments(folder)
    assert [all_lines(segment) for segment in (first, second, third)] == [[b"a" * 20], [b"b" * 20], [b"c"]]
    writer.release(first)
    for segment, free in ((first, True), (second, False), (third, False)):
        with taken_up(segment) as mine:
            assert mine is free
    writer.close()
    with taken_up(second) as mine:
        assert mine


def test_progress_is_kept_for_each_destination(folder):
    """What one backend took would be held back from another, or sent again."""
    writer = Writer(folder)
    writer.append(["one", "two"])
    (segment,) = segments(folder)
    Progress(segment).advance("a", 4)
    again = Progress(segment)
    assert (again.of("a"), again.of("b")) == (4, 0)
    assert (again.waiting("a"), again.waiting("b")) == (1, 2)
    again.remove()
    assert segments(folder) == []
    writer.close()


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"'])
def test_a_damaged_sidecar_means_sending_again(folder, content):
    """A crash in the wrong moment would stop lineage for good."""
    writer = Writer(folder)
    writer.append(["one"])
    (segment,) = segments(folder)
    segment.with_suffix(".sent").write_text(content)
    assert Progress(segment).of("a") == 0
    writer.close()


def test_totals_add_up_over_processes(folder):
    """`drawbar lineage status` would forget what other runs sent."""
    Totals(folder).add("a", sent=2, error="down")
    code = "Totals(pathlib.Path(sys.argv[1])).add('a', sent=3, refused=1)"
    assert in_another_process(code, str(folder)).returncode == 0
    found = Totals(folder).read()["a"]
    assert (found["sent"], found["refused"], found["error"]) == (5, 1, "")
