"""A function called for each item: what one of them does is no other's fault."""

from __future__ import annotations

import sys

import pytest

from drawbar.agent import each
from drawbar.dispatch.calls import described


def outcomes(call, items, **options):
    made = each.apply(call, items, options.get("format"), options.get("trust", "pickle"), described)
    return list(each.outcomes(made.join()))


def test_a_failing_item_leaves_the_others():
    """Nine of ten values are there when one item is bad, and the bad one says why, with the user's own line."""

    def half(item):
        if item == 3:
            raise ValueError("an odd one")
        return item * 2

    found = outcomes(half, range(5))
    told = found[3][1]
    assert [bytes(item.data) for item, error in found if error is None] == [b"0", b"2", b"4", b"8"]
    assert (told["type"], told["message"]) == ("ValueError", "an odd one")
    assert 'raise ValueError("an odd one")' in told["traceback"]
    assert "agent/each.py" not in told["traceback"]


def test_sys_exit_and_what_cannot_be_kept_are_failures_of_their_item():
    """A worker does not end, and no value is lost, because one item's function exits or returns a lambda."""

    def odd(item):
        return [sys.exit, lambda _: lambda: 1, str][item](item)

    (_, left), (_, unkept), (kept, none) = outcomes(odd, [0, 1, 2])
    assert left["type"] == "SystemExit"
    assert "cannot be pickled" in unkept["message"]
    assert (kept.format, none) == ("text", None)


def test_an_interrupt_is_nobodys_failure():
    """Ctrl-C ends the batch; it is not noted as what came of an item."""

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outcomes(stop, [1])


def test_no_pickle_where_none_is_trusted():
    """An item whose value needs a pickle fails by itself where results may not be pickles."""
    (first, error), (second, told) = outcomes(lambda item: item, [1, {1}], trust="data")
    assert (first.format, error, second.format) == ("json", None, each.FAILED)
    assert "pickles are not trusted here" in told["message"]
