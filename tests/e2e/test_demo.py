"""`make demo` from end to end, as a person runs it, on fewer pages."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from drawbar.testing.sshd import Sshd

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "site_embeddings"
pytestmark = pytest.mark.xdist_group("demo")  # one demo serves most of these tests
ASSETS = ["pages", "embedder", "embeddings", "saved_embeddings", "neighbours"]


def demo(folder, *options, example=EXAMPLE):
    """The demo, on few pages; whatever it makes is in `folder`."""
    (folder / "tmp").mkdir(parents=True)
    return subprocess.Popen(
        [sys.executable, str(example / "demo.py"), "--limit", "40", "--keep", str(folder / "keep"), *options],
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left_running(folder, said):
    """What of a demo outlives it: open ports that it named, files in its temporary folder, processes at work there."""
    ports = re.findall(r"127\.0\.0\.1:(\d+)", said)
    assert ports
    places = [place_of(process) for process in Path("/proc").glob("[0-9]*/cwd")]
    working = [place for place in places if place.startswith(str(folder))]
    return [port for port in ports if listens(int(port))] + [one.name for one in (folder / "tmp").iterdir()] + working


def place_of(process):
    """The folder that a process is in; empty for one that has ended, or that is somebody else's."""
    try:
        return str(process.readlink())
    except OSError:
        return ""


def listens(port):
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """One demo to its end: its folder and what it printed."""
    if os.environ.get("DRAWBAR_REQUIRE_SSHD") and not Sshd.available():
        pytest.fail(Sshd.why_not())
    folder = tmp_path_factory.mktemp("demo")
    process = demo(folder)
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, out + err
    return folder, out


def states(folder, step):
    """How each asset ended in that step, as the demo keeps it."""
    run = json.loads((folder / "keep" / "runs.json").read_text())[step]
    return {one["key"].removeprefix("site/"): one["state"] for one in run["assets"]}


def test_the_first_run_makes_everything(told):
    """A first run on an empty store finds nothing to reuse."""
    assert states(told[0], "first") == dict.fromkeys(ASSETS, "made")


@pytest.mark.parametrize("step", ["second", "comment", "undone"])
def test_what_is_known_is_not_made_again(told, step):
    """Neither a second run, nor one after a comment was written, nor one after an edit was undone makes anything."""
    assert states(told[0], step) == dict.fromkeys(ASSETS, "reused")


def test_a_helpers_body_reaches_just_what_depends_on_it(told):
    """An edited helper of the embedding has the embedding made again and what is below it, and nothing above it."""
    assert states(told[0], "helper") == {**dict.fromkeys(ASSETS, "made"), "pages": "reused"}
    assert "code embed.tfidf_svd changed" in told[1]


def test_the_embedding_runs_behind_ssh_where_there_is_sshd(told):
    """The demo computes on an SSH host wherever it can start one, and says where it computes."""
    run = json.loads((told[0] / "keep" / "runs.json").read_text())["first"]
    target = next(one["target"] for one in run["assets"] if one["key"] == "site/embeddings")
    said = re.search(r"^The host: +(.*)$", told[1], re.MULTILINE)[1]
    if Sshd.available():
        assert target == "gpu"
        assert said.startswith("ssh ")
    else:
        assert target == "local"
        assert said.startswith("a worker on this machine")


def test_what_it_leaves_can_be_looked_at(told):
    """The picture, the vectors and the lineage are whole, and named in the output."""
    keep = told[0] / "keep"
    assert (keep / "graph.svg").read_text().rstrip().endswith("</svg>")
    assert (keep / "embeddings.parquet").read_bytes()[-4:] == b"PAR1"
    assert len((keep / "lineage.ndjson").read_text().splitlines()) == 60
    assert all(f"{keep / name}\n" in told[1] for name in ("graph.svg", "lineage.ndjson", "embeddings.parquet"))


def test_its_lineage_is_as_the_specification_says(told, faults):
    """Every event of the demo is valid OpenLineage, and every run in it has one start and one end."""
    assert faults(told[0] / "keep" / "lineage.ndjson") == ""


def test_nothing_is_left_running(told):
    """The site and the SSH host end with the demo, and its temporary folders go."""
    assert left_running(*told) == []


def test_without_sshd_a_worker_on_this_machine_does_it(tmp_path):
    """Where no SSH host is to be had the same story is true of a worker on this machine."""
    process = demo(tmp_path, "--local")
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, out + err
    assert "The host:  a worker on this machine" in out
    assert states(tmp_path, "helper") == {**dict.fromkeys(ASSETS, "made"), "pages": "reused"}


def test_a_demo_that_is_not_true_fails(tmp_path):
    """The demo does not say that all is well when the example is broken."""
    example = tmp_path / "example"
    shutil.copytree(EXAMPLE, example)
    file = example / "embed.py"
    file.write_text(
        file.read_text().replace("    fewest, most = ", "    raise ValueError('broken')\n    fewest, most = ")
    )
    process = demo(tmp_path, example=example)
    out, err = process.communicate(timeout=110)
    assert process.returncode == 1
    assert "ValueError: broken" in err
    assert "The demo failed: `drawbar run neighbours" in err
    assert left_running(tmp_path, out) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_demo_that_is_stopped_leaves_nothing(tmp_path, number, status):
    """Ctrl-C, or a polite kill, in the middle of the embedding ends everything that the demo started, its job too."""
    process = demo(tmp_path)
    while "embeddings started" not in (line := process.stderr.readline()):
        assert line, process.communicate()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, out + err
    assert left_running(tmp_path, out) == []
