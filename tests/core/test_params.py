"""Run parameters: read as their annotations say, and refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from drawbar import Graph, params
from drawbar.errors import ParameterError


def one(
    url: str,
    depth: int = 1,
    rate: float = 0.5,
    deep: bool = False,  # noqa: FBT001, FBT002
    words: list[str] | None = None,
    mode: Literal["fast", "slow"] = "fast",
    out: Path = Path(),
    password: str = "",
): ...


GRAPH = Graph.from_functions(one)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("url", "123", "123"),
        ("depth", "7", 7),
        ("rate", "2", 2.0),
        ("deep", "yes", True),
        ("words", '["a", "b"]', ["a", "b"]),
        ("words", "null", None),
        ("mode", "slow", "slow"),
        ("out", "a/b", Path("a/b")),
        ("unknown", "x", "x"),
    ],
)
def test_text_is_read_as_the_annotation_says(name, text, value):
    """A command line's text becomes what the function expects."""
    assert params.from_text(GRAPH, {name: text})[name] == value


@pytest.mark.parametrize(("name", "text"), [("depth", "x"), ("deep", "maybe"), ("words", "[a"), ("mode", "medium")])
def test_text_that_cannot_be_read_is_refused(name, text):
    """The error says the type and what was written."""
    with pytest.raises(ParameterError, match=f"Parameter '{name}' of one cannot be read") as refused:
        params.from_text(GRAPH, {name: text})
    assert refused.value.found == repr(text)


def test_a_missing_parameter_says_who_needs_it():
    """The error names the asset, its line, the type, and how to give it."""
    with pytest.raises(ParameterError, match="Parameter 'url' of one has no value") as refused:
        params.check(GRAPH, ["one"], {}, {})
    assert refused.value.expected == "url: str"
    assert "--param url=" in refused.value.todo
    assert refused.value.where.startswith(__file__)


def test_an_unknown_parameter_gets_the_closest_name():
    """A slip is answered; an asset's name given as a parameter is called what it is."""
    with pytest.raises(ParameterError, match="No asset takes a parameter 'depht'") as refused:
        params.check(GRAPH, ["one"], {"url": "x", "depht": 1}, {})
    assert refused.value.todo == "did you mean 'depth'?"
    with pytest.raises(ParameterError, match="'one' is an asset"):
        params.check(GRAPH, ["one"], {"url": "x", "one": 1}, {})


def test_a_value_of_the_wrong_type_is_refused_and_a_secret_not_shown():
    """The error says what came; of a secret only its type."""
    with pytest.raises(ParameterError) as refused:
        params.check(GRAPH, ["one"], {"url": "x", "depth": "deep"}, {})
    assert (refused.value.expected, refused.value.found) == ("int", "'deep' (str)")
    with pytest.raises(ParameterError) as refused:
        params.check(GRAPH, ["one"], {"url": "x", "password": 12345}, {})
    assert "12345" not in str(refused.value)


def test_configuration_gives_defaults_and_the_caller_wins():
    """A parameter of the project need not be typed every time."""
    assert params.check(GRAPH, ["one"], {"depth": 3}, {"url": "u", "depth": 2}) == {"url": "u", "depth": 3}
