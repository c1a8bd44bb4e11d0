"""drawbar.fingerprint across processes, Pythons and time: files edited after import, notebooks, no source at all."""

from __future__ import annotations

import ast
import dis
import importlib
import json
import linecache
import os
import shutil
import subprocess
import sys
import textwrap
import time
import types
import warnings
from pathlib import Path

import pytest

from drawbar.fingerprint import Fingerprints, code, origins, sources
from drawbar.fingerprint.bytecode import read_code
from drawbar.fingerprint.sources import Snapshot

CORE = str(Path(sources.__file__).parents[2])
ASK = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import importlib
from drawbar.fingerprint import code
found = code(getattr(importlib.import_module(sys.argv[3]), "f"))
print(json.dumps([found.digest, dict(found.parts), found.packages, found.modules]))
"""


def ask(root, *, python=sys.executable, module="pipeline", **environment):
    """The code of `f` in a project, as another process sees it."""
    done = subprocess.run(
        [python, "-c", ASK, CORE, str(root), module],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module and import it; the name is the test's own."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = []

    def load(text, name="fingerprinted"):
        path = tmp_path / f"{name}.py"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        importlib.invalidate_caches()
        names.append(name)
        return importlib.import_module(name)

    yield load
    for name in names:
        sys.modules.pop(name, None)


def _pythons():
    """The other Pythons of this machine that clients may have."""
    for minor in ("3.11", "3.12", "3.13"):
        found = [
            shutil.which(f"python{minor}"),
            *sorted(map(str, Path.home().glob(f".pyenv/versions/{minor}.*/bin/python"))),
        ]
        working = [
            p for p in found if p and subprocess.run([p, "-c", ""], check=False, capture_output=True).returncode == 0
        ]
        yield pytest.param(
            working[0] if working else "",
            id=minor,
            marks=[] if working else pytest.mark.skip(reason=f"no Python {minor} on this machine"),
        )


PYTHONS = list(_pythons())

EVERYTHING = '''
import contextlib, dataclasses, enum, functools, json, math, pathlib, re
from collections import namedtuple
from datetime import datetime, timedelta, timezone
from decimal import Decimal

NUMBERS = [1, 2.5, -0.0, float("nan"), 10**40, 1j, True, None, ..., b"x", "\\ud800\\u0378é"]
NESTED = {"a": {1, 2, 3}, "b": frozenset("xyz"), ("t", 1): [{}, ()], 3: range(4)}
WHEN = datetime(2026, 11, 21, tzinfo=timezone.utc) + timedelta(days=1)
PATTERN = re.compile(r"\\d+", re.I)
HERE = pathlib.Path(__file__).parent
POINT = namedtuple("Point", "x y", defaults=[0])
MADE = enum.Enum("Made", "A B")
PRICE = Decimal("1.10")


class Colour(enum.Enum):
    RED = 1
    BLUE = "b"


class Mode(enum.Flag):
    A = enum.auto()
    B = enum.auto()


@dataclasses.dataclass(frozen=True)
class Options:
    """Doc."""

    size: int = 3
    names: list = dataclasses.field(default_factory=list)

    @property
    def area(self): return self.size ** 2

    @staticmethod
    def make(): return Options()


OPTIONS = Options(4, ["a"])
HALF = functools.partial(math.pow, 0.5)


def deco(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)
    return wrapper


@functools.lru_cache
def cached(x): return x


@contextlib.contextmanager
def managed(): yield


@deco
def g(x, /, y=(1, "a"), *rest, key: "int" = 3, **more) -> None:
    """Doc."""
    return f"{x!r:>{y}} and {{}}" f"{more}" "tail", lambda a, *, b=1: a + b + x


def f(x, k=Colour.RED):
    global COUNT
    COUNT = 1
    try:
        with managed() as m, open(HERE) as h:
            for i, (a, *b) in enumerate(x):
                while i: i -= 1
                else: continue
    except (ValueError, TypeError) as error:
        raise KeyError(*error.args) from error
    except* OSError: pass
    finally: del m
    match x:
        case {"a": 1, **rest} | [1, *rest] if rest: return rest
        case Options(size=3): return OPTIONS
        case None | True | "s" | -1 | 1 + 2j: return POINT(1)
    async def inner():
        async with x as y:
            return [await z async for z in y if z]
    if (n := len(x)) > 1_000 and not x[1:2, ::3] @ n: assert n, "no"
    return g(x), cached(n), NUMBERS, NESTED, WHEN, PATTERN, MADE.A, PRICE, Mode.A | Mode.B, HALF, json.dumps, {
        k: v for k, v in x.items() if k for _ in v}, {*x}, (yield x), [*x], {**x}, x if n else ~n, __name__, inner
'''.replace("    except* OSError: pass\n", "")


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A project that uses all of Python's syntax, and what it gives here."""
    root = tmp_path_factory.mktemp("everything")
    (root / "pipeline.py").write_text(EVERYTHING, encoding="utf-8")
    return root, ask(root)


@pytest.mark.parametrize("python", PYTHONS)
def test_every_python_gives_the_same(everything, python):
    """A host, a colleague and CI with another Python would not reuse what one of them made."""
    root, found = everything
    assert ask(root, python=python) == found
    assert {"pipeline.g", "pipeline.deco.wrapper", "pipeline.Options", "pipeline.NUMBERS"} <= found[1].keys()


def test_every_process_and_place_gives_the_same(everything, tmp_path):
    """Hash seeds, another folder, optimisation or an installed numpy would make everything again."""
    root, found = everything
    assert ask(root, PYTHONHASHSEED="1") == ask(root, PYTHONHASHSEED="2") == found
    shutil.copytree(root, tmp_path / "elsewhere" / "deep")
    assert ask(tmp_path / "elsewhere" / "deep") == found
    assert ask(root, PYTHONOPTIMIZE="2")[0] == found[0]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_python_reads_the_standard_library_alike(python, request):
    """There would be syntax in real code whose digest depends on the Python that reads it."""
    if tuple(map(int, request.node.callspec.id.split("."))) < sys.version_info[:2]:
        pytest.skip("an older Python cannot read the standard library of this one")
    script = (
        "import ast, hashlib, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from drawbar.fingerprint.syntax import read\n"
        "pieces = [read([s]) for p in sys.argv[2:] for s in ast.parse(open(p, 'rb').read()).body]\n"
        "print(len(pieces), hashlib.sha256(repr(pieces).encode()).hexdigest())\n"
    )
    command = [script, CORE, *STANDARD]
    outputs = {
        subprocess.run([one, "-c", *command], check=True, capture_output=True, text=True, timeout=100).stdout
        for one in (sys.executable, python)
    }
    assert len(outputs) == 1


_FOLDER = Path(os.__file__).parent
STANDARD = [
    str(_FOLDER / f"{name}.py")
    for name in [
        "argparse",
        "ast",
        "asyncio/base_events",
        "asyncio/tasks",
        "collections/__init__",
        "contextlib",
        "dataclasses",
        "dis",
        "doctest",
        "email/message",
        "enum",
        "functools",
        "inspect",
        "logging/__init__",
        "pathlib",
        "pdb",
        "subprocess",
        "tarfile",
        "typing",
        "unittest/mock",
    ]
    if (_FOLDER / f"{name}.py").is_file()
]


@pytest.mark.parametrize("file", STANDARD, ids=[Path(file).stem for file in STANDARD])
def test_the_names_read_are_those_that_python_compiles(file):
    """Our reading of scopes would differ from Python's, so that a global is missed or a local taken for one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        snapshot = Snapshot(file, Path(file).read_bytes(), None)
        whole = compile(snapshot.text, file, "exec", dont_inherit=True)
    # Python compiles the annotations of inner functions, and the name of the module into classes.
    annotated = _annotated(snapshot.tree())
    beside = {"__class__", "__name__", "__debug__"}
    compared = 0
    for one in whole.co_consts:
        if isinstance(one, types.CodeType) and one.co_flags & 2 and not one.co_name.startswith("<"):
            if f"\ntype {one.co_name} = ".encode() in snapshot.text:
                continue  # an alias, which Python compiles like a function
            definition = snapshot.function(one)
            assert definition is not None
            ours = {chain.partition(".")[0] for chain in definition.body.names} - beside
            theirs = {chain.partition(".")[0] for chain in read_code(one).names} - beside
            assert ours <= theirs, one.co_name
            assert theirs - ours <= annotated, one.co_name
            compared += 1
    assert compared or Path(file).stem in ("message", "pathlib")


def _annotated(tree):
    """All names in annotations of a file."""
    fields = (getattr(node, name, None) for node in ast.walk(tree) for name in ("annotation", "returns"))
    return {node.id for field in fields if field for node in ast.walk(field) if isinstance(node, ast.Name)}


def test_a_file_edited_after_import_does_not_pass_for_what_runs(module, tmp_path):
    """A value made by the old code, still loaded, would be stored as made by the new."""
    loaded = module("N = 1\ndef f(x):\n    return x + 1\ndef g(x):\n    return x\n")
    old = code(loaded.f)
    (tmp_path / "fingerprinted.py").write_text("N = 1\ndef f(x):\n    return x + 2\ndef g(x):\n    return -x\n")
    assert code(loaded.f) == old  # known before the edit
    unread = code(loaded.g)
    fresh = _reloaded(loaded)
    assert code(fresh.f).digest != old.digest
    assert code(fresh.g).digest != unread.digest


def _reloaded(loaded):
    # Python itself looks at whole seconds of a file's time, unless its cache is gone.
    shutil.rmtree(Path(loaded.__file__).parent / "__pycache__", ignore_errors=True)
    importlib.invalidate_caches()
    return importlib.reload(loaded)


def test_an_edit_before_the_first_look_counts_for_what_runs(module, tmp_path):
    """A file that was edited between import and plan would be believed."""
    loaded = module("def f(x):\n    return x + 1\n")
    (tmp_path / "fingerprinted.py").write_text("def f(x):\n    return x + 2\n")
    edited = code(loaded.f)
    fresh = _reloaded(loaded)
    from_source = code(fresh.f)
    assert edited.digest != from_source.digest
    (tmp_path / "fingerprinted.py").write_text("def f(x):\n    return x + 1\n")
    assert code(_reloaded(fresh).f).digest not in (edited.digest, from_source.digest)


def test_an_edited_class_does_not_pass_for_what_runs(module, tmp_path):
    """A class that was edited after import would count as its new text."""
    text = "class A:\n    n = 1\n    def go(self):\n        return {}\ndef f(x):\n    return A().go()\n"
    loaded = module(text.format(1))
    digests = {code(loaded.f).digest}
    path = tmp_path / "fingerprinted.py"
    path.write_text(text.format(1).replace("n = 1", "n = 2"))
    sources._SNAPSHOTS.clear()
    digests.add(code(loaded.f).digest)
    path.write_text(text.format(2))
    sources._SNAPSHOTS.clear()
    digests.add(code(loaded.f).digest)
    fresh = _reloaded(loaded)
    assert code(fresh.f).digest not in digests


def test_moving_a_function_down_its_file_and_reloading_changes_nothing(module, tmp_path):
    """A blank line above a function would make its asset again in a long-lived process."""
    loaded = module("def f(x):\n    return x\n")
    before = code(loaded.f)
    (tmp_path / "fingerprinted.py").write_text("\n\n# more\ndef f(x):\n    return x\n")
    assert code(_reloaded(loaded).f) == before


def test_a_file_that_no_longer_parses_or_is_gone_leaves_what_was_known(module, tmp_path):
    """Saving half an edit, or deleting the file, would change the digest of what is loaded."""
    loaded = module("def f(x):\n    return x\n")
    before = code(loaded.f)
    path = tmp_path / "fingerprinted.py"
    path.write_text("def f(x:\n")
    assert code(loaded.f) == before
    path.unlink()
    assert code(loaded.f) == before


def test_pythons_own_cache_stands_in_for_compiling(module, tmp_path, monkeypatch):
    """Verifying a large file would cost as much as importing it; or a stale cache would be believed."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    text = "def f(x):\n    return x + 1\n"
    loaded = module(text, "cached_module")
    file = loaded.__file__
    snapshot = Snapshot(file, text.encode(), Path(file).stat())
    assert snapshot._cached_code() is not None
    assert snapshot.compiles_to(loaded.f.__code__)
    Path(file).write_text(text.replace("1", "2"))
    later = time.time_ns() + 10**9
    os.utime(file, ns=(later, later))
    edited = Snapshot(file, Path(file).read_bytes(), Path(file).stat())
    assert edited._cached_code() is None
    assert not edited.compiles_to(loaded.f.__code__)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells when a process began")
def test_a_forked_child_began_with_the_program_that_was_started():
    """A worker forked after an edit would believe a file that was imported before the fork."""
    script = (
        "import os, sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from drawbar.fingerprint.origins import program_began\n"
        "mine = program_began(os.getpid()); time.sleep(0.3)\n"
        "if not (child := os.fork()):\n"
        "    os._exit(abs(program_began(os.getpid()) - mine) > 0.1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or not 0 < time.time() - mine < 20)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, CORE], check=False, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def cell(text, name, scope):
    """Run a notebook's cell the way notebooks do: its source is known to linecache alone."""
    text = textwrap.dedent(text)
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec", dont_inherit=True), scope)
    return scope


def test_a_notebooks_cells_count_by_source():
    """A notebook and a module with the same function would not share what they make."""
    scope = cell("import json\nLIMIT = 3\ndef g(x): return x", "/nowhere/ipykernel_1/1.py", {"__name__": "__main__"})
    cell("await_me = 1\ndef f(x):\n    # why\n    return g(x) + LIMIT", "/nowhere/ipykernel_1/2.py", scope)
    first = code(scope["f"])
    assert list(first.parts) == ["__main__.LIMIT", "__main__.f", "__main__.g"]
    cell("def f(x): return g(x) + LIMIT", "/nowhere/ipykernel_1/3.py", scope)
    assert code(scope["f"]) == first
    cell("def g(x): return -x", "/nowhere/ipykernel_1/4.py", scope)
    assert [k for k, v in code(scope["f"]).parts.items() if first.parts[k] != v] == ["__main__.g"]


def test_a_class_of_a_notebook_counts():
    """A dataclass in a cell has no file to be found in, and would be an error or be overlooked."""

    def digest(text):
        name = f"/nowhere/ipykernel_2/{abs(hash(text))}.py"
        scope = cell(f"import dataclasses\n{text}\ndef f(x): return A(x)", name, {"__name__": "__not_imported__"})
        return code(scope["f"]).digest

    plain = "@dataclasses.dataclass\nclass A:\n    x: int\n    y: int = {}"
    method = "class A:\n    def __init__(self, x): self.x = x + {}"
    for text in (plain, method):
        assert digest(text.format(1)) == digest(text.format(1) + "\n# why")
        assert digest(text.format(1)) != digest(text.format(2))


def test_without_source_bytecode_counts():
    """Code from exec would be an error, or every such function the same."""

    def found(text):
        scope = {"__name__": "made"}
        exec(compile(textwrap.dedent(text), "<string>", "exec", dont_inherit=True), scope)
        return code(scope["f"])

    text = """
        import math
        LIMIT = {}
        class A:
            def go(self): return {}
        def deco(fn):
            def inner(x): return fn(x)
            return inner
        @deco
        def f(x):
            'Doc.'
            import numpy.linalg as la
            from json import dumps
            def g(y): return [math.sin(z) for z in y]
            return g(x), LIMIT, A().go(), la, dumps
    """
    one = found(text.replace("{}", "1"))
    assert one == found("\n\n" + text.replace("{}", "1").replace("'Doc.'", "'Other.'"))
    assert one.digest != found(text.replace("{}", "2")).digest
    assert list(one.parts) == ["made.A", "made.A.go", "made.LIMIT", "made.deco.inner", "made.f"]
    assert one.packages == ("numpy",)
    other = found(text.replace("{}", "1").replace("math.sin", "math.cos"))
    assert [name for name in one.parts if one.parts[name] != other.parts[name]] == ["made.f"]


def test_bytecode_names_are_found_with_what_is_taken_of_them():
    """`helpers.clean` would count as all of `helpers` where there is no source."""
    scope = {}
    exec(
        "def f(x):\n    global MEMORY\n    MEMORY = MEMORY + 1\n    from .a import b, c as d\n    return p.q.r(x), s",
        scope,
    )
    piece = read_code(scope["f"].__code__)
    assert piece.names == ("p.q.r", "s")
    assert [(i.level, i.module, i.rest) for i in piece.imports] == [(1, "a", "b"), (1, "a", "c")]
    assert "LOAD_GLOBAL" in {i.opname for i in dis.get_instructions(scope["f"])}


def test_a_chain_of_calls_may_be_thousands_deep(module):
    """A long chain of helpers would end in RecursionError."""
    depth = 5000
    loaded = module(
        "\n".join(f"def f{i}(x): return f{i + 1}(x)" for i in range(depth)) + f"\ndef f{depth}(x): return x\n", "deep"
    )
    assert len(code(loaded.f0).parts) == depth + 1


def test_deep_expressions_are_read(module):
    """Generated code that nests deeper than Python recurses would be an error."""
    loaded = module("def f(x): return " + " + ".join(["x"] * 1500) + "\n", "nested")
    assert len(code(loaded.f).parts) == 1


def test_many_functions_in_one_module_are_linear(module):
    """A module of thousands of functions would take time with the square of their number."""

    def seconds(count):
        text = "\n".join(f"def a_{i}(x: int) -> int:\n    return x + {i}\n" for i in range(count))
        loaded = module(text, f"many_{count}")
        began = time.perf_counter()
        one = Fingerprints()
        digests = {one.code(getattr(loaded, f"a_{i}")).digest for i in range(count)}
        assert len(digests) == count
        return time.perf_counter() - began

    small, large = seconds(1000), seconds(8000)
    assert large < 8 * small * 3 + 0.5


def test_a_pass_over_many_looks_at_what_they_share_once(module):
    """A large constant that a thousand assets share would be digested a thousand times."""
    loaded = module(
        "BIG = list(range(20_000))\n" + "\n".join(f"def a_{i}(): return BIG, {i}" for i in range(300)), "shared"
    )
    began = time.process_time()
    one = Fingerprints()
    parts = {one.code(getattr(loaded, f"a_{i}")).parts["shared.BIG"] for i in range(300)}
    assert len(parts) == 1
    assert time.process_time() - began < 300 * 0.01


def test_what_is_installed_is_told_from_what_is_the_projects(tmp_path):
    """A library's code would count line by line, or the project's own by name."""
    assert origins.is_library_file(os.__file__)
    assert origins.is_library_file("/venv/lib/python3.11/site-packages/numpy/__init__.py")
    assert not origins.is_library_file(str(tmp_path / "src" / "pack" / "__init__.py"))
    assert origins.is_library_module("drawbar.fingerprint")
    assert origins.is_library_module("sys")
    assert not origins.is_library_module("__main__")


def test_modules_are_located_without_importing_them(tmp_path, monkeypatch):
    """A plan would import what only a host can import."""
    (tmp_path / "unloaded").mkdir()
    (tmp_path / "unloaded" / "__init__.py").write_text("raise SystemExit")
    (tmp_path / "unloaded" / "inner.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(str(tmp_path))
    place = origins.locate("unloaded.inner")
    assert place == origins.Place("unloaded.inner", str(tmp_path / "unloaded" / "inner.py"), "unloaded", library=False)
    assert origins.locate("unloaded.none") is None
    (tmp_path / "spaces" / "deep").mkdir(parents=True)
    (tmp_path / "spaces" / "deep" / "one.py").write_text("raise SystemExit")
    assert origins.locate("spaces.deep.one").file == str(tmp_path / "spaces" / "deep" / "one.py")
    assert origins.locate("spaces.deep") == origins.Place("spaces.deep", "", "spaces.deep", library=False)
    assert origins.locate("spaces.none.one") is None
    assert origins.locate("unloaded.inner.none") is None
    assert origins.locate("xml.dom.minidom").library
    assert not {"unloaded", "spaces"} & sys.modules.keys()
