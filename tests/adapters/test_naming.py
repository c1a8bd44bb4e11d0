"""Names in other tools."""

from __future__ import annotations

import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawbar.errors import KeyFormatError
from drawbar.keys import AssetKey
from drawbar_adapters import naming

_identifiers = st.from_regex(r"[^\W\d]\w{0,8}", fullmatch=True).filter(str.isidentifier)
_namespaces = st.from_regex(r"\w[\w.-]{0,12}", fullmatch=True).filter(lambda text: ".." not in text)
_partitions = st.none() | st.text(min_size=1, max_size=12).filter(str.isprintable)
_keys = st.builds(AssetKey, _namespaces, st.lists(_identifiers, min_size=1, max_size=4).map("/".join), _partitions)


@given(_keys)
def test_every_projection_has_an_inverse(key):
    """What another tool gives back would be another asset than the one it was given."""
    partition = key.partition
    assert naming.from_text(naming.text(key)) == key
    assert naming.from_airflow_name(naming.airflow_name(key), partition) == key
    assert naming.from_airflow_uri(naming.airflow_uri(key), partition) == key
    assert naming.from_dagster_path(naming.dagster_path(key), partition) == key
    assert naming.from_kedro_name(naming.kedro_name(key), partition) == key
    assert naming.from_openlineage_symlink(*naming.openlineage_symlink(key), partition) == key
    assert naming.from_openlineage_job(naming.openlineage_job(key), partition) == key


@given(_keys, _keys)
def test_two_assets_never_share_a_name(one, other):
    """Two assets would be one in another tool."""
    if one.at(None) != other.at(None):
        for project in (naming.airflow_uri, naming.kedro_name, naming.openlineage_job, naming.openlineage_symlink):
            assert project(one) != project(other)


@given(_keys)
def test_a_uri_is_ascii_and_a_kedro_name_is_safe_as_a_node_name(key):
    """Airflow would refuse the URI, or Kedro the node of that name."""
    assert naming.airflow_uri(key).isascii()
    assert (
        all(part.isalnum() or part in "_.-" for part in naming.kedro_name(key).replace("_", ""))
        or not key.name.isascii()
    )


def test_common_names_stay_as_one_would_write_them():
    """A person would not recognise the asset in the other tool."""
    key = AssetKey("my-site", "text/embeddings", "2026-11-21")
    assert naming.airflow_name(key) == "my-site/text/embeddings"
    assert naming.airflow_uri(key) == "drawbar://my-site/text/embeddings"
    assert naming.dagster_path(key) == ["my-site", "text", "embeddings"]
    assert naming.kedro_name(key) == "my-site.text.embeddings"
    assert naming.openlineage_symlink(key) == ("drawbar://my-site", "my-site/text/embeddings")
    assert naming.openlineage_job(key) == "my-site.text.embeddings"
    assert not any(keyword.iskeyword(part) for part in naming.dagster_path(key))


@pytest.mark.parametrize(
    ("inverse", "bad"),
    [
        (naming.from_airflow_name, "embeddings"),
        (naming.from_airflow_uri, "s3://site/embeddings"),
        (naming.from_dagster_path, ["embeddings"]),
        (naming.from_kedro_name, "embeddings"),
        (naming.from_kedro_name, "site.not an asset"),
        (naming.from_openlineage_job, "embeddings"),
        (naming.from_text, "embeddings"),
    ],
)
def test_a_foreign_name_is_refused(inverse, bad):
    """A dataset that is no asset would be taken for one."""
    with pytest.raises(KeyFormatError):
        inverse(bad)


def test_a_symlink_of_another_namespace_is_refused():
    """A name would be read as an asset of a namespace that does not hold it."""
    with pytest.raises(KeyFormatError) as caught:
        naming.from_openlineage_symlink("drawbar://other", "site/embeddings")
    assert str(caught.value) == (
        "'site/embeddings' is not an asset of 'drawbar://other'.\n  expected: drawbar://site\n  found: drawbar://other"
    )
