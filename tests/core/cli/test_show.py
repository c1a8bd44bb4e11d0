"""`drawbar show`: columns in figures, checks, versions and what changed, and partitions together."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from drawbar import AssetKey
from drawbar.records import Record
from drawbar.store import Store

PAGES = """
import pandas as pd

def pages(n: int = 3, name: str = "score") -> pd.DataFrame:
    return pd.DataFrame({"url": [f"u{i}" for i in range(n)], name: [i / 4 if i else None for i in range(n)]})
"""
KEY = AssetKey("demo", "pages")


def check(name, **facts):
    """One outcome, passed where nothing else is said."""
    said = {"name": name, "passed": True, "blocking": True, "expected": "", "found": "", "details": {}, "column": ""}
    return {**said, **facts}


FAILED = check("positive", passed=False, expected="at least 0", found="-1", column="score", details={"rows": 2})


@pytest.fixture
def pages(call, folder):
    """The asset `pages`, made once; the store it is in."""
    (folder / "tables.py").write_text(PAGES)
    assert call("run", "tables.py", "--no-lineage").exit_code == 0
    return Store(str(folder / ".drawbar" / "store"))


def kept(store, **facts) -> Record:
    """A further record of pages, a day younger, as a run would have left it."""
    last = store.latest(KEY)
    content = store.read(last)
    one = replace(last, at=last.at + timedelta(days=1), **facts)
    return store.put(one, [content])


def answer(call, *words):
    """What the command says to a program."""
    done = call("show", *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def lines_of(text, first):
    """The table that begins with this word, as lists of words."""
    lines = text.splitlines()
    start = next(at for at, line in enumerate(lines) if line.split()[:1] == [first])
    end = next((at for at in range(start, len(lines)) if not lines[at].strip()), len(lines))
    return [line.split() for line in lines[start:end]]


def test_a_table_is_shown_in_figures(call, pages):
    """A column that came out empty could only be found by loading the table."""
    shown = call("show", "pages").stdout
    assert lines_of(shown, "column") == [
        ["column", "type", "nulls", "min", "max"],
        ["url", "str", "0", "u0", "u2"],
        ["score", "float64", "1", "0.25", "0.5"],
    ]
    profile = answer(call, "pages")["profile"]
    assert profile["rows"] == 3
    assert profile["columns"]["score"] == {"type": "float64", "nulls": 1, "min": 0.25, "max": 0.5}


def test_an_array_is_shown_by_its_shape(call, folder):
    """Embeddings full of NaN would look like any others."""
    body = "import numpy as np\ndef one():\n return np.array([[1.0, np.nan], [3.0, 4.0]])"
    (folder / "arrays.py").write_text(body)
    assert call("run", "arrays.py", "--no-lineage").exit_code == 0
    shown = lines_of(call("show", "arrays.py", "one").stdout, "shape")
    assert shown[1] == ["2", "x", "2", "float64", "1", "1", "4"]


def test_what_changed_against_the_version_before_is_told(call, pages):
    """Whoever sees a dashboard jump would have to compare two tables by hand."""
    assert call("run", "tables.py", "--no-lineage", "-p", "n=5", "-p", "name=points").exit_code == 0
    shown = call("show", "pages").stdout
    expected = ["rows 3 → 5 (+67 %)", "max of url u2 → u4", "column score is gone", "column points is new (float64)"]
    told = shown.partition("changed since ")[2].partition("\n\n")[0].splitlines()
    assert [line.strip() for line in told[1:]] == expected
    versions = answer(call, "pages")["versions"]
    assert [(one["rows"], one["nulls"], one["changed"]) for one in versions] == [(5, 1, expected), (3, 1, [])]
    first = versions[1]["version"]
    assert [one["version"] for one in answer(call, "pages", "--version", first[:8])["versions"]] == [first]


def test_so_many_versions_are_listed_as_asked_for(call, pages):
    """A version a day would fill the screen."""
    for at in range(6):
        kept(pages, version=f"{at}" * 64, rows=at, profile=None)
    assert [one["rows"] for one in answer(call, "pages")["versions"]] == [5, 4, 3, 2, 1]
    assert len(answer(call, "pages", "--versions", "9")["versions"]) == 7
    assert answer(call, "pages", "--versions", "0")["versions"] == []
    shown = call("show", "pages", "--versions", "2").stdout.splitlines()
    assert [line.split()[0] for line in shown if line[:12] in ("5" * 12, "4" * 12, "3" * 12)] == ["5" * 12, "4" * 12]


def test_a_record_without_a_profile_is_shown_and_compared_all_the_same(call, pages, folder):
    """Where profiles are switched off, the command would fail, or call every column changed."""
    (folder / "pyproject.toml").write_text('[project]\nname = "demo"\n[tool.drawbar]\nprofile = false\n')
    assert call("run", "tables.py", "--no-lineage", "-p", "n=4").exit_code == 0
    found = answer(call, "pages")
    assert found["profile"] is None
    assert found["versions"][0]["changed"] == ["rows 3 → 4 (+33 %)"]
    assert "nulls  size" not in call("show", "pages", "--versions", "0").stdout


def test_checks_are_shown_with_their_outcome(call, pages):
    """Nobody would see that a value was held to anything, or that it only just passed."""
    kept(
        pages,
        version="a" * 64,
        checks=(check("schema"), check("fresh", passed=False, blocking=False, found="2 [days]")),
    )
    table = lines_of(call("show", "pages").stdout, "check")
    assert table[1] == ["schema", "passed"]
    assert table[2] == ["fresh", "warned", "2", "[days]"]
    found = answer(call, "pages")
    assert [(one["name"], one["passed"]) for one in found["checks"]] == [("schema", True), ("fresh", False)]
    assert found["state"] == "made"


def test_a_refused_value_is_told_beside_the_one_that_counts(call, pages):
    """A failed check would leave the old value on show, and nothing would say that a newer one was refused."""
    last = pages.latest(KEY)
    old = replace(last, version="b" * 64, at=last.at - timedelta(days=1), checks=(FAILED,))
    new = replace(last, version="c" * 64, at=last.at + timedelta(days=1), checks=(check("schema"), FAILED))
    for one in (old, new):
        pages.reject(one, None)
    shown = call("show", "pages").stdout
    assert "version cccccccccccc: positive of score: expected at least 0, found -1; it is kept in " in shown
    assert "bbbbbbbbbbbb" not in shown
    found = answer(call, "pages")
    assert (found["version"], found["state"]) == (last.version, "made")
    assert [one["version"][0] for one in found["rejected"]] == ["b", "c"]
    assert found["rejected"][1]["checks"] == [FAILED]


def test_a_refused_value_can_be_looked_into(call, pages):
    """The value is kept for inspection: there has to be a way to inspect it."""
    last = pages.latest(KEY)
    pages.reject(replace(last, version="c" * 64, at=last.at + timedelta(days=1), checks=(FAILED,)), None)
    shown = call("show", "pages", "--version", "ccc").stdout
    assert "rejected: it is kept for inspection, and no one's input" in shown
    assert lines_of(shown, "check")[1][:2] == ["positive", "failed"]
    assert shown.splitlines()[-1].split() == ["u2", "0.5"]


def test_what_was_only_ever_refused_is_shown(call, pages, folder):
    """A first value that failed would be said never to have been made, and could not be found."""
    last = pages.latest(KEY)
    other = replace(last, key=AssetKey("demo", "other"), checks=(FAILED,))
    pages.reject(other, [pages.read(last)])
    assert answer(call, "other")["state"] == "rejected"


def test_the_items_of_a_value_are_shown_one_by_one(call, folder):
    """A dict of tables, or what a fan-out made, would be a closed box."""
    body = (
        "import pandas as pd\ndef one():\n return {'train': pd.DataFrame({'a': [1]}), 'note': 'so\\nso', 'n': [1, 2]}"
    )
    (folder / "several.py").write_text(body)
    assert call("run", "several.py", "--no-lineage").exit_code == 0
    shown = call("show", "several.py", "one", "--rows", "2").stdout
    assert "\ntrain: pandas.DataFrame (parquet, " in shown
    assert shown.endswith("\nnote: so ⏎ so\n… 1 more items\n")


# Partitions


@pytest.fixture
def days(pages):
    """Twelve partitions of pages, and no whole value of it."""
    last, content = pages.latest(KEY), None
    content = pages.read(last)
    for day in range(1, 13):
        at = last.at + timedelta(minutes=day % 5)
        outcome = check("fresh", passed=day != 12, blocking=False)
        pages.put(replace(last, key=KEY.at(f"2026-11-{day:02}"), at=at, checks=(outcome,)), [content])
    return pages


def test_an_asset_in_partitions_is_shown_as_all_of_them(call, days):
    """Without naming a partition there would be nothing to see of it."""
    shown = call("show", "pages").stdout
    facts = dict(line.split(maxsplit=1) for line in shown.partition("\n\n")[0].splitlines())
    assert (facts["key"], facts["partitions"], facts["rows"]) == ("demo/pages", "12", "36")
    assert (facts["first"], facts["last"]) == ("2026-11-01", "2026-11-12")
    table = lines_of(shown, "partition")
    assert [line[0] for line in table[1:6]] == [f"2026-11-{day:02}" for day in (12, 11, 10, 9, 8)]
    assert table[1][-2:] == ["1", "warned"]
    assert "… 7 more partitions" in shown
    found = answer(call, "pages", "--versions", "2")
    assert (found["partitions"], found["without_value"], found["rows"]) == (12, 0, 36)
    assert "without value" not in shown
    assert found["newest"] in ("2026-11-04", "2026-11-09")
    assert [one["partition"] for one in found["listed"]] == ["2026-11-12", "2026-11-11"]


def test_partitions_that_were_refused_are_counted(call, days):
    """A backfill in which some days failed their checks would look complete."""
    last = days.latest(KEY.at("2026-11-12"))
    days.reject(replace(last, key=KEY.at("2026-11-13"), checks=(FAILED,)), [days.read(last)])
    assert ["without", "value", "1"] in [line.split() for line in call("show", "pages").stdout.splitlines()]
    assert answer(call, "pages")["without_value"] == 1
    assert answer(call, "pages@2026-11-13")["state"] == "rejected"


def test_one_partition_is_shown_like_any_value(call, days):
    """A partition is a value of its own, with versions of its own."""
    found = answer(call, "pages", "--partition", "2026-11-03")
    assert found["key"] == "demo/pages@2026-11-03"
    assert found == answer(call, "pages@2026-11-03")
    assert found["profile"]["rows"] == 3
    assert len(found["versions"]) == 1
    both = call("show", "pages@2026-11-03", "--partition", "2026-11-04")
    assert both.exit_code == 2
    assert "Name one partition, not 2026-11-03 and 2026-11-04." in both.stderr


def test_a_partition_that_was_never_made_says_what_there_is(call, days):
    """A slip in a date would look like an asset that does not exist."""
    wrong = call("show", "pages", "--partition", "2026-12-01")
    assert wrong.exit_code == 2
    assert wrong.stderr.startswith("error: demo/pages@2026-12-01 was never made.\n")
    assert "12 partitions from 2026-11-01 to 2026-11-12" in wrong.stderr
    assert "`drawbar run pages --partition '2026-12-01'` makes it" in wrong.stderr
    assert "control character" in call("show", "pages", "--partition", "a\nb").stderr
