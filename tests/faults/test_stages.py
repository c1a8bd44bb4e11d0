"""A client is killed while it submits, sends, waits or fetches, and another process wants the same: one execution, one value."""

from __future__ import annotations

import os
import random
import threading
import time

import pytest
from calls import PATIENCE, ROUNDS, until, work

SEED = int(os.environ.get("DRAWBAR_FAULT_SEED") or random.SystemRandom().randrange(10**6))
SIZE = 16 << 20

pytestmark = pytest.mark.timeout(120 + 20 * ROUNDS)


def sent(calls):
    """Bytes of uploads that are under way."""
    total = 0
    for one in calls.root.glob("partial/*"):
        try:
            total += one.stat().st_size
        except FileNotFoundError:
            continue
    return total


REACHED = {
    "transfer": lambda calls, key: sent(calls) > 2 << 20,
    "submit": lambda calls, key: calls.attempt(key).exists(),
    "run": lambda calls, key: calls.made(),
    "collect": lambda calls, key: (calls.attempt(key) / "outcome.json").exists(),
}


@pytest.mark.parametrize("stage", REACHED)
def test_a_client_killed_at_a_stage(calls, stage):
    """Whatever the client was at when it was killed, the next one has the right value, and the function ran once."""
    for number in range(max(ROUNDS // 4, 1)):
        check_a_kill_at(calls, stage, f"{stage}{number}")


def check_a_kill_at(calls, stage, key):
    """Kill a client there, and have the same from another."""
    began, made = len(calls.starts()), calls.made()
    size = SIZE if stage in ("transfer", "collect") else 1000
    if stage == "run":
        calls.closed.touch()
    client = calls.client(key, size)
    until(lambda: REACHED[stage](calls, key) > (made if stage == "run" else 0), client)
    time.sleep(random.Random(f"{SEED} {key}").random() * 0.03)
    client.kill()
    killed = time.time()
    client.communicate()
    found = "after the claim" if calls.attempt(key).exists() else "before the claim"
    again = calls.client(key, size)
    if stage == "run":
        until(lambda: any(line["event"] == "attached" for line in calls.log(key)), again)
        calls.closed.unlink()
    (told,) = calls.told(again)
    assert told.get("right"), told
    assert calls.starts() == [1] * (began + 1)
    assert calls.made() == made + 1
    assert list(calls.root.glob("partial/*")) == []
    took = f"{told['submitted'] - killed:.2f} s after SIGKILL, of which {told['submitted'] - told['began']:.2f} s"
    print(f"seed {SEED}, {stage}: killed {found}; the retry {told['how']} it {took} to connect and submit")


@pytest.mark.parametrize("many", [2, 32 if ROUNDS else 8])
def test_clients_at_once_cause_one_execution(calls, many):
    """However many processes submit the same job in the same moment, it is executed once, and all of them have its value."""
    began = time.monotonic()
    told = calls.told(calls.client("same", 100_000, many))
    assert [one.get("right") for one in told] == [True] * many, told
    assert calls.starts() == [1]
    assert calls.made() == 1
    how = [one["how"] for one in told]
    assert how.count("started") == 1
    print(
        f"{many} clients at once: { ({one: how.count(one) for one in sorted(set(how))}) }, {time.monotonic() - began:.1f} s"
    )


def test_two_hundred_submits_in_a_second(calls, sshd):
    """Two hundred jobs submitted in the same moment are all taken, over one connection; sshd turns nobody away."""
    target, many = calls.target(), 200
    accepted = sshd.log.read_text().count("Accepted publickey")
    gate, values, faults = threading.Barrier(many), {}, []

    def call(number):
        gate.wait(PATIENCE)
        try:
            values[number] = target.function(work().negative, quiet=True)(number)
        except Exception as error:
            faults.append(error)

    began = time.monotonic()
    threads = [threading.Thread(target=call, args=(number,)) for number in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    assert faults == []
    assert values == {number: -number for number in range(many)}
    assert calls.starts() == [1] * many
    assert target.dispatcher.link.opened == 1
    assert sshd.log.read_text().count("Accepted publickey") == accepted + 1
    print(f"{many} submits at once: {time.monotonic() - began:.1f} s to the last value, 1 connection")
