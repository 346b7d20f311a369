"""Detaching, as "Detach a subscription from a topic" and the API reference say."""

import queue
import threading

import pytest
from google.api_core import exceptions
from google.pubsub_v1 import types

pytestmark = pytest.mark.google_differs("DetachSubscription is not implemented there")


def detach(cloud, subscription):
    cloud.publisher.detach_subscription(request={"subscription": subscription})


def test_a_detached_subscription_says_so(cloud):
    """Subscription.detached: true; the subscription itself stays."""
    name = cloud.subscription(cloud.topic())
    detach(cloud, name)
    assert cloud.subscriber.get_subscription(subscription=name).detached


def test_a_detached_subscription_cannot_be_pulled(cloud):
    """DetachSubscription: Pull requests return FAILED_PRECONDITION; the backlog is dropped."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic)
    detach(cloud, name)
    with pytest.raises(exceptions.FailedPrecondition):
        cloud.pull(name, now=True)


def test_an_open_stream_ends_when_its_subscription_is_detached(cloud):
    """DetachSubscription: StreamingPull requests return FAILED_PRECONDITION."""
    name = cloud.subscription(cloud.topic())
    requests: queue.Queue = queue.Queue()
    requests.put(types.StreamingPullRequest(subscription=name, stream_ack_deadline_seconds=10))
    responses = cloud.subscriber.streaming_pull(requests=iter(requests.get, None), timeout=5)
    timer = threading.Timer(0.05, detach, (cloud, name))
    timer.start()
    with pytest.raises(exceptions.FailedPrecondition):
        next(responses)
    requests.put(None)
    timer.join()


def test_a_detached_subscription_is_not_pushed_to(cloud, endpoint):
    """DetachSubscription: pushes to the endpoint stop."""
    topic = cloud.topic()
    name = cloud.subscription(topic, push_config={"push_endpoint": endpoint.url})
    detach(cloud, name)
    cloud.publish(topic)
    assert endpoint.stays_silent(0.1)


def test_a_detached_subscription_is_not_its_topics_any_more(cloud):
    """projects.topics.subscriptions.list: the attached subscriptions."""
    topic = cloud.topic()
    detach(cloud, cloud.subscription(topic, "gone"))
    kept = cloud.subscription(topic, "kept")
    assert list(cloud.publisher.list_topic_subscriptions(topic=topic)) == [kept]


def test_detaching_nothing_is_not_found(cloud):
    """DetachSubscription: NOT_FOUND if the subscription does not exist."""
    with pytest.raises(exceptions.NotFound):
        detach(cloud, f"{cloud.project}/subscriptions/none")


def test_the_others_keep_getting_messages(cloud):
    """DetachSubscription: cuts off one subscription; the topic's others are untouched."""
    topic = cloud.topic()
    detach(cloud, cloud.subscription(topic, "gone"))
    kept = cloud.subscription(topic, "kept")
    cloud.publish(topic, b"1")
    assert [r.message.data for r in cloud.pull(kept)] == [b"1"]


@pytest.mark.ours_only("restarts the server and looks into the store")
def test_it_stays_detached_after_a_restart(cloud):
    """DetachSubscription: nothing is retained for it, before or after a restart."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic)
    detach(cloud, name)
    assert cloud.server._broker._store.batches() == []
    cloud.restart()
    cloud.publish(topic)
    assert cloud.server._broker._store.batches() == []
    with pytest.raises(exceptions.FailedPrecondition):
        cloud.pull(name, now=True)
