"""Kafka, with the mock cluster that librdkafka brings."""

from __future__ import annotations

import pytest
from openlineage_series import every_ending

from drawbar_adapters.openlineage import flush, listener

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")


def tell(table, project):
    """A run that tells every ending; how its lineage stands at its end."""
    one = listener(table, project=project)
    assert one is not None
    for event in every_ending():
        one(event)
    return one.close(20)


def kafka(**config: object) -> dict[str, object]:
    """A table that sends to a topic; `config` is librdkafka's."""
    return {"transport": {"type": "kafka", "topic": "lineage", "config": config}}


def test_events_reach_a_broker(project):
    """Lineage could not be sent to Kafka."""
    assert tell(kafka(**{"test.mock.num.brokers": 1}), project).waiting == 0


def test_what_no_broker_confirmed_is_kept(project):
    """Events would be lost whenever a broker is down: the client itself only logs that."""
    down = kafka(**{"bootstrap.servers": "127.0.0.1:9", "message.timeout.ms": 300, "log_level": 0})
    said = tell(down, project)
    assert said.waiting == 18
    assert "not delivered to topic 'lineage'" in said.places[0].error
    assert flush(kafka(**{"test.mock.num.brokers": 1}), project=project).waiting == 0
