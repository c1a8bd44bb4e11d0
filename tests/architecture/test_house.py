"""The form of the house: short files that say why they exist, and words that are used for one thing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("core", "adapters", "provider_airflow", "dagster_integration", "kedro_hook")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if ".venv" not in path.parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_says_why_it_exists_and_stays_short(path):
    """A newcomer who reads the file names and their first lines knows the architecture."""
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "a file begins with why it exists"
    assert text.count("\n") <= 400, "a file over 400 lines is two files"


def test_core_names_no_orchestrator():
    """User code and core never learn which orchestrator calls them."""
    for path in (ROOT / "core" / "drawbar").rglob("*.py"):
        found = re.findall(r"\b(airflow|dagster|kedro)\b", path.read_text(encoding="utf-8"), re.IGNORECASE)
        assert not found, f"{path.relative_to(ROOT)} names {found[0]}"


def test_tests_state_their_truths_and_assert():
    """Every test has a docstring, and asserts something (or expects an error)."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name} says no truth"
                body = ast.unparse(node)
                assert re.search(r"\bassert|raises|_assert|check", body), f"{path.name}: {node.name} asserts nothing"
