"""One definition's syntax as a digest and the names it reads, the same on every Python and however it is laid out.

A node of `ast` comes here from `sources`; a `Definition` goes to `reach`, which finds out what its names stand for.
Positions, comments, docstrings, statements without effect and the annotations of functions and variables leave no
trace. The annotations of class fields do, because dataclasses and their like are made from them.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from drawbar.fingerprint.scopes import Import, Scope

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True, slots=True)
class Piece:
    """Some syntax: its digest, the dotted names it reads from outside itself, and what it imports itself."""

    digest: str
    names: tuple[str, ...] = ()
    imports: tuple[Import, ...] = ()


@dataclass(frozen=True, slots=True)
class Definition:
    """A function or class: its body, its decorators (each with its dotted name, or ""), its default arguments.

    Decorators and defaults stand apart, because what a decorator is decides whether it counts, and because the values
    of defaults are known where the function is at hand.
    """

    body: Piece
    decorators: tuple[tuple[str, Piece], ...] = ()
    defaults: Piece | None = None


def read_definition(node: FunctionNode | ast.ClassDef) -> Definition:
    r"""The definition that `node` is.

    >>> tree = ast.parse("def f(x, y=LIMIT):\n    '''Doc.'''\n    return helpers.clean(x)  # why")
    >>> definition = read_definition(tree.body[0])
    >>> definition.body.names, definition.defaults.names
    (('helpers.clean',), ('LIMIT',))
    """
    walk = _Walk()
    if isinstance(node, ast.ClassDef):
        _class_itself(walk, node)
        defaults = None
    else:
        _function_itself(walk, node)
        defaults = _defaults_piece(node.args)
    body = walk.piece()
    if isinstance(node, ast.Lambda) or not node.decorator_list:
        return Definition(body, (), defaults)
    decorators = tuple((dotted(decorator), read([decorator])) for decorator in node.decorator_list)
    return Definition(body, decorators, defaults)


def read(nodes: Sequence[ast.AST]) -> Piece:
    """The statements or expressions `nodes`, as they would stand at module level."""
    walk = _Walk()
    walk.push(nodes)
    return walk.piece()


def dotted(node: ast.AST) -> str:
    """The dotted name that `node` is or calls: "a.b" for `a.b`, `a.b(…)` and `a.b(…)(…)`; else ""."""
    while isinstance(node, ast.Call):
        node = node.func
    rest: list[str] = []
    while isinstance(node, ast.Attribute):
        rest.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(rest)]) if isinstance(node, ast.Name) else ""


def _defaults_piece(args: ast.arguments) -> Piece | None:
    given = [default for default in (*args.defaults, *args.kw_defaults) if default is not None]
    return read(given) if given else None


_EXIT = object()


class _Walk:
    """The state of one walk: a stack of what is still to be visited, the tokens so far, the scope it is in.

    A stack instead of recursion, because generated code nests deeper than Python recurses. A text on the stack is a
    token, a scope is entered when it is met, and `_EXIT` leaves the scope that the walk is in.
    """

    __slots__ = ("imported", "scope", "stack", "tokens", "top")

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.tokens: list[str] = []
        self.top = self.scope = Scope("module", None)
        self.imported: set[Import] = set()

    def push(self, nodes: Iterable[Any]) -> None:
        """Put `nodes` on the stack so that the first is visited first."""
        self.stack.extend(reversed(list(nodes)))

    def piece(self) -> Piece:
        """Visit everything on the stack, and give what came of it."""
        stack, emit = self.stack, self.tokens.append
        while stack:
            item = stack.pop()
            kind = item.__class__
            if kind is str:
                emit(item)
            elif (visit := _VISIT.get(kind)) is not None:
                visit(self, item)
            elif kind is Scope:
                self.scope = item
            elif item is _EXIT:
                self.scope = self.scope.leave(self.top, self.imported)
            else:
                _any_node(self, item)
        self.top.take_imports(self.imported)
        digest = hashlib.sha256("\n".join(self.tokens).encode("utf-8", "surrogatepass")).hexdigest()
        return Piece(digest, tuple(sorted(self.top.loads)), tuple(sorted(self.imported)))


# What has no part in what code does. Fields that a later Python adds and leaves empty are skipped with all empty ones.
_SKIPPED = frozenset({"ctx", "annotation", "returns", "type_comment", "type_params", "kind", "type_ignores", "simple"})
# Values before targets, which is the order of evaluation: a class body reads a name before it binds it.
_ORDER: dict[type[ast.AST], tuple[str, ...]] = {
    ast.Assign: ("value", "targets"),
    ast.AugAssign: ("op", "value", "target"),
    ast.For: ("iter", "target", "body", "orelse"),
    ast.AsyncFor: ("iter", "target", "body", "orelse"),
}
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {}


def _fields_backwards(kind: type[ast.AST]) -> tuple[str, ...]:
    fields = _ORDER.get(kind) or tuple(name for name in kind._fields if name not in _SKIPPED)
    return _FIELDS.setdefault(kind, fields[::-1])


def _any_node(walk: _Walk, node: ast.AST) -> None:
    kind = node.__class__
    fields = _FIELDS.get(kind)
    if fields is None:
        fields = _fields_backwards(kind)
    walk.tokens.append(kind.__name__)
    if not fields:
        return
    push = walk.stack.append
    push(")")
    for name in fields:
        value = getattr(node, name, None)
        if value is None:
            continue
        if value.__class__ is list:
            if value:
                push("]")
                walk.stack.extend(item if item is not None else "-" for item in reversed(value))
                push("[")
                push(name)
        elif isinstance(value, ast.AST):
            push(value)
            push(name)
        else:
            push(f"{name}={value}")


def _name(walk: _Walk, node: ast.Name) -> None:
    walk.tokens.append("." + node.id)
    if node.ctx.__class__ is ast.Load:
        walk.scope.load(node.id)
    else:
        walk.scope.bind(node.id)


def _attribute(walk: _Walk, node: ast.Attribute) -> None:
    rest = [node.attr]
    inner: Any = node.value
    while inner.__class__ is ast.Attribute:
        rest.append(inner.attr)
        inner = inner.value
    if inner.__class__ is ast.Name:
        rest.append(inner.id)
        chain = ".".join(reversed(rest))
        walk.tokens.append("." + chain)
        walk.scope.load(chain)
    else:
        walk.tokens.append("of." + ".".join(reversed(rest)))
        walk.stack.append(inner)


def _constant(walk: _Walk, node: ast.Constant) -> None:
    value: Any = node.value
    kind = value.__class__
    if kind is str:
        walk.tokens.append(f"'{len(value)}:{value}")
    elif kind is int:
        # Not in decimal, which Python refuses to write beyond a few thousand digits.
        walk.tokens.append(f"int {value}" if -(10**9) < value < 10**9 else f"int {value:x}h")
    else:
        walk.tokens.append(f"{kind.__name__} {value!r}")


def _expression(walk: _Walk, node: ast.Expr) -> None:
    if node.value.__class__ is not ast.Constant:  # docstrings, and texts and `...` that stand alone
        walk.tokens.append("do")
        walk.stack.append(node.value)


def _nothing(walk: _Walk, node: ast.AST) -> None:
    """`pass` has no effect."""


def _annotated(walk: _Walk, node: ast.AnnAssign) -> None:
    if walk.scope.kind == "class":
        value = [] if node.value is None else ["value", node.value]
        walk.push(["AnnAssign", node.annotation, *value, node.target, ")"])
    elif node.value is not None:
        walk.tokens.append("Assign")
        walk.push(["value", node.value, "targets", "[", node.target, "]", ")"])
    elif isinstance(node.target, ast.Name):
        walk.scope.bind(node.target.id)


def _walrus(walk: _Walk, node: ast.NamedExpr) -> None:
    scope = walk.scope
    while scope.kind == "comprehension" and scope.outer is not None:
        scope = scope.outer
    scope.bind(node.target.id)
    walk.tokens.append(f":= {node.target.id}")
    walk.stack.append(node.value)


def _joined(walk: _Walk, node: ast.JoinedStr) -> None:
    """Pythons differ in where they cut the literal text of an f-string, so it is joined again."""
    parts: list[Any] = ["f["]
    text = ""
    for value in node.values:
        if isinstance(value, ast.Constant):
            text += str(value.value)
            continue
        if text:
            parts.append(f"'{len(text)}:{text}")
        text = ""
        parts.append(value)
    if text:
        parts.append(f"'{len(text)}:{text}")
    walk.push([*parts, "]"])


def _formatted(walk: _Walk, node: ast.FormattedValue) -> None:
    spec = node.format_spec
    parts: list[Any] = [f"format {node.conversion}", node.value]
    if spec is not None and getattr(spec, "values", None):
        parts.append(spec)
    walk.push([*parts, ")"])


def _function(walk: _Walk, node: FunctionNode) -> None:
    """A function inside what is read: decorators and defaults belong to the scope around it."""
    args = node.args
    parts: list[Any] = ["-" if default is None else default for default in (*args.defaults, *args.kw_defaults)]
    if not isinstance(node, ast.Lambda):
        parts = ["@[", *node.decorator_list, "]", *parts]
        walk.scope.bind(node.name)
    _function_itself(walk, node)
    walk.push(parts)


def _function_itself(walk: _Walk, node: FunctionNode) -> None:
    scope = Scope("function", walk.scope)
    args = node.args
    parts: list[Any] = [node.__class__.__name__]
    for label, group in (("", args.posonlyargs), ("/", args.args), ("*", args.kwonlyargs)):
        for arg in group:
            scope.bind(arg.arg)
            parts.append(f"{label}{arg.arg}")
    for label, single in (("*", args.vararg), ("**", args.kwarg)):
        if single is not None:
            scope.bind(single.arg)
            parts.append(f"{label}={single.arg}")
    parts.append(f"defaults {len(args.defaults)} {''.join('01'[d is not None] for d in args.kw_defaults)}")
    for parameter in getattr(node, "type_params", ()):
        scope.bind(parameter.name)
    parts.append(scope)
    if isinstance(node, ast.Lambda):
        walk.push([*parts, node.body, _EXIT])
    else:
        walk.push([*parts, node.name, *node.body, _EXIT, ")"])


def _class(walk: _Walk, node: ast.ClassDef) -> None:
    walk.scope.bind(node.name)
    _class_itself(walk, node)
    walk.push(["@[", *node.decorator_list, "]"])


def _class_itself(walk: _Walk, node: ast.ClassDef) -> None:
    outside: list[Any] = ["ClassDef", node.name, *node.bases, *node.keywords, ":"]
    walk.push([*outside, Scope("class", walk.scope), *node.body, _EXIT, f"end {node.name}"])


def _comprehension(walk: _Walk, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
    first, *others = node.generators
    made = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    parts: list[Any] = [node.__class__.__name__, first.iter, Scope("comprehension", walk.scope)]
    for number, part in enumerate((first, *others)):
        parts += [f"for {part.is_async}", *([part.iter] if number else []), part.target, *part.ifs]
    walk.push([*parts, "]", *made, _EXIT])


def _global(walk: _Walk, node: ast.Global | ast.Nonlocal) -> None:
    walk.tokens.append(f"{node.__class__.__name__} {' '.join(sorted(node.names))}")
    walk.scope.bind_elsewhere(node.names, is_global=isinstance(node, ast.Global))


def _import(walk: _Walk, node: ast.Import) -> None:
    for alias in node.names:
        walk.tokens.append(f"import {alias.name} {alias.asname or ''}")
        whole = Import(0, alias.name)
        top = alias.name.partition(".")[0]
        name, is_a = (alias.asname, whole) if alias.asname else (top, Import(0, top))
        walk.scope.bind_import(name, is_a, whole)


def _import_from(walk: _Walk, node: ast.ImportFrom) -> None:
    for alias in node.names:
        walk.tokens.append(f"from {node.level} {node.module or ''} {alias.name} {alias.asname or ''}")
        if alias.name == "*":
            walk.imported.add(Import(node.level, node.module or ""))
            continue
        name = alias.asname or alias.name
        item = Import(node.level, node.module or "", alias.name)
        walk.scope.bind_import(name, item, item)


def _binding_node(walk: _Walk, node: Any) -> None:
    """`except … as name` and the patterns of `match` bind a name that is not a node of its own."""
    name = node.rest if isinstance(node, ast.MatchMapping) else node.name
    if name:
        walk.scope.bind(name)
    _any_node(walk, node)


def _alias(walk: _Walk, node: Any) -> None:
    """`type X = …` is evaluated by nobody but readers of annotations."""
    walk.scope.bind(node.name.id)


_VISIT: dict[type, Callable[[_Walk, Any], None]] = {
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Constant: _constant,
    ast.Expr: _expression,
    ast.Pass: _nothing,
    ast.AnnAssign: _annotated,
    ast.NamedExpr: _walrus,
    ast.JoinedStr: _joined,
    ast.FormattedValue: _formatted,
    ast.FunctionDef: _function,
    ast.AsyncFunctionDef: _function,
    ast.Lambda: _function,
    ast.ClassDef: _class,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.DictComp: _comprehension,
    ast.Global: _global,
    ast.Nonlocal: _global,
    ast.Import: _import,
    ast.ImportFrom: _import_from,
    ast.ExceptHandler: _binding_node,
    ast.MatchAs: _binding_node,
    ast.MatchStar: _binding_node,
    ast.MatchMapping: _binding_node,
}
if hasattr(ast, "TypeAlias"):
    _VISIT[ast.TypeAlias] = _alias
