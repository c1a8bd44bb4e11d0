"""A planted secret is looked for wherever it must not be; whom a host does not let in is told what to do."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from calls import until

SECRET = "hunter2-Zq9vX7kLm3"
PIPELINE = """
import os
from drawbar import asset

@asset(target="place")
def confessed(name: str = "x") -> str:
    print("the token is", os.environ["FAULT_TOKEN"], flush=True)
    print("and on the other stream", os.environ["FAULT_TOKEN"], flush=True, file=__import__("sys").stderr)
    while os.path.exists({closed!r}):
        __import__("time").sleep(0.01)
    return "told"

@asset(target="place")
def refused(name: str = "x") -> str:
    raise ValueError("not with " + os.environ["FAULT_TOKEN"])

@asset(target="place")
def given(password: str) -> int:
    return len(password)
"""
NOTEBOOK = """
import os, drawbar, pipeline
result = drawbar.run(drawbar.Graph.from_modules(pipeline), ["given"], params={"password": os.environ["FAULT_TOKEN"]})
print(result["given"].state, result["given"].value())
"""


def holders(folder):
    """Files below `folder` that have the secret in their bytes or in their name."""
    return [
        str(one) for one in Path(folder).rglob("*")
        if SECRET in str(one) or (one.is_file() and SECRET.encode() in one.read_bytes())
    ]  # fmt: skip


def command_lines():
    """The command lines of all processes, with the secret in it."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if SECRET.encode() in one.read_bytes():
                found.append(one.read_bytes().replace(b"\0", b" "))
        except OSError:
            continue
    return found


@pytest.fixture
def settings(sshd):
    """Behind SSH only."""
    return {**sshd.settings(), "python": sys.executable}


def test_no_secret_where_others_read(ground):
    """A token of the environment and an argument called `password` are in no command line, log, folder, lineage or store."""
    (ground.project / "pipeline.py").write_text(PIPELINE.format(closed=str(ground.closed)))
    text = (ground.project / "drawbar.toml").read_text()
    (ground.project / "drawbar.toml").write_text(
        text.replace("[targets.place]\n", '[targets.place]\nsecrets = ["FAULT_TOKEN"]\n')
    )
    ground.environment |= {"FAULT_TOKEN": SECRET}
    ground.closed.touch()
    seen, over = [], threading.Event()

    def watch():
        while not over.wait(0.02):
            seen.extend(command_lines())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        process = ground.start("run", "--json", "confessed", "refused")
        until(
            lambda: len([one for one in ground.host.glob("jobs/*/attempts/1/std*") if one.stat().st_size]) == 2, process
        )
        ground.closed.unlink()
        code, answer, err = ground.finish(process)
        # In Python, as from a notebook: on a command line it would be for everybody to read.
        done = subprocess.run(
            [sys.executable, "-c", NOTEBOOK], cwd=ground.project, env=ground.environment,
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
    finally:
        over.set()
        watcher.join()
    assert (code, [one["state"] for one in answer["assets"]]) == (1, ["made", "failed"])
    assert (done.returncode, done.stdout) == (0, f"made {len(SECRET)}\n"), done.stderr
    assert "confessed │ the token is" in err
    assert SECRET not in json.dumps(answer) + err + done.stderr
    assert seen == []
    assert len(list(ground.host.glob("jobs/*/attempts/1/outcome.json"))) == 3
    assert [one for one in ground.lineage() if SECRET in json.dumps(one)] == []
    assert holders(ground.folder) == []
    assert len(list(ground.folder.rglob("*"))) > 20


@pytest.mark.parametrize(
    ("change", "error", "todo"),
    [
        ({"known_hosts": "/dev/null"}, "HostKeyError", "ssh"),
        ({"user": "nobody-here"}, "AuthenticationError", "check the user name"),
    ],
)
def test_who_is_not_let_in_is_told_what_to_do(grounds, change, error, todo):
    """An unknown host and a wrong user end a run of the program with the asset failed, the reason and what to do."""
    ground = grounds()
    text = (ground.project / "drawbar.toml").read_text()
    lines = [line for line in text.splitlines() if line.partition(" ")[0] not in change]
    ground.project.joinpath("drawbar.toml").write_text(
        "\n".join([*lines, *(f'{key} = "{value}"' for key, value in change.items())]) + "\n"
    )
    code, answer, err = ground.run()
    assert code == 1
    failed = {one["key"]: one["error"] for one in answer["assets"] if one["state"] == "failed"}
    assert failed
    assert all(said.startswith(error) for said in failed.values()), failed
    assert todo in err
    assert not ground.host.exists()
