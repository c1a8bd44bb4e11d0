"""A function that runs on a target: called like the function itself, or submitted, or mapped.

Made by `Target.function`. Arguments go as one payload, output comes back live to this process's stdout and stderr, and
so does the value, or the exception with the host's traceback.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, TypeVar

from drawbar.agent import encoding
from drawbar.asset import Env
from drawbar.dispatch import calls
from drawbar.dispatch.port import Dispatcher, Handle, Job, Outcome
from drawbar.errors import CancelledError, FormatError

P = ParamSpec("P")
R = TypeVar("R")
_WAIT = 30.0
PARALLEL = 64
"""How many calls of a `map` are under way at a time, unless the caller says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """How calls are made; see `Target.function`."""

    env: Env | None = None
    gpus: int = 0
    gpu_memory: str | None = None
    timeout: float | None = None
    wait_timeout: float | None = None
    silence_timeout: float | None = None
    isolate: bool = False
    key: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    quiet: bool = False


class RemoteFunction(Generic[P, R]):
    """`function`, running on a target. Calling it blocks; `submit` and `map` do not.

    >>> import drawbar
    >>> upper = drawbar.target("here").function(str.upper)
    >>> upper("a"), upper.submit("b").result(), list(upper.map("cd"))
    ('A', 'B', ['C', 'D'])
    """

    def __init__(self, dispatcher: Dispatcher, function: Callable[P, R], options: CallOptions, trust: str) -> None:
        functools.update_wrapper(self, function)
        self._dispatcher = dispatcher
        self._function = function
        self._options = options
        self._trust = trust

    def __repr__(self) -> str:
        return f"<{_name(self._function)} on {self._dispatcher.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's value; what it prints is printed here meanwhile. Raises its exception, or a JobError.

        Ctrl-C cancels the job, unless it has a `key`: then it goes on, and the same call attaches to it.
        """
        future = self.submit(*args, **kwargs)
        try:
            return future.result()
        except KeyboardInterrupt:
            if self._options.key is None:
                future.cancel()
            raise

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> RemoteFuture[R]:
        """Start a call and return at once what its value will be taken from."""
        job = self._job((args, kwargs))
        # A call without a key is nobody else's: there is nothing to adopt.
        handle = self._dispatcher.submit(job, again="unsuccessful")
        return RemoteFuture(self._dispatcher, handle, trust=self._trust, quiet=self._options.quiet)

    def map(self, *iterables: Iterable[Any], parallel: int = PARALLEL) -> Iterator[R]:
        """The values for the items of `iterables`, in their order, as `map` gives them.

        `parallel` calls are under way at a time; the next begin as values are taken. The first exception ends it, and
        cancels what is under way, as does closing the iterator.
        """
        if parallel < 1:
            raise ValueError(f"parallel must be at least 1, not {parallel}")
        items = zip(*iterables, strict=False)
        waiting: deque[RemoteFuture[R]] = deque()
        for _, item in zip(range(parallel), items, strict=False):
            waiting.append(self.submit(*item))  # type: ignore[call-arg]
        return self._in_order(waiting, items)

    def _in_order(self, waiting: deque[RemoteFuture[R]], items: Iterator[tuple[Any, ...]]) -> Iterator[R]:
        try:
            while waiting:
                value = waiting[0].result()
                waiting.popleft()
                for item in items:
                    waiting.append(self.submit(*item))  # type: ignore[call-arg]
                    break
                yield value
        finally:
            for future in waiting:
                future.cancel()

    def _job(self, call: tuple[tuple[Any, ...], Mapping[str, Any]]) -> Job:
        options = self._options
        name = _name(self._function)
        text = uuid.uuid4().hex if options.key is None else f"{self._function.__module__}:{name}:{options.key}"
        return Job(
            id=hashlib.sha256(f"call:{text}".encode()).hexdigest(),
            name=name,
            function=self._function,
            call=call,
            run_id=_uuid7(),
            payload=True,
            env=options.env,
            gpus=options.gpus,
            gpu_memory=options.gpu_memory,
            timeout=options.timeout,
            wait_timeout=options.wait_timeout,
            silence_timeout=options.silence_timeout,
            isolate=options.isolate,
            variables=options.variables,
        )


class RemoteFuture(Generic[R]):
    """What a submitted call will give. Its methods may be called from any thread.

    `handle` names the job: in another process `drawbar.target(…).attach(handle)` gives such a future again.
    """

    def __init__(self, dispatcher: Dispatcher, handle: Handle, *, trust: str = "pickle", quiet: bool = True) -> None:
        self.handle = handle
        self._dispatcher = dispatcher
        self._trust = trust
        self._quiet = quiet
        self._outcome: Outcome | None = None
        self._offsets = [0, 0]

    def __repr__(self) -> str:
        return f"<{self.handle.name or self.handle.job} on {self.handle.target}, attempt {self.handle.attempt}>"

    def result(self, timeout: float | None = None) -> R:
        """The value; blocks until it is there, or raises TimeoutError after `timeout` s (the job goes on).

        Raises the function's own exception where it can be rebuilt, with the host's traceback in its `__cause__`, else
        the JobError that fits.
        """
        outcome = self.outcome(timeout)
        outcome.raise_()
        assert outcome.value is not None
        data = self._dispatcher.fetch(outcome.value)
        try:
            return calls.value_from(data, outcome.value, self._trust)  # type: ignore[no-any-return]
        except encoding.EncodingError as error:
            raise FormatError(error.what, expected=error.expected, found=error.found, todo=error.todo) from error

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What `result` would raise, None if it has a value; blocks like it."""
        outcome = self.outcome(timeout)
        return None if outcome.ok else outcome.exception()

    def outcome(self, timeout: float | None = None) -> Outcome:
        """How it ended and what it cost; blocks like `result`, and shows what the function prints meanwhile."""
        end = None if timeout is None else time.monotonic() + timeout
        while self._outcome is None:
            left = _WAIT if end is None else max(0.0, min(_WAIT, end - time.monotonic()))
            if self._quiet:
                self._outcome = self._dispatcher.collect(self.handle, None if end is None else left)
                break
            told = self._dispatcher.wait(self.handle, self._offsets[0], self._offsets[1], left)
            self._show(told.stdout, told.stderr)
            self._outcome = told.outcome
            if self._outcome is None and end is not None and time.monotonic() >= end:
                raise TimeoutError(f"{self!r} has not ended within {timeout:g} s; it goes on")
        return self._outcome

    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._outcome is not None or self._dispatcher.poll(self.handle).ended

    def cancel(self) -> bool:
        """Stop it and all it started; False if it had ended by itself, or (in this process only) does not stop."""
        if self._outcome is None and not self._dispatcher.cancel(self.handle).ended:
            return False
        return isinstance(self.exception(timeout=_WAIT), CancelledError)

    def logs(self, stream: str = "stdout") -> str:
        """What it has printed to `stream` (stdout or stderr) so far."""
        return self._dispatcher.logs(self.handle, stream).decode(errors="replace")

    def _show(self, stdout: bytes, stderr: bytes) -> None:
        for number, (stream, data) in enumerate(((sys.stdout, stdout), (sys.stderr, stderr))):
            if data:
                self._offsets[number] += len(data)
                stream.write(data.decode(errors="replace"))
                stream.flush()


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def _uuid7() -> str:
    """A run id that sorts by time: 48 bits of milliseconds, then random bits (RFC 9562)."""
    value = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | uuid.uuid4().int & (1 << 80) - 1
    value = value & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62))
