"""What code imports while it runs, found in source text: nothing is imported to make a plan.

Imports come here from `fingerprint`, as the code writes them; Targets and what stands there go back. So a function that
imports a project module in its body has the same digest whether or not that module can be imported here.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from drawbar.fingerprint.origins import Place, is_own, locate
from drawbar.fingerprint.scopes import Import
from drawbar.fingerprint.sources import Sources
from drawbar.fingerprint.syntax import Piece, read, read_definition


@dataclass(frozen=True, slots=True)
class Target:
    """What a name leads to: `name` of the project's `module` ("" for all of the module), or a `library` name.

    `missing` is what the project has no source for, as written.
    """

    module: str = ""
    name: str = ""
    library: str = ""
    missing: str = ""


class Statics:
    """The project's modules as text, each looked up once in a planning pass."""

    __slots__ = ("_places", "_sources")

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._places: dict[str, Place | None] = {}

    def place(self, module: str) -> Place | None:
        """Where a module is; None where there is none."""
        if module not in self._places:
            self._places[module] = locate(module)
        return self._places[module]

    def imported(self, item: Import, package: str) -> list[Target]:
        """What an import in a module of `package` leads to; several where a module binds the name more than once."""
        absolute = _absolute(item, package)
        if absolute is None:
            return [Target(missing=f"{'.' * item.level}{item.module}.{item.rest}")]
        return self.find(absolute.module, absolute.rest)

    def find(self, module: str, chain: str, _seen: frozenset[tuple[str, str]] = frozenset()) -> list[Target]:
        """What the dotted `chain` is in `module`, followed through what that module imports itself."""
        full = f"{module}.{chain}".rstrip(".")
        place = self.place(module)
        if place is None or place.library:
            top = self.place(module.partition(".")[0])
            return [Target(library=full) if top is None or top.library else Target(missing=full)]
        if not chain:
            return [Target(module=module)]
        if (module, chain) in _seen:
            return [Target(missing=full)]
        seen = _seen | {(module, chain)}
        name, _, rest = chain.partition(".")
        statements = self._bindings(place)
        found: list[Target] = []
        for statement in statements.get(name, []):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                for item in _imports(statement, name):
                    absolute = _absolute(item.then(rest), place.package)
                    found += self.find(absolute.module, absolute.rest, seen) if absolute else [Target(missing=full)]
            else:
                found.append(Target(module=module, name=name))
        if not found and place.package == module and self.place(f"{module}.{name}") is not None:
            return self.find(f"{module}.{name}", rest, seen)
        return found or self._starred(place, chain, seen) or [Target(missing=full)]

    def _starred(self, place: Place, chain: str, seen: frozenset[tuple[str, str]]) -> list[Target]:
        """What a `from … import *` of a project module brings."""
        for statement in self._bindings(place).get("*", []):
            if not isinstance(statement, ast.ImportFrom):
                continue
            absolute = _absolute(Import(statement.level, statement.module or ""), place.package)
            inner = self.place(absolute.module) if absolute else None
            if inner is not None and not inner.library:
                found = self.find(inner.name, chain, seen)
                if not found[0].missing:
                    return found
        return []

    def text(self, target: Target) -> Piece:
        """What stands at a project's target: everything that binds the name, or the whole module."""
        place = self.place(target.module)
        assert place is not None
        bound = self._bindings(place)
        if target.name:
            pieces = [piece for statement in bound[target.name] for piece in self._pieces(statement, target.module)]
        else:
            pieces = [read(bound.get("", []))]
        digest = hashlib.sha256("\n".join(sorted(piece.digest for piece in pieces)).encode()).hexdigest()
        names = {name for piece in pieces for name in piece.names}
        if not target.name:
            names = {name for name in names if name.partition(".")[0] not in bound}
        imports = {item for piece in pieces for item in piece.imports}
        return Piece(digest, tuple(sorted(names)), tuple(sorted(imports)))

    def _pieces(self, statement: ast.stmt, module: str) -> list[Piece]:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            return []
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return [read([statement])]
        definition = read_definition(statement)
        pieces = [definition.body, *([definition.defaults] if definition.defaults else [])]
        for chain, piece in definition.decorators:
            if not (chain and any(is_own(target.library) for target in self.find(module, chain))):
                pieces.append(piece)
        return pieces

    def _bindings(self, place: Place) -> Mapping[str, list[ast.stmt]]:
        snapshots = self._sources.snapshots(place.file) if place.file else []
        return snapshots[0].bindings() if snapshots else {}


def _absolute(item: Import, package: str) -> Import | None:
    """The same import without dots before it; None where they lead out of the package."""
    if not item.level:
        return item
    parts = package.split(".") if package else []
    kept = parts[: len(parts) - item.level + 1]
    return Import(0, ".".join([*kept, *filter(None, [item.module])]), item.rest) if kept else None


def _imports(statement: ast.Import | ast.ImportFrom, name: str) -> Iterator[Import]:
    """What a statement imports as `name`."""
    for alias in statement.names:
        if isinstance(statement, ast.ImportFrom):
            if (alias.asname or alias.name) == name:
                yield Import(statement.level, statement.module or "", alias.name)
        elif alias.asname == name:
            yield Import(0, alias.name)
        elif not alias.asname and alias.name.partition(".")[0] == name:
            yield Import(0, name)
