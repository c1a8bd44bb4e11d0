"""Actors: state that lives, calls of every kind, sharing, endings, and what a broken connection may not break."""

import asyncio
import contextlib
import importlib
import itertools
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from places import SAMPLE

from drawbar.agent import frames
from drawbar.dispatch.actor import job_id
from drawbar.errors import ActorDiedError, FormatError, OptionError, RemoteError

PATIENCE = 60.0
NAMES = (f"actor{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def classes():
    """The user's module."""
    sys.path.insert(0, str(SAMPLE))
    yield importlib.import_module("sample_actors")
    sys.path.remove(str(SAMPLE))


@pytest.fixture
def make(agent_place):
    """A maker of actors, which are killed at the end."""
    made = []

    def make(cls, *args, **options):
        made.append(agent_place.target.actor(cls, *args, **options))
        return made[-1]

    yield make
    for one in made:
        with contextlib.suppress(Exception):
            one.cancel()


def until(true):
    """Returns when it is so."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def worker_of(actor):
    """The process id of the actor."""
    return actor.where()[0]


def test_state_lives_between_calls(make, classes):
    """An actor would be no more than a function."""
    actor = make(classes.Counter, 5)
    assert [actor.add(), actor.add(3), actor.count, actor.greeting] == [6, 9, 9, "hello"]
    assert actor(4) == 8
    assert actor.where()[1], "with a concurrency of 1 calls run where the object was constructed"
    assert actor.loops() == 5


def test_what_is_not_there_is_an_attribute_error(make, classes):
    """A typing error would be a silent None, and private state would be everybody's."""
    actor = make(classes.Counter)
    with pytest.raises(AttributeError, match="has no attribute 'ad'"):
        _ = actor.ad
    with pytest.raises(AttributeError):
        _ = actor._closed


def test_an_exception_comes_back_with_its_traceback(make, classes):
    """A user could not see where in the actor it went wrong; and the actor must live on."""
    actor = make(classes.Counter)
    with pytest.raises(ArithmeticError, match="too much") as caught:
        actor.explode("too much")
    assert isinstance(caught.value.__cause__, RemoteError)
    assert "sample_actors.py" in caught.value.__cause__.traceback
    assert "raise ArithmeticError(text)" in caught.value.__cause__.traceback
    assert "drawbar" not in caught.value.__cause__.traceback
    with pytest.raises(TypeError, match="pickle"):
        actor.lock()
    assert actor.add() == 1


def test_constructing_that_fails_is_the_error_of_the_maker(make, classes):
    """Whoever makes an actor would wait for one that will never be there."""
    with pytest.raises(LookupError, match="no model there") as caught:
        make(classes.Refuses)
    assert "sample_actors.py" in caught.value.__cause__.traceback


@pytest.mark.parametrize("size", [1 << 10, 20 << 20])
def test_arrays_go_both_ways(make, classes, size):
    """What is too big for a frame goes as a blob, and must come back the same, and writable."""
    actor = make(classes.Counter)
    sent = np.arange(size, dtype=np.uint8)
    back = actor.same(sent)
    assert back.dtype == sent.dtype
    assert np.array_equal(back, sent)
    back[0] = 1


def test_a_stream_gives_items_as_they_are_made_and_no_more_than_are_asked_for(make, classes, tmp_path):
    """A long generator would fill memory, or its items come only at its end."""
    actor, path = make(classes.Counter), tmp_path / "at"
    rows = actor.rows(100_000, str(path))
    assert list(itertools.islice(rows, 50)) == list(range(50))
    seen = []
    until(lambda: seen.append(int(path.read_text() or 0)) or seen[-1] >= 50)
    assert seen[-1] <= 50 + 32
    assert actor.add() == 1, "other calls go on between items"
    rows.close()
    until((tmp_path / "at.closed").exists)
    assert list(rows) == []
    assert list(actor.rows(40)) == list(range(40))


def test_an_exception_in_a_stream_comes_after_its_items(make, classes):
    """The items before it would be lost."""
    rows = make(classes.Counter).rows_then_explode()
    assert next(rows) == 1
    with pytest.raises(ArithmeticError, match="after one"):
        next(rows)
    assert list(rows) == []


def test_asynchronous_methods_run_at_the_same_time(make, classes):
    """Four that wait for each other would wait for ever."""
    actor = make(classes.Meeting)
    calls = [actor.meet.submit(4) for _ in range(4)]
    assert [one.result(PATIENCE) for one in calls] == [4] * 4
    assert list(actor.rows(25)) == list(range(25))

    async def awaited():
        return await asyncio.wrap_future(actor.meet.submit(1))

    assert asyncio.run(awaited()) == 5


def test_plain_methods_run_as_many_at_a_time_as_asked_for(make, classes):
    """Four that wait for each other need four threads."""
    actor = make(classes.Meeting, concurrency=4)
    assert all(one.result(PATIENCE) for one in [actor.meet_in_threads.submit() for _ in range(4)])


def test_calls_of_one_thread_are_carried_out_in_order(make, classes):
    """With a concurrency of 1 a queue would be a shuffle."""
    actor = make(classes.Counter)
    calls = [actor.add.submit() for _ in range(500)]
    assert [one.result(PATIENCE) for one in calls] == list(range(1, 501))
    assert list(actor.same.map(range(200))) == list(range(200))


def test_many_threads_call_at_once(make, classes):
    """Answers would go to whoever did not ask for them."""
    actor = make(classes.Counter)
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(actor.same, range(1000))) == list(range(1000))
        list(pool.map(lambda _: actor.add(), range(100)))
    assert actor.count == 100


def test_one_name_is_one_actor(make, classes, agent_place):
    """Two users of one model would need two GPUs; and another model by its name would be called unawares."""
    name = next(NAMES)
    first = make(classes.Counter, 1, name=name)
    second = make(classes.Counter, 1, name=name)
    assert second.where() == first.where()
    assert [first.add(), second.add()] == [2, 3]
    for cls, start in ((classes.Counter, 2), (classes.Meeting, None)):
        with pytest.raises(OptionError, match=f"Another actor goes by the name '{name}'"):
            make(cls, *([] if start is None else [start]), name=name)
    listed = agent_place.dispatcher.link.agent().ask(frames.ACTORS).meta["actors"]
    mine = next(one for one in listed if one["job"] == job_id(name))
    assert (mine["name"], mine["class"]) == (name, "sample_actors.Counter")
    first.stop()
    assert make(classes.Counter, 2, name=name).count == 2


def test_another_process_shares_it(make, classes, agent_place, tmp_path):
    """State would be this process's only; a proxy can be pickled, and its target is found by name."""
    name = next(NAMES)
    actor = make(classes.Counter, 40, name=name)
    config = agent_place.target.config
    table = {
        key: getattr(config, key) for key in ("host", "user", "port", "identity_file", "known_hosts", "root", "python")
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if value is not None]
    target = agent_place.target.name
    (tmp_path / "drawbar.toml").write_text("\n".join([f"[targets.{target}]", *lines]))
    (tmp_path / "proxy").write_bytes(pickle.dumps(actor))
    code = (
        f"import pickle, sys, drawbar; sys.path.insert(0, {str(SAMPLE)!r}); from sample_actors import Counter\n"
        f"print(drawbar.target({target!r}).actor(Counter, 40, name={name!r}).add())\n"
        "print(pickle.load(open('proxy', 'rb')).add())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["41", "42"], done.stderr
    assert actor.count == 42


def test_a_job_on_the_same_host_calls_it_directly(make, classes, agent_place):
    """Its calls would go through the client, or not at all; a host has no drawbar installed."""
    actor = make(classes.Counter, 1)
    remote = agent_place.target.function(classes.add_there, quiet=True)
    assert remote(actor, 2) == [3, "DirectLine", sum(range(30))]
    sums = make(classes.Sums, actor)
    assert sums.add_there(4) == 7
    assert actor.count == 7


def test_stop_closes_it_after_its_calls(make, classes, tmp_path):
    """A call under way would be cut off, or what the object holds left open."""
    closed, started, go = (tmp_path / one for one in ("closed", "started", "go"))
    actor = make(classes.Counter, 1, closed=str(closed))
    call = actor.add_and_wait.submit(str(started), str(go))
    until(started.exists)
    stopping = threading.Thread(target=actor.stop)
    stopping.start()
    go.touch()
    stopping.join(PATIENCE)
    assert call.result(PATIENCE) == 2
    assert closed.read_text() == "2"
    with pytest.raises(ActorDiedError, match="has ended: it was stopped") as caught:
        actor.add()
    assert caught.value.carried_out is False
    actor.stop()


def test_nobody_calls_it_and_it_ends(make, classes, tmp_path):
    """A GPU would be held for ever by an actor that everybody forgot."""
    closed = tmp_path / "closed"
    actor = make(classes.Counter, 1, closed=str(closed), idle_timeout=0.3)
    until(closed.exists)
    with pytest.raises(ActorDiedError) as caught:
        actor.add()
    assert caught.value.carried_out is False
    again = make(classes.Counter, 1, idle_timeout=0.3, restart=True)
    first = worker_of(again)
    time.sleep(0.5)
    until(lambda: not _alive(first))
    assert again.add() == 2, "a call that finds it gone was not carried out, and is made of a new one"


def test_a_death_during_a_call_is_an_error_that_says_so(make, classes):
    """A caller would wait for ever, or its call be done twice."""
    actor = make(classes.Counter, 1)
    with pytest.raises(ActorDiedError, match=r"while .*leave was under way: was killed by signal 9") as caught:
        actor.leave()
    assert caught.value.carried_out is None
    assert caught.value.outcome.signal == 9
    with pytest.raises(ActorDiedError, match="has ended: was killed by signal 9") as caught:
        actor.add()
    assert caught.value.carried_out is False


def test_after_a_death_it_is_constructed_anew_where_that_was_asked_for(make, classes):
    """A service would have to be restarted by hand; the call that died is never repeated."""
    actor = make(classes.Counter, 1, name=next(NAMES), restart=True)
    actor.add(10)
    with pytest.raises(ActorDiedError):
        actor.leave()
    assert actor.add() == 2, "its state is fresh"


def test_its_supervisor_dies_and_so_does_it(make, classes, agent_place):
    """A call would wait for an actor that nobody looks after."""
    actor = make(classes.Counter, 1)
    folder = agent_place.root / "jobs" / actor.handle.job / "attempts" / str(actor.handle.attempt)
    supervisor = json.loads((folder / "state.json").read_text())["pid"]
    pid = worker_of(actor)
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not _alive(pid))
    with pytest.raises(ActorDiedError, match="lost"):
        actor.add()


def test_its_agent_dies_and_the_call_goes_on(make, classes, agent_place, tmp_path):
    """A cut connection would lose the result, or have the call carried out twice."""
    actor = make(classes.Counter, 1)
    for number in range(5):
        started, go = tmp_path / f"started{number}", tmp_path / f"go{number}"
        call = actor.add_and_wait.submit(str(started), str(go))
        until(started.exists)
        os.kill(agent_place.dispatcher.link.agent().hello["pid"], signal.SIGKILL)
        go.touch()
        assert call.result(PATIENCE) == 2 + number
    assert actor.count == 6


def test_its_agents_die_and_every_call_is_carried_out_once(make, classes, agent_place):
    """At random moments: a count that is too high or too low would be a call done twice, or lost."""
    actor = make(classes.Counter)
    over = threading.Event()

    def kill():
        for _ in range(12):
            agent = agent_place.dispatcher.link.call(lambda agent: agent)
            over.wait(random.uniform(0.02, 0.3))
            with contextlib.suppress(ProcessLookupError):
                os.kill(agent.hello["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        found = []
        while killer.is_alive() or not found:
            with ThreadPoolExecutor(4) as pool:
                found += pool.map(lambda _: actor.add(), range(100))
            rows = list(actor.rows(100))
    finally:
        over.set()
        killer.join()
    assert sorted(found) == list(range(1, len(found) + 1))
    assert rows == list(range(100))


def test_what_it_prints_is_in_its_log(make, classes, agent_place, capsys):
    """It would be nowhere, or between the lines of a caller that did not ask for it."""
    actor = make(classes.Counter)
    actor.say("a line of the actor")
    until(lambda: b"a line of the actor" in agent_place.dispatcher.logs(actor.handle))
    assert "a line of the actor" not in capsys.readouterr().out


def test_without_trust_in_pickles_results_are_data(agent_place, classes):
    """A host could run code here by what its actors return."""
    careful = agent_place.with_config(trust="data")
    actor = careful.actor(classes.Counter, 1)
    try:
        assert np.array_equal(actor.same(np.arange(3)), np.arange(3))
        with pytest.raises(RemoteError, match="pickles are not trusted"):
            actor.same({1, 2})
        with pytest.raises(RemoteError, match="ArithmeticError: no pickle"):
            actor.explode("no pickle")
    finally:
        actor.cancel()
    trusting = agent_place.target.actor(classes.Counter, 1, name=next(NAMES))
    actor = careful.actor(classes.Counter, 1, name=trusting._line.name)
    try:
        with pytest.raises(FormatError, match="pickles are not trusted"):
            actor.add()
    finally:
        trusting.cancel()


def test_a_forked_process_is_a_caller_of_its_own(make, classes):
    """Its calls would get the numbers, and the answers, of its parent's."""
    actor = make(classes.Counter)
    actor.add()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            os.write(writer, str(actor.add(10)).encode())
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 100) == b"11"
    os.close(reader)
    os.waitpid(child, 0)
    assert actor.add() == 12


def test_an_actor_without_a_name_goes_with_its_process(agent_place, classes, tmp_path):
    """A notebook's actors would hold their GPUs until they are idle."""
    closed = tmp_path / "closed"
    with agent_place.target.actor(classes.Counter, 3, closed=str(closed)) as actor:
        assert actor.count == 3
    assert closed.read_text() == "3"
    closed.unlink()
    config = agent_place.target.config
    code = (
        f"import sys, drawbar; sys.path.insert(0, {str(SAMPLE)!r}); from sample_actors import Counter\n"
        "from drawbar.config import TargetConfig; from drawbar.dispatch.target import Target, dispatcher\n"
        f"config = {config!r}\n"
        f"target = Target('t', dispatcher('t', config), config)\n"
        f"print(target.actor(Counter, 4, closed={str(closed)!r}).add())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "5", done.stderr
    until(closed.exists)


@pytest.mark.parametrize("options", [{"idle_timeout": 0}, {"concurrency": 0}])
def test_options_that_make_no_sense_are_refused(make, classes, options):
    """It would end before its first call, or never answer one."""
    with pytest.raises(OptionError, match="must be more than 0"):
        make(classes.Counter, **options)


def _alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
