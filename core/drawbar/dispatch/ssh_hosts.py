"""Whether a host is who it says it is: known_hosts files read as OpenSSH reads them, strictly, and never written.

`dispatch/ssh.py` asks which keys are on file before it connects, and has the key it was shown checked against them.
Supported: several files, patterns and negation, hashed names, `[host]:port`, `@revoked`. A `@cert-authority` line is
reported, not used: drawbar checks plain host keys.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from drawbar.dispatch.ssh_config import HostSpec
from drawbar.errors import HostKeyError

__all__ = ["KnownKey", "accept_command", "check", "fingerprint", "known_keys"]

_DEFAULT_FILE = "~/.ssh/known_hosts"


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One line of known_hosts that names the host: `kind` as in the file (`ssh-rsa`), `blob` the raw public key.

    `exact` is false where the line names the host without the port that was asked for.
    """

    kind: str
    blob: bytes
    where: str
    marker: str = ""
    exact: bool = True

    def __str__(self) -> str:
        """As shown to people: type, fingerprint and place."""
        return f"{self.kind} {fingerprint(self.blob)} ({self.where})"


def fingerprint(blob: bytes) -> str:
    """Give the fingerprint of a public key, written as `ssh-keygen -l` writes it.

    >>> fingerprint(b"key")
    'SHA256:LHDhK3oGRvkiefQnx7OOczTY5Tic/xZ6HcMOc/gmtoM'
    """
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def known_keys(spec: HostSpec) -> list[KnownKey]:
    """List every key on file for this host, in the order of the files; files that are not there hold none."""
    plain = spec.host if spec.port != 22 and not spec.host_key_alias else ""  # noqa: PLR2004  ssh's own port
    return [key for file in spec.known_hosts for key in _read(Path(file), spec.host_key_name.lower(), plain.lower())]


def check(spec: HostSpec, keys: list[KnownKey], kind: str, blob: bytes) -> None:
    """Do nothing where the host's key is on file; raise `HostKeyError` where it is unknown, changed or revoked."""
    shown = f"{kind} {fingerprint(blob)}"
    for key in keys:
        if key.marker == "revoked" and key.blob == blob:
            raise HostKeyError(
                f"the key of {spec.address} is revoked",
                found=shown,
                todo="do not connect; ask whoever runs the host for its new key",
                where=key.where,
            )
    plain = [key for key in keys if not key.marker]
    same_kind = [key for key in plain if key.kind == kind]
    if any(key.blob == blob for key in [key for key in same_kind if key.exact] or same_kind):
        return
    if any(key.exact for key in same_kind):
        raise HostKeyError(
            f"the key of {spec.address} has changed: the host was set up anew, or somebody stands between you and it",
            expected=_list([key for key in same_kind if key.exact]),
            found=shown,
            todo="ask whoever runs the host; only if they confirm the fingerprint found, remove the old line yourself",
            where=same_kind[0].where,
        )
    raise HostKeyError(
        f"the key of {spec.address} is not known",
        expected=_list(keys) or f"a line for {spec.host_key_name} in {' or '.join(spec.known_hosts) or 'known_hosts'}",
        found=shown + _authority(keys),
        todo="compare the fingerprint with the host's own (there: ssh-keygen -lf /etc/ssh/ssh_host_"
        f"{_short(kind)}_key.pub); if they are the same, accept it with: {accept_command(spec)}",
    )


def accept_command(spec: HostSpec) -> str:
    """Give the `ssh` command that asks a person to accept this host's key, and files it where it will be looked for."""
    options = ["-o", "StrictHostKeyChecking=ask"]
    if spec.known_hosts and spec.known_hosts[0] != str(Path(_DEFAULT_FILE).expanduser()):
        options += ["-o", f"UserKnownHostsFile={spec.known_hosts[0]}"]
    if spec.host_key_alias:
        options += ["-o", f"HostKeyAlias={spec.host_key_alias}"]
    if spec.proxy_jump:
        options += ["-J", ",".join(f"{hop.user}@{hop.address}" for hop in spec.proxy_jump)]
    elif spec.proxy_command:
        options += ["-o", f"ProxyCommand={spec.proxy_command}"]
    return shlex.join(["ssh", *options, "-p", str(spec.port), f"{spec.user}@{spec.host}", "true"])


def _read(path: Path, name: str, plain: str) -> Iterator[KnownKey]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostKeyError("known_hosts cannot be read", found=str(error), where=str(path)) from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        marker = words.pop(0)[1:] if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#"):  # noqa: PLR2004  names, type, key
            continue
        names = words[0].split(",")
        exact = _names(name, names)
        if exact or (plain and _names(plain, names)):
            try:
                blob = base64.b64decode(words[2], validate=True)
            except binascii.Error:
                continue
            yield KnownKey(words[1], blob, f"{path}:{number}", marker, exact)


def _names(name: str, patterns: list[str]) -> bool:
    if len(patterns) == 1 and patterns[0].startswith("|1|"):
        return _is_hash_of(name, patterns[0])
    hits = [pattern for pattern in patterns if fnmatchcase(name, pattern.lstrip("!").lower().replace("[", "[[]"))]
    return bool(hits) and not any(pattern.startswith("!") for pattern in hits)


def _is_hash_of(name: str, hashed: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in hashed.split("|")[2:4])
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)


def _list(keys: list[KnownKey]) -> str:
    return ", ".join(str(key) for key in keys if not key.marker)


def _authority(keys: list[KnownKey]) -> str:
    for key in keys:
        if key.marker == "cert-authority":
            return f" ({key.where} trusts a certificate authority; drawbar checks plain host keys only)"
    return ""


def _short(kind: str) -> str:
    """Give the word for a key type in the names of sshd's own key files."""
    return next((word for word in ("ed25519", "ecdsa", "rsa") if word in kind), "*")
