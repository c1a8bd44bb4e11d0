"""The picture of a graph as SVG, and as an HTML page with that SVG in it: self-contained, no network, no fonts.

Cards (what is known of each asset) come here from `drawbar graph`; text goes to a file. Colours follow the reader's
light or dark setting, and every state is told by a word, not by colour alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

from drawbar.cli.layout import Box, Layout, lay_out
from drawbar.cli.output import visible

HEIGHT = 46.0
_LONGEST = 34
_TITLE, _SMALL = 8.3, 6.5  # average widths of a character of the two sizes of type, in pixels


@dataclass(frozen=True, slots=True)
class Card:
    """What a picture says of one asset: `kind` is asset, source or transient, `about` is shown when pointed at."""

    name: str
    inputs: Sequence[str]
    state: str
    target: str = ""
    detail: str = ""
    kind: str = "asset"
    about: str = ""


def svg(cards: Sequence[Card], title: str) -> str:
    """A picture of these assets, in dependency order."""
    layout = lay_out({card.name: card.inputs for card in cards}, {card.name: _width(card) for card in cards}, HEIGHT)
    body = [_edge(pair, points) for pair, points in layout.edges.items()]
    body += [_card(card, layout.boxes[card.name]) for card in cards]
    width, height = round(max(layout.width, 260)), round(layout.height + 34)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="page" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(title)}"><style>\n{_beside("picture.css")}</style>\n'
        f'<text class="small" x="24" y="22">{escape(visible(title))}</text>\n'
        f'<g transform="translate(0 22)">\n' + "\n".join(body) + "\n</g></svg>\n"
    )


def _beside(name: str) -> str:
    """A file that lies beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _width(card: Card) -> float:
    longest = max(_columns(_cut(card.name)) * _TITLE, _columns(_second(card)) * _SMALL)
    return round(longest + 34)


def _columns(text: str) -> int:
    """How many columns a text takes; characters of East Asia take two."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _second(card: Card) -> str:
    parts = [part for part in (card.target, card.state, card.detail) if part]
    return _cut(" · ".join(parts))


def _card(card: Card, box: Box) -> str:
    group, slash, last = _cut(card.name).rpartition("/")
    name = f'<tspan class="group">{escape(group)}/</tspan>{escape(last)}' if slash else escape(last)
    about = escape(visible(card.about or card.name))
    state = card.state.partition(" ")[0]
    return (
        f'<g class="asset" data-name="{escape(card.name)}"><title>{about}</title>'
        f'<rect class="box {card.kind}" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="6"/>'
        f'<circle class="dot {state}" cx="{box.x + 13:.1f}" cy="{box.y + 17:.1f}" r="4.5"/>'
        f'<text class="name" x="{box.x + 24:.1f}" y="{box.y + 21:.1f}">{name}</text>'
        f'<text class="small" x="{box.x + 24:.1f}" y="{box.y + 37:.1f}">{escape(visible(_second(card)))}</text></g>'
    )


def _edge(pair: tuple[str, str], points: Sequence[tuple[float, float]]) -> str:
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x, y), (to_x, to_y) in pairwise(points):
        reach = (to_x - x) / 2
        straight = abs(to_y - y) < 0.5  # noqa: PLR2004  # half a pixel is not seen
        path.append(
            f"H{to_x:.1f}"
            if straight
            else f"C{x + reach:.1f} {y:.1f} {to_x - reach:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        )
    x, y = points[-1]
    ends = f'data-from="{escape(pair[0])}" data-to="{escape(pair[1])}"'
    return (
        f'<g class="link" {ends}><path class="edge" d="{"".join(path)}"/>'
        f'<path class="tip" d="M{x:.1f} {y:.1f}l-7 -3.5v7z"/></g>'
    )


def page(cards: Sequence[Card], title: str) -> str:
    """A page with the picture, to move about in, to zoom, and to follow what an asset is made from and for."""
    whole = _beside("page.html").replace("{{title}}", escape(visible(title)), 1)
    return whole.replace("{{svg}}", svg(cards, title), 1)


def mermaid(cards: Sequence[Card]) -> str:
    """The graph in Mermaid's language, for Markdown pages."""
    ids = _ids(cards)
    lines = ["flowchart LR"]
    for card in cards:
        left, right = {"source": ("[(", ")]"), "transient": ("([", "])")}.get(card.kind, ("[", "]"))
        label = f"{card.name}<br>{_second(card)}".replace('"', "#quot;")
        lines.append(f'  {ids[card.name]}{left}"{visible(label)}"{right}')
    lines += [f"  {ids[up]} --> {ids[card.name]}" for card in cards for up in dict.fromkeys(card.inputs)]
    return "\n".join(lines) + "\n"


def dot(cards: Sequence[Card]) -> str:
    """The graph in Graphviz's language."""
    ids = _ids(cards)
    lines = ["digraph assets {", '  rankdir=LR; node [shape=box, style=rounded, fontname="sans-serif"];']
    for card in cards:
        label = visible(f"{card.name}\n{_second(card)}").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        style = ', style="rounded,dashed"' if card.kind == "source" else ""
        lines.append(f'  {ids[card.name]} [label="{label}"{style}];')
    lines += [f"  {ids[up]} -> {ids[card.name]};" for card in cards for up in dict.fromkeys(card.inputs)]
    return "\n".join([*lines, "}"]) + "\n"


def _ids(cards: Sequence[Card]) -> Mapping[str, str]:
    return {card.name: f"a{place}" for place, card in enumerate(cards)}


__all__ = ["Card", "Layout", "dot", "mermaid", "page", "svg"]
