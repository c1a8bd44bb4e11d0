"""Proves to an SSH host who the user is: with the agent's keys and with key files, never with a password.

`dispatch/ssh.py` hands in a connection whose host key has been checked; it comes back authenticated, or an
`AuthenticationError` says what was tried and what to do.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import shlex
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drawbar.dispatch.ssh_config import HostSpec
from drawbar.dispatch.ssh_transport import Transport, paramiko
from drawbar.errors import AuthenticationError

__all__ = ["authenticate"]

_MAGIC = b"openssh-key-v1\0"


def authenticate(spec: HostSpec, transport: Transport) -> None:
    """Try each key in turn: those named for this host, the agent's others unless `IdentitiesOnly`, then the usual ones.

    Raises `AuthenticationError`; paramiko's own exceptions mean that the connection broke.
    """
    account = _Account()
    with contextlib.closing(_Agent(spec.identity_agent)) as agent:
        for name, key in _keys(spec, agent, account):
            account.tried.append(name)
            try:
                further = transport.auth_publickey(spec.user, key)
            except paramiko.BadAuthenticationType:
                break  # the host takes no public keys at all
            except paramiko.AuthenticationException as error:
                _check_answered(error, spec)
                continue
            except paramiko.SSHException as error:
                account.notes.append(f"{name}: {error}")
                if not transport.is_active():
                    break
                continue
            if not further:
                return
            raise AuthenticationError(
                f"{spec.address} asks {spec.user} for more than a key",
                found=f"it also wants {', '.join(further)}",
                todo="use an account that a key alone opens; drawbar never asks for passwords or codes",
            )
    methods = _methods(spec, transport)
    if methods:
        raise _refused(spec, account, methods)


def _check_answered(error: Exception, spec: HostSpec) -> None:
    """Nothing where the host refused a key; paramiko says in the same way that it did not answer, or is gone."""
    said = str(error)
    if "timeout" in said:
        raise TimeoutError(f"no answer to a key within {spec.connect_timeout:g} s") from None
    if "saw EOF" in said:
        raise EOFError("it hung up when it was shown a key") from None


@dataclass(slots=True)
class _Account:
    """What became of the keys, for the message."""

    tried: list[str] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _methods(spec: HostSpec, transport: Transport) -> list[str]:
    """Name the methods that the host takes; none where it lets the user in without any."""
    unknown = ["publickey"]
    if not transport.is_active():
        return unknown
    try:
        further: list[str] = transport.auth_none(spec.user)
    except paramiko.BadAuthenticationType as error:
        return list(error.allowed_types)
    except paramiko.SSHException:
        return unknown
    return further


def _refused(spec: HostSpec, account: _Account, methods: list[str]) -> AuthenticationError:
    tried = f"tried {', '.join(account.tried)}" if account.tried else "no key to try"
    found = "; ".join([tried, *(f"{path} needs a passphrase" for path in account.locked), *account.notes])
    login = shlex.join(["ssh", "-p", str(spec.port), f"{spec.user}@{spec.host}"])
    if account.locked:
        todo = f"unlock the key for this session: ssh-add {shlex.quote(account.locked[0])}"
    elif "publickey" not in methods:
        todo = "let sshd on the host accept public keys; drawbar never asks for a password"
    elif "Too many authentication failures" in found:
        todo = "name the one key of this host in ~/.ssh/config: IdentityFile, with IdentitiesOnly yes"
    elif account.tried:
        todo = f"check the user name, and that ~/.ssh/authorized_keys there holds your public key; `{login}` must work"
    else:
        todo = "make a key (ssh-keygen), or name it as identity_file, and put its public half into "
        todo += "~/.ssh/authorized_keys on the host"
    return AuthenticationError(
        f"{spec.address} refuses {spec.user}", expected=f"one of: {', '.join(methods)}", found=found, todo=todo
    )


def _keys(spec: HostSpec, agent: _Agent, account: _Account) -> Iterator[tuple[str, Any]]:
    held = {bytes(key.blob): key for key in agent.get_keys()}
    offered: set[bytes] = set()
    for path in spec.identity_files:
        blob = _public_blob(path)
        if blob in held:
            offered.add(blob)
            yield f"{path} (held by the agent)", held[blob]
        else:
            yield from _from_file(path, spec.certificate_files, account)
    if not spec.identities_only:
        for blob, key in held.items():
            if blob not in offered:
                yield f"{key.comment or key.name} (held by the agent)", key
    for path in spec.default_identity_files:
        if _public_blob(path) not in held:
            yield from _from_file(path, spec.certificate_files, account)


def _from_file(path: str, certificates: tuple[str, ...], account: _Account) -> Iterator[tuple[str, Any]]:
    """Give the key with each of its certificates, then the key by itself."""
    try:
        key = paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):  # cryptography says TypeError for a passphrase that is due
        account.locked.append(path)
        return
    except OSError as error:
        account.notes.append(f"{path}: {error.strerror}")
        return
    except Exception as error:  # whatever cryptography raises for bytes that are no key
        account.notes.append(f"{path} is not a private key that can be used ({type(error).__name__})")
        return
    beside = [f"{path}-cert.pub"] if key.public_blob is not None else []
    for certificate in [*beside, *certificates]:
        if _belongs(certificate, key.asbytes()):
            key.load_certificate(certificate)
            yield certificate, key
    key.public_blob = None
    yield path, key


def _public_blob(path: str) -> bytes:
    """Give the public half of a key file, which is readable also where the key has a passphrase; else b""."""
    for candidate in (f"{path}.pub", path):
        with contextlib.suppress(OSError, ValueError, IndexError, binascii.Error):
            text = Path(candidate).read_text()
            if not text.startswith("-----BEGIN"):
                return base64.b64decode(text.split()[1], validate=True)
            raw = base64.b64decode("".join(text.split("-----")[2].split()))
            if raw.startswith(_MAGIC):
                at = len(_MAGIC)
                for _ in range(3):  # cipher, kdf, its options; then the number of keys
                    at += 4 + int.from_bytes(raw[at : at + 4], "big")
                return _string(raw, at + 4)
    return b""


def _belongs(certificate: str, key: bytes) -> bool:
    """Whether a certificate is one for this key: after type and nonce it repeats what the key says after its type."""
    blob = _public_blob(certificate.removesuffix(".pub"))
    head = len(_string(blob, 0)) + 4
    nonce = len(_string(blob, head)) + 4
    return len(blob) > head + nonce and blob[head + nonce :].startswith(key[len(_string(key, 0)) + 4 :])


def _string(blob: bytes, at: int) -> bytes:
    return blob[at + 4 : at + 4 + int.from_bytes(blob[at : at + 4], "big")]


class _Agent(paramiko.agent.AgentSSH):
    """The user's SSH agent at the socket that ssh_config names; one that does not answer holds no keys."""

    def __init__(self, path: str) -> None:
        super().__init__()
        path = path or os.environ.get("SSH_AUTH_SOCK", "none")
        if path == "none":
            return
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            stream.connect(path)
            self._connect(stream)  # type: ignore[attr-defined]  # paramiko's Agent knows $SSH_AUTH_SOCK only
        except (OSError, paramiko.SSHException):
            stream.close()

    def close(self) -> None:
        self._close()  # type: ignore[attr-defined]  # as above
