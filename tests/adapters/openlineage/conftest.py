"""Fixtures of the OpenLineage tests: an environment of their own, and a backend that can be told to misbehave."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, tmp_path) -> None:
    """No variable, file or outbox of the person who runs the tests is seen or changed."""
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("DRAWBAR_HOME", str(home / ".drawbar"))
    monkeypatch.chdir(home)


@pytest.fixture
def project(tmp_path) -> Path:
    """An empty project folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


class Backend:
    """An HTTP backend; `answer` decides the status for an event, and `events` are those answered with 201."""

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any]], int] = lambda _event: 201
        self.delay = 0.0
        self.events: list[dict[str, Any]] = []
        self.asked = 0
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                backend.asked += 1
                time.sleep(backend.delay)
                status = backend.answer(event)
                if status == 201:
                    backend.events.append(event)
                body = b"" if status == 201 else b"not this one"
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Be quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: object) -> None:
                """A client that gave up is part of the tests."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        """Stop answering, and listening."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A backend that takes everything until told otherwise."""
    one = Backend()
    yield one
    one.close()
