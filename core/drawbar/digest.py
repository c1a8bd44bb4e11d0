"""Plain values as digests: equal values of equal type have equal ones, in every process, on every machine and Python.

Run parameters come here from `plan`, and constants, defaults and closures from `fingerprint`; hex digests go back.
Nothing is pickled and nothing imported: numpy and pandas values can only exist where their libraries are loaded.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import hashlib
import operator
import pathlib
import re
import struct
import sys
import types
import uuid
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from drawbar.errors import FingerprintError

Other: TypeAlias = Callable[["Encoder", Any], bytes | None]
_LARGE = 1 << 16


def digest_value(value: Any, *, what: str) -> str:
    """The sha256 of a plain value, as 64 hex digits; FingerprintError, naming `what`, for anything else.

    Type counts: `1`, `1.0`, `True` and `"1"` differ, as do a list and a tuple, and `0.0` and `-0.0`. The order of a set
    or of a dict does not; every NaN is the same.

    >>> digest_value({"b": 2, "a": 1}, what="x") == digest_value({"a": 1, "b": 2}, what="x")
    True
    >>> digest_value(1, what="x") == digest_value(1.0, what="x")
    False
    """
    try:
        return hashlib.sha256(Encoder().encode(value)).hexdigest()
    except UnfitError as unfit:
        raise unfit.as_error(what) from None


class UnfitError(Exception):
    """A value that cannot be digested was met, at `path` inside the one that was given (such as `['a'][0]`)."""

    def __init__(self, value: Any, path: str, why: str = "") -> None:
        super().__init__(path)
        self.value = value
        self.path = path
        self.why = why

    def as_error(self, what: str, *, where: str = "", todo: str = "", user: str = "") -> FingerprintError:
        """The error for people: `what` names the whole value, `user` the function that reads it."""
        return FingerprintError(
            f"{what}{self.path} cannot be digested{', and ' + user + ' uses it' if user else ''}.",
            expected="plain data: numbers, text, containers of them, dates, paths, enums, dataclasses, arrays, tables",
            found=self.why or _kind(self.value),
            todo=todo or "give plain data",
            where=where,
        )


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__module__}.{type(value).__qualname__}".replace(" builtins.", " ")


class Encoder:
    """Writes values as bytes that say type and content, such that no two different values share them.

    `other` is asked about everything that is not a plain builtin; it gives the bytes for what it knows, else None.
    """

    __slots__ = ("_inside", "_other", "_path")

    def __init__(self, other: Other | None = None) -> None:
        self._other = other
        self._inside: list[int] = []
        self._path: list[str] = []

    def encode(self, value: Any) -> bytes:
        """The bytes of `value`; UnfitError where it, or something in it, is not known."""
        plain = _PLAIN.get(type(value))
        if plain is not None:
            return plain(value)
        where = id(value)
        if where in self._inside:  # it holds itself: say how far up, which is the same for equal values
            return cell("up", str(len(self._inside) - self._inside.index(where)).encode())
        self._inside.append(where)
        try:
            return self._encode(value)
        except (UnfitError, MemoryError):
            raise
        except RecursionError:
            raise UnfitError(value, self.path(), "a value nested too deeply") from None
        except Exception as error:  # whatever a foreign object does when it is looked at
            raise UnfitError(value, self.path(), f"{_kind(value)}, which raised {error!r} when read") from error
        finally:
            self._inside.pop()

    def path(self) -> str:
        """Where the encoder is inside the value that it was given."""
        return "".join(self._path)

    def step(self, label: str, value: Any) -> bytes:
        """`value` as something inside the current one, which messages call by `label`."""
        self._path.append(label)
        coded = self.encode(value)
        self._path.pop()  # on an error it stays, to be told
        return coded

    def named(self, tag: str, parts: Iterable[tuple[str, Any]]) -> bytes:
        """An object of kind `tag` with named parts, in the order given."""
        return cell(tag, b"".join(_text(name) + self.step(f".{name}", value) for name, value in parts))

    def _encode(self, value: Any) -> bytes:
        container = _CONTAINERS.get(type(value))
        if container is not None:
            return container(self, value)
        if self._other is not None and (coded := self._other(self, value)) is not None:
            return coded
        for kind, rule in _KINDS:
            if isinstance(value, kind):
                return rule(self, value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if hasattr(value, f.name)]
            return self.named(f"dataclass {type(value).__qualname__}", fields)
        if (coded := _of_loaded_library(self, value)) is not None:
            return coded
        return self._called(value)

    def _called(self, value: Any) -> bytes:
        """A library's value that pickles as a call on plain data, such as `torch.device("cuda")`."""
        code = isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | types.MethodType)
        try:
            reduced = None if code else value.__reduce_ex__(4)
        except Exception:
            reduced = None
        if isinstance(reduced, str):
            return cell("global", f"{type(value).__qualname__}:{reduced}".encode())
        if isinstance(reduced, tuple) and all(part is None or part == {} for part in reduced[2:]):
            call, args = reduced[:2]
            name = getattr(call, "__qualname__", "")
            if name and not name.startswith(("__newobj__", "_reconstructor")) and call not in (getattr, type):
                return cell(f"call {name}", self.step("", tuple(args)))
        raise UnfitError(value, self.path())


def cell(tag: str, content: bytes) -> bytes:
    """`content` marked with what it is and where it ends; long content by its digest."""
    if len(content) > _LARGE:
        return b"%s#%s" % (tag.encode(), hashlib.sha256(content).digest())
    return b"%s:%d:%s" % (tag.encode(), len(content), content)


def _text(value: str) -> bytes:
    return cell("str", value.encode("utf-8", "surrogatepass"))


def _float(value: float) -> bytes:
    return b"nan" if value != value else struct.pack(">d", value)  # noqa: PLR0124 - how NaN is told without isnan


def _complex(value: complex) -> bytes:
    return cell("complex", cell("", _float(value.real)) + _float(value.imag))


_PLAIN: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"None",
    bool: lambda value: b"True" if value else b"False",
    int: lambda value: cell("int", b"%x" % value),
    float: lambda value: cell("float", _float(value)),
    complex: _complex,
    str: _text,
    bytes: lambda value: cell("bytes", value),
    bytearray: lambda value: cell("bytearray", bytes(value)),
    type(...): lambda _: b"...",
    type(NotImplemented): lambda _: b"NotImplemented",
}


def _items(encoder: Encoder, tag: str, values: Iterable[Any]) -> bytes:
    return cell(tag, b"".join(encoder.step(f"[{index}]", value) for index, value in enumerate(values)))


def _set(encoder: Encoder, value: Any) -> bytes:
    return cell(type(value).__name__, b"".join(sorted(encoder.step("{…}", item) for item in value)))


def _dict(encoder: Encoder, value: Any) -> bytes:
    # Values are visited in the order of the encoded keys, so that what `other` counts comes in the same order always.
    keyed = sorted(((encoder.step("{…}", key), key) for key in value), key=operator.itemgetter(0))
    return cell("dict", b"".join(coded + encoder.step(f"[{key!r:.60}]", value[key]) for coded, key in keyed))


def _ordered(encoder: Encoder, value: Any) -> bytes:
    return _items(encoder, "OrderedDict", value.items())


def _default_dict(encoder: Encoder, value: Any) -> bytes:
    return cell("defaultdict", encoder.step(".default_factory", value.default_factory) + _dict(encoder, value))


_CONTAINERS: dict[type, Callable[[Encoder, Any], bytes]] = {
    list: lambda encoder, value: _items(encoder, "list", value),
    tuple: lambda encoder, value: _items(encoder, "tuple", value),
    set: _set,
    frozenset: _set,
    dict: _dict,
    types.MappingProxyType: _dict,
    collections.Counter: lambda encoder, value: cell("Counter", _dict(encoder, value)),
    collections.OrderedDict: _ordered,
    collections.defaultdict: _default_dict,
    collections.deque: lambda encoder, value: _items(encoder, f"deque {value.maxlen}", value),
    range: lambda encoder, value: _items(encoder, "range", (value.start, value.stop, value.step)),
    slice: lambda encoder, value: _items(encoder, "slice", (value.start, value.stop, value.step)),
    types.SimpleNamespace: lambda encoder, value: cell("SimpleNamespace", _dict(encoder, vars(value))),
    memoryview: lambda _, value: cell("bytes", bytes(value)),
}


def _zone(value: dt.tzinfo | None) -> str:
    return "" if value is None else f"{type(value).__qualname__} {value}"


def _moment(encoder: Encoder, value: Any) -> bytes:
    return encoder.named(
        type(value).__qualname__, [("iso", value.isoformat()), ("fold", value.fold), ("zone", _zone(value.tzinfo))]
    )


def _enum(encoder: Encoder, value: enum.Enum) -> bytes:
    # A flag made of several members has no name of its own on some Pythons, and its value says it all.
    name = "" if isinstance(value, enum.Flag) else value.name
    return encoder.named(f"enum {type(value).__qualname__}", [("name", name), ("value", value.value)])


def _pattern(encoder: Encoder, value: re.Pattern[Any]) -> bytes:
    return encoder.named("pattern", [("pattern", value.pattern), ("flags", int(value.flags))])


def _named_tuple_or_subclass(encoder: Encoder, value: tuple[Any, ...]) -> bytes:
    fields = getattr(type(value), "_fields", None)
    if not isinstance(fields, tuple):
        raise UnfitError(value, encoder.path())
    return encoder.named(f"namedtuple {type(value).__qualname__}", zip(fields, value, strict=True))


def _as_text(_: Encoder, value: Any) -> bytes:
    return cell(type(value).__qualname__, str(value).encode())


# In this order: an enum of ints is an enum first, and a datetime a date.
_KINDS: tuple[tuple[Any, Callable[[Encoder, Any], bytes]], ...] = (
    (enum.Enum, _enum),
    ((dt.datetime, dt.time), _moment),
    (dt.date, lambda _, value: cell("date", value.isoformat().encode())),
    (dt.timedelta, lambda _, value: cell("timedelta", str(value // dt.timedelta.resolution).encode())),
    (dt.tzinfo, lambda _, value: cell("zone", _zone(value).encode())),
    ((decimal.Decimal, fractions.Fraction, uuid.UUID), _as_text),
    (pathlib.PurePosixPath, lambda _, value: cell("path", str(value).encode("utf-8", "surrogateescape"))),
    (pathlib.PureWindowsPath, lambda _, value: cell("windows path", str(value).encode("utf-8", "surrogateescape"))),
    (re.Pattern, _pattern),
    (tuple, _named_tuple_or_subclass),
)


def _of_loaded_library(encoder: Encoder, value: Any) -> bytes | None:
    """The bytes of a numpy array, scalar or dtype, or of a pandas table, column or index; None for others."""
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    coded = None if numpy is None else _of_numpy(encoder, value, numpy)
    return _of_pandas(encoder, value, pandas) if coded is None and pandas is not None else coded


def _of_numpy(encoder: Encoder, value: Any, numpy: Any) -> bytes | None:
    if isinstance(value, numpy.ma.MaskedArray):
        return encoder.named("masked", [("data", value.filled()), ("mask", numpy.ma.getmaskarray(value))])
    if isinstance(value, numpy.ndarray | numpy.generic):
        return _array(encoder, value, "array" if isinstance(value, numpy.ndarray) else "scalar")
    return cell("dtype", _dtype(value).encode()) if isinstance(value, numpy.dtype) else None


def _of_pandas(encoder: Encoder, value: Any, pandas: Any) -> bytes | None:
    if isinstance(value, pandas.DataFrame):
        columns = [_column(value.iloc[:, at]) for at in range(value.shape[1])]
        return encoder.named("DataFrame", [("index", value.index), ("columns", value.columns), ("data", columns)])
    if isinstance(value, pandas.MultiIndex):
        levels = [value.get_level_values(at) for at in range(value.nlevels)]
        return encoder.named("MultiIndex", [("levels", levels)])
    if isinstance(value, pandas.Series):
        return encoder.named("Series", [("name", value.name), ("index", value.index), ("data", _column(value))])
    if isinstance(value, pandas.Index):
        return encoder.named("Index", [("name", value.name), ("data", _column(value))])
    if isinstance(value, pandas.Timestamp | pandas.Timedelta) or value is pandas.NaT or value is pandas.NA:
        return cell(f"pandas {type(value).__qualname__}", f"{value} {getattr(value, 'tz', '')}".encode())
    return None


def _column(value: Any) -> tuple[Any, ...]:
    """What a pandas column or index holds: its type as text, its categories if it has such, its cells."""
    kind = value.dtype
    categories = (list(kind.categories), kind.ordered) if hasattr(kind, "categories") else ()
    plain = isinstance(kind, sys.modules["numpy"].dtype) and not kind.hasobject
    return str(kind), categories, value.to_numpy() if plain else list(value.array)


def _dtype(kind: Any) -> str:
    return repr(kind.descr if kind.names else kind.str)


def _array(encoder: Encoder, value: Any, what: str) -> bytes:
    tag = f"{what} {_dtype(value.dtype)} {value.shape}"
    if value.dtype.hasobject:
        return _items(encoder, tag, value.reshape(-1).tolist())
    return cell(tag, value.tobytes())
