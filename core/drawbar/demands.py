"""What is demanded of an asset's value: its checks and its contract, with the digests by which a record knows them.

An asset and its configuration come from the planner; an Examination, for where the value is, goes to `execution`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from drawbar.asset import Asset
from drawbar.checks import Check
from drawbar.config import Config
from drawbar.contracts import Contract, resolve
from drawbar.digest import digest_value
from drawbar.fingerprint import Fingerprints

CONTRACT = "contract"


@dataclass(frozen=True, slots=True)
class Demands:
    """The checks and the contract of an asset; `digests` are those of both, by name.

    `changes` is the contract's digest where it may change a value, and so is part of the Version; else "".
    """

    checks: tuple[Check, ...]
    contract: Contract | None
    digests: Mapping[str, str]
    changes: str = ""

    @classmethod
    def of(cls, one: Asset, config: Config, prints: Fingerprints, *, frozen: bool) -> Demands | None:
        """What the asset, or a contract file of the project, demands; None where that is nothing.

        `frozen` tells whether the project has a folder of contract files at all.
        """
        contract = resolve(one, config.root) if frozen or one.options.contract is not None else None
        if contract is None and not one.checks:
            return None
        digests = {
            check.name: digest_value(
                [prints.code(check.fn, where=check.where).digest, check.to_dict()], what=check.name
            )
            for check in one.checks
        }
        if contract is None:
            return cls(one.checks, None, digests)
        digests[CONTRACT] = contract.digest
        return cls(one.checks, contract, digests, contract.digest if contract.changes_values else "")
