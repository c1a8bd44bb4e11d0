"""Several hosts as one target: each job goes to the host that has it already, else to the one that can begin soonest.

A Job comes as to any Dispatcher and goes to that of one host; the Handle says which (`host`). Clients that submit the
same job at once agree through the host that the job's id puts first (`agent.places`), so that it runs on one of them.
"""

from __future__ import annotations

import hashlib
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from drawbar.agent import frames
from drawbar.config import TargetConfig
from drawbar.dispatch.agents import AgentDispatcher
from drawbar.dispatch.load import Load
from drawbar.dispatch.port import Facts, Handle, Job, JobInfo, Outcome, Progress, Status, ValueRef
from drawbar.errors import LostError, PreflightError, TargetError, UnreachableError

T = TypeVar("T")
AWAY = 60.0
"""For how long a host that could not be reached is passed over before it is tried again, in seconds."""
_PATIENCE = 2.0
_TURNS = 20
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Seen:
    """How a job is on one host: `state` is empty (not there), waiting, running, or how attempt number `attempt` ended.

    `place`, `turn` and `past` are what that host has noted of where the job goes; see `drawbar.agent.places`.
    """

    state: str
    attempt: int
    place: str
    turn: int
    past: int

    @classmethod
    def from_wire(cls, meta: Mapping[str, Any]) -> Seen:
        """As an agent tells it."""
        place = meta["place"]
        state = str(meta.get("ended") or meta["state"])
        return cls(state, int(meta["attempt"]), str(place["host"]), int(place["turn"]), int(place["past"]))

    @property
    def active(self) -> bool:
        """Whether it waits or runs there."""
        return self.state in ("waiting", "running")


class Pool:
    """The hosts of a pool, by their names in `hosts`; `name` is the target's.

    A host that cannot be reached is passed over, with a warning, and tried again after a minute.
    """

    def __init__(self, name: str, members: Mapping[str, AgentDispatcher]) -> None:
        self.name = name
        self.members = dict(members)
        self._load = Load()
        self._away: dict[str, tuple[float, TargetError]] = {}
        self._homes: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def submit(self, job: Job, *, again: str = "unsuccessful") -> Handle:
        """See `Dispatcher.submit`. PreflightError if every host refuses it, UnreachableError if none is there."""
        refused: dict[str, TargetError] = {}
        while True:
            seen = self._ask_all(lambda one: _look(one, job.id))
            usable = {host: one for host, one in seen.items() if host not in refused}
            if not usable:
                raise _all_refused(self.name, job.name, refused)
            host = _at(job.id, usable, again) or self._agree(job, seen, usable, again)
            try:
                handle = self.members[host].submit(job, again=again)
            except PreflightError as error:
                refused[host] = error
            except UnreachableError as error:
                self._pass_over(host, error)
            else:
                if handle.how == "started":
                    self._load.began(host)
                self._remember(job.id, host)
                return replace(handle, target=self.name, host=host)

    def poll(self, handle: Handle) -> Status:
        """See `Dispatcher.poll`."""
        return self.member(handle).poll(handle)

    def wait(self, handle: Handle, stdout: int = 0, stderr: int = 0, timeout: float = 30.0) -> Progress:
        """See `Dispatcher.wait`."""
        progress = self.member(handle).wait(handle, stdout, stderr, timeout)
        self._note_value(handle, progress.outcome)
        return progress

    def logs(self, handle: Handle, stream: str = "stdout", offset: int = 0, limit: int | None = None) -> bytes:
        """See `Dispatcher.logs`."""
        return self.member(handle).logs(handle, stream, offset, limit)

    def collect(self, handle: Handle, timeout: float | None = None) -> Outcome:
        """See `Dispatcher.collect`."""
        outcome = self.member(handle).collect(handle, timeout)
        self._note_value(handle, outcome)
        return outcome

    def fetch(self, value: ValueRef) -> bytearray:
        """See `Dispatcher.fetch`. From whichever host has it."""
        host = self._known(value.digest) or self._holder(value.digest)
        return self.members[host].fetch(value)

    def cancel(self, handle: Handle) -> Status:
        """See `Dispatcher.cancel`."""
        return self.member(handle).cancel(handle)

    def told(self, handle: Handle) -> None:
        """See `Dispatcher.told`."""
        self.member(handle).told(handle)

    def jobs(self, limit: int = 100) -> list[JobInfo]:
        """See `Dispatcher.jobs`. Those of all hosts that can be reached."""
        return [info for _, info in self.listed(limit)]

    def listed(self, limit: int = 100) -> list[tuple[str, JobInfo]]:
        """The latest jobs of all hosts that can be reached, newest first, each with its host."""
        found = [(host, one) for host, jobs in self._ask_all(lambda one: one.jobs(limit)).items() for one in jobs]
        return sorted(found, key=lambda one: one[1].submitted or 0.0, reverse=True)[:limit]

    def gpus(self) -> Mapping[str, Any]:
        """See `Dispatcher.gpus`. Each device and each request in a queue also has its `host`."""
        found = self._ask_all(lambda one: one.gpus())
        return {
            key: [{**one, "host": host} for host, told in found.items() for one in told[key]]
            for key in ("devices", "queue")
        }

    def gc(self, older: float, budget: int, *, dry_run: bool = False) -> Mapping[str, Any]:
        """See `Dispatcher.gc`. The sums over all hosts that can be reached; `budget` is for each."""
        found = self._ask_all(lambda one: one.gc(older, budget, dry_run=dry_run)).values()
        return {"dry_run": dry_run, **{part: _sums(one[part] for one in found) for part in ("removed", "kept")}}

    def facts(self, packages: Sequence[str] = ()) -> Facts:
        """What a job can count on, on whichever host it comes: the least of each, and packages that all have."""
        found = list(self._ask_all(lambda one: one.facts(packages)).values())
        lacking = {name for one in found for name, version in one.packages.items() if version is None}
        return replace(
            found[0],
            packages={name: None if name in lacking else version for name, version in found[0].packages.items()},
            disk=min(one.disk for one in found),
            memory=min(one.memory for one in found),
            cpus=min(one.cpus for one in found),
            gpus=min((one.gpus for one in found), key=len),
        )

    def close(self) -> None:
        """See `Dispatcher.close`."""
        for one in self.members.values():
            one.close()

    def member(self, handle: Handle) -> AgentDispatcher:
        """The dispatcher of the host that has a job; where the handle does not say which, of the one that knows it."""
        host = handle.host or self._known(handle.job)
        if host not in self.members:
            if host:
                raise TargetError(
                    f"{handle.name or 'The job'} is on {host}, which is not one of {self.name}'s hosts.",
                    expected=", ".join(self.members),
                    found=host,
                    todo=f"add it to `hosts` of [tool.drawbar.targets.{self.name}], or submit the job again",
                )
            host = self._host_of(handle)
        return self.members[host]

    def _host_of(self, handle: Handle) -> str:
        seen = self._ask_all(lambda one: _look(one, handle.job))
        host = _at(handle.job, seen, "never")
        if not host:
            raise LostError(
                f"None of {self.name}'s hosts knows {handle.name or 'the job'}.",
                found=f"no job {handle.job} on {', '.join(seen)}",
                todo="submit it again",
            )
        self._remember(handle.job, host)
        return host

    def _agree(self, job: Job, seen: Mapping[str, Seen], usable: Mapping[str, Seen], again: str) -> str:
        """Which host an unstarted job goes to: the one that stands noted, or the best, once that is noted."""
        home = _order(job.id, seen)[0]
        place, turn, past = seen[home].place, seen[home].turn, seen[home].past
        best = ""
        for _ in range(_TURNS):
            if place in usable and not _used_up(usable[place], past, again):
                return place
            best = best or self._best(job, usable)
            told = _propose(self.members[home], {"job": job.id, "host": best, "turn": turn, "past": seen[best].attempt})
            place, turn, past = told.place, told.turn, told.past
        raise TargetError(
            f"{self.name}'s clients do not agree where {job.name} goes.",
            expected=f"one of {', '.join(usable)}",
            found=f"{home} was told of another host {_TURNS} times",
            todo="see that all clients name the same `hosts`, and submit it again",
        )

    def _best(self, job: Job, usable: Mapping[str, Seen]) -> str:
        """The host where the job can begin soonest; of equals, all clients choose the same."""
        hosts = _order(job.id, usable)
        found = self._ask_all(lambda one: self._load.cost(one, job), only=hosts)
        return min((host for host in hosts if host in found), key=lambda host: found[host])

    def _holder(self, digest: str) -> str:
        """The host that has a blob."""

        def has(one: AgentDispatcher) -> bool:
            return not one.link.call(lambda agent: agent.ask(frames.HAVE, {"blobs": [digest]})).meta["missing"]

        found = self._ask_all(has)
        for host, here in found.items():
            if here:
                return host
        raise LostError(
            f"None of {self.name}'s hosts has the value any more.",
            found=f"no blob {digest} on {', '.join(found)}",
            todo="run the job again",
        )

    def _ask_all(self, ask: Callable[[AgentDispatcher], T], *, only: Sequence[str] | None = None) -> dict[str, T]:
        """What each host answers, all asked at once; UnreachableError, which names each, if none does.

        Hosts that were unreachable less than a minute ago are not asked, unless no other answers.
        """
        wanted = list(self.members if only is None else only)
        now = time.monotonic()
        with self._lock:
            away = [host for host in wanted if host in self._away and self._away[host][0] > now]
        for asked in ([host for host in wanted if host not in away], away):
            answers, faults = _at_once(ask, {host: self.members[host] for host in asked})
            for host, error in faults.items():
                if not isinstance(error, TargetError):
                    raise error
                self._pass_over(host, error)
            with self._lock:
                for host in answers:
                    self._away.pop(host, None)
            if answers:
                return answers
        raise self._unreachable(wanted)

    def _pass_over(self, host: str, error: TargetError) -> None:
        with self._lock:
            known = host in self._away
            self._away[host] = time.monotonic() + AWAY, error
        if not known:
            warnings.warn(f"{host} of {self.name} is passed over: {error.what}", stacklevel=2)

    def _unreachable(self, hosts: Iterable[str]) -> UnreachableError:
        with self._lock:
            known = {host: self._away[host][1] for host in hosts if host in self._away}
        return UnreachableError(
            f"None of {self.name}'s hosts can be used.",
            found="; ".join(f"{host}: {error.what} {error.found}".strip() for host, error in known.items()),
            todo=next((error.todo for error in known.values() if error.todo), ""),
        )

    def _note_value(self, handle: Handle, outcome: Outcome | None) -> None:
        if outcome is not None and outcome.value is not None:
            self._remember(outcome.value.digest, handle.host or self._known(handle.job))

    def _remember(self, digest: str, host: str) -> None:
        """That a job or a value is on `host`."""
        with self._lock:
            self._homes[digest] = host
            self._homes.move_to_end(digest)
            while len(self._homes) > _REMEMBERED:
                self._homes.popitem(last=False)

    def _known(self, digest: str) -> str:
        with self._lock:
            return self._homes.get(digest, "")


def pool_dispatcher(name: str, config: TargetConfig) -> Pool:
    """The Pool of `hosts` in `config`; the rest of it holds for each of them. `local` is a worker on this machine."""
    return Pool(name, {host: _member(replace(config, host=host, hosts=()), host) for host in config.hosts})


def _member(config: TargetConfig, host: str) -> AgentDispatcher:
    if host == "local":
        from drawbar.dispatch.local import local_dispatcher

        return local_dispatcher(host, config)
    from drawbar.dispatch.hosts import ssh_dispatcher

    return ssh_dispatcher(host, config)


def _at_once(
    ask: Callable[[AgentDispatcher], T], members: Mapping[str, AgentDispatcher]
) -> tuple[dict[str, T], dict[str, Exception]]:
    """What each of them answers or raises; plain threads, because an executor takes nothing at a process's end."""
    answers: dict[str, T] = {}
    faults: dict[str, Exception] = {}

    def one(host: str) -> None:
        try:
            answers[host] = ask(members[host])
        except Exception as error:  # whoever asked judges it
            faults[host] = error

    threads = [threading.Thread(target=one, args=(host,), name=f"drawbar {host}", daemon=True) for host in members]
    for thread in threads[1:]:
        thread.start()
    for thread in threads[:1]:
        thread.run()
    for thread in threads[1:]:
        thread.join()
    return {host: answers[host] for host in members if host in answers}, faults


def _propose(home: AgentDispatcher, asked: Mapping[str, Any]) -> Seen:
    return Seen.from_wire(home.link.call(lambda agent: agent.ask(frames.PLACE, asked)).meta)


def _look(member: AgentDispatcher, job: str) -> Seen:
    """How the job is on a host; soon, for a host that has just gone away must not hold up the others."""
    return Seen.from_wire(
        member.link.call(lambda agent: agent.ask(frames.PLACE, {"job": job}), patience=_PATIENCE).meta
    )


def _at(job: str, seen: Mapping[str, Seen], again: str) -> str:
    """The host where a submit finds what it needs: the job under way, its value, or how it ended; empty for none."""
    wanted: list[Callable[[Seen], bool]] = [lambda one: one.active]
    if again != "always":
        wanted.append(lambda one: one.state == "succeeded")
    if again == "never":
        wanted.append(lambda one: bool(one.state))
    hosts = _order(job, seen)
    return next((host for fits in wanted for host in hosts if fits(seen[host])), "")


def _used_up(seen: Seen, past: int, again: str) -> bool:
    """Whether the attempt that the note was made for has ended, so that the next one may go elsewhere."""
    ended = bool(seen.state) and not seen.active
    return ended and seen.attempt > past and (again == "always" or seen.state != "succeeded")


def _order(job: str, hosts: Iterable[str]) -> list[str]:
    """The hosts in an order of the job's own (rendezvous hashing): every client has the same one."""
    return sorted(hosts, key=lambda host: hashlib.sha256(f"{job}:{host}".encode()).digest())


def _sums(parts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    sums: dict[str, dict[str, int]] = {}
    for part in parts:
        for kind, counted in part.items():
            into = sums.setdefault(kind, dict.fromkeys(counted, 0))
            for key, amount in counted.items():
                into[key] += amount
    return sums


def _all_refused(name: str, job: str, refused: Mapping[str, TargetError]) -> TargetError:
    return PreflightError(
        f"None of {name}'s hosts can run {job}.",
        expected=next((error.expected for error in refused.values() if error.expected), ""),
        found="; ".join(f"{host}: {error.what} {error.found}".strip() for host, error in refused.items()),
        todo=next((error.todo for error in refused.values() if error.todo), ""),
    )
