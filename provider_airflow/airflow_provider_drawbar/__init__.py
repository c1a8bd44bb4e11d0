"""What Airflow reads about this package; imports nothing, because Airflow calls it at every start."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def get_provider_info() -> dict[str, Any]:
    """The provider's name, description and version, as Airflow's provider schema wants them."""
    return {
        "package-name": "airflow-provider-drawbar",
        "name": "drawbar",
        "description": "Data assets written once, made on GPU hosts behind SSH, remembered everywhere.",
        "versions": [__version__],
    }
