"""How an ending becomes the error that a person reads."""

import pytest

from drawbar import errors
from drawbar.dispatch.outcome import Failure, Outcome, ValueRef
from drawbar.events import Costs

WIRE = {
    "state": "succeeded",
    "cause": "value",
    "value": {
        "digest": "d",
        "bytes": 3,
        "format": "parquet",
        "type": "t",
        "ext": ".parquet",
        "rows": 2,
        "columns": [["a", "int64"]],
    },
    "error": None,
    "exit": None,
    "signal": None,
    "costs": {"queue": 1.0, "setup": 0.5, "compute": 2.0, "peak_memory": 4},
    "started": 1.0,
    "ended": 3.0,
    "host": "box",
    "python": "3.11.7",
    "pid": 7,
    "dropped": {"stdout": 5, "stderr": 0},
}


def test_what_was_found_comes_with_the_value():
    """Check outcomes and the profile of a value that was made on a host would be lost on the way."""
    check = {
        "name": "enough",
        "passed": False,
        "blocking": True,
        "expected": "2",
        "found": "1",
        "details": {},
        "column": "",
    }
    value = {**WIRE["value"], "checks": [check], "profile": {"rows": 1, "columns": {}}}
    outcome = Outcome.from_wire({**WIRE, "value": value})
    assert outcome.ok
    assert outcome.value.checks == (check,)
    assert outcome.value.profile == {"rows": 1, "columns": {}}
    assert hash(outcome.value) == hash(Outcome.from_wire(WIRE).value)


def test_refused_input_is_a_check_error():
    """An input that its parameter's schema refuses would look like a fault of the function."""
    check = {"name": "schema of urls", "passed": False, "expected": "a column url", "found": "none", "column": "url"}
    error = {"type": "CheckError", "module": "drawbar.errors", "message": "m", "traceback": "", "checks": [check]}
    told = {**WIRE, "state": "failed", "cause": "check", "value": None, "error": error}
    caught = Outcome.from_wire(told, name="site/train").exception()
    assert isinstance(caught, errors.CheckError)
    assert caught.what == "site/train was not called: urls is not as annotated."
    assert (caught.expected, caught.found, caught.checks) == ("a column url", "none", (check,))


def test_from_wire():
    """Everything that a host tells of an end is there."""
    outcome = Outcome.from_wire(WIRE, name="site/train")
    assert outcome.ok
    assert outcome.raise_() is None
    assert outcome.value == ValueRef("d", 3, "parquet", "t", ".parquet", 2, (("a", "int64"),))
    assert outcome.costs == Costs(queue=1.0, setup=0.5, compute=2.0, peak_memory=4, host="box")
    assert (outcome.started, outcome.ended, outcome.dropped["stdout"]) == (1.0, 3.0, 5)


@pytest.mark.parametrize(
    ("state", "cause", "more", "kind", "what"),
    [
        (
            "killed",
            "signal",
            {"signal": 11},
            errors.KilledError,
            "site/train was killed by signal 11 (SIGSEGV) on box.",
        ),
        (
            "killed",
            "exit",
            {"exit": 3},
            errors.KilledError,
            "site/train ended by its own exit with status 3, without a value on box.",
        ),
        ("timed_out", "timeout", {}, errors.TimedOutError, "site/train ran longer than it may and was stopped on box."),
        ("cancelled", "cancel", {}, errors.CancelledError, "site/train was cancelled on box."),
        (
            "out_of_memory",
            "oom_killer",
            {},
            errors.OutOfMemoryError,
            "site/train was killed by the kernel because memory ran out on box.",
        ),
        ("lost", "reboot", {}, errors.LostError, "site/train was lost: box was restarted while it ran."),
        (
            "lost",
            "lost",
            {},
            errors.LostError,
            "site/train was lost on box: its supervisor is gone and nobody can say how it ended.",
        ),
        ("from", "the future", {}, errors.LostError, "site/train ended as from (the future) on box."),
    ],
)
def test_endings(state, cause, more, kind, what):
    """Each ending has its own error and its own sentence, and the error holds the outcome."""
    outcome = Outcome(name="site/train", state=state, cause=cause, host="box", **more)
    with pytest.raises(kind) as caught:
        outcome.raise_()
    assert type(caught.value) is kind
    assert caught.value.what == what
    assert caught.value.outcome is outcome


def failed(cause="exception", state="failed", **error):
    """The outcome of a function that raised."""
    failure = Failure(
        **{"type": "ValueError", "module": "builtins", "message": "bad", "traceback": "Traceback …", **error}
    )
    return Outcome(name="site/train", state=state, cause=cause, host="box", error=failure)


def test_exception_that_cannot_be_rebuilt():
    """A RemoteError carries type, message and traceback, and shows the traceback below itself."""
    error = failed().exception()
    assert isinstance(error, errors.RemoteError)
    assert error.what == "site/train raised ValueError: bad"
    assert (error.type_name, error.message, error.traceback) == ("builtins.ValueError", "bad", "Traceback …")
    assert error.__notes__ == ["Traceback …"]


def test_original_exception_is_raised():
    """The user's own exception comes first, with the host's account as its cause."""
    original = ValueError("bad")
    with pytest.raises(ValueError, match="bad") as caught:
        failed(exception=original).raise_()
    assert caught.value is original
    assert isinstance(original.__cause__, errors.RemoteError)


def test_cuda_out_of_memory():
    """CUDA without memory is out of memory, whatever class a library raises for it."""
    error = failed(
        "cuda_oom", "out_of_memory", type="OutOfMemoryError", module="torch", message="tried 2 GiB"
    ).exception()
    assert isinstance(error, errors.OutOfMemoryError)
    assert error.what == "site/train ran out of GPU memory on box: tried 2 GiB"
    assert error.todo == "make it need less GPU memory, or choose a target that has more"


def test_setup_failure():
    """A job that never reached its function says so, and why."""
    error = failed("setup", type="ModuleNotFoundError", message="No module named 'torch'").exception()
    assert error.what == "site/train could not be set up on box: ModuleNotFoundError: No module named 'torch'"


def test_value_that_cannot_be_sent():
    """What the host says about the value becomes the error's details."""
    notes = ("expected: plain data", "found: a lock", "do: return text", "another note")
    error = failed("unpicklable_value", message="It does not fit.", notes=notes).exception()
    assert str(error) == (
        "site/train returned what cannot be sent back from box. It does not fit.\n"
        "  expected: plain data\n  found: a lock\n  do: return text"
    )
