"""Which partitions a person means: keys, ranges, `all` and `latest`, as they are written behind `--partition`.

Texts come from the command line or from Python; keys that exist go on, in the definition's order.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from drawbar.errors import PartitionError
from drawbar.partitions.base import EVERY, LATEST, Partitions, moment
from drawbar.partitions.multi import BETWEEN, Multi

_TO = ".."


def choose(definition: Partitions, texts: Iterable[str], now: datetime | None = None) -> list[str]:
    """The keys that the texts mean, each once, in the definition's order.

    A text is a key, `a..b` (both included; either may be left out), `all` or `latest`; in two dimensions a pair of
    them, as `2026-11-01..2026-11-20|eu` or `2026-11-20|*`. PartitionError for a key that does not exist, a range that
    runs backwards, and where nothing is chosen.

    >>> from drawbar.partitions import Static
    >>> choose(Static(["a", "b", "c", "d"]), ["d", "a..b"])
    ['a', 'b', 'd']
    """
    # One moment for all of it, or a range could miss what another text has found.
    now = moment(now)
    given = [texts] if isinstance(texts, str) else list(texts)
    found = [_meant(definition, text, now) for text in given]
    if not any(found):
        raise PartitionError(
            f"No partition is chosen of: {definition.describe()}.",
            expected="a key, a range a..b, 'all' or 'latest'",
            found=definition.lack(now) if given else "no text",
            todo="" if given else "name at least one",
        )
    if len(found) == 1:
        return found[0]
    return sorted(dict.fromkeys(key for keys in found for key in keys), key=definition.position)


def _meant(definition: Partitions, text: Any, now: datetime) -> list[str]:
    """The keys that one text means; none where there are none to mean."""
    if not isinstance(text, str):
        return [definition.partition(text, now).key]  # which refuses it in its own words
    if text in EVERY or text == _TO:
        return list(definition.keys(now))
    if text == LATEST:
        return definition.preceding(None, 1, now)
    if isinstance(definition, Multi):
        return _pairs(definition, text, now)
    first, to, last = text.partition(_TO)
    if not to:
        return [definition.partition(text, now).key]
    found = definition.between(first or None, last or None, now)
    if not found and first and last:
        raise PartitionError(
            f"The range {text!r} runs backwards.",
            expected="the earlier key first",
            found=f"{first!r} comes after {last!r} in: {definition.describe()}",
            todo=f"write {last}{_TO}{first}",
        )
    return found


def _pairs(definition: Multi, text: str, now: datetime) -> list[str]:
    halves = definition.split(text)
    chosen = []
    for (name, dim), half in zip(definition.dims, halves, strict=True):
        try:
            chosen.append(_meant(dim, half, now))
        except PartitionError as error:
            error.what = f"In {text!r}, dimension {name!r}: {error.what}"
            raise
    return [f"{one}{BETWEEN}{other}" for one in chosen[0] for other in chosen[1]]
