"""A warm interpreter, from inside: it has imported what earlier jobs did, and forks the supervisors of later ones.

`warm` starts it and talks to it. It runs no job itself and has one thread. Further modules are imported by a fork of
it, which takes its place if all went well: so it always answers, and an import that hangs, crashes or leaves behind
what a fork would break (see `importing`) costs nobody anything.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from typing import Any, NoReturn, Optional

from . import files, importing, jobs, processes, warm

_LOOK_EVERY = 5.0
_PATIENCE = 10.0
_TRIES = 10
_MESSAGE = 4 << 20


def entry(root: str, folder: str, lock: str) -> NoReturn:
    """Be the warm interpreter of `folder`, in a process that `warm` just started; `lock` is its lock's descriptor."""
    try:
        sys.argv[:] = [""]
        os.set_inheritable(int(lock), False)
        wanted = files.read_json(os.path.join(folder, "wanted.json")) or {}
        if wanted.get("env"):
            from . import envs

            envs.use(root, wanted["env"])
        from .answers import load_for_workers

        load_for_workers()
        warm.know(os.path.basename(folder))
        Interpreter(folder, int(lock), float(wanted["idle"])).run(wanted["modules"])
    except BaseException:  # nobody is above us, but whoever reads the log
        traceback.print_exc()
    finally:
        os._exit(0)


class Interpreter:
    """One generation of the process: it serves, until the next takes over or nothing has come for `idle` seconds."""

    def __init__(self, folder: str, lock: int, idle: float) -> None:
        self._folder = folder
        self._lock = lock
        self._idle = idle
        self._since = time.time()
        self._busy = time.monotonic()
        self._refused: dict[str, str] = (files.read_json(self._path("state.json")) or {}).get("refused") or {}
        self._wanted: list[str] = []
        self._children: set[int] = set()
        self._asked: dict[int, tuple[socket.socket, bytearray, float]] = {}
        self._next: Optional[_Next] = None
        self._last: Optional[socket.socket] = None
        self._open: Optional[socket.socket] = None
        self._wake = -1
        self._tries = 0
        self._listener: Optional[socket.socket] = None

    def run(self, modules: list[str]) -> None:
        """Serve until the end."""
        self._wake = _wake_pipe()
        self._listener = self._listen()
        self._write_down()
        self._want(modules)
        while self._goes_on():
            if self._listener is not None:
                if self._wanted and self._next is None and self._tries < _TRIES:
                    self._renew()
                elif self._gone() or self._idled():
                    return
            self._turn()
            self._reap()

    def _turn(self) -> None:
        """Wait for something to happen, and see to it."""
        ours = [one.fileno() for one in (self._listener, self._last, self._next and self._next.said) if one]
        poll = select.poll()
        for fd in (self._wake, *ours, *self._asked):
            poll.register(fd, select.POLLIN)
        rest = _LOOK_EVERY if self._is_busy() else self._idle + self._busy - time.monotonic()
        for fd, _ in poll.poll(1000 * max(0.01, min(_LOOK_EVERY, rest))):
            if fd == self._wake:
                _drain(fd)
            elif self._listener is not None and fd == self._listener.fileno():
                self._accept(self._listener)
            elif self._next is not None and fd == self._next.said.fileno():
                self._hear(self._next)
            elif self._last is not None and fd == self._last.fileno():
                self._last.close()  # the one before us has seen its last job end
                self._last, self._busy = None, time.monotonic()
            elif fd in self._asked:
                self._answer(*self._asked[fd])
        for connection, _, began in list(self._asked.values()):
            if time.monotonic() > began + _PATIENCE:
                self._forget(connection)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # whoever asked has gone, or the next generation was quicker
        if warm.owner(connection) != os.getuid():
            connection.close()
            return
        connection.setblocking(False)
        self._asked[connection.fileno()] = (connection, bytearray(), time.monotonic())
        self._answer(*self._asked[connection.fileno()])

    def _answer(self, connection: socket.socket, said: bytearray, began: float) -> None:  # noqa: ARG002 - as it is kept
        try:
            data = connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data, said = b"", bytearray()
        said += data
        if said[:1] == warm.JOB:
            self._begin(connection)
        elif data and len(said) < _MESSAGE:
            return  # more is to come
        elif said[:1] == warm.MODULES:
            with suppress(ValueError):
                self._want(json.loads(said[1:]))
        self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        del self._asked[connection.fileno()]
        connection.close()

    def _begin(self, connection: socket.socket) -> None:
        """Fork a process that lives for one job; it is handed over to that, not to us."""
        self._busy = time.monotonic()
        try:
            pid = os.fork()
        except OSError:
            return  # who asked starts it without us
        if pid:
            self._children.add(pid)
            return
        try:
            _serve(connection)
        finally:
            os._exit(0)

    def _want(self, modules: Any) -> None:
        """Have these modules imported, by the next generation; at the end of this turn."""
        told = [name for name in modules if isinstance(name, str)] if isinstance(modules, list) else []
        self._wanted = [name for name in dict.fromkeys((*self._wanted, *told)) if not self._is_known(name)]

    def _is_known(self, name: str) -> bool:
        parts = name.split(".")
        above = (".".join(parts[: count + 1]) for count in range(len(parts)))
        return name in sys.modules or any(one in self._refused for one in above)

    def _renew(self) -> None:
        """Fork the next generation, which imports what is wanted, and takes over after that."""
        said, ours = socket.socketpair()
        try:
            pid = os.fork()
        except OSError:
            said.close()
            ours.close()
            return
        if pid:
            ours.close()
            self._next = _Next(pid, said)
            return
        said.close()
        for connection, _, _ in self._asked.values():
            connection.close()
        if self._last is not None:
            self._last.close()
        os.close(signal.set_wakeup_fd(-1))
        os.close(self._wake)
        self._asked, self._children, self._last, self._next = {}, set(), ours, None
        for name in self._wanted:
            if name in sys.modules:
                continue
            _say(ours, f"try {name}")
            wrong = importing.tried(name)
            if wrong:
                _say(ours, f"bad {wrong}")
                os._exit(1)
        gc.collect()
        gc.freeze()
        warm.know(os.path.basename(self._folder))
        self._wake, self._wanted, self._tries = _wake_pipe(), [], 0
        self._busy = time.monotonic()
        self._write_down()
        _say(ours, "done")

    def _hear(self, following: _Next) -> None:
        """What the next generation says of itself; its end, where it says no more."""
        try:
            data = following.said.recv(1 << 16)
        except OSError:
            data = b""
        *lines, following.rest = (following.rest + data).split(b"\n")
        for line in lines:
            word, _, text = line.decode(errors="replace").partition(" ")
            if word == "try":
                following.trying = text
            elif word == "bad":
                following.wrong = text
            elif word == "done":
                self._retire(following)
                return
        if data:
            return
        following.said.close()
        self._next = None
        self._tries += 1
        if following.trying:
            self._refused[following.trying] = following.wrong or "the process ended, or took too long"
            self._write_down()
        self._want([])

    def _retire(self, following: _Next) -> None:
        """Only see to the end of the jobs that run; the open socket tells the next generation that some do."""
        self._open, self._next = following.said, None
        if self._listener is not None:
            self._listener.close()
        self._listener = None
        os.close(self._lock)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid in self._children:
                    self._children.discard(pid)
                    self._busy = time.monotonic()

    def _goes_on(self) -> bool:
        return self._listener is not None or self._is_busy()

    def _is_busy(self) -> bool:
        """Whether a job runs, here or of the one before us, or will."""
        return bool(self._children or self._asked or self._next or self._last)

    def _idled(self) -> bool:
        """Whether it is time to go; then nobody finds the way here any more."""
        if self._is_busy() or time.monotonic() < self._busy + self._idle:
            return False
        files.remove(self._path("socket"))
        return True

    def _gone(self) -> bool:
        """Whether somebody removed the folder that we serve, or put another in its place."""
        try:
            return os.fstat(self._lock).st_ino != os.stat(self._path("lock")).st_ino
        except OSError:
            return True

    def _listen(self) -> socket.socket:
        """The socket; bound by way of its open folder, whose own path may be longer than a socket's can be."""
        files.remove(self._path("socket"))
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.setblocking(False)
        place = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            made.bind(f"/proc/self/fd/{place}/socket")
        finally:
            os.close(place)
        made.listen(128)
        return made

    def _write_down(self) -> None:
        """For people, and for the one that comes after us: it needs not try again what was refused."""
        top = sorted({name.partition(".")[0] for name in list(sys.modules) if warm.installed(name)})
        state = {"pid": os.getpid(), "python": sys.executable, "since": self._since, "idle_timeout": self._idle}
        with suppress(OSError):
            files.write_json(self._path("state.json"), {**state, "modules": top, "refused": self._refused})

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)


class _Next:
    """The next generation, while it imports: its process, what it says, and what it was doing last."""

    def __init__(self, pid: int, said: socket.socket) -> None:
        self.pid = pid
        self.said = said
        self.rest = b""
        self.trying = ""
        self.wrong = ""


def _serve(connection: socket.socket) -> None:
    """Be the supervisor of the job that comes through `connection`, in a process just forked."""
    signal.set_wakeup_fd(-1)
    processes.close_all_but(connection.fileno())
    connection.settimeout(_PATIENCE)
    connection.sendall(b"%d" % os.getpid())
    head, fds, _, _ = socket.recv_fds(connection, 4, 1)
    if len(head) < 4 or len(fds) != 1:  # noqa: PLR2004 - the length, as four bytes
        return
    os.set_inheritable(fds[0], False)
    told = json.loads(_receive(connection, int.from_bytes(head, "big")))
    attempt = jobs.Attempt(*told["attempt"])
    spec = files.read_json(attempt.path("spec.json"))
    if spec is None or not warm.claim(attempt.folder):
        return
    with suppress(OSError):  # who asked may have gone meanwhile; the job is ours
        connection.sendall(warm.TAKEN)
    connection.close()
    for name in warm.passing():
        del os.environ[name]
    os.environ.update(told["variables"])
    _draw_anew()
    from . import supervisor

    supervisor.become(told["root"], attempt, fds[0], spec, told["secrets"])


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(min(size - len(data), 1 << 20))
        if not piece:
            raise EOFError
        data += piece
    return data


def _draw_anew() -> None:
    """Jobs of one interpreter would all draw the same random numbers; Python's own it seeds anew by itself."""
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()


def _say(to: socket.socket, line: str) -> None:
    with suppress(OSError):  # it has ended; the work goes on
        to.sendall(" ".join(line.split()).encode(errors="replace") + b"\n")


def _wake_pipe() -> int:
    """A pipe that becomes readable when a child ends."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    return reader


def _drain(fd: int) -> None:
    with suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass
