"""The commands that ask: plan, explain, show, history. None of them makes anything."""

from __future__ import annotations

import json

import pytest

from drawbar import AssetKey
from drawbar.records import Journal
from drawbar.store import Store


def rewritten(folder, old, new):
    """Edit the pipeline; nothing that was imported before may be remembered."""
    import sys

    file = folder / "pipeline.py"
    file.write_text(file.read_text().replace(old, new))
    sys.modules.pop("pipeline", None)


def test_plan_says_run_before_and_reuse_after(call):
    """Before a run all is to be made; afterwards all is reused, and says who made it."""
    before = call("plan")
    assert [line.split()[:3] for line in before.stdout.splitlines()[1:5]] == [
        ["seeds", "here", "source"],
        ["numbers", "here", "run"],
        ["doubled", "gpu", "run"],
        ["total", "here", "run"],
    ]
    assert before.stdout.endswith("1 to source, 3 to run\n")
    call("run", "--target", "here", "--no-lineage")
    after = json.loads(call("plan", "--json").stdout)
    assert after["counts"] == {"source": 1, "reuse": 3}
    assert after["assets"][1]["reason"].startswith("made 20")
    assert list(after["assets"][1]) == [
        "key", "action", "certain", "reason", "target", "version", "data_version", "changes",
    ]  # fmt: skip


def test_plan_marks_what_is_decided_only_then(call):
    """An asset below one that runs has a question mark behind what will probably be done."""
    assert "total    here    run ?   doubled is made first; reused if that comes out the same" in call("plan").stdout


def test_explain_names_nothing_where_nothing_changed(call, made, folder):
    """A comment is no change."""
    rewritten(folder, "return one * 2", "return one * 2  # twice")
    assert call("explain", "doubled").stdout.startswith("doubled: nothing changed: it is reused, made 20")


def test_explain_names_the_helper_that_changed_and_where_it_is_felt(call, made, folder):
    """A helper's new body is named for the asset that calls it, and for the one below as something above."""
    rewritten(folder, "return one * 2", "return one * 3")
    direct = json.loads(call("explain", "doubled", "--json").stdout)
    assert [(one["kind"], one["name"].rpartition(".")[2]) for one in direct["changes"]] == [("code", "_doubled")]
    below = json.loads(call("explain", "total", "--json").stdout)
    assert below["changes"] == []
    assert below["above"] == {"doubled": direct["changes"]}
    assert "nothing of its own changed; doubled is made first" in call("explain", "total").stdout
    assert json.loads(call("explain", "numbers", "--json").stdout)["changes"] == []


def test_explain_takes_a_parameter_as_it_was_last_time(call, folder):
    """A required parameter need not be repeated to ask what changed; one that is given counts as changed."""
    rewritten(folder, "count: int = 3", "count: int")
    call("run", "--target", "here", "--no-lineage", "--param", "count=4")
    same = call("explain", "numbers")
    assert same.stderr == "count as last time: 4\n"
    assert same.stdout.startswith("numbers: nothing changed: it is reused")
    assert "  parameter count changed: 4 → 7\n" in call("explain", "numbers", "--param", "count=7").stdout


def test_show_says_what_it_is_and_shows_its_head(call, made):
    """Type, versions, place and the beginning of the value, without importing the project."""
    shown = call("show", "total").stdout
    facts = dict(line.split(maxsplit=1) for line in shown.splitlines()[:4])
    assert facts["key"] == "demo/total"
    assert facts["type"] == "str"
    assert shown.endswith("\n\nsum 6\n")
    answer = json.loads(call("show", "demo/doubled", "--json").stdout)
    assert answer["uri"].endswith(f"/demo/doubled/values/{answer['data_version']}.json")


def test_show_finds_another_version_by_its_first_digits(call, made):
    """An older version is shown by an abbreviated digest; one that is none is an error that lists those there are."""
    first = json.loads(call("show", "total", "--json").stdout)["version"]
    call("run", "--target", "here", "--no-lineage", "--param", "label=all")
    assert call("show", "total").stdout.endswith("all 6\n")
    assert call("show", "total", "--version", first[:8]).stdout.endswith("sum 6\n")
    wrong = call("show", "total", "--version", "zzz")
    assert wrong.exit_code == 2
    assert wrong.stderr.startswith("error: No version of demo/total begins with 'zzz'.\n  expected: one of ")


def test_show_of_what_was_never_made_says_what_to_do(call, made):
    """A close name is offered; a good name is told how to be made."""
    assert "  do: did you mean 'total'?\n" in call("show", "totl").stderr
    assert "`drawbar run total` makes it" in call("show", "total", "--store", "other").stderr


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("import pandas as pd\ndef one():\n return pd.DataFrame({'a': range(30), 'b[x]': ['日本']*30})", ["b[x]", "日本", "… 20 more rows"]),
        ("import numpy as np\ndef one():\n return np.zeros((3, 4), 'float32')", ["float32[3, 4]", "array([["]),
        ("import numpy as np\ndef one():\n return {'w': np.zeros((2, 5))}", ["w: F64[2, 5]"]),
        ("def one():\n return b'\\x00abc'", ["00000000  00 61 62 63", ".abc"]),
        ("def one():\n return '\\n'.join(str(n) for n in range(99))", ["\n9\n… 89 more lines\n"]),
        ("def one():\n return {'a': [1, {'b': None}]}", ['{\n "a": [\n  1,']),
        ("def one():\n return (1, 2)", ["in the format pickle is not opened here; from Python:"]),
    ],
)  # fmt: skip
def test_show_opens_every_format_that_cannot_run_code(call, folder, body, wanted):
    """The head of a table, the shape of an array, the beginning of a text or JSON; a pickle stays closed."""
    (folder / "values.py").write_text(body)
    (folder / "values.py").rename(folder / "kinds.py")
    assert call("run", "kinds.py", "--no-lineage").exit_code == 0
    shown = call("show", "kinds.py", "one")
    assert shown.exit_code == 0, shown.stderr
    for text in wanted:
        assert text in shown.stdout


def test_a_value_edited_by_hand_is_told_not_shown(call, made, folder):
    """What a record says is shown, then the fault with the command that mends it; exit status 1."""
    uri = json.loads(call("show", "total", "--json").stdout)["uri"]
    with open(uri, "r+b") as file:
        file.write(b"SUM")
    shown = call("show", "total")
    assert shown.exit_code == 1
    assert "error: The value of demo/total is not what was made.\n" in shown.stderr
    assert "SUM" not in shown.stdout


def test_history_is_an_audit_trail(call, made):
    """Who, when, what, how long and how it ended: of runs, and of one asset."""
    call("run", "--target", "here", "--no-lineage", "total", "--param", "label=[bold]x")
    runs = json.loads(call("history", "--json").stdout)["runs"]
    assert [one["wanted"] for one in runs] == [["total"], ["all assets"]]
    assert runs[1]["counts"] == {"reused": 1, "made": 3}
    assert "total label=[bold]x" in call("history").stdout
    lines = json.loads(call("history", "total", "--json").stdout)["history"]
    assert [(one["state"], one["reason"]) for one in lines] == [
        ("made", "parameter label changed: 'sum' → '[bold]x'"),
        ("made", "never made"),
    ]
    assert len(json.loads(call("history", "total", "--json", "--limit", "1").stdout)["history"]) == 1


def test_what_a_killed_run_made_is_in_the_assets_history(call, made, folder):
    """A record whose run never wrote its end is not lost."""
    store = Store(str(folder / ".drawbar" / "store"))
    journal = store.journals("demo")[0]
    store.files.remove(journal.file)
    kept = json.loads(call("history", "total", "--json").stdout)["history"]
    latest = store.latest(AssetKey("demo", "total"))
    assert [(one["state"], one["data_version"]) for one in kept] == [("made", latest.data_version)]


def test_a_run_on_another_machine_without_an_end_may_still_run(call, made, folder):
    """Nobody here can know of a process there, so history says both."""
    from dataclasses import replace

    store = Store(str(folder / ".drawbar" / "store"))
    journal: Journal = store.journals("demo")[0]
    store.write_journal(replace(journal, host="elsewhere", ended=None, state="running"))
    assert json.loads(call("history", "--json").stdout)["runs"][0]["state"] == "running, or ended without a word"


def test_explain_names_what_changed_in_a_transient_asset(folder, program):
    """Nothing is kept of it but what it was made from: `explain` would say no more than that it is another one."""
    (folder / "outs.py").write_text(
        "from drawbar import asset\n"
        "@asset(outputs=('low', 'high'))\ndef split() -> dict[str, int]:\n    return {'low': 1, 'high': 2}\n"
        "def both(low: int, high: int) -> int:\n    return low + high\n"
    )
    assert program("run", "outs.py").returncode == 0
    (folder / "outs.py").write_text((folder / "outs.py").read_text().replace("'high': 2", "'high': 3"))
    for asked in ("high", "both"):
        told = program("explain", "outs.py", asked).stdout
        assert "split, which it is made from:\n    code outs.split changed" in told
