"""What it takes to reach an SSH host, read from `~/.ssh/config` as OpenSSH reads it: what works there works here.

Text comes from a target (`gpu-box`, `user@host:port`) and goes out as a `HostSpec`, the one thing `dispatch/ssh.py`
connects by. Nothing is opened but configuration files, and paramiko is not needed.
"""

from __future__ import annotations

import glob
import os
import pwd
import re
import shlex
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from drawbar.errors import ConfigError, UnknownTargetError

__all__ = ["HostSpec", "aliases", "known_alias", "resolve"]

_SYSTEM_CONFIG = "/etc/ssh/ssh_config"
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_LISTS = {"identityfile", "certificatefile"}  # every line counts; of all other keywords the first line wins
_CONNECT_TIMEOUT, _ALIVE_INTERVAL, _ALIVE_COUNT = 15.0, 15.0, 3
_DEPTH = 16  # of Include and ProxyJump, as in OpenSSH
# What OpenSSH itself refuses in a name given to it, because it ends up in the shell of a ProxyCommand.
_UNSAFE = re.compile(r"""^-|[\s'"`$\\;&<>|(){},\x00-\x1f\x7f]""")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec:
    """A host with everything needed to reach it, fully resolved: equal specs share one connection.

    `host_key_name` is the name its key is filed under in known_hosts. `identity_files` are tried first, in order, then
    the agent's keys unless `identities_only`, then `default_identity_files`. Times are in seconds.
    """

    host: str
    port: int = 22
    user: str
    identity_files: tuple[str, ...] = ()
    default_identity_files: tuple[str, ...] = ()
    certificate_files: tuple[str, ...] = ()
    identities_only: bool = False
    identity_agent: str = ""
    known_hosts: tuple[str, ...] = ()
    host_key_alias: str = ""
    proxy_jump: tuple[HostSpec, ...] = ()
    proxy_command: str = ""
    connect_timeout: float = _CONNECT_TIMEOUT
    alive_interval: float = _ALIVE_INTERVAL
    alive_count: int = _ALIVE_COUNT

    @property
    def address(self) -> str:
        """`host:port`, as people write it.

        >>> HostSpec(host="::1", port=2222, user="me").address
        '[::1]:2222'
        """
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_key_name(self) -> str:
        """The name of this host in known_hosts: its alias, else the host, with the port where that is not 22.

        >>> HostSpec(host="gpu", port=2222, user="me").host_key_name
        '[gpu]:2222'
        """
        if self.host_key_alias:
            return self.host_key_alias
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"  # noqa: PLR2004  ssh's own port


def resolve(
    text: str,
    *,
    user: str | None = None,
    port: int | None = None,
    identity_file: str | None = None,
    known_hosts: str | None = None,
    ssh_config: str | None = None,
    connect_timeout: float | None = None,
) -> HostSpec:
    """Say what an alias of `~/.ssh/config`, `user@host:port` or `[v6]:port` stands for; options win over the file.

    `ssh_config` is read instead of the user's and the system's files, as with `ssh -F`; `known_hosts` instead of all
    files of host keys. Raises `UnknownTargetError` for text that cannot name a host, `ConfigError` for a file that
    cannot be read.

    >>> resolve("me@gpu.example.org:2222", ssh_config="/dev/null").address
    'gpu.example.org:2222'
    """
    given_user, name, given_port = _split(text)
    return _resolve(
        name,
        user=user or given_user,
        port=port or given_port,
        identity_file=identity_file,
        known_hosts=known_hosts,
        ssh_config=ssh_config,
        connect_timeout=connect_timeout,
        seen=(),
    )


def aliases(ssh_config: str | None = None) -> list[str]:
    """List the names that `Host` lines give, without patterns: what to offer a person who mistyped one."""
    reader = _Reader("", "", execute=False)
    _read_all(reader, ssh_config)
    return sorted(reader.names)


def known_alias(text: str, ssh_config: str | None = None) -> bool:
    """Whether a `Host` line names exactly `text`."""
    return text in aliases(ssh_config)


def _resolve(
    name: str,
    *,
    user: str | None,
    port: int | None,
    identity_file: str | None = None,
    known_hosts: str | None = None,
    ssh_config: str | None,
    connect_timeout: float | None,
    seen: tuple[str, ...],
    follow: bool = True,
) -> HostSpec:
    """Resolve one host; `follow` its own ProxyJump or ProxyCommand, which later hops of a chain do without."""
    if follow and (name in seen or len(seen) > _DEPTH):
        chain = " -> ".join((*seen, name))
        raise ConfigError(
            "ProxyJump goes in a circle", found=chain, todo="give the first hop `ProxyJump none` in ssh_config"
        )
    me = pwd.getpwuid(os.getuid()).pw_name
    reader = _Reader(name, user or me)
    _read_all(reader, ssh_config)
    get = reader.options
    host = _expand(get.one("hostname", "%h"), {"%h": name}).lower()
    user = user or get.one("user", me)
    port = port or int(get.number("port", 22))
    tokens = _tokens(name, host, user, port, get.one("hostkeyalias", ""))
    files = [known_hosts] if known_hosts else _known_hosts_files(get)
    command, jump = (get.one("proxycommand", ""), get.one("proxyjump", "")) if follow else ("", "")
    hops = [] if jump.lower() in ("", "none") else [_expand(hop, tokens) for hop in jump.split(",")]
    timeout = connect_timeout or get.number("connecttimeout", _CONNECT_TIMEOUT)
    listed = [identity_file] if identity_file else []
    return HostSpec(
        host=host,
        port=port,
        user=user,
        identity_files=tuple(_paths([*listed, *get.lists["identityfile"]], tokens)),
        default_identity_files=tuple(_default_keys()) if not get.lists["identityfile"] else (),
        certificate_files=tuple(_paths(get.lists["certificatefile"], tokens)),
        identities_only=get.one("identitiesonly", "no").lower() in ("yes", "true"),
        identity_agent=_agent(get.one("identityagent", ""), tokens),
        known_hosts=tuple(_paths(files, tokens)),
        host_key_alias=get.one("hostkeyalias", ""),
        proxy_jump=_hops(hops, ssh_config, timeout, (*seen, name)),
        proxy_command="" if command.lower() == "none" else _expand(command, tokens),
        connect_timeout=timeout,
        alive_interval=get.number("serveraliveinterval", 0) or _ALIVE_INTERVAL,
        alive_count=int(get.number("serveralivecountmax", _ALIVE_COUNT)),
    )


def _hops(hops: list[str], ssh_config: str | None, timeout: float, seen: tuple[str, ...]) -> tuple[HostSpec, ...]:
    """List the chain to go through, flat: only the first hop brings jumps of its own, as with `ssh -J a,b`."""
    specs: list[HostSpec] = []
    for hop in hops:
        user, name, port = _split(hop.strip())
        if name == seen[-1] and len(hops) == 1:
            return ()  # `Host *` with `ProxyJump bastion` is meant for all but the bastion
        first = not specs
        spec = _resolve(
            name, user=user, port=port, ssh_config=ssh_config, connect_timeout=timeout, seen=seen, follow=first
        )
        specs += [*spec.proxy_jump, spec]
    return tuple(specs)


def _split(text: str) -> tuple[str | None, str, int | None]:
    """User, host and port of `[ssh://][user@]host[:port]`; an IPv6 address with a port goes in brackets."""
    rest = text.removeprefix("ssh://").removesuffix("/")
    user, at, place = rest.rpartition("@")
    match = re.fullmatch(r"\[(?P<v6>[^\]]+)\](?::(?P<port6>\d+))?|(?P<host>[^:\[\]]+)(?::(?P<port>\d+))?", place)
    bare_v6 = place if place.count(":") > 1 and "[" not in place else ""
    host = (match["v6"] or match["host"]) if match else bare_v6
    port = int((match["port6"] or match["port"] or 0) if match else 0)
    if not host or _UNSAFE.search(host) or (at and (not user or _UNSAFE.search(user))) or port >= 1 << 16:
        raise UnknownTargetError(
            f"{text!r} does not name an SSH host",
            expected="an alias of ~/.ssh/config, or user@host:port",
            todo="write an IPv6 address with a port as [address]:port" if text.count(":") > 1 else "",
        )
    return user or None, host, port or None


@dataclass(slots=True)
class _Options:
    first: dict[str, tuple[str, str]] = field(default_factory=dict)  # keyword -> (value, file:line)
    lists: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in _LISTS})

    def one(self, keyword: str, default: str) -> str:
        return self.first.get(keyword, (default, ""))[0]

    def number(self, keyword: str, default: float) -> float:
        text, where = self.first.get(keyword, (str(default), ""))
        if not re.fullmatch(r"\d+(\.\d+)?", text):
            raise ConfigError(f"{keyword} of ssh_config is not a number", expected="a number", found=text, where=where)
        return float(text)

    def add(self, keyword: str, value: str, where: str) -> None:
        rival = {"proxycommand": "proxyjump", "proxyjump": "proxycommand"}.get(keyword)
        if keyword in _LISTS:
            if value not in self.lists[keyword]:
                self.lists[keyword].append(value)
        elif rival not in self.first:
            self.first.setdefault(keyword, (value, where))


class _Reader:
    """Reads the blocks that apply to one host; `names` are those of every `Host` line met on the way."""

    def __init__(self, host: str, user: str, *, execute: bool = True) -> None:
        self.host = host
        self.user = user
        self.options = _Options()
        self.names: set[str] = set()
        self.final = False
        self.wants_final = False
        self._execute = execute

    def read(self, path: Path, base: Path, depth: int = 0) -> None:
        """One file, and what it includes; relative names of included files start at `base`."""
        active = True
        for where, keyword, rest in _lines(path):
            if keyword == "host":
                words = _words(rest, where)
                self.names.update(word for word in words if not re.search(r"[*?!]", word))
                active = _matches(self.host, words)
            elif keyword == "match":
                active = self._fits(_words(rest, where))
            elif not active:
                continue
            elif keyword == "include":
                if depth >= _DEPTH:
                    raise ConfigError("ssh_config includes itself", where=where, todo="remove the Include")
                for pattern in _words(rest, where):
                    for found in sorted(glob.glob(str(base / Path(pattern).expanduser()))):  # noqa: PTH207  absolute too
                        self.read(Path(found), base, depth + 1)
            else:
                self.options.add(keyword, rest if keyword in _RAW else " ".join(_words(rest, where)[:1]), where)

    def _fits(self, words: list[str]) -> bool:
        rest = iter(words)
        verdicts = [self._criterion(word, rest) for word in rest]  # each takes its argument, also after a no
        return all(verdicts)

    def _criterion(self, word: str, rest: Iterator[str]) -> bool:
        no, kind = word.startswith("!"), word.lstrip("!").lower()
        if kind in ("all", "final", "canonical"):
            self.wants_final |= kind == "final"
            return {"all": True, "final": self.final, "canonical": False}[kind] != no
        wanted = next(rest, "")
        names = {
            "host": _expand(self.options.one("hostname", "%h"), {"%h": self.host}),
            "originalhost": self.host,
            "user": self.options.one("user", self.user),
            "localuser": pwd.getpwuid(os.getuid()).pw_name,
        }
        if kind in names:
            if kind.endswith("host"):  # here case does not count; in a `Host` line it does
                return _matches(names[kind].lower(), wanted.lower().split(",")) != no
            return _matches(names[kind], wanted.split(",")) != no
        return kind == "exec" and self._execute and _succeeds(self._filled(wanted)) != no

    def _filled(self, command: str) -> str:
        host = _expand(self.options.one("hostname", "%h"), {"%h": self.host})
        return _expand(command, _tokens(self.host, host, self.user, int(self.options.number("port", 22)), ""))


_RAW = {"proxycommand", "userknownhostsfile", "globalknownhostsfile"}  # the rest of the line, quotes and all


def _read_all(reader: _Reader, ssh_config: str | None) -> None:
    user_files = Path("~/.ssh").expanduser()
    files = [(Path(ssh_config).expanduser(), user_files)] if ssh_config else [(user_files / "config", user_files)]
    if ssh_config and not files[0][0].exists():
        raise ConfigError("ssh_config does not exist", found=ssh_config, todo="correct its path, or leave it out")
    if not ssh_config:
        files.append((Path(_SYSTEM_CONFIG), Path("/etc/ssh")))
    for final in (False, True):
        reader.final = final
        if not final or reader.wants_final:
            for path, base in files:
                reader.read(path, base)


def _lines(path: Path) -> Iterator[tuple[str, str, str]]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError("ssh_config cannot be read", found=str(error), where=str(path)) from error
    for number, line in enumerate(lines, 1):
        match = re.match(r"\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*$", line)
        if match:
            yield f"{path}:{number}", match[1].lower(), match[2]


def _words(text: str, where: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError("a line of ssh_config cannot be read", found=f"{error}: {text}", where=where) from error


def _matches(name: str, patterns: list[str]) -> bool:
    hits = [pattern for pattern in patterns if fnmatchcase(name, pattern.lstrip("!").replace("[", "[[]"))]
    return bool(hits) and not any(pattern.startswith("!") for pattern in hits)


def _succeeds(command: str) -> bool:
    return (
        subprocess.run(
            ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=False
        ).returncode
        == 0
    )


def _tokens(name: str, host: str, user: str, port: int, key_alias: str) -> dict[str, str]:
    local = socket.gethostname()
    return {
        "%d": str(Path.home()),
        "%h": host,
        "%i": str(os.getuid()),
        "%k": key_alias or host,
        "%L": local.split(".", maxsplit=1)[0],
        "%l": local,
        "%n": name,
        "%p": str(port),
        "%r": user,
        "%u": pwd.getpwuid(os.getuid()).pw_name,
    }


def _expand(text: str, tokens: Mapping[str, str]) -> str:
    """`text` with %-tokens, and `${VARIABLES}` of the environment, filled in."""
    known = {**tokens, "%%": "%"}
    return re.sub(r"%.", lambda match: known.get(match[0], match[0]), text)


def _paths(texts: list[str], tokens: Mapping[str, str]) -> Iterator[str]:
    for text in texts:
        if text.lower() != "none":
            filled = re.sub(r"\$\{(\w+)\}", lambda match: os.environ.get(match[1], ""), _expand(text, tokens))
            yield str(Path(filled).expanduser())


def _known_hosts_files(options: _Options) -> list[str]:
    user = options.one("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
    system = options.one("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2")
    where = [options.first.get(name, ("", ""))[1] for name in ("userknownhostsfile", "globalknownhostsfile")]
    return [*_words(user, where[0]), *_words(system, where[1])]


def _default_keys() -> Iterator[str]:
    for name in _DEFAULT_KEYS:
        path = Path("~/.ssh").expanduser() / name
        if path.exists():
            yield str(path)


def _agent(text: str, tokens: Mapping[str, str]) -> str:
    """Name the agent's socket: a path, `none`, or empty for $SSH_AUTH_SOCK."""
    if text in ("", "SSH_AUTH_SOCK"):
        return ""
    if text.lower() == "none":
        return "none"
    if text.startswith("$") and not text.startswith("${"):
        return os.environ.get(text[1:], "none")
    return next(_paths([text], tokens))
