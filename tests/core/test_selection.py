"""The selection: which units a text means, in which order, and what each is made from; nothing is run for it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from drawbar.errors import DefinitionError, OptionError, PartitionError, TypeMismatchError, UnknownAssetError
from drawbar.selection import select

SITE = """
def config() -> int:
    return 1

@asset(partitions=Daily("2024-01-01"))
def pages(config: int) -> int:
    return 1

@asset(partitions=Daily("2024-01-03"))
def vectors(pages: int) -> int:
    return 1

@asset(partitions=Static(["eu", "us"]))
def regions() -> int:
    return 1

@asset(partitions=Dynamic("customers"))
def bills(partition: Partition) -> str:
    return partition.key

def total(vectors: dict[str, int], bills: dict[str, str]) -> int:
    return len(vectors) + len(bills)
"""
NOW = datetime(2024, 1, 6, 12, tzinfo=UTC)


@pytest.fixture
def units(ground):
    """Select in the site, as of noon on 6 January 2024; the customers are acme and zeta."""
    ground.write(SITE)

    def chosen(wanted=None, partitions=None, members=("acme", "zeta"), now=NOW):
        return select(ground.graph(), wanted, partitions, lookup=lambda name: members, now=now)

    return chosen


def test_a_unit_brings_what_it_is_made_from(units):
    """The unit wanted, the same day of its input, and the unpartitioned one above both, in dependency order."""
    assert list(units(["vectors@2024-01-04"])) == ["config", "pages@2024-01-04", "vectors@2024-01-04"]


def test_order_is_that_of_the_definition_whatever_was_asked_first(units):
    """Days come in the order of time and each once, also where they were named backwards and twice."""
    found = list(units(["pages"], ["2024-01-05", "2024-01-02..2024-01-03", "2024-01-02"]))
    assert found == ["config", "pages@2024-01-02", "pages@2024-01-03", "pages@2024-01-05"]


def test_open_ranges_latest_and_all(units):
    """A range may be open at either end; `latest` is the last window that has ended; `all` every one."""
    assert list(units(["pages"], "..2024-01-02"))[1:] == ["pages@2024-01-01", "pages@2024-01-02"]
    assert list(units(["pages"], "2024-01-04.."))[1:] == ["pages@2024-01-04", "pages@2024-01-05"]
    assert list(units(["pages"], "latest"))[1:] == ["pages@2024-01-05"]
    assert len(units(["pages"], "all")) == 1 + 5


def test_now_counts_for_all_of_it(units):
    """What is asked for as of a moment to come is chosen as of then, not refused half-way by today's clock."""
    later = units(["vectors"], "latest", now=datetime(2199, 1, 2, tzinfo=UTC))
    assert list(later) == ["config", "pages@2199-01-01", "vectors@2199-01-01"]
    assert later["vectors@2199-01-01"].partition.start == datetime(2199, 1, 1, tzinfo=UTC)


def test_an_unpartitioned_asset_takes_all(units):
    """A total brings every partition of its inputs, a mapping from each key to its unit."""
    found = units(["total"])
    assert found["total"].feeds["vectors"].labels == ("2024-01-03", "2024-01-04", "2024-01-05")
    assert found["total"].feeds["bills"].units == ("bills@acme", "bills@zeta")
    assert "pages@2024-01-01" not in found
    assert units(["total"], members=())["total"].feeds["bills"].labels == ()


def test_without_names_partitions_mean_the_assets_that_have_them(units):
    """`drawbar run --partition KEY` makes that key of every asset that has it, and nothing of the others."""
    assert list(units(None, "eu")) == ["regions@eu"]
    assert list(units(None, "acme")) == ["bills@acme"]
    day = units(None, "2024-01-02")
    assert list(day) == ["config", "pages@2024-01-02"]  # the vectors begin a day later
    with pytest.raises(PartitionError):
        units(None, "2099-01-01")


def test_single_units_can_be_named_beside_a_choice_for_the_others(units):
    """A key behind `@` counts for that asset, `--partition` for those without one."""
    found = units(["pages@2024-01-01", "vectors"], "2024-01-03")
    assert list(found) == ["config", "pages@2024-01-01", "pages@2024-01-03", "vectors@2024-01-03"]


@pytest.mark.parametrize(
    ("wanted", "partitions", "said"),
    [
        (["vectors"], "2024-01-02", "it lies before the first one"),
        (["pages"], "2024-01-06", "which is still to come"),
        (["pages"], "2024-01-05T00:00", "did you mean '2024-01-05'"),
        (["bills"], "acm", "did you mean 'acme'"),
        (["regions"], "2024-01-01", "one of 'eu', 'us'"),
        (["regions"], "us..eu", "runs backwards"),
        (["config"], "eu", "Nothing that is wanted has partitions"),
        (["config@eu"], None, "Nothing that is wanted has partitions"),
        (["config@eu", "pages"], "all", "config has no partitions"),
        (["pages", "regions"], "eu", "'eu' is no partition of: daily"),
        (["pages@"], None, "'' is no partition of"),
        (["pages"], 5, "5 is no partition of"),
    ],
)
def test_what_does_not_exist_is_said(units, wanted, partitions, said):
    """Each wrong choice has a message that names it, and where the asset is defined."""
    with pytest.raises(PartitionError) as refused:
        units(wanted, partitions if isinstance(partitions, (str, type(None))) else [partitions])
    assert said in str(refused.value)


def test_a_name_that_is_none_is_refused_with_the_closest(units):
    """Also with a partition behind it."""
    with pytest.raises(UnknownAssetError, match="did you mean 'pages'"):
        units(["pagse@2024-01-02"])


def test_an_empty_set_says_that_it_is_empty(units):
    """Nobody wonders why nothing is made: the set has no key yet."""
    with pytest.raises(PartitionError, match="it holds no key yet"):
        units(["bills"], "all", members=())


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (
            "@asset(partitions=Static(['a']), path='out/one.json')\ndef x() -> int: ...",
            OptionError, "would all be published to one path",
        ),
        ("x = Source('in.txt', partitions=Static(['a']))", OptionError, "would all be read from one path"),
        ("def x(partition: Partition) -> int: ...", OptionError, "x takes a Partition and has no partitions"),
        ("@asset(outputs=['y', 'y'])\ndef x(): ...", DefinitionError, "'outputs' names an output twice"),
        ("@asset(partitions='daily')\ndef x() -> int: ...", DefinitionError, "'partitions' has the wrong type"),
        (
            "@asset(partitions=Static(['a']), mappings={'y': Last(2)})\ndef x() -> int: ...",
            OptionError, "sets 'mappings' for 'y', which it does not take",
        ),
        ("def y() -> int: ...\n@asset(mappings={'y': Last(2)})\ndef x(y: int) -> int: ...", PartitionError, "which has none"),
        (
            ("@asset(partitions=Static(['a']))\ndef y() -> int: ...\n"
            "@asset(partitions=Static(['a']), mappings={'y': Last(2)})\ndef x(y: int) -> int: ..."),
            TypeMismatchError, "takes many partitions of y",
        ),
        (
            "@asset(partitions=Static(['a']))\ndef y() -> str: ...\ndef x(y: dict[str, int]) -> int: ...",
            TypeMismatchError, "cannot take what y makes",
        ),
        (
            ("@asset(partitions=Static(['a']))\ndef y() -> int: ...\n"
            "@asset(partitions=Static(['a']), mappings={'y': 'same'})\ndef x(y: int) -> int: ..."),
            PartitionError, "is not a mapping of partitions",
        ),
        (
            ("@asset(partitions=Daily('2024-01-01'))\ndef y() -> int: ...\n"
            "@asset(partitions=Multi(a=Static(['a']), b=Static(['b'])))\ndef x(y: int) -> int: ..."),
            PartitionError, "they share no dimension",
        ),
        (
            ("@asset(partitions=Static(['a', 'b']))\ndef y() -> int: ...\n"
            "@asset(partitions=Static(['a', 'c']))\ndef x(y: int) -> int: ..."),
            PartitionError, "their keys are not the same",
        ),
    ],
)  # fmt: skip
def test_definitions_that_cannot_be_are_refused_when_the_graph_is_built(ground, text, error, said):
    """No run is needed to learn of a mapping, a path or an annotation that does not fit; file and line are named."""
    ground.write(text + "\n")
    with pytest.raises(error) as refused:
        ground.graph()
    assert said in str(refused.value)
    assert "pipeline.py:" in str(refused.value)


def test_paths_are_checked_before_anything_runs(ground):
    """Two days that would be published to one file, and names in braces that no partition has, are refused at once."""
    ground.write(
        "@asset(partitions=Daily('2024-01-01', '2024-01-03'), path='out/{start:%Y}.json')\n"
        "def days() -> int:\n    return 1\n\n"
        "@asset(partitions=Static(['a']), path='out/{start:%Y}.json')\n"
        "def texts() -> int:\n    return 1\n\n"
        "files = Source('in/{day}.txt', partitions=Static(['a']))\n\n"
        "def use(files: dict[str, str]) -> int:\n    return 1\n"
    )
    with pytest.raises(OptionError, match="days@2024-01-01 and days@2024-01-02 would be published to one path"):
        ground.run("days", partitions="all")
    for wanted in ("texts@a", "use"):
        with pytest.raises(OptionError, match="cannot be filled in for partition a") as refused:
            ground.plan(wanted)
        assert "pipeline.py:" in refused.value.where


@pytest.mark.parametrize("key", ["a/b", "..x"[1:], ".", "ü @ %", "a@b", "CON", "x" * 200])
def test_keys_of_any_text_find_their_way(ground, key):
    """A key with slashes, signs or dots has a folder and a copy of its own, and is found again by its name."""
    ground.write(
        f"@asset(partitions=Static([{key!r}, 'other']), path='out/{{partition}}.json')\n"
        "def text(partition: Partition) -> str:\n    return partition.key\n\n"
        "def joined(text: dict[str, str]) -> dict[str, str]:\n    return text\n"
    )
    assert ground.run("joined").check()["joined"].value() == {key: key, "other": "other"}
    assert ground.states(f"text@{key}") == {f"text@{key}": "reused"}
    assert len(list((ground.folder / "out").iterdir())) == 2
    assert set(ground.store.partitions(ground.graph().key("text"))) == {key, "other"}
