"""The graph: which functions are assets, how they hang together, and what is refused when it is built."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from drawbar import Graph, Source, asset
from drawbar.errors import (
    CycleError,
    DefinitionError,
    DuplicateAssetError,
    OptionError,
    TypeMismatchError,
    UnknownAssetError,
)

_numbers = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module with this text and give its path; each has a name of its own."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str, name: str = "") -> Path:
        path = tmp_path / f"{name or f'graph_module_{next(_numbers)}'}.py"
        path.write_text(text)
        return path

    return write


def test_a_module_of_plain_functions_is_a_graph(module):
    """Names are assets, parameters named like them are edges, `_` names and imports are not assets."""
    path = module(
        "from os.path import join\n"
        "LIMIT = 3\n"
        "def _helper(): ...\n"
        "class Thing: ...\n"
        "def urls(base_url: str, depth: int = 1) -> list: ...\n"
        "def pages(urls: list) -> dict: ...\n"
        "def both(urls, pages, k=2): ...\n"
    )
    graph = Graph.from_modules(path, namespace="site")
    assert list(graph.assets) == ["urls", "pages", "both"]
    assert dict(graph.edges["both"]) == {"urls": "urls", "pages": "pages"}
    assert sorted(graph.run_params()) == ["base_url", "depth", "k"]
    assert str(graph.key("pages")) == "site/pages"


def test_the_decorator_returns_the_same_function():
    """`@asset` adds options; the function is the one that was written."""

    def plain(): ...

    assert asset(plain) is plain
    assert asset(target="gpu", retries=2)(plain) is plain
    assert Graph.from_functions(plain)["plain"].options.target == "gpu"


def test_a_function_marked_to_be_ignored_is_no_asset(module):
    """A public helper can stay public."""
    path = module("from drawbar import asset\n@asset(ignore=True)\ndef main(): ...\ndef made() -> int: return 1\n")
    assert list(Graph.from_modules(path, namespace="n").assets) == ["made"]


def test_several_modules_make_one_graph(module):
    """An edge may cross modules, and a Source imported by both is one asset."""
    first = module(
        "from drawbar import Source\nraw = Source('raw.csv')\ndef table(raw: bytes) -> int: ...\n", "graph_first"
    )
    second = module("from graph_first import raw\ndef report(table: int, raw: bytes): ...\n")
    graph = Graph.from_modules(first, second, namespace="n")
    assert dict(graph.edges["report"]) == {"table": "table", "raw": "raw"}
    assert isinstance(graph["raw"].source, Source)


def test_groups_are_in_names():
    """A double underscore in a function's name is a group, and a parameter written so is its edge."""

    def text__embeddings() -> list[float]: ...
    def neighbours(text__embeddings: list[float]): ...

    graph = Graph.from_functions(text__embeddings, neighbours)
    assert list(graph.assets) == ["text/embeddings", "neighbours"]
    assert graph.edges["neighbours"]["text__embeddings"] == "text/embeddings"


def test_an_input_can_be_named_explicitly():
    """A parameter may be called otherwise than the asset it takes."""

    def made() -> int: ...
    @asset(inputs={"x": "made"})
    def taken(x: int): ...

    assert Graph.from_functions(made, taken).edges["taken"] == {"x": "made"}


def test_configuration_sets_options_by_name():
    """Code need not know its target."""

    def train(): ...

    graph = Graph.from_functions(train, options={"train": {"target": "gpu", "retries": 3}})
    assert (graph["train"].options.target, graph["train"].options.retries) == ("gpu", 3)
    with pytest.raises(UnknownAssetError, match="The configuration sets options of 'trian'") as refused:
        Graph.from_functions(train, options={"trian": {}})
    assert refused.value.todo == "did you mean 'train'?"


def test_a_circle_is_named():
    """The error names every asset of the circle, with file and line."""

    def a(c): ...
    def b(a): ...
    def c(b): ...

    with pytest.raises(CycleError, match=r"circle: \w → \w → \w → \w\.") as refused:
        Graph.from_functions(a, b, c)
    assert refused.value.found.count("test_graph.py:") == 3


def test_an_asset_that_takes_itself_is_a_circle():
    """A parameter named like its own function is refused, not taken for a run parameter."""

    def a(a): ...

    with pytest.raises(CycleError, match="a takes itself"):
        Graph.from_functions(a)


def test_two_assets_of_one_name_are_refused(module):
    """The error says where both are."""
    first, second = module("def same(): ...\n"), module("\ndef same(): ...\n")
    with pytest.raises(DuplicateAssetError, match="Two assets are named 'same'") as refused:
        Graph.from_modules(first, second, namespace="n")
    assert f"{first}:1 and {second}:2" in refused.value.found


def test_types_that_do_not_fit_name_both_functions(module):
    """A pandas frame into a polars one is an error before anything runs, with both files and lines."""
    path = module(
        "import pandas as pd\nimport polars as pl\n"
        "def table() -> pd.DataFrame: ...\n"
        "def report(table: pl.DataFrame): ...\n"
    )
    with pytest.raises(TypeMismatchError) as refused:
        Graph.from_modules(path, namespace="n")
    assert str(refused.value).splitlines() == [
        "report cannot take what table makes.",
        f"  at: {path}:4",
        f"  expected: table: polars.DataFrame, in {path}:4",
        f"  found: table returns pandas.DataFrame, in {path}:3",
        "  do: change one of the two annotations, or put an asset that converts between them",
    ]


def test_an_unknown_asset_gets_the_closest_name():
    """A slip of the hand is answered with the name that was meant."""

    def embeddings(): ...

    with pytest.raises(UnknownAssetError, match="There is no asset 'embedings'") as refused:
        Graph.from_functions(embeddings).select(["embedings"])
    assert refused.value.todo == "did you mean 'embeddings'?"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"gpu": 1}, "'gpu' is not an option of an asset."),
        ({"gpus": "1"}, "option 'gpus' has the wrong type."),
        ({"gpus": True}, "option 'gpus' has the wrong type."),
        ({"retries": -1}, "option 'retries' cannot be negative."),
    ],
)
def test_options_are_checked_where_they_are_written(options, what):
    """A wrong option is an error at import, not at the end of a long run."""
    with pytest.raises(OptionError) as refused:
        asset(**options)
    assert refused.value.what == what


def test_parameters_without_names_are_refused():
    """*args and positional-only parameters cannot be edges."""

    def star(*args): ...
    def only(a, /): ...

    for fn in (star, only):
        with pytest.raises(OptionError, match="parameters that have no names of their own"):
            Graph.from_functions(fn)


def test_a_module_that_fails_to_import_names_the_line(module):
    """The user's own line is shown, not ours."""
    path = module("x = 1\ny = 1 / 0\n")
    with pytest.raises(DefinitionError, match="cannot be imported") as refused:
        Graph.from_modules(path, namespace="n")
    assert (refused.value.where, refused.value.found) == (f"{path}:2", "ZeroDivisionError: division by zero")
    broken = module("def f(:\n")
    with pytest.raises(DefinitionError) as refused:
        Graph.from_modules(broken, namespace="n")
    assert refused.value.where == f"{broken}:1"


def test_a_path_that_is_not_there_is_said(tmp_path):
    """A mistyped path is answered with the file beside it."""
    (tmp_path / "pipeline.py").write_text("")
    with pytest.raises(DefinitionError, match="There is no file") as refused:
        Graph.from_modules(tmp_path / "pipelin.py")
    assert refused.value.todo == "did you mean 'pipeline.py'?"


@pytest.mark.parametrize("name", ["with space", "two..dots", "quo'te", "emoji🙂", "a-b"])
def test_files_with_impossible_names_are_refused(module, name):
    """A file that Python could not import by name could not be shipped to a host either."""
    with pytest.raises(DefinitionError, match="cannot be imported by its name"):
        Graph.from_modules(module("def a(): ...\n", name), namespace="n")


def test_selection_follows_edges_only():
    """Only what is needed is selected, in dependency order."""

    def a(): ...
    def b(a): ...
    def c(b): ...
    def d(a): ...

    graph = Graph.from_functions(d, c, b, a)
    assert graph.select(["c"]) == ("a", "b", "c")
    assert set(graph.select()) == {"a", "b", "c", "d"}


def test_building_is_linear():
    """Ten times the functions take about ten times as long, deep chains included."""

    def build(count: int) -> float:
        scope: dict = {}
        exec("\n".join(f"def f{i}({f'f{i - 1}' if i else ''}): return 1" for i in range(count)), scope)
        functions = [scope[f"f{i}"] for i in range(count)]
        begun = time.process_time()
        graph = Graph.from_functions(*functions)
        assert len(graph) == count
        return time.process_time() - begun

    small = min(build(2_000) for _ in range(3))
    assert min(build(20_000) for _ in range(2)) < small * 40
