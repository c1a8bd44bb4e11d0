"""What the fault tests have executed; each function notes in `folder` that it was, so that executions can be counted."""

import json
import os
import signal
import time
from pathlib import Path


def noted(folder):
    """One line more in `made`."""
    with (Path(folder) / "made").open("a") as file:
        file.write(f"{os.getpid()}\n")


def backwards(folder, data):
    """`data` from its end to its beginning; not before `folder`/closed is gone."""
    noted(folder)
    while (Path(folder) / "closed").exists():
        time.sleep(0.01)
    return data[::-1]


def negative(number):
    """Minus `number`."""
    return -number


def stubborn(folder):
    """Start what does not want to end: children that ignore SIGTERM, one of them in a session of its own."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if not os.fork():
        time.sleep(600)
        os._exit(0)
    if not os.fork():
        os.setsid()
        if not os.fork():
            time.sleep(600)
        os._exit(0)
    noted(folder)
    time.sleep(600)


def late(folder):
    """Give a value, and take long to end afterwards."""
    import atexit

    atexit.register(lambda: (noted(folder), time.sleep(600)))
    return "value"


def fill(folder):
    """Write into the job's folder until there is no space left on its disk; then say so."""
    noted(folder)
    try:
        with open("filler", "wb") as file:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
    except OSError as error:
        print("full:", error.errno, flush=True)
    return "filled"


def held(folder, name, seconds):
    """Be on the leased GPUs for `seconds`, and until `folder`/closed is gone; which they are.

    Each moment of it is a line of `folder`/gpus, by the clock that all processes of a machine share.
    """
    devices = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    end = time.monotonic() + seconds
    with (Path(folder) / "gpus" / f"{name}.{os.getpid()}").open("a", buffering=1) as file:
        now = 0.0
        while now < end or (Path(folder) / "closed").exists():
            now = time.monotonic()
            file.write(json.dumps([devices, now]) + "\n")
            time.sleep(0.003)
    return devices


def imported(folder, number):
    """Minus `number`, and whether a package that takes a while was there already."""
    import sys

    noted(folder)
    before = "pygments" in sys.modules
    import pygments.lexers  # noqa: F401 - the import is what counts

    return -number, before


def of_env(folder):
    """The version of the package of the Env, and of the one that it requires."""
    import leaf
    import tiny

    noted(folder)
    return tiny.VERSION, leaf.VERSION


class Tally:
    """An actor that tells in `folder`/tally of each call before it answers: a line is a call carried out."""

    def __init__(self, folder):
        self._file = (Path(folder) / "tally").open("a", buffering=1)

    def add(self, number):
        """Twice `number`, a moment later."""
        self._file.write(f"{number}\n")
        time.sleep(0.002)
        return 2 * number

    def numbers(self, first, count):
        """Yield so many numbers from `first`; the tally has each."""
        for number in range(first, first + count):
            self._file.write(f"{number}\n")
            yield number

    def pid(self):
        """The process."""
        return os.getpid()
