"""The distribution installs and imports beside the others."""

from __future__ import annotations

from importlib import metadata

import airflow_provider_drawbar


def test_the_package_is_installed_and_knows_its_version():
    """What pip installed and what the package says are one version."""
    assert metadata.version("airflow-provider-drawbar") == airflow_provider_drawbar.__version__


def test_airflow_finds_the_provider_without_importing_anything():
    """`get_provider_info` is what the entry point names, and holds what Airflow's schema asks for."""
    (entry,) = [
        one
        for one in metadata.entry_points(group="apache_airflow_provider")
        if one.value.startswith("airflow_provider_drawbar")
    ]
    info = entry.load()()
    assert {"package-name", "name", "description", "versions"} <= set(info)
