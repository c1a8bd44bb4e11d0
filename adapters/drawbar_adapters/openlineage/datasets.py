"""Where a value physically lies, in OpenLineage's naming rules: one dataset for all versions and parts of an asset.

A `Made` comes from an event; out goes the dataset's namespace and name, and the facets that say which version this is.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from drawbar import profiles
from drawbar.asset import Asset
from drawbar.errors import PartitionError
from drawbar.events import Made
from drawbar.keys import AssetKey
from drawbar.partitions import Partition
from drawbar_adapters.naming import openlineage_symlink
from drawbar_adapters.openlineage import facets
from drawbar_adapters.openlineage.facets import Facet

_SAME_PLACE = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "abfss", "wasb": "wasbs"}
_OVER_SSH = ("sftp", "ssh", "scp")
# Their paths begin at a root; an object store's keys do not.
_ROOTED = ("hdfs", "webhdfs", "http", "https", "ftp", "smb")
_ACCOUNT_AFTER_AT = ("abfss", "wasbs")
_FIELD = re.compile(r"\{[^{}]*\}")
# What partitions alone are told apart by: their fields, as Hive writes them or bare, and an ending.
_ONLY_FIELDS = re.compile(r"(?:(?:\w+=)?\0[/_|-]*)+(?:\.\w+)*\Z")


def place(uri: str, *, folder: str = "") -> tuple[str, str]:
    """Namespace and name of what lies at `uri`, a path or any fsspec URL, without credentials and query.

    >>> place("s3://bucket/embeddings.parquet")
    ('s3://bucket', 'embeddings.parquet')
    >>> place("sftp://me:secret@gpu-box/data/a.npy")
    ('file://gpu-box', '/data/a.npy')
    >>> place("data/urls.csv", folder="/work/site")
    ('file', '/work/site/data/urls.csv')
    """
    uri = uri.rpartition("::")[2]
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme in ("file", "local"):
        return "file", os.path.normpath(Path(folder, rest if separator else uri))
    rest = rest.partition("?")[0]
    if scheme == "memory":
        return "memory", f"/{rest.lstrip('/')}"
    scheme = _SAME_PLACE.get(scheme, scheme)
    authority, _, path = rest.partition("/")
    if scheme not in _ACCOUNT_AFTER_AT:
        authority = authority.rpartition("@")[2]
    if scheme in _OVER_SSH:
        return f"file://{urlsplit(f'//{authority}').hostname or authority}", f"/{path}"
    return f"{scheme}://{authority}", f"/{path}" if scheme in _ROOTED else path


def whole(pattern: str) -> str:
    """The place of all partitions together, of a path in which their fields stand in braces.

    That is the folder that holds nothing but them, as other tools know it; the path as written where there is none.

    >>> whole("s3://bucket/pages/{partition}.parquet"), whole("in/date={start:%Y/%m}/{region}.csv")
    ('s3://bucket/pages', 'in')
    >>> whole("out/{partition}/pages.csv")
    'out/{partition}/pages.csv'
    """
    plain = _FIELD.sub("\0", pattern)
    folder = plain.partition("\0")[0].rpartition("/")[0]
    alone = _ONLY_FIELDS.match(plain[len(folder) + 1 :]) and place(folder)[1].strip("/.")
    return folder if folder and alone else pattern


def dataset_of(made: Made, *, folder: str = "", pattern: str = "") -> tuple[str, str]:
    """Namespace and name of the dataset that `made` is a version of, or a partition.

    It is the published copy where there is one, since that is what others read; the place itself for a source; else
    the asset's folder in the store, never the file of one version or one partition in it. `pattern` is the path of
    such a place as written, with the fields of a partition in braces. A value kept in memory only has no place, and
    goes by its logical name.
    """
    if made.published or made.source:
        where = made.published or made.uri
        if "{" in pattern:
            where = whole(pattern if "://" in pattern else str(Path(pattern).expanduser()))
        return place(where, folder=folder) if where else openlineage_symlink(made.key)
    if not made.uri:
        return openlineage_symlink(made.key)
    namespace, name = place(made.uri, folder=folder)
    asset = f"/{made.key.namespace}/{made.key.name}"
    rooted = name if name.startswith("/") else f"/{name}"
    found = rooted.rfind(f"{asset}/")
    if found < 0:
        return namespace, name
    stable = rooted[: found + len(asset)]
    return namespace, stable if name.startswith("/") else stable[1:]


def dataset_facets(made: Made, namespace: str) -> dict[str, Facet]:
    """What is true of this version of the dataset, wherever it is read or written."""
    identity, name = openlineage_symlink(made.key)
    said: dict[str, Facet] = {
        "version": facets.facet("DatasetVersionDatasetFacet", datasetVersion=made.data_version),
        "datasetType": facets.facet(
            "DatasetTypeDatasetFacet",
            datasetType="TABLE" if made.columns else "FILE",
            subType=None if made.uri or made.published else "TEMPORARY",
        ),
    }
    if namespace != identity:
        said["symlinks"] = facets.facet(
            "SymlinksDatasetFacet", identifiers=[{"namespace": identity, "name": name, "type": "ASSET"}]
        )
        said["storage"] = facets.facet(
            "StorageDatasetFacet", storageLayer=namespace.partition("://")[0], fileFormat=made.format or None
        )
    if made.columns:
        said["schema"] = facets.schema(made.columns)
    return said


def partition_of(asset: Asset, key: AssetKey) -> Partition | None:
    """The partition of that key, where the asset has one such; the members of dynamic sets are taken as read."""
    if asset.partitions is None or key.partition is None:
        return None
    names = key.partition.split("|")
    with suppress(PartitionError):
        return asset.partitions.resolved(lambda _: names).partition(key.partition)
    return None


def together(parts: Sequence[Made]) -> Made:
    """Several partitions of one asset as one: the last of them, with what all have together."""
    rows = [one.rows for one in parts if one.rows is not None]
    checks: dict[tuple[str, str], Mapping[str, Any]] = {}
    for each in [check for one in parts for check in one.checks]:
        named = (each["name"], each["column"])
        # Of a check that failed for some, the first failure stands for all.
        if named not in checks or (checks[named]["passed"] and not each["passed"]):
            checks[named] = each
    return replace(
        parts[-1],
        rows=sum(rows) if len(rows) == len(parts) else None,
        bytes=sum(one.bytes for one in parts),
        profile=profiles.together(one.profile for one in parts),
        checks=tuple(checks.values()),
    )
