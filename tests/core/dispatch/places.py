"""Every kind of target as tests meet it, and jobs as runs make them: what the contract suites are written with.

A further implementation joins with one function that makes a `Place`, and its name in `PLACES`.
"""

import hashlib
import importlib
import sys
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from drawbar.agent import encoding
from drawbar.config import TargetConfig
from drawbar.dispatch import calls
from drawbar.dispatch.here import Here
from drawbar.dispatch.port import Job, Stored
from drawbar.dispatch.target import Target, dispatcher

SAMPLE = Path(__file__).parent / "sample"
PLACES = ("here", "local", "ssh")


@dataclass(frozen=True)
class Place:
    """A target under test; `root` is its folder on the host, None where jobs end with this process."""

    target: Target
    root: Path | None

    @property
    def dispatcher(self):
        return self.target.dispatcher

    def with_config(self, **changes):
        """The same place, configured otherwise."""
        config = replace(self.target.config, **changes)
        made = Here("here", config) if self.root is None else dispatcher(self.target.name, config)
        return Target(self.target.name, made, config)


def make_here(request):
    """This process."""
    config = TargetConfig(grace=1.0)
    return Place(Target("here", Here("here", config), config), None)


def make_local(request):
    """A worker on this machine, with a folder of its own."""
    root = request.getfixturevalue("tmp_path_factory").mktemp("local")
    config = TargetConfig(root=str(root))
    return Place(Target("worker", dispatcher("worker", config), config), root)


def make_ssh(request):
    """A throwaway sshd."""
    host = request.getfixturevalue("sshd")
    root = request.getfixturevalue("tmp_path_factory").mktemp("ssh")
    config = TargetConfig(
        host=host.host,
        user=host.user,
        port=host.port,
        identity_file=str(host.identity_file),
        known_hosts=str(host.known_hosts),
        ssh_config="/dev/null",
        python=sys.executable,
        root=str(root),
    )
    return Place(Target("gpu", dispatcher("gpu", config), config), root)


@pytest.fixture(scope="module")
def places(request):
    """A function that gives a place by name, each made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = globals()[f"make_{name}"](request)
        return made[name]

    yield get
    for one in made.values():
        one.target.close()


@pytest.fixture(params=PLACES)
def place(request, places):
    """Each target in turn."""
    return places(request.param)


@pytest.fixture(params=[name for name in PLACES if name != "here"])
def agent_place(request, places):
    """Each target whose jobs outlive this process."""
    return places(request.param)


@pytest.fixture(scope="module")
def jobs():
    """The user's project: two modules in a folder that is on this process's path only."""
    sys.path.insert(0, str(SAMPLE))
    yield importlib.import_module("sample_jobs")
    sys.path.remove(str(SAMPLE))


def job_of(function, /, **given):
    """A Job as a run makes it, with an identity that nothing else has."""
    fields = {one: given.pop(one) for one in list(given) if one in Job.__dataclass_fields__ and one != "name"}
    return Job(
        id=hashlib.sha256(uuid.uuid4().bytes).hexdigest(),
        name=f"site/{getattr(function, '__name__', 'job')}",
        function=function,
        run_id=fields.pop("run_id", None) or str(uuid.uuid4()),
        arguments=given,
        **fields,
    )


def value_of(place, outcome):
    """The value that a job left, fetched and decoded."""
    outcome.raise_()
    return calls.value_from(place.dispatcher.fetch(outcome.value), outcome.value, "pickle")


def run(place, job, **options):
    """Submit, collect and fetch."""
    return value_of(place, place.dispatcher.collect(place.dispatcher.submit(job, **options), timeout=60))


def stored(value):
    """A value as a store has it, and a list that grows whenever it is read."""
    encoded = encoding.encode(value)
    reads = []

    def read():
        reads.append(1)
        return encoded.join()

    return Stored(encoded.digest(), encoded.format, encoded.type, encoded.ext, encoded.bytes, read), reads
