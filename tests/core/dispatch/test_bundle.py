"""The zip of the agent: the same bytes from the same files, and nothing in it that a host does not need."""

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import drawbar
from drawbar.config import TargetConfig
from drawbar.dispatch.bundle import bundle
from drawbar.dispatch.local import local_dispatcher


def test_bundle_is_deterministic():
    """Two processes build the same bytes, so that a host keeps one zip for each version."""
    code = "from drawbar.dispatch.bundle import bundle; print(bundle().digest)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    made = bundle.__wrapped__()
    assert other == made.digest == hashlib.sha256(made.data).hexdigest()


def test_bundle_holds_the_agent_and_cloudpickle():
    """Only these two packages travel, each file as source and as bytecode, in less than 800 KB."""
    names = zipfile.ZipFile(io.BytesIO(bundle().data)).namelist()
    assert {name.partition("/")[0] for name in names} == {"drawbar_agent", "cloudpickle"}
    assert {"drawbar_agent/serve.py", "drawbar_agent/worker.py", "cloudpickle/cloudpickle.py"} <= set(names)
    sources = [name for name in names if name.endswith(".py")]
    assert sorted(names) == sorted([*sources, *(f"{name}c" for name in sources)])
    assert len(bundle().data) < 800_000


def test_bytecode_is_what_the_host_runs(tmp_path):
    """A host with our minor version of Python compiles nothing, and paths of this machine are not in what it gets."""
    (tmp_path / "agent.zip").write_bytes(bundle().data)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import zipimport; zipimport._compile_source = None\n"
        "from drawbar_agent import answers, serve\n"
        "answers.load_for_workers()\n"
        "print(serve.main.__code__.co_filename)\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "agent.zip")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "drawbar_agent/serve.py\n"
    packed = zipfile.ZipFile(io.BytesIO(bundle().data))
    here = str(Path(drawbar.__file__).parent).encode()
    assert [name for name in packed.namelist() if here in packed.read(name)] == []


def test_other_version_on_the_host_is_left_alone(tmp_path):
    """The agent of another version stays where it is, and the right one is put beside it."""
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / f"{'0' * 64}.zip").write_bytes(b"another version")
    worker = local_dispatcher("worker", TargetConfig(root=str(tmp_path)))
    try:
        assert worker.link.agent().hello["agent"] == bundle().digest
    finally:
        worker.close()
    assert sorted(one.stem for one in folder.iterdir()) == sorted(["0" * 64, bundle().digest])
    assert (folder / f"{'0' * 64}.zip").read_bytes() == b"another version"


def test_damaged_zip_on_the_host_is_replaced(tmp_path):
    """A zip that is not what its name says is sent again instead of being run."""
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / f"{bundle().digest}.zip").write_bytes(bundle().data[:1000])
    worker = local_dispatcher("worker", TargetConfig(root=str(tmp_path)))
    try:
        assert worker.link.agent().hello["agent"] == bundle().digest
    finally:
        worker.close()
    assert (folder / f"{bundle().digest}.zip").read_bytes() == bundle().data
