"""Plans: what would run, what is reused, and which one thing changed."""

from __future__ import annotations

import importlib
import itertools
import sys

import pytest

import drawbar
from drawbar import Graph
from drawbar.config import Config
from drawbar.errors import OptionError, UnknownTargetError

_numbers = itertools.count()

PIPELINE = """
from drawbar import asset, Env
import {helpers} as helpers

LIMIT = 3

def numbers(start: int = 1) -> list[int]:
    return helpers.count(start, LIMIT)

@asset(env=Env("numpy>=1"))
def total(numbers: list[int], scale: int = 1) -> int:
    return sum(numbers) * scale

def aside() -> str:
    return "aside"
"""
HELPERS = """
def count(start, limit):
    return list(range(start, start + limit))
"""


class Project:
    """A project in a folder, whose files can be edited and read anew."""

    def __init__(self, folder, store):
        number = next(_numbers)
        self.folder, self.store = folder, store
        self.helpers, self.pipeline = f"plan_helpers_{number}", f"plan_pipeline_{number}"
        self.texts = {self.helpers: HELPERS, self.pipeline: PIPELINE.format(helpers=self.helpers)}

    def edit(self, which, old, new):
        assert old in self.texts[which]
        self.texts[which] = self.texts[which].replace(old, new)

    def graph(self):
        """The graph as a fresh process would read it."""
        for name, text in self.texts.items():
            sys.modules.pop(name, None)
            path = self.folder / f"{name}.py"
            path.unlink(missing_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()
        importlib.import_module(self.helpers)
        return Graph.from_modules(self.folder / f"{self.pipeline}.py", namespace="p")

    def run(self, **settings):
        result = drawbar.run(self.graph(), store=self.store, lineage=False, **settings)
        assert result.ok, result.counts
        return {name: one.state for name, one in result.assets.items()}

    def plan(self, **settings):
        return drawbar.plan(self.graph(), store=self.store, **settings)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project that was run once."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Project(tmp_path, str(tmp_path / "store"))
    assert set(made.run().values()) == {"made"}
    return made


def test_what_was_made_is_reused_and_says_by_whom(project):
    """A second plan runs nothing."""
    plan = project.plan()
    assert plan.counts == {"reuse": 3}
    assert plan["total"].reason.startswith("made 20")


def test_comments_formatting_and_docstrings_do_not_count(project):
    """Only what a function does is its version."""
    project.edit(
        project.pipeline,
        "    return sum(numbers) * scale",
        '    """Doc."""\n    # why\n    return (sum(numbers)\n * scale)',
    )
    assert project.plan().counts == {"reuse": 3}


def test_an_edited_helper_is_named_and_runs_only_what_reaches_it(project):
    """The one function that changed is in the reason; what does not reach it is reused."""
    project.edit(project.helpers, "limit))", "limit + 0))")
    plan = project.plan()
    assert plan["numbers"].reason.startswith(f"code {project.helpers}.count changed")
    assert plan["aside"].action == "reuse"
    assert (plan["total"].action, plan["total"].certain) == ("run", False)


def test_the_same_value_cuts_off_what_is_below(project):
    """A re-made asset that comes out the same leaves everything below it reused."""
    project.edit(project.helpers, "limit))", "limit + 0))")
    assert project.run() == {"numbers": "made", "total": "reused", "aside": "reused"}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (("LIMIT = 3", "LIMIT = 4"), "LIMIT changed"),
        (("start: int = 1", "start: int = 2"), "parameter start changed: 1 → 2"),
    ],
)
def test_a_constant_or_a_default_is_named(project, edit, reason):
    """Constants and defaults count, and are named."""
    project.edit(project.pipeline, *edit)
    changes = " and ".join(str(one) for one in project.plan()["numbers"].changes)
    assert reason in changes


def test_a_parameter_is_named_with_both_values(project):
    """A run parameter's change shows what it was and is."""
    (change,) = project.plan(params={"scale": 5})["total"].changes
    assert str(change) == "parameter scale changed: 1 → 5"


def test_a_requirement_is_named(project):
    """What a target must have installed is part of what a value is made from."""
    project.edit(project.pipeline, "numpy>=1", "numpy>=2")
    texts = [str(one) for one in project.plan()["total"].changes]
    assert texts == ["requirement numpy>=1 is gone", "requirement numpy>=2 is new"]


def test_an_input_that_came_out_otherwise_is_named(project):
    """Below an asset that changed, the input is the reason."""
    project.edit(project.helpers, "start, start + limit", "start, start + limit + 1")
    result = drawbar.run(project.graph(), store=project.store, lineage=False)
    assert result["total"].reason.startswith("input numbers changed: ")


def test_a_value_that_was_removed_is_made_again(project, tmp_path):
    """A record whose value is gone does not count, and the reason says so."""
    for path in (tmp_path / "store" / "p" / "aside" / "values").iterdir():
        path.unlink()
    assert project.plan()["aside"].reason == "its value is missing from the store, or has another size"
    assert project.run()["aside"] == "made"
    assert project.plan()["aside"].action == "reuse"


def test_a_damaged_record_is_made_again(project, tmp_path):
    """A record that cannot be read is said, and replaced by the next run."""
    (path,) = (tmp_path / "store" / "p" / "aside" / "records").iterdir()
    path.unlink()
    path.write_text("{")
    assert "its record cannot be read (JSONDecodeError" in project.plan()["aside"].reason
    assert project.run()["aside"] == "made"
    assert project.run()["aside"] == "reused"


def test_forced_assets_are_made_again(project):
    """`force` makes again what is there."""
    assert project.run(force=["aside"]) == {"numbers": "reused", "total": "reused", "aside": "made"}


def test_a_plan_asks_an_object_store_together(project):
    """On a store that is not local, one round finds all that was made last."""
    import fsspec

    project.store = "memory://plan-together"
    project.run()
    memory = fsspec.filesystem("memory")
    asked = []
    real = type(memory).cat_ranges

    def cat_ranges(self, path, *args, **kwargs):
        asked.append(path)
        return real(self, path, *args, **kwargs)

    type(memory).cat_ranges = cat_ranges
    try:
        assert project.plan().counts == {"reuse": 3}
    finally:
        type(memory).cat_ranges = real
    assert len(asked) == 1
    assert len(asked[0]) == 3


def test_a_source_is_planned_by_its_content(tmp_path):
    """The same bytes under a new date are the same input; other bytes are another; none is blocked."""
    path = tmp_path / "in.txt"
    path.write_text("one")
    module = tmp_path / f"plan_source_{next(_numbers)}.py"
    module.write_text(
        "from drawbar import Source\nraw = Source('in.txt')\n"
        "def words(raw: str) -> list[str]: return raw.split()\n"
        "def count(words: list[str]) -> int: return len(words)\n"
    )
    graph = Graph.from_modules(module, namespace="s")
    config = Config.load(tmp_path, namespace="s", store=str(tmp_path / "store"))
    assert drawbar.run(graph, config=config, lineage=False)["count"].value() == 1
    path.touch()
    assert drawbar.plan(graph, config=config).counts == {"source": 1, "reuse": 2}
    path.write_text("one two")
    assert drawbar.plan(graph, config=config)["words"].reason.startswith("input raw changed")
    path.unlink()
    plan = drawbar.plan(graph, config=config)
    assert {name: one.action for name, one in plan.decisions.items()} == dict.fromkeys(
        ("raw", "words", "count"), "blocked"
    )
    assert "The source 'raw' cannot be read." in plan["raw"].reason


def test_options_that_nothing_could_hold_to_are_refused():
    """A timeout or GPUs without a target would be silently ignored, so they are errors."""

    @drawbar.asset(gpus=1)
    def train() -> int: ...

    with pytest.raises(OptionError, match="train sets 'gpus' and runs in this process"):
        drawbar.plan(Graph.from_functions(train), store="memory://opt")


@pytest.mark.parametrize(
    ("moves", "what", "todo"),
    [
        ({"trian": "here"}, "'trian' cannot be moved to 'here'.", "did you mean 'train'?"),
        ({"": "here"}, "'' cannot be moved to 'here'.", "name one of gpu, here, train, other"),
        ({"train": ""}, "'train' cannot be moved to ''.", "name one"),
    ],
)
def test_a_move_of_what_is_not_there_is_refused(moves, what, todo):
    """A typing error in `--target OLD=NEW` would have the work done on the wrong hardware."""

    @drawbar.asset(target="gpu")
    def train() -> int: ...

    def other() -> int: ...

    graph = Graph.from_functions(train, other)
    with pytest.raises(UnknownTargetError) as refused:
        drawbar.plan(graph, ["train"], store="memory://moves", target=moves)
    assert (refused.value.what, refused.value.todo) == (what, todo)
    for fine in ({"gpu": "local"}, {"other": "local"}, {"here": "local"}):
        assert drawbar.plan(graph, ["train"], store="memory://moves", target=fine)["train"].action == "run"


@pytest.mark.parametrize("path", ["out/x.json", "./out/x.json", "s3://bucket/x.json"])
def test_two_assets_cannot_publish_to_one_place(path):
    """Each would undo what the other did, at every run."""

    @drawbar.asset(path=path.replace("./", ""))
    def one() -> int: ...

    @drawbar.asset(path=path)
    def two() -> int: ...

    with pytest.raises(OptionError, match=r"^one and two publish to one place\."):
        drawbar.plan(Graph.from_functions(one, two), store="memory://paths")


@pytest.mark.parametrize("path", ["s3://", "s3://bucket/", "out/..", "/"])
def test_a_path_that_names_no_file_is_refused(path):
    """A folder cannot be replaced by a value, and is not to be taken for one."""

    @drawbar.asset(path=path)
    def one() -> int: ...

    with pytest.raises(OptionError, match=r"^The path of one names no file\.") as refused:
        drawbar.plan(Graph.from_functions(one), store="memory://paths")
    assert refused.value.found == repr(path)
