"""AssetKey: the one identity of an asset, the same in every orchestrator, store and lineage backend."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from drawbar.errors import KeyFormatError

_NAMESPACE = re.compile(r"\w[\w.-]*\Z")
_PLAIN = re.compile(r"[\w.~-]+\Z", re.ASCII)
# In UTF-8, because that is what file systems count; with room for an ending below their 255.
_LONGEST = 200


@dataclass(frozen=True, slots=True, order=True)
class AssetKey:
    """Namespace + name (+ partition).

    A name is one or more Python identifiers joined by `/`, the last of which is the function's; the ones before it are
    groups. A namespace is letters, digits, `_`, `.` and `-`. A partition is any text without control characters.

    >>> AssetKey.parse("site/embeddings@2026-11-21")
    AssetKey(namespace='site', name='embeddings', partition='2026-11-21')
    >>> str(AssetKey("site", "text/embeddings"))
    'site/text/embeddings'
    """

    namespace: str
    name: str
    partition: str | None = None

    def __post_init__(self) -> None:
        check_namespace(self.namespace)
        check_name(self.name)
        if self.partition is not None:
            _check_partition(self.name, self.partition)

    def __str__(self) -> str:
        """The form of the CLI and of messages: `namespace/name`, with `@partition` where there is one."""
        plain = f"{self.namespace}/{self.name}"
        return plain if self.partition is None else f"{plain}@{self.partition}"

    @classmethod
    def parse(cls, text: str, namespace: str | None = None) -> AssetKey:
        """The inverse of `str`; with `namespace`, a text that does not begin with it is taken as a bare name."""
        path, at, partition = text.partition("@")
        head, slash, rest = path.partition("/")
        if namespace is not None and (not slash or head != namespace):
            head, rest = namespace, path
        elif not slash:
            raise KeyFormatError(
                f"{text!r} is not an asset key.",
                expected="namespace/name or namespace/name@partition",
                found="no '/' in it",
            )
        return cls(head, rest, partition if at else None)

    @property
    def unit(self) -> str:
        """The key without its namespace: `name`, or `name@partition`."""
        return self.name if self.partition is None else f"{self.name}@{self.partition}"

    def at(self, partition: str | None) -> AssetKey:
        """The same asset at another partition."""
        if partition is not None:
            _check_partition(self.name, partition)
        # Namespace and name are checked already: this is the one step of a plan that every partition takes.
        found = object.__new__(AssetKey)
        _set_namespace(found, self.namespace)
        _set_name(found, self.name)
        _set_partition(found, partition)
        return found


_set_namespace, _set_name, _set_partition = (
    AssetKey.__dict__[name].__set__ for name in ("namespace", "name", "partition")
)


def _check_partition(name: str, text: str) -> None:
    if _PLAIN.match(text) and len(text) <= _LONGEST:
        return
    if not text or not text.isprintable() or len(quote(text, safe="")) > _LONGEST:
        raise KeyFormatError(
            f"{text!r} cannot be a partition of {name!r}.",
            expected=f"text of at least one character and at most {_LONGEST} bytes when percent-encoded, "
            "none of them a control character",
        )


def check_namespace(namespace: str) -> None:
    """Raise KeyFormatError unless `namespace` can stand in paths, URLs and other tools' names as it is."""
    if not _NAMESPACE.match(namespace) or ".." in namespace or len(namespace.encode()) > _LONGEST:
        raise KeyFormatError(
            f"{namespace!r} cannot be a namespace.",
            expected=f"at most {_LONGEST} bytes: letters, digits, '_', '.' and '-', beginning with a letter or digit, "
            "no '..'",
            found=repr(namespace),
            todo="set `namespace` in [tool.drawbar] of pyproject.toml",
        )


def check_name(name: str) -> None:
    """Raise KeyFormatError unless `name` is Python identifiers joined by `/`."""
    if not all(part.isidentifier() for part in name.split("/")) or len(name.encode()) > _LONGEST:
        raise KeyFormatError(
            f"{name!r} cannot be the name of an asset.",
            expected=f"Python identifiers, joined by '/' where it stands in a group, at most {_LONGEST} bytes",
            found=repr(name),
            todo="name the function, or `@asset(name=…)`, so",
        )
