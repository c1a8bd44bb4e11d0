"""The source text that a function or class was really imported from, parsed once, definition by definition.

Code objects and classes come here from `reach`, file names from `statics`; Definitions and statements go back. A file
may have been edited since it was imported; then its text is believed just for code that it compiles to exactly.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import linecache
import marshal
import os
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any, TypeAlias

from drawbar.agent.parsing import parse
from drawbar.fingerprint.origins import program_began
from drawbar.fingerprint.syntax import Definition, FunctionNode, read_definition

Node: TypeAlias = FunctionNode | ast.ClassDef
_SNAPSHOTS_KEPT = 3


@dataclass(slots=True)
class _Entry:
    """One def, lambda or class of a file; its syntax is dropped once it is digested."""

    node: Node | None
    span: tuple[int, int, int, int]
    definition: Definition | None = None

    def read(self) -> Definition:
        if self.definition is None:
            assert self.node is not None
            self.definition, self.node = read_definition(self.node), None
        return self.definition


@dataclass(slots=True)
class Snapshot:
    """One state of one source text, parsed once, with its definitions by name and first line."""

    filename: str
    text: bytes
    stat: os.stat_result | None
    functions: dict[tuple[str, int], list[_Entry]] = field(default_factory=dict)
    classes: dict[str, list[ast.ClassDef]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    read_classes: dict[ast.ClassDef, Definition] = field(default_factory=dict)
    bound: Mapping[str, list[ast.stmt]] | None = None
    deep: bool = False
    codes: dict[tuple[str, int], list[CodeType]] | None = None

    def __post_init__(self) -> None:
        for node, qualname, _ in _definitions(self.tree().body, deep=False):
            self._add(node, qualname)

    def tree(self) -> ast.Module:
        """The parsed text; SyntaxError and ValueError where it is not Python."""
        return parse(self.text)

    def _add(self, node: Node, qualname: str) -> None:
        if isinstance(node, ast.ClassDef):
            self.classes.setdefault(qualname, []).append(node)
            return
        body = node.body if isinstance(node, ast.Lambda) else node
        span = (body.lineno, body.col_offset, body.end_lineno or 0, body.end_col_offset or 0)
        name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
        self.functions.setdefault((name, first_line(node)), []).append(_Entry(node, span))

    def _deepen(self) -> None:
        """Add what stands inside functions, and lambdas; most files are never asked for it."""
        self.deep = True
        for node, qualname, nested in _definitions(self.tree().body, deep=True):
            if nested:
                self._add(node, qualname)

    def function(self, code: CodeType) -> Definition | None:
        """The definition that `code` was compiled from; None where there is none, or where it cannot be told which."""
        with self.lock:
            entries = self.functions.get((code.co_name, code.co_firstlineno))
            if entries is None and not self.deep:
                self._deepen()
                entries = self.functions.get((code.co_name, code.co_firstlineno))
            if entries and len(entries) > 1:
                entries = _around(entries, code)
            return entries[0].read() if entries and len(entries) == 1 else None

    def class_nodes(self, qualname: str) -> list[ast.ClassDef]:
        """The class statements of that qualified name; several where an `if` chooses between them."""
        with self.lock:
            if qualname not in self.classes and not self.deep:
                self._deepen()
            return self.classes.get(qualname, [])

    def class_definition(self, node: ast.ClassDef) -> Definition:
        """The definition that one of `class_nodes` is."""
        with self.lock:
            if node not in self.read_classes:
                self.read_classes[node] = read_definition(node)
            return self.read_classes[node]

    def bindings(self) -> Mapping[str, list[ast.stmt]]:
        """The statements at module level by the names that they bind or change; those under "" are all of them."""
        with self.lock:
            if self.bound is None:
                self.bound = bindings(self.tree().body)
            return self.bound

    def compiles_to(self, code: CodeType) -> bool:
        """Whether this text gives the very bytecode that is at hand."""
        with self.lock:
            if self.codes is None:
                self.codes = {}
                for compiled in _codes(self._cached_code() or self._compiled()):
                    self.codes.setdefault((compiled.co_qualname, compiled.co_firstlineno), []).append(compiled)
            return code in self.codes.get((code.co_qualname, code.co_firstlineno), ())

    def _compiled(self) -> CodeType:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code: CodeType = compile(self.text, self.filename, "exec", flags, dont_inherit=True)
        return code

    def _cached_code(self) -> CodeType | None:
        """What Python's own cache has of this text, which is many times faster to load than to compile."""
        if self.stat is None:
            return None
        try:
            cache = Path(importlib.util.cache_from_source(self.filename))
            # Written after the text was: the header alone has whole seconds only.
            if cache.stat().st_mtime_ns < self.stat.st_mtime_ns:
                return None
            data = cache.read_bytes()
            header = importlib.util.MAGIC_NUMBER + struct.pack(
                "<III", 0, int(self.stat.st_mtime) & 0xFFFFFFFF, self.stat.st_size & 0xFFFFFFFF
            )
            code = marshal.loads(data[16:]) if data[:16] == header else None  # noqa: S302 - Python loads the same file
        except (OSError, ValueError, EOFError, TypeError, NotImplementedError):
            return None
        return code if isinstance(code, CodeType) else None


def first_line(node: Node) -> int:
    """The line that Python calls the first of a definition: that of its first decorator, if it has one."""
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return decorators[0].lineno if decorators else node.lineno


def _definitions(body: list[ast.stmt], *, deep: bool) -> Iterator[tuple[Node, str, bool]]:
    """Every definition with its qualified name, and whether it is a lambda or stands in a function; see `deep`."""
    stack: list[tuple[ast.AST, str, bool]] = [(node, "", False) for node in reversed(body)]
    while stack:
        node, prefix, nested = stack.pop()
        inner, inside = prefix, nested
        if isinstance(node, ast.ClassDef):
            yield node, prefix + node.name, nested
            inner = f"{prefix}{node.name}."
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, prefix + node.name, nested
            inner, inside = f"{prefix}{node.name}.<locals>.", True
        elif isinstance(node, ast.Lambda):
            yield node, "<lambda>", True
            inner, inside = f"{prefix}<lambda>.<locals>.", True
        if deep:
            stack.extend((child, inner, inside) for child in ast.iter_child_nodes(node))
        elif not inside and isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            blocks = (getattr(node, name, ()) for name in ("body", "orelse", "finalbody", "handlers", "cases"))
            stack.extend((child, inner, inside) for block in blocks for child in block)


def bindings(body: list[ast.stmt]) -> Mapping[str, list[ast.stmt]]:
    r"""The statements of `body` by the names that each may bind or change; a compound statement counts whole.

    >>> sorted(bindings(ast.parse("import a.b\nX = {}\nX['k'] = f(y)\nif X:\n    def g(): z = 1").body))
    ['', 'X', 'a', 'g']
    """
    found: dict[str, list[ast.stmt]] = {"": body}
    for statement in body:
        for name in sorted(_bound_by(statement)):
            found.setdefault(name, []).append(statement)
    return found


def _bound_by(statement: ast.stmt) -> set[str]:
    names: set[str] = set()
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            names.add(_base(node))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            names.add(_base(node.value.func))
        stack.extend(ast.iter_child_nodes(node))
    return names - {""}


def _base(node: ast.AST) -> str:
    """The name that attributes and items are of: "X" for `X.a["b"].c`; "" where there is none, or no such step."""
    steps = 0
    while isinstance(node, ast.Attribute | ast.Subscript):
        node, steps = node.value, steps + 1
    return node.id if isinstance(node, ast.Name) and steps else ""


def _around(entries: list[_Entry], code: CodeType) -> list[_Entry]:
    """Those of `entries` that hold every position of `code`, the innermost of them."""
    spots = [
        (line, column, end, end_column)
        for line, end, column, end_column in code.co_positions()
        if None not in (line, end, column, end_column) and (end_column or end != line)
    ]
    holding = [
        entry for entry in entries if all(entry.span[:2] <= spot[:2] and spot[2:] <= entry.span[2:] for spot in spots)
    ]
    inner = [e for e in holding if not any(_within(o.span, e.span) for o in holding if o is not e)]
    return inner if spots else entries


def _within(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return other[:2] <= one[:2] and one[2:] <= other[2:]


def _codes(code: CodeType) -> Iterator[CodeType]:
    stack = [code]
    while stack:
        code = stack.pop()
        yield code
        stack.extend(const for const in code.co_consts if isinstance(const, CodeType))


_SNAPSHOTS: dict[str, list[Snapshot]] = {}
_LOCK = threading.Lock()


class Sources:
    """The source files as one planning pass sees them: each is looked at once, and parsed only where it is new."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[str, list[Snapshot]] = {}

    def snapshots(self, filename: str, namespace: Mapping[str, Any] | None = None) -> list[Snapshot]:
        """The known states of a source, newest first; empty where it is not at hand."""
        seen = self._seen.get(filename)
        if seen is None:
            with _LOCK:
                seen = self._seen[filename] = _look(filename, namespace)
        return seen

    def function(self, code: CodeType, namespace: Mapping[str, Any]) -> Definition | None:
        """The definition of a function's code object; None where its source is not at hand or has changed."""
        snapshots = self.snapshots(code.co_filename, namespace)
        for snapshot in snapshots:
            definition = snapshot.function(code)
            if definition is not None and (_is_certain(snapshots) or snapshot.compiles_to(code)):
                return definition
        return None

    def class_(self, cls: type, filename: str) -> tuple[list[Definition], list[str]]:
        """The definitions of a class, and which of its attributes are computed; none where its source has changed."""
        snapshots = self.snapshots(filename)
        methods = [m.__code__ for m in vars(cls).values() if inspect.isfunction(m) and _defined_in(m.__code__, cls)]
        for snapshot in snapshots:
            nodes = snapshot.class_nodes(cls.__qualname__)
            if nodes and (
                _is_certain(snapshots)
                or (all(map(snapshot.compiles_to, methods)) and any(_holds(node, cls) for node in nodes))
            ):
                computed = {
                    name for node in nodes for name, value in _assigned(node) if not isinstance(value, ast.Constant)
                }
                return [snapshot.class_definition(node) for node in nodes], sorted(computed)
        return [], []


def _is_certain(snapshots: list[Snapshot]) -> bool:
    """Whether the text cannot have changed since it was imported.

    A notebook's cell has a name of its own and is no file; a file that is older than this program has not been touched
    since, for nobody can set back the time of its last change (`st_ctime`).
    """
    if len(snapshots) != 1:
        return False
    stat = snapshots[0].stat
    return stat is None or stat.st_ctime < program_began(os.getpid())


def _defined_in(code: CodeType, cls: type) -> bool:
    return code.co_qualname == f"{cls.__qualname__}.{code.co_name}" and not code.co_filename.startswith("<")


def _assigned(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        if value is not None:
            yield from ((target.id, value) for target in targets if isinstance(target, ast.Name))


def _holds(node: ast.ClassDef, cls: type) -> bool:
    """Whether the plain values in the text of a class are those of the class."""
    for name, value in _assigned(node):
        held = vars(cls).get(name)
        if isinstance(value, ast.Constant) and type(held) is type(value.value) and held != value.value:
            return False
    return True


def _look(filename: str, namespace: Mapping[str, Any] | None) -> list[Snapshot]:
    """The known states of a source, with the one it has now read in; an unreadable one leaves those before it."""
    known = _SNAPSHOTS.setdefault(filename, [])
    try:
        stat = os.stat(filename)  # noqa: PTH116 - a hot path
        if known and (last := known[0].stat) and _same(last, stat):
            return list(known)
        text = Path(filename).read_bytes()
    except (OSError, ValueError):
        stat = None
        text = "".join(linecache.getlines(filename, dict(namespace) if namespace is not None else None)).encode()
    if not text or (known and known[0].text == text and (known[0].stat is None) == (stat is None)):
        return list(known)
    try:
        known.insert(0, Snapshot(filename, text, stat))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return list(known)
    del known[_SNAPSHOTS_KEPT:]
    return list(known)


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_mtime_ns, one.st_ctime_ns, one.st_size) == (other.st_mtime_ns, other.st_ctime_ns, other.st_size)
