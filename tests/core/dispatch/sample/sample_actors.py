"""Classes that the tests make actors of; each shows one thing that an actor can do or suffer."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path


class Counter:
    """State, and every kind of method."""

    greeting = "hello"

    def __init__(self, start=0, *, closed=None):
        self.count = start
        self._closed = closed

    def add(self, number=1):
        """Plain."""
        self.count += number
        return self.count

    def same(self, value):
        """Give it back."""
        return value

    def where(self):
        """Process and thread."""
        return os.getpid(), threading.current_thread() is threading.main_thread()

    def explode(self, text):
        """Raise."""
        raise ArithmeticError(text)

    def lock(self):
        """What cannot travel."""
        return threading.Lock()

    def loops(self):
        """A plain method may have an event loop of its own."""
        return asyncio.run(_five())

    def rows(self, number, path=None):
        """Yield; tells in a file how far it came, and that it was closed."""
        try:
            for one in range(number):
                if path:
                    Path(path).write_text(str(one))
                yield one
        finally:
            if path:
                Path(f"{path}.closed").touch()

    def rows_then_explode(self):
        """Yield, and raise."""
        yield 1
        raise ArithmeticError("after one")

    def add_and_wait(self, started, go):
        """Count, tell, and wait."""
        self.count += 1
        Path(started).touch()
        while not Path(go).exists():
            time.sleep(0.005)
        return self.count

    def leave(self, number=signal.SIGKILL):
        """Die in the middle."""
        os.kill(os.getpid(), number)
        time.sleep(60)

    def say(self, text):
        """Print."""
        print(text, flush=True)

    def secret(self):
        """A private name in public."""
        return os.environ.get("SECRET_OF_ACTORS")

    def close(self):
        """Tell that it was closed."""
        if self._closed:
            Path(self._closed).write_text(str(self.count))

    def __call__(self, number):
        """As a function."""
        return number * 2


class Meeting:
    """Asynchronous methods, and plain ones that run at the same time."""

    def __init__(self):
        self.waiting = 0
        self._barrier = threading.Barrier(4)

    async def meet(self, number):
        """Return when that many have come."""
        self.waiting += 1
        while self.waiting < number:  # noqa: ASYNC110 - an Event of an older Python belongs to the loop that made it
            await asyncio.sleep(0.002)
        return self.waiting

    async def rows(self, number):
        """Yield, asynchronously."""
        for one in range(number):
            await asyncio.sleep(0)
            yield one

    def meet_in_threads(self):
        """Return when four have come."""
        return self._barrier.wait(30) < 4


class Refuses:
    """Cannot be constructed."""

    def __init__(self):
        raise LookupError("no model there")


class Sums:
    """Uses another actor, which it was given."""

    def __init__(self, other):
        self.other = other

    def add_there(self, number):
        """By way of the other."""
        return self.other.add(number)


def add_there(actor, number):
    """A job that calls an actor."""
    return [actor.add(number), type(actor._line).__name__, sum(actor.rows(30))]


async def _five():
    await asyncio.sleep(0)
    return 5
