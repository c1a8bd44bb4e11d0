"""A store on a real S3 server: the same promises as on a disk, and few requests."""

from __future__ import annotations

import logging
import socket

import pytest

import drawbar
from drawbar.files import open_files


@pytest.fixture(scope="module")
def bucket():
    """A bucket of moto's S3 server on loopback; its request log counts what was asked."""
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    patch = pytest.MonkeyPatch()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }.items():
        patch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir("bucket")
    yield "s3://bucket"
    s3fs.S3FileSystem.clear_instance_cache()
    patch.undo()
    server.stop()


@pytest.fixture
def requests():
    """The lines of the server's log since the test began."""
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    handler = Keep()
    logger = logging.getLogger("werkzeug")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


def graph(count):
    scope = {}
    exec("\n".join(f"def f{i}({f'f{i - 1}: int' if i else ''}) -> int: return {i}" for i in range(count)), scope)
    return drawbar.Graph.from_functions(*(scope[f"f{i}"] for i in range(count)), namespace="s3")


def test_values_are_made_and_reused(bucket):
    """What one run left in the bucket, the next one finds, with its value."""
    made = drawbar.run(graph(3), store=f"{bucket}/one", lineage=False)
    assert made.counts == {"made": 3}
    again = drawbar.run(graph(3), store=f"{bucket}/one", lineage=False)
    assert (again.counts, again["f2"].value()) == ({"reused": 3}, 2)
    assert again["f2"].uri.startswith("s3://bucket/one/s3/f2/values/")


def test_a_file_is_created_once(bucket):
    """A conditional PUT keeps two makers apart."""
    files = open_files(f"{bucket}/two")
    assert files.create("x", [b"1"])
    assert not files.create("x", [b"2"])
    assert files.read("x") == b"1"


def test_a_plan_asks_for_each_selected_asset_once(bucket, requests):
    """A chain of ten that is all reusable costs ten lookups that go out together, not ten after one another."""
    drawbar.run(graph(10), store=f"{bucket}/three", lineage=False)
    requests.clear()
    plan = drawbar.plan(graph(10), store=f"{bucket}/three")
    assert plan.counts == {"reuse": 10}
    asked = [line for line in requests if "/bucket/three" in line]
    assert len(asked) == 10
    assert all("latest.json" in line for line in asked)
