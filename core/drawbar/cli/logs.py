"""`drawbar logs`: what a job wrote, its stdout on our stdout, its stderr on our stderr; with -f as it goes on."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from drawbar.cli import FAILED, output
from drawbar.cli.jobs import complete_hosts, complete_jobs, dispatcher, find
from drawbar.cli.project import common
from drawbar.dispatch.port import Dispatcher, Handle

_PIECE = 1 << 20
_PATIENCE = 20.0
STREAMS = ("stdout", "stderr")


@click.command("logs", epilog="Example: drawbar logs gpu 4f1c -f")
@click.argument("target", shell_complete=complete_hosts)
@click.argument("job", shell_complete=complete_jobs)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended; exit with 1 if it ended badly.")
@common
@click.pass_context
def command(ctx: click.Context, *, target: str, job: str, follow: bool, project: Path | None, as_json: bool) -> None:
    """Print what a job wrote. JOB is the beginning of its id, or an asset's name.

    With --json each piece is an object on a line of its own: {"stream": …, "text": …}. Ctrl-C leaves the job running.
    For what a job waits that has not begun is told on stderr.
    """
    with dispatcher(target, project) as found:
        _, handle = find(found, job)
        write = _Objects() if as_json else _Bytes()
        for stream, data in _followed(found, handle, ctx) if follow else _written(found, handle):
            write(stream, data)


def _written(found: Dispatcher, handle: Handle) -> Iterator[tuple[str, bytes]]:
    """All there is so far, a piece at a time."""
    for stream in STREAMS:
        offset = 0
        while data := found.logs(handle, stream, offset, _PIECE):
            yield stream, data
            offset += len(data)


def _followed(found: Dispatcher, handle: Handle, ctx: click.Context) -> Iterator[tuple[str, bytes]]:
    """All there is and will be, in the order in which it comes."""
    offsets = dict.fromkeys(STREAMS, 0)
    waiting = _tell_waiting(handle, found.poll(handle).waiting, "")
    while True:
        progress = found.wait(handle, offsets["stdout"], offsets["stderr"], timeout=_PATIENCE)
        waiting = _tell_waiting(handle, progress.waiting, waiting)
        for stream, data in zip(STREAMS, (progress.stdout, progress.stderr), strict=True):
            if data:
                yield stream, data
            offsets[stream] += len(data)
        if progress.outcome is not None:
            if not progress.outcome.ok:
                click.echo(f"{handle.name or handle.job} {progress.outcome.state}: {progress.outcome.cause}", err=True)
                ctx.exit(FAILED)
            return


def _tell_waiting(handle: Handle, waiting: str, before: str) -> str:
    """For what the job waits, told where it is something else than before."""
    if waiting and waiting != before:
        output.tell(f"{handle.name or handle.job}: {output.one_line(waiting)}")
    return waiting


class _Bytes:
    """Bytes as they are, each stream to its own."""

    def __call__(self, stream: str, data: bytes) -> None:
        out = sys.stdout if stream == "stdout" else sys.stderr
        out.buffer.write(data)
        out.flush()


class _Objects:
    """One JSON object a line; a character that two pieces share is given with the second."""

    def __init__(self) -> None:
        self._decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in STREAMS}

    def __call__(self, stream: str, data: bytes) -> None:
        text = self._decoders[stream].decode(data)
        sys.stdout.write(json.dumps({"stream": stream, "text": text}, ensure_ascii=False) + "\n")
        sys.stdout.flush()
