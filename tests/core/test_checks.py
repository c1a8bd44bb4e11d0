"""`@check` and `checks=[…]`: what can be a check, what it is called, and what people are told who write it wrongly."""

import functools
import inspect

import pytest

from drawbar import checks, errors
from drawbar.agent.checking import CheckResult
from drawbar.checks import CHECK_ATTRIBUTE, Check, Examination, as_check, check


def pages():
    """An asset."""


def enough(value):
    """A check."""
    return len(value)


def test_the_function_comes_back():
    """A decorated check could not be called or tested as it was."""

    def mine(value):
        return True

    made = check(pages)(mine)
    assert made is mine
    (found,) = getattr(mine, CHECK_ATTRIBUTE)
    assert (found.name, found.of, found.fn, found.blocking) == ("mine", pages, mine, True)
    assert found.where == f"{__file__}:{mine.__code__.co_firstlineno}"
    assert (found.file, found.line) == (__file__, mine.__code__.co_firstlineno)


def test_one_function_checks_two_assets():
    """A check that is right for several assets would have to be written for each."""

    @check(pages, min=1)
    @check("site/others", name="some", max=5, blocking=False, description="a few")
    def count(value):
        return len(value)

    first, second = getattr(count, CHECK_ATTRIBUTE)
    assert (first.of, first.name, first.min, first.max, first.blocking) == (pages, "count", 1, None, True)
    assert (second.of, second.name, second.min, second.max, second.blocking) == ("site/others", "some", None, 5, False)
    assert second.to_dict() == {
        "name": "some",
        "blocking": False,
        "min": None,
        "max": 5,
        "description": "a few",
        "last": False,
        "partition": False,
    }


def test_what_a_check_takes():
    """A check would not receive the last value or the partition, or be refused for a parameter of its own."""

    def everything(value, last, *args, factor=2, partition=None, **kwargs):
        return True

    assert (Check(everything).wants_last, Check(everything).wants_partition) == (True, True)
    assert (Check(enough).wants_last, Check(enough).wants_partition) == (False, False)
    assert not Check(lambda last: True).wants_last
    assert Check(functools.partial(lambda value, n, last: True, n=1)).wants_last
    assert not Check(lambda *values: True).wants_last


def test_names():
    """Two lambdas would be indistinguishable in a record, or a partial have no name."""
    assert as_check(enough, "here:1").name == "enough"
    assert as_check(lambda value: True, "here:1", 3).name == "check_3"
    assert as_check(functools.partial(enough), "here:1").name == "enough"
    assert as_check(functools.partial(lambda value, n: True, n=1), "here:1", 2).name == "check_2"
    made = Check(len, name="size", min=1)
    assert as_check(made, "here:1") is made
    assert as_check(Check(lambda value: True), "here:1", 4).name == "check_4"
    assert getattr(check(pages)(lambda value: True), CHECK_ATTRIBUTE)[0].name == "check"


def refused(make):
    """The error of a check that cannot be."""
    with pytest.raises(errors.OptionError) as caught:
        make()
    return caught.value


def line_of(fn):
    """`file:line` of a function here."""
    return f"{__file__}:{inspect.unwrap(fn).__code__.co_firstlineno}"


@pytest.mark.parametrize("value", [3, "enough", None, CheckResult(True), type("T", (), {}), [enough]])
def test_what_is_no_function(value):
    """Anything callable or not would be taken for a check, and fail when the work is done."""
    error = refused(lambda: as_check(value, "pipeline.py:7"))
    assert error.what == f"{value!r} cannot be a check."
    assert (error.expected, error.found) == ("a function of the value", type(value).__name__)
    assert error.where == "pipeline.py:7"


def test_parameters_that_nobody_fills():
    """A check that wants more than there is would fail on the host."""

    def two(value, other):
        return True

    def none():
        return True

    def only_named(*, value):
        return True

    error = refused(lambda: check(pages)(two))
    assert error.what == "The check two has a parameter that nobody fills."
    assert (error.found, error.where) == ("other", line_of(two))
    error = refused(lambda: check(pages)(none))
    assert (error.what, error.found) == ("The check none does not take the value.", "no parameter")
    assert refused(lambda: check(pages)(only_named)).found == "(value)"
    assert refused(lambda: as_check(lambda: True, "x:1")).what == "The check lambda does not take the value."


@pytest.mark.parametrize(
    ("options", "what", "found"),
    [
        ({"min": 5, "max": 1}, "No number can pass this check.", "min=5, max=1"),
        ({"min": "1"}, "The min of a check is not a number.", "'1'"),
        ({"max": float("nan")}, "The max of a check is not a number.", "nan"),
        ({"min": float("inf")}, "The min of a check is not a number.", "inf"),
        ({"max": True}, "The max of a check is not a number.", "True"),
        ({"name": "a\nb"}, "A check cannot have that name.", r"'a\nb'"),
        ({"name": "x" * 201}, "A check cannot have that name.", repr("x" * 201)),
        ({"blocking": "warn"}, "The check enough has a `blocking` that is neither True nor False.", "'warn'"),
    ],
)
def test_options_that_make_no_sense(options, what, found):
    """A check that can never pass, or a record that cannot be written, would show after the work."""
    error = refused(lambda: check(pages, **options)(enough))
    assert (error.what, error.found) == (what, found)
    assert error.where == line_of(enough)


def test_decorators_on_the_wrong_things():
    """`@check` without its asset would check nothing, and say nothing."""
    assert refused(lambda: check(3)).what == "@check cannot be of 3."
    assert refused(lambda: check("")).found == "str"
    assert refused(lambda: check(pages)(len)).what == f"@check cannot decorate {len!r}."
    left = check(enough)
    error = left.unused("enough", "pipeline.py:3")
    assert error.what == "enough is not a check yet."
    assert (error.found, error.where) == ("@check above enough, without the asset", "pipeline.py:3")
    assert check("pages").unused("rest").found == "check('pages') alone"


def test_examined_in_this_process():
    """A value made in this process would escape its checks."""

    def grown(value, last, partition):
        return CheckResult(len(value) > len(last), found=partition)

    asked = Examination(checks=(Check(grown), Check(enough, min=3, blocking=False)), profile=True)
    assert asked.wants_last
    value, found = checks.examined([1, 2], asked, pages, "2026-11-20", lambda: [1])
    assert value == [1, 2]
    assert [(one["name"], one["passed"], one["found"]) for one in found["checks"]] == [
        ("grown", True, "2026-11-20"),
        ("enough", False, "2"),
    ]
    assert found["profile"] == {"rows": 2, "columns": {}}
    assert not Examination(checks=(Check(enough, min=1),)).wants_last
    assert checks.input_outcomes(pages, {}) == []


def outcome(name, **fields):
    """A failed outcome."""
    return {"name": name, "passed": False, "blocking": True, "expected": "e", "found": "f", "column": "", **fields}


def test_a_refusal_says_which_and_what():
    """The error of a failed check would not say which check, what was expected and what was found."""
    passed, warned = outcome("fine", passed=True), outcome("odd", blocking=False)
    error = checks.refusal("site/pages", [passed, warned, outcome("enough")], "pipeline.py:3", "/store/x.json")
    assert isinstance(error, errors.CheckError)
    assert error.what == "site/pages failed its check enough."
    assert (error.expected, error.found, error.where) == ("e", "f", "pipeline.py:3")
    assert error.todo == "look at the value, which is kept at /store/x.json, then mend what makes it, or the check"
    assert len(error.checks) == 3


def test_a_refusal_of_many():
    """A hundred failed columns would fill the screen."""
    many = [outcome("schema", column=f"c{number}") for number in range(8)] + [outcome("enough", found="")]
    error = checks.refusal("site/pages", many)
    assert error.what == "site/pages failed 2 checks: schema, enough."
    assert error.found == "; ".join(f"schema of c{number}: f" for number in range(5)) + "; and 3 more"
    assert error.todo == "mend what makes it, or the check"


def test_a_refusal_of_inputs():
    """An asset that was never called would be blamed for its input."""
    one, two = outcome("schema of urls", column="url"), outcome("schema of scores")
    error = checks.refusal("site/pages", [one, one])
    assert error.what == "site/pages was not called: urls is not as annotated."
    assert error.todo == "mend what makes that input, or the schema that the parameter is annotated with"
    assert checks.refusal("x", [one, two]).what == "x was not called: urls, scores are not as annotated."
