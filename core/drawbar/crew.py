"""The hands and the voice of a walk: threads that take works, and the teller that passes facts to listeners."""

from __future__ import annotations

import contextlib
import ctypes
import queue
import threading
import warnings
from collections.abc import Callable

from drawbar.events import Event, Listener


class Teller:
    """Tells every listener every event, one event at a time; a listener that raises is reported once and left out."""

    def __init__(self, listeners: list[Listener]) -> None:
        self._listeners, self._lock = listeners, threading.Lock()

    @property
    def heard(self) -> bool:
        """Whether anybody listens; without, events need not be made."""
        return bool(self._listeners)

    def __call__(self, event: Event) -> None:
        """Tell all of them."""
        with self._lock:
            for one in list(self._listeners):
                try:
                    one(event)
                except Exception as error:
                    self._listeners = [other for other in self._listeners if other is not one]
                    warnings.warn(f"{one!r} raised {error!r} and hears no more of this run", stacklevel=2)


class Crew:
    """At most `size` daemon threads that take works as they come; a thread that hangs cannot keep the process alive."""

    def __init__(self, size: int, name: str, *, eager: bool = True) -> None:
        self._size, self._name, self._eager = size, name, eager
        self._works: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.threads: list[threading.Thread] = []
        self._busy = 0
        self._lock = threading.Lock()

    def do(self, work: Callable[[], None]) -> None:
        """Have the work done by the next free thread."""
        with self._lock:
            self._busy += 1
            if not self.threads or (self._eager and self._busy > len(self.threads)):
                self._hire()
        self._works.put(work)

    @property
    def waiting(self) -> bool:
        """Whether works wait for a thread."""
        return not self._works.empty()

    @property
    def wanting(self) -> bool:
        """Whether works wait that another thread could take."""
        return len(self.threads) < self._size and self.waiting

    def relieve(self) -> None:
        """Add a thread, if works wait that it could take."""
        with self._lock:
            if self.wanting:
                self._hire()

    def _hire(self) -> None:
        if len(self.threads) < self._size:
            thread = threading.Thread(target=self._serve, name=f"{self._name}-{len(self.threads)}", daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        # An interrupt may come when the work that it was meant for has just ended: it ends the thread, quietly.
        with contextlib.suppress(KeyboardInterrupt):
            while (work := self._works.get()) is not None:
                try:
                    work()
                finally:
                    with self._lock:
                        self._busy -= 1

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in every thread, at its next step of Python code."""
        for thread in self.threads:
            if thread.ident is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt)
                )

    def dismiss(self) -> None:
        """Let the threads go once they have done what was handed to them."""
        for _ in self.threads:
            self._works.put(None)
