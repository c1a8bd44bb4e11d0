"""Windows of time: contiguous, named once, right over the nights that lack or repeat an hour, refused where there are none."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drawbar.errors import PartitionError
from drawbar.partitions import Cron, Daily, Hourly, Monthly, Weekly

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
# DST, a shift of half an hour, a change at midnight, a move over the date line, an offset of a quarter, and none.
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Beirut",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "America/St_Johns",
    "UTC",
]
MINUTE = timedelta(minutes=1)
EARLY, LATE, PLAIN = (datetime.fromisoformat(f"{year}-01-01") for year in (2009, 2027, 2024))


@st.composite
def _windows(draw):
    zone = draw(st.sampled_from(ZONES))
    start = draw(st.datetimes(EARLY, LATE))
    hour, minute = draw(st.integers(0, 23)), draw(st.integers(0, 59))
    at = {"timezone": zone, "hour": hour, "minute": minute}
    return draw(
        st.sampled_from(
            [
                (Hourly(start, timezone=zone, minute=minute), 2),
                (Daily(start, **at), 40),
                (Weekly(start, weekday="sunday", **at), 300),
                (Monthly(start, day=28, **at), 900),
                (Cron(f"{minute} {hour} * * *", start, timezone=zone), 9),
                (Cron(f"{minute},59 */5 * * *", start, timezone=zone), 2),
            ]
        )
    )


@settings(max_examples=150, deadline=None)
@given(_windows())
def test_windows_follow_each_other_without_gap_and_each_key_names_its_own(given_):
    """No moment after the start is in two partitions or in none, and every key leads back to its partition."""
    windows, days = given_
    now = windows.start.astimezone(UTC) + timedelta(days=days)
    keys = windows.keys(now)
    found = [windows.partition(key, now) for key in keys]
    assert [one.key for one in found] == keys
    assert len(set(keys)) == len(keys)
    edges = [(one.start.astimezone(UTC), one.end.astimezone(UTC)) for one in found]
    assert all(start < end for start, end in edges)
    assert all(one[1] == other[0] for one, other in pairwise(edges))
    if edges:
        assert windows.start.astimezone(UTC) <= edges[0][0]
        assert edges[-1][1] <= now < windows.after(edges[-1][1])
        assert windows.preceding(None, 3, now) == keys[-3:]
        assert windows.between(keys[0], keys[-1], now) == keys
    assert sorted(keys, key=windows.position) == keys


NIGHTS = [
    ("Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 5, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 4, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 13, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 13, tzinfo=UTC)),
    ("Asia/Beirut", datetime(2025, 3, 29, 20, tzinfo=UTC)),
    ("America/St_Johns", datetime(2010, 11, 7, 0, tzinfo=UTC)),
]


def _strikes(windows, begin, hours):
    """Where a clock that is looked at each minute shows a tick for which the rule holds, or has just skipped one."""
    found, zone = [], windows.start.tzinfo
    for count in range(1, hours * 60 + 1):
        before = (begin + (count - 1) * MINUTE).astimezone(zone).replace(tzinfo=None)
        now = (begin + count * MINUTE).astimezone(zone).replace(tzinfo=None)
        step = now - before
        passed = [now] if step <= MINUTE else [now - n * MINUTE for n in range(step // MINUTE)]
        if any(wall.minute == windows.minute for wall in passed):
            found.append(begin + count * MINUTE)
    return found


@pytest.mark.parametrize("minute", [0, 15, 45])
@pytest.mark.parametrize(("zone", "night"), NIGHTS)
def test_hours_are_those_that_the_clock_strikes(zone, night, minute):
    """Over a night of change hourly windows, and cron's, begin exactly when a clock on the wall shows their minute."""
    hours = Hourly(night - timedelta(days=1), timezone=zone, minute=minute)
    now = night + timedelta(days=3)
    expected = _strikes(hours, night, 12)
    for windows in (hours, Cron(f"{minute} * * * *", night - timedelta(days=1), timezone=zone)):
        begins = [windows.partition(key, now).start.astimezone(UTC) for key in windows.keys(now)]
        assert [at for at in begins if night < at <= night + timedelta(hours=12)] == expected


def test_both_hours_of_one_name_are_partitions():
    """The doubled hour of an autumn night is two partitions that a person can tell apart."""
    hours = Hourly("2026-10-25", timezone="Europe/Berlin")
    names = [key for key in hours.keys(NOW) if key.startswith("2026-10-25T02")]
    assert names == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]
    first, second = (hours.partition(key, NOW) for key in names)
    assert first.end.astimezone(UTC) == second.start.astimezone(UTC)
    assert second.end.isoformat() == "2026-10-25T03:00:00+01:00"


def test_the_missing_hour_is_no_partition():
    """No partition waits for data of an hour that never was."""
    hours = Hourly("2026-03-29", timezone="Europe/Berlin")
    assert [key[11:13] for key in hours.keys(NOW)[:4]] == ["00", "01", "03", "04"]
    with pytest.raises(PartitionError) as refused:
        hours.partition("2026-03-29T02:00+01:00", NOW)
    assert refused.value.todo == "did you mean '2026-03-29T03:00+02:00'?"


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
    ],
)
def test_days_are_as_long_as_they_are(zone, day, hours):
    """A day of change has 23, 25 or half an hour more or less, from midnight to midnight on the clock."""
    found = Daily("2026-01-01", timezone=zone).partition(day, NOW)
    assert (found.end.astimezone(UTC) - found.start.astimezone(UTC)) / timedelta(hours=1) == hours
    assert (found.start.hour, found.end.hour) == (0, 0)


def test_a_tick_that_is_skipped_comes_with_the_skip_and_a_doubled_one_once():
    """A day from 02:30 begins at 03:00 where there is no 02:30, and at the first of two."""
    days = Daily("2026-01-01", timezone="Europe/Berlin", hour=2, minute=30)
    assert days.partition("2026-03-29", NOW).start.isoformat() == "2026-03-29T03:00:00+02:00"
    assert days.partition("2026-10-25", NOW).start.isoformat() == "2026-10-25T02:30:00+02:00"
    nightly = Cron("30 2 * * *", "2026-01-01", timezone="Europe/Berlin")
    assert [key for key in nightly.keys(NOW) if "10-25" in key or "03-29" in key] == [
        "2026-03-29T03:00+02:00",
        "2026-10-25T02:30+02:00",
    ]


def test_a_day_that_the_calendar_left_out_is_no_partition():
    """Samoa moved over the date line and had no 30 December 2011."""
    days = Daily("2011-12-28", "2012-01-02", timezone="Pacific/Apia")
    assert days.keys(NOW) == ["2011-12-28", "2011-12-29", "2011-12-31", "2012-01-01"]
    with pytest.raises(PartitionError, match="2011-12-30"):
        days.partition("2011-12-30", NOW)


@pytest.mark.parametrize(
    ("windows", "last", "first_of_it"),
    [
        (Hourly("2026-11-01"), "2026-11-21T09:00", "2026-11-21T09:00:00+00:00"),
        (Hourly("2026-11-01", minute=30), "2026-11-21T08:30", "2026-11-21T08:30:00+00:00"),
        (Daily("2026-11-01"), "2026-11-20", "2026-11-20T00:00:00+00:00"),
        (Daily("2026-11-01", end_offset=1), "2026-11-21", "2026-11-21T00:00:00+00:00"),
        (Daily("2026-11-01", end_offset=-1), "2026-11-19", "2026-11-19T00:00:00+00:00"),
        (Daily("2026-11-01", "2026-11-05"), "2026-11-04", "2026-11-04T00:00:00+00:00"),
        (Daily("2026-11-01", timezone="Asia/Tokyo", hour=6), "2026-11-20", "2026-11-20T06:00:00+09:00"),
        (Weekly("2026-01-01"), "2026-11-09", "2026-11-09T00:00:00+00:00"),
        (Weekly("2026-01-01", weekday="sunday"), "2026-11-08", "2026-11-08T00:00:00+00:00"),
        (Monthly("2026-01"), "2026-10", "2026-10-01T00:00:00+00:00"),
        (Monthly("2026-01", day=15), "2026-10", "2026-10-15T00:00:00+00:00"),
        (Cron("0 6 * * 1", "2026-01-01"), "2026-11-09T06:00", "2026-11-09T06:00:00+00:00"),
    ],
)
def test_a_window_is_a_partition_once_it_has_ended(windows, last, first_of_it):
    """What still runs cannot be made half, and the last that has ended can be made at once."""
    assert windows.keys(NOW)[-1] == last
    assert windows.partition(last, NOW).start.isoformat() == first_of_it
    ends = windows.partition(last, NOW).end.astimezone(UTC)
    if not (windows.end or windows.end_offset):
        assert last in windows.keys(ends)
        assert last not in windows.keys(ends - timedelta(microseconds=1))


def test_a_start_within_a_window_begins_with_the_next():
    """A first partition is never a part of a day or week."""
    assert Daily("2026-11-01T12:00").keys(NOW)[0] == "2026-11-02"
    assert Weekly("2026-11-03").keys(NOW)[0] == "2026-11-09"
    assert Daily("2026-11-01", hour=6).partition("2026-11-01", NOW).start.hour == 6


def test_one_meaning_is_one_definition():
    """Date, datetime and text say the same; equal definitions are equal, hash alike, and survive pickle and copy."""
    one = Daily("2024-01-01", timezone="Europe/Berlin")
    others = [date(2024, 1, 1), PLAIN, "2024-01-01T00:00", "2023-12-31T23:00Z"]
    for other in [Daily(start, timezone="Europe/Berlin") for start in others]:
        assert (other, hash(other), repr(other)) == (one, hash(one), repr(one))
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    assert one != Daily("2024-01-01")
    assert one != Daily("2024-01-01", timezone="Europe/Berlin", hour=1)


@pytest.mark.parametrize(
    ("windows", "text", "said"),
    [
        (
            Daily("2024-01-01", timezone="Europe/Berlin"),
            "Daily('2024-01-01', timezone='Europe/Berlin')",
            "daily from 2024-01-01, Europe/Berlin",
        ),
        (
            Daily("2024-01-01", "2024-02-01", hour=6),
            "Daily('2024-01-01', '2024-02-01', hour=6)",
            "daily at 06:00 from 2024-01-01 to 2024-02-01, UTC",
        ),
        (
            Weekly("2024-01-01", weekday="sunday"),
            "Weekly('2024-01-01', weekday='sunday')",
            "weekly on sunday from 2024-01-01, UTC",
        ),
        (Monthly("2024-01", day=15), "Monthly('2024-01-01', day=15)", "monthly on day 15 from 2024-01-01, UTC"),
        (
            Hourly("2024-01-01T06:00", minute=5),
            "Hourly('2024-01-01T06:00', minute=5)",
            "hourly at minute 5 from 2024-01-01T06:00, UTC",
        ),
        (
            Cron(" 0 6  * * 1", "2024-01-01"),
            "Cron('0 6 * * 1', '2024-01-01')",
            "cron '0 6 * * 1' from 2024-01-01, UTC",
        ),
    ],
)
def test_a_definition_is_shown_as_it_is_written(windows, text, said):
    """A person who reads a message knows which definition it speaks of, and can paste it."""
    assert (repr(windows), windows.describe()) == (text, said)
    assert eval(text) == windows


@pytest.mark.parametrize(
    ("key", "found", "todo"),
    [
        ("2026-11", "text of another form", "did you mean '2026-11-01'?"),
        ("20261120", "text of another form", "did you mean '2026-11-20'?"),
        ("2026-11-20T00:00", "text of another form", "did you mean '2026-11-20'?"),
        (date(2026, 11, 20), "text of another form", "did you mean '2026-11-20'?"),
        ("eu", "text of another form", ""),
        ("", "text of another form", ""),
        ("2026-02-30", "text of another form", ""),
        ("9999-12-31", "text of another form", ""),
        ("2023-12-31", "it lies before the first one", "set `start` earlier, or choose a later one"),
        (
            "2026-11-21",
            "its window ends at 2026-11-22T00:00+00:00, which is still to come",
            "choose an earlier one, or wait until it has ended",
        ),
    ],
)
def test_a_key_that_does_not_exist_is_refused_with_its_reason(key, found, todo):
    """Before the start, still to come, or of another kind: the message says which, and what there is."""
    days = Daily("2024-01-01")
    with pytest.raises(PartitionError) as refused:
        days.partition(key, NOW)
    assert str(refused.value) == "\n".join(
        [
            f"{key!r} is no partition of: daily from 2024-01-01, UTC.",
            "  expected: a day such as 2026-11-20: 2024-01-01 to 2026-11-20",
            f"  found: {found}",
            *([f"  do: {todo}"] if todo else []),
        ]
    )
    assert key not in days


def test_a_key_after_the_end_and_one_of_a_definition_without_any_say_so():
    """Waiting does not help where the definition itself has ended, nor is a list of keys promised that is empty."""
    with pytest.raises(PartitionError) as refused:
        Daily("2024-01-01", "2024-02-01").partition("2024-02-01", NOW)
    assert refused.value.found == "it lies after the end"
    with pytest.raises(PartitionError) as refused:
        Weekly("2030-01-01").partition("2026-11-20", NOW)
    assert "which begin with 2030-01-07, and none of which exists yet" in refused.value.expected
    with pytest.raises(PartitionError) as refused:
        Daily("2024-01-01", end_offset=-2).partition("2026-11-20", NOW)
    assert "end_offset=-2 waits for more" in refused.value.found
    assert "no whole window" in Weekly("2026-11-17", "2026-11-20").lack(NOW)
    assert Weekly("2026-11-17", "2026-11-20").keys(NOW) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Daily("yesterday"), "'yesterday' is not a time"),
        (lambda: Daily(5), "5 is not a time"),
        (lambda: Daily("9999-12-31"), "'9999-12-31' is not a time"),
        (lambda: Daily("2024-01-01", "2023-01-01"), "ends before it has begun"),
        (lambda: Daily("2024-01-01", timezone="Europe/Berln"), "did you mean 'Europe/Berlin'"),
        (lambda: Daily("2024-01-01", timezone=["UTC"]), "is not a time zone"),
        (lambda: Daily("2024-01-01", hour=24), "a whole number from 0 to 23"),
        (lambda: Daily("2024-01-01", minute=True), "a whole number from 0 to 59"),
        (lambda: Daily("2024-01-01", end_offset=10**9), "a whole number from -366 to 366"),
        (lambda: Weekly("2024-01-01", weekday="Monnday"), "did you mean 'monday'"),
        (lambda: Monthly("2024-01-01", day=31), "a whole number from 1 to 28"),
        (lambda: Cron("0 6 * *", "2024-01-01"), "4 fields"),
        (lambda: Cron("@daily", "2024-01-01"), "1 fields"),
        (lambda: Cron("0 6 * * blue", "2024-01-01"), "is not a cron expression"),
        (lambda: Cron("0 0 30 2 *", "2024-01-01"), "tick some day"),
        (lambda: Cron("R R * * *", "2024-01-01"), "a random or hashed field"),
        (lambda: Cron(None, "2024-01-01"), "found: NoneType"),
        (lambda: Daily("2024-01-01").keys(PLAIN), "an aware datetime"),
    ],
)
def test_nonsense_in_a_definition_is_refused_where_it_is_written(wrong, says):
    """A definition that could not work fails when the module is loaded, not on the first night."""
    with pytest.raises(PartitionError) as refused:
        wrong()
    assert says in str(refused.value)


def test_without_croniter_only_cron_is_missing(monkeypatch):
    """The one definition that needs a package of its own says how to get it."""
    monkeypatch.setitem(__import__("sys").modules, "croniter", None)
    with pytest.raises(PartitionError) as refused:
        Cron("0 6 * * 1", "2024-01-01")
    assert "pip install croniter" in refused.value.todo


def test_ten_thousand_days_are_listed_in_a_moment():
    """The cost of a plan follows what is chosen: a key is found without the list, and the list is cheap."""
    import time

    days = Daily("1999-07-06", timezone="Europe/Berlin")

    def best(call, times=5):
        took = []
        for _ in range(times):
            began = time.perf_counter()
            call()
            took.append(time.perf_counter() - began)
        return min(took)

    assert len(days.keys(NOW)) == 10_000
    assert best(lambda: days.keys(NOW)) < 0.1
    assert best(lambda: days.partition("2026-11-20", NOW)) < 0.005


def test_another_offset_in_now_means_the_same_moment():
    """A worker in another zone sees the same partitions."""
    assert Daily("2026-11-01").keys(NOW) == Daily("2026-11-01").keys(NOW.astimezone(timezone(timedelta(hours=-11))))
