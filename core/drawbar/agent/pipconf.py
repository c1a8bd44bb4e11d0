"""A host's pip configuration as uv reads it, so that an index set up for pip counts where uv builds.

pip's own files and variables come in; variables for uv go to `envs`. Where uv is configured itself, that alone counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Optional

_SAID_TO_UV = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
_SECTIONS = ("global", "install")
_ONE = {"index-url": "UV_INDEX_URL", "cert": "SSL_CERT_FILE", "proxy": "ALL_PROXY"}
_MANY = {"extra-index-url": "UV_EXTRA_INDEX_URL", "trusted-host": "UV_INSECURE_HOST"}


def for_uv(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Variables and options that tell uv what pip is configured for: indexes, links, certificate, proxy.

    Nothing where uv has a configuration of its own.
    """
    if any(environ.get(name) for name in _SAID_TO_UV) or any(map(os.path.exists, _files_of_uv(environ))):
        return {}, []
    said = _settings(environ)
    told = {variable: said[name] for name, variable in _ONE.items() if said.get(name)}
    told.update({variable: " ".join(said[name].split()) for name, variable in _MANY.items() if said.get(name)})
    if said.get("find-links"):
        told["UV_FIND_LINKS"] = ",".join(said["find-links"].split())
    if "UV_EXTRA_INDEX_URL" in told:
        # pip takes the best of all indexes; uv by default what the first of them has.
        told["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    none = said.get("no-index", "").lower() in ("1", "true", "yes", "on")
    return told, ["--no-index"] if none else []


def _settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What pip would go by: later files count more, the section of the command more, variables most."""
    import configparser

    said: dict[str, str] = {}
    for path in _files_of_pip(environ):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue  # pip itself would complain of it; uv has no need of it
        for section in _SECTIONS:
            if parser.has_section(section):
                said.update(parser.items(section))
    for name in (*_ONE, *_MANY, "find-links", "no-index"):
        value = environ.get(f"PIP_{name.upper().replace('-', '_')}")
        if value is not None:
            said[name] = value
    return said


def _files_of_pip(environ: Mapping[str, str]) -> list[str]:
    named: Optional[str] = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = environ.get("HOME") or os.path.expanduser("~")
    shared = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    own = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    site = [*(os.path.join(folder, "pip", "pip.conf") for folder in reversed(shared)), "/etc/pip.conf"]
    user = [os.path.join(home, ".pip", "pip.conf"), os.path.join(own, "pip", "pip.conf")]
    return [*site, *user, *([named] if named else [])]


def _files_of_uv(environ: Mapping[str, str]) -> list[str]:
    home = environ.get("HOME") or os.path.expanduser("~")
    own = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    shared = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    named = [environ["UV_CONFIG_FILE"]] if environ.get("UV_CONFIG_FILE") else []
    return [*named, *(os.path.join(folder, "uv", "uv.toml") for folder in (own, *shared, "/etc"))]
