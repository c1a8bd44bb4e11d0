"""Gives events to their destinations: the OpenLineage client's transports, or the project's own file.

Lines come from the outbox; what a transport raises is turned here into one of two answers, that the event will never
be taken (`Refused`) or that nothing is taken now (`Unavailable`). The client is loaded with the first event it gets.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drawbar.redact import Redactor
from drawbar_adapters.openlineage.config import Destination, Settings

if TYPE_CHECKING:
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import RunEvent

# What a backend answers when the fault is not this event's: the address, the credentials, or the moment is wrong.
_NOT_THIS_EVENT = frozenset((401, 403, 404, 405, 407, 408, 425, 429))
# The outbox tries again by itself, for days if need be: a transport that waits inside one attempt only delays that.
_ONE_ATTEMPT = {"total": 0}
_TAIL_BYTES = 4 << 20

Taken = Callable[[int, str], None]


class Refused(Exception):  # noqa: N818 - an answer, never shown as an error
    """The destination will never take this event; the text says why."""


class Unavailable(Exception):  # noqa: N818 - an answer, never shown as an error
    """The destination takes nothing now; the text says why."""


class OwnFile:
    """Appends to one file of the project, whole lines under a lock, without the client: they are copied as they are."""

    def __init__(self, destination: Destination) -> None:
        self.label = destination.label
        self._path = Path(destination.path)

    def send(self, lines: Sequence[bytes], *, again: bool) -> int:
        """Append all `lines`, without those at the file's end if they may be there already (`again`); how many."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            end = _mended(fd)
            there = set(_tail(fd, end).split(b"\n")) if again else set()
            data = b"".join(line + b"\n" for line in lines if line not in there)
            if os.write(fd, data) < len(data):
                os.ftruncate(fd, end)
                raise Unavailable(f"{self._path}: the disk is full")
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}") from error
        finally:
            os.close(fd)
        return len(lines)

    def close(self) -> None:
        """Nothing is held open between two sends."""


def _mended(fd: int) -> int:
    """Cut the half-written line that a killed process left at the end; gives the size."""
    size = os.lseek(fd, 0, os.SEEK_END)
    if not size or os.pread(fd, 1, size - 1) == b"\n":
        return size
    tail = _tail(fd, size)
    end = tail.rfind(b"\n") + 1
    if end or len(tail) == size:
        os.ftruncate(fd, size - len(tail) + end)
    return os.lseek(fd, 0, os.SEEK_END)


def _tail(fd: int, size: int) -> bytes:
    start = max(0, size - _TAIL_BYTES)
    return os.pread(fd, size - start, start)


class ThroughClient:
    """Sends one event at a time by a transport of the OpenLineage client, with the client's filters and tags."""

    def __init__(self, destination: Destination, settings: Settings, redact: Redactor) -> None:
        self.label = destination.label
        self._config = destination.config or {}
        self._settings = settings
        self._redact = redact
        self._client: OpenLineageClient | None = None

    def send(self, lines: Sequence[bytes], *, again: bool) -> int:  # noqa: ARG002 - a backend knows a run by its id
        """Send the first of `lines`; Refused or Unavailable where it is not taken."""
        try:
            event = _run_event(json.loads(lines[0]))
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"not a RunEvent: {error}") from error
        try:
            if self._client is None:
                self._client = self._open()
            self._client.emit(event)
        except Exception as error:
            raise self._answer(error) from error
        return 1

    def close(self) -> None:
        """Let connections go."""
        if self._client is not None:
            with contextlib.suppress(Exception):
                self._client.close(0)
            self._client = None

    def _open(self) -> OpenLineageClient:
        with _environment_kept():
            from openlineage.client import OpenLineageClient
            from openlineage.client.transport import get_default_factory

            transport = get_default_factory().create(_for_factory(self._config))
            # The client would add the address of whatever repository the process stands in, credentials and all.
            facets = {**self._settings.client.get("facets", {}), "source_code_location": {"disabled": True}}
            client = OpenLineageClient(transport=transport, config={**self._settings.client, "facets": facets})
            variables = client.config.facets.environment_variables
            client.config.facets.environment_variables = [
                name for name in variables if not self._redact.is_secret(name)
            ]
        if self._config["type"] == "console":
            _show_console()
        return client

    def _answer(self, error: BaseException) -> Refused | Unavailable:
        cause: BaseException | None = error
        while cause is not None:
            response = getattr(cause, "response", None)
            status = getattr(response, "status_code", 0)
            if response is not None and status:
                text = self._redact.text(f"HTTP {status} {(response.text or '').strip()[:300]}".strip())
                refused = status in range(400, 500) and status not in _NOT_THIS_EVENT
                return Refused(text) if refused else Unavailable(text)
            cause = cause.__cause__
        return Unavailable(self._redact.text(f"{type(error).__name__}: {error}", 500))


def _run_event(said: Mapping[str, Any]) -> RunEvent:
    """The client's own object for a line: facets stay dicts but for those that the client looks into."""
    from openlineage.client import event_v2
    from openlineage.client.facet_v2 import parent_run, tags_job

    facets, job = dict(said["run"]["facets"]), dict(said["job"]["facets"])
    if "parent" in facets:
        parent, root = facets["parent"], facets["parent"]["root"]
        facets["parent"] = parent_run.ParentRunFacet(
            run=parent_run.Run(**parent["run"]),
            job=parent_run.Job(**parent["job"]),
            root=parent_run.Root(run=parent_run.RootRun(**root["run"]), job=parent_run.RootJob(**root["job"])),
            producer=said["producer"],
        )
    if "tags" in job:
        fields = [tags_job.TagsJobFacetFields(**tag) for tag in job["tags"]["tags"]]
        job["tags"] = tags_job.TagsJobFacet(tags=fields, producer=said["producer"])
    return event_v2.RunEvent(
        eventType=event_v2.RunState(said["eventType"]),
        eventTime=said["eventTime"],
        producer=said["producer"],
        run=event_v2.Run(runId=said["run"]["runId"], facets=facets),
        job=event_v2.Job(namespace=said["job"]["namespace"], name=said["job"]["name"], facets=job),
        inputs=[event_v2.InputDataset(**each) for each in said["inputs"]],
        outputs=[event_v2.OutputDataset(**each) for each in said["outputs"]],
    )


def _for_factory(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that the factory may take apart, made to answer only when an event was really taken."""
    mine: dict[str, Any] = json.loads(json.dumps(dict(config)))
    if mine["type"] == "async_http":  # it answers before it has sent, and forgets what it could not send
        mine["type"] = "http"
    if mine["type"] == "http":
        mine.setdefault("retry", _ONE_ATTEMPT)
    if mine["type"] == "kafka":
        mine["type"] = "drawbar_adapters.openlineage.kafka.ConfirmedKafkaTransport"
    if mine["type"] == "file" and "://" not in mine["log_file_path"]:
        Path(mine["log_file_path"]).parent.mkdir(parents=True, exist_ok=True)
    return mine


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    """The client copies OPENLINEAGE_URL and its key into further variables, which the user's code would inherit."""
    before = set(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - before:
            if name.startswith("OPENLINEAGE__"):
                del os.environ[name]


def _show_console() -> None:
    """The console transport only logs, at a level that nobody sees unless logging was set up for it."""
    logger = logging.getLogger("openlineage.client.transport.console")
    logger.setLevel(logging.INFO)
    if not logger.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)


def sender(destination: Destination, settings: Settings, redact: Redactor) -> OwnFile | ThroughClient:
    """What sends to `destination`."""
    return OwnFile(destination) if destination.config is None else ThroughClient(destination, settings, redact)
