"""What a worker does with its task: code and arguments in, one call, the value examined and kept, or the error out.

Everything comes from blobs by digest; the value goes to a blob. What is returned is the worker's report, from which the
supervisor makes the outcome.
"""

from __future__ import annotations

import functools
import importlib
import os
import pickle
import sys
import time
from typing import Any, Callable, NamedTuple, Optional

from . import archives, failure, outcomes, payload, warm, worker
from .blobs import Blobs
from .calling import finished
from .worker import Task

_MAPPED = 1 << 20


class _Call(NamedTuple):
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    checks: tuple[Callable[..., Any], ...] = ()
    partition: Any = None


def execute(task: Task) -> dict[str, Any]:
    """Run the task to its end, whatever that is; the report: state, cause, value, error, exit, setup, compute, python.

    Exceptions of the user's code end here. `setup` and `compute` are seconds; beside them `device_memory` is bytes.
    """
    began = time.monotonic()
    try:
        call = _prepare(task)
    except SystemExit as stop:
        return _left(stop, began, time.monotonic())
    except BaseException as error:  # a module may raise anything when it is imported
        return fault(task, error, began)
    inputs = _refused_inputs(task, call)
    called = time.monotonic()
    if inputs:
        told = outcomes.error("CheckError", "an input is not as its schema says", "drawbar.errors", checks=inputs)
        return _report("failed", "check", began, called, error=told)
    try:
        value = _result(task, call)
        if task.spec.get("actor"):
            from . import actors

            actors.serve(task, value)
            value = None
    except SystemExit as stop:
        return _left(stop, began, called)
    except BaseException as error:  # so may a function
        cuda = failure.out_of_device_memory(error)
        ending = ("out_of_memory", "cuda_oom") if cuda else ("failed", "exception")
        return _report(*ending, began, called, error=failure.describe(error, task.masker, _exceptions(task)))
    returned = time.monotonic()
    return _report(began=began, called=called, returned=returned, **_ended(task, call, value))


def _ended(task: Task, call: _Call, value: Any) -> dict[str, Any]:
    """How a job whose function returned ends: state, cause, and the value as it is kept, or the error."""
    kept: dict[str, Any] = {}
    fault: list[BaseException] = []

    def keep(value: Any, outcomes: list[dict[str, Any]]) -> None:
        try:
            kept.update(_kept(task, value, {"checks": outcomes}))
        except BaseException as error:  # whatever pickles a value may raise anything
            fault.append(error)

    try:
        found = _examined(task, call, value, keep)
    except BaseException as error:  # no check stops a job, but one may raise KeyboardInterrupt all the same
        told = failure.describe(error, task.masker, _exceptions(task))
        return {"state": "failed", "cause": "exception", "error": told}
    if not fault:
        return {"state": "succeeded", "cause": "value", "value": {**kept, **found, **_in_store(task, kept)}}
    from . import checking

    if checking.blocked(found.get("checks") or ()):
        told = outcomes.error("CheckError", "a check failed", "drawbar.errors", checks=found["checks"])
        return {"state": "failed", "cause": "check", "error": told}
    return {"state": "failed", "cause": "unpicklable_value", "error": _cannot_go_back(task, value, fault[0])}


def _in_store(task: Task, kept: dict[str, Any]) -> dict[str, Any]:
    """What is to be said of the value's place in the store, where this host is to put it there."""
    if not task.spec.get("store"):
        return {}
    from . import storing

    return storing.keep(task, kept)


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
        "device_memory": _device_memory(),
        **known,
    }


def _device_memory() -> int:
    """The most that torch held of all GPUs, in bytes: what nvidia-smi, asked now and then, may never have seen."""
    torch = sys.modules.get("torch")
    try:
        if torch is None or not torch.cuda.is_initialized():
            return 0
        return sum(int(torch.cuda.max_memory_reserved(device)) for device in range(torch.cuda.device_count()))
    except Exception:  # a module of that name may be anything, and a driver in any state
        return 0


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
    partition = _partition(task.spec.get("partition"))
    if partition is not None and task.spec["partition"]["name"]:
        kwargs[task.spec["partition"]["name"]] = partition
    if task.spec.get("call"):
        args, given = payload.decode(read_whole(blobs.path(task.spec["call"])))
        kwargs.update(given)
    checks = tuple(_function(one["function"], blobs) for one in (task.spec.get("examine") or {}).get("checks") or ())
    return _Call(function, args, kwargs, checks, partition)


def _import_paths(task: Task, blobs: Blobs) -> None:
    """The project's code first, then what is installed here; `drawbar` itself stands in where it is not installed."""
    code = [archives.tree(task.root, packs, blobs.path) for packs in task.spec.get("code") or ()]
    if warm.clashes(code):
        worker.start_over(task)
    sys.path[:] = [*code, *(path for path in sys.path if path)]
    sys.argv[:] = [""]
    if __name__.startswith("drawbar_agent."):
        from . import shim

        shim.install()


def _function(named: dict[str, Any], blobs: Blobs) -> Callable[..., Any]:
    if named.get("blob"):
        data = read_whole(blobs.path(named["blob"]))
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
    """One value, or a mapping of many by label; a lazy one reads each when it is asked for."""
    folder = os.path.join(task.folder, "inputs", argument["name"])
    if "many" not in argument:
        return _stored(task, argument, blobs, folder)
    reads = {one["label"]: functools.partial(_stored, task, one, blobs, folder) for one in argument["many"]}
    if not argument.get("lazy"):
        return {label: read() for label, read in reads.items()}
    from . import shim

    return shim.public("Partitioned")(reads)


def _stored(task: Task, named: dict[str, Any], blobs: Blobs, folder: str) -> Any:
    from . import encoding

    data = read_whole(_brought(task, named) if named.get("url") else blobs.path(named["blob"]))
    if named["format"] == payload.FORMAT:
        return payload.decode(data)
    return encoding.decode(data, named["format"], named["type"], named.get("ext") or "", folder)


def _brought(task: Task, named: dict[str, Any]) -> str:
    """The path of a blob that this host takes from the store itself."""
    from . import storing

    return storing.argument(task, named)


def _partition(told: Optional[dict[str, Any]]) -> Any:
    if told is None:
        return None
    from . import shim

    return shim.public("Partition").from_json(told)


def _refused_inputs(task: Task, call: _Call) -> list[dict[str, Any]]:
    """The outcomes that keep the function from being called: inputs that are not as their parameter's schema says."""
    if not task.spec.get("examine"):
        return []
    from . import schemas

    return [_masked(task, one) for one in schemas.of_inputs(call.function, call.kwargs) if not one["passed"]]


def _examined(task: Task, call: _Call, value: Any, keep: Callable[[Any, list[dict[str, Any]]], None]) -> dict[str, Any]:
    """What was found of the value: `checks` and `profile`, empty for a plain job; `keep` gets it before checks do."""
    spec = task.spec.get("examine")
    if not spec:
        keep(value, [])
        return {}
    from . import examine

    def last() -> Any:
        return _stored(task, spec["last"], Blobs(task.root), task.path("last")) if spec.get("last") else None

    seen = {"last": last, "partition": call.partition, "keep": keep}
    _, found = examine.examine(value, spec, call.checks, call.function, **seen)
    masked: dict[str, Any] = _masked(task, found)
    return masked


def _masked(task: Task, found: Any) -> Any:
    """Plain data without the job's secrets, which an exception or a value in a message may hold."""
    if isinstance(found, str):
        return task.masker.text(found)
    if isinstance(found, dict):
        return {name: _masked(task, one) for name, one in found.items()}
    return [_masked(task, one) for one in found] if isinstance(found, list) else found


def read_whole(path: str) -> memoryview:
    """The bytes of a blob, writable and private to this process; big ones are mapped, not read."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size >= _MAPPED:
            import mmap

            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        data = bytearray(size)
        file.readinto(data)
        return memoryview(data)


def _result(task: Task, call: _Call) -> Any:
    """What the function gives; for a job over many items, what it gives for each of them, encoded."""
    over = task.spec.get("each")
    if not over:
        return finished(call.function(*call.args, **call.kwargs))
    from . import each

    def describe(error: BaseException) -> dict[str, Any]:
        return failure.describe(error, task.masker, None)

    wanted = _wanted(task)
    items, others = call.kwargs[over], {name: value for name, value in call.kwargs.items() if name != over}
    return each.apply(
        lambda item: finished(call.function(*call.args, **{**others, over: item})),
        items,
        wanted.get("format"),
        wanted.get("trust") or "pickle",
        describe,
    )


def _kept(task: Task, value: Any, found: dict[str, Any]) -> dict[str, Any]:
    """The value in its format; pickled where that cannot hold what failed its checks, for a person to look at."""
    try:
        return _keep(task, value, _wanted(task).get("format"))
    except Exception:  # whatever pickles a value may raise anything
        from . import checking

        if not checking.blocked(found["checks"]):
            raise
        return _keep(task, value, "pickle")


def _keep(task: Task, value: Any, format: Optional[str]) -> dict[str, Any]:  # noqa: A002 - the users' word
    """Encode the value into a blob; how the outcome names it."""
    from . import encoding

    wanted = _wanted(task)
    trust = wanted.get("trust") or "pickle"
    whole = bool(wanted.get("payload")) and not format
    try:
        made = isinstance(value, encoding.Encoded)  # by `each`, which encodes each item by itself
        encoded = value if made else encoding.encode(value, format, "data" if whole else trust)
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
