"""What a check may give, what it means, and that nothing a check does loses the value."""

import decimal
import functools
import importlib.util
import pickle
import sys

import numpy as np
import pytest

from drawbar.agent import checking
from drawbar.agent.checking import CheckResult, evaluate


def one(fn, value=None, **check):
    """The only outcome of a check."""
    (found,) = evaluate({"name": "it", **check}, fn, value)
    return found


@pytest.mark.parametrize(
    ("result", "passed"),
    [
        (True, True),
        (False, False),
        (np.True_, True),
        (np.array(5) > 9, False),
        (np.array(True), True),
        (CheckResult(True), True),
        (CheckResult(np.False_), False),
    ],
)
def test_truths(result, passed):
    """A truth of numpy would be taken for nonsense, or a false one for a pass."""
    found = one(lambda _: result)
    assert found["passed"] is passed
    assert found["blocking"] is True


@pytest.mark.parametrize(
    ("number", "bounds", "passed"),
    [
        (3, {"min": 3}, True),
        (2.9, {"min": 3}, False),
        (3, {"max": 2}, False),
        (np.int64(7), {"min": 0, "max": 7}, True),
        (np.float32("nan"), {"min": 0}, False),
        (float("nan"), {"max": 0}, False),
        (float("inf"), {"min": 0}, True),
        (decimal.Decimal("0.5"), {"min": 0, "max": 1}, True),
        (np.array(3.5), {"max": 3}, False),
        (0, {"min": 0}, True),
    ],
)
def test_numbers_against_bounds(number, bounds, passed):
    """A number on the edge, none at all (NaN), or one of a library's own types would be judged wrongly."""
    assert one(lambda _: number, **bounds)["passed"] is passed


def test_bounds_and_number_are_told():
    """Whoever reads the failure would not know what was expected."""
    found = one(len, [1], min=2, max=9)
    assert (found["expected"], found["found"], found["details"]) == ("between 2 and 9", "1", {"value": 1})
    assert one(len, [1], min=2)["expected"] == "at least 2"
    assert one(len, [1, 2], max=1)["expected"] == "at most 1"
    assert one(lambda _: False, description="no gaps")["expected"] == "no gaps"


@pytest.mark.parametrize(
    ("result", "bounds", "expected", "found"),
    [
        (None, {}, "True or False, or a CheckResult", "it gave None"),
        ("yes", {}, "True or False, or a CheckResult", "it gave 'yes' (str)"),
        (3, {}, "bounds for its number (min=, max=)", "it gave 3 (int)"),
        (True, {"min": 0}, "a number, as it has bounds", "it gave True (bool)"),
        (1j, {"min": 0}, "a number, as it has bounds", "it gave 1j (complex)"),
        ([], {}, "True or False", "it gave an empty list"),
        ([True], {}, "True or False", "it gave a list"),
        ([CheckResult(True), False], {}, "True or False", "it gave a list"),
        (np.array([True, False]), {}, "True or False", "it gave a numpy.ndarray"),
    ],
)
def test_nonsense_fails_and_says_so(result, bounds, expected, found):
    """A check that gives no result would pass, or end the job."""
    told = one(lambda _: result, **bounds)
    assert not told["passed"]
    assert told["expected"].startswith(expected)
    assert told["found"].startswith(found)
    assert "at test_checking.py:" in told["found"]
    assert told["details"]["where"].startswith(__file__)


def test_too_many_results():
    """A check that gives a million results would fill the record."""
    found = one(lambda _: [CheckResult(True)] * 1001)
    assert (found["passed"], found["expected"], found["found"]) == (False, "at most 1000 results", "1001 of them")


def test_several_results():
    """A check of each column would tell of one only; coroutines and generators would be nonsense."""

    def each(value):
        yield CheckResult(True, column="a")
        yield CheckResult(False, column="b", found="3 nulls", details={"nulls": np.int64(3)})

    async def later(value):
        return [one async for one in async_each(value)]

    async def async_each(value):
        for result in each(value):
            yield result

    for fn in (each, later, async_each):
        found = evaluate({"name": "it", "blocking": False}, fn, 1)
        assert [(told["column"], told["passed"], told["blocking"]) for told in found] == [
            ("a", True, False),
            ("b", False, False),
        ]
        assert (found[1]["found"], found[1]["details"]) == ("3 nulls", {"nulls": 3})


class Panic(BaseException):
    """As polars raises it for a fault in its own code."""


Panic.__name__ = "PanicException"


@pytest.mark.parametrize(
    "error", [ValueError("no\n good"), SystemExit(3), Panic("index"), RecursionError(), MemoryError()]
)
def test_raising_fails_the_check_only(error):
    """A fault in a check, or in a library that it calls, would lose the value."""

    def raises(value):
        raise error

    found = one(raises)
    kind = type(error).__name__
    line = raises.__code__.co_firstlineno + 1
    assert not found["passed"]
    assert found["found"].startswith(f"{kind}: no good, at" if str(error) == "no\n good" else kind)
    assert found["found"].endswith(f"at test_checking.py:{line}")
    assert found["details"] == {"where": f"{__file__}:{line}"}


def test_stopping_is_no_check_failure():
    """Ctrl-C in a check would be noted as a failed check, and the run go on."""

    def stopped(value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one(stopped)


def test_an_exception_without_a_message():
    """An exception whose own __str__ raises would hide the check that failed."""

    class OddError(Exception):
        def __str__(self):
            raise RuntimeError

    def raises(value):
        raise OddError

    assert one(raises)["found"].startswith("OddError: <its message cannot be had: RuntimeError>")


def test_last_and_partition():
    """A check would not receive what it asks for by name, or the last value be read for nothing."""
    reads = []

    def last():
        reads.append(1)
        return 7

    def wants(value, last, partition):
        return (value, last, partition) == (1, 7, "p")

    (found,) = evaluate({"name": "it", "last": True, "partition": True}, wants, 1, last, "p")
    assert found["passed"]
    assert evaluate({"name": "it"}, lambda _: True, 1, last, "p")[0]["passed"]
    assert reads == [1]

    def unreadable():
        raise OSError("gone")

    (found,) = evaluate({"name": "it", "last": True}, wants, 1, unreadable, "p")
    assert (found["passed"], found["found"]) == (False, "it cannot be read: OSError: gone")


def test_partials_are_told_by_their_function():
    """A partial that raises would be told without its line."""

    def raises(value, key):
        return value[key]

    found = one(functools.partial(raises, key="k"), {})
    assert found["found"] == f"KeyError: 'k', at test_checking.py:{raises.__code__.co_firstlineno + 1}"
    assert one(functools.partial(lambda v, n: len(v) == n, n=0), [])["passed"]


def test_texts_are_short_and_plain():
    """A text with line breaks, of a megabyte or with half a character would break the record or the screen."""
    found = one(lambda _: CheckResult(False, expected="a\n\tb", found="x" * 10**6, column="\ud800"))
    assert found["expected"] == "a b"
    assert len(found["found"]) == 300
    assert found["column"] == "\\ud800"


def test_details_are_bounded_json():
    """Details of any type and depth would break the record that holds them."""
    import json

    loop = []
    loop.append(loop)
    details = {
        1: (1, np.float64(2.5), float("nan"), 10**30),
        "loop": loop,
        "many": list(range(1000)),
        "odd": object(),
        "set": {1},
        "array": np.arange(3),
    }
    found = one(lambda _: CheckResult(True, details=details))["details"]
    assert found["1"] == [1, 2.5, "nan", str(10**30)]
    assert len(found["many"]) == 100
    assert found["odd"].startswith("<object object")
    assert found["array"] == "[0 1 2]"
    assert len(json.dumps(found, allow_nan=False)) < 5000


def test_check_result_refuses_nonsense():
    """`CheckResult("ok")` would count as passed."""
    with pytest.raises(TypeError, match=r"CheckResult takes True or False first, not 'ok' \(str\)"):
        CheckResult("ok")
    with pytest.raises(TypeError, match="details as a mapping, not a list"):
        CheckResult(True, details=[1])
    assert not one(lambda _: CheckResult(None))["passed"]


def test_check_result_is_a_value():
    """Results could not be compared in a user's test, or sent between processes."""
    made = CheckResult(False, expected=1, found=2, details={"a": 1}, column="c")
    assert made == CheckResult(False, expected="1", found="2", details={"a": 1}, column="c")
    assert pickle.loads(pickle.dumps(made)) == made
    with pytest.raises(AttributeError):
        made.passed = True


def test_another_drawbars_result_counts(monkeypatch):
    """On a host with a drawbar of its own, `from drawbar import CheckResult` gives another class."""
    monkeypatch.setitem(sys.modules, "drawbar_agent", sys.modules["drawbar.agent"])  # whose relative imports it does
    spec = importlib.util.spec_from_file_location("drawbar_agent.checking", checking.__file__)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where its dataclass looks itself up
    spec.loader.exec_module(module)
    other = module.CheckResult(False, found="theirs")
    assert not isinstance(other, CheckResult)
    assert one(lambda _: other)["found"] == "theirs"


def test_blocked():
    """A warning would keep a value from being used, or a failure let it through."""
    outcomes = [
        {"name": "a", "passed": True, "blocking": True},
        {"name": "b", "passed": False, "blocking": False},
        {"name": "c", "passed": False, "blocking": True},
    ]
    assert [found["name"] for found in checking.blocked(outcomes)] == ["c"]
