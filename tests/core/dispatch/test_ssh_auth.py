"""Whom a connection trusts, and who the user is to the host: host keys, key files, the agent, certificates."""

import contextlib
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from drawbar.dispatch import ssh_hosts
from drawbar.dispatch.port import read_all
from drawbar.dispatch.ssh import open_channel, resolve
from drawbar.errors import AuthenticationError, HostKeyError
from drawbar.testing.sshd import make_key

pytestmark = pytest.mark.sshd


@pytest.fixture
def spec(sshd, home):
    """The throwaway host, resolved as a user's alias would be."""
    return resolve(sshd.alias, ssh_config=str(sshd.ssh_config))


def answer(spec, command):
    """What a command prints there."""
    with contextlib.closing(open_channel(spec, command)) as channel:
        return read_all(channel)


# --- host keys --------------------------------------------------------------------------------------------------


def test_an_unknown_host_is_refused_before_it_learns_a_key(sshd, spec, tmp_path):
    """Without a line in known_hosts nothing runs, no file is written, and sshd has seen no attempt to log in."""
    file = tmp_path / "empty"
    seen = sshd.log.read_text().count("Accepted") + sshd.log.read_text().count("Failed")
    with pytest.raises(HostKeyError, match="is not known") as caught:
        open_channel(replace(spec, known_hosts=(str(file),)), "true")
    shown = subprocess.check_output(["ssh-keygen", "-lf", f"{sshd.host_key}.pub"], text=True).split()[1]
    assert caught.value.found == f"ssh-ed25519 {shown}"
    assert not file.exists()
    assert sshd.log.read_text().count("Accepted") + sshd.log.read_text().count("Failed") == seen


def test_the_command_to_accept_a_key_works(sshd, spec, tmp_path):
    """The command in the message, once a person has said yes, makes the host reachable."""
    file = tmp_path / "accepted"
    there = replace(spec, known_hosts=(str(file),))
    command = ssh_hosts.accept_command(there).replace("=ask", "=accept-new")  # the yes of a person at a terminal
    command = command.replace("ssh ", f"ssh -i {sshd.identity_file} ", 1)
    subprocess.run(["/bin/sh", "-c", command], check=True, capture_output=True)
    assert answer(there, "echo in") == b"in\n"


def test_a_changed_key_is_refused(spec, tmp_path):
    """A host that shows another key than the one on file is not spoken to."""
    make_key(tmp_path / "other")
    text = (tmp_path / "other.pub").read_text().split()[1]
    (tmp_path / "known").write_text(f"{spec.host_key_name} ssh-ed25519 {text}\n")
    with pytest.raises(HostKeyError, match="has changed"):
        open_channel(replace(spec, known_hosts=(str(tmp_path / "known"),)), "true")


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_the_type_on_file_is_asked_for(kind, make_sshd, home, tmp_path):
    """A host with several keys is asked for the type that known_hosts has, so that it can be checked."""
    make_key(tmp_path / kind, kind)
    host = make_sshd(options=[f"HostKey {tmp_path / kind}"])
    text = " ".join((tmp_path / f"{kind}.pub").read_text().split()[:2])
    host.known_hosts.write_text(f"[{host.host}]:{host.port} {text}\n")
    assert answer(resolve(host.alias, ssh_config=str(host.ssh_config)), "echo in") == b"in\n"


def test_a_host_certificate_proves_nothing(make_sshd, home, tmp_path):
    """A host that shows a certificate is still checked by its plain key: known is let in, unknown is not."""
    make_key(tmp_path / "ca")
    host = make_sshd()
    sign = ["ssh-keygen", "-q", "-s", tmp_path / "ca", "-I", "h", "-h", f"{host.host_key}.pub"]
    subprocess.run(sign, check=True)
    host.stop()
    host._options = (f"HostCertificate {host.host_key}-cert.pub",)
    host.start()
    there = resolve(host.alias, ssh_config=str(host.ssh_config))
    assert answer(there, "echo in") == b"in\n"
    host.known_hosts.write_text(f"@cert-authority * {(tmp_path / 'ca.pub').read_text()}")
    with pytest.raises(HostKeyError, match="is not known"):
        open_channel(there, "true")


# --- who the user is --------------------------------------------------------------------------------------------


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """A real ssh-agent, found through $SSH_AUTH_SOCK."""
    path = tmp_path / "agent.sock"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    while not path.exists():
        time.sleep(0.01)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    yield path
    process.terminate()
    process.wait()


@pytest.fixture
def with_keys(sshd, home):
    """The same host, to be reached with other keys than its own; `allow` puts one into its authorized_keys."""
    authorized = sshd.folder / "authorized_keys"
    before = authorized.read_text()
    plain = replace(
        resolve(sshd.alias, ssh_config=str(sshd.ssh_config)),
        identity_files=(),
        identities_only=False,
        identity_agent="",
    )
    yield plain, lambda key: authorized.write_text(before + Path(f"{key}.pub").read_text())
    authorized.write_text(before)


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_key_file(kind, with_keys, tmp_path):
    """Keys of every usual type open the host."""
    spec, allow = with_keys
    make_key(tmp_path / "key", kind)
    allow(tmp_path / "key")
    assert answer(replace(spec, identity_files=(str(tmp_path / "key"),)), "echo in") == b"in\n"


def test_an_old_pem_key_file(with_keys, tmp_path):
    """A key in the PEM format of older OpenSSH opens the host too."""
    spec, allow = with_keys
    make_key(tmp_path / "key", "rsa")
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-m", "PEM", "-N", "", "-f", tmp_path / "key"], check=True, capture_output=True
    )
    assert "BEGIN RSA" in (tmp_path / "key").read_text()
    allow(tmp_path / "key")
    assert answer(replace(spec, identity_files=(str(tmp_path / "key"),)), "echo in") == b"in\n"


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_the_agents_keys(kind, with_keys, agent, tmp_path):
    """A key that only the agent holds opens the host, without its file."""
    spec, allow = with_keys
    make_key(tmp_path / "key", kind)
    allow(tmp_path / "key")
    subprocess.run(["ssh-add", "-q", tmp_path / "key"], check=True, capture_output=True)
    (tmp_path / "key").unlink()
    assert answer(spec, "echo in") == b"in\n"
    with pytest.raises(AuthenticationError, match="refuses"):
        open_channel(replace(spec, identities_only=True), "true")


@pytest.mark.parametrize("with_pub", [True, False])
def test_a_locked_key_that_the_agent_holds(with_pub, with_keys, agent, tmp_path):
    """With IdentitiesOnly, a key with a passphrase works through the agent; its file tells which one it is."""
    spec, allow = with_keys
    make_key(tmp_path / "key")
    allow(tmp_path / "key")
    subprocess.run(["ssh-add", "-q", tmp_path / "key"], check=True, capture_output=True)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", tmp_path / "key"], check=True, capture_output=True)
    if not with_pub:
        (tmp_path / "key.pub").unlink()
    spec = replace(spec, identity_files=(str(tmp_path / "key"),), identities_only=True)
    assert answer(spec, "echo in") == b"in\n"


def test_the_named_key_comes_first(with_keys, agent, tmp_path):
    """However many keys the agent holds, the one named for the host is tried before them."""
    spec, allow = with_keys
    for n in range(7):
        make_key(tmp_path / f"other{n}")
        subprocess.run(["ssh-add", "-q", tmp_path / f"other{n}"], check=True, capture_output=True)
    make_key(tmp_path / "key")
    allow(tmp_path / "key")
    assert answer(replace(spec, identity_files=(str(tmp_path / "key"),)), "echo in") == b"in\n"
    with pytest.raises(AuthenticationError, match="Too many authentication failures") as caught:
        open_channel(spec, "true")
    assert caught.value.todo == "name the one key of this host in ~/.ssh/config: IdentityFile, with IdentitiesOnly yes"


def test_an_agent_that_is_gone_holds_no_keys(with_keys, monkeypatch, tmp_path):
    """A stale $SSH_AUTH_SOCK is no error of its own."""
    spec, allow = with_keys
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    make_key(tmp_path / "key")
    allow(tmp_path / "key")
    assert answer(replace(spec, identity_files=(str(tmp_path / "key"),)), "echo in") == b"in\n"


def test_a_certificate(make_sshd, home, tmp_path):
    """A certificate beside the key, or named by CertificateFile, opens a host that trusts its authority."""
    make_key(tmp_path / "ca")
    host = make_sshd(options=[f"TrustedUserCAKeys {tmp_path / 'ca.pub'}"])
    make_key(tmp_path / "key")
    sign = ["ssh-keygen", "-q", "-s", tmp_path / "ca", "-I", "me", "-n", host.user, tmp_path / "key.pub"]
    subprocess.run(sign, check=True)
    spec = replace(resolve(host.alias, ssh_config=str(host.ssh_config)), identity_files=(str(tmp_path / "key"),))
    assert answer(spec, "echo in") == b"in\n"
    (tmp_path / "key-cert.pub").rename(tmp_path / "elsewhere.pub")
    with pytest.raises(AuthenticationError):
        open_channel(spec, "true")
    assert answer(replace(spec, certificate_files=(str(tmp_path / "elsewhere.pub"),)), "echo in") == b"in\n"


def test_a_locked_key_without_an_agent(with_keys, tmp_path):
    """The message names the key and the command that unlocks it; nobody is asked for anything."""
    spec, _ = with_keys
    key = tmp_path / "my key"
    make_key(key, passphrase="secret")
    with pytest.raises(AuthenticationError) as caught:
        open_channel(replace(spec, identity_files=(str(key),)), "true")
    assert str(caught.value) == (
        f"{spec.address} refuses {spec.user}\n"
        "  expected: one of: publickey\n"
        f"  found: no key to try; {key} needs a passphrase\n"
        f"  do: unlock the key for this session: ssh-add '{key}'"
    )


def test_no_key_at_all(with_keys):
    """Without any key the message says how to get one accepted."""
    spec, _ = with_keys
    with pytest.raises(AuthenticationError) as caught:
        open_channel(spec, "true")
    assert caught.value.found == "no key to try"
    assert caught.value.todo.startswith("make a key (ssh-keygen), or name it as identity_file")


def test_keys_that_cannot_be_read(with_keys, tmp_path):
    """A missing file and one that is no key are named with their fault."""
    spec, _ = with_keys
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(AuthenticationError) as caught:
        open_channel(replace(spec, identity_files=(str(tmp_path / "gone"), str(tmp_path / "junk"))), "true")
    assert f"{tmp_path}/gone: No such file or directory" in caught.value.found
    assert f"{tmp_path}/junk is not a private key that can be used" in caught.value.found


def test_a_wrong_user(sshd, spec):
    """The message names user, host and the keys that were tried."""
    with pytest.raises(AuthenticationError) as caught:
        open_channel(replace(spec, user="nobody-here"), "true")
    assert str(caught.value) == (
        f"{spec.address} refuses nobody-here\n"
        "  expected: one of: publickey\n"
        f"  found: tried {sshd.identity_file}\n"
        "  do: check the user name, and that ~/.ssh/authorized_keys there holds your public key; "
        f"`ssh -p {sshd.port} nobody-here@127.0.0.1` must work"
    )


def test_a_host_that_takes_passwords_only(make_sshd, home):
    """A host without public keys is refused with that reason: drawbar has no password to give."""
    host = make_sshd(options=["PubkeyAuthentication no", "PasswordAuthentication yes"])
    with pytest.raises(AuthenticationError) as caught:
        open_channel(resolve(host.alias, ssh_config=str(host.ssh_config)), "true")
    assert caught.value.expected == "one of: password"
    assert caught.value.todo == "let sshd on the host accept public keys; drawbar never asks for a password"


def test_a_host_that_wants_more_than_a_key(make_sshd, home):
    """A second factor is named, not waited for."""
    host = make_sshd(options=["AuthenticationMethods publickey,password", "PasswordAuthentication yes"])
    with pytest.raises(AuthenticationError, match="for more than a key") as caught:
        open_channel(resolve(host.alias, ssh_config=str(host.ssh_config)), "true")
    assert caught.value.found == "it also wants password"
