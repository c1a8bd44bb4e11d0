"""Whole runs on a host behind SSH: partitions, checks and contracts of what is made there."""

from __future__ import annotations

import sys

import pytest

from drawbar.errors import CheckError

pytestmark = pytest.mark.sshd


@pytest.fixture
def far(ground, sshd, home):
    """A project whose target `host` is a throwaway SSH host."""
    settings = {**sshd.settings(), "root": str(ground.folder / "host"), "python": sys.executable}
    lines = [f"{name} = {value!r}" for name, value in settings.items()]
    ground.configure("[targets.host]\n" + "\n".join(lines))
    return ground


def test_checks_run_on_the_host(far):
    """A day that fails there comes back for inspection only; what takes it is not made; a mended check lets it through."""
    far.write(
        """
@asset(partitions=Daily("2024-01-01", "2024-01-04"), target="host", path="out/{partition}.json")
def day(partition: Partition) -> int:
    _noted(partition.key)
    return partition.start.day

@check(day)
def not_the_second(value, partition, last):
    import os
    return CheckResult(value != 2, expected="another", found=f"{value} {last}", details={"pid": os.getpid()})

@asset(target="host")
def total(day: dict[str, int]) -> int:
    return sum(day.values())
"""
    )
    result = far.run("total")
    assert [result[f"day@2024-01-0{day}"].state for day in (1, 2, 3)] == ["made", "failed", "made"]
    assert result["total"].state == "blocked"
    error = result["day@2024-01-02"].error
    assert isinstance(error, CheckError)
    assert (error.expected, error.found) == ("another", "2 None")
    (kept,) = far.store.rejected(result["day@2024-01-02"].key)
    assert far.store.read(kept) == b"2"
    assert sorted(path.name for path in (far.folder / "out").iterdir()) == ["2024-01-01.json", "2024-01-03.json"]
    assert far.run("total")["day@2024-01-02"].state == "failed"
    assert far.called() == ["2024-01-02"]
    far.edit("value != 2", "value != 3")
    result = far.run("total")
    assert [result[f"day@2024-01-0{day}"].state for day in (1, 2, 3)] == ["reused", "made", "failed"]
    far.edit("value != 3", "value != 4")
    assert far.run("total").check()["total"].value() == 6
    assert far.called() == []


def test_contracts_and_many_partitions_on_the_host(far):
    """Rows are dropped where the table is; a consumer there reads its partitions one at a time."""
    far.write(
        """
import pandas as pd
@asset(partitions=Static(["a", "b"]), target="host", contract=Contract({"n": Column("int64", mode="discard_rows")}))
def rows(partition: Partition) -> pd.DataFrame:
    return pd.DataFrame({"n": pd.Series([1, "x", 3], dtype=object)})

@asset(target="host")
def count(rows: Partitioned[pd.DataFrame]) -> dict[str, int]:
    assert type(rows).__name__ == "Partitioned"
    return {key: len(frame) for key, frame in rows.items()}
"""
    )
    result = far.run("count").check()
    assert result["count"].value() == {"a": 2, "b": 2}
    record = far.store.lookup(result["rows@a"].key, result["rows@a"].version)
    assert record.checks[0]["details"]["rows_discarded"] == 1
