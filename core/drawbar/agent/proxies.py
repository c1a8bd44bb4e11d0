"""Actors as their users hold them: what describes one, and the proxy whose methods run in the actor's process.

A proxy's calls go through a Line: a connection to the host (`drawbar.dispatch.actor`), or to an actor of the same host
from inside a job (`direct`). Both sides have this file, so that user code and pickled proxies mean the same everywhere.
"""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Deque, Generic, Optional, TypeVar

from . import packing, payload

T = TypeVar("T")

PLAIN, ASYNC, STREAM, ASYNC_STREAM = "plain", "async", "stream", "asyncstream"
FORMAT = "actor"
_DEPTH = 50
_AHEAD = 16
"""How many items of a stream are asked for before they are taken, at most."""
_PARALLEL = 64


class Actor(Generic[T]):
    """An object of class T that lives on a target, in a process of its own, and takes calls from whoever names it.

    As an annotation it says that a parameter receives a live one. Constructed, which an asset's function does to make
    one, it only describes it: the class, which must be importable, and plain arguments. `name` is the one it is shared
    by (default: the asset's key), `concurrency` how many plain calls run at once, `idle_timeout` the seconds without a
    call after which it ends (default: the target's).

    >>> from decimal import Decimal
    >>> Actor(Decimal, "1.5", name="price").to_json()["class"]
    'decimal:Decimal'
    """

    def __init__(
        self,
        cls: Any,
        *args: Any,
        name: Optional[str] = None,
        concurrency: int = 1,
        idle_timeout: Optional[float] = None,
        **kwargs: Any,
    ) -> None:
        self._described: dict[str, Any] = {
            "class": f"{cls.__module__}:{cls.__qualname__}",
            "args": list(args),
            "kwargs": kwargs,
            "name": name,
            "concurrency": concurrency,
            "idle_timeout": idle_timeout,
        }

    def __repr__(self) -> str:
        return f"<Actor of {self._described['class']}>"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash(repr(self))

    def __getattr__(self, name: str) -> Any:
        """Whatever a T has; a description has nothing of it yet."""
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(f"{self!r} is a description; whoever takes it as a parameter `Actor[…]` gets a live one")

    def of_version(self, version: str) -> Actor[T]:
        """It with the Version that it was described by, which tells it from one of the same words and other code."""
        made: Actor[T] = Actor.__new__(Actor)
        made._described = {**self._described, "version": version}
        return made

    def to_json(self) -> dict[str, Any]:
        """It as plain data. Raises ValueError for a class that cannot be imported, or arguments that are not plain."""
        module, _, qualname = self._described["class"].partition(":")
        if module in ("__main__", "__mp_main__") or "<" in qualname:
            raise ValueError(f"the class {qualname} of {module} cannot be imported elsewhere: define it in a module")
        for what in ("args", "kwargs"):
            if not _is_json(self._described[what]):
                raise ValueError(
                    f"the {what} of {self!r} are not plain data (text, numbers, lists and dicts of them): "
                    "let the class load what is more when it is constructed"
                )
        return dict(self._described)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Actor[Any]:
        """The inverse of `to_json`."""
        made: Actor[Any] = Actor.__new__(Actor)
        made._described = dict(told)
        return made


class Line:
    """Where a proxy's calls go; `name` is the actor's, for messages."""

    name = ""
    trust = "pickle"

    def begin(self, meta: dict[str, Any], parts: list[payload.Bytes]) -> Any:
        """Send a call: `result()` of what comes back gives the answer's meta and body, `drop()` that none is wanted.

        Both raise what says that the actor, or the way to it, is gone.
        """
        raise NotImplementedError

    def fault(self, method: str, told: dict[str, Any], body: Any) -> BaseException:
        """What to raise for an exception in the actor."""
        raise NotImplementedError

    def fetch(self, digest: str, size: int) -> Any:
        """The bytes of a big result."""
        raise NotImplementedError

    def pack(self, value: Any) -> list[payload.Bytes]:
        """Arguments as a container."""
        return packing.encode(value)

    def refuse(self, kind: str) -> BaseException:
        """What to raise for a pickled result where pickles are not trusted."""
        raise NotImplementedError

    def reduced(self) -> tuple[Any, ...]:
        """How a proxy is pickled."""
        raise NotImplementedError


class Proxy(Actor[T]):
    """A live actor: its public methods can be called, and its public attributes read, as on the object itself.

    A call blocks until the actor has answered; `proxy.method.submit(…)` gives a Future at once, and
    `proxy.method.map(items)` the results in order. A method that yields gives an iterator.
    """

    def __init__(self, line: Line, methods: dict[str, str]) -> None:
        self._line = line
        self._methods = methods

    def __repr__(self) -> str:
        return f"<actor {self._line.name}>"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __getattr__(self, name: str) -> Any:
        """A method; any other public name is read in the actor."""
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._methods:
            method = self.__dict__[name] = Method(self._line, name)
            return method
        return answer(self._line, name, self._line.begin({"op": "get", "method": name}, []))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As calling the object itself."""
        return Method(self._line, "__call__")(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._line.reduced()


class Method:
    """A method of an actor."""

    __slots__ = ("_line", "_name")

    def __init__(self, line: Line, name: str) -> None:
        self._line = line
        self._name = name

    def __repr__(self) -> str:
        return f"<method {self._name} of actor {self._line.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the method gives; an iterator, where it yields. Raises what it raises."""
        return answer(self._line, self._name, self._begin(args, kwargs))

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send the call now, and give the Future of its result. In async code: `await asyncio.wrap_future(…)`."""
        return _waiters().submit(answer, self._line, self._name, self._begin(args, kwargs))

    def map(self, *iterables: Iterable[Any], parallel: int = _PARALLEL) -> Iterator[Any]:
        """The results for the items of `iterables`, in their order; `parallel` calls are under way at a time."""
        waiting: Deque[Future[Any]] = deque()
        for item in zip(*iterables):
            waiting.append(self.submit(*item))
            if len(waiting) >= parallel:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._line.begin({"op": "call", "method": self._name}, self._line.pack((args, kwargs)))


class Items:
    """The items of a method that yields: made there as they are asked for, up to 16 ahead of who takes them.

    `close` (or letting go of it) ends the generator there.
    """

    def __init__(self, line: Line, method: str, stream: int) -> None:
        self._line = line
        self._method = method
        self._stream = stream
        self._asked: Deque[Any] = deque()
        self._at = 0
        self._over = False

    def __iter__(self) -> Items:
        return self

    def __next__(self) -> Any:
        if self._over:
            raise StopIteration
        ahead = min(_AHEAD, 2 + self._at - len(self._asked))  # more and more: a short stream is not asked in vain
        while len(self._asked) < ahead:
            meta = {"op": "next", "method": self._method, "stream": self._stream, "at": self._at}
            self._asked.append(self._line.begin(meta, []))
            self._at += 1
        try:
            found = answer(self._line, self._method, self._asked.popleft())
        except BaseException:
            self.close()
            raise
        if found is _DONE:
            self.close()
            raise StopIteration
        return found

    def close(self) -> None:
        """End it; the generator there is closed."""
        if self._over:
            return
        self._over = True
        for asked in self._asked:
            asked.drop()
        self._asked.clear()
        try:
            self._line.begin({"op": "close", "stream": self._stream}, []).drop()
        except Exception:  # the actor is gone, or the way to it: it closes what nobody asks for
            return

    def __del__(self) -> None:
        self.close()


_DONE = object()


def answer(line: Line, method: str, asked: Any) -> Any:
    """What a call gives, once it is there. Raises the method's exception, or what says that the actor is gone."""
    meta, body = asked.result()
    named = meta.get("value")
    if named is not None:
        data = line.fetch(named["digest"], named["bytes"]) if "digest" in named else body
        if "format" in named:
            from . import encoding

            return encoding.decode(data, named["format"], named["type"], named["ext"], trust=line.trust)
        if line.trust == "data":
            raise line.refuse(method)
        return payload.decode(data)
    if "error" in meta:
        raise line.fault(method, meta["error"], body)
    return _DONE if "done" in meta else Items(line, method, meta["stream"])


_POOL: Optional[ThreadPoolExecutor] = None
_OWNER = 0


def _waiters() -> ThreadPoolExecutor:
    """Threads of this process that wait for answers; what is submitted has been sent already."""
    global _POOL, _OWNER
    if _POOL is None or os.getpid() != _OWNER:
        _POOL, _OWNER = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="drawbar actor call"), os.getpid()
    return _POOL


def attach(about: dict[str, Any]) -> Proxy[Any]:
    """The proxy that was pickled: straight to the actor inside a job on its host, else over the target of that name.

    `about` has target, job, attempt, name, boot, methods, trust and `by`, who reaches targets. Raises RuntimeError
    where neither way is there.
    """
    from . import direct

    line = direct.line_to(about)
    if line is not None:
        return Proxy(line, about["methods"])
    module, _, name = about["by"].partition(":")
    try:
        reattach = getattr(importlib.import_module(module), name)
    except ImportError:
        raise RuntimeError(
            f"the actor {about['name']} lives on another host ({about['target']}), and this one has no drawbar to "
            "reach it: pass it to jobs on its own host, or add 'drawbar' to the Env"
        ) from None
    found: Proxy[Any] = reattach(about)
    return found


def _is_json(value: Any, depth: int = 0) -> bool:
    """Whether JSON gives back exactly `value`."""
    kind = type(value)
    if kind is list:
        return depth < _DEPTH and all(_is_json(one, depth + 1) for one in value)
    if kind is dict:
        return depth < _DEPTH and all(type(key) is str and _is_json(one, depth + 1) for key, one in value.items())
    if kind is float:
        return bool(abs(value) < float("inf"))
    return value is None or kind in (str, int, bool)
