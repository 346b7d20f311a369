"""Nothing acknowledged to a publisher is lost: restarts, and kill -9 of the whole process."""

import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import grpc
import pytest
from geminivideo.runtime.clock import Clock
from google.api_core import exceptions
from google.protobuf.timestamp_pb2 import Timestamp
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from emulators.pubsub import Server
from emulators.pubsub.store import StateFormatError
from emulators.serving import PortInUseError

from ..clocks import MovableClock

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


@pytest.mark.ours_only("restarts the server")
def test_message_ids_of_a_topic_without_subscriptions_are_not_used_again(cloud):
    """message_id: unique within the topic, also for what nobody was to receive."""
    topic = cloud.topic()
    first = cloud.publish(topic)
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


class Traffic:
    """Publishes, pulls, acknowledges and holds over and over until the server is gone.

    What a call answered for is written down after its answer, so it must hold for good.
    """

    def __init__(self, channel):
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        self.subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        self.topic = "projects/p1/topics/top"
        self.name = "projects/p1/subscriptions/sub"
        self.publisher.create_topic(name=self.topic)
        self.subscriber.create_subscription(
            request={"name": self.name, "topic": self.topic, "enable_message_ordering": True}
        )
        self.published: list[str] = []
        self.acknowledged: set[str] = set()
        self.unsure: set[str] = set()
        self.held: set[str] = set()
        self.threads = [threading.Thread(target=self._until_gone, args=(self.publish_some,))]
        self.threads += [
            threading.Thread(target=self._until_gone, args=(self.work,)) for _ in range(2)
        ]

    def _until_gone(self, step):
        numbers = itertools.count()
        try:
            while True:
                step(next(numbers))
        except exceptions.GoogleAPICallError:
            return

    def publish_some(self, number):
        messages = [{"data": b"x", "ordering_key": f"k{i}" if i else ""} for i in range(4)]
        self.published += self.publisher.publish(
            topic=self.topic, messages=messages, retry=None
        ).message_ids

    def work(self, number):
        received = self.subscriber.pull(
            subscription=self.name, max_messages=3, retry=None
        ).received_messages
        ids = {each.message.message_id for each in received}
        if number % 4 == 3:
            self.held |= ids
            return
        self.unsure |= ids
        ack_ids = [each.ack_id for each in received]
        self.subscriber.acknowledge(subscription=self.name, ack_ids=ack_ids, retry=None)
        self.acknowledged |= ids
        self.unsure -= ids


@pytest.mark.ours_only("kills the process")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kill_9_under_traffic_keeps_every_promise(tmp_path, cloud_on, seed):
    """Kill -9 at any moment: what was published comes, what was acknowledged does not, leases hold.

    Ordering keys go on in order: nothing of a key comes before what is still held of it.
    """
    process, channel = start(tmp_path / "cloud0")
    traffic = Traffic(channel)
    for thread in traffic.threads:
        thread.start()
    time.sleep(random.Random(seed).uniform(0.2, 0.6))
    os.kill(process.pid, signal.SIGKILL)
    for thread in traffic.threads:
        thread.join()
    process.wait()
    process.stdout.close()
    channel.close()
    cloud = cloud_on(MovableClock())
    at_once = drained(cloud, traffic.name)
    assert not set(at_once) & traffic.acknowledged
    assert not set(at_once) & traffic.held, "a lease was broken"
    cloud.clock.advance(11)
    cloud.server.clock_moved()
    later = drained(cloud, traffic.name)
    assert not set(later) & (traffic.acknowledged | set(at_once))
    expected = set(traffic.published) - traffic.acknowledged - traffic.unsure
    assert expected <= set(at_once) | set(later)


def drained(cloud, subscription):
    """Message ids as they come until nothing comes any more; each key's must rise."""
    ids: list[str] = []
    last: dict[str, int] = {}
    while received := cloud.pull(subscription, 1000, now=True):
        for each in received:
            key, number = each.message.ordering_key, int(each.message.message_id)
            assert not key or last.get(key, 0) < number
            last[key] = number
        ids += [each.message.message_id for each in received]
        cloud.ack(subscription, *received)
    return ids


@pytest.mark.ours_only("kills the process")
def test_kill_9_keeps_snapshots_and_seeks(tmp_path, cloud_on):
    """Kill -9 right after a snapshot, an acknowledgement and a seek: all three have happened."""
    process, channel = start(tmp_path / "cloud0")
    traffic = Traffic(channel)
    for _ in range(5):
        traffic.publish_some(0)
    snap = traffic.subscriber.create_snapshot(
        name="projects/p1/snapshots/snap", subscription=traffic.name
    )
    purged = Timestamp(seconds=int(time.time()) + 3600)
    traffic.subscriber.seek(request={"subscription": traffic.name, "time": purged})
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    channel.close()
    cloud = cloud_on(Clock())
    assert cloud.pull(traffic.name, now=True) == []
    cloud.subscriber.seek(request={"subscription": traffic.name, "snapshot": snap.name})
    assert set(drained(cloud, traffic.name)) == set(traffic.published)


@pytest.mark.ours_only("looks at the file")
def test_a_file_of_an_earlier_format_is_refused(tmp_path, clock):
    """State that this version would misread is not read: the error says how to start afresh."""
    database = sqlite3.connect(tmp_path / "pubsub.sqlite")
    database.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY)")
    database.commit()
    database.close()
    with pytest.raises(StateFormatError, match="--fresh"):
        Server(state_dir=tmp_path, clock=clock)


def test_a_port_in_use_is_said(cloud, tmp_path, clock):
    """A port that something listens on is refused by number."""
    with pytest.raises(PortInUseError, match=str(cloud.server.port)):
        Server(state_dir=tmp_path / "other", clock=clock, port=cloud.server.port)
