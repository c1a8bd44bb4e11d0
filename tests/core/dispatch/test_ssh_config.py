"""ssh_config is read as OpenSSH reads it; where `ssh` is installed, `ssh -G` says what it makes of the same file."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from drawbar.dispatch.ssh_config import HostSpec, aliases, known_alias, resolve
from drawbar.errors import ConfigError, UnknownTargetError

CONFIG = """
# a comment
Include extra.conf
Host gpu gpu-?
    HostName %h.example.org
    User = "ada lovelace"
    Port 2222
    IdentityFile ~/.ssh/id_gpu
    IdentitiesOnly yes
Host *.lab !login.lab
    ProxyJump jump@login.lab:2200,inner.lab
    ServerAliveInterval 7
    ServerAliveCountMax 2
    ConnectTimeout 9
Host cmd
    ProxyCommand nc %h %p "%r" # kept %%
    ProxyJump never.example.org
    HostKeyAlias the-key
    UserKnownHostsFile ~/.ssh/one "/tmp/two words"
    GlobalKnownHostsFile /dev/null
Match host deep.example.org user root
    Port 7
Match originalhost deep exec "test %n = deep"
    User root
    HostName deep.example.org
Match final host deep.example.org
    Port 8
Host *
    User fallback
    IdentityFile ~/.ssh/id_all
    Port 22
"""
EXTRA = "Host extra\n  HostName 10.0.0.1\nHost gpu\n  Port 2021\n"


@pytest.fixture
def config(home: Path) -> str:
    """A file with most of what people write into one."""
    path = home / ".ssh" / "config"
    path.write_text(CONFIG)
    (home / ".ssh" / "extra.conf").write_text(EXTRA)
    return str(path)


@pytest.mark.parametrize("name", ["gpu", "gpu-7", "extra", "a.lab", "login.lab", "cmd", "deep", "other"])
@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed")
def test_same_as_openssh(name, config, home, tmp_path):
    """Host, user, port, key files and jumps are those that OpenSSH itself finds in the same file."""
    # ssh takes ~ from the user database, not from $HOME: give it a file whose includes and keys are absolute.
    text = CONFIG.replace("Include ", f"Include {home}/.ssh/").replace("~", str(home))
    (tmp_path / "config").write_text(text)
    said = subprocess.check_output(["ssh", "-F", tmp_path / "config", "-G", name], text=True).splitlines()
    theirs = dict(line.split(" ", 1) for line in reversed(said) if " " in line)
    keys = tuple(line.split(" ", 1)[1] for line in said if line.startswith("identityfile"))
    spec = resolve(name, ssh_config=config)
    assert (spec.host, spec.user, spec.port) == (theirs["hostname"], theirs["user"], int(theirs["port"]))
    assert spec.identity_files == keys
    assert bool(spec.proxy_jump) == ("proxyjump" in theirs)


def test_first_value_wins_and_lists_add_up(config, home):
    """Of a keyword the first line that applies counts; of IdentityFile all do."""
    spec = resolve("gpu", ssh_config=config)
    assert spec.port == 2021
    assert spec.user == "ada lovelace"
    assert spec.identity_files == (f"{home}/.ssh/id_gpu", f"{home}/.ssh/id_all")
    assert spec.identities_only


def test_the_users_config_is_found_in_home(config):
    """Without a path, ~/.ssh/config is read."""
    assert resolve("gpu").host == "gpu.example.org"


def test_jumps_are_resolved_hosts(config):
    """ProxyJump gives the whole chain, each hop with its own user and port, and does not apply to the hops."""
    hops = resolve("a.lab", ssh_config=config).proxy_jump
    assert [(hop.user, hop.address) for hop in hops] == [("jump", "login.lab:2200"), ("fallback", "inner.lab:22")]


def test_the_bastion_of_everybody_needs_no_bastion(tmp_path):
    """`Host *` with `ProxyJump bastion` does not send the bastion through itself."""
    (tmp_path / "config").write_text("Host *\n  ProxyJump bastion\n")
    assert resolve("bastion", ssh_config=str(tmp_path / "config")).proxy_jump == ()
    assert [hop.host for hop in resolve("gpu", ssh_config=str(tmp_path / "config")).proxy_jump] == ["bastion"]


def test_a_circle_of_jumps_is_an_error(tmp_path):
    """Two hosts that are each reached through the other are refused, with the chain."""
    (tmp_path / "config").write_text("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    with pytest.raises(ConfigError, match="a -> b -> a"):
        resolve("a", ssh_config=str(tmp_path / "config"))


def test_the_command_of_a_proxy_is_filled_in(config):
    """Tokens of ProxyCommand are replaced, the rest is left to the shell, and it keeps ProxyJump out."""
    spec = resolve("cmd", ssh_config=config)
    assert spec.proxy_command == 'nc cmd 22 "fallback" # kept %'
    assert spec.proxy_jump == ()


def test_files_of_host_keys(config, home):
    """Both files of known_hosts are taken over, quoted names too; the alias stands for the host in them."""
    spec = resolve("cmd", ssh_config=config)
    assert spec.known_hosts == (f"{home}/.ssh/one", "/tmp/two words", "/dev/null")
    assert spec.host_key_name == "the-key"


def test_times(config):
    """Timeouts and keepalives come from the file; without a line there, drawbar's own hold."""
    spec, usual = resolve("a.lab", ssh_config=config), resolve("gpu", ssh_config=config)
    assert (spec.connect_timeout, spec.alive_interval, spec.alive_count) == (9, 7, 2)
    assert (usual.connect_timeout, usual.alive_interval, usual.alive_count) == (15, 15, 3)


def test_options_win_over_the_file(config, home):
    """What a target's configuration says is stronger than ssh_config."""
    spec = resolve(
        "gpu", user="me", port=9, identity_file="~/key", known_hosts="~/kh", ssh_config=config, connect_timeout=2
    )
    assert (spec.user, spec.port, spec.connect_timeout) == ("me", 9, 2)
    assert spec.identity_files[0] == f"{home}/key"
    assert spec.known_hosts == (f"{home}/kh",)


def test_nothing_on_file_is_fine(home):
    """A missing ~/.ssh is no error: the host is taken as it was written, with the keys that are there."""
    (home / ".ssh").rmdir()
    spec = resolve("box.example.org")
    assert (spec.host, spec.port, spec.user) == ("box.example.org", 22, getpass.getuser())
    assert spec.identity_files == spec.default_identity_files == ()
    assert spec.known_hosts[0] == f"{home}/.ssh/known_hosts"


def test_usual_keys_are_the_default(home):
    """Without IdentityFile, the usual key files that exist are used, ed25519 first."""
    for name in ("id_rsa", "id_ed25519"):
        (home / ".ssh" / name).write_text("")
    assert resolve("x").default_identity_files == (f"{home}/.ssh/id_ed25519", f"{home}/.ssh/id_rsa")


@pytest.mark.parametrize(
    ("text", "user", "address"),
    [
        ("me@host:2222", "me", "host:2222"),
        ("host", getpass.getuser(), "host:22"),
        ("me@[::1]:2222", "me", "[::1]:2222"),
        ("[fe80::1]", getpass.getuser(), "[fe80::1]:22"),
        ("me@::1", "me", "[::1]:22"),
        ("ssh://me@host:5", "me", "host:5"),
        ("me@corp.com@host", "me@corp.com", "host:22"),
    ],
)
def test_ways_to_write_a_host(text, user, address, home):
    """User, host and port are told apart, in IPv6 too."""
    spec = resolve(text)
    assert (spec.user, spec.address) == (user, address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@host",
        "me@",
        "host:",
        "host:x",
        "host:99999",
        "-oProxyCommand=x",
        "a b",
        "$(touch x)",
        "a;b",
        "me@a`b`",
        "a\nb",
        "[::1]x",
    ],
)
def test_text_that_names_no_host(text, home):
    """What no host can be called, and what a shell could take for more than a name, is refused."""
    with pytest.raises(UnknownTargetError) as caught:
        resolve(text)
    assert str(caught.value).splitlines()[:2] == [
        f"{text!r} does not name an SSH host",
        "  expected: an alias of ~/.ssh/config, or user@host:port",
    ]


def test_names_to_offer(config):
    """Aliases are the names of Host lines, those of included files too, without patterns."""
    assert aliases(config) == ["cmd", "extra", "gpu"]
    assert known_alias("gpu", config)
    assert not known_alias("gpu-1", config)


def test_reading_names_runs_nothing(tmp_path):
    """A `Match exec` is run only for a host that is asked for, not to list names."""
    (tmp_path / "config").write_text(f'Match exec "touch {tmp_path}/ran"\n  Port 5\n')
    assert aliases(str(tmp_path / "config")) == []
    assert not (tmp_path / "ran").exists()
    assert resolve("x", ssh_config=str(tmp_path / "config")).port == 5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Port twelve", "port of ssh_config is not a number"),
        ('User "open', "a line of ssh_config cannot be read"),
        ("Include config", "ssh_config includes itself"),
    ],
)
def test_faults_name_file_and_line(line, message, home):
    """A fault in ssh_config is reported with the file and line."""
    path = home / ".ssh" / "config"
    path.write_text(f"Host *\n  {line}\n")
    with pytest.raises(ConfigError, match=message) as caught:
        resolve("x")
    assert caught.value.where == f"{path}:2"


def test_a_named_file_must_exist(home):
    """A path to an ssh_config that is not there is an error, not an empty file."""
    with pytest.raises(ConfigError, match="ssh_config does not exist"):
        resolve("x", ssh_config=str(home / "nope"))


def test_specs_can_be_keys():
    """Equal specs are equal keys: one connection per host hangs on it."""
    assert len({HostSpec(host="a", user="u"), HostSpec(host="a", user="u"), HostSpec(host="b", user="u")}) == 2


def test_reading_needs_no_paramiko():
    """Resolving a host loads no heavy library."""
    code = "import sys, drawbar.dispatch.ssh_config; print('paramiko' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=env) == "False\n"
