"""Actors as assets' values: the description that a store keeps, and the live actor that a consumer receives.

An asset's function gives an `Actor(Class, …)`, in this process, for it only describes; the description is stored
(`drawbar.agent.encoding.actors`), and whoever hands it to a parameter asks `live` for the proxy, on the asset's target.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from drawbar import fits
from drawbar.asset import Asset
from drawbar.errors import FingerprintError, FormatError
from drawbar.fingerprint import code
from drawbar.records import Parts

if TYPE_CHECKING:
    from drawbar.agent.proxies import Actor, Proxy
    from drawbar.dispatch.target import Target


_WATCHING: ContextVar[Callable[[str], None] | None] = ContextVar("drawbar.watching", default=None)


@contextmanager
def watching(told: Callable[[str], None]) -> Iterator[None]:
    """Of each actor that is constructed meanwhile in this thread, `told` hears for what it waits; "" when no more."""
    token = _WATCHING.set(told)
    try:
        yield
    finally:
        _WATCHING.reset(token)


def describes_an_actor(asset: Asset) -> bool:
    """Whether its function makes no value, but says what an actor on its target is to be."""
    # Most annotations are no actors': to make an object of each would cost more than the rest of a plan.
    return "Actor" in str(asset.returns) and fits.is_actor(fits.resolve(asset.returns, asset.fn))


def of_code(described: Actor[Any], version: str, parts: Parts) -> Actor[Any]:
    """`described` with what tells its class and Env from others: a digest of both, as the project is now.

    It is the same however the asset's function came to describe it, so that what is below is reused if that is all that
    changed. Where a version is declared, or the class cannot be digested, the asset's own `version` takes its place.
    """
    from drawbar.agent.proxies import Proxy

    if isinstance(described, Proxy):
        return described  # which no format takes
    if not parts.declared:
        try:
            digest = code(_class_of(described.to_json()), where=repr(described)).digest
        except (ImportError, AttributeError, ValueError, FingerprintError):
            return described.of_version(version)
        told = json.dumps([digest, list(parts.env), dict(parts.packages)], sort_keys=True)
        version = hashlib.sha256(told.encode()).hexdigest()
    return described.of_version(version)


def _class_of(told: Mapping[str, Any]) -> Any:
    """The class itself. ImportError or AttributeError where it is not there any more."""
    module, _, qualname = told["class"].partition(":")
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def live(described: Actor[Any], target: Target, key: str, options: Mapping[str, Any]) -> Proxy[Any]:
    """The actor that `described` is, on `target`: found by its name, or constructed.

    Without a name of its own it goes by `key` and a digest of all that it is, so that one of changed code is another
    actor, and the old one ends when nobody calls it any more. `options` are those of the asset that concern a place:
    env, gpus, gpu_memory. FormatError where the class is not there any more; else what `Target.actor` raises.
    """
    from drawbar.agent.proxies import Proxy

    if isinstance(described, Proxy):
        return described
    told = described.to_json()
    if "version" not in told:
        raise FormatError(
            f"The actor {key} was described on its target, by a function that does not say so.",
            expected="a function whose return annotation is Actor[…], which is called by whoever plans the run",
            found="a description without the digest of its class",
            todo="annotate the function",
        )
    module, _, qualname = told["class"].partition(":")
    try:
        found = _class_of(told)
    except (ImportError, AttributeError) as error:
        raise FormatError(
            f"The actor {key} is of a class that cannot be imported here.",
            expected=f"the class {qualname} in {module}",
            found=f"{type(error).__name__}: {error}",
            todo="run where the project can be imported, or make the asset again",
        ) from error
    whole = json.dumps([told, options.get("gpus"), options.get("gpu_memory")], sort_keys=True)
    # restart: who takes it as an input has no other way to have it again.
    chosen: dict[str, Any] = {
        "name": told.get("name") or f"{key}#{hashlib.sha256(whole.encode()).hexdigest()[:12]}",
        "concurrency": told.get("concurrency") or 1,
        "restart": True,
    }
    chosen.update(idle_timeout=told.get("idle_timeout"), **options)
    from drawbar.dispatch.actor import ActorOptions, actor

    args, kwargs, options_of = tuple(told["args"]), told["kwargs"], ActorOptions(**chosen)
    told_of = _WATCHING.get()

    def watch(why: str) -> None:
        if told_of is not None:
            told_of(why and f"its actor {options_of.name}: {why}")

    made: Proxy[Any] = actor(
        target.dispatcher, found, args, kwargs, options_of, target.config.trust, watch, told["version"]
    )
    return made
