"""A pool of hosts: where jobs go, that one job runs on one host however many submit it, and hosts that go away."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from places import job_of, stored

from drawbar.config import TargetConfig
from drawbar.dispatch import calls, target
from drawbar.dispatch.executor import TargetExecutor
from drawbar.dispatch.load import Load
from drawbar.dispatch.local import local_dispatcher
from drawbar.dispatch.pool import Pool, _look, pool_dispatcher
from drawbar.dispatch.port import Handle
from drawbar.dispatch.remote import CallOptions
from drawbar.errors import LostError, PreflightError, TargetError, UnreachableError


@pytest.fixture
def roots(tmp_path):
    """The folders of three hosts: workers on this machine, each with a root and an agent of its own."""
    return {name: tmp_path / name for name in ("one", "two", "three")}


@pytest.fixture
def make_pool(roots):
    """Makers of pools on those hosts, each with connections that others share."""
    made = []

    def make(hosts=("one", "two"), **config):
        members = {host: local_dispatcher(host, TargetConfig(root=str(roots[host]), **config)) for host in hosts}
        made.append(Pool("pool", members))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


@pytest.fixture
def pool(make_pool):
    return make_pool()


def aliases(folder, hosts):
    """An ssh_config that has throwaway hosts under names of ours."""
    texts = [
        host.ssh_config.read_text().replace(f"Host {host.alias}\n", f"Host {name}\n") for name, host in hosts.items()
    ]
    (folder / "ssh_config").write_text("\n".join(texts))
    return folder / "ssh_config"


def named(number):
    """A job id that every process of a test can make."""
    return hashlib.sha256(f"job {number} {os.environ.get('PYTEST_CURRENT_TEST', '')}".encode()).hexdigest()


def value_of(pool, handle):
    outcome = pool.collect(handle, timeout=60)
    outcome.raise_()
    return calls.value_from(pool.fetch(outcome.value), outcome.value, "pickle")


def root_of_job():
    """Which host this runs on, by the folder it runs in."""
    import os

    return os.getcwd().split("/jobs/")[0].rpartition("/")[2]


def hold(gate):
    import pathlib
    import time

    while not pathlib.Path(gate).exists():
        time.sleep(0.01)
    return gate


def size_of(obj):
    return len(obj)


def number_of(text):
    return int(text)


def test_a_job_runs_on_the_host_that_its_handle_names(pool):
    """Handles say the pool and the host, survive JSON, and lead any client with the same configuration to the job."""
    handle = pool.submit(job_of(root_of_job))
    assert (handle.target, handle.how, handle.host in ("one", "two")) == ("pool", "started", True)
    assert Handle.from_json(json.loads(json.dumps(handle.to_json()))) == handle
    assert value_of(pool, handle) == handle.host
    assert pool.poll(handle).ended
    assert pool.cancel(handle).ended
    pool.told(handle)
    assert pool.submit(replace(job_of(root_of_job), id=handle.job)).told
    bare = replace(handle, host="")
    assert value_of(Pool("pool", pool.members), bare) == handle.host
    assert pool.logs(bare) == b""
    assert [host for host, info in pool.listed() if info.job == handle.job] == [handle.host]
    assert [info.job for info in pool.jobs()] == [handle.job]


def test_jobs_go_to_both_hosts(pool, tmp_path):
    """Jobs that hold a host up send the next ones to the other, so that both have work."""
    gate = str(tmp_path / "gate")
    handles = [pool.submit(job_of(hold, gate=gate)) for _ in range(6)]
    assert sorted(handle.host for handle in handles) == ["one"] * 3 + ["two"] * 3
    Path(gate).touch()
    assert {value_of(pool, handle) for handle in handles} == {gate}


def test_a_job_goes_where_its_inputs_are(pool):
    """What one host has of a job's inputs is not sent to the other, unless sending takes less than waiting there."""
    value, reads = stored(list(range(1000)))
    big = replace(value, bytes=10 << 30)  # as if it were; the bytes themselves are few
    first = pool.submit(job_of(size_of, obj=value))
    pool.collect(first, timeout=60)
    job = job_of(size_of, obj=big)
    costs = {host: Load().cost(member, job) for host, member in pool.members.items()}
    assert costs[first.host] < 10
    assert min(cost for host, cost in costs.items() if host != first.host) > 100
    assert [pool.submit(job_of(size_of, obj=big)).host for _ in range(4)] == [first.host] * 4
    assert len(reads) == 1


def test_the_same_job_is_attached_adopted_and_tried_again_wherever_it_is(pool, tmp_path):
    """A second submit finds the job on whichever host has it: running, succeeded, or failed."""
    gate = str(tmp_path / "gate")
    job = job_of(hold, gate=gate)
    handle = pool.submit(job)
    assert pool.submit(job).how == "attached"
    Path(gate).touch()
    pool.collect(handle, timeout=60)
    again = pool.submit(job)
    assert (again.how, again.host, again.attempt) == ("adopted", handle.host, 1)
    assert pool.submit(job, again="always").how == "started"
    bad = job_of(number_of, text="no number")
    failed = pool.submit(bad)
    with pytest.raises(ValueError, match="no number"):
        pool.collect(failed, timeout=60).raise_()
    assert pool.submit(bad, again="never").how == "ended"
    assert pool.submit(bad).how == "started"


RACER = """
import json, sys, time
from drawbar.config import TargetConfig
from drawbar.dispatch.local import local_dispatcher
from drawbar.dispatch.pool import Pool
from drawbar.dispatch.port import Job
import random

roots, ids, log = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
pool = Pool("pool", {host: local_dispatcher(host, TargetConfig(root=root)) for host, root in roots.items()})

def work(log, name):
    import os, time
    with open(log, "a") as file:
        file.write(name + " " + os.getcwd() + chr(10))
    time.sleep(0.2)
    return name

pool.facts()
print("ready", flush=True)
sys.stdin.readline()
handles = []
for one in ids:
    job = Job(id=one, name="race", function=work, run_id=str(random.random()), arguments={"log": log, "name": one})
    handles.append(pool.submit(job))
for handle in handles:
    pool.collect(handle, timeout=100).raise_()
print(json.dumps([[handle.job, handle.host, handle.how] for handle in handles]))
"""


def test_clients_that_submit_the_same_job_at_once_execute_it_once(roots, tmp_path):
    """Four processes race with the same twelve jobs on three hosts: each job runs once, and all of them get its value."""
    ids, log = [named(number) for number in range(12)], tmp_path / "log"
    log.touch()
    given = [json.dumps({host: str(root) for host, root in roots.items()}), json.dumps(ids), str(log)]
    command = [sys.executable, "-c", textwrap.dedent(RACER), *given]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n", racer.communicate()[1]
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    ended = [racer.communicate(timeout=110) for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 4, ended
    told = [json.loads(out) for out, _ in ended]
    executed = [line.split()[0] for line in log.read_text().splitlines()]
    assert sorted(executed) == sorted(ids)
    assert all([one[:2] for one in lines] == [one[:2] for one in told[0]] for lines in told)
    assert sum(how == "started" for lines in told for _, _, how in lines) == len(ids)
    assert len({host for _, host, _ in told[0]}) > 1


def test_a_proposal_stands_until_its_attempt_has_ended(make_pool, roots):
    """The host that clients agreed on is kept by whoever comes before the job is there, and is free again after it failed."""
    pool, other = make_pool(("one", "two", "three")), make_pool(("one", "two", "three"))
    job = job_of(number_of, text="no number")
    seen = pool._ask_all(lambda one: _look(one, job.id))
    agreed = pool._agree(job, seen, seen, "unsuccessful")
    rest = {host: one for host, one in seen.items() if host != agreed}
    assert other._agree(job, seen, seen, "unsuccessful") == agreed
    assert other.submit(job).host == agreed
    other.collect(Handle("pool", job.id, 1, "", "", host=agreed), timeout=60)
    moved = other._agree(job, seen, rest, "unsuccessful")
    assert moved != agreed
    assert pool.submit(job).host == moved


def test_a_host_that_is_away_is_passed_over_with_a_warning(make_sshd, tmp_path):
    """Jobs go to the host that is left, one warning names the other, and it is used again when it is back."""
    up, down = make_sshd(), make_sshd()
    config = aliases(tmp_path, {"gpu-a": up, "gpu-b": down})
    down.stop()
    settings = TargetConfig(
        hosts=("gpu-a", "gpu-b"), ssh_config=str(config), python=sys.executable, connect_timeout=5.0
    )
    pool = pool_dispatcher("pool", settings)
    try:
        with pytest.warns(UserWarning, match=r"gpu-b of pool is passed over: ") as caught:
            handles = [pool.submit(job_of(root_of_job)) for _ in range(3)]
        assert len(caught) == 1
        assert {handle.host for handle in handles} == {"gpu-a"}
        assert {value_of(pool, handle) for handle in handles} == {"home"}
        assert pool.facts().cpus > 0
        down.start()
        pool._away.clear()  # a minute later
        assert len(pool._ask_all(lambda one: one.jobs())) == 2
        up.stop()
        with pytest.warns(UserWarning, match=r"gpu-a of pool is passed over: "):
            assert pool.submit(job_of(root_of_job)).host == "gpu-b"
        down.stop()
        pool.close()
        with pytest.warns(UserWarning, match="gpu-b"), pytest.raises(UnreachableError) as error:
            pool.submit(job_of(root_of_job))
        assert error.value.what == "None of pool's hosts can be used."
        assert "gpu-a: " in error.value.found
        assert "gpu-b: " in error.value.found
    finally:
        pool.close()


def test_a_pool_runs_over_ssh_with_the_targets_verbs(make_sshd, tmp_path):
    """A configured target with `hosts` takes functions, executors and handles like any other."""
    hosts = {"gpu-a": make_sshd(), "gpu-b": make_sshd()}
    config = aliases(tmp_path, hosts)
    settings = TargetConfig(hosts=tuple(hosts), ssh_config=str(config), python=sys.executable)
    place = target.Target("pool", pool_dispatcher("pool", settings), settings)
    try:
        assert place.function(pow)(2, 5) == 32
        with TargetExecutor(place.dispatcher, CallOptions(), max_workers=4) as pool:
            assert list(pool.map(abs, range(-8, 0))) == [8, 7, 6, 5, 4, 3, 2, 1]
        future = place.function(pow).submit(3, 3)
        assert place.attach(future.handle.to_json()).result() == 27
        assert {host for host, _ in place.dispatcher.listed()} == {"gpu-a", "gpu-b"}
    finally:
        place.close()


def test_hosts_that_refuse_a_job_are_named_together(pool, monkeypatch):
    """A job that no host can run is one error that says why not, host by host; one that fits one host runs there."""
    job = job_of(root_of_job)
    refuse = {"one", "two"}
    for host, member in pool.members.items():
        inner = member.submit

        def submit(job, *, again="unsuccessful", host=host, inner=inner):
            if host in refuse:
                raise PreflightError(f"{host} has no Python that fits.", found="Python 3.9", todo="install one")
            return inner(job, again=again)

        monkeypatch.setattr(member, "submit", submit)
    with pytest.raises(PreflightError) as error:
        pool.submit(job)
    assert error.value.what == "None of pool's hosts can run site/root_of_job."
    assert "one: one has no Python that fits. Python 3.9" in error.value.found
    assert "two: two has no Python that fits. Python 3.9" in error.value.found
    refuse.remove("two")
    assert value_of(pool, pool.submit(job)) == "two"


def test_handles_and_values_that_no_host_knows_are_errors_that_say_so(pool, make_pool):
    """A host that left the pool is named; a job or a value that is nowhere is lost, not searched for without end."""
    handle = pool.submit(job_of(size_of, obj=[1]))
    outcome = pool.collect(handle, timeout=60)
    other = make_pool(("one", "two"))
    assert bytes(other.fetch(outcome.value)) == bytes(pool.fetch(outcome.value))
    with pytest.raises(TargetError, match="is on nine, which is not one of pool's hosts"):
        pool.poll(replace(handle, host="nine"))
    with pytest.raises(LostError, match="None of pool's hosts knows"):
        pool.poll(replace(handle, host="", job="0" * 64))
    with pytest.raises(LostError, match="has the value any more"):
        pool.fetch(replace(outcome.value, digest="0" * 64))


def test_what_a_pool_has_is_what_a_job_can_count_on(pool):
    """Facts are the least of the hosts', clean-ups are summed, and GPUs name their hosts."""
    found, each = pool.facts(["pip"]), [one.facts(["pip"]) for one in pool.members.values()]
    assert found.memory == min(one.memory for one in each)
    assert found.packages == each[0].packages
    pool.collect(pool.submit(job_of(size_of, obj=[1])), timeout=60)
    told = pool.gc(0.0, 0, dry_run=True)
    assert told["removed"]["jobs"]["count"] == 1
    assert told["kept"]["blobs"]["count"] > 0
    assert set(pool.gpus()) == {"devices", "queue"}


def test_many_threads_submit_to_a_pool(pool):
    """Sixteen threads at once: every job runs, and no warning is given."""
    with warnings.catch_warnings(), ThreadPoolExecutor(16) as threads:
        warnings.simplefilter("error")
        began = time.monotonic()
        handles = list(threads.map(lambda one: pool.submit(job_of(pow, base=one, exp=2)), range(48)))
        assert [value_of(pool, handle) for handle in handles] == [one**2 for one in range(48)]
    print(f"48 jobs through a pool of two: {time.monotonic() - began:.2f} s")
