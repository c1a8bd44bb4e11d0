"""What every target owes to checks, partitions and parameters over many values: the same in this process and on hosts."""

import importlib
from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from places import job_of, run, stored, value_of

from drawbar import errors
from drawbar.agent.partition import Partition
from drawbar.checks import Check
from drawbar.dispatch.port import Examination, Many

BERLIN = ZoneInfo("Europe/Berlin")
DAY = Partition("2026-11-20", datetime(2026, 11, 20, tzinfo=BERLIN), datetime(2026, 11, 21, tzinfo=BERLIN))


@pytest.fixture(scope="module")
def sample(jobs):
    """The user's module of checks."""
    return importlib.import_module("sample_checks")


def collected(place, job):
    """How a job ended."""
    return place.dispatcher.collect(place.dispatcher.submit(job), timeout=60)


def outcomes(place, job):
    """The check outcomes of a job by name, which must have left its value."""
    outcome = collected(place, job)
    outcome.raise_()
    return {one["name"]: one for one in outcome.value.checks}


def examination(*checks, **options):
    """An Examination of these functions or Checks."""
    made = tuple(one if isinstance(one, Check) else Check(one) for one in checks)
    return Examination(checks=made, **options)


def test_checks_run_where_the_value_is(place, sample):
    """A number against bounds, and a check with the value before, are told with the value."""
    last, _ = stored([1, 2, 3, 4])
    asked = examination(Check(sample.enough, min=2), Check(sample.grown, blocking=False), last=last)
    found = outcomes(place, job_of(sample.rows, count=3, examine=asked))
    assert found["enough"] == {
        "name": "enough",
        "passed": True,
        "blocking": True,
        "expected": "at least 2",
        "found": "3",
        "details": {"value": 3},
        "column": "",
    }
    assert (found["grown"]["passed"], found["grown"]["blocking"]) == (False, False)
    assert found["grown"]["details"] == {"before": [1, 2, 3, 4]}


def test_no_value_before(place, sample):
    """The first time there is no last value, and a check that wants one receives None."""
    assert outcomes(place, job_of(sample.rows, count=1, examine=examination(sample.grown)))["grown"]["passed"]


def test_last_value_is_read_only_if_wanted(place, sample):
    """A large last value would be sent for a check that does not look at it."""
    last, reads = stored(["x"] * 1000)
    job = job_of(sample.rows, count=3, examine=examination(Check(sample.enough, min=1), last=last))
    assert outcomes(place, job)["enough"]["passed"]
    assert reads == []


def test_failed_checks_keep_the_value(place, sample):
    """A value that fails a blocking check, or a check that raises, would be lost for inspection."""
    asked = examination(Check(sample.enough, min=5), sample.broken, sample.each_row)
    outcome = collected(place, job_of(sample.rows, count=3, examine=asked))
    assert value_of(place, outcome) == [0, 1, 2]
    failed = [one for one in outcome.value.checks if not one["passed"]]
    assert [(one["name"], one["column"], one["found"].partition(",")[0]) for one in failed] == [
        ("enough", "", "3"),
        ("broken", "", "TypeError: list indices must be integers or slices"),
        ("each_row", "row 1", "1"),
    ]
    assert "at sample_checks.py:" in failed[1]["found"]
    assert len(outcome.value.checks) == 5


def test_what_a_check_changes_is_not_kept(place, sample):
    """A check that changes the value in place would change what is kept, and what is told of it."""
    pytest.importorskip("numpy")
    asked = examination(sample.spoils, sample.spoils, profile=True)
    outcome = collected(place, job_of(sample.rows, count=3, examine=asked))
    assert value_of(place, outcome) == [0, 1, 2]
    asked = examination(sample.filled, profile=True)
    outcome = collected(place, job_of(sample.steps, count=3, examine=asked))
    assert value_of(place, outcome).tolist() == [0.0, 1.0, 2.0]
    assert [one["max"] for one in outcome.value.profile["columns"].values()] == [2.0]


def test_checks_by_value(place, sample):
    """Lambdas and partials are checks like any other."""
    asked = examination(
        Check(lambda value: len(value) == 3, name="three"),
        Check(partial(lambda value, most: len(value) <= most, most=2), name="few"),
    )
    found = outcomes(place, job_of(sample.rows, count=3, examine=asked))
    assert (found["three"]["passed"], found["few"]["passed"]) == (True, False)


def test_a_check_that_cannot_be_imported_fails_before_the_work(agent_place, sample):
    """A host that lacks a check's module would find out only when the work is done."""

    def absent(value):
        return value

    absent.__module__, absent.__qualname__ = "sample_checks", "absent"
    sample.absent = absent
    try:
        outcome = collected(agent_place, job_of(sample.rows, count=3, examine=examination(absent)))
    finally:
        del sample.absent
    assert (outcome.state, outcome.cause) == ("failed", "setup")
    assert "absent" in outcome.error.message


def test_checks_do_not_count_as_compute(place, sample):
    """A slow check would be told as the asset's own cost."""
    slow = Check(lambda _: __import__("time").sleep(0.4) or True, name="slow")
    outcome = collected(place, job_of(sample.rows, count=1, examine=examination(slow)))
    assert outcome.value.checks[0]["passed"]
    assert outcome.costs.compute < 0.3


def test_partition_reaches_function_and_checks(place, sample):
    """A partition arrives with its key, its window and its zone, in a function and in its checks."""
    asked = examination(sample.of_its_day)
    outcome = collected(place, job_of(sample.day_of, partition=("partition", DAY), examine=asked))
    assert value_of(place, outcome) == [
        "2026-11-20",
        "2026-11-20T00:00:00+01:00",
        "2026-11-21T00:00:00+01:00",
        "Europe/Berlin",
    ]
    assert outcome.value.checks[0]["passed"]


def test_partition_for_checks_alone(place, sample):
    """A function that takes no partition is called without, and its checks have it all the same."""
    job = job_of(sample.rows, count=1, partition=("", DAY), examine=examination(sample.of_its_day))
    assert outcomes(place, job)["of_its_day"]["passed"]


def test_partition_comes_back_as_itself(place, sample):
    """A value that holds its Partition could not be read on the client."""
    assert run(place, job_of(sample.partition_back, partition=("partition", DAY))) == [DAY]
    utc = Partition("a|b", datetime(2026, 1, 1, tzinfo=UTC), None, {"one": "a", "two": "b"})
    assert run(place, job_of(sample.partition_back, partition=("partition", utc))) == [utc]


def test_many_values_behind_one_parameter(place, sample):
    """A parameter over many partitions receives them by label, in their order, each sent by its digest."""
    first, reads = stored([1, 2])
    second, _ = stored("text")
    many = Many({"2026-11-20": first, "2026-11-19": second})
    expected = ["dict", ["2026-11-20", "2026-11-19"], [[1, 2], "text"]]
    assert run(place, job_of(sample.kind_of_many, many=many)) == expected
    assert run(place, job_of(sample.kind_of_many, many=Many({}))) == ["dict", [], []]
    assert place.root is None or len(reads) == 1


def test_many_values_one_at_a_time(place, sample):
    """A mapping that is too big for memory is read value by value."""
    many = Many({f"{day:02}": stored([day, day])[0] for day in range(1, 20)}, lazy=True)
    assert run(place, job_of(sample.lazily, many=many)) == [19, [[f"{day:02}", 2 * day] for day in range(1, 20)]]


def test_blobs_of_many_and_checks_are_asked_for(agent_place, sample):
    """A job would start on a host that lacks one of its values, and fail in the middle."""
    one, _ = stored(["some value of its own", str(DAY)])
    broken = Many({"a": one, "b": type(one)("0" * 64, "json", "list", ".json", 3, lambda: b"[1]")})
    with pytest.raises(errors.DrawbarError):
        agent_place.dispatcher.submit(job_of(sample.kind_of_many, many=broken))


def test_schema_of_an_input(place, jobs):
    """An input that is not as its parameter's schema says would reach the function."""
    pd = pytest.importorskip("pandas")
    schemas = importlib.import_module("sample_schemas")
    good, _ = stored(pd.DataFrame({"score": [0.5, 1.0]}))
    bad, _ = stored(pd.DataFrame({"score": [0.5, -1.0], "more": [1, 2]}))
    outcome = collected(place, job_of(schemas.doubled, scores=good, examine=Examination()))
    assert value_of(place, outcome)["score"].tolist() == [1.0, 2.0]
    assert [(one["name"], one["passed"]) for one in outcome.value.checks] == [("schema", True)]
    outcome = collected(place, job_of(schemas.doubled, scores=bad, examine=Examination()))
    assert (outcome.state, outcome.cause, outcome.value) == ("failed", "check", None)
    with pytest.raises(errors.CheckError) as caught:
        outcome.raise_()
    assert caught.value.what == "site/doubled was not called: scores is not as annotated."
    assert caught.value.expected == "greater_than_or_equal_to(0)"
    assert caught.value.found == "1 value not so: -1.0"
    assert caught.value.checks[0]["column"] == "score"
    assert run(place, job_of(schemas.doubled, scores=bad))["score"].tolist() == [1.0, -2.0]


def test_schema_of_a_value(place, jobs):
    """A value that is not as its return annotation says would be used."""
    schemas = importlib.import_module("sample_schemas")
    found = outcomes(place, job_of(schemas.scored, scores=[2.0, 7.0], examine=Examination()))
    assert (found["schema"]["passed"], found["schema"]["column"]) == (False, "score")


def test_contract_and_profile(place, jobs):
    """A contract discards where the value is, and the profile is of what is kept."""
    schemas = importlib.import_module("sample_schemas")
    contract = {
        "mode": "discard_columns",
        "extra": "discard_columns",
        "columns": [{"name": "score", "type": "float64", "nullable": True, "mode": ""}],
    }
    outcome = collected(place, job_of(schemas.wide, examine=Examination(contract=contract, profile=True)))
    assert list(value_of(place, outcome).columns) == ["score"]
    assert outcome.value.profile["rows"] == 2
    assert list(outcome.value.profile["columns"]) == ["score"]
    assert {one["name"] for one in outcome.value.checks} == {"contract"}


def test_plain_jobs_are_not_examined(place, jobs):
    """A direct call, or a job without demands, tells nothing of its value and pays nothing for it."""
    outcome = collected(place, job_of(jobs.add, left=1))
    assert (outcome.value.checks, outcome.value.profile) == ((), None)


def test_secrets_are_masked_in_outcomes(agent_place, sample, monkeypatch):
    """A check that tells a secret would put it into records and lineage."""
    monkeypatch.setenv("SECRET_OF_CHECKS", "s3cr3t-value-27182")
    target = agent_place.with_config(secrets=("SECRET_OF_CHECKS",))
    job = job_of(sample.rows, count=1, examine=examination(sample.reads_secret))
    outcome = target.dispatcher.collect(target.dispatcher.submit(job), timeout=60)
    assert outcome.value.checks[0]["found"] == "it is ***"
    assert outcome.value.checks[0]["details"] == {"also": ["***"]}
