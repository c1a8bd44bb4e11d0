"""Functions that the fault tests have executed; each notes in `folder` that it was, so that executions can be counted."""

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
