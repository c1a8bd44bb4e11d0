"""The supervisor: one process per job that outlives every connection, starts the worker, and writes how it ended.

Forked by the agent with the attempt's lock held; its own session. It pumps the worker's output into the job folder,
stops the job on cancel or timeout, ends whatever the job left running, and lets go of the lock last.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import time
from contextlib import suppress
from typing import Any, Optional

from . import files, jobs, outcomes, processes, worker
from .pump import Log, Masker

GRACE = 1.0
LOG_LIMIT = 64 << 20
_PIPE = 256 << 10
_F_SETPIPE_SZ = 1031
_LOOK_EVERY = 1.0
_GIVE_UP = 30.0


def start(root: str, attempt: jobs.Attempt, lock: int, spec: dict[str, Any], secrets: dict[str, str]) -> int:
    """Fork the supervisor of `attempt`; its process id. It inherits `lock`, which is closed here."""
    pid = os.fork()
    if pid:
        os.close(lock)
        return pid
    try:
        signal.set_wakeup_fd(-1)
        _detach(lock)
        supervisor = Supervisor(root, attempt, spec, secrets)
        try:
            supervisor.run()
        except BaseException as error:  # nothing is above us that could tell anybody
            supervisor.crash(error)
    finally:
        os._exit(0)


class Supervisor:
    """One job underway, from the claimed folder to its outcome."""

    def __init__(self, root: str, attempt: jobs.Attempt, spec: dict[str, Any], secrets: dict[str, str]) -> None:
        self._root = root
        self._attempt = attempt
        self._spec = spec
        self._secrets = secrets
        self._grace = GRACE if spec.get("grace") is None else float(spec["grace"])
        self._worker = 0
        self._status: Optional[int] = None
        self._peak = 0
        self._began = time.time()
        self._deadline = float("inf")
        self._reason = ""
        self._out_of_memory = processes.killed_for_memory()
        self._logs: dict[str, Log] = {}
        self._selector = selectors.DefaultSelector()
        self._terminated = False

    def run(self) -> None:
        """Start the worker, see it through, write the outcome."""
        wake = self._watch_signals()
        processes.adopt_orphans()
        if os.path.exists(self._attempt.path("cancel")):
            self._write(outcomes.outcome("cancelled", "cancel", ended=time.time()))
            return
        self._mark_running()
        self._start_worker()
        if self._spec.get("timeout") is not None:
            self._deadline = time.monotonic() + float(self._spec["timeout"])
        self._selector.register(wake, selectors.EVENT_READ, None)
        self._see_through()
        self._end_all()
        for log in self._logs.values():
            log.finish()
        self._write(self._outcome())
        _empty(self._attempt.path("work"), keep=not self._reported("value"))

    def crash(self, error: BaseException) -> None:
        """A fault of our own: the job cannot be seen through, so it is ended, and the fault is told."""
        import traceback

        processes.send(processes.descendants(os.getpid()), signal.SIGKILL)
        told = outcomes.error(
            type(error).__name__, str(error), "", "".join(traceback.format_exception(*_triple(error)))
        )
        self._write(outcomes.outcome("lost", "lost", error=told, started=self._began, ended=time.time()))

    def _watch_signals(self) -> int:
        """A pipe that becomes readable with each signal that concerns us."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGCHLD, signal.SIGUSR1):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_terminate)
        return reader

    def _on_terminate(self, *_: Any) -> None:
        self._terminated = True

    def _mark_running(self) -> None:
        """From here on the job counts as executed: the marker is there before the user's code."""
        self._began = time.time()
        host, pid = os.uname().nodename, os.getpid()
        state = {"state": "running", "started": self._began, "pid": pid, "host": host, "boot": files.boot_id()}
        files.write_json(self._attempt.path("state.json"), state)
        self._note("started", pid=pid, host=host)

    def _start_worker(self) -> None:
        masker = Masker(self._secrets.values())
        limit = LOG_LIMIT if self._spec.get("log_limit") is None else int(self._spec["log_limit"])
        writers = []
        for name in ("stdout", "stderr"):
            reader, writer = os.pipe()
            _widen(reader)
            os.set_blocking(reader, False)
            self._logs[name] = Log(self._attempt.path(name), limit, Masker(self._secrets.values()))
            self._selector.register(reader, selectors.EVENT_READ, self._logs[name])
            writers.append(writer)
        task = worker.Task(self._root, self._attempt.folder, self._spec, self._secrets, masker)
        parent = os.getpid()
        self._worker = os.fork()
        if not self._worker:
            worker.begin(task, parent, *writers)
        for writer in writers:
            os.close(writer)

    def _see_through(self) -> None:
        """Until the worker has ended, or must be ended."""
        reported = 0.0
        while self._status is None and not self._reason:
            now = time.monotonic()
            self._pump(min(_LOOK_EVERY, max(0.0, self._deadline - now)))
            self._reap()
            if not reported and os.path.exists(self._attempt.path("report.json")):
                reported = time.monotonic()
            if reported:
                # The value is there: exit handlers have `grace`, and nothing can stop the job any more.
                if time.monotonic() > reported + self._grace:
                    return
            elif self._terminated:
                self._reason = "signal"
            elif os.path.exists(self._attempt.path("cancel")):
                self._reason = "cancel"
            elif time.monotonic() >= self._deadline:
                self._reason = "timeout"

    def _end_all(self) -> None:
        """End what is left of the job, and see it gone: politely for `grace` seconds, then not."""
        began = time.monotonic()
        asked = False
        pause = 0.005
        while self._reap():
            if not asked:
                self._signal(signal.SIGTERM)
                asked = True
            elif time.monotonic() > began + self._grace:
                self._signal(signal.SIGKILL)
                pause = min(0.2, pause * 2)
            if time.monotonic() > began + self._grace + _GIVE_UP:
                self._note("left", pids=processes.descendants(os.getpid()))
                break
            self._pump(pause if time.monotonic() > began + self._grace else 0.02)
        if not processes.LINUX:
            self._signal(signal.SIGKILL)
        while self._pump(0):
            pass

    def _signal(self, number: int) -> None:
        processes.send(processes.descendants(os.getpid()), number)
        if not processes.LINUX:
            with suppress(ProcessLookupError, PermissionError):  # the group is empty
                os.killpg(self._worker, number)

    def _reap(self) -> bool:
        """Collect children that have ended, adopted ones too; False once there are none: nothing of the job is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            self._peak = max(self._peak, usage.ru_maxrss * (1024 if processes.LINUX else 1))
            if pid == self._worker:
                self._status = status

    def _pump(self, timeout: float) -> bool:
        """Move what the pipes hold into the logs; whether there was anything."""
        moved = False
        for key, _ in self._selector.select(timeout):
            try:
                data = os.read(key.fd, _PIPE)
            except BlockingIOError:
                continue
            if key.data is None:
                continue
            if data:
                key.data.write(data)
                moved = True
            else:
                self._selector.unregister(key.fd)
                os.close(key.fd)
        return moved

    def _reported(self, ending: str) -> bool:
        return (files.read_json(self._attempt.path("report.json")) or {}).get("cause") == ending

    def _outcome(self) -> dict[str, Any]:
        report = files.read_json(self._attempt.path("report.json"))
        now = time.time()
        costs = outcomes.costs(
            queue=max(0.0, self._began - float(self._spec.get("submitted") or self._began)),
            setup=report["setup"] if report else 0.0,
            compute=report["compute"] if report else now - self._began,
            peak_memory=self._peak,
        )
        known: dict[str, Any] = {
            "started": self._began,
            "ended": now,
            "pid": self._worker,
            "costs": costs,
            "dropped": {name: log.dropped for name, log in self._logs.items()},
        }
        if report:
            known.update({key: report[key] for key in ("value", "error", "exit", "python")})
            return outcomes.outcome(report["state"], report["cause"], **known)
        state, cause = self._ending()
        return outcomes.outcome(state, cause, **known, **self._exit())

    def _ending(self) -> tuple[str, str]:
        """State and cause of a worker that did not report."""
        if self._reason == "cancel":
            return "cancelled", "cancel"
        if self._reason == "timeout":
            return "timed_out", "timeout"
        if self._reason == "signal" or self._status is None or os.WIFSIGNALED(self._status):
            return ("out_of_memory", "oom_killer") if self._killed_for_memory() else ("killed", "signal")
        return "killed", "exit"

    def _killed_for_memory(self) -> bool:
        if self._reason or self._status is None or os.WTERMSIG(self._status) != signal.SIGKILL:
            return False
        before, now = self._out_of_memory, processes.killed_for_memory()
        return before is not None and now is not None and now > before

    def _exit(self) -> dict[str, Any]:
        if self._reason == "signal":
            return {"signal": int(signal.SIGTERM)}
        if self._status is None:
            return {}
        if os.WIFSIGNALED(self._status):
            return {"signal": os.WTERMSIG(self._status)}
        return {"exit": os.WEXITSTATUS(self._status)}

    def _write(self, told: dict[str, Any]) -> None:
        self._note("ended", state=told["state"], cause=told["cause"])
        jobs.write_outcome(self._attempt, told)

    def _note(self, event: str, **facts: Any) -> None:
        with suppress(OSError):  # a full disk must not keep the job from ending
            folder = os.path.dirname(os.path.dirname(self._attempt.folder))
            jobs.note(folder, event, attempt=self._attempt.number, **facts)


def _detach(lock: int) -> None:
    """Leave the agent's session and its files, so that the connection can end; keep the lock."""
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    processes.close_all_but(lock)


def _widen(pipe: int) -> None:
    """A bigger pipe means fewer turns for a job that prints a lot; where the system refuses, the usual size does."""
    if processes.LINUX:
        with suppress(OSError):
            fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE)


def _empty(work: str, *, keep: bool) -> None:
    """Remove the job's own working folder; one that failed keeps what is in it, for whoever looks why."""
    try:
        os.rmdir(work)
    except OSError:
        if not keep:
            files.remove_folder(work)


def _triple(error: BaseException) -> tuple[Any, Any, Any]:
    return type(error), error, error.__traceback__
