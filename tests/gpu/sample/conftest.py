"""This module is a user's project, imported by the tests beside it; there is nothing to collect."""

collect_ignore_glob = ["gpu_*.py"]
