"""`drawbar partitions`: what is made and what is missing, and a dynamic set that grows and shrinks."""

from __future__ import annotations

import json

import pytest

PARTS = """
from drawbar import *

@asset(partitions=Daily("2024-01-01", "2024-01-06"))
def days(partition: Partition) -> str:
    return partition.key

@asset(partitions=Dynamic("customers"))
def bills(partition: Partition) -> str:
    return partition.key

@asset(partitions=Multi(customer=Dynamic("customers"), region=Static(["eu", "us"])))
def both(partition: Partition) -> str:
    return partition.key

def whole() -> int:
    return 1
"""


@pytest.fixture
def parts(folder):
    """Days, customers in a dynamic set, and both by region."""
    (folder / "parts.py").write_text(PARTS)
    return folder


def test_made_and_missing_are_told_apart(call, parts):
    """A table for people, all keys with their states for programs, and the bare keys that were never made."""
    call("run", "parts.py", "days", "--partition", "2024-01-02", "--no-lineage")
    done = call("partitions", "parts.py", "days")
    assert done.exit_code == 0
    assert "days: daily from 2024-01-01 to 2024-01-06, UTC" in done.stdout
    assert "5 partitions, 1 made, 4 missing" in done.stdout
    answer = json.loads(call("partitions", "parts.py", "days", "--json").stdout)
    assert answer["key"] == "demo/days"
    assert [one["partition"] for one in answer["partitions"] if one["made"]] == ["2024-01-02"]
    assert len(answer["partitions"]) == 5
    missing = call("partitions", "parts.py", "days", "--missing").stdout.split()
    assert missing == ["2024-01-01", "2024-01-03", "2024-01-04", "2024-01-05"]
    lacking = json.loads(call("partitions", "parts.py", "days", "--missing", "--json").stdout)["partitions"]
    assert lacking == [{"partition": key, "made": False} for key in missing]


def test_what_failed_its_checks_is_not_made(call, parts):
    """A value that was refused, and is kept for a look only, does not count as a partition that was made."""
    (parts / "parts.py").write_text(
        PARTS.replace('2024-01-06")', "2024-01-06\"), checks=[lambda key: key != '2024-01-02']")
    )
    assert call("run", "parts.py", "days", "--partition", "2024-01-01..2024-01-02", "--no-lineage").exit_code == 1
    missing = call("partitions", "parts.py", "days", "--missing").stdout.split()
    assert missing == ["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"]


def test_a_dynamic_set_grows_and_shrinks(call, parts):
    """Keys that are added are partitions from then on; one that is taken out is none, and what was made of it stays."""
    empty = call("run", "parts.py", "bills", "--partition", "all", "--no-lineage")
    assert empty.exit_code == 2
    assert "it holds no key yet" in empty.stderr
    added = call("partitions", "parts.py", "bills", "--add", "zeta", "--add", "acme/eu", "--add", "zeta")
    assert added.exit_code == 0
    assert sorted(added.stderr.splitlines()) == ["added acme/eu to customers", "added zeta to customers"]
    assert call("partitions", "parts.py", "bills", "--add", "zeta").stderr == "zeta was in customers already\n"
    assert call("backfill", "parts.py", "bills", "--no-lineage").exit_code == 0
    found = json.loads(call("partitions", "parts.py", "bills", "--json").stdout)["partitions"]
    assert found == [{"partition": "acme/eu", "made": True}, {"partition": "zeta", "made": True}]
    gone = call("partitions", "parts.py", "bills", "--remove", "zeta", "--remove", "nobody")
    assert gone.stderr == "removed zeta from customers\nnobody is not in customers\n"
    refused = call("run", "parts.py", "bills", "--partition", "zeta", "--no-lineage")
    assert refused.exit_code == 2
    assert "'zeta' is no partition of: dynamic set 'customers'" in refused.stderr
    call("partitions", "parts.py", "bills", "--add", "zeta")
    again = json.loads(call("run", "parts.py", "bills", "--partition", "zeta", "--no-lineage", "--json").stdout)
    assert again["assets"][0]["state"] == "reused"


def test_a_set_in_one_of_two_dimensions(call, parts):
    """The set is changed by its own keys, and the pairs follow."""
    assert call("partitions", "parts.py", "both", "--add", "acme").exit_code == 0
    found = json.loads(call("partitions", "parts.py", "both", "--json").stdout)["partitions"]
    assert [one["partition"] for one in found] == ["acme|eu", "acme|us"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("whole",), "whole has no partitions."),
        (("days", "--add", "2024-02-01"), "There is no dynamic set to change."),
        (("bills", "--add", "a..b"), "'a..b' cannot be a key of customers"),
        (("bills", "--add", "all"), "'all' cannot be a key of customers"),
        (("bills", "--add", "fine", "--add", ""), "'' cannot be a key of customers"),
        (("bill",), "did you mean 'bills'"),
    ],
)
def test_wrong_questions_change_nothing(call, parts, words, said):
    """An asset without partitions, a set that is none, keys that mean something else: exit status 2, nothing added."""
    done = call("partitions", "parts.py", *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert json.loads(call("partitions", "parts.py", "bills", "--json").stdout)["partitions"] == []


MADE_OF = """
from drawbar import *

@asset(partitions=Daily("2024-01-01", "2024-01-06"))
def days(partition: Partition, factor: int) -> int:
    return partition.start.day * factor

def total(days: dict[str, int]) -> int:
    return sum(days.values())
"""


def test_explain_takes_one_partition_by_its_name_or_by_the_option(call, folder):
    """`--partition` means for `explain` what it means for `plan`; of several it says which command has them."""
    (folder / "parts.py").write_text(MADE_OF)
    assert call("run", "parts.py", "total", "-p", "factor=2", "--no-lineage").exit_code == 0
    for words in (("days@2024-01-03",), ("days", "--partition", "2024-01-03"), ("days", "--partition", "latest")):
        asked = call("explain", "parts.py", *words)
        assert asked.stderr == "factor as last time: 2\n"
        assert ": nothing changed: it is reused" in asked.stdout
        assert "  parameter factor changed: 2 → 3\n" in call("explain", "parts.py", *words, "-p", "factor=3").stdout
    many = call("explain", "parts.py", "days", "--partition", "2024-01-03..2024-01-05")
    assert many.exit_code == 2
    assert "One partition of days can be explained at a time." in many.stderr
    assert "days@2024-01-05" in many.stderr


def test_explain_tells_what_is_true_of_many_partitions_once(call, folder):
    """A total over a thousand days would otherwise fill the screen with one and the same line."""
    (folder / "parts.py").write_text(MADE_OF)
    assert call("run", "parts.py", "total", "-p", "factor=2", "--no-lineage").exit_code == 0
    asked = call("explain", "parts.py", "total", "-p", "factor=3").stdout
    assert asked.count("parameter factor changed: 2 → 3") == 1
    assert "  days (5 partitions, days@2024-01-01 the first), which it is made from:\n" in asked


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("run parts.py days --partition ", ["latest", "all", "2024-01-05", "2024-01-04"]),
        (
            "backfill parts.py days --partition 2024-01-02..2024-01-0",
            [f"2024-01-02..2024-01-0{n}" for n in (5, 4, 3, 2)],
        ),
        ("plan parts.py both --partition zeta", ["zeta|us", "zeta|eu"]),
        ("show parts.py whole --partition ", []),
        ("run parts.py nobody --partition ", []),
    ],
)
def test_keys_of_the_assets_named_so_far_complete(program, parts, monkeypatch, call, words, found):
    """Pressing tab behind --partition offers what can stand there, also behind the dots of a range."""
    call("partitions", "parts.py", "bills", "--add", "zeta")
    monkeypatch.setenv("_DRAWBAR_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"drawbar {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
    assert program().stdout.split()[:4] == [f"plain,{one}" for one in found]
