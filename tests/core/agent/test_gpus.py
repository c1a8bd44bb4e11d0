"""Leases held by real processes, which wait, end and are killed."""

import errno
import fcntl
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import lease_peer
import pytest
from agent_peer import alive, until
from fake_smi import FakeSmi

from drawbar.agent import devices, gpus, tickets

GIB = 1 << 30
TWO = ["24GiB", "24GiB"]


@pytest.fixture(autouse=True)
def woken():
    """This process may be woken, like every one that has a lease."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def hold(tmp_path):
    """A maker of processes that ask for a lease; all are ended at the end."""
    made = []

    def make(root=None, **wanted):
        made.append(lease_peer.Holder(root or tmp_path, **wanted))
        return made[-1]

    yield make
    for one in made:
        if one.process.returncode is None:
            one.kill()


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """An nvidia-smi of two GPUs, first on PATH."""
    return FakeSmi(tmp_path / "smi", monkeypatch)


def run_clients(root, jobs, *, clients, seconds):
    """What happened to the jobs, in the order of their tickets; they are dealt out to clients that start all at once."""
    log = root / "log"
    log.touch()
    shared = {"declared": TWO, "name": "site/job"}
    command = [sys.executable, lease_peer.__file__, "client", str(root)]
    running = [
        subprocess.Popen([*command, json.dumps({**shared, "jobs": jobs[place::clients]}), str(log), str(seconds)])
        for place in range(clients)
    ]
    assert [one.wait(100) for one in running] == [0] * clients
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return sorted(lines, key=lambda line: line["number"])


def overlaps(lines):
    """Pairs of jobs that held one device at the same time."""
    return [
        (one["number"], two["number"])
        for place, one in enumerate(lines)
        for two in lines[place + 1 :]
        if set(one["devices"]) & set(two["devices"]) and one["got"] < two["gave"] and two["got"] < one["gave"]
    ]


def test_a_hundred_jobs_of_four_clients_take_turns_on_two_gpus(tmp_path):
    """Two jobs would compute on one GPU, or somebody who came later would go first."""
    began = time.monotonic()
    lines = run_clients(tmp_path, [{"gpus": 1, "memory": 0}] * 100, clients=4, seconds=0.01)
    assert len(lines) == len({line["number"] for line in lines}) == 100
    assert overlaps(lines) == []
    assert {device for line in lines for device in line["devices"]} == {"0", "1"}
    grants = [line["since"] for line in lines]
    assert grants == sorted(grants), "granted in the order of the tickets"
    print(f"100 jobs on 2 GPUs: {time.monotonic() - began:.1f} s, 0 overlaps, 0 overtakings")


def test_a_large_request_is_served_among_many_small_ones(tmp_path):
    """A job of two GPUs would wait for as long as small ones keep coming."""
    small, share, large = ({"gpus": 1, "memory": 0}, {"gpus": 1, "memory": 10 * GIB}, {"gpus": 2, "memory": 0})
    jobs = [large if place % 10 == 5 else share if place % 3 == 0 else small for place in range(60)]
    lines = run_clients(tmp_path, jobs, clients=3, seconds=0.01)
    assert len(lines) == 60
    assert all(one["memory"] and two["memory"] for one, two in _lines(lines, overlaps(lines)))
    for place, line in enumerate(lines):
        overtaken = [later["number"] for later in lines[place + 1 :] if later["since"] < line["since"]]
        assert overtaken == [], "nobody goes first who came later, since all could use both devices"
    both = sum(len(line["devices"]) == 2 for line in lines)
    assert both == jobs.count(large)
    print(f"{both} jobs of 2 GPUs among {60 - both} small ones: 0 overtakings")


def _lines(lines, pairs):
    by_number = {line["number"]: line for line in lines}
    return [(by_number[one], by_number[two]) for one, two in pairs]


def test_a_killed_supervisor_gives_its_gpu_to_the_next(hold):
    """A GPU would be held by nobody until somebody cleans up."""
    rounds = 12
    queue = [hold(declared=["24GiB"], name=f"site/{place}") for place in range(rounds)]
    for first in queue:
        assert first.granted()["granted"] == ["0"]
        if random.random() < 0.7:
            first.kill()
        else:
            first.end()
    print(f"{rounds} holders, killed at random: each next one was granted the GPU")
    assert os.listdir(tickets.folder(str(_root(queue))) + "/queue") in ([], [str(queue[-1].number)])


def _root(queue):
    return queue[0].process.args[3]


def test_a_killed_waiter_is_passed_over(hold):
    """A GPU would be given to a job that has ended, and lost with it."""
    first, second, third = (hold(declared=["24GiB"]) for _ in range(3))
    first.granted()
    second.kill()
    first.end()
    assert third.granted()["granted"] == ["0"]


def test_a_released_gpu_wakes_who_waits(hold):
    """A job would idle for up to a second each time, beside a free GPU."""
    quickest = 60.0
    for _ in range(5):
        first, second = hold(declared=["24GiB"]), hold(declared=["24GiB"], pause=600.0)
        first.granted()
        _says(second, "held by")
        began = time.monotonic()
        first.process.stdin.close()
        second.granted()
        quickest = min(quickest, time.monotonic() - began)
        second.end()
    assert quickest < 60, "it would have slept for ten minutes"
    print(f"handed over in {1000 * quickest:.0f} ms at best")


def test_waiting_says_for_what_and_for_whom(hold, smi):
    """Whoever waits would not know for whom, or how long the queue is."""
    big = hold(gpus=2, name="site/train", job="abc")
    assert set(big.granted()["granted"]) == {"GPU-0", "GPU-1"}
    second, third = hold(gpus=1), hold(gpus=1, memory=16 * GIB, name="")
    clock = r"\d\d:\d\d \S+"
    held = (
        rf"GPU 0 \(NVIDIA A10\) is held by site/train since {clock}; GPU 1 \(NVIDIA A10\) is held by site/train since"
    )
    assert re.fullmatch(rf"waiting for 1 GPU: {held} {clock}", _says(second, "held by"))
    assert re.fullmatch(
        rf"waiting for 16 GiB of a GPU, 1 ahead in the queue: {held} {clock}", _says(third, "1 ahead in the queue")
    )


def _says(holder, text):
    """The reason for which it waits, once it has `text`."""
    while True:
        said = holder.hear("waiting")["waiting"]
        if text in said:
            return said


def test_the_reason_stays_one_line_on_a_host_of_many_gpus(hold):
    """A status line would be pages long."""
    many = {"declared": ["80GiB"] * 16}
    hold(gpus=16, name="site/a_rather_long_name_of_an_asset", **many).granted()
    said = _says(hold(gpus=1, **many), "held by")
    assert len(said) <= 200
    assert re.search(r"; and \d+ more$", said)


def test_shares_fill_a_gpu_and_leave_the_other_whole(hold):
    """Small jobs would each take a GPU of their own."""
    share = {"declared": TWO, "memory": 8 * GIB, "gpus": 0}
    first = [hold(**share).granted() for _ in range(3)]
    assert [one["granted"] for one in first] == [["0"]] * 3
    assert first[0]["variables"] == {
        "CUDA_VISIBLE_DEVICES": "0",
        "HIP_VISIBLE_DEVICES": "0",
        "DRAWBAR_GPU_MEMORY": str(8 * GIB),
    }
    assert hold(declared=TWO).granted()["granted"] == ["1"]
    assert "shared by site/train (8 GiB) and 2 more since" in _says(hold(**share), "shared by")


def test_a_lease_names_its_devices_by_uuid(hold, smi):
    """A program would number the GPUs in another order, and use somebody else's."""
    assert hold(gpus=2).granted()["variables"] == {
        "CUDA_VISIBLE_DEVICES": "GPU-0,GPU-1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def test_a_gpu_that_a_stranger_uses_is_skipped_and_named(hold, smi):
    """A job would run out of memory beside a process that drawbar knows nothing of."""
    with subprocess.Popen(["sleep", "600"]) as stranger:
        try:
            smi.apps(f"GPU-0, {stranger.pid}, /usr/bin/python3 train.py, 2048")
            assert hold().granted()["granted"] == ["GPU-1"]
            second = hold()
            assert f"GPU 0 (NVIDIA A10) is used by python3 (pid {stranger.pid}, foreign); GPU 1" in _says(
                second, "foreign"
            )
        finally:
            stranger.kill()
    smi.apps()
    assert second.granted()["granted"] == ["GPU-0"]


def forget(root):
    """What nvidia-smi said a moment ago, so that it is asked again."""
    tickets.files.remove(os.path.join(tickets.folder(str(root)), "apps.json"))


def test_the_processes_of_a_job_are_no_strangers_to_it(tmp_path, hold, smi):
    """A second share would not go beside the first, whose own process is on the GPU."""
    share = {"memory": 8 * GIB}
    first = hold(**share)
    first.granted()
    smi.apps(f"GPU-0, {first.pid}, python3, 2048")
    forget(tmp_path)
    assert hold(**share).granted()["granted"] == ["GPU-0"]
    first.kill()


def test_a_driver_that_hangs_does_not_keep_jobs_from_their_gpus(tmp_path, smi, monkeypatch):
    """A hung nvidia-smi would hang every job of the host."""
    monkeypatch.setattr(devices, "_APPS_PATIENCE", 0.3)
    assert len(gpus.devices(str(tmp_path))) == 2
    smi.on("hang")
    lease = lease_here(tmp_path, gpus=1)
    assert lease.look()
    assert smi.calls == 2
    lease.release()


def lease_here(root, **wanted):
    """A lease of this process; nobody wakes it."""
    return gpus.Lease(str(root), **{"memory": 0, "job": "here", "attempt": 1, "name": "site/here", **wanted})


def test_what_is_impossible_fails_at_once_and_leaves_no_ticket(tmp_path):
    """A job would wait for a GPU that the host does not have, and keep all others waiting."""
    for wanted in ({"gpus": 3}, {"gpus": 1, "memory": 25 * GIB}):
        with pytest.raises(gpus.GpuError) as caught:
            lease_here(tmp_path, declared=TWO, **wanted)
        assert (caught.value.what, caught.value.found) == (
            "The host can never meet the job.",
            "it has 2 GPUs of 24 GiB",
        )
        assert caught.value.expected in ("3 GPUs", "25 GiB of a GPU")
    assert os.listdir(os.path.join(tickets.folder(str(tmp_path)), "queue")) == []


def test_release_is_harmless_twice_and_frees_a_place_in_the_queue(tmp_path):
    """A cancelled job that waited would keep everybody behind it waiting."""
    first, large, third = (lease_here(tmp_path, gpus=count, declared=TWO) for count in (1, 2, 1))
    assert [one.look() for one in (first, large, third)] == [True, False, False]
    assert third.waiting.endswith("GPU 1 is kept for those ahead")
    large.release()
    large.release()
    assert not large.look()
    until(third.look, 30)
    assert third.devices == [devices.Device("1", 1, "", 24 * GIB)]
    for one in (first, third):
        one.release()


def test_a_number_is_never_given_twice(tmp_path):
    """A new job would inherit the GPU of one that was killed before anybody noticed."""
    with lease_peer_killed(tmp_path) as dead:
        lease = lease_here(tmp_path, gpus=1, declared=["24GiB"])
        assert lease._number > dead
        assert lease.look()
        lease.release()
    ledger = os.path.join(tickets.folder(str(tmp_path)), "ledger")
    with open(ledger, "w", encoding="ascii") as file:
        file.write("garbage")
    one, two = (lease_here(tmp_path, gpus=1, declared=["24GiB"]) for _ in range(2))
    assert one._number < two._number
    for lease in (one, two):
        lease.release()


def lease_peer_killed(root):
    """The number of a granted lease whose process was killed a moment ago."""
    from contextlib import contextmanager

    @contextmanager
    def made():
        holder = lease_peer.Holder(root, declared=["24GiB"])
        holder.granted()
        holder.kill()
        yield holder.number

    return made()


def test_who_dies_while_it_takes_a_ticket_leaves_nothing_in_the_way(tmp_path):
    """A kill at the wrong moment would keep everybody from leasing."""
    place = tickets.folder(str(tmp_path))
    with open(os.path.join(place, "queue", ".new"), "w", encoding="utf-8") as file:
        file.write('{"half')
    with open(os.path.join(place, "grants.json"), "w", encoding="utf-8") as file:
        file.write("")
    lease = lease_here(tmp_path, gpus=1, declared=TWO)
    assert lease.look()
    lease.release()


def test_kills_at_random_moments_never_lose_or_double_a_gpu(tmp_path):
    """A supervisor killed while it asks, decides or releases would leave a GPU to two jobs, or to nobody."""
    kills, log = 120, tmp_path / "log"
    log.touch()
    jobs = [{"gpus": 1, "memory": 0}, {"gpus": 2, "memory": 0}, {"gpus": 1, "memory": 8 * GIB}]
    wanted = json.dumps({"declared": TWO, "name": "site/job", "jobs": jobs})
    subprocess.run(
        [sys.executable, lease_peer.__file__, "chaos", str(tmp_path), wanted, str(log), str(kills)],
        check=True,
        timeout=100,
    )
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    killed = sum(line.get("killed", False) for line in lines)
    assert killed > 10
    assert len(lines) > killed + 10
    together = _lines(lines, overlaps(lines))
    assert all(one["memory"] and two["memory"] for one, two in together), "only shares are held together"
    final = lease_here(tmp_path, gpus=2, declared=TWO)
    assert final.look(), "nothing is held any more"
    final.release()
    assert os.listdir(os.path.join(tickets.folder(str(tmp_path)), "queue")) in ([], [".new"])
    print(f"{kills} kills, {killed} of them of holders, among {len(lines)} leases: none lost, none doubled")


def test_what_a_job_leaves_behind_does_not_hold_its_lease(hold):
    """A daemon that a killed supervisor could not end would hold the GPU for ever."""
    first = hold(declared=["24GiB"], daemon=True)
    daemon = first.hear("daemon")["daemon"]
    first.granted()
    first.kill()
    try:
        assert alive(daemon)
        assert hold(declared=["24GiB"]).granted()["granted"] == ["0"]
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_a_file_system_without_locks_is_said_with_what_to_do(tmp_path, monkeypatch):
    """Two jobs would get one GPU on such a host, or a message that helps nobody."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(tickets.fcntl, "flock", refuse)
    with pytest.raises(gpus.GpuError) as caught:
        lease_here(tmp_path, gpus=1, declared=TWO)
    assert "no kernel locks" in caught.value.what
    assert "No locks available" in caught.value.found
    assert caught.value.todo == "set `root` of the target to a folder on a local disk"
    assert gpus.overview(str(tmp_path), TWO)["queue"] == []


def test_a_full_disk_keeps_a_job_waiting_and_says_so(tmp_path, monkeypatch):
    """A job would end as a fault of drawbar, although a moment later it could run."""
    lease = lease_here(tmp_path, gpus=1, declared=TWO)

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tickets.files, "write_json", refuse)
        assert not lease.look()
        assert "the host's disk is full" in lease.waiting
    until(lease.look, 30)
    assert lease.devices
    lease.release()


def test_a_ledger_that_somebody_keeps_does_not_block(tmp_path):
    """A supervisor could not be cancelled while another one is stopped in the middle of a decision."""
    lease = lease_here(tmp_path, gpus=1, declared=TWO)
    with open(os.path.join(tickets.folder(str(tmp_path)), "ledger"), "rb") as ledger:
        fcntl.flock(ledger, fcntl.LOCK_EX)
        assert not lease.look()
    assert lease.look()
    lease.release()


def test_the_overview_tells_devices_holders_strangers_and_the_queue(tmp_path, hold, smi):
    """`drawbar gpus` would not say who keeps whom waiting."""
    share = hold(memory=8 * GIB, job="one", name="site/share")
    share.granted()
    with subprocess.Popen(["sleep", "600"]) as stranger:
        smi.apps(f"GPU-1, {stranger.pid}, sleep, 100", f"GPU-0, {share.pid}, python3, 5")
        forget(tmp_path)
        hold(gpus=2, job="two", name="site/train")
        pid, pipe = gpus.begin_overview(str(tmp_path))
        with open(pipe, encoding="utf-8") as file:
            told = json.load(file)
        os.waitpid(pid, 0)
        stranger.kill()
    first, second = told["devices"]
    (holder,) = first.pop("holders")
    assert first == {
        "id": "GPU-0",
        "index": 0,
        "name": "NVIDIA A10",
        "memory": 24 * GIB,
        "used": 4 << 20,
        "busy": 7,
        "driver": "570.1",
        "free": 16 * GIB,
        "foreign": [],
    }
    assert (holder["job"], holder["name"], holder["attempt"]) == ("one", "site/share", 1)
    assert (holder["memory"], holder["pid"]) == (8 * GIB, share.pid)
    assert abs(holder["since"] - time.time()) < 100
    assert (second["free"], second["holders"]) == (0, [])
    assert second["foreign"] == [{"pid": stranger.pid, "name": "sleep", "used": 100 << 20}]
    (waiting,) = told["queue"]
    assert (waiting["job"], waiting["gpus"], waiting["memory"]) == ("two", 2, 0)
    assert waiting["waiting"].startswith("waiting for 2 GPUs: GPU 0 (NVIDIA A10) is shared by site/share (8 GiB)")


def test_the_overview_of_declared_devices_says_what_is_not_known(tmp_path):
    """A table would show numbers that nobody measured."""
    lease = lease_here(tmp_path, gpus=1, declared=TWO)
    assert lease.look()
    first, second = gpus.overview(str(tmp_path), TWO)["devices"]
    assert (first["free"], second["free"], first["used"], first["busy"]) == (0, 24 * GIB, None, None)
    assert first["holders"][0]["memory"] == 0
    lease.release()


def test_a_device_that_came_after_the_boot_is_noticed_by_the_overview(tmp_path, smi):
    """A replaced GPU would be leased by its old name until the next boot."""
    assert [device.id for device in gpus.devices(str(tmp_path))] == ["GPU-0", "GPU-1"]
    smi.gpus("0, GPU-9, NVIDIA A10, 24576, 4, 7, 570.1")
    assert gpus.devices(str(tmp_path))[0].id == "GPU-0"
    assert [device["id"] for device in gpus.overview(str(tmp_path))["devices"]] == ["GPU-9"]
    assert [device.id for device in gpus.devices(str(tmp_path))] == ["GPU-9"]


def test_folders_of_old_boots_go_unless_somebody_holds_a_ticket(tmp_path, monkeypatch):
    """Each boot would leave a folder for ever; or another machine on the same home would lose its leases."""
    places = []
    for boot in ("old", "busy", "young"):
        monkeypatch.setattr(tickets.files, "boot_id", lambda boot=boot: boot)
        places.append(tickets.folder(str(tmp_path)))
        lease = lease_here(tmp_path, gpus=1, declared=TWO)
        assert lease.look()
        if boot == "busy":
            kept = lease
        else:
            lease.release()
    for place in places[:2]:
        os.utime(os.path.join(place, "ledger"), (1, 1))
    monkeypatch.setattr(tickets.files, "boot_id", lambda: "now")
    tickets.folder(str(tmp_path))
    assert sorted(os.listdir(tmp_path / "gpus")) == ["busy", "now", "young"]
    kept.release()


def test_nobody_is_woken_who_only_has_the_number_of_a_supervisor(tmp_path):
    """SIGUSR1 would end a process that has nothing to do with drawbar."""
    with subprocess.Popen(["sleep", "600"]) as other:
        tickets.wake([{"pid": other.pid, "born": "1"}])
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.3)
        other.kill()
    assert tickets.born(other.pid) == ""


def test_a_lease_and_a_look_cost_little(tmp_path):
    """A warm job's few milliseconds would be spent on the queue."""
    spent = []
    for _ in range(20):
        began = time.perf_counter()
        lease = lease_here(tmp_path, gpus=1, declared=TWO)
        assert lease.look()
        spent.append(time.perf_counter() - began)
        lease.release()
    first, waiting = (
        lease_here(tmp_path, gpus=2, declared=TWO),
        [lease_here(tmp_path, gpus=1, declared=TWO) for _ in range(200)],
    )
    assert first.look()
    began = time.perf_counter()
    assert tickets.decide(first._place, 10.0) is not None
    decided = time.perf_counter() - began
    began = time.perf_counter()
    assert [one.look() for one in waiting[:50]] == [False] * 50
    looked = (time.perf_counter() - began) / 50
    for one in (first, *waiting):
        one.release()
    print(
        f"lease and look {1000 * sorted(spent)[10]:.2f} ms; with 200 waiting: a decision {1000 * decided:.1f} ms, a look {1000 * looked:.2f} ms"
    )
