"""What modules of a project need: folders that travel, installed packages that a host must have, and what cannot go."""

import importlib
import importlib.machinery
import importlib.util
import json
import shutil
import subprocess
import sys
import textwrap
import time
import types
import zipfile
from pathlib import Path

import pytest

from drawbar import errors
from drawbar.dispatch import code
from drawbar.dispatch.archive import archive
from drawbar.dispatch.code import importable, reach, roots
from drawbar.dispatch.distributions import refuse_compiled, refuse_missing


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
    root = project({"some-script.py": "x = 1"})
    spec = importlib.util.spec_from_file_location("some_script", root / "some-script.py")
    sys.modules["some_script"] = importlib.util.module_from_spec(spec)
    assert not importable("some_script")
    assert importable("json")


def test_namespace_package_in_two_folders(project):
    """Of a namespace package that several projects share, each part is found where it lies."""
    one = project({"space_n/part_a/__init__.py": "import space_n.part_b"}, "one")
    two = project({"space_n/part_b.py": "", "space_n/data/table.csv": ""}, "two")
    project({"space_n/part_c.py": ""}, "three")
    importlib.import_module("space_n.part_a")
    found = reach(["space_n.part_a"]).roots
    assert found == {one: frozenset({"space_n/part_a/__init__.py"}), two: frozenset({"space_n/part_b.py"})}
    assert archive(two, found[two]).files == ("space_n/data/table.csv", "space_n/part_b.py")


def test_module_that_is_not_loaded(project):
    """A job named by its module alone (a manifest's) is searched without importing it."""
    root = project({"later_m/__init__.py": "", "later_m/sub.py": "import later_n", "later_n.py": "raise SystemExit"})
    assert reach(["later_m.sub"]).roots == {root: frozenset({"later_m/__init__.py", "later_m/sub.py", "later_n.py"})}
    assert not {"later_m", "later_n"} & sys.modules.keys()


def test_modules_in_a_zip(project, tmp_path, monkeypatch):
    """A zip on sys.path is a root like a folder, and what its modules import is found."""
    root = project({"beside_z.py": ""})
    with zipfile.ZipFile(tmp_path / "lib.zip", "w") as made:
        made.writestr("in/zipped_z/__init__.py", "from . import inner")
        made.writestr("in/zipped_z/inner.py", "import beside_z")
    monkeypatch.syspath_prepend(str(tmp_path / "lib.zip/in"))
    importlib.import_module("zipped_z")
    assert importable("zipped_z")
    found = reach(["zipped_z"]).roots
    assert list(found) == [tmp_path / "lib.zip/in", root]
    assert archive(tmp_path / "lib.zip/in").files == ("zipped_z/__init__.py", "zipped_z/inner.py")


FINDER = """
import sys
from importlib.util import spec_from_file_location
from pathlib import Path

class Finder:
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname in MAPPING:
            place = Path(MAPPING[fullname])
            for candidate in (place / "__init__.py", place.with_name(f"{place.name}.py")):
                if candidate.exists():
                    return spec_from_file_location(fullname, candidate)

def install():
    sys.meta_path.append(Finder)
"""
EDITABLES = {
    "flat/flat_pk/__init__.py": "import single_mo",
    "flat/other/x.txt": "",
    "single/single_mo.py": "",
    "srced/src/src_pk/__init__.py": "from .deep import x",
    "srced/src/src_pk/deep.py": "x = 1",
    "spaced/src/space_pk/part/__init__.py": "",
    "spaced/src/space_pk/mod.py": "",
    "mapped/lib/__init__.py": "",
    "asking/asks_pk.py": "import mapped_pk",
}
ASK = """
import importlib, json, site, sys
site.addsitedir(sys.argv[1])
sys.path.append(sys.argv[2])
from drawbar.dispatch.code import importable, reach
from drawbar.errors import PreflightError
found = {}
for name in sys.argv[3:]:
    before = {str(root): sorted(files) for root, files in reach([name]).roots.items()}
    importlib.import_module(name)
    assert importable(name), name
    found[name] = {str(root): sorted(files) for root, files in reach([name]).roots.items()}
    assert before == found[name], (name, before)
import asks_pk, mapped_pk
assert not importable("mapped_pk")  # a folder of another name: its functions go by value, and an import cannot
try:
    reach(["asks_pk"])
except PreflightError as error:
    found["refused"] = error.found
print(json.dumps(found))
"""


def test_editable_installs(tmp_path):
    """Projects installed with `pip install -e`, by a path or by a finder such as setuptools makes, go as projects do."""
    for file, text in EDITABLES.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    site = tmp_path / "lib/site-packages"
    site.mkdir(parents=True)
    for name in ("srced/src", "spaced/src", "asking"):
        (site / f"__editable__.{name.partition('/')[0]}-1.pth").write_text(f"{tmp_path / name}\n")
    mapping = {"flat_pk": "flat/flat_pk", "single_mo": "single/single_mo", "mapped_pk": "mapped/lib"}
    for name, place in mapping.items():
        (site / f"__editable___{name}_finder.py").write_text(
            f"MAPPING = { ({name: str(tmp_path / place)})!r}\n{FINDER}"
        )
        (site / f"__editable__.{name}-1.pth").write_text(
            f"import __editable___{name}_finder; __editable___{name}_finder.install()"
        )
    (tmp_path / "ask.py").write_text(ASK)
    core = Path(code.__file__).parents[2]
    names = ["flat_pk", "src_pk", "space_pk.part", "space_pk.mod"]
    command = [sys.executable, str(tmp_path / "ask.py"), str(site), str(core), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    flat, single, srced, spaced = (str(tmp_path / one) for one in ("flat", "single", "srced/src", "spaced/src"))
    assert json.loads(done.stdout) == {
        "flat_pk": {flat: ["flat_pk/__init__.py"], single: ["single_mo.py"]},
        "src_pk": {srced: ["src_pk/__init__.py", "src_pk/deep.py"]},
        "space_pk.part": {spaced: ["space_pk/part/__init__.py"]},
        "space_pk.mod": {spaced: ["space_pk/mod.py"]},
        "refused": f"{tmp_path / 'mapped/lib/__init__.py'}, which was loaded as mapped_pk",
    }


def test_third_party_is_what_an_import_needs(project):
    """What a function, a `try` or an `if` imports may be missing on a host; what a module's own lines import may not."""
    project(
        {
            "needs_a.py": """
                import sys, numpy
                from needs_b import f
                from google_like import x
                if sys.platform:
                    import click
                try:
                    import rich
                except ImportError:
                    rich = None
                def g():
                    import fsspec, needs_c
                class C:
                    import pluggy
                with open(__file__):
                    from packaging import version
            """,
            "needs_b.py": "import numpy.linalg\nf = 1",
            "needs_c.py": "import cryptography, cloudpickle",
            "google_like.py": "x = 1",
        }
    )
    for file in Path(sys.path[0]).glob("*.py"):
        file.write_text(textwrap.dedent(file.read_text()))
    importlib.import_module("needs_a")
    assert reach(["needs_a"]).third_party == {"numpy": "numpy", "packaging": "packaging", "pluggy": "pluggy"}
    assert reach(["needs_c"]).third_party == {"cryptography": "cryptography"}
    assert reach([], ["needs_c"]) == reach([], ["needs_c", "pluggy"])
    assert reach([], ["needs_c", "pluggy"]).third_party == {}
    assert len(reach([], ["needs_c", "pluggy"]).roots) == 1


def test_what_a_payload_names(project):
    """Modules that a pickle names are needed: the host cannot open it without them."""
    project({"plain_p.py": ""})
    assert reach(["numpy.core.multiarray", "plain_p"]).third_party == {"numpy": "numpy"}


def test_import_names_and_distributions(tmp_path, monkeypatch):
    """A distribution is found by what it installed: another name, one of two that share a namespace, none at all."""
    site = tmp_path / "site-packages"
    for dist, files in {
        "Pillow-Like": ["pil_like/__init__.py"],
        "space-one": ["space_d/one/__init__.py"],
        "space-two": ["space_d/two/__init__.py", "space_d/three.py"],
    }.items():
        info = site / f"{dist.replace('-', '_')}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1\n")
        (info / "RECORD").write_text("".join(f"{file},sha256=x,0\n" for file in files))
        for file in files:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).write_text("")
    (site / "nobodys.py").write_text("")
    project = tmp_path / "project"
    project.mkdir()
    (project / "asks_d.py").write_text(
        "import pil_like, space_d.one, nobodys\nfrom space_d import two\nimport space_d.three"
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(str(project))
    importlib.import_module("asks_d")
    assert reach(["asks_d"]).third_party == {
        "pil_like": "Pillow-Like",
        "space_d.one": "space-one",
        "space_d.two": "space-two",
        "space_d.three": "space-two",
    }
    for name in ("asks_d", "pil_like", "nobodys", "space_d", "space_d.one", "space_d.two", "space_d.three"):
        del sys.modules[name]


def test_module_that_cannot_go(project):
    """A module of the user's that is in no folder under its name is named before the job starts, with who imports it."""
    root = project({"asks_s.py": "import os\nimport made_s", "some-file.py": "x = 1"})
    spec = importlib.util.spec_from_file_location("made_s", root / "some-file.py")
    sys.modules["made_s"] = importlib.util.module_from_spec(spec)
    importlib.import_module("asks_s")
    with pytest.raises(errors.PreflightError) as caught:
        reach(["asks_s"])
    assert caught.value.what == "asks_s.py imports made_s, which cannot be sent along."
    assert caught.value.found == f"{root}/some-file.py, which was loaded as made_s"
    assert caught.value.where == f"{root}/asks_s.py:2"
    assert "below a folder that is on sys.path" in caught.value.todo
    sys.modules["made_s"] = types.ModuleType("made_s")
    with pytest.raises(errors.PreflightError) as caught:
        reach(["asks_s"])
    assert caught.value.found == "made_s has no file: it was made in this process"
    del sys.modules["made_s"]


def test_module_that_may_be_missing(project):
    """What a module can do without does not stop a job, and neither do Python's own modules that have no file."""
    root = project(
        {
            "may_o.py": "import sys, builtins, _thread, itertools, os.path\n"
            "try:\n    import made_o\nexcept ImportError:\n    pass\n"
            "def f():\n    import made_o\n"
        }
    )
    sys.modules["made_o"] = types.ModuleType("made_o")
    importlib.import_module("may_o")
    assert reach(["may_o"]).roots == {root: frozenset({"may_o.py"})}
    del sys.modules["made_o"]


@pytest.fixture
def compiled(project):
    """A project with a compiled module that is built for this Python, and its file."""
    found = importlib.util.find_spec("markupsafe._speedups").origin
    name = Path(found).name
    root = project({"native_pk/__init__.py": "from . import _speedups"})
    shutil.copy(found, root / "native_pk" / name)
    importlib.import_module("native_pk._speedups")
    return root / "native_pk" / name


def test_compiled_module_goes_along(compiled):
    """A compiled module of the project travels with it, and fits a host like this machine."""
    root = compiled.parent.parent
    found = reach(["native_pk"])
    assert found.compiled == {"native_pk._speedups": (compiled,)}
    assert archive(root).files == ("native_pk/__init__.py", f"native_pk/{compiled.name}")
    here = ".".join(map(str, sys.version_info[:3]))
    assert refuse_compiled("site/a", "gpu", found.compiled, here, "linux-x86_64") is None


@pytest.mark.parametrize(
    ("python", "platform"), [("3.8.1", "linux-x86_64"), (None, "linux-aarch64"), (None, "darwin-x86_64")]
)
def test_compiled_module_that_does_not_fit(compiled, python, platform):
    """One that is built for another Python or machine than the host's is named before anything is sent."""
    python = python or ".".join(map(str, sys.version_info[:3]))
    found = reach(["native_pk"]).compiled
    with pytest.raises(errors.PreflightError) as caught:
        refuse_compiled("site/a", "gpu", found, python, platform)
    assert "native_pk._speedups" in caught.value.what
    assert caught.value.expected == f"_speedups built for Python {'.'.join(python.split('.')[:2])} on {platform}"
    assert caught.value.found == str(compiled)
    other = compiled.with_name("_speedups.cpython-38-x86_64-linux-gnu.so")
    shutil.copy(compiled, other)
    again = reach(["native_pk"]).compiled
    assert set(again["native_pk._speedups"]) == {compiled, other}
    assert refuse_compiled("site/a", "gpu", again, "3.8.1", "linux-x86_64") is None


def test_missing_packages_are_named():
    """A host without what the project imports is refused with the names to install, as they are called there."""
    needed = {"PIL": "pillow", "torch": "torch", "sklearn": "scikit-learn"}
    with pytest.raises(errors.PreflightError) as caught:
        refuse_missing("site/train", "gpu", needed, {"torch"})
    assert caught.value.what == "gpu lacks what site/train imports."
    assert caught.value.expected == "PIL (pillow), sklearn (scikit-learn), torch"
    assert caught.value.found == "no PIL (pillow), sklearn (scikit-learn)"
    assert 'env=Env("pillow", "scikit-learn")' in caught.value.todo


def test_search_is_remembered_until_something_changes(project, monkeypatch):
    """An edited import, a new module and another path count at once; where nothing changed no source is read."""
    root = project({"pack_k/__init__.py": "", "pack_k/a.py": "", "other_k.py": ""}, "one")
    importlib.import_module("pack_k.a")
    before = reach(["pack_k.a"])
    monkeypatch.setattr(code, "_searched", None)
    assert reach(["pack_k.a"]) is before
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(root))
    (root / "pack_k/a.py").write_text("try:\n    from . import b\nexcept ImportError: pass\nimport other_k")
    found = frozenset({"pack_k/__init__.py", "pack_k/a.py", "other_k.py"})
    assert reach(["pack_k.a"]).roots == {root: found}
    time.sleep(0.05)  # a tick of the file system's clock
    (root / "pack_k/b.py").write_text("")
    assert reach(["pack_k.a"]).roots == {root: found | {"pack_k/b.py"}}


def test_search_of_a_hundred_files_is_cheap(project):
    """A job of a big project is submitted without reading it again: files are looked at, none is parsed."""
    root = project({f"big_q/m{n}.py": f"from . import m{(n + 1) % 100}, m{(n * 7) % 100}" for n in range(100)})
    (root / "big_q/__init__.py").write_text("")
    began = time.perf_counter()
    first = reach(["big_q.m0"])
    middle = time.perf_counter()
    for _ in range(10):
        assert reach(["big_q.m0"]) is first
    again = (time.perf_counter() - middle) / 10
    print(f"101 files: first {(middle - began) * 1e3:.1f} ms, again {again * 1e3:.2f} ms")
    assert len(first.roots[root]) == 101
    assert again < middle - began
