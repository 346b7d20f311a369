"""A Pub/Sub of its own for each test, Google's clients on it, and an endpoint to push to."""

import warnings
from typing import Any

import pytest
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from emulators.pubsub import Server

from ..calling import CallingCloud


class Cloud(CallingCloud):
    """A Pub/Sub server, a publisher and a subscriber."""

    server_type = Server
    project = "projects/p1"

    def connect(self) -> list[Any]:
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self.channel()))
        self.subscriber = SubscriberClient(
            transport=SubscriberGrpcTransport(channel=self.channel())
        )
        return [self.publisher, self.subscriber]

    def topic(self, name: str = "top", **fields) -> str:
        full = f"{self.project}/topics/{name}"
        self.publisher.create_topic(request={"name": full, **fields})
        return full

    def subscription(self, topic: str, name: str = "sub", **fields) -> str:
        full = f"{self.project}/subscriptions/{name}"
        self.subscriber.create_subscription(request={"name": full, "topic": topic, **fields})
        return full

    def publish(self, topic: str, data: bytes = b"x", key: str = "", **attributes: str) -> str:
        message = {"data": data, "attributes": attributes, "ordering_key": key}
        answer = self.publisher.publish(topic=topic, messages=[message])
        return answer.message_ids[0]

    def pull(self, subscription: str, count: int = 10, now: bool = False):
        request = {"subscription": subscription, "max_messages": count}
        if now:
            request["return_immediately"] = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # return_immediately still works
            return list(self.subscriber.pull(request=request, timeout=10).received_messages)

    def ack(self, subscription: str, *received) -> None:
        ids = [each.ack_id for each in received]
        self.subscriber.acknowledge(request={"subscription": subscription, "ack_ids": ids})

    def nack(self, subscription: str, *received, seconds: int = 0) -> None:
        ids = [each.ack_id for each in received]
        self.subscriber.modify_ack_deadline(
            request={"subscription": subscription, "ack_ids": ids, "ack_deadline_seconds": seconds}
        )


@pytest.fixture
def cloud_type() -> type[Cloud]:
    return Cloud


@pytest.fixture
def endpoint(endpoint):
    endpoint.path = "/push"
    return endpoint
