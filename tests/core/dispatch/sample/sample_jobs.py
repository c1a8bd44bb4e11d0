"""Functions that the dispatch tests run on every target; each shows one way in which a job can go or end."""

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

import sample_helpers


class UnpicklableError(Exception):
    """An exception that cannot be rebuilt, because its constructor wants more than it keeps."""

    def __init__(self, code, reason):
        super().__init__(f"{code}: {reason}")
        self.lock = threading.Lock()


class OddError(Exception):
    """An exception of the project's own."""


def add(left, right=1):
    """Plus."""
    return left + right


def double(number):
    """By way of another module of the project."""
    return sample_helpers.doubled(number)


def count(path):
    """Append a line to `path` and give what is in it: how often this ran, on a shared file system."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return Path(path).read_text()


def count_slowly(path, seconds):
    """Like `count`, then sleep."""
    count(path)
    time.sleep(seconds)
    return "done"


def say(out, err):
    """Print to both streams."""
    print(out)
    print(err, file=sys.stderr)
    return out + err


def say_then_wait(path):
    """Print, then wait until `path` is there."""
    print("first", flush=True)
    while not Path(path).exists():
        time.sleep(0.01)
    print("second", flush=True)
    return "waited"


def explode():
    """Raise two frames below, in another module."""
    sample_helpers.explode(1)


def explode_oddly():
    """Raise the project's own exception, with a note."""
    error = OddError("odd", 7)
    error.add_note("a note on it")
    raise error


def explode_unpicklably():
    """Raise what cannot be rebuilt."""
    raise UnpicklableError(7, "no reason")


def give_a_lock():
    """Return what cannot travel."""
    return threading.Lock()


def leave():
    """End without a value."""
    sys.exit(3)


def sleep(seconds):
    """Sleep in small steps, so that a thread can be stopped as well."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    return "slept"


def total(array):
    """Sum of an array."""
    return float(array.sum())


def same(value):
    """Give it back."""
    return value


async def awaited(number):
    """A coroutine."""
    await asyncio.sleep(0)
    return number


def rows(number):
    """A generator."""
    for one in range(number):
        yield {"row": one}


def variable(name):
    """What the environment says."""
    return os.environ.get(name)


def pair(left, right):
    """Both."""
    return [left, right]
