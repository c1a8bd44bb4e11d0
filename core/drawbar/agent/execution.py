"""What a worker does with its task: code and arguments in, one call, the value or the error out.

Everything comes from blobs by digest; the value goes to a blob. What is returned is the worker's report, from which the
supervisor makes the outcome.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import time
import types
from typing import Any, Callable, NamedTuple, Optional

from . import archives, failure, outcomes, payload
from .blobs import Blobs
from .worker import Task

_MAPPED = 1 << 20


class _Call(NamedTuple):
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def execute(task: Task) -> dict[str, Any]:
    """Run the task to its end, whatever that is; the report: state, cause, value, error, exit, setup, compute, python.

    Exceptions of the user's code end here. `setup` and `compute` are seconds.
    """
    began = time.monotonic()
    try:
        call = _prepare(task)
    except SystemExit as stop:
        return _left(stop, began, time.monotonic())
    except BaseException as error:  # a module may raise anything when it is imported
        return fault(task, error, began)
    called = time.monotonic()
    try:
        value = _result(call)
    except SystemExit as stop:
        return _left(stop, began, called)
    except BaseException as error:  # so may a function
        cuda = failure.out_of_device_memory(error)
        ending = ("out_of_memory", "cuda_oom") if cuda else ("failed", "exception")
        return _report(*ending, began, called, error=failure.describe(error, task.masker, _exceptions(task)))
    returned = time.monotonic()
    try:
        kept = _keep(task, value)
    except BaseException as error:  # and so may whatever pickles its value
        told = _cannot_go_back(task, value, error)
        return _report("failed", "unpicklable_value", began, called, returned, error=told)
    return _report("succeeded", "value", began, called, returned, value=kept)


def fault(task: Task, error: BaseException, began: float) -> dict[str, Any]:
    """The report of a job whose function was never called."""
    told = failure.describe(error, task.masker, None)
    return _report("failed", "setup", began, time.monotonic(), error=told)


def _report(
    state: str, cause: str, began: float, called: float, returned: Optional[float] = None, **known: Any
) -> dict[str, Any]:
    ended = time.monotonic() if returned is None else returned
    report = {"state": state, "cause": cause, "value": None, "error": None, "exit": None}
    return {
        **report,
        "setup": called - began,
        "compute": max(0.0, ended - called),
        "python": outcomes.version(),
        **known,
    }


def _left(stop: SystemExit, began: float, called: float) -> dict[str, Any]:
    """sys.exit in a function: never a value, not even with status 0."""
    if stop.code is None or isinstance(stop.code, int):
        return _report("killed", "exit", began, called, exit=(stop.code or 0) & 0xFF)
    print(stop.code, file=sys.stderr)  # noqa: T201 - what Python itself does with it
    return _report("killed", "exit", began, called, exit=1)


def _exceptions(task: Task) -> Optional[Blobs]:
    """Where exceptions are kept pickled; nowhere, if the client would not read a pickle."""
    return None if _wanted(task).get("trust") == "data" else Blobs(task.root)


def _wanted(task: Task) -> dict[str, Any]:
    return task.spec.get("result") or {}


def _prepare(task: Task) -> _Call:
    """The function and what to call it with. Raises whatever importing and decoding raise."""
    blobs = Blobs(task.root)
    _import_paths(task, blobs)
    function = _function(task.spec["function"], blobs)
    args, kwargs = (), dict(task.spec.get("literals") or {})
    for name, variable in (task.spec.get("secret_literals") or {}).items():
        kwargs[name] = task.secrets[variable]
    for argument in task.spec.get("arguments") or ():
        kwargs[argument["name"]] = _argument(task, argument, blobs)
    if task.spec.get("call"):
        args, given = payload.decode(_bytes(blobs.path(task.spec["call"])))
        kwargs.update(given)
    return _Call(function, args, kwargs)


def _import_paths(task: Task, blobs: Blobs) -> None:
    """The project's code first, then what is installed here; `drawbar` itself stands in where it is not installed."""
    code = [archives.unpacked(task.root, digest, blobs.path(digest)) for digest in task.spec.get("code") or ()]
    sys.path[:] = [*code, *(path for path in sys.path if path)]
    sys.argv[:] = [""]
    if __name__.startswith("drawbar_agent."):
        from . import shim

        shim.install()


def _function(named: dict[str, Any], blobs: Blobs) -> Callable[..., Any]:
    if named.get("blob"):
        data = _bytes(blobs.path(named["blob"]))
        found = payload.decode(data) if payload.is_payload(data) else pickle.loads(data)
    else:
        found = importlib.import_module(named["module"])
        for part in named["qualname"].split("."):
            found = getattr(found, part)
    if type(found).__module__.partition(".")[0] == "drawbar":
        found = getattr(found, "__wrapped__", found)  # `@target.function` of a drawbar that is installed here
    if not callable(found):
        raise TypeError(f"{named.get('module')}.{named.get('qualname')} is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]


def _argument(task: Task, argument: dict[str, Any], blobs: Blobs) -> Any:
    from . import encoding

    data = _bytes(blobs.path(argument["blob"]))
    if argument["format"] == payload.FORMAT:
        return payload.decode(data)
    folder = os.path.join(task.folder, "inputs", argument["name"])
    return encoding.decode(data, argument["format"], argument["type"], argument.get("ext") or "", folder)


def _bytes(path: str) -> memoryview:
    """The bytes of a blob, writable and private to this process; big ones are mapped, not read."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size >= _MAPPED:
            import mmap

            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        data = bytearray(size)
        file.readinto(data)
        return memoryview(data)


def _result(call: _Call) -> Any:
    """What the function gives; coroutines are awaited, and generators of rows become lists."""
    value = call.function(*call.args, **call.kwargs)
    if isinstance(value, types.CoroutineType):
        import asyncio

        value = asyncio.run(value)
    if isinstance(value, types.GeneratorType):
        return list(value)
    if isinstance(value, types.AsyncGeneratorType):
        import asyncio

        return asyncio.run(_collect(value))
    return value


async def _collect(rows: Any) -> list[Any]:
    return [row async for row in rows]


def _keep(task: Task, value: Any) -> dict[str, Any]:
    """Encode the value into a blob; how the outcome names it."""
    from . import encoding

    wanted = _wanted(task)
    trust = wanted.get("trust") or "pickle"
    whole = bool(wanted.get("payload")) and not wanted.get("format")
    try:
        encoded = encoding.encode(value, wanted.get("format"), "data" if whole else trust)
    except encoding.EncodingError:
        if not whole or trust == "data":
            raise
        return _keep_whole(task, value)
    digest, size = Blobs(task.root).store(encoded.parts)
    named = {"digest": digest, "bytes": size, "format": encoded.format, "ext": encoded.ext, "type": encoded.type}
    return {**named, "rows": encoded.rows, "columns": [list(column) for column in encoded.columns]}


def _keep_whole(task: Task, value: Any) -> dict[str, Any]:
    """No data format fits: pickled, with its buffers beside."""
    digest, size = Blobs(task.root).store(payload.encode(value, payload.dumps))
    named = {"digest": digest, "bytes": size, "format": payload.FORMAT, "ext": payload.EXT, "type": _type(value)}
    return {**named, "rows": None, "columns": []}


def _cannot_go_back(task: Task, value: Any, error: BaseException) -> dict[str, Any]:
    """The error of a value that was made and could not be kept: why, and what to do."""
    if isinstance(error, OSError):
        what = f"The value, a {_type(value)}, could not be written on the host: {error.strerror or error}."
        todo = "free space on the host, or set another `root` for the target"
        return outcomes.error("OSError", what, "builtins", notes=[f"do: {todo}"])
    told = failure.describe(error, task.masker, None)
    todo = getattr(error, "todo", "") or "return plain data, an array or a table, or write a file and return its Path"
    details = [f"{name}: {getattr(error, name)}" for name in ("expected", "found") if getattr(error, name, "")]
    what = getattr(error, "what", "") or f"A value of type {_type(value)} cannot be pickled: {told['message']}"
    told.update(type=type(error).__name__, message=task.masker.text(what), notes=[*details, f"do: {todo}"])
    return told


def _type(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
