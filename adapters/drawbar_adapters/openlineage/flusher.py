"""Moves events from the outbox to their destinations: once and for all (`drain`), or behind a run (`Flusher`).

Order is kept within a segment and destination, so a run's start always goes before its end. One destination that is
down holds up no other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drawbar.redact import Redactor
from drawbar_adapters.openlineage.config import Settings
from drawbar_adapters.openlineage.outbox import (
    Progress,
    Totals,
    Writer,
    keep_refused,
    segments,
    taken_up,
    whole_lines,
)
from drawbar_adapters.openlineage.sender import OwnFile, Refused, ThroughClient, Unavailable, sender

_log = logging.getLogger("drawbar.lineage")

# Short enough to look live; long enough that a run of many small assets is over before the client, half a second of
# importing, takes the interpreter from it.
_LINGER_SECONDS = 1.0
_LONGEST_PAUSE = 30.0


@dataclass(slots=True)
class Place:
    """What became of the events for one destination; `error` is why it takes nothing now."""

    label: str
    sent: int = 0
    waiting: int = 0
    refused: int = 0
    error: str = ""


class Drain:
    """Sends what the segments of one outbox hold to every destination."""

    def __init__(self, folder: Path, settings: Settings, redact: Redactor) -> None:
        self.folder = folder
        self._senders = [sender(each, settings, redact) for each in settings.destinations]
        self._totals = Totals(folder)
        self.places = {each.label: Place(each.label) for each in settings.destinations}

    def segment(self, segment: Path, stop: Callable[[], bool], *, again: bool) -> bool:
        """Send one segment that the caller holds; True if every destination has all of it now.

        With `again` it is another process's, which may have died between sending an event and remembering that.
        """
        progress = Progress(segment)
        done = [self._to(each, segment, progress, stop, again=again) for each in self._senders]
        return all(done)

    def left_behind(self, stop: Callable[[], bool]) -> None:
        """Send the segments of processes that are gone, the oldest first, and remove those that are done."""
        for segment in segments(self.folder):
            if stop():
                return
            with taken_up(segment) as mine:
                if mine and self.segment(segment, stop, again=True):
                    Progress(segment).remove()

    def close(self) -> None:
        """Let connections go."""
        for each in self._senders:
            each.close()

    def _to(
        self, to: OwnFile | ThroughClient, segment: Path, progress: Progress, stop: Callable[[], bool], *, again: bool
    ) -> bool:
        place = self.places[to.label]
        before = place.sent, place.refused
        offset, done, error = progress.of(to.label), True, ""
        lines, after = whole_lines(segment, offset)
        while lines:
            if stop():
                done = False
                break
            try:
                taken = to.send(lines, again=again)
                place.sent += taken
            except Refused as answer:
                keep_refused(self.folder, to.label, str(answer), lines[0])
                taken = 1
                place.refused += 1
            except Unavailable as answer:
                error, done = str(answer), False
                break
            offset = after if taken == len(lines) else offset + sum(len(line) + 1 for line in lines[:taken])
            progress.advance(to.label, offset)
            lines = lines[taken:]
            if not lines:
                lines, after = whole_lines(segment, offset)
        sent, refused = place.sent - before[0], place.refused - before[1]
        if sent or refused or error != place.error:
            self._totals.add(to.label, sent=sent, refused=refused, error=error)
        place.error = error
        return done


class Flusher:
    """A daemon thread that sends what `writer` appends, and after that what dead processes left behind."""

    def __init__(self, drain: Drain, writer: Writer) -> None:
        self._drain = drain
        self._writer = writer
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._stop = threading.Event()
        self._own: list[Path] = []
        self._newest: Path | None = None
        self._complained = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """There is something new; starts the thread with the first of it."""
        if self._writer.path is not None and self._writer.path is not self._newest:
            self._newest = self._writer.path
            self._own.append(self._newest)
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="drawbar-lineage", daemon=True)
            self._thread.start()

    def close(self, timeout: float) -> None:
        """Send what is left for at most `timeout` seconds, then let go of it, whatever the thread is waiting for."""
        if self._thread is None:
            return
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)
        self._stop.set()

    def _run(self) -> None:
        pause = 0.0
        try:
            while not self._stop.is_set():
                if pause:  # a destination is down: new events do not make it worth trying sooner
                    self._closing.wait(pause)
                else:
                    self._wake.wait()
                    self._closing.wait(_LINGER_SECONDS)
                self._wake.clear()
                closing = self._closing.is_set()
                done = self._sent()
                if closing:
                    return
                pause = 0.0 if done else min(_LONGEST_PAUSE, max(1.0, pause * 2))
        finally:
            self._drain.close()
            if self._closing.is_set():
                self._writer.close()

    def _sent(self) -> bool:
        try:
            return self._send()
        except Exception as error:  # the outbox's disk is full, say: what waits can be sent when it is not
            if not self._complained:
                _log.warning("Lineage cannot be sent (%s: %s).", type(error).__name__, error)
            self._complained = True
            return False

    def _send(self) -> bool:
        """One round: our own segments in their order, then what others left; True if nothing of ours is left."""
        while self._own:
            segment = self._own[0]
            # Asked before sending: what is appended meanwhile must not be removed with the rest.
            complete = segment != self._writer.path or self._closing.is_set()
            if segment.exists():  # a person may have emptied the outbox
                if not self._drain.segment(segment, self._stop.is_set, again=False):
                    return False
                if not complete:
                    break
                Progress(segment).remove()
            self._writer.release(segment)
            self._own.pop(0)
        # At the end of a run nobody waits for another run's events.
        self._drain.left_behind(lambda: self._stop.is_set() or self._closing.is_set())
        return True
