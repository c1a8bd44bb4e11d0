"""The wire is cut, stalled, slowed and corrupted at bytes that nobody chose: the right value or a clean error, never a hang."""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from calls import ROUNDS, data_of, until, work
from proxy import WAYS

from drawbar import errors
from drawbar.errors import DrawbarError

SEED = int(os.environ.get("DRAWBAR_FAULT_SEED") or random.SystemRandom().randrange(10**6))
SIZE = 300_000
HANDSHAKE = 2500
"""About how many bytes go each way before a request does."""

pytestmark = pytest.mark.timeout(200 + 20 * ROUNDS)


@pytest.fixture
def calls(proxied):
    """Calls that go through the proxy."""
    return proxied


def call(calls, key):
    """A call over a connection of its own; whether its value is right."""
    target = calls.target()
    try:
        data = data_of(key, SIZE)
        return (
            target.function(work().backwards, key=key, quiet=True).submit(str(calls.folder), data).result(60)
            == data[::-1]
        )
    finally:
        target.close()


def measured(calls, proxy):
    """How many bytes one call takes each way, once the agent is there."""
    assert call(calls, "first")
    before = dict(proxy.passed)
    assert call(calls, "measured")
    return {way: proxy.passed[way] - before[way] for way in WAYS}


@pytest.mark.parametrize("what", ["cut", "stall", "corrupt"])
def test_a_fault_at_any_byte(calls, proxy, what):
    """Wherever it strikes, in the handshake or in a value: this call or the next has the value, and the function ran once."""
    sizes = measured(calls, proxy)
    chance = random.Random(f"{SEED} {what}")
    ended = []
    for number in range(ROUNDS // 2 or 1):
        early = WAYS[(number + SEED) % 2]
        # Silence takes seconds to be noticed: without `make faults` there is one.
        for way in WAYS if ROUNDS or what == "cut" else [chance.choice(WAYS)]:
            key, offset = f"{what}{number}{way}", chance.randrange(HANDSHAKE if way == early else sizes[way] * 9 // 10)
            print(f"seed {SEED}: {what} after {offset} of {sizes[way]} bytes {way}", end=" ", flush=True)
            proxy.fault(what, way, offset)
            began = time.monotonic()
            try:
                assert call(calls, key)
                ended.append("value")
            except DrawbarError as error:
                ended.append(type(error).__name__)
                print(str(error).replace("\n", ";"), end=" ")
            assert proxy.struck.is_set()
            print(f"{ended[-1]} after {time.monotonic() - began:.1f} s")
            proxy.resume()
            proxy.cut()
            assert call(calls, key)
    # Bytes that were changed in the handshake may look like another host; silence and a break look like nothing else.
    assert what == "corrupt" or set(ended) <= {"value", "UnreachableError", "BrokenConnectionError"}
    assert set(calls.starts()) == {1}, calls.starts()
    assert calls.made() == 2 + len(ended)
    assert list(calls.root.glob("partial/*")) == []
    print(f"{what}: { ({one: ended.count(one) for one in sorted(set(ended))}) }")


def test_a_job_goes_on_while_the_wire_is_cut_again_and_again(calls, proxy):
    """Breaks in the middle of a job cost nothing but time: the one who waits has the value, which was made once."""
    calls.closed.touch()
    target = calls.target()
    future = target.function(work().backwards, key="cuts", quiet=True).submit(str(calls.folder), b"abc")
    until(calls.made)
    opened = proxy.opened
    with ThreadPoolExecutor(1) as aside:
        waiting = aside.submit(future.result, 60)
        for number in range(3):
            proxy.cut()
            until(lambda least=opened + number: proxy.opened > least)
        calls.closed.unlink()
        assert waiting.result() == b"cba"
    assert calls.starts() == [1]
    print(f"{proxy.opened - opened} connections after 3 cuts")


def test_a_slow_wire_is_only_slow(calls, proxy):
    """At some KB a second the value still comes, and slowness is not taken for absence."""
    assert call(calls, "first")
    proxy.rate = 200_000
    began = time.monotonic()
    assert call(calls, "slow")
    took = time.monotonic() - began
    print(f"{2 * SIZE} bytes at {proxy.rate:.0f} bytes a second: {took:.1f} s")
    assert took > SIZE / proxy.rate
    assert calls.starts() == [1, 1]


@pytest.mark.skipif(not ROUNDS, reason="a client hopes for twenty seconds: `make faults` has them")
def test_a_stalled_wire_is_left_within_its_time(calls, proxy):
    """A host that falls silent for good ends in an error that names it, and the next call takes over the job."""
    calls.closed.touch()
    target = calls.target()
    future = target.function(work().backwards, key="silent", quiet=True).submit(str(calls.folder), b"abc")
    until(calls.made)
    proxy.stall()
    began = time.monotonic()
    with pytest.raises(errors.UnreachableError) as caught:
        future.result()
    took = time.monotonic() - began
    assert "place" in str(caught.value) or str(proxy.port) in str(caught.value)
    assert caught.value.todo
    print(f"silent for good: told after {took:.1f} s: {caught.value.what}")
    proxy.resume()
    proxy.cut()
    calls.closed.unlink()
    assert target.function(work().backwards, key="silent", quiet=True)(str(calls.folder), b"abc") == b"cba"
    assert calls.starts() == [1]
