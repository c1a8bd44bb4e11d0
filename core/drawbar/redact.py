"""Takes secrets out of everything that is shown or kept: addresses, parameters, messages and tracebacks.

Text comes here from user code and from the environment, and goes on into records, journals, screens and lineage with
`***` where a secret stood. What counts as secret is decided by names (`password`, `api_key`), by well-known shapes (a
JWT), and by value: what a secret-looking variable or parameter holds is masked wherever it turns up again.
"""

from __future__ import annotations

import functools
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

MASK = "***"
LONGEST_VALUE = 1000
LONGEST_TEXT = 20_000
# Longer than a secret usually is; of private keys, which may be longer, the end is recognised by itself.
_MARGIN = 5_000
# Shorter values are words ("dev", "true") that would tear holes into honest text.
_SHORTEST_SECRET = 6

_ENDINGS = ("password", "passwd", "passphrase", "secret", "token", "apikey", "credential", "credentials")
_WORDS = frozenset(
    [
        "accesskey",
        "auth",
        "authorization",
        "bearer",
        "cookie",
        "passwords",
        "privatekey",
        "pwd",
        "secretkey",
        "secrets",
        "sig",
        "signature",
    ]
)
_KEYS_OF = frozenset(
    [
        "access",
        "account",
        "api",
        "auth",
        "encryption",
        "license",
        "master",
        "private",
        "secret",
        "service",
        "shared",
        "signing",
        "ssh",
        "storage",
    ]
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_WORD = re.compile(r"[^a-z]+")

_USERINFO = re.compile(r"(?<=://)(?!git@)[^\s/'\"<>]*@")
_HINT = re.compile(r"pass|pwd|secret|token|key|auth|sig|cred|cookie|bearer", re.IGNORECASE)
_PAIR = re.compile(
    r"(?P<name>[A-Za-z_][\w.-]*)(?P<sep>['\"]?\s*(?:=|:(?!//))\s*)"
    r"(?P<value>[rbf]?\"(?:[^\"\\\n]|\\.)*\"|[rbf]?'(?:[^'\\\n]|\\.)*'|[^\s,;&)}\]\"']+)"
)
_SCHEMED = re.compile(r"\b(bearer\s+|authorization\W{1,4}\w+\s+)[\w.~+/=-]{6,}", re.IGNORECASE)
_SHAPES = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|hf_|sk-|xox[abeprs]-)[\w-]{16,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)

_short = reprlib.Repr()
_short.maxlevel = 4
_short.maxdict = _short.maxlist = _short.maxtuple = _short.maxset = 50
_short.maxstring = _short.maxother = _short.maxlong = LONGEST_VALUE


def is_secret(name: str) -> bool:
    """Whether something of this name is not to be shown.

    >>> [is_secret(name) for name in ("db_password", "hfToken", "max_tokens", "api_key", "sort_key")]
    [True, True, False, True, False]
    """
    return _usually_secret(name)


@dataclass(frozen=True, slots=True)
class Redactor:
    """What is taken out: by the names in `more` besides the usual ones, and the texts in `values` wherever they stand.

    >>> Redactor().text("GET https://me:hunter2@host/a?sig=abc failed with password='hunter2'")
    "GET https://***@host/a?sig=*** failed with password='***'"
    """

    more: frozenset[str] = frozenset()
    values: tuple[str, ...] = ()
    on: bool = True

    def knowing(self, named: Mapping[str, Any]) -> Redactor:
        """The same, and masks the values of what looks secret in `named` wherever they stand."""
        found = {value for name, value in named.items() if isinstance(value, str) and self.is_secret(name)}
        if not found:
            return self
        found.update(quote(value, safe="") for value in tuple(found))
        fresh = {value for value in found if len(value) >= _SHORTEST_SECRET} - set(self.values)
        if not fresh:
            return self
        return replace(self, values=tuple(sorted((*self.values, *fresh), key=len, reverse=True)))

    def is_secret(self, name: str) -> bool:
        """Whether something of this name is not to be shown.

        >>> [Redactor().is_secret(name) for name in ("db_password", "hfToken", "max_tokens", "api_key", "sort_key")]
        [True, True, False, True, False]
        """
        return self.on and (_usually_secret(name) or name.lower() in self.more)

    def text(self, text: str, longest: int = LONGEST_TEXT) -> str:
        """Free text without its secrets; longer than `longest` characters, its middle is left out.

        Of a text without end, what is looked at is as little: a message of a hundred megabytes costs no minute.
        """
        size, half = len(text), longest // 2
        if size > 2 * (longest + _MARGIN):
            # A secret that is cut in two is not recognised, so what stands at a cut is left out too.
            head = self._clean(text[: longest + _MARGIN])[:-_MARGIN][:half]
            tail = self._clean(text[-longest - _MARGIN :])[_MARGIN:][-half:]
            clean = f"{head}\n… {size - len(head) - len(tail)} characters left out …\n{tail}"
        else:
            clean = self._clean(text)
            if len(clean) > longest:
                clean = f"{clean[:half]}\n… {len(clean) - 2 * half} characters left out …\n{clean[-half:]}"
        return clean if clean.isascii() else clean.encode("utf-8", "replace").decode("utf-8")

    def _clean(self, text: str) -> str:
        return self._without_secrets(text) if self.on else text

    def value(self, name: str, value: Any) -> str:
        """A parameter as text: itself if it is text, else shortened as Python writes it."""
        if self.is_secret(name):
            return MASK
        shown = value if isinstance(value, str) else _short.repr(self._within(value))
        return self.text(shown, LONGEST_VALUE)

    def plain(self, value: Any) -> Any:
        """Plain data with the secrets taken out of its texts, and of what has a secret's name.

        >>> Redactor().plain({"token": "abc", "found": ["https://me:pw@host/"]})
        {'token': '***', 'found': ['https://***@host/']}
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: MASK if self.is_secret(str(key)) else self.plain(one) for key, one in value.items()}
        return [self.plain(one) for one in value] if isinstance(value, (list, tuple)) else value

    def _within(self, value: Any, depth: int = 4) -> Any:
        if not depth or not isinstance(value, (dict, list, tuple)):
            return value
        if isinstance(value, dict):
            return {k: MASK if self.is_secret(str(k)) else self._within(v, depth - 1) for k, v in value.items()}
        return [self._within(item, depth - 1) for item in value[: _short.maxlist + 1]]

    def _without_secrets(self, text: str) -> str:
        for value in self.values:
            if value in text:
                text = text.replace(value, MASK)
        if "://" in text:
            text = _USERINFO.sub(f"{MASK}@", text)
        if self.more or _HINT.search(text):
            text = _SCHEMED.sub(lambda found: f"{found[1]}{MASK}", text)
            text = _PAIR.sub(self._pair, text)
        return _SHAPES.sub(MASK, text)

    def _pair(self, found: re.Match[str]) -> str:
        if not self.is_secret(found["name"]):
            return found[0]
        quoted = found["value"][-1] if found["value"][-1] in "'\"" else ""
        return f"{found['name']}{found['sep']}{quoted}{MASK}{quoted}"


@functools.lru_cache(maxsize=4096)
def _usually_secret(name: str) -> bool:
    words = [word for word in _NOT_WORD.split(_CAMEL.sub("_", name).lower()) if word]
    return any(
        word.endswith(_ENDINGS) or word in _WORDS or (word == "key" and at > 0 and words[at - 1] in _KEYS_OF)
        for at, word in enumerate(words)
    )


def redactor(more: Iterable[str] = (), environment: Mapping[str, str] | None = None) -> Redactor:
    """A Redactor that knows the secrets of `environment`, and masks the names in `more` besides the usual ones.

    The path of something that exists is no secret, whatever its variable is called: PWD is one of them.
    """
    known = {name: value for name, value in (environment or {}).items() if not _is_path(value)}
    return Redactor(frozenset(name.lower() for name in more)).knowing(known)


def _is_path(value: str) -> bool:
    try:
        return value.startswith("/") and Path(value).exists()
    except OSError:  # too long for a name, which a secret may well be
        return False
