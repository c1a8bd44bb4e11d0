"""The figures of a function called for each item of a list: `python fanouts.py NAME [COUNT]` prints seconds an item.

Both sides make a list of numbers, call a small function for each of them, and collect the results; ours keeps each of
them, and the list, in a store on disk. Hamilton does so by Parallelizable and Collect, in its threads.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

OURS = """
from drawbar import asset

def numbers(count: int = {count}) -> list[int]:
    return list(range(count))

@asset(over="numbers")
def squared(numbers: int) -> int:
    return numbers * numbers

def total(squared: list[int]) -> int:
    return sum(squared)
"""
HAMILTONS = """
from hamilton.htypes import Collect, Parallelizable

def number() -> Parallelizable[int]:
    yield from range({count})

def squared(number: int) -> int:
    return number * number

def total(squared: Collect[int]) -> int:
    return sum(squared)
"""


@contextmanager
def project(text: str, count: int) -> Iterator[tuple[ModuleType, Path]]:
    """A module of that text, freshly imported, and a folder for a store."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bench_fanout.py").write_text(text.format(count=count))
        sys.path.insert(0, folder)
        import bench_fanout

        yield bench_fanout, Path(folder) / "store"


def _ours(module: ModuleType, store: Path, count: int) -> float:
    import drawbar

    graph = drawbar.Graph.from_modules(module, namespace="bench")
    begun = time.perf_counter()
    result = drawbar.run(graph, params={"count": count}, store=str(store), lineage=False)
    seconds = time.perf_counter() - begun
    assert result.counts == {"made": 3}
    return seconds / count


def fanned(count: int) -> float:
    """A fan-out over numbers, each result kept."""
    with project(OURS, count) as (module, store):
        return _ours(module, store, count)


def refanned(count: int) -> float:
    """The same where all but the list itself is known: one number more, in a process that has not seen the others."""
    with project(OURS, count) as (module, store):
        code = (
            "import sys, drawbar; sys.path.insert(0, sys.argv[1]); import bench_fanout as m\n"
            "drawbar.run(drawbar.Graph.from_modules(m, namespace='bench'), store=sys.argv[2], lineage=False)"
        )
        subprocess.run([sys.executable, "-c", code, str(store.parent), str(store)], check=True)
        return _ours(module, store, count + 1)


def fanned_hamilton(count: int) -> float:
    """The same by Hamilton, which keeps nothing."""
    logging.disable(logging.CRITICAL)
    from hamilton import driver
    from hamilton.execution import executors

    with project(HAMILTONS, count) as (module, _):
        found = (
            driver.Builder()
            .with_modules(module)
            .enable_dynamic_execution(allow_experimental_mode=True)
            .with_remote_executor(executors.MultiThreadingExecutor(max_tasks=8))
            .build()
        )
        begun = time.perf_counter()
        assert found.execute(["total"])["total"] == sum(n * n for n in range(count))
        return (time.perf_counter() - begun) / count


if __name__ == "__main__":
    print(globals()[sys.argv[1]](int(sys.argv[2])))
