"""What a job needs before it starts, on every target with an agent: its Env, its GPUs; limits; and what it all cost."""

import time

import pytest
from places import job_of, run, value_of

from drawbar import errors
from drawbar.asset import Env


def until(condition, seconds=60.0):
    """What `condition` gives, once it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
    return found


@pytest.fixture
def host(agent_place):
    """A host with two GPUs."""
    return agent_place.with_config(devices=("24GiB", "24GiB"))


def test_a_job_waits_for_its_gpus_and_says_for_which(host, jobs):
    """A person looks at a job that does nothing, and must see who holds what it waits for."""
    first = host.dispatcher.submit(job_of(jobs.sleep, seconds=60, gpus=2))
    until(lambda: host.dispatcher.poll(first).state == "running")
    second = host.dispatcher.submit(job_of(jobs.add, left=1, gpu_memory="16GiB"))
    waiting = until(lambda: host.dispatcher.poll(second).waiting)
    assert waiting.startswith("waiting for 16 GiB of a GPU: "), waiting
    assert "held by site/sleep since" in waiting
    lines = {one.job: one for one in host.dispatcher.jobs()}
    assert (lines[second.job].state, lines[second.job].waiting) == ("waiting", waiting)
    assert sorted(lines[first.job].gpus) == ["0", "1"]
    seen = host.dispatcher.gpus()
    assert [one["holders"][0]["name"] for one in seen["devices"]] == ["site/sleep"] * 2
    assert [one["name"] for one in seen["queue"]] == ["site/add"]
    host.dispatcher.cancel(first)
    outcome = host.dispatcher.collect(second, timeout=60)
    assert value_of(host, outcome) == 2
    assert outcome.costs.queue > 0
    assert outcome.costs.gpu_seconds > 0
    assert all(not one["holders"] for one in host.dispatcher.gpus()["devices"])


def test_waiting_is_bounded_where_that_is_asked_for(host, jobs):
    """A scheduler would rather hear that there is no GPU than wait all night."""
    first = host.dispatcher.submit(job_of(jobs.sleep, seconds=60, gpus=2))
    until(lambda: host.dispatcher.poll(first).state == "running")
    outcome = host.dispatcher.collect(
        host.dispatcher.submit(job_of(jobs.add, left=1, gpus=1, wait_timeout=0.5)), timeout=60
    )
    assert (outcome.state, outcome.cause, outcome.started) == ("timed_out", "waiting", None)
    with pytest.raises(errors.TimedOutError, match="waited longer than it may"):
        outcome.raise_()
    assert host.dispatcher.gpus()["queue"] == []
    host.dispatcher.cancel(first)


def test_a_job_that_waits_can_be_cancelled(host, jobs):
    """Whoever changes their mind leaves the queue, and nothing of the job was executed."""
    first = host.dispatcher.submit(job_of(jobs.sleep, seconds=60, gpus=2))
    until(lambda: host.dispatcher.poll(first).state == "running")
    second = host.dispatcher.submit(job_of(jobs.add, left=1, gpus=1))
    until(lambda: host.dispatcher.poll(second).waiting)
    assert host.dispatcher.cancel(second).ended
    outcome = host.dispatcher.collect(second, timeout=10)
    assert (outcome.state, outcome.started) == ("cancelled", None)
    assert host.dispatcher.gpus()["queue"] == []
    host.dispatcher.cancel(first)


def test_a_job_that_falls_silent_is_stopped(agent_place, jobs):
    """A deadlocked training prints nothing more, and would hold its GPU for ever."""
    handle = agent_place.dispatcher.submit(job_of(jobs.sleep, seconds=60, silence_timeout=0.5))
    outcome = agent_place.dispatcher.collect(handle, timeout=60)
    assert (outcome.state, outcome.cause) == ("timed_out", "silence")


def test_an_env_is_built_where_the_job_runs_and_told_of(agent_place, jobs):
    """The function runs in the Env's own interpreter; what the build printed is in its log, what it took in its costs."""
    env = Env(python=">=3.9", variables={"KEPT": "yes"})
    assert run(agent_place, job_of(jobs.variable, name="KEPT", env=env)) == "yes"
    place = agent_place.with_config(envs="installed")
    assert run(place, job_of(jobs.add, left=1, env=Env("cloudpickle>=1"))) == 2


def test_an_env_that_cannot_be_built_says_what_failed(agent_place, jobs, monkeypatch):
    """The tool's own words are what a person needs, and nothing is left that a later job takes for an Env."""
    place = agent_place.with_config(variables={"UV_OFFLINE": "1", "PIP_NO_INDEX": "1"})
    handle = place.dispatcher.submit(job_of(jobs.add, left=1, env=Env("no-such-package-at-all>=1")))
    outcome = place.dispatcher.collect(handle, timeout=110)
    assert (outcome.state, outcome.cause) == ("failed", "env")
    with pytest.raises(errors.PreflightError) as caught:
        outcome.raise_()
    assert "no-such-package-at-all" in caught.value.found
    assert caught.value.todo
    assert b"no-such-package-at-all" in place.dispatcher.logs(handle, "stderr")
    assert not any((agent_place.root / "envs").glob("*/complete.json"))
