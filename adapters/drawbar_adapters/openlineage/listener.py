"""The listener that a run tells its events to, and what `drawbar lineage flush` and `status` ask for.

Events come from the walk; each becomes a line in the outbox before the walk goes on, and a thread sends it from there.
Nothing that goes wrong here reaches the run: it is logged once, on `drawbar.lineage`, and can be asked for.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drawbar.errors import LineageError
from drawbar.events import AssetLog, AssetWaiting, Event
from drawbar.redact import Redactor, redactor
from drawbar_adapters.openlineage.config import Settings, read_settings
from drawbar_adapters.openlineage.flusher import Drain, Flusher, Place
from drawbar_adapters.openlineage.outbox import Progress, Totals, Writer, outbox_of, segments
from drawbar_adapters.openlineage.translate import Translator

_log = logging.getLogger("drawbar.lineage")


@dataclass(frozen=True, slots=True)
class Status:
    """Where lineage goes and how far it got; `lost` counts events that could not even be kept.

    `sent` and `refused` of a place count since the outbox exists. Refused events stay in `refused.ndjson` there.
    """

    outbox: Path
    places: tuple[Place, ...]
    lost: int = 0

    @property
    def waiting(self) -> int:
        """Events that at least one destination does not have yet."""
        return max((place.waiting for place in self.places), default=0)

    @property
    def facts(self) -> dict[str, Any]:
        """The same as plain data, for `--json` and for tables."""
        places = [
            {"to": at.label, "sent": at.sent, "waiting": at.waiting, "refused": at.refused, "error": at.error}
            for at in self.places
        ]
        return {
            "outbox": str(self.outbox),
            "waiting": self.waiting,
            "sent": sum(at.sent for at in self.places),
            "refused": sum(at.refused for at in self.places),
            "destinations": places,
            "message": self.message,
        }

    @property
    def message(self) -> str:
        """What a person should know, empty where everything was sent.

        >>> print(Status(Path("out"), (Place("http http://host", waiting=3, error="refused"),)).message)
        3 lineage events wait in out; `drawbar lineage flush` sends them (http http://host: refused)
        """
        said = []
        if self.waiting:
            why = "; ".join(f"{place.label}: {place.error}" for place in self.places if place.waiting and place.error)
            count = "1 lineage event waits" if self.waiting == 1 else f"{self.waiting} lineage events wait"
            those = "it" if self.waiting == 1 else "them"
            said.append(
                f"{count} in {self.outbox}; `drawbar lineage flush` sends {those}" + (f" ({why})" if why else "")
            )
        refused = sum(place.refused for place in self.places)
        if refused:
            said.append(f"{refused} lineage events were refused; they are in {self.outbox / 'refused.ndjson'}")
        if self.lost:
            said.append(f"{self.lost} lineage events could not be kept")
        return "\n".join(said)


class LineageListener:
    """Turns a run's events into lineage; call it with each, and `close` it when the run is over."""

    def __init__(self, settings: Settings, project: Path, environment: Mapping[str, str]) -> None:
        redact = _redactor(settings, environment)
        folder = outbox_of(settings.outbox, project)
        self._translate = Translator(project, redact, settings.namespace)
        self._writer = Writer(folder)
        self._drain = Drain(folder, settings, redact)
        self._flusher = Flusher(self._drain, self._writer)
        self._folder = folder
        self._settings = settings
        self._lost = 0

    def __call__(self, event: Event) -> None:
        """Keep what `event` says, in well under 0.2 ms; never raises."""
        if type(event) is AssetLog or type(event) is AssetWaiting:
            return
        try:
            lines = self._translate(event)
            if lines:
                self._writer.append(lines)
                self._flusher.wake()
        except Exception as error:
            if not self._lost:
                _log.warning("A lineage event could not be kept (%s: %s).", type(error).__name__, error)
            self._lost += 1

    def close(self, timeout: float = 2.0) -> Status:
        """Wait at most `timeout` seconds for what is still to be sent, and say on the log what then waits."""
        self._writer.seal()
        self._flusher.close(timeout)
        status = self._status(refused_here=True)
        if status.message:
            _log.warning("%s", status.message)
        return status

    def status(self) -> Status:
        """How far lineage got."""
        return self._status(refused_here=False)

    def _status(self, *, refused_here: bool) -> Status:
        known = _status_of(self._folder, self._settings, self._lost)
        if not refused_here:
            return known
        # At the end of a run only its own refusals are news.
        for place in known.places:
            place.refused = self._drain.places[place.label].refused
        return known


def listener(config: Mapping[str, Any], *, project: Path) -> LineageListener | None:
    """What turns a run's events into lineage; None where it is switched off.

    `config` is the `[tool.drawbar.lineage]` table, `project` the project's folder. LineageError tells, before anything
    runs, what is misconfigured.
    """
    settings = read_settings(config, project, os.environ)
    if not settings.enabled or not settings.destinations:
        return None
    try:
        return LineageListener(settings, project, os.environ)
    except LineageError as error:
        # A full disk comes by itself, and lineage never fails a run; everything else is a setting to correct now.
        if getattr(error.__cause__, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _log.warning("This run leaves no lineage. %s", error)
        return None


def flush(config: Mapping[str, Any], *, project: Path, timeout: float | None = None) -> Status:
    """Send what earlier runs left waiting, for at most `timeout` seconds; sending again is harmless.

    Segments of runs that go on are theirs to send and are left alone.
    """
    settings = read_settings(config, project, os.environ)
    folder = outbox_of(settings.outbox, project)
    drain = Drain(folder, settings, _redactor(settings, os.environ))
    end = None if timeout is None else time.monotonic() + timeout
    drain.left_behind(lambda: end is not None and time.monotonic() > end)
    drain.close()
    return _status_of(folder, settings, 0)


def status(config: Mapping[str, Any], *, project: Path) -> Status:
    """How far lineage got, without sending anything."""
    settings = read_settings(config, project, os.environ)
    return _status_of(outbox_of(settings.outbox, project), settings, 0)


def _redactor(settings: Settings, environment: Mapping[str, str]) -> Redactor:
    return Redactor(on=False) if settings.redact is None else redactor(settings.redact, environment)


def _status_of(folder: Path, settings: Settings, lost: int) -> Status:
    totals = Totals(folder).read()
    places = []
    for each in settings.destinations:
        known = totals.get(each.label, {})
        waiting = sum(_waiting(segment, each.label) for segment in segments(folder))
        places.append(Place(each.label, known.get("sent", 0), waiting, known.get("refused", 0), known.get("error", "")))
    return Status(folder, tuple(places), lost)


def _waiting(segment: Path, label: str) -> int:
    try:
        return Progress(segment).waiting(label)
    except FileNotFoundError:  # sent and removed meanwhile
        return 0
