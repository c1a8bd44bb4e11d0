"""Lines out of a job's bytes: whole, bounded, decoded, harmless."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawbar.cli.lines import LONGEST, Lines, shown


@given(st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"])), st.data())
def test_pieces_cut_anywhere_give_the_same_lines(text, data):
    """Where a stream is cut, even inside a character, does not change its lines."""
    content, lines, found = text.encode(), Lines(), []
    while content:
        cut = data.draw(st.integers(1, len(content)))
        found += lines.feed(content[:cut])
        content = content[cut:]
    assert found == text.split("\n")[:-1]


def test_a_line_without_an_end_is_cut_not_kept():
    """What waits for the end of its line is bounded, whatever a job writes."""
    lines = Lines()
    found = lines.feed(b"x" * (10 * LONGEST + 1))
    assert [len(line) for line in found] == [LONGEST] * 10
    assert lines.rest() == ["x"]
    assert lines.rest() == []


def test_a_progress_bar_is_one_line_and_a_note():
    """What was written over is not shown again line by line."""
    lines = Lines()
    assert lines.feed(b"10%\r20%\r") == []
    assert lines.note == "20%"
    assert lines.feed(b"done\n") == ["done"]
    assert lines.note == ""


@pytest.mark.parametrize(
    ("line", "coloured", "plain"),
    [
        ("a\x1b[31mb", "a\x1b[31mb\x1b[0m", "ab"),
        ("a\x1b[2Jb\x1b[10;10Hc\x1b[?25l", "abc\x1b[0m", "abc"),
        ("\x1b]0;a title\x07text\x1bc", "text\x1b[0m", "text"),
        (
            "bell\x07 back\x08 nul\x00 c1\x9b2J tab\t日本語",
            "bell back nul c12J tab\t日本語",
            "bell back nul c12J tab\t日本語",
        ),
    ],
)
def test_a_job_cannot_command_the_terminal(line, coloured, plain):
    """Colours may pass where there are any; no other sequence does."""
    assert shown(line, colour=True) == coloured
    assert shown(line, colour=False) == plain
