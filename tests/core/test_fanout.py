"""The fan-out: every item once, each result kept by itself, the whole in order; here and as jobs on a target."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from drawbar import asset
from drawbar.agent.encoding import decode
from drawbar.asset import Asset
from drawbar.batches import There
from drawbar.config import Config, TargetConfig
from drawbar.crew import Teller
from drawbar.errors import CancelledError, FingerprintError, RemoteError, TypeMismatchError
from drawbar.events import AssetLog, AssetProgress, Made
from drawbar.fanout import Fanout, digest_of
from drawbar.graph import Graph
from drawbar.keys import AssetKey
from drawbar.planner import Planner
from drawbar.tools import Tools
from drawbar.work import Input, Work

AT_ONCE = pytest.mark.parametrize("target", ["here", "there"])


class Walked:
    """A fan-out over a given list, as the walk would have it made, and what it told."""

    def __init__(self, folder: Path, fn, value, *, target="here", again=False, params=None, **options):
        def items() -> list:
            return []

        if options:
            fn = asset(over="items", **options)(fn)
        graph = Graph.from_functions(items, fn, namespace="site")
        there = TargetConfig(root=str(folder / "host"), grace=0.2)
        config = Config(root=folder, namespace="site", store=str(folder / "store"), targets={"there": there})
        force = [fn.__name__] if again else []
        planner = Planner.of(graph, [fn.__name__], config=config, params=params, force=force)
        self.events = []
        self.tools = Tools.of(planner, Teller([]), None)
        unit = planner.units[fn.__name__]
        one: Asset = unit.asset
        work = Work(
            unit=unit,
            version="0" * 64,
            parts=planner.parts(unit, {"items": "whichever"}),
            inputs={"items": Input("items", Made(AssetKey("site", "items"), "whichever"), None, value)},
            params=planner.params_of(one),
            target=target,
            reason="",
            modules=planner.codes[fn.__name__].modules,
            again=again,
        )
        self.fanout = Fanout(self.tools, work, run_id="01a1fd66-5ddb-77f9-8727-b6dde58b5517", tell=self.tell)

    def tell(self, kind, **facts):
        self.events.append((kind, facts))

    def run(self):
        made = self.fanout.run()
        return decode(bytearray(made.join()), made.format, made.type)


def called(folder: Path) -> list[str]:
    """The items that the function was called for, by any process, since this was last asked."""
    calls = folder / "calls"
    found = sorted(calls.read_text().split()) if calls.exists() else []
    calls.unlink(missing_ok=True)
    return found


@asset(over="items")
def doubled(items: int, folder: str) -> int:
    with open(os.path.join(folder, "calls"), "a") as file:
        file.write(f"{items}\n")
    return items * 2


@asset(over="items")
def halved(items: int, folder: str) -> float:
    with open(os.path.join(folder, "calls"), "a") as file:
        file.write(f"{items}\n")
    if items % 2 and not os.path.exists(os.path.join(folder, "repaired")):
        raise ValueError(f"{items} is odd")
    return items / 2


def fan(folder, fn, value, target="here", **more):
    return Walked(folder, fn, value, target=target, params={"folder": str(folder)}, **more)


@AT_ONCE
def test_results_come_in_order_and_each_item_is_made_once(tmp_path, target):
    """A longer list next time costs only what is new in it, whatever order it has; equal items cost one call."""
    assert fan(tmp_path, doubled, [3, 1, 2, 1], target).run() == [6, 2, 4, 2]
    assert called(tmp_path) == ["1", "2", "3"]
    assert fan(tmp_path, doubled, [5, 2, 3], target).run() == [10, 4, 6]
    assert called(tmp_path) == ["5"]


@AT_ONCE
def test_a_failing_item_costs_only_itself(tmp_path, target):
    """The error counts them and shows the first; the next run calls the function for those alone."""
    with pytest.raises(RemoteError) as caught:
        fan(tmp_path, halved, [0, 2, 3, 4, 5], target).run()
    assert caught.value.what == "2 of 5 items of site/halved failed; what was made of the others is kept."
    assert caught.value.found == "item 2, 3: ValueError: 3 is odd"
    assert caught.value.type_name == "ValueError"
    assert caught.value.where.startswith(__file__)
    assert 'raise ValueError(f"{items} is odd")' in "".join(caught.value.__notes__)
    called(tmp_path)
    (tmp_path / "repaired").touch()
    assert fan(tmp_path, halved, [0, 2, 3, 4, 5], target).run() == [0, 1, 1.5, 2, 2.5]
    assert called(tmp_path) == ["3", "5"]


@AT_ONCE
def test_nothing_in_nothing_out(tmp_path, target):
    """Over an empty list the asset is an empty list, and nothing is called."""
    made = fan(tmp_path, doubled, [], target)
    assert made.run() == []
    assert made.events[-1] == (AssetProgress, {"done": 0, "failed": 0, "total": 0})


@AT_ONCE
def test_items_of_any_kind(tmp_path, target):
    """Arrays, files and bytes go to the function and come from it; a file counts by what is in it."""

    def shown(items) -> dict:
        return {"kind": type(items).__name__, "value": items.read_bytes() if hasattr(items, "read_bytes") else items}

    (tmp_path / "a").write_bytes(b"content")
    found = Walked(tmp_path, shown, [np.arange(2), b"b", tmp_path / "a", (1, 2)], target=target, inputs={}).run()
    assert [one["kind"] for one in found] == ["ndarray", "bytes", type(tmp_path).__name__, "tuple"]
    assert found[2]["value"] == b"content"
    digest = digest_of(tmp_path / "a", "x")
    (tmp_path / "a").write_bytes(b"changed")
    assert digest_of(tmp_path / "a", "x") != digest


@pytest.mark.parametrize("odd", [{"a": 1}, {1, 2}, "text", np.arange(3), None])
def test_what_is_no_list_is_refused(tmp_path, odd):
    """A dict or a table is not gone through by accident: the message says what to give instead."""
    with pytest.raises(TypeMismatchError, match="made over items, which is no list") as caught:
        fan(tmp_path, doubled, odd).run()
    assert caught.value.todo


def test_an_item_that_has_no_identity_is_named(tmp_path):
    """What neither digests nor encodes cannot be kept, and the error says which input it came from."""
    with pytest.raises(FingerprintError, match="an item of items"):
        fan(tmp_path, doubled, [threading.Lock()]).run()


def test_an_iterator_is_taken_as_it_comes(tmp_path):
    """What a transient asset yields need not be a list, nor be known in number."""
    made = fan(tmp_path, doubled, iter(range(3)))
    assert made.run() == [0, 2, 4]
    assert made.events[-1][1] == {"done": 3, "failed": 0, "total": None}


def test_made_again_on_purpose(tmp_path):
    """`--force` calls the function for every item, and what comes of it is what is kept."""
    fan(tmp_path, doubled, [1, 2]).run()
    called(tmp_path)
    fan(tmp_path, doubled, [1, 2], again=True).run()
    assert called(tmp_path) == ["1", "2"]
    fan(tmp_path, doubled, [1, 2]).run()
    assert called(tmp_path) == []


def test_a_transient_one_keeps_nothing(tmp_path):
    """With persist=False no item goes to the store."""

    def tripled(items: int) -> int:
        return items * 3

    assert Walked(tmp_path, tripled, [1], persist=False).run() == [3]
    assert not (tmp_path / "store").exists()


@AT_ONCE
def test_retries_are_each_items_own(tmp_path, target):
    """An item that fails now and then is tried again; those beside it are not."""

    def shaky(items: int, folder: str) -> int:
        with open(os.path.join(folder, "calls"), "a") as file:
            file.write(f"{items}\n")
        with open(os.path.join(folder, "calls")) as file:
            if items == 2 and file.read().split().count("2") < 3:
                raise OSError("not now")
        return items

    assert fan(tmp_path, shaky, [1, 2, 3], target, retries=2, retry_delay=0.01).run() == [1, 2, 3]
    assert called(tmp_path) == ["1", "2", "2", "2", "3"]


def test_slow_items_run_side_by_side_and_in_order(tmp_path):
    """Eight items of a second take much less than eight seconds, and the first being last changes nothing."""

    def slow(items: int) -> int:
        time.sleep(1.3 if items == 0 else 1)
        return items

    began = time.monotonic()
    assert Walked(tmp_path, slow, range(8), inputs={}).run() == list(range(8))
    assert time.monotonic() - began < 6


def test_what_was_done_before_an_interrupt_is_kept(tmp_path):
    """Ctrl-C in the middle, and the next run goes on where this one was."""

    def slow(items: int, folder: str) -> int:
        with open(os.path.join(folder, "calls"), "a") as file:
            file.write(f"{items}\n")
        time.sleep(0.1)
        return items

    made = fan(tmp_path, slow, range(100), retries=0)

    def stop():
        while not (tmp_path / "calls").exists() or len((tmp_path / "calls").read_text().split()) < 8:
            time.sleep(0.01)
        made.tools.stopped.set()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        made.run()
    begun = called(tmp_path)
    assert 8 <= len(begun) < 100
    assert fan(tmp_path, slow, range(100), retries=0).run() == list(range(100))
    assert len(called(tmp_path)) < 100


def test_output_and_progress_of_jobs_are_told(tmp_path):
    """What an item prints on a target is seen, and the bar moves to the end."""

    def talkative(items: int) -> int:
        print("item", items)
        return items

    made = Walked(tmp_path, talkative, [7, 8], target="there", inputs={})
    made.run()
    text = b"".join(facts["data"] for kind, facts in made.events if kind is AssetLog)
    assert sorted(text.split(b"\n")) == [b"", b"item 7", b"item 8"]
    assert made.events[-1] == (AssetProgress, {"done": 2, "failed": 0, "total": 2})
    assert made.fanout.costs.compute > 0
    assert made.tools.running == {}


def test_an_item_that_kills_its_worker_costs_only_itself(tmp_path):
    """A segmentation fault in one of six does not take the other five of its batch with it."""

    def deadly(items: int) -> int:
        if items == 3:
            os._exit(7)
        return items

    with pytest.raises(RemoteError) as caught:
        Walked(tmp_path, deadly, range(6), target="there", batch=6).run()
    assert caught.value.what.startswith("1 of 6 items")
    assert "item 3, 3: drawbar.errors.KilledError" in caught.value.found


def test_a_stop_cancels_the_jobs(tmp_path):
    """After Ctrl-C nothing runs on the target any more, and it is said so."""

    def sleeper(items: int) -> int:
        time.sleep(60)
        return items

    made = Walked(tmp_path, sleeper, range(4), target="there", inputs={})

    def stop():
        while not any(isinstance(one, tuple) for one in list(made.tools.running.values())):
            time.sleep(0.02)
        time.sleep(0.3)
        made.tools.stopped.set()
        for dispatcher, handle in list(made.tools.running.values()):
            dispatcher.cancel(handle)

    threading.Thread(target=stop).start()
    with pytest.raises(CancelledError):
        made.run()
    jobs = made.tools.dispatcher("there").jobs()
    assert jobs
    assert all(job.state != "running" for job in jobs)


def test_jobs_of_a_killed_process_are_adopted(tmp_path):
    """After a SIGKILL the next process takes what the jobs have made meanwhile: no item is called for twice."""
    program = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_fanout
        print(test_fanout.fan(Path(sys.argv[1]), test_fanout.paced(), list(range(8)), "there", batch=4).run())
    """)
    command = [sys.executable, "-c", program, str(tmp_path)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not (tmp_path / "calls").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout) == list(range(8))
    assert sorted(called(tmp_path)) == [str(n) for n in range(8)]


def paced():
    def pace(items: int, folder: str) -> int:
        with open(os.path.join(folder, "calls"), "a") as file:
            file.write(f"{items}\n")
        time.sleep(0.2)
        return items

    return pace


def test_batches_are_cut_by_position(tmp_path, monkeypatch):
    """The same list gives the same jobs in every process, whichever of its items are known already."""
    cut = []
    real = There.do
    monkeypatch.setattr(There, "do", lambda self, batch: cut.append(batch.items) or real(self, batch))
    fan(tmp_path, doubled, [4, 9], "there").run()
    cut.clear()
    made = fan(tmp_path, doubled, list(range(10)), "there", batch=4)
    assert made.run() == [n * 2 for n in range(10)]
    assert sorted(cut) == [[0, 1, 2, 3], [5, 6, 7], [8]]


def test_a_large_list_takes_little_memory(tmp_path):
    """What waits for its turn is in a file: a slow first item does not hold ninety megabytes of others in memory."""

    def big(items: int) -> bytes:
        if items == 0:
            time.sleep(1.5)
        return bytes(1 << 20)

    import tracemalloc

    tracemalloc.start()
    made = Walked(tmp_path, big, range(90), persist=False).fanout.run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made.rows == 90
    assert peak < 45 << 20
