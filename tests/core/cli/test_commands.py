"""The table of commands, how words are told apart, and the commands about machines, jobs, lineage and settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from drawbar.cli import COMMANDS
from drawbar.cli.commands import cli
from drawbar.cli.project import Project


def test_the_table_says_what_the_commands_say():
    """The line in `drawbar --help` is the first sentence of each command's own help, and each has an example."""
    for name, line in COMMANDS.items():
        command = cli.get_command(click.Context(cli), name)
        assert command.name == name
        assert command.get_short_help_str(limit=200).rstrip(".") == line.rstrip(".")
        inner = command.commands.values() if isinstance(command, click.Group) else [command]
        assert all(one.epilog.startswith("Example: ") for one in inner)


def test_every_command_takes_json_and_project():
    """Programs can rely on --json everywhere."""
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        for one in command.commands.values() if isinstance(command, click.Group) else [command]:
            assert {"as_json", "project"} <= {parameter.name for parameter in one.params}


def test_help_loads_no_more_than_it_shows():
    """`drawbar --help` answers at once: neither rich, nor the graph, nor any command is loaded for it."""
    code = (
        "import sys\nfrom drawbar.cli import main\nsys.argv = ['drawbar', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([one for one in sys.modules if one in ('rich', 'pandas', 'paramiko', 'fsspec') or one.startswith("
        "('drawbar.cli.', 'drawbar.graph', 'drawbar.run')) and one != 'drawbar.cli.commands'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Example: drawbar run pipeline.py neighbours" in done.stdout


def test_a_command_that_is_none_gets_the_closest(call):
    """A slip of the fingers is answered with the name that was meant."""
    done = call("hsitory")
    assert done.exit_code == 2
    assert "There is no command 'hsitory'; did you mean 'history'?" in done.stderr


@pytest.mark.parametrize(
    ("words", "modules", "wanted"),
    [
        (("total",), ("pipeline",), ("total",)),
        (("pipeline", "total"), ("pipeline",), ("total",)),
        (("./pipeline.py", "total"), ("*/pipeline.py",), ("total",)),
        (("text/embeddings",), ("pipeline",), ("text/embeddings",)),
        (("sub/package", "total"), ("*/sub/package",), ("total",)),
        (("other.module", "my.site/x"), ("other.module",), ("my.site/x",)),
        (("total@2026.01",), ("pipeline",), ("total@2026.01",)),
    ],
)
def test_words_are_told_apart(folder, words, modules, wanted):
    """Files and module names are modules, everything else is an asset, also one in a group named like a path."""
    (folder / "sub" / "package").mkdir(parents=True)
    found = Project.of(words)
    assert found.wanted == wanted
    assert len(found.modules) == len(modules)
    assert all(Path(one).match(form) for one, form in zip(found.modules, modules, strict=True))


def test_the_project_option_and_its_variable_lead_there(call, folder, tmp_path, monkeypatch):
    """From anywhere, --project or DRAWBAR_PROJECT says whose settings and modules are meant."""
    monkeypatch.chdir(tmp_path)
    assert json.loads(call("plan", "--json", "--project", str(folder)).stdout)["counts"] == {"source": 1, "run": 3}
    monkeypatch.setenv("DRAWBAR_PROJECT", str(folder))
    assert json.loads(call("graph", "--json").stdout)["namespace"] == "demo"


def test_config_says_where_each_setting_comes_from(call, folder, monkeypatch):
    """File, variable, option and default are told apart, and what looks secret is not shown."""
    (folder / "pyproject.toml").write_text(
        '[tool.drawbar]\nmodules = ["pipeline"]\nparams = {api_key = "k3y", count = 2}\n'
        '[tool.drawbar.targets.gpu]\nhost = "gpu-box"\nsecrets = ["HF_TOKEN"]\n'
    )
    monkeypatch.setenv("DRAWBAR_NAMESPACE", "other")
    told = json.loads(call("config", "--store", "kept", "--json").stdout)["settings"]
    assert told["namespace"] == {"value": "other", "from": "$DRAWBAR_NAMESPACE"}
    assert told["store"] == {"value": str(folder / "kept"), "from": "--store"}
    assert told["modules"] == {"value": ["pipeline"], "from": str(folder / "pyproject.toml")}
    assert told["max_workers"] == {"value": 8, "from": "default"}
    assert told["params.api_key"]["value"] == "***"
    assert told["targets.gpu.host"]["value"] == "gpu-box"
    assert told["targets.gpu.secrets"]["value"] == ["HF_TOKEN"]
    assert "k3y" not in call("config").stdout


def test_an_unknown_key_in_the_file_is_an_error_of_every_command(call, folder):
    """A misspelt setting is named with its file, before anything else happens; -v shows our traceback as well."""
    (folder / "pyproject.toml").write_text("[tool.drawbar]\nmodule = []\n")
    done = call("plan")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: module is not a configuration key.\n")
    assert "  do: did you mean 'modules'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback (most recent call last):" in call("plan", "-v").stderr


def test_doctor_examines_the_project(call):
    """Without a target: machine, project, modules, store and lineage, each with its finding; exit status 0."""
    done = call("doctor", "--json")
    found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    assert done.exit_code == 0
    assert found["modules"]["text"] == "pipeline: 4 assets"
    assert found["store"]["text"].endswith("/project/.drawbar/store, writable")
    assert found["lineage"]["ok"]
    assert found["targets"]["text"] == "gpu; `drawbar doctor NAME` examines one"


def test_doctor_says_what_is_amiss_and_what_to_do(call, folder):
    """A module with a fault and a store that cannot be written are findings, not ends; exit status 1."""
    (folder / "pipeline.py").write_text("import nothing_of_that_name\n")
    (folder / "kept").write_text("a file where a folder should be")
    done = call("doctor", "--store", "kept")
    assert done.exit_code == 1
    assert "✗  modules    pipeline cannot be imported.; " in done.stdout
    assert "No module named 'nothing_of_that_name'" in done.stdout
    assert "✗  store" in done.stdout
    assert "do: " in done.stdout


def test_doctor_examines_a_target(call):
    """A worker on this machine is reached and found to fit; an unknown target is an error with the closest name."""
    done = call("doctor", "local", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["target"] == "local"
    assert found["findings"][0] == {
        "name": "place",
        "ok": True,
        "text": "a worker on this machine",
        "todo": "",
        "host": "",
    }
    wrong = call("doctor", "gqu")
    assert wrong.exit_code == 2
    assert "  do: did you mean 'gpu'?" in wrong.stderr


def test_jobs_logs_and_cancel_find_a_job_by_its_beginning_or_name(program, folder):
    """A job that ran is listed, its streams are kept apart, and a wrong id says how to find the right one."""
    (folder / "talk.py").write_text(
        "import sys\nfrom drawbar import asset\n@asset(target='local')\ndef talk() -> int:\n"
        "    print('out\\xe9'); print('err', file=sys.stderr); return 1\n"
    )
    assert program("run", "talk.py", "--no-lineage").returncode == 0
    job = json.loads(program("jobs", "local", "--json").stdout)["jobs"][0]
    assert (job["name"], job["state"]) == ("demo/talk", "succeeded")
    by_id, by_name = program("logs", "local", job["job"][:5]), program("logs", "local", "talk", "-f")
    assert (by_id.stdout, by_id.stderr) == (by_name.stdout, by_name.stderr) == ("out\xe9\n", "err\n")
    assert [json.loads(line) for line in program("logs", "local", "talk", "--json").stdout.splitlines()] == [
        {"stream": "stdout", "text": "out\xe9\n"},
        {"stream": "stderr", "text": "err\n"},
    ]
    wrong = program("logs", "local", "talc")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: There is no job 'talc' on local.\n")
    assert json.loads(program("cancel", "local", "talk", "--json").stdout)["before"] == "ended"


def test_lineage_status_and_flush_say_what_waits(call, folder):
    """After a run with lineage nothing waits that could be sent, and both commands say where it went."""
    assert call("run", "--target", "here").exit_code == 0
    assert json.loads(call("lineage", "flush", "--json").stdout)["waiting"] == 0
    assert json.loads(call("lineage", "status", "--json").stdout)["waiting"] == 0
    assert (folder / ".drawbar" / "lineage.ndjson").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(call, shell):
    """The script names the program and the variable that the program answers to."""
    script = call("completion", shell).stdout
    assert "drawbar" in script
    assert "_DRAWBAR_COMPLETE" in script


def test_assets_targets_and_commands_complete(program, monkeypatch):
    """Pressing tab offers what there is in this project, whatever its modules print."""
    for words, number, wanted in (
        ("drawbar ru", 1, "plain,run"),
        ("drawbar run to", 2, "plain,total"),
        ("drawbar jobs g", 2, "plain,gpu"),
        ("drawbar run nothing", 2, "file,nothing"),
    ):
        monkeypatch.setenv("_DRAWBAR_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(number))
        assert program().stdout.splitlines() == [wanted]
