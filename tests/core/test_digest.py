"""drawbar.digest: equal plain values, and no others, have equal digests."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import http.client
import operator
import pathlib
import re
import struct
import subprocess
import sys
import threading
import types
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drawbar import digest
from drawbar.digest import digest_value
from drawbar.errors import FingerprintError


def of(value):
    """The digest of a value."""
    return digest_value(value, what="x")


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf"), 0.1])
    | st.floats()
    | st.complex_numbers(max_magnitude=2)
    | st.text("ab1\n:'\ud800", max_size=3)
    | st.binary(max_size=3)
    | st.dates()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.decimals(allow_nan=False)
    | st.uuids()
)
KEYS = st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=2) | st.tuples(st.integers(0, 1))
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.sets(KEYS, max_size=3)
        | st.frozensets(KEYS, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)
SMALL = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 0.0, -0.0, 1.0, "", "1", "a", b"", b"a", float("nan"), 1j]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.tuples(inner)
        | st.sets(st.sampled_from([0, "a", None, (1,)]), max_size=2)
        | st.dictionaries(st.sampled_from([0, "a", None]), inner, max_size=2)
    ),
    max_leaves=3,
)


def alike(one, other):  # noqa: PLR0911
    """Whether two values are equal in value and type all the way down: what digests must tell."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other) or (one != one and other != other)  # noqa: PLR0124
    if isinstance(one, complex):
        return alike(one.real, other.real) and alike(one.imag, other.imag)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return _alike_in_any_order(one.items(), other.items())
    if isinstance(one, set | frozenset):
        return _alike_in_any_order(one, other)
    return one == other


def _alike_in_any_order(one, other):
    rest = list(other)
    for item in one:
        found = next((index for index, candidate in enumerate(rest) if alike(item, candidate)), None)
        if found is None:
            return False
        del rest[found]
    return not rest


@settings(max_examples=600, deadline=None)
@given(SMALL, SMALL)
def test_digests_are_equal_just_where_values_are(one, other):
    """Two different values would share a digest, or two equal ones would not."""
    assert (of(one) == of(other)) == alike(one, other)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_a_copy_has_the_same_digest(value):
    """The order in which a dict or a set was filled, or what is shared inside, would count."""
    assert of(value) == of(_rebuilt(value))
    assert re.fullmatch("[0-9a-f]{64}", of(value))


def _rebuilt(value):
    if isinstance(value, dict):
        return {_rebuilt(key): _rebuilt(value[key]) for key in reversed(value)}
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(
            [_rebuilt(item) for item in (value if isinstance(value, list | tuple) else reversed(list(value)))]
        )
    return value


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    RED = 1


class Mode(enum.Flag):
    A = 1
    B = 2


@dataclasses.dataclass
class Point:
    x: int
    y: object = None


@dataclasses.dataclass(frozen=True, slots=True)
class Spot:
    x: int
    y: object = None


Pair = collections.namedtuple("Pair", "x y")  # noqa: PYI024 - the untyped kind is what is tested
NOW = dt.datetime(2026, 11, 21, 9, 30)  # noqa: DTZ001

DIFFERENT = [
    1, 1.0, True, "1", b"1", bytearray(b"1"), 1 + 0j, decimal.Decimal(1), fractions.Fraction(1), None, ..., NotImplemented,
    decimal.Decimal("1.0"), decimal.Decimal("NaN"), 2**64, -(2**64), 10**5000, "", b"", (), [], {}, set(), frozenset(),
    [1], (1,), {1}, frozenset({1}), {1: None}, [[1]], [1, 1], ["1"], "[1]", [[], []], [[[]]], {"a": 1}, {"a": {"b": 1}},
    {"ab": 1}, ("a", "b"), ("ab",), ("a", ("b",)), collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1),
    {"a": 1, "b": 2}, collections.Counter("ab"), collections.defaultdict(None, a=1), collections.deque([1]),
    collections.deque([1], maxlen=2), range(3), range(0, 3, 2), slice(3), types.SimpleNamespace(a=1),
    NOW, NOW.replace(fold=1), NOW.replace(tzinfo=dt.UTC), NOW.replace(tzinfo=zoneinfo.ZoneInfo("UTC")), NOW.date(),
    NOW.time(), dt.timedelta(1), dt.timedelta(microseconds=1), dt.UTC, zoneinfo.ZoneInfo("Europe/Paris"),
    dt.timezone(dt.timedelta(hours=1)), uuid.UUID(int=1), pathlib.PurePosixPath("a"), pathlib.Path("a/b"),
    pathlib.PureWindowsPath("a"), "a", re.compile("a"), re.compile("a", re.IGNORECASE), re.compile(b"a"),
    Colour.RED, Colour.BLUE, Level.RED, Mode.A, Mode.A | Mode.B, Point(1), Point(1, 2), Point(1, [2]), Spot(1), Pair(1, 2),
    (1, 2), operator.itemgetter(1), operator.itemgetter(2), ValueError("a"), KeyError("a"),
    np.int64(1), np.int32(1), np.float64(1), np.array(1), np.array([1]), np.array([1], "i4"), np.array([1, 2]),
    np.array([[1, 2]]), np.array([[1], [2]]), np.array([1.0, 2.0]), np.array([1, 2], dtype=object), np.array(["1", "2"]),
    np.array([(1, 2)], dtype=[("a", "i8"), ("b", "i8")]), np.array([(1, 2)], dtype=[("a", "i8"), ("c", "i8")]),
    np.datetime64("2026-11-21"), np.datetime64("2026-11-21", "s"), np.dtype("f4"), np.dtype("f8"), np.array([], "f4"),
    np.array([True]), np.ma.masked_array([1, 2], [True, False]), np.ma.masked_array([1, 2], [False, False]),
    pd.Series([1, 2]), pd.Series([1, 2], name="a"), pd.Series([1, 2], index=[1, 2]), pd.Series([1.0, 2.0]),
    pd.Series(["a", None]), pd.Series(["a", "b"], dtype="category"),
    pd.Series(pd.Categorical(["a", "b"], ["a", "b", "c"])), pd.Series(pd.Categorical(["a", "b"], ordered=True)), pd.Series(["a", "b"]), pd.Series([1, None], dtype="Int64"),
    pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"b": [1, 2]}), pd.DataFrame({"a": [1, 2], "b": [1, 2]}),
    pd.DataFrame({"a": [1.0, 2.0]}), pd.DataFrame({"a": [1, 2]}, index=["x", "y"]), pd.DataFrame(), pd.Index([1, 2]),
    pd.Index([1, 2], name="a"), pd.MultiIndex.from_tuples([(1, 2)]), pd.Timestamp("2026-11-21"), pd.Timedelta("1s"), pd.NaT,
    pd.NA, pd.Timestamp("2026-11-21", tz="UTC"), pd.Series(pd.to_datetime(["2026-11-21"])),
    pd.Series(pd.to_datetime(["2026-11-21"])).dt.tz_localize("UTC"),
]  # fmt: skip


def test_values_that_differ_in_anything_have_digests_of_their_own():
    """Two parameters that a function can tell apart would share what was made of one."""
    digests = collections.defaultdict(list)
    for value in DIFFERENT:
        digests[of(value)].append(value)
    assert [values for values in digests.values() if len(values) > 1] == []


SAME = {
    "dict order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "read-only dict": ({"a": 1}, types.MappingProxyType({"a": 1})),
    "nan": (float("nan"), -float("nan")),
    "path": (pathlib.Path("a") / "b", pathlib.PurePosixPath("a//b/")),
    "array layout": (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
    "array view": (np.arange(4)[::2], np.array([0, 2])),
    "memoryview": (b"abc", memoryview(b"abc")),
    "table": (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [0, 1, 2]}).iloc[1:].reset_index(drop=True)),
    "text column": (pd.Series(["a", "b"]), pd.Series(["a", "b"]).copy()),
    "zone": (NOW.replace(tzinfo=dt.UTC), NOW.replace(tzinfo=dt.timezone(dt.timedelta(0)))),
    "slotted": (Spot(1, [2]), Spot(1, [2])),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME.keys())
def test_what_is_no_difference_does_not_count(one, other):
    """The same value, built in another way, would make everything again."""
    assert of(one) == of(other)


def test_a_value_that_holds_itself_ends():
    """A circle would never come to an end, or two equal circles would differ."""

    def circle(last):
        one = [1]
        one.append({"again": one, "last": last})
        return one

    assert of(circle(1)) == of(circle(1)) != of(circle(2))


def test_large_values_are_not_cut():
    """Only the beginning of something large would count."""
    large = b"a" * 10**6
    assert len({of(large), of(large[:-1]), of(large[:-1] + b"b"), of([large]), of(large.decode())}) == 5


UNFIT = {
    "a client": (http.client.HTTPConnection("h"), "x", "http.client.HTTPConnection"),
    "inside": ({"a": [0, (threading.Lock(),)]}, "x['a'][1][0]", "_thread.lock"),
    "a field": (Point(1, iter([])), "x.y", "list_iterator"),
    "a function": ([len], "x[0]", "builtin_function_or_method"),
    "a lambda": (lambda: 1, "x", "function"),
    "a class": (Point, "x", "type"),
    "a plain object": (object(), "x", "object"),
    "a generator": ((i for i in ()), "x", "generator"),
    "in a set": ({Ellipsis, print}, "x{…}", "builtin_function_or_method"),
    "objects in an array": (np.array([print]), "x[0]", "builtin_function_or_method"),
    "in a column": (pd.Series([print]), "x.data[2][0]", "builtin_function_or_method"),
    "subclass": (type("Rows", (list,), {})(), "x", f"{__name__}.Rows"),
}


@pytest.mark.parametrize(("value", "where", "kind"), UNFIT.values(), ids=UNFIT.keys())
def test_what_is_no_plain_data_is_named(value, where, kind):
    """A person would not learn which value it is, where in it, and what to do."""
    with pytest.raises(FingerprintError) as caught:
        digest_value(value, what="x")
    assert str(caught.value) == (
        f"{where} cannot be digested.\n"
        "  expected: plain data: numbers, text, containers of them, dates, paths, enums, dataclasses, arrays, tables\n"
        f"  found: a value of type {kind}\n"
        "  do: give plain data"
    )


def test_an_object_that_raises_when_it_is_looked_at_is_named():
    """An exception of the user's object would come out as it is, without a word about where it lies."""

    @dataclasses.dataclass
    class Broken:
        def __getattribute__(self, name):
            raise AttributeError(name)

        size: int = 1

    with pytest.raises(FingerprintError, match=r"x\[0\] cannot be digested(.|\n)*Broken, which raised AttributeError"):
        of([Broken()])


def test_nesting_too_deep_is_said():
    """A deep value would end in RecursionError."""
    value: list = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(FingerprintError, match="nested too deeply"):
        of(value)
    while value:
        value = value.pop()


def test_nothing_is_imported():
    """Digesting text would load numpy or pandas."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from drawbar.digest import digest_value; "
        "digest_value({'a': [1, 'b']}, what='x'); sys.exit(any(m in sys.modules for m in ('numpy', 'pandas')))"
    )
    core = str(pathlib.Path(digest.__file__).parents[1])
    assert subprocess.run([sys.executable, "-c", script, core], check=False).returncode == 0
