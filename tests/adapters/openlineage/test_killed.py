"""Processes that are killed, many at once, or out of disk: what they told is there, once and whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from openlineage_series import read_lines
from openlineage_spec import faults

from drawbar_adapters.openlineage import flush, status

HERE = Path(__file__).parent


def own_file(project: Path) -> Path:
    """Where lineage goes with nothing configured."""
    return project / ".drawbar" / "lineage.ndjson"


_TELLING = """
import os, signal, sys
from openlineage_series import *
from drawbar_adapters.openlineage import listener
one = listener({}, project=Path(sys.argv[1]))
walk = Told()
one(walk.begin())
print("told", flush=True)
for at in range(int(sys.argv[2])):
    for event in one_made(walk, f"a{at}"):
        one(event)
        os.write(1, f"{event.asset_run_id} {type(event).__name__}\\n".encode())
one(walk.end())
one.close(float(sys.argv[3]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}


def test_events_of_a_killed_process_are_sent_by_another(project, backend):
    """A run's lineage would die with it."""
    done = subprocess.run(
        [sys.executable, "-c", _TELLING, str(project), "20", "0"],
        check=False,
        env=_environment(),
        timeout=60,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL
    table = {"transport": {"type": "http", "url": backend.url}}
    assert status(table, project=project).waiting == 42
    assert flush(table, project=project).waiting == 0
    assert len(backend.events) == 42
    assert faults(backend.events) == []


@pytest.mark.parametrize("seconds", [0.1, 1.3, 2.2])
def test_a_kill_at_any_moment_loses_and_doubles_nothing(project, tmp_path, seconds):
    """What a run told before it was killed would be missing from the project's file, there twice, or torn."""
    heard_file = tmp_path / "heard"
    with heard_file.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", _TELLING, str(project), "50000", "0"], stdout=out, env=_environment()
        )
        while heard_file.stat().st_size < 100:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(seconds)
        process.kill()
        process.wait()
    heard = {tuple(line.split()) for line in heard_file.read_text().splitlines()[1:]}
    assert flush({}, project=project).waiting == 0
    kinds = {"START": "AssetStarted", "COMPLETE": "AssetMade"}
    kept = [(event["run"]["runId"], kinds[event["eventType"]]) for event in read_lines(own_file(project))[1:]]
    assert len(kept) == len(set(kept))
    assert heard
    assert heard <= set(kept)


def test_many_runs_at_once_share_one_file(project):
    """Runs at the same time would tear each other's events."""
    several = [
        subprocess.Popen(
            [sys.executable, "-c", _TELLING, str(project), "200", "20"], env=_environment(), stdout=subprocess.DEVNULL
        )
        for _ in range(3)
    ]
    for one in several:
        one.wait(timeout=60)
    events = read_lines(own_file(project))
    assert len(events) == 3 * 402
    assert set(Counter(event["run"]["runId"] for event in events).values()) == {2}
    assert status({}, project=project).facts["sent"] == 3 * 402


def test_a_full_disk_is_said_once_and_does_not_reach_the_run(project, tmp_path):
    """A run would fail because its lineage cannot be kept."""
    code = (
        "import resource, signal, logging; from openlineage_series import *\n"
        "from drawbar_adapters.openlineage import listener\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))\n"
        f"l = listener({{}}, project=Path({str(project)!r}))\n"
        "for e in every_ending(): l(e)\n"
        "print(l.close().lost)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=_environment(), timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
    assert done.stderr.count("could not be kept (OSError") == 1
    events = read_lines(own_file(project))
    assert 0 < len(events) < 18
