"""What every work of a run needs, and what several of them keep together: the one thing that crews share.

Made by `run` from what was planned; read by `making` and `execution`, which note in it what is under way.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from drawbar import plugins
from drawbar.asset import Options
from drawbar.crew import Teller
from drawbar.errors import FormatError, StoreError, UnknownTargetError
from drawbar.events import Parent
from drawbar.formats import default
from drawbar.identity import run_uuid
from drawbar.leases import Lease
from drawbar.planner import HERE, Planner
from drawbar.values import Values
from drawbar.work import Work

if TYPE_CHECKING:
    from drawbar.agent.proxies import Actor
    from drawbar.dispatch.port import Dispatcher, Handle, StorePlace, ValueRef
    from drawbar.selection import Unit


REMOTE_AT_ONCE = 64


@dataclass(slots=True)
class Tools:
    """The planner, the values, the targets, and where facts are told.

    `at_targets` is how many jobs of the walk, and of one fan-out, are on targets at most. `running` are those there
    now, `accounts` the lineage runs that began and have not ended, `leases` those held, all by key; `leave` says, once
    `stopped` is set, that jobs are not to be cancelled.
    """

    planner: Planner
    values: Values
    tell: Teller
    parent: Parent | None
    at_targets: int = REMOTE_AT_ONCE
    run_id: str = field(default_factory=run_uuid)
    stopped: threading.Event = field(default_factory=threading.Event)
    leave: bool = False
    running: dict[str, tuple[Dispatcher, Handle]] = field(default_factory=dict)
    accounts: dict[str, str] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    _dispatchers: dict[str, Dispatcher] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, planner: Planner, tell: Teller, parent: Parent | None, at_targets: int = REMOTE_AT_ONCE) -> Tools:
        """The tools for a run of what was planned; what cannot work is an error now."""
        tools = cls(planner, Values(planner, default(plugins.formats())), tell, parent, at_targets)
        tools.values.live = tools.live
        tools.check_formats()
        tools.check_targets()
        return tools

    def dispatcher(self, name: str) -> Dispatcher:
        """The dispatcher of a target, made when the first job needs it."""
        from drawbar.dispatch.target import target

        with self._lock:
            if name not in self._dispatchers:
                self._dispatchers[name] = target(name, config=self.planner.config).dispatcher
            return self._dispatchers[name]

    def needs(self, options: Options) -> dict[str, Any]:
        """What an asset's jobs ask of their target, as a Job takes it."""
        asked = ("gpus", "gpu_memory", "isolate", "wait_timeout", "silence_timeout")
        env = options.env and options.env.at(self.planner.config.root)
        return {"env": env, **{name: getattr(options, name) for name in asked}}

    def live(self, unit: Unit, described: Actor[Any]) -> Any:
        """The actor that a unit's function described, on the place of its asset, found there or constructed."""
        from drawbar.actor import live
        from drawbar.dispatch.target import target

        key, options = unit.key, self.needs(unit.asset.options)
        where = target(self.planner.place(unit.asset.name), config=self.planner.config)
        return live(described, where, str(key), {name: options[name] for name in ("env", "gpus", "gpu_memory")})

    def place(self, folder: str = "") -> StorePlace:
        """The store as a job is told of it; its value belongs into `folder` there, or, without one, comes back only."""
        from drawbar.dispatch.access import StorePlace, marker_of

        store = self.planner.store
        return StorePlace(store.url, partial(marker_of, store.files), folder)

    def refuse_unstored(self, work: Work, value: ValueRef) -> None:
        """Raise StoreError for a value that its target was to put into the store, and could not."""
        from drawbar.dispatch.access import DIRECT
        from drawbar.dispatch.target import settings_of

        if value.unstored and settings_of(work.target, self.planner.config.targets).store_access == DIRECT:
            raise StoreError(
                f"{work.key} was made on {work.target}, which could not put it into the store.",
                expected=f'a store that its host writes, as `store_access = "{DIRECT}"` says',
                found=value.unstored,
                todo='set `store_access = "auto"` of the target: the value is kept there, and nothing runs again',
            )

    def check_formats(self) -> None:
        """A plugin's format exists in this process only, so an asset that a host makes cannot ask for it."""
        for name in self.planner.assets:
            options = self.planner.graph.assets[name].options
            if options.format and self.planner.target(name) != HERE and not self.values.formats.travels(options.format):
                raise FormatError(
                    f"{name} asks for the format {options.format!r}, which its target does not have.",
                    expected="a built-in format, for a value that is made on a target",
                    found=f"a plugin's format, and target {self.planner.target(name)!r}",
                    todo="make the value there in a built-in format, and convert it in an asset that runs here",
                    where=self.planner.graph.assets[name].where,
                )

    def check_targets(self) -> None:
        """A target that nobody knows is found now, not when hours of what comes before it have been made."""
        places = {self.planner.place(name): name for name in reversed(self.planner.assets)}
        places.pop(HERE, None)
        if not places:
            return
        from drawbar.dispatch.target import settings_of

        for place, name in places.items():
            try:
                settings_of(place, self.planner.config.targets)
            except UnknownTargetError as error:
                error.where = self.planner.graph.assets[name].where
                raise
