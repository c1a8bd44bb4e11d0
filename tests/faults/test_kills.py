"""SIGKILL, SIGSTOP and SIGINT at moments that nobody chose: what the next run finds, and what is left behind.

DRAWBAR_FAULT_ROUNDS (set by `make faults`) is how often each is tried; a few times without it. The moments come from a
generator whose seed is shown when a test fails; DRAWBAR_FAULT_SEED repeats them.
"""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

ROUNDS = int(os.environ.get("DRAWBAR_FAULT_ROUNDS", "0"))
SEED = int(os.environ.get("DRAWBAR_FAULT_SEED") or random.SystemRandom().randrange(10**6))
# A run of the ground's project takes about this long, in seconds, on two cores; the first tenths are Python's start.
SPAN = (0.15, 1.3)

# What is about leases and clients is the same wherever the jobs run: without `make faults` they run behind SSH only.
wherever = pytest.mark.parametrize("settings", ["local", "ssh"] if ROUNDS else ["ssh"], indirect=True)

pytestmark = pytest.mark.timeout(60 + 20 * max(ROUNDS, 3))


def moments(least, salt):
    """When to strike, in seconds after the start: spread over the whole run, a little different each time."""
    chance = random.Random(f"{SEED} {salt}")
    count = ROUNDS or least
    width = (SPAN[1] - SPAN[0]) / count
    found = [SPAN[0] + (number + chance.random()) * width for number in range(count)]
    chance.shuffle(found)
    return found


def test_a_client_killed_at_any_moment_costs_nothing(grounds):
    """After SIGKILL while it starts, submits, sends, runs, collects or keeps, one more run has the value; no job ran twice."""
    for moment in moments(1, "kill"):
        print(f"seed {SEED}: SIGKILL after {moment:.3f} s")
        ground = grounds()
        first = ground.start()
        time.sleep(moment)
        first.kill()
        first.communicate()
        code, answer, err = ground.run()
        assert code == 0, err
        ground.check(answer)


@wherever
def test_killed_again_and_again(ground):
    """Also the heirs of a killed client may be killed: whoever comes last has the value, and no job ran twice."""
    for moment in moments(2, "again"):
        print(f"seed {SEED}: SIGKILL after {moment:.3f} s")
        one = ground.start()
        time.sleep(moment)
        one.kill()
        one.communicate()
    code, answer, err = ground.run()
    assert code == 0, err
    ground.check(answer)


@wherever
def test_two_runs_at_once_make_everything_once(grounds):
    """Two processes that want the same at the same time both have it, and each job was executed once."""
    for _ in range(max(ROUNDS // 5, 1)):
        ground = grounds()
        both = [ground.start(), ground.start()]
        ended = [ground.finish(one) for one in both]
        assert [code for code, _, _ in ended] == [0, 0], ended
        for _, answer, _ in ended:
            ground.check(answer)
        made = (ground.folder / "made").read_text().split()[::2]
        assert sorted(made) == ["other", "slow", "total"]


@wherever
def test_who_waits_for_a_killed_process_takes_over(ground):
    """A second run waits for the process that makes an asset, and goes on at once when that is killed."""
    ground.shut.touch()
    first = ground.start()
    ground.until(lambda: ground.began("total"), first)
    second = ground.start()
    said = ""
    while "being made by" not in said:
        piece = os.read(second.stderr.fileno(), 1 << 16).decode()
        assert piece, f"it does not wait: {said}"
        said += piece
    assert len(list(ground.store.glob("faults/leases/*.json"))) == 1
    killed = time.monotonic()
    first.kill()
    first.communicate()
    ground.shut.unlink()
    code, answer, err = ground.finish(second)
    assert code == 0, err
    assert time.monotonic() - killed < 40
    ground.check(answer)


@wherever
def test_a_stopped_client_goes_on_where_it_was(ground):
    """A client that is stopped while its jobs run and end (a laptop asleep) takes their values when it is continued."""
    process = ground.start()
    ground.until(ground.began, process)
    os.kill(process.pid, signal.SIGSTOP)
    ground.until(lambda: set(ground.states()) == {"ended"})
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGCONT)
    code, answer, err = ground.finish(process)
    assert code == 0, err
    ground.check(answer)


@pytest.mark.parametrize("how", ["cancel", "leave"])
def test_ctrl_c_at_any_moment(grounds, how):
    """With `cancel` nothing of any job is at work afterwards; with `leave` what ran goes on; and the next run has it all."""
    for moment in moments(1, how):
        print(f"seed {SEED}: SIGINT after {moment:.3f} s, {how}")
        ground = grounds()
        ground.closed.touch()
        process = ground.start("run", "--json", "--on-interrupt", how)
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        code, answer, err = ground.finish(process)
        # Before drawbar listens for it, Ctrl-C is Python's own.
        assert code in (130, -signal.SIGINT) or "KeyboardInterrupt" in err, err
        if answer is not None:
            assert answer["state"] == "cancelled"
        ground.check_store(killed=code != 130)
        if how == "cancel":
            assert ground.at_work() == []
            assert set(ground.states()) <= {"ended"}
        ground.closed.unlink()
        again = ground.run()
        assert again[0] == 0, again[2]
        if how == "leave":
            assert set(ground.starts()) <= {1}, ground.logs()
        ground.check_value(again[1])
        ground.check_lineage()


@wherever
def test_a_wrong_clock_changes_nothing(ground):
    """Clients whose clocks are a day off share leases and jobs with one whose clock is right: each job is executed once."""
    day = 86_400.0
    processes = [ground.start("run", "--json", skew=skew) for skew in (-day, day)]
    for process in (*processes, ground.start()):
        code, answer, err = ground.finish(process)
        assert code == 0, err
        ground.check(answer)
