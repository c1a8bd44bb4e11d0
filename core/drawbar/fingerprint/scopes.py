"""Whose a name is, by Python's own rules: bound in a function, comprehension or class, imported there, or from outside.

The walk in `syntax` tells what it meets, in order; the names that are left over for the module come out at its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Import:
    """Something that code imports while it runs: `level` dots, a module, and the dotted rest that is used of it."""

    level: int
    module: str
    rest: str = ""

    def then(self, rest: str) -> Import:
        """What `rest` is of this.

        >>> Import(0, "helpers").then("clean")
        Import(level=0, module='helpers', rest='clean')
        """
        return Import(self.level, self.module, ".".join(filter(None, (self.rest, rest))))


class Scope:
    """The names of one function, comprehension, class or module, while the walk is inside it."""

    __slots__ = ("_bound", "_elsewhere", "_globals", "_imports", "kind", "loads", "outer")

    def __init__(self, kind: str, outer: Scope | None) -> None:
        self.kind = kind
        self.outer = outer
        self.loads: set[str] = set()
        self._bound: set[str] = set()
        self._globals: set[str] = set()
        self._elsewhere: set[str] = set()
        self._imports: dict[str, set[tuple[Import, Import]]] = {}

    def bind(self, name: str) -> None:
        """The name is given a value here."""
        # What code rebinds with `global` is its own memory, not a constant that it is made from.
        if name not in self._elsewhere or name in self._globals:
            self._bound.add(name)

    def bind_elsewhere(self, names: Iterable[str], *, is_global: bool) -> None:
        """The names are declared `global` or `nonlocal` here."""
        self._elsewhere.update(names)
        if is_global:
            self._globals.update(names)

    def bind_import(self, name: str, is_a: Import, unused: Import) -> None:
        """The name is imported here: `is_a` is what it is, `unused` what is meant by importing it for nothing."""
        self.bind(name)
        self._imports.setdefault(name, set()).add((is_a, unused))

    def load(self, chain: str) -> None:
        """A dotted name is read here."""
        # A class body falls through to the module until it has bound the name, so order matters there alone.
        if self.kind != "class" or (base := chain.partition(".")[0]) not in self._bound or base in self._imports:
            self.loads.add(chain)

    def leave(self, module: Scope, imported: set[Import]) -> Scope:
        """Give what is not bound here to the scopes around, and what is imported to `imported`; the outer scope."""
        outer = self.outer or module
        self.take_imports(imported)
        if self.kind == "class":
            outer.loads |= self.loads
            return outer
        reader = outer
        while reader.kind == "class" and reader.outer is not None:
            reader = reader.outer  # what a method reads is never looked up in its class
        for chain in self.loads:
            base = chain.partition(".")[0]
            if base not in self._bound:
                (module if base in self._globals else reader).loads.add(chain)
        return outer

    def take_imports(self, imported: set[Import]) -> None:
        """Turn the names that are imported here into imports of what is used of them."""
        if not self._imports:
            return
        used: set[str] = set()
        for chain in list(self.loads):
            base, _, rest = chain.partition(".")
            if base in self._imports and base not in self._globals:
                used.add(base)
                self.loads.discard(chain)
                imported.update(is_a.then(rest) for is_a, _ in self._imports[base])
        for name in self._imports.keys() - used:
            imported.update(unused for _, unused in self._imports[name])
