"""The web of what code reaches: functions, classes, constants and modules as nodes, each looked at once in a pass.

Functions come here from `fingerprint`, and their nodes go back, with edges labelled by the names that the code uses.
What stands in a library is a node by its name alone.
"""

from __future__ import annotations

import builtins
import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

from drawbar.digest import Encoder, UnfitError, cell
from drawbar.errors import FingerprintError
from drawbar.fingerprint import objects
from drawbar.fingerprint.bytecode import read_code
from drawbar.fingerprint.origins import is_library_file, is_library_module, is_own
from drawbar.fingerprint.scopes import Import
from drawbar.fingerprint.sources import Sources
from drawbar.fingerprint.statics import Statics, Target
from drawbar.fingerprint.syntax import Definition, Piece

# What every module and class has of itself; as text it stands in the digest of the code that reads it.
_SELF = frozenset(
    {"__name__", "__file__", "__doc__", "__package__", "__spec__", "__loader__", "__builtins__", "__path__"}
    | {"__cached__", "__class__", "__annotations__", "__dict__"}
)
_TODO = 'make it inside the function, or write @asset(version="…") and change that text when the code changes'


@dataclass(slots=True, eq=False)
class Node:
    """One thing that code reaches: what it is in itself (`own`), and edges to what it uses, by the name used.

    `module` is the project module it is in; `library` the qualified name of what is a library's; `named` tells that the
    name is all there is to it, but for its edges; `error` says why it cannot be digested.
    """

    name: str
    own: str
    module: str = ""
    where: str = ""
    library: str = ""
    named: bool = False
    edges: list[tuple[str, Node]] = field(default_factory=list)
    error: FingerprintError | None = None


class Reach:
    """One planning pass over functions: what it has looked at it does not look at again."""

    __slots__ = ("_keep", "_libraries", "_library_modules", "_nodes", "_pending", "_sources", "_statics")

    def __init__(self) -> None:
        self._sources = Sources()
        self._statics = Statics(self._sources)
        self._nodes: dict[object, Node] = {}
        self._keep: list[Any] = []  # nodes are known by the id of what they stand for, which must therefore live
        self._libraries: dict[str, bool] = {}
        self._library_modules: dict[str, bool] = {}
        self._pending: deque[tuple[Node, Callable[[Node, Any], None], Any]] = deque()

    def node(self, value: Any, name: str, module: str, user: Node | None = None) -> Node:
        """The node of any value, complete with everything that it reaches; `name` is what its module calls it."""
        node = self._node(value, name, module, user)
        # A list of what is still to be done instead of recursion: chains of calls can be thousands deep.
        while self._pending:
            one, expand, thing = self._pending.popleft()
            try:
                expand(one, thing)
            except FingerprintError as error:
                one.error = error
            if len(one.edges) > 1:
                one.edges = sorted(dict.fromkeys(one.edges), key=lambda edge: (edge[0], edge[1].name))
        return node

    def _node(self, value: Any, name: str, module: str, user: Node | None) -> Node:
        if type(value) is FunctionType:
            return self.function(value, name)
        if isinstance(value, type):
            return self.class_(value)
        if isinstance(value, ModuleType):
            return self.module(value)
        if (exported := objects.exported(value)) is not None:
            return self._named(exported)
        key = ("value", module, name, id(value))
        if key not in self._nodes:
            node = self._new(key, Node(f"{module}.{name}", "", module, user.where if user else ""), value)
            self._pending.append((node, self._expand_value, (value, user)))
        return self._nodes[key]

    def _new(self, key: object, node: Node, value: Any = None) -> Node:
        self._nodes[key] = node
        self._keep.append(value)
        return node

    # Functions

    def function(self, fn: FunctionType, name: str = "") -> Node:
        """The node of a function; `name` is what a lambda is called by those who use it."""
        node = self._nodes.get(id(fn))
        if node is not None:
            return node
        code = fn.__code__
        module = str(fn.__globals__.get("__name__") or "")
        if self._in_library(code.co_filename, module):
            node = self._new(id(fn), self._named(objects.qualified(fn)), fn)
            if fn.__closure__ or hasattr(fn, "__wrapped__"):
                node = self._new(id(fn), Node(node.name, node.own, library=node.library, named=True), fn)
                self._pending.append((node, self._expand_library_function, fn))
            return node
        inner = code.co_qualname.replace(".<locals>", "")
        if inner.endswith("<lambda>") and name:
            inner = name
        where = f"{code.co_filename}:{code.co_firstlineno}"
        node = self._new(id(fn), Node(f"{module}.{inner}" if module else inner, "", module, where), fn)
        self._pending.append((node, self._expand_function, fn))
        return node

    def _in_library(self, filename: str, module: str) -> bool:
        known = self._libraries.get(filename) if filename[:1] != "<" else self._library_module(module)
        if known is None:
            known = self._libraries[filename] = is_library_file(filename)
        return known or (module != "" and is_own(module))

    def _library_module(self, name: str) -> bool:
        known = self._library_modules.get(name)
        if known is None:
            known = self._library_modules[name] = is_library_module(name)
        return known

    def _expand_function(self, node: Node, fn: FunctionType) -> None:
        code, scope = fn.__code__, fn.__globals__
        cells = dict(zip(code.co_freevars, fn.__closure__, strict=True)) if fn.__closure__ else {}
        definition = self._sources.function(code, scope) or Definition(read_code(code, fn.__doc__))
        owns = self._read(node, definition, scope, cells)
        if fn.__defaults__ or fn.__kwdefaults__:
            names = code.co_varnames[: code.co_argcount]
            defaults = dict(zip(reversed(names), reversed(fn.__defaults__ or ()), strict=False))
            for name, value in sorted({**defaults, **(fn.__kwdefaults__ or {})}.items()):
                owns.append(f"{name}={self._encode(node, value, f'The default of {name!r} of {node.name}').hex()}")
        node.own = _joined(owns)

    def _read(
        self, node: Node, definition: Definition, scope: Mapping[str, Any], cells: Mapping[str, Any]
    ) -> list[str]:
        """Add the edges of a definition to its node, and give the digests of what counts of it."""
        pieces = [definition.body]
        for chain, piece in definition.decorators:
            found = self._look_up(node, chain, scope, cells) if chain else []
            if not any(is_own(one.library) for one in found):
                pieces.append(piece)
        for piece in pieces:
            for chain in piece.names:
                node.edges += [(chain, one) for one in self._look_up(node, chain, scope, cells)]
            for item in piece.imports:
                self._import(node, item, str(scope.get("__package__") or ""))
        return [piece.digest for piece in pieces]

    def _look_up(self, node: Node, chain: str, scope: Mapping[str, Any], cells: Mapping[str, Any]) -> list[Node]:
        """What a dotted name stands for where `node` is defined; nothing for what every Python has."""
        base, _, rest = chain.partition(".")
        name = base
        if base in cells:
            try:
                value, name = cells[base].cell_contents, f"{node.name.removeprefix(node.module + '.')}.{base}"
            except ValueError:
                return [self._missing(base)]
        elif base in _SELF:
            return []
        elif base in scope:
            value = scope[base]
        else:
            return [] if hasattr(builtins, base) else [self._missing(base)]
        return self._step_in(node, value, name, rest)

    def _step_in(self, node: Node, value: Any, name: str, rest: str) -> list[Node]:
        """What the dotted `rest` is of a module, through the modules in it."""
        module = node.module
        while isinstance(value, ModuleType):
            if self._library_module(value.__name__):
                return [self._named(f"{value.__name__}.{rest}".rstrip("."))]
            if not rest:
                return [self.module(value)]
            name, _, rest = rest.partition(".")
            module = value.__name__
            if name in _SELF:
                return []
            if name not in vars(value):
                return [self._target(one) for one in self._statics.find(module, f"{name}.{rest}".rstrip("."))]
            value = vars(value)[name]
        return [self._node(value, name, module, node)]

    def _expand_library_function(self, node: Node, fn: FunctionType) -> None:
        """A library's function counts by name, but one made by a decorator holds the project's function."""
        if hasattr(fn, "__wrapped__"):
            node.edges.append(("__wrapped__", self._node(fn.__wrapped__, f"{node.name}.__wrapped__", "", node)))
        for name, held in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            trial = Node(node.name, "")
            try:
                coded = self._encode(trial, held.cell_contents, name)
            except (FingerprintError, ValueError):
                continue
            if trial.edges:
                node.own += f" {name}={coded.hex()}"
                node.edges += [(f"{name} {label}", one) for label, one in trial.edges]

    # Classes

    def class_(self, cls: type) -> Node:
        """The node of a class: with its methods and bases where it is the project's."""
        node = self._nodes.get(id(cls))
        if node is not None:
            return node
        module = cls.__module__
        if self._library_module(module):
            return self._new(id(cls), self._named(objects.qualified(cls)), cls)
        name = f"{module}.{cls.__qualname__}".replace(".<locals>", "")
        node = self._new(id(cls), Node(name, "", module, objects.class_file(cls)), cls)
        self._pending.append((node, self._expand_class, cls))
        return node

    def _expand_class(self, node: Node, cls: type) -> None:
        scope, cells = objects.class_scope(cls)
        definitions, computed = self._sources.class_(cls, node.where)
        owns = sorted(_joined(self._read(node, one, scope, cells)) for one in definitions)
        if definitions:
            # What a class computes for itself counts by value, where it has one: the text would not tell.
            for name in computed:
                trial = Node(node.name, "", node.module, node.where)
                try:
                    coded = self._encode(trial, vars(cls)[name], name)
                except (FingerprintError, KeyError):
                    continue
                owns.append(f"{name}={coded.hex()}")
                node.edges += [(f"{name} {label}", one) for label, one in trial.edges]
        else:
            owns = [self._encode(node, objects.class_content(cls), node.name).hex()]
        node.own = _joined(owns)

    # Modules, and what is read from text alone

    def module(self, module: ModuleType) -> Node:
        """A module that code uses as a whole: all its text where it is the project's."""
        if self._library_module(module.__name__):
            return self._named(module.__name__)
        return self._target(Target(module=module.__name__))

    def _import(self, node: Node, item: Import, package: str) -> None:
        label = f"import {'.' * item.level}{item.module} {item.rest}"
        node.edges += [(label, self._target(one)) for one in self._statics.imported(item, package)]

    def _target(self, target: Target) -> Node:
        if target.library:
            return self._named(target.library)
        if target.missing:
            return self._missing(target.missing)
        node = self._nodes.get(target)
        if node is None:
            name = f"{target.module}.{target.name}".rstrip(".")
            node = self._new(target, Node(name, "", target.module))
            self._pending.append((node, self._expand_target, target))
        return node

    def _expand_target(self, node: Node, target: Target) -> None:
        text: Piece = self._statics.text(target)
        place = self._statics.place(target.module)
        node.own = f"text {text.digest}"
        for chain in text.names:
            for found in self._statics.find(target.module, chain):
                if not (found.missing and hasattr(builtins, chain.partition(".")[0])):
                    node.edges.append((chain, self._target(found)))
        for item in text.imports:
            self._import(node, item, place.package if place else "")

    # Values and names

    def _named(self, qualified: str) -> Node:
        """Something of a library, which is its name and nothing else."""
        node = self._nodes.get(qualified)
        return node or self._new(qualified, Node(qualified, f"library {qualified}", library=qualified, named=True))

    def _missing(self, name: str) -> Node:
        key = ("missing", name)
        return self._nodes.get(key) or self._new(key, Node(name, f"missing {name}", named=True))

    def _expand_value(self, node: Node, thing: tuple[Any, Node | None]) -> None:
        value, user = thing
        try:
            coded = self._encode(node, value, node.name, user.name if user else "")
        except FingerprintError:
            # A library's own object, imported by name, is the library's.
            found = self._statics.find(node.module, node.name.removeprefix(f"{node.module}."))
            if not all(one.library for one in found):
                raise
            node.edges, node.own = [("is", self._named(one.library)) for one in found], "library's"
            return
        node.own = hashlib.sha256(coded).hexdigest()

    def _encode(self, node: Node, value: Any, what: str, user: str = "") -> bytes:
        """The bytes of a value; whatever code it holds becomes an edge of `node`."""

        def other(encoder: Encoder, inner: Any) -> bytes | None:
            return self._object(node, encoder, inner)

        rooted = objects.inside_project(value, node.module)
        if rooted is not None:
            return cell("project path", rooted.encode())
        encoder = Encoder(other)
        try:
            return encoder.encode(value)
        except UnfitError as unfit:
            raise unfit.as_error(what, where=node.where, todo=_TODO, user=user) from None

    def _object(self, node: Node, encoder: Encoder, value: Any) -> bytes | None:
        if isinstance(value, FunctionType | type | ModuleType):
            return self._edge(node, self._node(value, "<lambda>", node.module, node), objects.short_name(value))
        if (exported := objects.exported(value)) is not None:
            return self._edge(node, self._named(exported), exported)
        rooted = objects.inside_project(value, node.module)
        if rooted is not None:
            return cell("project path", rooted.encode())
        if (coded := objects.encode(encoder, value)) is not None:
            return coded
        cls = type(value)
        if self._library_module(cls.__module__):
            return None
        return self._edge(node, self.class_(cls), objects.short_name(cls)) + objects.state(encoder, value)

    def _edge(self, node: Node, to: Node, label: str) -> bytes:
        node.edges.append((f"in value {label}", to))
        return cell("code", label.encode())


def _joined(digests: list[str]) -> str:
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
