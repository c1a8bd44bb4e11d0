"""Where a value physically lies, in OpenLineage's naming rules: the same dataset for every version of an asset.

A `Made` comes from an event; out goes the dataset's namespace and name, and the facets that say which version this is.
"""

from __future__ import annotations

import os.path
from pathlib import Path
from urllib.parse import urlsplit

from drawbar.events import Made
from drawbar_adapters.naming import openlineage_symlink
from drawbar_adapters.openlineage import facets
from drawbar_adapters.openlineage.facets import Facet

_SAME_PLACE = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "abfss", "wasb": "wasbs"}
_OVER_SSH = ("sftp", "ssh", "scp")
# Their paths begin at a root; an object store's keys do not.
_ROOTED = ("hdfs", "webhdfs", "http", "https", "ftp", "smb")
_ACCOUNT_AFTER_AT = ("abfss", "wasbs")


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


def dataset_of(made: Made, *, folder: str = "") -> tuple[str, str]:
    """Namespace and name of the dataset that `made` is a version of.

    It is the published copy where there is one, since that is what others read; the place itself for a source; else
    the asset's folder in the store, never the file of one version in it. A value kept in memory only has no place, and
    goes by its logical name.
    """
    if made.published or made.source:
        where = made.published or made.uri
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
