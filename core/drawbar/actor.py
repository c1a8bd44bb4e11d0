"""Actors as assets' values: the description that a store keeps, and the live actor that a consumer receives.

An asset's function gives an `Actor(Class, …)`, in this process, for it only describes; the description is stored
(`drawbar.agent.encoding.actors`), and whoever hands it to a parameter asks `live` for the proxy, on the asset's target.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from drawbar import fits
from drawbar.asset import Asset
from drawbar.errors import FormatError

if TYPE_CHECKING:
    from drawbar.agent.proxies import Actor, Proxy
    from drawbar.dispatch.target import Target


def describes_an_actor(asset: Asset) -> bool:
    """Whether its function makes no value, but says what an actor on its target is to be."""
    # Most annotations are no actors': to make an object of each would cost more than the rest of a plan.
    return "Actor" in str(asset.returns) and fits.is_actor(fits.resolve(asset.returns, asset.fn))


def live(described: Actor[Any], target: Target, key: str, options: Mapping[str, Any]) -> Proxy[Any]:
    """The actor that `described` is, on `target`: found by its name, or constructed.

    Without a name of its own it goes by `key` and the Version that it was described by, so that one of changed code is
    another actor, and the old one ends when nobody calls it any more. `options` are those of the asset that concern a
    place: env, gpus, gpu_memory. FormatError where the class is not there any more; else what `Target.actor` raises.
    """
    told = described.to_json()
    module, _, qualname = told["class"].partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise FormatError(
            f"The actor {key} is of a class that cannot be imported here.",
            expected=f"the class {qualname} in {module}",
            found=f"{type(error).__name__}: {error}",
            todo="run where the project can be imported, or make the asset again",
        ) from error
    # restart: who takes it as an input has no other way to have it again.
    chosen: dict[str, Any] = {
        "name": told.get("name") or f"{key}#{told.get('version', '')[:12]}",
        "concurrency": told.get("concurrency") or 1,
        "restart": True,
    }
    chosen.update(idle_timeout=told.get("idle_timeout"), **options)
    from drawbar.dispatch.actor import ActorOptions, actor

    made: Proxy[Any] = actor(
        target.dispatcher, found, tuple(told["args"]), told["kwargs"], ActorOptions(**chosen), target.config.trust
    )
    return made
