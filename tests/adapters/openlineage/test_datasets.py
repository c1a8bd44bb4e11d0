"""Where values lie, by OpenLineage's naming rules."""

from __future__ import annotations

import pytest
from openlineage_series import made

from drawbar.keys import AssetKey
from drawbar_adapters.openlineage.datasets import dataset_facets, dataset_of, place


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("/work/a.parquet", "file", "/work/a.parquet"),
        ("file:///work/a.parquet", "file", "/work/a.parquet"),
        ("local:///work/a.parquet", "file", "/work/a.parquet"),
        ("out/../a.parquet", "file", "/project/a.parquet"),
        ("s3://bucket/a/b.parquet", "s3://bucket", "a/b.parquet"),
        ("s3a://bucket/a", "s3://bucket", "a"),
        ("gcs://bucket/a", "gs://bucket", "a"),
        ("simplecache::s3://bucket/a", "s3://bucket", "a"),
        ("abfss://container@account.dfs.core.windows.net/a", "abfss://container@account.dfs.core.windows.net", "a"),
        ("hdfs://node:8020/data/a", "hdfs://node:8020", "/data/a"),
        ("sftp://me:pw@gpu-box:2222/data/a", "file://gpu-box", "/data/a"),
        ("https://me:pw@host/data/a.csv?sig=abc", "https://host", "/data/a.csv"),
        ("memory://store/a", "memory", "/store/a"),
    ],
)
def test_a_place_follows_the_naming_rules_and_holds_no_credentials(uri, namespace, name):
    """Another tool's lineage of the same place would not meet ours, or a password would be in a dataset's name."""
    assert place(uri, folder="/project") == (namespace, name)


@pytest.mark.parametrize("store", ["/work/store", "file:///work/store", "s3://bucket/assets", "memory://store"])
def test_all_versions_and_partitions_of_an_asset_are_one_dataset(store):
    """Every run would leave a new dataset behind."""
    first = made("text/embeddings", uri=f"{store}/site/text/embeddings/values/{'1' * 64}.parquet")
    other = made("text/embeddings", uri=f"{store}/site/text/embeddings/values/{'2' * 64}.parquet")
    part = made(
        "text/embeddings", uri=f"{store}/site/text/embeddings/@2026%2F11/values/{'3' * 64}.npy", partition="2026/11"
    )
    assert dataset_of(first) == dataset_of(other) == dataset_of(part) == place(f"{store}/site/text/embeddings")


def test_a_store_that_is_named_like_the_asset_does_not_confuse():
    """Two assets would be one dataset."""
    value = made("site", uri=f"/site/site/site/site/values/{'1' * 64}.json")
    assert dataset_of(value) == ("file", "/site/site/site/site")


def test_a_published_copy_is_the_dataset():
    """What others read would not be what lineage says was written."""
    value = made("embeddings", published="s3://bucket/embeddings.parquet")
    assert dataset_of(value) == ("s3://bucket", "embeddings.parquet")
    assert dataset_of(made("embeddings", published="out/e.csv"), folder="/project") == ("file", "/project/out/e.csv")


@pytest.mark.parametrize(
    ("pattern", "namespace", "name"),
    [
        ("s3://bucket/pages/{partition}.parquet", "s3://bucket", "pages"),
        ("s3://bucket/pages/date={start:%Y-%m-%d}/region={region}.parquet", "s3://bucket", "pages"),
        ("out/{start:%Y/%m}/{partition}.csv.gz", "file", "/project/out"),
        ("/data/{date}_{region}.csv", "file", "/data"),
        # What stands beside the fields tells one asset's files from another's.
        ("s3://bucket/{partition}/pages.parquet", "s3://bucket", "{partition}/pages.parquet"),
        ("s3://bucket/{partition}.parquet", "s3://bucket", "{partition}.parquet"),
        ("out/pages-{partition}.csv", "file", "/project/out/pages-{partition}.csv"),
        ("{partition}.csv", "file", "/project/{partition}.csv"),
    ],
)
def test_all_published_partitions_are_one_dataset(pattern, namespace, name):
    """Each day's file would be a dataset of its own, or two assets that share a folder would be one."""
    one = made("pages", published="s3://bucket/2026-11-20.parquet", partition="2026-11-20")
    other = made("pages", uri="/data/2026-11-21.csv", source=True, partition="2026-11-21")
    for value in (one, other):
        assert dataset_of(value, folder="/project", pattern=pattern) == (namespace, name)


def test_a_value_in_memory_goes_by_its_logical_name():
    """A transient asset would be missing from lineage, and its makers unconnected with its takers."""
    value = made("embeddings", uri="")
    namespace, name = dataset_of(value)
    assert (namespace, name) == ("drawbar://site", "site/embeddings")
    said = dataset_facets(value, namespace)
    assert said["datasetType"]["subType"] == "TEMPORARY"
    assert "symlinks" not in said


def test_a_dataset_is_also_known_by_its_logical_name():
    """A consumer could not tell which asset a path is."""
    value = made("embeddings")
    said = dataset_facets(value, "file")
    assert said["symlinks"]["identifiers"] == [
        {"namespace": "drawbar://site", "name": "site/embeddings", "type": "ASSET"}
    ]
    assert said["version"]["datasetVersion"] == value.data_version
    assert said["storage"]["storageLayer"] == "file"
    assert value.key == AssetKey("site", "embeddings")
