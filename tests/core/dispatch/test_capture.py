"""Output in this process: each job's apart, everybody else's as before."""

import io
import sys
import threading
from contextlib import redirect_stdout

import drawbar
from drawbar.dispatch.capture import captured


class Kept:
    """A sink that keeps everything."""

    def __init__(self):
        self.got = {"stdout": b"", "stderr": b""}

    def write(self, stream, data):
        self.got[stream] += data


def test_only_the_job_is_captured():
    """A thread that runs a job is heard apart; another that prints meanwhile is not."""
    sink, out = Kept(), io.StringIO()
    with redirect_stdout(out):
        with captured(sink):
            other = threading.Thread(target=print, args=("from outside",))
            other.start()
            other.join()
            print("inside")
            print("aside", file=sys.stderr)
            sys.stdout.buffer.write(b"\xff\n")
            sys.stdout.writelines(["a", "b"])
            sys.stdout.flush()
        print("after")
    assert sink.got == {"stdout": b"inside\n\xff\nab", "stderr": b"aside\n"}
    assert out.getvalue() == "from outside\nafter\n"


def test_streams_are_put_back():
    """When the last job ends, the streams are what they were, unless somebody has changed them meanwhile."""
    before = sys.stdout, sys.stderr
    with captured(Kept()), captured(Kept()):
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before
    other = io.StringIO()
    sink = Kept()
    with captured(sink):
        sys.stdout = other
    assert sys.stdout is other
    sys.stdout = before[0]


def test_jobs_at_the_same_time_are_kept_apart():
    """Each job's logs hold its own lines only."""

    def talk(word):
        for _ in range(200):
            print(word)

    remote = drawbar.target("here").function(talk, quiet=True)
    futures = [remote.submit(word) for word in "abc"]
    for word, future in zip("abc", futures, strict=True):
        future.result(30)
        assert future.logs() == f"{word}\n" * 200


def test_log_limit_here(tmp_path):
    """Output over the log limit is dropped and counted, also in this process."""
    from drawbar.config import TargetConfig
    from drawbar.dispatch.target import Target, dispatcher

    config = TargetConfig(log_limit=10)
    future = Target("here", dispatcher("here", config), config).function(print, quiet=True).submit("x" * 100)
    assert future.outcome(30).dropped == {"stdout": 91, "stderr": 0}
    assert future.logs() == "x" * 10
