"""What can happen to a host: processes killed, sshd gone, reboots, folders removed, clocks, locks and disks that fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from calls import ROUNDS, Calls, data_of, until, work

from drawbar import errors

pytestmark = pytest.mark.timeout(120 + 10 * ROUNDS)


def begun(calls, key):
    """A call that runs and waits, and its future."""
    calls.closed.touch()
    target = calls.target()
    before = calls.made()
    future = target.function(work().backwards, key=key, quiet=True).submit(str(calls.folder), b"abc")
    until(lambda: calls.made() > before)
    return target, future


def again(calls, target, key):
    """The same call once more, let through."""
    calls.closed.unlink(missing_ok=True)
    return target.function(work().backwards, key=key, quiet=True).submit(str(calls.folder), b"abc")


def test_a_killed_supervisor_is_told_as_lost(calls):
    """The job ends as lost, with what to do; nothing of it is left at work, and the same call again runs it anew, once."""
    target, future = begun(calls, "supervisor")
    os.kill(calls.state("supervisor")["pid"], signal.SIGKILL)
    killed = time.monotonic()
    with pytest.raises(errors.LostError) as caught:
        future.result(60)
    print(f"SIGKILL of a supervisor: told after {time.monotonic() - killed:.2f} s")
    assert "its supervisor is gone" in caught.value.what
    assert caught.value.todo.startswith("run it again")
    until(lambda: calls.at_work() == [])
    second = again(calls, target, "supervisor")
    assert (second.handle.how, second.handle.attempt, second.result(60)) == ("started", 2, b"cba")
    assert calls.starts() == [2]


def test_a_killed_worker_is_told_with_its_signal(calls):
    """A worker killed from outside is told as killed by signal 9, not as a failure of the function."""
    _, future = begun(calls, "worker")
    os.kill(int((calls.folder / "made").read_text()), signal.SIGKILL)
    with pytest.raises(errors.KilledError) as caught:
        future.result(60)
    assert "signal 9 (SIGKILL)" in caught.value.what
    assert calls.at_work() == []


def sessions(sshd):
    """Processes of sshd itself, one or two for each connection."""
    found = [sshd.pid]
    for parent in found:
        listed = subprocess.run(
            ["ps", "-o", "pid=,comm=", "--ppid", str(parent)], capture_output=True, text=True, check=False
        )
        found += [int(line.split()[0]) for line in listed.stdout.splitlines() if line.split()[1].startswith("sshd")]
    return found[1:]


@pytest.mark.parametrize("whom", ["agent", "session"])
def test_what_is_between_client_and_job_may_be_killed(calls, sshd, whom):
    """An agent or an sshd session that is killed costs a new connection: the wait goes on to the value, made once."""
    for number in range(max(ROUNDS // 10, 1)):
        key = f"{whom}{number}"
        target, future = begun(calls, key)
        for pid in [target.dispatcher.link.agent().hello["pid"]] if whom == "agent" else sessions(sshd):
            os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        calls.closed.unlink()
        assert future.result(60) == b"cba"
        assert time.monotonic() - killed < 30
        assert target.dispatcher.link.opened == 2 + number
        assert future.handle.attempt == 1
    assert set(calls.starts()) == {1}


@pytest.mark.parametrize("away", [60.0 if ROUNDS else 1.0])
def test_an_sshd_that_is_away(calls, sshd, away):
    """However long the host's sshd is away, its job goes on, and the next call has the value: it was made once."""
    target, future = begun(calls, "away")
    sshd.stop()
    try:
        calls.closed.unlink()
        until((calls.attempt("away") / "outcome.json").exists)
        time.sleep(away)
    finally:
        sshd.start()
    try:
        assert future.result(60) == b"cba"
    except errors.UnreachableError:
        assert away > 20
    second = again(calls, target, "away")
    assert (second.handle.how, second.result(60)) == ("adopted", b"cba")
    assert calls.starts() == [1]


def test_a_reboot_is_told_as_one(calls):
    """After a reboot the job is lost, and says why; the next call runs it anew, though its old process id is in use again."""
    target, future = begun(calls, "reboot")
    state = calls.state("reboot")
    os.kill(state["pid"], signal.SIGKILL)
    until(lambda: calls.at_work() == [])
    # A machine that was booted since has another boot id, and the old process id may belong to anybody: to us.
    told = {**state, "boot": "00000000-0000-0000-0000-000000000000", "pid": os.getpid()}
    (calls.attempt("reboot") / "state.json").write_text(json.dumps(told))
    target.close()
    with pytest.raises(errors.LostError, match="was restarted while it ran"):
        future.result(60)
    second = again(calls, target, "reboot")
    assert (second.handle.how, second.handle.attempt, second.result(60)) == ("started", 2, b"cba")


def test_a_job_folder_removed_under_a_running_job(calls):
    """Somebody removes the folder of a running job: it is told as lost, and the next call makes the job anew."""
    target, future = begun(calls, "removed")
    shutil.rmtree(calls.root / "jobs" / future.handle.job)
    with pytest.raises(errors.LostError) as caught:
        future.result(60)
    assert caught.value.todo
    # What still runs would write into the folder of the next attempt, which has the same name.
    until(lambda: calls.at_work() == [], patience=15)
    second = again(calls, target, "removed")
    assert (second.handle.how, second.handle.attempt, second.result(60)) == ("started", 1, b"cba")


@pytest.mark.parametrize("wrong", [-3600, 3600])
def test_files_with_a_wrong_time(calls, wrong):
    """Files whose times are an hour off (a host with another clock) change nothing: jobs are attached to and adopted."""
    target, future = begun(calls, "clock")

    def shift():
        for folder, _, names in os.walk(calls.root):
            for name in names:
                os.utime(Path(folder) / name, (time.time() + wrong,) * 2)

    shift()
    second = target.function(work().backwards, key="clock", quiet=True).submit(str(calls.folder), b"abc")
    assert second.handle.how == "attached"
    calls.closed.unlink()
    assert future.result(60) == second.result(60) == b"cba"
    shift()
    target.close()
    third = again(calls, target, "clock")
    assert (third.handle.how, third.result(60)) == ("adopted", b"cba")
    assert calls.starts() == [1]


def test_a_home_without_locks(tmp_path, make_sshd):
    """On a file system that has no locks (some network homes) nothing is started, and the message says what to do."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import errno, fcntl\n"
        "def flock(fd, kind):\n    raise OSError(errno.ENOLCK, 'No locks available')\n"
        "fcntl.flock = flock\n"
    )
    host = make_sshd(variables={"PYTHONPATH": str(tmp_path / "site")})
    calls = Calls(tmp_path / "calls", {**host.settings(), "ssh_config": "/dev/null"})
    try:
        with pytest.raises(errors.TargetError) as caught:
            calls.target().function(work().backwards, key="locks", quiet=True)(str(calls.folder), b"abc")
        assert "locks" in str(caught.value).lower()
        assert "`root`" in caught.value.todo
        assert calls.starts() == []
    finally:
        calls.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of four megabytes; where this user may not mount one, the test is skipped."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def cramped(small_disk, sshd):
    """Calls whose folder on the host is on a disk of four megabytes; and how to fill that."""
    made = Calls(small_disk / "calls", {**sshd.settings(), "ssh_config": "/dev/null"})
    filler = small_disk / "filler"

    def fill(left=0):
        with filler.open("wb") as file:
            file.write(bytes(max(0, shutil.disk_usage(small_disk).free - left)))

    yield made, fill, filler
    made.close()


@pytest.mark.parametrize("stage", ["connect", "transfer", "submit", "run"])
def test_the_hosts_disk_is_full(cramped, stage):
    """At whatever stage the disk is full: an error that says so, nothing half-written, and with room it goes on."""
    calls, fill, filler = cramped
    target = calls.target()
    function = target.function(work().backwards, key=stage, quiet=True)
    if stage != "connect":
        assert target.function(work().negative, quiet=True)(1) == -1
    sizes = {"connect": 0, "transfer": 1 << 20, "submit": 0, "run": 1 << 20}
    data = data_of(stage, sizes[stage])
    fill({"connect": 0, "transfer": 1 << 19, "submit": 20_000, "run": int(1.5 * (1 << 20))}[stage])
    began = time.monotonic()
    with pytest.raises(errors.DiskFullError) as caught:
        function(str(calls.folder.parent.parent), data)
    assert time.monotonic() - began < 30
    print(f"{stage}: {type(caught.value).__name__} after {time.monotonic() - began:.1f} s: {caught.value}")
    assert "space" in str(caught.value)
    big = [one for one in calls.root.glob("blobs/*/*") if one.stat().st_size == len(data) > 0]
    assert len(big) == 0
    assert not list(calls.root.glob("jobs/*/attempts/.new-*"))
    filler.unlink()
    assert function(str(calls.folder.parent.parent), data) == data[::-1]


def test_a_job_that_fills_the_disk_ends_with_its_outcome(cramped):
    """A function that fills the disk loses nobody its end: the outcome is told, and with room the next job runs."""
    calls, _, _ = cramped
    target = calls.target()
    future = target.function(work().fill, quiet=True).submit(str(calls.folder.parent.parent))
    outcome = future.outcome(60)
    print(f"a job that filled the disk: {outcome.state} ({outcome.cause})")
    assert outcome.state in ("succeeded", "failed")
    for one in calls.root.glob("jobs/*/attempts/1/work/filler"):
        one.unlink()
    assert target.function(work().negative, quiet=True)(1) == -1
