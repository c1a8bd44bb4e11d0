"""A channel over a real sshd: what goes through it, and what is said when it cannot be had or breaks."""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from drawbar.dispatch.port import read_all
from drawbar.dispatch.ssh import open_channel, resolve
from drawbar.errors import AuthenticationError, HostKeyError, UnreachableError

pytestmark = pytest.mark.sshd
MIB = 1 << 20


@pytest.fixture
def spec(sshd, home):
    """The throwaway host, resolved as a user's alias would be."""
    return resolve(sshd.alias, ssh_config=str(sshd.ssh_config))


def listening(channel):
    """A function that waits for the next bytes; b"" is the end."""
    come = queue.SimpleQueue()
    channel.listen(come.put)
    return functools.partial(come.get, timeout=30)


def answer(spec, command):
    """What a command prints there."""
    with contextlib.closing(open_channel(spec, command)) as channel:
        return read_all(channel)


# --- what goes through ------------------------------------------------------------------------------------------


def test_bytes_both_ways(spec):
    """What is sent arrives in order, whatever it is made of; the end of the program is the end of the stream."""
    with contextlib.closing(open_channel(spec, "head -c 11")) as channel:
        channel.send([b"hello", bytearray(b" "), memoryview(b"world!")])
        assert read_all(channel) == b"hello world"


def test_many_bytes_both_ways_at_once(spec):
    """More than all buffers hold goes there and back, unchanged, while both sides are busy."""
    data = memoryview(os.urandom(24 * MIB))
    with contextlib.closing(open_channel(spec, f"head -c {len(data)}")) as channel:
        sender = threading.Thread(target=channel.send, args=([data[: 10 * MIB], data[10 * MIB :]],))
        sender.start()
        assert read_all(channel) == data
        sender.join()


def test_new_keys_on_the_way(make_sshd, home):
    """A connection that changes its keys in the middle of a transfer loses nothing."""
    host = make_sshd(options=["RekeyLimit 1M"])
    data = os.urandom(8 * MIB)
    with contextlib.closing(
        open_channel(resolve(host.alias, ssh_config=str(host.ssh_config)), f"head -c {len(data)}")
    ) as channel:
        sender = threading.Thread(target=channel.send, args=([data],))
        sender.start()
        assert read_all(channel) == data
        sender.join()


def test_what_came_before_anybody_listened(spec):
    """Bytes that come before somebody listens are kept, in their order, and so is the end."""
    with contextlib.closing(open_channel(spec, "printf abc; sleep 0.1; printf def")) as channel:
        time.sleep(0.5)
        assert read_all(channel) == b"abcdef"


def test_a_listener_that_is_slow_slows_the_host(spec):
    """What is not taken is not sent: the host goes on as bytes are taken, and no byte is lost."""
    with contextlib.closing(open_channel(spec, "head -c 12000000 /dev/zero; echo sent >&2")) as channel:
        halfway, rest = threading.Semaphore(0), threading.Event()
        taken = []

        def take(data):
            taken.append(len(data))
            if len(taken) == 1:
                halfway.release()
                rest.wait(30)
            if not data:
                halfway.release()

        channel.listen(take)
        assert halfway.acquire(timeout=30)
        time.sleep(0.5)
        assert channel.stderr() == ""
        rest.set()
        assert halfway.acquire(timeout=30)
        assert sum(taken) == 12_000_000


def test_stderr_is_apart_and_bounded(spec):
    """What the program says on stderr is kept apart from the stream; of very much, the end is kept."""
    with contextlib.closing(
        open_channel(spec, "head -c 9000000 /dev/zero >&2; echo last words >&2; echo out")
    ) as channel:
        assert read_all(channel) == b"out\n"
        assert channel.stderr().endswith("last words\n")
        assert len(channel.stderr()) <= 16 << 10


def test_a_command_that_does_not_exist(spec):
    """The shell's complaint is what `stderr` tells."""
    with contextlib.closing(open_channel(spec, "no-such-python -c 1")) as channel:
        assert read_all(channel) == b""
        assert "no-such-python" in channel.stderr()


def test_close_from_another_thread_is_an_end(spec):
    """Whoever listens is told of the end when another thread closes the channel; closing twice is harmless."""
    channel = open_channel(spec, "sleep 60")
    receive = listening(channel)
    threading.Timer(0.2, channel.close).start()
    began = time.monotonic()
    assert receive() == b""
    assert time.monotonic() - began < 5
    channel.close()
    with pytest.raises(UnreachableError, match=f"the connection to {spec.address} broke"):
        channel.send([b"x"])


def test_a_host_that_goes_away(make_sshd, home):
    """When sshd ends, reading ends at once and sending says that the connection broke; a new sshd can be reached."""
    host = make_sshd()
    there = resolve(host.alias, ssh_config=str(host.ssh_config))
    with contextlib.closing(open_channel(there, "cat")) as channel:
        receive = listening(channel)
        channel.send([b"x"])
        assert receive() == b"x"
        host.stop()
        assert receive() == b""
        with pytest.raises(UnreachableError) as caught:
            channel.send([b"x" * MIB])
        assert caught.value.todo == "what runs there goes on; run again to attach to it"
    with pytest.raises(UnreachableError, match="nothing listens at"):
        open_channel(there, "true")
    host.start()
    assert answer(there, "echo again") == b"again\n"


def test_a_host_that_stops_answering(make_sshd, home):
    """A host that is connected but silent counts as gone after its keepalives, and the message says so."""
    host = make_sshd()
    there = replace(resolve(host.alias, ssh_config=str(host.ssh_config)), alive_interval=0.5, alive_count=4)
    with contextlib.closing(open_channel(there, "echo $PPID; cat")) as channel:
        receive = listening(channel)
        session = int(receive())
        time.sleep(3)  # as long as it answers, it lives
        channel.send([b"x"])
        assert receive() == b"x"
        os.kill(session, signal.SIGSTOP)
        try:
            began = time.monotonic()
            assert receive() == b""
            assert time.monotonic() - began < 20
            assert "no answer for 2 s" in channel.stderr()
        finally:
            os.kill(session, signal.SIGCONT)


def test_nothing_keeps_the_process(spec):
    """A program that forgets its channel ends at once."""
    code = (
        "import sys; from drawbar.dispatch.ssh import *\n"
        "c = open_channel(resolve(sys.argv[1], ssh_config=sys.argv[2]), 'sleep 60'); print('open')"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    config = str(Path(spec.identity_files[0]).with_name("ssh_config"))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, "drawbar-sshd", config], capture_output=True, text=True, env=env, check=False
    )
    assert (done.stdout, done.stderr) == ("open\n", "")
    assert time.monotonic() - began < 20


# --- the way there ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def listener(behave):
    """A port that is no sshd: `behave` gets each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    stream, _ = server.accept()
                    with stream:
                        behave(stream)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def refused(spec):
    """The error of a host that cannot be reached."""
    with pytest.raises(UnreachableError) as caught:
        open_channel(spec, "true")
    return caught.value


def test_nothing_listens(spec):
    """A closed port is told apart, with host and port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = refused(replace(spec, port=port))
    assert (error.what, error.todo) == (
        f"nothing listens at 127.0.0.1:{port}",
        "check the port, and that sshd runs there",
    )


def test_a_name_nobody_knows(spec):
    """A host name that cannot be looked up is told apart."""
    error = refused(replace(spec, host="no-such-host.invalid"))
    assert error.what == f"the name of no-such-host.invalid:{spec.port} is not known here"


def test_a_name_no_host_can_have(spec):
    """A name that is no name at all is an error like any other, not a crash."""
    assert "\N{SNOWMAN}" in refused(replace(spec, host="\N{SNOWMAN}" * 80)).what


def test_a_host_that_does_not_answer(spec):
    """A port that accepts and says nothing is given up after connect_timeout."""
    with listener(lambda stream: stream.recv(1 << 16) and stream.recv(1 << 16)) as port:
        began = time.monotonic()
        error = refused(replace(spec, port=port, connect_timeout=0.5))
        assert time.monotonic() - began < 5
        assert error.what == f"127.0.0.1:{port} does not answer"
        assert error.found == "no handshake within 0.5 s"


def test_a_host_that_stops_in_the_handshake(spec):
    """Also a host that greets and then falls silent is given up after connect_timeout."""

    def behave(stream):
        stream.sendall(b"SSH-2.0-Silent\r\n")
        while stream.recv(1 << 16):
            pass

    with listener(behave) as port:
        error = refused(replace(spec, port=port, connect_timeout=0.5))
        assert error.what == f"127.0.0.1:{port} does not answer"


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        (b"", "it said nothing, and hung up"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"Exceeded MaxStartups\r\n", "Exceeded MaxStartups"),
        (b"\0" * 300_000, "its first line does not end"),
    ],
)
def test_something_that_is_no_ssh_server(greeting, said, spec):
    """What listens there is reported with its own words."""
    with listener(lambda stream: (stream.recv(1 << 16), stream.sendall(greeting))) as port:
        error = refused(replace(spec, port=port, connect_timeout=1.0))
        assert error.what == f"what listens at 127.0.0.1:{port} does not speak SSH, or takes no more connections"
        assert said in error.found


@pytest.mark.parametrize("garbage", [b"", b"\xff" * 64, b"\0\0\0\x0c\x0a\x14" + b"\0" * 64, b"\0\0\0\0" * 20])
def test_garbage_in_the_handshake(garbage, spec):
    """Bytes that are no SSH packet end the attempt at once, as an error of ours."""
    with listener(lambda stream: stream.sendall(b"SSH-2.0-Garbage\r\n" + garbage)) as port:
        began = time.monotonic()
        assert f"127.0.0.1:{port}" in refused(replace(spec, port=port, connect_timeout=5)).what
        assert time.monotonic() - began < 4


def test_no_cipher_in_common(make_sshd, home):
    """A host with outdated algorithms only is refused with that reason."""
    host = make_sshd(options=["Ciphers aes128-cbc"])
    error = refused(resolve(host.alias, ssh_config=str(host.ssh_config)))
    assert error.what == f"127.0.0.1:{host.port} has no algorithm that is allowed here"


def test_through_a_jump_host(make_sshd, home, tmp_path):
    """ProxyJump leads through another host, each with its own key on file and its own key to open it."""
    door, gpu = make_sshd(), make_sshd()
    config = tmp_path / "config"
    inner = gpu.ssh_config.read_text().replace(f"Host {gpu.alias}", "Host gpu") + "  ProxyJump door\n"
    config.write_text(door.ssh_config.read_text().replace(f"Host {door.alias}", "Host door") + inner)
    spec = resolve("gpu", ssh_config=str(config))
    assert answer(spec, "echo $DRAWBAR_HOME") == f"{gpu.home}\n".encode()
    data = os.urandom(4 * MIB)
    with contextlib.closing(open_channel(spec, f"head -c {len(data)}")) as channel:
        sender = threading.Thread(target=channel.send, args=([data],))
        sender.start()
        assert read_all(channel) == data
        sender.join()
    assert "Accepted publickey" in door.log.read_text()
    with pytest.raises(HostKeyError, match=f"the key of 127.0.0.1:{door.port} is not known"):
        open_channel(replace(spec, proxy_jump=(replace(spec.proxy_jump[0], known_hosts=()),)), "true")
    with pytest.raises(HostKeyError, match=f"the key of 127.0.0.1:{gpu.port} is not known"):
        open_channel(replace(spec, known_hosts=()), "true")
    gpu.stop()
    error = refused(spec)
    assert error.what == f"the host before 127.0.0.1:{gpu.port} does not connect to it"
    assert error.todo.endswith(f"it is reached through 127.0.0.1:{door.port}")


def test_through_a_command(sshd, spec, tmp_path):
    """ProxyCommand's stdin and stdout carry the connection; it is gone after it."""
    relay = tmp_path / "relay.py"
    relay.write_text(RELAY)
    command = f"{sys.executable} {relay} {sshd.host} {sshd.port}"
    there = replace(spec, host="only.the.relay.knows", host_key_alias=spec.host_key_name, proxy_command=command)
    assert answer(there, "echo in") == b"in\n"


RELAY = """
import os, socket, sys, threading
stream = socket.create_connection((sys.argv[1], int(sys.argv[2])))

def forth():
    while data := os.read(0, 65536):
        stream.sendall(data)

threading.Thread(target=forth, daemon=True).start()
while data := stream.recv(65536):
    os.write(1, data)
"""


def test_a_command_that_fails(spec):
    """What a ProxyCommand says before it ends is in the message."""
    error = refused(replace(spec, proxy_command="echo no way >&2; exit 1"))
    assert error.found == "no way"
    assert error.todo.endswith("it is reached by ProxyCommand echo no way >&2; exit 1")


def test_nothing_is_left_after_errors(spec):
    """Failed attempts leave no thread and no open file behind."""
    with listener(lambda stream: stream.sendall(b"SSH-2.0-x\r\n")) as port:
        for attempt in (replace(spec, port=port), replace(spec, user="nobody-here"), replace(spec, known_hosts=())):
            with pytest.raises((UnreachableError, AuthenticationError, HostKeyError)):
                open_channel(attempt, "true")
            before = held()
            with pytest.raises((UnreachableError, AuthenticationError, HostKeyError)):
                open_channel(attempt, "true")
            until = time.monotonic() + 3
            while time.monotonic() < until and not all(map(operator.le, held(), before)):
                time.sleep(0.01)
            assert all(map(operator.le, held(), before))


def held():
    """How many files and threads this process has."""
    return len(list(Path("/dev/fd").iterdir())), threading.active_count()


def test_paramiko_is_quiet(spec, caplog, capfd):
    """Neither success nor failure makes paramiko write to anybody's log or terminal."""
    answer(spec, "true")
    refused(replace(spec, host="no-such-host.invalid"))
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
