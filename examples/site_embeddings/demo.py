"""`make demo`: the example from end to end on this machine, told as it goes. It checks what it says, or fails.

Read it from `main` down: every step is a `drawbar` command that you can run by yourself.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from demo_stage import Stage, UntrueError, host, site, stage

ASSETS = ("pages", "embedder", "embeddings", "saved_embeddings", "neighbours")
SHOWN = ("json", "socket", "random", "threading", "unittest", "zipfile")
COMMENT = ("embed.py", "    weights = ", "    # One row for each text, one column for each word.\n    weights = ")
HELPER = ("embed.py", "fewest, most = (2, 0.3)", "fewest, most = (3, 0.3)")


def main() -> int:
    """Tell the story; 0 if all of it was true."""
    options = _options()
    began = time.monotonic()
    cast(io.TextIOWrapper, sys.stdout).reconfigure(line_buffering=True)  # in step with what the commands print
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        with contextlib.ExitStack() as started:
            url = started.enter_context(site())
            place = started.enter_context(stage(started.enter_context(host(local=options.local))))
            print(f"The site:  {url}, which is what `python -m pydoc` serves")
            print(f"The host:  {place.host.told}")
            limit = ["--param", f"limit={options.limit}"] if options.limit else []
            runs = _story(place, ["--param", f"base_url={url}", *limit])
            _keep(place, runs, options.keep)
    except UntrueError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing was left running.", file=sys.stderr)
        return 130
    print(f"\nAll of this was checked, and took {time.monotonic() - began:.0f} seconds.")
    return 0


def _story(place: Stage, params: list[str]) -> dict[str, Any]:
    """Run the example five times; what is remembered of each run, by its name."""
    target = [] if place.host.target == "gpu" else ["--target", place.host.target]
    words = ["run", "neighbours", *params, *target]
    runs: dict[str, Any] = {}

    def run(name: str, title: str, **expected: str) -> None:
        _say(title, " ".join(["drawbar", *words]))
        place.show(*words)
        runs[name] = place.json("history", "--limit", "1")["runs"][0]
        _check(runs[name]["assets"], expected)

    made, reused = dict.fromkeys(ASSETS, "made"), dict.fromkeys(ASSETS, "reused")
    run("first", "The first run: everything is made, the embedding on the host", **made)
    where = {one["target"] for one in runs["first"]["assets"] if one["key"] == "site/embeddings"}
    _claim(f"the embedding ran on {place.host.target!r}: {place.host.told}", true=where == {place.host.target})
    run("second", "The same again: everything is reused", **reused)
    place.edit(*COMMENT)
    run("comment", f"A comment is written into {COMMENT[0]}: nothing runs", **reused)
    place.edit(*HELPER)
    _explain(place)
    run("helper", "So just what depends on it runs", **{**made, "pages": "reused"})
    place.edit(HELPER[0], HELPER[2], HELPER[1])
    run("undone", "The edit undone: what was made before is still there", **reused)
    _neighbours(place)
    return runs


def _explain(place: Stage) -> None:
    _say(f"A helper's body is edited in {HELPER[0]}: `{HELPER[1]}` becomes `{HELPER[2]}`", "drawbar explain embeddings")
    answer = place.text("explain", "embeddings")
    print(textwrap.indent(answer.rstrip(), "  "))
    _claim("it names the helper", true="embed.tfidf_svd changed" in answer)


def _neighbours(place: Stage) -> None:
    """The pages most like some that everyone knows."""
    import pandas as pd

    _say("What came of it: the pages most like each page, with the cosine between them")
    table = pd.read_parquet(place.json("show", "neighbours")["uri"])
    near: dict[str, list[str]] = {}
    for row in table.itertuples():
        near.setdefault(_module(row.title), []).append(f"{_module(row.neighbour)} {row.similarity:.2f}")
    for name in filter(near.__contains__, SHOWN):
        print(f"  {name:10} {', '.join(near[name])}")
    pages = (table["rank"] == 1).sum()
    _claim(f"{pages} pages have neighbours", true=pages > 0)
    if "json" in near:
        _claim("nearest to `json` is `_json`, which does its work in C", true=near["json"][0].startswith("_json "))


def _keep(place: Stage, runs: Mapping[str, Any], keep: Path) -> None:
    """Lineage, picture and vectors go where they can be looked at afterwards."""
    keep.mkdir(parents=True, exist_ok=True)
    _say("The lineage, as OpenLineage", "drawbar lineage flush")
    for one in place.json("lineage", "flush")["destinations"]:
        print(f"  {one['sent']} events went to {one['to']}, {one['waiting']} wait")
    lineage = place.project / ".drawbar" / "lineage.ndjson"
    events = [json.loads(line) for line in lineage.read_text(encoding="utf-8").splitlines()]
    kinds = collections.Counter(event["eventType"] for event in events)
    print(f"  {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")
    expected = len(runs) * (len(ASSETS) + 1)
    _claim("each run and each asset in it began and ended once", true=kinds["START"] == kinds["COMPLETE"] == expected)
    _say("The picture", "drawbar graph --output graph.svg")
    picture = keep.resolve() / "graph.svg"
    place.text("graph", "--output", str(picture))
    _claim("it was drawn", true=picture.stat().st_size > 0)
    shutil.copy(lineage, keep)
    shutil.copy(place.project / "out" / "embeddings.parquet", keep)
    (keep / "runs.json").write_text(json.dumps(runs, indent=1), encoding="utf-8")
    print("\nLeft for you to look at:")
    for name in ("graph.svg", "lineage.ndjson", "embeddings.parquet", "runs.json"):
        print(f"  {keep / name}")


def _check(assets: Sequence[Mapping[str, Any]], expected: Mapping[str, str]) -> None:
    """Compare how each asset ended, as the store remembers it, with what was foretold."""
    found = {str(one["key"]).rpartition("/")[2]: one["state"] for one in assets}
    if found != expected:
        raise UntrueError(f"expected {expected}, found {found}")
    states = dict.fromkeys(expected.values())
    told = (f"{state}: {', '.join(name for name in ASSETS if found[name] == state)}" for state in states)
    _claim("; ".join(told), true=True)


def _claim(text: str, *, true: bool) -> None:
    if not true:
        raise UntrueError(f"it is not so that {text}")
    print(f"  ✓ {text}")


def _say(title: str, command: str = "") -> None:
    on, off = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{on}{title}{off}", *[f"  $ {command}"] * bool(command), sep="\n")


def _module(title: str) -> str:
    """The module that a page of pydoc is about: its title ends with it."""
    return title.rpartition(" ")[2]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The example, end to end, told as it goes.")
    parser.add_argument("--limit", type=int, help="at most so many pages")
    parser.add_argument("--local", action="store_true", help="compute on this machine even where sshd is installed")
    parser.add_argument("--keep", type=Path, default=Path(".drawbar/demo"), help="where to leave what was made")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
