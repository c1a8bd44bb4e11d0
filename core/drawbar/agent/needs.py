"""What a job must have before its worker starts: its Env, built if nobody has built it, and a lease of its GPUs.

The supervisor asks for both and waits; what they give (an interpreter, variables) goes into the spec that the worker
gets, and what they cost into the outcome. Both are held as long as the supervisor lives.
"""

from __future__ import annotations

import os
import time
from typing import Any, NoReturn, Optional

from . import envs, files, gpus, jobs, outcomes, worker


class Needs:
    """The Env and the GPUs of one job; `refused` is the cause and the error, where it cannot have them."""

    def __init__(self, root: str, attempt: jobs.Attempt, spec: dict[str, Any]) -> None:
        self._root = root
        self._attempt = attempt
        self._said = attempt.path("environment.json")
        self._began = time.monotonic()
        self._granted = 0.0
        self._lease: Optional[gpus.Lease] = None
        self.sampler: Optional[gpus.Sampler] = None
        self.spec = spec
        self.built = 0.0
        self.refused: Optional[tuple[str, dict[str, Any]]] = None

    def has_env(self) -> bool:
        """Whether its Env is there, and in use from now on; False where it must be built."""
        env = self.spec.get("env")
        if not env:
            return True
        # Somebody may remove it between the end of its building and its use: then it is built again.
        if envs.use(self._root, env["digest"]) is None:
            return False
        python = envs.ready(self._root, env["digest"])
        assert python is not None
        variables = {**envs.activated(python), **(self.spec.get("variables") or {})}
        self.spec = {**self.spec, "python": python, "variables": variables}
        return True

    def build(self, parent: int, stdout: int, stderr: int) -> NoReturn:
        """Build the Env, in a process just forked by the supervisor `parent`; the outputs are pipes to it."""
        try:
            worker.become(parent, stdout, stderr)
            try:
                files.write_json(self._said, {"python": envs.build(self._root, self.spec["env"])})
            except envs.EnvError as error:
                told = {"expected": error.expected, "found": error.found, "todo": error.todo}
                files.write_json(self._said, {"error": outcomes.error("EnvError", error.what, **told)})
        finally:
            os._exit(0)

    def was_built(self) -> bool:
        """Whether the build that has ended now went well; else `refused` tells why not."""
        self.built = time.monotonic() - self._began
        told = files.read_json(self._said) or {}
        if "python" not in told:
            killed = outcomes.error("EnvError", "The process that built it was killed.", todo="run it again")
            self.refused = "env", told.get("error") or killed
        return self.refused is None

    def waiting(self) -> Optional[str]:
        """For which GPUs it waits; None once it has them, or will never have them."""
        wanted, memory = int(self.spec.get("gpus") or 0), int(self.spec.get("gpu_memory") or 0)
        if not wanted and not memory:
            return None
        if self._lease is None and not self._ask(wanted, memory):
            return None
        assert self._lease is not None
        if not self._lease.look():
            return self._lease.waiting
        self._granted = time.monotonic()
        variables = {**(self.spec.get("variables") or {}), **self._lease.variables()}
        self.spec = {**self.spec, "variables": variables}
        self.sampler = gpus.sampler(self._lease.devices)
        return None

    def _ask(self, wanted: int, memory: int) -> bool:
        """Take a place in the queue; whether there can be an end to it."""
        try:
            self._lease = gpus.Lease(
                self._root,
                gpus=wanted,
                memory=memory,
                declared=self.spec.get("devices") or (),
                job=self._attempt.job,
                attempt=self._attempt.number,
                name=self.spec.get("name") or "",
            )
        except gpus.GpuError as error:
            told = {"expected": error.expected, "found": error.found, "todo": error.todo}
            self.refused = "gpus", outcomes.error("GpuError", error.what, **told)
        return self.refused is None

    def devices(self) -> list[dict[str, str]]:
        """The GPUs that it holds: id and name."""
        return [] if self._lease is None else [{"id": one.id, "name": one.name} for one in self._lease.devices]

    def costs(self) -> dict[str, Any]:
        """What of the outcome's costs is known here."""
        held = self.devices()
        return {
            "build": self.built,
            "gpu": ", ".join(dict.fromkeys(one["name"] or f"GPU {one['id']}" for one in held)),
            "gpu_seconds": len(held) * (time.monotonic() - self._granted) if held else 0.0,
            "peak_device_memory": self.sampler.peak if self.sampler is not None else 0,
        }

    def release(self) -> None:
        """Give the GPUs back."""
        if self._lease is not None:
            self._lease.release()
