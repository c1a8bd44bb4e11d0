"""The terminal during a run: lines that scroll, and below them a table that is painted anew a few times a second.

Lines come here from users' functions and from the run, a painter gives the table; both go to the terminal in one write.
Whatever this process and its children write to their stdout and stderr meanwhile is caught and becomes lines as well.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self, TextIO

from drawbar.cli.lines import Lines, shown

TICK = 0.1
# So much text may wait for the next painting; who writes more than that waits until it is on the terminal.
_BACKLOG = 1 << 16
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"


class Screen:
    """A context manager. `paint(width, height)` gives the table's lines, at most `height`, no wider than `width`."""

    def __init__(self, paint: Callable[[int, int], list[str]], *, colour: bool) -> None:
        self._paint, self._colour = paint, colour
        self._out: TextIO
        self._waiting: list[str] = []
        self._size = self._height = 0
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._saved: tuple[int, int] = (-1, -1)
        self._threads = (
            threading.Thread(target=self._tick, name="drawbar-screen", daemon=True),
            threading.Thread(target=self._catch, name="drawbar-catch", daemon=True),
        )
        self._caught = -1

    def __enter__(self) -> Self:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self._saved = os.dup(1), os.dup(2)
        self._out = os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="replace", newline="\n")
        self._caught, end = os.pipe()
        os.dup2(end, 1)
        os.dup2(end, 2)
        os.close(end)
        self._write(_HIDE)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the terminal back: what was caught is shown, the table is taken away."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        for number, saved in zip((1, 2), self._saved, strict=True):
            os.dup2(saved, number)
            os.close(saved)
        self._threads[1].join(0.5)  # a child that lives on may hold the other end
        self._done.set()
        self._threads[0].join(2.0)
        with self._lock:
            self._write(self._erased() + "".join(self._waiting) + _SHOW)
            self._waiting.clear()
            with suppress(OSError):
                self._out.close()

    def say(self, lines: list[str]) -> None:
        """Show these lines above the table."""
        if not lines:
            return
        text = "".join(f"{shown(line, colour=self._colour)}\n" for line in lines)
        with self._lock:
            if self._out.closed:
                return
            self._waiting.append(text)
            self._size += len(text)
            if self._size > _BACKLOG:
                self._repaint()

    def _tick(self) -> None:
        while not self._done.wait(TICK):
            with self._lock:
                self._repaint()

    def _catch(self) -> None:
        """Lines out of what was written past us. The number of the pipe is this thread's to close."""
        lines = Lines()
        while data := os.read(self._caught, 1 << 16):
            self.say(lines.feed(data))
        self.say(lines.rest())
        os.close(self._caught)

    def _repaint(self) -> None:
        columns, rows = shutil.get_terminal_size()
        table = self._paint(columns, max(1, rows - 2))
        text = self._erased() + "".join(self._waiting) + "".join(f"{line}\n" for line in table)
        self._waiting.clear()
        self._size, self._height = 0, len(table)
        self._write(text)

    def _erased(self) -> str:
        return f"\x1b[{self._height}A\r\x1b[J" if self._height else ""

    def _write(self, text: str) -> None:
        with suppress(OSError):  # the terminal is gone; the run goes on
            self._out.write(text)
            self._out.flush()
