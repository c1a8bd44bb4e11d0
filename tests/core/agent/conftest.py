"""A real agent over pipes, for the tests of this folder."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests are not a package

from agent_peer import Peer, end_all


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A host root of this module's own; what runs in it at the end is ended."""
    folder = tmp_path_factory.mktemp("host") / "root"
    yield folder
    end_all(folder)


@pytest.fixture(scope="module")
def peer(root):
    """An agent that the tests of this module share."""
    made = Peer(root)
    yield made
    made.close()


@pytest.fixture
def agents(tmp_path):
    """A maker of agents, on a root of the test's own unless told otherwise; all are closed at the end."""
    made = []

    def make(root=None, **options):
        made.append(Peer(root or tmp_path / "root", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
    end_all(tmp_path / "root")
