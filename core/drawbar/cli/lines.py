"""Bytes that a job writes, as whole lines: bounded, decoded, and harmless to the terminal they are shown on.

Pieces of a stream come here from events; lines go to the screen, and what stands after the last carriage return (the
state of a progress bar) to the table.
"""

from __future__ import annotations

import codecs
import re

LONGEST = 8192
# All escape sequences but colours (SGR): a job must not move our cursor, clear our screen or name our window.
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-9;:?<=>]*[ -/]*[@-ln-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[^\[\]PX^_])"
)
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")
_RESET = "\x1b[0m"


class Lines:
    r"""One stream of one job. At most `LONGEST` characters wait for the end of their line; a longer line is cut there.

    >>> lines = Lines()
    >>> lines.feed(b"a\nb"), lines.feed(b"c\n 10%\r 20%"), lines.note, lines.rest()
    (['a'], ['bc'], '20%', [' 20%'])
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""

    def feed(self, data: bytes) -> list[str]:
        """The lines that these bytes complete, without their ends."""
        *whole, pending = (self._pending + self._decoder.decode(data)).split("\n")
        if len(pending) > LONGEST:
            pending = pending.rpartition("\r")[2]
        while len(pending) > LONGEST:
            whole.append(pending[:LONGEST])
            pending = pending[LONGEST:]
        self._pending = pending
        return [_last_state(line) for line in whole]

    def rest(self) -> list[str]:
        """The line that was never ended, if there is one."""
        text, self._pending = self._pending, ""
        return [_last_state(text)] if text.strip() else []

    @property
    def note(self) -> str:
        """What a progress bar shows now; empty where there is none."""
        return _last_state(self._pending).strip() if "\r" in self._pending else ""


def _last_state(line: str) -> str:
    """What a terminal would show of a line that was written over again and again."""
    return line.rstrip("\r").rpartition("\r")[2]


def shown(line: str, *, colour: bool) -> str:
    r"""A line as it may be shown: colours only where there are any, nothing else that a terminal obeys.

    >>> shown("a\x1b[31mb\x1b[2Jc\x07", colour=False)
    'abc'
    """
    if line.isprintable():
        return line
    if "\x1b" in line:
        line = _ESCAPES.sub("", line)
        line = f"{line}{_RESET}" if colour else _COLOURS.sub("", line)
    line = _CONTROL.sub("", line)
    return line if colour else line.replace("\x1b", "")
