"""Pickle, the last format: for values that nothing else holds, where those who read trust those who write.

Values come from functions. Sets of plain elements are written in order, so that they have the same bytes in every
process; tensors of a device are written from host memory, so that a client without that device can read them.
"""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any, Dict, List

from .base import Buffer, Encoded, EncodingError, type_name, unreadable

_PLAIN = frozenset({str, bytes, int, float, bool, complex, type(None)})
_MARKS = (pickle.ADDITEMS, pickle.FROZENSET)  # one of them is in every pickle that has a set with elements


def encode(value: Any) -> Encoded:
    """`value` as one pickle of protocol 5, readable with `pickle.load`; EncodingError that says why where it cannot be.

    >>> encode({"b", "a"}).digest() == encode({"a", "b"}).digest()
    True
    """
    try:
        data = _dumps(value)
        if any(mark in data for mark in _MARKS):
            data = _dumps(_ordered(value, {}))
    except Exception as error:
        raise EncodingError(
            f"A value of type {type_name(value)} cannot be pickled.",
            expected="a value of a class that can be imported by name, all its parts too",
            found=f"{type(error).__name__}: {error}",
            todo="return plain data, arrays, tables, text, bytes or a Path instead",
        ) from error
    return Encoded("pickle", ".pkl", [data], type_name(value), None, ())


def decode(data: Buffer) -> Any:
    """The pickled value. Runs whatever its writer put in: the caller has checked that pickles are trusted."""
    try:
        return pickle.loads(data)
    except ImportError as error:
        raise EncodingError(
            "The pickled value needs code that cannot be imported here.",
            found=f"{type(error).__name__}: {error}",
            todo=f"install the package that has {error.name!r}, or put the module on the path",
        ) from error
    except Exception as error:
        unreadable("pickle", error)


def _dumps(value: Any) -> bytes:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return pickle.dumps(value, 5)
    sink = io.BytesIO()
    FromHostMemory(sink, 5).dump(value)
    return sink.getvalue()


class FromHostMemory(pickle.Pickler):
    """A pickler that writes torch's tensors as if they lay in host memory, whichever device has them."""

    def reducer_override(self, obj: Any) -> Any:
        """How a tensor is rebuilt; NotImplemented for all else."""
        torch = sys.modules["torch"]
        if type(obj) is torch.nn.Parameter:
            return torch.nn.Parameter(obj.detach().cpu(), obj.requires_grad).__reduce_ex__(5)
        if type(obj) is torch.Tensor:
            return obj.detach().cpu().requires_grad_(obj.requires_grad).__reduce_ex__(5)
        return NotImplemented


class _Sorted:
    """Stands for a set in a pickle, and is read as that set."""

    def __init__(self, kind: type, elements: List[Any]) -> None:
        self.kind = kind
        self.elements = elements

    def __reduce__(self) -> Any:
        return self.kind, (self.elements,)


def _ordered(value: Any, seen: Dict[int, Any]) -> Any:
    """`value` with its sets of plain elements in order, at any depth of lists, tuples and dicts; the rest as it is.

    What appears twice still does: `seen` has what was put in the place of each container.
    """
    kind = type(value)
    if kind in _PLAIN or id(value) in seen:
        return seen.get(id(value), value)
    new: Any = value
    if kind is list:
        seen[id(value)] = new = []
        new.extend(_ordered(item, seen) for item in value)
    elif kind is dict:
        seen[id(value)] = new = {}
        new.update((key, _ordered(item, seen)) for key, item in value.items())
    elif kind is tuple:
        new = tuple(_ordered(item, seen) for item in value)
    elif kind in (set, frozenset) and set(map(type, value)) <= _PLAIN:
        new = _Sorted(kind, sorted(value, key=lambda item: (type(item).__name__, repr(item))))
    return seen.setdefault(id(value), new)
