"""Ctrl-C, SIGTERM and SIGKILL in the middle of a run: what happens to jobs, what is said, what history knows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

SLOW = """
import time
from drawbar import asset

def quick() -> int:
    return 1

@asset(target="local")
def slow(quick: int) -> int:
    print("under way", flush=True)
    for _ in range(600):
        time.sleep(0.1)
    return 2

def after(slow: int) -> int:
    return 3
"""


@pytest.fixture
def running(folder):
    """A run whose slow job is under way on this machine."""
    (folder / "slow.py").write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, "-c", "from drawbar.cli import main; main()", "run", "slow.py", "--json", "--no-lineage"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    told = ""
    while "slow │ under way" not in told:
        line = process.stderr.readline()
        assert line, told
        told += line
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_ctrl_c_cancels_the_job_and_says_so(running, program):
    """Exit status 130, one JSON object, the job gone from the target, the run in history as cancelled."""
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130
    answer = json.loads(out)
    assert answer["state"] == "cancelled"
    assert [one["state"] for one in answer["assets"]] == ["made", "cancelled", "cancelled"]
    assert "slow: its job on local was cancelled\n" in err
    assert err.endswith("Interrupted; nothing is half-written. The same command goes on from here.\n")
    assert json.loads(program("jobs", "local", "--json").stdout)["jobs"][0]["state"] == "cancelled"
    assert json.loads(program("history", "--json").stdout)["runs"][0]["state"] == "cancelled"


def test_sigterm_leaves_the_job_for_whoever_comes_next(running, program):
    """Exit status 143, the job still runs, and the command that stops it is given and works, by an abbreviated id."""
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 143
    assert "slow: its job goes on; run again to attach, or `drawbar cancel local " in err
    job = err.split("`drawbar cancel local ")[1].split("`")[0]
    assert json.loads(program("jobs", "local", "--json").stdout)["jobs"][0]["state"] == "running"
    done = program("cancel", "local", job[:6])
    assert done.stdout == "demo/slow is cancelled; nothing of it runs on local any more.\n"
    assert program("cancel", "local", "slow").stdout == "demo/slow had ended before (cancelled).\n"


def test_a_run_that_was_killed_ended_without_a_word(running, program):
    """History does not call a dead process running; the job that it left is found under its name, and its log followed."""
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=30)
    assert json.loads(program("history", "--json").stdout)["runs"][0]["state"] == "ended without a word"
    follower = subprocess.Popen(
        [sys.executable, "-c", "from drawbar.cli import main; main()", "logs", "local", "slow", "-f"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert follower.stdout.readline() == "under way\n"
    time.sleep(0.2)
    assert program("cancel", "local", "slow").returncode == 0
    _, err = follower.communicate(timeout=30)
    assert follower.returncode == 1
    assert err == "demo/slow cancelled: cancel\n"


def test_ctrl_c_in_a_finaliser_is_not_lost(folder, program):
    """Python drops an exception that a finaliser raises, and imports run many: the Ctrl-C comes again all the same."""
    (folder / "late.py").write_text(
        "import signal, time\n"
        "class Late:\n    def __del__(self):\n        signal.raise_signal(signal.SIGINT)\n"
        "Late()\nprint('lost?')\ntime.sleep(20)\ndef one() -> int:\n    return 1\n"
    )
    began = time.monotonic()
    ended = program("run", "late.py")
    assert ended.returncode == 130
    assert "Interrupted." in ended.stderr
    assert time.monotonic() - began < 15
