"""Every piece of code in README and docs: examples run, snippets are valid, links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]*)\)")
STATED = re.compile(r"`(test_\w+\.py)?::(test_\w+)`")
HEADING = re.compile(r"^#+ (.+)$|<a id=\"([^\"]+)\">", re.MULTILINE)


def name(page):
    """How pytest names the page."""
    return str(page.relative_to(ROOT))


def blocks(page, language):
    """The fenced snippets of a language."""
    return [text for found, text in BLOCK.findall(page.read_text(encoding="utf-8")) if found == language]


def anchors(page):
    """What a link may name after `#`."""
    plain = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for heading, explicit in HEADING.findall(plain):
        yield explicit or re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", [page for page in PAGES if ">>>" in page.read_text(encoding="utf-8")], ids=name)
def test_examples_give_what_the_page_says(page, tmp_path):
    """Whoever types in the examples of a page, at the top of the repository, sees what stands below them."""
    options = ("-o", "ELLIPSIS", "-o", "NORMALIZE_WHITESPACE")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "doctest", *options, str(page)],
        cwd=ROOT,
        env={**os.environ, "DRAWBAR_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_snippets_are_python_toml_and_json(page):
    """No snippet has a syntax error."""
    for text in blocks(page, "python"):
        if ">>>" not in text:
            assert compile(text, name(page), "exec")
    for text in blocks(page, "toml"):
        assert tomllib.loads(text) is not None
    for text in blocks(page, "json"):
        assert json.loads(text) is not None


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    """Every relative link names a file that is there, and a heading that is in it."""
    broken = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", [page for page in PAGES if STATED.search(page.read_text(encoding="utf-8"))], ids=name)
def test_promises_name_tests_that_are_there(page):
    """Whoever doubts a promise finds the test that states it under the name that stands beside it."""
    missing, file = [], ""
    for named, test in STATED.findall(page.read_text(encoding="utf-8")):
        file = named or file
        texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob(file)]
        if not any(f"def {test}(" in text for text in texts):
            missing.append(f"{file}::{test}")
    assert not missing
