"""known_hosts is read strictly: a key is on file, or the connection ends with what a person has to do."""

from __future__ import annotations

import base64
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from drawbar.dispatch.ssh_config import HostSpec
from drawbar.dispatch.ssh_hosts import accept_command, check, fingerprint, known_keys
from drawbar.errors import HostKeyError

KEY, OTHER = b"\0\0\0\x0bssh-ed25519 one", b"\0\0\0\x0bssh-ed25519 two"
KIND = "ssh-ed25519"


def line(names, blob=KEY, kind=KIND):
    """A line of known_hosts."""
    return f"{names} {kind} {base64.b64encode(blob).decode()} comment\n"


@pytest.fixture
def file(tmp_path):
    """A file of host keys, not there yet."""
    return tmp_path / "known_hosts"


@pytest.fixture
def spec(file):
    """A host that is looked up in `file`."""
    return HostSpec(host="gpu.example.org", user="ada", known_hosts=(str(file),))


def passes(spec, blob=KEY):
    """Whether the host is taken for itself when it shows this key."""
    check(spec, known_keys(spec), KIND, blob)
    return True


@pytest.mark.parametrize(
    "names",
    ["gpu.example.org", "other,gpu.example.org,10.0.0.1", "*.example.org", "gpu.example.???", "GPU.example.org"],
)
def test_a_key_on_file_is_accepted(names, file, spec):
    """Lists and patterns of names are understood."""
    file.write_text("# comment\n\n" + line("unrelated", OTHER) + line(names))
    assert passes(spec)


def test_hashed_names(file, spec):
    """Names hashed by ssh-keygen are found."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file.parent / "key"], check=True)
    kind, text = (file.parent / "key.pub").read_text().split()[:2]
    file.write_text(f"gpu.example.org {kind} {text}\n[gpu.example.org]:2222 {kind} {text}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert "gpu" not in file.read_text()
    assert passes(spec, base64.b64decode(text))
    assert passes(replace(spec, port=2222), base64.b64decode(text))


def test_a_negated_name_is_not_meant(file, spec):
    """`*.example.org,!gpu.example.org` holds no key for gpu."""
    file.write_text(line("*.example.org,!gpu.example.org"))
    assert known_keys(spec) == []


def test_ports_other_than_22(file, spec):
    """`[host]:port` is what counts for another port; a key filed without a port is accepted as OpenSSH does."""
    elsewhere = replace(spec, port=2222)
    file.write_text(line("gpu.example.org"))
    assert passes(elsewhere)
    file.write_text(line("gpu.example.org", OTHER) + line("[gpu.example.org]:2222"))
    assert passes(elsewhere)
    with pytest.raises(HostKeyError, match="has changed"):
        passes(elsewhere, OTHER)


def test_a_host_key_alias_stands_for_the_host(file, spec):
    """HostKeyAlias is looked up as it is, without a port."""
    file.write_text(line("cluster"))
    assert passes(replace(spec, host_key_alias="cluster", port=2222))


def test_lines_that_cannot_be_read_hold_no_key(file, spec):
    """A mangled line neither stops the reading nor lets anybody in."""
    file.write_text("gpu.example.org ssh-ed25519 ###\ngpu.example.org\n|1|x|y ssh-ed25519 AAAA\n")
    with pytest.raises(HostKeyError, match="is not known"):
        passes(spec)


def test_an_unknown_key(file, spec):
    """The message shows type and fingerprint, and the command that asks a person to accept it."""
    with pytest.raises(HostKeyError) as caught:
        passes(spec)
    assert str(caught.value) == (
        "the key of gpu.example.org:22 is not known\n"
        f"  expected: a line for gpu.example.org in {file}\n"
        f"  found: ssh-ed25519 {fingerprint(KEY)}\n"
        "  do: compare the fingerprint with the host's own (there: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub); "
        f"if they are the same, accept it with: ssh -o StrictHostKeyChecking=ask -o UserKnownHostsFile={file} "
        "-p 22 ada@gpu.example.org true"
    )


def test_a_changed_key(file, spec):
    """The message has both fingerprints with file and line, and no command that overwrites."""
    file.write_text("\n" + line("gpu.example.org", OTHER))
    with pytest.raises(HostKeyError) as caught:
        passes(spec)
    assert str(caught.value) == (
        "the key of gpu.example.org:22 has changed: the host was set up anew, or somebody stands between you and it\n"
        f"  at: {file}:2\n"
        f"  expected: ssh-ed25519 {fingerprint(OTHER)} ({file}:2)\n"
        f"  found: ssh-ed25519 {fingerprint(KEY)}\n"
        "  do: ask whoever runs the host; only if they confirm the fingerprint found, remove the old line yourself"
    )


def test_a_revoked_key(file, spec):
    """A key marked @revoked is refused, even where another line accepts it."""
    file.write_text(line("gpu.example.org") + "@revoked " + line("*"))
    with pytest.raises(HostKeyError, match="is revoked") as caught:
        passes(spec)
    assert caught.value.where == f"{file}:2"


def test_an_authority_is_reported_not_used(file, spec):
    """A @cert-authority line lets nobody in; the message says that it was seen."""
    file.write_text("@cert-authority " + line("*.example.org"))
    with pytest.raises(HostKeyError, match=r"known_hosts:1 trusts a certificate authority; drawbar checks plain"):
        passes(spec)


def test_a_key_of_another_type_is_unknown(file, spec):
    """A host known by one type of key is not trusted with another; the known ones are named."""
    file.write_text(line("gpu.example.org", OTHER, "ssh-rsa"))
    with pytest.raises(HostKeyError, match="is not known") as caught:
        passes(spec)
    assert caught.value.expected == f"ssh-rsa {fingerprint(OTHER)} ({file}:1)"


def test_the_command_leads_the_same_way(spec):
    """The command to accept a key goes through the same jumps, and files the key where it is looked for."""
    hop = HostSpec(host="door", user="eve", port=2200)
    there = replace(
        spec, proxy_jump=(hop,), host_key_alias="a b", known_hosts=(str(Path("~/.ssh/known_hosts").expanduser()),)
    )
    assert accept_command(there) == (
        "ssh -o StrictHostKeyChecking=ask -o 'HostKeyAlias=a b' -J eve@door:2200 -p 22 ada@gpu.example.org true"
    )


def test_a_file_that_cannot_be_read(tmp_path, spec):
    """What is no readable file is an error, not an empty one."""
    with pytest.raises(HostKeyError, match="known_hosts cannot be read"):
        known_keys(replace(spec, known_hosts=(str(tmp_path),)))


def test_fingerprints_are_those_of_ssh_keygen(tmp_path):
    """A fingerprint can be compared with what ssh-keygen prints."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    said = subprocess.check_output(["ssh-keygen", "-lf", tmp_path / "key.pub"], text=True)
    assert fingerprint(base64.b64decode((tmp_path / "key.pub").read_text().split()[1])) == said.split()[1]
