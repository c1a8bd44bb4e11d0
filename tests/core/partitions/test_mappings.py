"""Which upstream partitions a partition is made from: said, or without saying; and what happens where none exists."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from drawbar.errors import PartitionError
from drawbar.partitions import (
    All,
    Cron,
    Daily,
    Dynamic,
    Hourly,
    Last,
    Monthly,
    Multi,
    Overlap,
    Same,
    Static,
    Weekly,
    default,
    mapping_of,
)

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
DAYS = Daily("2026-11-01")
HOURS = Hourly("2026-11-01")
REGIONS = Static(["us", "eu"])
BOTH = Multi(date=DAYS, region=REGIONS)


def _from(mapping, own, above, key=None):
    """The keys above, for a mapping that has been checked as a graph does."""
    mapping = mapping_of(mapping)
    mapping.check(own, above)
    partition = own.partition(key, NOW) if own else None
    return mapping.upstream(partition, own, above, NOW)


@pytest.mark.parametrize(
    ("own", "above", "mapping", "many"),
    [
        (DAYS, None, None, None),
        (None, None, None, None),
        (None, DAYS, All(), True),
        (DAYS, DAYS, Same(), False),
        (DAYS, Daily("2020-01-01", end_offset=1), Same(), False),
        (DAYS, HOURS, Overlap(), True),
        (HOURS, DAYS, Overlap(), False),
        (DAYS, Weekly("2026-01-01"), Overlap(), False),
        (DAYS, Monthly("2026-01"), Overlap(), False),
        (HOURS, Monthly("2026-01"), Overlap(), False),
        (Weekly("2026-01-01"), Monthly("2026-01"), Overlap(), True),
        (DAYS, Daily("2026-01-01", timezone="Asia/Tokyo"), Overlap(), True),
        (DAYS, Daily("2026-01-01", hour=6), Overlap(), True),
        (HOURS, Daily("2026-01-01", minute=30), Overlap(), True),
        (DAYS, Weekly("2026-01-01", timezone="Europe/Berlin"), Overlap(), True),
        (DAYS, Cron("0 6 * * 1", "2026-01-01"), Overlap(), True),
        (REGIONS, REGIONS, Same(), False),
        (Static(["eu"]), REGIONS, Same(), False),
        (Dynamic("c"), Dynamic("c"), Same(), False),
        (BOTH, BOTH, Same(), False),
        (BOTH, Multi(region=REGIONS, date=DAYS), Same(), False),
        (BOTH, DAYS, Same(), False),
        (BOTH, REGIONS, Same(), False),
        (DAYS, BOTH, Same(), True),
        (REGIONS, BOTH, Same(), True),
    ],
)
def test_what_goes_without_saying(own, above, mapping, many):
    """Alike is the same key, time is what overlaps, no partitions are all, and a shared dimension is shared."""
    found = default(own, above)
    assert found == mapping
    if found is not None:
        found.check(own, above)
        assert found.many(own, above) is many


@pytest.mark.parametrize(
    ("own", "above", "found"),
    [
        (REGIONS, DAYS, "their keys are not the same"),
        (Static(["mars"]), REGIONS, "their keys are not the same"),
        (Dynamic("a"), Dynamic("b"), "their keys are not the same"),
        (BOTH, Static(["x"]), "they share no dimension"),
        (Monthly("2026-01"), BOTH, "they share no dimension"),
        (BOTH, Multi(date=DAYS, place=REGIONS), "their dimensions are not the same two"),
        (REGIONS, Multi(a=REGIONS, b=REGIONS), "both dimensions fit, so either could be meant"),
    ],
)
def test_what_does_not_meet_is_refused_when_the_graph_is_built(own, above, found):
    """The message names both definitions, whose parameter it is, and every mapping that could be written."""
    with pytest.raises(PartitionError) as refused:
        default(own, above, edge="parameter 'raw' of 'features'", where="pipeline.py:7")
    assert refused.value.what == (
        "parameter 'raw' of 'features': No mapping goes without saying: "
        f"downstream {own.describe()}, upstream {above.describe()}."
    )
    assert (refused.value.found, refused.value.where) == (found, "pipeline.py:7")
    assert "Same(), Last(n), All(), Overlap(), or a function" in refused.value.expected
    with pytest.raises(PartitionError, match="does not fit"):
        Same().check(own, above)


@pytest.mark.parametrize(
    ("mapping", "own", "above", "key", "expected"),
    [
        (Same(), DAYS, DAYS, "2026-11-20", ["2026-11-20"]),
        (Same(), DAYS, Daily("2026-01-01"), "2026-11-20", ["2026-11-20"]),
        (Same(), BOTH, Multi(region=REGIONS, date=DAYS), "2026-11-20|eu", ["eu|2026-11-20"]),
        (Same(), BOTH, DAYS, "2026-11-20|eu", ["2026-11-20"]),
        (Same(), BOTH, REGIONS, "2026-11-20|eu", ["eu"]),
        (Same(), DAYS, BOTH, "2026-11-20", ["2026-11-20|us", "2026-11-20|eu"]),
        (Same(), REGIONS, Multi(date=Daily("2026-11-19"), region=REGIONS), "eu", ["2026-11-19|eu", "2026-11-20|eu"]),
        (Last(3), DAYS, DAYS, "2026-11-20", ["2026-11-18", "2026-11-19", "2026-11-20"]),
        (Last(3), DAYS, DAYS, "2026-11-02", ["2026-11-01", "2026-11-02"]),
        (Last(2), REGIONS, REGIONS, "eu", ["us", "eu"]),
        (Last(2), BOTH, BOTH, "2026-11-20|eu", ["2026-11-19|eu", "2026-11-20|eu"]),
        (Last(2), BOTH, DAYS, "2026-11-20|eu", ["2026-11-19", "2026-11-20"]),
        (Last(2), None, DAYS, None, ["2026-11-19", "2026-11-20"]),
        (Last(1), None, BOTH, None, ["2026-11-20|us", "2026-11-20|eu"]),
        (Last(2), Daily("2026-11-01", end_offset=1), DAYS, "2026-11-21", ["2026-11-20"]),
        (All(), None, REGIONS, None, ["us", "eu"]),
        (All(), DAYS, REGIONS, "2026-11-20", ["us", "eu"]),
        (All(), None, Daily("2027-01-01"), None, []),
        (Overlap(), DAYS, HOURS, "2026-11-20", [f"2026-11-20T{hour:02}:00" for hour in range(24)]),
        (Overlap(), HOURS, DAYS, "2026-11-20T14:00", ["2026-11-20"]),
        (Overlap(), DAYS, Daily("2026-01-01", timezone="Asia/Tokyo"), "2026-11-10", ["2026-11-10", "2026-11-11"]),
        (Overlap(), BOTH, Monthly("2026-01", end_offset=1), "2026-11-20|eu", ["2026-11"]),
        (Overlap(), Weekly("2026-11-01"), Daily("2026-11-04"), "2026-11-02", [f"2026-11-0{n}" for n in range(4, 9)]),
        (lambda own: own.key[:7], DAYS, Monthly("2026-01", end_offset=1), "2026-11-20", ["2026-11"]),
        (lambda own: ["eu", "us", "eu"], DAYS, REGIONS, "2026-11-20", ["eu", "us"]),
    ],
)
def test_partitions_are_made_from_those_upstream(mapping, own, above, key, expected):
    """Each mapping gives exactly the keys that it promises, in order, and only those that exist."""
    assert _from(mapping, own, above, key) == expected


def test_a_night_of_25_hours_is_made_from_25():
    """A day downstream takes both hours of one name."""
    days, hours = (kind("2026-10-01", timezone="Europe/Berlin") for kind in (Daily, Hourly))
    assert len(_from(Overlap(), days, hours, "2026-10-25")) == 25
    assert len(_from(Overlap(), days, hours, "2026-10-24")) == 24


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "UTC"])
def test_an_hour_lies_in_one_day(zone):
    """Where one value is promised there is never a second, also around a change of the clock."""
    days = Daily("2026-03-25", timezone=zone, minute=30)
    hours = Hourly("2026-03-25T00:30", "2026-10-30", timezone=zone, minute=30)
    assert Overlap().many(hours, days) is False
    nights = ("-03-28", "-03-29", "-04-04", "-04-05", "-10-03", "-10-04", "-10-24", "-10-25")
    keys = [key for key in hours.keys(NOW) if key[4:10] in nights]
    assert len(keys) >= 8 * 23
    for key in keys:
        assert len(Overlap().upstream(hours.partition(key, NOW), hours, days, NOW)) == 1, key


@pytest.mark.parametrize(
    ("mapping", "own", "above", "key", "says"),
    [
        (Same(), DAYS, Daily("2026-11-10"), "2026-11-05", "it lies before the first one"),
        (Same(), Daily("2026-11-01", end_offset=1), DAYS, "2026-11-21", "which is still to come"),
        (Same(), DAYS, Multi(date=Daily("2026-11-10"), region=REGIONS), "2026-11-05", "it lies before the first one"),
        (Last(2), DAYS, Daily("2026-11-10"), "2026-11-05", "of the 2 that end with '2026-11-05' none exists"),
        (Overlap(), DAYS, Monthly("2026-01"), "2026-11-05", "its window ends at 2026-12-01T00:00+00:00"),
        (Overlap(), DAYS, Hourly("2026-11-10"), "2026-11-05", "it lies before the first one"),
    ],
)
def test_a_partition_without_anything_upstream_says_why(mapping, own, above, key, says):
    """The message names the partition that lacks its upstream, and whether that has not begun or not ended."""
    with pytest.raises(PartitionError) as refused:
        _from(mapping, own, above, key)
    assert f"The partition {key!r} has nothing upstream in: {above.describe()}." == refused.value.what
    assert says in refused.value.found


def test_an_asset_without_partitions_takes_the_last_only_where_there_are_any():
    """Nothing at all is an error for Last, which cannot do without."""
    with pytest.raises(PartitionError, match="An asset without partitions has nothing upstream"):
        _from(Last(2), None, Daily("2027-01-01"))


@pytest.mark.parametrize(
    ("mapping", "own", "above", "found"),
    [
        (Same(), None, DAYS, "what is downstream has no partitions"),
        (Same(), DAYS, None, "what is upstream has no partitions"),
        (Last(2), DAYS, HOURS, "their keys are not the same"),
        (Last(2), DAYS, BOTH, "what is upstream has one dimension more, so the same key is many already"),
        (Last(2), None, Multi(a=REGIONS, b=Static(["x"])), "what is upstream has no dimension of time"),
        (Overlap(), REGIONS, DAYS, "what is downstream has no windows of time"),
        (Overlap(), None, DAYS, "what is downstream has no windows of time"),
        (Overlap(), DAYS, BOTH, "what is upstream is not windows of time alone"),
        (str, None, DAYS, "is not a mapping"),
        (lambda own: "x", None, DAYS, "no partitions that the function could be given"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_when_the_graph_is_built(mapping, own, above, found):
    """A mapping between definitions that do not meet fails before anything runs."""
    with pytest.raises(PartitionError) as refused:
        mapping_of(mapping).check(own, above)
    assert found in str(refused.value)


@pytest.mark.parametrize("value", ["2026-11-20", 7, None, Same, Last])
def test_what_is_no_mapping_is_refused(value):
    """A class in place of its value, and a plain number, are told what could be written."""
    with pytest.raises(PartitionError, match="is not a mapping of partitions"):
        mapping_of(value)


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "7"])
def test_last_takes_a_number(count):
    """Last of nothing would silently be an asset made of nothing."""
    with pytest.raises(PartitionError, match="does not say how many"):
        Last(count)


def _one(own) -> str:
    return own.key


def _some(own) -> list[str]:
    return [own.key]


def _lies(own) -> str:
    return [own.key]


def _raises(own):
    return {}[own.key]


def _number(own):
    return 5


def test_a_function_gives_one_or_many():
    """Its annotation says which, and without one what it gives for an example."""
    assert mapping_of(_one).many(DAYS, DAYS) is False
    assert mapping_of(_some).many(DAYS, DAYS) is True
    assert mapping_of(lambda own: own.key).many(DAYS, DAYS) is False
    assert mapping_of(lambda own: [own.key]).many(BOTH, BOTH) is True
    assert mapping_of(lambda own: own.key).many(Dynamic("never"), DAYS) is False
    assert mapping_of(lambda own: own.keys["region"]).many(BOTH, REGIONS) is False
    assert mapping_of(lambda own: own.key).many(Daily("2100-01-01"), DAYS) is False


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (_lies, "where one key was announced"),
        (_raises, "KeyError"),
        (_number, "TypeError"),
        (lambda own: [own], "Partition('2026-11-20'"),
        (lambda own: "2030-01-01", "which is still to come"),
        (lambda own: ["eu"], "text of another form"),
    ],
)
def test_a_function_that_talks_nonsense_is_named_with_its_line(function, says):
    """What a user's function does wrong points at the function, not at drawbar."""
    with pytest.raises(PartitionError) as refused:
        mapping_of(function).upstream(DAYS.partition("2026-11-20", NOW), DAYS, DAYS, NOW)
    assert says in str(refused.value)
    assert refused.value.where.startswith(__file__)


def test_a_function_that_an_example_breaks_can_be_annotated():
    """A function that knows real keys only says by its annotation what it gives."""
    with pytest.raises(PartitionError) as refused:
        mapping_of(_raises).many(Dynamic("c"), DAYS)
    assert "-> list[str]" in refused.value.todo
