"""Clean-up on a host: what goes, what stays whatever the budget, and that no submit loses what it was told is here."""

import fcntl
import hashlib
import json
import os
import threading
import time
from contextlib import suppress

import pytest
from agent_peer import RefusedError, until

from drawbar.agent import archives, blobs, frames, gc, places
from drawbar.agent import jobs as job_folders

DAY = 86400.0
LONG = 20 * DAY


def age(path, seconds=LONG):
    """Make it look as if it was last touched so long ago."""
    at = time.time() - seconds
    for folder, _, names in os.walk(path):
        for name in names:
            os.utime(os.path.join(folder, name), (at, at), follow_symlinks=False)
        os.utime(folder, (at, at))
    os.utime(path, (at, at))


def collect(root, **options):
    return gc.collect(str(root), **{"budget": 0, "older": 14 * DAY, **options})


def blob(root, data, old=LONG):
    digest, _ = blobs.Blobs(str(root)).store([data])
    age(blobs.Blobs(str(root)).path(digest), old)
    return digest


def here(root, digest):
    return os.path.exists(blobs.Blobs(str(root)).path(digest))


@pytest.fixture
def peer(agents):
    """An agent on a root of the test's own."""
    return agents()


def ended_job(peer, value="a value"):
    """A job that ran, and the digest of its value."""
    job, _ = peer.submit(lambda one: one, value)
    outcome, _, _ = peer.wait(job)
    return job, outcome["value"]["digest"]


def test_jobs_go_when_they_ended_long_ago_and_nothing_happened_since(peer):
    """An old job goes with its folder, and what only it named goes with it; a recent one stays with its value."""
    old, old_value = ended_job(peer, "old")
    new, new_value = ended_job(peer, "new")
    age(peer.root)
    age(os.path.join(peer.root, "jobs", new), 60.0)
    told = collect(peer.root, dry_run=True)
    assert told["removed"]["jobs"]["count"] == 1
    assert os.path.exists(os.path.join(peer.root, "jobs", old))
    did = collect(peer.root)
    assert did["removed"] == told["removed"]
    assert did["removed"]["jobs"]["bytes"] > 0
    assert os.listdir(os.path.join(peer.root, "jobs")) == [new]
    assert not here(peer.root, old_value)
    assert here(peer.root, new_value)
    with pytest.raises(RefusedError, match="No such job"):
        peer.ask(frames.WAIT, {"job": old})
    assert peer.wait(new)[0]["state"] == "succeeded"


def test_a_job_that_somebody_came_back_to_stays(peer):
    """Adopting an old value keeps the job for another while: its log says that somebody counts on it."""
    job, value = ended_job(peer)
    age(peer.root)
    with open(os.path.join(peer.root, "jobs", job, "attempts", "1", "spec.json"), encoding="utf-8") as file:
        spec = json.load(file)
    assert peer.ask(frames.SUBMIT, {"job": job, "run_id": "later", "spec": spec})[0]["how"] == "adopted"
    assert collect(peer.root)["removed"]["jobs"]["count"] == 0
    assert here(peer.root, value)


def test_a_job_that_runs_is_never_removed(peer, tmp_path):
    """However long ago it began: its supervisor holds the lock, and its inputs stay."""
    gate = tmp_path / "gate"

    def hold(gate):
        import os
        import time

        while not os.path.exists(gate):
            time.sleep(0.01)

    job, _ = peer.submit(hold, str(gate))
    until(lambda: peer.ask(frames.WAIT, {"job": job})[0]["state"] == "running")
    age(peer.root)
    did = collect(peer.root, older=0.0)
    assert did["removed"]["jobs"]["count"] == did["removed"]["blobs"]["count"] == 0
    gate.touch()
    assert peer.wait(job)[0]["state"] == "succeeded"


def test_blobs_that_nothing_names_are_a_cache_within_the_budget(tmp_path):
    """Least recently used first, only as many as needed, and none that was touched within a day."""
    root = tmp_path / "root"
    digests = [blob(root, bytes([number]) * 1000, old=(30 - number) * DAY) for number in range(5)]
    fresh = blob(root, b"fresh", old=DAY / 2)
    assert collect(root, budget=10_000)["removed"]["blobs"]["count"] == 0
    did = collect(root, budget=3_100)
    assert did["removed"]["blobs"] == {"count": 2, "bytes": 2000}
    assert did["kept"]["blobs"] == {"count": 4, "bytes": 3005}
    assert [here(root, one) for one in digests] == [False, False, True, True, True]
    assert collect(root)["kept"]["blobs"]["count"] == 1
    assert here(root, fresh)


def test_the_code_that_a_remaining_job_was_sent_with_stays(peer):
    """Blobs of code and the folders they are unpacked to stay while a job names them, be it one archive or many packs."""
    packs = [blob(peer.root, archives.pack([(f"module_{one}.py", False, b"VALUE = 1\n")])) for one in range(3)]
    trees = [archives.tree(peer.root, some, blobs.Blobs(peer.root).path) for some in (packs[:2], packs[2:], packs[::2])]
    folder = os.path.join(peer.root, "jobs", "by-hand", "attempts", "1")
    os.makedirs(folder)
    with open(os.path.join(folder, "spec.json"), "w", encoding="utf-8") as spec:
        json.dump({"code": [packs[:2], packs[2]]}, spec)
    age(os.path.join(peer.root, "code"))
    collect(peer.root)
    assert [here(peer.root, one) for one in packs] == [True, True, True]
    assert [os.path.isdir(one) for one in trees] == [True, True, False]


def test_have_keeps_a_blob_that_was_about_to_go(peer):
    """Who was told that a blob is here finds it here when it submits, a day later at the latest."""
    digest = blob(peer.root, b"about to go")
    assert peer.ask(frames.HAVE, {"blobs": [digest]})[0]["missing"] == []
    assert collect(peer.root)["removed"]["blobs"]["count"] == 0
    age(blobs.Blobs(peer.root).path(digest))
    assert collect(peer.root)["removed"]["blobs"]["count"] == 1
    assert peer.ask(frames.HAVE, {"blobs": [digest]})[0]["missing"] == [digest]


def test_clean_ups_and_looks_race_without_a_lie(tmp_path):
    """Whenever `has` says yes, the blob is there afterwards, though clean-ups of old blobs go on all the time."""
    root = str(tmp_path / "root")
    known = blobs.Blobs(root)
    stop = threading.Event()
    data = [b"%d" % number for number in range(50)]
    digests = [hashlib.sha256(one).hexdigest() for one in data]

    def clean():
        while not stop.is_set():
            collect(root)

    cleaner = threading.Thread(target=clean)
    os.makedirs(root)
    cleaner.start()
    yes = no = 0
    try:
        for _ in range(20):
            for one in data:
                with suppress(FileNotFoundError):  # a clean-up has it in its hands
                    blob(root, one)
            for digest in digests:
                if known.has(digest):
                    yes += 1
                    until(lambda digest=digest: here(root, digest))  # a clean-up that had taken it puts it back
                else:
                    no += 1
    finally:
        stop.set()
        cleaner.join()
    print(f"kept {yes}, gone {no}")
    assert yes + no == 1000


def test_uploads_code_places_and_warm_traces_go(tmp_path):
    """What broke off or serves nobody goes after its time; what a process holds stays."""
    root = tmp_path / "root"
    os.makedirs(root / "partial")
    pack = tmp_path / "pack"
    pack.write_bytes(archives.pack([("module.py", False, b"VALUE = 1\n")]))
    archives.tree(str(root), ["d" * 64], lambda _: str(pack))
    (root / "partial" / ("a" * 64)).write_bytes(b"broke off")
    (root / "partial" / ("b" * 64)).write_bytes(b"goes on")
    places.propose(str(root), "c" * 64, "gpu-a", 0, 0)
    for key in ("dead", "alive"):
        os.makedirs(root / "warm" / key)
        (root / "warm" / key / "lock").touch()
    age(root)
    with open(root / "partial" / ("b" * 64), "rb") as upload, open(root / "warm/alive/lock", "rb") as lock:
        fcntl.flock(upload, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = collect(root, dry_run=True)["removed"]
        assert collect(root)["removed"] == told
    assert {kind: one["count"] for kind, one in told.items()} == {
        "jobs": 0, "blobs": 0, "code": 1, "uploads": 1, "envs": 0, "agents": 0, "warm": 1, "places": 1,
    }  # fmt: skip
    assert os.listdir(root / "partial") == ["b" * 64]
    assert os.listdir(root / "warm") == ["alive"]
    assert collect(root)["removed"]["code"]["count"] == 0


def test_agents_of_releases_that_nobody_runs_go_after_a_month(peer):
    """The zip of a live agent stays however old it is; one that nobody started for a month is sent again if needed."""
    folder = os.path.join(peer.root, "agent")
    unused = os.path.join(folder, f"{'0' * 64}.zip")
    with open(unused, "wb") as file:
        file.write(b"zip")
    age(folder, 29 * DAY)
    assert collect(peer.root)["removed"]["agents"]["count"] == 0
    age(folder, 31 * DAY)
    assert collect(peer.root)["removed"]["agents"] == {"count": 1, "bytes": 3}
    assert len(os.listdir(folder)) == 1


def test_an_old_claim_without_a_log_and_a_killed_clean_ups_leavings_go(tmp_path):
    """Nothing that was cut off half-way stays for ever."""
    root = tmp_path / "root"
    known = job_folders.Jobs(str(root))
    _, lock = known.claim("cut-off", 1, {"function": {}})
    age(root)
    assert collect(root)["removed"]["jobs"]["count"] == 0  # its agent is about to start it
    os.close(lock)
    os.makedirs(root / "jobs" / ".gone-1-other" / "attempts")
    assert collect(root)["removed"]["jobs"]["count"] == 1
    assert os.listdir(root / "jobs") == []


def test_the_agent_answers_gc_and_goes_on_serving_meanwhile(peer):
    """GC is done by a child: other requests on the connection are answered before it, and its answer is the sums."""
    ended_job(peer)
    age(peer.root)
    lock = os.open(os.path.join(peer.root, "gc.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    number = peer.send(frames.GC, {"older": 3600.0, "budget": 0, "dry_run": False})
    assert peer.ask(frames.HAVE, {"blobs": []})[0]["missing"] == []
    os.close(lock)
    told, _ = peer.receive(number)
    assert told["removed"]["jobs"]["count"] == 1
    assert told["removed"]["blobs"]["count"] == 3
    assert told["kept"]["blobs"] == {"count": 0, "bytes": 0}


def test_submits_go_on_while_clean_ups_run(peer, agents):
    """A client that sends the same inputs again and again never meets a job without them, whatever is cleaned meanwhile."""
    other = agents(peer.root)
    stop = threading.Event()
    cleaned = []

    def clean():
        while not stop.is_set():
            told, _ = other.ask(frames.GC, {"older": 0.0, "budget": 0, "dry_run": False})
            cleaned.append(told["removed"]["jobs"]["count"])

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    try:
        for number in range(20):
            job, answer = peer.submit(lambda one: one + 1, number)
            assert answer["how"] == "started"
            with suppress(RefusedError):  # it ended, and with an age of none it was cleaned at once
                outcome, _, _ = peer.wait(job)
                assert outcome["state"] == "succeeded", outcome
    finally:
        stop.set()
        cleaner.join()
    assert len(cleaned) > 1
