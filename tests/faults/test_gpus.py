"""GPUs are leased while supervisors, clients and agents die: never two jobs on one, nobody starved, nothing kept for ever.

Each job writes down every moment that it is on its GPUs; the proof is that no two such spans of one GPU overlap.
"""

from __future__ import annotations

import json
import os
import random
import time

import pytest
from calls import PATIENCE, ROUNDS, Calls, kill, until, work

from drawbar import errors

SEED = int(os.environ.get("DRAWBAR_FAULT_SEED") or random.SystemRandom().randrange(10**6))
TWO = ("24GiB", "24GiB")
# A client: it submits its jobs in two waves, says of each its id and when it was asked for, and then takes their values.
_CLIENT = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import cloudpickle, drawbar.dispatch.hosts, drawbar.dispatch.ssh, fault_work
from drawbar.config import TargetConfig
from drawbar.dispatch.target import Target, dispatcher
settings, folder, waves, seconds = json.loads(sys.argv[2])
config = TargetConfig(**{**settings, "devices": tuple(settings["devices"])})
target = Target("place", dispatcher("place", config), config)
target.facts()
print("ready", flush=True)
futures = []
for names in waves:
    sys.stdin.readline()
    for name, gpus in names:
        asked = time.monotonic()
        future = target.function(fault_work.held, gpus=gpus, quiet=True).submit(folder, name, seconds)
        futures.append(future)
        told = {"job": future.handle.job, "name": name, "asked": asked, "answered": time.monotonic()}
        print(json.dumps(told), flush=True)
for future in futures:
    print(json.dumps(sorted(future.result())), flush=True)
target.close()
"""

pytestmark = pytest.mark.timeout(240 + 20 * ROUNDS)


@pytest.fixture
def calls(tmp_path, sshd):
    """A host behind SSH that has two GPUs."""
    made = Calls(tmp_path / "calls", {**sshd.settings(), "ssh_config": "/dev/null", "devices": TWO})
    (made.folder / "gpus").mkdir()
    yield made
    made.closed.unlink(missing_ok=True)
    made.close()


def spans(calls):
    """Of every job that was on GPUs: its name, the devices, and its first and last moment there."""
    found = []
    for one in (calls.folder / "gpus").iterdir():
        lines = [json.loads(line) for line in one.read_text().splitlines() if line.endswith("]")]
        if lines:
            found.append((one.name.rpartition(".")[0], lines[0][0], lines[0][1], lines[-1][1]))
    return sorted(found, key=lambda span: span[2])


def overlaps(found):
    """Pairs that were on one GPU at the same time."""
    return [
        (one[0], two[0]) for place, one in enumerate(found) for two in found[place + 1 :]
        if set(one[1]) & set(two[1]) and one[2] <= two[3] and two[2] <= one[3]
    ]  # fmt: skip


def hold_all(calls, target, name="gate"):
    """A job that is on both GPUs until `closed` is gone."""
    calls.closed.touch()
    future = target.function(work().held, gpus=2, quiet=True).submit(str(calls.folder), name, 0)
    until(lambda: any(span[0] == name for span in spans(calls)))
    return future


def waiting(target):
    """The jobs in the queue, in its order."""
    return [one["job"] for one in target.dispatcher.gpus()["queue"]]


def test_jobs_of_four_clients_take_their_turns(calls):
    """Four processes submit at the same time: never two on one GPU, all done in the queue's order, the large one too."""
    target, half = calls.target(), 13 if ROUNDS else 3
    many = 8 * half
    gate = hold_all(calls, target)
    waves = [[[[f"{client}.{wave}.{number}", 1] for number in range(half)] for wave in range(2)] for client in range(4)]
    waves[1][0][-1] = ["large", 2]
    clients = [calls.program(_CLIENT, [calls.settings, str(calls.folder), one, 0.02]) for one in waves]
    for one in clients:
        assert one.stdout.readline() == "ready\n", one.communicate()
    asked, submitted = {}, 0.0
    for wave in (1, 2):
        began = time.monotonic()
        for one in clients:
            one.stdin.write("go\n")
            one.stdin.flush()
        for one in clients:
            for _ in range(half):
                told = json.loads(one.stdout.readline())
                asked[told["job"]] = {**told, "wave": wave}
        submitted += time.monotonic() - began
        until(lambda: len(waiting(target)) == len(asked))
    queue = [asked[job] for job in waiting(target)]
    assert [one["wave"] for one in queue] == [1] * (many // 2) + [2] * (many // 2)
    calls.closed.unlink()
    began = time.monotonic()
    got = [line for one in clients for line in calls.told(one)]
    took = time.monotonic() - began
    assert sorted(gate.result(PATIENCE)) == ["0", "1"]
    assert len(got) == many
    assert set(map(tuple, got)) == {("0",), ("1",), ("0", "1")}
    found = spans(calls)
    assert overlaps(found) == []
    assert len(found) == len({span[0] for span in found}) == many + 1
    assert set(calls.starts()) == {1}
    # Two can be on their way at a time, so a job may be passed by those on the other GPU, but nobody passes two.
    begun = {span[0]: span[2] for span in found}
    order = [begun[one["name"]] for one in queue]
    passed = [sum(before > order[place] for before in order[:place]) for place in range(many)]
    assert max(passed) <= 1, passed
    # Whoever came a few milliseconds later may be ahead: a place in the queue is taken by the job's own process.
    late = [one["asked"] - two["answered"] for place, one in enumerate(queue) for two in queue[place + 1 :]]
    early = [gap for gap in late if gap > 0]
    print(f"{many} jobs of 4 clients, submitted in {submitted:.1f} s, done in {took:.1f} s: 0 overlaps; {sum(passed)}")
    print(f"began before one ahead; {len(early)} pairs against their submits, by {1000 * max(early, default=0):.0f} ms")


def test_supervisors_killed_at_any_moment(calls):
    """Whoever held or waited for a GPU is killed: the others have theirs, a lost job says so, and nothing stays leased."""
    target, chance = calls.target(), random.Random(f"{SEED} supervisors")
    rounds, ended, killed = max(ROUNDS // 4, 1), [], 0
    for number in range(rounds):
        held = target.function(work().held, gpus=1, quiet=True)
        both = target.function(work().held, gpus=2, quiet=True)
        futures = [
            (both if place % 5 == 3 else held).submit(str(calls.folder), f"{number}.{place}", 0.05)
            for place in range(10)
        ]
        for _ in range(4):
            time.sleep(chance.random() * 0.1)
            alive = sorted(calls.supervisors().items())
            if alive:
                kill(chance.choice(alive)[1])
                killed += 1
        ended += [future.outcome(2 * PATIENCE) for future in futures]
    print(f"seed {SEED}: {killed} supervisors killed of {len(ended)}", end=": ")
    causes = [one.cause for one in ended]
    print({one: causes.count(one) for one in sorted(set(causes))})
    assert {one.state for one in ended} <= {"succeeded", "lost"}
    assert sum(one.state == "lost" for one in ended) <= killed
    assert killed
    assert overlaps(spans(calls)) == []
    assert set(calls.starts()) <= {0, 1}
    told = target.dispatcher.gpus()
    assert (told["queue"], [one["holders"] for one in told["devices"]]) == ([], [[], []])
    assert sorted(both(str(calls.folder), "last", 0)) == ["0", "1"]


def test_a_client_killed_while_its_job_waits(calls):
    """The same client again attaches to the job that waits: it keeps its place, and there is no second one in the queue."""
    target = calls.target()
    for number in range(max(ROUNDS // 10, 1)):
        gate = hold_all(calls, target, f"gate{number}")
        key = f"waits{number}"
        first = calls.client(key, gpus=1)
        until(lambda: len(waiting(target)) == 1, first)
        before = waiting(target)
        first.kill()
        first.communicate()
        behind = calls.client(f"behind{number}", gpus=1)
        until(lambda: len(waiting(target)) == 2, behind)
        again = calls.client(key, gpus=1)
        until(lambda: any(line["event"] == "attached" for line in calls.log(key)), again)  # noqa: B023 - as above
        assert waiting(target)[:1] == before
        assert len(waiting(target)) == 2
        calls.closed.unlink()
        (told,), (other,) = calls.told(again), calls.told(behind)
        assert (told.get("how"), told.get("right")) == ("attached", True), told
        assert other.get("right"), other
        assert gate.result(PATIENCE)
    assert set(calls.starts()) == {1}
    assert waiting(target) == []


def test_an_agent_killed_while_a_job_waits(calls):
    """The job waits on without its agent, says for what to the next one, and runs once when its turn has come."""
    target = calls.target()
    gate = hold_all(calls, target)
    future = target.function(work().held, gpus=1, quiet=True).submit(str(calls.folder), "waits", 0)
    until(lambda: len(waiting(target)) == 1)
    for _ in range(max(ROUNDS // 4, 2)):
        kill(target.dispatcher.link.agent().hello["pid"])
        until(lambda: "held by" in (target.dispatcher.poll(future.handle).waiting or ""))
        assert len(waiting(target)) == 1
    calls.closed.unlink()
    assert len(future.result(PATIENCE)) == 1
    assert gate.result(PATIENCE)
    assert overlaps(spans(calls)) == []
    assert set(calls.starts()) == {1}


def test_a_killed_holder_frees_its_gpus_for_the_next(calls):
    """SIGKILL of the supervisor that holds all: its job is told as lost, and who waits has a GPU soon after."""
    target, took = calls.target(), []
    for number in range(max(ROUNDS // 4, 1)):
        gate = hold_all(calls, target, f"gate{number}")
        future = target.function(work().held, gpus=1, quiet=True).submit(str(calls.folder), f"next{number}", 0)
        until(lambda: len(waiting(target)) == 1)
        kill(calls.state_of(gate.handle)["pid"])
        killed = time.monotonic()
        with pytest.raises(errors.LostError):
            gate.result(PATIENCE)
        name = f"next{number}"
        until(lambda: any(span[0] == name for span in spans(calls)))  # noqa: B023 - it is called here
        took.append(next(span[2] for span in spans(calls) if span[0] == name) - killed)
        calls.closed.unlink()
        assert len(future.result(PATIENCE)) == 1
    assert overlaps(spans(calls)) == []
    assert max(took) < PATIENCE
    print(f"the next has its GPU {min(took):.2f} to {max(took):.2f} s after SIGKILL of the holder")
