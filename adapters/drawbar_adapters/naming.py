"""AssetKey to the names other tools know it by, and back: one identity, however many hosts.

Every projection is a pure function with an inverse. A partition is never part of another tool's name, because each of
them has a place of its own for it; the inverse takes it as it was kept there. Only the text form holds it itself.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from drawbar.errors import KeyFormatError
from drawbar.keys import AssetKey

SCHEME = "drawbar://"


def text(key: AssetKey) -> str:
    """The form of the CLI and of messages.

    >>> text(AssetKey("site", "embeddings", "2026-11-21"))
    'site/embeddings@2026-11-21'
    """
    return str(key)


def from_text(name: str) -> AssetKey:
    """The inverse of `text`; KeyFormatError for what is not such a form."""
    return AssetKey.parse(name)


def airflow_name(key: AssetKey) -> str:
    """The name of the Airflow asset.

    >>> airflow_name(AssetKey("site", "text/embeddings"))
    'site/text/embeddings'
    """
    return f"{key.namespace}/{key.name}"


def from_airflow_name(name: str, partition: str | None = None) -> AssetKey:
    """The inverse of `airflow_name`."""
    return _from_slashes(name, partition, "an Airflow asset's name", "namespace/name")


def airflow_uri(key: AssetKey) -> str:
    """The URI of the Airflow asset: percent-encoded, because Airflow refuses or rewrites anything else.

    >>> airflow_uri(AssetKey("site", "embeddings"))
    'drawbar://site/embeddings'
    """
    return f"{SCHEME}{quote(airflow_name(key))}"


def from_airflow_uri(uri: str, partition: str | None = None) -> AssetKey:
    """The inverse of `airflow_uri`."""
    scheme, found, rest = uri.partition("://")
    if not found or f"{scheme}://" != SCHEME:
        raise KeyFormatError(f"{uri!r} is not the URI of an asset.", expected=f"{SCHEME}namespace/name", found=uri)
    return _from_slashes(unquote(rest), partition, "the URI of an asset", f"{SCHEME}namespace/name")


def dagster_path(key: AssetKey) -> list[str]:
    """The path of Dagster's AssetKey: the namespace, the groups, the function.

    >>> dagster_path(AssetKey("site", "text/embeddings"))
    ['site', 'text', 'embeddings']
    """
    return [key.namespace, *key.name.split("/")]


def from_dagster_path(path: list[str], partition: str | None = None) -> AssetKey:
    """The inverse of `dagster_path`."""
    return _from_slashes("/".join(path), partition, "the path of a Dagster asset", "[namespace, …groups, name]")


def kedro_name(key: AssetKey) -> str:
    """The name of the Kedro dataset: everything joined by Kedro's own separator.

    A namespace that itself holds a dot would be lost among the separators, so it is followed by two of them. Neither a
    namespace nor a name can hold `..`, which keeps the form unambiguous, and the common case as one would write it.

    >>> kedro_name(AssetKey("site", "text/embeddings"))
    'site.text.embeddings'
    >>> kedro_name(AssetKey("acme.site", "embeddings"))
    'acme.site..embeddings'
    """
    separator = ".." if "." in key.namespace else "."
    return f"{key.namespace}{separator}{key.name.replace('/', '.')}"


def from_kedro_name(name: str, partition: str | None = None) -> AssetKey:
    """The inverse of `kedro_name`."""
    namespace, separator, rest = name.rpartition("..") if ".." in name else name.partition(".")
    if not separator:
        raise KeyFormatError(f"{name!r} is not the name of an asset's dataset.", expected="namespace.name", found=name)
    return AssetKey(namespace, rest.replace(".", "/"), partition)


def openlineage_symlink(key: AssetKey) -> tuple[str, str]:
    """Namespace and name under which lineage knows the asset besides its physical place.

    The name repeats the namespace, because some consumers drop the authority of a scheme they do not know.

    >>> openlineage_symlink(AssetKey("site", "embeddings"))
    ('drawbar://site', 'site/embeddings')
    """
    return f"{SCHEME}{key.namespace}", f"{key.namespace}/{key.name}"


def from_openlineage_symlink(namespace: str, name: str, partition: str | None = None) -> AssetKey:
    """The inverse of `openlineage_symlink`."""
    key = _from_slashes(name, partition, "an asset's name in lineage", "namespace/name")
    if namespace != SCHEME + key.namespace:
        raise KeyFormatError(
            f"{name!r} is not an asset of {namespace!r}.", expected=SCHEME + key.namespace, found=namespace
        )
    return key


def openlineage_job(key: AssetKey) -> str:
    """The name of the OpenLineage job that makes the asset, unique without its namespace.

    Joined by dots, as Airflow's are: the parent variables that pass a run to another process separate by slashes.

    >>> openlineage_job(AssetKey("site", "text/embeddings"))
    'site.text.embeddings'
    """
    return kedro_name(key)


def from_openlineage_job(name: str, partition: str | None = None) -> AssetKey:
    """The inverse of `openlineage_job`."""
    return from_kedro_name(name, partition)


def _from_slashes(name: str, partition: str | None, what: str, expected: str) -> AssetKey:
    namespace, slash, rest = name.partition("/")
    if not slash:
        raise KeyFormatError(f"{name!r} is not {what}.", expected=expected, found=name)
    return AssetKey(namespace, rest, partition)
