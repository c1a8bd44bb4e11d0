"""`make bench`: every figure of the budget beside its peer, measured in turn in one run, as a table.

A figure is a function of `figures.py` and `fanouts.py` (this machine) or `hosts.py`, `crowds.py` and `upkeep.py` (a
loopback sshd) that runs in a process of its own and prints one number: seconds, something a second, or bytes of memory.
Ours and the peer's run one after the other, round by round, so that a noisy
machine disturbs both; what counts is the median of the rounds' ratios.

Ray's rows need `uv pip install ray` beside drawbar: it is bigger than all the other peers together.

    python tests/benchmarks/bench.py [--rounds N] [--json] [NAME ...]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
# What three decimals do not show.
SMALL = 0.0005


@dataclass(frozen=True)
class Figure:
    """One row: what is measured, the budget as a ratio to the peer (or in the unit where there is none), and both sides.

    `unit` is of what the sides print: s, MB/s, /s or MiB (for bytes); `least` says that more is better. `needs` is a
    library that the peer is, and that is not installed with the others.
    """

    name: str
    ours: str
    peer: str
    budget: float
    unit: str = "s"
    least: bool = False
    needs: str = ""

    def holds(self, value: float) -> bool:
        """Whether the measured ratio (or seconds) is within the budget."""
        return value >= self.budget if self.least else value <= self.budget


FIGURES = (
    Figure("import drawbar, over bare Python", "figures:import_drawbar", "", 0.030),
    Figure("graph of 1 000 functions, each", "figures:graph 1000", "figures:graph_hamilton 1000", 1.0),
    Figure("graph of 10 000 functions, each", "figures:graph 10000", "figures:graph_hamilton 10000", 1.0),
    Figure("graph of 100 000 over 10 000, each", "figures:graph 100000", "figures:graph 10000", 1.5),
    Figure("make 1 000 small assets, each", "figures:made 1000", "figures:made_hamilton 1000", 0.3),
    Figure("find 1 000 small assets reusable, each", "figures:reused 1000", "figures:reused_hamilton 1000", 0.3),
    Figure("plan 10 assets x 10 000 partitions, reusable, each", "figures:planned 10000", "", 30e-6),
    # Hamilton's time an item grows with their number: the smaller list is to its favour.
    Figure(
        "fan out over 10 000 items / Hamilton over 1 000", "fanouts:fanned 10000", "fanouts:fanned_hamilton 1000", 0.1
    ),
    Figure("fan out over 10 001, of which 1 is new, each", "fanouts:refanned 10000", "", 100e-6),
    Figure("first call to a fresh host / execnet", "hosts:first_call", "hosts:first_call_execnet", 1.0),
    Figure("first call to a fresh host / mitogen", "hosts:first_call", "hosts:first_call_mitogen", 1.0),
    Figure("warm frame there and back / execnet", "hosts:round_trip", "hosts:round_trip_execnet", 0.75),
    Figure("warm frame there and back / raw channel echo", "hosts:round_trip", "hosts:round_trip_raw", 2.0),
    Figure("durable job, submit to outcome", "hosts:durable_job", "", 0.015),
    Figure(
        "256 MiB there and back, rate / ssh host cat",
        "hosts:transfer",
        "hosts:transfer_ssh_cat",
        1.0,
        "MB/s",
        least=True,
    ),
    Figure(
        "256 MiB to a function and back, rate / execnet",
        "hosts:transfer_call",
        "hosts:transfer_execnet",
        1.0,
        "MB/s",
        least=True,
    ),
    Figure("warm job, submit to outcome", "crowds:warm_job", "", 0.010),
    Figure("warm job / fresh Python over open SSH", "crowds:warm_job", "crowds:fresh_python", 0.2),
    Figure(
        "200 warm jobs at once / fresh Pythons", "crowds:at_once 200", "crowds:fresh_pythons 100", 2.0, "/s", least=True
    ),
    Figure(
        "1 000 warm jobs, 64 at a time / fresh Pythons",
        "crowds:one_after_another 1000",
        "crowds:fresh_pythons 100",
        2.0,
        "/s",
        least=True,
    ),
    *(
        Figure(
            f"calls of an actor, {callers} callers / Ray",
            f"crowds:calls {callers}",
            f"crowds:calls_ray {callers}",
            1.0,
            "/s",
            least=True,
            needs="ray",
        )
        for callers in (1, 8, 64)
    ),
    Figure("call of an actor over SSH / execnet's item", "crowds:call_ssh", "hosts:round_trip_execnet", 2.5),
    Figure("call of an actor over SSH / raw channel echo", "crowds:call_ssh", "hosts:round_trip_raw", 4.0),
    Figure("killed client's job adopted / execnet's first call", "upkeep:adoption", "hosts:first_call_execnet", 1.5),
    Figure("memory of an idle agent / execnet's", "upkeep:agent_memory", "upkeep:agent_memory_execnet", 2.0, "MiB"),
    Figure("memory of a warm numpy / bare Python's", "upkeep:warm_memory", "upkeep:numpy_memory", 1.5, "MiB"),
    Figure("Env of 5 small wheels, uv / by hand", "upkeep:env_uv", "upkeep:uv_by_hand", 2.0),
    Figure("Env of 5 small wheels, pip / by hand", "upkeep:env_pip", "upkeep:pip_by_hand", 1.25),
    Figure("GPU from one job to the next", "upkeep:hand_over", "", 0.1),
)


def measured(side: str) -> float:
    """The seconds (or bytes a second) that one side prints, in a process of its own."""
    module, _, call = side.partition(":")
    command = [sys.executable, "-W", "ignore", str(FOLDER / f"{module}.py"), *call.split()]
    # Where this is set, every process compiles every library anew, and nothing else is measured.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=variables)
    if done.returncode:
        raise RuntimeError(f"{side} failed:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def row(figure: Figure, rounds: int) -> dict[str, object]:
    """One figure, measured `rounds` times in turn. Raises RuntimeError where it cannot be."""
    if figure.needs and importlib.util.find_spec(figure.needs) is None:
        raise RuntimeError(f"not measured: {figure.needs} is not installed in {sys.prefix}")
    ours, peers = [], []
    for _ in range(rounds):
        ours.append(measured(figure.ours))
        if figure.peer:
            peers.append(measured(figure.peer))
    ratios = [mine / other for mine, other in zip(ours, peers, strict=True)] if peers else ours
    value = statistics.median(ratios)
    return {
        "name": figure.name,
        "ours": statistics.median(ours),
        "peer": statistics.median(peers) if peers else None,
        "ratio": value,
        "lowest": min(ratios),
        "highest": max(ratios),
        "budget": figure.budget,
        "unit": figure.unit,
        "least": figure.least,
        "holds": figure.holds(value),
    }


def amount(value: float | None, unit: str) -> str:
    """A measured value as a person reads it."""
    if value is None:
        return ""
    if unit != "s":
        return f"{value / {'MB/s': 1e6, 'MiB': 1 << 20}.get(unit, 1):.0f} {unit}"
    for factor, name in ((1, "s"), (1e3, "ms")):
        if value * factor >= 1:
            return f"{value * factor:.2f} {name}"
    return f"{value * 1e6:.0f} µs"


def shown(found: dict[str, object]) -> str:
    """One row of the table."""
    sign = "≥" if found["least"] else "≤"
    told = str(found["unit"])
    unit = " x" if found["peer"] is not None else " s"
    spread = f"({found['lowest']:.2f}-{found['highest']:.2f})"
    verdict = "" if found["holds"] else "  over budget"
    ratio = f"{found['ratio']:.3f}" if float(str(found["ratio"])) >= SMALL else f"{found['ratio']:.0e}"
    return (
        f"{found['name']:<50} {sign} {found['budget']:<5}{unit}  {ratio:>6}{unit} {spread:<14}"
        f"{amount(found['ours'], told):>11} {amount(found['peer'], told):>11}{verdict}"
    )


def table(figures: list[Figure], args: argparse.Namespace) -> None:
    """Measure and print, row by row."""
    if not args.json:
        print(f"{'':<50} {'budget':<10} {'measured (lowest-highest)':<25} {'ours':>11} {'peer':>11}")
    for figure in figures:
        try:
            found = row(figure, args.rounds)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(json.dumps({"name": figure.name, "error": str(error)}) if args.json else f"{figure.name:<50} {error}")
            continue
        print(json.dumps(found) if args.json else shown(found), flush=True)


def main() -> int:
    """Measure what was asked for, print the table; 0 however it came out, for a figure is no test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of names of figures; all without")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object a figure")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DRAWBAR_BENCH_FOLDER"] = folder
        table([one for one in FIGURES if not args.names or any(name in one.name for name in args.names)], args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
