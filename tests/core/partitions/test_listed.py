"""Partitions by name, sets that grow, two dimensions, and what of all that a person chooses."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawbar.errors import PartitionError
from drawbar.partitions import Daily, Dynamic, Hourly, Monthly, Multi, Static, Weekly, check_key, choose, from_config

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
DAYS = Daily("2026-11-17", "2026-11-21")
REGIONS = Static(["us", "eu", "asia"])
BOTH = Multi(date=DAYS, region=REGIONS)


def test_a_list_keeps_its_order():
    """Keys stand as they are written, not sorted, and each is found."""
    assert REGIONS.keys() == ("us", "eu", "asia")
    assert REGIONS.partition("eu").key == "eu"
    assert "eu" in REGIONS
    assert "mars" not in REGIONS
    assert 5 not in REGIONS
    assert pickle.loads(pickle.dumps(REGIONS)) == copy.deepcopy(REGIONS) == Static(iter(["us", "eu", "asia"]))
    assert eval(repr(REGIONS)) == REGIONS


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ([], "Static has no key"),
        ("eu", "write Static(['eu'])"),
        (5, "Static takes a list of keys"),
        (["eu", "us", "eu"], "the key 'eu' twice"),
        (["eu", 5], "found: int"),
        ([""], "0 bytes"),
        (["a\nb"], "a character that does not print"),
        (["a|b"], "'|' in it"),
        (["a..b"], "'..' in it"),
        (["all"], "means more than one partition"),
        (["latest"], "another one each day"),
        (["é" * 40], "240 bytes"),
        (["\ud800"], "does not print"),
    ],
)
def test_what_cannot_be_a_key_is_refused(keys, says):
    """A key that could be no folder, or that would mean something else on the command line, never gets in."""
    with pytest.raises(PartitionError) as refused:
        Static(keys)
    assert says in str(refused.value)


def test_an_unknown_name_is_refused_with_the_closest():
    """A slip of the finger is named as one."""
    with pytest.raises(PartitionError) as refused:
        REGIONS.partition("asai")
    assert str(refused.value) == (
        "'asai' is no partition of: static us, eu, asia.\n"
        "  expected: one of 'us', 'eu', 'asia'\n"
        "  found: no such key\n"
        "  do: did you mean 'asia'?"
    )


def test_a_set_has_the_keys_that_the_store_holds():
    """A definition in code knows its set by name; resolved, it has what was added, in that order, and is still equal."""
    customers = Dynamic("customers")
    assert customers.dynamic == ("customers",)
    with pytest.raises(PartitionError, match="not known here"):
        customers.keys()
    now = customers.resolved({"customers": ["globex", "acme"]}.__getitem__)
    assert (now.keys(), now == customers) == (("globex", "acme"), True)
    with pytest.raises(PartitionError) as refused:
        now.partition("initech")
    assert refused.value.todo == "add it to the set 'customers' first"
    empty = customers.resolved(lambda name: [])
    assert empty.keys() == ()
    with pytest.raises(PartitionError, match="is no partition") as refused:
        empty.partition("acme")
    assert "holds none yet" in refused.value.expected
    assert DAYS.resolved({}.__getitem__) is DAYS
    with pytest.raises(PartitionError, match="cannot be a key"):
        customers.resolved(lambda name: ["a|b"])
    with pytest.raises(PartitionError, match="nothing but blanks"):
        customers.resolved(lambda name: ["  "])
    with pytest.raises(PartitionError, match="cannot be the name of a dynamic set"):
        Dynamic("../x")


def test_two_dimensions_pair_their_keys():
    """A pair is a partition with the window of its time and the key of each dimension."""
    found = BOTH.partition("2026-11-20|eu", NOW)
    assert dict(found.keys) == {"date": "2026-11-20", "region": "eu"}
    assert (found.start, found.end) == (DAYS.partition("2026-11-20", NOW).start, DAYS.partition("2026-11-20", NOW).end)
    keys = BOTH.keys(NOW)
    assert (len(keys), keys[0], keys[-1]) == (12, "2026-11-17|us", "2026-11-20|asia")
    assert keys[2:4] == ["2026-11-17|asia", "2026-11-18|us"]
    assert all(key in BOTH for key in keys)
    assert eval(repr(BOTH)) == BOTH != Multi(region=REGIONS, date=DAYS)
    assert BOTH.describe() == "date (daily from 2026-11-17 to 2026-11-21, UTC) by region (static us, eu, asia)"


def test_pairs_are_made_as_they_are_asked_for():
    """Millions of pairs cost what their dimensions cost."""
    many = Multi(date=Daily("2000-01-01"), customer=Static([f"c{n}" for n in range(1000)]))
    keys = many.keys(NOW)
    assert len(keys) > 9_000_000
    assert keys[-1] == "2026-11-20|c999"
    assert next(iter(keys)) == "2000-01-01|c0"
    with pytest.raises(IndexError):
        keys[len(keys)]


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("2026-11-20", "join the key of 'date' and that of 'region' by '|'"),
        ("2026-11-20|eu|x", "found: 3 parts"),
        ("eu|2026-11-20", "as date a day such as 2026-11-20"),
        ("2026-11-20|mars", "as region one of 'us', 'eu', 'asia'"),
        ("2026-12-01|eu", "it lies after the end"),
        (None, "found: NoneType"),
    ],
)
def test_half_a_key_or_a_wrong_half_says_which(key, says):
    """Of a pair, the message names the dimension that is wrong."""
    with pytest.raises(PartitionError) as refused:
        BOTH.partition(key, NOW)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("dims", "says"),
    [
        ({}, "found: none"),
        ({"a": DAYS}, "found: 1: a"),
        ({"a": DAYS, "b": REGIONS, "c": REGIONS}, "found: 3: a, b, c"),
        ({"a": DAYS, "b": Monthly("2026-01")}, "two dimensions of time"),
        ({"a": DAYS, "b": ["eu"]}, "Dimension 'b' is not"),
        ({"a": DAYS, "b": BOTH}, "Dimension 'b' is not"),
    ],
)
def test_what_are_not_two_dimensions_is_refused(dims, says):
    """Exactly two, at most one of time, neither of them two again."""
    with pytest.raises(PartitionError) as refused:
        Multi(**dims)
    assert says in str(refused.value)


def test_sets_in_a_dimension_are_looked_up_too():
    """A dimension that grows is resolved with the rest, and its emptiness is named."""
    both = Multi(date=DAYS, customer=Dynamic("customers"))
    assert both.dynamic == ("customers",)
    assert len(both.resolved(lambda name: ["acme"]).keys(NOW)) == 4
    with pytest.raises(PartitionError) as refused:
        choose(both.resolved(lambda name: []), ["all"], NOW)
    assert refused.value.found == "customer: it holds no key yet"


@pytest.mark.parametrize(
    ("definition", "texts", "expected"),
    [
        (DAYS, ["2026-11-18"], ["2026-11-18"]),
        (DAYS, ["2026-11-18..2026-11-19"], ["2026-11-18", "2026-11-19"]),
        (DAYS, ["2026-11-19.."], ["2026-11-19", "2026-11-20"]),
        (DAYS, ["..2026-11-18"], ["2026-11-17", "2026-11-18"]),
        (DAYS, ["2026-11-20", "2026-11-17..2026-11-18", "..2026-11-17"], ["2026-11-17", "2026-11-18", "2026-11-20"]),
        (DAYS, ["latest"], ["2026-11-20"]),
        (DAYS, "all", ["2026-11-17", "2026-11-18", "2026-11-19", "2026-11-20"]),
        (REGIONS, ["eu.."], ["eu", "asia"]),
        (REGIONS, ["asia", "us"], ["us", "asia"]),
        (REGIONS, ["*"], ["us", "eu", "asia"]),
        (BOTH, ["2026-11-19..|eu"], ["2026-11-19|eu", "2026-11-20|eu"]),
        (BOTH, ["2026-11-20|*"], ["2026-11-20|us", "2026-11-20|eu", "2026-11-20|asia"]),
        (BOTH, ["latest|us..eu"], ["2026-11-20|us", "2026-11-20|eu"]),
        (BOTH, ["latest"], ["2026-11-20|us", "2026-11-20|eu", "2026-11-20|asia"]),
        (
            BOTH,
            ["*|asia", "2026-11-17|us"],
            [f"2026-11-{n}|{r}" for n, r in zip([17, 17, 18, 19, 20], ["us"] + ["asia"] * 4, strict=True)],
        ),
    ],
)
def test_texts_choose_partitions(definition, texts, expected):
    """Keys, ranges with both ends in, and words give keys in the definition's order, each once."""
    assert choose(definition, texts, NOW) == expected


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_range_of_first_and_last_gives_what_lies_between(one, other):
    """For any two keys in order, the range between them is that slice of all."""
    days = Daily("2026-01-01", timezone="Europe/Berlin")
    keys = days.keys(NOW)
    low, high = sorted([one, other])
    assert choose(days, [f"{keys[low]}..{keys[high]}"], NOW) == keys[low : high + 1]


@pytest.mark.parametrize(
    ("definition", "texts", "says"),
    [
        (DAYS, ["2026-11-20..2026-11-18"], "write 2026-11-18..2026-11-20"),
        (REGIONS, ["eu..us"], "write us..eu"),
        (BOTH, ["2026-11-20..2026-11-18|eu"], "In '2026-11-20..2026-11-18|eu', dimension 'date': The range"),
        (BOTH, ["2026-11-17|us..2026-11-18|us"], "found: 3 parts"),
        (BOTH, ["2026-11-17"], "'*' stands for each"),
        (DAYS, ["2026-11-18..2026-12-31"], "it lies after the end"),
        (DAYS, ["2026-11-18..x"], "text of another form"),
        (DAYS, ["2026-11-18...2026-11-19"], "text of another form"),
        (DAYS, [], "found: no text"),
        (DAYS, [5], "text of another form"),
        (
            Daily("2026-11-21"),
            ["all"],
            "the first one, 2026-11-21, ends at 2026-11-22T00:00+00:00; it is 2026-11-21T10:00",
        ),
        (Weekly("2027-01-01"), ["latest"], "the first one, 2027-01-04, ends at"),
        (Dynamic("c").resolved(lambda name: []), [".."], "it holds no key yet"),
        (Multi(a=Static(["x"]), b=REGIONS), ["latest"], "There is no order in"),
    ],
)
def test_a_choice_of_nothing_or_of_nonsense_says_why(definition, texts, says):
    """Backwards, unknown or empty: nothing is run silently."""
    with pytest.raises(PartitionError) as refused:
        choose(definition, texts, NOW)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"daily": "2024-01-01", "timezone": "Europe/Berlin"}, Daily("2024-01-01", timezone="Europe/Berlin")),
        ({"daily": date(2024, 1, 1), "end": date(2024, 2, 1), "hour": 6}, Daily("2024-01-01", "2024-02-01", hour=6)),
        ({"hourly": datetime.fromisoformat("2024-01-01")}, Hourly("2024-01-01")),
        ({"static": ["a", "b"]}, Static(["a", "b"])),
        ({"dynamic": "customers"}, Dynamic("customers")),
        (
            {"date": {"daily": "2024-01-01"}, "region": {"static": ["a"]}},
            Multi(date=Daily("2024-01-01"), region=Static(["a"])),
        ),
    ],
)
def test_a_table_of_configuration_is_a_definition(table, expected):
    """What can be written in code can be written in a file, with TOML's own dates too."""
    assert from_config(table) == expected


def test_a_cron_table_has_its_start_beside_it():
    """The expression stands behind its kind, the start by its own name."""
    assert repr(from_config({"cron": "0 6 * * 1", "start": "2024-01-01"})) == "Cron('0 6 * * 1', '2024-01-01')"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, "found: nothing"),
        ("daily", "found: str"),
        ({"dayly": "2024-01-01"}, "did you mean 'daily'"),
        ({"daily": "2024-01-01", "weekly": "2024-01-01"}, "found: daily and weekly"),
        ({"daily": "2024-01-01", "timezon": "UTC"}, "did you mean 'timezone'"),
        ({"static": ["a"], "timezone": "UTC"}, "is not an option of static"),
        ({"cron": "0 6 * * 1"}, "have no start"),
        ({"a b": {"static": ["x"]}, "c": {"static": ["y"]}}, "cannot be the name of a dimension"),
        ({"a": {"static": ["x"]}}, "Multi has two dimensions"),
    ],
)
def test_a_table_that_means_nothing_is_refused(table, says):
    """A slip in a configuration file is named with what was meant."""
    with pytest.raises(PartitionError) as refused:
        from_config(table)
    assert says in str(refused.value)


def test_a_key_can_be_checked_before_it_is_added():
    """What adds to a set refuses the same keys as a definition does."""
    assert check_key("eu-west 1") == "eu-west 1"
    with pytest.raises(PartitionError, match="cannot be a key of the set"):
        check_key("a..b", "the set 'customers'")


def test_every_public_name_is_there_and_costs_nothing_before():
    """`__all__` is true, and who uses no partitions loads none of their modules."""
    import subprocess
    import sys

    import drawbar.partitions

    assert set(drawbar.partitions.__all__) == set(drawbar.partitions._HOMES)
    assert all(
        getattr(drawbar.partitions, name).__module__.startswith("drawbar.") for name in drawbar.partitions.__all__
    )
    code = "import sys, drawbar.partitions as p; p.Partitions; print('drawbar.partitions.windows' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
