"""A connection that breaks and comes back, and the one connection of a process to a place."""

import os
import signal
import sys
import threading
import time

import pytest

from drawbar import errors
from drawbar.config import TargetConfig
from drawbar.dispatch.link import Link
from drawbar.dispatch.target import Target, dispatcher


def slow(seconds):
    """Sleep, and say so."""
    time.sleep(seconds)
    return "slept"


@pytest.fixture
def worker(tmp_path):
    """A worker with a folder of its own."""
    config = TargetConfig(root=str(tmp_path))
    made = Target("worker", dispatcher("worker", config), config)
    yield made
    made.close()


def test_broken_connection_does_not_end_a_wait(worker):
    """An agent that is killed while a result is awaited is started again, and the wait goes on to the value."""
    future = worker.function(slow, quiet=True).submit(1.5)
    link = worker.dispatcher.link
    threading.Timer(0.4, os.kill, (link.agent().hello["pid"], signal.SIGKILL)).start()
    assert future.result(60) == "slept"
    assert link.opened == 2
    assert future.handle.attempt == 1


def test_stopped_sshd_does_not_end_a_wait(make_sshd):
    """An sshd that is gone for a moment, with all its connections, does not end a wait, and the job runs once."""
    host = make_sshd()
    config = TargetConfig(
        host=host.host,
        user=host.user,
        port=host.port,
        identity_file=str(host.identity_file),
        known_hosts=str(host.known_hosts),
        ssh_config="/dev/null",
        python=sys.executable,
    )
    gpu = Target("gpu", dispatcher("gpu", config), config)
    try:
        future = gpu.function(slow, quiet=True).submit(2)
        host.stop()
        threading.Timer(1.0, host.start).start()
        assert future.result(60) == "slept"
        assert gpu.jobs(1)[0].attempt == 1
    finally:
        gpu.close()


def test_many_jobs_share_one_connection(sshd):
    """However many threads use a host at once, sshd lets in one connection."""
    config = TargetConfig(
        host=sshd.host,
        user=sshd.user,
        port=sshd.port,
        identity_file=str(sshd.identity_file),
        known_hosts=str(sshd.known_hosts),
        ssh_config="/dev/null",
        python=sys.executable,
        root=str(sshd.folder / "many"),
    )
    before = sshd.log.read_text().count("Accepted publickey")
    gpu = Target("gpu", dispatcher("gpu", config), config)
    remote, values = gpu.function(abs, quiet=True), {}
    threads = [threading.Thread(target=lambda n=n: values.update({n: remote(-n)})) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    gpu.close()
    assert values == {n: n for n in range(30)}
    assert sshd.log.read_text().count("Accepted publickey") == before + 1


def test_first_connection_is_tried_once():
    """A host that was never reached is not tried again and again."""
    tries = []

    def refuse(_digest):
        tries.append(1)
        raise errors.UnreachableError("gpu refuses the connection.")

    with pytest.raises(errors.UnreachableError, match="gpu refuses the connection"):
        Link("gpu", refuse).call(lambda agent: agent.hello)
    assert tries == [1]


def test_patience_ends(worker):
    """A connection that stays away ends in the error of the last try."""
    link = worker.dispatcher.link
    pid = link.agent().hello["pid"]

    def refuse(_digest):
        raise errors.UnreachableError("worker is not there.")

    link._open_channel = refuse
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(errors.UnreachableError):
        link.call(lambda agent: agent.ask(9, {}), patience=0.3)


def test_one_connection_for_each_place(tmp_path):
    """Targets of one place share a connection, whatever they are called; another folder is another place."""
    one = dispatcher("one", TargetConfig(root=str(tmp_path / "a")))
    same = dispatcher("same", TargetConfig(root=str(tmp_path / "a"), grace=7))
    other = dispatcher("other", TargetConfig(root=str(tmp_path / "b")))
    assert one.link is same.link
    assert one.link is not other.link


def test_submit_after_a_break_starts_nothing_twice(worker):
    """A submit whose answer was lost with the connection finds its own attempt again, even when asked for `always`."""
    from drawbar.dispatch.client import BrokenConnectionError

    link = worker.dispatcher.link
    job = worker.function(slow)._job(((0.01,), {}))
    call, tries = link.call, []

    def lossy(action, **options):
        def once(agent):
            answer = action(agent)
            tries.append(answer)
            if len(tries) == 1 and isinstance(answer, dict) and "how" in answer:
                raise BrokenConnectionError("The connection to worker broke.")
            return answer

        return call(once, **options)

    link.agent()
    tries_before = link.opened
    link.call = lambda action, **options: lossy(action, **options) if action.__name__ == "once" else call(action)
    handle = worker.dispatcher.submit(job, again="always")
    link.call = call
    assert (handle.attempt, handle.how, handle.run_id) == (1, "started", job.run_id)
    assert worker.dispatcher.jobs(1)[0].attempt == 1
    assert link.opened == tries_before
