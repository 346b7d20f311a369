"""Dead letters, as "Handle message failures" documents them."""

import pytest


@pytest.fixture
def policy(cloud):
    return {"dead_letter_topic": cloud.topic("dead"), "max_delivery_attempts": 5}


@pytest.fixture
def dead(cloud, policy):
    return cloud.subscription(policy["dead_letter_topic"], "dead-sub")


def refuse(cloud, subscription, times):
    for _ in range(times):
        cloud.nack(subscription, *cloud.pull(subscription, now=True))


@pytest.mark.google_differs("has not forwarded it ten seconds later")
def test_after_the_last_attempt_the_message_is_forwarded(cloud, policy, dead):
    """Dead-letter topics: forwarded after max_delivery_attempts, and not before."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic, dead_letter_policy=policy)
    cloud.publish(topic, b"poison")
    refuse(cloud, subscription, 4)
    assert cloud.pull(dead, now=True) == []
    refuse(cloud, subscription, 1)
    assert [r.message.data for r in cloud.pull(dead)] == [b"poison"]
    assert cloud.pull(subscription, now=True) == []


def test_the_forwarded_message_says_where_it_came_from(cloud, policy, dead):
    """Dead-letter topics: CloudPubSubDeadLetterSource* attributes are added to the original's."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic, dead_letter_policy=policy)
    cloud.publish(topic, b"poison", colour="red")
    cloud.advance(1.5)
    refuse(cloud, subscription, 5)
    [received] = cloud.pull(dead, now=True)
    assert dict(received.message.attributes) == {
        "colour": "red",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": "sub",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "p1",
        "CloudPubSubDeadLetterSourceTopicPublishTime": "2027-01-15T08:00:00.000+00:00",
    }


def test_the_forwarded_message_is_published_anew(cloud, policy, dead, clock):
    """Dead-letter topics: forwarding publishes, so the id and the publish time are new."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic, dead_letter_policy=policy)
    message_id = cloud.publish(topic)
    cloud.advance(60)
    refuse(cloud, subscription, 5)
    [received] = cloud.pull(dead, now=True)
    assert received.message.message_id != message_id
    assert received.message.publish_time.timestamp() == clock.now()


def test_delivery_attempts_are_told(cloud, policy):
    """ReceivedMessage.delivery_attempt: 1 plus the refusals and the exceeded deadlines."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic, dead_letter_policy=policy)
    cloud.publish(topic)
    told = []
    for wait in (0, 10.1, 0):
        [received] = cloud.pull(subscription, now=True)
        told.append(received.delivery_attempt)
        if wait:
            cloud.advance(wait)
        else:
            cloud.nack(subscription, received)
    assert told == [1, 2, 3]


def test_an_exceeded_deadline_counts_and_forwards_without_another_pull(cloud, policy, dead):
    """Dead-letter topics: exceeded ack deadlines count; the last one forwards by itself."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic, dead_letter_policy=policy)
    cloud.publish(topic)
    refuse(cloud, subscription, 4)
    cloud.pull(subscription, now=True)
    cloud.advance(10.1)
    assert len(cloud.pull(dead)) == 1


@pytest.mark.ours_only("advances the clock between pushes")
def test_a_push_that_always_fails_is_forwarded(cloud, endpoint, policy, dead):
    """Dead-letter topics: push refusals count; every attempt is made before forwarding."""
    topic = cloud.topic()
    push = {"push_endpoint": endpoint.url}
    cloud.subscription(topic, dead_letter_policy=policy, push_config=push)
    endpoint.status = 500
    cloud.publish(topic, b"poison")
    for attempt in range(1, 6):
        assert endpoint.take()[0].body["deliveryAttempt"] == attempt
        cloud.advance(60)
    assert [r.message.data for r in cloud.pull(dead)] == [b"poison"]
    assert endpoint.stays_silent(0.03)


@pytest.mark.ours_only("Google's forwards only after its own pause, in real time")
def test_a_dead_letter_topic_can_push_too(cloud, endpoint, policy):
    """Dead-letter topics: the forwarded message goes to that topic's subscriptions at once."""
    push = {"push_endpoint": endpoint.url}
    cloud.subscription(policy["dead_letter_topic"], "dead-push", push_config=push)
    topic = cloud.topic()
    subscription = cloud.subscription(topic, dead_letter_policy=policy)
    cloud.publish(topic)
    refuse(cloud, subscription, 5)
    attributes = endpoint.take()[0].message["attributes"]
    assert attributes["CloudPubSubDeadLetterSourceSubscription"] == "sub"


def test_a_deleted_dead_letter_topic_leaves_the_message_in_delivery(cloud, policy):
    """Dead-letter topics: when forwarding is not possible, delivery goes on."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic, dead_letter_policy=policy)
    cloud.publisher.delete_topic(topic=policy["dead_letter_topic"])
    cloud.publish(topic)
    refuse(cloud, subscription, 7)
    assert cloud.pull(subscription, now=True)[0].delivery_attempt == 8


def test_other_subscriptions_keep_their_copy(cloud, policy, dead):
    """Dead-letter topics: forwarding from one subscription leaves the others alone."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic, dead_letter_policy=policy)
    other = cloud.subscription(topic, "other")
    cloud.publish(topic, b"shared")
    refuse(cloud, subscription, 5)
    assert [r.message.data for r in cloud.pull(other, now=True)] == [b"shared"]
