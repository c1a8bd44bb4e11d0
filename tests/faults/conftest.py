"""A ground to break things on: a project with a store, a target and lineage of its own, and drawbar as a program."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from drawbar.testing.sshd import Sshd

sys.path.insert(0, str(Path(__file__).parent))  # the tests are not a package

from calls import Calls
from proxy import Proxy

PATIENCE = 60.0
ALIVE = "Host *\n  ServerAliveInterval 1\n  ServerAliveCountMax 2\n"
CHECKER = Path(__file__).resolve().parents[3] / "shared" / "tools" / "validate_openlineage.py"
SCHEMAS = Path(__file__).resolve().parents[2] / "adapters" / "drawbar_adapters" / "openlineage" / "schemas"
PIPELINE = """
import hashlib, os, time
from pathlib import Path
from drawbar import asset

FOLDER = Path({folder!r})

def _noted(name):
    with (FOLDER / "made").open("a") as file:
        file.write(f"{{name}} {{os.getpid()}}\\n")

def seed(size: int = 300_000) -> bytes:
    return hashlib.shake_256(b"seed").digest(size)

@asset(target="place")
def slow(seed: bytes, steps: int = 8) -> list[int]:
    _noted("slow")
    print("slow began", flush=True)
    for step in range(steps):
        print("step", step, flush=True)
        time.sleep(0.05)
    while (FOLDER / "closed").exists():
        time.sleep(0.02)
    return list(seed[:10])

@asset(target="place")
def other(seed: bytes) -> str:
    _noted("other")
    return hashlib.sha256(seed).hexdigest()

def total(slow: list[int], other: str) -> str:
    _noted("total")
    while (FOLDER / "shut").exists():
        time.sleep(0.02)
    return f"{{sum(slow)}} {{other}}"
"""
_SEED = hashlib.shake_256(b"seed").digest(300_000)
EXPECTED = f"{sum(_SEED[:10])} {hashlib.sha256(_SEED).hexdigest()}"


class Ground:
    """A project in `folder`; `host` is the target's own folder of drawbar, `closed` and `shut` hold its functions up."""

    def __init__(self, folder: Path, settings: dict) -> None:
        self.folder, self.host = folder, folder / "host"
        self.closed, self.shut = folder / "closed", folder / "shut"
        self.store, self.project = folder / "store", folder / "project"
        self.project.mkdir(parents=True)
        (self.project / "pipeline.py").write_text(PIPELINE.format(folder=str(folder)))
        table = {**settings, "root": str(self.host)}
        (self.project / "drawbar.toml").write_text(
            f"modules = ['pipeline']\nnamespace = 'faults'\nstore = {json.dumps(str(self.store))}\n[targets.place]\n"
            + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRAWBAR", "OPENLINEAGE"))}
        self.environment = {**kept, "DRAWBAR_HOME": str(folder / "client")}
        self.started = []

    def start(self, *words, skew=0.0):
        """The program, in a session of its own; its clock is wrong by `skew` seconds."""
        code = "from drawbar.cli import main; main()"
        if skew:
            code = (
                "import time; a, b = time.time, time.time_ns\n"
                f"time.time, time.time_ns = lambda: a() + {skew}, lambda: b() + int({skew} * 1e9)\n{code}"
            )
        process = subprocess.Popen(
            [sys.executable, "-c", code, *(words or ("run", "--json"))],
            cwd=self.project, env=self.environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(process)
        return process

    def finish(self, process):
        """Exit status, the answer if there is one, and what was said beside it."""
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, json.loads(out) if out else None, err

    def run(self, *words):
        """The program to its end."""
        return self.finish(self.start(*words))

    def until(self, true, process=None):
        """Returns when it is so; AssertionError when it does not become so, or the process ended before."""
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, "it did not happen"
            if process is not None and process.poll() is not None:
                raise AssertionError(f"the program ended before: {process.communicate()}")
            time.sleep(0.01)

    def began(self, name="slow"):
        """Whether that function has been called."""
        file = self.folder / "made"
        return file.exists() and f"{name} " in file.read_text()

    def logs(self):
        """What each job's own log says, by the job's asset."""
        found = {}
        for log in self.host.glob("jobs/*/log.jsonl"):
            spec = json.loads((log.parent / "attempts" / "1" / "spec.json").read_text())
            name = spec.get("name") or json.loads(log.read_text().splitlines()[0]).get("name")
            found[name or log.parent.name] = [json.loads(line) for line in log.read_text().splitlines()]
        return found

    def starts(self):
        """How often each job was executed, by its own log."""
        return [sum(one["event"] == "started" for one in log) for log in self.logs().values()]

    def states(self):
        """The state of every attempt of every job: what has an outcome has ended."""
        found = []
        for one in self.host.glob("jobs/*/attempts/*/state.json"):
            over = (one.parent / "outcome.json").exists()
            found.append("ended" if over else json.loads(one.read_text())["state"])
        return found

    def at_work(self):
        """Process ids of whatever still runs for a job: their working folder is the job's, or one of them is in argv."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                place = os.readlink(folder / "cwd")
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if place.startswith(str(self.host / "jobs")) and state != "Z":
                found.append(int(folder.name))
        return found

    def lineage(self):
        """Every event, after all were sent, as it lies in the project's file."""
        code, _, err = self.run("lineage", "flush", "--json")
        assert code == 0, err
        file = self.project / ".drawbar" / "lineage.ndjson"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def check(self, answer):
        """What must hold after any fault and one more run: the value, the store, one execution a job, the lineage."""
        self.check_value(answer)
        assert set(self.starts()) <= {1}, self.logs()
        self.check_store()
        self.check_lineage()

    def check_value(self, answer):
        """The run's last asset is what it should be."""
        assert answer["state"] == "succeeded"
        last = next(one for one in answer["assets"] if one["key"] == "faults/total")
        assert Path(last["uri"]).read_text().strip('"\n') == EXPECTED

    def check_store(self, *, killed=True):
        """No half-written file under a name that anybody reads; who was killed may leave a lease, but on nothing to do."""
        for value in self.store.glob("faults/*/values/*"):
            assert hashlib.sha256(value.read_bytes()).hexdigest() == value.name.split(".")[0]
        for record in self.store.glob("faults/*/records/*.json"):
            known = json.loads(record.read_text())
            assert (record.parent.parent / known["value"]).stat().st_size == known["bytes"]
        for journal in self.store.glob("faults/runs/*.json"):
            assert json.loads(journal.read_text())["run_id"]
        left = {lease.name.partition(".")[0] for lease in self.store.glob("faults/leases/*")}
        assert left <= ({one.stem for one in self.store.glob("faults/*/records/*")} if killed else set())

    def check_lineage(self):
        """Of every run of an asset one START and one end, whoever told them; the events are as the specification says.

        The walk's own run is left out: nobody can end that of a walk that was killed. And who was killed between taking a
        lease and telling of it may have an end (FAIL: "which is gone") without a START: its heir cannot know.
        """
        told, gone = Counter(), set()
        for one in self.lineage():
            kind = "end" if one["eventType"] in _ENDS else one["eventType"]
            if one["job"]["name"] != "faults":
                told[one["job"]["name"], one["run"]["runId"], kind] += 1
            if "which is gone" in one["run"]["facets"].get("errorMessage", {}).get("message", ""):
                gone.add(one["run"]["runId"])
        runs = {(job, run) for job, run, _ in told}
        wrong = [(*run, kind, told[*run, kind]) for run in runs for kind in ("START", "end") if told[*run, kind] != 1]
        assert [one for one in wrong if not (one[1] in gone and one[2:] == ("START", 0))] == []
        if CHECKER.is_file():
            # Whether every run ended is counted above.
            command = [sys.executable, str(CHECKER), str(self.project / ".drawbar" / "lineage.ndjson")]
            done = subprocess.run(
                [*command, "--extra-schemas", str(SCHEMAS)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr

    def close(self):
        """End what a failed test may have left: our own clients, and processes that are in our own job folders."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        for pid in self.at_work():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


_ENDS = ("COMPLETE", "FAIL", "ABORT")


@pytest.fixture(scope="session")
def sshd():
    """One throwaway host for all of them; each ground has its own folder on it."""
    why = Sshd.why_not()
    if why and os.environ.get("DRAWBAR_REQUIRE_SSHD") == "1":
        pytest.fail(f"DRAWBAR_REQUIRE_SSHD is set, but {why}")
    if why:
        pytest.skip(why)
    with Sshd() as host:
        yield host


@pytest.fixture
def make_sshd(sshd):
    """Throwaway hosts of a test's own."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Sshd(**options))


@pytest.fixture
def calls(tmp_path, sshd):
    """Direct calls to a folder of their own behind SSH."""
    made = Calls(tmp_path / "calls", {**sshd.settings(), "ssh_config": "/dev/null"})
    yield made
    made.close()


@pytest.fixture
def proxy(sshd):
    """What stands between a client and the host."""
    with Proxy(sshd.port) as made:
        yield made


@pytest.fixture
def proxied(tmp_path, sshd, proxy):
    """Calls that go through the proxy; a host that says nothing for two seconds counts as gone."""
    (tmp_path / "ssh_config").write_text(ALIVE)
    known = sshd.known_hosts.read_text().replace(f":{sshd.port} ", f":{proxy.port} ")
    (tmp_path / "known_hosts").write_text(known)
    behind = {**sshd.settings(), "port": proxy.port, "connect_timeout": 3.0}
    files = {"ssh_config": str(tmp_path / "ssh_config"), "known_hosts": str(tmp_path / "known_hosts")}
    made = Calls(tmp_path / "calls", {**behind, **files})
    yield made
    made.close()


@pytest.fixture
def ground(grounds):
    """One ground."""
    return grounds()


@pytest.fixture
def grounds(tmp_path, settings):
    """As many grounds as a test asks for."""
    made = []

    def make():
        made.append(Ground(tmp_path / f"ground{len(made)}", settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(params=["local", "ssh"])
def settings(request):
    """Where the jobs of a ground run: in a worker on this machine, and behind SSH."""
    behind = request.getfixturevalue("sshd").settings() if request.param == "ssh" else {}
    return {**behind, "python": sys.executable}
