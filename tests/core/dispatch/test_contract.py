"""What every target owes, whichever is behind it: the same suite over this process, a worker and an SSH host."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial

import pytest
from places import SAMPLE, job_of, run, stored, value_of

from drawbar import Env, errors
from drawbar.dispatch.port import Handle


def test_value_comes_back(place, jobs):
    """Arguments by name reach the function, and its value comes back by digest, with what decodes it."""
    outcome = place.dispatcher.collect(place.dispatcher.submit(job_of(jobs.add, left=2, right=3)), timeout=60)
    assert outcome.ok
    assert outcome.value.digest == hashlib.sha256(b"5").hexdigest()
    assert (outcome.value.format, outcome.value.type, outcome.value.bytes) == ("json", "int", 1)
    assert value_of(place, outcome) == 5
    assert outcome.costs.compute >= 0
    assert outcome.started <= outcome.ended


def test_project_modules_travel(place, jobs):
    """A function that imports another module of its project finds it on the target."""
    assert run(place, job_of(jobs.double, number=21)) == 42


def test_stored_argument_is_sent_once(place, jobs):
    """A stored value is read at most once for a target, however many jobs take it."""
    one, reads = stored(["some", "rows"] * 5)
    assert run(place, job_of(jobs.same, value=one)) == ["some", "rows"] * 5
    before = len(reads)
    assert run(place, job_of(jobs.same, value=one)) == ["some", "rows"] * 5
    assert before == 1
    assert place.root is None or len(reads) == 1


def test_blob_crosses_the_connection_once(agent_place, jobs):
    """Bytes that the host has are not sent again, counted on the wire."""
    one, _ = stored("x" * 3_000_000)
    agent = agent_place.dispatcher.link.agent()
    before = agent.sent
    run(agent_place, job_of(jobs.same, value=one))
    first = agent.sent - before
    run(agent_place, job_of(jobs.same, value=one))
    assert first > 3_000_000
    assert agent.sent - before - first < 20_000


def test_streams_are_kept_apart(place, jobs):
    """Output and errors are two streams, readable from any offset, also after the end."""
    handle = place.dispatcher.submit(job_of(jobs.say, out="spoken", err="whispered"))
    place.dispatcher.collect(handle, timeout=60)
    assert place.dispatcher.logs(handle) == b"spoken\n"
    assert place.dispatcher.logs(handle, "stderr") == b"whispered\n"
    assert place.dispatcher.logs(handle, offset=2, limit=3) == b"oke"


def test_output_comes_while_it_runs(place, jobs, tmp_path):
    """`wait` gives what is printed before the job has ended, each byte once, and the outcome last."""
    gate = tmp_path / "gate"
    handle = place.dispatcher.submit(job_of(jobs.say_then_wait, path=str(gate)))
    seen = b""
    while not seen:
        told = place.dispatcher.wait(handle, stdout=0, timeout=30)
        seen += told.stdout
    assert seen == b"first\n"
    assert told.outcome is None
    assert not place.dispatcher.poll(handle).ended
    gate.touch()
    while told.outcome is None:
        told = place.dispatcher.wait(handle, stdout=len(seen), timeout=30)
        seen += told.stdout
    assert seen == b"first\nsecond\n"
    assert place.dispatcher.poll(handle).ended


def test_exception_is_raised_again(place, jobs):
    """The user's exception arrives as itself, with a traceback that shows the source lines of the target."""
    with pytest.raises(ArithmeticError, match="too much of it") as caught:
        run(place, job_of(jobs.explode))
    cause = caught.value.__cause__
    assert isinstance(cause, errors.RemoteError)
    assert cause.type_name == "builtins.ArithmeticError"
    assert 'raise ArithmeticError("too much of it")' in cause.traceback
    assert "sample_helpers.py" in cause.traceback
    # A clone is usually called drawbar too, so frames are told by the packages' own files.
    assert [own for own in ("/drawbar/agent/", "/drawbar/dispatch/", "drawbar_agent/") if own in cause.traceback] == []
    assert cause.outcome.state == "failed"


def test_own_exception_and_its_notes(place, jobs):
    """An exception class of the project is the same class here, with its arguments and notes."""
    with pytest.raises(jobs.OddError) as caught:
        run(place, job_of(jobs.explode_oddly))
    assert caught.value.args == ("odd", 7)
    assert caught.value.__notes__ == ["a note on it"]


def test_unpicklable_exception_is_told(agent_place, jobs):
    """An exception that cannot be rebuilt becomes a RemoteError that carries all of it."""
    with pytest.raises(errors.RemoteError) as caught:
        run(agent_place, job_of(jobs.explode_unpicklably))
    assert caught.value.what == "site/explode_unpicklably raised UnpicklableError: 7: no reason"
    assert caught.value.type_name == "sample_jobs.UnpicklableError"
    assert caught.value.message == "7: no reason"
    assert "raise UnpicklableError(7" in caught.value.traceback


def test_unpicklable_value(place, jobs):
    """A value that cannot travel is an error that names its type and says what to do."""
    with pytest.raises(errors.RemoteError) as caught:
        run(place, job_of(jobs.give_a_lock))
    assert "site/give_a_lock returned what cannot be sent back" in str(caught.value)
    assert "lock" in str(caught.value)
    assert caught.value.todo
    assert caught.value.outcome.cause == "unpicklable_value"


def test_exit_is_no_success(place, jobs):
    """sys.exit in a function is not a value."""
    with pytest.raises(errors.KilledError) as caught:
        run(place, job_of(jobs.leave))
    assert caught.value.what.startswith("site/leave ended by its own exit with status 3, without a value")
    assert caught.value.todo == "return from the function instead of calling os._exit or sys.exit"


def test_timeout(place, jobs):
    """A job that runs longer than it may is stopped and says so."""
    begun = time.monotonic()
    with pytest.raises(errors.TimedOutError, match="ran longer than it may"):
        run(place, job_of(jobs.sleep, seconds=60, timeout=0.3))
    assert time.monotonic() - begun < 20


def test_cancel(place, jobs):
    """`cancel` ends a running job, and says so only when nothing of it runs any more."""
    handle = place.dispatcher.submit(job_of(jobs.sleep, seconds=60))
    while place.dispatcher.poll(handle).state == "waiting":
        time.sleep(0.01)
    assert place.dispatcher.cancel(handle).ended
    outcome = place.dispatcher.collect(handle, timeout=10)
    assert (outcome.state, outcome.cause) == ("cancelled", "cancel")
    with pytest.raises(errors.CancelledError):
        outcome.raise_()
    assert place.dispatcher.cancel(handle).ended


def test_collect_gives_up(place, jobs):
    """`collect` with a timeout raises TimeoutError, and the job goes on."""
    handle = place.dispatcher.submit(job_of(jobs.sleep, seconds=60))
    with pytest.raises(TimeoutError, match=r"has not ended within 0\.1 s"):
        place.dispatcher.collect(handle, timeout=0.1)
    assert not place.dispatcher.poll(handle).ended
    place.dispatcher.cancel(handle)


def test_same_job_is_attached_then_adopted(place, jobs, tmp_path):
    """The same id is executed once: a second submit finds it running, a third finds its value, with the first's ids."""
    file = tmp_path / "runs"
    job = job_of(jobs.count_slowly, path=str(file), seconds=1.0)
    first = place.dispatcher.submit(job)
    second = place.dispatcher.submit(replace(job, run_id="another"))
    value = value_of(place, place.dispatcher.collect(second, timeout=60))
    third = place.dispatcher.submit(replace(job, run_id="a third"))
    assert (first.how, second.how, third.how) == ("started", "attached", "adopted")
    assert (second.attempt, third.attempt) == (first.attempt, first.attempt)
    assert second.run_id == third.run_id == job.run_id
    assert value == value_of(place, place.dispatcher.collect(third, timeout=60)) == "done"
    assert len(file.read_text().splitlines()) == 1


def test_again(place, jobs):
    """What ended unsuccessfully is tried again only if asked, and what succeeded only if asked for always."""
    failing = job_of(jobs.leave)
    place.dispatcher.collect(place.dispatcher.submit(failing), timeout=60)
    assert place.dispatcher.submit(failing, again="never").how == "ended"
    again = place.dispatcher.submit(failing, again="unsuccessful")
    assert (again.how, again.attempt) == ("started", 2)
    place.dispatcher.collect(again, timeout=60)
    fine = job_of(jobs.add, left=1)
    place.dispatcher.collect(place.dispatcher.submit(fine), timeout=60)
    always = place.dispatcher.submit(fine, again="always")
    assert (always.how, always.attempt) == ("started", 2)
    place.dispatcher.collect(always, timeout=60)


def test_told_is_remembered(place, jobs):
    """Whoever told lineage of the start says so, and every later handle of the attempt knows."""
    job = job_of(jobs.add, left=1)
    handle = place.dispatcher.submit(job)
    assert not handle.told
    place.dispatcher.told(handle)
    place.dispatcher.collect(handle, timeout=60)
    assert place.dispatcher.submit(job).told


def test_jobs_are_listed(place, jobs):
    """`jobs` names the latest job first, with how it ended and its run id."""
    job = job_of(jobs.leave)
    place.dispatcher.collect(place.dispatcher.submit(job), timeout=60)
    latest = place.dispatcher.jobs(limit=5)[0]
    assert (latest.job, latest.name, latest.attempt, latest.run_id) == (job.id, "site/leave", 1, job.run_id)
    assert (latest.state, latest.cause) == ("killed", "exit")


def test_facts(place):
    """A target tells its interpreter and the versions of packages, None for what it lacks."""
    facts = place.dispatcher.facts(["numpy", "no-such-package"])
    assert facts.interpreter.version == "{}.{}.{}".format(*sys.version_info)
    assert facts.packages["no-such-package"] is None
    assert facts.packages["numpy"]
    assert facts.cpus >= 1


def test_handle_is_json(place, jobs):
    """A handle survives JSON, and another dispatcher of the same place takes it."""
    handle = place.dispatcher.submit(job_of(jobs.add, left=1))
    again = Handle.from_json(json.loads(json.dumps(handle.to_json())))
    assert again == handle
    assert value_of(place, place.dispatcher.collect(again, timeout=60)) == 2


def _script(place, text, *arguments):
    """A Python process of its own with the same configuration; `target` is the place."""
    prelude = (
        "import json, sys\n"
        f"sys.path.insert(0, {str(SAMPLE)!r})\n"
        "from drawbar.config import TargetConfig\n"
        "from drawbar.dispatch.target import Target, dispatcher\n"
        "from drawbar.dispatch.port import Handle, Job\n"
        f"config = {place.target.config!r}\n"
        f"target = Target({place.target.name!r}, dispatcher({place.target.name!r}, config), config)\n"
    )
    return [sys.executable, "-c", prelude + text, *arguments]


def test_handle_is_valid_in_another_process(agent_place, jobs):
    """Another process with the same configuration collects the job by its handle alone."""
    handle = agent_place.dispatcher.submit(job_of(jobs.say, out="spo", err="ken"))
    text = (
        "future = target.attach(json.loads(sys.argv[1]))\n"
        "print(json.dumps([future.result(30), future.logs(), future.logs('stderr')]))\n"
    )
    done = subprocess.run(
        _script(agent_place, text, json.dumps(handle.to_json())),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["spoken", "spo\n", "ken\n"]


def test_killed_client_loses_nothing(agent_place, jobs, tmp_path):
    """A client that is killed leaves its job running; the same job again attaches, and was executed once."""
    file = tmp_path / "runs"
    job = job_of(jobs.count_slowly, path=str(file), seconds=2.0)
    text = (
        "import sample_jobs\n"
        "path, id = sys.argv[1:]\n"
        "job = Job(id=id, name='site/count', function=sample_jobs.count_slowly, run_id='first',\n"
        "          arguments={'path': path, 'seconds': 2.0})\n"
        "target.dispatcher.collect(target.dispatcher.submit(job))\n"
    )
    client = subprocess.Popen(_script(agent_place, text, str(file), job.id))
    while not file.exists():
        time.sleep(0.02)
        assert client.poll() is None
    client.send_signal(signal.SIGKILL)
    client.wait()
    handle = agent_place.dispatcher.submit(job)
    assert handle.how in ("attached", "adopted")
    assert handle.run_id == "first"
    assert value_of(agent_place, agent_place.dispatcher.collect(handle, timeout=60)) == "done"
    log = (agent_place.root / "jobs" / job.id / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in log].count("started") == 1
    assert len(file.read_text().splitlines()) == 1


def test_large_array_there_and_back(place, jobs):
    """An array goes and comes back equal and writable."""
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(4_000_000, dtype="float64").reshape(1000, 4000)
    back = place.target.function(jobs.same, quiet=True)(array)
    assert (back == array).all()
    assert (back.dtype, back.shape, back.flags.writeable) == (array.dtype, array.shape, True)


def test_call_shows_output_live(place, jobs):
    """A call prints here what the function prints there, on the same streams."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert place.target.function(jobs.say)("to you", "to me") == "to youto me"
    assert (out.getvalue(), err.getvalue()) == ("to you\n", "to me\n")


def test_map_keeps_order(place, jobs):
    """`map` gives values in the order of the items; all of it goes over one connection."""
    assert list(place.target.function(jobs.add).map(range(12), range(12), parallel=6)) == list(range(0, 24, 2))
    if place.root is not None:
        assert place.dispatcher.link.opened == 1


def test_map_ends_with_the_first_exception(place, jobs):
    """An exception ends a `map` and cancels what is under way."""
    values = place.target.function(jobs.sleep, quiet=True).map([0.01, "x", 50, 50])
    assert next(values) == "slept"
    begun = time.monotonic()
    with pytest.raises(TypeError):
        next(values)
    assert time.monotonic() - begun < 20
    assert not [one for one in place.dispatcher.jobs(4) if one.state in ("running", "waiting")]


def test_future(place, jobs):
    """A future tells whether it is done, gives its exception without raising it, and can be cancelled."""
    fine = place.target.function(jobs.add).submit(1)
    assert fine.result(60) == 2
    assert fine.done()
    assert fine.exception() is None
    assert not fine.cancel()
    wrong = place.target.function(jobs.explode).submit()
    assert isinstance(wrong.exception(60), ArithmeticError)
    slow = place.target.function(jobs.sleep).submit(60)
    with pytest.raises(TimeoutError):
        slow.result(0.05)
    assert slow.cancel()


def test_threads_share_a_target(place, jobs):
    """Calls from many threads at once each get their own value."""
    remote = place.target.function(jobs.add, quiet=True)
    values = {}
    threads = [threading.Thread(target=lambda n=n: values.update({n: remote(n, n)})) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert values == {n: 2 * n for n in range(6)}


def test_key_makes_a_call_adoptable(place, jobs, tmp_path):
    """The same function and key again does not run again."""
    remote = place.target.function(jobs.count, key=f"night {uuid.uuid4()}")
    assert remote(str(tmp_path / "runs")) == remote(str(tmp_path / "runs"))


def test_by_value(place, jobs):
    """Lambdas, closures, partials, builtins and classes run as they are."""
    offset = 3
    assert place.target.function(lambda n: n + offset)(4) == 7
    assert place.target.function(partial(jobs.add, 1))(2) == 3
    assert place.target.function(sorted)([2, 1]) == [1, 2]
    assert place.target.function(complex)(1, 2) == 1 + 2j


def test_plain_arguments_beside_stored_ones(place, jobs):
    """Values that JSON cannot hold go by pickle, beside stored ones and literals."""
    one, _ = stored("left")
    assert run(place, job_of(jobs.pair, left=one, right=(1, {2}))) == ["left", (1, {2})]


def test_coroutines_and_generators(place, jobs):
    """A coroutine is awaited, and the rows of a generator become a list."""
    assert run(place, job_of(jobs.awaited, number=4)) == 4
    assert run(place, job_of(jobs.rows, number=2)) == [{"row": 0}, {"row": 1}]


def test_format_is_kept(place, jobs):
    """A job that names its format gets it."""
    outcome = place.dispatcher.collect(place.dispatcher.submit(job_of(jobs.add, left=1, format="pickle")), timeout=60)
    assert outcome.value.format == "pickle"
    assert value_of(place, outcome) == 2


def test_trust_data_refuses_pickles(place, jobs):
    """With trust = "data" a value that needs a pickle is refused, and plain data comes as ever."""
    careful = place.with_config(trust="data")
    assert careful.function(jobs.add)(1) == 2
    with pytest.raises(errors.RemoteError) as caught:
        careful.function(jobs.same)((1, {2}))
    assert caught.value.outcome.cause == "unpicklable_value"
    with pytest.raises(errors.RemoteError) as caught:
        careful.function(jobs.explode_oddly)()
    if place.root is not None:
        assert caught.value.type_name == "sample_jobs.OddError"


def test_gpus_are_leased_or_refused(place, jobs):
    """A job that asks for a GPU has one of its own, or is refused before anything runs."""
    host = place.with_config(devices=("24GiB", "24GiB"))
    if place.root is None:
        with pytest.raises(errors.PreflightError) as caught:
            host.dispatcher.submit(job_of(jobs.add, left=1, gpus=1))
        assert caught.value.what == "site/add asks for GPUs (gpus=1), and runs in this process, which cannot lease any."
        return
    assert run(host, job_of(jobs.variable, name="CUDA_VISIBLE_DEVICES", gpus=2)) == "0,1"
    with pytest.raises(errors.PreflightError) as caught:
        host.dispatcher.submit(job_of(jobs.add, left=1, gpus=3))
    assert caught.value.expected == "gpus=3"
    assert "2 GPUs of 24 GiB" in caught.value.found


def test_env_is_checked(place, jobs):
    """Where no Env is built, requirements that the target meets pass, others are refused with what it has."""
    host = place.with_config(envs="installed")
    assert run(host, job_of(jobs.add, left=1, env=Env("numpy>=1", python=">=3.9"))) == 2
    with pytest.raises(errors.PreflightError) as caught:
        host.dispatcher.submit(job_of(jobs.add, left=1, env=Env("numpy>=99", "no-such-package")))
    assert caught.value.what == f"{place.target.name} lacks what site/add requires."
    assert caught.value.found.startswith("numpy>=99 (it has ")
    assert caught.value.found.endswith("no-such-package (not installed)")
    assert "-m pip install 'numpy>=99' 'no-such-package'" in caught.value.todo
    with pytest.raises(errors.PreflightError) as caught:
        host.dispatcher.submit(job_of(jobs.add, left=1, env=Env(python=">=3.99")))
    assert caught.value.what == f"{place.target.name} has no Python that fits site/add."
    assert caught.value.expected == "Python >=3.99 (its Env says so)"


def test_variables_and_secrets(agent_place, jobs, monkeypatch):
    """Variables and secrets reach the job; a secret is in no file of the host."""
    monkeypatch.setenv("TOKEN_FOR_TEST", "s3cr3t-value-31415")
    target = agent_place.with_config(secrets=("TOKEN_FOR_TEST",), variables={"PLAIN": "yes"})
    assert target.function(jobs.variable)("PLAIN") == "yes"
    assert target.function(len)("x") == 1
    out = io.StringIO()
    with redirect_stdout(out):
        target.function(lambda: print(__import__("os").environ["TOKEN_FOR_TEST"]))()
    assert out.getvalue() == "***\n"
    files = [one for one in agent_place.root.rglob("*") if one.is_file()]
    assert not [one for one in files if b"s3cr3t-value-31415" in one.read_bytes()]
    monkeypatch.delenv("TOKEN_FOR_TEST")
    with pytest.raises(errors.PreflightError, match="needs secrets that are not set here"):
        target.function(len)("x")


def test_unpicklable_argument(agent_place, jobs):
    """An argument that cannot travel is refused here, before anything is sent."""
    with pytest.raises(errors.FormatError) as caught:
        agent_place.target.function(jobs.same)(threading.Lock())
    assert caught.value.what == "An argument of same cannot be pickled."
    assert "lock" in caught.value.found


def test_missing_module_on_the_target(agent_place, jobs):
    """A function that needs a module which the target lacks fails with that module's name."""
    with pytest.raises((ModuleNotFoundError, errors.RemoteError), match="no_such_module_there"):
        agent_place.target.function(lambda: __import__("no_such_module_there"))()


def test_forked_child_has_its_own_connection(agent_place, jobs):
    """A forked child does not use the parent's connection, and the parent's goes on working."""
    remote = agent_place.target.function(jobs.add, quiet=True)
    assert remote(1) == 2
    child = os.fork()
    if not child:
        try:
            os._exit(0 if remote(2) == 3 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert remote(3) == 4
