"""drawbar for Kedro: the plugin's package."""

from __future__ import annotations

__version__ = "0.1.0"
