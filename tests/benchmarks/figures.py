"""The figures that need only this machine: `python figures.py NAME [COUNT]` prints seconds.

Both sides get the same module of small functions, in ten chains, and a folder on the same disk; libraries are loaded
and warm before the clock starts.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

CHAINS = 10


@contextmanager
def project(count: int) -> Iterator[tuple[ModuleType, Path]]:
    """A module of `count` functions in chains, freshly imported, and a folder for a store.

    In `bench.py`'s folder nothing is removed before the end: ext4 takes many times as long for a new file while it
    passes over the inodes of files that were removed in the last half minute.
    """
    kept = os.environ.get("DRAWBAR_BENCH_FOLDER")
    with nullcontext(tempfile.mkdtemp(dir=kept)) if kept else tempfile.TemporaryDirectory() as folder:
        lines = []
        for i in range(count):
            above = f"f{i - CHAINS}: int" if i >= CHAINS else ""
            value = f"f{i - CHAINS} + 1" if above else "1"
            lines.append(f"def f{i}({above}) -> int:\n    # function {i}\n    return {value}\n")
        (Path(folder) / "bench_pipeline.py").write_text("\n\n".join(lines))
        sys.path.insert(0, folder)
        import bench_pipeline

        yield bench_pipeline, Path(folder) / "store"


def best(work: Callable[[], object], times: int = 3) -> float:
    """The shortest of a few runs."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return min(found)


def import_drawbar(_: int) -> float:
    """A fresh interpreter that imports drawbar, less one that does not; the median of ten pairs."""
    differences = []
    for _ in range(10):
        seconds = []
        for statement in ("import drawbar", "pass"):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-I", "-c", statement], check=True)
            seconds.append(time.perf_counter() - begun)
        differences.append(seconds[0] - seconds[1])
    return sorted(differences)[5]


def graph(count: int) -> float:
    """Seconds a function to build a graph of an imported module."""
    from drawbar import Graph

    with project(count) as (module, _):
        return best(lambda: Graph.from_modules(module, namespace="bench")) / count


def graph_hamilton(count: int) -> float:
    """The same by Hamilton's driver."""
    from hamilton import driver

    with project(count) as (module, _):
        return best(lambda: driver.Builder().with_modules(module).build()) / count


def _warm() -> None:
    import drawbar

    def one() -> int:
        return 1

    with tempfile.TemporaryDirectory() as folder:
        drawbar.run(drawbar.Graph.from_functions(one), store=folder, lineage=False)


def made(count: int) -> float:
    """Seconds an asset to make `count` small ones with a store on disk."""
    import drawbar

    _warm()
    with project(count) as (module, store):
        found = drawbar.Graph.from_modules(module, namespace="bench")
        begun = time.perf_counter()
        result = drawbar.run(found, store=str(store), lineage=False)
        seconds = time.perf_counter() - begun
        assert result.counts == {"made": count}
        return seconds / count


def reused(count: int) -> float:
    """Seconds an asset to find all of them reusable, in a process that has not seen them."""
    import drawbar

    _warm()
    with project(count) as (module, store):
        found = drawbar.Graph.from_modules(module, namespace="bench")
        code = (
            "import sys, drawbar; sys.path.insert(0, sys.argv[1]); import bench_pipeline as m\n"
            "drawbar.run(drawbar.Graph.from_modules(m, namespace='bench'), store=sys.argv[2], lineage=False)"
        )
        subprocess.run([sys.executable, "-c", code, str(store.parent), str(store)], check=True)
        begun = time.perf_counter()
        result = drawbar.run(found, store=str(store), lineage=False)
        seconds = time.perf_counter() - begun
        assert result.counts == {"reused": count}
        return seconds / count


def planned(count: int) -> float:
    """Seconds a partition to plan ten assets with `count` partitions each, all reusable, in a process new to them.

    The store is made once for all rounds, as a run leaves it, but without calling the functions: that would take
    minutes.
    """
    import drawbar
    from drawbar.planner import Planner
    from drawbar.store import Store

    _warm()
    kept = os.environ.get("DRAWBAR_BENCH_FOLDER")
    with nullcontext(kept) if kept else tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / f"planned-{count}"
        place.mkdir(exist_ok=True)
        lines = ["from drawbar import Static, asset", f"KEYS = Static([f'k{{i:06}}' for i in range({count})])"]
        for i in range(10):
            above = f"p{i - 1}: int" if i else ""
            lines += ["@asset(partitions=KEYS)", f"def p{i}({above}) -> int:", f"    return {i}"]
        (place / "bench_partitions.py").write_text("\n".join(lines))
        sys.path.insert(0, str(place))
        import bench_partitions

        graph, store = drawbar.Graph.from_modules(bench_partitions, namespace="bench"), str(place / "store")
        if not Path(store).exists():
            _as_if_made(Planner.of(graph, partitions="all", store=Store(store)))
        begun = time.perf_counter()
        found = drawbar.plan(graph, partitions="all", store=store)
        seconds = time.perf_counter() - begun
        assert found.counts == {"reuse": 10 * count}
        return seconds / count / 10


def _as_if_made(planner: Any) -> None:
    """Put a value of every unit into the store."""
    from drawbar.records import Record

    digests: dict[str, str] = {}
    for unit in planner.units.values():
        content, inputs = unit.id.encode(), planner.inputs(unit, digests.__getitem__)
        digest = digests[unit.id] = hashlib.sha256(content).hexdigest()
        record = Record(
            key=unit.key,
            version=planner.version(unit, inputs),
            data_version=digest,
            value=f"values/{digest}.json",
            format="json",
            ext=".json",
            type="int",
            bytes=len(content),
            rows=None,
            columns=(),
            parts=planner.parts(unit, inputs),
            run_id=str(uuid.uuid4()),
            at=datetime.now(UTC),
            by="bench",
            host="bench",
            target="here",
            seconds=0.001,
        )
        planner.store.put(record, [content])
    planner.store.index.flush()


def _hamilton(module: ModuleType, store: Path, count: int) -> float:
    from hamilton import driver

    found = driver.Builder().with_modules(module).with_cache(path=str(store)).build()
    begun = time.perf_counter()
    found.execute([f"f{i}" for i in range(count)])
    return time.perf_counter() - begun


def made_hamilton(count: int) -> float:
    """Hamilton with its cache: the first run."""
    logging.disable(logging.CRITICAL)
    with project(count) as (module, store):
        _hamilton(module, store.with_name("warm"), CHAINS)
        return _hamilton(module, store, count) / count


def reused_hamilton(count: int) -> float:
    """Hamilton with its cache: a second driver on the same cache."""
    logging.disable(logging.CRITICAL)
    with project(count) as (module, store):
        _hamilton(module, store, count)
        return _hamilton(module, store, count) / count


if __name__ == "__main__":
    print(globals()[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 0))
