"""What fits and what does not about a target, with what to do: `drawbar doctor TARGET` prints it, one line a finding.

A Target comes in; it is reached as a job would reach it, step by step, and what cannot go on without an earlier step
is not looked at. Nothing stays on the host but the agent, which the first job would bring anyway.
"""

from __future__ import annotations

import platform
import secrets
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from drawbar.agent import frames
from drawbar.asset import Env
from drawbar.dispatch.agents import AgentDispatcher
from drawbar.dispatch.hosts import spec_of
from drawbar.dispatch.pool import Pool
from drawbar.errors import DrawbarError

if TYPE_CHECKING:
    from drawbar.config import TargetConfig
    from drawbar.dispatch.client import Agent
    from drawbar.dispatch.port import Facts
    from drawbar.dispatch.ssh_config import HostSpec
    from drawbar.dispatch.target import Target

__all__ = ["Finding", "examine"]

_OLDEST = (3, 9)
_LITTLE = 1 << 30  # bytes of free disk below which a warning is due
_PROBE = 8 << 20  # bytes sent to measure the rate
_ROUNDS = 20
_SKEW = 5.0  # seconds that clocks may differ before records of two machines confuse their reader
_ANSWER = 120.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `ok` is None where it is neither good nor bad; `todo` says what would mend it.

    Of a pool `host` is the one of its hosts that it is about.
    """

    name: str
    ok: bool | None
    text: str
    todo: str = ""
    host: str = ""


def examine(target: Target, envs: Sequence[Env] = ()) -> Iterator[Finding]:
    """Look at `target`, and whether it has what `envs` require; findings come as they are made. Raises nothing of ours.

    >>> import drawbar
    >>> [one.name for one in examine(drawbar.target("here"))]
    ['place', 'python']
    """
    from drawbar.dispatch.target import Target

    if isinstance(target.dispatcher, Pool):
        for host, member in target.dispatcher.members.items():
            for one in examine(Target(target.name, member, member.config), envs):
                yield replace(one, host=host)
        return
    try:
        if not isinstance(target.dispatcher, AgentDispatcher):
            yield Finding("place", True, "this process")
            yield Finding("python", True, f"{platform.python_version()} ({sys.executable})")
            yield from _packages(target, envs)
        elif target.config.host in (None, "local"):
            yield Finding("place", True, "a worker on this machine")
            yield from _of_agent(target, target.dispatcher, envs)
        else:
            yield from _of_ssh(target.config)
            yield from _of_agent(target, target.dispatcher, envs)
    except _EndError as end:
        yield _wrong(end.name, end.error)


class _EndError(Exception):
    """Nothing further can be looked at: the step `name` failed."""

    def __init__(self, name: str, error: DrawbarError) -> None:
        super().__init__(name)
        self.name = name
        self.error = error


def _wrong(name: str, error: DrawbarError) -> Finding:
    details = [error.what, error.where, f"found {error.found}" if error.found else ""]
    return Finding(name, False, "; ".join(part for part in details if part), error.todo)


def _of_ssh(config: TargetConfig) -> Iterator[Finding]:
    from drawbar.dispatch import ssh
    from drawbar.dispatch.hosts import PYTHON
    from drawbar.dispatch.port import read_all

    python = config.python or PYTHON
    try:
        spec = spec_of(config)
        yield Finding("address", True, _way(spec))
        began = time.perf_counter()
        with closing(ssh.open_channel(spec, f"{python} -V")) as channel:
            took = time.perf_counter() - began
            said = read_all(channel).decode(errors="replace")
            complaint = channel.stderr().strip()
    except DrawbarError as error:
        raise _EndError("connection", error) from error
    yield Finding("connection", True, f"host key known, {spec.user} let in, in {took * 1e3:.0f} ms")
    if "Python 3" not in said:
        todo = "install Python there (3.9 or newer), or name one as `python` of the target"
        raise _EndError("python", DrawbarError(f"{python!r} does not run there", found=complaint, todo=todo))


def _way(spec: HostSpec) -> str:
    hops = "".join(f"{hop.user}@{hop.address} -> " for hop in spec.proxy_jump)
    command = f" by ProxyCommand {spec.proxy_command}" if spec.proxy_command and not hops else ""
    return f"{hops}{spec.user}@{spec.address}{command}"


def _of_agent(target: Target, dispatcher: AgentDispatcher, envs: Sequence[Env]) -> Iterator[Finding]:
    try:
        began = time.perf_counter()
        agent = dispatcher.link.agent()
        took = time.perf_counter() - began
        before = time.time()
        facts = target.facts()
        after = time.time()
    except DrawbarError as error:
        raise _EndError("agent", error) from error
    yield Finding("agent", True, f"answers as {facts.user} on {facts.host} ({facts.platform}), in {took * 1e3:.0f} ms")
    yield _python(facts)
    yield _folder(agent.hello)
    yield from _speed(agent)
    yield _gpus(facts, target.config.devices)
    yield _clock(facts, before, after)
    yield from _packages(target, envs)


def _python(facts: Facts) -> Finding:
    mine = ".".join(map(str, sys.version_info[:2]))
    one = facts.interpreter
    others = ", ".join(dict.fromkeys(other.version for other in facts.interpreters if other.path != one.path))
    text = f"{one.version} ({one.path})" + (f"; also {others}" if others else "")
    if tuple(int(part) for part in one.version.split(".")[:2]) < _OLDEST:
        return Finding("python", False, text, "name a newer one (3.9 or later) as `python` of the target")
    if any(other.version.startswith(f"{mine}.") for other in (one, *facts.interpreters)):
        return Finding("python", True, text)
    todo = f"install Python {mine} there if functions of notebooks or __main__ are to run; those of modules need it not"
    return Finding("python", None, text, todo)


def _folder(hello: Any) -> Finding:
    free = int(hello.get("free") or 0)
    text = f"{hello.get('root')}, writable, {free / (1 << 30):.1f} GiB free"
    return Finding("folder", free > _LITTLE, text, "" if free > _LITTLE else "make room there, or set `root`")


def _speed(agent: Agent) -> Iterator[Finding]:
    rounds = []
    try:
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            agent.ask(frames.HAVE, {"blobs": []}, timeout=_ANSWER)
            rounds.append(time.perf_counter() - began)
        yield Finding("round trip", True, f"{statistics.median(rounds) * 1e3:.2f} ms")
        yield Finding("upload", True, f"{_PROBE / _time_to_send(agent) / (1 << 20):.0f} MiB/s")
    except DrawbarError as error:
        raise _EndError("transfer", error) from error


def _time_to_send(agent: Agent) -> float:
    """Seconds for bytes that the host is to throw away: they are not what their digest says."""
    noise = memoryview(secrets.token_bytes(frames.CHUNK))  # nothing on the way can compress it
    digest = secrets.token_hex(32)
    began = time.perf_counter()
    answers = [
        agent.request(frames.PUT, {"digest": digest, "offset": offset, "size": _PROBE}, noise)
        for offset in range(0, _PROBE, frames.CHUNK)
    ]
    for answer in answers[:-1]:
        answer.result(_ANSWER)
    answers[-1].exception(_ANSWER)
    return time.perf_counter() - began


def _gpus(facts: Facts, declared: Sequence[str]) -> Finding:
    if declared:
        return Finding("gpus", True, f"{', '.join(declared)}, as the target's `devices` declare")
    if not facts.gpus:
        return Finding("gpus", None, "none seen (nvidia-smi is not there, or lists none)")
    return Finding("gpus", True, ", ".join(str(gpu.get("name") or gpu) for gpu in facts.gpus))


def _clock(facts: Facts, before: float, after: float) -> Finding:
    skew = facts.clock - after if facts.clock > after else min(0.0, facts.clock - before)
    if abs(skew) <= _SKEW:
        return Finding("clock", True, "agrees with this machine's")
    way = "ahead of" if skew > 0 else "behind"
    return Finding("clock", False, f"{abs(skew):.0f} s {way} this machine's", "set it by NTP, there or here")


def _packages(target: Target, envs: Sequence[Env]) -> Iterator[Finding]:
    from drawbar.dispatch import envs as requirements

    builds = target.config.envs == "build" and isinstance(target.dispatcher, AgentDispatcher)
    for env in envs:
        try:
            if builds:
                requirements.requirements(env)
                named = ", ".join(env.requirements) or env.lock or "none required"
                yield Finding("packages", None, f"{named}: built there, once, for the first job that needs them")
                continue
            found = target.facts(list(requirements.requirements(env))).packages
            missing = [str(one) for one in requirements.unmet(env, found)]
        except DrawbarError as error:
            yield _wrong("packages", error)
            continue
        if missing:
            yield Finding("packages", False, f"lacks {', '.join(missing)}", "install them there, with its own Python")
        else:
            yield Finding("packages", True, ", ".join(env.requirements) or "none required")
