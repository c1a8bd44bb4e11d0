"""How a client starts the agent: the loader as text that any login shell passes on unchanged.

Goes to `subprocess` as `argv`, or to an SSH server as one `command` line.
"""

from __future__ import annotations

import ast
import base64
import os
import shlex
import zlib
from functools import lru_cache

from .parsing import parse

OLDEST = (3, 9)
"""The oldest Python that the agent runs on."""


def argv(python: str, digest: str, root: str = "") -> list[str]:
    """The program and arguments that start the agent of `digest` with `python`.

    >>> argv("python3", "5f")[0::3]
    ['python3', '5f']
    """
    return [python, "-c", _text(), digest, root]


def command(python: str, digest: str, root: str = "") -> str:
    """The same as one line for a login shell: sh, bash, zsh, fish, csh and dash read it alike.

    `python` is quoted too, unless it begins with `~/`, which the shell expands.
    """
    program, *rest = argv(python, digest, root)
    tilde = "~/" if program.startswith("~/") else ""
    return tilde + " ".join(shlex.quote(word) for word in [program[len(tilde) :], *rest])


@lru_cache(maxsize=None)
def _text() -> str:
    """One line without quotes, backslashes or exclamation marks but its own double quotes.

    The check of the version comes first and reads in every Python, so that an old one says so instead of a SyntaxError.
    """
    packed = base64.b64encode(zlib.compress(_minified(), 9)).decode()
    oldest = ".".join(map(str, OLDEST))
    return (
        "import sys;"
        f"sys.version_info<{OLDEST} and sys.exit("
        f'"drawbar needs Python {oldest} or newer; this is Python "+sys.version.split()[0]+" at "+sys.executable);'
        "sys.path[:]=[p for p in sys.path if p];"
        f'import base64,zlib;exec(zlib.decompress(base64.b64decode("{packed}")));load(*sys.argv[1:])'
    )


def _minified() -> bytes:
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "loader.py"), encoding="utf-8") as file:
        tree = parse(file.read())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree).encode()
