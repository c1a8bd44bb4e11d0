"""Many values behind one parameter, each read only when it is asked for, so that memory holds one at a time.

Labels and the means to load come from whoever calls a user's function; values go to that function, and are not kept.
"""

from __future__ import annotations

from typing import Any, Callable, Iterator, Mapping, TypeVar

T = TypeVar("T")


class Partitioned(Mapping[str, T]):
    """A read-only mapping from the key of a partition to its value, which is loaded at each access and not kept.

    A function asks for it by its annotation, `Partitioned[pd.DataFrame]`, where it would otherwise receive a dict with
    every value in memory. A loop over `.items()` holds one value, and the last one while the next is read; keep in a
    variable what you need twice. Keys, length and `in` load nothing.

    >>> days = Partitioned({"2026-11-19": lambda: [1, 2], "2026-11-20": lambda: [3]})
    >>> days, sum(len(rows) for rows in days.values())
    (Partitioned(2 values, '2026-11-19' to '2026-11-20'), 3)
    """

    __slots__ = ("_loads",)

    def __init__(self, loads: Mapping[str, Callable[[], T]]) -> None:
        self._loads = dict(loads)

    def __getitem__(self, key: str) -> T:
        return self._loads[key]()

    def __contains__(self, key: object) -> bool:
        """Mapping's own would load the value to know."""
        return key in self._loads

    def __iter__(self) -> Iterator[str]:
        return iter(self._loads)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._loads)

    def __len__(self) -> int:
        return len(self._loads)

    def __repr__(self) -> str:
        keys = list(self._loads)
        if not keys:
            return "Partitioned(no values)"
        ends = repr(keys[0]) if len(keys) == 1 else f"{keys[0]!r} to {keys[-1]!r}"
        return f"Partitioned({len(keys)} value{'s' * (len(keys) > 1)}, {ends})"

    def __eq__(self, other: object) -> Any:
        """Identity: to compare values would load them all."""
        return self is other

    def __hash__(self) -> int:
        return id(self)
