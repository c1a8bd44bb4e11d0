"""Plain data as json, text as utf-8, bytes as they are: small values, so that speed here is speed of a whole run.

Values come from functions and are given back exactly: what json would turn into something else is refused.
"""

from __future__ import annotations

import json
from typing import Any

from .base import Buffer, Encoded, type_name, unfit, unreadable

_SCALARS = frozenset({str, int, float, bool, type(None)})
_KEYS = frozenset({str})
_DEEPEST = 200
_HOLDS_JSON = "None, bool, int, float, str, and lists and dicts (with str keys) of these; no subclasses, no tuples"
_HOLDS_TEXT = "str without lone surrogates"
_write_json = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
_read_json = json.JSONDecoder().decode


def encode_json(value: Any) -> Encoded:
    """`value` as json in utf-8, keys in their own order; EncodingError where reading would not give the same back.

    NaN and infinities are written as Python and JavaScript do (`NaN`, `Infinity`).

    >>> encode_json({"a": [1, None]}).parts
    [b'{"a": [1, null]}']
    """
    kind = type(value)
    if kind not in _SCALARS:
        found = strange(value, "value")
        if found:
            raise unfit(value, "json", _HOLDS_JSON, found)
    try:
        text = _write_json(value).encode()
    except (ValueError, RecursionError) as error:  # an int of thousands of digits, a lone surrogate
        raise unfit(value, "json", _HOLDS_JSON, str(error)) from error
    return Encoded("json", ".json", [text], kind.__name__, len(value) if kind is list else None, ())


def decode_json(data: Buffer) -> Any:
    """The plain data in `data`."""
    try:
        return _read_json(str(data, "utf-8"))
    except (ValueError, RecursionError) as error:
        unreadable("json", error)


def strange(value: Any, place: str, deeper: int = _DEEPEST) -> str:
    """Where in `value` something lies that json would change, and what it is; empty where there is nothing.

    Types are collected in C, so that a list of a million numbers costs milliseconds.
    """
    kind = type(value)
    if kind is not dict and kind is not list:
        return f"{type_name(value)} at {place}"
    if kind is dict and not set(map(type, value)) <= _KEYS:
        key = next(key for key in value if type(key) is not str)
        return f"{type_name(key)} as a key of {place}"
    if set(map(type, value.values() if kind is dict else value)) <= _SCALARS:
        return ""
    if not deeper:
        return f"nesting deeper than {_DEEPEST} levels"
    for inner, item in value.items() if kind is dict else enumerate(value):
        if type(item) not in _SCALARS:
            found = strange(item, f"{place}[{inner!r}]", deeper - 1)
            if found:
                return found
    return ""


def encode_text(value: Any) -> Encoded:
    r"""`value`, a str, as utf-8, its line ends unchanged.

    >>> encode_text("é").parts
    [b'\xc3\xa9']
    """
    if type(value) is not str:
        raise unfit(value, "text", _HOLDS_TEXT)
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        raise unfit(value, "text", _HOLDS_TEXT, f"{value[error.start]!r} at {error.start}") from error
    return Encoded("text", ".txt", [data], "str", None, ())


def decode_text(data: Buffer) -> str:
    """The text in `data`."""
    try:
        return str(data, "utf-8")
    except ValueError as error:
        unreadable("text", error)


def encode_bytes(value: Any) -> Encoded:
    """`value`, bytes or a bytearray, as it is."""
    if type(value) is not bytes and type(value) is not bytearray:
        raise unfit(value, "bytes", "bytes or a bytearray")
    return Encoded("bytes", ".bin", [value], type(value).__name__, None, ())


def decode_bytes(data: Buffer, type_: str) -> Any:
    """`data` as `bytes` or `bytearray`, without copying where it is that already."""
    if type_ == "bytearray":
        return data if type(data) is bytearray else bytearray(data)
    return data if type(data) is bytes else bytes(data)
