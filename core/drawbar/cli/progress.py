"""What a person sees of a run while it goes on: a live table on a terminal, plain lines everywhere else.

Events come here from the walk, in whichever thread tells them; text goes to stderr. A function that runs in this
process is told as started by its own thread, so what it prints is caught there and shown under its asset's name.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol

from drawbar.cli import output
from drawbar.cli.board import TO_COME, UNDER_WAY, Board, Row
from drawbar.cli.lines import Lines, shown
from drawbar.cli.screen import Screen
from drawbar.dispatch.capture import captured
from drawbar.events import (
    AssetBlocked,
    AssetCancelled,
    AssetFailed,
    AssetLog,
    AssetMade,
    AssetProgress,
    AssetReused,
    AssetStarted,
    AssetWaiting,
    Event,
)
from drawbar.planner import HERE

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_MARKS = {"made": "✓", "reused": "=", "failed": "✗", "blocked": "!", "cancelled": "-", "source": "·", TO_COME: " "}
_ENDS = (AssetMade, AssetFailed, AssetCancelled)


# Assets of a run that are told one by one, and seconds between the lines about a run of more.
_MANY, _EVERY = 100, 5.0


class Show(Protocol):
    """How progress is shown."""

    def say(self, lines: list[str]) -> None:
        """Show lines."""


class Progress:
    """A listener that keeps the board, gives lines to `show`, and with `wordy` says every event as a line, too."""

    def __init__(self, board: Board, show: Show, *, wordy: bool) -> None:
        self.board, self._show, self._wordy = board, show, wordy
        # By asset, stream and thread: the calls of a fan-out write at once, and a line of one is not cut by another's.
        self._streams: dict[tuple[str, str, int], Lines] = {}
        self._catching: dict[str, AbstractContextManager[None]] = {}
        self._lock = threading.Lock()
        self._told = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Take in an event."""
        if isinstance(event, AssetLog):
            self._logged(event.key.unit, event.stream, event.data)
            return
        if isinstance(event, _ENDS):
            self._ended(event.key.unit)
        row = self.board.note(event)
        if row is not None and self._wordy and not self._is_one_of_many(event) and (line := _line(event, row)):
            self._show.say([line])
        if isinstance(event, AssetStarted) and event.target == HERE:
            self._catch(event.key.unit)

    def _is_one_of_many(self, event: Event) -> bool:
        """In a big run the lines of what goes as expected become one line every few seconds."""
        if len(self.board.rows) <= _MANY or not isinstance(event, AssetReused | AssetMade | AssetStarted):
            return False
        now = time.monotonic()
        if now - self._told > _EVERY:
            self._told = now
            counts = self.board.counts
            ended = sum(count for state, count in counts.items() if state not in (*UNDER_WAY, TO_COME))
            states = ", ".join(f"{count:,} {state}" for state, count in counts.items() if state != TO_COME)
            self._show.say([f"{ended:,} of {len(self.board.rows):,}: {states}"])
        return True

    def _logged(self, name: str, stream: str, data: bytes) -> None:
        with self._lock:
            lines = self._streams.setdefault((name, stream, threading.get_ident()), Lines())
            self._show.say([f"{name} │ {line}" for line in lines.feed(data)])
            if note := lines.note:
                self.board.rows[name].note = note

    def _ended(self, name: str) -> None:
        catching = self._catching.pop(name, None)
        if catching is not None:
            with suppress(ValueError):  # the end is told by another thread: that of an interrupted run
                catching.__exit__(None, None, None)
        with self._lock:
            own = [place for place in self._streams if place[0] == name]
            for place in sorted(own, key=lambda place: place[1] != "stdout"):
                self._show.say([f"{name} │ {line}" for line in self._streams.pop(place).rest()])

    def _catch(self, name: str) -> None:
        catching = self._catching[name] = captured(_Sink(self, name))
        catching.__enter__()


class _Sink:
    """Where a function of this process prints."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name

    def write(self, stream: str, data: bytes) -> None:
        """Take the next bytes; threads that the function started may write as well."""
        if data:
            self._progress._logged(self._name, stream, data)  # noqa: SLF001  # its other half


class Plain:
    """Lines on stderr, as they come."""

    def __init__(self) -> None:
        self._out = sys.stderr  # as it is now: while a function's prints are caught, `sys.stderr` leads back here

    def say(self, lines: list[str]) -> None:
        """Show lines, in one write."""
        if lines:
            self._out.write("".join(f"{shown(line, colour=False)}\n" for line in lines))
            self._out.flush()


@contextmanager
def shown_progress(board: Board) -> Iterator[Progress]:
    """A live table where stderr is a terminal, else plain lines; the listener for the run."""
    if not (sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"):
        yield Progress(board, Plain(), wordy=True)
        return
    painter = Painter(board)
    with Screen(painter, colour=not os.environ.get("NO_COLOR")) as screen:
        yield Progress(board, screen, wordy=False)


class Painter:
    """The live table as lines: what is under way first, then what ended last, as many as there is room for."""

    def __init__(self, board: Board) -> None:
        from rich.console import Console

        self._board = board
        self._text = io.StringIO()
        self._console = Console(
            file=self._text, force_terminal=True, markup=False, highlight=False, emoji=False, legacy_windows=False
        )

    def __call__(self, width: int, height: int) -> list[str]:
        """At most `height` lines, each at most `width` wide."""
        rows = list(self._board.rows.values())
        if not rows:
            return []
        self._console.width = width
        table = output.table(
            "", "asset", "target", "state", "seconds", "size", "", right=("seconds", "size"), wide=("",)
        )
        for column in table.columns:
            column.no_wrap, column.overflow = True, "ellipsis"
        table.columns[0].width = 1
        for row in chosen(rows, max(1, height - 2)):
            table.add_row(*_cells(row))
        self._console.print(table)
        self._console.print(self._summary(), overflow="ellipsis", no_wrap=True)
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        return text.splitlines()[:height]

    def _summary(self) -> Any:
        from rich.text import Text

        parts = [
            Text(f"{count} {state}", style=output.STYLES.get(state, "")) for state, count in self._board.counts.items()
        ]
        line = Text(" · ").join(parts)
        line.append(f"   {output.seconds(time.monotonic() - self._board.began)} s", style="dim")
        if self._board.headline:
            line.append(f"   {self._board.headline}", style="bold yellow")
        return line


def chosen(rows: list[Row], room: int) -> list[Row]:
    """As many rows as there is room for, in dependency order: what is under way or went wrong before the rest."""
    if len(rows) <= room:
        return rows
    rank = {"running": 0, "retrying": 0, "waiting": 1, "failed": 2, "cancelled": 3, "made": 4, TO_COME: 5, "blocked": 6}
    first = sorted(range(len(rows)), key=lambda place: (rank.get(rows[place].state, 7), place))[:room]
    return [rows[place] for place in sorted(first)]


def _cells(row: Row) -> tuple[Any, ...]:
    turning = row.state in UNDER_WAY
    mark = _SPINNER[int(time.monotonic() * 10) % len(_SPINNER)] if turning else _MARKS.get(row.state, "")
    return (
        mark,
        row.name,
        row.target or "",
        output.styled(row.state),
        output.seconds(row.elapsed),
        output.size(row.bytes),
        output.one_line(row.note),
    )


def _line(event: Event, row: Row) -> str:  # noqa: PLR0911  # one line an event
    """An event as a plain line."""
    match event:
        case AssetStarted():
            where = "" if event.target == HERE else f" on {event.target}"
            return f"{row.name} started{where}{f' ({row.note})' if row.note else ''}"
        case AssetWaiting():
            return f"{row.name}: {event.message}" if event.message else f"{row.name} waits no more"
        case AssetProgress():
            return f"{row.name}: {row.note}"
        case AssetReused():
            return f"{row.name} reused: {event.reason}"
        case AssetMade():
            return f"{row.name} made in {output.seconds(event.seconds) or '0'} s, {output.size(row.bytes) or '0 B'}"
        case AssetFailed():
            return f"{row.name} failed{', will be tried again' if event.will_retry else ''}: {row.note}"
        case AssetCancelled():
            return f"{row.name} cancelled{f': {row.note}' if row.note else ''}"
        case AssetBlocked():
            return f"{row.name} blocked: {row.note}"
        case _:
            return ""
