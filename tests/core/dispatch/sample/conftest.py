"""These modules are a user's project, imported by the tests beside them; there is nothing to collect."""

collect_ignore_glob = ["sample_*.py"]
