"""What more than one orchestrator needs and core must not know: names in other tools, and OpenLineage."""
