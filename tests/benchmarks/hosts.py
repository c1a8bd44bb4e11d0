"""The figures that need a host: `python hosts.py NAME` prints seconds, or bytes a second for a transfer.

Each starts a throwaway sshd on loopback that never saw drawbar, measures one side (ours or a peer's) and removes it.
Peers reach it by the same keys; the interpreter there is this one. Libraries are loaded and connections warm before the
clock starts, but for a first call, which is timed from the start of a fresh process to its answer, on all sides alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from drawbar.testing.sshd import Sshd

_MIB = 1 << 20
_SIZE = 256 * _MIB
_TRIPS = 2000
_JOBS = 40


@contextlib.contextmanager
def _host(variables: Mapping[str, str] | None = None) -> Iterator[Sshd]:
    """A throwaway host with an empty home: what this account's login shell does at its start is nobody's figure."""
    with tempfile.TemporaryDirectory() as home, Sshd(variables={"HOME": home, **(variables or {})}) as sshd:
        yield sshd


@contextlib.contextmanager
def _ours(variables: Mapping[str, str] | None = None) -> Iterator[Any]:
    """A drawbar target on a fresh host, connected; `variables` are of each session there."""
    from drawbar.config import TargetConfig
    from drawbar.dispatch.target import Target, dispatcher

    with _host(variables) as sshd, tempfile.TemporaryDirectory() as home:
        os.environ["DRAWBAR_HOME"] = home
        config = TargetConfig(**sshd.settings(), python=sys.executable)
        target = Target("bench", dispatcher("bench", config), config)
        target.facts()
        yield target
        target.close()


@contextlib.contextmanager
def _execnet() -> Iterator[Any]:
    """An execnet gateway to a fresh host."""
    import execnet

    with _host() as sshd:
        gateway = execnet.makegateway(_execnet_address(sshd))
        yield gateway
        gateway.exit()
        execnet.default_group.terminate(timeout=5)


def _execnet_address(sshd: Sshd) -> str:
    return f"ssh=-F {sshd.ssh_config} {sshd.alias}//python={sys.executable}"


@contextlib.contextmanager
def _paramiko() -> Iterator[Any]:
    """A paramiko connection to a fresh host, as paramiko makes it by default."""
    import paramiko

    with _host() as sshd, contextlib.closing(paramiko.SSHClient()) as client:
        client.load_host_keys(str(sshd.known_hosts))
        client.connect(
            sshd.host,
            sshd.port,
            sshd.user,
            key_filename=str(sshd.identity_file),
            allow_agent=False,
            look_for_keys=False,
        )
        client.get_transport().sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield client


def _median(work: Callable[[], object], times: int) -> float:
    """Seconds of one of `times` calls, the first tenth left out."""
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[times // 10 :])


def _first(sshd: Sshd, code: str, *arguments: str) -> float:
    """Seconds from the start of a fresh process that runs `code` to the line that it prints."""
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"{name} = {json.dumps(value)}" for name, value in sshd.settings().items()]
        lines.append(f"python = {json.dumps(sys.executable)}")
        (Path(folder) / "drawbar.toml").write_text("\n".join(["[targets.bench]", *lines]))
        command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
        variables = {**os.environ, "DRAWBAR_HOME": str(Path(folder) / "home")}
        begun = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=variables) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            seconds = time.perf_counter() - begun
            process.stdout.read()
        if process.returncode or not line.strip().isdigit():
            raise RuntimeError(f"the first call did not give a process id but {line!r}")
        return seconds


def first_call() -> float:
    """`drawbar.target("bench").function(os.getpid)()`: a durable job, on a host that gets the agent with it."""
    code = 'import os, drawbar; print(drawbar.target("bench").function(os.getpid)(), flush=True)'
    with _host() as sshd:
        return _first(sshd, code)


def first_call_execnet() -> float:
    """The same by an execnet gateway."""
    code = (
        "import sys, execnet\n"
        "gateway = execnet.makegateway(sys.argv[1])\n"
        "print(gateway.remote_exec('import os; channel.send(os.getpid())').receive(), flush=True)\n"
        "gateway.exit()\n"
        "execnet.default_group.terminate(timeout=5)\n"
    )
    with _host() as sshd:
        return _first(sshd, code, _execnet_address(sshd))


def first_call_mitogen() -> float:
    """The same by a mitogen context."""
    code = (
        "import os, sys, mitogen.master\n"
        "broker = mitogen.master.Broker()\n"
        "router = mitogen.master.Router(broker)\n"
        "host = router.ssh(hostname=sys.argv[1], ssh_args=['-F', sys.argv[2]], python_path=sys.executable)\n"
        "print(host.call(os.getpid), flush=True)\n"
        "broker.shutdown()\n"
        "broker.join()\n"
    )
    with _host() as sshd:
        return _first(sshd, code, sshd.alias, str(sshd.ssh_config))


def round_trip() -> float:
    """The smallest request to our agent and its answer, framed, checked and paired, from a caller's thread."""
    from drawbar.agent import frames

    with _ours() as target:
        agent = target.dispatcher.link.agent()
        return _median(lambda: agent.ask(frames.HAVE, {"blobs": []}), _TRIPS)


def round_trip_execnet() -> float:
    """An item to an execnet channel and back."""
    with _execnet() as gateway:
        channel = gateway.remote_exec("for item in channel: channel.send(item)")

        def trip() -> None:
            channel.send(1)
            channel.receive()

        return _median(trip, _TRIPS)


def round_trip_raw() -> float:
    """As many bytes as our request has, through `cat` by a bare paramiko channel: no frames, no threads of ours."""
    with _paramiko() as client:
        channel = client.get_transport().open_session()
        channel.exec_command("cat")
        data = bytes(37)

        def trip() -> None:
            channel.sendall(data)
            left = len(data)
            while left:
                left -= len(channel.recv(left))

        return _median(trip, _TRIPS)


def durable_job() -> float:
    """A trivial function as a job of its own: from submit until its outcome is here, over a warm connection."""
    with _ours() as target:
        remote = target.function(os.getpid, quiet=True)
        return _median(lambda: remote.submit().outcome(), _JOBS)


def _rate(work: Callable[[], object]) -> float:
    """Bytes a second there and back: the second of two times, when both sides' memory has been used before."""
    work()
    begun = time.perf_counter()
    work()
    return 2 * _SIZE / (time.perf_counter() - begun)


def _array() -> Any:
    import numpy as np

    return np.random.default_rng().integers(0, 256, _SIZE, dtype=np.uint8)


def transfer() -> float:
    """A new array of 256 MiB as a blob to the host, and back: hashed here, hashed and stored there, checked here."""
    from drawbar.dispatch.transfer import blob_of, download

    with _ours() as target:
        link = target.dispatcher.link
        arrays = [_array(), _array()]

        def there_and_back() -> None:
            array = arrays.pop()
            blob = blob_of([array.data])
            link.uploads().ensure([blob])
            assert download(link.agent(), blob.digest, blob.bytes)[-1] == array[-1]

        return _rate(there_and_back)


def transfer_call() -> float:
    """The same array to a function and back: a whole job, whose value is encoded, hashed and stored there as well."""
    import numpy as np

    with _ours() as target:
        same = target.function(np.asarray, quiet=True)
        arrays = [_array(), _array()]

        def there_and_back() -> None:
            array = arrays.pop()
            assert same(array)[-1] == array[-1]

        return _rate(there_and_back)


def transfer_ssh_cat() -> float:
    """256 MiB by `cat` into the host's memory, then by `cat` back into ours, over one `ssh` that is connected already."""
    with _host() as sshd, tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        data = _array().data
        there = f"head -c {_SIZE} > {memory}/data && cat {memory}/data"
        command = [*sshd.ssh(), f"while read -r _; do echo; {there}; done"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            sink, source = process.stdin, process.stdout

            def there_and_back() -> None:
                sink.write(b"\n")
                assert source.read(1) == b"\n"
                view = memoryview(data)
                while view:
                    view = view[sink.write(view) :]
                room = memoryview(bytearray(_SIZE))
                while room:
                    count = source.readinto(room)
                    assert count
                    room = room[count:]

            rate = _rate(there_and_back)
            sink.close()
        return rate


def transfer_execnet() -> float:
    """256 MiB as one item of an execnet channel, and back."""
    with _execnet() as gateway:
        channel = gateway.remote_exec("for item in channel: channel.send(item)")
        data = _array().tobytes()

        def there_and_back() -> None:
            channel.send(data)
            assert len(channel.receive()) == _SIZE

        return _rate(there_and_back)


if __name__ == "__main__":
    print(globals()[sys.argv[1]]())
