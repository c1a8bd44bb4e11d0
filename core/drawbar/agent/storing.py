"""The store as this host reaches it: values that a job takes are read there, and what it makes is put there.

A client asks once whether the host sees the same store (`look`); a worker then has inputs brought (`bring`) into blobs
and its value put (`keep`) where the store's layout says, so that neither goes through the client. Folders are read
here; what fsspec reaches is left to a process of the agent's Python (`main`), which need not be the job's, and whose
threads and memory are not the worker's.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Optional

from . import files, jobs, processes
from .blobs import Blobs
from .worker import Task

MARKER = ".drawbar"
"""The file at the root of a store whose content says which store it is."""
WHOLE_PUTS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory", "oss", "obs", "oci", "tos", "hf"}
"""Protocols on which a PUT is whole or not there; on others a new file is written beside and moved into place."""
WITH_FOLDERS = {"sftp", "ssh", "ftp", "smb", "hdfs", "arrow_hdfs", "webhdfs", "dir", "local", "file"}
"""Protocols on which a file needs its folder made first."""
_PIECE = 1 << 20
_PATIENCE = 20.0
_TRIES = 5
_TOLD = 500


class StoreAccessError(Exception):
    """The store cannot be used from here; the text says why."""


def look(wanted: dict[str, Any]) -> dict[str, Any]:
    """Whether this host `reads` and `writes` the store at `url` whose marker holds `id`; if not, `why`.

    `variables` are those that jobs will have: credentials may be among them. `python` is the interpreter that was
    asked, which `bring` and `keep` need. Nothing is raised, and it takes no longer than 20 seconds.
    """
    url = wanted["url"]
    found: dict[str, Any] = {"reads": False, "writes": False, "why": "", "python": sys.executable}
    try:
        if _is_path(url):
            content = _read_marker(os.path.join(url, MARKER))
        else:
            content = _ask(sys.executable, "read", url, MARKER, variables=wanted.get("variables"), patience=_PATIENCE)
    except StoreAccessError as fault:
        return {**found, "why": str(fault)}
    if str(content).strip() != wanted["id"]:
        return {**found, "why": f"{url} is another store on this host"}
    found["reads"] = True
    if _is_path(url):
        found["why"] = _why_not_written(url)
    return {**found, "writes": not found["why"]}


def bring(root: str, digest: str, url: str, python: str) -> str:
    """The path of the blob of `digest`, read from `url` if it is not here. Raises StoreAccessError, leaving nothing."""
    blobs = Blobs(root)
    path = blobs.path(digest)
    if blobs.has(digest):
        return path
    with _alone(os.path.join(files.make_folder(os.path.join(root, "partial")), f"read-{digest}")) as staging:
        if blobs.has(digest):
            return path
        try:
            if _is_path(url):
                found = _copied(url, staging)
            else:
                folder, _, name = url.rpartition("/")
                _ask(python, "get", folder, name, path=staging)
                found = _hash(staging)
            if found != digest:
                size = files.size_of(staging)
                raise StoreAccessError(
                    f"{url} is not what was made: {size} bytes with sha256 {found}, expected {digest}"
                )
            files.make_folder(os.path.dirname(path))
            os.chmod(staging, 0o400)
            os.rename(staging, path)
        except OSError as error:
            raise StoreAccessError(f"{url} cannot be read: {error.strerror or error}") from None
        finally:
            files.remove(staging)
    return path


def argument(task: Task, named: dict[str, Any]) -> str:
    """The path of the blob that an argument names by `url`, too: the client left it to us to bring it."""
    try:
        return bring(task.root, named["blob"], named["url"], task.spec["store"]["python"])
    except StoreAccessError as fault:
        raise StoreAccessError(
            f'{fault}; with `store_access = "relay"` of the target it comes through the client'
        ) from None


def keep(task: Task, value: dict[str, Any]) -> dict[str, Any]:
    """Put the blob of a `value` into the store that the spec names; what the outcome says of that, beside the value.

    `stored` is in how many seconds; where it could not be done, `unstored` and the job's log say why, and the client
    takes the value from here.
    """
    store = task.spec.get("store") or {}
    why = store.get("why") or ""
    if not why:
        if not store.get("folder"):
            return {}
        began = time.monotonic()
        name = f"{store['folder']}/values/{value['digest']}{value['ext']}"
        try:
            _put(store, name, Blobs(task.root).path(value["digest"]))
            return {"stored": time.monotonic() - began}
        except StoreAccessError as fault:
            why = str(fault)
        except OSError as error:
            why = f"{store['url']}/{name} cannot be written: {error.strerror or error}"
    why = task.masker.text(why)
    with suppress(OSError):
        job, attempt = os.path.dirname(os.path.dirname(task.folder)), int(os.path.basename(task.folder))
        jobs.note(job, "relayed", attempt=attempt, why=why)
    return {"unstored": why}


def _is_path(url: str) -> bool:
    return "://" not in url and "::" not in url


def _read_marker(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(_TOLD)
    except FileNotFoundError:
        raise StoreAccessError(f"there is no {path} on this host") from None
    except OSError as error:
        raise StoreAccessError(f"{path} cannot be read: {error.strerror}") from None


def _why_not_written(folder: str) -> str:
    """Why no value could be put into the store in `folder`; found out by making a file: ACLs have a say."""
    try:
        with _staged(folder) as (fd, _):
            os.write(fd, b"\n")
    except OSError as error:
        return f"{folder} cannot be written: {error.strerror}"
    return ""


def _put(store: dict[str, Any], name: str, blob: str) -> None:
    """The bytes of `blob` as the file `name` of the store, whole or not at all. Raises StoreAccessError and OSError."""
    url = store["url"]
    if not _is_path(url):
        _ask(store["python"], "put", url, name, path=blob)
        return
    full = os.path.join(url, name)
    _make_folders(os.path.dirname(full))
    with _staged(url) as (fd, staging):
        with open(blob, "rb", buffering=0) as file:
            while True:
                piece = file.read(_PIECE)
                if not piece:
                    break
                files.write_all(fd, piece)
        os.rename(staging, full)


@contextmanager
def _staged(folder: str) -> Iterator[tuple[int, str]]:
    """A new file in the store's own `.tmp`, which is on its disk; gone afterwards, if it was not renamed."""
    staging = os.path.join(folder, ".tmp", f"host-{os.urandom(6).hex()}-{os.getpid()}")
    fd = -1
    for left in reversed(range(_TRIES)):
        _make_folders(os.path.dirname(staging))
        try:
            fd = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            break
        except FileNotFoundError:  # a client tidied the folder away just now
            if not left:
                raise
    try:
        yield fd, staging
    finally:
        os.close(fd)
        files.remove(staging)
        with suppress(OSError):
            os.rmdir(os.path.dirname(staging))


def _make_folders(folder: str) -> None:
    """`folder` and those above it; each as open as the one above: a store may be one group's, and is the client's."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(folder)
    _make_folders(above)
    with suppress(FileExistsError):
        os.mkdir(folder)
        with suppress(PermissionError):
            os.chmod(folder, os.stat(above).st_mode & 0o7777)


@contextmanager
def _alone(staging: str) -> Iterator[str]:
    """A place for bytes under way that no other process uses meanwhile: of many jobs, one reads, and others wait."""
    lock = os.open(f"{staging}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield f"{staging}.{os.getpid()}"
    finally:
        files.remove(f"{staging}.lock")  # whoever waits for it looks again, and finds the blob
        os.close(lock)


def _copied(path: str, staging: str) -> str:
    """Copy a file; the digest of what was copied."""
    digest = hashlib.sha256()
    fd = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(path, "rb", buffering=0) as file:
            for piece in iter(lambda: file.read(_PIECE), b""):
                digest.update(piece)
                files.write_all(fd, piece)
    finally:
        os.close(fd)
    return digest.hexdigest()


def _hash(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        for piece in iter(lambda: file.read(_PIECE), b""):
            digest.update(piece)
    return digest.hexdigest()


def _ask(
    python: str,
    verb: str,
    url: str,
    name: str,
    *,
    path: str = "",
    variables: Optional[dict[str, str]] = None,
    patience: Optional[float] = None,
) -> Any:
    """What `main` answers in a process of its own. Raises StoreAccessError."""
    import subprocess

    argv = processes.program(python, "storing", "storing.main(*sys.argv[1:])")
    try:
        done = subprocess.run(
            [*argv, verb, url, name, path],
            capture_output=True,
            timeout=patience,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(variables or {})},
        )
    except subprocess.TimeoutExpired:
        raise StoreAccessError(f"{url} did not answer within {patience:g} s") from None
    except OSError as error:
        raise StoreAccessError(f"{python} cannot be started: {error.strerror}") from None
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        said = done.stderr.decode(errors="replace").strip()[-_TOLD:]
        raise StoreAccessError(f"{python} ended with status {done.returncode}: {said}") from None
    if answer.get("fault"):
        raise StoreAccessError(answer["fault"])
    return answer.get("content")


def main(verb: str, url: str, name: str, path: str) -> None:
    """`read`, `get` or `put` the file `name` under `url` by fsspec; one line of JSON on stdout says how it went."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    told: dict[str, Any] = {}
    try:
        told["content"] = _done(verb, url, name, path)
    except ImportError as error:
        told["fault"] = f"{sys.executable} on this host cannot open {url}: {error}"
    except Exception as error:  # each file system raises exceptions of its own
        told["fault"] = f"{url}/{name} cannot be {'written' if verb == 'put' else 'read'}: {_said(error)}"
    print(json.dumps(told), file=out, flush=True)
    os._exit(0)  # some file systems leave threads that would be waited for


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_TOLD]


def _done(verb: str, url: str, name: str, path: str) -> Any:
    from fsspec.core import url_to_fs

    fs, base = url_to_fs(url)
    full = f"{base.rstrip('/')}/{name}"
    if verb == "read":
        return fs.cat_file(full)[:_TOLD].decode("ascii", "replace")
    if verb == "get":
        fs.get_file(full, path)
        return None
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    if protocol in WITH_FOLDERS:
        fs.makedirs(full.rpartition("/")[0], exist_ok=True)
    if protocol in WHOLE_PUTS:
        fs.put_file(path, full)
        return None
    staged = f"{full}.tmp-{os.urandom(6).hex()}"
    try:
        fs.put_file(path, staged)
        fs.mv(staged, full)
    except BaseException:
        with suppress(Exception):
            fs.rm_file(staged)
        raise
    return None
