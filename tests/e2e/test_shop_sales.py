"""The shops' example by its README: three weeks of files, one bad day, the same command before and after it is mended."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "shop_sales"
BAD = "2025-03-12"
SUNDAY = "2025-03-09"
BLOCKED = [
    f"daily_totals@{BAD}",
    *(f"rolling_week@2025-03-{day}" for day in range(12, 19)),
    "weekly_report@2025-03-10",
    *(f"by_shop@{BAD}|{shop}" for shop in ("harbour", "market", "station")),
]


@dataclass
class Shops:
    """A user's copy of the example, and the commands that they type in its folder."""

    folder: Path

    def __call__(self, *words):
        """Exit status, stdout, stderr of `drawbar …`."""
        return self._run([Path(sys.executable).with_name("drawbar"), *words])

    def json(self, *words):
        """Exit status, the answer, and what was said beside it."""
        code, out, err = self(*words, "--json")
        return code, json.loads(out) if out else None, err

    def generate(self, *words):
        """`python generate.py …`."""
        code, _, err = self._run([sys.executable, "generate.py", *words])
        assert code == 0, err

    def _run(self, command):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRAWBAR", "OPENLINEAGE"))}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**kept, "DRAWBAR_HOME": str(self.folder / "home")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def edit(self, file, old, new):
        """Change one place of a file."""
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new))


@dataclass
class Answer:
    """How a command ended."""

    code: int
    assets: dict
    err: str


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The example after its first `drawbar backfill`, with what that said."""
    folder = tmp_path_factory.mktemp("shops") / "shop_sales"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "out", ".drawbar", "__pycache__"))
    shops = Shops(folder)
    shops.generate()
    return shops, answer(shops, "backfill")


@pytest.fixture(scope="module")
def second(first, tmp_path_factory):
    """The same folder, copied and gone on with: the bad day's file was sent again, and the same command made the rest."""
    shops = Shops(Path(shutil.copytree(first[0].folder, tmp_path_factory.mktemp("mended") / "shop_sales")))
    shops.generate("--mended")
    return shops, answer(shops, "backfill")


@pytest.fixture
def mended(second, tmp_path):
    """A copy of that, for one test to change."""
    return Shops(Path(shutil.copytree(second[0].folder, tmp_path / "shop_sales")))


def answer(shops, *words):
    """A command's answer, its assets by name."""
    code, told, err = shops.json(*words)
    assert told is not None, err
    return Answer(code, {one["key"].removeprefix("shops/"): one for one in told["assets"]}, err)


def ended(found, *states):
    """The names of what ended so."""
    return sorted(name for name, one in found.assets.items() if one["state"] in states)


def test_a_bad_day_stops_only_what_depends_on_it(first):
    """One failing partition keeps no other from being made, and nothing is made from it."""
    _, found = first
    assert found.code == 1
    assert ended(found, "failed") == [f"sales@{BAD}"]
    assert ended(found, "blocked") == sorted(BLOCKED)
    assert len(found.assets) == 192
    assert Counter(one["state"] for one in found.assets.values()) == {
        "made": 158,
        "reused": 21,
        "blocked": 12,
        "failed": 1,
    }


def test_the_error_says_which_check_expected_what_and_where_the_value_is(first):
    """Whoever reads the terminal knows what is wrong and where to look, without opening anything."""
    _, found = first
    place = re.search(r"kept at (\S+\.parquet)", found.err)
    assert f"sales@{BAD} failed its check nothing_negative.\n" in found.err
    assert "  expected: no amount below 0\n  found: 27 of 61 receipts\n" in found.err
    assert place is not None
    assert Path(place[1]).is_file()
    assert "nothing_negative" in found.assets[f"sales@{BAD}"]["error"]


def test_a_rejected_value_is_shown_and_is_published_nowhere(first):
    """A person can look at what failed, and no other tool finds it."""
    shops, _ = first
    code, shown, err = shops.json("show", "sales", "--partition", BAD)
    assert code == 0, err
    assert shown["state"] == "rejected"
    failed = next(one for one in shown["checks"] if one["name"] == "nothing_negative")
    assert (failed["passed"], failed["column"], failed["details"]["shops"]) == (False, "amount", ["station"])
    assert shown["profile"]["columns"]["amount"]["min"] == -39.6
    assert sorted(one.stem for one in (shops.folder / "out").glob("*.txt")) == ["week-2025-03-03", "week-2025-03-17"]
    published = {one.stem for one in (shops.folder / "out" / "totals").iterdir()}
    assert len(published) == 20
    assert BAD not in published


def test_what_is_missing_is_listed(first):
    """`partitions` counts what can be used, so a day that was rejected is missing."""
    shops, _ = first
    assert shops("partitions", "weekly_report", "--missing")[1].split() == ["2025-03-10"]
    assert shops("partitions", "sales", "--missing")[1].split() == [BAD]


def test_a_warning_stops_nothing_and_is_told(first):
    """A Sunday without a market is a warning: the value is used, and `show` says what was found."""
    shops, found = first
    assert found.assets[f"daily_totals@{SUNDAY}"]["state"] == "made"
    assert found.assets[f"rolling_week@{SUNDAY}"]["state"] == "made"
    code, shown, err = shops.json("show", f"daily_totals@{SUNDAY}")
    assert code == 0, err
    outcomes = {one["name"]: one for one in shown["checks"]}
    assert (outcomes["shops_that_sold"]["passed"], outcomes["shops_that_sold"]["found"]) == (False, "2")
    assert outcomes["like_last"]["passed"]
    assert "warned" in shops("show", f"daily_totals@{SUNDAY}")[1]


def test_the_same_command_makes_that_day_and_what_waited_for_it(second):
    """After the file was mended nothing that was good is made again."""
    shops, found = second
    assert found.code == 0, found.err
    assert ended(found, "made") == sorted([*BLOCKED, f"cleaned@{BAD}", f"sales@{BAD}", f"resent@{BAD}"])
    code, shown, _ = shops.json("show", "sales", "--partition", BAD)
    assert (code, shown["state"], shown["profile"]["columns"]["amount"]["min"] > 0) == (0, "made", True)
    report = (shops.folder / "out" / "week-2025-03-10.txt").read_text()
    assert report.startswith("Week of 10 March 2025\n")
    assert len(report.splitlines()) == 9
    assert ended(answer(shops, "backfill"), "made", "failed", "blocked") == []


def test_a_change_that_makes_no_difference_stops_where_it_makes_none(mended):
    """Another time of sending makes the day's sales anew; its totals come out the same, and its report is reused."""
    path = mended.folder / "data" / "2025-03-05.csv"
    path.write_text(re.sub(r"T(\d\d):(\d\d)$", r"T\1:\2:30", path.read_text(), flags=re.MULTILINE))
    found = answer(mended, "backfill", "weekly_report")
    assert found.code == 0, found.err
    names = ["cleaned@2025-03-05", "daily_totals@2025-03-05", "sales@2025-03-05"]
    assert ended(found, "made") == names


def test_a_day_that_loses_half_is_refused_by_comparison_with_the_value_in_use(mended):
    """A check that takes `last` sees the value before: half a file, sent over a whole one, is not believed."""
    path = mended.folder / "data" / "2025-03-05.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:15]))
    found = answer(mended, "run", "weekly_report@2025-03-03")
    assert found.code == 1
    assert ended(found, "failed") == ["daily_totals@2025-03-05"]
    assert "failed its check like_last." in found.err
    assert "expected: between 0.5 and 2.0" in found.err
    week = (mended.folder / "out" / "week-2025-03-03.txt").read_text()
    assert len(week.splitlines()) == 9, "the report of before stays where it was published"


def test_the_contract_refuses_a_column_and_freeze_accepts_it(mended):
    """A table with a column that nobody agreed to is not used, until a person accepts it."""
    code, said, err = mended("freeze", "sales")
    assert code == 0, err
    assert "nothing has changed in" in said
    mended.edit(
        "pipeline.py", "    last = pl.col(", '    ordered = ordered.with_columns(till=pl.lit("a"))\n    last = pl.col('
    )
    found = answer(mended, "run", "sales@2025-03-05")
    assert (found.code, ended(found, "failed")) == (1, ["sales@2025-03-05"])
    assert "failed its check contract." in found.err
    assert "till" in found.err
    code, said, _ = mended("freeze", "sales@2025-03-05", "--force")
    assert (code, "+ till  string" in said) == (0, True)
    contract = (mended.folder / "contracts" / "sales.toml").read_text()
    assert 'receipt = { type = "string", nullable = false }' in contract
    assert answer(mended, "run", "sales@2025-03-05").code == 0


def test_another_variant_is_one_more_asset(mended):
    """A value added to an expanded parameter makes that one, and what takes them all."""
    found = answer(mended, "run", "forecast")
    assert found.code == 0, found.err
    assert ended(found, "made") == ["forecast", "trend_quick", "trend_slow"]
    mended.edit("pipeline.py", '"slow": 0.1', '"slow": 0.1, "medium": 0.2')
    found = answer(mended, "run", "forecast")
    assert ended(found, "made") == ["forecast", "trend_medium"]


def test_a_changed_account_writes_one_letter(mended):
    """Each item of a fan-out is kept by itself: one account that changes is one call, and the letters stay in order."""
    mended.edit("pipeline.py", '    return f"Dear {', '    print(f"to the {account[\'shop\']}")\n    return f"Dear {')
    code, out, err = mended("run", "statements")
    assert code == 0, err
    assert Counter(re.findall(r"statements │ to the (\w+)\n", err)) == {"harbour": 1, "market": 1, "station": 1}
    path = mended.folder / "data" / "2025-03-05.csv"
    path.write_text(path.read_text() + "market-999,market,soap,1,4.1,2025-03-05T18:00\n")
    code, out, err = mended("run", "statements")
    assert code == 0, err
    assert re.findall(r"to the (\w+)", out + err) == ["market"]
    _, told, _ = mended.json("run", "statements")
    letters = json.loads(Path(told["assets"][-1]["uri"]).read_text())
    assert [letter.split(",")[0] for letter in letters] == ["Dear harbour", "Dear market", "Dear station"]


def test_a_run_without_names_makes_what_takes_all_days(mended):
    """`drawbar run` ends with the assets that have no partitions, and all that they are made from."""
    found = answer(mended, "run")
    assert found.code == 0, found.err
    assert ended(found, "made") == ["accounts", "forecast", "statements", "trend_quick", "trend_slow"]
    assert f"sales@{BAD}" in found.assets


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "sales"], "sales has partitions, and none is named."),
        (["run", "sales", "--partition", "2025-02-30"], "'2025-02-30' is no partition of: daily from 2025-03-03"),
        (["run", "sales", "--partition", "2025-03"], "found: text of another form"),
        (["run", "sales", "--partition", "2025-03-09..2025-03-05"], "runs backwards"),
        (["run", "by_shop@2025-03-05"], "a pair date|shop"),
        (["run", "by_shop", "--partition", "2025-03-05|harbor"], "did you mean 'harbour'?"),
        (["run", "forecast", "--partition", "2025-03-05"], "Nothing that is wanted has partitions."),
    ],
)
def test_a_wrong_question_is_refused_before_anything_runs(first, words, said):
    """A partition that does not exist or is of another kind: exit status 2, and what to write instead."""
    shops, _ = first
    before = sorted((shops.folder / ".drawbar").rglob("*"))
    code, out, err = shops(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert sorted((shops.folder / ".drawbar").rglob("*")) == before
