"""Runs: what happens at the same time, after a failure, at Ctrl-C, and what is told of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import drawbar
from drawbar import Graph, asset
from drawbar.config import Config
from drawbar.errors import CorruptError, FormatError, ParameterError, RunError, StoreError, UnknownTargetError
from drawbar.store import Store


@pytest.fixture
def store(tmp_path):
    """A store of its own."""
    return str(tmp_path / "store")


def go(*functions, store, **settings):
    graph = Graph.from_functions(*functions, namespace="r")
    return drawbar.run(graph, store=store, lineage=False, **settings)


def states(result):
    return {name: one.state for name, one in result.assets.items()}


def test_values_of_every_kind_come_back(store):
    """Coroutines and generators are assets; a value read later equals the one that was made."""

    def numbers() -> list[int]:
        return [1, 2]

    async def later(numbers: list[int]) -> dict[str, int]:
        return {"count": len(numbers)}

    def rows(numbers: list[int]):
        yield from ({"n": n} for n in numbers)

    async def slow_rows():
        yield "a"

    result = go(numbers, later, rows, slow_rows, store=store)
    assert result["later"].value() == {"count": 2}
    assert result["rows"].value() == [{"n": 1}, {"n": 2}]
    assert result["slow_rows"].value() == ["a"]
    assert result["rows"].rows == 2


def test_independent_assets_run_at_the_same_time(store):
    """Two assets that wait for each other both end, which only happens if both run."""
    meeting = threading.Barrier(2, timeout=10)

    def left() -> int:
        return meeting.wait() * 0

    def right() -> int:
        return meeting.wait() * 0

    @asset(version="1")
    def both(left: int, right: int) -> int:
        return 2

    left, right = asset(version="1")(left), asset(version="1")(right)
    assert states(go(left, right, both, store=store)) == {"left": "made", "right": "made", "both": "made"}


def test_a_failure_stops_only_what_depends_on_it(store):
    """The rest is made; the error is the user's own, with their line in its traceback."""

    def bad() -> int:
        raise ValueError("mine")

    def below(bad: int) -> int: ...
    def further(below: int) -> int: ...
    def aside() -> int:
        return 1

    told = []
    result = go(bad, below, further, aside, store=store, listeners=[told.append])
    assert states(result) == {"bad": "failed", "aside": "made", "below": "blocked", "further": "blocked"}
    assert isinstance(result["bad"].error, ValueError)
    (failed,) = [one for one in told if type(one).__name__ == "AssetFailed"]
    assert 'raise ValueError("mine")' in failed.traceback
    assert "drawbar/execution" not in failed.traceback
    with pytest.raises(RunError, match="The run failed") as refused:
        result.check()
    assert refused.value.__cause__ is result["bad"].error
    assert not result.ok


def test_a_failed_asset_is_tried_as_often_as_it_asks(store):
    """Retries are attempts of their own, told one by one, with a growing delay."""
    tries = []

    @asset(retries=2, retry_delay=0.05, version="1")
    def flaky() -> int:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise OSError("not yet")
        return 7

    told = []
    assert go(flaky, store=store, listeners=[told.append])["flaky"].value() == 7
    kinds = [type(one).__name__ for one in told if hasattr(one, "asset_run_id")]
    tried = ["AssetStarted", "AssetFailed", "AssetWaiting"]
    assert kinds == [*tried, *tried, "AssetStarted", "AssetMade"]
    runs = [one.asset_run_id for one in told if type(one).__name__ == "AssetStarted"]
    assert len(set(runs)) == 3
    assert tries[2] - tries[1] > (tries[1] - tries[0]) * 1.1


def test_a_consumer_cannot_change_what_another_reads(store):
    """A function that changes its argument changes its own copy only."""

    def made() -> list[int]:
        return [1]

    def spoil(made: list[int]) -> int:
        made.append(2)
        return len(made)

    def also(made: list[int]) -> int:
        made.append(3)
        return len(made)

    result = go(made, spoil, also, store=store)
    assert (result["spoil"].value(), result["also"].value(), result["made"].value()) == (2, 2, [1])


def test_a_transient_asset_is_made_only_when_needed(store):
    """It is in no store; made once for all that need it, and not at all where everything below is reused."""
    made = []

    @asset(persist=False, version="1")
    def connection() -> object:
        made.append(1)
        return object()

    @asset(version="1")
    def first(connection: object) -> int:
        return 1

    @asset(version="1")
    def second(connection: object) -> int:
        return 2

    result = go(connection, first, second, store=store)
    assert (made, states(result)) == ([1], {"connection": "made", "first": "made", "second": "made"})
    assert states(go(connection, first, second, store=store)) == {
        "connection": "skipped",
        "first": "reused",
        "second": "reused",
    }
    assert made == [1]
    assert Store(store).records(drawbar.AssetKey("r", "connection")) == []


def test_a_copy_is_published_whole_and_again_when_it_is_gone(tmp_path):
    """`path=` holds the value in the format of its extension, also where the asset is reused."""

    @asset(path="out/table.csv", version="1")
    def table() -> pd.DataFrame:  # noqa: F821
        import pandas as pd

        return pd.DataFrame({"a": [1, 2]})

    graph = Graph.from_functions(table, namespace="r")
    config = Config.load(tmp_path, namespace="r", store=str(tmp_path / "store"))
    for expected in ("made", "reused", "reused"):
        result = drawbar.run(graph, config=config, lineage=False)
        published = tmp_path / "out" / "table.csv"
        assert states(result) == {"table": expected}
        assert published.read_text() == "a\n1\n2\n"
        assert result["table"].uri == str(published)
        published.unlink()


def test_wrong_requests_are_errors_before_anything_runs(store, tmp_path):
    """A missing parameter is raised; nothing was made, nothing was written."""

    def early() -> int:
        return 1

    def needs(early: int, url: str) -> int: ...

    with pytest.raises(ParameterError, match="'url' of needs has no value"):
        go(early, needs, store=store)
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_fits_no_format_fails_its_asset(store):
    """The error says what did not fit and what to do, and nothing of it is in the store."""

    @asset(format="json")
    def odd() -> set[int]:
        return {1}

    result = go(odd, store=store)
    assert isinstance(result["odd"].error, FormatError)
    assert not (Path(store) / "r" / "odd" / "values").exists()


def test_a_damaged_input_fails_its_consumer_with_what_to_do(store):
    """A value edited by hand is never an input."""

    @asset(version="1")
    def one() -> int:
        return 1

    @asset(version="1")
    def two(one: int) -> int:
        return one + 1

    go(one, store=store)
    (value,) = (Path(store) / "r" / "one" / "values").iterdir()
    value.write_text("2")
    result = go(one, two, store=store)
    assert states(result) == {"one": "reused", "two": "failed"}
    assert isinstance(result["two"].error, CorruptError)
    assert result["two"].error.todo == "`drawbar run one --force one` makes it again"
    assert go(one, two, store=store, force=["one"])["two"].value() == 2


def test_a_store_that_cannot_be_written_is_an_error_at_once():
    """Nothing runs where nothing could be kept."""
    ran = []

    @asset(version="1")
    def one() -> int:
        ran.append(1)
        return 1

    with pytest.raises(StoreError):
        go(one, store="/proc/drawbar-store")
    assert ran == []


def test_a_listener_that_raises_is_left_out(store):
    """Lineage that breaks never breaks a run."""

    def one() -> int:
        return 1

    def broken(event):
        raise RuntimeError("broken")

    with pytest.warns(UserWarning, match="hears no more of this run"):
        assert go(one, store=store, listeners=[broken]).ok


def test_two_runs_at_once_make_each_asset_once(store):
    """Concurrent makers of one Version are kept apart; the one that waits adopts the result."""
    made = []

    @asset(version="1")
    def slow() -> int:
        made.append(1)
        time.sleep(0.5)
        return 1

    results = []
    threads = [threading.Thread(target=lambda: results.append(go(slow, store=store))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert sorted(one["slow"].state for one in results) == ["made", "reused", "reused"]
    assert len({one["slow"].data_version for one in results}) == 1


def test_history_holds_every_run(store):
    """Who asked for what, when, and how each asset ended, failures included, secrets not."""

    def bad(api_token: str) -> int:
        raise ValueError("x")

    go(bad, store=store, params={"api_token": "hunter2"})
    (journal,) = Store(store).journals("r")
    assert (journal.state, journal.params["api_token"], journal.assets[0].error) == ("failed", "***", "ValueError: x")
    assert not [path for path in Path(store).rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


INTERRUPTED = """
import sys, time, drawbar
from drawbar import Graph, asset

@asset(version="1")
def quick() -> int:
    return 1

@asset(version="1")
def slow(quick: int) -> int:
    print("slow began", flush=True)
    for _ in range(600):
        time.sleep(0.05)
    return 2

@asset(version="1")
def below(slow: int) -> int:
    return 3

result = drawbar.run(Graph.from_functions(quick, slow, below, namespace="r"), store=sys.argv[1], lineage=False)
print(result.state, {name: one.state for name, one in result.assets.items()}, flush=True)
"""


def _start(tmp_path, store):
    script = tmp_path / "interrupted.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    process = subprocess.Popen([sys.executable, str(script), store], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "slow began\n"
    return process


def test_ctrl_c_stops_cleanly(tmp_path, store):
    """What was made stays, what ran is cancelled, nothing is half-written, and the run says how it ended."""
    process = _start(tmp_path, store)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert out == "cancelled {'quick': 'made', 'slow': 'cancelled', 'below': 'cancelled'}\n"
    assert Store(store).journals("r")[0].state == "cancelled"
    assert [path.name for path in Path(store).rglob("*") if path.is_file() and "leases" in str(path)] == []
    assert list((Path(store) / ".tmp").iterdir()) == []


def test_a_killed_run_is_followed_by_the_next(tmp_path, store):
    """SIGKILL leaves a lease and no value; the next run takes over at once and closes the dead run's account."""
    process = _start(tmp_path, store)
    process.kill()
    process.communicate()

    @asset(version="1")
    def quick() -> int:
        return 1

    @asset(version="1")
    def slow(quick: int) -> int:
        return 2

    told = []
    begun = time.monotonic()
    result = go(quick, slow, store=store, listeners=[told.append])
    assert states(result) == {"quick": "reused", "slow": "made"}
    assert time.monotonic() - begun < 5
    lost = [one for one in told if type(one).__name__ == "AssetFailed"]
    assert [type(one.error).__name__ for one in lost] == ["LostError"]
    assert os.getpid() != process.pid


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_no_exception_of_a_function_ends_the_run(store, kind):
    """What a function raises fails its asset, whatever it is; only a signal interrupts a run. Its account is ended too."""

    def bad() -> int:
        raise kind

    def below(bad: int) -> int:
        return bad

    def aside() -> int:
        return 1

    told = []
    result = go(bad, below, aside, store=store, listeners=[told.append])
    assert states(result) == {"bad": "failed", "below": "blocked", "aside": "made"}
    assert isinstance(result["bad"].error, kind)
    assert [type(one).__name__ for one in told if getattr(one, "key", None) == result["bad"].key] == [
        "AssetStarted",
        "AssetFailed",
    ]


def test_an_exception_without_words_or_with_too_many_is_said_in_a_line(store):
    """An exception whose `__str__` fails, or is megabytes long, has a reason that fits a line."""

    class MuteError(Exception):
        def __str__(self):
            raise RuntimeError

    def mute() -> int:
        raise MuteError

    def wordy() -> int:
        raise ValueError("y" * 10_000_000)

    result = go(mute, wordy, store=store)
    assert result["mute"].reason == "MuteError: its __str__ raised RuntimeError"
    assert result["wordy"].reason == f"ValueError: {'y' * 500}…"


def test_an_unknown_target_is_an_error_before_anything_runs(store):
    """Not after the hours that what comes before it takes; the message names the asset's own line."""

    def first() -> int:
        raise AssertionError

    @asset(target="gpuu")
    def second(first: int) -> int: ...

    config = Config.load(Path(__file__).parent, namespace="r")
    with pytest.raises(UnknownTargetError, match="There is no target named 'gpuu'") as refused:
        go(first, second, store=store, config=config)
    assert refused.value.where.startswith(f"{__file__}:")
    assert not Path(store).exists()


def test_a_secret_default_is_not_in_the_journal(store):
    """What a secret-looking parameter holds is masked in history also where it is the function's own default."""

    def bad(api_token: str = "default-5ecret") -> int:
        raise ValueError(api_token)

    go(bad, store=store)
    journal = next(Path(store).glob("r/runs/*.json")).read_text()
    assert "ValueError: ***" in journal
    assert "5ecret" not in journal
