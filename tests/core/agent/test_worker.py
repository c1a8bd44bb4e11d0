"""Endings: whatever a function does, its job ends with the truth about it."""

import contextlib
import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from agent_peer import alive, until

from drawbar.agent import archives, frames, processes


def ending(outcome):
    """How it ended, in two words."""
    return outcome["state"], outcome["cause"]


def test_a_value_comes_back(peer):
    """A plain call would not give its value, its output or its costs."""

    def add(a, b=0):
        import sys

        print("out", a)
        print("err", b, file=sys.stderr)
        time.sleep(0.05)
        return a + b

    outcome, out, err = peer.run(add, 2, kwargs={"b": 3})
    assert ending(outcome) == ("succeeded", "value")
    assert peer.value(outcome) == 5
    assert (out, err) == (b"out 2\n", b"err 3\n")
    assert outcome["value"]["format"] == "json"
    assert 0.05 <= outcome["costs"]["compute"] < 5
    assert outcome["costs"]["peak_memory"] > 1 << 20
    assert outcome["started"] <= outcome["ended"]


def test_arrays_and_objects_come_back(peer):
    """Only plain data could be returned by a direct call."""
    outcome, _, _ = peer.run(lambda a: a * 2, np.arange(300_000.0))
    assert outcome["value"]["format"] == "npy"
    np.testing.assert_array_equal(peer.value(outcome), np.arange(300_000.0) * 2)
    outcome, _, _ = peer.run(lambda: (1, {2, 3}))
    assert outcome["value"]["format"] == "payload"
    assert peer.value(outcome) == (1, {2, 3})


def test_coroutines_and_generators_are_seen_through(peer):
    """An async function or a generator of rows would give an object that nobody can use."""

    async def later():
        import asyncio

        await asyncio.sleep(0)
        return "done"

    def rows():
        yield from ({"n": n} for n in range(3))

    async def async_rows():
        yield 1
        yield 2

    assert peer.value(peer.run(later)[0]) == "done"
    assert peer.value(peer.run(rows)[0]) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert peer.value(peer.run(async_rows)[0]) == [1, 2]


MODULE = """
    import os

    class Odd(Exception):
        def __init__(self, a, b):
            super().__init__(f"odd {a} {b}")

    def outer(x):
        return inner(x)  # this very line

    def inner(x):
        try:
            {}["k"]
        except KeyError as error:
            raise ValueError(f"no good: {x}") from error

    def odd():
        raise Odd(1, 2)

    def cwd(text, rows):
        return [os.path.basename(os.getcwd()), text, rows]
"""


def test_an_exception_is_told_with_its_source_lines(peer):
    """A remote traceback would lack the user's lines, the cause, or show drawbar's frames."""
    code = peer.code(pipeline_a=MODULE)
    outcome, _, _ = peer.run(None, 7, named={"module": "pipeline_a", "qualname": "outer"}, code=[code])
    assert ending(outcome) == ("failed", "exception")
    error = outcome["error"]
    assert (error["type"], error["module"], error["message"]) == ("ValueError", "builtins", "no good: 7")
    assert "return inner(x)  # this very line" in error["traceback"]
    assert "direct cause of the following exception" in error["traceback"]
    assert f"{peer.root}/code/{archives.name_of(code)}/pipeline_a.py" in error["traceback"]
    assert "drawbar_agent" not in error["traceback"]
    import pickle

    rebuilt = pickle.loads(peer.get(error["blob"]))
    assert (type(rebuilt), rebuilt.args) == (ValueError, ("no good: 7",))


def test_an_exception_that_cannot_be_pickled_is_told_as_text(peer):
    """An exception with an odd constructor would hide the real one."""
    outcome, _, _ = peer.run(
        None, named={"module": "pipeline_a", "qualname": "odd"}, code=[peer.code(pipeline_a=MODULE)]
    )
    error = outcome["error"]
    assert (error["type"], error["message"], error["blob"]) == ("Odd", "odd 1 2", None)
    assert "raise Odd(1, 2)" in error["traceback"]


def test_arguments_by_digest_and_literals(peer):
    """An asset's inputs would not reach its parameters."""
    text = {"name": "text", "blob": peer.put(b"hello"), "format": "text", "type": "str", "ext": ".txt"}
    outcome, _, _ = peer.run(
        None,
        named={"module": "pipeline_a", "qualname": "cwd"},
        code=[peer.code(pipeline_a=MODULE)],
        call=None,
        arguments=[text],
        literals={"rows": [1, 2]},
    )
    assert peer.value(outcome) == ["work", "hello", [1, 2]]


def test_files_and_folders_go_both_ways(peer):
    """A function that takes and gives files could not run on a host."""

    def copies(given):
        from pathlib import Path

        made = Path("made.txt")
        made.write_text(given.read_text() + " and back")
        return made

    given = {"name": "given", "blob": peer.put(b"there"), "format": "file", "type": "Path", "ext": ".txt"}
    outcome, _, _ = peer.run(copies, call=None, arguments=[given])
    assert ending(outcome) == ("succeeded", "value"), outcome["error"]
    assert outcome["value"]["format"] == "file"
    assert peer.get(outcome["value"]["digest"]) == b"there and back"


def test_a_missing_function_or_module_is_a_fault_of_the_setup(peer):
    """A job that never reached the function would look as if it had failed in it."""
    for named, kind in (
        ({"module": "nowhere", "qualname": "f"}, "ModuleNotFoundError"),
        ({"module": "os", "qualname": "nothing"}, "AttributeError"),
        ({"module": "os", "qualname": "sep"}, "TypeError"),
    ):
        outcome, _, _ = peer.run(None, named=named)
        assert ending(outcome) == ("failed", "setup")
        assert outcome["error"]["type"] == kind


def exits(how):
    """A function that leaves in a way of its own."""

    def leave():
        print("last words", end="")
        exec(how)

    return leave


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("import os, sys; sys.stdout.flush(); os._exit(3)", ("killed", "exit", 3, None)),
        ("import os, sys; sys.stdout.flush(); os._exit(0)", ("killed", "exit", 0, None)),
        ("import sys; sys.exit(0)", ("killed", "exit", 0, None)),
        ("import sys; sys.exit(5)", ("killed", "exit", 5, None)),
        ("import sys; sys.exit('bye')", ("killed", "exit", 1, None)),
        ("import ctypes, sys; sys.stdout.flush(); ctypes.string_at(0)", ("killed", "signal", None, 11)),
        ("import os, sys; sys.stdout.flush(); os.kill(os.getpid(), 9)", ("killed", "signal", None, 9)),
        ("raise KeyboardInterrupt", ("failed", "exception", None, None)),
        ("raise MemoryError", ("failed", "exception", None, None)),
        ("f = lambda: f(); globals()['f'] = f; f()", ("failed", "exception", None, None)),
    ],
)
def test_every_way_to_leave_has_its_name(peer, how, expected):
    """An exit or a signal would be taken for a value, or for something else."""
    outcome, out, _ = peer.run(exits(how))
    assert (*ending(outcome), outcome["exit"], outcome["signal"]) == expected
    assert out == b"last words"
    assert outcome["value"] is None


def test_a_segmentation_fault_says_where(peer):
    """A crash in a library would leave no trace of the line that led to it."""
    _, _, err = peer.run(exits("import ctypes; ctypes.string_at(0)"))
    assert b"Fatal Python error: Segmentation fault" in err


def test_a_value_that_cannot_be_pickled_says_so(peer):
    """The user would not learn which value cannot travel, nor what to do."""

    def lock():
        import threading

        return [threading.Lock()]

    outcome, _, _ = peer.run(lock)
    assert ending(outcome) == ("failed", "unpicklable_value")
    assert outcome["error"]["message"].startswith("A value of type list cannot be pickled: cannot pickle")
    todo = "do: return plain data, an array or a table, or write a file and return its Path"
    assert todo in outcome["error"]["notes"]


def test_trust_data_forbids_pickles(peer):
    """A host could have code run at a client that trusts data only."""
    strict = {"format": None, "trust": "data", "payload": True}
    outcome, _, _ = peer.run(lambda: {1, 2}, result=strict)
    assert ending(outcome) == ("failed", "unpicklable_value")
    assert "pickles are not trusted" in outcome["error"]["message"]

    def fails():
        raise ValueError("x")

    assert peer.run(fails, result=strict)[0]["error"]["blob"] is None


def test_output_is_bounded_and_quick(peer):
    """A function that prints a gigabyte would fill the disk, or take for ever."""

    def floods():
        import os

        piece = b"x" * (1 << 20)
        for _ in range(1024):
            os.write(1, piece)

    began = time.monotonic()
    outcome, out, _ = peer.run(floods, log_limit=1 << 20)
    assert time.monotonic() - began < 30
    assert outcome["dropped"]["stdout"] == (1 << 30) - (1 << 20)
    assert out.startswith(b"x" * (1 << 20))
    assert out.endswith(b"bytes of output not kept; the limit is 1048576]\n")
    assert len(out) < (1 << 20) + 200


def test_binary_output_is_kept_as_it_is(peer):
    """Bytes that are no text would break the job or its log."""

    def binary():
        import sys

        sys.stdout.buffer.write(bytes(range(256)))
        print("\udc80é")

    outcome, out, _ = peer.run(binary)
    assert ending(outcome) == ("succeeded", "value")
    assert out == bytes(range(256)) + b"\\udc80\xc3\xa9\n"


def test_a_huge_message_is_bounded(peer):
    """A message of a hundred megabytes would not fit a frame."""

    def shouts():
        raise ValueError("x" * 50_000_000)

    error = peer.run(shouts)[0]["error"]
    assert len(error["message"]) < 17_000
    assert "characters left out" in error["message"]
    assert len(error["traceback"]) < 300_000
    assert error["blob"] is None


@pytest.mark.parametrize(
    "how",
    [
        "os.close(1); print('x')\n",
        "os.close(2)\n",
        "os.closerange(0, 100)\n",
        "os.chdir('/')\n",
        "import shutil; shutil.rmtree(os.getcwd())\n",
    ],
)
def test_a_function_may_spoil_its_own_process(peer, how):
    """Closing files or removing its folder would lose the value."""

    def spoils():
        import contextlib

        with contextlib.suppress(OSError):
            exec(f"import os; {how}")
        return 5

    outcome, _, _ = peer.run(spoils)
    assert ending(outcome) == ("succeeded", "value")
    assert peer.value(outcome) == 5


def test_what_a_job_leaves_running_is_ended(peer):
    """A daemon that a function started would live on, holding its GPU, or keep the job from ending."""

    def leaves():
        import os
        import signal
        import subprocess

        reader, writer = os.pipe()
        if not os.fork():
            os.setsid()
            if not os.fork():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.write(writer, str(os.getpid()).encode())
                os.execvp("sleep", ["sleep", "600"])
            os._exit(0)
        return [int(os.read(reader, 100)), subprocess.Popen(["sleep", "600"], start_new_session=True).pid]

    began = time.monotonic()
    outcome, _, _ = peer.run(leaves, grace=0.3)
    assert time.monotonic() - began < 10
    assert ending(outcome) == ("succeeded", "value")
    assert [alive(pid) for pid in peer.value(outcome)] == [False, False]


def test_a_forked_child_that_returns_does_not_end_the_job(peer):
    """A fork in a function would report the child's value as the job's."""

    def forks():
        import os

        return "child" if not os.fork() else (os.wait(), "parent")[1]

    assert peer.value(peer.run(forks)[0]) == "parent"


def test_exit_handlers_run_within_grace(peer):
    """What a library writes at exit would be lost, or a handler that hangs would keep the job."""

    def handlers():
        import atexit

        atexit.register(time.sleep, 600)
        atexit.register(print, "goodbye")
        return 1

    began = time.monotonic()
    outcome, out, _ = peer.run(handlers, grace=0.2)
    assert ending(outcome) == ("succeeded", "value")
    assert out == b"goodbye\n"
    assert time.monotonic() - began < 10


def test_a_timeout_ends_the_job(peer):
    """A function that hangs would run for ever."""
    outcome, _, _ = peer.run(time.sleep, 600, timeout=0.2, grace=0.2)
    assert ending(outcome) == ("timed_out", "timeout")
    assert 0.2 <= outcome["costs"]["compute"] < 10


def test_cuda_out_of_memory_has_its_own_name(peer):
    """A GPU without memory would look like any failure."""
    code = peer.code(torch="class OutOfMemoryError(RuntimeError): pass\ndef f(): raise OutOfMemoryError('CUDA')\n")
    outcome, _, _ = peer.run(None, named={"module": "torch", "qualname": "f"}, code=[code])
    assert ending(outcome) == ("out_of_memory", "cuda_oom")
    assert outcome["error"]["message"] == "CUDA"


def test_the_kernels_oom_killer_has_its_own_name(agents):
    """A job that took too much memory would look as if somebody had killed it."""
    top = Path("/sys/fs/cgroup")
    try:
        delegated = (top / "cgroup.subtree_control").read_text().split()
    except OSError:
        delegated = []
    if "memory" not in delegated or not os.access(top, os.W_OK):
        pytest.skip("no control group (v2) with a memory limit can be made here")
    group = top / f"drawbar-test-{os.getpid()}"
    group.mkdir()
    (group / "memory.max").write_text("120M")
    with contextlib.suppress(FileNotFoundError):
        (group / "memory.swap.max").write_text("0")
    try:
        peer = agents()
        (group / "cgroup.procs").write_text(str(peer.process.pid))
        outcome, _, _ = peer.run(lambda: len(bytearray(b"x") * (1 << 30)))
        assert ending(outcome) == ("out_of_memory", "oom_killer")
        assert outcome["signal"] == 9
        peer.process.kill()
        peer.process.wait()
    finally:
        until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def test_the_kernels_counters_are_read(tmp_path):
    """A kill for memory would not be told from any other, where control groups count and where they do not."""
    group, machine = tmp_path / "memory.events", tmp_path / "vmstat"
    machine.write_text("nr_free_pages 7\noom_kill 12\n")
    counters = [str(group), str(machine)]
    assert processes.killed_for_memory(counters) == 12
    group.write_text("low 0\noom 9\noom_kill 3\noom_group_kill 0\n")
    assert processes.killed_for_memory(counters) == 3
    assert processes.killed_for_memory([str(tmp_path / "none")]) is None


def test_a_full_disk_ends_a_job_with_the_reason(agents):
    """A job on a full disk would hang, or end as a mystery."""
    peer = agents()
    resource.prlimit(peer.process.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    outcome, _, _ = peer.run(lambda: b"x" * 100_000)
    assert ending(outcome) == ("failed", "unpicklable_value")
    expected = "The value, a bytes, could not be written on the host: File too large."
    assert (outcome["error"]["type"], outcome["error"]["message"]) == ("OSError", expected)
    outcome, out, _ = peer.run(lambda: print("x" * 100_000))
    assert ending(outcome) == ("succeeded", "value")
    assert len(out) == 20_000
    assert outcome["dropped"]["stdout"] == 80_001

    def raises():
        raise ValueError("m" * 30_000)

    outcome, _, _ = peer.run(raises)
    assert ending(outcome) == ("failed", "exception")
    assert len(outcome["error"]["message"]) == 4000


def test_secrets_reach_the_job_and_nothing_else(peer):
    """A secret would be missing in the job, or readable in its folder."""

    def spends():
        import os

        print("token", os.environ["TOKEN"], flush=True)
        raise ValueError(os.environ["TOKEN"] + os.environ["PLAIN"])

    job, _ = peer.submit(spends, secrets={"TOKEN": "hunter22"}, variables={"PLAIN": "ok"})
    outcome, out, _ = peer.wait(job)
    assert out == b"token ***\n"
    assert outcome["error"]["message"] == "***ok"
    assert outcome["error"]["blob"] is None
    for folder, _, names in os.walk(f"{peer.root}/jobs/{job}"):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                assert b"hunter22" not in file.read(), name


def test_variables_that_a_process_reads_at_its_start(peer):
    """PYTHONHASHSEED or LD_LIBRARY_PATH would be set too late to count."""

    def seen():
        import os
        import sys

        return [hash("a"), sys.flags.hash_randomization, os.environ["TOKEN"]]

    options = {"variables": {"PYTHONHASHSEED": "0"}, "secrets": {"TOKEN": "hunter22"}}
    first, second = (peer.value(peer.run(seen, **options)[0]) for _ in range(2))
    assert first == second
    assert first[1:] == [0, "hunter22"]


def test_a_python_that_is_not_there_is_told(peer):
    """A wrong `python` would end as a mystery."""
    outcome, _, _ = peer.run(len, [], python="/nowhere/python")
    assert ending(outcome) == ("failed", "setup")
    assert "/nowhere/python" in outcome["error"]["traceback"] + outcome["error"]["message"]


def test_jobs_are_listed_newest_first(peer):
    """A person could not see what ran on a host."""
    job, submitted = peer.submit(len, [], run_id="the-run")
    peer.wait(job)
    listed = peer.ask(frames.JOBS, {"limit": 2})[0]["jobs"]
    assert listed[0]["job"] == job
    assert listed[0]["run_id"] == "the-run"
    assert (listed[0]["state"], listed[0]["ended_as"], listed[0]["attempt"]) == ("ended", "succeeded", 1)
    assert submitted["how"] == "started"
