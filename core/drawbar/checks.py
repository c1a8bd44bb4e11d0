"""Checks: functions that look at what an asset made, and say whether it may be used.

Functions come here from `@check` and from the `checks` option of `@asset`; Checks go to the graph, and with a job or a
call in this process, as an Examination, to where the value is made. Their outcomes come back as plain dicts.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypeVar

from drawbar.agent import checking
from drawbar.agent.checking import CheckResult, blocked, plain_function
from drawbar.errors import CheckError, OptionError

if TYPE_CHECKING:
    from drawbar.dispatch.port import Stored

__all__ = [
    "CHECK_ATTRIBUTE",
    "Check",
    "CheckResult",
    "Examination",
    "as_check",
    "blocked",
    "check",
    "examined",
    "input_outcomes",
    "refusal",
]

CHECK_ATTRIBUTE = "__drawbar_check__"
"""Where `@check` leaves, on the function, the tuple of its Checks."""
F = TypeVar("F", bound=Callable[..., Any])
Outcomes = Sequence[Mapping[str, Any]]
_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, partial)
_LONGEST_NAME = 200
_TOLD = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One check: a function of the value, what it is called, and what its result must be.

    `fn` takes the value first; a parameter named `last` receives the value before (None where there is none), one named
    `partition` the Partition. `of` is the asset, as its function or its name; empty in `@asset(checks=…)`. A number
    that `fn` returns must lie between `min` and `max`. A failed check that is not `blocking` is a warning.

    >>> Check(len, name="enough", min=1).wants_last
    False
    """

    fn: Callable[..., Any]
    name: str = ""
    of: Callable[..., Any] | str = ""
    blocking: bool = True
    min: float | None = None
    max: float | None = None
    description: str | None = None
    wants_last: bool = field(init=False, default=False)
    wants_partition: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """OptionError for what cannot be a check."""
        if not isinstance(self.fn, _FUNCTIONS):
            raise OptionError(
                f"{self.fn!r} cannot be a check.",
                expected="a function of the value",
                found=type(self.fn).__name__,
                todo="write a function that takes the value and returns True or False",
            )
        _check_bounds(self)
        takes = _extra_parameters(self)
        name = self.name or _name_of(self.fn)
        if not isinstance(name, str) or len(name) > _LONGEST_NAME or not (name.isprintable() or not name):
            raise OptionError(
                "A check cannot have that name.",
                expected=f"text on one line, of at most {_LONGEST_NAME} characters",
                found=repr(name),
                where=self.where,
            )
        if not isinstance(self.blocking, bool):
            raise OptionError(
                f"The check {name} has a `blocking` that is neither True nor False.",
                found=repr(self.blocking),
                where=self.where,
            )
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "wants_last", "last" in takes)
        object.__setattr__(self, "wants_partition", "partition" in takes)

    @property
    def file(self) -> str:
        """Where its function was defined; empty for one of C."""
        code = getattr(plain_function(self.fn), "__code__", None)
        return str(code.co_filename) if code is not None else ""

    @property
    def line(self) -> int:
        """The line of that file."""
        code = getattr(plain_function(self.fn), "__code__", None)
        return int(code.co_firstlineno) if code is not None else 0

    @property
    def where(self) -> str:
        """`file:line`, as messages point at it; empty for a function of C."""
        return f"{self.file}:{self.line}" if self.file else ""

    def to_dict(self) -> dict[str, Any]:
        """What travels of it, besides the function."""
        return {
            "name": self.name,
            "blocking": self.blocking,
            "min": self.min,
            "max": self.max,
            "description": self.description or "",
            "last": self.wants_last,
            "partition": self.wants_partition,
        }


class Decorator:
    """What `check(asset)` gives, to be put above a function; left in a module by itself it checks nothing."""

    def __init__(self, of: Callable[..., Any] | str, options: Mapping[str, Any]) -> None:
        self.of = of
        self._options = options

    def __call__(self, fn: F) -> F:
        """The function itself, now with a Check in `__drawbar_check__`; several can be put above one another."""
        if not inspect.isfunction(fn):
            raise OptionError(
                f"@check cannot decorate {fn!r}.",
                expected="a function",
                found=type(fn).__name__,
                todo="put @check(the_asset) above a plain function",
            )
        made = Check(fn, of=self.of, **self._options)
        if not made.name:
            made = replace(made, name="check")
        setattr(fn, CHECK_ATTRIBUTE, (made, *getattr(fn, CHECK_ATTRIBUTE, ())))
        return fn

    def unused(self, name: str, where: str = "") -> OptionError:
        """The error for a module that has this as `name`: `@check` without its asset took the check for one."""
        return OptionError(
            f"{name} is not a check yet.",
            expected="@check(the_asset) above a function of its value",
            found=f"@check above {name}, without the asset" if callable(self.of) else f"check({self.of!r}) alone",
            todo="name the asset: @check(pages), or @check('pages')",
            where=where,
        )


def check(
    of: Callable[..., Any] | str,
    /,
    *,
    name: str | None = None,
    blocking: bool = True,
    min: float | None = None,  # noqa: A002  # the users' word
    max: float | None = None,  # noqa: A002  # the users' word
    description: str | None = None,
) -> Decorator:
    """Make a function a check of an asset, given as its function or its name; the function itself comes back.

    It takes the value, and may take `last` (the value before) and `partition` by name. It returns True or False, a
    number to be between `min` and `max`, a `CheckResult` or several. OptionError for what cannot be a check.

    >>> def pages() -> list[str]: ...
    >>> @check(pages, min=1)
    ... def enough(pages: list[str]) -> int:
    ...     return len(pages)
    >>> enough(["a"])
    1
    """
    if not (callable(of) or (isinstance(of, str) and of)):
        raise OptionError(
            f"@check cannot be of {of!r}.",
            expected="an asset's function, or its name",
            found=type(of).__name__,
            todo="write @check(pages), or @check('pages')",
        )
    options = {"blocking": blocking, "min": min, "max": max, "description": description}
    return Decorator(of, {**options, "name": name or ""})


def as_check(value: Any, where: str, position: int = 1) -> Check:
    """What stands in `@asset(checks=[…])` as a Check: a function, or one already; `where` is the asset's place.

    A lambda is called `check_<position>`. OptionError for anything else.

    >>> as_check(lambda rows: bool(rows), "pipeline.py:3", 2).name
    'check_2'
    """
    try:
        made = value if isinstance(value, Check) else Check(value)
        return made if made.name else replace(made, name=f"check_{position}")
    except OptionError as error:
        error.where = error.where or where
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What is done with a value where it was made: its contract, its checks, and whether its profile is taken.

    `contract` is the dict that travels; `last` the value before, for the checks that want it, where a job goes to a
    target. A pandera schema in the function's annotations needs no mention: it is found there.
    """

    checks: tuple[Check, ...] = ()
    contract: Mapping[str, Any] | None = None
    profile: bool = False
    last: Stored | None = None

    @property
    def wants_last(self) -> bool:
        """Whether a check takes the value before."""
        return any(one.wants_last for one in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """What travels of it, besides functions and values."""
        checks = [one.to_dict() for one in self.checks]
        contract = None if self.contract is None else dict(self.contract)
        return {"contract": contract, "checks": checks, "profile": self.profile}


def examined(  # noqa: PLR0917  # an examination needs so many things
    value: Any,
    examination: Examination,
    fn: Callable[..., Any] | None,
    partition: Any = None,
    last: Callable[[], Any] | None = None,
    keep: Callable[[Any, list[dict[str, Any]]], None] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """The value, without what its contract discards, and `{"checks": [outcome, …], "profile": … or None}`.

    `fn` is the asset's function, whose return annotation may be a schema. `last` is called at most once, and only if a
    check wants it. `keep` gets the value, and the outcomes so far, before a check sees it. Nothing that a check does is
    raised here.

    >>> examined([1], Examination(checks=(Check(len, min=2),)), None)[1]["checks"][0]["passed"]
    False
    """
    from drawbar.agent import examine

    functions = [one.fn for one in examination.checks]
    return examine.examine(value, examination.to_dict(), functions, fn, last=last, partition=partition, keep=keep)


def input_outcomes(fn: Callable[..., Any], given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The outcomes of the schemas that `fn`'s parameters are annotated with, for what it is about to be called with."""
    from drawbar.agent import schemas

    return schemas.of_inputs(fn, given)


def refusal(name: str, outcomes: Outcomes, where: str = "", place: str = "") -> CheckError:
    """The error for a value of the asset `name`, or for its inputs, that failed blocking checks; it carries `outcomes`.

    `place` is where the value was kept for a person to look at.

    >>> print(refusal("site/pages", [{"name": "enough", "passed": False, "expected": "at least 1", "found": "0"}]))
    site/pages failed its check enough.
      expected: at least 1
      found: 0
      do: mend what makes it, or the check
    """
    failed = blocked(outcomes)
    names = list(dict.fromkeys(one["name"] for one in failed))
    checks = f"check {names[0]}" if len(names) == 1 else f"{len(names)} checks: {', '.join(names)}"
    what, todo = f"{name} failed {'its ' if len(names) == 1 else ''}{checks}.", "mend what makes it, or the check"
    if names and all(one.startswith(checking.OF_INPUT) for one in names):
        inputs = ", ".join(one[len(checking.OF_INPUT) :] for one in names)
        what = f"{name} was not called: {inputs} {'is' if len(names) == 1 else 'are'} not as annotated."
        todo = "mend what makes that input, or the schema that the parameter is annotated with"
    elif place:
        todo = f"look at the value, which is kept at {place}, then {todo}"
    error = CheckError(what, expected=_said(failed, "expected"), found=_said(failed, "found"), todo=todo, where=where)
    error.checks = tuple(outcomes)
    return error


def _said(failed: Outcomes, what: str) -> str:
    """What the first failed checks expected or found, each with its name where there are several."""
    texts = [f"{_label(one)}: {one[what]}" if len(failed) > 1 else str(one[what]) for one in failed if one[what]]
    more = len(texts) - _TOLD
    return "; ".join(texts[:_TOLD]) + (f"; and {more} more" if more > 0 else "")


def _label(one: Mapping[str, Any]) -> str:
    column = one.get("column")
    return f"{one['name']} of {column}" if column else str(one["name"])


def _name_of(fn: Any) -> str:
    """What a check is called if nobody says; empty for a lambda, whose place must name it."""
    name = str(getattr(plain_function(fn), "__name__", ""))
    return "" if name == "<lambda>" else name


def _check_bounds(one: Check) -> None:
    for label, bound in (("min", one.min), ("max", one.max)):
        if bound is None:
            continue
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound):
            raise OptionError(
                f"The {label} of a check is not a number.",
                expected="a finite int or float, or None for no bound",
                found=repr(bound),
                where=one.where,
            )
    if one.min is not None and one.max is not None and one.min > one.max:
        raise OptionError(
            "No number can pass this check.",
            expected="min ≤ max",
            found=f"min={one.min}, max={one.max}",
            todo="exchange them",
            where=one.where,
        )


def _extra_parameters(one: Check) -> set[str]:
    """Which of `last` and `partition` the function takes beside the value."""
    try:
        params = list(inspect.signature(one.fn).parameters.values())
    except (TypeError, ValueError) as error:
        raise OptionError(f"{one.fn!r} cannot be a check.", found=str(error), todo="wrap it in a def") from None
    if not params or params[0].kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD):
        raise OptionError(
            f"The check {_name_of(one.fn) or 'lambda'} does not take the value.",
            expected="a first parameter, which receives the value",
            found="no parameter" if not params else f"({params[0]})",
            todo="write `def check_of(value): …`",
            where=one.where,
        )
    takes = set()
    for param in params[1:]:
        by_name = param.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        if by_name and param.name in ("last", "partition"):
            takes.add(param.name)
        elif param.default is param.empty and param.kind not in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        ):
            raise OptionError(
                f"The check {_name_of(one.fn) or 'lambda'} has a parameter that nobody fills.",
                expected="the value first, then only `last`, `partition`, and what has a default",
                found=param.name,
                todo=f"give {param.name} a default, or use functools.partial",
                where=one.where,
            )
    return takes
