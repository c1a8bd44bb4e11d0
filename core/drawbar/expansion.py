"""`@expand`: one function as many assets, one for each value, or each combination of values, of some parameters.

Values come from the decorator; variants (a suffix for the name, and the parameters it fixes) go to `definitions`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from drawbar.errors import OptionError

F = TypeVar("F", bound=Callable[..., Any])

EXPAND_ATTRIBUTE = "__drawbar_expand__"


def expand(**values: Any) -> Callable[[F], F]:
    """One asset for each value of a parameter, or for each combination of values of several.

    Values are a list, whose texts then stand in the names, or a mapping from name to value. The function's own name,
    as a parameter of another asset, receives all of them: a dict by variant.

    >>> @expand(model=["small", "large"], scale={"half": 0.5})
    ... def vectors(texts: list[str], model: str, scale: float) -> list[float]: ...
    >>> [name for name, _ in variants(vectors, {"texts", "model", "scale"}, "")]
    ['small_half', 'large_half']
    """
    for name, choices in values.items():
        if not isinstance(choices, (list, tuple, Mapping)) or not choices:
            raise OptionError(
                f"@expand cannot use what it was given for {name!r}.",
                expected="a list of values, or a mapping from names to values, with at least one",
                found=repr(choices)[:80],
            )

    def mark(fn: F) -> F:
        setattr(fn, EXPAND_ATTRIBUTE, {**getattr(fn, EXPAND_ATTRIBUTE, {}), **values})
        return fn

    if not values:
        raise OptionError("@expand needs a parameter.", expected='@expand(model=["small", "large"])', found="@expand()")
    return mark


def variants(fn: Any, params: set[str], where: str) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """The suffix and the fixed parameters of each variant; one without a suffix for a function that is not expanded."""
    values: Mapping[str, Any] = getattr(fn, EXPAND_ATTRIBUTE, {})
    if not values:
        yield None, {}
        return
    for name in values:
        if name not in params:
            raise OptionError(
                f"{fn.__name__} is expanded by {name!r}, which it does not take.",
                expected="one of its parameters: " + ", ".join(sorted(params)),
                found=name,
                where=where,
            )
    seen: dict[str, Any] = {}
    for choice in itertools.product(*(_named(choices) for choices in values.values())):
        suffix = "_".join(label for label, _ in choice)
        bound = {name: value for name, (_, value) in zip(values, choice, strict=True)}
        if suffix in seen or not suffix or not f"_{suffix}".isidentifier():
            raise OptionError(
                f"Two variants of {fn.__name__} would have one name, or one that no asset can have.",
                expected="values whose texts differ in letters, digits and '_'",
                found=f"{bound} as {suffix!r}" + (f", as {seen[suffix]}" if suffix in seen else ""),
                todo='name them: @expand(model={"small": …, "large": …})',
                where=where,
            )
        seen[suffix] = bound
        yield suffix, bound


def _named(choices: Any) -> list[tuple[str, Any]]:
    if isinstance(choices, Mapping):
        return [(str(name), value) for name, value in choices.items()]
    return [(re.sub(r"\W+", "_", str(value)).strip("_"), value) for value in choices]
