"""What goes by reference and what by value."""

import importlib.util
import subprocess
import sys
import threading
from collections import OrderedDict

import pytest

from drawbar import errors
from drawbar.dispatch import payload


def loaded(pickled):
    """The value in what `dump` gave."""
    return payload.load(bytearray(b"".join(map(bytes, pickled.parts))))


def nested():
    """A function that only exists while this one runs."""
    import zipfile

    def inner(number):
        return number + len(zipfile.__name__)

    return inner


def test_reference():
    """What a module gives under its name goes by that name; all else does not."""
    assert payload.reference(OrderedDict) == ("collections", "OrderedDict")
    assert payload.reference(OrderedDict.fromkeys) is None
    assert payload.reference(len) == ("builtins", "len")
    assert payload.reference(nested()) is None
    assert payload.reference(lambda: 1) is None


def test_what_goes_by_value_is_named():
    """A payload tells which functions are inside as bytecode, and which modules it needs."""
    pickled = payload.dump((nested(), threading.Thread))
    assert pickled.by_value == ("nested.<locals>.inner",)
    assert {"zipfile", "threading"} <= pickled.modules
    assert loaded(pickled)[0](1) == 8
    assert payload.dump([1, {"a": (2, 3)}]).by_value == ()


def test_import_inside_a_function_counts():
    """A module that a function imports when it is called is needed, too."""

    def late():
        import wave

        return wave

    assert "wave" in payload.dump(late).deferred


def test_arrays_are_not_copied():
    """A big buffer is a view of the array, and comes back writable."""
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(100_000)
    pickled = payload.dump(((array,), {}))
    assert any(isinstance(one, memoryview) and one.nbytes == array.nbytes for one in pickled.parts)
    back = loaded(pickled)[0][0]
    back[0] = 7
    assert (array[0], back[0], back[1]) == (0, 7, 1)


def test_module_without_a_root_goes_by_value(tmp_path):
    """Functions of a file that was loaded under another name travel by value, with all they use of it."""
    file = tmp_path / "other-name.py"
    file.write_text("base = 5\ndef helper(n): return n + base\ndef main(n): return helper(n)\n")
    spec = importlib.util.spec_from_file_location("stray_module", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["stray_module"] = module
    spec.loader.exec_module(module)
    try:
        pickled = payload.dump(module.main)
    finally:
        del sys.modules["stray_module"]
    assert set(pickled.by_value) == {"main", "helper"}
    assert loaded(pickled)(1) == 6


def test_main_goes_by_value(tmp_path):
    """A script's own functions and classes travel by value, and its instances come back as its own."""
    script = tmp_path / "script.py"
    script.write_text(
        "from dataclasses import dataclass\n"
        "from drawbar.config import Config, TargetConfig\n"
        "from drawbar.dispatch.target import Target, dispatcher\n"
        "import sys\n"
        "@dataclass\n"
        "class Point:\n"
        "    x: int\n"
        "def move(point, by=1):\n"
        "    return Point(point.x + by)\n"
        "if __name__ == '__main__':\n"
        "    config = TargetConfig(root=sys.argv[1])\n"
        "    target = Target('worker', dispatcher('worker', config), config)\n"
        "    assert target.function(move)(Point(1)) == Point(2)\n"
        "    print('fine')\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "root")], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_what_cannot_be_pickled():
    """The error says what it was and what to do."""
    with pytest.raises(errors.FormatError) as caught:
        payload.dump([threading.Lock()], what="An argument of train")
    assert caught.value.what == "An argument of train cannot be pickled."
    assert caught.value.found == "TypeError: cannot pickle '_thread.lock' object"
    assert caught.value.todo == "pass plain data, and open files, connections, locks and the like inside the function"


def test_broken_exception_is_none():
    """An exception that cannot be rebuilt is nothing, not another error."""
    import pickle

    assert payload.load_exception(b"no pickle") is None
    assert payload.load_exception(pickle.dumps("no exception")) is None
    assert isinstance(payload.load_exception(pickle.dumps(ValueError(1))), ValueError)
