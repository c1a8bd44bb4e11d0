"""The order in which a value is looked at, and that no fault in it loses the value."""

import pandas as pd

from drawbar.agent import contracting, examine, profiling

SPEC = {"contract": None, "checks": [], "profile": False}


def test_nothing_asked():
    """A value without demands would be changed, or told of."""
    value = object()
    assert examine.examine(value, SPEC, [], None) == (value, {"checks": [], "profile": None})


def test_order_and_all_are_told():
    """A check would see rows that the contract discards, or a failure hide the next."""
    contract = {
        "mode": "freeze",
        "extra": "discard_columns",
        "columns": [{"name": "a", "type": "int64", "nullable": True, "mode": ""}],
    }
    seen = []

    def columns(value):
        seen.append(list(value.columns))
        return False

    def broken(value):
        raise ValueError

    checks = [{"name": "columns"}, {"name": "broken"}, {"name": "fine"}]
    spec = {"contract": contract, "checks": checks, "profile": True}
    value = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    kept, found = examine.examine(value, spec, [columns, broken, lambda _: True], None)
    assert seen == [["a"]]
    assert list(kept.columns) == ["a"]
    assert list(value.columns) == ["a", "b"]
    names = [one["name"] for one in found["checks"]]
    assert names[-3:] == ["columns", "broken", "fine"]
    assert set(names[:-3]) == {"contract"}
    assert [one["passed"] for one in found["checks"]][-3:] == [False, False, True]
    assert list(found["profile"]["columns"]) == ["a"]


def test_last_is_read_once():
    """Ten checks that look at the value before would read it ten times, or a None without end."""
    reads = []

    def last():
        reads.append(1)

    checks = [{"name": str(number), "last": True} for number in range(3)]
    _, found = examine.examine(1, {**SPEC, "checks": checks}, [lambda value, last: last is None] * 3, None, last=last)
    assert [one["passed"] for one in found["checks"]] == [True] * 3
    assert reads == [1]


def test_faults_of_contract_and_profile(monkeypatch, capsys):
    """A fault of ours in looking at an odd value would lose nine hours of work."""

    def fails(*_):
        raise RuntimeError("ours")

    monkeypatch.setattr(contracting, "apply", fails)
    monkeypatch.setattr(profiling, "profile", fails)
    spec = {"contract": {"columns": []}, "checks": [], "profile": True}
    kept, found = examine.examine([1], spec, [], None)
    assert kept == [1]
    assert found["profile"] is None
    assert [(one["name"], one["passed"], one["found"]) for one in found["checks"]] == [
        ("contract", False, "RuntimeError: ours")
    ]
    assert capsys.readouterr().err == "[drawbar: no profile was taken: RuntimeError: ours]\n"
