"""What all tests share: in CI a part that is not installed is a failure, not a skip."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

_MISSING = "not installed"


@pytest.fixture(scope="module", autouse=True)
def no_warm_interpreters_are_left(tmp_path_factory):
    """They would stay for ten minutes, hundreds of them: a person has one or two hosts, these tests have one each."""
    yield
    folder = str(tmp_path_factory.getbasetemp()).encode()
    for pid in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else ()):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"warmed" in command and folder in command:
                os.kill(int(pid), signal.SIGKILL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With DRAWBAR_REQUIRE_PARTS=1, turn the skip of a test whose part is missing into a failure that says so."""
    report = yield
    if os.environ.get("DRAWBAR_REQUIRE_PARTS") == "1" and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if _MISSING in reason:
            report.outcome = "failed"
            report.longrepr = f"{reason}: DRAWBAR_REQUIRE_PARTS is set, so every part must be there"
    return report
