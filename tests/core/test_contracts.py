"""What a contract says, how it stands in a file, and whether the two sides of an edge meet."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawbar.agent.columns import MODES, NAMES
from drawbar.asset import OPTIONS_ATTRIBUTE, Asset, Options, asset
from drawbar.contracts import Column, Contract, compatible, dump, load, parse, resolve, unmet
from drawbar.errors import ContractError, DefinitionError

PAGES = Contract({"url": Column("string", nullable=False), "score": "float64"})


def refused(call):
    """The error that a call raises."""
    with pytest.raises(ContractError) as caught:
        call()
    return caught.value


# What it says


def test_types_of_three_libraries_are_one():
    """A contract that names a type as pandas does would differ from one that names it as arrow does."""
    same = [Contract({"n": kind}) for kind in ("int64", "Int64", "int64[pyarrow]")]
    assert len({one.digest for one in same}) == len(set(same)) == 1


def test_order_does_not_count():
    """Moving a line of a reviewed file would make everything again."""
    one, other = Contract({"a": "int64", "b": "string"}), Contract({"b": "string", "a": "int64"})
    assert one.digest == other.digest
    assert one == other
    assert hash(one) == hash(other)
    assert one.digest != replace_mode(one, "evolve").digest


def replace_mode(contract, mode):
    """The contract with another mode."""
    return Contract.from_dict({**contract.to_dict(), "mode": mode})


def test_it_travels_and_comes_back():
    """A contract would mean something else on a host than in the code."""
    whole = Contract({"a": Column("list<string>", mode="discard_rows"), "b": "any"}, mode="evolve", extra="freeze")
    assert whole.to_dict() == {
        "mode": "evolve",
        "columns": [
            {"name": "a", "type": "list<string>", "nullable": True, "mode": "discard_rows"},
            {"name": "b", "type": "any", "nullable": True, "mode": ""},
        ],
        "extra": "freeze",
    }
    assert Contract.from_dict(whole.to_dict()) == whole
    assert pickle.loads(pickle.dumps(whole)) == whole


@pytest.mark.parametrize(
    ("contract", "changes"),
    [
        (PAGES, False),
        (replace_mode(PAGES, "evolve"), False),
        (replace_mode(PAGES, "discard_rows"), True),
        (Contract({"a": "int64"}, extra="discard_columns"), True),
        (Contract({"a": Column("int64", mode="discard_rows")}), True),
    ],
)
def test_what_may_discard_changes_values(contract, changes):
    """A value would be reused that was made under a contract that dropped other rows."""
    assert contract.changes_values is changes


@pytest.mark.parametrize(
    ("make", "what", "todo"),
    [
        (lambda: Contract({"a": "flaot64"}), "Column 'a': 'flaot64' is no type of a column.", "did you mean 'float64'?"),
        (lambda: Contract({"a": "float"}), "Column 'a': 'float' is no type of a column.", "write float64, or float32 (which is what arrow calls float)"),
        (lambda: Contract({"a": "object"}), "Column 'a': 'object' is no type of a column.", "write string, or any"),
        (lambda: Contract({"a": int}), "Column 'a': <class 'int'> is no type of a column.", "write the type's name in quotes"),
        (lambda: Column("int64", mode="freze"), "'freze' is no mode of a contract.", "did you mean 'freeze'?"),
        (lambda: Contract({"a": "int64"}, mode="drop"), "'drop' is no mode of a contract.", ""),
        (lambda: Contract({"a": "int64"}, extra=""), "'' is no mode of a contract.", ""),
        (lambda: Contract({}), "A contract names at least one column.", ""),
        (lambda: Contract(["a"]), "A contract names at least one column.", ""),
        (lambda: Contract({1: "int64"}), "The name of a column is text.", ""),
        (lambda: Column("int64", nullable="no"), "`nullable` is true or false.", ""),
    ],
)  # fmt: skip
def test_nonsense_is_refused_where_it_is_written(make, what, todo):
    """A slip in a contract would be found in the middle of a run, or never."""
    error = refused(make)
    assert (error.what, error.todo) == (what, todo)
    assert isinstance(error, DefinitionError)


# Files


def test_a_file_says_what_was_dumped(tmp_path):
    """A frozen contract would not be the one that is read."""
    contract = Contract(
        {"url": Column("string", nullable=False), "two words": "timestamp[us, tz=UTC]", 'q"\\\n\x7f\u00e9': Column("any", mode="evolve")},
        mode="discard_rows",
        extra="evolve",
    )  # fmt: skip
    file = tmp_path / "pages.toml"
    file.write_text(dump(contract, ["Line\none."], {"url": "noted"}), encoding="utf-8")
    assert load(file) == contract
    assert list(load(file).columns) == list(contract.columns)
    assert file.read_text(encoding="utf-8").startswith(
        '# Line one.\nmode = "discard_rows"\nextra = "evolve"\n\n[columns]\n'
    )
    assert 'url = { type = "string", nullable = false }  # noted\n' in file.read_text(encoding="utf-8")


columns = st.builds(Column, st.sampled_from(NAMES), st.booleans(), st.sampled_from((None, *MODES)))
# No table has a name that UTF-8 cannot hold.
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(
    st.dictionaries(names, columns, min_size=1, max_size=4),
    st.sampled_from(MODES),
    st.sampled_from((None, *MODES)),
    names,
)
def test_any_contract_survives_its_file(given_columns, mode, extra, note):
    """A column's odd name would make a file that cannot be read."""
    contract = Contract(given_columns, mode=mode, extra=extra)
    assert parse(dump(contract, [note], {next(iter(given_columns)): note}), "x.toml") == contract


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("[columns]\na = ", "x.toml:2", "A contract is not TOML."),
        ('[columns]\na = "int64"\nb = "int64"\na = "string"\n', "x.toml:4", "A contract is not TOML."),
        ('\nmodes = "freeze"\n[columns]\na = "int64"\n', "x.toml:2", "'modes' is no key of a contract."),
        ('a = "int64"\n', "x.toml:1", "'a' is no key of a contract."),
        ('mode = "freeze"\n', "x.toml", "A contract names no columns."),
        ('columns = ["a"]\n', "x.toml:1", "A contract names no columns."),
        ("[columns]\n", "x.toml:1", "A contract names no columns."),
        ('# mode\nmode = "freez"\n[columns]\nmode = "int64"\n', "x.toml:2", "In a contract, mode: 'freez' is no mode of a contract."),
        ('extra = 1\n[columns]\na = "int64"\n', "x.toml:1", "In a contract, extra: 1 is no mode of a contract."),
        ('mode = "freeze"\n\n[columns]\na = "int64"\n"b c" = "flaot64"\n', "x.toml:5", "In a contract, column 'b c': 'flaot64' is no type of a column."),
        ('mode = "freeze"\n[columns]\nmode = "int"\n', "x.toml:3", "In a contract, column 'mode': 'int' is no type of a column."),
        ("[columns]\na = 1\n", "x.toml:2", "In a contract, column 'a': 1 is no type of a column."),
        ('[columns.a]\ntype = "int64"\nnull = true\n', "x.toml:1", "In a contract, column 'a': 'null' is no key of a column."),
        ("[columns]\na = { nullable = true }\n", "x.toml:2", "In a contract, column 'a': it has no type."),
        ('[columns]\na = { type = "int64", nullable = "no" }\n', "x.toml:2", "In a contract, column 'a': `nullable` is true or false."),
        ('[columns]\na = { type = "int64", mode = "keep" }\n', "x.toml:2", "In a contract, column 'a': 'keep' is no mode of a contract."),
    ],
)  # fmt: skip
def test_a_file_edited_into_nonsense_is_refused_at_its_line(text, where, what):
    """Whoever reviews contracts would look for the slip in all of them."""
    error = refused(lambda: parse(text, "x.toml"))
    assert (error.where, error.what) == (where, what)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """A file that is no text would show as an error of a codec."""
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    assert refused(lambda: load(tmp_path / "x.toml")).where == str(tmp_path / "x.toml")


# Whose contract


def pages(**options):
    """An asset `text/pages` with these options."""

    @asset(**options)
    def pages() -> None: ...

    return Asset("text/pages", pages, (), None, Options(**getattr(pages, OPTIONS_ATTRIBUTE)), "m", "m.py", 3)


def test_code_wins_over_a_named_file_and_that_over_the_usual_place(tmp_path):
    """Which of two contracts counts would be a matter of luck."""
    usual = tmp_path / "contracts" / "text" / "pages.toml"
    usual.parent.mkdir(parents=True)
    assert resolve(pages(), tmp_path) is None
    usual.write_text('[columns]\na = "int64"\n')
    (tmp_path / "other.toml").write_text('[columns]\nb = "int64"\n')
    assert list(resolve(pages(), tmp_path).columns) == ["a"]
    assert list(resolve(pages(contract="other.toml"), tmp_path).columns) == ["b"]
    assert resolve(pages(contract=PAGES), tmp_path) is PAGES


def test_a_named_file_that_is_not_there_is_an_error():
    """An asset would be made without the contract that its code names."""
    error = refused(lambda: resolve(pages(contract="gone.toml"), Path("/nowhere")))
    assert (error.where, error.expected) == ("m.py:3", "the file gone.toml")
    assert error.todo == (
        "write it by hand; or take `contract` out, make the asset once, run `drawbar freeze text/pages "
        "--output gone.toml`, and put `contract` back"
    )


# Both sides of an edge


@pytest.mark.parametrize(
    ("upstream", "wanted", "said"),
    [
        (PAGES, Contract({"url": "string"}), []),
        (PAGES, Contract({"url": Column("string", nullable=False)}), []),
        (PAGES, Contract({"n": "int64"}), ["column 'n' is not promised, and int64 is expected"]),
        (Contract({"a": "int64"}, extra="evolve"), Contract({"n": "int64"}), []),
        (PAGES, Contract({"score": "int64"}), ["column 'score' is promised as float64, and int64 is expected"]),
        (PAGES, Contract({"score": "any"}), []),
        (Contract({"score": "any"}), Contract({"score": "int64"}), []),
        (PAGES, Contract({"score": Column("float64", nullable=False)}), ["column 'score' may have nulls, and none are expected"]),
        (PAGES, Contract({"score": Column("int64", mode="evolve"), "url": "string"}), []),
        (PAGES, Contract({"url": "string"}, extra="freeze"), ["column 'score' is there, and is not expected"]),
        (PAGES, Contract({"url": "string"}, mode="discard_rows"), ["what is expected of an input cannot discard: its modes are freeze and evolve"]),
    ],
)  # fmt: skip
def test_what_a_consumer_expects_is_compared_with_what_is_promised(upstream, wanted, said):
    """A consumer would learn in the middle of a run what the contract of its input says already."""
    assert compatible(upstream, wanted) == said


def test_what_a_consumer_expects_is_compared_with_a_record():
    """The bytes of a table would be read to learn that a column is missing."""
    columns = (("url", "String"), ("score", "Float64"), ("none", "Null"))
    profile = {"rows": 3, "columns": {"score": {"type": "Float64", "nulls": 2}}}
    wanted = Contract({"url": "string", "score": Column("float64", nullable=False), "none": "int64", "n": "int64"})
    assert unmet(columns, wanted) == ["column 'n' is not there, and int64 is expected"]
    assert unmet(columns, wanted, profile)[0] == "column 'score' has 2 nulls, and none are expected"
    assert unmet(columns, Contract({"url": "binary"}, extra="freeze"))[:2] == [
        "column 'url' is string, and binary is expected",
        "column 'score' is there, and is not expected",
    ]
