"""This machine's own GPUs, and targets on it whose jobs lease them; what is missing is a skip that says what.

Collected only where DRAWBAR_TEST_GPU is set, as `make test-gpu` does. Needs pytest and cloudpickle, and no network.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drawbar.config import TargetConfig
from drawbar.dispatch.target import Target, dispatcher

if not os.environ.get("DRAWBAR_TEST_GPU"):
    collect_ignore_glob = ["test_*.py"]

SAMPLE = Path(__file__).parent / "sample"
PATIENCE = 90.0
# What a driver keeps, and forgets, without a process on it: some megabytes.
SLACK = 96 << 20


class Machine:
    """A target on this machine, with what its GPUs are like."""

    def __init__(self, root, python):
        self.root = root
        config = TargetConfig(root=str(root), python=python, envs="installed", grace=1.0)
        self.target = Target("gpus", dispatcher("gpus", config), config)
        self.dispatcher = self.target.dispatcher

    @property
    def devices(self):
        """As `drawbar gpus` shows them: id, name, memory, used, holders, foreign, in bytes."""
        return self.dispatcher.gpus()["devices"]

    def submit(self, function, *args, **options):
        """A job, whose output is not shown."""
        return self.target.function(function, quiet=True, **options).submit(*args)

    def outcome(self, function, *args, **options):
        """A job to its end."""
        return self.submit(function, *args, **options).outcome(timeout=PATIENCE)

    def value(self, function, *args, **options):
        """What a job gives."""
        return self.submit(function, *args, **options).result(timeout=PATIENCE)

    @staticmethod
    def until(condition):
        """What `condition` gives, once it gives something."""
        end = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < end, "it did not come about"
            time.sleep(0.1)
        return found

    def freed(self, before):
        """Returns once no device has more memory in use than `before` says, a list of bytes by device."""
        self.until(lambda: all(now <= then + SLACK for now, then in zip(self.used(), before, strict=True)))
        return True

    def used(self):
        """Bytes in use by device, whoever uses them."""
        return [one["used"] for one in self.devices]


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """One folder, so that all targets of these tests wait in one queue."""
    return tmp_path_factory.mktemp("gpus")


@pytest.fixture(scope="session")
def free_gpus(root):
    """Skip where there is no GPU, or where somebody computes on one: their work would be in the way, or ours in theirs."""
    if shutil.which("nvidia-smi") is None:
        pytest.skip("there is no nvidia-smi on this machine")
    machine = Machine(root, sys.executable)
    try:
        devices = machine.devices
    finally:
        machine.target.close()
    if not devices:
        pytest.skip("nvidia-smi names no GPU on this machine")
    for one in devices:
        if one["foreign"]:
            pytest.skip(f"GPU {one['index']} is in use by {one['foreign'][0]['name']} (pid {one['foreign'][0]['pid']})")


@pytest.fixture(scope="module")
def machine(free_gpus, root):
    """Jobs in this Python: leases need nothing of it."""
    made = Machine(root, sys.executable)
    yield made
    made.target.close()


@pytest.fixture(scope="session")
def torch_python(free_gpus):
    """$DRAWBAR_GPU_PYTHON, this Python, or the PATH's: the first that computes on a GPU with torch."""
    asked = [os.environ["DRAWBAR_GPU_PYTHON"]] if os.environ.get("DRAWBAR_GPU_PYTHON") else None
    tried = {}
    for python in asked or filter(None, (sys.executable, shutil.which("python3"), "/usr/bin/python3")):
        code = "import sys, torch; sys.exit(None if torch.cuda.is_available() else 'torch finds no CUDA device')"
        try:
            done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=300, check=False)
        except OSError as error:
            tried[python] = str(error)
            continue
        if done.returncode == 0:
            return python
        tried[python] = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    pytest.skip(
        "no Python with torch on CUDA; set DRAWBAR_GPU_PYTHON to one. " + "; ".join(map(": ".join, tried.items()))
    )


@pytest.fixture(scope="module")
def cuda(torch_python, root):
    """Jobs in a Python with torch on CUDA."""
    made = Machine(root, torch_python)
    yield made
    made.target.close()


@pytest.fixture(scope="session")
def jobs():
    """The user's module, in a folder that is on this process's path only."""
    sys.path.insert(0, str(SAMPLE))
    yield importlib.import_module("gpu_jobs")
    sys.path.remove(str(SAMPLE))
