"""Dicts of torch tensors or numpy arrays, and single tensors, as safetensors: written and read here, by its layout.

The layout: eight bytes of length, a json header padded with spaces, then the tensors' memory without gaps. Tensors come
from functions and are written as views; they are read as views of the caller's buffer. No code can hide in such a file.
"""

from __future__ import annotations

import json
import math
from typing import Any, Dict, List, NamedTuple, Tuple

from .base import Buffer, Encoded, EncodingError, library, root, type_name, unfit, unreadable, writable

NUMPY_DICT = "dict[str, numpy.ndarray]"
TORCH_DICT = "dict[str, torch.Tensor]"
STATE_DICT = "collections.OrderedDict[str, torch.Tensor]"
ONE_TENSOR = "torch.Tensor"
_ONE = "tensor"
_HOLDS = "a dict with str keys of numpy arrays or torch tensors, or one torch tensor; numbers and bools only"
_ALIGNED = 64
_LENGTH = 8  # bytes before the header that say how long it is
_LONGEST_HEADER = 100_000_000


class _Dtype(NamedTuple):
    numpy: str
    torch: str
    size: int


_DTYPES = {
    "BOOL": _Dtype("bool", "bool", 1),
    "U8": _Dtype("uint8", "uint8", 1),
    "I8": _Dtype("int8", "int8", 1),
    "F8_E5M2": _Dtype("", "float8_e5m2", 1),
    "F8_E4M3": _Dtype("", "float8_e4m3fn", 1),
    "I16": _Dtype("int16", "int16", 2),
    "U16": _Dtype("uint16", "uint16", 2),
    "F16": _Dtype("float16", "float16", 2),
    "BF16": _Dtype("", "bfloat16", 2),
    "I32": _Dtype("int32", "int32", 4),
    "U32": _Dtype("uint32", "uint32", 4),
    "F32": _Dtype("float32", "float32", 4),
    "C64": _Dtype("complex64", "complex64", 8),
    "F64": _Dtype("float64", "float64", 8),
    "I64": _Dtype("int64", "int64", 8),
    "U64": _Dtype("uint64", "uint64", 8),
}
_OF_NUMPY = {dtype.numpy: name for name, dtype in _DTYPES.items() if dtype.numpy}
_OF_TORCH = {f"torch.{dtype.torch}": name for name, dtype in _DTYPES.items()}


class _Tensor(NamedTuple):
    """One tensor as it will be written: `data` is flat memory."""

    name: str
    dtype: str
    shape: Tuple[int, ...]
    data: Buffer


def holds(value: Any) -> bool:
    """Whether `value` looks like one for this format, told from its first item, without importing a library."""
    if root(value) == "torch":
        return type(value).__name__ == "Tensor"
    return isinstance(value, dict) and bool(value) and root(next(iter(value.values()))) in ("numpy", "torch")


def encode(value: Any) -> Encoded:
    """A dict of arrays or tensors, or one tensor; EncodingError where it would not come back the same.

    Tensors of a device are written from a copy in host memory, and come back there: where it lies is not part of it.
    """
    if not holds(value):
        raise unfit(value, "safetensors", _HOLDS)
    if isinstance(value, dict):
        kind, read = _kind_of_dict(value)
        items = value
    else:
        kind, read, items = ONE_TENSOR, _torch_tensor, {_ONE: value}
    tensors = [_checked(value, name, item, read) for name, item in items.items()]
    metadata = _state_metadata(value) if kind == STATE_DICT else {}
    return Encoded("safetensors", ".safetensors", _parts(tensors, {"type": kind, **metadata}), kind, None, ())


def _kind_of_dict(value: Any) -> Tuple[str, Any]:
    """The type text of a dict, and the function that reads its items."""
    numbers = root(next(iter(value.values()))) == "numpy"
    if type(value) is dict:
        return (NUMPY_DICT, _numpy_tensor) if numbers else (TORCH_DICT, _torch_tensor)
    if not numbers and f"{type(value).__module__}.{type(value).__name__}" == "collections.OrderedDict":
        return STATE_DICT, _torch_tensor
    raise unfit(value, "safetensors", _HOLDS)


def _checked(value: Any, name: Any, item: Any, read: Any) -> _Tensor:
    if type(name) is not str or name == "__metadata__":
        raise unfit(value, "safetensors", _HOLDS, f"the key {name!r}")
    found = read(name, item)
    if isinstance(found, _Tensor):
        return found
    raise unfit(value, "safetensors", _HOLDS, f"{found} at {name!r}")


def _numpy_tensor(name: str, item: Any) -> Any:
    """The array's memory in C order, or a text that says why it does not fit."""
    numpy = library("numpy", "safetensors")
    if type(item) is not numpy.ndarray:
        return type_name(item)
    dtype = _OF_NUMPY.get(item.dtype.name, "")
    if not dtype or not item.dtype.isnative or item.dtype.metadata is not None:
        return f"dtype {item.dtype}"
    flat = numpy.ascontiguousarray(item).reshape(-1)
    return _Tensor(name, dtype, item.shape, memoryview(flat.view(numpy.uint8)) if flat.size else b"")


def _torch_tensor(name: str, item: Any) -> Any:
    """The tensor's memory in host memory and C order, or a text that says why it does not fit."""
    torch = library("torch", "safetensors")
    if type(item) is not torch.Tensor:
        return type_name(item)
    dtype = _OF_TORCH.get(str(item.dtype), "")
    if not dtype or item.layout is not torch.strided or item.is_meta:
        return f"a {item.layout} tensor of {item.dtype} on {item.device}"
    if item.requires_grad:
        return "a tensor that requires a gradient (safetensors would drop that; see .detach())"
    flat = item.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    data = memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else b""
    return _Tensor(name, dtype, tuple(item.shape), data)


def _state_metadata(value: Any) -> Dict[str, str]:
    """What torch notes beside a state dict (versions of its modules), as json text; nothing where there is nothing."""
    noted = getattr(value, "_metadata", None)
    return {} if noted is None else {"state_dict": json.dumps(noted)}


def _parts(tensors: List[_Tensor], metadata: Dict[str, str]) -> List[Buffer]:
    """Header and memory; wide dtypes first, so that each tensor is aligned, while the header keeps the dict's order."""
    places: Dict[str, Tuple[int, int]] = {}
    parts: List[Buffer] = []
    at = 0
    for tensor in sorted(tensors, key=lambda one: (-_DTYPES[one.dtype].size, one.name)):
        places[tensor.name] = (at, at + len(tensor.data))
        at += len(tensor.data)
        if len(tensor.data):
            parts.append(tensor.data)
    header: Dict[str, Any] = {"__metadata__": metadata}
    for tensor in tensors:
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": places[tensor.name]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(_LENGTH + len(text)) % _ALIGNED)
    return [len(text).to_bytes(_LENGTH, "little") + text, *parts]


def decode(data: Buffer, type_: str) -> Any:
    """What `encode` was given: a dict of arrays or tensors, in its order, or the one tensor."""
    view = writable(data)
    try:
        header, start = _header(view)
        metadata = header.pop("__metadata__", None) or {}
        _check(header, len(view) - start)
        kind = type_ or metadata.get("type") or NUMPY_DICT
        make = _make_numpy if kind == NUMPY_DICT else _make_torch
        tensors = {name: make(view, start, facts) for name, facts in header.items()}
        return _as_kind(kind, tensors, metadata)
    except EncodingError:
        raise
    except Exception as error:
        unreadable("safetensors", error)


def _header(view: memoryview) -> Tuple[Dict[str, Any], int]:
    """The header, and where the tensors begin."""
    length = int.from_bytes(view[:_LENGTH], "little")
    if len(view) < _LENGTH or length > min(len(view) - _LENGTH, _LONGEST_HEADER):
        unreadable("safetensors", f"a header of {length} bytes in a file of {len(view)}")
    header = json.loads(str(view[_LENGTH : _LENGTH + length], "utf-8"))
    if type(header) is not dict:
        unreadable("safetensors", "a header that is no object")
    return header, _LENGTH + length


def _check(header: Dict[str, Any], size: int) -> None:
    """Raise EncodingError unless the tensors fill the data, one after the other, each as long as its shape says."""
    end = 0
    for name, facts in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
        start, stop = facts["data_offsets"]
        shape = facts["shape"]
        if any(type(number) is not int or number < 0 for number in (start, stop, *shape)):
            unreadable("safetensors", f"numbers of {name!r} that are no sizes")
        if start != end or stop - start != math.prod(shape) * _DTYPES[facts["dtype"]].size:
            unreadable("safetensors", f"offsets [{start}, {stop}] of {name!r}")
        end = stop
    if end != size:
        unreadable("safetensors", f"{size} bytes of data where {end} are described")


def _make_numpy(view: memoryview, start: int, facts: Dict[str, Any]) -> Any:
    numpy = library("numpy", "safetensors")
    dtype = _DTYPES[facts["dtype"]]
    if not dtype.numpy:
        raise EncodingError(
            f"numpy has no {facts['dtype']} numbers.",
            found=f"a tensor of {facts['dtype']}",
            todo="read the file where torch is installed",
        )
    begin, end = facts["data_offsets"]
    if begin == end:
        return numpy.empty(facts["shape"], dtype.numpy)
    return numpy.frombuffer(view[start + begin : start + end], dtype.numpy).reshape(facts["shape"])


def _make_torch(view: memoryview, start: int, facts: Dict[str, Any]) -> Any:
    torch = library("torch", "safetensors")
    dtype = getattr(torch, _DTYPES[facts["dtype"]].torch)
    begin, end = facts["data_offsets"]
    if begin == end:
        return torch.empty(facts["shape"], dtype=dtype)
    return torch.frombuffer(view[start + begin : start + end], dtype=dtype).reshape(facts["shape"])


def _as_kind(kind: str, tensors: Dict[str, Any], metadata: Dict[str, Any]) -> Any:
    if kind == ONE_TENSOR:
        return tensors[_ONE]
    if kind != STATE_DICT:
        return tensors
    import collections

    state = collections.OrderedDict(tensors)
    if "state_dict" in metadata:
        noted = collections.OrderedDict(json.loads(metadata["state_dict"]))
        vars(state)["_metadata"] = noted
    return state
