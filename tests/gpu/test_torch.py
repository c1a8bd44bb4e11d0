"""Jobs and actors that compute on this machine's GPUs with torch: what they see, what they leave, what is told of them."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from drawbar.errors import OutOfMemoryError

MIB = 1 << 20
SIZE = 256


def pid_of(cuda, path):
    """The process that told its id in this file."""
    return int(cuda.until(lambda: path.exists() and path.read_text()))


def test_torch_sees_the_leased_device_and_no_other(cuda, jobs):
    """A program that takes device 0 would compute on somebody else's."""
    count, name, memory = cuda.value(jobs.sees, gpus=1)
    assert count == 1
    (found,) = {one["memory"] for one in cuda.devices if one["name"] == name}
    assert 0.8 * found <= memory <= found
    everything = len(cuda.devices)
    assert cuda.value(jobs.sees, gpus=everything)[0] == everything


def test_what_a_short_job_held_at_its_peak_is_told(cuda, jobs):
    """Nobody could say how small a share the next one may ask for."""
    outcome = cuda.outcome(jobs.fill, SIZE, gpus=1)
    assert outcome.ok, outcome
    assert SIZE * MIB <= outcome.costs.peak_device_memory < SIZE * MIB + (4 << 30)
    assert outcome.costs.gpu in [one["name"] for one in cuda.devices]
    assert outcome.costs.gpu_seconds >= outcome.costs.compute > 0


def test_memory_that_a_gpu_does_not_have_is_told_as_that(cuda, jobs):
    """It would look like any other exception, and be tried again on the same GPU."""
    before = cuda.used()
    outcome = cuda.outcome(jobs.fill_all, gpus=1)
    assert (outcome.state, outcome.cause) == ("out_of_memory", "cuda_oom")
    assert outcome.costs.peak_device_memory > min(one["memory"] for one in cuda.devices) // 2
    with pytest.raises(OutOfMemoryError, match="GPU memory"):
        outcome.raise_()
    assert cuda.freed(before)
    assert cuda.value(jobs.fill, SIZE, gpus=1) == float(SIZE << 18), "the next one has all of it"


@pytest.mark.parametrize("ending", ["return", "cancel", "kill"])
def test_no_memory_is_left_in_use_however_a_job_ended(cuda, jobs, tmp_path, ending):
    """A GPU would fill up with what nobody owns until the machine is restarted."""
    before = cuda.used()
    if ending == "return":
        assert cuda.value(jobs.fill, SIZE, gpus=1) == float(SIZE << 18)
    else:
        future = cuda.submit(jobs.fill_and_stay, SIZE, str(tmp_path / "pid"), gpus=1)
        pid = pid_of(cuda, tmp_path / "pid")
        assert max(now - then for now, then in zip(cuda.used(), before, strict=True)) >= SIZE * MIB
        if ending == "cancel":
            future.cancel()
        else:
            os.kill(pid, signal.SIGKILL)
        assert future.outcome(timeout=90).state == ("cancelled" if ending == "cancel" else "killed")
    assert cuda.freed(before)


def test_a_stranger_on_a_gpu_is_named_and_gone_round(cuda, jobs, torch_python, tmp_path):
    """A job would be put beside somebody's training that drawbar knows nothing of."""
    code = "import gpu_jobs, sys; gpu_jobs.fill_and_stay(64, sys.argv[1])"
    command = [torch_python, "-c", code, str(tmp_path / "pid")]
    folder = Path(jobs.__file__).parent
    with subprocess.Popen(command, cwd=folder, env={**os.environ, "CUDA_VISIBLE_DEVICES": "0"}) as stranger:
        try:
            pid = pid_of(cuda, tmp_path / "pid")
            query = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
            if str(pid) not in subprocess.check_output(query, text=True).split():
                pytest.skip("nvidia-smi does not name this machine's own processes (is it a container?)")
            seen = cuda.until(lambda: [one for device in cuda.devices for one in device["foreign"]])
            assert [one["pid"] for one in seen] == [pid]
            future = cuda.submit(jobs.variables, gpus=len(cuda.devices))
            waiting = cuda.until(lambda: cuda.dispatcher.poll(future.handle).waiting)
            assert f"(pid {pid}, foreign)" in waiting
        finally:
            stranger.kill()
    assert future.result(timeout=90)["CUDA_VISIBLE_DEVICES"]


def test_a_warm_interpreter_has_torch_loaded_and_nothing_on_a_gpu(cuda, jobs):
    """Warm processes would keep hundreds of megabytes of a GPU each, and forked ones could not use CUDA at all."""
    before = cuda.used()

    def warm():
        loaded, computed = cuda.value(jobs.loaded_before, gpus=1)
        assert computed
        return loaded

    cuda.until(warm)
    states = [json.loads(path.read_text()) for path in cuda.root.glob("warm/*/state.json")]
    assert any("torch" in one["modules"] for one in states)
    assert cuda.freed(before)


def test_an_actor_keeps_its_weights_on_its_gpu_until_it_stops(cuda, jobs):
    """A model would be loaded anew for each call, or its memory be taken for ever."""
    before = cuda.used()
    with cuda.target.actor(jobs.Model, SIZE, gpus=1) as model:
        assert [model.scaled(2.0), model.scaled(2.0)] == [2.0, 4.0]
        assert max(now - then for now, then in zip(cuda.used(), before, strict=True)) >= SIZE * MIB
        assert sum(len(one["holders"]) for one in cuda.devices) == 1
    assert cuda.freed(before)
    assert cuda.until(lambda: all(not one["holders"] for one in cuda.devices))
