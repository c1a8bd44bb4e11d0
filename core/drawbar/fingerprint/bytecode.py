"""A function's bytecode as a Piece, for code whose source is not at hand: `exec`, an old REPL, a file changed since.

A code object comes here from `fingerprint`. The digest holds for one version of Python only, because bytecode does.
"""

from __future__ import annotations

import dis
import hashlib
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any

from drawbar.digest import Encoder, cell
from drawbar.fingerprint.scopes import Import
from drawbar.fingerprint.syntax import Piece

_READS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF", "LOAD_CLOSURE")
_STEPS = ("LOAD_ATTR", "LOAD_METHOD")
_SILENT = ("CACHE", "PRECALL", "EXTENDED_ARG", "NOP")


def read_code(code: CodeType, doc: str | None = None) -> Piece:
    """The digest of bytecode, the names it reads from outside, and what it imports; `doc` is left out.

    >>> read_code((lambda x: helpers.clean(x)).__code__).names
    ('helpers.clean',)
    """
    names: set[str] = set()
    imports: set[Import] = set()
    rebound: set[str] = set()
    for one in _all(code):
        inner = set(one.co_cellvars) | (set(one.co_freevars) - set(code.co_freevars))
        for chain in _chains(one):
            if chain.partition(".")[0] not in inner:
                names.add(chain)
        imports.update(_imports(one))
        rebound.update(i.argval for i in dis.get_instructions(one) if i.opname == "STORE_GLOBAL")
    digest = hashlib.sha256(f"{sys.implementation.cache_tag}:".encode() + _content(code, doc)).hexdigest()
    read = (name for name in names if name.partition(".")[0] not in rebound)
    return Piece(digest, tuple(sorted(read)), tuple(sorted(imports)))


def _all(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _all(const)


def _content(code: CodeType, doc: str | None) -> bytes:
    """What makes bytecode what it is, without file names and lines."""

    def inner(_: Encoder, value: Any) -> bytes | None:
        return cell("code", _content(value, None)) if isinstance(value, CodeType) else None

    consts = [None if index == 0 and const == doc else const for index, const in enumerate(code.co_consts)]
    shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & 0xFF)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return Encoder(inner).encode([code.co_name, shape, names, code.co_code, code.co_exceptiontable, consts])


def _chains(code: CodeType) -> Iterator[str]:
    chain: list[str] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname in _SILENT:
            continue
        if chain and instruction.opname in _STEPS:
            chain.append(instruction.argval)
            continue
        if chain:
            yield ".".join(chain)
        chain = [instruction.argval] if instruction.opname in _READS else []
    if chain:
        yield ".".join(chain)


def _imports(code: CodeType) -> Iterator[Import]:
    recent: list[Any] = []
    module: tuple[int, str] | None = None
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            level, names = recent[-2:]
            module = (level, instruction.argval)
            if not names or "*" in names:
                yield Import(level, instruction.argval)
        elif instruction.opname == "IMPORT_FROM" and module is not None:
            yield Import(module[0], module[1], instruction.argval)
        recent.append(instruction.argval)
