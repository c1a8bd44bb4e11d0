"""`drawbar freeze`: the contract that a person reviews, out of what was made last."""

from __future__ import annotations

import json
import re

import pytest

from drawbar.contracts import Column, load

TABLES = '''
import pandas as pd
from drawbar import asset

def pages() -> pd.DataFrame:
    """Some pages."""
    return pd.DataFrame({"url": ["a", "b"], "score": [0.5, 1.0]})

def total(pages: pd.DataFrame) -> int:
    return len(pages)
'''


@pytest.fixture
def tables(folder, call):
    """The project with a table instead of its numbers, made once."""
    (folder / "pipeline.py").write_text(TABLES)
    assert call("run", "--target", "here", "--no-lineage").exit_code == 0
    return folder


def again(call, folder, old, new):
    """Edit the pipeline and make it anew."""
    import sys

    file = folder / "pipeline.py"
    file.write_text(file.read_text().replace(old, new))
    sys.modules.pop("pipeline", None)
    return call("run", "--target", "here", "--no-lineage")


def test_the_file_says_what_was_made(call, tables):
    """A contract would have to be written by hand, from what a table seems to be."""
    done = call("freeze", "pages")
    file = tables / "contracts" / "pages.toml"
    assert done.exit_code == 0
    assert done.stdout == f"+ url  string\n+ score  float64\ndemo/pages: 2 columns, frozen into {file}\n"
    text = file.read_text()
    assert re.search(r"^# Frozen from version [0-9a-f]{12}, made \d{4}-\d\d-\d\d \d\d:\d\d UTC\.$", text, re.MULTILINE)
    assert text.endswith('\nmode = "freeze"\n\n[columns]\nurl = "string"\nscore = "float64"\n')
    assert load(file).columns == {"url": Column("string"), "score": Column("float64")}


def test_freezing_twice_changes_nothing(call, tables):
    """A reviewed file would get a new date for nothing."""
    call("freeze", "pages")
    file = tables / "contracts" / "pages.toml"
    file.write_text(file.read_text() + "# reviewed\n")
    done = call("freeze", "pages", "--force")
    assert done.exit_code == 0
    assert done.stdout == f"demo/pages: 2 columns, nothing has changed in {file}\n"
    assert file.read_text().endswith("# reviewed\n")


def test_a_file_that_says_otherwise_is_replaced_only_by_force(call, tables):
    """What a person reviewed would be lost to a slip; and what they decided, to `--force`."""
    file = tables / "kept.toml"
    file.write_text(
        'extra = "evolve"\n[columns]\nold = "int64"\nscore = {type = "int64", nullable = false}\nurl = "string"\n'
    )
    done = call("freeze", "pages", "--output", "kept.toml")
    assert done.exit_code == 2
    assert done.stdout == "- old  int64\n~ score  int64 → float64\n"
    assert "kept.toml says otherwise, and is not replaced." in done.stderr
    assert "`--force` replaces it" in done.stderr
    assert load(file).columns["old"].type == "int64"
    forced = call("freeze", "pages", "--output", "kept.toml", "--force", "--mode", "discard_rows")
    assert forced.exit_code == 0
    assert "~ mode of the table  freeze → discard_rows\n" in forced.stdout
    now = load(file)
    assert (now.mode, now.extra, list(now.columns)) == ("discard_rows", "evolve", ["score", "url"])
    assert now.columns["score"] == Column("float64", nullable=False)


def test_programs_get_the_difference_as_json(call, tables):
    """A check in CI that the contract is up to date would have to read a table."""
    first = json.loads(call("freeze", "pages", "--json").stdout)
    assert (first["key"], first["written"], first["added"]) == (
        "demo/pages",
        True,
        {"url": "string", "score": "float64"},
    )
    (tables / "contracts" / "pages.toml").write_text('[columns]\nurl = "int64"\n')
    second = call("freeze", "pages", "--json")
    told = json.loads(second.stdout)
    assert second.exit_code == 2
    assert (told["written"], told["added"], told["changed"]) == (
        False, {"score": "float64"}, {"url": ["int64", "string"]},
    )  # fmt: skip


def test_nonsense_in_the_file_is_told_and_replaced_by_force(call, tables):
    """A file that was edited into nonsense could never be frozen again."""
    file = tables / "pages.toml"
    file.write_text('[columns]\nurl = "sting"\n')
    done = call("freeze", "pages", "--output", "pages.toml")
    assert done.exit_code == 2
    assert "column 'url': 'sting' is no type of a column." in done.stderr
    assert "pages.toml:2" in done.stderr
    assert call("freeze", "pages", "--output", "pages.toml", "--force").exit_code == 0
    assert list(load(file).columns) == ["url", "score"]


def test_what_has_no_name_or_no_value_is_frozen_as_any(call, tables):
    """The first value in a column that was empty so far would break the contract."""
    again(
        call,
        tables,
        '"score": [0.5, 1.0]',
        '"score": [None, None], "month": pd.period_range("2026-01", periods=2, freq="M")',
    )
    call("freeze", "pages")
    text = (tables / "contracts" / "pages.toml").read_text()
    assert 'score = "any"  # no value in it yet\n' in text
    assert 'month = "any"  # period[M], which has no name of its own\n' in text


def test_what_the_contract_rejected_can_be_frozen(call, tables):
    """Whoever accepts a change that broke the contract would have to write it into the file by hand."""
    call("freeze", "pages")
    broken = again(call, tables, '"score": [0.5', '"lang": ["x", "y"], "score": [0.5')
    assert broken.exit_code == 1
    assert "'lang' does not fit" in broken.stderr
    assert call("freeze", "pages", "--force").stdout.startswith("+ lang  string\n")
    assert again(call, tables, "", "").exit_code == 0


def test_the_file_that_the_asset_names_is_the_one(call, tables):
    """The contract that counts would stay as it is, and another be written."""
    again(call, tables, "def pages", '@asset(contract="kept/them.toml")\ndef pages')
    assert call("freeze", "pages").exit_code == 0
    assert list(load(tables / "kept" / "them.toml").columns) == ["url", "score"]


def test_a_contract_in_code_is_not_frozen_over(call, tables):
    """A file would be written that nobody reads."""
    again(
        call,
        tables,
        "def pages",
        'from drawbar import Contract\n@asset(contract=Contract({"url": "string"}, extra="evolve"))\ndef pages',
    )
    done = call("freeze", "pages")
    assert done.exit_code == 2
    assert "The contract of demo/pages stands in the code" in done.stderr
    assert call("freeze", "pages", "--output", "out.toml").exit_code == 0


@pytest.mark.parametrize(
    ("words", "said", "todo"),
    [
        (("total",), "demo/total has no columns to freeze.", "expected: pandas.DataFrame or polars.DataFrame or pyarrow.Table"),
        (("pagse",), "demo/pagse was never made", "do: did you mean 'pages'?"),
        (("pages", "--output", "pipeline.py/x.toml"), "cannot be written.", "do: name another place with --output"),
    ],
)  # fmt: skip
def test_what_cannot_be_frozen_says_why(call, tables, words, said, todo):
    """A person would be left with a file that is not there, or half of one."""
    done = call("freeze", *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert todo in done.stderr


def test_an_asset_that_was_never_made_says_how_to_make_it(call, folder):
    """A new user freezes before the first run."""
    (folder / "pipeline.py").write_text(TABLES)
    done = call("freeze", "pages")
    assert done.exit_code == 2
    assert "do: `drawbar run pages` makes it" in done.stderr


def test_the_partition_that_was_made_last_is_frozen_or_the_one_that_is_named(call, folder):
    """An asset in partitions would have no contract, or one for each."""
    (folder / "pipeline.py").write_text(
        "import pandas as pd\nfrom drawbar import Partition, Static, asset\n"
        '@asset(partitions=Static(["b", "a"]))\ndef pages(partition: Partition) -> pd.DataFrame:\n'
        '    return pd.DataFrame({"url": ["x"], partition.key: [1]})\n'
    )
    for key in ("b", "a"):
        assert call("run", "--target", "here", "--no-lineage", "--partition", key).exit_code == 0
    assert call("freeze", "pages").stdout.startswith("+ url  string\n+ a  int64\n")
    file = folder / "contracts" / "pages.toml"
    assert "UTC for a.\n" in file.read_text()
    assert call("freeze", "pages@b", "--force").stdout.startswith("+ b  int64\n- a  int64\n")
    assert list(load(file).columns) == ["url", "b"]
