"""A Job as it travels: the spec that the agent keeps, and the blobs that the spec names.

A Job and a target's configuration come from a dispatcher; a Prepared goes back to it, to be checked against the host
(`preflight`) and sent (`transfer`). Nothing here touches the network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from drawbar.agent import gpus
from drawbar.config import TargetConfig
from drawbar.dispatch import code, payload
from drawbar.dispatch.access import Access
from drawbar.dispatch.archive import archive
from drawbar.dispatch.port import Examination, Job, Many, Stored
from drawbar.dispatch.transfer import Blob, blob_of
from drawbar.errors import PreflightError
from drawbar.redact import is_secret

_DEPTH = 50
SECRET = "DRAWBAR_SECRET_"  # noqa: S105  # no secret, but what their names begin with
"""Begins the names of the variables that carry arguments whose names say that they are secret."""
_BIG = 1 << 1000


@dataclass(frozen=True, slots=True)
class Prepared:
    """`spec` as in the wire protocol, the blobs it names, and the secrets, which go beside it and are written nowhere.

    `by_value` are the functions whose bytecode is inside, so that only this process's minor version of Python fits;
    `reach` is what of the project and of installed packages the job imports.
    """

    spec: dict[str, Any]
    blobs: tuple[Blob, ...]
    secrets: bytes
    by_value: tuple[str, ...]
    reach: code.Reach


def prepare(job: Job, config: TargetConfig, access: Access | None = None) -> Prepared:
    """What has to be sent for `job`. FormatError for what cannot be pickled, PreflightError for code or secrets.

    Values that the target can read from the store, as `access` says, are named by URL and not sent.
    """
    reads = access is not None and access.reads
    blobs: list[Blob] = []
    modules, deferred = set(job.modules), set[str]()
    by_value: list[str] = []

    def keep(value: Any, what: str) -> str:
        pickled = payload.dump(value, what=f"{what} of {job.name}")
        modules.update(pickled.modules)
        deferred.update(pickled.deferred)
        by_value.extend(pickled.by_value)
        blobs.append(blob_of(pickled.parts))
        return blobs[-1].digest

    def function_of(function: Callable[..., Any], what: str) -> dict[str, Any]:
        named = payload.reference(function)
        if named is None:
            return {"blob": keep(function, what)}
        modules.add(named[0])
        return {"module": named[0], "qualname": named[1]}

    function = function_of(job.function, "The function")
    examine = None if job.examine is None else _examine(job.examine, function_of, reads=reads)
    stored, literals, others = _sorted(job.arguments)
    hidden = {name: literals.pop(name) for name in [*literals] if is_secret(name) and isinstance(literals[name], str)}
    args, kwargs = job.call or ((), {})
    call = keep((tuple(args), {**kwargs, **others}), "An argument") if job.call is not None or others else None
    reach = code.reach(modules, deferred)
    archives = [archive(root, needed) for root, needed in reach.roots.items()]
    blobs += [_blob_of_stored(one) for one in _all_stored(job, stored) if not (reads and one.url)]
    blobs += [one for made in archives for one in made.packs]
    env = None
    if job.env is not None and config.envs == "build":
        from drawbar.dispatch import envs  # needs packaging, which takes longer to load than most jobs to submit

        if envs.builds(job.env):
            env, wheels = envs.wire(job.env)
            blobs += wheels
    variables = {**config.variables, **(job.env.variables if job.env else {}), **job.variables}
    spec = {
        "function": function,
        "arguments": [{"name": name, **_named(one, reads=reads)} for name, one in stored.items()],
        "call": call,
        "literals": literals,
        "secret_literals": {name: f"{SECRET}{name}" for name in hidden},
        "partition": None if job.partition is None else {"name": job.partition[0], **job.partition[1].to_json()},
        "examine": examine,
        "each": job.each,
        "actor": None if job.actor is None else dict(job.actor),
        "code": [[one.digest for one in made.packs] for made in archives],
        "result": {"format": job.format, "trust": config.trust, "payload": job.payload and config.trust != "data"},
        "store": access.spec(job.store) if access is not None and job.store is not None else None,
        "timeout": job.timeout,
        "wait_timeout": job.wait_timeout,
        "silence_timeout": job.silence_timeout,
        "gpus": job.gpus,
        "gpu_memory": gpus.parse_memory(job.gpu_memory) if job.gpu_memory else 0,
        "devices": list(config.devices),
        "isolate": job.isolate,
        "idle_timeout": config.idle_timeout,
        "grace": config.grace,
        "log_limit": config.log_limit,
        "variables": variables,
        "python": None,
        "env": env,
    }
    secrets = {**secrets_of(job, config), **{f"{SECRET}{name}": text for name, text in hidden.items()}}
    return Prepared(spec, tuple(blobs), json.dumps(secrets).encode() if secrets else b"", tuple(by_value), reach)


def _examine(examination: Examination, function_of: Callable[..., dict[str, Any]], *, reads: bool) -> dict[str, Any]:
    """What a worker examines the value by: each check with its function, as the job's own goes, and the last value."""
    spec = examination.to_dict()
    for check, told in zip(examination.checks, spec["checks"], strict=True):
        told["function"] = function_of(check.fn, f"The check {check.name}")
    last = examination.last if examination.wants_last else None
    return {**spec, "last": _named(last, reads=reads) if last else None}


def _named(one: Stored | Many, *, reads: bool) -> dict[str, Any]:
    """How the spec names a stored value, or several of them by label; with its URL for a target that reads it there."""
    if isinstance(one, Many):
        many = [{"label": label, **_named(value, reads=reads)} for label, value in one.values.items()]
        return {"many": many, "lazy": one.lazy}
    named = {"blob": one.digest, "format": one.format, "type": one.type, "ext": one.ext}
    return {**named, "url": one.url} if reads and one.url else named


def _all_stored(job: Job, stored: Mapping[str, Stored | Many]) -> Iterator[Stored]:
    for one in stored.values():
        if isinstance(one, Many):
            yield from one.values.values()
        else:
            yield one
    if job.examine is not None and job.examine.last and job.examine.wants_last:
        yield job.examine.last


def _sorted(arguments: Mapping[str, Any]) -> tuple[dict[str, Stored | Many], dict[str, Any], dict[str, Any]]:
    """Stored values, JSON literals, and what must be pickled."""
    stored: dict[str, Stored | Many] = {}
    literals: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, Stored | Many):
            stored[name] = value
        elif is_literal(value):
            literals[name] = value
        else:
            others[name] = value
    return stored, literals, others


def is_literal(value: Any, depth: int = 0) -> bool:
    """Whether JSON gives back exactly `value`: no tuples, no subclasses, no NaN, keys that are text.

    >>> is_literal({"a": [1, None]}), is_literal((1, 2)), is_literal(float("nan"))
    (True, False, False)
    """
    kind = type(value)
    if kind is str:
        return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    if kind in (int, float):
        return bool(abs(value) < _BIG)
    if kind is list and depth < _DEPTH:
        return all(is_literal(one, depth + 1) for one in value)
    if kind is dict and depth < _DEPTH:
        return all(type(key) is str and is_literal(one, depth + 1) for key, one in value.items())
    return value is None or kind is bool


def _blob_of_stored(one: Stored) -> Blob:
    return Blob(one.digest, one.bytes, lambda: [one.read()])


def secrets_of(job: Job, config: TargetConfig) -> dict[str, str]:
    """The variables that only the frame carries."""
    absent = [name for name in config.secrets if name not in os.environ and name not in job.secrets]
    if absent:
        raise PreflightError(
            f"{job.name} needs secrets that are not set here.",
            expected=f"the environment variables {', '.join(config.secrets)}",
            found=f"no {', '.join(absent)}",
            todo="set them where this runs, or take them from `secrets` of the target",
        )
    return {**{name: os.environ[name] for name in config.secrets if name in os.environ}, **job.secrets}
