"""The digest of a function's code and of everything in the project that it reaches, the same wherever it is taken.

A function comes here from `graph`; a `Code` goes to `plan`, which puts it into a Version, and to `dispatch`, which
ships the modules. What is reached is found by `reach`; here it becomes one digest, and parts that a person recognises.

What counts: the syntax of project functions and classes (without comments, docstrings, formatting, statements without
effect and the annotations of functions), and the values of constants, defaults and closures. What stands in a library
counts by name. What is imported inside a body counts as its text stands on disk.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from drawbar.fingerprint.reach import Node, Reach

_SHORT = 16


@dataclass(frozen=True, slots=True)
class Code:
    """What a function is made of: one digest, and a short digest for each named part (`helpers.clean`).

    `digest` does not depend on what modules are called, so that a script, a notebook and an imported module agree.
    `packages` are the top-level import names of the libraries reached, without Python's own. `modules` are the
    project's modules that parts are in; they may import more of the project when they are loaded.
    """

    digest: str
    parts: Mapping[str, str]
    packages: tuple[str, ...]
    modules: tuple[str, ...]


class Fingerprints:
    """One pass over many functions: what they share is looked at once. Not for several threads at a time.

    A pass takes what it has seen as fixed, so begin a new one where a constant may have changed.

    >>> pass_ = Fingerprints()
    >>> pass_.code(len).digest == code(len).digest
    True
    """

    __slots__ = ("_reach", "_views")

    def __init__(self) -> None:
        self._reach = Reach()
        self._views: dict[Node, _View] = {}

    def code(self, fn: Callable[..., Any], *, where: str = "") -> Code:
        """The Code of `fn`; `where` is its `file:line` for messages. FingerprintError as in `code`."""
        module = getattr(fn, "__module__", None) or ""
        root = self._reach.node(fn, getattr(fn, "__name__", type(fn).__name__), module)
        order = [root]
        numbers = {root: 0}
        texts: list[str] = []
        parts: dict[str, str] = {}
        libraries: set[str] = set()
        modules: set[str] = set()
        for node in order:
            if node.error is not None:
                node.error.where = node.error.where or where
                raise node.error.with_traceback(None)
            view = self._view(node)
            # What names stand for is told by number, in an order that follows from the edges alone.
            texts.append(view.head)
            for to in view.to:
                number = numbers.get(to)
                if number is None:
                    number = numbers[to] = len(order)
                    order.append(to)
                texts.append(str(number))
            if node.library:
                libraries.add(view.package)
            if node.module:
                modules.add(node.module)
            if view.part or node is root:
                # Two things of one name, such as two functions made by one decorator, are one part.
                known = parts.get(node.name)
                parts[node.name] = _sha256(sorted((known, view.part)))[:_SHORT] if known else view.part
        return Code(
            _sha256(texts),
            MappingProxyType({name: parts[name] for name in sorted(parts)}),
            tuple(sorted(libraries - {""})),
            tuple(sorted(modules)),
        )

    def _view(self, node: Node) -> _View:
        view = self._views.get(node)
        if view is None:
            view = self._views[node] = _view(node)
        return view


@dataclass(frozen=True, slots=True)
class _View:
    """What a digest takes of a node: what it is with the names of its edges, where they lead, and its short digest.

    The short digest tells where they lead by name; it is "" for what is nothing but a name.
    """

    head: str
    to: tuple[Node, ...]
    part: str
    package: str


def _view(node: Node) -> _View:
    package = _package(node.library)
    if not node.edges:
        return _View(node.own, (), "" if node.named else _sha256([node.own])[:_SHORT], package)
    labels, to = zip(*node.edges, strict=True)
    names = [f"{label} {one.own if one.named else one.name}" for label, one in node.edges]
    return _View("\n".join([node.own, *labels]), to, _sha256([node.own, *names])[:_SHORT], package)


def code(fn: Callable[..., Any], *, where: str = "") -> Code:
    r"""The Code of one function; use one `Fingerprints` for many.

    FingerprintError names what cannot be digested, its type and the function that uses it, and offers
    `@asset(version="…")`.

    >>> scope = {"__name__": "pipeline"}
    >>> exec("LIMIT = 9\ndef page(url): return clean(url)\ndef clean(text): return text[:LIMIT]", scope)
    >>> list(code(scope["page"]).parts)
    ['pipeline.LIMIT', 'pipeline.clean', 'pipeline.page']
    """
    return Fingerprints().code(fn, where=where)


def _sha256(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def _package(qualified: str) -> str:
    top = qualified.partition(".")[0]
    return "" if top in sys.stdlib_module_names or top == "builtins" else top
