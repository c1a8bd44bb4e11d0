"""`drawbar graph`: the layout's promises, and pictures that any browser, Mermaid and Graphviz can read."""

from __future__ import annotations

import json
import random
import re
import time
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawbar.cli.layout import lay_out
from drawbar.cli.picture import Card, dot, mermaid, page, svg


def some_graph(count, seed=0):
    """A graph of so many assets, each made from up to three of those before it."""
    rng = random.Random(seed)
    names: list[str] = []
    inputs = {}
    for place in range(count):
        inputs[f"asset_{place}"] = rng.sample(names[-20:], min(len(names[-20:]), rng.choice([0, 1, 1, 2, 3])))
        names.append(f"asset_{place}")
    return inputs


@given(st.integers(0, 60), st.integers(0, 5))
def test_boxes_do_not_overlap_and_edges_run_to_the_right(count, seed):
    """Whatever the graph, every box has its place for itself, inside the picture, right of what it is made from."""
    inputs = some_graph(count, seed)
    found = lay_out(inputs, {name: 60 + 7.0 * len(name) for name in inputs}, 46)
    boxes = list(found.boxes.values())
    for place, one in enumerate(boxes):
        assert one.x >= 0
        assert one.y >= 0
        assert one.x + one.width <= found.width
        assert one.y + one.height <= found.height
        for other in boxes[place + 1 :]:
            apart = one.x + one.width < other.x or other.x + other.width < one.x
            assert apart or one.y + one.height < other.y or other.y + other.height < one.y
    for name, ups in inputs.items():
        for up in ups:
            points = found.edges[up, name]
            assert [x for x, _ in points] == sorted(x for x, _ in points)


def test_two_hundred_assets_are_laid_out_at_once():
    """A large graph does not make a person wait: a second or two of one core."""
    inputs = some_graph(200, 3)
    began = time.process_time()
    found = lay_out(inputs, dict.fromkeys(inputs, 150.0), 46)
    assert len(found.boxes) == 200
    assert time.process_time() - began < 5.0


def test_a_tangle_that_can_be_undone_is_undone():
    """Two edges that cross only by the order of their ends do not cross in the picture."""
    found = lay_out({"a": [], "b": [], "c": ["b"], "d": ["a"]}, dict.fromkeys("abcd", 50.0), 40)
    assert (found.boxes["a"].y < found.boxes["b"].y) == (found.boxes["d"].y < found.boxes["c"].y)
    assert found.boxes["a"].y == pytest.approx(found.boxes["d"].y)


CARDS = [
    Card("seeds", [], "source", kind="source"),
    Card('text/<b>&"x"', ["seeds"], "made", "gpu", "12 rows", about="line one\n<script>alert(1)</script>"),
    Card("日本語の資産", ["seeds", 'text/<b>&"x"'], "failed", kind="transient"),
]  # fmt: skip


def test_names_cannot_break_the_picture():
    """Markup in a name or a docstring is text: the SVG parses, and has as many boxes and links as there are."""
    root = ET.fromstring(svg(CARDS, 'a "title" & more'))
    space = "{http://www.w3.org/2000/svg}"
    assert [one.get("data-name") for one in root.iter(f"{space}g") if one.get("class") == "asset"] == [
        card.name for card in CARDS
    ]
    assert len([one for one in root.iter(f"{space}g") if one.get("class") == "link"]) == 3
    assert "<script>alert" not in page(CARDS, "<script>alert(2)</script>")


def test_pictures_need_no_network():
    """The page loads nothing: no address but the name of SVG's namespace stands in it."""
    assert set(re.findall(r"https?://[^\s\"'<]+", page(CARDS, "x"))) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\b(src|href|@import|url)\s*[=(]", page(CARDS, "x"))


def test_mermaid_and_dot_quote_what_they_must():
    """A quotation mark in a label ends no label, and every edge is there."""
    assert 'a1["text/<b>&#quot;x#quot;<br>gpu · made · 12 rows"]' in mermaid(CARDS)
    assert 'a1 [label="text/<b>&\\"x\\"\\ngpu · made · 12 rows"];' in dot(CARDS)
    assert mermaid(CARDS).count("-->") == dot(CARDS).count("->") == 3


def test_the_terminal_shows_a_tree_with_last_states(call, made):
    """Every asset stands under what takes it, with its state, where it ran and its size."""
    lines = call("graph").stdout.splitlines()
    assert [line.strip("│├└─ ").split()[0] for line in lines] == ["demo", "total", "doubled", "numbers", "seeds"]
    assert "total  made  5 B" in lines[1]


@pytest.mark.parametrize(("ending", "start"), [(".svg", "<svg "), (".html", "<!doctype html>"), (".mmd", "flowchart"), (".dot", "digraph")])  # fmt: skip
def test_the_ending_of_the_file_says_what_is_drawn(call, folder, ending, start):
    """Each of the four endings gives its own kind of file, and what was done is said."""
    file = folder / f"picture{ending}"
    done = call("graph", "--output", str(file))
    assert done.stdout == f"{file} shows 4 assets.\n"
    assert file.read_text(encoding="utf-8").startswith(start)


def test_another_ending_is_refused_and_names_those_there_are(call):
    """A picture that cannot be drawn is refused before anything is written."""
    done = call("graph", "--output", "picture.png")
    assert done.exit_code == 2
    assert "'picture.png' ends in none of .svg, .html, .mmd, .dot." in done.stderr


def test_the_failed_and_the_never_made_are_told_apart(call, folder):
    """The last ending of each asset is in the answer, also of one that has no value."""
    (folder / "pipeline.py").write_text(
        "def one() -> int:\n    raise ValueError\ndef two(one: int) -> int:\n    return 1\n"
    )
    assert {one["name"]: one["state"] for one in json.loads(call("graph", "--json").stdout)["assets"]} == {
        "one": "never made",
        "two": "never made",
    }
    call("run", "--no-lineage")
    assert {one["name"]: one["state"] for one in json.loads(call("graph", "--json").stdout)["assets"]} == {
        "one": "failed",
        "two": "blocked",
    }
