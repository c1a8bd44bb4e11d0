"""Python source as a tree, whichever threads ask: text comes from fingerprints, archives and the loader.

Before 3.11.8 CPython counts the depth of all trees that are being made in one place: of two threads that parse at the
same moment one may get a SystemError (its issue gh-106905).
"""

from __future__ import annotations

import ast
import threading
from typing import Union

_ALONE = threading.Lock()
_TRIES = 5


def parse(source: Union[str, bytes]) -> ast.Module:
    """The tree of a module's source. Raises what `ast.parse` raises: SyntaxError, ValueError for a null byte.

    >>> parse("x = 1").body[0].lineno
    1
    """
    for _ in range(_TRIES):
        try:
            with _ALONE:
                return ast.parse(source)
        except SystemError:  # a thread that is not ours parses, too
            continue
    return ast.parse(source)
