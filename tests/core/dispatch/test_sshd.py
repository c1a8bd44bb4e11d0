"""The throwaway sshd is real, keeps to its own folder, and is gone when it is no longer needed."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drawbar.errors import TargetError
from drawbar.testing import sshd as module
from drawbar.testing.sshd import Sshd

pytestmark = pytest.mark.sshd


def say(host, command):
    """What a command prints there, through OpenSSH's own client."""
    return subprocess.check_output([*host.ssh(), command], text=True, stderr=subprocess.PIPE)


def runs(pid):
    """Whether a process is alive."""
    return module._alive([pid])


def test_openssh_reaches_it(sshd):
    """`ssh` itself, with the files it makes, runs commands there, as this user and with drawbar's own folder."""
    assert say(sshd, "id -un; echo $DRAWBAR_HOME") == f"{sshd.user}\n{sshd.home}\n"
    assert sshd.home.is_relative_to(sshd.folder)


def test_it_touches_no_ssh_folder(make_sshd, home):
    """Keys and known_hosts are its own: the user's ~/.ssh stays as it is."""
    host = make_sshd()
    assert say(host, "true") == ""
    assert list((home / ".ssh").iterdir()) == []
    assert {host.identity_file.parent, host.known_hosts.parent, host.ssh_config.parent, host.log.parent} == {
        host.folder
    }


def test_it_can_be_stopped_and_started(make_sshd):
    """Stopping cuts connections and frees the port, while what was started there runs on; the port stays the same."""
    host = make_sshd()
    with subprocess.Popen(
        [*host.ssh(), "sleep 60 >/dev/null 2>&1 & echo $!; cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as client:
        background = int(client.stdout.readline())
        host.stop()
        assert client.wait(10) == 255
    assert runs(background)
    os.kill(background, signal.SIGKILL)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host.host, host.port), 1)
    port = host.port
    host.start()
    assert host.port == port
    assert say(host, "echo again") == "again\n"


def test_nothing_is_left(sshd_installed):
    """After the block neither process nor folder nor connection is there."""
    with Sshd() as host:
        folder, pid = host.folder, host.pid
        assert runs(pid)
    assert not runs(pid)
    assert not folder.exists()


def test_it_dies_with_its_owner(sshd_installed):
    """An owner that is killed outright leaves no sshd behind."""
    code = (
        "import time; from drawbar.testing.sshd import Sshd\n"
        "with Sshd() as host: print(host.pid, host.folder, flush=True); time.sleep(60)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env) as owner:
        pid, folder = owner.stdout.readline().split()
        owner.kill()
    until = time.monotonic() + 10
    while runs(int(pid)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not runs(int(pid))
    module.shutil.rmtree(Path(folder))


def test_a_noisy_host(make_sshd):
    """A command prefix speaks before every command, which is passed on as it was, quotes and all."""
    host = make_sshd(command_prefix="echo Welcome;", variables={"COLOUR": "deep blue"})
    assert say(host, "echo 'a  b'; echo $COLOUR") == "Welcome\na  b\ndeep blue\n"


def test_options_win(make_sshd):
    """Further lines of sshd_config win over the usual ones."""
    host = make_sshd(options=["PubkeyAuthentication no"])
    with pytest.raises(subprocess.CalledProcessError) as caught:
        say(host, "true")
    assert "Permission denied" in caught.value.stderr


def test_a_wrong_option_is_reported(sshd_installed):
    """An sshd that does not start says why, and leaves nothing."""
    host = Sshd(options=["NoSuchOption yes"])
    with pytest.raises(TargetError, match="the throwaway sshd did not start") as caught, host:
        pass
    assert "NoSuchOption" in caught.value.found
    assert not host.folder.exists()


def test_what_is_missing_is_named(monkeypatch):
    """Where sshd is not installed, that and the remedy are said, and starting one is an error of ours."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(module, "_SBIN", ())
    assert Sshd.why_not() == "sshd and ssh-keygen not found: install openssh-server"
    assert not Sshd.available()
    with pytest.raises(TargetError), Sshd():
        pass
