"""The supervisor: one process per job that outlives every connection, sees it through, and writes how it ended.

Forked by the agent with the attempt's lock held; its own session. It waits for what the job needs, starts the worker,
pumps what that prints into the job folder, stops the job on cancel or timeout, ends whatever it left running, and lets
go of the lock last.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import time
from contextlib import suppress
from typing import Any, Callable, NoReturn, Optional

from . import files, jobs, outcomes, processes, worker
from .needs import Needs
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
    return become(root, attempt, lock, spec, secrets)


def become(root: str, attempt: jobs.Attempt, lock: int, spec: dict[str, Any], secrets: dict[str, str]) -> NoReturn:
    """Be the supervisor of `attempt`, in a process just forked that keeps nothing but its `lock`."""
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
        self._lock = os.stat(attempt.path("lock")).st_ino
        self._needs = Needs(root, attempt, spec)
        self._secrets = secrets
        self._grace = GRACE if spec.get("grace") is None else float(spec["grace"])
        self._child = 0
        self._status: Optional[int] = None
        self._peak = 0
        self._began = time.time()
        self._started: Optional[float] = None
        self._deadline = self._in(spec.get("wait_timeout"))
        self._late = "waiting"
        self._heard = float("inf")
        self._reason = ""
        self._out_of_memory = processes.killed_for_memory()
        self._logs: dict[str, Log] = {}
        self._selector = selectors.DefaultSelector()
        self._terminated = False

    def run(self) -> None:
        """Get what the job needs, start the worker, see it through, write the outcome."""
        self._selector.register(self._watch_signals(), selectors.EVENT_READ, None)
        processes.adopt_orphans()
        masked = self._secrets.values()
        limit = LOG_LIMIT if self._spec.get("log_limit") is None else int(self._spec["log_limit"])
        self._logs = {name: Log(self._attempt.path(name), limit, Masker(masked)) for name in ("stdout", "stderr")}
        if not self._must_stop() and self._prepare():
            self._mark_running()
            task = worker.Task(self._root, self._attempt.folder, self._needs.spec, self._secrets, Masker(masked))
            self._see_through(lambda parent, *outputs: worker.begin(task, parent, *outputs))
        told = self._outcome()
        self._needs.release()
        for log in self._logs.values():
            log.finish()
        if not self._ours():
            return
        told["dropped"] = {name: log.dropped for name, log in self._logs.items()}
        report = files.read_json(self._attempt.path("report.json")) or {}
        self._write(told)
        _empty(self._attempt.path("work"), keep=report.get("cause") != "value")
        self._stay_warm(report)

    def crash(self, error: BaseException) -> None:
        """A fault of our own: the job cannot be seen through, so it is ended, and the fault is told."""
        import traceback

        processes.send(processes.descendants(os.getpid()), signal.SIGKILL)
        self._needs.release()
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

    def _prepare(self) -> bool:
        """Wait until what the job needs is there; whether it is."""
        while not self._needs.has_env():
            self._wait_for("waiting for its environment, which is being built")
            self._see_through(self._needs.build)
            self._status = None
            if self._reason or not self._needs.was_built():
                return False
        while (waiting := self._needs.waiting()) is not None:
            self._wait_for(waiting)
            self._pump(min(_LOOK_EVERY, max(0.0, self._deadline - time.monotonic())))
            if self._must_stop():
                return False
        if self._needs.sampler is not None:
            self._selector.register(self._needs.sampler, selectors.EVENT_READ, self._needs.sampler)
        return self._needs.refused is None

    def _wait_for(self, what: str) -> None:
        """Let everybody see for what the job waits."""
        state = files.read_json(self._attempt.path("state.json")) or {}
        if state.get("waiting") != what:
            known = {**state, "state": "waiting", "waiting": what, "pid": os.getpid(), "boot": files.boot_id()}
            files.write_json(self._attempt.path("state.json"), known)

    def _mark_running(self) -> None:
        """From here on the job counts as executed: the marker is there before the user's code."""
        self._started = time.time()
        self._deadline, self._late = self._in(self._spec.get("timeout")), "timeout"
        host, pid = os.uname().nodename, os.getpid()
        state = {"state": "running", "started": self._started, "pid": pid, "host": host, "boot": files.boot_id()}
        files.write_json(self._attempt.path("state.json"), {**state, "gpus": self._needs.devices()})
        self._note("started", pid=pid, host=host)

    def _see_through(self, begin: Callable[[int, int, int], NoReturn]) -> None:
        """Have a child do what `begin` does, its output in the logs, until nothing of it is left."""
        writers = []
        for log in self._logs.values():
            reader, writer = os.pipe()
            _widen(reader)
            os.set_blocking(reader, False)
            self._selector.register(reader, selectors.EVENT_READ, log)
            writers.append(writer)
        parent = os.getpid()
        self._heard = time.monotonic()
        self._child = os.fork()
        if not self._child:
            begin(parent, *writers)
        for writer in writers:
            os.close(writer)
        self._watch()
        if self._needs.sampler is not None:
            with suppress(KeyError):  # it has ended by itself
                self._selector.unregister(self._needs.sampler)
            self._needs.sampler.stop()
        self._end_all()

    def _watch(self) -> None:
        """Until the child has ended, or must be ended."""
        reported = 0.0
        while self._status is None:
            self._pump(min(_LOOK_EVERY, max(0.0, self._deadline - time.monotonic())))
            self._reap()
            if not self._ours():
                self._reason = "removed"
                return
            if not reported and os.path.exists(self._attempt.path("report.json")):
                reported = time.monotonic()
            if reported:
                # The value is there: exit handlers have `grace`, and nothing can stop the job any more.
                if time.monotonic() > reported + self._grace:
                    return
            elif self._status is None and self._must_stop():
                return

    def _must_stop(self) -> bool:
        """Whether somebody or a limit ends the job now; `_reason` tells which."""
        now, silence = time.monotonic(), self._spec.get("silence_timeout")
        if not self._ours():
            self._reason = "removed"
        elif self._terminated:
            self._reason = "signal"
        elif os.path.exists(self._attempt.path("cancel")):
            self._reason = "cancel"
        elif now >= self._deadline:
            self._reason = self._late
        elif silence is not None and self._started is not None and now > self._heard + float(silence):
            self._reason = "silence"
        return bool(self._reason)

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
                os.killpg(self._child, number)

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
            if pid == self._child:
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
            if not isinstance(key.data, Log):
                if data:
                    key.data.feed(data, processes.descendants(os.getpid()))
                else:
                    self._selector.unregister(key.fileobj)
            elif data:
                key.data.write(data)
                self._heard = time.monotonic()
                moved = True
            else:
                self._selector.unregister(key.fd)
                os.close(key.fd)
        return moved

    def _outcome(self) -> dict[str, Any]:
        report = files.read_json(self._attempt.path("report.json"))
        known: dict[str, Any] = {
            "started": self._started,
            "ended": time.time(),
            "pid": self._child or None,
            "costs": self._costs(report or {}),
        }
        if report:
            known.update({key: report[key] for key in ("value", "error", "exit", "python")})
            return outcomes.outcome(report["state"], report["cause"], **known)
        if self._needs.refused is not None and not self._reason:
            return outcomes.outcome("failed", self._needs.refused[0], **known, error=self._needs.refused[1])
        state, cause = self._ending()
        return outcomes.outcome(state, cause, **known, **self._exit())

    def _costs(self, report: dict[str, Any]) -> dict[str, Any]:
        now = time.time()
        began = self._started or now
        needs = self._needs.costs()
        device = max(report.get("device_memory") or 0, needs.pop("peak_device_memory"))
        return outcomes.costs(
            **needs,
            queue=max(0.0, began - needs["build"] - float(self._spec.get("submitted") or self._began)),
            transfer=float(self._spec.get("transfer") or 0.0),
            setup=report.get("setup", 0.0),
            compute=report.get("compute", now - began),
            peak_memory=self._peak,
            peak_device_memory=device,
        )

    def _stay_warm(self, report: dict[str, Any]) -> None:
        """Have an interpreter ready, with the same imports done, for the next job of this kind."""
        idle, modules = float(self._spec.get("idle_timeout") or 0.0), report.get("modules") or []
        python = self._needs.spec.get("python")
        if idle > 0 and (modules or python) and not self._spec.get("isolate"):
            from . import warm

            with suppress(OSError):  # the next job is slower, no more
                warm.ensure(self._root, {**self._spec, "python": python}, modules, idle)

    def _ending(self) -> tuple[str, str]:
        """State and cause of a worker that did not report."""
        if self._reason == "cancel":
            return "cancelled", "cancel"
        if self._reason in ("timeout", "waiting", "silence"):
            return "timed_out", self._reason
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

    @staticmethod
    def _in(seconds: Any) -> float:
        """The moment, by the monotonic clock, that many seconds from now; never, for None."""
        return float("inf") if seconds is None else time.monotonic() + float(seconds)

    def _ours(self) -> bool:
        """Whether the job's folder is still ours: somebody may have removed it, and another attempt have its name."""
        try:
            return os.stat(self._attempt.path("lock")).st_ino == self._lock
        except FileNotFoundError:
            return False

    def _write(self, told: dict[str, Any]) -> None:
        if not self._ours():
            return  # whoever asks was told that the job is lost
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
