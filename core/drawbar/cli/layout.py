"""Where the assets of a graph stand in a picture: layers from left to right, few crossings, edges that run smoothly.

Names, edges and sizes come here from `drawbar graph`; coordinates in pixels go to the picture. The method is the
layered one of Sugiyama, Tagawa and Toda (1981): layers by longest path, order by medians, and places by least squares
with the boxes' minimum distance kept (isotonic regression, by pooling adjacent violators).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, median

_SWEEPS, _FEWEST = 12, 3
# Sweeps times places (boxes and bends) in a large picture: it is looked at in parts, and should not be waited for.
_PATIENCE = 60_000
_GAP_X, _GAP_Y, _THIN = 70.0, 16.0, 10.0
_MARGIN = 24.0

Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Box:
    """A box by its upper left corner and its size, in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Boxes by name, the points that each edge goes through (its ends among them), and the size of the whole."""

    boxes: Mapping[str, Box]
    edges: Mapping[Edge, Sequence[tuple[float, float]]]
    width: float
    height: float


def lay_out(inputs: Mapping[str, Sequence[str]], widths: Mapping[str, float], height: float) -> Layout:
    """The layout of a graph: `inputs` maps every name, in dependency order, to the names that it is made from.

    >>> found = lay_out({"a": [], "b": ["a"]}, {"a": 100, "b": 80}, 40)
    >>> found.boxes["a"].x < found.boxes["b"].x, found.boxes["a"].y == found.boxes["b"].y
    (True, True)
    """
    if not inputs:
        return Layout({}, {}, 2 * _MARGIN, 2 * _MARGIN)
    depth = _depths(inputs)
    layers, links, chains = _with_bends(inputs, depth)
    sweeps = max(_FEWEST, min(_SWEEPS, _PATIENCE // len(links)))
    _order(layers, links, sweeps)
    middles = _places(layers, links, sweeps, lambda name: height if name in inputs else _THIN)
    columns = _columns(layers, widths)
    boxes = {name: Box(columns[depth[name]][0], middles[name] - height / 2, widths[name], height) for name in inputs}
    edges = {
        edge: _points(boxes[edge[0]], boxes[edge[1]], [middles[bend] for bend in chain], columns[depth[edge[0]] :])
        for edge, chain in chains.items()
    }
    bottom = max(box.y + box.height for box in boxes.values())
    return Layout(boxes, edges, columns[-1][1] + _MARGIN, max([bottom, *middles.values()]) + _MARGIN)


def _depths(inputs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Layers by longest path; what has no inputs then moves right, to just before what first takes it."""
    depth: dict[str, int] = {}
    for name, ups in inputs.items():
        depth[name] = 1 + max((depth[up] for up in ups), default=-1)
    first: dict[str, int] = {}
    for name, ups in inputs.items():
        for up in ups:
            first[up] = min(first.get(up, depth[name]), depth[name])
    for name, ups in inputs.items():
        if not ups and name in first:
            depth[name] = first[name] - 1
    return depth


def _with_bends(
    inputs: Mapping[str, Sequence[str]], depth: Mapping[str, int]
) -> tuple[list[list[str]], dict[str, tuple[list[str], list[str]]], dict[Edge, list[str]]]:
    """Layers of names and of the bends that long edges need, everyone's neighbours (left, right), each edge's bends."""
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    links: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in inputs}
    chains: dict[Edge, list[str]] = {}
    for name in inputs:
        layers[depth[name]].append(name)
    for name, ups in inputs.items():
        for up in dict.fromkeys(ups):
            chain = [f"{up}\0{name}\0{level}" for level in range(depth[up] + 1, depth[name])]
            for level, bend in enumerate(chain, depth[up] + 1):
                layers[level].append(bend)
                links[bend] = ([], [])
            for left, right in zip([up, *chain], [*chain, name], strict=True):
                links[left][1].append(right)
                links[right][0].append(left)
            chains[up, name] = chain
    return layers, links, chains


def _order(layers: list[list[str]], links: Mapping[str, tuple[list[str], list[str]]], sweeps: int) -> None:
    """Order every layer by the medians of its neighbours, from the left and the right in turn; the best is kept."""
    best, fewest = [list(layer) for layer in layers], _crossings(layers, links)
    for sweep in range(sweeps):
        if not fewest:
            break
        side = sweep % 2
        turn = range(len(layers) - 2, -1, -1) if side else range(1, len(layers))
        for level in turn:
            beside = {name: place for place, name in enumerate(layers[level + 1 if side else level - 1])}
            keys = {}
            for place, name in enumerate(layers[level]):
                near = [beside[other] for other in links[name][side]]
                # Medians, with a little of the mean to break ties; what has no neighbour there stays where it is.
                keys[name] = (median(near) + mean(near) / 1000) if near else float(place)
            layers[level].sort(key=lambda name: keys[name])
        count = _crossings(layers, links)
        if count < fewest:
            best, fewest = [list(layer) for layer in layers], count
    layers[:] = best


def _crossings(layers: Sequence[Sequence[str]], links: Mapping[str, tuple[list[str], list[str]]]) -> int:
    """How many pairs of edges cross: inversions, counted with a Fenwick tree (Barth, Jünger and Mutzel 2002)."""
    total = 0
    for layer, following in pairwise(layers):
        place = {name: index for index, name in enumerate(following)}
        ends = [end for name in layer for end in sorted(place[other] for other in links[name][1])]
        tree = [0] * (len(following) + 1)
        for seen, end in enumerate(ends):
            index, before = end + 1, 0
            while index:
                before += tree[index]
                index &= index - 1
            total += seen - before
            index = end + 1
            while index <= len(following):
                tree[index] += 1
                index += index & -index
    return total


def _places(
    layers: list[list[str]],
    links: Mapping[str, tuple[list[str], list[str]]],
    sweeps: int,
    height: Callable[[str], float],
) -> dict[str, float]:
    """The middle of everything, from above: as near to its neighbours as its layer's order and distances let it be."""
    middles: dict[str, float] = {}
    for layer in layers:
        at = 0.0
        for name in layer:
            middles[name] = at + height(name) / 2
            at += height(name) + _GAP_Y
    for sweep in range(2 * sweeps):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = []
            for name in layer:
                left, right = links[name]
                near = [
                    middles[other] for other in (left + right if sweep > sweeps else (right if sweep % 2 else left))
                ]
                wanted.append(mean(near) if near else middles[name])
            middles.update(zip(layer, _apart(wanted, [height(name) for name in layer]), strict=True))
    top = min(middles[name] - height(name) / 2 for layer in layers for name in layer)
    return {name: middle - top + _MARGIN for name, middle in middles.items()}


def _apart(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """The places nearest to those wanted (least squares) that keep the order and the distances."""
    offsets = [0.0]
    for above, below in pairwise(heights):
        offsets.append(offsets[-1] + (above + below) / 2 + _GAP_Y)
    blocks: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        level, count = want - offset, 1
        while blocks and blocks[-1][0] > level:
            other, many = blocks.pop()
            level, count = (level * count + other * many) / (count + many), count + many
        blocks.append((level, count))
    levels = [level for level, count in blocks for _ in range(count)]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]


def _columns(layers: Sequence[Sequence[str]], widths: Mapping[str, float]) -> list[tuple[float, float]]:
    """The left and the right side of every layer."""
    sides, at = [], _MARGIN
    for layer in layers:
        right = at + max((widths[name] for name in layer if name in widths), default=0.0)
        sides.append((at, right))
        at = right + _GAP_X
    return sides


def _points(
    start: Box, end: Box, bends: Sequence[float], columns: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Out of the right side of one box, level past its layer and those between, into the other's left."""
    middle = start.y + start.height / 2
    points = [(start.x + start.width, middle), (columns[0][1], middle)]
    for (left, right), bend in zip(columns[1:], bends, strict=False):
        points += [(left, bend), (right, bend)]
    return [*points, (end.x, end.y + end.height / 2)]
