"""Each service under one script, its real client, and an endpoint to deliver to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from geminivideo.runtime.clock import Clock
from google.cloud import firestore, storage
from google.cloud.tasks_v2 import CloudTasksClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from emulators import firestore as our_firestore
from emulators import pubsub as our_pubsub
from emulators import storage as our_storage
from emulators import tasks as our_tasks
from emulators.faults import Faults

from ..clocks import MovableClock

TOPIC = "projects/p1/topics/top"
SUBSCRIPTION = "projects/p1/subscriptions/sub"
PARENT = "projects/p1/locations/us-central1"
QUEUE = f"{PARENT}/queues/q"


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def faults(clock: Clock) -> Faults:
    return Faults(clock)


@pytest.fixture
def serve(tmp_path: Path, clock: Clock, faults: Faults) -> Iterator[Callable[..., Any]]:
    """Start a service under the script; stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start(server_type: Any, **options: Any) -> Any:
            server = server_type(state_dir=tmp_path, clock=clock, faults=faults, **options)
            server.start()
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture
def channel() -> Iterator[Callable[[str], grpc.Channel]]:
    """Channels that are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda host: stack.enter_context(grpc.insecure_channel(host))


class PubSub:
    """Pub/Sub with a topic, its clients, and a subscription on demand."""

    def __init__(self, server: Any, channel: Callable[[str], grpc.Channel]) -> None:
        self.server = server
        self.publisher = PublisherClient(
            transport=PublisherGrpcTransport(channel=channel(server.host))
        )
        self.subscriber = SubscriberClient(
            transport=SubscriberGrpcTransport(channel=channel(server.host))
        )
        self.publisher.create_topic(name=TOPIC)

    def publish(self, *data: bytes, **options: Any) -> list[str]:
        messages = [{"data": each} for each in data]
        return list(self.publisher.publish(topic=TOPIC, messages=messages, **options).message_ids)

    def subscribe(self, url: str = "") -> str:
        request: dict[str, Any] = {"name": SUBSCRIPTION, "topic": TOPIC}
        if url:
            request["push_config"] = {"push_endpoint": url}
        self.subscriber.create_subscription(request=request)
        return SUBSCRIPTION


@pytest.fixture
def pubsub(serve: Callable[..., Any], channel: Callable[[str], grpc.Channel]) -> PubSub:
    return PubSub(serve(our_pubsub.Server), channel)


@pytest.fixture
def tasks(
    serve: Callable[..., Any], channel: Callable[[str], grpc.Channel]
) -> tuple[Any, CloudTasksClient]:
    """Cloud Tasks with a queue."""
    server = serve(our_tasks.Server)
    client = CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel(server.host)))
    client.create_queue(parent=PARENT, queue={"name": QUEUE})
    return server, client


@pytest.fixture
def documents(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> firestore.Client:
    server = serve(our_firestore.Server)
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", server.host)
    return firestore.Client(project="p1")


@pytest.fixture
def bucket(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> storage.Bucket:
    server = serve(our_storage.Server)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    return storage.Client(project="p1").create_bucket("bucket")


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    import time

    def wait(true: Callable[[], bool], limit_s: float = 20.0) -> None:
        until = time.monotonic() + limit_s
        while not true():
            assert time.monotonic() < until, "it does not come true"
            time.sleep(0.005)

    return wait
