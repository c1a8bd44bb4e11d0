"""The run that asked for this one, read from the environment, and set there for whoever a job starts in turn.

Two forms are in use: `OPENLINEAGE_CONTEXT`, a JSON object, and the older `OPENLINEAGE_PARENT_ID` and
`OPENLINEAGE_ROOT_PARENT_ID`, each `namespace/job/run id`. Both are read, the first before the others, and both are set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from drawbar.events import Parent
from drawbar.keys import AssetKey
from drawbar_adapters.naming import openlineage_job
from drawbar_adapters.openlineage.facets import uuid_of

CONTEXT = "OPENLINEAGE_CONTEXT"
PARENT_ID = "OPENLINEAGE_PARENT_ID"
ROOT_PARENT_ID = "OPENLINEAGE_ROOT_PARENT_ID"


def parent_from_environment(environment: Mapping[str, str]) -> Parent | None:
    """The parent that the environment names, None where it names none that can be understood.

    A malformed value is passed over: somebody else's variable must not stop a run.

    >>> parent_from_environment({PARENT_ID: "prod/dag.task/01941f29-7c00-7087-8906-40e512c257bd"}).job_name
    'dag.task'
    """
    return _from_context(environment.get(CONTEXT, "")) or _from_ids(
        environment.get(PARENT_ID, ""), environment.get(ROOT_PARENT_ID, "")
    )


def openlineage_environment(
    key: AssetKey, asset_run_id: str, run_id: str, parent: Parent | None = None, *, namespace: str | None = None
) -> dict[str, str]:
    """Variables that make an asset's run the parent of whatever its job starts and reports itself.

    `run_id` is the walk's. `parent` is who asked for the walk, whose root becomes theirs; without one the walk is the
    root. `namespace` is the job namespace where it is not the asset's own.

    >>> asset_run, walk = "01941f29-7c00-7087-8906-40e512c257bd", "01941f29-7c00-7000-8000-000000000000"
    >>> openlineage_environment(AssetKey("site", "embeddings"), asset_run, walk)["OPENLINEAGE_PARENT_ID"]
    'site/site.embeddings/01941f29-7c00-7087-8906-40e512c257bd'
    """
    space = namespace or key.namespace
    mine = (space, openlineage_job(key), uuid_of(asset_run_id))
    if parent is None:
        root = (space, key.namespace, uuid_of(run_id))
    else:
        root = (
            parent.root_job_namespace or parent.job_namespace,
            parent.root_job_name or parent.job_name,
            uuid_of(parent.root_run_id or parent.run_id),
        )
    return {
        PARENT_ID: "/".join(mine),
        ROOT_PARENT_ID: "/".join(root),
        CONTEXT: json.dumps({"parent": {**_named(mine), "root": _named(root)}}, separators=(",", ":")),
    }


def _named(triple: tuple[str, str, str]) -> dict[str, Any]:
    namespace, name, run_id = triple
    return {"run": {"runId": run_id}, "job": {"namespace": namespace, "name": name}}


def _from_context(context: str) -> Parent | None:
    try:
        parent = json.loads(context)["parent"]
        mine = _triple(parent)
        root = _triple(parent["root"]) if parent.get("root") else mine
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return _parent(mine, root)


def _from_ids(parent_id: str, root_id: str) -> Parent | None:
    mine, root = _split(parent_id), _split(root_id)
    return _parent(mine, root or mine) if mine else None


def _triple(named: Mapping[str, Any]) -> tuple[str, str, str]:
    run_id = named["run"]["runId"]
    UUID(run_id)
    return str(named["job"]["namespace"]), str(named["job"]["name"]), run_id


def _split(text: str) -> tuple[str, str, str] | None:
    # From the right: a namespace may be a URL with slashes of its own.
    parts = text.rsplit("/", 2)
    try:
        namespace, name, run_id = parts
        UUID(run_id)
    except ValueError:
        return None
    return namespace, name, run_id


def _parent(mine: tuple[str, str, str], root: tuple[str, str, str]) -> Parent:
    return Parent(
        run_id=mine[2],
        job_namespace=mine[0],
        job_name=mine[1],
        root_run_id=root[2],
        root_job_namespace=root[0],
        root_job_name=root[1],
    )
