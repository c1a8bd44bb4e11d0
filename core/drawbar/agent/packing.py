"""Arguments and results of an actor's calls as bytes: a payload container, made the quick way where that is safe.

Used by proxies, on a client or in a job, and by the actor itself. Pickling by value (what `__main__` defines) takes ten
times as long as plain pickling, and a call of an actor is often over in less.
"""

from __future__ import annotations

import pickle
from typing import Any

from . import payload

_ATOMS = frozenset((int, float, complex, bool, str, bytes, bytearray, type(None)))
_SEQUENCES = frozenset((list, tuple, set, frozenset))
_DEPTH = 4
_LONGEST = 1000


def is_plain(value: Any, depth: int = _DEPTH) -> bool:
    """Whether `value` is small plain data or an array of numbers, so that nothing in it needs to go by value.

    >>> is_plain(((1, "a"), {"b": [2.0]})), is_plain(print)
    (True, False)
    """
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind in _SEQUENCES:
        return depth > 0 and len(value) <= _LONGEST and all(is_plain(one, depth - 1) for one in value)
    if kind is dict:
        return (
            depth > 0
            and len(value) <= _LONGEST
            and all(is_plain(key, depth - 1) and is_plain(one, depth - 1) for key, one in value.items())
        )
    return kind.__module__ == "numpy" and kind.__name__ == "ndarray" and not value.dtype.hasobject


def encode(value: Any) -> list[payload.Bytes]:
    """The container of `value` as parts. Raises whatever pickling raises."""
    return payload.encode(value, pickle.dumps if is_plain(value) else payload.dumps)


def size_of(parts: Any) -> int:
    """How many bytes `parts` are together."""
    return sum(memoryview(part).nbytes for part in parts)
