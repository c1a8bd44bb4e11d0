"""What a function is given of its partition: the same on both sides of a border, also where a zone is unknown."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from drawbar.agent.partition import Partition
from drawbar.partitions import Daily, Hourly, Multi, Static

NOW = datetime(2026, 11, 21, tzinfo=UTC)
BERLIN = Hourly("2026-10-25", timezone="Europe/Berlin")
ALL = [
    Partition("eu"),
    Daily("2026-11-01").partition("2026-11-20", NOW),
    BERLIN.partition("2026-10-25T02:00+02:00", NOW),
    BERLIN.partition("2026-10-25T02:00+01:00", NOW),
    Multi(date=Daily("2026-11-01"), region=Static(["eu"])).partition("2026-11-20|eu", NOW),
    Partition("plain", datetime.fromisoformat("2026-01-01"), datetime.fromisoformat("2026-01-02")),
]


@pytest.mark.parametrize("partition", ALL, ids=str)
def test_it_crosses_borders_whole(partition):
    """Through JSON, pickle and copy come the same key, instants, zone and dimensions."""
    import json

    for found in (
        Partition.from_json(json.loads(json.dumps(partition.to_json()))),
        pickle.loads(pickle.dumps(partition)),
        copy.deepcopy(partition),
    ):
        assert (found, hash(found), str(found)) == (partition, hash(partition), partition.key)
        assert list(found.keys.items()) == list(partition.keys.items())
        if partition.start:
            assert found.start.tzinfo is partition.start.tzinfo
            assert found.start.isoformat() == partition.start.isoformat()
            assert found.end.isoformat() == partition.end.isoformat()


def test_its_zone_counts_on_from_it():
    """A function that adds days to `start` stays at midnight on the clock of the definition's zone."""
    found = Partition.from_json(Daily("2026-10-01", timezone="Europe/Berlin").partition("2026-10-25", NOW).to_json())
    assert found.start.tzinfo == ZoneInfo("Europe/Berlin")
    assert (found.start + timedelta(days=1)).isoformat() == "2026-10-26T00:00:00+01:00"


def test_a_host_that_does_not_know_the_zone_keeps_the_offsets():
    """Where a machine has no time zones a job still gets its window, to the instant."""
    body = BERLIN.partition("2026-10-25T02:00+02:00", NOW).to_json()
    body["zone"] = "Mars/Olympus"
    found = Partition.from_json(body)
    assert (found.start.isoformat(), found.start.utcoffset()) == ("2026-10-25T02:00:00+02:00", timedelta(hours=2))


def test_it_cannot_be_changed():
    """What a function is given is its own to read only."""
    with pytest.raises(AttributeError):
        ALL[0].key = "us"
    with pytest.raises(TypeError):
        ALL[4].keys["region"] = "us"


def test_it_is_shown_short():
    """A log line or a traceback names the partition and its window."""
    assert repr(ALL[4]) == (
        "Partition('2026-11-20|eu', 2026-11-20T00:00+00:00 to 2026-11-21T00:00+00:00, date='2026-11-20', region='eu')"
    )
    assert repr(Partition("eu")) == "Partition('eu')"


def test_it_loads_no_zones_before_one_is_named():
    """An agent that starts pays nothing for zones of time that no job has."""
    code = "import sys, drawbar.agent.partition, drawbar.agent.lazily; print('zoneinfo' in sys.modules)"
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout == "False\n"
