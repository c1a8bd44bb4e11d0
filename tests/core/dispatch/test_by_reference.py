"""Values by their digest: what a host made or was sent once is used there, and does not cross the wire again."""

from __future__ import annotations

import hashlib
import sys

import pytest

from drawbar import target
from drawbar.agent import frames
from drawbar.dispatch import agents
from drawbar.dispatch.transfer import Blob
from drawbar.errors import CorruptError

pytestmark = pytest.mark.sshd
SIZE = 8 << 20
SMALL = 256 << 10
"""More than a job says of itself, with the project's code, and far less than a value."""

TWO = f"""
@asset(target="host")
def made() -> bytes:
    _noted("made")
    return bytes(range(256)) * {SIZE // 256}

@asset(target="host")
def measured(made: bytes) -> int:
    _noted("measured")
    return len(made)
"""


@pytest.fixture
def far(ground, sshd, home):
    """A project whose target `host` is a throwaway SSH host that does not look at the store."""
    settings = {
        **sshd.settings(),
        "root": str(ground.folder / "host"),
        "python": sys.executable,
        "store_access": "relay",
    }
    ground.configure("[targets.host]\n" + "\n".join(f"{name} = {value!r}" for name, value in settings.items()))
    return ground


@pytest.fixture
def link(far):
    """The connection to the host that runs of this process use."""
    made = target("host", config=far.config).dispatcher.link
    yield made
    made.close()


@pytest.fixture
def fetched(monkeypatch):
    """The digests of what was brought from a host."""
    digests = []
    real = agents.download

    def download(agent, digest, size):
        digests.append(digest)
        return real(agent, digest, size)

    monkeypatch.setattr(agents, "download", download)
    return digests


def test_a_value_made_there_is_used_there(far, link, fetched):
    """Only its digest goes back to the host: the bytes lie there under the DataVersion already."""
    link.agent()
    before = link.agent().sent
    result = far.run("measured").check()
    assert result["measured"].value() == SIZE
    assert link.opened == 1
    assert link.agent().sent - before < SMALL
    version = result["made"].data_version
    assert (far.folder / "host" / "blobs" / version[:2] / version).stat().st_size == SIZE
    assert fetched == [version, result["measured"].data_version]


def test_a_value_made_here_is_sent_once(far, link):
    """However many jobs take it, and whichever run they belong to."""
    far.write(TWO.replace('@asset(target="host")\ndef made', "@asset\ndef made"))
    link.agent()
    before = link.agent().sent
    far.run("measured").check()
    assert SIZE < link.agent().sent - before < SIZE + SMALL
    far.edit("return len(made)", "return len(made) + 1")
    before = link.agent().sent
    assert far.run("measured").check()["measured"].value() == SIZE + 1
    assert link.agent().sent - before < SMALL


@pytest.fixture(autouse=True)
def written(far):
    """The pipeline of two assets."""
    far.write(TWO)


def test_what_a_cut_left_is_gone_on_with(link):
    """A connection that breaks in the middle of a value costs what was under way, not what had arrived."""
    data = hashlib.sha256(b"x").digest() * (SIZE // 32)
    digest = hashlib.sha256(data).hexdigest()
    half = SIZE // 2

    def read():
        yield data[:half]
        agent = link.agent()
        while agent.ask(frames.HAVE, {"blobs": [digest]}).meta["partial"].get(digest) != half:
            pass
        link.close()
        yield data[half:]

    with pytest.raises(Exception, match=r"closed|broke"):
        link.uploads().ensure([Blob(digest, SIZE, read)])
    whole = Blob(digest, SIZE, lambda: [data])
    assert link.uploads().ensure([whole]) == SIZE - half
    assert link.opened == 2
    assert link.agent().ask(frames.HAVE, {"blobs": [digest]}).meta["missing"] == []


def test_what_is_not_its_digest_is_refused(link):
    """Bytes that changed on their way, or at their source, become no blob."""
    digest = hashlib.sha256(b"right").hexdigest()
    with pytest.raises(CorruptError):
        link.uploads().ensure([Blob(digest, 5, lambda: [b"wrong"])])
    assert link.agent().ask(frames.HAVE, {"blobs": [digest]}).meta["missing"] == [digest]


def test_a_blob_that_was_removed_is_sent_again(far, link):
    """A clean-up of the host loses nothing that the store has."""
    result = far.run("made").check()
    version = result["made"].data_version
    (far.folder / "host" / "blobs" / version[:2] / version).unlink()
    before = link.agent().sent
    assert far.run("measured").check()["measured"].value() == SIZE
    assert SIZE < link.agent().sent - before < SIZE + SMALL
