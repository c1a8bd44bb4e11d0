"""Identities that several processes must agree on: a job's, from what it would make; a run's, from the clock."""

from __future__ import annotations

import hashlib
import os
import time

from drawbar.keys import AssetKey


def job_id(key: AssetKey, version: str) -> str:
    """The same for one Version of one asset from any orchestrator, retry and machine; 64 hex digits.

    >>> job_id(AssetKey("site", "embeddings"), "1f…")[:12]
    'e04f49cbb00d'
    """
    return hashlib.sha256(f"drawbar-job-1\0{key}\0{version}".encode()).hexdigest()


def asset_run_uuid(walk: str, key: AssetKey, attempt: int = 1) -> str:
    """The run id of one attempt at one asset in a walk: the same for whoever knows the three, and in the walk's time.

    >>> asset_run_uuid("01a1fd66-5ddb-77f9-8727-b6dde58b5517", AssetKey("site", "embeddings"))
    '01a1fd66-5ddb-7e9f-b7c0-51c6a40711c7'
    """
    random = int.from_bytes(hashlib.sha256(f"{walk}\0{key}\0{attempt}".encode()).digest()[:10], "big")
    return _uuid7(int(walk[:8] + walk[9:13], 16), random)


def run_uuid() -> str:
    """A new run id: UUIDv7 (RFC 9562), whose order is that of time; what OpenLineage recommends for runs."""
    return _uuid7(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10), "big"))


def _uuid7(milliseconds: int, random: int) -> str:
    value = milliseconds << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
