"""Where code lies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from drawbar_adapters.openlineage import source


def git(folder: Path, *arguments: str) -> str:
    """Run git as nobody in particular."""
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A repository with one file and a clone's address with a password in it."""
    folder = tmp_path / "repo"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "pipeline.py").write_text("x = 1\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "remote", "add", "origin", "https://me:ghp_plantedsecretplanted@git.example.org/acme/site.git")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    source.forget()
    return folder


def test_a_file_is_found_in_its_commit_without_credentials(checkout):
    """Lineage would not say which code made a value, or would give the clone's password away."""
    commit = git(checkout, "rev-parse", "HEAD")
    said = source.source_location(str(checkout / "src" / "pipeline.py"), 1)
    assert said is not None
    page = "https://git.example.org/acme/site"
    assert said["url"] == f"{page}/blob/{commit}/src/pipeline.py#L1"
    assert (said["type"], said["repoUrl"], said["path"], said["version"], said["branch"]) == (
        "git",
        page,
        "src/pipeline.py",
        commit,
        "main",
    )
    assert "planted" not in str(said)


def test_a_linked_worktree_and_packed_refs_are_understood(checkout, tmp_path):
    """Work in a second working tree would be said to come from nowhere."""
    git(checkout, "worktree", "add", "-q", "-b", "side/branch", str(tmp_path / "side"))
    git(checkout, "pack-refs", "--all")
    said = source.source_location(str(tmp_path / "side" / "src" / "pipeline.py"), 3)
    assert said is not None
    assert said["version"] == git(checkout, "rev-parse", "HEAD")
    assert said["branch"] == "side/branch"
    assert said["url"].endswith("/src/pipeline.py#L3")


def test_a_new_commit_is_seen_in_the_next_walk(checkout):
    """A process that lives for weeks would report the commit of its first day."""
    file = str(checkout / "src" / "pipeline.py")
    first = source.source_location(file, 1)
    git(checkout, "commit", "-q", "--allow-empty", "-m", "second")
    source.forget()
    second = source.source_location(file, 1)
    assert first is not None
    assert second is not None
    assert first["version"] != second["version"] == git(checkout, "rev-parse", "HEAD")


def test_a_file_outside_any_repository_is_itself(tmp_path):
    """Code that is not under version control would have no location at all."""
    file = tmp_path / "loose.py"
    file.write_text("")
    said = source.source_location(str(file), 1)
    assert said is not None
    assert (said["type"], said["url"]) == ("file", file.as_uri())


def test_a_broken_repository_does_no_harm(tmp_path):
    """A run would fail over a damaged .git."""
    (tmp_path / ".git").write_text("gitdir: /nowhere\n")
    file = tmp_path / "loose.py"
    file.write_text("")
    said = source.source_location(str(file), 1)
    assert said is not None
    assert said["type"] == "file"


@pytest.mark.parametrize("file", ["<stdin>", "<ipython-input-1>", "/nowhere/x.py", ""])
def test_code_that_stands_in_no_file_has_no_location(file):
    """A notebook's cell would be given as a file that nobody can open."""
    assert source.source_location(file, 1) is None


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("git@github.com:acme/site.git", "https://github.com/acme/site"),
        ("ssh://git@host:2222/acme/site.git", "https://host/acme/site"),
        ("https://oauth2:token@gitlab.com:8443/acme/site.git", "https://gitlab.com:8443/acme/site"),
        ("https://host/acme/site?private_token=abc", "https://host/acme/site"),
        ("/srv/git/site.git", ""),
        ("file:///srv/git/site.git", ""),
        ("", ""),
    ],
)
def test_an_address_becomes_a_page_without_credentials(address, page):
    """A clone's address often holds a token, and is often none that a browser opens."""
    assert source.web_address(address) == page
