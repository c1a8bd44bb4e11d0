"""A job over many items, on every kind of target: one outcome for each, by the user's own function."""

from __future__ import annotations

import numpy as np
from places import job_of, run, stored

from drawbar.agent import each


def outcomes(place, job):
    """What came of each item: its encoded value, or its error."""
    outcome = place.dispatcher.collect(place.dispatcher.submit(job), timeout=60)
    outcome.raise_()
    return list(each.outcomes(place.dispatcher.fetch(outcome.value)))


def test_each_item_has_an_outcome(place, jobs):
    """One bad item of three is told with its error, and the other two have their values."""
    items, _ = stored([1, "a", 2])
    found = outcomes(place, job_of(jobs.add, left=items, right=1, each="left"))
    assert [bytes(item.data) for item, error in found if error is None] == [b"2", b"3"]
    assert found[1][1]["type"] == "TypeError"
    assert "return left + right" in found[1][1]["traceback"]


def test_each_value_is_in_a_format_of_its_own(place, jobs):
    """An array stays one, beside a text, and the named format goes for each value."""
    items, _ = stored([1, 2.5])
    assert [item.format for item, _ in outcomes(place, job_of(jobs.same, value=items, each="value"))] == ["json"] * 2
    found = outcomes(place, job_of(jobs.same, value=[np.ones(2), "b"], each="value"))
    assert [item.format for item, _ in found] == ["npy", "text"]
    found = outcomes(place, job_of(jobs.same, value=items, each="value", format="pickle"))
    assert [item.format for item, _ in found] == ["pickle"] * 2


def test_an_ordinary_job_still_gets_the_whole(place, jobs):
    """Without `each` a list is one argument."""
    items, _ = stored([1, 2])
    assert run(place, job_of(jobs.same, value=items)) == [1, 2]
