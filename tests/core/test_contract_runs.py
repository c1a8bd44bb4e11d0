"""Contracts in runs: what each mode does to a table that does not keep to it, here and where a job runs."""

from __future__ import annotations

import pytest

from drawbar.errors import CheckError, ContractError, DefinitionError

PLACES = ["here", "worker"]
PAGES = """
import pandas as pd

@asset(contract=Contract({"url": Column("string", nullable=False), "score": "float64"}MODE)TARGET)
def pages(kind: str = "good") -> pd.DataFrame:
    _noted("pages")
    frame = pd.DataFrame({"url": ["a", "b", "c"], "score": [0.5, 1.0, 1.5]})
    if kind == "nulls":
        frame["url"] = ["a", None, "c"]
    if kind == "mixed":
        frame["score"] = pd.Series([0.5, "high", 1.5], dtype=object)
    if kind == "extra":
        frame["more"] = [1, 2, 3]
    if kind == "lacks":
        frame = frame.drop(columns="score")
    if kind == "none":
        return [1, 2]
    return frame

def rows(pages: pd.DataFrame) -> int:
    _noted("rows")
    return len(pages)
"""


def write(ground, place, mode="", text=PAGES):
    """The text with a mode, and a target unless it runs here."""
    target = "" if place == "here" else f', target="{place}"'
    ground.write(text.replace("MODE", f", {mode}" if mode else "").replace("TARGET", target))


@pytest.mark.parametrize("place", PLACES)
def test_freeze_refuses_what_does_not_fit(ground, place):
    """Nulls, other types, columns too many or too few, and what is no table: kept aside, nobody's input, told."""
    write(ground, place)
    assert ground.run().check()["rows"].value() == 3
    for kind, said in (
        ("nulls", "nulls in 1 of 3 rows"),
        ("mixed", "score"),
        ("extra", "no column of this name"),
        ("lacks", "no such column"),
        ("none", "a pandas or polars DataFrame"),
    ):
        result = ground.run(params={"kind": kind})
        assert {name: one.state for name, one in result.assets.items()} == {"pages": "failed", "rows": "blocked"}
        assert isinstance(result["pages"].error, CheckError)
        assert said in str(result["pages"].error)
        assert ground.called() == ["pages"]
    assert len(ground.store.rejected(result["pages"].key)) == 5
    assert len(ground.store.records(result["pages"].key)) == 1


@pytest.mark.parametrize("place", PLACES)
def test_discard_rows_drops_the_rows_that_do_not_fit(ground, place):
    """What is kept is what fits; how many were dropped is in the record; a table of none that fit is refused."""
    write(ground, place, 'mode="discard_rows"')
    for kind in ("nulls", "mixed"):
        result = ground.run(params={"kind": kind}).check()
        assert list(result["pages"].value()["url"]) == ["a", "c"]
        assert result["rows"].value() == 2
        assert result["pages"].rows == 2
        record = ground.store.lookup(result["pages"].key, result["pages"].version)
        assert record.checks[0]["details"]["rows_discarded"] == 1
    assert ground.run(params={"kind": "extra"})["pages"].state == "failed"


@pytest.mark.parametrize("place", PLACES)
def test_discard_columns_drops_the_column(ground, place):
    """A column too many is dropped; one of another type as well, with a warning that is kept."""
    write(ground, place, 'mode="discard_columns"')
    result = ground.run(params={"kind": "extra"}).check()
    assert list(result["pages"].value().columns) == ["url", "score"]
    result = ground.run(params={"kind": "mixed"}).check()
    assert list(result["pages"].value().columns) == ["url"]
    record = ground.store.lookup(result["pages"].key, result["pages"].version)
    assert [(one["column"], one["passed"], one["blocking"]) for one in record.checks] == [
        ("", True, True), ("score", False, False),
    ]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_evolve_lets_through_and_tells(ground, place):
    """A new column comes through; what is new stands in the record."""
    write(ground, place, 'mode="evolve"')
    result = ground.run(params={"kind": "extra"}).check()
    assert list(result["pages"].value().columns) == ["url", "score", "more"]
    record = ground.store.lookup(result["pages"].key, result["pages"].version)
    assert [one["column"] for one in record.checks] == ["", "more"]


def test_modes_can_differ_by_column_and_for_columns_unnamed(ground):
    """One column frozen, one that loses rows, and new ones accepted, in one contract."""
    write(ground, "here")
    ground.edit('"score": "float64"})', '"score": Column("float64", mode="discard_rows")}, extra="evolve")')
    assert ground.run(params={"kind": "extra"}).check()["rows"].value() == 3
    assert ground.run(params={"kind": "mixed"}).check()["rows"].value() == 2
    assert ground.run(params={"kind": "nulls"})["pages"].state == "failed"


def test_a_contract_that_changes_is_held_against_what_is_there(ground):
    """One that only judges is checked on the stored table, no function called; one that discards makes it anew."""
    write(ground, "here")
    ground.run().check()
    ground.edit('"score": "float64"', '"score": Column("float64", nullable=False)')
    assert ground.states() == {"pages": "reused", "rows": "reused"}
    assert ground.called() == []
    ground.edit('"url": Column("string", nullable=False)', '"url": "int64"')
    assert ground.states() == {"pages": "failed", "rows": "blocked"}
    assert ground.called() == []
    ground.edit('"url": "int64"', '"url": Column("string", mode="discard_rows")')
    assert ground.states() == {"pages": "made", "rows": "reused"}
    assert ground.called() == ["pages"]


@pytest.mark.parametrize("place", PLACES)
def test_each_partition_keeps_to_the_contract(ground, place):
    """One day that breaks it is refused alone."""
    write(
        ground,
        place,
        text="""
import pandas as pd

@asset(partitions=Daily("2024-01-01", "2024-01-04"), contract=Contract({"n": "int64"})TARGET)
def days(partition: Partition) -> pd.DataFrame:
    return pd.DataFrame({"n": ["x"] if partition.start.day == 2 else [1]})
""",
    )
    assert list(ground.states("days", partitions="all").values()) == ["made", "failed", "made"]


def test_what_is_expected_is_compared_when_the_graph_is_built(ground):
    """Where both sides are known, a column that is not promised is told before anything runs, with both places."""
    write(ground, "here")
    ground.edit(
        "def rows(pages",
        '@asset(expects={"pages": Contract({"score": "int64", "title": "string"})})\ndef rows(pages',
    )
    with pytest.raises(ContractError) as refused:
        ground.graph()
    assert refused.value.what == "rows expects of pages what its contract does not promise."
    assert "'score' is promised as float64, and int64 is expected" in refused.value.found
    assert "'title' is not promised" in refused.value.found
    assert "pipeline.py:" in refused.value.where


def test_what_is_expected_is_compared_with_a_contract_file_before_a_run(ground):
    """A contract that a person reviews in a file counts as one in code does."""
    text = PAGES.replace(
        '@asset(contract=Contract({"url": Column("string", nullable=False), "score": "float64"}MODE)TARGET)\n', ""
    )
    ground.write(text.replace("def rows", '@asset(expects={"pages": Contract({"title": "string"})})\ndef rows'))
    (ground.folder / "contracts").mkdir()
    (ground.folder / "contracts" / "pages.toml").write_text('extra = "freeze"\n[columns]\nurl = "string"\n')
    with pytest.raises(ContractError, match="does not promise"):
        ground.plan()
    assert ground.called() == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("option", ["", "persist=False, "])
def test_what_is_expected_is_compared_at_run_time(ground, place, option):
    """Where no contract says what comes, the record of the input does: a consumer that lacks a column is not called."""
    write(
        ground,
        place,
        text=f"""
import pandas as pd

@asset(version="1"TARGET)
def pages(names: tuple) -> pd.DataFrame:
    return pd.DataFrame({{name: [1] for name in names}})

@asset({option}expects={{"pages": Contract({{"n": Column("int64", nullable=False)}}, extra="evolve")}}TARGET)
def rows(pages: pd.DataFrame) -> int:
    _noted("rows")
    return len(pages)

@asset(version="1")
def below(rows: int) -> int:
    return rows
""",
    )
    assert ground.run(params={"names": ("n", "m")}).check()["below"].value() == 1
    bad = ground.run(params={"names": ("m",)})
    assert bad["pages"].state == "made"
    assert isinstance(bad["rows"].error, ContractError)
    assert "column 'n' is not there, and int64 is expected" in bad["rows"].error.found
    assert bad["below"].state in {"blocked", "failed"}
    assert ground.called() == []


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("[columns\nurl = 1", "A contract is not TOML", 1),
        ('mode = "freze"\n[columns]\nurl = "string"', "did you mean 'freeze'", 1),
        ('mode = "freeze"\n\n[columns]\nurl = "strnig"', "did you mean 'string'", 4),
        ("[columns]\nurl = 7", "write the type's name in quotes", 2),
        ('mode = "freeze"', "names no columns", None),
        ('[columns]\nurl = "string"\nurl = "int64"', "not TOML", 3),
        ('[columns]\nurl = { type = "string", nulls = false }', "'nulls' is no key of a column", 2),
        ("", "names no columns", None),
        ("\0", "A contract is not TOML", 1),
        ("\xff", "cannot be read", None),
    ],
)
def test_a_contract_file_edited_into_nonsense_stops_everything_at_once(ground, text, said, line):
    """Nothing runs with a contract that says nothing: the file and its line are named, in a run, a plan and a graph."""
    ground.write(
        "import pandas as pd\n\ndef pages() -> pd.DataFrame:\n    _noted('pages')\n    return pd.DataFrame({'url': ['a']})\n"
    )
    (ground.folder / "contracts").mkdir()
    file = ground.folder / "contracts" / "pages.toml"
    file.write_text(text, encoding="latin-1")
    for ask in (ground.run, ground.plan):
        with pytest.raises(ContractError) as refused:
            ask()
        assert said in str(refused.value)
        assert refused.value.where.startswith(str(file))
        assert line is None or refused.value.where.endswith(f"toml:{line}")
    assert ground.called() == []
    file.write_text('[columns]\nurl = "string"\n')
    assert ground.states() == {"pages": "made"}
    file.write_text('[columns]\nurl = "int64"\n')
    assert ground.states() == {"pages": "failed"}


def test_a_contract_file_that_is_named_must_be_there(ground):
    """`contract="…"` without the file is no contract at all, and says which command writes it."""
    write(
        ground,
        "here",
        text=PAGES.replace('Contract({"url": Column("string", nullable=False), "score": "float64"}MODE)', '"no.toml"'),
    )
    with pytest.raises(ContractError, match="drawbar freeze pages"):
        ground.run()
    with pytest.raises(DefinitionError, match="is no type of a column"):
        write(ground, "here", text="@asset(contract=Contract({'a': 'strin'}))\ndef pages() -> int: ...\n")
        ground.graph()
