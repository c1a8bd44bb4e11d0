"""What core finds by the entry point."""

from __future__ import annotations

import json
import subprocess
import sys

import pluggy
import pytest
from openlineage_series import every_ending

from drawbar.keys import AssetKey
from drawbar.plugins import Hooks
from drawbar_adapters import plugin

RUN, WALK = "01941f29-7c00-7087-8906-40e512c257bd", "01941f29-7c00-7000-8000-000000000000"


@pytest.fixture
def hooks():
    """The plugin in a manager of its own, with core's hookspecs."""
    spec = pluggy.HookspecMarker("drawbar")
    for name, function in vars(Hooks).items():
        if name.startswith("drawbar_"):
            spec(function)
    manager = pluggy.PluginManager("drawbar")
    manager.add_hookspecs(Hooks)
    manager.register(plugin)
    manager.check_pending()
    return manager.hook


def test_core_gets_a_listener_that_leaves_lineage(hooks, project):
    """An installed drawbar-adapters would leave no lineage."""
    (listener,) = hooks.drawbar_listener(config={}, project=project)
    for event in every_ending():
        listener(event)
    listener.close()
    assert len((project / ".drawbar" / "lineage.ndjson").read_text().splitlines()) == 18


def test_the_commands_get_plain_facts(hooks, project):
    """`drawbar lineage status --json` could not be written."""
    (lineage,) = hooks.drawbar_lineage()
    for facts in (lineage.status({}, project), lineage.flush({}, project)):
        assert json.loads(json.dumps(facts)) == facts
        assert (facts["waiting"], facts["sent"], facts["refused"], facts["message"]) == (0, 0, 0, "")
        path = project / ".drawbar" / "lineage.ndjson"
        assert facts["destinations"] == [{"to": f"file {path}", "sent": 0, "waiting": 0, "refused": 0, "error": ""}]


def test_a_job_gets_its_asset_as_parent(hooks, monkeypatch):
    """Lineage that a job emits itself would not be joined to its asset."""
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "team")
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", f"prod/dag/{WALK}")
    (found,) = hooks.drawbar_job_variables(
        namespace="site", key=AssetKey("site", "a"), asset_run_id=RUN, run_id=WALK, parent=None
    )
    assert found["OPENLINEAGE_PARENT_ID"] == f"team/site.a/{RUN}"
    assert found["OPENLINEAGE_ROOT_PARENT_ID"] == f"prod/dag/{WALK}"


def test_finding_the_plugin_loads_nothing_heavy():
    """Every start of drawbar would pay for lineage."""
    code = (
        "import sys, drawbar_adapters.plugin\n"
        "heavy = ('openlineage', 'drawbar_adapters.openlineage', 'drawbar.')\n"
        "assert not [name for name in sys.modules if name.startswith(heavy)]"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
