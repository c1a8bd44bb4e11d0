"""Calling a user's function in this process with what a Job says, and taking its value as it would travel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from drawbar.agent import encoding
from drawbar.agent import payload as container
from drawbar.agent.calling import finished
from drawbar.agent.lazily import Partitioned
from drawbar.dispatch import payload
from drawbar.dispatch.port import Bytes, Job, Many, Stored, ValueRef
from drawbar.dispatch.transfer import blob_of


def arguments_of(job: Job) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the function is called with: stored values are decoded, all others are given as they are."""
    args, kwargs = job.call or ((), {})
    named = {name: _plain(value) for name, value in job.arguments.items()}
    if job.partition is not None and job.partition[0]:
        named[job.partition[0]] = job.partition[1]
    return tuple(args), {**kwargs, **named}


def _plain(value: Any) -> Any:
    if isinstance(value, Many):
        reads = {label: partial(opened, one) for label, one in value.values.items()}
        return Partitioned(reads) if value.lazy else {label: read() for label, read in reads.items()}
    return opened(value) if isinstance(value, Stored) else value


def opened(value: Stored) -> Any:
    """The value of a Stored, decoded."""
    return encoding.decode(value.read(), value.format, value.type, value.ext)


def call_each(job: Job, args: Sequence[Any], kwargs: Mapping[str, Any], trust: str) -> encoding.Encoded:
    """What the function gives for each item of the argument that `job.each` names, in one container."""
    from drawbar.agent import each

    others = {name: value for name, value in kwargs.items() if name != job.each}

    def call_one(item: Any) -> Any:
        return finished(job.function(*args, **{**others, job.each: item}))

    return each.apply(call_one, kwargs[job.each], job.format, trust, described)


def described(error: BaseException) -> dict[str, Any]:
    """An exception of a function that was called in this process, as a worker describes one."""
    from drawbar.agent import failure
    from drawbar.agent.pump import Masker

    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("drawbar."):
        trace = trace.tb_next
    return failure.describe(error.with_traceback(trace), Masker(()), None)


def value_of(result: Any, job: Job, trust: str) -> tuple[ValueRef, Sequence[Bytes]]:
    """The value's reference and its bytes; EncodingError or FormatError where it cannot travel.

    A direct call takes a payload where no data format fits; an asset takes a pickle, and with trust "data" neither.
    """
    try:
        plain = job.payload and job.format is None and trust != "data"
        encoded = isinstance(result, encoding.Encoded)  # by `each`, which encodes each item by itself
        made = result if encoded else encoding.encode(result, job.format, "data" if plain else trust)
    except encoding.EncodingError:
        if not plain:
            raise
        parts: Sequence[Bytes] = payload.dump(result, what=f"The value of {job.name}").parts
        blob = blob_of(parts)
        kind = encoding.type_name(result)
        return ValueRef(blob.digest, blob.bytes, container.FORMAT, kind, container.EXT), parts
    return ValueRef(made.digest(), made.bytes, made.format, made.type, made.ext, made.rows, made.columns), made.parts


def value_from(data: Bytes, value: ValueRef, trust: str) -> Any:
    """The value that `data` holds. EncodingError where a pickle is not trusted or the bytes are wrong."""
    if value.format != container.FORMAT:
        return encoding.decode(data, value.format, value.type, value.ext, trust=trust)
    if trust == "data":
        raise encoding.EncodingError(
            "The value is a pickle, and pickles are not trusted here.",
            expected="a value in a data format",
            found=f"a pickled {value.type}",
            todo='return plain data, a table or an array, or set trust = "pickle" for the target',
        )
    return payload.load(data)
