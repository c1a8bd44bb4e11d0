"""What an Env asks for, and whether a host has it: its digest, and its requirements against installed versions.

An Env comes from a Job; facts come from the host; a list of what does not fit goes to `preflight`. An Env is checked
here, not built: building one on the host is where this file grows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from drawbar.asset import Env
from drawbar.errors import OptionError


@dataclass(frozen=True, slots=True)
class Unmet:
    """One requirement that a host does not meet; `found` is the installed version, or empty where there is none."""

    requirement: str
    found: str

    def __str__(self) -> str:
        """As messages tell it."""
        return f"{self.requirement} ({f'it has {self.found}' if self.found else 'not installed'})"


def digest(env: Env) -> str:
    """The Env's identity: the same requirements in another order or spelling are the same Env.

    >>> digest(Env("numpy>=2", "Pandas")) == digest(Env("pandas", "numpy >= 2"))
    True
    """
    said = {
        "requirements": sorted({str(one) for one in requirements(env).values()}),
        "python": str(python_wanted(env) or ""),
        "lock": env.lock,
        "find_links": env.find_links,
        "variables": dict(env.variables),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def requirements(env: Env) -> dict[str, Requirement]:
    """The requirements that count on this platform, by normalised name. OptionError for text that is none.

    >>> list(requirements(Env("Scikit_Learn>=1.5")))
    ['scikit-learn']
    """
    found: dict[str, Requirement] = {}
    for text in env.requirements:
        try:
            one = Requirement(text)
        except InvalidRequirement as error:
            raise OptionError(
                f"{text!r} is not a requirement.",
                expected="a requirement as pip reads it, such as 'numpy>=2'",
                found=str(error),
                todo="mend it in the Env",
            ) from None
        if one.marker is None or one.marker.evaluate():
            one.name = canonicalize_name(one.name)
            found[one.name] = one
    return found


def python_wanted(env: Env | None) -> SpecifierSet | None:
    """The versions of Python that an Env allows; a bare version such as "3.11" means that minor version."""
    if env is None or env.python is None:
        return None
    text = env.python.strip()
    try:
        return SpecifierSet(f"=={text}.*" if text[:1].isdigit() and text.count(".") == 1 else _exact(text))
    except InvalidSpecifier:
        raise OptionError(
            f"{env.python!r} is not a version of Python.",
            expected="a specifier such as '>=3.11', or a version such as '3.11'",
            found=env.python,
            todo="mend `python` of the Env",
        ) from None


def _exact(text: str) -> str:
    return f"=={text}" if text[:1].isdigit() else text


def unmet(env: Env, packages: Mapping[str, str | None]) -> list[Unmet]:
    """Which requirements the installed versions do not meet.

    >>> [str(one) for one in unmet(Env("numpy>=2"), {"numpy": "1.26.4"})]
    ['numpy>=2 (it has 1.26.4)']
    """
    missing = []
    for name, one in requirements(env).items():
        found = packages.get(name)
        if found is None or not _fits(one, found):
            missing.append(Unmet(str(one), found or ""))
    return missing


def _fits(requirement: Requirement, version: str) -> bool:
    try:
        return not requirement.specifier or requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:  # a distribution built by hand: it is there, and nobody can compare it
        return True
