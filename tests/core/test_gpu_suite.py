"""`make test-gpu` on a machine without a GPU: it says why it skips, and runs to its end on stand-ins."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ["-c", os.devnull, "--rootdir", str(ROOT), "--import-mode=importlib", "-p", "no:cacheprovider", "-rs", "-q"]


def suite(*, folder=None, **variables):
    """What it prints, and its exit status; jobs leave what they leave in `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRAWBAR_", "PYTEST_"))}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *OPTIONS,
            *([] if folder is None else ["--basetemp", str(folder)]),
            "tests/gpu",
        ],
        cwd=ROOT,
        env={**kept, "PYTHONPATH": str(ROOT / "core"), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_without_a_gpu_every_test_is_skipped_and_says_why(tmp_path):
    """Whoever runs it on the wrong machine would read sixteen failures, or believe that all is well."""
    status, said = suite(DRAWBAR_TEST_GPU="1", PATH=str(tmp_path))
    assert status == 0, said
    assert "there is no nvidia-smi on this machine" in said
    assert "passed" not in said
    assert "failed" not in said


def test_it_is_no_part_of_the_other_tests():
    """`make test` would compute on the GPU of whoever has one, beside their work."""
    status, said = suite()
    assert status == pytest.ExitCode.NO_TESTS_COLLECTED, said


@pytest.mark.timeout(600)
def test_on_stand_ins_every_test_passes(tmp_path):
    """The tests are run by few people, and would be broken by a change that nobody ran them after."""
    place = importlib.util.spec_from_file_location("gpu_standin", ROOT / "tests" / "gpu" / "standin.py")
    standin = importlib.util.module_from_spec(place)
    place.loader.exec_module(standin)
    status, said = suite(DRAWBAR_TEST_GPU="1", **standin.make(tmp_path), folder=tmp_path / "jobs")
    assert status == 0, said
    assert "skipped" not in said
