"""`drawbar run`: make assets, show it as it happens, and end with a table, or with one JSON object."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, TypeVar

import click

from drawbar.cli import EVICTED, FAILED, INTERRUPTED, output
from drawbar.cli.board import Board
from drawbar.cli.project import Project, settings, words
from drawbar.errors import DrawbarError, JobError, RemoteError
from drawbar.planner import HERE
from drawbar.redact import Redactor
from drawbar.results import AssetResult, RunResult

F = TypeVar("F", bound=Callable[..., Any])
# A table longer than this hides what went as expected.
_LONG = 40
# So many failures, and so many warnings, are told in full.
_TOLD = 20


def running(function: F) -> F:
    """The options of commands that make assets."""
    for option in (
        click.option("--no-lineage", is_flag=True, help="Leave no account of this run."),
        click.option("--workers", type=click.IntRange(1), metavar="N", help="Make at most so many assets at once."),
        click.option(
            "--on-interrupt",
            type=click.Choice(["cancel", "leave"]),
            default="cancel",
            show_default=True,
            help="What Ctrl-C does to jobs on targets; SIGTERM always leaves them running.",
        ),
    ):
        function = option(function)
    return words(settings(function))


@click.command(
    "run", epilog="Example: drawbar run pipeline.py neighbours -p base_url=http://localhost:8000/ --target gpu-box"
)
@running
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Make assets, reusing what is there. All assets of the modules, unless some are named.

    Words that end in .py or lead to a file are modules, as are those named in the configuration; the rest are assets.
    Exits with 0 when everything wanted is there, 1 when something failed, 2 when the question was wrong, 130 after
    Ctrl-C and 143 after SIGTERM.
    """
    ctx.exit(go(**given))


def go(
    *,
    words: tuple[str, ...],
    project: Path | None,
    store: str | None,
    namespace: str | None,
    as_json: bool,
    on_interrupt: str,
    workers: int | None,
    no_lineage: bool,
    **given: Any,
) -> int:
    """Make what is asked for, showing it; the exit status."""
    with output.reserved_stdout() as out:
        meant = Project.of(words, project=project, store=store, namespace=namespace)
        graph = meant.graph()
        from drawbar.cli.progress import shown_progress
        from drawbar.run import run

        chosen = meant.settings(graph, **given)
        board = Board(graph, Redactor().knowing(chosen["params"]))
        with shown_progress(board) as progress, _stoppable(board) as stopped:
            result = run(
                graph,
                meant.names(graph),
                listeners=[progress],
                on_interrupt=on_interrupt,
                max_workers=workers,
                lineage=not no_lineage,
                **chosen,
            )
        report(result, board, out, as_json=as_json)
        return _status(result, stopped)


@contextmanager
def _stoppable(board: Board) -> Iterator[list[int]]:
    """While this lasts Ctrl-C and SIGTERM stop the run cleanly; the signals that came are in the list."""
    from drawbar.run import Evicted

    came: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        board.headline = "stopping …"
        raise Evicted if number == signal.SIGTERM else KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    except Evicted:  # before anything began
        raise click.exceptions.Exit(EVICTED) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _status(result: RunResult, stopped: list[int]) -> int:
    if result.ok:
        return 0
    if result.state == "cancelled":
        return EVICTED if signal.SIGTERM in stopped else INTERRUPTED
    return FAILED


def report(result: RunResult, board: Board, out: TextIO, *, as_json: bool) -> None:
    """How the run ended: failures (without secrets) and what to do on stderr, the answer on `out`."""
    failed = [(name, one) for name, one in result.assets.items() if one.state == "failed" and one.error is not None]
    for name, one in failed[:_TOLD]:
        output.tell(board.redactor.text(failure(name, one, board)))
    if len(failed) > _TOLD:
        output.tell(f"\n… and {len(failed) - _TOLD:,} more failures: `drawbar history ASSET` has a line for each")
    for line in _warnings(board):
        output.tell(line)
    if as_json:
        output.answer(_json(result, board.redactor), out)
    else:
        if list(_told(result)):
            output.show(_table(result, board.redactor), out)
        output.show(_summary(result, board), out)
    for line in what_next(result, board):
        output.tell(line)


def _warnings(board: Board) -> list[str]:
    """What the checks of what is there warn of, a line each."""
    found = [f"warning: {row.name}: {one}" for row in board.rows.values() for one in row.warnings]
    lines = [output.one_line(board.redactor.text(line)) for line in found[:_TOLD]]
    if len(found) > _TOLD:
        lines.append(f"… and {len(found) - _TOLD:,} more warnings: `drawbar show ASSET` has them")
    return lines


def _json(result: RunResult, redactor: Redactor) -> dict[str, Any]:
    """The answer for programs; messages of users' errors without secrets."""
    told = result.to_json()
    for one in told["assets"]:
        one["reason"] = redactor.text(one["reason"])
        one["error"] = redactor.text(one["error"]) if one["error"] else None
    return told


def _table(result: RunResult, redactor: Redactor) -> Any:
    shown = list(_told(result))
    table = output.table("asset", "target", "state", "seconds", "size", "why", right=("seconds", "size"), wide=("why",))
    for name, one in shown:
        table.add_row(
            name,
            one.target,
            output.styled(one.state),
            output.seconds(one.seconds),
            output.size(one.bytes),
            output.one_line(redactor.text(one.reason)),
        )
    return table


def _told(result: RunResult) -> Iterable[tuple[str, AssetResult]]:
    """What a table shows: of more than fill a screen, what went wrong, then what was made."""
    if len(result.assets) <= _LONG:
        return result.assets.items()
    rank = {"failed": 0, "cancelled": 1, "blocked": 2, "made": 3}
    telling = [pair for pair in result.assets.items() if pair[1].state in rank]
    # What was asked for comes last in dependency order, so of many the last are shown.
    places = sorted(range(len(telling)), key=lambda at: (rank[telling[at][1].state], -at))[:_LONG]
    return [telling[at] for at in sorted(places, key=lambda at: (rank[telling[at][1].state], at))]


def _summary(result: RunResult, board: Board) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in result.counts.items())
    more = len(result.assets) - len(list(_told(result)))
    hidden = f" ({more:,} not shown)" if more > 0 else ""
    return f"{result.state}: {counts}{hidden}, in {output.seconds(board_seconds(board)) or '0'} s"


def board_seconds(board: Board) -> float:
    """How long the run took."""
    import time

    return time.monotonic() - board.began


def failure(name: str, one: AssetResult, board: Board) -> str:
    """What a failed asset says: the user's own traceback, then the error with what to do about it."""
    error = one.error
    assert error is not None
    remote = error if isinstance(error, RemoteError) else error.__cause__
    row = board.rows.get(name)
    if isinstance(remote, RemoteError) and remote.traceback:
        text = f"{remote.traceback.rstrip()}\n{remote}"
    elif isinstance(error, DrawbarError):
        notes = "\n".join(getattr(error, "__notes__", ()))
        text = f"{notes}\n{error}" if notes and isinstance(error, JobError) else str(error)
    else:
        text = (row.traceback if row else "") or one.reason
    return output.visible(f"\n── {name} failed on {one.target} ──\n{text.rstrip()}")


def what_next(result: RunResult, board: Board) -> list[str]:
    """What a person can do now, a line each."""
    lines: list[str] = []
    for name, one in result.assets.items():
        if len(lines) == _TOLD:
            lines.append("… and so of more jobs")
            break
        row = board.rows.get(name)
        job = output.short(row.job) if row else ""
        if one.state == "cancelled" and one.target != HERE and job:
            if row and row.note.startswith("left running"):
                lines.append(f"{name}: its job goes on; run again to attach, or `drawbar cancel {one.target} {job}`")
            else:
                lines.append(f"{name}: its job on {one.target} was cancelled")
        elif one.state == "failed" and one.target != HERE and job:
            lines.append(f"{name}: `drawbar logs {one.target} {job}` prints all that it wrote")
    failed = sum(one.state == "failed" for one in result.assets.values())
    if failed:
        lines.append("What was made is kept: after mending it, the same command makes the rest only.")
    elif result.state == "cancelled":
        lines.append("Interrupted; nothing is half-written. The same command goes on from here.")
    return lines
