"""Publish, pull, acknowledge and leases, as the Pub/Sub API reference documents them."""

import threading
import time

import pytest
from google.api_core import exceptions

from ..clocks import MovableClock

NO_LIMIT = pytest.mark.google_differs("attributes and ordering keys have no limits there")
KEYS = [f"k{i}" for i in range(101)]


def test_a_message_arrives_as_it_was_published(cloud, clock):
    """PubsubMessage: data, attributes, server-assigned message_id and publish_time."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    message_id = cloud.publish(topic, b"\x00\xff", colour="red")
    [received] = cloud.pull(subscription)
    assert received.message.data == b"\x00\xff"
    assert dict(received.message.attributes) == {"colour": "red"}
    assert received.message.message_id == message_id
    assert received.message.publish_time.timestamp() == pytest.approx(clock.now(), abs=5)
    assert received.delivery_attempt == 0


def test_every_subscription_gets_its_own_copy(cloud):
    """Subscriptions: each one receives each message; an ack counts for one of them only."""
    topic = cloud.topic()
    names = [cloud.subscription(topic, f"sub-{i}") for i in range(3)]
    cloud.publish(topic)
    cloud.ack(names[0], *cloud.pull(names[0]))
    assert [len(cloud.pull(name, now=True)) for name in names] == [0, 1, 1]


def test_message_ids_are_unique_and_in_request_order(cloud):
    """PublishResponse.message_ids: one per message, in order, unique within the topic."""
    topic = cloud.topic()
    messages = [{"data": b"%d" % i} for i in range(50)]
    ids = list(cloud.publisher.publish(topic=topic, messages=messages).message_ids)
    assert len(set(ids)) == 50
    assert ids == sorted(ids, key=int)


def test_what_was_published_before_the_subscription_is_not_delivered(cloud):
    """projects.subscriptions.create: messages published after the creation are delivered."""
    topic = cloud.topic()
    cloud.publish(topic, b"before")
    subscription = cloud.subscription(topic)
    cloud.publish(topic, b"after")
    assert [r.message.data for r in cloud.pull(subscription)] == [b"after"]


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"data": b""},
        pytest.param({"data": b"x", "attributes": {"k" * 257: "v"}}, marks=NO_LIMIT),
        pytest.param({"data": b"x", "attributes": {"k": "v" * 1025}}, marks=NO_LIMIT),
        pytest.param({"data": b"x", "attributes": dict.fromkeys(KEYS, "v")}, marks=NO_LIMIT),
        pytest.param({"data": b"x", "ordering_key": "k" * 1025}, marks=NO_LIMIT),
    ],
    ids=["empty", "no data", "long key", "long value", "many attributes", "long ordering key"],
)
def test_a_message_outside_the_limits_is_refused(cloud, message):
    """Quotas: data or an attribute; 100 attributes of 256 and 1024 bytes; 1 KB ordering key."""
    with pytest.raises(exceptions.InvalidArgument):
        cloud.publisher.publish(topic=cloud.topic(), messages=[message])


def test_one_bad_message_refuses_the_whole_request(cloud):
    """projects.topics.publish: an invalid request publishes nothing."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    with pytest.raises(exceptions.InvalidArgument):
        cloud.publisher.publish(topic=topic, messages=[{"data": b"good"}, {}])
    assert cloud.pull(subscription, now=True) == []


@pytest.mark.parametrize("count", [0, 1001])
def test_a_request_holds_1_to_1000_messages(cloud, count):
    """Quotas: at most 1,000 messages in a publish request, and not none."""
    with pytest.raises(exceptions.InvalidArgument):
        cloud.publisher.publish(topic=cloud.topic(), messages=[{"data": b"x"}] * count)


@pytest.mark.google_differs("accepts more than 10 MB")
def test_a_request_is_at_most_10_megabytes(cloud):
    """Quotas: 10 MB per publish request; just under it is published and delivered whole."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    with pytest.raises(exceptions.InvalidArgument):
        cloud.publish(topic, b"x" * 10_000_001)
    cloud.publish(topic, b"x" * 3_900_000)
    [received] = cloud.pull(subscription)
    assert len(received.message.data) == 3_900_000


def test_publishing_to_no_topic_is_not_found(cloud):
    """projects.topics.publish: NOT_FOUND if the topic does not exist."""
    with pytest.raises(exceptions.NotFound):
        cloud.publish("projects/p1/topics/none")


def test_an_acknowledged_message_never_comes_back(cloud):
    """projects.subscriptions.acknowledge: the message is removed from the subscription."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic)
    cloud.ack(subscription, *cloud.pull(subscription))
    cloud.advance(3600)
    assert cloud.pull(subscription, now=True) == []


def test_a_leased_message_is_not_delivered_twice(cloud):
    """ack_deadline_seconds: an outstanding message is not redelivered during its deadline."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic)
    assert len(cloud.pull(subscription)) == 1
    cloud.advance(9.9)
    assert cloud.pull(subscription, now=True) == []


def test_a_message_whose_deadline_passed_comes_back(cloud):
    """ack_deadline_seconds: without an acknowledgement the message is redelivered."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    message_id = cloud.publish(topic)
    cloud.pull(subscription)
    cloud.advance(10.1)
    assert [r.message.message_id for r in cloud.pull(subscription)] == [message_id]


def test_a_nack_brings_the_message_back_at_once(cloud):
    """modifyAckDeadline: 0 makes the message immediately available for another delivery."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic)
    first = cloud.pull(subscription)
    cloud.nack(subscription, *first)
    second = cloud.pull(subscription, now=True)
    assert [r.message.message_id for r in second] == [r.message.message_id for r in first]
    assert second[0].ack_id != first[0].ack_id


def test_a_deadline_can_be_extended(cloud):
    """modifyAckDeadline: the new deadline counts from the request."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic)
    received = cloud.pull(subscription)
    cloud.advance(8)
    cloud.nack(subscription, *received, seconds=60)
    cloud.advance(59)
    assert cloud.pull(subscription, now=True) == []
    cloud.advance(1.1)
    assert len(cloud.pull(subscription, now=True)) == 1


@pytest.mark.parametrize(
    "deadline",
    [-1, pytest.param(601, marks=pytest.mark.google_differs("accepts more than 600 s"))],
)
def test_a_deadline_is_0_to_600_seconds(cloud, deadline):
    """modifyAckDeadline.ack_deadline_seconds: minimum 0, maximum 600."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic)
    with pytest.raises(exceptions.InvalidArgument):
        cloud.nack(subscription, *cloud.pull(subscription), seconds=deadline)


def test_a_late_acknowledgement_may_still_count(cloud):
    """acknowledge: acknowledging an expired message may succeed; here it does."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic)
    received = cloud.pull(subscription)
    cloud.advance(20)
    cloud.ack(subscription, *received)
    assert cloud.pull(subscription, now=True) == []


def test_a_late_nack_does_not_take_the_next_holders_lease(cloud):
    """modifyAckDeadline: an ack id whose deadline passed no longer speaks for the message."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic)
    expired = cloud.pull(subscription)
    cloud.advance(10.1)
    assert len(cloud.pull(subscription)) == 1
    cloud.nack(subscription, *expired)
    assert cloud.pull(subscription, now=True) == []


def test_acknowledging_twice_is_no_error(cloud):
    """acknowledge: acknowledging a message more than once does not result in an error."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic)
    received = cloud.pull(subscription)
    cloud.ack(subscription, *received)
    cloud.ack(subscription, *received)


@pytest.mark.parametrize("ack_id", ["nonsense", "00000000-1-1", ""])
def test_an_ack_id_that_was_never_given_is_refused(cloud, ack_id):
    """acknowledge: INVALID_ARGUMENT for an ack id that is not one of this subscription."""
    subscription = cloud.subscription(cloud.topic())
    with pytest.raises(exceptions.InvalidArgument):
        cloud.subscriber.acknowledge(subscription=subscription, ack_ids=[ack_id])


def test_an_ack_id_of_another_subscription_is_refused(cloud):
    """acknowledge: ack ids belong to the subscription that gave them."""
    topic = cloud.topic()
    one, other = cloud.subscription(topic, "one"), cloud.subscription(topic, "other")
    cloud.publish(topic)
    received = cloud.pull(one)
    with pytest.raises(exceptions.InvalidArgument):
        cloud.ack(other, *received)


def test_pull_gives_at_most_what_was_asked(cloud):
    """projects.subscriptions.pull: max_messages at most; the rest waits for the next pull."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publisher.publish(topic=topic, messages=[{"data": b"x"}] * 5)
    assert len(cloud.pull(subscription, 3)) == 3
    assert len(cloud.pull(subscription, 3)) == 2


def test_pull_needs_a_positive_maximum(cloud):
    """PullRequest.max_messages: must be a positive integer."""
    with pytest.raises(exceptions.InvalidArgument):
        cloud.pull(cloud.subscription(cloud.topic()), 0)


def test_a_waiting_pull_answers_when_a_message_comes(cloud):
    """projects.subscriptions.pull: waits a bounded time for at least one message."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    got = []
    puller = threading.Thread(target=lambda: got.extend(cloud.pull(subscription)))
    puller.start()
    time.sleep(0.1)
    started = time.monotonic()
    cloud.publish(topic, b"at last")
    puller.join(timeout=5)
    assert [r.message.data for r in got] == [b"at last"]
    assert time.monotonic() - started < 2


def test_a_waiting_pull_wakes_when_a_lease_runs_out(cloud):
    """projects.subscriptions.pull: an expired message goes to the pull that waits."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic)
    cloud.pull(subscription)
    got = []
    puller = threading.Thread(target=lambda: got.extend(cloud.pull(subscription)))
    puller.start()
    time.sleep(0.1)
    cloud.advance(10.1)
    puller.join(timeout=5)
    assert len(got) == 1


def test_pull_from_nothing_is_not_found(cloud):
    """projects.subscriptions.pull: NOT_FOUND if the subscription does not exist."""
    with pytest.raises(exceptions.NotFound):
        cloud.pull("projects/p1/subscriptions/none")


@pytest.mark.google_differs("lets a push subscription be pulled")
def test_a_push_subscription_cannot_be_pulled(cloud, endpoint):
    """Pull on a subscription that pushes is a FAILED_PRECONDITION."""
    push = {"push_endpoint": endpoint.url}
    name = cloud.subscription(cloud.topic(), push_config=push)
    with pytest.raises(exceptions.FailedPrecondition):
        cloud.pull(name, now=True)


def test_a_retry_policy_delays_what_was_nacked(cloud):
    """RetryPolicy: exponential delay from minimum to maximum backoff, per message."""
    topic = cloud.topic()
    policy = {"minimum_backoff": {"seconds": 10}, "maximum_backoff": {"seconds": 30}}
    subscription = cloud.subscription(topic, retry_policy=policy)
    cloud.publish(topic)
    for delay in (10, 20, 30, 30):
        cloud.nack(subscription, *cloud.pull(subscription))
        cloud.advance(delay - 0.5)
        assert cloud.pull(subscription, now=True) == [], f"came before {delay} s"
        cloud.advance(1)


def test_a_retry_policy_delays_what_expired(cloud):
    """RetryPolicy: triggered on acknowledgement deadline exceeded events too."""
    topic = cloud.topic()
    policy = {"minimum_backoff": {"seconds": 100}, "maximum_backoff": {"seconds": 600}}
    subscription = cloud.subscription(topic, retry_policy=policy)
    cloud.publish(topic)
    cloud.pull(subscription)
    cloud.advance(10.1)
    assert cloud.pull(subscription, now=True) == []
    cloud.advance(100)
    assert len(cloud.pull(subscription, now=True)) == 1


def test_a_message_past_its_retention_is_not_retried(cloud):
    """message_retention_duration: how long unacknowledged messages are retained."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic, message_retention_duration={"seconds": 600})
    cloud.publish(topic)
    received = cloud.pull(subscription)
    cloud.nack(subscription, *received, seconds=600)
    cloud.advance(601)
    assert cloud.pull(subscription, now=True) == []


@pytest.mark.ours_only("moves a clock that runs")
def test_the_pull_that_finds_a_lease_ended_delivers_its_message(cloud_on):
    """AckDeadline: once it has passed, the next pull gets the message, also on a running clock."""
    cloud = cloud_on(MovableClock())
    subscription = cloud.subscription(cloud.topic())
    cloud.publish(f"{cloud.project}/topics/top")
    assert len(cloud.pull(subscription)) == 1
    cloud.clock.advance(10.1)  # and nobody tells the server
    assert len(cloud.pull(subscription, now=True)) == 1
