"""Whether a host can run a job, asked before anything is sent; picks the Python there that fits.

A Job and what `prepare` found about it come in, the host's facts are asked for only where they decide; a path of an
interpreter (or None for the agent's own) goes out, or a PreflightError that says what to do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drawbar.dispatch.port import Facts, Job
from drawbar.errors import PreflightError

Ask = Callable[[Sequence[str], str | None], Facts]
"""Gives a host's facts: which packages, and in which of its interpreters (None: the agent's own)."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a job needs of a host's Python: a minor version for bytecode that travels, or any."""

    by_value: tuple[str, ...] = ()

    @property
    def minor(self) -> str:
        """`3.11`, or empty where any will do."""
        return "{}.{}".format(*sys.version_info) if self.by_value else ""


def refuse_gpus(job: Job) -> None:
    """PreflightError for a job that asks for GPUs: there are no leases to keep its GPU from others."""
    if job.gpus or job.gpu_memory:
        wanted = f"gpus={job.gpus}" if job.gpus else f"gpu_memory={job.gpu_memory!r}"
        raise PreflightError(
            f"{job.name} asks for GPUs ({wanted}), and GPU leases are not there yet.",
            expected="a job without `gpus` and `gpu_memory`",
            found=wanted,
            todo="leave them out: the function sees all GPUs of the host; set CUDA_VISIBLE_DEVICES in `variables`",
        )


def choose_python(job: Job, needs: Needs, name: str, version: str, ask: Ask) -> str | None:
    """The path of the interpreter to run `job` in, None for the agent's own, whose full version is `version`.

    PreflightError if none fits, or if the one that fits lacks what the job's Env requires.
    """
    if job.env is None and (not needs.minor or version.startswith(f"{needs.minor}.")):
        return None
    # packaging takes longer to import than most jobs take to submit.
    from packaging.version import Version

    from drawbar.dispatch import envs

    wanted = envs.python_wanted(job.env)

    def fits(one: str) -> bool:
        minor = ".".join(one.split(".")[:2])
        return (not needs.minor or minor == needs.minor) and (wanted is None or wanted.contains(one, prereleases=True))

    path: str | None = None
    if not fits(version):
        found = ask((), None).interpreters
        fitting = sorted((one for one in found if fits(one.version)), key=lambda one: Version(one.version))
        if not fitting:
            versions = ", ".join(dict.fromkeys(one.version for one in found)) or version
            raise _no_python(job, needs, name, versions, str(wanted) if wanted else "")
        path = fitting[-1].path
    _check_packages(job, name, path, ask)
    return path


def _check_packages(job: Job, name: str, path: str | None, ask: Ask) -> None:
    if job.env is None or not job.env.requirements:
        return
    from drawbar.dispatch import envs

    facts = ask(list(envs.requirements(job.env)), path)
    missing = envs.unmet(job.env, facts.packages)
    if missing:
        python = path or facts.interpreter.path
        raise PreflightError(
            f"{name} lacks what {job.name} requires.",
            expected=", ".join(job.env.requirements),
            found=", ".join(str(one) for one in missing),
            todo=f"install it there: {python} -m pip install "
            + " ".join(f"'{one.requirement}'" for one in missing)
            + ", or name another interpreter in `python` of the target",
        )


def _no_python(job: Job, needs: Needs, name: str, versions: str, wanted: str) -> PreflightError:
    reasons = []
    if wanted:
        reasons.append(f"Python {wanted} (its Env says so)")
    if needs.minor:
        what = ", ".join(dict.fromkeys(needs.by_value))
        reasons.append(f"Python {needs.minor} ({what} goes by value, as bytecode, which fits no other)")
    todo = f"install that Python on {name}"
    if needs.minor:
        todo += ", or move what is defined in __main__, a notebook or another function into a module of the project"
    return PreflightError(
        f"{name} has no Python that fits {job.name}.",
        expected=" and ".join(reasons),
        found=f"Python {versions}",
        todo=todo,
    )
