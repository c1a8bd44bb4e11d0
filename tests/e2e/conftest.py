"""A user's desk: a copy of the example, a small site to crawl, a host behind SSH where sshd is installed, the CLI."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from drawbar.testing.sshd import Sshd

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "site_embeddings"
TOPICS = ("rivers", "engines", "violins")
PATIENCE = 60.0
WORDS = {
    "rivers": "water flows past banks and bridges to the delta where boats wait for the tide",
    "engines": "pistons turn a crankshaft and valves let fuel and air into hot cylinders",
    "violins": "a bow draws music from strings over a bridge of maple carved by hand",
}
# The example's own code waits here, on the host, so that a test can do something in the middle of the embedding.
GATE = """
    import os, time
    print("the embedding began", flush=True)
    while not os.path.exists({gate!r}):
        time.sleep(0.02)
"""


@dataclass
class Desk:
    """Where a test sits: `home` is the host's folder of drawbar, `gate` the file that lets a gated embedding go on."""

    folder: Path
    url: str
    target: str
    home: Path
    environment: dict
    sshd: Sshd | None

    @property
    def project(self):
        return self.folder / "site_embeddings"

    @property
    def gate(self):
        return self.folder / "gate"

    @property
    def words(self):
        """The command of the example's README, as it works from any folder."""
        pipeline, store = str(self.project / "pipeline.py"), str(self.folder / "store")
        return ["run", pipeline, "neighbours", "--param", f"base_url={self.url}", "--store", store, "--json"]

    def add_gate(self):
        """From now on the embedding waits in the middle until `gate` is there."""
        file = self.project / "embed.py"
        before = "    fewest, most = "
        text = file.read_text()
        assert text.count(before) == 1
        file.write_text(text.replace(before, GATE.format(gate=str(self.gate)) + before))

    def start(self, *words):
        """The CLI, in another folder than the project's, in a session of its own."""
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        return subprocess.Popen(
            [Path(sys.executable).with_name("drawbar"), *words],
            cwd=elsewhere,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words):
        """Exit status, the parsed answer, and what was said beside it."""
        return self.finish(self.start(*words))

    def finish(self, process):
        out, err = process.communicate(timeout=90)
        return process.returncode, json.loads(out) if out else None, err

    def until(self, true, process=None):
        """Returns when it is so; AssertionError when it does not become so, or the process ended before."""
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, "it did not happen"
            if process is not None and process.poll() is not None:
                raise AssertionError(f"the command ended before: {process.communicate()}")
            time.sleep(0.02)

    def until_embedding(self, process):
        """Returns when the embedder, an actor, is at it on the host."""
        self.until(self.embeddings, process)

    def embeddings(self):
        """How many were begun."""
        return sum(one.read_text().count("began") for one in self.home.glob("jobs/*/attempts/*/stdout"))

    def history_of_job(self):
        """The own log of the only job beside the actor."""
        logs = [one for one in self.home.glob("jobs/*/log.jsonl") if not self.is_actor(one.parent)]
        assert len(logs) == 1
        return [json.loads(line) for line in logs[0].read_text().splitlines()]

    def is_actor(self, job):
        """Whether the job in that folder is one."""
        return bool(json.loads(next(job.glob("attempts/*/spec.json")).read_text()).get("actor"))

    def end_jobs(self):
        """Kill what runs on by itself: an actor, or a job that nobody waits for."""
        for state in self.home.glob("jobs/*/attempts/*/state.json"):
            if not state.with_name("outcome.json").exists():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(json.loads(state.read_text())["pid"], signal.SIGKILL)

    def lineage(self):
        """The file of all events, after everything was sent."""
        code, _, err = self.run("lineage", "flush", "--project", str(self.project), "--json")
        assert code == 0, err
        return self.project / ".drawbar" / "lineage.ndjson"


@pytest.fixture
def desk(tmp_path, site, host):
    """A copy of the example whose `gpu` is a throwaway SSH host, or where sshd is missing a worker on this machine."""
    made = Desk(tmp_path, site, host.target, host.home, host.environment, host.sshd)
    made.project.mkdir()
    for name in ("pipeline.py", "crawl.py", "embed.py", "drawbar.toml"):
        shutil.copy(EXAMPLE / name, made.project)
    with (made.project / "drawbar.toml").open("a") as file:
        file.write("" if host.target == "gpu" else f"[targets.{host.target}]\n")
        file.write("".join(f"{key} = {json.dumps(value)}\n" for key, value in host.settings.items()))
    yield made
    made.end_jobs()


@dataclass
class Host:
    target: str
    home: Path
    settings: dict
    environment: dict
    sshd: Sshd | None = None


@pytest.fixture
def host(tmp_path):
    """The throwaway host, with a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRAWBAR", "OPENLINEAGE"))}
    environment = {**kept, "DRAWBAR_HOME": str(tmp_path / "client")}
    if not Sshd.available():
        if os.environ.get("DRAWBAR_REQUIRE_SSHD"):
            pytest.fail(Sshd.why_not())
        yield Host("local", tmp_path / "client", {"envs": "installed"}, environment)
        return
    # By a prefix, because the start-up files of a user's shell may put other folders before those of `variables`.
    path = f"PATH='{Path(sys.executable).parent}':$PATH"
    with Sshd(home=tmp_path / "host", command_prefix=path) as sshd:
        settings = {**sshd.settings(), "python": sys.executable, "envs": "installed"}
        yield Host("gpu", sshd.home, settings, environment, sshd)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The address of nine pages on three topics, each linked from the first."""
    folder = tmp_path_factory.mktemp("site")
    links = ""
    for topic in TOPICS:
        for number in range(3):
            name = f"{topic}{number}.html"
            text = f"<title>{topic} {number}</title><p>{topic} number {number}: {WORDS[topic]}</p>"
            (folder / name).write_text(text)
            links += f'<a href="{name}">{topic}</a> '
    (folder / "index.html").write_text(f"<title>index</title>{links}")
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def faults():
    """Whoever checks OpenLineage events by the specification: its faults in a file, one a line; none is "".

    The checker lies beside the repository, where the specification's schemas are.
    """
    checker = ROOT.parent / "shared" / "tools" / "validate_openlineage.py"
    if not checker.is_file():
        pytest.skip(f"{checker} is not there")

    def check(file):
        schemas = ROOT / "adapters" / "drawbar_adapters" / "openlineage" / "schemas"
        command = [sys.executable, str(checker), str(file), "--strict", "--extra-schemas", str(schemas)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else done.stdout + done.stderr

    return check


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""
