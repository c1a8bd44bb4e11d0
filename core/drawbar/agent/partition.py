"""What a function is given of its own partition: the key, the window of time, and the key of each dimension.

A client makes it out of the asset's definition and sends it as JSON; the job's function receives it, here or on a host.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone, tzinfo
from types import MappingProxyType
from typing import Any, Dict, Mapping, Optional, Tuple


@dataclass(frozen=True, init=False, repr=False)
class Partition:
    """One part of an asset.

    `key` is its name; `start` (in it) and `end` (not in it) bound its window of time, aware and in the zone of the
    definition, None where it has none; `keys` maps each dimension of a two-dimensional one to its key, in the order of
    the definition, and is empty otherwise. Two times of one zone subtract as their clocks read, as Python does it: for
    the length of a night in autumn convert both to UTC first.

    >>> print(Partition("eu"), Partition("eu").start)
    eu None
    """

    __slots__ = ("end", "key", "keys", "start")

    key: str
    start: Optional[datetime]
    end: Optional[datetime]
    keys: Mapping[str, str]

    def __init__(
        self,
        key: str,
        start: Optional[datetime] = None,
        end: Optional[datetime] = None,
        keys: Optional[Mapping[str, str]] = None,
    ) -> None:
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "end", end)
        object.__setattr__(self, "keys", MappingProxyType(dict(keys or {})))

    def __str__(self) -> str:
        return self.key

    def __repr__(self) -> str:
        """The key, and the window where there is one.

        >>> Partition("2026-11-20", datetime(2026, 11, 20), datetime(2026, 11, 21))
        Partition('2026-11-20', 2026-11-20T00:00 to 2026-11-21T00:00)
        """
        window = f", {_short(self.start)} to {_short(self.end)}" if self.start and self.end else ""
        dims = "".join(f", {name}={key!r}" for name, key in self.keys.items())
        return f"Partition({self.key!r}{window}{dims})"

    def __hash__(self) -> int:
        """The key decides in almost all cases, and mappings do not hash."""
        return hash((self.key, self.start, self.end))

    def __reduce__(self) -> Tuple[Any, ...]:
        """By way of JSON, because a host may not know the time zone that a pickle would name."""
        return _read, (type(self), self.to_json())

    def to_json(self) -> Dict[str, Any]:
        """The plain form that crosses borders: times as ISO text with their offset, beside the name of their zone."""
        zone = self.start.tzinfo if self.start else None
        return {
            "key": self.key,
            "start": self.start.isoformat() if self.start else None,
            "end": self.end.isoformat() if self.end else None,
            "zone": "UTC" if zone is timezone.utc else getattr(zone, "key", None),
            "keys": dict(self.keys),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Partition:
        """The inverse of `to_json`; where this machine does not know the zone, the times keep their offsets."""
        zone = _zone(body.get("zone"))
        return cls(body["key"], _time(body["start"], zone), _time(body["end"], zone), body["keys"])


def _read(kind: Any, body: Mapping[str, Any]) -> Any:
    return kind.from_json(body)


def _zone(name: Optional[str]) -> Optional[tzinfo]:
    if not name:
        return None
    if name == "UTC":
        return timezone.utc
    try:
        from zoneinfo import ZoneInfo

        return ZoneInfo(name)
    except Exception:  # no database, or an older one: the offsets in the text are right all the same
        return None


def _time(text: Optional[str], zone: Optional[tzinfo]) -> Optional[datetime]:
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    return time.astimezone(zone) if zone and time.tzinfo else time


def _short(time: datetime) -> str:
    whole = time.second == 0 and time.microsecond == 0
    return time.isoformat(timespec="minutes") if whole else time.isoformat()
