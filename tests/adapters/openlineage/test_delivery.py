"""From a run's events to backends that are well, dead, slow, refusing or choosy."""

from __future__ import annotations

import json
import logging
import os
import socket
import statistics
import time
from pathlib import Path

import pytest
from openlineage_series import Told, every_ending, one_made, read_lines
from openlineage_spec import faults

from drawbar_adapters.openlineage import flush, flusher, listener, outbox, status


def http(url: str, **more: object) -> dict[str, object]:
    """A table that sends to `url`."""
    return {"transport": {"type": "http", "url": url, **more}}


def own_file(project: Path) -> Path:
    """Where lineage goes with nothing configured."""
    return project / ".drawbar" / "lineage.ndjson"


@pytest.fixture
def dead_url() -> str:
    """An address where nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}"


def tell(table, project, events, timeout=10.0):
    """A run that tells `events`; how its lineage stands at its end."""
    one = listener(table, project=project)
    assert one is not None
    for event in events:
        one(event)
    return one.close(timeout)


def test_with_nothing_configured_a_run_leaves_a_file(project, caplog):
    """Lineage would have to be configured before it can be seen."""
    said = tell({}, project, every_ending())
    events = read_lines(own_file(project))
    assert len(events) == 18
    assert faults(events) == []
    assert (said.waiting, said.message, caplog.text) == (0, "", "")
    assert [path.name for path in said.outbox.glob("*.ndjson")] == []


def test_a_second_run_appends(project):
    """The lineage of yesterday's run would be gone."""
    for _ in range(2):
        tell({}, project, every_ending())
    assert len(read_lines(own_file(project))) == 36


def test_a_backend_gets_every_event_in_order(project, backend):
    """A backend would show runs that never began or never ended."""
    said = tell(http(backend.url), project, every_ending())
    assert said.waiting == 0
    assert faults(backend.events) == []
    assert len(backend.events) == 18
    assert [event["eventTime"] for event in backend.events] == sorted(event["eventTime"] for event in backend.events)


def test_events_arrive_while_the_run_goes_on(project, backend):
    """A person who watches the backend would see a nine-hour run when it is over."""
    one = listener(http(backend.url), project=project)
    assert one is not None
    walk = Told()
    one(walk.begin())
    deadline = time.monotonic() + 20
    while not backend.events and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [event["eventType"] for event in backend.events] == ["START"]
    one(walk.end())
    assert one.close(10).waiting == 0
    assert len(backend.events) == 2


def test_a_dead_backend_costs_nothing_and_loses_nothing(project, dead_url, backend, caplog):
    """A run would wait for a backend that is down, or its lineage would be lost."""
    begun = time.monotonic()
    said = tell(http(dead_url), project, every_ending(), timeout=2.0)
    assert time.monotonic() - begun < 20
    assert said.waiting == 18
    assert said.message.startswith(
        f"18 lineage events wait in {said.outbox}; `drawbar lineage flush` sends them (http "
    )
    assert caplog.messages == [said.message]
    after = flush(http(backend.url), project=project)
    assert (after.waiting, after.facts["sent"]) == (0, 18)
    assert faults(backend.events) == []
    assert list(after.outbox.glob("*.sent")) == []


def test_in_the_runs_path_an_event_takes_less_than_a_fifth_of_a_millisecond(project, dead_url):
    """Lineage would delay a run of many small assets."""
    one = listener(http(dead_url), project=project)
    assert one is not None
    walk = Told()
    events = [event for at in range(200) for event in one_made(walk, f"a{at}")]
    one(walk.begin())
    taken = []
    for event in events:
        begun = time.thread_time()
        one(event)
        taken.append(time.thread_time() - begun)
    one.close(0)
    assert statistics.median(taken) < 0.0002


def test_a_slow_backend_is_given_up_politely(project, backend):
    """A run would end when its backend pleases."""
    backend.delay = 0.7
    begun = time.monotonic()
    said = tell(http(backend.url), project, every_ending(), timeout=1.5)
    assert time.monotonic() - begun < 10
    assert 0 < said.waiting <= 18
    backend.delay = 0.0
    time.sleep(1.0)  # the event that was on its way
    after = flush(http(backend.url), project=project)
    assert after.waiting == 0
    seen = {json.dumps(event) for event in backend.events}
    assert len(seen) == 18


def test_a_backend_that_never_answers_does_not_hold_the_run(project):
    """A run would hang on a socket that accepts and stays silent."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        table = http(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=1.0)
        said = tell(table, project, every_ending(), timeout=0.5)
        assert time.monotonic() - begun < 20
        assert said.waiting == 18
        time.sleep(1.2)  # its thread ends with the transport's own timeout


@pytest.mark.parametrize("answer", [401, 403, 404, 408, 429, 500, 503])
def test_a_fault_that_is_not_the_events_keeps_all_of_them(project, backend, answer):
    """A wrong key or a restart of the backend would throw events away."""
    backend.answer = lambda _event: answer
    said = tell(http(backend.url), project, every_ending())
    assert (said.waiting, said.facts["refused"], backend.asked) == (18, 0, 1)
    assert said.places[0].error
    backend.answer = lambda _event: 201
    assert flush(http(backend.url), project=project).waiting == 0
    assert len(backend.events) == 18


def test_what_a_backend_refuses_is_put_aside_and_the_rest_goes_on(project, backend):
    """One event that a backend cannot read would hold up all that follow, or vanish."""
    backend.answer = lambda event: 422 if event["eventType"] == "FAIL" else 201
    said = tell(http(backend.url), project, every_ending())
    assert (said.waiting, len(backend.events)) == (0, 15)
    assert said.message == f"3 lineage events were refused; they are in {said.outbox / 'refused.ndjson'}"
    refused = read_lines(said.outbox / "refused.ndjson")
    assert {one["reason"] for one in refused} == {"HTTP 422 not this one"}
    assert {json.loads(one["event"])["eventType"] for one in refused} == {"FAIL"}
    assert status(http(backend.url), project=project).facts["refused"] == 3


def test_one_backend_down_holds_up_no_other(project, backend, dead_url):
    """A second backend would get its events late, twice or never because of the first."""
    children = {"down": {"type": "http", "url": dead_url}, "up": {"type": "http", "url": backend.url}}
    table = {"transport": {"type": "composite", "transports": children}}
    said = tell(table, project, every_ending())
    assert [place.waiting for place in said.places] == [18, 0]
    assert len(backend.events) == 18
    flush(table, project=project)
    assert len(backend.events) == 18


def test_the_clients_own_file_transport_is_used_as_configured(project, tmp_path, monkeypatch):
    """A configuration that works for other tools would not work here."""
    path = tmp_path / "new" / "events.ndjson"
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(path))
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__APPEND", "true")
    assert tell({}, project, every_ending()).waiting == 0
    events = read_lines(path)
    assert len(events) == 18
    assert faults(events) == []
    assert not own_file(project).exists()


def test_the_console_is_seen(project, capfd):
    """The console transport would write to a log that nobody set up."""
    logger = logging.getLogger("openlineage.client.transport.console")
    before, root = logger.handlers[:], logging.getLogger().handlers[:]
    logging.getLogger().handlers[:] = []
    try:
        assert tell({"transport": {"type": "console"}}, project, every_ending()).waiting == 0
    finally:
        logger.handlers[:], logging.getLogger().handlers[:] = before, root
    said = capfd.readouterr()
    events = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    assert (said.out, len(events)) == ("", 18)


def test_the_clients_filters_tags_and_variables_apply(project, backend, monkeypatch):
    """What openlineage.yml says besides the transport would be ignored; or a secret variable would be sent."""
    monkeypatch.setenv("REGION", "eu")
    monkeypatch.setenv("DB_PASSWORD", "pl4nted")
    yml = {
        "filters": [{"type": "exact", "match": "site"}],
        "tags": {"job": {"team": "ml"}},
        "facets": {"environment_variables": ["REGION", "DB_PASSWORD"]},
    }
    Path("openlineage.yml").write_text(json.dumps(yml))
    assert tell(http(backend.url), project, every_ending()).waiting == 0
    assert len(backend.events) == 16
    variables = backend.events[0]["run"]["facets"]["environmentVariables"]["environmentVariables"]
    assert variables == [{"name": "REGION", "value": "eu"}]
    tags = [event["job"]["facets"]["tags"]["tags"] for event in backend.events]
    assert all({"key": "team", "value": "ml", "source": "USER"} in one for one in tags)
    assert any({"key": "tier", "value": "gold", "source": "USER"} in one for one in tags)


def test_the_environment_stays_as_it_was(project, backend, monkeypatch):
    """Functions that a run calls, and their children, would inherit further copies of the backend's key."""
    monkeypatch.setenv("OPENLINEAGE_URL", backend.url)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "k3y")
    before = dict(os.environ)
    assert tell({}, project, every_ending()).waiting == 0
    assert len(backend.events) == 18
    assert dict(os.environ) == before


def test_flush_leaves_a_living_runs_events_to_it(project, backend):
    """Events would arrive twice, and out of order."""
    one = listener(http(backend.url), project=project)
    assert one is not None
    walk = Told()
    one(walk.begin())
    assert flush(http(backend.url), project=project).waiting in (0, 1)
    one(walk.end())
    assert one.close(10).waiting == 0
    assert [event["eventType"] for event in backend.events] == ["START", "COMPLETE"]


def test_the_next_run_sends_what_an_earlier_one_left(project, dead_url, backend):
    """Somebody would have to think of `drawbar lineage flush`."""
    assert tell(http(dead_url), project, every_ending(), timeout=2.0).waiting == 18
    one = listener(http(backend.url), project=project)
    assert one is not None
    one(Told().begin())
    deadline = time.monotonic() + 20
    while len(backend.events) < 19 and time.monotonic() < deadline:
        time.sleep(0.05)
    one.close(5)
    assert len(backend.events) == 19


def test_a_listener_hears_on_after_its_close(project):
    """A late event would be lost, or raise in the run."""
    one = listener({}, project=project)
    assert one is not None
    walk = Told()
    one(walk.begin())
    one.close(10)
    one(walk.end())
    assert one.status().waiting == 1
    assert one.close(0).waiting == 1


def test_events_whose_sending_was_not_remembered_are_not_doubled_in_the_projects_file(project):
    """A process killed between writing the file and remembering that would leave every run with two ends."""
    one = listener({}, project=project)
    assert one is not None
    for event in every_ending():
        one(event)
    (segment,) = one.status().outbox.glob("*-*.ndjson")
    own_file(project).parent.mkdir()
    whole = segment.read_bytes()
    own_file(project).write_bytes(b"".join(whole.splitlines(keepends=True)[:7]) + b'{"eventType"')
    one.close(10)
    kept = segment.with_name("00000000000000000001-1.ndjson")
    own_file(project).write_bytes(b"".join(whole.splitlines(keepends=True)[:7]) + b'{"eventType"')
    kept.write_bytes(whole)
    assert flush({}, project=project).waiting == 0
    assert own_file(project).read_bytes() == whole


def test_what_is_told_while_sending_is_not_lost(project, monkeypatch):
    """An event told between sending a segment and removing it would vanish with the segment."""
    monkeypatch.setattr(outbox, "SEGMENT_BYTES", 20_000)
    monkeypatch.setattr(flusher, "_LINGER_SECONDS", 0.0)
    walk = Told()
    events = [walk.begin(), *(event for at in range(1500) for event in one_made(walk, f"a{at}")), walk.end()]
    assert tell({}, project, events).waiting == 0
    times = [event["eventTime"] for event in read_lines(own_file(project))]
    assert times == [event.at.isoformat() for event in events]


def test_a_torn_line_in_the_projects_file_is_mended(project):
    """The event after it would be unreadable too."""
    tell({}, project, every_ending())
    with own_file(project).open("ab") as file:
        file.write(b'{"eventType":"STA')
    tell({}, project, every_ending())
    assert len(read_lines(own_file(project))) == 36
