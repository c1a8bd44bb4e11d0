"""How the commands speak: answers to stdout, everything else to stderr, as tables for people or as JSON for programs.

Facts come here from the commands; text goes to a terminal, a pipe or a file. Nothing a user wrote is taken for markup.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from drawbar.errors import DrawbarError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

STYLES = {
    "made": "green",
    "succeeded": "green",
    "reused": "cyan",
    "reuse": "cyan",
    "source": "blue",
    "running": "bold blue",
    "run": "bold yellow",
    "waiting": "yellow",
    "retrying": "yellow",
    "failed": "bold red",
    "blocked": "red",
    "cancelled": "magenta",
    "skip": "dim",
    "skipped": "dim",
    "to come": "dim",
}
# A pipe has no width: a table there is as wide as what is in it, so that no line is cut for grep.
_PIPE_WIDTH = 1000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def console(file: TextIO | None = None) -> Console:
    """A console on `file` (default: stdout) that takes every text literally. NO_COLOR is respected."""
    from rich.console import Console

    out = sys.stdout if file is None else file
    width = None if out.isatty() else _PIPE_WIDTH
    return Console(file=out, markup=False, highlight=False, emoji=False, width=width)


def table(*columns: str, right: Sequence[str] = (), wide: Sequence[str] = ()) -> Table:
    """An empty table: `right` names the columns of numbers, `wide` those that may be cut where room is short."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        cut = name in wide
        made.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="ellipsis" if cut else "fold",
            no_wrap=cut or name in right,
        )
    return made


def styled(state: str) -> Any:
    """A state in its colour."""
    from rich.text import Text

    return Text(state, style=STYLES.get(state.partition(" ")[0], STYLES.get(state, "")))


def show(renderable: Any, file: TextIO | None = None) -> None:
    """Print a table or a text, without the blanks that a table's last column would leave at the ends of lines."""
    shown = console(file)
    with shown.capture() as caught:
        shown.print(renderable, soft_wrap=isinstance(renderable, str))
    out = sys.stdout if file is None else file
    out.write("".join(f"{line.rstrip()}\n" for line in caught.get().splitlines()) or "\n")
    out.flush()


def told(value: Any) -> str:
    """A value out of JSON as a person reads it in one line."""
    if isinstance(value, Mapping):
        return one_line(", ".join(f"{name} {told(inner)}" for name, inner in value.items() if inner not in ("", None)))
    if isinstance(value, list | tuple):
        return "; ".join(told(one) for one in value)
    return "" if value is None else one_line(str(value))


def check_failure(check: Mapping[str, Any]) -> str:
    """A check that failed, in one line: its name, what it expected and what it found."""
    column = f" of {check['column']}" if check["column"] else ""
    return f"{check['name']}{column}: expected {check['expected'] or 'it to pass'}, found {check['found'] or 'not'}"


def tell(text: str) -> None:
    """A line beside the answer, on stderr."""
    console(sys.stderr).print(text, soft_wrap=True)


def tell_error(error: DrawbarError) -> None:
    """An error of ours, on stderr: the sentence, then its details."""
    from rich.text import Text

    head, _, details = visible(str(error)).partition("\n")
    text = Text.assemble(("error: ", "bold red"), (head, "bold"))
    if details:
        text.append(f"\n{details}")
    console(sys.stderr).print(text, soft_wrap=True)


def answer(value: Mapping[str, Any], file: TextIO | None = None) -> None:
    """One JSON object, on a line of its own; indented where a person looks at it."""
    out = sys.stdout if file is None else file
    out.write(json.dumps(value, ensure_ascii=False, indent=2 if out.isatty() else None, default=str) + "\n")
    out.flush()


@contextmanager
def reserved_stdout() -> Iterator[TextIO]:
    """The real stdout, for the answer alone; what users' code prints meanwhile, by any means, goes to stderr."""
    real = sys.stdout
    real.flush()
    try:
        saved = os.dup(1) if real.fileno() == 1 else -1
    except (OSError, ValueError):  # stdout is not a file of the system: a test's, or closed
        saved = -1
    if saved < 0:
        sys.stdout = sys.stderr
        try:
            yield real
        finally:
            sys.stdout = real
        return
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    out = os.fdopen(os.dup(saved), "w", encoding=real.encoding, errors="replace", newline="\n")
    try:
        yield out
    finally:
        with suppress(BrokenPipeError):
            out.close()
        os.dup2(saved, 1)
        os.close(saved)
        sys.stdout = real


def visible(text: str) -> str:
    """The text without characters that would move a terminal's cursor or colour it."""
    return _CONTROL.sub("�", text)


def one_line(text: str) -> str:
    """The text as it fits in a cell."""
    return visible(text.replace("\n", " ⏎ "))


def size(count: int | None) -> str:
    """A number of bytes as a person reads it.

    >>> size(0), size(999), size(1_234_567)
    ('', '999 B', '1.2 MB')
    """
    if not count:
        return ""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":  # noqa: PLR2004  # the step between units
            break
        amount /= 1000
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def seconds(amount: float) -> str:
    """A duration as a person reads it.

    >>> seconds(0), seconds(0.0123), seconds(3.21), seconds(75), seconds(7325)
    ('', '0.01', '3.2', '1:15', '2:02:05')
    """
    if not amount:
        return ""
    if amount < 1:
        return f"{amount:.2f}"
    if amount < 60:  # noqa: PLR2004  # a minute
        return f"{amount:.1f}"
    minutes, rest = divmod(int(amount), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def when(at: datetime | float | None) -> str:
    """A moment in this machine's own time; empty for none."""
    if at is None:
        return ""
    moment = datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else at
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def short(digest: str) -> str:
    """The beginning of a digest, enough to tell it from others."""
    return digest[:12]
