"""Whether a host can run a job, asked before anything is sent; picks the Python there that fits.

A Job and what `prepare` found about it come in, the host's facts are asked for only where they decide; a path of an
interpreter (or None for the agent's own) goes out, or a PreflightError that says what to do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from drawbar.agent import gpus
from drawbar.dispatch.code import Reach
from drawbar.dispatch.distributions import refuse_compiled, refuse_missing
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
    """PreflightError for a job in this process that asks for GPUs: a lease is held by a process of the job's own."""
    if job.gpus or job.gpu_memory:
        raise PreflightError(
            f"{job.name} asks for GPUs ({_gpus(job)}), and runs in this process, which cannot lease any.",
            expected="a target with jobs in processes of their own: `local`, or a host",
            found="target `here`",
            todo="set `target`, or leave `gpus` and `gpu_memory` out: the function sees all GPUs then",
        )


def check_gpus(job: Job, name: str, devices: Sequence[gpus.Device]) -> None:
    """PreflightError for a job that asks for GPUs which a host with these `devices` can never give."""
    lacking = gpus.impossible(devices, job.gpus, gpus.parse_memory(job.gpu_memory) if job.gpu_memory else 0)
    if lacking:
        raise PreflightError(
            f"{name} can never give {job.name} the GPUs that it asks for.",
            expected=_gpus(job),
            found=lacking,
            todo=f"ask for what is there (`drawbar gpus {name}`), choose another target, or declare `devices` of "
            f"[tool.drawbar.targets.{name}] if it has GPUs that nvidia-smi does not show",
        )


def _gpus(job: Job) -> str:
    wanted = [f"gpus={job.gpus}"] if job.gpus else []
    return ", ".join([*wanted, *([f"gpu_memory={job.gpu_memory!r}"] if job.gpu_memory else [])])


def choose_python(
    job: Job, needs: Needs, name: str, ask: Ask, own: str, *, build: bool = False
) -> tuple[str | None, str]:
    """The path of the interpreter to run `job` in, None for the agent's own, of version `own`; and its full version.

    With `build` it is the one to build the job's Env with. PreflightError if none fits, or (without `build`) if the one
    that fits lacks what the job's Env requires.
    """
    if job.env is None and (not needs.minor or own.startswith(f"{needs.minor}.")):
        return None, own
    # packaging takes longer to import than most jobs take to submit.
    from packaging.version import Version

    from drawbar.dispatch import envs

    wanted = envs.python_wanted(job.env)

    def fits(one: str) -> bool:
        minor = ".".join(one.split(".")[:2])
        return (not needs.minor or minor == needs.minor) and (wanted is None or wanted.contains(one, prereleases=True))

    path, version = None, own
    if not fits(own):
        found = ask((), None).interpreters
        fitting = sorted((one for one in found if fits(one.version)), key=lambda one: Version(one.version))
        if not fitting:
            versions = ", ".join(dict.fromkeys(one.version for one in found)) or own
            raise _no_python(job, needs, name, versions, str(wanted) if wanted else "")
        path, version = fitting[-1].path, fitting[-1].version
    if not build:
        _check_packages(job, name, path, ask)
    return path, version


def check_imports(job: Job, reach: Reach, path: str | None, ask: Ask, *, name: str, hello: Mapping[str, str]) -> None:
    """PreflightError if the Python at `path` lacks what the project imports, or does not fit its compiled modules.

    `hello` is what the agent said about itself, whose own Python it is where `path` is None.
    """
    if reach.compiled:
        found = ask((), None).interpreters if path else ()
        python = next((one.version for one in found if one.path == path), hello["python"])
        refuse_compiled(job.name, name, reach.compiled, python, hello["platform"])
    if reach.third_party:
        there = ask([f"import {one}" for one in sorted(reach.third_party)], path).packages
        present = {one for one in reach.third_party if there.get(f"import {one}") is not None}
        refuse_missing(job.name, name, reach.third_party, present)


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
