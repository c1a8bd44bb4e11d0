"""A throwaway, real sshd on loopback, so that tests and the demo have an SSH host where there is none.

It takes nothing from and leaves nothing in `~/.ssh`: host key, client key, known_hosts and ssh_config are made in a
folder of its own, and go to whoever connects as attributes of `Sshd`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from drawbar.errors import TargetError

ALIAS = "drawbar-sshd"
_SBIN = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/sbin")
_PATIENCE = 15.0
# The shell holds sshd by its process id and kills it when our end of the pipe closes: also when we die by SIGKILL.
_GUARD = '"$@" </dev/null & pid=$!; echo "$pid"; exec >/dev/null; read -r _; kill "$pid" 2>/dev/null; wait'


class Sshd:
    r"""A context manager: an sshd that listens on a high loopback port and lets only its own key in, as this user.

    `home` is where drawbar keeps its files on that host (default: `home` in its own folder), so that a test never
    meets the `~/.drawbar` of this machine. `options` are further lines of sshd_config; they win over the usual ones.
    `command_prefix` is put before every command that a client asks for, e.g. `"echo Welcome;"` for a noisy login.
    Raises `TargetError` where sshd is not installed or does not start; ask `Sshd.why_not()` first.

    >>> from drawbar.testing.sshd import Sshd
    >>> def greet() -> str:
    ...     with Sshd() as host:
    ...         return subprocess.check_output([*host.ssh(), "echo hello"], text=True)
    >>> greet() if Sshd.available() else "hello\n"
    'hello\n'
    """

    def __init__(
        self,
        *,
        home: Path | str | None = None,
        options: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        command_prefix: str = "",
    ) -> None:
        self.host = "127.0.0.1"
        self.user = pwd.getpwuid(os.getuid()).pw_name  # not $USER, which may lie
        self.alias = ALIAS
        self.folder = Path(tempfile.mkdtemp(prefix="drawbar-sshd-")).resolve()
        self.home = Path(home) if home is not None else self.folder / "home"
        self.port = 0
        self.pid = 0
        self.identity_file = self.folder / "client_key"
        self.host_key = self.folder / "host_key"
        self.known_hosts = self.folder / "known_hosts"
        self.ssh_config = self.folder / "ssh_config"
        self.log = self.folder / "sshd.log"
        self._options = tuple(options)
        self._variables = {"DRAWBAR_HOME": str(self.home), **(variables or {})}
        self._command_prefix = command_prefix
        self._guard: subprocess.Popen[bytes] | None = None

    @staticmethod
    def why_not() -> str:
        """Why an sshd cannot be started here, in words a person can act on; empty where it can."""
        missing = [name for name in ("sshd", "ssh-keygen") if _find(name) is None]
        return f"{' and '.join(missing)} not found: install openssh-server" if missing else ""

    @staticmethod
    def available() -> bool:
        """Whether this machine has what it takes."""
        return not Sshd.why_not()

    def __enter__(self) -> Self:
        """Make keys and files, and start; nothing is left behind where that fails."""
        atexit.register(self.close)
        try:
            self._write_files()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Stop, cut every connection and remove the folder."""
        self.close()

    def close(self) -> None:
        """Stop, cut every connection and remove the folder. Closing again does nothing."""
        self.stop()
        atexit.unregister(self.close)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Listen, on the port of the last time; returns when clients can connect."""
        if self._guard is not None:
            return
        self._write_sshd_config()
        sshd = _find("sshd")
        if sshd is None:
            raise TargetError("no sshd can be started", found=self.why_not(), todo="install openssh-server")
        if os.getuid() == 0 and sys.platform == "linux":
            Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)  # sshd refuses to start as root without it
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", sshd, "-D", "-f", str(self.folder / "sshd_config"), "-E", str(self.log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._guard.stdout is not None
        self.pid = int(self._guard.stdout.readline())
        self._wait_until_it_listens()

    def stop(self) -> None:
        """Listen no more and cut every connection; what runs on the "host" by itself runs on."""
        if self._guard is None:
            return
        doomed = [*_sessions(self.pid), self.pid]
        for pid in doomed:
            _kill(pid)
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        self._guard.stdin.close()
        self._guard.stdout.close()
        self._guard.wait()
        self._guard = None
        _wait_for_end(doomed)

    def ssh(self) -> list[str]:
        """Begin an `ssh` command line that reaches this host: append the command to run."""
        return ["ssh", "-F", str(self.ssh_config), self.alias]

    def settings(self) -> dict[str, Any]:
        """Say what `[tool.drawbar.targets.<name>]` needs to reach this host."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "identity_file": str(self.identity_file),
            "known_hosts": str(self.known_hosts),
        }

    def _write_files(self) -> None:
        for key in (self.host_key, self.identity_file):
            make_key(key)
        self.port = _free_port(self.host)
        shutil.copyfile(f"{self.identity_file}.pub", self.folder / "authorized_keys")
        kind, key_text = Path(f"{self.host_key}.pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {kind} {key_text}\n")
        self.ssh_config.write_text(
            f"Host {self.alias}\n"
            f"  HostName {self.host}\n"
            f"  Port {self.port}\n"
            f"  User {self.user}\n"
            f'  IdentityFile "{self.identity_file}"\n'
            f"  IdentitiesOnly yes\n"
            f"  IdentityAgent none\n"
            f'  UserKnownHostsFile "{self.known_hosts}"\n'
            f"  GlobalKnownHostsFile /dev/null\n"
            f"  StrictHostKeyChecking yes\n"
        )

    def _write_sshd_config(self) -> None:
        variables = " ".join(f'"{name}={value}"' for name, value in self._variables.items())
        forced = [f'ForceCommand {self._command_prefix} /bin/sh -c "$SSH_ORIGINAL_COMMAND"'] * bool(
            self._command_prefix
        )
        lines = [
            *self._options,  # first: sshd keeps the first value of each keyword
            f"Port {self.port}",
            f"ListenAddress {self.host}",
            f'HostKey "{self.host_key}"',
            f'AuthorizedKeysFile "{self.folder / "authorized_keys"}"',
            f'PidFile "{self.folder / "sshd.pid"}"',
            f"AllowUsers {self.user}",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "UsePAM no",
            "StrictModes no",
            "UseDNS no",
            "PrintMotd no",
            f"SetEnv {variables}",
            *forced,
        ]
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")

    def _wait_until_it_listens(self) -> None:
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and _alive([self.pid]):
            if _answers(self.host, self.port):
                return
            time.sleep(0.01)
        said = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else "nothing was logged"
        self.stop()
        raise TargetError("the throwaway sshd did not start", found=said, where=str(self.folder / "sshd_config"))


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> None:
    """Write a new key pair, `path` and `path.pub`, as `ssh-keygen` makes it."""
    keygen = _find("ssh-keygen")
    if keygen is None:
        raise TargetError("no key can be made", found="ssh-keygen not found", todo="install openssh-client")
    command = [keygen, "-q", "-t", kind, "-N", passphrase, "-C", "drawbar", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _find(name: str) -> str | None:
    # sshd insists on an absolute path, and lies where the PATH of most users does not look.
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *_SBIN)))
    return str(Path(found).resolve()) if found else None


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1) as probe:
            return probe.recv(4) == b"SSH-"
    except OSError:
        return False


def _sessions(sshd: int) -> list[int]:
    """Process ids of sshd's own processes for its connections, youngest first; what they run for users is not there."""
    rows = [line.split(None, 3) for line in _ps("-A", "-o", "pid=,ppid=,stat=,comm=")]
    found = [sshd]
    for parent in found:  # grows while we walk: a whole tree
        found += [int(row[0]) for row in rows if int(row[1]) == parent and Path(row[3]).name.startswith("sshd")]
    return found[:0:-1]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _alive(pids: Iterable[int]) -> bool:
    """Whether any of them runs still; what is dead and waits to be reaped does not."""
    return any(not line.strip().startswith("Z") for line in _ps("-o", "stat=", "-p", ",".join(map(str, pids))))


def _ps(*options: str) -> list[str]:
    return subprocess.run(["ps", *options], capture_output=True, text=True, check=False).stdout.splitlines()


def _wait_for_end(pids: Iterable[int]) -> None:
    until = time.monotonic() + _PATIENCE
    while _alive(pids) and time.monotonic() < until:
        time.sleep(0.01)
