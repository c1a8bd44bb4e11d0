"""Descriptions of actors as bytes: what an asset's function gives that says `Actor(Class, …)`.

Only the description is kept; whoever hands it to a parameter makes it live (`drawbar.actor`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Dict

from .base import Buffer, Encoded, EncodingError

if TYPE_CHECKING:
    from ..proxies import Actor  # noqa: TID252 - as below

EXT = ".actor.json"
_TODO = "make the asset again"


def holds(value: Any) -> bool:
    """Whether `value` is an actor, described or live; told without loading what only actors need."""
    home = f"{__package__.rpartition('.')[0]}.proxies"
    return any(kind.__name__ == "Actor" and kind.__module__ == home for kind in type(value).__mro__)


def encode(value: Any) -> Encoded:
    """The same bytes for the same description; EncodingError for what cannot be described, and for a live actor."""
    from ..proxies import Proxy  # noqa: TID252 - this package has two names

    if isinstance(value, Proxy):
        raise EncodingError(
            "A live actor cannot be stored.",
            expected="the description of one: Actor(Class, …)",
            found=repr(value),
            todo="return Actor(Class, …) from the asset's function; who takes it as a parameter gets it live",
        )
    try:
        text = json.dumps(value.to_json(), sort_keys=True, ensure_ascii=False).encode()
    except ValueError as error:
        raise EncodingError(
            f"{value!r} cannot be stored.",
            expected="a class that can be imported, and arguments that are plain data",
            found=str(error),
            todo="move the class into a module of the project, and pass text, numbers, lists and dicts",
        ) from None
    return Encoded("actor", EXT, [text], "Actor", None, ())


def decode(data: Buffer) -> Actor[Any]:
    """The description in `data`. EncodingError where there is none."""
    from ..proxies import Actor  # noqa: TID252 - as above

    try:
        told: Dict[str, Any] = json.loads(bytes(data))
        missing = {"class", "args", "kwargs"} - set(told)
    except (ValueError, TypeError) as error:
        raise EncodingError("The description of an actor is damaged.", found=str(error), todo=_TODO) from None
    if missing:
        found = f"no {', '.join(sorted(missing))}"
        raise EncodingError("The description of an actor is not whole.", found=found, todo=_TODO)
    return Actor.from_json(told)
