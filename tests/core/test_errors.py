"""The tree of errors: drawn truthfully, picklable, and readable."""

from __future__ import annotations

import inspect
import pickle

import pytest

from drawbar import errors

_CLASSES = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.DrawbarError)]


def test_the_tree_in_the_docstring_is_the_tree_of_classes():
    """Whoever reads the head of the file learns every class, and under which it stands."""
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in errors.__doc__.splitlines()[2:]:
        bare = line.lstrip(" │├└─")
        depth = (len(line) - len(bare)) // 4
        del above[depth:]
        name = bare.split()[0]
        drawn[name] = above[-1] if above else "Exception"
        above.append(name)
    assert drawn == {one.__name__: one.__base__.__name__ for one in _CLASSES}


@pytest.mark.parametrize("kind", _CLASSES)
def test_an_error_survives_pickling_with_all_it_says(kind):
    """An error that crosses a process arrives as it left."""
    error = kind("what", expected="e", found="f", todo="t", where="w")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (kind, "what\n  at: w\n  expected: e\n  found: f\n  do: t")


def test_details_that_are_not_known_leave_no_empty_lines():
    """An error that knows only its sentence is one line."""
    assert str(errors.DrawbarError("only this")) == "only this"
