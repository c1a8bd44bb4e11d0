"""What each request means: from the meta of a frame to the meta of its answer, through blobs, jobs and facts.

The event loop (`serve`) calls `answer`; what cannot be answered yet comes back as a `Later`, and faults as ERROR meta.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from typing import Any, Callable, Optional, Union

from . import files, frames, jobs, outcomes, processes, refusals, relay, waits
from .blobs import BlobError, Blobs
from .frames import Frame
from .refusals import RefusedError
from .waits import Answer, Later

AGAIN = ("never", "unsuccessful", "always")
_TRIES = 100
_FOR_WORKERS = ("warm", "supervisor", "gpus", "execution", "encoding", "shim", "examine")
_FOR_CHECKS = ("contracting", "profiling", "partition")


def load_for_workers() -> None:
    """Load what every worker needs, so that they are forked with it; nothing to do from the second time on."""
    for name in (*(f"{__package__}.{module}" for module in (*_FOR_WORKERS, *_FOR_CHECKS)), "cloudpickle", "ctypes"):
        importlib.import_module(name)
    gc.freeze()  # a collection in a worker would copy all that is shared with it


class FactsWanted:
    """FACTS: a child process finds them out; the loop reads its pipe."""

    def __init__(self, number: int, pid: int, pipe: int) -> None:
        self.number = number
        self.pid = pid
        self.pipe = pipe
        self.data = b""


Given = Union[Answer, Later, FactsWanted, relay.Relayed]


class Answers:
    """The requests that one client makes of one root."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._blobs = Blobs(root)
        self._jobs = jobs.Jobs(root)
        self.relay = relay.Relay()
        self._client: dict[str, Any] = {}
        self._handlers: dict[int, Callable[[Frame], Given]] = {
            frames.HELLO: self._hello,
            frames.HAVE: self._have,
            frames.PUT: self._put,
            frames.SUBMIT: self._submit,
            frames.WAIT: self._wait,
            frames.READ: self._read,
            frames.GET: self._get,
            frames.CANCEL: self._cancel,
            frames.JOBS: self._list,
            frames.FACTS: self._facts,
            frames.TOLD: self._told,
            frames.CALL: lambda frame: self.relay.begin(frame, self._jobs),
            frames.GPUS: self._gpus,
            frames.GC: self._gc,
            frames.PLACE: self._place,
            frames.ACTORS: lambda _: Answer({"actors": relay.running(self._jobs)}),
            frames.BYE: lambda _: Answer({}),
        }

    def answer(self, frame: Frame) -> Given:
        """The answer, or what will give it. Raises RefusedError, and nothing else."""
        handler = self._handlers.get(frame.kind)
        if handler is None:
            known = ", ".join(frames.NAMES[kind] for kind in self._handlers)
            raise RefusedError("protocol", "That is not a request.", known, f"kind {frame.kind}")
        name = frames.NAMES[frame.kind]
        try:
            return handler(frame)
        except RefusedError:
            raise
        except BlobError as error:
            raise RefusedError(error.code, error.what, error.expected, error.found) from None
        except jobs.UnknownJobError as error:
            raise RefusedError(
                "unknown", "No such job on the host.", found=str(error), todo="submit it again"
            ) from None
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            found = f"{type(error).__name__}: {error}"[:500]
            raise RefusedError("protocol", f"The request {name} does not say what it must.", found=found) from error
        except OSError as error:
            raise refusals.by_system(error, self.root) from error
        except Exception as error:  # a fault of ours must not end the connection of a hundred jobs
            raise RefusedError(
                "internal", f"The agent failed at {name}.", found=f"{type(error).__name__}: {error}"
            ) from error

    def close(self) -> None:
        """The client has gone."""
        self._blobs.close()
        self.relay.close()

    def _hello(self, frame: Frame) -> Answer:
        if frame.meta["protocol"] != frames.VERSION:
            found = f"version {frame.meta['protocol']}"
            raise RefusedError("protocol", "The client speaks another protocol.", f"version {frames.VERSION}", found)
        self._client = {key: frame.meta.get(key) for key in ("host", "user", "pid")}
        return Answer(
            {
                "protocol": frames.VERSION,
                "agent": _agent(),
                "python": outcomes.version(),
                "executable": sys.executable,
                "platform": f"{sys.platform}-{os.uname().machine}",
                "host": os.uname().nodename,
                "user": _user(),
                "pid": os.getpid(),
                "boot": files.boot_id(),
                "root": self.root,
                "free": refusals.free(self.root),
            }
        )

    def _have(self, frame: Frame) -> Answer:
        missing, partial = self._blobs.missing(frame.meta["blobs"])
        return Answer({"missing": missing, "partial": partial})

    def _put(self, frame: Frame) -> Answer:
        digest, offset, size = frame.meta["digest"], int(frame.meta["offset"]), int(frame.meta["size"])
        return Answer({"bytes": self._blobs.put(digest, offset, size, frame.body)})

    def _get(self, frame: Frame) -> Answer:
        length = min(int(frame.meta["length"]), frames.BODY_LIMIT)
        size, data = self._blobs.read(frame.meta["digest"], int(frame.meta["offset"]), length)
        return Answer({"size": size}, (data,))

    def _submit(self, frame: Frame) -> Answer:
        meta = frame.meta
        job, again = str(meta["job"]), meta.get("again", "unsuccessful")
        if again not in AGAIN:
            raise RefusedError("protocol", "SUBMIT does not say when to try again.", " or ".join(AGAIN), repr(again))
        if not isinstance(meta["spec"], dict) or not isinstance(meta["spec"].get("function"), dict):
            raise RefusedError("protocol", "SUBMIT has no spec of a function.", "a JSON object with `function`")
        secrets = json.loads(bytes(frame.body)) if frame.body else {}
        if not isinstance(secrets, dict) or not all(isinstance(value, str) for value in secrets.values()):
            raise RefusedError("protocol", "The secrets of SUBMIT are not variables.", "a JSON object of texts")
        for _ in range(_TRIES):
            answer = self._try_submit(job, meta, again, secrets)
            if answer is not None:
                return answer
            time.sleep(0.002)
        raise RefusedError("internal", "The job cannot be claimed.", found=job, todo="look at its folder on the host")

    def _try_submit(self, job: str, meta: dict[str, Any], again: str, secrets: dict[str, str]) -> Optional[Answer]:
        """What SUBMIT finds or starts; None where another client was quicker, and it must look again."""
        latest = self._jobs.latest(job)
        if latest is None:
            return self._start(job, 1, meta, secrets)
        view = jobs.look(latest)
        if view.outcome is None:
            return self._found(latest, view, "attached")
        if view.stranded:
            return self._start_stranded(latest, secrets)
        value = view.outcome["value"]
        if value and self._blobs.has(value["digest"]) and again != "always":
            return self._found(latest, view, "adopted")
        if again == "never":
            return self._found(latest, view, "ended")
        _end_leftovers(latest)
        return self._start(job, latest.number + 1, meta, secrets)

    def _start(self, job: str, number: int, meta: dict[str, Any], secrets: dict[str, str]) -> Optional[Answer]:
        spec = {**meta["spec"], "job": job, "name": meta.get("name", ""), "run_id": meta["run_id"]}
        self._check_blobs(spec)
        spec.update(submitted=time.time(), secrets=sorted(secrets))
        claimed = self._jobs.claim(job, number, spec)
        if claimed is None:
            return None
        attempt, lock = claimed
        self._jobs.note(job, "submitted", attempt=number, run_id=spec["run_id"], client=self._client)
        return self._begin(attempt, lock, spec, secrets)

    def _start_stranded(self, attempt: jobs.Attempt, secrets: dict[str, str]) -> Optional[Answer]:
        """Whoever claimed this attempt died before it began: it begins now, once."""
        lock = jobs.lock(attempt)
        if lock is None:
            return None
        if not jobs.look_unlocked(attempt).stranded:
            os.close(lock)
            return None
        self._jobs.note(attempt.job, "taken over", attempt=attempt.number, client=self._client)
        return self._begin(attempt, lock, files.read_json(attempt.path("spec.json")) or {}, secrets)

    def _begin(self, attempt: jobs.Attempt, lock: int, spec: dict[str, Any], secrets: dict[str, str]) -> Answer:
        load_for_workers()
        from . import supervisor, warm

        if warm.hand_over(self.root, attempt, lock, spec, secrets):
            os.close(lock)
        else:
            supervisor.start(self.root, attempt, lock, spec, secrets)
        answer = {"attempt": attempt.number, "run_id": spec.get("run_id"), "how": "started", "state": "waiting"}
        return Answer({**answer, "ended": None, "told": False})

    def _found(self, attempt: jobs.Attempt, view: jobs.View, how: str) -> Answer:
        spec = files.read_json(attempt.path("spec.json")) or {}
        self._jobs.note(attempt.job, how, attempt=attempt.number, client=self._client)
        told = os.path.exists(attempt.path("told"))
        answer = {"attempt": attempt.number, "run_id": spec.get("run_id"), "how": how, "state": view.state}
        return Answer({**answer, "ended": outcomes.ended(view.outcome), "told": told})

    def _check_blobs(self, spec: dict[str, Any]) -> None:
        examine = spec.get("examine") or {}
        values = [one for argument in spec.get("arguments") or () for one in argument.get("many", (argument,))]
        functions = [spec["function"], *(check["function"] for check in examine.get("checks") or ())]
        last = examine.get("last") or {}
        named = [*(one.get("blob") for one in functions), None if last.get("url") else last.get("blob")]
        wanted = [
            *(one for packs in spec.get("code") or () for one in packs),
            *(one["blob"] for one in values if not one.get("url")),
        ]
        env = spec.get("env") or {}
        named += [env.get("lock"), *(env.get("wheels") or {}).values()]
        wanted += [digest for digest in (spec.get("call"), *named) if digest]
        missing = [digest for digest in wanted if not self._blobs.has(digest)]
        if missing:
            raise RefusedError("unknown", "The job needs blobs that are not on the host.", found=", ".join(missing))

    def _wait(self, frame: Frame) -> Later:
        return waits.News(frame.number, self._attempt(frame), frame.meta)

    def _read(self, frame: Frame) -> Answer:
        stream = frame.meta["stream"]
        if stream not in ("stdout", "stderr"):
            raise RefusedError("protocol", "There is no such stream.", "stdout or stderr", repr(stream))
        limit = min(int(frame.meta.get("limit") or frames.BODY_LIMIT), frames.BODY_LIMIT)
        size, data = waits.read(self._attempt(frame), stream, max(0, int(frame.meta["offset"])), limit)
        return Answer({"size": size}, (data,))

    def _cancel(self, frame: Frame) -> Later:
        attempt = self._attempt(frame)
        view = jobs.look(attempt)
        if view.outcome is None or view.stranded:
            files.touch(attempt.path("cancel"))
            self._jobs.note(attempt.job, "cancel asked", attempt=attempt.number, client=self._client)
            _hurry(attempt)
        lock = jobs.lock(attempt) if view.stranded else None
        if lock is not None:
            jobs.write_outcome(attempt, outcomes.outcome("cancelled", "cancel", ended=time.time()))
            os.close(lock)
        _end_leftovers(attempt)
        return waits.Cancelled(frame.number, attempt, min(waits.LONGEST, float(frame.meta.get("timeout", 30.0))))

    def _list(self, frame: Frame) -> Answer:
        lines = (_line(attempt) for attempt in self._jobs.newest(int(frame.meta.get("limit", 100))))
        return Answer({"jobs": [line for line in lines if line is not None]})

    def _facts(self, frame: Frame) -> FactsWanted:
        from . import facts

        asked = frame.meta
        if asked.get("store"):
            from . import storing

            store = {**asked["store"], **json.loads(bytes(frame.body))}
            return FactsWanted(frame.number, *facts.begin_with(lambda: {"store": storing.look(store)}))
        names = [str(name) for name in asked.get("packages") or ()]
        begun = facts.begin(self.root, names, asked.get("python"), brief=bool(asked.get("brief")))
        return FactsWanted(frame.number, *begun)

    def _gpus(self, frame: Frame) -> FactsWanted:
        from . import gpus

        declared = [str(one) for one in frame.meta.get("devices") or ()]
        for one in declared:
            gpus.parse_memory(one)  # refused here rather than in the child, which could not say so
        return FactsWanted(frame.number, *gpus.begin_overview(self.root, declared))

    def _gc(self, frame: Frame) -> FactsWanted:
        from . import gc as cleaning

        budget, older = int(frame.meta["budget"]), float(frame.meta["older"])
        begun = cleaning.begin(self.root, budget, older, dry_run=bool(frame.meta.get("dry_run")))
        return FactsWanted(frame.number, *begun)

    def _place(self, frame: Frame) -> Answer:
        from . import places

        return Answer(places.answer(self.root, self._jobs, frame.meta))

    def _told(self, frame: Frame) -> Answer:
        files.touch(self._attempt(frame).path("told"))
        return Answer({})

    def _attempt(self, frame: Frame) -> jobs.Attempt:
        number = frame.meta.get("attempt")
        return self._jobs.attempt(frame.meta["job"], None if number is None else int(number))


def _line(attempt: jobs.Attempt) -> Optional[dict[str, Any]]:
    try:
        view = jobs.look(attempt)
    except OSError:
        return None  # somebody removes its folder just now
    spec = files.read_json(attempt.path("spec.json")) or {}
    state = files.read_json(attempt.path("state.json")) or {}
    told = view.outcome or {}
    return {
        "job": attempt.job,
        "name": spec.get("name", ""),
        "attempt": attempt.number,
        "state": view.state,
        "ended_as": told.get("state"),
        "cause": told.get("cause"),
        "run_id": spec.get("run_id"),
        "submitted": spec.get("submitted"),
        "started": told.get("started") or state.get("started"),
        "ended": told.get("ended"),
        "waiting": view.waiting,
        "gpus": state.get("gpus") or [] if view.outcome is None else [],
    }


def _hurry(attempt: jobs.Attempt) -> None:
    """Wake the supervisor, which would look for the marker within a second by itself."""
    state = files.read_json(attempt.path("state.json")) or {}
    if state.get("pid") and state.get("boot") == files.boot_id() and jobs.locked(attempt):
        import signal

        processes.send([int(state["pid"])], signal.SIGUSR1)


def _end_leftovers(attempt: jobs.Attempt) -> None:
    """A supervisor that was killed could not end what its job had started; whoever comes next does."""
    state = files.read_json(attempt.path("state.json")) or {}
    if os.path.exists(attempt.path("outcome.json")) or jobs.locked(attempt) or not state.get("pid"):
        return
    if state.get("boot") == files.boot_id():
        import signal

        left = processes.leftovers(int(state["pid"]), f"DRAWBAR_ATTEMPT={attempt.folder}")
        processes.send(left, signal.SIGKILL)


def _agent() -> str:
    """The digest of the zip that this runs from."""
    return next((part[: -len(".zip")] for part in __file__.split("/") if part.endswith(".zip")), "")


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
