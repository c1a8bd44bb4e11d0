"""Run parameters: what was given, what is asked for, and whether the two fit, before anything runs.

Values (or text from a command line) come here from the caller, go through the annotations of the functions that take
them, and leave as one dict for `plan` and `run`.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from drawbar import fits
from drawbar.asset import MISSING, Asset, Param
from drawbar.errors import ParameterError, did_you_mean
from drawbar.graph import Graph
from drawbar.redact import is_secret

_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def check(graph: Graph, names: Iterable[str], given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The run parameters that these assets take, from `given` and then `defaults` (of the configuration).

    A parameter with a default in its function is left out where nothing else says its value. ParameterError for one
    that nobody takes, one that is missing, and one of the wrong type.
    """
    taken = graph.run_params(names)
    everywhere = taken if all(name in taken for name in given) else graph.run_params()
    for name in given:
        if name not in everywhere:
            also = f" ({name!r} is an asset)" if name in graph.assets else ""
            raise ParameterError(
                f"No asset takes a parameter {name!r}{also}.",
                expected="one of " + ", ".join(sorted(everywhere)) if everywhere else "no parameters at all",
                found=name,
                todo=did_you_mean(name, everywhere, otherwise="remove it"),
            )
    values: dict[str, Any] = {}
    for name, takers in taken.items():
        value = given.get(name, defaults.get(name, MISSING))
        for asset, param in takers:
            if value is MISSING and param.default is MISSING:
                raise _missing(asset, param)
        if value is not MISSING:
            for asset, param in takers:
                _check_type(asset, param, value)
            values[name] = value
    return values


def from_text(graph: Graph, texts: Mapping[str, str]) -> dict[str, Any]:
    """Parameters written on a command line, read as their annotations say; unknown names stay text for `check`."""
    taken = graph.run_params()
    return {
        name: _read(text, taken[name][0][0], taken[name][0][1]) if name in taken else text
        for name, text in texts.items()
    }


def _missing(asset: Asset, param: Param) -> ParameterError:
    kind = fits.shown(param.annotation) if param.annotation is not MISSING else "any type"
    return ParameterError(
        f"Parameter {param.name!r} of {asset.name} has no value.",
        expected=f"{param.name}: {kind}",
        found="no such parameter given, no default, and no asset of that name",
        todo=f"give it: --param {param.name}=…, params={{{param.name!r}: …}}, or under [tool.drawbar.params]",
        where=asset.where,
    )


def _check_type(asset: Asset, param: Param, value: Any) -> None:
    if param.annotation is MISSING:
        return
    wanted = fits.resolve(param.annotation, asset.fn)
    if not fits.fits(type(value) if value is not None else None, wanted):
        raise ParameterError(
            f"Parameter {param.name!r} of {asset.name} has the wrong type.",
            expected=fits.shown(wanted),
            found=type(value).__name__ if is_secret(param.name) else f"{value!r} ({type(value).__name__})",
            where=asset.where,
        )


def _read(text: str, asset: Asset, param: Param) -> Any:
    wanted = Any if param.annotation is MISSING else fits.resolve(param.annotation, asset.fn)
    choices = typing.get_args(wanted) if typing.get_origin(wanted) in fits.UNIONS else (wanted,)
    for choice in choices:
        value = _as(text, choice)
        if value is not MISSING:
            return value
    raise ParameterError(
        f"Parameter {param.name!r} of {asset.name} cannot be read.",
        expected=fits.shown(wanted),
        found="a text of another kind" if is_secret(param.name) else repr(text),
        where=asset.where,
    )


def _as(text: str, kind: Any) -> Any:  # noqa: PLR0911  # one line a kind
    """The text as a value of that kind, or MISSING."""
    origin = typing.get_origin(kind) or kind
    try:
        if kind in (type(None), None):
            return None if text in ("None", "null", "") else MISSING
        if origin is bool:
            return True if text.lower() in _TRUE else False if text.lower() in _FALSE else MISSING
        if origin in (int, float, Path):
            return origin(text)
        if origin is typing.Literal:
            return next((one for one in typing.get_args(kind) if str(one) == text), MISSING)
        if origin in (str, Any, MISSING):
            return text
        if origin in (tuple, set, frozenset):
            return origin(json.loads(text))
        return json.loads(text)
    except ValueError:
        return MISSING
