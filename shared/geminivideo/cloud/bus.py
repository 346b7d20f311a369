"""Pub/Sub: publish, and know that it is published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.cloud import pubsub_v1
    from google.pubsub_v1.types import PubsubMessage

_PUBLISH_TIMEOUT_S = 30.0
_MOST_MESSAGES = 500  # of a call; Pub/Sub takes 1,000, and 10 MB with what is around them
_MOST_BYTES = 5_000_000


class Bus:
    """The publishing side; ``PUBSUB_EMULATOR_HOST`` is honoured by the client itself."""

    def __init__(self, project: str, patience_s: float = _PUBLISH_TIMEOUT_S) -> None:
        """``patience_s`` bounds how long a publisher waits for a bus that does not answer."""
        self._project = project
        self._patience_s = patience_s

    @cached_property
    def client(self) -> pubsub_v1.PublisherClient:
        """The real client, opened on first use."""
        from google.cloud import pubsub_v1

        return pubsub_v1.PublisherClient()

    @cached_property
    def _patience(self) -> dict[str, Any]:
        from google.api_core import exceptions
        from google.api_core.retry import Retry, if_exception_type

        passing = (
            exceptions.ServerError, exceptions.TooManyRequests, exceptions.Aborted,
            exceptions.Cancelled,
        )  # fmt: skip
        retry = Retry(predicate=if_exception_type(*passing), timeout=self._patience_s)
        return {"retry": retry, "timeout": self._patience_s}

    def publish(self, topic: str, body: bytes, attributes: Mapping[str, str]) -> str:
        """Publish one message to a topic of this project; returns its id once it is stored."""
        return self.publish_all([(topic, body, attributes)])[0]

    def publish_all(self, messages: Iterable[tuple[str, bytes, Mapping[str, str]]]) -> list[str]:
        """Publish messages together; returns their ids; raises what Pub/Sub answered.

        One call a topic: the client's own ``publish`` waits in a thread for more messages, while
        here all are known.
        """
        from google.pubsub_v1.types import PubsubMessage

        told = list(messages)
        by_topic: dict[str, list[int]] = {}
        for at, (topic, _, _) in enumerate(told):
            by_topic.setdefault(topic, []).append(at)
        ids = [""] * len(told)
        for topic, places in by_topic.items():
            for some in _calls(places, [len(body) for _, body, _ in told]):
                sent = [PubsubMessage(data=told[a][1], attributes=told[a][2]) for a in some]
                for at, given in zip(some, self._send(topic, sent), strict=True):
                    ids[at] = given
        return ids

    def _send(self, topic: str, messages: list[PubsubMessage]) -> Sequence[str]:
        name = f"projects/{self._project}/topics/{topic}"
        sent = self.client._gapic_publish(topic=name, messages=messages, **self._patience)
        found: Sequence[str] = sent.message_ids
        return found


def _calls(places: list[int], sizes: list[int]) -> Iterator[list[int]]:
    """So many messages a call as Pub/Sub takes."""
    some: list[int] = []
    held = 0
    for at in places:
        if some and (len(some) == _MOST_MESSAGES or held + sizes[at] > _MOST_BYTES):
            yield some
            some, held = [], 0
        some.append(at)
        held += sizes[at]
    if some:
        yield some
