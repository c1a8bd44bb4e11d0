"""A team's day on two GPU hosts, through the command line: Envs, GPUs, an actor, waiting in sight, Ctrl-C, a pool."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drawbar.testing.sshd import ALIAS, Sshd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core" / "agent"))

import tiny_wheels

PATIENCE = 90.0
SETTINGS = """
modules = ["work"]
namespace = "site"

[targets.gpu]
host = "gpu-a"
devices = ["24GiB", "24GiB"]
ssh_config = {config!r}
python = {python!r}

[targets.both]
hosts = ["gpu-a", "gpu-b"]
devices = ["24GiB", "24GiB"]
ssh_config = {config!r}
python = {python!r}

[targets.half]
hosts = ["gpu-a", "gpu-gone"]
devices = ["24GiB", "24GiB"]
ssh_config = {config!r}
python = {python!r}
"""
WORK = """
import os, time
from drawbar import Actor, Env, asset

class Embedder:
    def __init__(self, model):
        import tiny
        self.model, self.version = model, tiny.VERSION
    def embed(self, text):
        return f"{self.model} {self.version} {text}"

@asset(target="gpu", gpus=1, env=Env("tiny", find_links="wheels"))
def embedder(model: str = "bge") -> Actor[Embedder]:
    return Actor(Embedder, model)

def pages() -> list[str]:
    return ["a", "b"]

def embeddings(pages: list[str], embedder: Actor[Embedder]) -> list[str]:
    return list(embedder.embed.map(pages))

@asset(target="gpu", gpus=2)
def train(pages: list[str]) -> str:
    print("training", flush=True)
    return os.environ["CUDA_VISIBLE_DEVICES"]

@asset(target="gpu", gpus=2)
def hog() -> int:
    print("hogging", flush=True)
    time.sleep(600)
    return 1

@asset(target="gpu", gpus=3)
def too_many() -> int:
    return 1

@asset(target="half", gpus=1)
def pooled() -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]
"""


class Desk:
    """A person with a project, and two hosts that are reached by aliases."""

    def __init__(self, folder, hosts):
        self.folder, self.hosts = folder, hosts
        config = folder / "ssh_config"
        config.write_text(
            "".join(
                one.ssh_config.read_text().replace(f"Host {ALIAS}\n", f"Host {name}\n") for name, one in hosts.items()
            )
            + "Host gpu-gone\n  HostName 127.0.0.1\n  Port 1\n"
        )
        (folder / "drawbar.toml").write_text(SETTINGS.format(config=str(config), python=sys.executable))
        (folder / "work.py").write_text(WORK)
        tiny_wheels.make(folder / "wheels", "tiny")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRAWBAR", "OPENLINEAGE"))}
        self.environment = {**kept, "DRAWBAR_HOME": str(folder / "client")}
        self.started = []

    def start(self, *words):
        """The command, in a session of its own, its stderr in a file that can be read meanwhile."""
        said = self.folder / f"said{len(self.started)}"
        with said.open("w") as err:
            process = subprocess.Popen(
                ["env", "--default-signal=INT", Path(sys.executable).with_name("drawbar"), *words],
                cwd=self.folder, env=self.environment, text=True, start_new_session=True,
                stdout=subprocess.PIPE, stderr=err,
            )  # fmt: skip
        self.started.append(process)
        return process, said

    def finish(self, process, said):
        """Exit status, stdout, and what was said beside it."""
        out, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, out, said.read_text()

    def run(self, *words):
        """The command to its end."""
        return self.finish(*self.start(*words))

    def ask(self, *words):
        """The answer of a command that succeeds."""
        code, out, err = self.run(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    def until(self, process, said, text):
        """Returns once that was said; AssertionError where the command ends before."""
        end = time.monotonic() + PATIENCE
        while text not in said.read_text():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < end, said.read_text()
            time.sleep(0.05)

    def close(self):
        """End what is still there: our commands, and what they left on the hosts."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        for host in self.hosts.values():
            for state in host.home.glob("jobs/*/attempts/*/state.json"):
                if not state.with_name("outcome.json").exists():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(json.loads(state.read_text())["pid"], signal.SIGKILL)


@pytest.fixture
def desk(tmp_path):
    """A desk of its own, with hosts that no index is asked from."""
    why = Sshd.why_not()
    if why and os.environ.get("DRAWBAR_REQUIRE_SSHD") == "1":
        pytest.fail(f"DRAWBAR_REQUIRE_SSHD is set, but {why}")
    if why:
        pytest.skip(why)
    uv = {"DRAWBAR_UV": str(tiny_wheels.UV)} if tiny_wheels.UV.exists() else {}
    offline = {"UV_OFFLINE": "1", "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, **uv}
    with Sshd(variables=offline) as first, Sshd(variables=offline) as second:
        made = Desk(tmp_path, {"gpu-a": first, "gpu-b": second})
        yield made
        made.close()
    shutil.rmtree(tmp_path / "client", ignore_errors=True)


def test_a_day(desk):
    """An actor is built an Env and leased a GPU; who waits for that GPU sees so, everywhere, and gets it in the end."""
    code, out, err = desk.run("run", "embeddings", "--json")
    assert code == 0, err
    uri = next(one["uri"] for one in json.loads(out)["assets"] if one["key"] == "site/embeddings")
    assert json.loads(Path(uri).read_text()) == ["bge 1.0 a", "bge 1.0 b"]
    [actor] = desk.ask("jobs", "gpu")["jobs"]
    assert (actor["state"], actor["gpus"]) == ("running", ["0"])
    assert "built the Env" in desk.run("logs", "gpu", "embedder")[2]

    waiting = desk.start("run", "train")
    desk.until(*waiting, f"train: waiting for 2 GPUs: GPU 0 is held by {actor['name']} since ")
    assert "ahead" not in waiting[1].read_text()  # it is the first
    [queued] = desk.ask("gpus", "gpu")["queue"]
    assert (queued["name"], queued["gpus"]) == ("site/train", 2)
    code, table, _ = desk.run("gpus", "gpu")
    assert code == 0
    assert f"held by {actor['name']}" in table
    following = desk.start("logs", "gpu", "train", "-f")
    desk.until(*following, "site/train: waiting for 2 GPUs")
    assert desk.run("cancel", "gpu", "embedder")[0] == 0
    code, log, _ = desk.finish(*following)
    assert (code, log) == (0, "training\n")
    code, _, err = desk.finish(*waiting)
    assert code == 0, err
    assert "train waits no more" in err

    looked = desk.ask("gpus", "gpu")
    assert [one["holders"] for one in looked["devices"]] == [[], []]
    assert looked["queue"] == []
    assert desk.ask("gc", "gpu", "--dry-run")["removed"]["jobs"]["count"] == 0


def test_ctrl_c_while_an_actor_waits_for_a_gpu(desk):
    """The wait is seen, Ctrl-C ends it at once, and no request is left in the queue that nobody wants any more."""
    hog = desk.start("run", "hog")
    desk.until(*hog, "hogging")
    run = desk.start("run", "embeddings")
    desk.until(*run, "waiting for 1 GPU: GPU 0 is held by site/hog")
    assert "embeddings: its actor site/embedder" in run[1].read_text()
    os.kill(run[0].pid, signal.SIGINT)
    code, out, _ = desk.finish(*run)
    assert code == 130
    assert "cancelled" in out
    assert desk.ask("gpus", "gpu")["queue"] == []
    [actor] = [one for one in desk.ask("jobs", "gpu")["jobs"] if "embedder" in one["name"]]
    assert actor["state"] == "cancelled"
    assert desk.run("cancel", "gpu", "hog")[0] == 0
    assert desk.finish(*hog)[0] == 1


def test_what_can_never_be_is_said_at_once(desk):
    """Too many GPUs: what the host has is named, and no log of a job that never was."""
    code, _, err = desk.run("run", "too_many")
    assert code == 1
    assert "gpus=3" in err
    assert "it has 2 GPUs of 24 GiB" in err
    assert "drawbar logs" not in err
    assert desk.ask("jobs", "gpu")["jobs"] == []


def test_a_pool_of_which_one_host_is_gone(desk):
    """The job runs on the other one, with a warning in one line; `doctor` says which host is well, and which is not."""
    code, _, err = desk.run("run", "pooled")
    assert code == 0, err
    assert [line.partition(" is ")[0] for line in err.splitlines() if "warning" in line.lower()] == [
        "warning: gpu-gone of half"
    ]
    code, out, _ = desk.run("doctor", "half", "--json")
    assert code == 1
    findings = json.loads(out)["findings"]
    assert {one["host"] for one in findings if one["ok"] is False} == {"gpu-gone"}
    assert next(one["text"] for one in findings if one["name"] == "gpus").startswith("24GiB, 24GiB")


def test_doctor_knows_that_an_env_is_built(desk):
    """That a host lacks a package is no fault where its Env brings it."""
    code, out, _ = desk.run("doctor", "gpu")
    assert code == 0, out
    assert "tiny: built there" in out
