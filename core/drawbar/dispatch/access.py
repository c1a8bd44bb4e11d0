"""Whether a host reaches the store itself, so that values need not come through this process.

A StorePlace comes with a job from a run; the host is asked once whether it sees the store that bears the same marker,
and an Access goes to `prepare`, which then names values by URL instead of sending them.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from drawbar.agent.storing import MARKER
from drawbar.config import TargetConfig
from drawbar.errors import PreflightError, StoreError
from drawbar.files import Files

RELAY, DIRECT = "relay", "direct"
_ONLY_HERE = ("memory:", "local:")


@dataclass(frozen=True, slots=True)
class StorePlace:
    """The store that a job's values lie in: a folder or URL, without credentials.

    `marker` gives the text of the marker at its root, empty for a store that has none. The job's own value goes to
    `values/` in `folder`, which is relative to the store; without it, to nobody but the client.
    """

    url: str
    marker: Callable[[], str]
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """What a host can do with a store by itself; `why` it cannot do all of it. `python` there is what reaches it."""

    reads: bool = False
    writes: bool = False
    why: str = ""
    python: str = ""

    def spec(self, place: StorePlace) -> dict[str, Any]:
        """What a worker is told: the same place, as far as it may use it."""
        folder = place.folder if self.writes else ""
        return {"url": place.url, "python": self.python, "folder": folder, "why": self.why}


def marker_of(files: Files) -> str:
    """The text that tells this store from all others, made by whoever asks first; empty where it can have none."""
    if "::" in files.root or files.root.startswith(_ONLY_HERE):
        return ""
    try:
        content = files.read(MARKER)
        if content is None:
            files.create(MARKER, [f"{uuid.uuid4().hex}\n".encode()])
            content = files.read(MARKER)
    except StoreError:
        return ""
    return (content or b"").decode("ascii", "replace").strip()


class Accesses:
    """What the host of one target can do with stores; `ask` gives what `look` there says, once for each store."""

    def __init__(self, name: str, config: TargetConfig, ask: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        self._name = name
        self._config = config
        self._ask = ask
        self._known: dict[str, Access] = {}
        self._lock = threading.Lock()

    def of(self, place: StorePlace | None, secrets: Mapping[str, str]) -> Access | None:
        """What the host can do with `place`; None where values go through this process in any case.

        `secrets` are variables that jobs will have beside those of the configuration. PreflightError where
        `store_access` is "direct" and the host cannot both read and write the store.
        """
        if place is None or self._config.store_access == RELAY:
            return None
        with self._lock:
            access = self._known.get(place.url)
            if access is None:
                access = self._known[place.url] = self._looked(place, secrets)
        if self._config.store_access == DIRECT and not (access.reads and access.writes):
            with self._lock:
                self._known.pop(place.url, None)  # it may be mended before the next try
            raise PreflightError(
                f"{self._name} cannot use the store itself.",
                expected=f'a store that its host reads and writes, as `store_access = "{DIRECT}"` says',
                found=access.why,
                todo='mount the store there, or install what reaches it; or set `store_access = "auto"` of the target',
            )
        return access

    def _looked(self, place: StorePlace, secrets: Mapping[str, str]) -> Access:
        marker = place.marker()
        if not marker:
            return Access(why=f"{place.url} cannot be told from others, or is in this process only")
        variables = {**self._config.variables, **secrets}
        told = self._ask({"url": place.url, "id": marker, "variables": variables})
        why = str(told.get("why") or "")
        for value in secrets.values():
            why = why.replace(value, "***") if value else why
        return Access(bool(told.get("reads")), bool(told.get("writes")), why, str(told.get("python") or ""))
