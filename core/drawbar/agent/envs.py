"""Envs on a host: `<root>/envs/<digest>/` holds an interpreter with what an Env requires, built once, under a lock.

What to build comes from a job's spec; the supervisor forks a child for `build`, whose output goes into the job's log,
and then holds the Env by `use` while the job lives. `complete.json` is written last: a folder without it is no Env.
"""

from __future__ import annotations

import collections
import fcntl
import functools
import json
import os
import re
import shutil
import sys
import time
from contextlib import suppress
from typing import Any, Callable, Optional

from . import blobs, files, pipconf, processes

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_USERINFO = re.compile(rb"(?<=://)(?!git@)[^\s/'\"<>]*@")
_TAIL = 20
_LONGEST_PAUSE = 1.0
_NOT_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "UV_SYSTEM_PYTHON")
"""Variables by which a tool would install elsewhere than into the Env, or take what lies elsewhere for installed."""

_QUIET = {
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_NO_PROGRESS": "1",
    "NO_COLOR": "1",
    "PIP_USER": "0",
    "PIP_NO_INPUT": "1",
    "PIP_PROGRESS_BAR": "off",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PYTHONUNBUFFERED": "1",
}
_INVENTORY = (
    "import json,platform;from importlib.metadata import distributions as d\n"
    "print(json.dumps([platform.python_version(),{o.metadata['Name']:o.version for o in d()}]))"
)
_FULL = ("No space left on device", "Disk quota exceeded", "os error 28", "os error 122")

Say = Callable[[str], None]
_boot_time = functools.lru_cache(maxsize=None)(files.boot_time)


class EnvError(Exception):
    """An Env that cannot be built; nothing of it is left. The attributes are those of the client's errors."""

    def __init__(self, what: str, expected: str = "", found: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.found = found
        self.todo = todo


def ready(root: str, digest: str) -> Optional[str]:
    """The interpreter of the Env, None where there is none that is whole. Takes microseconds.

    One that was built before the last boot is not believed until `build` has looked at its files, because a power cut
    may have left some of them without their content.
    """
    folder = _folder(root, digest)
    return _python(folder) if _believed(folder) else None


def use(root: str, digest: str) -> Optional[int]:
    """A file descriptor that keeps the Env from being removed while it is open; None where it must be built first."""
    folder = _folder(root, digest)
    try:
        lock = os.open(f"{folder}.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if _believed(folder):
            used = os.path.join(folder, "used")
            files.touch(used)
            os.utime(used)
            return lock
    except BlockingIOError:
        pass  # somebody builds or removes it
    os.close(lock)
    return None


def activated(python: str) -> dict[str, str]:
    """Variables by which what a job starts finds the Env's own programs: `torchrun`, `accelerate`."""
    folder = os.path.dirname(python)
    path = os.environ.get("PATH") or os.defpath
    return {"VIRTUAL_ENV": os.path.dirname(folder), "PATH": f"{folder}{os.pathsep}{path}"}


def build(root: str, spec: dict[str, Any], say: Optional[Say] = None) -> str:
    """The interpreter of the Env that `spec` describes, built unless another job has done it or is just doing it.

    The tool's output goes to file descriptor 2 as it comes; `say` (by default the same) takes our own lines. Raises
    EnvError. To be called in a process of its own: it may take an hour, and may be killed at any moment.
    """
    folder = _folder(root, spec["digest"])
    tell = say or _say
    lock = -1
    try:
        files.make_folder(os.path.dirname(folder))
        lock = _open_lock(folder)
        if _is_mine(lock, folder, tell):
            _build(root, folder, spec, lock, tell)
    except OSError as error:
        full = error.errno in files.FULL
        raise _failed(spec, f"{error}", _MAKE_ROOM if full else "mend it on the host, and run again") from error
    finally:
        if lock >= 0:
            os.close(lock)
    return _python(folder)


def remove_unused(root: str, older_than: float, now: float, *, dry: bool = False) -> list[tuple[str, int]]:
    """Remove Envs that no job has begun to use for `older_than` seconds, and what broken builds left.

    What was removed, or would be if it is not `dry`: digests, and the bytes that become free (files shared with a
    tool's cache do not count). An Env that a job uses or builds is left alone. Takes seconds for a big one.
    """
    envs = os.path.join(root, "envs")
    try:
        names = sorted(name for name in os.listdir(envs) if _DIGEST.match(name))
    except FileNotFoundError:
        return []
    removed = []
    for name in names:
        folder = os.path.join(envs, name)
        lock = _open_lock(folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if now - _last_used(folder) >= older_than:
                removed.append((name, _size(folder)))
                if not dry:
                    _remove(folder)
        except BlockingIOError:
            pass
        finally:
            # The lock's file stays: who waits for it must meet those who come later.
            os.close(lock)
    return removed


def _folder(root: str, digest: str) -> str:
    if not isinstance(digest, str) or not _DIGEST.match(digest):
        raise ValueError(f"the digest of an Env is 64 hexadecimal digits, not {digest!r:.80}")
    return os.path.join(root, "envs", digest)


def _python(folder: str) -> str:
    return os.path.join(folder, "bin", "python")


def _open_lock(folder: str) -> int:
    return os.open(f"{folder}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _marker(folder: str) -> str:
    return os.path.join(folder, "complete.json")


def _believed(folder: str) -> bool:
    """Whether it was whole since the last boot, and the Python that it was made from is still there."""
    try:
        return os.stat(_marker(folder)).st_mtime >= _boot_time() and os.path.exists(_python(folder))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _whole(folder: str) -> bool:
    """As `_believed`; one from before the last boot is looked at, and believed from then on."""
    if _believed(folder):
        return True
    if files.read_json(_marker(folder)) is None or not os.path.exists(_python(folder)) or not _intact(folder):
        return False
    os.utime(_marker(folder))
    return True


def _intact(folder: str) -> bool:
    """Whether every file is as long as its package says, at least."""
    import csv
    import glob

    for record in glob.glob(
        os.path.join(glob.escape(folder), "lib", "python*", "site-packages", "*.dist-info", "RECORD")
    ):
        site = os.path.dirname(os.path.dirname(record))
        with open(record, newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                if len(row) > 2 and row[2].isdigit() and files.size_of(os.path.join(site, row[0])) < int(row[2]):  # noqa: PLR2004 - path, hash, size
                    return False
    return True


def _is_mine(lock: int, folder: str, say: Say) -> bool:
    """Whether this process is to build: then it holds the lock alone. False once the Env is there."""
    pause = 0.01
    told = False
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return not _whole(folder)
        if not told:
            say(f"waiting for the Env {os.path.basename(folder)[:12]}, which another job builds")
            told = True
        # Shared, because the one that built it may be followed by jobs that use it for hours.
        fcntl.flock(lock, fcntl.LOCK_SH)
        if _whole(folder):
            return False
        fcntl.flock(lock, fcntl.LOCK_UN)
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * 2)


def _build(root: str, folder: str, spec: dict[str, Any], lock: int, say: Say) -> None:
    began = time.monotonic()
    _remove(folder)
    if os.path.lexists(folder):
        raise _failed(spec, f"what an earlier build left in {folder} cannot be removed", f"remove {folder} on the host")
    try:
        tool = _make(root, folder, spec, lock, say)
        version, packages = _inventory(folder)
        seconds = round(time.monotonic() - began, 3)
        known = {"requirements": spec["requirements"], "python": version, "tool": tool, "seconds": seconds}
        files.write_json(_marker(folder), {**known, "packages": packages})
    except BaseException:
        _remove(folder)
        raise
    say(f"built the Env {spec['digest'][:12]} in {seconds:.1f} s: Python {version}, packages: {len(packages)}")


def _make(root: str, folder: str, spec: dict[str, Any], lock: int, say: Say) -> str:
    """Fill `folder`; the tool that did it."""
    base = spec.get("base") or sys.executable
    uv = _uv()
    if not uv and spec.get("lock_name", "").startswith("pylock."):
        raise _failed(
            spec, "no uv, and pip does not read a pylock.toml", f"{_GET_UV}, or lock with a requirements file"
        )
    say(f"building the Env {spec['digest'][:12]} of {base} with {uv or 'venv and pip'}")
    environ = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    environ.update(_QUIET)
    options: list[str] = []
    if uv:
        said, options = pipconf.for_uv(environ)
        environ = {**said, **environ}

    def run(*argv: str) -> None:
        _run(argv, environ, lock, spec)

    python = _python(folder)
    run(*((uv, "venv", "--quiet", "--python", base, folder) if uv else (base, "-m", "venv", folder)))
    inputs = files.make_folder(os.path.join(folder, "inputs"))
    wanted = [part for path in _inputs(root, inputs, spec) for part in ("-r", path)]
    if wanted:
        install = (uv, "pip", "install", "--python", python) if uv else (python, "-m", "pip", "install")
        run(*install, *options, *wanted)
    files.remove_folder(inputs)
    return "uv" if uv else "pip"


def _inputs(root: str, folder: str, spec: dict[str, Any]) -> list[str]:
    """The files that the tool reads; addresses stand in them and not in its arguments, which anybody could list."""
    known = blobs.Blobs(root)
    wheels = os.path.join(folder, "wheels")
    for name, digest in (spec.get("wheels") or {}).items():
        # A link keeps the bytes while they are needed, whatever becomes of the blob.
        os.link(known.path(digest), os.path.join(files.make_folder(wheels), os.path.basename(name)))
    # Both tools take it from where the file lies, so that a space above in the path does no harm.
    lines = ["--find-links wheels"] if spec.get("wheels") else []
    if spec.get("find_links"):
        lines.append(f"--find-links {os.path.expanduser(spec['find_links'])}")
    if not spec.get("lock"):
        lines += spec["requirements"]
    made = []
    if lines:
        made.append(os.path.join(folder, "requirements.in"))
        with open(made[0], "w", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
    if spec.get("lock"):
        made.append(os.path.join(folder, os.path.basename(spec["lock_name"])))
        shutil.copyfile(known.path(spec["lock"]), made[-1])
    return made


def _run(argv: tuple[str, ...], environ: dict[str, str], lock: int, spec: dict[str, Any]) -> None:
    """Run the tool to its end, its output passed on line by line."""
    import subprocess

    me = os.getpid()
    last: collections.deque[bytes] = collections.deque(maxlen=_TAIL)
    # It inherits the lock: should it outlive us, nobody builds in the same folder meanwhile.
    with subprocess.Popen(
        argv,
        env=environ,
        cwd="/",  # so that no configuration of a project around counts
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(lock,),
        preexec_fn=lambda: processes.die_with(me),  # noqa: PLW1509 - this process has no threads
    ) as tool:
        for line in tool.stdout or ():
            clean = _USERINFO.sub(b"***@", line)
            last.append(clean)
            files.write_all(2, clean)
    if tool.returncode:
        text = b"".join(last).decode("utf-8", "replace").rstrip()
        name = os.path.basename(argv[0])
        ended = f"{name} ended with {'status' if tool.returncode > 0 else 'signal'} {abs(tool.returncode)}"
        raise _failed(spec, f"{ended}\n{text}" if text else ended, _todo(text))


_MAKE_ROOM = "make room on the host's disk (`drawbar gc` removes what no job uses), or set `root` of the target"
_GET_UV = "install uv on the host (it needs no root)"


def _todo(text: str) -> str:
    if any(sign in text for sign in _FULL):
        return _MAKE_ROOM
    if "ensurepip" in text:
        return f"{_GET_UV}, or the package python3-venv"
    return (
        "correct the Env, or the index that the host's own uv or pip is set up for; the job's log has the whole output"
    )


def _failed(spec: dict[str, Any], found: str, todo: str) -> EnvError:
    asked = ", ".join(spec["requirements"]) or "what its lock file pins"
    what = f"The Env {spec['digest'][:12]} cannot be built on {os.uname().nodename}."
    return EnvError(what, f"{asked} to be installed", found, todo)


def _inventory(folder: str) -> tuple[str, dict[str, str]]:
    """The version of the Env's Python and those of its packages, said by itself, so that it is known to start."""
    import subprocess

    asked = [_python(folder), "-I", "-c", _INVENTORY]
    done = subprocess.run(asked, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise OSError(f"the Python of the Env does not start: it ended with status {done.returncode}")
    version, packages = json.loads(done.stdout)
    return version, dict(sorted(packages.items()))


def _uv() -> Optional[str]:
    """Where uv is: named by $DRAWBAR_UV, on the PATH, or where its installers put it; $DRAWBAR_UV may be empty."""
    named = os.environ.get("DRAWBAR_UV")
    if named is not None:
        return named or None
    usual = [os.path.expanduser("~/.local/bin"), os.path.expanduser("~/.cargo/bin")]
    return shutil.which("uv", path=os.pathsep.join([*os.get_exec_path(), *usual]))


def _remove(folder: str) -> None:
    """Remove an Env or a piece of one; what is left of it when this is interrupted is no Env any more."""
    files.remove(_marker(folder))
    files.remove_folder(folder)


def _last_used(folder: str) -> float:
    """When a job last began to use it; long ago for what is no Env."""
    if not os.path.exists(_marker(folder)):
        return float("-inf")
    return max(_changed(os.path.join(folder, name)) for name in ("used", "complete.json"))


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return float("-inf")


def _size(folder: str) -> int:
    """Bytes on disk that only this folder holds."""
    total = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # it goes away just now
                found = os.lstat(os.path.join(here, name))
                total += found.st_blocks * 512 if found.st_nlink == 1 else 0
    return total


def _say(text: str) -> None:
    files.write_all(2, f"{text}\n".encode())
