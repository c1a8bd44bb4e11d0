"""Hosts differ: another Python, no drawbar installed, GPUs or none."""

import os
import sys
from datetime import UTC, datetime

import pytest

import drawbar
from drawbar.agent import facts, frames, shim
from drawbar.agent.partition import Partition

PYTHONS = {
    version: os.path.expanduser(f"~/.pyenv/versions/{version}/bin/python")
    for version in ("3.9.18", "3.10.13", "3.11.7", "3.12.1", "3.13.0")
}

USER = """
    from __future__ import annotations
    import drawbar
    from drawbar import Env, Source, asset
    from drawbar.errors import RemoteError

    data = Source("s3://bucket/x")
    gpu = drawbar.target("gpu")

    @asset(target="gpu", env=Env("numpy"))
    def heavy(x: int) -> int:
        try:
            print("working")
        except RemoteError:
            pass
        return x * 2

    @asset
    def plain(x: int) -> int:
        return x

    @gpu.function
    def decorated(x):
        return -x

    remote = gpu.function(plain, env=Env("numpy"))

    def misuse(x):
        return [line for line in data]

    def in_a_child(x):
        import multiprocessing
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.map(heavy, [x])[0]

    def fails(x):
        raise ValueError("here")  # the line
"""


@pytest.mark.parametrize("version", PYTHONS)
def test_every_supported_python_runs_jobs(version, agents):
    """A host with that Python would fail at the first job."""
    python = PYTHONS[version]
    if not os.path.exists(python):
        pytest.skip(f"no Python {version} on this machine")
    peer = agents(python=python)
    assert peer.hello["python"] == version
    code = [peer.code(user=USER)]

    def call(name):
        return peer.run(None, 4, named={"module": "user", "qualname": name}, code=code)

    outcome, out, err = call("heavy")
    assert (outcome["state"], out, err) == ("succeeded", b"working\n", b""), outcome
    assert (peer.value(outcome), outcome["python"]) == (8, version)
    assert peer.value(call("decorated")[0]) == -4
    assert peer.value(call("remote")[0]) == 4
    failed = call("fails")[0]["error"]
    assert failed["message"] == "here"
    assert 'raise ValueError("here")  # the line' in failed["traceback"]
    assert failed["blob"]


def test_another_interpreter_than_the_agents(agents):
    """A job that needs another Python of the host could not have it."""
    if not os.path.exists(PYTHONS["3.12.1"]):
        pytest.skip("no Python 3.12.1 on this machine")
    peer = agents()
    named = {"module": "platform", "qualname": "python_version"}
    options = {"python": PYTHONS["3.12.1"], "secrets": {"TOKEN": "hunter22"}}
    outcome, _, _ = peer.run(None, named=named, **options)
    assert (peer.value(outcome), outcome["python"]) == ("3.12.1", "3.12.1")
    outcome, _, _ = peer.run(None, "TOKEN", named={"module": "os", "qualname": "getenv"}, **options)
    assert peer.value(outcome) == "hunter22"


PARTITIONED = """
    from __future__ import annotations
    from typing import Optional
    import drawbar
    from drawbar import CheckResult, Contract, Daily, Partition, Partitioned, Static, asset, check, expand

    @asset(partitions=Daily("2026-01-01"), contract=Contract({"a": "int64"}), checks=[lambda value: True])
    def pages(partition: Partition) -> list:
        assert type(partition) is Partition is drawbar.Partition, type(partition)
        return [partition.key, partition.start.isoformat(), partition]

    @check(pages, min=3)
    def enough(pages):
        return len(pages)

    @check("pages")
    def of_its_day(pages, last, *, partition: Partition):
        return CheckResult(pages[0] == partition.key and last == [1], found=str(partition), column="day")

    @expand(model=["small", "large"])
    def sums(many: Partitioned[list], model: Optional[str] = None) -> list:
        assert isinstance(many, Partitioned)
        return [[label, sum(value)] for label, value in many.items()]
"""


@pytest.mark.parametrize("version", PYTHONS)
def test_partitions_and_checks_are_real_where_drawbar_is_not(version, agents):
    """User code that names Partition, CheckResult or Partitioned would meet stand-ins on a host without drawbar."""
    python = PYTHONS[version]
    if not os.path.exists(python):
        pytest.skip(f"no Python {version} on this machine")
    peer = agents(python=python)
    code = [peer.code(assets=PARTITIONED)]
    day = Partition("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC))
    checks = [
        {"name": "enough", "min": 4, "function": {"module": "assets", "qualname": "enough"}},
        {"name": "day", "last": True, "partition": True, "function": {"module": "assets", "qualname": "of_its_day"}},
    ]
    last = {"blob": peer.put(b"[1]"), "format": "json", "type": "list", "ext": ".json"}
    outcome, _, err = peer.run(
        None,
        named={"module": "assets", "qualname": "pages"},
        code=code,
        partition={"name": "partition", **day.to_json()},
        examine={"contract": None, "checks": checks, "profile": True, "last": last},
    )
    assert outcome["state"] == "succeeded", (outcome, err)
    assert peer.value(outcome) == ["2026-11-20", "2026-11-20T00:00:00+00:00", day]
    found = [(one["name"], one["passed"], one["found"], one["column"]) for one in outcome["value"]["checks"]]
    assert found == [("enough", False, "3", ""), ("day", True, "2026-11-20", "day")]
    assert outcome["value"]["profile"] == {"rows": 3, "columns": {}}
    many = [{"label": label, **last} for label in ("a", "b")]
    arguments = [{"name": "many", "many": many, "lazy": True}]
    outcome, _, _ = peer.run(None, named={"module": "assets", "qualname": "sums"}, code=code, arguments=arguments)
    assert peer.value(outcome) == [["a", 1], ["b", 1]], outcome


@pytest.fixture
def bare(agents):
    """An agent whose Python has no drawbar installed."""
    for python in (PYTHONS["3.11.7"], PYTHONS["3.12.1"]):
        if os.path.exists(python):
            return agents(python=python)
    return pytest.skip("no Python without drawbar is known here")


def test_a_real_use_of_the_stand_in_says_so(bare):
    """A user would see a riddle instead of the reason."""
    outcome, _, _ = bare.run(None, 1, named={"module": "user", "qualname": "misuse"}, code=[bare.code(user=USER)])
    assert outcome["error"]["message"] == (
        "drawbar.Source is used inside a job, on a host that has no drawbar installed; there it only stands for its "
        "name. Use it where the job is submitted, or add 'drawbar' to the host's environment."
    )


STAR = """
    from drawbar import *

    days = Source("in/{partition}.txt", partitions=Daily("2024-01-01"))

    @asset(partitions=Daily("2024-01-01"), env=Env("numpy"), contract=Contract([Column("a", "int64")]))
    def lines(x: int) -> list:
        return [x, Partition.__name__, CheckResult(True, found=x).found]

    @check(lines, min=2)
    def enough(lines):
        return CheckResult(len(lines) == 3, found=len(lines))

    @expand(model=["small"])
    @asset(mappings={"lines": Last(2)})
    def both(lines: Partitioned, model: str) -> int:
        return len(lines)
"""


def test_everything_may_be_imported_by_a_star(bare):
    """`from drawbar import *` would fail on a host without drawbar, or there lack a name that it gives here."""
    assert sorted(shim._PUBLIC) == sorted(drawbar.__all__)
    checks = [{"name": "enough", "min": 2, "function": {"module": "star", "qualname": "enough"}}]
    outcome, _, err = bare.run(
        None,
        3,
        named={"module": "star", "qualname": "lines"},
        code=[bare.code(star=STAR)],
        examine={"contract": None, "checks": checks, "profile": False, "last": None},
    )
    assert outcome["state"] == "succeeded", (outcome, err)
    assert bare.value(outcome) == [3, "Partition", "3"]
    assert [(one["passed"], one["found"]) for one in outcome["value"]["checks"]] == [(True, "3")]


def test_processes_of_a_job_have_the_stand_in_too(bare):
    """A function that uses multiprocessing would fail in its children only."""
    outcome, _, _ = bare.run(None, 3, named={"module": "user", "qualname": "in_a_child"}, code=[bare.code(user=USER)])
    assert outcome["state"] == "succeeded", outcome["error"]
    assert bare.value(outcome) == 6


def test_inert_names_take_whatever_a_module_does_with_them():
    """Importing a user's module would fail on a host."""
    stand_in = shim.stand_in()

    class Mine(stand_in.Format):
        name = "mine"

    assert issubclass(stand_in.AnyError, Exception)
    assert isinstance(stand_in.Env("x", python=">=3.9"), stand_in.Env)
    assert stand_in.Asset[int] is stand_in.Asset
    assert stand_in.asset(len) is len
    assert stand_in.Param(3).description("x") is not None
    with pytest.raises(TypeError, match=r"drawbar\.Mine is used inside a job"):
        len(Mine())
    with pytest.raises(AttributeError):
        _ = stand_in.__wrapped__


def test_facts_name_interpreters_and_packages(peer):
    """Preflight could not find a fitting Python, or miss a package only at run time."""
    told = peer.ask(frames.FACTS, {"packages": ["numpy", "no-such-package"]})[0]
    assert told["packages"]["no-such-package"] is None
    assert told["packages"]["numpy"].startswith(("1.", "2."))
    assert told["interpreters"][0]["path"] == peer.hello["executable"]
    assert all(found["version"].startswith("3.") for found in told["interpreters"])
    assert told["disk"] > 0
    assert told["memory"] > 0
    assert told["cpus"] >= 1
    assert isinstance(told["gpus"], list)
    other = peer.ask(frames.FACTS, {"packages": ["pip"], "python": sys.executable})[0]
    assert set(other["packages"]) == {"pip"}


def test_nvidia_smi_is_understood(tmp_path, monkeypatch):
    """GPUs would be missed, or a device that does not count would break the rest."""
    fake = tmp_path / "nvidia-smi"
    fake.write_text(
        "#!/bin/sh\n"
        "echo '0, GPU-1, NVIDIA H200, 143771, 4, 0, 570.1'\n"
        "echo '1, GPU-2, NVIDIA GB10, [N/A], [N/A], 3, 570.1'\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    first, second = facts.gather(str(tmp_path), [])["gpus"]
    expected = {"index": 0, "uuid": "GPU-1", "name": "NVIDIA H200", "memory": 143771 << 20, "used": 4 << 20}
    assert first == {**expected, "busy": 0, "driver": "570.1"}
    assert (second["name"], second["memory"], second["busy"]) == ("NVIDIA GB10", 0, 3)
