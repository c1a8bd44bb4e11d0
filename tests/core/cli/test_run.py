"""`drawbar run`: what it answers, where it says it, how it exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = ("--target", "here", "--no-lineage")


def test_json_is_all_there_is_on_stdout(program, folder):
    """Whatever users' code prints, at import or in a run, by Python, by the system or by a child: stdout is one object."""
    (folder / "loud.py").write_text(
        "import os, subprocess, sys\nprint('at import')\n"
        "def one() -> int:\n"
        "    print('by Python'); os.write(1, b'by the system\\n'); subprocess.run(['echo', 'by a child'])\n"
        "    sys.stdout.buffer.write(b'\\xff as bytes\\n')\n    return 1\n"
    )
    done = program("run", "loud.py", "--json", "--no-lineage")
    answer = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert [one["key"] for one in answer["assets"]] == ["demo/one"]
    for said in ("at import", "one │ by Python", "by the system", "by a child", "one │ � as bytes"):
        assert said in done.stderr


def test_the_object_says_all_of_every_asset(call):
    """The keys that programs rely on are there, and a second run says reused with the same data version."""
    first, second = (json.loads(call("run", "--json", *HERE).stdout) for _ in range(2))
    assert list(first) == ["run", "state", "assets"]
    assert list(first["assets"][1]) == [
        "key", "state", "reason", "version", "data_version", "target", "seconds", "bytes", "uri", "error",
    ]  # fmt: skip
    assert [one["state"] for one in first["assets"]] == ["reused", "made", "made", "made"]
    assert [one["state"] for one in second["assets"]] == ["reused", "reused", "reused", "reused"]
    assert [one["data_version"] for one in first["assets"]] == [one["data_version"] for one in second["assets"]]


def test_works_from_any_folder_with_paths_relative_to_it(program, folder, tmp_path):
    """The module's project decides namespace and sources; a relative --store lies where the user stands."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    words = ("run", "../project/pipeline.py", "total", "--store", "kept", "--json", *HERE)
    done = program(*words, cwd=elsewhere)
    answer = json.loads(done.stdout)
    assert answer["state"] == "succeeded"
    assert answer["assets"][-1]["key"] == "demo/total"
    assert answer["assets"][-1]["uri"].startswith(str(elsewhere / "kept" / "demo" / "total"))
    assert not (folder / ".drawbar").exists()


def test_the_answer_is_a_table_and_prints_stand_under_their_assets_name(program):
    """Without --json stdout holds the table only, and what a function prints is on stderr behind its asset's name."""
    done = program("run", *HERE)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["asset", "target", "state", "seconds", "size", "why"]
    assert [line.split()[:3] for line in lines[1:5]] == [
        ["seeds", "here", "reused"],
        ["numbers", "here", "made"],
        ["doubled", "here", "made"],
        ["total", "here", "made"],
    ]
    assert lines[5].startswith("succeeded: 1 reused, 3 made, in ")
    assert "numbers │ counting\n" in done.stderr
    assert "counting" not in done.stdout


def test_a_failure_shows_the_users_lines_and_exits_with_1(call, folder):
    """The traceback begins in the user's file, brackets stay as they are, and what to do comes last."""
    (folder / "bad.py").write_text(
        "def first() -> int:\n    raise ValueError('no [bold]luck[/bold]')\ndef second(first: int) -> int:\n    return 1\n"
    )
    done = call("run", "bad.py", "--no-lineage")
    assert done.exit_code == 1
    assert (
        "── first failed on here ──\nTraceback (most recent call last):\n"
        f'  File "{folder}/bad.py", line 2, in first\n'
        "    raise ValueError('no [bold]luck[/bold]')\n"
    ) in done.stderr
    assert "ValueError: no [bold]luck[/bold]\n" in done.stderr
    assert done.stderr.endswith("What was made is kept: after mending it, the same command makes the rest only.\n")
    assert "second  here    blocked" in done.stdout
    assert "drawbar/run.py" not in done.stderr


def test_a_failure_on_a_target_shows_its_traceback_and_names_the_job(program, folder):
    """The lines are those of the user's file as the target ran it, and the command that prints the log is given."""
    (folder / "bad.py").write_text(
        "from drawbar import asset\n@asset(target='local')\ndef first() -> int:\n    print('so far')\n    return 1 // 0\n"
    )
    done = program("run", "bad.py", "--no-lineage")
    assert done.returncode == 1
    assert "first │ so far\n" in done.stderr
    assert 'bad.py", line 5, in first\n    return 1 // 0\n' in done.stderr
    job = done.stderr.split("`drawbar logs local ")[1].split("`")[0]
    assert program("logs", "local", job).stdout == "so far\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("totl",), "error: There is no asset 'totl'.\n  expected: one of seeds, numbers, doubled, total\n"),
        (("--param", "cuont=3"), "error: No asset takes a parameter 'cuont'.\n  expected: one of count, label\n"),
        (("--param", "count"), "Error: Invalid value for --param: 'count' is not NAME=VALUE.\n"),
        (("--target", "a=b", "--target", "c"), "Give one name, or pairs OLD=NEW; not both."),
        (("none.py",), "error: There is no file "),
        (("--store", "nowhere://x"), "error: "),
    ],
)
def test_a_wrong_question_is_answered_before_anything_runs(call, words, said):
    """The message says what is wrong and what was expected, stdout stays empty, and nothing was made."""
    done = call("run", *words)
    assert said in done.stderr
    assert done.stdout == ""
    assert done.exit_code == (1 if "--store" in words else 2)
    assert "started" not in done.stderr


def test_without_modules_the_message_says_how_to_name_one(call, folder):
    """A folder that configures no modules is no mystery."""
    (folder / "pyproject.toml").write_text('[project]\nname = "demo"\n')
    done = call("run")
    assert done.exit_code == 2
    assert done.stderr == (
        "error: Nothing says which module has the assets.\n"
        "  expected: a module or a file, or `modules` in [tool.drawbar]\n"
        f"  found: no `modules` in {folder}/pyproject.toml\n"
        '  do: name one, as in `drawbar run pipeline.py`, or set modules = ["pipeline"]\n'
    )


def test_parameters_targets_and_force_reach_the_run(call):
    """--param is read by its annotation, OLD=NEW moves a target, --force makes again what is there."""
    call("run", *HERE)
    done = call("run", "--json", "--no-lineage", "-p", "count=5", "--target", "gpu=here", "--force", "demo/numbers")
    states = {one["key"]: (one["state"], one["target"]) for one in json.loads(done.stdout)["assets"]}
    assert states["demo/numbers"] == ("made", "here")
    assert states["demo/doubled"] == ("made", "here")
    assert json.loads(call("show", "numbers", "--json").stdout)["parameters"] == "count=5"


def test_a_secret_in_a_traceback_is_masked(call, folder):
    """What a secret-looking parameter holds is shown neither in the traceback nor in the history."""
    (folder / "bad.py").write_text("def first(api_key: str) -> int:\n    raise ValueError(f'refused: {api_key}')\n")
    done = call("run", "bad.py", "--no-lineage", "--param", "api_key=hunter2hunter2")
    assert "ValueError: refused: ***" in done.stderr
    assert "hunter2" not in done.stderr
    assert "hunter2" not in done.stdout
    assert "hunter2" not in call("run", "bad.py", "--no-lineage", "--json", "--param", "api_key=hunter2hunter2").stdout
    assert "api_key=***" in call("history").stdout


def test_huge_output_does_not_grow_memory(program, folder):
    """A function may print without end, with or without line ends: what was shown is not kept."""
    (folder / "huge.py").write_text(
        "def lines() -> int:\n    for _ in range(3000): print('x' * 9999)\n    return 1\n"
        "def line() -> int:\n    for _ in range(30): print('y' * 1000000, end='')\n    return 1\n"
    )
    code = (
        "import resource, subprocess, sys\n"
        f"subprocess.run({[sys.executable, '-c', 'from drawbar.cli import main; main()']!r} + sys.argv[1:], check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "huge.py", "--no-lineage", "--json"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr.count("x") > 29_000_000
    assert done.stderr.count("y") > 29_000_000
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout.splitlines()[-1]) * unit < 100 << 20


def test_a_reader_that_leaves_is_no_error_of_ours(folder):
    """`drawbar … | head` ends without a traceback."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", "from drawbar.cli import main; main()", "run", *HERE],
        stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
    )  # fmt: skip
    os.close(write)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


PARTS = """
import os, time
from drawbar import *

@asset(partitions=Static([str(n) for n in range(10)]), target="gpu", version="1")
def part(partition: Partition) -> int:
    mine = os.path.join(r"BUSY", partition.key)
    open(mine, "x").close()
    time.sleep(0.2)
    count = len(os.listdir(r"BUSY"))
    os.unlink(mine)
    return count

@expand(model=["small", "large"])
def family(model: str) -> str:
    return model
"""


def test_no_more_jobs_at_once_than_workers(call, folder, tmp_path):
    """`--workers 2` bounds what is under way on a target, which is not ours alone."""
    (tmp_path / "busy").mkdir()
    (folder / "parts.py").write_text(PARTS.replace("BUSY", str(tmp_path / "busy")))
    done = call("run", "parts.py", "part", "--partition", "all", "--workers", "2", "--json", "--no-lineage")
    answer = json.loads(done.stdout)
    assert [one["state"] for one in answer["assets"]] == ["made"] * 10
    counts = [int(Path(one["uri"].removeprefix("file://")).read_text()) for one in answer["assets"]]
    assert max(counts) == 2


def test_an_expanded_function_may_be_named(call, folder):
    """`plan`, `run` and `--force` take its name for all its variants."""
    (folder / "parts.py").write_text(PARTS)
    names = ["demo/family_small", "demo/family_large"]
    planned = json.loads(call("plan", "parts.py", "family", "--json").stdout)
    assert [(one["key"], one["action"]) for one in planned["assets"]] == [(name, "run") for name in names]
    for force, state in (((), "made"), (("--force", "family"), "made"), ((), "reused")):
        done = json.loads(call("run", "parts.py", "family", *force, "--json", "--no-lineage").stdout)
        assert [(one["key"], one["state"]) for one in done["assets"]] == [(name, state) for name in names]
