"""A Pub/Sub of its own for each test, Google's clients on it, and an endpoint to push to."""

import uuid
import warnings
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from geminivideo.runtime.clock import Clock
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from emulators.pubsub import Server

from ..calling import CallingCloud
from ..google import Running


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


class Googles(Cloud):
    """The same clients on Google's emulator, in a project of their own.

    What it cannot do ends the case there as not applicable.
    """

    def __init__(self, running: Running, **options) -> None:
        if options:
            pytest.skip(f"ours only: needs a server with {', '.join(options)}")
        self.running = running
        self.project = f"projects/p-{uuid.uuid4().hex[:10]}"
        self._clients = self.connect()

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.running.host)

    @property
    def server(self) -> Any:
        pytest.skip("ours only: looks into the server")

    @property
    def minted(self) -> Any:
        pytest.skip("ours only: needs a token issuer")

    def stop(self) -> None:
        for client in self._clients:
            client.transport.close()

    def restart(self) -> None:
        pytest.skip("ours only: needs state that outlives a restart")

    def advance(self, seconds: float) -> None:
        pytest.skip("ours only: needs a clock that can be advanced")

    def settle(self) -> None:
        pytest.skip("ours only: needs to see what is under way")


class NobodysClock(Clock):
    """Real time, which no test can move."""

    def advance(self, seconds: float) -> None:
        pytest.skip("ours only: needs a clock that can be advanced")


@pytest.fixture
def clock(backend, clock) -> Clock:
    return clock if backend is None else NobodysClock()


@pytest.fixture
def cloud_type(backend) -> Callable[..., Cloud]:
    """Build a cloud in a state directory on a clock; Google's has neither."""
    if backend is None:
        return Cloud
    return lambda state_dir, clock, **options: Googles(backend, **options)


@pytest.fixture
def endpoint(endpoint):
    endpoint.path = "/push"
    return endpoint
