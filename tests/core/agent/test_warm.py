"""Warm interpreters: imports are done once for many jobs, and nothing else about a job changes."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from agent_peer import RefusedError, alive, end_all, until

IDLE = 600.0
SAME = {"PYTEST_CURRENT_TEST": ""}  # one login's environment is as the other's
PACKAGES = {
    "settled": "import time\ntime.sleep(0.5)\nimport os\nSEEN = os.environ.get('DRAWN_WITH')\nDEVICES = os.environ.get('CUDA_VISIBLE_DEVICES')\n",
    "crashing": "import os\nos.getenv('DRAWBAR_ATTEMPT') or os._exit(3)\n",
    "raising": "import os\nif not os.getenv('DRAWBAR_ATTEMPT'): raise RuntimeError('not here')\n",
    "threaded": "import threading, time\nthreading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()\n",
    "keeping": "import os\nKEPT = open(os.devnull)\n",
    "spawning": "import subprocess\nCHILD = subprocess.Popen(['sleep', '1000'])\nimport atexit; atexit.register(CHILD.kill)\n",
    "printing": "print('a word of greeting')\n",
    "common": "WHOSE = 'installed'\n",
}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A Python of its own, with a few packages that behave well or badly when they are imported."""
    folder = tmp_path_factory.mktemp("python") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    for name, text in PACKAGES.items():
        (packages / f"{name}.py").write_text(text)
    (packages / "__pycache__").mkdir(exist_ok=True)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "edited.py").write_text("")
    (packages / "edited.pth").write_text(f"{folder / 'elsewhere'}\n")
    (packages / "behind.py").write_text("import edited\n")
    return str(folder / "bin" / "python")


@pytest.fixture
def host(agents, tmp_path):
    """An agent on a root of the test's own; its warm interpreters end with the test."""
    yield agents(env=SAME)
    for one in states(tmp_path / "root"):
        kill(one["pid"])


def kill(pid, number=signal.SIGKILL):
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def states(root):
    """What the warm interpreters of a root say of themselves."""
    texts = [path.read_text() for path in Path(root).glob("warm/*/state.json")]
    return [json.loads(text) for text in texts]


def uses(*names):
    """A job that tells which of these modules were there before it imported them, and who forked its supervisor."""

    def use():
        import importlib
        import os
        import sys

        before = [name for name in names if name in sys.modules]
        for name in names:
            importlib.import_module(name)
        with open(f"/proc/{os.getppid()}/stat", encoding="utf-8") as file:
            parent = int(file.read().rpartition(")")[2].split()[1])
        return before, parent

    return use


def warmed(peer, *names, refused=(), **options):
    """Run a job that imports these modules until an interpreter has them; that interpreter's state."""
    found = []

    def there():
        outcome, _, _ = peer.run(uses(*names), idle_timeout=IDLE, **options)
        assert outcome["state"] == "succeeded"
        before, parent = peer.value(outcome)
        found[:] = [one for one in states(peer.root) if one["pid"] == parent]
        wanted = sorted(set(names) - set(refused))
        return found and sorted(before) == wanted and set(refused) <= set(found[0]["refused"])

    until(there, 60)
    return found[0]


def test_what_one_job_imported_the_next_one_finds(host, python):
    """Every job would import pandas and torch anew."""
    outcome, _, _ = host.run(uses("settled"), python=python, idle_timeout=IDLE)
    assert host.value(outcome)[0] == []
    assert outcome["costs"]["compute"] >= 0.5
    state = warmed(host, "settled", python=python)
    assert state["python"] == python
    assert "settled" in state["modules"]
    outcome, _, _ = host.run(uses("settled"), python=python, idle_timeout=IDLE)
    assert list(host.value(outcome)) == [["settled"], state["pid"]]
    assert outcome["costs"]["compute"] < 0.5
    assert outcome["python"] == ".".join(map(str, sys.version_info[:3]))


def test_the_agents_own_python_stays_warm_too(host):
    """A job without an Env would import numpy anew each time, and all would draw the same numbers once it did not."""
    warmed(host, "numpy", "numpy.random")

    def draw():
        import random

        import numpy as np

        return [np.random.random(), random.random()]  # noqa: NPY002 - the global generator is what is forked

    drawn = [host.value(host.run(draw, idle_timeout=IDLE)[0]) for _ in range(4)]
    assert len({first for first, _ in drawn}) == 4
    assert len({second for _, second in drawn}) == 4


def test_modules_that_a_fork_would_break_are_left_to_the_jobs(host, python):
    """A job would meet dead threads, closed files, another's children, or the code of yesterday."""
    bad = ("crashing", "raising", "threaded", "keeping", "spawning", "behind")
    state = warmed(host, "settled", *bad, "printing", refused=bad, python=python)
    told = state["refused"]
    assert set(told) == set(bad)
    assert told["crashing"] == "the process ended, or took too long"
    assert told["raising"] == "RuntimeError: not here"
    assert told["threaded"].startswith("it starts a thread")
    assert told["keeping"] == "it keeps a file open"
    assert told["spawning"] == "it starts a process"
    assert told["behind"] == "it imports edited, which is not an installed package"
    assert {"settled", "printing"} <= set(state["modules"])
    assert not {"behind", "edited", *bad} & set(state["modules"])
    (folder,) = (path.parent for path in Path(host.root).glob("warm/*/state.json"))
    assert "a word of greeting" in (folder / "log").read_text()


def test_the_projects_own_modules_come_before_installed_ones(host, python):
    """A module of the project would be hidden by a package of the same name that another job had imported."""
    warmed(host, "common", python=python)
    code = host.code(common="WHOSE = 'ours'\n\ndef whose():\n    return WHOSE\n")
    named = {"module": "common", "qualname": "whose"}
    outcome, _, _ = host.run(None, named=named, code=[code], python=python, idle_timeout=IDLE)
    assert host.value(outcome) == "ours"


def test_another_set_of_packages_is_another_interpreter(host, python):
    """After `pip install`, jobs would go on with the old version."""
    first = warmed(host, "settled", python=python)
    packages = Path(next(Path(python).parents[1].glob("lib/python3*/site-packages")))
    (packages / "newer.py").write_text("")
    second = warmed(host, "settled", "newer", python=python)
    assert second["pid"] != first["pid"]
    assert "newer" not in first["modules"]


def test_variables_reach_imports(host, python):
    """OMP_NUM_THREADS and the like, which libraries read when they are imported, would have no effect."""

    def seen():
        import os

        import settled

        return [settled.SEEN, settled.DEVICES, os.environ.get("DRAWN_WITH"), os.environ.get("CUDA_VISIBLE_DEVICES")]

    warmed(host, "settled", python=python)
    for drawn in ("pencil", "ink"):
        variables = {"DRAWN_WITH": drawn, "CUDA_VISIBLE_DEVICES": "3"}
        warmed(host, "settled", python=python, variables=variables)
        outcome, _, _ = host.run(seen, python=python, variables=variables, idle_timeout=IDLE)
        assert host.value(outcome) == [drawn, None, drawn, "3"]
    outcome, _, _ = host.run(seen, python=python, idle_timeout=IDLE)
    assert host.value(outcome)[::2] == [None, None]


def test_variables_of_one_job_start_no_interpreter(host, python):
    """A hundred jobs with a variable each would leave a hundred interpreters."""
    for number in range(3):
        outcome, _, _ = host.run(uses(), python=python, variables={"SHARD": str(number)}, idle_timeout=IDLE)
        assert outcome["state"] == "succeeded"
    assert states(host.root) == []
    warmed(host, "common", python=python)
    variables = {"OPENLINEAGE_PARENT_ID": "a/b/c"}  # new for each run, and nothing that an import reads
    outcome, _, _ = host.run(uses("common"), python=python, variables=variables, idle_timeout=IDLE)
    assert host.value(outcome)[0] == ["common"]


def test_isolation_is_an_interpreter_of_its_own(host, python):
    """A job that asks for a clean process would get one with other jobs' imports."""
    state = warmed(host, "common", python=python)
    outcome, _, _ = host.run(uses("common"), python=python, isolate=True, idle_timeout=IDLE)
    before, parent = host.value(outcome)
    assert before == []
    assert parent != state["pid"]
    outcome, _, _ = host.run(uses("common"), python=python, variables={"PYTHONHASHSEED": "0"}, idle_timeout=IDLE)
    assert host.value(outcome)[0] == []


def test_secrets_pass_through_and_stay_nowhere(host, python):
    """A secret would lie in a file of the host, or in the environment of a process that lives on."""
    state = warmed(host, "common", python=python)
    secret = f"very-{random.getrandbits(64):x}-secret"

    def tell():
        import os
        import sys

        return ["common" in sys.modules, len(os.environ["TOKEN_OF_TEST"])]

    outcome, _, _ = host.run(tell, python=python, secrets={"TOKEN_OF_TEST": secret}, idle_timeout=IDLE)
    assert host.value(outcome) == [True, len(secret)]
    for path in Path(host.root).rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    for name in ("environ", "cmdline"):
        assert secret.encode() not in Path(f"/proc/{state['pid']}/{name}").read_bytes()


def test_it_ends_when_nothing_comes(host, python):
    """Interpreters with gigabytes of imports would stay on the host for ever."""
    outcome, _, _ = host.run(uses("common"), python=python, idle_timeout=1.0)
    assert outcome["state"] == "succeeded"
    until(lambda: any("common" in one["modules"] for one in states(host.root)), 60)
    (state,) = states(host.root)
    until(lambda: not alive(state["pid"]), 60)
    assert not list(Path(host.root).glob("warm/*/socket"))
    outcome, _, _ = host.run(uses("common"), python=python, idle_timeout=IDLE)
    assert outcome["state"] == "succeeded"


def test_it_lives_as_long_as_its_jobs(host, python):
    """A long job would end in a cold host, or count as idleness."""

    def long():

        import common

        time.sleep(3)
        return common.WHOSE

    host.run(uses("common"), python=python, idle_timeout=1.5)
    until(lambda: any("common" in one["modules"] for one in states(host.root)), 60)
    (state,) = states(host.root)
    outcome, _, _ = host.run(long, python=python, idle_timeout=1.5)
    assert host.value(outcome) == "installed"
    until(lambda: not alive(state["pid"]), 60)


def test_it_ends_with_its_folder(host, python):
    """Whoever removes drawbar's folder from a host would leave its processes."""
    state = warmed(host, "common", python=python)
    (folder,) = Path(host.root).glob("warm/*")
    folder.rename(folder.parent.parent / "gone")
    until(lambda: not alive(state["pid"]), 60)
    assert host.run(uses("common"), python=python)[0]["state"] == "succeeded"


def test_two_agents_share_it(host, agents, python):
    """Each client of a host would have interpreters of its own."""
    state = warmed(host, "common", python=python)
    other = agents(env=SAME)
    outcome, _, _ = other.run(uses("common"), python=python, idle_timeout=IDLE)
    assert list(other.value(outcome)) == [["common"], state["pid"]]
    host.close()
    outcome, _, _ = other.run(uses("common"), python=python, idle_timeout=IDLE)
    assert list(other.value(outcome)) == [["common"], state["pid"]]
    other.close()
    assert alive(state["pid"])


def test_a_stopped_one_stops_no_job(host, python):
    """A process that somebody stopped, or that swaps, would hold up every job of the host."""
    state = warmed(host, "common", python=python)
    kill(state["pid"], signal.SIGSTOP)
    submitted = [host.submit(uses("common"), python=python, idle_timeout=IDLE)[0] for _ in range(3)]
    for job in submitted:
        outcome, _, _ = host.wait(job)
        assert host.value(outcome)[0] == []
        assert outcome["costs"]["queue"] < 15
    kill(state["pid"], signal.SIGCONT)
    warmed(host, "common", python=python)
    for job in submitted:
        assert [line["event"] for line in host.log(job)].count("started") == 1


@pytest.mark.timeout(400)
def test_whenever_it_is_killed_a_job_runs_once(host, python, tmp_path):
    """A job would run twice, or never, where the warm interpreter dies just when it takes it over."""
    warmed(host, "common", python=python)
    marks = tmp_path / "marks"
    marks.mkdir()

    def mark(name):
        import os
        import sys

        os.close(os.open(f"{name}-{os.getpid()}", os.O_CREAT | os.O_EXCL))
        return "common" in sys.modules

    rounds, at_once, warm_ones = 28, 4, 0
    for number in range(rounds):
        state = warmed(host, "common", python=python)
        killer = threading.Timer(random.random() * 0.05, kill, [state["pid"]])
        killer.start()
        names = [f"{number}.{one}" for one in range(at_once)]
        submitted = [host.submit(mark, str(marks / one), python=python, idle_timeout=IDLE)[0] for one in names]
        for job, name in zip(submitted, names, strict=True):
            outcome, _, _ = host.wait(job)
            assert outcome["state"] == "succeeded", outcome
            warm_ones += host.value(outcome)
            assert len(list(marks.glob(f"{name}-*"))) == 1
        killer.join()
    assert len(list(marks.iterdir())) == rounds * at_once
    assert 0 < warm_ones < rounds * at_once


def test_many_jobs_leave_nothing_open(host, python):
    """An interpreter that serves all day would run out of file descriptors, or fill the host with zombies."""
    state = warmed(host, "common", python=python)

    def opened(pid):
        return len(os.listdir(f"/proc/{pid}/fd"))

    before = opened(state["pid"]), opened(host.process.pid)
    submitted = []
    for number in range(200):
        submitted.append(host.submit(uses("common"), python=python, idle_timeout=IDLE)[0])
        if number % 20 == 19:
            for job in submitted:
                assert host.wait(job, seconds=60)[0]["state"] == "succeeded"
            submitted.clear()
    until(lambda: not processes_below(state["pid"]), 30)
    assert opened(state["pid"]) <= before[0]
    assert opened(host.process.pid) <= before[1]
    assert alive(state["pid"])


def processes_below(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += (task / "children").read_text().split()
    return found


def test_the_root_may_lie_deep(agents, tmp_path, python):
    """A socket's path is short; a host's root need not be."""
    root = tmp_path / ("deep" * 20) / ("deeper" * 10) / "root"
    root.parent.mkdir(parents=True)
    peer = agents(root)
    state = warmed(peer, "common", python=python)
    assert len(str(root)) > 108
    kill(state["pid"])
    end_all(root)


def test_a_missing_blob_is_still_refused(host, python):
    """Warmth would change what a submit checks."""
    warmed(host, "common", python=python)
    with pytest.raises(RefusedError) as caught:
        host.submit(uses("common"), python=python, code=[["0" * 64]])
    assert caught.value.meta["code"] == "unknown"
