"""The live table: on a real terminal, what a person sees, and that the terminal is theirs again afterwards."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

import pytest

from drawbar.cli.board import Row
from drawbar.cli.progress import chosen

LIVELY = """
import os, subprocess, sys, time

def first() -> int:
    print("said [bold]aloud[/bold] 日本語")
    os.write(1, b"past Python\\n")
    subprocess.run(["echo", "by a child"])
    print("\\x1b[2J\\x1b[31mred\\x1b[0m")
    for done in range(0, 101, 25):
        sys.stderr.write(f"\\r{done}% of it"); sys.stderr.flush(); time.sleep(0.15)
    return 1

def second(first: int) -> int:
    time.sleep(0.3)
    return 2
"""


def on_terminal(words, *, columns=90, rows=20):
    """What drawbar writes to a terminal of that size, and its exit status."""
    pid, end = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, "-c", "from drawbar.cli import main; main()", *words])
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    written, until = b"", time.monotonic() + 60
    while time.monotonic() < until:
        if not select.select([end], [], [], 1.0)[0]:
            continue
        try:
            piece = os.read(end, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        written += piece
    os.close(end)
    return written.decode().replace("\r\n", "\n"), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def lively(folder):
    """A module whose functions write in every way there is."""
    (folder / "lively.py").write_text(LIVELY)
    return ("run", "lively.py", "--no-lineage")


def plain(text):
    """A terminal's text without its escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal_shows_a_table_with_the_users_lines_above(lively):
    """Lines stand behind their asset's name and literally, a progress bar stands in the table, the end is a table."""
    written, status = on_terminal(lively)
    text = plain(written)
    assert status == 0
    for line in ("first │ said [bold]aloud[/bold] 日本語\n", "past Python\n", "by a child\n", "first │ red\n"):
        assert line in text
    assert re.search(r"first +here +running +[\d.]+ +50% of it", text)
    assert re.search(r"second +to come", text)
    assert re.search(r"1 running · 1 to come +[\d.]+ s", text)
    assert re.search(r"succeeded: 2 made, in [\d.]+ s\n$", text)


def test_the_cursor_is_hidden_only_while_the_table_is_there(lively):
    """After the run the cursor is visible again, and a job cannot clear the screen."""
    written, _ = on_terminal(lively)
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1
    assert written.index("\x1b[?25l") < written.rindex("\x1b[?25h")
    assert "\x1b[2J" not in written
    assert "\x1b[31mred" in written


def test_no_color_is_respected(lively, monkeypatch):
    """With NO_COLOR no sequence that colours is written, neither ours nor the job's."""
    monkeypatch.setenv("NO_COLOR", "1")
    written, status = on_terminal(lively)
    assert status == 0
    assert not [one for one in re.findall(r"\x1b\[([0-9;]*)m", written) if re.search(r"(^|;)[349]\d", one)]


def test_a_table_taller_than_the_terminal_shows_what_matters():
    """Of a thousand assets those under way and those that failed are shown first, in dependency order."""
    rows = [Row(f"a{place}", state="reused") for place in range(1000)]
    rows[500].state, rows[100].state, rows[900].state = "running", "failed", "made"
    assert [row.name for row in chosen(rows, 3)] == ["a100", "a500", "a900"]
    assert len(chosen(rows, 10)) == 10
    assert chosen(rows[:5], 10) == rows[:5]
