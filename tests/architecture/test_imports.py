"""What importing costs, and what it must not load: the promises of the house that import-linter cannot see."""

from __future__ import annotations

import json
import subprocess
import sys

import drawbar

_LOADED = """
import sys; before = set(sys.modules)
{statement}
import json; print(json.dumps(sorted(set(sys.modules) - before)))
"""


def _loaded(statement: str) -> set[str]:
    """The top-level modules that a fresh process loads for this statement, beyond the standard library."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", _LOADED.format(statement=statement)], capture_output=True, text=True, check=True
    )
    tops = {name.partition(".")[0] for name in json.loads(done.stdout)}
    return tops - set(sys.stdlib_module_names) - {"drawbar"}


def test_importing_drawbar_loads_nothing_else():
    """A DAG file or a notebook that imports drawbar pays for nothing it does not use."""
    assert _loaded("import drawbar") == set()


def test_defining_and_building_a_graph_loads_nothing_else():
    """Assets can be written, and a graph checked, without any library beside Python's own."""
    assert _loaded("from drawbar import Graph, asset, Env, Source\ndef a(): ...\nGraph.from_functions(a)") == set()


def test_a_run_in_this_process_loads_no_ssh():
    """Only a job on a host needs paramiko, and only a payload needs cloudpickle."""
    loaded = _loaded(
        "import drawbar, tempfile\ndef a() -> int: return 1\n"
        "drawbar.run(drawbar.Graph.from_functions(a), store=tempfile.mkdtemp(), lineage=False)"
    )
    assert loaded.isdisjoint({"paramiko", "cloudpickle", "cryptography", "pandas", "numpy", "fsspec", "openlineage"})


def test_every_public_name_is_there_and_is_no_module():
    """`__all__` is true, and functions that share their file's name stay functions, whatever was imported first."""
    import drawbar.asset
    import drawbar.plan
    import drawbar.run

    for name in drawbar.__all__:
        assert type(getattr(drawbar, name)).__name__ != "module", name
    assert set(drawbar.__all__) == set(drawbar._HOMES)


def test_the_agent_imports_under_the_oldest_python_it_promises():
    """Every file of the agent parses as Python 3.9, and imports only the standard library and its own at the top."""
    import ast
    from pathlib import Path

    checked = 0
    for path in (Path(drawbar.__file__).parent / "agent").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
        for node in tree.body:
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and not node.level
                else []
            )
            for name in names:
                assert name.partition(".")[0] in sys.stdlib_module_names, f"{path.name} imports {name}"
        checked += 1
    assert checked > 5
