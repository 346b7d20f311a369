"""Exactly-once delivery, as "Exactly-once delivery" and the API reference say."""

import queue
import threading

import pytest
from geminivideo.runtime.clock import Clock
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.exceptions import AcknowledgeError, AcknowledgeStatus
from google.pubsub_v1 import types

VOID = "PERMANENT_FAILURE_INVALID_ACK_ID"


@pytest.fixture
def exactly(cloud):
    """A topic and a subscription with exactly-once delivery."""
    topic = cloud.topic()
    return topic, cloud.subscription(topic, enable_exactly_once_delivery=True)


def failures(error) -> dict[str, str]:
    """The metadata of the ErrorInfo that came with a refusal."""
    [info] = error.details
    assert info.reason == "EXACTLY_ONCE_ACKID_FAILURE"
    return dict(info.metadata)


def refused_again(cloud, subscription):
    """A message that was refused and delivered again: the void receipt and the valid one."""
    [first] = cloud.pull(subscription)
    cloud.nack(subscription, first)
    [second] = cloud.pull(subscription)
    return first, second


def test_only_the_latest_ack_id_acknowledges(cloud, exactly):
    """Exactly-once: with several deliveries only the latest acknowledgement id can be used."""
    topic, name = exactly
    cloud.publish(topic)
    first, second = refused_again(cloud, name)
    with pytest.raises(exceptions.InvalidArgument) as refused:
        cloud.ack(name, first)
    assert failures(refused.value) == {first.ack_id: VOID}
    cloud.ack(name, second)


def test_the_valid_ones_of_a_request_count(cloud, exactly):
    """Exactly-once: a request may succeed for some ack ids; the metadata names the others."""
    topic, name = exactly
    cloud.publish(topic, b"1")
    first, second = refused_again(cloud, name)
    with pytest.raises(exceptions.InvalidArgument) as refused:
        cloud.ack(name, first, second)
    assert failures(refused.value) == {first.ack_id: VOID}
    with pytest.raises(exceptions.InvalidArgument):
        cloud.nack(name, second)
    assert cloud.pull(name, now=True) == []


@pytest.mark.ours_only("lets the deadline pass on our clock")
@pytest.mark.parametrize("call", ["ack", "nack"])
def test_an_expired_ack_id_is_refused(cloud, exactly, call):
    """Exactly-once: an acknowledgement after the deadline fails, and the message comes again."""
    topic, name = exactly
    cloud.publish(topic, b"1")
    received = cloud.pull(name)
    cloud.advance(10.1)
    with pytest.raises(exceptions.InvalidArgument) as refused:
        getattr(cloud, call)(name, *received)
    assert failures(refused.value) == {received[0].ack_id: VOID}
    assert [r.message.data for r in cloud.pull(name, now=True)] == [b"1"]


def test_a_void_ack_id_extends_nothing(cloud, exactly):
    """Exactly-once: modifyAckDeadline with a previous acknowledgement id fails."""
    topic, name = exactly
    cloud.publish(topic)
    first, _ = refused_again(cloud, name)
    with pytest.raises(exceptions.InvalidArgument) as refused:
        cloud.nack(name, first, seconds=60)
    assert failures(refused.value) == {first.ack_id: VOID}


def test_a_held_message_is_not_delivered_again(cloud, exactly):
    """Exactly-once: no redelivery while a message is outstanding."""
    topic, name = exactly
    cloud.publish(topic)
    assert len(cloud.pull(name)) == 1
    assert cloud.pull(name, now=True) == []


def test_nothing_comes_again_after_a_successful_acknowledgement(cloud, exactly):
    """Exactly-once: no redelivery after the message is successfully acknowledged."""
    topic, name = exactly
    cloud.publish(topic)
    cloud.ack(name, *cloud.pull(name))
    assert cloud.pull(name, now=True) == []


def test_it_can_be_switched(cloud, exactly):
    """projects.subscriptions.patch: enable_exactly_once_delivery can be updated."""
    topic, name = exactly
    cloud.subscriber.update_subscription(
        subscription={"name": name, "enable_exactly_once_delivery": False},
        update_mask={"paths": ["enable_exactly_once_delivery"]},
    )
    cloud.publish(topic)
    first, _ = refused_again(cloud, name)
    cloud.ack(name, first)


@pytest.mark.google_differs("accepts exactly-once delivery on a push subscription")
def test_only_pull_subscriptions_have_it(cloud):
    """Exactly-once: only the pull subscription type supports it."""
    push = {"push_endpoint": "http://127.0.0.1:9/"}
    with pytest.raises(exceptions.InvalidArgument):
        cloud.subscription(cloud.topic(), enable_exactly_once_delivery=True, push_config=push)


class Stream:
    def __init__(self, cloud, name):
        self.requests: queue.Queue = queue.Queue()
        self.send(subscription=name, stream_ack_deadline_seconds=60)
        self.responses = cloud.subscriber.streaming_pull(
            requests=iter(self.requests.get, None), timeout=5
        )

    def send(self, **fields):
        self.requests.put(types.StreamingPullRequest(**fields))

    def messages(self):
        while True:
            response = next(self.responses)
            if response.received_messages:
                return response


@pytest.fixture
def stream(cloud, exactly):
    stream = Stream(cloud, exactly[1])
    yield stream
    stream.requests.put(None)


def test_the_stream_says_that_it_is_on(cloud, exactly, stream):
    """SubscriptionProperties.exactly_once_delivery_enabled: told with the messages."""
    cloud.publish(exactly[0])
    assert stream.messages().subscription_properties.exactly_once_delivery_enabled


@pytest.mark.google_differs("confirms nothing on a stream")
def test_acknowledgements_on_the_stream_are_confirmed(cloud, exactly, stream):
    """AcknowledgeConfirmation: ack_ids that were processed, invalid_ack_ids that were not."""
    cloud.publish(exactly[0])
    [received] = stream.messages().received_messages
    stream.send(ack_ids=[received.ack_id])
    confirmed = next(stream.responses).acknowledge_confirmation
    assert list(confirmed.ack_ids) == [received.ack_id]
    assert not confirmed.invalid_ack_ids


@pytest.mark.google_differs("confirms nothing on a stream")
def test_a_void_ack_id_on_the_stream_is_told(cloud, exactly, stream):
    """AcknowledgeConfirmation.invalid_ack_ids: those whose deadline expired."""
    cloud.publish(exactly[0])
    [first] = stream.messages().received_messages
    stream.send(modify_deadline_ack_ids=[first.ack_id], modify_deadline_seconds=[0])
    stream.messages()
    stream.send(ack_ids=[first.ack_id])
    told = next(stream.responses)
    while not told.acknowledge_confirmation:
        told = next(stream.responses)
    assert list(told.acknowledge_confirmation.invalid_ack_ids) == [first.ack_id]


@pytest.mark.google_differs("confirms nothing on a stream")
def test_deadlines_on_the_stream_are_confirmed(cloud, exactly, stream):
    """ModifyAckDeadlineConfirmation.ack_ids: what was extended."""
    cloud.publish(exactly[0])
    [received] = stream.messages().received_messages
    stream.send(modify_deadline_ack_ids=[received.ack_id], modify_deadline_seconds=[120])
    confirmed = next(stream.responses).modify_ack_deadline_confirmation
    assert list(confirmed.ack_ids) == [received.ack_id]


@pytest.fixture
def library(cloud_on, backend, monkeypatch):
    """A cloud on machine time, and Google's own subscriber library on it."""
    cloud = cloud_on(Clock())
    host = backend.host if backend is not None else cloud.server.host
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
    client = pubsub_v1.SubscriberClient()
    yield cloud, client
    client.close()


def test_the_library_learns_whether_its_acknowledgement_counted(library):
    """Exactly-once: ack_with_response succeeds once; what is void ends with INVALID_ACK_ID."""
    cloud, client = library
    topic = cloud.topic()
    name = cloud.subscription(topic, enable_exactly_once_delivery=True)
    outcomes: queue.Queue = queue.Queue()
    first_came, void_told = threading.Event(), threading.Event()

    def callback(message):
        if not first_came.is_set():
            first_came.set()
            message.nack_with_response().result(timeout=10)
            try:
                message.ack_with_response().result(timeout=10)
            except AcknowledgeError as error:
                outcomes.put(error.error_code)
            void_told.set()
        else:
            void_told.wait(timeout=10)  # the library calls all of a request void when one is
            outcomes.put(message.ack_with_response().result(timeout=10))

    future = client.subscribe(name, callback)
    cloud.publish(topic)
    got = {outcomes.get(timeout=20) for _ in range(2)}
    future.cancel()
    future.result()
    assert got == {AcknowledgeStatus.INVALID_ACK_ID, AcknowledgeStatus.SUCCESS}
