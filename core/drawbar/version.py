"""The Version: the digest of what an asset would be made from, and what differs between two of them.

Parts come here from `plan`, fresh or out of a record; a digest goes back, and changes in words for `explain`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drawbar.asset import Env
from drawbar.fingerprint import Code
from drawbar.records import Parts

if TYPE_CHECKING:
    from hashlib import _Hash as Hash


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs from when the asset was last made; `kind` is code, parameter, input, option and so on.

    `how` is changed, new or gone; `old` and `new` are what a person can read of the two, where there is something.
    """

    kind: str
    name: str
    how: str = "changed"
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        """The change as a person says it.

        >>> str(Change("parameter", "k", "changed", "3", "5")), str(Change("code", "helpers.clean"))
        ('parameter k changed: 3 → 5', 'code helpers.clean changed')
        """
        if self.how != "changed":
            return f"{self.kind} {self.name} is {self.how}"
        return f"{self.kind} {self.name} changed" + (f": {self.old} → {self.new}" if self.old or self.new else "")


def version_of(parts: Parts, name: str) -> str:
    """The Version: sha256 over what the asset would be made from, 64 hex digits."""
    return version_at(head_of(parts, name), parts.inputs, parts.partition)


def head_of(parts: Parts, name: str) -> Hash:
    """What all partitions of an asset have in common, digested so far: all parts but inputs and partition."""
    # Of a parameter its digest counts, not what a person is shown of it.
    params = [(key, text.rpartition("#")[2]) for key, text in sorted(parts.params.items())]
    rest = [parts.env, parts.format, sorted(parts.packages.items()), sorted(parts.options.items())]
    return hashlib.sha256(_encode([1, name, parts.declared or parts.digest, params, *rest]).encode())


def version_at(head: Hash, inputs: Mapping[str, str], partition: str) -> str:
    """The Version of one partition ("" for none), from what it shares with the others."""
    digest = head.copy()
    # No name, digest or key holds a NUL, and this takes a third of what JSON does.
    digest.update("\0".join([partition, *map("\0".join, sorted(inputs.items()))]).encode())
    return digest.hexdigest()


_encode = json.JSONEncoder().encode


def transient_version(version: str) -> str:
    """What stands for the DataVersion of a transient asset, which is known before it is made: its Version."""
    return f"transient:{version}"


def compare(old: Parts, new: Parts) -> list[Change]:
    """What differs between two makings: code first, then parameters, inputs, packages and the rest."""
    changes = _differences("code", old.code, new.code, shown=lambda _: "")
    if old.digest != new.digest and not changes:
        changes.append(Change("code", "of the asset"))
    changes += _differences("parameter", old.params, new.params, shown=lambda text: text.rpartition(" #")[0] or "***")
    changes += _differences("input", old.inputs, new.inputs, shown=_shown_input)
    changes += _differences("requirement", dict.fromkeys(old.env, "declared"), dict.fromkeys(new.env, "declared"))
    changes += _differences("package", old.packages, new.packages)
    changes += _differences("option", {"format": old.format, **old.options}, {"format": new.format, **new.options})
    return changes + _differences("option", {"version": old.declared}, {"version": new.declared})


def env_parts(env: Env) -> tuple[str, ...]:
    """What of an Env counts in a Version: requirements in any order, Python, variables, the files that it names."""
    parts = [*sorted(env.requirements)]
    if env.python:
        parts.append(f"python{env.python}")
    if env.lock or env.find_links:
        from drawbar.dispatch import envs

        parts += envs.contents(env)
    parts += [f"{name}={value}" for name, value in sorted(env.variables.items())]
    return tuple(parts)


def installed(known: Code) -> dict[str, str]:
    """The versions of the packages that the code imports, as installed where the plan is made."""
    from importlib import metadata

    dists = metadata.packages_distributions()
    return {dist: metadata.version(dist) for name in known.packages for dist in dists.get(name, ())}


def _shown_input(text: str) -> str:
    """The beginning of a DataVersion, and how an external input is read."""
    digest, as_, kind = text.removeprefix("transient:").partition(" as ")
    return digest[:12] + as_ + kind


def _differences(
    kind: str, old: Mapping[str, str], new: Mapping[str, str], *, shown: Callable[[str], str] = str
) -> list[Change]:
    changes = []
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name, ""), new.get(name, "")
        if before != after:
            how = "new" if not before else "gone" if not after else "changed"
            changes.append(Change(kind, name, how, shown(before) if before else "", shown(after) if after else ""))
    return changes
