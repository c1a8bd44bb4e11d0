"""Actors whose wire is cut and whose processes are killed in the middle of calls: each call is carried out at most once.

The actor writes each call into a file before it answers; that file, not its memory, says what was carried out.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from calls import PATIENCE, ROUNDS, kill, until, work
from proxy import WAYS

from drawbar.errors import ActorDiedError, KilledError, LostError, UnreachableError

SEED = int(os.environ.get("DRAWBAR_FAULT_SEED") or random.SystemRandom().randrange(10**6))
CALLS = 60

pytestmark = pytest.mark.timeout(240 + 20 * ROUNDS)


@pytest.fixture
def calls(proxied):
    """A host behind SSH and behind the proxy."""
    return proxied


def tally(calls):
    """How often each number was carried out."""
    file = calls.folder / "tally"
    return Counter(file.read_text().split()) if file.exists() else Counter()


def call(actor, number):
    """One call: what it gave, or how it failed."""
    try:
        return number, actor.add(number)
    except (ActorDiedError, UnreachableError) as error:
        return number, error
    except (LostError, KilledError) as error:  # it was to be constructed anew for this call, and that was killed
        return number, error


def called(actor, strike, over):
    """What became of calls of four threads, while `strike` does harm; `over` is set when nobody calls any more."""
    found = []
    with ThreadPoolExecutor(5) as pool:
        striking = pool.submit(strike)
        numbers = itertools.count()
        try:
            while not striking.done() or not found:
                found += pool.map(lambda number: call(actor, number), [next(numbers) for _ in range(CALLS)])
        finally:
            over.set()
        striking.result(PATIENCE)
    return found


def check(calls, found):
    """Nothing was carried out twice; what has a value was, and what is said not to have been was not."""
    carried = tally(calls)
    assert [number for number, count in carried.items() if count > 1] == []
    for number, what in found:
        if isinstance(what, int):
            assert (what, carried[str(number)]) == (2 * number, 1)
        elif getattr(what, "carried_out", False) is False and not isinstance(what, UnreachableError):
            assert carried[str(number)] == 0, what
    kinds = Counter("value" if isinstance(what, int) else type(what).__name__ for _, what in found)
    unsure = sum(getattr(what, "carried_out", False) is None for _, what in found)
    return f"{len(found)} calls: {dict(kinds)}, {unsure} that say they may have been carried out"


def test_a_wire_that_is_cut_loses_and_doubles_no_call(calls, proxy):
    """Cut at random bytes in the middle of calls and of a stream, every call has its value, carried out once."""
    actor = calls.target().actor(work().Tally, str(calls.folder))
    chance, over = random.Random(f"{SEED} cut"), threading.Event()
    cuts, opened = ROUNDS or 4, proxy.opened

    def strike():
        for _ in range(cuts):
            proxy.fault("cut", chance.choice(WAYS), chance.randrange(6000))
            assert proxy.struck.wait(PATIENCE)
            over.wait(chance.random() * 0.1)

    found = called(actor, strike, over)
    said = check(calls, found)
    assert [what for _, what in found if not isinstance(what, int)] == []
    stream = actor.numbers(10**6, 300)
    rows = []
    for row in stream:
        rows.append(row)
        if len(rows) % 100 == 50:
            proxy.cut()
    assert rows == list(range(10**6, 10**6 + 300))
    check(calls, [])
    actor.stop()
    print(f"seed {SEED}: {said}; {cuts} cuts in calls and 3 in a stream, {proxy.opened - opened} connections")


@pytest.mark.parametrize("whom", ["worker", "supervisor", "agent"])
def test_killed_in_the_middle_of_calls(calls, proxy, whom):
    """Whoever is killed, with the wire cut now and then: a call has its value or an error that tells the truth about it."""
    actor = calls.target().actor(work().Tally, str(calls.folder), name=f"tally-{whom}", restart=True)
    link = actor._line.link
    chance, over = random.Random(f"{SEED} {whom}"), threading.Event()
    kills = ROUNDS // 2 or 2

    def strike():
        for number in range(kills):
            over.wait(0.1 + chance.random() * 0.3)
            if whom == "agent":
                kill(link.call(lambda agent: agent).hello["pid"])
            else:
                before = calls.supervisors()
                pids = [*before.values()] if whom == "supervisor" else workers(calls)
                for pid in pids:
                    kill(pid)
                # The next blow is for the one that was constructed after this one.
                until(lambda seen=before: over.is_set() or set(calls.supervisors()) - set(seen))
            if number % 3 == 1:
                proxy.cut()

    found = called(actor, strike, over)
    said = check(calls, found)
    if whom == "agent":
        assert [what for _, what in found if not isinstance(what, int)] == []
        assert calls.starts() == [1]
    else:
        assert any(isinstance(what, ActorDiedError) for _, what in found)
    assert call(actor, 10**6) == (10**6, 2 * 10**6)
    actor.stop()
    until(lambda: calls.at_work() == [])
    print(f"seed {SEED}: {kills} times the {whom} killed, {said}")


def workers(calls):
    """The processes in which actors live."""
    return [pid for pid in calls.at_work() if pid not in calls.supervisors().values()]
