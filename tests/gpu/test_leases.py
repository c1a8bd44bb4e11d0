"""Leases of this machine's own GPUs: what nvidia-smi says of them, and who gets which. Needs no library for CUDA."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from drawbar.errors import PreflightError


def test_the_gpus_are_those_that_nvidia_smi_names(machine):
    """A job would be told a device that is not there."""
    told = subprocess.check_output(["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"], text=True)
    named = [[part.strip() for part in line.split(",")][:2] for line in told.splitlines()]
    devices = machine.devices
    assert [[str(one["index"]), one["id"]] for one in devices] == named
    assert all(one["memory"] > 1 << 30 and one["name"] and one["driver"] for one in devices)


def test_a_job_sees_its_device_by_uuid_and_its_costs_name_it(machine, jobs):
    """Numbers mean another device to CUDA than to nvidia-smi; and nobody would know what a GPU was used for."""
    outcome = machine.outcome(jobs.hold, 0.3, gpus=1)
    assert outcome.ok, outcome
    variables = machine.value(jobs.variables, gpus=1)
    assert variables["CUDA_VISIBLE_DEVICES"] in [one["id"] for one in machine.devices]
    assert variables["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert outcome.costs.gpu in [one["name"] for one in machine.devices]
    assert outcome.costs.gpu_seconds >= outcome.costs.compute >= 0.3


def test_two_jobs_never_share_a_whole_gpu(machine, jobs):
    """Both would run out of its memory, or take twice as long."""
    count = 2 * len(machine.devices) + 1
    futures = [machine.submit(jobs.hold, 0.3, gpus=1) for _ in range(count)]
    held = [future.result(timeout=90) for future in futures]
    for place, (device, began, ended) in enumerate(held):
        for other, later, until in held[place + 1 :]:
            assert device != other or ended <= later or until <= began, "two jobs had one GPU"
    assert len({device for device, _, _ in held}) == len(machine.devices), "all were in use"


def test_all_gpus_can_be_had_and_one_more_is_refused_at_once(machine, jobs):
    """A job would wait for ever for what the host does not have."""
    there = [one["id"] for one in machine.devices]
    assert machine.value(jobs.variables, gpus=len(there))["CUDA_VISIBLE_DEVICES"].split(",") == there
    with pytest.raises(PreflightError, match="never"):
        machine.value(jobs.variables, gpus=len(there) + 1)


def test_two_shares_live_on_one_gpu(machine, jobs, tmp_path):
    """Small models would each block a whole GPU."""
    quarter = min(one["memory"] for one in machine.devices) // 4 >> 20
    share = {"gpu_memory": f"{quarter}MiB"}
    assert machine.value(jobs.variables, **share)["DRAWBAR_GPU_MEMORY"] == str(quarter << 20)
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    futures = [machine.submit(jobs.meet, *paths, 60.0, **share) for paths in ((one, two), (two, one))]
    first, second = (future.result(timeout=90) for future in futures)
    assert first == second != "", "both were there at the same time, on one device"


@pytest.mark.parametrize("ending", ["cancel", "kill"])
def test_a_gpu_is_free_again_however_its_job_ended(machine, jobs, tmp_path, ending):
    """A GPU would be held by nobody."""
    count = len(machine.devices)
    first = machine.submit(jobs.stay, str(tmp_path / "pid"), gpus=count)
    pid = int(machine.until(lambda: (tmp_path / "pid").exists() and Path(tmp_path / "pid").read_text()))
    assert all(len(one["holders"]) == 1 for one in machine.devices)
    second = machine.submit(jobs.variables, gpus=count)
    waiting = machine.until(lambda: machine.dispatcher.poll(second.handle).waiting)
    assert "held by" in waiting
    if ending == "cancel":
        first.cancel()
    else:
        os.kill(pid, signal.SIGKILL)
    assert second.result(timeout=90)["CUDA_VISIBLE_DEVICES"]
    outcome = first.outcome(timeout=90)
    assert outcome.state == {"cancel": "cancelled", "kill": "killed"}[ending]
    assert machine.until(lambda: all(not one["holders"] for one in machine.devices))
