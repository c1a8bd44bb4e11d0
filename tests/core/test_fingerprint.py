"""drawbar.fingerprint: what changes the digest of a function's code, and what does not."""

from __future__ import annotations

import importlib
import sys
import textwrap
import threading

import pytest

from drawbar.errors import FingerprintError
from drawbar.fingerprint import Code, Fingerprints, code


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Write files as a project and give what `name` of `module` is there; each call is a new project of the same names."""
    made = []

    def load(files, *, module="pipeline", name="f"):
        files = {"pipeline.py": files} if isinstance(files, str) else files
        root = tmp_path / f"project{len(made)}"
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(textwrap.dedent(text), encoding="utf-8")
        forget()
        made.append(root)
        monkeypatch.syspath_prepend(str(root))
        importlib.invalidate_caches()
        return getattr(importlib.import_module(module), name)

    def forget():
        for known, one in list(sys.modules.items()):
            file = str(getattr(one, "__file__", None) or next(iter(getattr(one, "__path__", [])), ""))
            if file.startswith(str(tmp_path)):
                del sys.modules[known]

    yield load
    forget()


@pytest.fixture
def same(project):
    """Whether two projects give one digest; the parts must agree with it wherever modules keep their names."""

    def compare(one, other, **names) -> bool:
        first, second = code(project(one, **names)), code(project(other, **names))
        assert (first.digest == second.digest) == (dict(first.parts) == dict(second.parts))
        return first.digest == second.digest

    return compare


PLAIN = """
    def f(x):
        total = x + 1
        return total
"""


@pytest.mark.parametrize(
    "other",
    [
        "def f(x):\n    total = x + 1  # why\n    return total\n",
        "# a comment\n\n\ndef f( x ):\n\n    total = (x + 1)\n    return ( total )\n",
        'def f(x):\n    """What it gives."""\n    total = x + 1\n    return total\n',
        'def f(x):\n    total = x + 1\n    "a text that stands alone"\n    pass\n    return total\n',
        "def f(x: int) -> int:\n    total: int = x + 1\n    return total\n",
        "from typing import Any\ndef f(x: 'Any') -> Any:\n    total = x + 1; return total\n",
        "LIMIT = open\ndef before(): ...\ndef f(x):\n    total = x + 1\n    return total\ndef after(): ...\n",
        "def f(x):\n    ...\n    total = x + 1\n    return total\n",
    ],
    ids=["comment", "layout", "docstring", "no effect", "annotations", "text annotation", "neighbours", "ellipsis"],
)
def test_what_does_nothing_does_not_count(same, other):
    """An edit that cannot change a result would make assets again if this failed."""
    assert same(PLAIN, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(x): return x + 1", "def f(x): return x + 2"),
        ("def f(x): return 1", "def f(x): return 1.0"),
        ("def f(x): return 1", "def f(x): return True"),
        ("def f(x): return '1'", "def f(x): return b'1'"),
        ("def f(x): return x", "async def f(x): return x"),
        ("def f(x): return (yield x)", "def f(x): return x"),
        ("def f(x, y): return x", "def f(x, *, y): return x"),
        ("def f(x, y): return x", "def f(x, /, y): return x"),
        ("def f(*x): return x", "def f(**x): return x"),
        ("def f(x, y=1): return x", "def f(x, y=2): return x"),
        ("def f(x, *, y=1): return x", "def f(x, *, y=2): return x"),
        ("def f(x, y=1, z=2): return x", "def f(x, y=2, z=1): return x"),
        ("def f(x): return f'{x}'", "def f(x): return f'{x!r}'"),
        ("def f(x): return f'{x:>3}'", "def f(x): return f'{x:>4}'"),
        ("def f(x): return x.a.b", "def f(x): return x.b.a"),
        ("def f(x): return [y for y in x]", "def f(x): return {y for y in x}"),
        ("def f(x): return [y for y in x if y]", "def f(x): return [y for y in x]"),
        ("def f(x):\n  if x: return 1\n  return 2", "def f(x):\n  if not x: return 1\n  return 2"),
        ("def f(x):\n  for y in x:\n    a = y\n  return a", "def f(x):\n  for y in x:\n    a = y\n    return a"),
        ("def f(x):\n  def g(y=1): return y\n  return g()", "def f(x):\n  def g(y=2): return y\n  return g()"),
        ("def f(x): return g(a=x, b=1)", "def f(x): return g(b=x, a=1)"),
        ("def f(x): return {**x, 'a': 1}", "def f(x): return {'a': 1, **x}"),
        ("def f(x): return x[1:]", "def f(x): return x[:1]"),
        ("def f(x):\n  while x: break\n  else: return 1", "def f(x):\n  while x: break\n  return 1"),
    ],
)
def test_what_does_something_counts(same, one, other):
    """An edit of the function itself would be overlooked, and an old value reused, if this failed."""
    assert not same(one, other)


HELPERS = {
    "pipeline.py": """
        import helpers
        from helpers import clean
        from pack import deep
        import pack.inner as inner

        LIMIT = 3

        def f(x):
            return clean(x) + helpers.scale(x) + deep.dive(x) + inner.more(x) + LIMIT
    """,
    "helpers.py": """
        FACTOR = 2
        def clean(x): return _strip(x)
        def _strip(x): return x
        def scale(x): return x * FACTOR
        def unused(x): return x
    """,
    "pack/__init__.py": "",
    "pack/deep.py": """
        from . import inner
        def dive(x): return inner.more(x)
    """,
    "pack/inner.py": """
        def more(x): return x
    """,
}


@pytest.mark.parametrize(
    ("file", "old", "new", "part"),
    [
        ("pipeline.py", "LIMIT = 3", "LIMIT = 4", "pipeline.LIMIT"),
        ("helpers.py", "return _strip(x)", "return _strip(x) + 1", "helpers.clean"),
        ("helpers.py", "_strip(x): return x", "_strip(x): return -x", "helpers._strip"),
        ("helpers.py", "FACTOR = 2", "FACTOR = 2.0", "helpers.FACTOR"),
        ("pack/inner.py", "return x", "return -x", "pack.inner.more"),
        ("pack/deep.py", "inner.more(x)", "inner.more(-x)", "pack.deep.dive"),
    ],
)
def test_a_change_deep_down_counts_and_is_named(project, file, old, new, part):
    """A changed helper or constant, however far down, would go unnoticed or be called something else."""
    before = code(project(HELPERS))
    after = code(project({**HELPERS, file: HELPERS[file].replace(old, new)}))
    assert before.digest != after.digest
    assert [name for name in before.parts if before.parts[name] != after.parts[name]] == [part]


def test_parts_modules_and_packages_name_what_is_reached(project):
    """A person, and dispatch, would see other names than those in the user's files."""
    files = {
        **HELPERS,
        "pipeline.py": HELPERS["pipeline.py"].replace("LIMIT\n", "LIMIT + np.pi + len(json.dumps(x))\n"),
    }
    files["pipeline.py"] = files["pipeline.py"].replace(
        "import helpers\n", "import helpers\n        import json\n        import numpy as np\n"
    )
    found = code(project(files))
    assert list(found.parts) == [
        "helpers.FACTOR",
        "helpers._strip",
        "helpers.clean",
        "helpers.scale",
        "pack.deep.dive",
        "pack.inner.more",
        "pipeline.LIMIT",
        "pipeline.f",
    ]
    assert found.modules == ("helpers", "pack.deep", "pack.inner", "pipeline")
    assert found.packages == ("numpy",)
    assert all(len(digest) == 16 for digest in found.parts.values())
    assert len(found.digest) == 64


def test_what_is_not_reached_does_not_count(same):
    """An edit elsewhere in a module that is used would make everything again."""
    edited = HELPERS["helpers.py"].replace("unused(x): return x", "unused(x): return 1\n        NEW = object()")
    assert same(HELPERS, {**HELPERS, "helpers.py": edited})


def test_the_order_of_definitions_does_not_count(same):
    """Sorting a file would make everything again."""
    moved = "def f(x):\n    return g(x) + LIMIT\nLIMIT = 1\ndef g(x):\n    return x"
    assert same("LIMIT = 1\ndef g(x):\n    return x\n\n\ndef f(x):\n    return g(x) + LIMIT", moved)


def test_what_a_name_stands_for_counts(same):
    """Two helpers that change places under the same names would not be seen."""
    helpers = "def one(x): return x\ndef two(x): return -x\n"
    body = "def f(x): return a(x) - b(x)\n"
    assert not same(
        {"pipeline.py": "from helpers import one as a, two as b\n" + body, "helpers.py": helpers},
        {"pipeline.py": "from helpers import two as a, one as b\n" + body, "helpers.py": helpers},
    )


def test_a_module_may_be_called_anything(project):
    """The same file run as a script and imported, or in another package, would not share what it made."""
    text = "LIMIT = 1\ndef g(x): return x + LIMIT\ndef f(x): return g(x)\n"
    one = code(project(text))
    other = code(project({"site/__init__.py".replace("site", "sight"): "", "sight/flow.py": text}, module="sight.flow"))
    assert one.digest == other.digest
    assert list(other.parts) == ["sight.flow.LIMIT", "sight.flow.f", "sight.flow.g"]


REACHES = {
    "class body": "class A:\n    size = {}\ndef f(x): return A.size",
    "class method": "class A:\n    def go(self): return {}\ndef f(x): return A().go()",
    "base class": "class B:\n    def go(self): return {}\nclass A(B): pass\ndef f(x): return A().go()",
    "property": "class A:\n    @property\n    def go(self): return {}\ndef f(x): return A().go",
    "static method": "class A:\n    @staticmethod\n    def go(): return {}\ndef f(x): return A.go()",
    "computed in a class": "import os\nN = {}\nclass A:\n    n = max(N, 0)\ndef f(x): return A.n",
    "name in a method": "N = {}\nclass A:\n    def go(self): return N\ndef f(x): return A().go()",
    "field": "import dataclasses\n@dataclasses.dataclass\nclass A:\n    n: int = {}\ndef f(x): return A()",
    "closure": "def make(n):\n    def inner(x): return x + n\n    return inner\nf = make({})",
    "closure of a function": "def make(g):\n    def inner(x): return g(x)\n    return inner\nf = make(lambda x: {})",
    "default": "def g(): return {}\ndef f(x, call=g): return call()",
    "default in a loop": "def make(n):\n    def inner(x, k=n): return x + k\n    return inner\nf = make({})",
    "partial": "import functools\ndef g(a, b): return a\nh = functools.partial(g, {})\ndef f(x): return h(x)",
    "function of a partial": "import functools\ndef g(a, b): return {}\nh = functools.partial(g, 1)\ndef f(x): return h(x)",
    "decorated": (
        "import functools\ndef deco(g):\n    @functools.wraps(g)\n    def wrapper(*a): return g(*a)\n    return wrapper\n"
        "@deco\ndef g(x): return {}\ndef f(x): return g(x)"
    ),
    "decorator": (
        "import functools\ndef deco(g):\n    @functools.wraps(g)\n    def wrapper(*a): return g(*a) + {}\n    return wrapper\n"
        "@deco\ndef f(x): return x"
    ),
    "argument of a decorator": (
        "def deco(n):\n    def wrap(g):\n        def inner(*a): return g(*a) + n\n        return inner\n    return wrap\n"
        "@deco({})\ndef f(x): return x"
    ),
    "cached": "import functools\n@functools.lru_cache\ndef g(x): return {}\ndef f(x): return g(x)",
    "library's decorator": (
        "import contextlib\n@contextlib.contextmanager\ndef g(): yield {}\ndef f(x):\n    with g() as y: return y"
    ),
    "single dispatch": (
        "import functools\n@functools.singledispatch\ndef g(x): return 0\n@g.register(int)\ndef _(x): return {}\n"
        "def f(x): return g(x)"
    ),
    "lambda": "g = lambda x: x + {}\ndef f(x): return g(x)",
    "lambdas on one line": "g, h = (lambda x: x + 1), (lambda x: x + {})\ndef f(x): return h(x)",
    "bound method": "class A:\n    def go(self, x): return {}\ng = A().go\ndef f(x): return g(x)",
    "state of an instance": "class A:\n    def __init__(self, n): self.n = n\na = A({})\ndef f(x): return a.n",
    "class of an instance": "class A:\n    def n(self): return {}\na = A()\ndef f(x): return a.n()",
    "function in a dict": "def g(x): return {}\nTABLE = dict(a=g)\ndef f(x): return TABLE['a'](x)",
    "function in a set": "def g(x): return {}\nTABLE = set([g, len])\ndef f(x): return TABLE",
    "nested function": "def f(x):\n    def g(y):\n        return N\n    return g(x)\nN = {}",
    "comprehension": "N = {}\ndef f(x): return [y + N for y in x]",
    "first of a comprehension": "y = [{}]\ndef f(x): return [y for y in y]",
    "lambda in a body": "N = {}\ndef f(x): return (lambda y: y + N)(x)",
    "inner class": "N = {}\ndef f(x):\n    class A:\n        n = N\n    return A.n",
    "class scope is not a method's": "n = {}\nclass A:\n    n = 5\n    def go(self): return n\ndef f(x): return A().go()",
    "global": "N = {}\ndef f(x):\n    global N\n    return N",
    "recursion": "def f(x): return f(x - 1) if x else {}",
    "mutual recursion": "def f(x): return g(x)\ndef g(x): return f(x - 1) if x else {}",
    "a recursive function's constant": "N = {}\ndef f(x): return g(x)\ndef g(x): return f(x - 1) if x else N",
    "asset below": "from drawbar import asset\n@asset\ndef g(x): return {}\ndef f(x): return g(x)",
    "named tuple": "from collections import namedtuple\nP = namedtuple('P', 'a b', defaults=[{}])\ndef f(x): return P(x)",
    "enum": "import enum\nclass E(enum.Enum):\n    A = {}\ndef f(x): return E.A",
    "made enum": "import enum\nE = enum.Enum('E', dict(A={}))\ndef f(x): return E.A",
    "metaclass": "class M(type):\n    def go(cls): return {}\nclass A(metaclass=M): pass\ndef f(x): return A.go()",
    "starred": "N = {}\ndef f(x): return max(*[N], x)",
    "match": "N = {}\ndef f(x):\n    match x:\n        case [a, *b] if a > N: return b\n        case {'k': v, **rest}: return v",
    "except": "N = {}\ndef f(x):\n    try: return x()\n    except ValueError as error: return N, error",
    "walrus": "N = {}\ndef f(x): return (y := N) + y",
    "del": "N = {}\ndef f(x):\n    y = N\n    del y\n    return N",
    "string format": "N = {}\ndef f(x): return f'{N} {x!r:>{x}}'",
}


@pytest.mark.parametrize("source", REACHES.values(), ids=REACHES.keys())
def test_everything_that_is_reached_counts(same, source):
    """A change behind this kind of reference would reuse an old value."""
    one, other = _filled(source)
    assert not same(one, other)
    assert same(one, "# a comment\n" + one)


def _filled(source):
    return source.replace("{}", "1"), source.replace("{}", "2")


LEAVES = {
    "local": "N = {}\ndef f(x):\n    N = x\n    return N",
    "parameter": "N = {}\ndef f(N): return N",
    "parameter of a lambda": "N = {}\ndef f(x): return (lambda N: N)(x)",
    "target of a comprehension": "N = {}\ndef f(x): return [N for N in x]",
    "target of a loop": "N = {}\ndef f(x):\n    for N in x: return N",
    "target of with": "N = {}\ndef f(x):\n    with x as N: return N",
    "caught": "N = {}\ndef f(x):\n    try: x()\n    except ValueError as N: return N",
    "captured": "N = {}\ndef f(x):\n    match x:\n        case [N, *_]: return N",
    "walrus in a comprehension": "N = {}\ndef f(x): return [(N := y) for y in x] and N",
    "inner function": "N = {}\ndef f(x):\n    def N(): return 1\n    return N()",
    "local of the outer": "N = {}\ndef f(x):\n    N = x\n    def g(): return N\n    return g()",
    "attribute": "N = {}\ndef f(x): return x.N",
    "keyword": "N = {}\ndef f(x): return dict(N=x)",
    "annotation": "N = {}\ndef f(x: N, *a: N, **k: N) -> N:\n    y: N = x\n    z: N\n    def g(b: N) -> N: return b\n    return g(y)",
    "class attribute": "N = {}\ndef f(x):\n    class A:\n        N = 1\n        M = N\n    return A",
    "its own memory": "N = {}\ndef f(x):\n    global N\n    if N is None: N = x\n    return N",
    "options of an asset": "from drawbar import asset\n@asset(retries={})\ndef f(x): return x",
    "options by module": "import drawbar\n@drawbar.asset(description=str({}))\ndef f(x): return x",
}


@pytest.mark.parametrize("source", LEAVES.values(), ids=LEAVES.keys())
def test_a_name_of_its_own_is_not_the_modules(same, source):
    """A module's constant of the same name as a local would count, and an edit of it make the asset again."""
    assert same(*_filled(source))


LAZY = {
    "pipeline.py": """
        def f(x):
            from helpers import clean
            import pack.inner
            import pack.deep as deep
            import not_installed_here
            import json
            from not_installed_either.part import thing as other
            return clean(x), pack.inner.more(x), deep.dive(x), not_installed_here.run(x), json.dumps(other)
    """,
    "helpers.py": """
        import not_installed_here
        from more import base as _base
        FACTOR = not_installed_here.factor(2)
        def clean(x): return _base(x) * FACTOR
        def unused(x): return x
    """,
    "more.py": "from even.more import base\n",
    "even/__init__.py": "",
    "even/more.py": "def base(x): return x\n",
    "pack/__init__.py": "",
    "pack/inner.py": "def more(x): return x\ndef unused(x): return x\n",
    "pack/deep.py": "from .inner import more\nfrom .other import *\ndef dive(x): return more(x) + star(x)\n",
    "pack/other.py": "def star(x): return x\ndef unstar(x): return x\n",
}


@pytest.mark.parametrize(
    ("file", "old", "new", "part"),
    [
        ("helpers.py", "* FACTOR", "+ FACTOR", "helpers.clean"),
        ("helpers.py", "factor(2)", "factor(3)", "helpers.FACTOR"),
        ("even/more.py", "return x", "return -x", "even.more.base"),
        ("pack/inner.py", "more(x): return x", "more(x): return -x", "pack.inner.more"),
        ("pack/deep.py", "+ star(x)", "- star(x)", "pack.deep.dive"),
        ("pack/other.py", "def star(x): return x", "def star(x): return 1", "pack.other.star"),
    ],
)
def test_what_is_imported_in_a_body_is_followed_unseen(project, file, old, new, part):
    """A helper imported inside the function would not count, or would have to be importable where the plan is made."""
    before = code(project(LAZY))
    assert not {"helpers", "pack", "even", "more"} & sys.modules.keys()
    after = code(project({**LAZY, file: LAZY[file].replace(old, new)}))
    assert [name for name in before.parts if before.parts[name] != after.parts[name]] == [part]
    assert before.digest != after.digest


def test_what_is_imported_in_a_body_counts_as_far_as_it_is_used(project, same):
    """An edit of an unused function in a module imported in the body would make the asset again."""
    files = {name: text.replace("unused(x): return x", "unused(x): return 1") for name, text in LAZY.items()}
    assert same(LAZY, files)
    found = code(project(LAZY))
    assert found.packages == ("not_installed_either", "not_installed_here")
    assert found.modules == ("even.more", "helpers", "pack.deep", "pack.inner", "pack.other", "pipeline")


def test_a_module_used_as_a_whole_counts_as_a_whole(same):
    """`getattr(helpers, name)` would hide a helper's change."""
    files = {"pipeline.py": "import helpers\ndef f(x): return getattr(helpers, x)()", "helpers.py": "def g(): return 1"}
    assert not same(files, {**files, "helpers.py": "def g(): return 2"})
    inner = {**files, "pipeline.py": "def f(x):\n    import helpers\n    return getattr(helpers, x)()"}
    assert not same(inner, {**inner, "helpers.py": "def g(): return 2"})


def test_modules_that_import_each_other_in_bodies_end(project):
    """A circle of imports would never come to an end."""
    files = {
        "pipeline.py": "def f(x):\n    from one import a\n    return a(x)",
        "one.py": "from two import b as a\nfrom two import *\ndef c(x):\n    from pipeline import f\n    return f(x)",
        "two.py": "from one import c as b\nfrom one import *",
    }
    assert list(code(project(files)).parts) == ["one.c", "pipeline.f"]


def test_a_relative_import_in_a_body_is_followed(project):
    """`from .helpers import clean` inside a function would not be found."""
    files = {
        "site1/__init__.py": "",
        "site1/flow.py": "def f(x):\n    from .helpers import clean\n    from ...nowhere import y\n    return clean(x)",
        "site1/helpers.py": "def clean(x): return x",
    }
    assert list(code(project(files, module="site1.flow")).parts) == ["site1.flow.f", "site1.helpers.clean"]


def test_class_fields_count_with_their_annotations(same):
    """A dataclass whose field changes its type or place would not be seen."""
    text = "import dataclasses\n@dataclasses.dataclass\nclass A:\n    a: int\n    b: int\ndef f(x): return A(x, x)"
    assert not same(text, text.replace("b: int", "b: float"))
    assert not same(text, text.replace("a: int", "c: int"))
    assert same(text, text.replace("class A:", "class A:\n    '''Doc.'''"))


def test_a_library_counts_by_name(same):
    """Another release of a library, or another way to the same function, would make everything again."""
    assert not same("import math\ndef f(x): return math.sin(x)", "import math\ndef f(x): return math.cos(x)")
    assert not same(
        "from json import dumps as g\ndef f(x): return g(x)", "from json import loads as g\ndef f(x): return g(x)"
    )
    assert same(
        "import os\nfrom numpy import array\ndef f(x): return array(x)",
        "from numpy import array\ndef f(x): return array(x)",
    )


def test_a_name_that_is_not_there_counts_as_missing(same):
    """Defining what was missing would not be seen; and a missing name would be an error of the plan, not of the run."""
    text = "def f(x): return later(x)"
    assert same(text, text)
    assert not same(text, text + "\ndef later(x): return x")


def test_paths_inside_the_project_are_the_same_everywhere(same):
    """Two checkouts of one project would not share what they make."""
    text = "import os, pathlib\nHERE = pathlib.Path(__file__).parent\nNAME = os.path.join(str(HERE), 'a')\ndef f(x): return HERE, NAME"
    assert same(text, text)
    assert not same(text, text.replace("'a'", "'b'"))
    outside = "ROOT = '/nowhere/else'\ndef f(x): return ROOT"
    assert not same(outside, outside.replace("else", "more"))


UNFIT = {
    "a client": (
        "import http.client\nCLIENT = http.client.HTTPConnection('h')",
        "CLIENT",
        "http.client.HTTPConnection",
    ),
    "a generator": ("ROWS = (x for x in [])", "ROWS", "generator"),
    "inside a dict": ("TABLE = dict(a=[1, iter([])])", "TABLE['a'][1]", "list_iterator"),
    "inside an instance": (
        "class A:\n    def __init__(self): self.rows = iter(())\nONE = A()",
        "ONE.rows",
        "tuple_iterator",
    ),
}


@pytest.mark.parametrize(("text", "name", "kind"), UNFIT.values(), ids=UNFIT.keys())
def test_what_cannot_be_digested_is_named(project, text, name, kind):
    """A person would not learn which constant it is, who uses it, and what to do."""
    base = name.partition("[")[0].partition(".")[0]
    fn = project(
        {
            "pipeline.py": "import helpers\ndef f(x): return helpers.g(x)",
            "helpers.py": f"{text}\ndef g(x): return {base}",
        }
    )
    with pytest.raises(FingerprintError) as caught:
        code(fn, where="pipeline.py:2")
    line = text.count("\n") + 2
    file = sys.modules["helpers"].__file__
    assert str(caught.value) == (
        f"helpers.{name} cannot be digested, and helpers.g uses it.\n"
        f"  at: {file}:{line}\n"
        "  expected: plain data: numbers, text, containers of them, dates, paths, enums, dataclasses, arrays, tables\n"
        f"  found: a value of type {kind}\n"
        '  do: make it inside the function, or write @asset(version="…") and change that text when the code changes'
    )


def test_an_unfit_default_and_closure_are_named(project):
    """The message would not tell a default argument from a closure."""
    with pytest.raises(FingerprintError, match=r"^The default of 'y' of pipeline.f cannot be digested"):
        code(project("def f(x, y=iter([])): return x"))
    text = "def make(rows):\n    def inner(x): return rows\n    return inner\nf = make(iter([]))"
    with pytest.raises(
        FingerprintError, match=r"^pipeline.make.inner.rows cannot be digested, and pipeline.make.inner uses it"
    ):
        code(project(text))


def test_an_error_in_one_function_leaves_the_pass_whole(project):
    """One asset that cannot be digested would spoil those that are digested after it."""
    f = project("BAD = iter([])\nGOOD = 1\ndef f(x): return g(x), BAD\ndef g(x): return GOOD\ndef h(x): return BAD")
    scope = f.__globals__
    one = Fingerprints()
    for name in ("f", "h", "f"):
        with pytest.raises(FingerprintError, match=r"pipeline\.BAD"):
            one.code(scope[name])
    assert one.code(scope["g"]) == code(scope["g"])


NAMED = {
    "logger": "import logging\nN = logging.getLogger('a')",
    "lock": "import threading\nN = threading.Lock()",
    "reentrant lock": "import threading\nN = threading.RLock()",
    "type variable": "import typing\nN = typing.TypeVar('N')",
    "generic": "N = dict[str, list[int]] | None",
    "sentinel": "N = object()",
    "context variable": "import contextvars\nN = contextvars.ContextVar('n')",
    "thread local": "import threading\nN = threading.local()",
    "source": "from drawbar import Source\nN = Source('a.csv')",
    "env": "from drawbar import Env\nN = Env('numpy', variables={'A': '1'})",
    "builtin": "N = 'abc'.join",
    "C function": "import math\nN = [math.sin, len, dict.items, str]",
    "item getter": "import operator\nN = operator.itemgetter(1)",
    "exception": "N = ValueError('no')",
    "function bound to a library's object": "import random\nN = [random.choice, random.random]",
    "library's object": "from http.client import HTTPConnection as N",
    "library's instance": "from string import Formatter\nfrom os import environ as N",
    "cache": "import weakref\nN = weakref.WeakKeyDictionary()",
    "counter": "import itertools, time\nN = itertools.count(time.time_ns())",
    "numpy's": "from numpy.random import rand as N",
}


@pytest.mark.parametrize("text", NAMED.values(), ids=NAMED.keys())
def test_what_holds_no_data_counts_by_name(same, text):
    """A logger, a lock or a sentinel at module level would be an error, or differ from process to process."""
    assert same(text + "\ndef f(x): return N", "\n\n" + text + "\ndef f(x): return N")


def test_a_librarys_function_is_one_however_it_is_made(project):
    """A cached, bound or C function would be a part of the project, and its package not be known to be needed."""
    text = """
        from math import sin
        from numpy import dot, sin as npsin
        from numpy.random import rand
        from random import choice
        from urllib.parse import urlsplit
        TABLE = [dot, choice]
        def f(x): return sin, dot, npsin, rand, choice, urlsplit, TABLE
    """
    found = code(project(text))
    assert list(found.parts) == ["pipeline.TABLE", "pipeline.f"]
    assert found.packages == ("numpy",)


def test_a_librarys_object_imported_by_name_is_the_librarys(project, same):
    """An object that a library offers, and that holds more than data, would be an error."""
    text = "from unittest.mock import DEFAULT as N, call\ndef f(x): return N, call"
    assert code(project(text)).packages == ()
    assert not same(text, text.replace("call", "sentinel"))


def test_drawbars_own_objects_count_by_what_they_say(same):
    """Another Source behind the same name would not be seen."""
    text = "from drawbar import Source\nN = Source('a.csv')\ndef f(x): return N"
    assert not same(text, text.replace("a.csv", "b.csv"))


def test_constants_are_taken_as_they_are_now(project):
    """A constant set anew in a notebook would not be seen."""
    f = project("N = 1\ndef f(x): return N")
    before = code(f)
    f.__globals__["N"] = 2
    after = code(f)
    f.__globals__["N"] = 1
    assert before.digest != after.digest
    assert code(f) == before


def test_code_objects_are_values(project):
    """Code could not be compared, or shared between threads."""
    f = project(PLAIN)
    found: list[Code] = []
    threads = [threading.Thread(target=lambda: found.append(code(f))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [code(f)] * 8
