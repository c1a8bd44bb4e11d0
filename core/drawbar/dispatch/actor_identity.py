"""What tells one actor from another: the job that its name leads to, and what it was made from.

A class and its arguments come from `actor` and `actor_here`; digests go to the host with the job, and come back from
the one that runs, to be compared.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

from drawbar.digest import digest_value
from drawbar.dispatch import payload
from drawbar.errors import FingerprintError


def job_id(name: str) -> str:
    """The identity of the job of an actor: whoever gives the same name on the same host means the same one.

    >>> job_id("embedder") == job_id("embedder")
    True
    """
    return hashlib.sha256(f"actor:{name}".encode()).hexdigest()


def digest_of(cls: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """What an actor was made from: the class, its source, and the arguments."""
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):
        source = ""
    made = hashlib.sha256(f"{cls.__module__}:{cls.__qualname__}\n{source}\n".encode())
    try:
        made.update(digest_value((args, dict(kwargs)), what="the arguments").encode())
    except FingerprintError:
        for part in payload.dump((args, dict(kwargs)), what="An argument").parts:
            made.update(part)
    return made.hexdigest()


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two are of one class, source and arguments; and of the same code beneath, where both know theirs.

    >>> same({"digest": "a"}, {"digest": "a", "version": "1"}), same({"digest": "a", "version": "2"}, {"digest": "b"})
    (True, False)
    >>> same({"digest": "a", "version": "2"}, {"digest": "a", "version": "1"})
    False
    """
    versions = {one.get("version") or "", other.get("version") or ""} - {""}
    return bool(one["digest"] == other["digest"]) and len(versions) <= 1
