"""Warm interpreters, agents and builders of Envs die in the middle of their work: each job is executed once, in a whole Env."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from calls import PATIENCE, ROUNDS, Calls, kill, until, work

from drawbar.asset import Env
from drawbar.errors import DrawbarError

sys.path.insert(0, str(Path(__file__).parents[1] / "core" / "agent"))  # the tests are not a package

import tiny_wheels

SEED = int(os.environ.get("DRAWBAR_FAULT_SEED") or random.SystemRandom().randrange(10**6))

pytestmark = pytest.mark.timeout(240 + 20 * ROUNDS)


def warmed(calls, target):
    """Run jobs until one finds its imports done; the process ids of the warm interpreters then."""
    function = target.function(work().imported, quiet=True)
    until(lambda: function(str(calls.folder), 0)[1])
    return calls.warm()


@pytest.mark.parametrize("whom", ["interpreter", "agent", "both"])
def test_killed_while_jobs_are_handed_over(calls, whom):
    """At random moments under load: every job has its value and was executed once, warm or not, and warmth comes back."""
    target, chance = calls.target(), random.Random(f"{SEED} {whom}")
    warmed(calls, target)
    function = target.function(work().imported, quiet=True)
    made, began, over = calls.made(), len(calls.starts()), threading.Event()
    kills = dict.fromkeys(("interpreter", "agent"), 0)
    rounds = ROUNDS or 3

    def strike():
        for number in range(rounds):
            until(lambda: calls.warm() or over.is_set())
            over.wait(chance.random() * 0.3)
            if whom in ("agent", "both") and number % 3 == 0:
                kill(target.dispatcher.link.call(lambda agent: agent).hello["pid"])
                kills["agent"] += 1
            if whom in ("interpreter", "both"):
                for pid in calls.warm():
                    kill(pid)
                    kills["interpreter"] += 1

    values = []
    with ThreadPoolExecutor(4) as pool:
        striker = pool.submit(strike)
        try:
            while not striker.done():
                numbers = range(len(values), len(values) + 12)
                values += pool.map(lambda number: function(str(calls.folder), number), numbers)
        finally:
            over.set()
        striker.result(PATIENCE)
    assert [value for value, _ in values] == [-number for number in range(len(values))]
    assert calls.made() == made + len(values)
    assert calls.starts() == [1] * (began + len(values))
    assert sum(kills.values()) > 0
    assert warmed(calls, target)
    warm = sum(before for _, before in values)
    print(f"seed {SEED}, {whom}: {len(values)} jobs, {warm} of them warm, killed meanwhile: {kills}")


def test_an_env_whose_building_is_killed(tmp_path, make_sshd):
    """Supervisors and builders are killed at random moments of a build: the next job has the whole Env, or builds it."""
    wheels = tmp_path / "wheels"
    tiny_wheels.make(wheels, "leaf", "2.0", size=5000)
    tiny_wheels.make(wheels, "tiny", "1.0", ["leaf>=1"])
    known = tiny_wheels.environment("uv", UV_CACHE_DIR=str(tmp_path / "cache"))
    names = ("UV_OFFLINE", "PIP_NO_INDEX", "PIP_CONFIG_FILE", "DRAWBAR_UV", "UV_CACHE_DIR")
    host = make_sshd(variables={name: known[name] for name in names})
    calls = Calls(tmp_path / "calls", {**host.settings(), "ssh_config": "/dev/null"})
    chance, ended = random.Random(f"{SEED} env"), []
    try:
        target, began = calls.target(), 0.0
        for number in range(1 + (ROUNDS or 2)):
            # Another variable of the packages' own makes another Env: each is built anew.
            tiny_wheels.make(wheels, "leaf", f"2.{number}", size=5000 + number)
            env = Env("tiny", f"leaf==2.{number}", find_links=str(wheels))
            function = target.function(work().of_env, env=env, quiet=True)
            if not number:  # how long it takes when nobody strikes
                began = time.monotonic()
                assert function(str(calls.folder)) == ("1.0", "2.0")
                span = time.monotonic() - began
                continue
            future = function.submit(str(calls.folder))
            time.sleep(chance.random() * span)
            victims = sorted(calls.supervisors().values()) if number % 2 else calls.at_work()
            if victims:
                kill(chance.choice(victims))
            outcome = future.outcome(2 * PATIENCE)
            ended.append(outcome.cause)
            assert outcome.state in ("succeeded", "failed", "lost", "killed"), outcome
            assert function(str(calls.folder)) == ("1.0", f"2.{number}")
        assert set(calls.starts()) <= {0, 1}
        until(lambda: calls.at_work() == [])
    except DrawbarError as error:
        raise AssertionError(f"seed {SEED}: {error}") from error
    finally:
        calls.close()
    print(f"seed {SEED}: builds that were struck ended as { ({one: ended.count(one) for one in sorted(set(ended))}) }")
