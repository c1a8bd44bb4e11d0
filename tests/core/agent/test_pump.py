"""Output of jobs: masked and bounded."""

import pytest

from drawbar.agent.pump import Log, Masker


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_secrets_are_masked_across_chunks(size):
    """A secret would be readable where a chunk ends in it."""
    data = b"a hunter22 hunter2 hunter222 -- sekret\nsekrehunter22sekret"
    masker = Masker(["hunter22", "sekret", "abc"])
    masked = b"".join(masker.feed(data[at : at + size]) for at in range(0, len(data), size)) + masker.rest()
    assert masked == b"a *** hunter2 ***2 -- ***\nsekre******"


def test_without_secrets_nothing_is_held_back():
    """Live output would lag."""
    assert Masker([]).feed(b"hunt") == b"hunt"


def test_a_log_is_bounded_and_says_so(tmp_path):
    """A job that prints without end would fill the host's disk, or lose output silently."""
    log = Log(str(tmp_path / "log"), 10, Masker([]))
    for _ in range(5):
        log.write(b"abcd")
    log.finish()
    assert log.dropped == 10
    expected = b"abcdabcdab\n[drawbar: 10 bytes of output not kept; the limit is 10]\n"
    assert (tmp_path / "log").read_bytes() == expected
