"""Pub/Sub: publish, and know that it is published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.cloud import pubsub_v1

_PUBLISH_TIMEOUT_S = 30.0


class Bus:
    """The publishing side; ``PUBSUB_EMULATOR_HOST`` is honoured by the client itself."""

    def __init__(self, project: str, patience_s: float = _PUBLISH_TIMEOUT_S) -> None:
        """``patience_s`` bounds how long a publisher waits for a bus that does not answer."""
        self._project = project
        self._patience_s = patience_s

    @cached_property
    def client(self) -> pubsub_v1.PublisherClient:
        """The real client, opened on first use; it sends at once instead of waiting to batch."""
        from google.cloud import pubsub_v1

        return pubsub_v1.PublisherClient(
            batch_settings=pubsub_v1.types.BatchSettings(max_latency=0.001)
        )

    def publish(self, topic: str, body: bytes, attributes: Mapping[str, str]) -> str:
        """Publish one message to a topic of this project; returns its id once it is stored."""
        return self.publish_all([(topic, body, attributes)])[0]

    def publish_all(self, messages: Iterable[tuple[str, bytes, Mapping[str, str]]]) -> list[str]:
        """Publish messages together; returns their ids; raises what Pub/Sub answered."""
        futures = [
            self.client.publish(
                f"projects/{self._project}/topics/{topic}", body, **dict(attributes)
            )
            for topic, body, attributes in messages
        ]
        return [future.result(timeout=self._patience_s) for future in futures]
