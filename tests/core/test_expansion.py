"""Expansion: one function as many assets, and several assets out of one call."""

from __future__ import annotations

import json

import pytest

from drawbar.errors import DrawbarError, DuplicateAssetError, OptionError, TypeMismatchError, UnknownAssetError

PLACES = ["here", "worker"]
MODELS = """
def texts() -> list[str]:
    return ["a", "bb"]

@expand(model=["small", "large"], scale={"half": 0.5, "full": 1.0})
@asset(TARGET)
def vectors(texts: list[str], model: str, scale: float, power: int = 1) -> list[float]:
    _noted(f"{model}-{scale}")
    return [len(model) * scale**power * len(one) for one in texts]

@asset(TARGET)
def compared(vectors: dict[str, list[float]]) -> dict[str, float]:
    _noted("compared")
    return {name: sum(rows) for name, rows in vectors.items()}

def one(vectors_small_half: list[float]) -> float:
    return sum(vectors_small_half)
"""


def write(ground, place, text=MODELS):
    """The text, on a target unless it runs here."""
    target = "" if place == "here" else f'target="{place}"'
    ground.write(text.replace(", TARGET", f", {target}" if target else "").replace("TARGET", target))


@pytest.mark.parametrize("place", PLACES)
def test_one_function_is_an_asset_for_each_combination(ground, place):
    """Each is named by its values and made by itself; the function's own name takes them all, in their order."""
    write(ground, place)
    result = ground.run().check()
    assert list(result["compared"].value().items()) == [
        ("small_half", 7.5), ("small_full", 15.0), ("large_half", 7.5), ("large_full", 15.0),
    ]  # fmt: skip
    assert result["one"].value() == 7.5
    assert str(result["vectors_large_full"].key) == "g/vectors_large_full"
    assert ground.called() == ["compared", "large-0.5", "large-1.0", "small-0.5", "small-1.0"]
    assert ground.states("one") == {"texts": "reused", "vectors_small_half": "reused", "one": "reused"}


def test_the_name_of_the_function_means_all_its_variants(ground):
    """Wanted, forced, planned: what a person wrote is one function, and its variants' names are hardly theirs."""
    write(ground, "here")
    names = ["vectors_small_half", "vectors_small_full", "vectors_large_half", "vectors_large_full"]
    assert list(ground.run("vectors").check().assets) == ["texts", *names]
    assert list(ground.plan("g/vectors").decisions) == ["texts", *names]
    states = ground.states("vectors", "one", force=["vectors"])
    assert states == {"texts": "reused", **dict.fromkeys(names, "made"), "one": "made"}
    assert ground.called() == ["large-0.5", "large-1.0", "small-0.5", "small-1.0"]
    ground.states(force=["vectors_small_half"])
    assert ground.called() == ["compared", "small-0.5"]
    with pytest.raises(UnknownAssetError, match="vector"):
        ground.run("vector")


def test_an_input_may_be_renamed_to_all_variants(ground):
    """`inputs=` takes the function's name, also for a parameter that is called like another asset."""
    write(ground, "here")
    ground.edit(
        "def one(",
        '@asset(inputs={"texts": "vectors"})\ndef many(texts: dict) -> int:\n    return len(texts)\n\ndef one(',
    )
    assert ground.run("many").check()["many"].value() == 4


def test_a_new_value_makes_one_more(ground):
    """A value that is added makes its own assets, and what takes all; a value that is changed only its own."""
    write(ground, "here")
    ground.run().check()
    ground.edit('{"half": 0.5, "full": 1.0}', '{"half": 0.5, "full": 2.0}')
    ground.run().check()
    assert ground.called() == ["compared", "large-2.0", "small-2.0"]
    ground.edit('["small", "large"]', '["small", "large", "huge"]')
    ground.run().check()
    assert ground.called() == ["compared", "huge-0.5", "huge-2.0"]


def test_a_parameter_of_the_run_reaches_all_and_a_fixed_one_none(ground):
    """What an expansion fixes is no run parameter any more; the others are one for all."""
    write(ground, "here")
    assert ground.run("one", params={"power": 2})["one"].value() == 3.75
    with pytest.raises(DrawbarError, match="model"):
        ground.run("one", params={"model": "tiny"})


def test_configuration_of_the_family_and_of_a_variant(ground):
    """A table for the function counts for all its variants, one for a variant goes over it."""
    write(ground, "here")
    ground.configure('[assets.vectors]\nretries = 2\ntags = ["all"]\n[assets.vectors_large_full]\nretries = 5\n')
    found = ground.graph().assets
    assert [found[f"vectors_{name}"].options.retries for name in ("small_half", "large_full")] == [2, 5]
    assert found["vectors_large_full"].options.tags == ("all",)
    ground.configure("[assets.vectors_tiny]\nretries = 2\n")
    with pytest.raises(UnknownAssetError, match="vectors_tiny"):
        ground.graph()


def test_a_variant_that_fails_stops_only_what_takes_it(ground):
    """The other variants are kept, and what takes all of them says which one it lacks."""
    write(ground, "here")
    ground.edit('    _noted(f"{model}-{scale}")\n', "    assert (model, scale) != ('large', 0.5)\n")
    result = ground.run()
    assert result.counts == {"made": 5, "failed": 1, "blocked": 1}
    assert "vectors_large_half" in result["compared"].reason


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("@expand(x=['a b', 'a-b'])\ndef f(x: str) -> int: ...", OptionError, "would have one name"),
        ("@expand(x=['a_b', 'a'], y=['c', 'b_c'])\ndef f(x: str, y: str) -> int: ...", OptionError, "would have one name"),
        ("@expand(x=['', 'b'])\ndef f(x: str) -> int: ...", OptionError, "or one that no asset can have"),
        ("@expand(x={'a-b': 1})\ndef f(x: str) -> int: ...", OptionError, "name them"),
        ("@expand(y=['a'])\ndef f(x: str) -> int: ...", OptionError, "expanded by 'y', which it does not take"),
        ("@expand(x=['a'])\ndef f(x: str) -> int: ...\ndef f_a() -> int: ...", DuplicateAssetError, "'f_a'"),
        ("@expand(x=['a'])\ndef f(x: str) -> int: ...\ndef g(f: int) -> int: ...", TypeMismatchError, "takes many variants of f"),
        ("@expand(x=['a'])\ndef f(x: str) -> int: ...\ndef g(f: dict[str, str]) -> int: ...", TypeMismatchError, "f"),
        ("@expand(x=[])\ndef f(x: str) -> int: ...", DrawbarError, "with at least one"),
        ("@expand(x='ab')\ndef f(x: str) -> int: ...", DrawbarError, "a list of values"),
        ("@expand()\ndef f(x: str) -> int: ...", DrawbarError, "@expand needs a parameter"),
        (
            ("@expand(x=['a'])\n@asset(partitions=Static(['k']))\ndef f(x: str) -> int: ...\n"
            "def g(f: dict[str, int]) -> int: ..."),
            DrawbarError, "many partitions of all variants",
        ),
    ],
)  # fmt: skip
def test_expansions_that_cannot_be_are_refused(ground, text, error, said):
    """Names that would meet, a parameter that is not there, a consumer that takes one where there are many."""
    ground.write(text + "\n")
    with pytest.raises(error) as refused:
        ground.graph()
    assert said in str(refused.value)
    assert "pipeline.py:" in str(refused.value)


def test_an_expanded_function_may_have_partitions(ground):
    """Each variant at each of its partitions; one partition of all variants is a dict by variant."""
    ground.write(
        """
@expand(model=["a", "b"])
@asset(partitions=Static(["x", "y"]))
def part(model: str, partition: Partition) -> str:
    return model + partition.key

@asset(partitions=Static(["x", "y"]))
def both(part: dict[str, str]) -> dict[str, str]:
    return part
"""
    )
    assert ground.run("both@y").check()["both@y"].value() == {"a": "ay", "b": "by"}


SPLIT = """
from typing import NamedTuple, TypedDict

class Halves(NamedTuple):
    left: list[int]
    right: str

def numbers(count: int = 4) -> list[int]:
    return list(range(count))

@asset(outputs=NAMES, TARGET)
def split(numbers: list[int]) -> KIND:
    _noted("split")
    return MADE

def below(left: list[int]) -> int:
    _noted("below")
    return sum(left)
"""
WAYS = {
    "tuple": ('["left", "right"]', "tuple[list[int], str]", 'numbers[:2], "r"'),
    "dict": ('["left", "right"]', "dict[str, object]", '{"right": "r", "left": numbers[:2], "other": 3}'),
    "named": ('["right", "left"]', "Halves", 'Halves(numbers[:2], "r")'),
    "plain": ('["left", "right"]', "object", '[numbers[:2], "r"]'),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
def test_one_call_makes_several_assets(ground, place, way):
    """Each output is an asset with a record of its own, from a tuple by place, from a dict or NamedTuple by name."""
    names, kind, made = WAYS[way]
    write(ground, place, SPLIT.replace("NAMES", names).replace("KIND", kind).replace("MADE", made))
    if kind == "dict[str, object]":
        ground.edit("left: list[int]) -> int:", "left) -> int:")
    if kind == "object":
        ground.edit("-> object:", "-> list:")
    result = ground.run().check()
    assert (result["left"].value(), result["right"].value(), result["below"].value()) == ([0, 1], "r", 1)
    assert ground.called() == ["below", "split"]
    assert ground.files("g/left/records/*.json")
    assert not ground.files("g/split/records/*.json")
    assert set(ground.states().values()) == {"reused", "skipped"}
    assert ground.called() == []


def test_an_output_that_comes_out_the_same_stops_there(ground):
    """The call is made again, and of its outputs only what changed reaches what is below."""
    names, kind, made = WAYS["tuple"]
    write(ground, "here", SPLIT.replace("NAMES", names).replace("KIND", kind).replace("MADE", made))
    ground.run().check()
    ground.edit('numbers[:2], "r"', 'numbers[:2], "other"')
    result = ground.run().check()
    assert result["right"].value() == "other"
    assert ground.called() == ["split"]
    assert result["below"].state == "reused"


def test_options_and_checks_of_single_outputs(ground):
    """A path, a check and a contract belong to one output; one that is refused keeps the other from nobody."""
    names = '{"left": {"path": "out/left.json", "checks": [lambda rows: len(rows) > 2]}, "right": {"format": "pickle"}}'
    write(
        ground,
        "here",
        SPLIT.replace("NAMES", names).replace("KIND", "tuple[list[int], str]").replace("MADE", 'numbers[:2], "r"'),
    )
    result = ground.run()
    assert {name: one.state for name, one in result.assets.items()} == {
        "numbers": "made", "split": "made", "left": "failed", "right": "made", "below": "blocked",
    }  # fmt: skip
    assert "left failed its check check_1" in result["left"].error.what
    assert not (ground.folder / "out").exists()
    assert ground.store.latest(result["right"].key).format == "pickle"
    ground.edit("numbers[:2]", "numbers[:3]")
    assert ground.run().ok
    assert json.loads((ground.folder / "out" / "left.json").read_text()) == [0, 1, 2]


@pytest.mark.parametrize("place", PLACES)
def test_an_output_that_is_not_there_fails_alone(ground, place):
    """A dict without a name fails that output and says what it has; too few values fail all of them."""
    write(
        ground,
        place,
        SPLIT.replace("NAMES", '["left", "right"]').replace("-> KIND", "").replace("MADE", '{"left": [1]}'),
    )
    result = ground.run()
    assert (result["left"].state, result["below"].value(), result["right"].state) == ("made", 1, "failed")
    assert "What was made has no output 'right'" in str(result["right"].error)
    assert "keys 'left'" in result["right"].error.found
    ground.edit('{"left": [1]}', "([1], 2, 3)")
    result = ground.run()
    assert (result["left"].state, result["right"].state, result["below"].state) == ("failed", "failed", "blocked")
    assert "3 values" in result["left"].error.found


def test_outputs_have_the_partitions_of_the_call(ground):
    """Each output of each day is an asset of its own."""
    ground.write(
        """
@asset(outputs=["low", "high"], partitions=Static(["a", "b"]))
def both(partition: Partition) -> tuple[str, str]:
    _noted(partition.key)
    return partition.key, partition.key.upper()

def all_high(high: dict[str, str]) -> list[str]:
    return list(high.values())
"""
    )
    assert ground.run("high@a").check()["high@a"].value() == "A"
    assert ground.called() == ["a"]
    assert ground.run("all_high").check()["all_high"].value() == ["A", "B"]
    assert ground.called() == ["b"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ('outputs=["left", "split"]', "The output 'split' of split cannot be so"),
        ('outputs=["left", "below"]', "Two assets are named 'below'"),
        ('outputs={"left": {"target": "gpu"}}', "The output 'left' of split cannot be so"),
        ('outputs={"left": {"pth": "x"}}', "'pth' is not an option"),
        ('outputs=["left", "right"], path="x.json"', "cannot take the option 'path' itself"),
        ('outputs=["le ft"]', "cannot be the name of an asset"),
        ("outputs=[1]", "texts only"),
    ],
)  # fmt: skip
def test_outputs_that_cannot_be_are_refused(ground, options, said):
    """Names that are taken, options that belong to the call: told when the graph is built, with file and line."""
    ground.write(f"@asset({options})\ndef split() -> dict: ...\n\ndef below() -> int: ...\n")
    with pytest.raises(DrawbarError) as refused:
        ground.graph()
    assert said in str(refused.value)
    assert "pipeline.py:" in str(refused.value)
