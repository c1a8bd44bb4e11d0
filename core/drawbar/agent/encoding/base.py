"""What every format gives and how it refuses: `Encoded`, `EncodingError`, and the few helpers that all formats share.

A format makes an `Encoded` out of a value; its parts go to a blob or the store. Nothing here knows any one format.
"""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from typing import Any, List, NoReturn, Optional, Tuple, Union

Buffer = Union[bytes, bytearray, memoryview]
"""What bytes may come as; a `bytearray` is taken over by the value that is read from it."""

LAZY = "collections.abc.Sequence"
"""The `type` by which `decode` gives `Items` in place of a long list."""
ITERATOR = "collections.abc.Iterator"
"""The `type` by which `decode` gives an iterator in place of a list; of a long one each item is decoded in its turn."""

PICKLE_TODO = 'add format="pickle" to its @asset, if those who read it trust those who write it'


class EncodingError(Exception):
    r"""A value that a format cannot hold, or bytes that it cannot read.

    `what` is the fault in one sentence, `expected`, `found` and `todo` say the rest; the client shows it as its own
    FormatError.

    >>> str(EncodingError("The bytes are not npy.", todo="make the asset again"))
    'The bytes are not npy.\n  do: make the asset again'
    """

    def __init__(self, what: str, expected: str = "", found: str = "", todo: str = "") -> None:
        super().__init__(what, expected, found, todo)
        self.what = what
        self.expected = expected
        self.found = found
        self.todo = todo

    def __str__(self) -> str:
        """The sentence, then one indented line per known detail."""
        details = (("expected", self.expected), ("found", self.found), ("do", self.todo))
        return "\n".join([self.what, *(f"  {label}: {text}" for label, text in details if text)])


@dataclass(frozen=True)
class Encoded:
    """A value as bytes, and what is known about it without reading them.

    `parts` are joined as they stand; large ones are views of the value's own memory, so write them before it changes.
    `type` names what `decode` gives back; `rows` is the length of a table, an array or a list; `columns` are the names
    and types of a table's columns.

    >>> made = Encoded("text", ".txt", [b"abc", b"de"], "str", None, ())
    >>> made.bytes, made.digest()[:12]
    (5, '36bbe50ed968')
    """

    __slots__ = ("_digest", "columns", "ext", "format", "parts", "rows", "type")

    format: str
    ext: str
    parts: List[Buffer]
    type: str
    rows: Optional[int]
    columns: Tuple[Tuple[str, str], ...]

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return sum(map(len, self.parts))

    def digest(self) -> str:
        """The DataVersion: sha256 of the parts in hex. Computed once, so the value must not change before or after."""
        try:
            return str(object.__getattribute__(self, "_digest"))
        except AttributeError:
            state = hashlib.sha256()
            for part in self.parts:
                state.update(part)
            found = state.hexdigest()
            object.__setattr__(self, "_digest", found)
            return found

    def join(self) -> Buffer:
        """All bytes in one buffer; without copying where there is only one part."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)


def type_name(value: object) -> str:
    """How the type of `value` is called in records and messages.

    >>> type_name([]), type_name(hashlib.sha256())
    ('list', '_hashlib.HASH')
    """
    kind = type(value)
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


def root(value: object) -> str:
    """The top-level module that defines the type of `value`: which library it belongs to, without importing any."""
    return type(value).__module__.partition(".")[0]


def library(name: str, wanted_by: str) -> Any:
    """The module `name`; EncodingError that says what to install where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise EncodingError(
            f"The {wanted_by} format needs the package {package!r} here.",
            found=f"{type(error).__name__}: {error}",
            todo=f"pip install {package}",
        ) from error


def unfit(value: object, format_name: str, holds: str, found: str = "", todo: str = PICKLE_TODO) -> EncodingError:
    """The error for a value that a format cannot give back exactly as it was."""
    return EncodingError(
        f"A value of type {type_name(value)} does not fit the {format_name} format.",
        expected=holds,
        found=found or type_name(value),
        todo=todo,
    )


def unreadable(format_name: str, reason: object) -> NoReturn:
    """Raise the error for bytes that are not what their format says."""
    text = f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else str(reason)
    error = EncodingError(
        f"The bytes cannot be read as {format_name}.",
        expected=f"the {format_name} format, whole and unchanged",
        found=text[:500],
        todo="make the asset again",
    )
    raise error from (reason if isinstance(reason, BaseException) else None)


def writable(data: Buffer) -> memoryview:
    """A flat view of `data` that may be written to: of `data` itself where it allows that, else of a copy.

    A value that was just made can be changed in place, so one that was read must be, too.
    """
    view = memoryview(data).cast("B")
    return memoryview(bytearray(view)) if view.readonly else view
