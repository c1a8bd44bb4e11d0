"""How a value becomes bytes and bytes a value: the formats, and the choice among them, for both sides of a connection.

A value comes from a function, in a worker on a host or in the client; `encode` gives bytes for a blob or the store, and
`decode` gives the parameter of the next function. Defined once, here, because both sides must agree. A library (numpy,
pandas, polars, pyarrow, torch) is loaded only when one of its values appears.

A format holds a value exactly, or refuses it: who reads a stored value must not see a difference from a fresh one.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from . import plain
from .base import ITERATOR, PICKLE_TODO, Buffer, Encoded, EncodingError, library, root, type_name

__all__ = ["EXTENSIONS", "Buffer", "Encoded", "EncodingError", "decode", "encode", "library", "root", "type_name"]

EXTENSIONS: Dict[str, str] = {
    "parquet": ".parquet",
    "npy": ".npy",
    "npz": ".npz",
    "safetensors": ".safetensors",
    "json": ".json",
    "text": ".txt",
    "bytes": ".bin",
    "file": "",
    "folder": ".tar",
    "items": ".items",
    "actor": ".actor.json",
    "pickle": ".pkl",
}
"""Each format's name, and what its files' names end with (a file keeps its own)."""

_AT_ONCE = {
    str: plain.encode_text,
    bytes: plain.encode_bytes,
    bytearray: plain.encode_bytes,
    int: plain.encode_json,
    float: plain.encode_json,
    bool: plain.encode_json,
    type(None): plain.encode_json,
    list: plain.encode_json,
}


def encode(value: Any, format: Optional[str] = None, trust: str = "pickle") -> Encoded:  # noqa: A002 - the users' word
    """`value` in the format that fits it best, or in the one named; EncodingError where none does.

    With `trust="data"` a pickle is refused, because whoever can write one can run code at its readers.

    >>> encode([1, 2]).format, encode("a").format, encode((1, 2)).format
    ('json', 'text', 'pickle')
    """
    try:
        return _choose(value, trust) if format is None else _encode_as(value, format, trust)
    except EncodingError as error:
        if trust == "data" and error.todo == PICKLE_TODO:
            error.todo = 'return a value that fits, or set trust = "pickle" and add format="pickle" to its @asset'
        raise


def _choose(value: Any, trust: str) -> Encoded:
    """`value` in the first format that holds it; a table, a Path or an actor that does not fit is never pickled."""
    direct = _AT_ONCE.get(type(value))
    refused = None
    if direct is not None:
        try:
            return direct(value)
        except EncodingError as error:
            refused = error
    else:
        for name in _fitting(value):
            try:
                return _encode_as(value, name, "data" if name == "items" else trust)
            except EncodingError as error:
                if name in ("parquet", "file", "actor"):
                    raise
                refused = refused if name == "items" and refused is not None else error
    return _encode_as(value, "pickle", trust, refused)


def _fitting(value: Any) -> List[str]:
    """The formats to try for `value`, told by its type alone."""
    from . import actors, arrays, files, items, tables, tensors

    if items.holds(value):
        return [*(["safetensors", "npz"] if tensors.holds(value) else ["json"]), "items"]
    if type(value) is dict and not tensors.holds(value):
        return ["json"]
    if tables.holds(value):
        return ["parquet"]
    if files.holds(value) or actors.holds(value):
        return ["file" if files.holds(value) else "actor"]
    if arrays.is_array(value):
        return ["npy"]
    return ["safetensors", "npz"] if tensors.holds(value) else []


def _encode_as(value: Any, name: str, trust: str, refused: Optional[EncodingError] = None) -> Encoded:
    if name == "pickle":
        if trust == "data":
            raise EncodingError(
                f"A value of type {type_name(value)} needs a pickle, and pickles are not trusted here.",
                expected="a table, an array, tensors, plain data, text, bytes or a Path",
                found=refused.found if refused is not None else type_name(value),
                todo='return one of these, or set trust = "pickle"',
            ) from refused
        from . import pickles

        return pickles.encode(value)
    if name == "parquet":
        from . import tables

        return tables.encode(value)
    if name in ("npy", "npz"):
        from . import arrays

        return arrays.encode_npy(value) if name == "npy" else arrays.encode_npz(value)
    if name == "safetensors":
        from . import tensors

        return tensors.encode(value)
    if name in ("file", "folder", "actor", "items"):
        from . import actors, files, items

        whole = actors.encode if name == "actor" else files.encode
        return items.encode(value, trust) if name == "items" else whole(value)
    if name in ("json", "text", "bytes"):
        return {"json": plain.encode_json, "text": plain.encode_text, "bytes": plain.encode_bytes}[name](value)
    raise _unknown(name)


def decode(  # noqa: PLR0917 - the fields of a record, in its order
    data: Buffer,
    format: str,  # noqa: A002 - the users' word
    type: str,  # noqa: A002 - as in Encoded
    ext: str = "",
    folder: Optional[str] = None,
    trust: str = "pickle",
) -> Any:
    """The value that `encode` made `data` from; EncodingError where the bytes are not what they should be.

    A `bytearray` is taken over: arrays and tensors read from it share its memory. `folder` is where a Path's content is
    put (in a place of its own there); without one it goes to the folder for temporary files. A list is
    given as an iterator where `type` is ITERATOR, a long one item by item.

    >>> decode(b"[1, 2]", "json", "list")
    [1, 2]
    """
    value: Any
    if type == ITERATOR and format != "items":
        return iter(decode(data, format, "list", ext, folder, trust))
    if format == "json":
        value = plain.decode_json(data)
    elif format == "text":
        value = plain.decode_text(data)
    elif format == "bytes":
        value = plain.decode_bytes(data, type)
    elif format == "pickle":
        value = _unpickle(data, type, trust)
    elif format == "parquet":
        from . import tables

        value = tables.decode(data, type)
    elif format in ("npy", "npz"):
        from . import arrays

        value = arrays.decode_npy(data, type) if format == "npy" else arrays.decode_npz(data)
    elif format == "safetensors":
        from . import tensors

        value = tensors.decode(data, type)
    elif format in ("file", "folder"):
        from . import files

        value = files.decode_file(data, ext, folder) if format == "file" else files.decode_folder(data, folder)
    elif format == "actor":
        from . import actors

        value = actors.decode(data)
    elif format == "items":
        from . import items

        value = items.decode(data, type, folder, trust)
    else:
        raise _unknown(format)
    return value


def _unpickle(data: Buffer, kind: str, trust: str) -> Any:
    if trust == "data":
        raise EncodingError(
            "The value is a pickle, and pickles are not trusted here.",
            expected="a value in a data format",
            found=f"a pickled {kind}",
            todo='make the asset again so that a data format fits it, or set trust = "pickle"',
        )
    from . import pickles

    return pickles.decode(data)


def _unknown(name: str) -> EncodingError:
    return EncodingError(
        f"There is no format named {name!r}.",
        expected=", ".join(EXTENSIONS),
        found=repr(name),
        todo="use one of these, or install the plugin that brings it",
    )
