"""The worker: the one process that runs a user's function, and reports what came of it.

Forked by the supervisor (or started by it, for another interpreter). It takes its task from the attempt's folder, reads
arguments from blobs, calls, keeps the result as a blob, and leaves `report.json`; then its exit handlers run.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any, NamedTuple, NoReturn

from . import files, jobs, processes
from .pump import Masker

NEEDS_EXEC = ("LD_", "DYLD_", "PYTHON", "MALLOC_", "GLIBC_")
"""Variables that a process reads when it starts: with one of them the worker is started rather than forked."""


class Task(NamedTuple):
    """What a worker is to do: the attempt's folder, the spec of SUBMIT, and secrets that are in no file."""

    root: str
    folder: str
    spec: dict[str, Any]
    secrets: dict[str, str]
    masker: Masker

    def path(self, name: str) -> str:
        """The path of one of the attempt's files."""
        return os.path.join(self.folder, name)


def begin(task: Task, parent: int, stdout: int, stderr: int) -> NoReturn:
    """Become the worker, in a process just forked by the supervisor `parent`; the outputs are pipes to it."""
    try:
        become(parent, stdout, stderr)
        variables = {**(task.spec.get("variables") or {}), **task.secrets, "DRAWBAR_ATTEMPT": task.folder}
        os.environ.update(variables)
        os.chdir(task.path("work"))
        python = task.spec.get("python") or sys.executable
        if python != sys.executable or any(name.startswith(NEEDS_EXEC) for name in variables):
            start_over(task)
        _run(task)
    except BaseException as error:  # whatever it is, the supervisor must hear of it
        _report_fault(task, error)
    finally:
        os._exit(1)


def become(parent: int, stdout: int, stderr: int) -> None:
    """Make this process, just forked by the supervisor `parent`, one that dies with it and has nothing but outputs."""
    processes.die_with(parent)
    if not processes.LINUX:
        os.setpgid(0, 0)
    _reset_signals()
    _close_all_but_outputs(stdout, stderr)


def entry() -> NoReturn:
    """Become the worker in an interpreter that `begin` started; stdin holds the task."""
    import json

    told = json.loads(sys.stdin.buffer.read())
    _null_stdin()
    spec = files.read_json(os.path.join(told["folder"], "spec.json")) or {}
    task = Task(told["root"], told["folder"], spec, told["secrets"], Masker(told["secrets"].values()))
    try:
        _run(task)
    except BaseException as error:  # as in `begin`
        _report_fault(task, error)
    finally:
        os._exit(1)


def _run(task: Task) -> NoReturn:
    from . import execution, warm

    me = os.getpid()
    _open_outputs()
    report = execution.execute(task)
    report["modules"] = warm.loaded()
    if os.getpid() != me:
        os._exit(0)  # a child that the function forked came back from it: the job is not its to end
    jobs.write_down(task.folder, "report", report)
    _say_goodbye()
    os._exit(0)


def _report_fault(task: Task, error: BaseException) -> None:
    from . import execution

    jobs.write_down(task.folder, "report", execution.fault(task, error, time.monotonic()))


def start_over(task: Task) -> None:
    """Replace this process by the interpreter of the spec; secrets reach it by a pipe, never by argv."""
    import json

    reader, writer = os.pipe()
    if not os.fork():
        # The writer is a child of its own, so that neither a long text nor a dead reader can block the worker.
        try:
            os.close(reader)
            told = {"root": task.root, "folder": task.folder, "secrets": task.secrets}
            files.write_all(writer, json.dumps(told).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.dup2(reader, 0)
    python = task.spec.get("python") or sys.executable
    try:
        os.execv(python, processes.program(python, "worker", "worker.entry()"))  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise OSError(error.errno, f"the Python of the job cannot be started: {error.strerror}", python) from None


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _close_all_but_outputs(stdout: int, stderr: int) -> None:
    _null_stdin()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    processes.close_all_but()


def _null_stdin() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null:
        os.close(null)


def _open_outputs() -> None:
    """Text streams on the pipes: UTF-8 wherever the host's locale stands, a line at a time."""
    import faulthandler

    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as the process lives
    sys.stdout, sys.stderr = (
        open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - as above
        for fd in (1, 2)
    )
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    faulthandler.enable(2)


def _say_goodbye() -> None:
    """What a process does at its end, as far as it can be done for one that never returns from where it was forked."""
    import atexit

    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public name for it
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass  # the function closed it
