"""The loader: one line that any shell passes on, and that brings the agent where it is not."""

import hashlib
import os
import shutil
import subprocess
import sys

import pytest
from agent_peer import Peer

from drawbar.agent import launch
from drawbar.dispatch.bundle import bundle


def run(argv, given=b"", env=None):
    """Status, stdout and stderr of a command."""
    done = subprocess.run(
        argv, input=given, capture_output=True, env={**os.environ, **(env or {})}, timeout=30, check=False
    )
    return done.returncode, done.stdout, done.stderr.decode()


def test_the_agent_is_sent_once(agents, tmp_path):
    """Each connection would send the zip again, or a fresh host would have none."""
    first, second = agents(), agents()
    assert (first.state, second.state) == ("need", "have")
    assert os.stat(tmp_path / "root").st_mode & 0o777 == 0o700
    assert os.listdir(tmp_path / "root" / "agent") == [f"{bundle().digest}.zip"]


def test_a_corrupt_agent_is_replaced_and_another_left_alone(agents, tmp_path):
    """A half-written zip would keep drawbar from ever working, or a new version would break an old client."""
    folder = tmp_path / "root" / "agent"
    folder.mkdir(parents=True)
    (folder / f"{bundle().digest}.zip").write_bytes(b"half")
    (folder / f"{'0' * 64}.zip").write_bytes(b"another version")
    assert agents().state == "need"
    assert hashlib.sha256((folder / f"{bundle().digest}.zip").read_bytes()).hexdigest() == bundle().digest
    assert (folder / f"{'0' * 64}.zip").read_bytes() == b"another version"


def test_a_damaged_transfer_leaves_nothing(tmp_path):
    """A wrong zip would be run."""
    argv = launch.argv(sys.executable, bundle().digest, str(tmp_path))
    status, out, err = run(argv, (5).to_bytes(8, "big") + b"wrong")
    assert (status, out) == (1, b"\0drawbar1 need\n")
    assert err.startswith("drawbar's agent arrived damaged: its digest is ")
    assert os.listdir(tmp_path / "agent") == []
    status, _, err = run(argv, (1 << 60).to_bytes(8, "big"))
    assert (status, err) == (1, f"drawbar's agent cannot be {1 << 60} bytes: the client speaks another protocol\n")
    status, _, err = run(argv, b"\0\0")
    assert (status, err) == (1, "drawbar's client closed the connection before its agent had arrived\n")


def test_a_root_that_cannot_be_made_is_told(tmp_path):
    """A host without a writable home would answer with a traceback."""
    (tmp_path / "file").write_text("")
    status, _, err = run(launch.argv(sys.executable, "0" * 64, str(tmp_path / "file" / "root")))
    assert status == 1
    assert err.startswith("drawbar cannot keep its agent on this host: [Errno 20] Not a directory")


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "dash", "fish", "csh", "tcsh"])
def test_login_shells_pass_the_command_on(shell, tmp_path):
    """A user with another login shell could not use drawbar."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed here")
    root = str(tmp_path / 'it\'s a $HOME `x` "y"')
    command = launch.command(sys.executable, "0" * 64, root)
    status, out, _ = run([shell, "-c", command])
    assert out == b"\0drawbar1 need\n"
    assert os.path.isdir(root)
    assert status == 1  # there was no agent on stdin
    assert launch.command("~/my env/bin/python", "0").startswith("~/'my env/bin/python' -c ")
    assert len(command) < 8000


OLD = [os.path.expanduser(f"~/.pyenv/versions/{version}/bin/python") for version in ("2.7.18", "3.6.15", "3.8.18")]


@pytest.mark.parametrize("python", OLD)
def test_an_old_python_says_one_clear_line(python):
    """A host with an old Python would answer with a SyntaxError."""
    if not os.path.exists(python):
        pytest.skip(f"no {python} on this machine")
    status, out, err = run(launch.argv(python, "0" * 64))
    assert (status, out) == (1, b"")
    assert err.startswith("drawbar needs Python 3.9 or newer; this is Python ")
    assert len(err.splitlines()) == 1


def test_the_home_can_be_chosen_by_variable(tmp_path):
    """$DRAWBAR_HOME would not be honoured on a host."""
    made = Peer("", env={"DRAWBAR_HOME": str(tmp_path / "elsewhere")})
    assert made.hello["root"] == str(tmp_path / "elsewhere")
    made.close()


def test_stray_modules_in_the_home_do_no_harm(tmp_path):
    """A json.py in the folder where a login starts would break the agent."""
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    command = launch.command(sys.executable, "0" * 64, str(tmp_path / "root"))
    status, out, err = run(["sh", "-c", f"cd {tmp_path} && {command}"])
    assert out == b"\0drawbar1 need\n", err
    assert status == 1
