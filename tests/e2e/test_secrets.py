"""Secrets planted wherever a user may put one, looked for wherever drawbar leaves something: one run, all its traces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from drawbar.testing.sshd import Sshd

PARAMETER, VARIABLE, IN_URL = "param-5ecret-value", "env-5ecret-value", "url-5ecret-value"
CODE = """
import os, time
from drawbar import asset

def fetched(api_token: str, url: str) -> int:
    print("fetching with", os.environ["MASK_ME"] == "yes", len(api_token))
    return len(api_token + url)

@asset(target="place")
def trained(fetched: int, url: str) -> int:
    print("the variable is", os.environ["SERVICE_KEY"], flush=True)
    print("and again", os.environ["SERVICE_KEY"][:9], flush=False)
    time.sleep(1.0)
    return fetched

@asset(target="place")
def refused(fetched: int, url: str) -> int:
    raise ValueError(f"401 from {url} with key {os.environ['SERVICE_KEY']}")

def refused_here(api_token: str, fetched: int, url: str) -> int:
    raise ValueError(f"401 from {url} with token {api_token}")

@asset(target="place")
def takes_token(fetched: int, api_token: str) -> int:
    print("token", api_token, flush=True)
    return len(api_token)
"""


class Traces:
    """Everything that one run leaves and says: a folder each for project and host, every argv, every answer."""

    def __init__(self, folder, place):
        self.folder, self.host = folder, folder / "host"
        self.project = folder / "project"
        self.project.mkdir(parents=True)
        (self.project / "pipeline.py").write_text(CODE)
        settings = {**place, "python": sys.executable, "root": str(self.host), "secrets": ["SERVICE_KEY"]}
        (self.project / "drawbar.toml").write_text(
            f"modules = ['pipeline']\nnamespace = 'secrets'\n[params]\napi_token = '{PARAMETER}'\n"
            f"url = 'https://bob:{IN_URL}@example.org/x?sig={IN_URL}'\n[targets.place]\n"
            + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRAWBAR", "OPENLINEAGE"))}
        self.environment = {
            **kept, "DRAWBAR_HOME": str(folder / "client"), "SERVICE_KEY": VARIABLE, "MASK_ME": "yes",
        }  # fmt: skip
        self.said, self.argv = {}, set()

    def run(self, *words):
        """The program; what it says is kept."""
        done = subprocess.run(
            [sys.executable, "-c", "from drawbar.cli import main; main()", *words],
            cwd=self.project, env=self.environment, capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        self.said[" ".join(words)] = done.stdout + done.stderr
        return done

    def watch(self, stop):
        """Every command line of this machine while the run lasts."""
        while not stop.wait(0.02):
            for one in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.argv.add(one.read_bytes())
                except OSError:
                    continue

    def with_secrets(self, folder, *but):
        """Files below `folder` that hold a planted secret, by their paths; the user's own configuration does."""
        found = []
        for file in folder.rglob("*"):
            if file.is_file() and file.name not in ("drawbar.toml", *but):
                data = file.read_bytes()
                found += [f"{file}: {one}" for one in (PARAMETER, VARIABLE, IN_URL) if one.encode() in data]
        return found


@pytest.fixture(scope="module")
def sshd():
    """One host for this file."""
    why = Sshd.why_not()
    if why and os.environ.get("DRAWBAR_REQUIRE_SSHD") == "1":
        pytest.fail(f"DRAWBAR_REQUIRE_SSHD is set, but {why}")
    if why:
        pytest.skip(why)
    with Sshd() as host:
        yield host


@pytest.fixture(scope="module", params=["local", "ssh"])
def place(request):
    """Settings of a worker on this machine, and of one behind SSH."""
    return request.getfixturevalue("sshd").settings() if request.param == "ssh" else {}


@pytest.fixture(scope="module")
def traces(tmp_path_factory, place):
    """The traces of a run of everything but `takes_token`."""
    made = Traces(tmp_path_factory.mktemp("secrets"), place)
    stop = threading.Event()
    watcher = threading.Thread(target=made.watch, args=(stop,))
    watcher.start()
    done = made.run("run", "trained", "refused", "refused_here", "--json")
    stop.set()
    watcher.join()
    assert done.returncode == 1, done.stderr
    states = {one["key"]: one["state"] for one in json.loads(done.stdout)["assets"]}
    assert states == {
        "secrets/fetched": "made", "secrets/trained": "made", "secrets/refused": "failed", "secrets/refused_here": "failed",
    }, done.stderr  # fmt: skip
    return made


def test_no_secret_is_in_any_command_line(traces):
    """What `ps` shows to everybody on a machine, here and on the host, has no secret in it."""
    assert any(b"drawbar" in one for one in traces.argv)
    assert [one for one in traces.argv if any(secret.encode() in one for secret in (PARAMETER, VARIABLE, IN_URL))] == []


def test_no_secret_is_kept_here(traces):
    """Store, journal, outbox and lineage name parameters and errors without what is secret in them."""
    traces.run("lineage", "flush")
    assert (traces.project / ".drawbar" / "lineage.ndjson").stat().st_size > 0
    assert list(traces.project.glob(".drawbar/store/secrets/runs/*.json")) != []
    assert traces.with_secrets(traces.folder / "project") == []
    assert traces.with_secrets(traces.folder / "client") == []


def test_no_secret_variable_is_kept_on_the_host(traces):
    """What a function prints, raises or is sent: the values of `secrets` are in no file there, not even its own log."""
    assert list(traces.host.glob("jobs/*/attempts/1/outcome.json")) != []
    assert [one for one in traces.with_secrets(traces.host) if VARIABLE in one] == []
    said = "".join(one.read_text() for one in traces.host.glob("jobs/*/attempts/1/stdout"))
    assert "the variable is ***\n" in said


@pytest.mark.parametrize(
    "words",
    [
        ("history",),
        ("history", "--json"),
        ("show", "trained"),
        ("show", "trained", "--json"),
        ("plan",),
        ("explain", "fetched", "-p", "url=https://bob:other@example.org"),
        ("config",),
        ("config", "--json"),
        ("jobs", "place", "--json"),
        ("logs", "place", "trained"),
        ("logs", "place", "refused"),
        ("graph", "--output", "graph.html"),
        ("doctor", "place"),
    ],
)
def test_no_command_tells_a_secret(traces, words):
    """What a person pastes into a ticket has no secret in it."""
    traces.run(*words)
    assert [one for one in (PARAMETER, VARIABLE, IN_URL) if one in traces.said[" ".join(words)]] == []


def test_the_run_itself_tells_none_of_the_targets_secrets(traces):
    """A variable of `secrets`, and what stands in a URL, are shown as ***, in progress, tracebacks and the answer."""
    said = traces.said["run trained refused refused_here --json"]
    assert "401 from https://***@example.org/x?sig=*** with key ***" in said
    assert [one for one in (VARIABLE, IN_URL) if one in said] == []


def test_the_run_itself_tells_none(traces):
    """Progress, tracebacks and the answer show *** where a secret stood."""
    said = traces.said["run trained refused refused_here --json"]
    assert "401 from https://***@example.org/x?sig=*** with key ***" in said
    assert "with token ***" in said
    assert [one for one in (PARAMETER, VARIABLE, IN_URL) if one in said] == []


def test_a_secret_parameter_is_in_no_file_of_the_host(traces):
    """A parameter whose name looks secret reaches the job as secret variables do: by frame, and masked in its log."""
    done = traces.run("run", "takes_token")
    assert done.returncode == 0, done.stderr
    assert [one for one in traces.with_secrets(traces.host, "pipeline.py") if PARAMETER in one] == []
    assert PARAMETER not in done.stdout + done.stderr
