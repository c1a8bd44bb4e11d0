"""Project code on a host: each zip is unpacked once under its digest, so that modules, tracebacks and lines are real.

Workers ask for the folder and put it on `sys.path`; the zip itself is a blob.
"""

from __future__ import annotations

import fcntl
import os
import zlib

from . import files


def unpacked(root: str, digest: str, archive: str) -> str:
    """The folder that holds what is in the zip `archive`, whose digest is `digest`. Raises OSError, BadZipFile.

    What was unpacked before the last boot is compared with the zip once, because a power cut may have left files
    without their content.
    """
    folder = os.path.join(root, "code", digest)
    if _recent(folder):
        return folder
    lock = os.open(os.path.join(files.make_folder(os.path.dirname(folder)), ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _recent(folder):
            _unpack(folder, archive)
        return folder
    finally:
        os.close(lock)


def _recent(folder: str) -> bool:
    try:
        return os.stat(folder).st_mtime >= files.boot_time()
    except FileNotFoundError:
        return False


def _unpack(folder: str, archive: str) -> None:
    import zipfile

    with zipfile.ZipFile(archive) as packed:
        if all(_same(os.path.join(folder, entry.filename), entry.CRC) for entry in packed.infolist()):
            os.utime(files.make_folder(folder))
            return
        staging = f"{folder}.{os.getpid()}"
        try:
            packed.extractall(files.make_folder(staging))
            files.remove_folder(folder)
            os.rename(staging, folder)
        except BaseException:
            files.remove_folder(staging)
            raise


def _same(path: str, crc: int) -> bool:
    try:
        with open(path, "rb") as file:
            return zlib.crc32(file.read()) == crc
    except IsADirectoryError:
        return True
    except OSError:
        return False
