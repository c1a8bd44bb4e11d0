"""Where lineage goes, read as the OpenLineage client reads it, and checked before a run begins.

Values come from the `[tool.drawbar.lineage]` table, `openlineage.yml` and `OPENLINEAGE_*` variables, the first before
the others as in the client; they go on as `Settings`. The client itself is not loaded here: that takes half a second,
and only whoever sends events needs it.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from drawbar.errors import LineageError, did_you_mean
from drawbar_adapters.openlineage.datasets import place

_OF_CLIENT = ("transport", "facets", "filters", "tags", "dataset")
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "enabled": ((bool,), "true or false"),
    "outbox": ((str,), "the path of a folder"),
    "redact": ((bool, list), "true, false, or a list of further names whose values are secret"),
    "transport": ((dict,), "a table, as in openlineage.yml"),
    "facets": ((dict,), "a table, as in openlineage.yml"),
    "filters": ((list,), "a list of tables, as in openlineage.yml"),
    "tags": ((dict,), "a table, as in openlineage.yml"),
    "dataset": ((dict,), "a table, as in openlineage.yml"),
}
_NEEDED: dict[str, tuple[str, ...]] = {
    "file": ("log_file_path",),
    "http": ("url",),
    "async_http": ("url",),
    "kafka": ("topic", "config"),
    "msk-iam": ("topic", "config"),
    "composite": ("transports",),
    "transform": ("transport",),
    "console": (),
    "noop": (),
    "datadog": (),
    "gcplineage": (),
    "amazon_datazone_api": (),
}
_FIX = "correct it where it is set: [tool.drawbar.lineage], openlineage.yml or an OPENLINEAGE__TRANSPORT__… variable"


@dataclass(frozen=True, slots=True)
class Destination:
    """One place that gets every event; `config` is the client's transport configuration, None for our own file.

    `label` names it in messages and in what is remembered as sent, so it holds no credentials.
    """

    label: str
    config: Mapping[str, Any] | None
    path: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `[tool.drawbar.lineage]`, `openlineage.yml` and the environment say together.

    `namespace` is the jobs' where it is not the assets' own. `redact` is None where redaction is switched off, else the
    further names it masks; `client` is passed to the client as it is.
    """

    enabled: bool
    namespace: str | None
    outbox: Path
    redact: tuple[str, ...] | None
    destinations: tuple[Destination, ...]
    client: Mapping[str, Any] = field(default_factory=dict)


def read_settings(table: Mapping[str, Any], project: Path, environment: Mapping[str, str]) -> Settings:
    """The settings of the project in the folder `project`; LineageError for what cannot be meant."""
    _check_table(table)
    enabled = table.get("enabled", True) and environment.get("OPENLINEAGE_DISABLED", "").strip().lower() != "true"
    redact = table.get("redact", True)
    destinations = _destinations(_transport(table, project, environment), project) if enabled else ()
    return Settings(
        enabled=enabled,
        namespace=environment.get("OPENLINEAGE_NAMESPACE") or None,
        outbox=_outbox(table.get("outbox"), project, environment),
        redact=None if redact is False else tuple(redact if isinstance(redact, list) else ()),
        # Two with one label are the same place, and are told once.
        destinations=tuple({each.label: each for each in destinations}.values()),
        client={name: table[name] for name in _OF_CLIENT if name in table and name != "transport"},
    )


def _check_table(table: Mapping[str, Any]) -> None:
    for name, value in table.items():
        if name not in _KINDS:
            raise LineageError(
                f"{name!r} is not a key of [tool.drawbar.lineage].",
                expected=", ".join(sorted(_KINDS)),
                found=name,
                todo=did_you_mean(name, _KINDS, otherwise="remove it"),
            )
        kinds, expected = _KINDS[name]
        if not isinstance(value, kinds):
            raise LineageError(
                f"{name!r} in [tool.drawbar.lineage] has the wrong type.",
                expected=expected,
                found=f"{value!r} ({type(value).__name__})",
            )


def _outbox(configured: str | None, project: Path, environment: Mapping[str, str]) -> Path:
    if configured:
        return project / Path(configured).expanduser()
    home = environment.get("DRAWBAR_HOME")
    return (Path(home) if home else Path.home() / ".drawbar") / "outbox"


def _transport(table: Mapping[str, Any], project: Path, environment: Mapping[str, str]) -> dict[str, Any] | None:
    """The transport that was configured, None where nothing was."""
    own = dict(table.get("transport", {}))
    if "log_file_path" in own and "://" not in str(own["log_file_path"]):
        own["log_file_path"] = str(project / Path(own["log_file_path"]).expanduser())
    merged: Any = _from_environment(environment).get("transport", {})
    for more in (_from_yaml(environment).get("transport", {}), own):
        merged = _merged(merged, more)
    if not isinstance(merged, dict):
        raise LineageError(
            "The OpenLineage transport is not a table.",
            expected="`type` and its options",
            found=repr(merged),
            todo=_FIX,
        )
    from_url = _from_url(environment)
    if merged.get("type"):
        children = merged.get("transports")
        if merged["type"] == "composite" and from_url and isinstance(children, dict):
            merged["transports"] = {"default_http": from_url, **children}
        return merged
    if merged and not from_url:
        raise LineageError(
            "The OpenLineage transport has no type.", expected=", ".join(_NEEDED), found=_keys(merged), todo=_FIX
        )
    return from_url


def _from_url(environment: Mapping[str, str]) -> dict[str, Any] | None:
    if not environment.get("OPENLINEAGE_URL"):
        return None
    transport: dict[str, Any] = {"type": "http", "url": environment["OPENLINEAGE_URL"]}
    if environment.get("OPENLINEAGE_ENDPOINT"):
        transport["endpoint"] = environment["OPENLINEAGE_ENDPOINT"]
    if environment.get("OPENLINEAGE_API_KEY"):
        transport["auth"] = {"type": "api_key", "apiKey": environment["OPENLINEAGE_API_KEY"]}
    return transport


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """`OPENLINEAGE__A__B=value` as `{"a": {"b": value}}`; a shorter name wins over what lies below it."""
    config: dict[str, Any] = {}
    for name, text in sorted(environment.items(), reverse=True):
        if not name.startswith("OPENLINEAGE__"):
            continue
        *above, last = name.removeprefix("OPENLINEAGE__").lower().split("__")
        at = config
        for key in above:
            at = at.setdefault(key, {}) if isinstance(at.get(key, {}), dict) else {}
        try:
            at[last] = json.loads(text)
        except ValueError:
            at[last] = text
    return config


def _from_yaml(environment: Mapping[str, str]) -> dict[str, Any]:
    named = environment.get("OPENLINEAGE_CONFIG")
    if named and not Path(named).is_file():
        raise LineageError(
            "The file that OPENLINEAGE_CONFIG names is not there.",
            expected="the path of an openlineage.yml",
            found=named,
            todo="correct the variable, or unset it",
        )
    usual = (Path.cwd() / "openlineage.yml", Path.home() / ".openlineage" / "openlineage.yml")
    path = Path(named) if named else next((each for each in usual if each.is_file()), None)
    if path is None:
        return {}
    yaml = importlib.import_module("yaml")  # the client brings it; only where there is such a file
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise LineageError(
            "The OpenLineage configuration cannot be read.",
            expected="a YAML file",
            found=" ".join(str(error).split()),
            where=str(path),
        ) from error
    if content is not None and not isinstance(content, dict):
        raise LineageError(
            "The OpenLineage configuration is not a table.",
            expected="`transport:` and what belongs to it",
            found=type(content).__name__,
            where=str(path),
        )
    return content or {}


def _merged(below: Any, above: Any) -> Any:
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above if above or not below else below
    merged = dict(below)
    for key, value in above.items():
        merged[key] = _merged(merged[key], value) if isinstance(merged.get(key), dict) else value
    return merged


def _destinations(transport: dict[str, Any] | None, project: Path) -> tuple[Destination, ...]:
    """A composite that is to reach all its children is one destination for each.

    The client's own composite takes an event as sent when one child took it; each child's progress is kept here, so
    that none misses what another had. A composite that stops at the first success stays one.
    """
    if transport is None:
        path = project / ".drawbar" / "lineage.ndjson"
        return (Destination(f"file {path}", None, str(path)),)
    _check_transport(transport)
    if transport["type"] == "noop":
        return ()
    if transport["type"] == "composite" and transport.get("continue_on_success", True):
        return tuple(each for child in _children(transport) for each in _destinations(child, project))
    return (Destination(_label(transport), transport),)


def _children(transport: Mapping[str, Any]) -> list[Any]:
    children = transport["transports"]
    if isinstance(children, list):
        return children
    return [{**child, "name": name} if isinstance(child, dict) else child for name, child in children.items() if child]


def _label(transport: Mapping[str, Any]) -> str:
    kind = transport["type"]
    if "url" in transport:
        namespace, path = place(str(transport["url"]))
        where = namespace + path
    else:
        where = "".join(place(str(transport["log_file_path"]))[1:]) if "log_file_path" in transport else ""
        where = where or str(transport.get("topic") or transport.get("name") or "")
    return f"{kind} {where}".strip()


def _check_transport(transport: Any) -> None:
    kind = transport.get("type") if isinstance(transport, dict) else None
    if not isinstance(kind, str):
        raise LineageError(
            "The OpenLineage transport has no type.",
            expected=", ".join(_NEEDED),
            found=_keys(transport) if isinstance(transport, dict) else repr(transport),
            todo=_FIX,
        )
    if kind not in _NEEDED and "." not in kind:  # with a dot it is a class of the user's own
        raise LineageError(
            f"{kind!r} is not a type of OpenLineage transport.",
            expected=", ".join(_NEEDED),
            found=kind,
            todo=did_you_mean(kind, _NEEDED, otherwise=_FIX),
        )
    missing = [name for name in _NEEDED.get(kind, ()) if not transport.get(name)]
    if missing:
        raise LineageError(
            f"The OpenLineage transport {kind!r} lacks {missing[0]!r}.",
            expected=", ".join(_NEEDED[kind]),
            found=_keys(transport),
            todo=_FIX,
        )
    if kind in ("http", "async_http"):
        _check_url(str(transport["url"]))
    if kind == "composite":
        if not isinstance(transport["transports"], (dict, list)):
            raise LineageError(
                "The transports of a composite OpenLineage transport are neither a list nor a table.",
                expected="a table of transports by name",
                found=repr(transport["transports"]),
                todo=_FIX,
            )
        for child in _children(transport):
            _check_transport(child)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise LineageError(
            "The URL of the OpenLineage transport is not one.",
            expected="http://host:port or https://host",
            found=url if "@" not in url else f"***@{url.rpartition('@')[2]}",
            todo=_FIX,
        )


def _keys(table: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, table))) or "nothing"
