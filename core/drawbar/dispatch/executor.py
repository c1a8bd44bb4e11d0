"""A target as a `concurrent.futures.Executor`: real futures, for `as_completed`, asyncio, libraries.

Made by `Target.executor`. Each call is one job, as `Target.function` makes them; `max_workers` threads of this process
see one job each from its submit to its value, so that a thousand calls need no thousand threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, ParamSpec, TypeVar

from drawbar.dispatch.port import Dispatcher
from drawbar.dispatch.remote import CallOptions, RemoteFunction
from drawbar.errors import OptionError

P = ParamSpec("P")
R = TypeVar("R")
MAX_WORKERS = 8
"""How many jobs are under way at a time, unless the caller says otherwise."""


class TargetExecutor(Executor):
    """Calls as jobs on a target, at most `max_workers` at a time; the next ones wait here, and can be cancelled here.

    Futures keep the contract of the standard library: `cancel` prevents a call that waits here, and gives False for one
    whose job was submitted (`drawbar cancel` stops that). A future raises the function's own exception, or the error
    that `RemoteFuture.result` raises. `shutdown` and the end of the process wait for what was submitted, as they do for
    threads; a process that is killed leaves its jobs to end by themselves.

    >>> import drawbar
    >>> with TargetExecutor(drawbar.target("here").dispatcher, CallOptions(), max_workers=2) as pool:
    ...     pool.submit(pow, 2, 5).result(), list(pool.map(str.upper, "abc", chunksize=2))
    (32, ['A', 'B', 'C'])
    """

    def __init__(
        self, dispatcher: Dispatcher, options: CallOptions, *, trust: str = "pickle", max_workers: int = MAX_WORKERS
    ) -> None:
        """OptionError for a `key`, which would make all calls of a function the same; ValueError for no workers."""
        if options.key is not None:
            raise OptionError(
                "An executor's calls cannot have a `key`.",
                expected="calls that differ by their arguments",
                found=f"key={options.key!r}, which says that all calls of a function are one",
                todo="use target.function(…, key=…) for the one call",
            )
        if max_workers < 1:
            raise ValueError(f"max_workers must be at least 1, not {max_workers}")
        self._dispatcher = dispatcher
        self._options = options
        self._trust = trust
        self._threads = ThreadPoolExecutor(max_workers, thread_name_prefix=f"drawbar {dispatcher.name}")

    def __repr__(self) -> str:
        return f"<executor on {self._dispatcher.name}>"

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """The future of `fn(*args, **kwargs)` on the target. Arguments are pickled when its turn comes."""
        return self._threads.submit(self._call, fn, args, kwargs)

    def map(
        self, fn: Callable[..., R], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[R]:
        """The values in order, as `Executor.map` gives them; `chunksize` calls go as one job, which small ones want."""
        if chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, not {chunksize}")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        chunks = list(_chunks(zip(*iterables, strict=False), chunksize))
        # Nothing of ours is needed on the host: `list` and `map` are Python's own, and both can be pickled.
        values: Iterator[list[R]] = super().map(
            list, (map(fn, *zip(*chunk, strict=True)) for chunk in chunks), timeout=timeout
        )
        return _each(values, [len(chunk) for chunk in chunks])

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  # its contract
        """Take no more calls. With `cancel_futures` those that wait here never begin; submitted jobs go on."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)

    def _call(self, fn: Callable[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> R:
        return RemoteFunction(self._dispatcher, fn, self._options, self._trust).submit(*args, **kwargs).result()


def _chunks(items: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(islice(items, size)):
        yield chunk


def _each(chunks: Iterator[list[R]], lengths: Iterable[int]) -> Iterator[R]:
    """The values one by one. A StopIteration out of the function would end its chunk without a word."""
    for values, length in zip(chunks, lengths, strict=True):
        if len(values) < length:
            raise RuntimeError("the function raised StopIteration")
        yield from values
