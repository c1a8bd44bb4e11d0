"""Results in the order of their items, whichever is done first: what comes early waits in a temporary file.

Encoded results come here from `fanout` by position, and go one after another to the writer of the whole list.
"""

from __future__ import annotations

import tempfile
from typing import Any

from drawbar.agent.encoding.items import Item, Writer
from drawbar.files import mapped

_Place = tuple[int, int, tuple[str, str, str]]


class InOrder:
    """Takes results in any order; `next` is the first position that has none yet, `done` how many have.

    >>> with Writer(plain=True) as results:
    ...     order = InOrder(results)
    ...     for at in (1, 0):
    ...         order.settle(at, Item("json", "int", ".json", b"%d" % at))
    ...     order.close()
    ...     results.finish().parts
    [b'[0, 1]']
    """

    def __init__(self, results: Writer) -> None:
        self._results = results
        self.next = self.done = 0
        self._early: dict[int, _Place | None] = {}
        self._file: Any = None
        self._size = 0
        self._whole = True

    def settle(self, at: int, item: Item | None) -> None:
        """The result at position `at`; None where there is none, after which there is no whole, and no more is kept."""
        self.done += 1
        self._whole = self._whole and item is not None
        with mapped("the folder for temporary files", "write"):
            if at != self.next:
                self._early[at] = self._put(item)
                return
            self._give(item)
            while self.next in self._early:
                self._give(self._taken(self._early.pop(self.next)))
            if self._size and not self._early:
                self._file.seek(0)
                self._file.truncate()
                self._size = 0

    def _give(self, item: Item | None) -> None:
        self.next += 1
        if self._whole and item is not None:
            self._results.add(item)

    def _put(self, item: Item | None) -> _Place | None:
        if item is None or not self._whole:
            return None
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        begin = self._size
        self._file.seek(begin)
        self._size += self._file.write(item.data)
        return begin, len(item.data), (item.format, item.type, item.ext)

    def _taken(self, place: _Place | None) -> Item | None:
        if place is None or not self._whole:
            return None
        begin, length, (kind, type_, ext) = place
        self._file.seek(begin)
        return Item(kind, type_, ext, self._file.read(length))

    def close(self) -> None:
        """Remove the temporary file."""
        if self._file is not None:
            self._file.close()
