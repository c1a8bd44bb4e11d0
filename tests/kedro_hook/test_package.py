"""The distribution installs and imports beside the others."""

from __future__ import annotations

from importlib import metadata

import kedro_drawbar


def test_the_package_is_installed_and_knows_its_version():
    """What pip installed and what the package says are one version."""
    assert metadata.version("kedro-drawbar") == kedro_drawbar.__version__
