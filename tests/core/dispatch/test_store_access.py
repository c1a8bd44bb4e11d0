"""A host that reaches the store uses it itself; one that does not is served by the client, or refused by name."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import sys
import threading
from urllib.parse import urlsplit

import pytest

from drawbar import target
from drawbar.dispatch import agents
from drawbar.errors import CheckError, PreflightError, RemoteError, StoreError
from drawbar.store import Store

pytestmark = pytest.mark.sshd
SIZE = 4 << 20
SMALL = 256 << 10
PIPELINE = f"""
@asset
def given() -> bytes:
    return b"given" * {SIZE // 5}

@asset(target="host")
def made(given: bytes) -> bytes:
    _noted("made")
    return given[::-1]

@asset(target="host")
def measured(made: bytes) -> int:
    _noted("measured")
    return len(made)
"""
LENGTH = SIZE // 5 * 5


class Far:
    """A project with a host behind SSH, and what crossed the wire to it."""

    def __init__(self, ground, sshd, fetched):
        self.ground = ground
        self.fetched = fetched
        self._settings = {**sshd.settings(), "root": str(ground.folder / "host"), "python": sys.executable}
        self.configure()

    def configure(self, access="auto", *more):
        """The host's `store_access`, and further lines of its table."""
        lines = [f"{name} = {value!r}" for name, value in {**self._settings, "store_access": access}.items()]
        self.ground.configure("[targets.host]\n" + "\n".join([*lines, *more]))

    @property
    def link(self):
        return target("host", config=self.ground.config).dispatcher.link

    def run(self, *wanted, **settings):
        """A run, and how many bytes it sent to the host."""
        before = self.link.agent().sent
        self.fetched.clear()
        result = self.ground.run(*wanted, **settings)
        return result, self.link.agent().sent - before

    def blob(self, digest):
        return self.ground.folder / "host" / "blobs" / digest[:2] / digest

    def logged(self):
        """What the jobs' logs say of values that went through the client."""
        logs = (self.ground.folder / "host" / "jobs").glob("*/log.jsonl")
        lines = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
        return [one["why"] for one in lines if one["event"] == "relayed"]

    def specs(self):
        """All that the host keeps of what it was asked."""
        return "".join(path.read_text() for path in (self.ground.folder / "host" / "jobs").rglob("*.json*"))


@pytest.fixture
def far(ground, sshd, home, monkeypatch):
    """The pipeline above, and a host that sees this machine's folders."""
    fetched = []
    real = agents.download

    def download(agent, digest, size):
        fetched.append(digest)
        return real(agent, digest, size)

    monkeypatch.setattr(agents, "download", download)
    ground.write(PIPELINE)
    made = Far(ground, sshd, fetched)
    yield made
    made.link.close()


def test_a_shared_folder_is_used_by_the_host(far):
    """No value crosses the wire in either direction, and what the store holds is what it would hold otherwise."""
    result, sent = far.run("measured")
    result.check()
    assert (sent < SMALL, far.fetched) == (True, [])
    assert result["measured"].value() == LENGTH
    for name in ("made", "measured"):
        record = far.ground.store.lookup(result[name].key, result[name].version)
        assert far.ground.store.has_value(record)
        assert far.ground.store.read(record)
    assert far.blob(result["given"].data_version).exists()
    assert far.logged() == []
    assert set(far.ground.states("measured").values()) == {"reused"}
    assert not list(far.ground.folder.glob("store/.tmp/*"))


def test_relay_keeps_the_host_away_from_the_store(far):
    """The setting of old: inputs are sent, values are fetched, and the store has no marker."""
    far.configure("relay")
    result, sent = far.run("measured")
    assert result.check()["measured"].value() == LENGTH
    assert sent > SIZE
    assert far.fetched == [result["made"].data_version, result["measured"].data_version]
    assert not (far.ground.folder / "store" / ".drawbar").exists()


def test_a_folder_that_only_this_machine_has_is_relayed(far, monkeypatch):
    """The host looks for the marker and does not find it; values travel, and its log says why."""
    monkeypatch.chdir(far.ground.folder)
    store = "/proc/self/cwd/private"  # each process sees its own
    result, sent = far.run("measured", store=store)
    assert result.check()["measured"].value() == LENGTH
    assert sent > SIZE
    assert len(far.fetched) == 2
    assert far.logged() == [f"there is no {store}/.drawbar on this host"] * 2
    assert (far.ground.folder / "private" / ".drawbar").exists()


def test_direct_is_refused_before_anything_runs(far, monkeypatch):
    """Who insists hears why it cannot be, and what to do, before a function is called."""
    monkeypatch.chdir(far.ground.folder)
    far.configure("direct")
    result, _ = far.run("measured", store="/proc/self/cwd/private")
    error = result["made"].error
    assert isinstance(error, PreflightError)
    assert error.what == "host cannot use the store itself."
    assert error.found == "there is no /proc/self/cwd/private/.drawbar on this host"
    assert 'store_access = "auto"' in error.todo
    assert far.ground.called() == []
    far.configure("direct")
    assert far.run("measured")[0].check().counts == {"made": 3}
    assert far.fetched == []


def test_memory_is_nobody_elses(far):
    """A store in this process is never looked for on a host."""
    result, _ = far.run("measured", store="memory://store-access")
    assert result.check()["measured"].value() == LENGTH
    assert len(far.fetched) == 2
    assert far.logged() == ["memory://store-access cannot be told from others, or is in this process only"] * 2


def test_a_job_that_was_another_stores_is_fetched(far):
    """A job is adopted by whoever asks for the same; into their store its value goes by hand."""
    first, _ = far.run("made")
    again, _ = far.run("made", store=str(far.ground.folder / "other"))
    version = first.check()["made"].data_version
    assert again.check()["made"].data_version == version
    assert far.fetched == [version]
    assert far.ground.called() == []
    assert len(again["made"].value()) == LENGTH


def test_a_value_that_is_damaged_in_the_store_is_not_used(far):
    """The host checks what it reads as the client would, and says which file it is."""
    result, _ = far.run("given")
    record = far.ground.store.lookup(result["given"].key, result["given"].version)
    (far.ground.folder / "store" / "g" / "given" / record.value).write_bytes(b"x" * record.bytes)
    error = far.run("made")[0]["made"].error
    assert isinstance(error, RemoteError)
    assert "could not be set up" in error.what
    assert f"{record.value} is not what was made: {record.bytes} bytes with sha256 " in error.what
    assert far.ground.called() == []


def test_checks_and_rejection_are_as_ever(far):
    """A value that fails a check is in the store for people only, wherever it was written from; the last one is read there."""
    far.ground.write(
        PIPELINE
        + """
@check(made)
def short(value, last):
    return CheckResult(last is None or len(value) < 10, found=str(len(last or b"")))
"""
    )
    far.run("made")[0].check()
    far.ground.edit("given[::-1]", "given")
    result, sent = far.run("made")
    assert isinstance(result["made"].error, CheckError)
    assert (sent < SMALL, far.fetched) == (True, [])
    (kept,) = far.ground.store.rejected(result["made"].key)
    assert kept.checks[0]["found"] == str(LENGTH)
    assert len(far.ground.store.read(kept)) == LENGTH
    assert far.ground.store.lookup(result["made"].key, result["made"].version) is None


def test_partitions_are_read_when_they_are_asked_for(far):
    """A consumer of many reads each from the store when it comes to it, with none of them sent."""
    far.ground.write(
        f"""
@asset(partitions=Static(["a", "b", "c"]))
def part(partition: Partition) -> bytes:
    return partition.key.encode() * {SIZE}

@asset(target="host")
def first(part: Partitioned[bytes]) -> dict[str, int]:
    return {{key: part[key][0] for key in ("a", "b")}}
"""
    )
    result, sent = far.run("first")
    assert result.check()["first"].value() == {"a": 97, "b": 98}
    assert (sent < SMALL, far.fetched) == (True, [])
    there = [far.blob(result[f"part@{key}"].data_version).exists() for key in "abc"]
    assert there == [True, True, False]


def test_fan_outs_read_there_and_come_back(far):
    """What all calls of a fan-out share is read from the store; the values of its items come to the client."""
    far.ground.write(
        f"""
@asset
def shared() -> bytes:
    return b"s" * {SIZE}

@asset
def numbers() -> list[int]:
    return [1, 2, 3]

@asset(target="host", over="numbers")
def sums(numbers: int, shared: bytes) -> int:
    return numbers + len(shared)
"""
    )
    result, sent = far.run("sums")
    assert result.check()["sums"].value() == [SIZE + 1, SIZE + 2, SIZE + 3]
    assert sent < SMALL


def test_transient_values_go_through_the_client(far):
    """They are in no store: their bytes are sent to who takes them, and written nowhere."""
    far.ground.edit("@asset\ndef given", "@asset(persist=False)\ndef given")
    result, sent = far.run("measured")
    assert result.check()["measured"].value() == LENGTH
    assert sent > SIZE
    assert not (far.ground.folder / "store" / "g" / "given" / "values").exists()


class ReadOnly(http.server.BaseHTTPRequestHandler):
    """A front of an S3 server that lets through what reads; `upstream` is its port."""

    protocol_version = "HTTP/1.1"
    upstream = 0

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        onward = http.client.HTTPConnection("127.0.0.1", self.upstream)
        onward.request(self.command, self.path, body, dict(self.headers))
        answer = onward.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "server", "date"):
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content if self.command != "HEAD" else b"")
        onward.close()

    do_HEAD = do_GET  # noqa: N815 - so http.server calls it

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT  # noqa: N815 - as above

    def log_message(self, *args):
        """Silence."""


@pytest.fixture
def s3(monkeypatch):
    """The URL of a moto server with a bucket `reached`; this process has credentials for it."""
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{port}"
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2hunter2"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", url),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem(skip_instance_cache=True).makedirs("reached", exist_ok=True)  # servers of a process share them
    yield url
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def front(s3):
    """The same server behind a front that refuses to write."""
    handler = type("Front", (ReadOnly,), {"upstream": urlsplit(s3).port})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def with_credentials(url):
    """Lines of a target that has what S3 needs: a secret from this environment, the rest in the open."""
    return (
        'secrets = ["AWS_SECRET_ACCESS_KEY"]',
        f'variables = {{AWS_ACCESS_KEY_ID = "key", AWS_DEFAULT_REGION = "us-east-1", AWS_ENDPOINT_URL = "{url}"}}',
    )


def test_a_bucket_is_used_by_the_host(far, s3):
    """With the credentials that its `secrets` name it reads and writes the bucket; they are kept nowhere."""
    far.configure("auto", *with_credentials(s3))
    result, sent = far.run("measured", store="s3://reached/one")
    result.check()
    assert (sent < SMALL, far.fetched, far.logged()) == (True, [], [])
    assert result["measured"].value() == LENGTH
    assert "hunter2hunter2" not in far.specs()
    assert "s3://reached/one/g/given/values/" in far.specs()
    assert Store("s3://reached/one").records(result["made"].key)[0].data_version == result["made"].data_version


def test_a_bucket_without_credentials_is_relayed(far, s3):
    """A host that has none is served by the client, which has them, without a word."""
    far.configure("auto", f'variables = {{AWS_ENDPOINT_URL = "{s3}", AWS_EC2_METADATA_DISABLED = "true"}}')
    result, sent = far.run("measured", store="s3://reached/two")
    assert result.check()["measured"].value() == LENGTH
    assert (sent > SIZE, len(far.fetched)) == (True, 2)
    assert all(why.startswith("s3://reached/two/.drawbar cannot be read: ") for why in far.logged())


def test_a_bucket_that_may_only_be_read(far, s3, front):
    """Inputs are read there; the value, which the host may not write, comes through the client."""
    far.configure("auto", *with_credentials(front))
    result, sent = far.run("made", store="s3://reached/three")
    assert len(result.check()["made"].value()) == LENGTH
    assert (sent < SMALL, far.fetched) == (True, [result["made"].data_version])
    assert ["cannot be written: PermissionError" in why for why in far.logged()] == [True]


def test_who_insists_does_not_lose_the_value(far, s3, front):
    """With `direct` a value that cannot be written is an error; with `auto` it is taken from where it is kept."""
    far.configure("direct", *with_credentials(front))
    error = far.run("made", store="s3://reached/four")[0]["made"].error
    assert isinstance(error, StoreError)
    assert "cannot be written: PermissionError" in error.found
    assert 'set `store_access = "auto"` of the target' in error.todo
    assert far.ground.called() == ["made"]
    far.configure("auto", *with_credentials(front))
    result, _ = far.run("made", store="s3://reached/four")
    assert len(result.check()["made"].value()) == LENGTH
    assert far.ground.called() == []
