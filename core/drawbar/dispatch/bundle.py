"""The agent as it travels: one zip with `drawbar/agent` (as `drawbar_agent`) and cloudpickle, named by its digest.

The files come from this installation; the zip goes over stdin to the loader on a host that does not have it yet. The
same files always give the same bytes in the same Python, so a host keeps few zips for each version of drawbar.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import marshal
import zipfile
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

PACKAGE = "drawbar_agent"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The bytes of the zip and their sha256."""

    digest: str
    data: bytes


@functools.cache
def bundle() -> Bundle:
    """The agent of this installation, built once per process.

    Beside each source lies its bytecode: a host with our minor version of Python compiles nothing, others do.
    """
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as made:
        for package, folder in ((PACKAGE, _agent()), ("cloudpickle", _cloudpickle())):
            for file in sorted(folder.rglob("*.py")):
                name = f"{package}/{file.relative_to(folder).as_posix()}"
                _add(made, name, file.read_bytes())
                _add(made, f"{name}c", _compiled(file, name))
    data = target.getvalue()
    return Bundle(hashlib.sha256(data).hexdigest(), data)


def _add(made: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    made.writestr(entry, data, zipfile.ZIP_DEFLATED, 1)  # the last tenth would cost more than it saves


def _compiled(file: Path, name: str) -> bytes:
    """A .pyc that is valid by itself (PEP 552, unchecked); the compiler's own cache makes this quick."""
    code = SourceFileLoader(name, str(file)).get_code(name)
    assert code is not None
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)
    return head + marshal.dumps(_named(code, name), 2)  # later formats depend on what else refers to a constant


def _named(code: CodeType, name: str) -> CodeType:
    """`code` without the paths of this machine."""
    constants = tuple(_named(one, name) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(co_filename=name, co_consts=constants)


def _agent() -> Path:
    return Path(__file__).parent.parent / "agent"


def _cloudpickle() -> Path:
    """Where cloudpickle's files are; it is not imported for that."""
    spec = importlib.util.find_spec("cloudpickle")
    if spec is None or not spec.origin:
        raise ModuleNotFoundError("cloudpickle is not installed, and drawbar needs it", name="cloudpickle")
    return Path(spec.origin).parent
