"""Configuration, as the OpenLineage client reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drawbar.errors import LineageError
from drawbar_adapters.openlineage import listener
from drawbar_adapters.openlineage.config import read_settings

HTTP = {"type": "http", "url": "http://host:5000"}
FIX = "correct it where it is set: [tool.drawbar.lineage], openlineage.yml or an OPENLINEAGE__TRANSPORT__… variable"
KINDS = (
    "file, http, async_http, kafka, msk-iam, composite, transform, console, noop, datadog, gcplineage, "
    "amazon_datazone_api"
)


def places(table, project, environment=None) -> list[tuple[str, object]]:
    """Where the settings say that events go."""
    return [(each.label, each.config) for each in read_settings(table, project, environment or {}).destinations]


def test_nothing_configured_is_a_file_of_the_project(project):
    """A user who never heard of OpenLineage would be left without lineage, or with noise on the console."""
    path = project / ".drawbar" / "lineage.ndjson"
    assert places({}, project) == [(f"file {path}", None)]


def test_the_table_goes_before_the_file_and_the_file_before_the_environment(project, tmp_path):
    """Lineage would go somewhere else than where the OpenLineage client sends it."""
    yml = tmp_path / "openlineage.yml"
    yml.write_text("transport:\n  type: http\n  url: http://yml:5000\n  timeout: 1\n")
    environment = {"OPENLINEAGE__TRANSPORT__TYPE": "http", "OPENLINEAGE__TRANSPORT__URL": "http://env:5000"}
    assert places({}, project, environment)[0][0] == "http http://env:5000/"
    environment["OPENLINEAGE_CONFIG"] = str(yml)
    assert places({}, project, environment) == [
        ("http http://yml:5000/", {"type": "http", "url": "http://yml:5000", "timeout": 1})
    ]
    assert places({"transport": {"url": "http://table:5000"}}, project, environment)[0][0] == "http http://table:5000/"


@pytest.mark.parametrize("folder", [".", ".openlineage"])
def test_the_usual_files_are_found(project, folder):
    """An existing openlineage.yml, here or in the home folder, would be overlooked."""
    Path(folder).mkdir(exist_ok=True)
    (Path(folder) / "openlineage.yml").write_text(json.dumps({"transport": HTTP}))
    assert places({}, project)[0][0] == "http http://host:5000/"


def test_the_simple_variables_are_understood(project):
    """`OPENLINEAGE_URL`, the way most people set it, would be ignored."""
    environment = {"OPENLINEAGE_URL": "http://host", "OPENLINEAGE_ENDPOINT": "x", "OPENLINEAGE_API_KEY": "k3y"}
    assert places({}, project, environment) == [
        (
            "http http://host/",
            {"type": "http", "url": "http://host", "endpoint": "x", "auth": {"type": "api_key", "apiKey": "k3y"}},
        )
    ]


def test_structured_variables_are_understood(project):
    """A deployment that sets everything by variables could not configure Kafka."""
    environment = {
        "OPENLINEAGE__TRANSPORT__TYPE": "kafka",
        "OPENLINEAGE__TRANSPORT__TOPIC": "lineage",
        "OPENLINEAGE__TRANSPORT__CONFIG": '{"bootstrap.servers": "broker:9092"}',
    }
    assert places({}, project, environment) == [
        ("kafka lineage", {"type": "kafka", "topic": "lineage", "config": {"bootstrap.servers": "broker:9092"}})
    ]


def test_a_composite_is_one_destination_for_each_child(project):
    """A backend that was down for a moment would miss what another one got."""
    children = {"a": HTTP, "b": {"type": "console"}}
    transport = {"type": "composite", "transports": children}
    assert [label for label, _ in places({"transport": transport}, project)] == ["http http://host:5000/", "console b"]
    first = {**transport, "continue_on_success": False}
    assert [label for label, _ in places({"transport": first}, project)] == ["composite"]


def test_the_url_variable_joins_a_composite(project):
    """The client's own shorthand for one more backend would be lost."""
    environment = {"OPENLINEAGE_URL": "http://more:1"}
    transport = {"type": "composite", "transports": {"a": HTTP}}
    labels = [label for label, _ in places({"transport": transport}, project, environment)]
    assert labels == ["http http://more:1/", "http http://host:5000/"]


def test_labels_hold_no_credentials(project):
    """The password in a backend's address would be shown by `drawbar lineage status`."""
    ((label, _),) = places({"transport": {"type": "http", "url": "http://me:pw@host/a?token=t"}}, project)
    assert label == "http http://host/a"


@pytest.mark.parametrize("table", [{"enabled": False}, {"transport": {"type": "noop"}}])
def test_lineage_can_be_switched_off(project, table):
    """Who does not want lineage would get it all the same."""
    assert listener(table, project=project) is None
    assert not (project / ".drawbar").exists()


def test_the_clients_own_switch_is_heard(project, monkeypatch):
    """OPENLINEAGE_DISABLED would stop every tool but this one."""
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "True")
    assert listener({"transport": {"type": "http"}}, project=project) is None


@pytest.mark.parametrize(
    ("table", "environment", "message"),
    [
        (
            {"transprt": {}},
            {},
            (
                "'transprt' is not a key of [tool.drawbar.lineage].\n"
                "  expected: dataset, enabled, facets, filters, outbox, redact, tags, transport\n"
                "  found: transprt\n"
                "  do: did you mean 'transport'?"
            ),
        ),
        (
            {"enabled": "yes"},
            {},
            "'enabled' in [tool.drawbar.lineage] has the wrong type.\n  expected: true or false\n  found: 'yes' (str)",
        ),
        (
            {"transport": {"url": "http://host"}},
            {},
            f"The OpenLineage transport has no type.\n  expected: {KINDS}\n  found: url\n  do: {FIX}",
        ),
        (
            {"transport": {"type": "htp"}},
            {},
            (
                f"'htp' is not a type of OpenLineage transport.\n  expected: {KINDS}\n  found: htp\n"
                "  do: did you mean 'http'?"
            ),
        ),
        (
            {"transport": {"type": "http"}},
            {},
            f"The OpenLineage transport 'http' lacks 'url'.\n  expected: url\n  found: type\n  do: {FIX}",
        ),
        (
            {"transport": {"type": "kafka", "topic": "t"}},
            {},
            (
                "The OpenLineage transport 'kafka' lacks 'config'.\n  expected: topic, config\n"
                f"  found: topic, type\n  do: {FIX}"
            ),
        ),
        (
            {"transport": {"type": "composite", "transports": [{"type": "file"}]}},
            {},
            (
                "The OpenLineage transport 'file' lacks 'log_file_path'.\n  expected: log_file_path\n"
                f"  found: type\n  do: {FIX}"
            ),
        ),
        (
            {"transport": {"type": "composite", "transports": ["http"]}},
            {},
            f"The OpenLineage transport has no type.\n  expected: {KINDS}\n  found: 'http'\n  do: {FIX}",
        ),
        (
            {"transport": {"type": "composite", "transports": "http"}},
            {},
            (
                "The transports of a composite OpenLineage transport are neither a list nor a table.\n"
                "  expected: a table of transports by name\n"
                f"  found: 'http'\n  do: {FIX}"
            ),
        ),
        (
            {},
            {"OPENLINEAGE_URL": "host:5000"},
            (
                "The URL of the OpenLineage transport is not one.\n  expected: http://host:port or https://host\n"
                f"  found: host:5000\n  do: {FIX}"
            ),
        ),
        (
            {},
            {"OPENLINEAGE_URL": "me:s3cret@host:5000"},
            (
                "The URL of the OpenLineage transport is not one.\n  expected: http://host:port or https://host\n"
                f"  found: ***@host:5000\n  do: {FIX}"
            ),
        ),
        (
            {},
            {"OPENLINEAGE__TRANSPORT": "http"},
            (
                "The OpenLineage transport is not a table.\n  expected: `type` and its options\n"
                f"  found: 'http'\n  do: {FIX}"
            ),
        ),
        (
            {},
            {"OPENLINEAGE_CONFIG": "/nowhere/ol.yml"},
            (
                "The file that OPENLINEAGE_CONFIG names is not there.\n  expected: the path of an openlineage.yml\n"
                "  found: /nowhere/ol.yml\n  do: correct the variable, or unset it"
            ),
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_before_a_run(project, table, environment, message):
    """A typing error would be found out when the lineage of a month is missing."""
    with pytest.raises(LineageError) as caught:
        read_settings(table, project, environment)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("transport: [", "The OpenLineage configuration cannot be read.\n"),
        ("- a\n- b\n", "The OpenLineage configuration is not a table.\n"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(project, tmp_path, text, message):
    """A mistake in openlineage.yml would silently send lineage nowhere."""
    yml = tmp_path / "ol.yml"
    yml.write_text(text)
    with pytest.raises(LineageError) as caught:
        read_settings({}, project, {"OPENLINEAGE_CONFIG": str(yml)})
    assert str(caught.value).startswith(f"{message}  at: {yml}\n")


def test_an_outbox_that_cannot_be_written_is_refused(project, tmp_path):
    """A run would go on without lineage, and say so at its end only."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LineageError) as caught:
        listener({"outbox": str(tmp_path / "file")}, project=project)
    assert caught.value.what == "The outbox for lineage cannot be written."
    assert caught.value.todo == (
        "set DRAWBAR_HOME or `outbox` in [tool.drawbar.lineage] to a folder that can be written, or `enabled = false`"
    )


def test_checking_loads_no_client(project):
    """A run would wait half a second for a library that it may never need."""
    import subprocess
    import sys

    code = (
        "import sys, pathlib, drawbar_adapters.plugin as p\n"
        f"p.drawbar_listener(config={{'transport': {HTTP!r}}}, project=pathlib.Path({str(project)!r}))\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('openlineage', 'requests', 'yaml', 'attr')]"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
