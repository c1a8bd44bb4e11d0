"""What all tests share: in CI a part that is not installed is a failure, not a skip."""

from __future__ import annotations

import os

import pytest

_MISSING = "not installed"


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
