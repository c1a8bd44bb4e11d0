"""The commands about hosts: jobs, logs, cancel, gpus and gc, on a worker of this machine and on a pool over a real sshd."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from drawbar.agent.gpus import Lease
from drawbar.cli import gc as gc_command
from drawbar.cli import jobs as jobs_command
from drawbar.cli.commands import cli
from drawbar.config import TargetConfig
from drawbar.dispatch.port import Handle
from drawbar.dispatch.target import Target, dispatcher
from drawbar.testing.sshd import Sshd

GIB = 1 << 30
DECLARED = ["24GiB", "24GiB"]


@pytest.fixture
def root(folder, tmp_path):
    """A target `box` on this machine with a folder of its own and two declared GPUs."""
    settings = folder / "pyproject.toml"
    settings.write_text(
        f"{settings.read_text()}\n[tool.drawbar.targets.box]\nroot = '{tmp_path / 'box'}'\ndevices = {DECLARED}\n"
    )
    return tmp_path / "box"


@pytest.fixture
def box(root):
    """That target, for jobs that a test submits itself."""
    config = TargetConfig(root=str(root), devices=tuple(DECLARED))
    made = Target("box", dispatcher("box", config), config)
    yield made
    made.close()


@pytest.fixture
def lease(root):
    """Leases on the box's GPUs, held by this process."""
    made = []
    before = signal.signal(signal.SIGUSR1, lambda *_: None)

    def take(name, gpus=1, memory=0):
        made.append(
            Lease(str(root), gpus=gpus, memory=memory, declared=DECLARED, job=name.encode().hex().ljust(64, "0"), attempt=1, name=name)
        )  # fmt: skip
        made[-1].look()
        return made[-1]

    yield take
    for one in made:
        one.release()
    signal.signal(signal.SIGUSR1, before)


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def hold(gate):
    import pathlib
    import time

    print("holding", flush=True)
    while not pathlib.Path(gate).exists():
        time.sleep(0.01)


def release(gate):
    return gate


def test_jobs_can_be_asked_for_by_state(call, box, tmp_path):
    """Only those that run, only those that ended: and a state in which none is says so."""
    running = box.function(hold).submit(str(tmp_path / "gate"))
    box.function(len)([1])
    wait_until(lambda: not running.done() and box.dispatcher.poll(running.handle).state == "running")

    def names(*words):
        return [one["name"] for one in json.loads(call("jobs", "box", "--json", *words).stdout)["jobs"]]

    assert sorted(names()) == ["hold", "len"]
    assert names("--state", "running") == ["hold"]
    assert names("--state", "ended") == names("--state", "succeeded") == ["len"]
    assert sorted(names("--state", "running", "--state", "ended")) == ["hold", "len"]
    assert len(names("--limit", "1")) == 1
    assert call("jobs", "box", "--state", "failed", "--state", "lost").stdout == "No job on box is failed or lost.\n"
    shown = call("jobs", "box").stdout
    assert "running" in shown.splitlines()[1] + shown.splitlines()[2]
    (tmp_path / "gate").touch()
    running.result(60)


def test_a_job_is_found_by_the_beginning_of_its_id_or_name(call, box, tmp_path):
    """A name wins over an id that begins alike; what fits several is refused with all of them."""
    futures = {one: box.function(one).submit(str(tmp_path)) for one in (len, hold, release)}
    (tmp_path / "gate").touch()
    handles = {one.__name__: future.handle for one, future in futures.items()}
    for word in ("len", "le", handles["len"].job[:12]):
        info, handle = jobs_command.find(box.dispatcher, word)
        assert (info.name, handle) == ("len", Handle("box", info.job, 1, info.run_id, "attached", name="len"))
    box.function(release)("x")
    wrong = call("logs", "box", "nothing")
    assert wrong.exit_code == 1
    assert "There is no job 'nothing' on box." in wrong.stderr
    several = call("cancel", "box", "")
    assert several.exit_code == 1
    assert "'' is the beginning of several jobs on box." in several.stderr


def test_several_jobs_are_cancelled_at_once(call, box, tmp_path):
    """All of them are stopped, each is told on a line of its own; one that is not found stops none."""
    futures = [box.function(hold).submit(str(tmp_path / "gate")) for _ in range(3)]
    ids = [future.handle.job[:16] for future in futures]
    wait_until(lambda: all(box.dispatcher.poll(future.handle).state == "running" for future in futures))
    missed = call("cancel", "box", ids[0], "no-such-job")
    assert missed.exit_code == 1
    assert box.dispatcher.poll(futures[0].handle).state == "running"
    done = call("cancel", "box", *ids, "--json")
    assert done.exit_code == 0
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["job"], one["before"], one["state"]) for one in told] == [
        (future.handle.job, "running", "ended") for future in futures
    ]
    assert {future.outcome(60).state for future in futures} == {"cancelled"}
    assert call("cancel", "box", ids[0]).stdout == "hold had ended before (cancelled).\n"


def test_gpus_shows_who_holds_and_who_waits(call, lease):
    """Each device with its holder and since when, then the queue in its order; as JSON the same, in bytes."""
    lease("site/train")
    waiting = lease("site/big", gpus=2)
    assert not waiting.devices
    shown = call("gpus", "box")
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["gpu", "name", "memory", "used", "busy", "free", "held", "by"]
    assert [line.split()[0] for line in lines[1:3]] == ["0", "1"]
    held = next(line for line in lines[1:3] if "site/train (" in line)
    assert "24 GiB" in held
    assert "0 GiB" in held
    assert " since 20" in held
    assert lines[4].split()[:5] == ["next", "job", "name", "wants", "since"]
    assert "site/big" in lines[5]
    assert "2 GPUs" in lines[5]
    told = json.loads(call("gpus", "box", "--json").stdout)
    assert told["target"] == "box"
    assert [one["memory"] for one in told["devices"]] == [24 * GIB, 24 * GIB]
    assert [one["name"] for device in told["devices"] for one in device["holders"]] == ["site/train"]
    assert [one["name"] for one in told["queue"]] == ["site/big"]


def test_gpus_are_watched_until_ctrl_c(folder, lease):
    """--watch --json gives an object for each look; a share that is taken meanwhile is in the next one."""
    watching = subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-c", "from drawbar.cli import main; main()", "gpus", "box", "--watch", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    first = json.loads(watching.stdout.readline())
    assert all(one["free"] == 24 * GIB for one in first["devices"])
    lease("site/share", memory=8 * GIB)
    end = time.monotonic() + 60
    while sum(one["free"] for one in json.loads(watching.stdout.readline())["devices"]) != 40 * GIB:
        assert time.monotonic() < end, "the share is not shown"
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert err.strip() == "Interrupted."


def test_a_target_without_gpus_says_how_to_declare_them(call, folder, monkeypatch, tmp_path):
    """No nvidia-smi, no table of nothing: one line that says what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert call("gpus", "local").stdout.startswith("local has no GPU; one that nvidia-smi does not show is declared in")


def test_gc_says_what_would_go_and_then_removes_it(call, box, root):
    """A dry run removes nothing, a real one what was told; sizes and ages are read as people write them."""
    future = box.function(len).submit([1, 2])
    assert future.result(60) == 2
    log = root / "jobs" / future.handle.job / "log.jsonl"
    os.utime(log, (time.time() - 86400 * 10,) * 2)
    assert call("gc", "box", "--older", "11d", "--json", "--dry-run").stdout.count('"count": 0') == 8
    dry = json.loads(call("gc", "box", "--older", "1.5w", "--dry-run", "--json").stdout)
    assert (dry["target"], dry["dry_run"], dry["removed"]["jobs"]["count"]) == ("box", True, 0)
    assert call("gc", "box", "--older", "9d", "--dry-run").stdout.splitlines()[0].split() == [
        "would",
        "go",
        "count",
        "size",
    ]
    assert log.exists()
    real = call("gc", "box", "--older", "9d", "--budget", "1GiB")
    assert real.exit_code == 0
    assert real.stdout.splitlines()[1].startswith("jobs that ended")
    assert not log.exists()
    assert call("gc", "box").stdout == "There is nothing to remove on box.\n"


@pytest.mark.parametrize(("option", "text"), [("--older", "fortnight"), ("--older", "-1d"), ("--budget", "much")])
def test_gc_refuses_what_it_cannot_read(call, root, option, text):
    """A duration or size that is none is a mistake in the command line, and nothing is removed."""
    done = call("gc", "box", f"{option}={text}")
    assert done.exit_code == 2
    assert f"{text!r} is no " in done.stderr
    assert gc_command.seconds("2h") == 7200


def test_shells_complete_targets_and_their_jobs(box, folder):
    """Tab gives the names of targets, and of jobs where asking costs nothing; a host is not connected to for it."""
    import click

    future = box.function(len).submit([1])
    future.result(60)
    context = click.Context(cli.get_command(click.Context(cli), "logs"))
    assert "box" in jobs_command.complete_hosts(context, None, "b")
    context.params = {"target": "box"}
    offered = {one.value: one.help for one in jobs_command.complete_jobs(context, None, "")}
    assert offered == {future.handle.job[:12]: "len succeeded", "len": "succeeded"}
    context.params = {"target": "someone@unreachable.invalid"}
    assert jobs_command.complete_jobs(context, None, "") == []
    context.params = {"target": "no-such-target"}
    assert jobs_command.complete_jobs(context, None, "") == []


@pytest.mark.skipif(not Sshd.available(), reason=Sshd.why_not() or "-")
def test_the_commands_take_a_pool(program, folder, tmp_path):
    """Of a pool the jobs are listed with their hosts, and found, followed and stopped on whichever has them."""
    with ExitStack() as stack:
        hosts = {name: stack.enter_context(Sshd()) for name in ("gpu-a", "gpu-b")}
        texts = [
            one.ssh_config.read_text().replace(f"Host {one.alias}\n", f"Host {name}\n") for name, one in hosts.items()
        ]
        (tmp_path / "ssh_config").write_text("\n".join(texts))
        settings = folder / "pyproject.toml"
        settings.write_text(
            f"{settings.read_text()}\n[tool.drawbar.targets.many]\nhosts = {list(hosts)}\npython = {sys.executable!r}\n"
            f"ssh_config = '{tmp_path / 'ssh_config'}'\n"
        )
        (folder / "talk.py").write_text(
            "from drawbar import asset\n"
            + "".join(
                f"@asset(target='many')\ndef talk_{one}() -> int:\n    print({one!r}); return 1\n" for one in "abcd"
            )
        )
        done = program("run", "talk.py", "--no-lineage")
        assert done.returncode == 0, done.stderr
        jobs = json.loads(program("jobs", "many", "--json").stdout)["jobs"]
        assert sorted(one["name"] for one in jobs) == [f"demo/talk_{one}" for one in "abcd"]
        assert {one["host"] for one in jobs} <= set(hosts)
        shown = program("jobs", "many").stdout.splitlines()
        assert "host" in shown[0].split()
        assert program("logs", "many", "talk_c").stdout == "c\n"
        assert program("logs", "many", jobs[0]["job"][:10], "-f").returncode == 0
        assert program("cancel", "many", "talk_a").stdout == "demo/talk_a had ended before (succeeded).\n"
        told = json.loads(program("gc", "many", "--older", "0s", "--dry-run", "--json").stdout)
        assert told["removed"]["jobs"]["count"] == 4
