"""Every kind of partitions in runs: two dimensions, clocks that change, mappings, sets that grow, files."""

from __future__ import annotations

import pytest

from drawbar.errors import ConfigError, OptionError, PartitionError, TypeMismatchError


def test_a_mapping_may_be_a_function(ground):
    """A function names one upstream key for one value, or several for a dict; a key that does not exist is an error."""
    ground.write(
        """
@asset(partitions=Static(["a", "b", "c"]))
def one(partition: Partition) -> str:
    return partition.key.upper()

def _before(partition) -> str:
    return chr(ord(partition.key) - 1)

@asset(partitions=Static(["b", "c"]), mappings={"one": _before})
def shifted(one: str) -> str:
    return one

@asset(partitions=Static(["b", "c"]), mappings={"one": lambda partition: ["a", partition.key]})
def both(one: dict[str, str]) -> list[str]:
    return list(one.items())

@asset(partitions=Static(["z"]), mappings={"one": _before})
def wrong(one: str) -> str:
    return one
"""
    )
    result = ground.run("shifted", "both", partitions="c")
    assert result["shifted@c"].value() == "B"
    assert [tuple(pair) for pair in result["both@c"].value()] == [("a", "A"), ("c", "C")]
    with pytest.raises(PartitionError, match="gives 'y' for 'z'"):
        ground.run("wrong", partitions="z")


def test_mappings_between_dimensions_that_do_not_meet_are_refused(ground):
    """Regions made from days without a word of how: the graph is not built, and both places are named."""
    ground.write(
        """
@asset(partitions=Daily("2024-01-01", "2024-01-05"))
def days() -> int:
    return 1

@asset(partitions=Static(["eu"]))
def regions(days: int) -> int:
    return 1
"""
    )
    with pytest.raises(PartitionError) as refused:
        ground.graph()
    assert "static eu" in refused.value.what
    assert "daily from 2024-01-01" in refused.value.what
    assert "pipeline.py:" in refused.value.where
    ground.edit('@asset(partitions=Static(["eu"]))', '@asset(partitions=Static(["eu"]), mappings={"days": All()})')
    with pytest.raises(TypeMismatchError, match="takes many partitions of days"):
        ground.graph()


def test_two_dimensions(ground):
    """A day and a region: keys by dimension, a range in one of them, and one dimension made from two."""
    ground.write(
        """
BOTH = Multi(date=Daily("2024-01-01", "2024-01-04"), region=Static(["eu", "us"]))

@asset(partitions=BOTH)
def sales(partition: Partition) -> dict[str, str]:
    _noted(partition.key)
    return {**partition.keys, "start": partition.start.isoformat()}

@asset(partitions=Daily("2024-01-01", "2024-01-04"))
def by_day(sales: dict[str, dict]) -> list[str]:
    return list(sales)

@asset(partitions=Static(["eu", "us"]))
def by_region(sales: dict[str, dict]) -> list[str]:
    return list(sales)
"""
    )
    result = ground.run("sales", partitions="2024-01-02..2024-01-03|us").check()
    assert ground.called() == ["2024-01-02|us", "2024-01-03|us"]
    assert result["sales@2024-01-02|us"].value() == {
        "date": "2024-01-02", "region": "us", "start": "2024-01-02T00:00:00+00:00",
    }  # fmt: skip
    assert ground.run("by_day@2024-01-02")["by_day@2024-01-02"].value() == ["2024-01-02|eu", "2024-01-02|us"]
    assert ground.run("by_region@eu")["by_region@eu"].value() == [
        f"{day}|eu" for day in ("2024-01-01", "2024-01-02", "2024-01-03")
    ]
    with pytest.raises(PartitionError, match="dimension 'region'"):
        ground.run("sales", partitions="2024-01-02|asia")


def test_days_of_a_zone_with_a_clock_change(ground):
    """The day in spring has 23 hours, the one in autumn 25, each of them a partition of its own."""
    ground.write(
        """
@asset(partitions=Daily("2024-03-30", "2024-11-01", timezone="Europe/Berlin"))
def seconds(partition: Partition) -> float:
    return partition.end.timestamp() - partition.start.timestamp()

@asset(partitions=Hourly("2024-03-30", "2024-11-01", timezone="Europe/Berlin"))
def hours(partition: Partition) -> str:
    return partition.key

@asset(partitions=Daily("2024-03-30", "2024-11-01", timezone="Europe/Berlin"), path="out/{partition}.json")
def day(hours: dict[str, str]) -> list[str]:
    return list(hours)
"""
    )
    result = ground.run("seconds", "day", partitions=["2024-03-30", "2024-03-31", "2024-10-27"]).check()
    assert [result[f"seconds@2024-{day}"].value() / 3600 for day in ("03-30", "03-31", "10-27")] == [24, 23, 25]
    spring, autumn = result["day@2024-03-31"].value(), result["day@2024-10-27"].value()
    assert (len(spring), len(set(autumn))) == (23, 25)
    assert not any("T02:" in key for key in spring)
    assert [key for key in autumn if "T02:" in key] == ["2024-10-27T02:00+02:00", "2024-10-27T02:00+01:00"]
    assert (ground.folder / "out" / "2024-03-31.json").exists()


def test_another_clock_for_the_same_keys_is_another_version(ground):
    """A day of Berlin is not that of UTC: a function that is given the window is called again when the zone changes."""
    ground.write(
        """
@asset(partitions=Daily("2024-01-01", "2024-01-05", timezone="UTC"))
def begin(partition: Partition) -> str:
    return partition.start.isoformat()
"""
    )
    assert ground.run("begin@2024-01-02")["begin@2024-01-02"].value() == "2024-01-02T00:00:00+00:00"
    ground.edit('"2024-01-05", timezone="UTC"', '"2025-01-05"')
    assert ground.states("begin@2024-01-02") == {"begin@2024-01-02": "reused"}
    ground.edit('"2025-01-05"', '"2025-01-05", timezone="Europe/Berlin"')
    assert "option windows changed" in ground.plan("begin@2024-01-02")["begin@2024-01-02"].reason
    assert ground.run("begin@2024-01-02")["begin@2024-01-02"].value() == "2024-01-02T00:00:00+01:00"


def test_configuration_may_say_the_partitions(ground):
    """`[assets.<name>]` gives partitions to a function that knows nothing of them; nonsense there is an error."""
    ground.write(
        "def plain(partition: Partition) -> str:\n    return str(partition.start and partition.start.date())\n"
    )
    ground.configure('[assets.plain]\npartitions = { monthly = "2024-01", end = "2024-04-01" }')
    result = ground.run("plain", partitions="all")
    assert [one.value() for one in result.assets.values()] == ["2024-01-01", "2024-02-01", "2024-03-01"]
    ground.configure('[assets.plain]\npartitions = { montly = "2024-01" }')
    with pytest.raises(ConfigError, match="montly") as refused:
        ground.run("plain", partitions="all")
    assert "did you mean 'monthly'" in str(refused.value)


@pytest.mark.parametrize("place", ["here", "worker"])
def test_an_asset_adds_to_a_dynamic_set(ground, place):
    """The texts of its value are keys from the next run on, whichever process made it; nonsense adds nothing."""
    target = "" if place == "here" else ', target="worker"'
    ground.write(
        f"""
CUSTOMERS = Dynamic("customers")

@asset(adds=CUSTOMERS{target})
def customers(names):
    return names

@asset(partitions=CUSTOMERS)
def bill(partition: Partition) -> str:
    return partition.key.upper()
"""
    )
    with pytest.raises(PartitionError, match="it holds no key yet"):
        ground.run("bill", partitions="all")
    ground.run("customers", params={"names": ["zeta", "acme"]}).check()
    assert ground.states("bill", partitions="all") == {"bill@acme": "made", "bill@zeta": "made"}
    ground.run("customers", params={"names": ["acme", "mid"]}).check()
    assert ground.states("bill", partitions="all") == {"bill@acme": "reused", "bill@mid": "made", "bill@zeta": "reused"}
    for names, error in (("abc", OptionError), (["ok", "a..b"], PartitionError), ([7], PartitionError)):
        failed = ground.run("customers", params={"names": names})["customers"]
        assert (failed.state, type(failed.error)) == ("failed", error)
    assert ground.store.members("g", "customers") == ["acme", "mid", "zeta"]


@pytest.mark.parametrize("place", ["here", "worker"])
def test_partitioned_files_are_read_as_the_mapping_says(ground, place):
    """Many files behind one parameter are texts, or paths, or lazily one of the two, as its annotation has it."""
    target = "" if place == "here" else 'target="worker"'
    ground.write(
        f"""
files = Source("in/{{partition}}.txt", partitions=Static(["a", "b"]))

@asset({target})
def texts(files: dict[str, str]) -> dict[str, str]:
    return files

@asset({target})
def paths(files: dict[str, Path]) -> list[str]:
    return [f"{{key}} {{one.read_text()}} {{one.suffix}}" for key, one in files.items()]

@asset({target})
def lazy(files: Partitioned[Path]) -> list[str]:
    return [one.read_text() for one in files.values()]
"""
    )
    (ground.folder / "in").mkdir()
    for key in ("a", "b"):
        (ground.folder / "in" / f"{key}.txt").write_text(key.upper())
    result = ground.run().check()
    assert result["texts"].value() == {"a": "A", "b": "B"}
    assert result["paths"].value() == ["a A .txt", "b B .txt"]
    assert result["lazy"].value() == ["A", "B"]
