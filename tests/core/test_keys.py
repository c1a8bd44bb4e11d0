"""AssetKey: what may be a key, and that its text form has an inverse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawbar.errors import KeyFormatError
from drawbar.keys import AssetKey

_part = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(str.isidentifier)
_keys = st.builds(
    AssetKey,
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True),
    st.lists(_part, min_size=1, max_size=3).map("/".join),
    st.none() | st.text(min_size=1, max_size=20).filter(str.isprintable),
)


@given(_keys)
def test_text_has_an_inverse(key):
    """The text of a key, parsed, is the key, also with '@' and '/' in the partition."""
    assert AssetKey.parse(str(key)) == key


@pytest.mark.parametrize("name", ["with space", "..", "a/../b", 'quo"te', "emoji🙂", "", "a//b", "1st", "x" * 201])
def test_names_that_cannot_be_paths_or_parameters_are_refused(name):
    """A name that could leave its folder, or that no parameter could be called, is never a key."""
    with pytest.raises(KeyFormatError, match="cannot be the name of an asset") as refused:
        AssetKey("site", name)
    assert refused.value.found == repr(name)


@pytest.mark.parametrize("namespace", ["a b", "../x", "a..b", "", "-x", "ü/x", "a\nb"])
def test_namespaces_that_cannot_be_folders_are_refused(namespace):
    """A namespace that could not stand in a path, a URL and other tools' names is refused, with what to do."""
    with pytest.raises(KeyFormatError, match="cannot be a namespace") as refused:
        AssetKey(namespace, "name")
    assert "pyproject.toml" in refused.value.todo


def test_a_bare_name_takes_the_namespace_it_is_given():
    """On the command line a name alone means the project's own namespace, in a group or not."""
    assert AssetKey.parse("embeddings", "site") == AssetKey("site", "embeddings")
    assert AssetKey.parse("text/embeddings@1", "site") == AssetKey("site", "text/embeddings", "1")
    assert AssetKey.parse("site/embeddings", "site") == AssetKey("site", "embeddings")
    with pytest.raises(KeyFormatError, match="is not an asset key"):
        AssetKey.parse("embeddings")


@pytest.mark.parametrize(
    "key", [("é" * 101, "a", None), ("s", "é" * 101, None), ("s", "a", "é" * 40), ("s", "a", " " * 70)]
)
def test_a_key_that_no_file_system_could_hold_is_refused(key):
    """What counts is the length in bytes as it stands in a path: 255 is all that a name may have there."""
    with pytest.raises(KeyFormatError) as refused:
        AssetKey(*key)
    assert "at most 200 bytes" in refused.value.expected
