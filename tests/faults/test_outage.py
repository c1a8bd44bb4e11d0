"""The host's sshd goes away in mid-run: the client waits, comes back, and goes on where it was."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from pathlib import Path

import pytest

SIZE = 64 << 20
SENDING = f"""
import hashlib
from drawbar import asset
def sent() -> bytes:
    return bytes({SIZE})
@asset(target="place")
def received(sent: bytes) -> str:
    return hashlib.sha256(sent).hexdigest()
"""
ROUNDS = int(os.environ.get("DRAWBAR_FAULT_ROUNDS", "0"))


@pytest.fixture
def settings(sshd):
    """Behind SSH only."""
    return {**sshd.settings(), "python": sys.executable}


@pytest.mark.parametrize("away", [5.0 if ROUNDS else 2.0])
def test_sshd_away_for_seconds(ground, sshd, away):
    """A break of some seconds while a job runs costs those seconds at most: the job is executed once, no output is lost."""
    ground.closed.touch()
    process = ground.start()
    ground.until(ground.began, process)
    sshd.stop()
    try:
        ground.closed.unlink()
        time.sleep(away)
    finally:
        sshd.start()
    code, answer, err = ground.finish(process)
    assert code == 0, err
    assert err.count("slow │ slow began\n") == 1
    assert [f"slow │ step {step}\n" in err for step in range(8)] == [True] * 8
    ground.check(answer)


def test_sshd_away_while_a_value_is_sent(ground, sshd):
    """A connection that breaks in the middle of an upload: the rest is sent afterwards, and the value arrives whole."""
    (ground.project / "pipeline.py").write_text(SENDING)
    process = ground.start()
    ground.until(lambda: any(one.stat().st_size > 1 << 20 for one in ground.host.glob("partial/*")), process)
    sshd.stop()
    sent = sum(one.stat().st_size for one in ground.host.glob("partial/*"))
    sshd.start()
    code, answer, err = ground.finish(process)
    assert code == 0, err
    assert 1 << 20 < sent < SIZE
    assert Path(answer["assets"][-1]["uri"]).read_text().strip('"') == hashlib.sha256(bytes(SIZE)).hexdigest()
    assert list(ground.host.glob("partial/*")) == []
    ground.check_store()


@pytest.mark.skipif(not ROUNDS, reason="a client hopes for twenty seconds: `make faults` has them")
def test_sshd_that_does_not_come_back(ground, sshd):
    """A host that stays away is an error that says so, while its job goes on; the next run takes that job."""
    ground.closed.touch()
    process = ground.start()
    ground.until(ground.began, process)
    sshd.stop()
    try:
        code, answer, err = ground.finish(process)
    finally:
        sshd.start()
    assert code == 1, err
    slow = next(one for one in answer["assets"] if one["key"] == "faults/slow")
    assert slow["state"] == "failed"
    assert re.match(r"(Unreachable|BrokenConnection)Error: ", slow["error"])
    assert "left running on place" in err
    ground.closed.unlink()
    code, answer, err = ground.run()
    assert code == 0, err
    assert "slow started on place (found its job there)" in err
    ground.check(answer)
