"""What of a project travels, by difference: what git does not ignore, in packs, read again only where it changed."""

import importlib
import os
import subprocess
import time
import zipfile

import pytest

from drawbar import errors
from drawbar.agent import archives
from drawbar.dispatch import archive as packing
from drawbar.dispatch import ignored
from drawbar.dispatch.archive import archive


@pytest.fixture(params=["git", "no git"])
def way(request, monkeypatch, tmp_path):
    """Both ways to find out what is ignored: git's own, and ours where git is not installed."""
    if request.param == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    return request.param


def repository(root):
    """Make `root` a repository, whatever PATH says."""
    path = f"{os.environ['PATH']}:/usr/bin:/usr/local/bin:/opt/homebrew/bin"
    subprocess.run(["git", "init", "-q", str(root)], check=True, env={**os.environ, "PATH": path})
    return root


def unpacked(found):
    """What a host would have: names and texts."""
    parts = [archives.unpack(b"".join(map(bytes, one.read()))) for one in found.packs]
    return {name: bytes(data).decode() for part in parts for name, _, data in part}


FILES = {
    "pipeline.py": "x = 1",
    "notes.txt": "beside, not in a package",
    "pack/__init__.py": "",
    "pack/data.json": "{}",
    "pack/deeper/table.csv": "1,2",
    "pack/big.bin": "x" * (2 << 20),
    "pack/__pycache__/x.pyc": "",
    ".hidden/secret.py": "",
    ".env": "TOKEN=1",
    "venv/pyvenv.cfg": "",
    "venv/lib/thing.py": "",
    "worker/jobs/1/code.py": "",
    "worker/blobs/ab": "",
    "worker/code/earlier.py": "",
    "node_modules/x/y.py": "",
    "build/lib/pipeline.py": "",
    "thing.egg-info/x.py": "",
    "scripts/tool.py": "",
}
GOES = ("pack/__init__.py", "pack/big.bin", "pack/data.json", "pack/deeper/table.csv", "pipeline.py", "scripts/tool.py")


@pytest.mark.parametrize("versioned", [False, True])
def test_what_goes(project, versioned):
    """Python files, and files inside packages; nothing hidden, no environments, caches, builds, targets' roots."""
    root = project(FILES)
    if versioned:
        repository(root)
    found = archive(root)
    assert found.files == GOES
    assert unpacked(found) == {name: FILES[name] for name in GOES}


IGNORING = {
    ".gitignore": "# generated\n*.gen.py\n/anchored.py\nout/\n**/deep/skip.py\n!keep.gen.py\n\\#odd.py\ntrail.py  \n",
    "a.gen.py": "",
    "keep.gen.py": "",
    "anchored.py": "",
    "sub/anchored.py": "",
    "sub/.gitignore": "*.py\n!yes.py\n!/anchored.py\n",
    "sub/no.py": "",
    "sub/yes.py": "",
    "sub/more/no.py": "",
    "sub/more/yes.py": "",
    "sub/more/b.gen.py": "",
    "out/x.py": "",
    "out/.gitignore": "!x.py\n",
    "other/out/y.py": "",
    "other/deep/skip.py": "",
    "other/deep/stay.py": "",
    "deep/skip.py": "",
    "#odd.py": "",
    "trail.py": "",
    "main_i.py": "",
}
NOT_IGNORED = (
    "keep.gen.py",
    "main_i.py",
    "other/deep/stay.py",
    "sub/anchored.py",
    "sub/more/yes.py",
    "sub/yes.py",
)


def test_gitignore(project, way):
    """Nested files, negation, folders, anchors and ** mean what they mean to git, whether git is there or not."""
    assert archive(repository(project(IGNORING))).files == NOT_IGNORED


def test_gitignore_without_a_repository(project):
    """An exported tree has .gitignore files and no .git: they count all the same."""
    assert archive(project(IGNORING)).files == NOT_IGNORED


def test_gitignore_of_a_folder_above(project, way):
    """A root inside a repository obeys what the repository says about it."""
    root = repository(
        project({".gitignore": "/src/made.py\n*.tmp.py\n", "src/made.py": "", "src/x.tmp.py": "", "src/y.py": ""})
    )
    assert archive(root / "src").files == ("y.py",)


def test_repository_inside_another(project):
    """What is checked out inside a repository goes, by its own rules."""
    root = repository(
        project({"main_r.py": "", "inner/one.py": "", "inner/two.py": "", "inner/.gitignore": "two.py\n"})
    )
    repository(root / "inner")
    assert archive(root).files == ("inner/one.py", "main_r.py")


def test_folder_that_git_ignores_as_a_whole(project, way):
    """A root that git ignores is taken as it is: its modules were imported, so they are wanted."""
    root = repository(project({"ignored/mod_e.py": "x = 1", ".gitignore": "ignored/\n"}))
    assert archive(root / "ignored").files == ("mod_e.py",)


def test_ignored_module_that_is_imported(project, way):
    """A generated `_version.py` is in .gitignore, and the package cannot be imported without it: it goes."""
    root = project(
        {
            "packed_v/__init__.py": "from ._version import version",
            "packed_v/_version.py": "version = '1'",
            "packed_v/_other.py": "",
            ".gitignore": "_*.py\n!__init__.py\n",
        }
    )
    repository(root)
    assert archive(root).files == ("packed_v/__init__.py",)
    assert archive(root, ["packed_v/_version.py"]).files == ("packed_v/__init__.py", "packed_v/_version.py")
    importlib.import_module("packed_v")
    assert archive(root).files == ("packed_v/__init__.py", "packed_v/_version.py")


@pytest.mark.parametrize("file", ["pyproject.toml", "drawbar.toml"])
def test_exclude(project, way, file):
    """`exclude` leaves out what version control keeps, in the notation of .gitignore; an edit of it counts at once."""
    root = repository(
        project({"main_x.py": "", "pack_x/__init__.py": "", "pack_x/data/a.csv": "1", "pack_x/b.csv": "2"})
    )
    assert archive(root).files == ("main_x.py", "pack_x/__init__.py", "pack_x/b.csv", "pack_x/data/a.csv")
    head = "[tool.drawbar]\n" if file == "pyproject.toml" else ""
    (root / file).write_text(head + 'exclude = ["data/", "/main_x.py"]\n')
    assert archive(root).files == ("pack_x/__init__.py", "pack_x/b.csv")
    (root / file).write_text(head + 'exclude = ["data/", "/main_x.py", "!data/"]\n')
    assert archive(root).files == ("pack_x/__init__.py", "pack_x/b.csv", "pack_x/data/a.csv")


def test_same_files_same_bytes(project):
    """Digests follow names and contents, not times or places; an edit changes them at once."""
    one, two = project(FILES, "one"), project(FILES, "two")
    before = archive(one)
    assert [pack.digest for pack in before.packs] == [pack.digest for pack in archive(two).packs]
    assert archive(one) is before
    (one / "pipeline.py").write_text("x = 12345")
    assert archive(one).packs != before.packs
    (one / "pipeline.py").write_text("x = 1")
    assert [pack.digest for pack in archive(one).packs] == [pack.digest for pack in before.packs]


def test_edit_within_a_tick_of_the_clock(project):
    """An edit that leaves size and times as they were, as one in the same tick of the clock does, is seen."""
    root = project({"tick.py": "x = 1"})
    archive(root)
    found = (root / "tick.py").stat()
    (root / "tick.py").write_text("x = 2")
    os.utime(root / "tick.py", ns=(found.st_atime_ns, found.st_mtime_ns))
    assert unpacked(archive(root)) == {"tick.py": "x = 2"}


@pytest.mark.parametrize(
    ("change", "files"),
    [
        (lambda root: (root / "new.py").write_text(""), ("a.py", "new.py", "sub/b.py")),
        (lambda root: (root / "empty/deep/new.py").write_text(""), ("a.py", "empty/deep/new.py", "sub/b.py")),
        (lambda root: (root / "sub/b.py").unlink(), ("a.py",)),
        (lambda root: (root / "sub/b.py").rename(root / "sub/c.py"), ("a.py", "sub/c.py")),
        (lambda root: (root / ".gitignore").write_text("a.py"), ("sub/b.py",)),
        (lambda root: (root / "sub/.gitignore").write_text("*"), ("a.py",)),
        (lambda root: (root.parent / ".gitignore").write_text("b.py"), ("a.py",)),
        (lambda root: (root.parent / ".git/info/exclude").write_text("b.py"), ("a.py",)),
    ],
)
def test_what_was_listed_is_listed_again_where_something_changed(project, monkeypatch, change, files):
    """A file that appears, goes, or is ignored from now on counts for the next job, long after the last listing."""
    monkeypatch.setattr(packing, "_SETTLED", 0)  # as if all of it were old
    root = project({"a.py": "", "sub/b.py": "", "empty/deep/data.txt": ""}, "repo/project")
    repository(root.parent)
    assert archive(root).files == ("a.py", "sub/b.py")
    time.sleep(0.05)  # a tick of the clock of any file system that tests are run on
    change(root)
    assert archive(root).files == files


def test_nothing_is_read_where_nothing_changed(project, monkeypatch):
    """A project that is older than two seconds is looked at, not listed and not read."""
    root = project({f"pack_n/m{n}.py": "x = 1" for n in range(50)})
    repository(root)
    monkeypatch.setattr(packing, "_SETTLED", 0)
    before = archive(root)
    monkeypatch.setattr(ignored, "listing", None)
    monkeypatch.setattr(packing, "_bytes", None)
    assert archive(root) is before


def test_one_edit_one_pack(project):
    """Of a thousand files of which one is edited, added or removed, only a few travel."""
    root = project({f"pack_t/sub{n % 30}/m{n}.py": f"x = {n}\n" * 300 for n in range(1000)})
    before = {one.digest: one.bytes for one in archive(root).packs}
    changes = [
        lambda: (root / "pack_t/sub7/m7.py").write_text("x = 'edited'\n"),
        lambda: (root / "pack_t/sub7/new.py").write_text("x = 'new'\n"),
        (root / "pack_t/sub9/m9.py").unlink,
    ]
    sent = []
    for change in changes:
        change()
        after = {one.digest: one.bytes for one in archive(root).packs}
        sent.append((len(after.keys() - before.keys()), sum(after[one] for one in after.keys() - before.keys())))
        before = after
    print(f"{len(before)} packs of {sum(before.values())} bytes; sent after an edit, a new file, a removal: {sent}")
    assert all(packs <= 2 for packs, _ in sent)
    assert all(size * 10 < sum(before.values()) for _, size in sent)


def test_big_file_goes_by_itself(project):
    """A big file beside code that is edited is sent once."""
    root = project({"pack_g/__init__.py": "x = 1", "pack_g/model.bin": os.urandom(1 << 20).hex()})
    before = {one.digest for one in archive(root).packs}
    (root / "pack_g/__init__.py").write_text("x = 2")
    new = [one for one in archive(root).packs if one.digest not in before]
    assert [one.bytes < 1000 for one in new] == [True]


def test_project_that_is_too_big(project, monkeypatch):
    """A folder full of files is refused, and what fills it is named as deep as it lies."""
    root = project({"main_f.py": "", **{f"src/data/one_{n}.py": "x" * 100 for n in range(30)}})
    monkeypatch.setattr(packing, "FILES_LIMIT", 20)
    with pytest.raises(errors.PreflightError) as caught:
        archive(root)
    assert caught.value.what == f"The code below {root} is too much to send."
    assert caught.value.found == "src/data (30 files, 0.0 MiB), main_f.py (1 files, 0.0 MiB)"
    assert "exclude" in caught.value.todo
    monkeypatch.setattr(packing, "FILES_LIMIT", 20_000)
    monkeypatch.setattr(packing, "BYTES_LIMIT", 1000)
    with pytest.raises(errors.PreflightError):
        archive(root)
    (root / ".gitignore").write_text("data/\n")
    assert archive(root).files == ("main_f.py",)


def test_data_that_is_in_no_package_does_not_count(project, monkeypatch):
    """Two gigabytes in data/ are nobody's code: they are neither sent nor complained about."""
    monkeypatch.setattr(packing, "BYTES_LIMIT", 1000)
    assert archive(project({"main_d.py": "", "data/big.csv": "1" * 5000})).files == ("main_d.py",)


def test_home_folder(project, way, monkeypatch):
    """A root with hundreds of thousands of files is refused before all of them are looked at."""
    root = repository(project({"main_h.py": "", **{f"f{n}/x.txt": "" for n in range(30)}}))
    monkeypatch.setattr(ignored, "SEEN_LIMIT", 20)
    with pytest.raises(errors.PreflightError) as caught:
        archive(root)
    assert caught.value.found == "more than 20 files"


def test_file_that_cannot_be_read(project, monkeypatch):
    """It is named before anything is sent."""

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    root = project({"locked.py": ""})
    monkeypatch.setattr("pathlib.Path.read_bytes", denied)  # root, as whom tests may run, may read everything
    with pytest.raises(errors.PreflightError, match="cannot be read") as caught:
        archive(root)
    assert caught.value.found == "locked.py: Permission denied"


def test_odd_names(project):
    """Spaces, quotes, emoji and bytes that are no text survive in names; links to nowhere are left out."""
    root = project({'odd dir/it\'s "quoted" 🚀.py': "x = 1", os.fsdecode(b"caf\xe9.py"): "x = 2"})
    (root / "dangling.py").symlink_to(root / "nowhere")
    (root / "linked.py").symlink_to(root / os.fsdecode(b"caf\xe9.py"))
    assert unpacked(archive(root)) == {
        'odd dir/it\'s "quoted" 🚀.py': "x = 1",
        os.fsdecode(b"caf\xe9.py"): "x = 2",
        "linked.py": "x = 2",
    }


def test_scripts_stay_executable(project):
    """A helper script in a package can be run on the host."""
    root = project({"pack_s/__init__.py": "", "pack_s/run.sh": "#!/bin/sh"})
    (root / "pack_s/run.sh").chmod(0o755)
    (pack,) = archive(root).packs
    assert [(name, run) for name, run, _ in archives.unpack(b"".join(map(bytes, pack.read())))] == [
        ("pack_s/__init__.py", False),
        ("pack_s/run.sh", True),
    ]


def test_zip_on_the_path(tmp_path):
    """Modules that were imported from a zip travel as files; a zip that is replaced is read again."""
    file = tmp_path / "lib.zip"
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("src/zipped_a.py", "x = 1")
        made.writestr("src/deep/data.txt", "d")
        made.writestr("other.py", "")
    assert unpacked(archive(file / "src")) == {"zipped_a.py": "x = 1", "deep/data.txt": "d"}
    assert sorted(unpacked(archive(file))) == ["other.py", "src/deep/data.txt", "src/zipped_a.py"]
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("src/zipped_a.py", "x = 2")
    assert unpacked(archive(file / "src")) == {"zipped_a.py": "x = 2"}
    file.unlink()
    with pytest.raises(errors.PreflightError, match="cannot be read"):
        archive(file)
