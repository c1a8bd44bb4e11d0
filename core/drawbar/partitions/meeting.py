"""How the keys of two definitions meet: alike, or in the one dimension that they share.

Asked by the mappings that go from a key to the same key; the two definitions come in, keys of the upper one go out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from drawbar.agent.partition import Partition
from drawbar.partitions.base import Partitions
from drawbar.partitions.multi import BETWEEN, Multi


@dataclass(frozen=True, slots=True)
class Meeting:
    """Two definitions that meet; `shared` is the dimension where only one of them has two, else empty."""

    above: Partitions
    shared: str = ""

    @property
    def spreads(self) -> bool:
        """Whether a key downstream meets many upstream: those of the dimension that it does not have."""
        return bool(self.shared) and isinstance(self.above, Multi)

    def keys(self, partition: Partition, now: datetime | None) -> list[str]:
        """The keys above that a partition meets; whether they exist is not asked."""
        if not isinstance(self.above, Multi):
            return [partition.keys[self.shared] if self.shared else partition.key]
        if not self.shared:
            return [BETWEEN.join(partition.keys[name] for name, _ in self.above.dims)]
        halves = [[partition.key] if name == self.shared else dim.keys(now) for name, dim in self.above.dims]
        return [f"{one}{BETWEEN}{other}" for one in halves[0] for other in halves[1]]


def meeting(own: Partitions | None, above: Partitions) -> Meeting | str:
    """How the two meet, or why they do not."""
    if own is None:
        return "what is downstream has no partitions"
    if own.fits(above):
        return Meeting(above)
    if isinstance(own, Multi) and not isinstance(above, Multi):
        shared = [name for name, dim in own.dims if dim.fits(above)]
    elif isinstance(above, Multi) and not isinstance(own, Multi):
        shared = [name for name, dim in above.dims if own.fits(dim)]
    elif isinstance(own, Multi):
        return "their dimensions are not the same two"
    else:
        return "their keys are not the same"
    if len(shared) == 1:
        return Meeting(above, shared[0])
    return "both dimensions fit, so either could be meant" if shared else "they share no dimension"
