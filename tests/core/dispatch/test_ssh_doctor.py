"""`examine` goes the way a job would go, names what is amiss with what to do, and leaves nothing on the host."""

import sys
from dataclasses import replace

import pytest

from drawbar import Env
from drawbar.config import TargetConfig
from drawbar.dispatch import doctor
from drawbar.dispatch.doctor import examine
from drawbar.dispatch.port import Facts, Interpreter
from drawbar.dispatch.target import Target, dispatcher
from drawbar.testing.sshd import make_key


def target(config):
    """A target of that configuration."""
    return Target("gpu", dispatcher("gpu", config), config)


@pytest.fixture
def host(sshd, home, tmp_path):
    """How the throwaway host is configured as a target."""
    return TargetConfig(**sshd.settings(), ssh_config="/dev/null", python=sys.executable, root=str(tmp_path / "root"))


def found(config, *envs):
    """Findings by name; the connection is closed after."""
    one = target(config)
    try:
        return {finding.name: finding for finding in examine(one, envs)}
    finally:
        one.close()


@pytest.mark.sshd
def test_a_host_that_fits(host, tmp_path):
    """Every step is good on a good host, and no blob of the probe is left there."""
    findings = found(host, Env("pytest"))
    assert list(findings) == [
        "address",
        "connection",
        "agent",
        "python",
        "folder",
        "round trip",
        "upload",
        "gpus",
        "clock",
        "packages",
    ]
    assert [name for name, finding in findings.items() if finding.ok is False] == []
    assert findings["address"].text == f"{host.user}@{host.host}:{host.port}"
    assert str(tmp_path / "root") in findings["folder"].text
    left = [
        path for folder in ("blobs", "partial") for path in (tmp_path / "root" / folder).rglob("*") if path.is_file()
    ]
    assert left == []


@pytest.mark.sshd
def test_what_is_not_installed(host):
    """Packages that an Env requires and the host lacks are named, where they must be there; else they are built."""
    env = Env("no-such-package-of-anybody>=2")
    finding = found(replace(host, envs="installed"), env)["packages"]
    assert finding.ok is False
    assert "no-such-package-of-anybody>=2" in finding.text
    assert finding.todo
    built = found(host, env)["packages"]
    assert built.ok is None
    assert "built there" in built.text


@pytest.mark.sshd
def test_declared_gpus(host):
    """GPUs that the configuration declares are told as such: nothing on the host shows them."""
    finding = found(replace(host, devices=("24GiB", "24GiB")))["gpus"]
    assert (finding.ok, finding.text) == (True, "24GiB, 24GiB, as the target's `devices` declare")


@pytest.mark.sshd
def test_a_host_without_that_python(host):
    """A Python that does not run there is told apart from a host that cannot be reached; nothing further is looked at."""
    findings = found(replace(host, python="/no/such/python"))
    assert list(findings) == ["address", "connection", "python"]
    assert findings["connection"].ok
    assert findings["python"].ok is False
    assert "/no/such/python" in findings["python"].text


@pytest.mark.sshd
def test_a_key_that_is_refused(host, tmp_path):
    """Refusals are findings with the remedy of the error, not exceptions."""
    make_key(tmp_path / "key")
    findings = found(replace(host, identity_file=str(tmp_path / "key")))
    assert list(findings) == ["address", "connection"]
    assert "refuses" in findings["connection"].text
    assert "authorized_keys" in findings["connection"].todo


@pytest.mark.sshd
def test_an_unknown_host_key(host, tmp_path):
    """An unknown host key is a finding that tells how to accept it."""
    finding = found(replace(host, known_hosts=str(tmp_path / "none")))["connection"]
    assert finding.ok is False
    assert "StrictHostKeyChecking=ask" in finding.todo


def test_a_port_nobody_listens_at(home):
    """An unreachable host is a finding."""
    findings = found(TargetConfig(host="127.0.0.1", port=1, ssh_config="/dev/null"))
    assert findings["connection"].text.startswith("nothing listens at 127.0.0.1:1")


def test_this_machine(tmp_path):
    """A worker on this machine is examined through its agent."""
    findings = found(TargetConfig(root=str(tmp_path)))
    assert list(findings)[:3] == ["place", "agent", "python"]
    assert all(finding.ok is not False for finding in findings.values())


@pytest.mark.parametrize(
    ("clock", "ok", "text"),
    [
        (1000.5, True, "agrees with this machine's"),
        (1004.0, True, "agrees with this machine's"),
        (1062.0, False, "60 s ahead of this machine's"),
        (940.0, False, "60 s behind this machine's"),
    ],
)
def test_clocks(clock, ok, text):
    """A clock counts as wrong only by what the time of asking does not explain."""
    finding = doctor._clock(Facts(Interpreter("python3", "3.11.7"), clock=clock), 1000.0, 1002.0)
    assert (finding.ok, finding.text) == (ok, text)


@pytest.mark.parametrize(("version", "ok"), [("3.8.10", False), ("3.9.2", None), ("{}.{}.0", True)])
def test_versions_of_python(version, ok):
    """Too old is bad; another minor version than ours is a remark; the same is good."""
    finding = doctor._python(Facts(Interpreter("python3", version.format(*sys.version_info))))
    assert finding.ok is ok
    assert bool(finding.todo) is (ok is not True)


def test_a_disk_that_is_nearly_full():
    """Little free space is a finding with its remedy."""
    finding = doctor._folder({"root": "/r", "free": 1 << 20})
    assert (finding.ok, finding.todo) == (False, "make room there, or set `root`")
