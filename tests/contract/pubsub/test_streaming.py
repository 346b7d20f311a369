"""StreamingPull with Google's own subscriber, and on the bare stream for the details."""

import queue
import threading
import time

import pytest
from geminivideo.runtime.clock import Clock
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.types import FlowControl
from google.pubsub_v1 import types


@pytest.fixture
def real(cloud_on):
    """A cloud on machine time: the subscriber library keeps its own time."""
    return cloud_on(Clock())


@pytest.fixture
def subscriber(real, monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", real.server.host)
    client = pubsub_v1.SubscriberClient()
    yield client
    client.close()


class Bare:
    """A StreamingPull whose requests a test writes one by one."""

    def __init__(self, cloud, subscription, **first):
        self.requests = queue.Queue()
        self.requests.put(
            types.StreamingPullRequest(
                subscription=subscription, **{"stream_ack_deadline_seconds": 10, **first}
            )
        )
        self.responses = cloud.subscriber.streaming_pull(
            requests=iter(self.requests.get, None), timeout=20
        )

    def send(self, **fields):
        self.requests.put(types.StreamingPullRequest(**fields))

    def receive(self, count):
        got = []
        while len(got) < count:
            got += next(self.responses).received_messages
        return got

    def close(self):
        self.requests.put(None)


@pytest.fixture
def stream(cloud):
    opened = []

    def build(subscription, **first):
        opened.append(Bare(cloud, subscription, **first))
        return opened[-1]

    yield build
    for each in opened:
        each.close()


def test_the_subscriber_library_receives_everything_once(real, subscriber):
    """StreamingPull: every message reaches the callback; acknowledged ones do not come again."""
    topic = real.topic()
    name = real.subscription(topic)
    got, done = [], threading.Event()

    def callback(message):
        got.append(message.message_id)
        message.ack()
        if len(got) == 300:
            done.set()

    future = subscriber.subscribe(name, callback)
    ids = []
    for _ in range(3):
        messages = [{"data": b"x"}] * 100
        ids += real.publisher.publish(topic=topic, messages=messages).message_ids
    assert done.wait(20)
    future.cancel()
    future.result()
    assert sorted(got) == sorted(ids)
    assert real.pull(name, now=True) == []


def test_a_nack_in_the_callback_brings_the_message_again(real, subscriber):
    """StreamingPull: nack makes the message available for redelivery at once."""
    topic = real.topic()
    name = real.subscription(topic)
    got, done = [], threading.Event()

    def callback(message):
        got.append(message.message_id)
        if len(got) == 1:
            message.nack()
        else:
            message.ack()
            done.set()

    future = subscriber.subscribe(name, callback)
    message_id = real.publish(topic)
    assert done.wait(20)
    future.cancel()
    future.result()
    assert got == [message_id, message_id]


def test_the_library_sees_delivery_attempts(real, subscriber):
    """Message.delivery_attempt: told when the subscription has a dead-letter policy."""
    topic = real.topic()
    policy = {"dead_letter_topic": real.topic("dead")}
    name = real.subscription(topic, dead_letter_policy=policy)
    attempts: queue.Queue = queue.Queue()

    def callback(message):
        attempts.put(message.delivery_attempt)
        message.nack()

    future = subscriber.subscribe(name, callback)
    real.publish(topic)
    assert [attempts.get(timeout=20) for _ in range(5)] == [1, 2, 3, 4, 5]
    future.cancel()
    future.result()


def test_flow_control_bounds_what_the_library_holds(real, subscriber):
    """FlowControl.max_messages: no more than that many callbacks have messages at once."""
    topic = real.topic()
    name = real.subscription(topic)
    open_now, most, done, lock = [0], [0], threading.Event(), threading.Lock()
    count = [0]

    def callback(message):
        with lock:
            open_now[0] += 1
            most[0] = max(most[0], open_now[0])
        time.sleep(0.01)
        with lock:
            open_now[0] -= 1
            count[0] += 1
        message.ack()
        if count[0] == 30:
            done.set()

    flow = FlowControl(max_messages=3)
    future = subscriber.subscribe(name, callback, flow_control=flow)
    real.publisher.publish(topic=topic, messages=[{"data": b"x"}] * 30)
    assert done.wait(20)
    future.cancel()
    future.result()
    assert most[0] <= 3


def test_what_waits_is_sent_and_what_comes_follows(cloud, stream):
    """StreamingPull: the backlog first, then each message as it is published."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic, b"old")
    open_stream = stream(name)
    assert open_stream.receive(1)[0].message.data == b"old"
    cloud.publish(topic, b"new")
    assert open_stream.receive(1)[0].message.data == b"new"


def test_acknowledgements_travel_on_the_stream(cloud, stream):
    """StreamingPullRequest.ack_ids: acknowledge what was received.

    A window of one: the marker comes once the acknowledgement was read.
    """
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic)
    open_stream = stream(name, max_outstanding_messages=1)
    [received] = open_stream.receive(1)
    cloud.publish(topic, b"marker")
    open_stream.send(ack_ids=[received.ack_id])
    open_stream.receive(1)
    cloud.advance(10.1)
    assert open_stream.receive(1)[0].message.data == b"marker"


@pytest.mark.google_differs("hands a stream more than its window")
def test_the_server_keeps_to_max_outstanding_messages(cloud, stream):
    """max_outstanding_messages: no more are sent until some are acknowledged or refused."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publisher.publish(topic=topic, messages=[{"data": b"x"}] * 5)
    open_stream = stream(name, max_outstanding_messages=2)
    first = open_stream.receive(2)
    assert len(cloud.pull(name, now=True)) == 3
    cloud.publish(topic, b"later")
    open_stream.send(ack_ids=[first[0].ack_id])
    assert open_stream.receive(1)[0].message.data == b"later"


@pytest.mark.google_differs("hands a stream more than its window")
def test_the_server_keeps_to_max_outstanding_bytes(cloud, stream):
    """max_outstanding_bytes: the same for the size; one message always goes through."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publisher.publish(topic=topic, messages=[{"data": b"x" * 600}] * 3)
    open_stream = stream(name, max_outstanding_bytes=1000)
    first = open_stream.receive(1)
    assert len(cloud.pull(name, now=True)) == 2
    cloud.publish(topic, b"later")
    open_stream.send(ack_ids=[r.ack_id for r in first])
    assert open_stream.receive(1)[0].message.data == b"later"


def test_the_streams_deadline_is_the_lease(cloud, stream):
    """stream_ack_deadline_seconds: the ack deadline of what the stream delivers."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic)
    stream(name, stream_ack_deadline_seconds=60).receive(1)
    cloud.advance(59)
    assert cloud.pull(name, now=True) == []


def test_deadlines_are_extended_on_the_stream(cloud, stream):
    """modify_deadline_seconds and _ack_ids: pairs of new deadlines.

    A window of two: the marker comes once the request that also acknowledges the other was read.
    """
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic)
    cloud.publish(topic, b"other")
    open_stream = stream(name, max_outstanding_messages=2)
    kept, other = sorted(open_stream.receive(2), key=lambda r: r.message.data, reverse=True)
    cloud.publish(topic, b"marker")
    open_stream.send(
        modify_deadline_seconds=[60],
        modify_deadline_ack_ids=[kept.ack_id],
        ack_ids=[other.ack_id],
    )
    open_stream.receive(1)
    cloud.advance(30)
    assert [r.message.data for r in open_stream.receive(1)] == [b"marker"]
    assert cloud.pull(name, now=True) == []


def test_what_a_closed_stream_held_waits_for_its_deadline(cloud, stream):
    """StreamingPull: leases outlive the stream; the message comes when the deadline passed."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic)
    open_stream = stream(name)
    open_stream.receive(1)
    open_stream.close()
    assert cloud.pull(name, now=True) == []
    cloud.advance(10.1)
    assert len(cloud.pull(name, now=True)) == 1


@pytest.mark.parametrize("deadline", [0, 9, 601])
def test_the_streams_deadline_is_10_to_600_seconds(stream, cloud, deadline):
    """stream_ack_deadline_seconds: minimum 10, maximum 600."""
    name = cloud.subscription(cloud.topic())
    with pytest.raises(exceptions.InvalidArgument):
        stream(name, stream_ack_deadline_seconds=deadline).receive(1)


def test_a_stream_on_nothing_is_not_found(stream):
    """StreamingPull: NOT_FOUND if the subscription does not exist."""
    with pytest.raises(exceptions.NotFound):
        stream("projects/p1/subscriptions/none").receive(1)


def test_a_stream_ends_when_its_subscription_is_deleted(cloud, stream):
    """StreamingPull: NOT_FOUND once the subscription is gone."""
    name = cloud.subscription(cloud.topic())
    open_stream = stream(name)
    timer = threading.Timer(0.1, lambda: cloud.subscriber.delete_subscription(subscription=name))
    timer.start()
    with pytest.raises(exceptions.NotFound):
        open_stream.receive(1)
    timer.join()


@pytest.mark.ours_only("Google's hands one stream more than its window, and the other waits")
def test_two_streams_share_the_messages(cloud, stream):
    """Subscriptions: several subscribers of one subscription share its messages."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    one = stream(name, max_outstanding_messages=1)
    other = stream(name, max_outstanding_messages=1)
    ids = cloud.publisher.publish(topic=topic, messages=[{"data": b"x"}] * 2).message_ids
    got = [each.receive(1)[0].message.message_id for each in (one, other)]
    assert sorted(got) == sorted(ids)
