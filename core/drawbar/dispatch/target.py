"""Targets by name: where `drawbar.target("gpu")` leads, and what a person can ask of a place to compute.

A name or address comes from the user, configuration says what it means, and a Dispatcher comes out: `here` (this
process), `local` (a worker on this machine), a configured name, an alias of ~/.ssh/config, or `user@host:port`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from drawbar.asset import Env
from drawbar.config import Config, TargetConfig
from drawbar.errors import OptionError, UnknownTargetError, did_you_mean

if TYPE_CHECKING:
    from drawbar.agent.proxies import Proxy
    from drawbar.dispatch.executor import TargetExecutor
    from drawbar.dispatch.here import Here
    from drawbar.dispatch.port import Dispatcher, Facts, Handle, JobInfo
    from drawbar.dispatch.remote import CallOptions, RemoteFunction, RemoteFuture

P = ParamSpec("P")
R = TypeVar("R")

HERE = "here"
LOCAL = "local"
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+|[\w.-]+:\d+|\[[0-9A-Fa-f:.%]+\](:\d+)?")


class Target:
    """A place to compute. Get one from `drawbar.target`; `dispatcher` is what runs and adapters use.

    >>> import drawbar
    >>> drawbar.target("here").function(sorted)([3, 1, 2])
    [1, 2, 3]
    """

    def __init__(self, name: str, dispatcher: Dispatcher, config: TargetConfig) -> None:
        self.name = name
        self.dispatcher = dispatcher
        self.config = config

    def __repr__(self) -> str:
        return f"<target {self.name}>"

    @overload
    def function(self, function: Callable[P, R], /) -> RemoteFunction[P, R]: ...
    @overload
    def function(
        self, function: Callable[P, R], /, *, env: Env | None = None, **options: Any
    ) -> RemoteFunction[P, R]: ...
    @overload
    def function(self, /, **options: Any) -> Callable[[Callable[P, R]], RemoteFunction[P, R]]: ...
    def function(self, function: Any = None, /, **options: Any) -> Any:
        """`function`, to be called here and run there; also a decorator.

        `env` is what it needs installed, `gpus` and `gpu_memory` the GPUs it holds, `timeout` the seconds it may run,
        `wait_timeout` those it may wait, `silence_timeout` those without output, `variables` its environment, `isolate`
        an interpreter of its own. With a `key`, the call has an identity: the same function and key again, from any
        process, attach to it or adopt its value. `quiet` keeps what it prints from being shown. Nothing is sent before
        it is called.
        """
        from drawbar.dispatch.remote import RemoteFunction

        chosen = _call_options(options)
        if function is None:
            return lambda one: RemoteFunction(self.dispatcher, one, chosen, self.config.trust)
        return RemoteFunction(self.dispatcher, function, chosen, self.config.trust)

    def executor(self, max_workers: int = 8, **options: Any) -> TargetExecutor:
        """A `concurrent.futures.Executor` whose calls run there, `max_workers` at a time; options as in `function`."""
        from drawbar.dispatch.executor import TargetExecutor

        chosen = _call_options(options)
        return TargetExecutor(self.dispatcher, chosen, trust=self.config.trust, max_workers=max_workers)

    def actor(self, cls: Callable[..., R], /, *args: Any, **options: Any) -> Proxy[R]:
        """An object of `cls` that lives there in a process of its own, and takes calls from whoever names it.

        `args` and what of `options` is none of these go to `cls`: `name` it is shared by (without one it ends with this
        process), `env`, `gpus`, `gpu_memory`, `variables`, `concurrency` (how many plain calls run at a time),
        `idle_timeout` (seconds without a call after which it ends; default: the target's), `restart` (a call that finds
        it dead constructs it anew). Blocks until it takes calls; an actor of that name that runs already is the one.
        """
        from drawbar.dispatch.actor import ActorOptions, actor

        known = {one.name for one in fields(ActorOptions)}
        chosen = ActorOptions(**{name: value for name, value in options.items() if name in known})
        kwargs = {name: value for name, value in options.items() if name not in known}
        return actor(self.dispatcher, cls, args, kwargs, chosen, self.config.trust)

    def attach(self, handle: Handle | Mapping[str, Any]) -> RemoteFuture[Any]:
        """The future of a call that was submitted before, by any process; `handle` as it was, or as JSON."""
        from drawbar.dispatch.port import Handle
        from drawbar.dispatch.remote import RemoteFuture

        known = handle if isinstance(handle, Handle) else Handle.from_json(handle)
        return RemoteFuture(self.dispatcher, known, trust=self.config.trust, quiet=True)

    def facts(self, packages: Sequence[str] = ()) -> Facts:
        """What it has: interpreters, disk, memory, GPUs, and the installed versions of `packages`."""
        return self.dispatcher.facts(packages)

    def jobs(self, limit: int = 100) -> list[JobInfo]:
        """Its latest jobs, whoever submitted them, newest first."""
        return self.dispatcher.jobs(limit)

    def close(self) -> None:
        """Let go of the connection; the next use opens another. Jobs go on."""
        self.dispatcher.close()


def _call_options(options: Mapping[str, Any]) -> CallOptions:
    """The options of calls; OptionError for a name that is none."""
    from drawbar.dispatch.remote import CallOptions

    known = [one.name for one in fields(CallOptions)]
    for name in options:
        if name not in known:
            raise OptionError(
                f"{name!r} is not an option of a remote function.",
                expected=", ".join(known),
                found=name,
                todo=did_you_mean(name, known, otherwise="remove it"),
            )
    return CallOptions(**options)


def target(name: str, config: Config | None = None) -> Target:
    """The target of that name, as `config` (default: the project's, found from the working directory) says.

    Nothing is connected to yet. UnknownTargetError if the name means nothing, ConfigError if the project's
    configuration is wrong.

    >>> target("local")
    <target local>
    """
    known = config if config is not None else Config.load()
    settings = settings_of(name, known.targets)
    return Target(name, dispatcher(name, settings), settings)


def settings_of(name: str, targets: Mapping[str, TargetConfig]) -> TargetConfig:
    """What configuration says of `name`; for `here`, `local` and addresses, which need none, the defaults.

    >>> settings_of("loacl", {"gpu": TargetConfig(host="gpu-box")})
    Traceback (most recent call last):
    drawbar.errors.UnknownTargetError: There is no target named 'loacl'.
      expected: here, local, gpu, an alias of ~/.ssh/config, or user@host:port
      found: 'loacl'
      do: did you mean 'local'?
    """
    configured = targets.get(name)
    if configured is not None:
        return configured
    if name in (HERE, LOCAL):
        return TargetConfig()
    from drawbar.dispatch import ssh_config

    if _ADDRESS.fullmatch(name) or ssh_config.known_alias(name):
        return TargetConfig(host=name)
    known = [HERE, LOCAL, *targets]
    raise UnknownTargetError(
        f"There is no target named {name!r}.",
        expected=f"{', '.join(known)}, an alias of ~/.ssh/config, or user@host:port",
        found=repr(name),
        todo=did_you_mean(
            name,
            [*known, *ssh_config.aliases()],
            otherwise=f"add [tool.drawbar.targets.{name}] with its `host` to pyproject.toml",
        ),
    )


def dispatcher(name: str, config: TargetConfig) -> Dispatcher:
    """The Dispatcher for a target that is configured so. Importing and connecting wait until it is needed.

    Dispatchers of one place share one connection in this process; all that are called `here` share their jobs.
    """
    if name == HERE and config.host is None:
        return _here(config)
    if config.hosts:
        from drawbar.dispatch.pool import pool_dispatcher

        return pool_dispatcher(name, config)
    if config.host is None or config.host == LOCAL:
        from drawbar.dispatch.local import local_dispatcher

        return local_dispatcher(name, config)
    from drawbar.dispatch.hosts import ssh_dispatcher

    return ssh_dispatcher(name, config)


_HERES: dict[tuple[int, str], Here] = {}


def _here(config: TargetConfig) -> Here:
    """One for each process and configuration, so that a handle is known wherever in this process it is used."""
    from drawbar.dispatch.here import Here

    return _HERES.setdefault((os.getpid(), repr(config)), Here(HERE, config))
