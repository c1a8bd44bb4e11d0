"""Everything that is looked at in a value where it was made: contract, schema, its profile, and at last checks.

A value comes from a worker, or from the client's process; the same value, without what its contract discards, goes on
to be kept, and what was found goes into the job's report and the record. Nothing here fails because a value is bad.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

from . import checking, schemas

_UNREAD: Any = object()


def examine(
    value: Any,
    spec: Mapping[str, Any],
    functions: Sequence[Callable[..., Any]],
    fn: Optional[Callable[..., Any]],
    *,
    last: Optional[Callable[[], Any]] = None,
    partition: Any = None,
    keep: Optional[Callable[[Any, list[dict[str, Any]]], None]] = None,
) -> tuple[Any, dict[str, Any]]:
    """The value to keep, and `{"checks": [outcome, …], "profile": … or None}`.

    `spec` has `contract` (a dict or None), `checks` (see `checking.evaluate`; `functions` are theirs, in that order)
    and `profile`. `fn` made the value; a schema is looked for in its annotations. `last` gives the value before, and is
    called once at most. A check that failed stops no other: all are evaluated and told. `keep` is called with the value
    and the outcomes so far before a check of the user's sees it: what a check changes is changed for nobody else.
    """
    outcomes: list[dict[str, Any]] = []
    if spec.get("contract"):
        value, outcomes = _kept_contract(value, spec["contract"])
    outcomes += schemas.of_value(fn, value)
    if keep is not None:
        keep(value, outcomes)
    profile = _profile(value) if spec.get("profile") else None
    once = None if last is None else _Once(last)
    for check, function in zip(spec.get("checks") or (), functions):
        outcomes += checking.evaluate(check, function, value, once, partition)
    return value, {"checks": outcomes, "profile": profile}


def _kept_contract(value: Any, contract: Mapping[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
    from . import contracting

    try:
        kept, outcomes = contracting.apply(value, contract)
        return kept, list(outcomes)
    except Exception as error:  # a fault of ours, or of a table's library: the value must not be lost for it
        return value, [
            checking.outcome("contract", passed=False, expected="to be compared", found=checking.told(error))
        ]


def _profile(value: Any) -> Optional[dict[str, Any]]:
    """The profile, None where it cannot be taken: that is said on stderr, and costs nobody the value."""
    from . import profiling

    try:
        return profiling.profile(value)
    except Exception as error:  # whatever a library does with an odd table
        print(f"[drawbar: no profile was taken: {checking.told(error)}]", file=sys.stderr)  # noqa: T201 - for the log
        return None


class _Once:
    """A value that is read when it is first asked for, and not again."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read = read
        self._value = _UNREAD

    def __call__(self) -> Any:
        if self._value is _UNREAD:
            self._value = self._read()
        return self._value
