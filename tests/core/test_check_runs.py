"""Checks in runs: what a failed one keeps from whom, where they run, and when they run again."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import drawbar
from drawbar import Graph, asset, check
from drawbar.errors import CheckError, OptionError, UnknownAssetError

PLACES = ["here", "worker"]
RATES = """
@asset(path="out/rates.json"{target})
def rates(number: int) -> list[int]:
    _noted("rates")
    return list(range(number))

@check(rates, min=3, description="enough rates")
def enough(rates) -> int:
    return len(rates)

@asset({bare})
def total(rates: list[int]) -> int:
    _noted("total")
    return sum(rates)
"""


def write(ground, place, text=RATES):
    """The text, with `{target}` and `{bare}` as options that say where."""
    option = f'target="{place}"'
    ground.write(
        text.replace("{target}", "" if place == "here" else f", {option}").replace(
            "{bare}", "" if place == "here" else option
        )
    )


@pytest.mark.parametrize("place", PLACES)
def test_a_value_that_fails_is_kept_aside_and_is_no_ones_input(ground, place):
    """It is not published, nothing is made of it, no plan finds it; the error says which check, expected, found."""
    write(ground, place)
    result = ground.run(params={"number": 2})
    assert {name: one.state for name, one in result.assets.items()} == {"rates": "failed", "total": "blocked"}
    error = result["rates"].error
    assert isinstance(error, CheckError)
    assert error.what in {"g/rates failed its check enough.", "rates failed its check enough."}
    assert (error.expected, error.found) == ("at least 3", "2")
    assert "pipeline.py:" in error.where
    (kept,) = ground.store.rejected(result["rates"].key)
    assert ground.store.uri(kept) in error.todo
    assert json.loads(ground.store.read(kept)) == [0, 1]
    assert not ground.files("g/rates/records/*")
    assert ground.store.latest(result["rates"].key) is None
    assert not (ground.folder / "out").exists()
    assert ground.called() == ["rates"]
    assert ground.plan(params={"number": 2})["rates"].action == "run"


@pytest.mark.parametrize("place", PLACES)
def test_a_refused_value_is_made_again_and_never_adopted(ground, place):
    """The same question calls the function again, by `--force` or not; a mended function is made, and published."""
    write(ground, place)
    for force in ((), (), ("rates",)):
        assert ground.run(params={"number": 2}, force=force)["rates"].state == "failed"
        assert ground.called() == ["rates"]
    ground.edit("list(range(number))", "list(range(number)) * 2")
    result = ground.run(params={"number": 2}).check()
    assert result["total"].value() == 2
    assert json.loads((ground.folder / "out" / "rates.json").read_text()) == [0, 1, 0, 1]
    assert ground.states(params={"number": 2}) == {"rates": "reused", "total": "reused"}


@pytest.mark.parametrize("place", PLACES)
def test_a_check_that_is_mended_lets_the_same_value_through(ground, place):
    """Where the check was wrong and not the value, it is the check that is changed, and the run goes on."""
    write(ground, place)
    assert ground.run(params={"number": 2})["rates"].state == "failed"
    ground.edit("min=3", "min=2")
    assert ground.run(params={"number": 2}).check()["total"].value() == 1


@pytest.mark.parametrize("place", PLACES)
def test_a_new_or_changed_check_is_run_on_the_value_that_is_there(ground, place):
    """No function is called for it; a value that fails now is no input any more, until it passes or is made anew."""
    write(ground, place)
    ground.run(params={"number": 4}).check()
    ground.edit("min=3", "min=4")
    assert "checked again: enough" in ground.plan(params={"number": 4})["rates"].reason
    assert ground.states(params={"number": 4}) == {"rates": "reused", "total": "reused"}
    assert ground.called() == []
    assert "checked again" not in ground.plan(params={"number": 4})["rates"].reason
    ground.edit("min=4", "min=5")
    for _ in range(2):
        result = ground.run(params={"number": 4})
        assert [one.state for one in result.assets.values()] == ["failed", "blocked"]
        assert result["rates"].error.found == "4"
        assert ground.called() == []
    ground.edit("min=5", "min=1")
    assert ground.states(params={"number": 4}) == {"rates": "reused", "total": "reused"}


@pytest.mark.parametrize("place", PLACES)
def test_a_warning_stops_nothing_and_is_kept(ground, place):
    """A check that does not block is in the record and in the events; the value counts."""
    write(ground, place)
    ground.edit("min=3,", "min=3, blocking=False,")
    told = []
    result = ground.run(params={"number": 2}, listeners=[told.append]).check()
    (made,) = [one.made for one in told if type(one).__name__ == "AssetMade" and one.key.name == "rates"]
    (outcome,) = made.checks
    assert (outcome["name"], outcome["passed"], outcome["blocking"]) == ("enough", False, False)
    (record,) = ground.store.records(result["rates"].key)
    assert record.checks == (outcome,)


ODD = """
from drawbar.checks import Check

def raises(value):
    return 1 / value["nothing"]

def sleeps(value):
    raise SystemExit(3)

class Mute(Exception):
    def __str__(self):
        raise RuntimeError

def mute(value):
    raise Mute

@asset(checks=[raises, sleeps, mute, lambda value: None, lambda value: "yes", lambda value: 3, Check(lambda value: "3", min=1),
               Check(lambda value: float("nan"), min=0), lambda value: [], Check(lambda value: True, name="fine"),
               lambda value: CheckResult(False, expected="e\\nf", found="x" * 9999, details={"d": object()}, column="c")]{target})
def odd() -> dict[str, int]:
    return {"nothing": 0}
"""


@pytest.mark.parametrize("place", PLACES)
def test_a_check_that_raises_or_returns_nonsense_has_failed(ground, place):
    """Whatever a check does, the run goes on to the next check, and each is told in a line that says what it did."""
    write(ground, place, ODD)
    result = ground.run()
    found = {one["name"]: one for one in result["odd"].error.checks}
    assert [name for name, one in found.items() if one["passed"]] == ["fine"]
    assert "ZeroDivisionError" in found["raises"]["found"]
    assert "pipeline.py" in found["raises"]["found"]
    assert "SystemExit" in found["sleeps"]["found"]
    assert found["check_4"]["found"].startswith("it gave None")
    assert found["check_6"]["expected"].startswith("bounds for its number")
    assert found["check_8"]["found"] == "nan"
    told = found["check_11"]
    assert (told["expected"], len(told["found"]), told["column"]) == ("e f", 300, "c")
    json.dumps(result["odd"].error.checks, allow_nan=False)
    assert all("\n" not in one["found"] + one["expected"] for one in found.values())


GROWS = """
@asset({bare})
def numbers(count: int) -> list[int]:
    _noted("numbers")
    return list(range(count))

@check(numbers)
def grows(numbers, last) -> CheckResult:
    before = None if last is None else len(last)
    return CheckResult(before is None or len(numbers) > before, expected="more", found=f"{before} then {len(numbers)}")
"""


@pytest.mark.parametrize("place", PLACES)
def test_a_check_may_look_at_the_value_before(ground, place):
    """`last` is the value that counted before: not one that was refused, and not the value itself when checked again."""
    write(ground, place, GROWS)
    ground.run(params={"count": 3}).check()
    for _ in range(2):
        assert ground.run(params={"count": 2})["numbers"].error.found == "3 then 2"
    result = ground.run(params={"count": 5}).check()
    ground.edit('expected="more"', 'expected="still more"')
    again = ground.run(params={"count": 5}).check()
    assert ground.called() == []
    (outcome,) = ground.store.lookup(again["numbers"].key, result["numbers"].version).checks
    assert (outcome["expected"], outcome["found"]) == ("still more", "3 then 5")


@pytest.mark.parametrize("place", PLACES)
def test_each_partition_is_checked_for_itself(ground, place):
    """One day that fails is refused alone, and a check may ask which day it is about."""
    write(
        ground,
        place,
        """
@asset(partitions=Daily("2024-01-01", "2024-01-04"){target})
def day(partition: Partition) -> int:
    return partition.start.day

@check(day)
def not_the_second(value, partition):
    return partition.key != "2024-01-02"

@asset(partitions=Daily("2024-01-01", "2024-01-04"), mappings={"day": Last(2)})
def two(day: dict[str, int]) -> int:
    return sum(day.values())
""",
    )
    states = ground.states("two", partitions="all")
    assert [states[f"day@2024-01-0{day}"] for day in (1, 2, 3)] == ["made", "failed", "made"]
    assert [states[f"two@2024-01-0{day}"] for day in (1, 2, 3)] == ["made", "blocked", "blocked"]


@pytest.mark.parametrize("place", PLACES)
def test_a_transient_value_that_fails_is_no_input(ground, place):
    """A value that goes to no store is checked all the same, wherever it is made."""
    write(
        ground,
        place,
        """
@asset(persist=False, checks=[lambda value: value > 5]{target})
def passing() -> int:
    return 1

def below(passing: int) -> int:
    _noted("below")
    return passing
""",
    )
    result = ground.run("below")
    assert isinstance(result["passing"].error, CheckError)
    assert result["below"].state == "failed"
    assert ground.called() == []


@pytest.mark.parametrize("place", PLACES)
def test_a_schema_in_an_annotation_is_a_check(ground, place):
    """A return annotated with a pandera schema is held to it; an input that breaks one is not given to the function."""
    write(
        ground,
        place,
        """
import pandas as pd
import pandera.pandas as pa
from pandera.typing import DataFrame

class Rates(pa.DataFrameModel):
    rate: float = pa.Field(ge=0)

class Small(pa.DataFrameModel):
    rate: float = pa.Field(le=10)

@asset({bare})
def rates(worst: float) -> DataFrame[Rates]:
    return pd.DataFrame({"rate": [1.0, worst]})

@asset({bare})
def mean(rates: DataFrame[Small]) -> float:
    _noted("mean")
    return float(rates["rate"].mean())
""",
    )
    assert ground.run(params={"worst": 3.0}).check()["mean"].value() == 2
    bad = ground.run(params={"worst": -1.0})
    assert isinstance(bad["rates"].error, CheckError)
    assert "rate" in str(bad["rates"].error)
    assert bad["mean"].state == "blocked"
    big = ground.run(params={"worst": 11.0})
    assert big["rates"].state == "made"
    assert "mean was not called: rates is not as annotated" in str(big["mean"].error)
    assert ground.called() == []


def test_a_check_of_nothing_is_refused_when_the_graph_is_built(ground):
    """A name with a slip, two checks of one name, bounds that nothing can pass: each is told before anything runs."""
    for text, error, said in (
        ("@check('rate')\ndef enough(value): ...", UnknownAssetError, "did you mean 'rates'"),
        (
            "@check('rates')\ndef one(value): ...\n@check('rates', name='one')\ndef two(value): ...",
            OptionError,
            "Two checks",
        ),
        *(
            (
                f"\n\n@check('rates', name={name!r})\ndef one(value): ...",
                OptionError,
                f"a name that drawbar uses itself: {name!r}",
            )
            for name in ("contract", "schema", "schema of x")
        ),
        ("@check('rates')\ndef contract(value): ...", OptionError, "uses itself: 'contract'"),
    ):
        ground.write(f"def rates() -> int:\n    return 1\n{text}\n")
        with pytest.raises(error, match=said) as refused:
            ground.graph()
        line = (ground.folder / "pipeline.py").read_text().partition("@check")[0].count("\n") + 1
        assert refused.value.where.startswith(f"{ground.folder / 'pipeline.py'}:")
        assert "uses itself" not in said or refused.value.where.endswith(f":{line}")
    with pytest.raises(OptionError, match="No number can pass"):
        ground.write("from drawbar import *\n")
        from drawbar.checks import Check

        Check(len, min=3, max=2)


def test_a_failure_is_tried_again_where_retries_are_wanted(ground):
    """What comes from outside may be whole a moment later: a refused value is a failed attempt like any other."""
    ground.write(
        """
@asset(retries=2, retry_delay=0.01, version="1", checks=[lambda value: value == 2])
def flaky() -> int:
    _noted("flaky")
    return len(Path(FILE).read_text().split())
""".replace("FILE", repr(str(ground.notes)))
    )
    assert ground.run().check()["flaky"].value() == 2
    assert ground.called() == ["flaky", "flaky"]


def test_a_value_that_somebody_else_makes_meanwhile_is_checked_too(tmp_path):
    """A run that waits for another one's value holds it to its own checks before it uses it."""
    began = threading.Event()

    @asset(version="1")
    def slow() -> int:
        began.set()
        time.sleep(0.4)
        return 1

    @check(slow)
    def big(value):
        return value > 1

    def go(*functions):
        return drawbar.run(Graph.from_functions(*functions, namespace="r"), store=str(tmp_path / "s"), lineage=False)

    with ThreadPoolExecutor(1) as other:
        first = other.submit(go, slow)
        assert began.wait(10)
        second = go(slow, big)
    assert first.result()["slow"].state == "made"
    assert isinstance(second["slow"].error, CheckError)


def test_a_function_that_checks_or_maps_for_another_is_no_asset(ground):
    """What stands in `checks=[…]` or `mappings={…}` needs no '_' before its name; marked as an asset it is one."""
    ground.write(
        """
def fine(value="asset"):
    return True

def both(value="asset"):
    return True

def first(partition):
    return "a"

both = asset(version="1")(both)

@asset(partitions=Static(["a", "b"]), checks=[fine, both])
def one(partition: Partition) -> str:
    return partition.key

@asset(partitions=Static(["a", "b"]), mappings={"one": first})
def two(one: str) -> str:
    return one
"""
    )
    assert set(ground.graph().assets) == {"both", "one", "two"}
    assert ground.run("two", partitions="b").check()["two@b"].value() == "a"
