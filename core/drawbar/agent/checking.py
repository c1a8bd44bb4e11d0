"""What a user's check gives, and how one is evaluated: a function and a value go in, plain check outcomes come out.

Called by `examine`, in a worker on a host or in the client's process; outcomes go into the job's report and the record.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from .calling import finished

LONGEST = 300
"""How many characters a text of an outcome has at most."""
MOST = 1000
"""How many results one check gives at most."""
OF_INPUT = "schema of "
"""Begins the name of an outcome that is about an input: the function is not called where it failed."""
_DEEP = 5
_WIDE = 100
_HOMES = ("drawbar", "drawbar.agent.checking", "drawbar_agent.checking")


@dataclass(frozen=True, init=False)
class CheckResult:
    """What a check found: whether the value passed, and what a person should know about it.

    `expected` and `found` are short texts, `details` plain data for whoever looks closer, `column` the column of a
    table that this is about. A check returns one, or a list of them (one for each column, say).

    >>> CheckResult(False, expected="no gaps", found="3 days missing", details={"days": ["2026-01-03"]}).found
    '3 days missing'
    """

    passed: bool
    expected: str
    found: str
    details: Mapping[str, Any]
    column: str

    def __init__(
        self,
        passed: bool,  # noqa: FBT001 - the one fact that needs no name
        *,
        expected: Any = "",
        found: Any = "",
        details: Optional[Mapping[str, Any]] = None,
        column: str = "",
    ) -> None:
        passed = scalar(passed)
        if not isinstance(passed, bool):
            raise TypeError(f"CheckResult takes True or False first, not {_shown(passed)}")
        if details is not None and not isinstance(details, Mapping):
            raise TypeError(f"CheckResult takes details as a mapping, not {_shown(details)}")
        for name, value in (("passed", passed), ("expected", str(expected)), ("found", str(found))):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "details", dict(details or {}))
        object.__setattr__(self, "column", str(column))


def outcome(
    name: str,
    *,
    passed: bool,
    blocking: bool = True,
    expected: Any = "",
    found: Any = "",
    details: Optional[Mapping[str, Any]] = None,
    column: Any = "",
) -> dict[str, Any]:
    """A check outcome as it travels and stands in records: plain data, texts on one line of at most 300 characters."""
    return {
        "name": line(name),
        "passed": passed,
        "blocking": blocking,
        "expected": line(expected),
        "found": line(found),
        "details": plain(details or {}),
        "column": line(column),
    }


def blocked(outcomes: Any) -> list[Any]:
    """The outcomes that keep a value from being used: failed, and blocking."""
    return [one for one in outcomes if one.get("blocking", True) and not one["passed"]]


def evaluate(
    check: Mapping[str, Any],
    fn: Callable[..., Any],
    value: Any,
    last: Optional[Callable[[], Any]] = None,
    partition: Any = None,
) -> list[dict[str, Any]]:
    """The outcomes of one check of `value`: one, or as many as it gave results.

    `check` has `name`, `blocking`, `min`, `max`, `description`, and whether `fn` takes `last` and `partition`. `last`
    is called only for a check that wants the value before this one. A check that raises, or gives no result, failed.

    >>> evaluate({"name": "enough", "min": 2}, len, [1])[0]["found"]
    '1'
    """
    given = {}
    try:
        if check.get("partition"):
            given["partition"] = partition
        if check.get("last"):
            given["last"] = last() if last is not None else None
    except Exception as error:  # the store, a format or a library may fail in any way; the value is not lost for it
        return [_failed(check, "the last value", f"it cannot be read: {told(error)}")]
    try:
        return _outcomes(check, fn, finished(fn(value, **given)))
    except BaseException as error:
        if not survivable(error):
            raise
        where = _where(fn, error)
        return [_failed(check, "a result", f"{told(error)}, at {os.path.basename(where)}", where=where)]


def survivable(error: BaseException) -> bool:
    """Whether `error` is a check's own fault, and not somebody who stops the whole. A panic in Rust is no Exception."""
    return isinstance(error, (Exception, SystemExit)) or type(error).__name__ == "PanicException"


def _outcomes(check: Mapping[str, Any], fn: Any, result: Any) -> list[dict[str, Any]]:
    if _is_result(result):
        return [_of_result(check, result)]
    if isinstance(result, (list, tuple)) and result and all(map(_is_result, result)):
        if len(result) > MOST:
            return [_failed(check, f"at most {MOST} results", f"{len(result)} of them", where=_where(fn))]
        return [_of_result(check, one) for one in result]
    found, bounds = scalar(result), _bounds(check)
    if isinstance(found, bool) and not bounds:
        return [_outcome(check, passed=found, expected=check.get("description") or "True", found=found)]
    if _is_number(found) and bounds:
        low, high = check.get("min"), check.get("max")
        # Nothing is at least or at most NaN.
        passed = (low is None or found >= low) and (high is None or found <= high)
        return [_outcome(check, passed=bool(passed), expected=bounds, found=found, details={"value": found})]
    wanted = "a number, as it has bounds, or a CheckResult" if bounds else "True or False, or a CheckResult"
    if _is_number(found):
        wanted = "bounds for its number (min=, max=), else True or False, or a CheckResult"
    where = _where(fn)
    return [_failed(check, wanted, f"it gave {_shown(result)}, at {os.path.basename(where)}", where=where)]


def _is_number(found: Any) -> bool:
    """A real number; a Decimal is none by its class, and is known by name so that nobody loads its module for it."""
    kind = type(found)
    real = isinstance(found, numbers.Real) or (kind.__module__, kind.__name__) == ("decimal", "Decimal")
    return real and not isinstance(found, bool)


def _is_result(result: Any) -> bool:
    """A host may have a drawbar of its own installed: its CheckResult is another class than the agent's."""
    kind = type(result)
    return kind.__name__ == "CheckResult" and kind.__module__ in _HOMES


def _of_result(check: Mapping[str, Any], result: Any) -> dict[str, Any]:
    expected = result.expected or check.get("description") or ""
    return _outcome(
        check,
        passed=result.passed,
        expected=expected,
        found=result.found,
        details=result.details,
        column=result.column,
    )


def _outcome(check: Mapping[str, Any], **known: Any) -> dict[str, Any]:
    return outcome(check["name"], blocking=bool(check.get("blocking", True)), **known)


def _failed(check: Mapping[str, Any], expected: str, found: str, **details: Any) -> dict[str, Any]:
    return _outcome(check, passed=False, expected=expected, found=found, details=details)


def _bounds(check: Mapping[str, Any]) -> str:
    low, high = check.get("min"), check.get("max")
    if low is not None and high is not None:
        return f"between {low} and {high}"
    return f"at least {low}" if low is not None else f"at most {high}" if high is not None else ""


def scalar(value: Any) -> Any:
    """A scalar of numpy, torch and the like as Python's own; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def told(error: BaseException) -> str:
    """Type and message of an exception, whatever its `__str__` does."""
    try:
        text = str(error)
    except Exception as fault:  # the user's own __str__ may raise anything
        text = f"<its message cannot be had: {type(fault).__name__}>"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def plain_function(fn: Any) -> Any:
    """The function inside partials and decorators that keep it as `__wrapped__`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.unwrap(fn)


def _where(fn: Any, error: Optional[BaseException] = None) -> str:
    """`file:line` of a check; of the line in it that raised `error`, where that is known."""
    code = getattr(plain_function(fn), "__code__", None)
    if code is None:
        return str(getattr(fn, "__name__", fn))
    found = code.co_firstlineno
    trace = error.__traceback__ if error is not None else None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == code.co_filename:
            found = trace.tb_lineno
        trace = trace.tb_next
    return f"{code.co_filename}:{found}"


def line(value: Any) -> str:
    r"""`value` as text on one line, cut at 300 characters; only what JSON and UTF-8 can hold.

    >>> line("a\n  b"), len(line("x" * 1000))
    ('a b', 300)
    """
    text = value if isinstance(value, str) else str(value)
    text = " ".join(text[: 4 * LONGEST].split()).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def plain(value: Any, depth: int = 0) -> Any:
    """`value` as JSON can hold it: bounded in depth and width, and what is no plain data as text.

    >>> plain({"a": (1, float("nan")), 2: {"b"}})
    {'a': [1, 'nan'], '2': ['b']}
    """
    value = scalar(value)
    if value is None or isinstance(value, (bool, str)):
        return line(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value) if abs(value) < 1 << 63 else line(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if depth < _DEEP and isinstance(value, Mapping):
        return {line(name): plain(one, depth + 1) for name, one in _first(value.items())}
    if depth < _DEEP and isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one, depth + 1) for one in _first(value)]
    return line(_shown(value)) if isinstance(value, (Mapping, list, tuple, set, frozenset)) else line(value)


def _first(values: Any) -> Any:
    return (one for _, one in zip(range(_WIDE), values))


def _shown(value: Any) -> str:
    """A value as a message names it: its type, and itself where it is short."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if value is None:
        return "None"
    if isinstance(value, (str, int, float, complex)):
        return f"{value!r:.80} ({name})"
    return f"a {name}" if not isinstance(value, (list, tuple)) or value else f"an empty {name}"
