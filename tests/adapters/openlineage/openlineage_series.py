"""One complete run as core would tell it: assets made, reused, failed, retried, cancelled, left and blocked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from drawbar import events as core
from drawbar.asset import Asset, Options
from drawbar.events import Costs, Made
from drawbar.identity import run_uuid
from drawbar.keys import AssetKey

HERE = Path(__file__)


def embeddings(urls: list[str]) -> list[float]:
    """One vector for each page."""
    return [float(len(url)) for url in urls]


def asset(name: str, **options: Any) -> Asset:
    """An asset of that name, whose function stands in this file."""
    line = embeddings.__code__.co_firstlineno
    return Asset(name, embeddings, (), list, Options(**options), __name__, str(HERE), line)


def made(name: str, **facts: Any) -> Made:
    """A table in a local store."""
    partition = facts.pop("partition", None)
    key = AssetKey("site", name, partition)
    folder = f"/work/store/site/{name}" + (f"/@{partition}" if partition else "")
    known: dict[str, Any] = {
        "data_version": "ab" * 32,
        "version": "cd" * 32,
        "uri": f"{folder}/values/{'ab' * 32}.parquet",
        "format": "parquet",
        "type": "pandas.DataFrame",
        "bytes": 2048,
        "rows": 12,
        "columns": (("url", "string"), ("x", "double")),
        "run_id": run_uuid(),
        "at": datetime(2026, 11, 21, 9, tzinfo=UTC),
    }
    return Made(key, **{**known, **facts})


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The events in a file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@dataclass
class Told:
    """Makes events of one walk, each a second after the one before."""

    run_id: str = field(default_factory=run_uuid)
    now: datetime = datetime(2026, 11, 21, 10, tzinfo=UTC)

    def at(self) -> datetime:
        """The next second."""
        self.now += timedelta(seconds=1)
        return self.now

    def begin(self, **facts: Any) -> core.RunStarted:
        """The walk's start."""
        said: dict[str, Any] = {"namespace": "site", "wanted": ("a",), "assets": (), "params": {"max_depth": 2}}
        return core.RunStarted(run_id=self.run_id, at=self.at(), **{**said, **facts})

    def end(self, state: str = "succeeded", **counts: int) -> core.RunEnded:
        """The walk's end."""
        return core.RunEnded(run_id=self.run_id, at=self.at(), state=state, counts=counts)

    def of(self, kind: Callable[..., Any], asset_run_id: str, one: Asset, **facts: Any) -> Any:
        """An event of `kind` about one asset's run."""
        partition = facts.pop("partition", None)
        key = AssetKey("site", one.name, partition)
        return kind(run_id=self.run_id, asset_run_id=asset_run_id, at=self.at(), key=key, asset=one, **facts)

    def started(self, asset_run_id: str, one: Asset, **facts: Any) -> core.AssetStarted:
        """An asset's start."""
        said: dict[str, Any] = {"version": "cd" * 32, "code": {"pipeline.embeddings": "ef" * 32}}
        return self.of(core.AssetStarted, asset_run_id, one, **{**said, **facts})

    def made(self, asset_run_id: str, one: Asset, **facts: Any) -> core.AssetMade:
        """An asset's good end."""
        value = facts.pop("value", None) or made(one.name, run_id=asset_run_id, partition=facts.get("partition"))
        said: dict[str, Any] = {"version": "cd" * 32, "made": value, "seconds": 1.5, "code": {"f": "ef" * 32}}
        return self.of(core.AssetMade, asset_run_id, one, **{**said, **facts})


def one_made(told: Told, name: str = "embeddings", **facts: Any) -> list[core.Event]:
    """Start and end of one asset that was made."""
    run_id, one = run_uuid(), asset(name)
    return [told.started(run_id, one, **facts), told.made(run_id, one, **facts)]


def every_ending() -> Iterator[core.Event]:
    """A walk in which every kind of ending happens once."""
    told = Told()
    urls, out = made("urls"), asset("text/embeddings", tags=("tier:gold", "pii"), owners=("team:ml",))
    source = made("pages", uri="/data/pages.csv", source=True, rows=None, columns=(), run_id="", version="")
    yield told.begin()
    yield told.of(
        core.AssetReused,
        run_uuid(),
        asset("urls"),
        version="cd" * 32,
        made=urls,
        reason="nothing changed",
        inputs=(source,),
        params={"base_url": "https://me:hunter22@example.org/?token=t0ps3cret"},
    )
    run_id = run_uuid()
    inputs = (urls, source)
    there = {"target": "gpu", "job": "f" * 64, "inputs": inputs, "params": {"model": "small", "n": 3}}
    yield told.started(run_id, out, **there)
    yield told.of(core.AssetWaiting, run_id, out, message="waiting for 1 GPU")
    yield told.of(core.AssetLog, run_id, out, stream="stdout", data=b"epoch 1\n")
    costs = Costs(queue=0.5, setup=0.125, transfer=0.25, compute=9.0, peak_memory=1 << 30, host="gpu-box")
    yield told.made(run_id, out, costs=costs, **there)
    first, second, flaky = run_uuid(), run_uuid(), asset("flaky", retries=1)
    yield told.started(first, flaky, inputs=inputs)
    yield told.of(
        core.AssetFailed,
        first,
        flaky,
        error=ValueError("no luck"),
        traceback="Traceback…\nValueError: no luck\n",
        seconds=0.1,
        will_retry=True,
        inputs=inputs,
    )
    yield told.started(second, flaky, inputs=inputs, attempt=2)
    yield told.made(second, flaky, inputs=inputs, attempt=2)
    broken, failed = run_uuid(), asset("broken")
    yield told.started(broken, failed)
    yield told.of(core.AssetFailed, broken, failed, error=KeyError("x"), traceback="KeyError: 'x'", seconds=0.1)
    yield core.AssetBlocked(
        run_id=told.run_id,
        at=told.at(),
        key=AssetKey("site", "below"),
        asset=asset("below"),
        because=(AssetKey("site", "broken"),),
    )
    stopped, slow = run_uuid(), asset("slow")
    yield told.started(stopped, slow, inputs=inputs)
    yield told.of(core.AssetCancelled, stopped, slow, seconds=3.0)
    adopted, shared = run_uuid(), asset("shared")
    yield told.started(adopted, shared, adopted=True)
    yield told.made(adopted, shared, partition="2026-11-21", value=made("shared", partition="2026-11-21"))
    memory, kept = run_uuid(), asset("kept", persist=False)
    yield told.started(memory, kept)
    yield told.made(memory, kept, value=made("kept", uri="", run_id=memory))
    yield told.end("failed", made=4, reused=1, failed=1, blocked=1, cancelled=1)
