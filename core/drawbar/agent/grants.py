"""Who gets which GPU: the one rule of leases, as a function of what is asked for, held and used by strangers.

First come, first served. A request that cannot be met now keeps every device that it could use from those behind it: a
large one is never starved by small ones, and one that needs other devices is not held up. `tickets` brings the requests
and writes down what comes out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Optional

from .devices import Device

Held = Mapping[str, Sequence[int]]
"""By device, the memory that each lease on it has in bytes; 0 is the whole device."""


class Request(NamedTuple):
    """What one job asks for: `gpus` whole devices, or `memory` bytes of each; `devices` are those there are."""

    gpus: int
    memory: int
    devices: Sequence[Device]


def decide(
    requests: Sequence[Request], granted: Mapping[int, Sequence[str]], used: Collection[str]
) -> dict[int, list[Device]]:
    """What each request gets that has nothing yet, by its place in `requests`; absent are those that must wait.

    `requests` are in the order they came, `granted` says which devices some of them hold by now, by place and id, and
    `used` are the devices that strangers use.

    >>> one, two = Device("a", 0, "", 24), Device("b", 1, "", 24)
    >>> whole, both, share = Request(1, 0, [one, two]), Request(2, 0, [one, two]), Request(1, 8, [one, two])
    >>> decide([whole, both, whole], {}, ())
    {0: [Device(id='a', index=0, name='', memory=24)]}
    >>> [[device.id for device in got] for got in decide([share, whole, share], {}, ()).values()]
    [['a'], ['b'], ['a']]
    """
    held = holdings(requests, granted)
    kept = set(used)
    given = {}
    for place, request in enumerate(requests):
        if place in granted:
            continue
        chosen = _choose(request, held, kept)
        if chosen is None:
            kept.update(device.id for device in request.devices if device.memory >= request.memory)
            continue
        given[place] = chosen
        for device in chosen:
            held.setdefault(device.id, []).append(request.memory)
    return given


def holdings(requests: Sequence[Request], granted: Mapping[int, Sequence[str]]) -> dict[str, list[int]]:
    """What is held of each device."""
    held: dict[str, list[int]] = {}
    for place, ids in granted.items():
        for one in ids:
            held.setdefault(one, []).append(requests[place].memory)
    return held


def room(device: Device, held: Held) -> int:
    """Bytes of the device that nobody holds; 0 where somebody holds the whole."""
    shares = held.get(device.id, ())
    return max(0, device.memory - sum(shares)) if all(shares) else 0


def _choose(request: Request, held: Held, kept: Collection[str]) -> Optional[list[Device]]:
    """The devices that suit best, in their order; None where there are too few.

    A share goes where others are already and it fits most tightly, else onto the smallest device; a whole device is the
    biggest, since how much of it is needed is not known.
    """
    open_to_all = [device for device in request.devices if device.id not in kept]
    if request.memory:
        able = [device for device in open_to_all if room(device, held) >= request.memory]
        able.sort(key=lambda device: (device.id not in held, room(device, held), device.index))
    else:
        able = [device for device in open_to_all if device.id not in held]
        able.sort(key=lambda device: (-device.memory, device.index))
    count = max(1, request.gpus)
    return sorted(able[:count], key=lambda device: device.index) if len(able) >= count else None
