"""Which folders and files of a project travel: enough to import, and nothing that is no code."""

import importlib
import subprocess
import sys
import zipfile
from io import BytesIO

import pytest

from drawbar import errors
from drawbar.dispatch import archive as archives
from drawbar.dispatch.archive import archive
from drawbar.dispatch.code import importable, roots


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A function that writes files into a folder on the path, and forgets the modules afterwards."""

    def write(files, folder="project"):
        root = tmp_path / folder
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        root.mkdir(exist_ok=True)
        monkeypatch.syspath_prepend(str(root))
        return root

    yield write
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def test_installed_and_built_in_modules_have_no_root():
    """What the Env or Python itself provides never travels; nor does drawbar."""
    assert roots(["json", "numpy", "pytest", "sys", "drawbar.keys", "no_such_module_anywhere", "__main__"]) == ()


def test_root_of_a_module_and_of_a_package(project):
    """The root is the folder that the first part of the name is imported from."""
    one = project({"plain_one.py": ""}, "one")
    two = project({"pack_two/__init__.py": "", "pack_two/deep/__init__.py": "", "pack_two/deep/leaf.py": ""}, "two/src")
    importlib.import_module("plain_one")
    importlib.import_module("pack_two.deep.leaf")
    assert roots(["plain_one"]) == (one,)
    assert roots(["pack_two.deep.leaf"]) == (two,)


def test_roots_of_what_is_imported(project):
    """Other folders are found through imports: of modules, relative ones, and those inside functions."""
    first = project(
        {
            "pack_a/__init__.py": "from . import sub_a",
            "pack_a/sub_a.py": "def f():\n    from mod_b import thing\n    return thing",
        },
        "a",
    )
    second = project({"mod_b.py": "import pack_c.inner\nthing = 1"}, "b")
    third = project({"pack_c/inner.py": "import mod_b"}, "c")
    importlib.import_module("pack_a")
    assert roots(["pack_a"]) == (first, second, third)


def test_source_that_does_not_parse_is_left_to_python(project):
    """A broken file is no fault of the search: the import will say so."""
    root = project({"broken_d.py": "def ("})
    assert roots(["broken_d"]) == (root,)


def test_file_under_another_name_is_not_importable(project):
    """A file that was loaded under a name which no folder gives it can only go by value."""
    import importlib.util

    root = project({"some-script.py": "x = 1"})
    spec = importlib.util.spec_from_file_location("some_script", root / "some-script.py")
    sys.modules["some_script"] = importlib.util.module_from_spec(spec)
    assert not importable("some_script")
    assert importable("json")


FILES = {
    "pipeline.py": "x = 1",
    "notes.txt": "beside, not in a package",
    "pack/__init__.py": "",
    "pack/data.json": "{}",
    "pack/deeper/table.csv": "1,2",
    "pack/big.bin": "x" * (archives.DATA_LIMIT + 1),
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


def test_what_goes(project):
    """Python files, and small files inside packages; nothing hidden, no environments, caches, builds, targets' roots."""
    found = archive(project(FILES))
    assert found.files == (
        "pack/__init__.py",
        "pack/data.json",
        "pack/deeper/table.csv",
        "pipeline.py",
        "scripts/tool.py",
    )
    assert tuple(zipfile.ZipFile(BytesIO(found.data)).namelist()) == found.files


def test_gitignore_counts(project):
    """In a repository, what git ignores stays; what is new and not ignored goes."""
    root = project({**FILES, ".gitignore": "generated.py\nscripts/\n", "generated.py": "", "fresh.py": ""})
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    assert archive(root).files == (
        "fresh.py",
        "pack/__init__.py",
        "pack/data.json",
        "pack/deeper/table.csv",
        "pipeline.py",
    )


def test_folder_that_git_ignores_as_a_whole(project):
    """A root that git ignores is walked: its modules were imported, so they are wanted."""
    root = project({"ignored/mod_e.py": "x = 1", ".gitignore": "ignored/\n"})
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    assert archive(root / "ignored").files == ("mod_e.py",)


def test_same_files_same_bytes(project):
    """The digest follows names and contents, not times or places; an edit changes it at once."""
    one, two = project(FILES, "one"), project(FILES, "two")
    before = archive(one)
    assert before.digest == archive(two).digest
    assert archive(one) is before
    (one / "pipeline.py").write_text("x = 12345")
    assert archive(one).digest != before.digest
    (one / "pipeline.py").write_text("x = 1")
    assert archive(one).digest == before.digest


def test_root_that_is_no_project(project, monkeypatch):
    """A folder full of files is refused, and the largest things in it are named."""
    root = project({"main_f.py": "", **{f"data/one_{n}.py": "x" * 100 for n in range(30)}})
    monkeypatch.setattr(archives, "FILES_LIMIT", 20)
    with pytest.raises(errors.PreflightError) as caught:
        archive(root)
    assert caught.value.what == f"The code below {root} is too much to send."
    assert caught.value.found == "data (30 files, 0.0 MiB), main_f.py (1 files, 0.0 MiB)"
    assert ".gitignore" in caught.value.todo
    monkeypatch.setattr(archives, "FILES_LIMIT", 20_000)
    monkeypatch.setattr(archives, "BYTES_LIMIT", 1000)
    with pytest.raises(errors.PreflightError):
        archive(root)


def test_odd_names(project):
    """Spaces, quotes and emoji in names survive; links to nowhere are left out."""
    root = project({'odd dir/it\'s "quoted" 🚀.py': "x = 1"})
    (root / "dangling.py").symlink_to(root / "nowhere")
    assert archive(root).files == ('odd dir/it\'s "quoted" 🚀.py',)
