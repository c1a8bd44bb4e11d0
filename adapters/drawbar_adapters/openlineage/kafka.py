"""The client's Kafka transport, told apart in one thing: an event that no broker confirmed was not sent.

The client's own only logs a failed delivery, so that the outbox would drop what never arrived. This class is named to
the client's factory as the transport's type; nothing else imports this file.
"""

from __future__ import annotations

from typing import Any

from openlineage.client.serde import Serde
from openlineage.client.transport.kafka import KafkaConfig, KafkaTransport

# librdkafka would wait five minutes for a broker that is down; the outbox tries again by itself.
_PATIENCE = {"message.timeout.ms": "10000"}


class ConfirmedKafkaTransport(KafkaTransport):
    """Sends an event and returns when a broker has it; RuntimeError with the broker's reason where none has."""

    def __init__(self, config: KafkaConfig) -> None:
        config.config = {**_PATIENCE, **config.config}
        super().__init__(config)

    def emit(self, event: Any) -> None:
        """Produce one event, keyed as the client does, and wait for its delivery."""
        producer: Any = self.producer
        failures: list[str] = []
        producer.produce(
            topic=self.topic,
            key=self.message_key or self._get_message_key(event),
            value=Serde.to_json(event).encode(),
            on_delivery=lambda error, _message: failures.append(str(error)) if error else None,
        )
        producer.flush()
        if failures:
            raise RuntimeError(f"not delivered to topic {self.topic!r}: {failures[0]}")
