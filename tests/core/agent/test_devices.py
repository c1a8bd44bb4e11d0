"""What GPUs there are and who uses them, from an nvidia-smi that tells, hangs, fails or babbles."""

import os
import select
import subprocess
import sys
import time

import pytest
from agent_peer import alive, until
from fake_smi import FakeSmi

from drawbar.agent import devices
from drawbar.agent.devices import App, Device

GIB = 1 << 30


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """An nvidia-smi of two GPUs, first on PATH."""
    return FakeSmi(tmp_path / "smi", monkeypatch)


@pytest.fixture
def sleeper():
    """Processes that sleep, ended at the end."""
    made = []

    def start(*command):
        made.append(subprocess.Popen(command or ("sleep", "600"), stdout=subprocess.PIPE, text=True))
        return made[-1]

    yield start
    for one in made:
        one.kill()
        one.wait()
        one.stdout.close()


@pytest.mark.parametrize(
    ("text", "size"),
    [("16GiB", 16 * GIB), ("16 GB", 16 * 10**9), ("512MiB", 512 << 20), ("0.5gib", GIB // 2), ("1TiB", 1 << 40)],
)
def test_sizes_are_read_as_people_write_them(text, size):
    """A share would be a thousand times too small, or refused."""
    assert devices.parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "16", "16G", "-1GiB", "0GiB", "lots", "16GiB of memory", "1,5GiB"])
def test_what_is_no_size_is_refused_with_what_is_one(text):
    """A typing error would lease a GPU of another size."""
    with pytest.raises(ValueError) as caught:
        devices.parse_memory(text)
    assert str(caught.value) == 'a size such as "16GiB", "16GB" or "512MiB"'


def test_what_a_host_can_never_give_is_said_with_what_it_has():
    """A job would wait for ever for a GPU that does not exist."""
    a10, h200 = (
        Device("a", 0, "NVIDIA A10", 24 * GIB),
        Device("b", 1, "NVIDIA H200", 141 * GIB),
    )
    assert devices.impossible([a10, a10], 2, 24 * GIB) == ""
    assert devices.impossible([a10, a10], 3, 0) == "it has 2 GPUs of 24 GiB (NVIDIA A10)"
    assert devices.impossible([a10, h200], 2, 40 * GIB) == (
        "it has 1 GPU of 24 GiB (NVIDIA A10), 1 GPU of 141 GiB (NVIDIA H200)"
    )
    assert devices.impossible([Device("0", 0, "", 8 * GIB)], 1, 9 * GIB) == "it has 1 GPU of 8 GiB"
    assert devices.impossible([], 1, 0).startswith("it has no GPU: there is no nvidia-smi")


def test_devices_are_asked_for_once_and_none_is_asked_again(tmp_path, smi):
    """Every job would wait for an nvidia-smi; or a driver that came up late would never be seen."""
    smi.gpus()
    assert devices.devices(str(tmp_path)) == []
    smi.gpus("0, GPU-0, NVIDIA A10, 24576, 4, 7, 570.1", "1, GPU-1, NVIDIA GB10, [N/A], [N/A], [N/A], 570.1")
    found = [Device("GPU-0", 0, "NVIDIA A10", 24 * GIB), Device("GPU-1", 1, "NVIDIA GB10", 0)]
    assert [devices.devices(str(tmp_path)) for _ in range(3)] == [found] * 3
    assert smi.calls == 2


def test_declared_devices_need_no_nvidia_smi(tmp_path, smi):
    """A host with other GPUs could not be leased from."""
    assert devices.devices(str(tmp_path), ["24GiB", "80GB"]) == [
        Device("0", 0, "", 24 * GIB),
        Device("1", 1, "", 80 * 10**9),
    ]
    assert smi.calls == 0


@pytest.mark.parametrize("what", ["fail", "babble", "missing"])
def test_an_nvidia_smi_that_tells_nothing_is_no_gpu(tmp_path, smi, monkeypatch, what):
    """A broken driver would end jobs that need no GPU, or the agent."""
    if what == "missing":
        monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    elif what == "fail":
        smi.on("fail")
    else:
        smi.gpus("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "\N{SNOWMAN}, ,", "")
        smi.apps("No running processes found", "GPU-0, x, y, z", ",,,")
    assert devices.listing() == []
    assert devices.apps(str(tmp_path)) == []


def test_an_nvidia_smi_that_hangs_is_given_up_and_left_alone_for_a_while(tmp_path, smi, monkeypatch):
    """A hung driver would hang every job, and each would hang for the whole patience again."""
    monkeypatch.setattr(devices, "_APPS_PATIENCE", 0.3)
    smi.on("hang")
    assert devices.apps(str(tmp_path)) == []
    assert smi.calls == 1
    assert devices.apps(str(tmp_path)) == []
    assert smi.calls == 1
    monkeypatch.setattr(devices, "_APPS_AGAIN", 0.0)
    smi.off("hang")
    smi.apps("GPU-0, 7, python3, 100")
    assert devices.apps(str(tmp_path)) == [App("GPU-0", 7, "python3", 100 << 20)]


def test_processes_are_read_from_whatever_nvidia_smi_says_of_them(tmp_path, smi):
    """A path with a comma, or a number that is not told, would hide who uses a GPU."""
    smi.apps(
        "GPU-0, 11, /opt/a, b/bin/python3 -m train, 2048",
        "GPU-0, 12, [Insufficient Permissions], [N/A]",
        "GPU-1, 13, [Not Found], 1",
    )
    assert devices.apps(str(tmp_path)) == [
        App("GPU-0", 11, "python3", 2 * GIB),
        App("GPU-0", 12, "", 0),
        App("GPU-1", 13, "", 1 << 20),
    ]
    assert devices.apps(str(tmp_path))[0].pid == 11
    assert smi.calls == 1, "the answer is kept for a moment"


def test_only_processes_that_no_lease_accounts_for_are_foreign(sleeper):
    """A job's own processes would keep its GPU from the next share; a stranger's would not."""
    shell = sleeper("sh", "-c", "sleep 600 & echo $!; wait")
    below, stranger = int(shell.stdout.readline()), sleeper().pid
    gone = subprocess.Popen(["true"])
    gone.wait()
    found = [
        App("a", shell.pid, "sh", 1),
        App("a", below, "sleep", 1),
        App("a", stranger, "sleep", 1),
        App("a", gone.pid, "gone", 1),
        App("a", stranger, "nvidia-cuda-mps-server", 1),
        App("b", below, "sleep", 1),
        App("c", 1, "init", 1),
    ]
    told = devices.foreign(found, {"a": [shell.pid], "b": [stranger]})
    assert {device: [app.pid for app in those] for device, those in told.items()} == {
        "a": [stranger],
        "b": [below],
        "c": [1],
    }
    os.kill(below, 15)


def test_the_peak_of_a_job_is_the_sum_over_its_processes_in_one_look():
    """The cost of a job would be that of its neighbours, or of processes that never were at the same time."""
    made = devices.Sampler.__new__(devices.Sampler)
    made.peak, made._rest, made._round, made._used = 0, b"", 0.0, {}
    made.feed(
        b"2026/11/21 14:00:00.100, GPU-0, 7, 100\n2026/11/21 14:00:00.300, GPU-1, 7, 50\n2026/11/21 14:00", [7, 8]
    )
    assert made.peak == 150 << 20
    made.feed(b":02.100, GPU-0, 8, 120\nNo running processes found\n2026/11/21 14:00:02.1, GPU-0, 9, 900\n", [7, 8])
    assert made.peak == 150 << 20
    made.feed(b"2026/11/21 14:00:04.100, GPU-0, 8, 120\n2026/11/21 14:00:04.1, GPU-0, 7, 90\n", [7, 8])
    assert made.peak == 210 << 20
    made.feed(b"2026/11/22 00:00:00.1, GPU-0, 7, [N/A]\n\xff, , ,\n", [7, 8])
    assert made.peak == 210 << 20


def test_a_sampler_reads_a_running_nvidia_smi(smi):
    """The peak memory of a job would not be known."""
    smi.apps("2026/11/21 14:00:00.100, GPU-0, 77, 300")
    made = devices.sampler([Device("GPU-0", 0, "NVIDIA A10", 24 * GIB)])
    deadline = time.monotonic() + 30
    while not made.peak:
        assert select.select([made], [], [], max(0.0, deadline - time.monotonic()))[0], "it says nothing"
        made.feed(os.read(made.fileno(), 1 << 16), [77])
    made.stop()
    assert made.peak == 300 << 20
    assert not alive(made.pid)


def test_a_sampler_ends_with_its_supervisor(tmp_path, smi):
    """Each killed supervisor would leave an nvidia-smi that runs for ever."""
    text = (
        "import sys, time; from drawbar.agent import devices as d\n"
        "print(d.sampler([d.Device('GPU-0', 0, 'x', 1)]).pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as supervisor:
        pid = int(supervisor.stdout.readline())
        assert alive(pid)
        supervisor.kill()
    until(lambda: not alive(pid), 30)
    assert not alive(pid)


def test_nothing_is_sampled_where_nothing_tells(monkeypatch, tmp_path):
    """A job on declared GPUs would fail for want of an nvidia-smi."""
    assert devices.sampler([Device("0", 0, "", GIB)]) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.sampler([Device("GPU-0", 0, "NVIDIA A10", GIB)]) is None
