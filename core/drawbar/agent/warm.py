"""Warm interpreters, from outside: jobs are handed over to processes of this host that have the imports done already.

    <root>/warm/<key>/              lock socket state.json wanted.json log

The agent calls `hand_over` in place of a fork of its own; a supervisor whose job has ended calls `ensure`, with what
the worker found `loaded`. What the process itself does is in `warmed`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Any, NoReturn, Optional

from . import files, jobs, processes, worker

JOB, MODULES, TAKEN = b"j", b"m", b"y"
"""What a connection asks for, and the answer to the first."""
_PATIENCE = 0.25
_SILENCE = 5.0
_STALE = 86400.0
_MOST = 8
_MODULES = 5000
_PASSING = (
    "SSH_",
    "XDG_",
    "DBUS_",
    "TERM",
    "DRAWBAR_",
    "OPENLINEAGE_",
    "LC_TERMINAL",
    "CUDA_MPS_",
    "CUDA_DEVICE_ORDER",
)
_PASSING_NAMES = frozenset(
    ("_", "PWD", "OLDPWD", "SHLVL", "COLORTERM", "TMUX", "TMUX_PANE", "STY", "WINDOWID", "INVOCATION_ID", "LS_COLORS")
)
_DEVICES = "VISIBLE_DEVICES"
_silent: dict[str, float] = {}
_here: dict[str, Any] = {"key": "", "modules": frozenset()}  # what `know` says, for the processes forked from this one


def hand_over(root: str, attempt: jobs.Attempt, lock: int, spec: dict[str, Any], secrets: dict[str, str]) -> bool:
    """Have a warm interpreter run `attempt`, whose lock `lock` is held by the caller; False where that must start it.

    It takes a few milliseconds, or a second at most where that process was stopped. Whatever dies or stops meanwhile,
    the attempt is begun once: the file `offer` lies in its folder, and whoever removes it runs the job. `lock` stays
    open; for True the caller closes it.
    """
    if spec.get("isolate") or any(name.startswith(worker.NEEDS_EXEC) for name in {**_variables(spec), **secrets}):
        return False
    try:
        name = key(root, spec) if os.path.isdir(os.path.join(root, "warm")) else None
        if name is None or _silent.get(name, 0.0) > time.monotonic():
            return False
        connection = connect(os.path.join(root, "warm", name))
    except OSError:
        return False
    if connection is None:
        return False
    with connection:
        taken = _offer(connection, root, attempt, lock, secrets)
    if taken is None:
        _silent[name] = time.monotonic() + _SILENCE
    return bool(taken)


def ensure(root: str, spec: dict[str, Any], modules: list[str], idle_timeout: float) -> None:
    """Have an interpreter for jobs like that of `spec` that did its imports, `modules`; called once the job has ended.

    The one that lives hears of them; else one is started, and stays for `idle_timeout` seconds with nothing to do. With
    variables of its own, a kind of job must have come twice. Raises OSError.
    """
    name = _here["key"] or key(root, spec)
    python = _python(root, spec)
    if name is None or python is None or idle_timeout <= 0 or not (modules or python != sys.executable):
        return
    folder = os.path.join(root, "warm", name)
    known = os.path.isdir(folder)
    connection = connect(files.make_folder(folder))
    if connection is not None:
        with connection, suppress(OSError):
            connection.settimeout(_PATIENCE)
            connection.sendall(MODULES + json.dumps(modules).encode())
    elif not _here["key"] and (known or not any(_lasting(variable) for variable in _variables(spec))):
        env = (spec.get("env") or {}).get("digest") or ""
        if _running(root, folder) < _MOST:
            _start(root, folder, python, _surroundings(spec), {"modules": modules, "idle": idle_timeout, "env": env})


def loaded() -> list[str]:
    """The installed modules that this process has imported since it began, in that order; never the project's code."""
    folders = packages()
    return [name for name in list(sys.modules) if name not in _here["modules"] and installed(name, folders)][:_MODULES]


def clashes(code: list[str]) -> bool:
    """Whether the project's code in these folders has a name that was imported already, from somewhere else."""
    taken = {name.partition(".")[0] for name in _here["modules"]}
    return any(name.partition(".")[0] in taken for folder in code if taken for name in os.listdir(folder))


def key(root: str, spec: dict[str, Any]) -> Optional[str]:
    """The name of the interpreter that jobs like this one share; None where it is not there yet.

    The same Python with the same packages, agent and environment, apart from variables that each login or job has anew.
    """
    python = _python(root, spec)
    if python is None:
        return None
    lasting = sorted(item for item in _surroundings(spec).items() if _lasting(item[0]))
    known = json.dumps([python, _changes(python), lasting, processes.package()])
    return hashlib.sha256(known.encode()).hexdigest()[:16]


def passing() -> dict[str, str]:
    """The variables of this process that each login has anew, and that the jobs of that login get."""
    return {name: value for name, value in os.environ.items() if not _lasting(name)}


def know(name: str) -> None:
    """This process is the warm interpreter `name`; what it has imported is known."""
    folders = packages()
    _here.update(key=name, modules=frozenset(one for one in list(sys.modules) if installed(one, folders)))


def connect(folder: str) -> Optional[socket.socket]:
    """A connection to the process of `folder`; None where none lives. Its path may be longer than a socket's can be."""
    if not hasattr(socket, "AF_UNIX") or not processes.LINUX:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if os.path.isdir(folder) else -1
    try:
        connection.connect(f"/proc/self/fd/{place}/socket")
    except OSError:
        connection.close()
        return None
    finally:
        if place >= 0:
            os.close(place)
    if owner(connection) != os.getuid():
        connection.close()
        return None
    return connection


def owner(connection: socket.socket) -> int:
    """The user at the other end."""
    return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


def installed(name: str, folders: Optional[list[str]] = None) -> bool:
    """Whether a module that is loaded lies among the packages of this interpreter, `packages()`.

    Who asks for hundreds of modules gives `folders`: to find them costs as much as all else of a small job.
    """
    try:
        spec = sys.modules[name].__spec__
        assert spec is not None
        origins = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
        return spec.name == name and bool(origins) and all(is_below(path, folders or packages()) for path in origins)
    except Exception:  # what lies in sys.modules may be anything
        return False


def claim(folder: str) -> bool:
    """Take the offer in an attempt's folder: whoever gets True runs the job. Nobody gets it twice."""
    try:
        os.unlink(os.path.join(folder, "offer"))
    except FileNotFoundError:
        return False
    return True


def _offer(
    connection: socket.socket, root: str, attempt: jobs.Attempt, lock: int, secrets: dict[str, str]
) -> Optional[bool]:
    """Whether a child of the warm interpreter runs the job; None where nobody answers."""
    connection.settimeout(_PATIENCE)
    try:
        connection.sendall(JOB)
        child = int(connection.recv(32) or 0)
        if not child:
            return None
        files.touch(attempt.path("offer"))
    except (OSError, ValueError):
        return None
    told = {"root": root, "attempt": attempt, "secrets": secrets, "variables": passing()}
    data = json.dumps(told).encode()
    with suppress(OSError):
        socket.send_fds(connection, [struct.pack("!I", len(data))], [lock])
        connection.sendall(data)
        if connection.recv(1) == TAKEN:
            return True
    if not claim(attempt.folder):
        return True
    # A child that is stopped, not gone, would keep the lock in its hands. It ends here: it never began.
    if not _gone(connection):
        processes.send([child], signal.SIGKILL)
    return None


def _gone(connection: socket.socket) -> bool:
    import select

    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


def _variables(spec: dict[str, Any]) -> dict[str, str]:
    return spec.get("variables") or {}


def _lasting(name: str) -> bool:
    """Whether a variable tells something of the interpreter, rather than of one login or one job."""
    return not (name.startswith(_PASSING) or name in _PASSING_NAMES or name.endswith(_DEVICES))


def _surroundings(spec: dict[str, Any]) -> dict[str, str]:
    """The environment of a warm interpreter; no device is chosen in it."""
    known = {name: value for name, value in _variables(spec).items() if _lasting(name)}
    return {**{name: value for name, value in os.environ.items() if not name.endswith(_DEVICES)}, **known}


def _python(root: str, spec: dict[str, Any]) -> Optional[str]:
    """The interpreter of the job; None where it must be built first."""
    if spec.get("python"):
        return str(spec["python"])
    if not spec.get("env"):
        return sys.executable
    from . import envs

    return envs.ready(root, spec["env"]["digest"])


def _changes(python: str) -> list[tuple[str, int]]:
    """The folders of the packages that `python` sees, and when something was last put into them or taken away."""
    found = {}
    homes = {os.path.dirname(os.path.dirname(path)) for path in (os.path.abspath(python), os.path.realpath(python))}
    for home in (*homes, *(os.path.join(home, "local") for home in homes), os.path.expanduser("~/.local")):
        for library in _listed(home, "lib"):
            for version in _listed(library, "python3"):
                for place in (os.path.join(version, "site-packages"), os.path.join(version, "dist-packages")):
                    with suppress(OSError):
                        found[place] = os.stat(place).st_mtime_ns
    return sorted(found.items())


def _listed(folder: str, begin: str) -> list[str]:
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith(begin)]
    except OSError:
        return []


def packages() -> list[str]:
    """The folders of packages on this interpreter's path."""
    found = [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]
    return list(dict.fromkeys((*found, *(os.path.realpath(path) for path in found))))


def is_below(path: str, folders: list[str]) -> bool:
    """Whether `path` lies under one of them."""
    return any(path.startswith(f"{folder}{os.sep}") for folder in folders)


def _running(root: str, but: str) -> int:
    """How many interpreters live; what one left behind long ago is removed."""
    count = 0
    for name in os.listdir(os.path.join(root, "warm")):
        folder = os.path.join(root, "warm", name)
        lock = hold(folder)
        if lock is None:
            count += 1
            continue
        with suppress(OSError):
            if folder != but and time.time() - os.stat(folder).st_mtime > _STALE:
                files.remove_folder(folder)
        os.close(lock)
    return count


def hold(folder: str) -> Optional[int]:
    """The lock of a warm interpreter, now held; None where one lives (or is just being removed)."""
    try:
        lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _start(root: str, folder: str, python: str, variables: dict[str, str], wanted: dict[str, Any]) -> None:
    """Start one, in a session of its own, that nobody here waits for."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        os.setsid()
        if not os.fork():
            _become(root, folder, python, variables, wanted)
    finally:
        os._exit(0)


def _become(root: str, folder: str, python: str, variables: dict[str, str], wanted: dict[str, Any]) -> NoReturn:
    try:
        os.chdir("/")
        lock = hold(folder)
        if lock is not None:
            files.write_json(os.path.join(folder, "wanted.json"), wanted)
            null = os.open(os.devnull, os.O_RDONLY)
            log = os.open(os.path.join(folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            for number, fd in enumerate((null, log, log)):
                os.dup2(fd, number)
            processes.close_all_but(lock)
            os.set_inheritable(lock, True)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            call = "warmed.entry(*sys.argv[1:])"
            argv = [*processes.program(python, "warmed", call), root, folder, str(lock)]
            os.execve(python, argv, variables)  # noqa: S606 - no shell is wanted
    finally:
        os._exit(1)
