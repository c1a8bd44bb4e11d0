"""One job, one execution: whoever submits it, whenever, and whoever dies meanwhile."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from agent_peer import RefusedError, alive, until

from drawbar.agent import frames, jobs
from drawbar.agent.outcomes import outcome


def executed(peer, job):
    """How often the job was executed, as its own log tells."""
    return [line["event"] for line in peer.log(job)].count("started")


def mark(path, seconds=0.0):
    """Leave this process's id in a new file, then take a while."""

    def marks():
        import os
        import time

        with open(path, "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(seconds)
        return "made"

    return marks


def test_a_job_that_succeeded_is_adopted(peer):
    """A retry would pay for the same work again."""
    job, first = peer.submit(lambda: 5, run_id="one")
    made, _, _ = peer.wait(job)
    _, second = peer.submit(lambda: 5, job=job, run_id="two")
    assert (first["how"], second["how"]) == ("started", "adopted")
    assert (second["attempt"], second["run_id"], second["state"], second["ended"]) == (1, "one", "ended", "succeeded")
    assert peer.wait(job)[0] == made
    assert executed(peer, job) == 1
    _, third = peer.submit(lambda: 5, job=job, again="always")
    assert (third["how"], third["attempt"]) == ("started", 2)
    peer.wait(job, 2)
    assert executed(peer, job) == 2


def test_a_job_that_runs_is_attached_to(peer, agents, root, tmp_path):
    """Two clients would compute the same at the same time, or the second would not see the output."""
    job, _ = peer.submit(mark(str(tmp_path / "ran"), 0.5), run_id="one")
    other = agents(root)
    _, attached = other.submit(mark("elsewhere"), job=job, run_id="two", again="always")
    assert (attached["how"], attached["run_id"], attached["told"]) == ("attached", "one", False)
    assert other.wait(job)[0]["state"] == "succeeded"
    assert executed(peer, job) == 1


def test_a_job_that_failed_is_tried_again_if_asked(peer):
    """A retry would attach to a failure, or a caller could not ask for its end."""

    def fails():
        raise ValueError("x")

    job, _ = peer.submit(fails)
    peer.wait(job)
    _, never = peer.submit(fails, job=job, again="never")
    assert (never["how"], never["attempt"], never["ended"]) == ("ended", 1, "failed")
    _, again = peer.submit(fails, job=job)
    assert (again["how"], again["attempt"]) == ("started", 2)
    peer.wait(job)


def test_a_value_that_is_gone_is_made_again(peer):
    """A job would be adopted whose value nobody has."""
    job, _ = peer.submit(lambda: "a value of its own")
    made, _, _ = peer.wait(job)
    digest = made["value"]["digest"]
    os.unlink(f"{peer.root}/blobs/{digest[:2]}/{digest}")
    _, again = peer.submit(lambda: "a value of its own", job=job)
    assert (again["how"], again["attempt"]) == ("started", 2)
    assert peer.value(peer.wait(job)[0]) == "a value of its own"


def test_told_is_remembered(peer):
    """Lineage would open the same run twice."""
    job, _ = peer.submit(lambda: 1)
    peer.wait(job)
    assert peer.submit(lambda: 1, job=job)[1]["told"] is False
    peer.ask(frames.TOLD, {"job": job, "attempt": 1})
    assert peer.submit(lambda: 1, job=job)[1]["told"] is True


def test_unknown_jobs_and_blobs_are_refused(peer):
    """A client would wait for a job that is not there, or start one that lacks its arguments."""
    for kind, meta in ((frames.WAIT, {}), (frames.CANCEL, {}), (frames.READ, {"stream": "stdout", "offset": 0})):
        with pytest.raises(RefusedError) as caught:
            peer.ask(kind, {"job": "nowhere", "attempt": 1, **meta})
        assert caught.value.meta["code"] == "unknown"
        assert caught.value.meta["what"] == "No such job on the host."
    with pytest.raises(RefusedError) as caught:
        peer.submit(len, [], code=[["0" * 64]])
    assert caught.value.meta["what"] == "The job needs blobs that are not on the host."
    for job in ("../evil", "", "a/b", ".hidden", "x" * 200):
        with pytest.raises(RefusedError) as caught:
            peer.ask(frames.WAIT, {"job": job, "attempt": 1})
        assert caught.value.meta["code"] == "protocol"


RACER = """
import sys, time
sys.path[:0] = sys.argv[1:3]
from agent_peer import Peer
root, job, marks, begin = sys.argv[3:]
peer = Peer(root)
def work():
    import os, time
    with open(marks, "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(0.2)
    return 1
time.sleep(max(0, float(begin) - time.time()))
_, answer = peer.submit(work, job=job)
print(answer["how"], answer["attempt"], peer.wait(job)[0]["state"])
peer.close()
"""


def test_eight_at_once_execute_once(agents, tmp_path):
    """Clients that submit at the same moment would each start the job."""
    peer = agents()
    paths = [str(Path(__file__).parent), str(Path(jobs.__file__).parents[2])]
    begin = str(time.time() + 3)
    command = [sys.executable, "-c", RACER, *paths, peer.root, "race", str(tmp_path / "marks"), begin]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    said = sorted(racer.communicate(timeout=60)[0].strip() for racer in racers)
    assert len((tmp_path / "marks").read_text().split()) == 1
    assert executed(peer, "race") == 1
    assert said.count("started 1 succeeded") == 1
    assert {line.split(" ", 1)[1] for line in said} == {"1 succeeded"}


def test_a_claim_is_exclusive(tmp_path):
    """Two agents could both believe that an attempt is theirs."""
    won = []
    barrier = threading.Barrier(8)

    def claim():
        barrier.wait()
        won.append(jobs.Jobs(str(tmp_path)).claim("job", 1, {}))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claims = [claim for claim in won if claim]
    assert len(claims) == 1
    attempt, lock = claims[0]
    assert jobs.look(attempt).state == "waiting"
    os.close(lock)
    assert jobs.look(attempt).stranded
    assert sorted(os.listdir(attempt.folder)) == [
        "lock",
        "outcome.reserve",
        "report.reserve",
        "spec.json",
        "state.json",
        "work",
    ]
    assert os.listdir(os.path.dirname(attempt.folder)) == ["1"]


def test_an_agent_that_died_after_its_claim_is_taken_over(peer, tmp_path):
    """A job whose agent was killed between claim and start would never run, or run twice."""
    spec = {"function": {"blob": _function(peer, mark(str(tmp_path / "marks")))}, "run_id": "first", "submitted": 0}
    _, lock = jobs.Jobs(peer.root).claim("stranded", 1, spec)
    os.close(lock)  # what the kernel does when the agent is killed
    assert peer.wait("stranded")[0]["state"] == "lost"
    _, answer = peer.submit(mark(str(tmp_path / "other")), job="stranded", run_id="second")
    assert (answer["how"], answer["attempt"], answer["run_id"]) == ("started", 1, "first")
    assert peer.wait("stranded")[0]["state"] == "succeeded"
    assert len((tmp_path / "marks").read_text().split()) == 1
    assert executed(peer, "stranded") == 1


def _function(peer, function):
    import cloudpickle

    return peer.put(cloudpickle.dumps(function))


def test_jobs_outlive_their_agent(agents, tmp_path):
    """A connection that breaks would end the work, or lose its output."""
    first = agents()
    job, _ = first.submit(mark(str(tmp_path / "marks"), 0.5))
    first.process.kill()
    first.process.wait()
    second = agents()
    assert second.state == "have"
    assert second.submit(len, job=job)[1]["how"] == "attached"
    assert second.wait(job)[0]["state"] == "succeeded"
    assert executed(second, job) == 1


def test_an_end_of_input_ends_the_agent_only(agents, tmp_path):
    """An agent would stay for ever when its client has gone."""
    peer = agents()
    job, _ = peer.submit(mark(str(tmp_path / "marks"), 0.3))
    peer.process.stdin.close()
    assert peer.process.wait(5) == 0
    assert agents().wait(job)[0]["state"] == "succeeded"


@pytest.mark.parametrize("moment", range(12))
def test_killing_the_agent_at_any_moment_leaves_a_job_that_ends_once(agents, tmp_path, moment):
    """Between claim and start there would be an instruction at which a kill loses or doubles the work."""
    victim = agents()
    time.sleep(0.1)
    function = mark(str(tmp_path / "marks"))
    blob, call = _function(victim, function), victim.put(b"".join(_call()))
    spec = {"function": {"blob": blob}, "call": call, "result": {"payload": True}}
    victim.send(frames.SUBMIT, {"job": "job", "run_id": "a", "spec": spec})
    time.sleep(moment * 0.0006)
    victim.process.kill()
    victim.process.wait()
    peer = agents()
    meta = {"job": "job", "run_id": "b", "spec": spec}
    answer = peer.ask(frames.SUBMIT, meta)[0]
    assert answer["attempt"] == 1
    assert peer.wait("job")[0]["state"] == "succeeded"
    assert executed(peer, "job") == 1
    assert len((tmp_path / "marks").read_text().split()) == 1


def _call():
    from drawbar.agent import payload

    return payload.encode(((), {}))


def state(peer, job):
    """What the supervisor says about itself."""
    from drawbar.agent import files

    return files.read_json(f"{peer.root}/jobs/{job}/attempts/1/state.json") or {}


def test_a_killed_supervisor_takes_its_worker_along(peer, tmp_path):
    """A worker that nobody counts would go on, and the job would look as if it ran."""
    marks = tmp_path / "marks"
    job, _ = peer.submit(mark(str(marks), 600))
    until(marks.exists)
    until(marks.read_text)
    os.kill(state(peer, job)["pid"], signal.SIGKILL)
    ended, _, _ = peer.wait(job)
    assert (ended["state"], ended["cause"]) == ("lost", "lost")
    worker = int(marks.read_text())
    until(lambda: not alive(worker))
    _, again = peer.submit(lambda: 1, job=job)
    assert (again["how"], again["attempt"]) == ("started", 2)
    assert peer.wait(job)[0]["state"] == "succeeded"


def test_what_a_killed_supervisor_left_is_ended_by_the_next_attempt(peer):
    """A helper process of a lost attempt would hold its GPU while the next one wants it."""

    def leaves():
        import subprocess
        import time

        print(subprocess.Popen(["sleep", "600"], start_new_session=True).pid, flush=True)
        time.sleep(600)

    job, _ = peer.submit(leaves)
    until(lambda: peer.ask(frames.READ, {"job": job, "attempt": 1, "stream": "stdout", "offset": 0})[0]["size"])
    left = int(bytes(peer.ask(frames.READ, {"job": job, "attempt": 1, "stream": "stdout", "offset": 0})[1]))
    os.kill(state(peer, job)["pid"], signal.SIGKILL)
    assert peer.wait(job)[0]["state"] == "lost"
    assert alive(left)
    peer.submit(lambda: 1, job=job)
    until(lambda: not alive(left))
    peer.wait(job)


def test_a_killed_worker_is_told_as_killed(peer, tmp_path):
    """A kill from outside would look like a failure of the function."""
    marks = tmp_path / "marks"
    job, _ = peer.submit(mark(str(marks), 600))
    until(lambda: marks.exists() and marks.read_text())
    os.kill(int(marks.read_text()), signal.SIGKILL)
    ended, _, _ = peer.wait(job)
    assert (ended["state"], ended["cause"], ended["signal"]) == ("killed", "signal", 9)


def test_a_supervisor_that_is_asked_to_end_ends_its_job(peer, tmp_path):
    """A host that shuts down would leave a job without an end."""
    marks = tmp_path / "marks"
    job, _ = peer.submit(mark(str(marks), 600))
    until(lambda: marks.exists() and marks.read_text())
    os.kill(state(peer, job)["pid"], signal.SIGTERM)
    ended, _, _ = peer.wait(job)
    assert (ended["state"], ended["cause"], ended["signal"]) == ("killed", "signal", 15)
    assert not alive(int(marks.read_text()))


def test_a_reboot_is_told(peer):
    """A job that a reboot ended would look as if its supervisor had been killed."""
    from drawbar.agent import files

    attempt, lock = jobs.Jobs(peer.root).claim("rebooted", 1, {})
    os.close(lock)
    files.write_json(attempt.path("state.json"), {"state": "running", "boot": "another", "pid": 1, "started": 7.0})
    ended, _, _ = peer.wait("rebooted")
    assert (ended["state"], ended["cause"], ended["started"]) == ("lost", "reboot", 7.0)


def test_a_full_disk_does_not_hide_the_outcome(tmp_path):
    """A job that filled the disk would count as lost, because its end could not be written down."""
    import resource

    attempt, lock = jobs.Jobs(str(tmp_path)).claim("full", 1, {})
    told = outcome("failed", "exception", error={"message": "m" * 9000, "traceback": "t" * 50_000, "notes": ["n"]})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (jobs.RESERVE, limits[1]))
    try:
        jobs.write_outcome(attempt, told)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    seen = jobs.look(attempt)
    os.close(lock)
    assert (seen.state, seen.outcome["cause"]) == ("ended", "exception")
    assert seen.outcome["error"]["traceback"] == "t" * 4000
