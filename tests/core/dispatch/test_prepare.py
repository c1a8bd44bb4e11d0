"""A Job as it travels, and what is checked before it does."""

import json
import sys
import threading

import pytest

from drawbar import Env, errors
from drawbar.agent.gpus import Device
from drawbar.agent.partition import Partition
from drawbar.checks import Check
from drawbar.config import TargetConfig
from drawbar.dispatch import envs
from drawbar.dispatch.port import Examination, Facts, Interpreter, Job, Many, Stored
from drawbar.dispatch.preflight import Needs, check_gpus, choose_python, refuse_gpus
from drawbar.dispatch.prepare import is_literal, prepare

LOADS = {"module": "json", "qualname": "loads"}


def work(left, right=1):
    """Something by value."""
    return left, right


def job_of(**fields):
    """A Job of `fields`."""
    return Job(**{"id": "a" * 64, "name": "site/work", "function": json.dumps, "run_id": "r", **fields})


def test_spec_of_an_asset():
    """Stored values go by digest, plain ones as literals; options come from job, Env and target, in that order."""
    value = Stored("d" * 64, "parquet", "pandas.DataFrame", ".parquet", 7, lambda: b"1234567")
    job = job_of(
        arguments={"table": value, "depth": 3},
        env=Env(variables={"B": "env", "C": "env"}),
        variables={"C": "job"},
        timeout=5,
        silence_timeout=60,
        gpus=1,
        gpu_memory="16GiB",
        isolate=True,
        format="json",
    )
    settings = {"variables": {"A": "target", "B": "target"}, "devices": ("24GiB",)}
    config = TargetConfig(grace=2.0, log_limit=9, trust="data", **settings)
    prepared = prepare(job, config)
    assert prepared.spec == {
        "function": {"module": "json", "qualname": "dumps"},
        "arguments": [
            {"name": "table", "blob": "d" * 64, "format": "parquet", "type": "pandas.DataFrame", "ext": ".parquet"}
        ],
        "call": None,
        "literals": {"depth": 3},
        "secret_literals": {},
        "partition": None,
        "examine": None,
        "each": "",
        "code": [],
        "result": {"format": "json", "trust": "data", "payload": False},
        "timeout": 5,
        "wait_timeout": None,
        "silence_timeout": 60,
        "gpus": 1,
        "gpu_memory": 16 << 30,
        "devices": ["24GiB"],
        "isolate": True,
        "idle_timeout": 600.0,
        "grace": 2.0,
        "log_limit": 9,
        "variables": {"A": "target", "B": "env", "C": "job"},
        "python": None,
        "env": None,
        "actor": None,
        "store": None,
    }
    assert [(blob.digest, blob.bytes) for blob in prepared.blobs] == [("d" * 64, 7)]
    assert prepared.secrets == b""
    assert prepared.by_value == ()


def test_spec_of_an_examination():
    """Checks, the last value, the partition and every value of a mapping go as the wire's document says."""
    last = Stored("e" * 64, "json", "list", ".json", 3, lambda: b"[1]")
    many = Many({"a": last, "b": Stored("f" * 64, "text", "str", ".txt", 1, lambda: b"x")}, lazy=True)
    checks = (Check(json.loads, name="json", min=1), Check(lambda value, last: True, name="later", blocking=False))
    examination = Examination(checks=checks, contract={"mode": "freeze"}, profile=True, last=last)
    day = Partition("2026-11-20")
    prepared = prepare(
        job_of(examine=examination, partition=("day", day), arguments={"parts": many}), TargetConfig(trust="data")
    )
    later = prepared.blobs[0].digest
    options = {"max": None, "description": "", "partition": False}
    assert prepared.spec["examine"] == {
        "contract": {"mode": "freeze"},
        "profile": True,
        "checks": [
            {"name": "json", "blocking": True, "min": 1, "last": False, "function": LOADS, **options},
            {"name": "later", "blocking": False, "min": None, "last": True, "function": {"blob": later}, **options},
        ],
        "last": {"blob": "e" * 64, "format": "json", "type": "list", "ext": ".json"},
    }
    assert prepared.spec["partition"] == {"name": "day", **day.to_json()}
    assert prepared.spec["arguments"] == [
        {
            "name": "parts",
            "many": [
                {"label": "a", "blob": "e" * 64, "format": "json", "type": "list", "ext": ".json"},
                {"label": "b", "blob": "f" * 64, "format": "text", "type": "str", "ext": ".txt"},
            ],
            "lazy": True,
        }
    ]
    assert [blob.digest for blob in prepared.blobs[1:]] == ["e" * 64, "f" * 64, "e" * 64]
    assert len(prepared.by_value) == 1
    assert "<lambda>" in prepared.by_value[0]


def test_last_value_goes_only_if_a_check_wants_it():
    """A last value of gigabytes would be sent for a check that does not look at it."""
    last = Stored("e" * 64, "json", "list", ".json", 3, lambda: b"[1]")
    prepared = prepare(job_of(examine=Examination(checks=(Check(json.loads),), last=last)), TargetConfig())
    assert prepared.spec["examine"]["last"] is None
    assert prepared.blobs == ()


def test_check_that_cannot_travel():
    """A check that holds a lock is refused by its name, before anything is sent."""
    lock = threading.Lock()
    check = Check(lambda value: lock.locked(), name="locked")
    with pytest.raises(errors.FormatError) as caught:
        prepare(job_of(examine=Examination(checks=(check,))), TargetConfig())
    assert caught.value.what == "The check locked of site/work cannot be pickled."


def test_spec_of_a_direct_call():
    """Arguments of a call, and values that JSON cannot hold, go in one payload."""
    prepared = prepare(job_of(call=((1,), {"b": 2}), arguments={"c": (3,), "d": 4}), TargetConfig())
    assert prepared.spec["literals"] == {"d": 4}
    assert prepared.spec["call"] == prepared.blobs[0].digest
    assert len(prepared.blobs) == 1


def test_secrets_travel_beside_the_spec(monkeypatch):
    """Secrets come from this process's environment and from the job; the spec does not know them."""
    monkeypatch.setenv("TOKEN", "hunter22")
    prepared = prepare(job_of(secrets={"OTHER": "pssst"}), TargetConfig(secrets=("TOKEN",)))
    assert json.loads(prepared.secrets) == {"TOKEN": "hunter22", "OTHER": "pssst"}
    assert "hunter22" not in json.dumps(prepared.spec)
    assert "pssst" not in repr(job_of(secrets={"OTHER": "pssst"}))
    monkeypatch.delenv("TOKEN")
    with pytest.raises(errors.PreflightError) as caught:
        prepare(job_of(), TargetConfig(secrets=("TOKEN",)))
    assert caught.value.found == "no TOKEN"


def test_a_secret_argument_is_in_no_file():
    """What a parameter's name says is secret goes in the frame of the submission, not in the spec that is kept."""
    job = Job(id="j" * 64, name="n", function=json.dumps, run_id="r", arguments={"api_token": "hunter2", "depth": 3})
    prepared = prepare(job, TargetConfig())
    assert "hunter2" not in json.dumps(prepared.spec)
    assert prepared.spec["literals"] == {"depth": 3}
    assert json.loads(prepared.secrets)[prepared.spec["secret_literals"]["api_token"]] == "hunter2"


def test_literals_are_what_json_gives_back():
    """Only values that JSON gives back as they were go as JSON."""
    assert all(map(is_literal, [None, True, 1, -1.5, "é", [], {"a": [{"b": None}]}]))
    assert not any(map(is_literal, [(1,), {1: 2}, float("nan"), float("inf"), b"", {1}, "\ud800", 10**400]))
    deep = []
    for _ in range(100):
        deep = [deep]
    assert not is_literal(deep)
    assert not is_literal(type("Text", (str,), {})("a"))


def asking(packages=None, interpreters=()):
    """A host's facts, and what was asked."""
    asked = []

    def ask(names, python):
        asked.append((tuple(names), python))
        found = tuple(Interpreter(f"/usr/bin/python{one}", one) for one in interpreters)
        return Facts(
            Interpreter("/usr/bin/python3", "3.9.18"), found, {name: (packages or {}).get(name) for name in names}
        )

    return ask, asked


HERE = "{}.{}".format(*sys.version_info)


def test_nothing_is_asked_where_nothing_is_needed():
    """A function by reference without an Env runs in whatever Python the host has, without a question."""
    ask, asked = asking()
    assert choose_python(job_of(), Needs(), "gpu", ask, "3.9.18") == (None, "3.9.18")
    assert choose_python(job_of(), Needs(("f",)), "gpu", ask, f"{HERE}.99") == (None, f"{HERE}.99")
    assert asked == []


def test_fitting_interpreter_is_picked():
    """Bytecode needs this minor version, an Env its own; the newest interpreter that fits both is taken."""
    ask, _ = asking(interpreters=["3.9.18", f"{HERE}.1", f"{HERE}.4", "3.99.0"])
    path = f"/usr/bin/python{HERE}.4"
    assert choose_python(job_of(), Needs(("f",)), "gpu", ask, "3.9.18") == (path, f"{HERE}.4")
    picked = choose_python(job_of(env=Env(python="3.99")), Needs(), "gpu", ask, "3.9.18")
    assert picked == ("/usr/bin/python3.99.0", "3.99.0")
    assert choose_python(job_of(env=Env(python=">=3.9,<3.10")), Needs(), "gpu", ask, "3.9.18") == (None, "3.9.18")


def test_no_fitting_interpreter():
    """Where none fits, the error says what is there, what is needed and why, and what to do."""
    ask, _ = asking(interpreters=["3.9.18", "3.8.1"])
    with pytest.raises(errors.PreflightError) as caught:
        choose_python(job_of(), Needs(("<lambda>", "<lambda>", "f")), "gpu", ask, "3.9.18")
    assert caught.value.what == "gpu has no Python that fits site/work."
    assert caught.value.expected == f"Python {HERE} (<lambda>, f goes by value, as bytecode, which fits no other)"
    assert caught.value.found == "Python 3.9.18, 3.8.1"
    assert caught.value.todo == (
        "install that Python on gpu, "
        "or move what is defined in __main__, a notebook or another function into a module of the project"
    )


def test_packages_are_checked_in_the_python_that_runs():
    """Where no Env is built, what the chosen interpreter has must do; the error is a command to run."""
    ask, asked = asking({"numpy": "1.26.4", "pandas": "2.2.0"}, ["3.12.1"])
    job = job_of(env=Env("NumPy>=2", "pandas", "torch", "x; python_version < '3'", python=">=3.12"))
    with pytest.raises(errors.PreflightError) as caught:
        choose_python(job, Needs(), "gpu", ask, "3.9.18")
    assert asked[-1] == (("numpy", "pandas", "torch"), "/usr/bin/python3.12.1")
    assert caught.value.what == "gpu lacks what site/work requires."
    assert caught.value.found == "numpy>=2 (it has 1.26.4), torch (not installed)"
    assert caught.value.todo.startswith("install it there: /usr/bin/python3.12.1 -m pip install 'numpy>=2' 'torch'")


def test_gpus_are_refused():
    """This process leases none, and a host is not asked for what it can never give."""
    for wanted in ({"gpus": 2}, {"gpu_memory": "40GB"}):
        with pytest.raises(errors.PreflightError, match="this process, which cannot lease any"):
            refuse_gpus(job_of(**wanted))
        with pytest.raises(errors.PreflightError, match="gpu can never give site/work the GPUs") as caught:
            check_gpus(job_of(**wanted), "gpu", [Device("0", 0, "NVIDIA A10", 24 << 30)])
        assert "24 GiB" in caught.value.found
    assert refuse_gpus(job_of()) is None
    assert check_gpus(job_of(gpu_memory="20GiB"), "gpu", [Device("0", 0, "NVIDIA A10", 24 << 30)]) is None


def test_env_digest():
    """An Env's identity is what it asks for, not how it is written."""
    assert envs.digest(Env("a", "b>=1")) == envs.digest(Env("B >= 1", "A"))
    assert envs.digest(Env("a", python="3.11")) == envs.digest(Env("a", python="==3.11.*"))
    different = [
        Env(),
        Env("a"),
        Env("a==1"),
        Env("a", python="3.11"),
        Env("a", variables={"X": "1"}),
    ]
    assert len({envs.digest(one) for one in different}) == len(different)


@pytest.mark.parametrize("env", [Env("numpy >= two"), Env("a b"), Env(python="three")])
def test_wrong_env(env):
    """A requirement or version that is none is an error which shows it."""
    with pytest.raises(errors.OptionError) as caught:
        envs.digest(env)
    assert "is not a" in caught.value.what
    assert caught.value.todo
