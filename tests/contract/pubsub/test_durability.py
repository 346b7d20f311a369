"""Nothing acknowledged to a publisher is lost: restarts, and kill -9 of the whole process."""

import os
import signal
import subprocess
import sys
import time

import grpc
import pytest
from geminivideo.runtime.clock import Clock
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from emulators.pubsub import Server
from emulators.serving import PortInUseError

PROGRAM = """
import pathlib, sys, time
from emulators.pubsub import Server
from geminivideo.runtime.clock import Clock
server = Server(state_dir=pathlib.Path(sys.argv[1]), clock=Clock())
server.start()
print(server.port, flush=True)
time.sleep(600)
"""


def test_resources_survive_a_restart(cloud):
    """Topics and subscriptions are as they were, defaults and labels included."""
    topic = cloud.topic(labels={"a": "1"})
    name = cloud.subscription(topic, ack_deadline_seconds=30, filter="attributes:k")
    before = cloud.subscriber.get_subscription(subscription=name)
    cloud.restart()
    assert dict(cloud.publisher.get_topic(topic=topic).labels) == {"a": "1"}
    assert cloud.subscriber.get_subscription(subscription=name) == before


def test_unacknowledged_messages_survive_and_acknowledged_ones_do_not(cloud):
    """What was not acknowledged before the restart is delivered after it, the rest is not."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    for i in range(4):
        cloud.publish(topic, b"%d" % i, n=str(i))
    cloud.ack(name, *cloud.pull(name, 2))
    cloud.restart()
    received = cloud.pull(name)
    assert [r.message.data for r in received] == [b"2", b"3"]
    assert [r.message.attributes["n"] for r in received] == ["2", "3"]


def test_a_pull_lease_goes_on_over_a_restart(cloud):
    """The lease of a pulled message holds, and its ack id still acknowledges."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic)
    received = cloud.pull(name)
    cloud.restart()
    assert cloud.pull(name, now=True) == []
    cloud.ack(name, *received)
    cloud.advance(60)
    assert cloud.pull(name, now=True) == []


def test_attempts_and_backoff_survive_a_restart(cloud, endpoint):
    """Delivery attempts and the next delivery time are durable."""
    topic = cloud.topic()
    policy = {"dead_letter_topic": cloud.topic("dead")}
    name = cloud.subscription(topic, dead_letter_policy=policy, retry_policy={})
    cloud.publish(topic)
    cloud.nack(name, *cloud.pull(name))
    cloud.restart()
    cloud.advance(9)
    assert cloud.pull(name, now=True) == []
    cloud.advance(1.1)
    assert cloud.pull(name, now=True)[0].delivery_attempt == 2


def test_message_ids_are_not_used_again_after_a_restart(cloud):
    """message_id: unique within the topic, also when everything was acknowledged before."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    first = cloud.publish(topic)
    cloud.ack(name, *cloud.pull(name))
    cloud.restart()
    assert int(cloud.publish(topic)) > int(first)


def test_settled_messages_leave_the_store(cloud):
    """A publish request that no subscription waits for takes no space, nor do its deliveries."""
    topic = cloud.topic()
    names = [cloud.subscription(topic, f"sub-{i}") for i in range(2)]
    cloud.publisher.publish(topic=topic, messages=[{"data": b"x"}] * 10)
    cloud.ack(names[0], *cloud.pull(names[0]))
    store = cloud.server._broker._store
    assert len(store.batches()) == 1
    cloud.subscriber.delete_subscription(subscription=names[1])
    assert store.batches() == []
    assert store.deliveries() == []


def start(state_dir):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(state_dir)], stdout=subprocess.PIPE, text=True
    )
    port = process.stdout.readline().strip()
    return process, grpc.insecure_channel(f"127.0.0.1:{port}")


@pytest.mark.ours_only("kills the process")
def test_kill_9_in_the_middle_of_pushing_loses_nothing(tmp_path, endpoint, cloud_on):
    """At-least-once over kill -9: every published message is accepted in the end."""
    process, channel = start(tmp_path / "cloud0")
    publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
    topic, name = "projects/p1/topics/top", "projects/p1/subscriptions/sub"
    publisher.create_topic(name=topic)
    subscriber.create_subscription(
        name=name, topic=topic, push_config={"push_endpoint": endpoint.url}
    )
    endpoint.status = 503
    ids = set()
    for _ in range(10):
        messages = [{"data": b"x"}] * 20
        ids |= set(publisher.publish(topic=topic, messages=messages).message_ids)
    endpoint.take(20)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    channel.close()
    while not endpoint.seen.empty():
        endpoint.seen.get()
    endpoint.status = 200
    cloud_on(Clock())
    accepted = set()
    deadline = time.monotonic() + 15
    while accepted != ids and time.monotonic() < deadline:
        accepted.add(endpoint.take()[0].message["messageId"])
    assert accepted == ids


def test_a_port_in_use_is_said(cloud, tmp_path, clock):
    """A port that something listens on is refused by number."""
    with pytest.raises(PortInUseError, match=str(cloud.server.port)):
        Server(state_dir=tmp_path / "other", clock=clock, port=cloud.server.port)
