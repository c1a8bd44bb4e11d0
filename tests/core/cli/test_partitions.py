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
    assert call("partitions", "parts.py", "bills", "--add", "zeta").stderr == ""
    assert call("backfill", "parts.py", "bills", "--no-lineage").exit_code == 0
    found = json.loads(call("partitions", "parts.py", "bills", "--json").stdout)["partitions"]
    assert found == [{"partition": "acme/eu", "made": True}, {"partition": "zeta", "made": True}]
    gone = call("partitions", "parts.py", "bills", "--remove", "zeta", "--remove", "nobody")
    assert gone.stderr == "removed zeta from customers\n"
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
