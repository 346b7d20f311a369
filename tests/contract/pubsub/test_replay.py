"""Seek and snapshots, as "Replay and purge messages with seek" and the API reference say."""

import pytest
from google.api_core import exceptions
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

DAY_S = 86_400


def at(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(round(seconds * 1e6))
    return stamp


def data(received):
    return sorted(r.message.data for r in received)


def seek(cloud, subscription, **target):
    cloud.subscriber.seek(request={"subscription": subscription, **target})


def snapshot(cloud, subscription, name="snap", **fields):
    full = f"{cloud.project}/snapshots/{name}"
    cloud.subscriber.create_snapshot(request={"name": full, "subscription": subscription, **fields})
    return full


def consume(cloud, subscription, count=10):
    received = cloud.pull(subscription, count)
    cloud.ack(subscription, *received)
    return received


@pytest.fixture
def retaining(cloud):
    """A topic, and a subscription on it that retains what it acknowledged."""
    topic = cloud.topic()
    return topic, cloud.subscription(topic, retain_acked_messages=True)


def test_a_seek_into_the_past_brings_acknowledged_messages_back(cloud, retaining):
    """Seek to a time: all retained messages published after it are unacknowledged again."""
    topic, name = retaining
    for body in (b"1", b"2"):
        cloud.publish(topic, body)
    before = min(r.message.publish_time.timestamp() for r in consume(cloud, name))
    seek(cloud, name, time=at(before - 1))
    assert data(cloud.pull(name)) == [b"1", b"2"]


def test_a_seek_into_the_future_purges(cloud, clock):
    """Seek to a time: everything published before it is acknowledged; the future purges all."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic, b"old")
    seek(cloud, name, time=at(clock.now() + DAY_S))
    assert cloud.pull(name, now=True) == []


def test_what_is_published_after_a_purge_is_delivered(cloud, clock):
    """Seek: changes the messages that are there; later ones are delivered as ever."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic, b"old")
    seek(cloud, name, time=at(clock.now() + DAY_S))
    cloud.publish(topic, b"new")
    assert data(cloud.pull(name)) == [b"new"]


@pytest.mark.ours_only("splits messages by our clock's time")
def test_a_seek_splits_by_publish_time(cloud, clock, retaining):
    """Seek to a time: before it acknowledged, from it on unacknowledged, by publishTime."""
    topic, name = retaining
    for body in (b"1", b"2", b"3"):
        cloud.publish(topic, body)
        cloud.advance(60)
    consume(cloud, name)
    seek(cloud, name, time=at(clock.now() - 120))
    assert data(cloud.pull(name)) == [b"2", b"3"]


@pytest.mark.google_differs("does not retain what a seek acknowledged")
def test_a_purge_is_undone_by_a_seek_back(cloud, clock, retaining):
    """Seek: what a seek acknowledged is retained as if a subscriber had."""
    topic, name = retaining
    cloud.publish(topic, b"1")
    seek(cloud, name, time=at(clock.now() + DAY_S))
    seek(cloud, name, time=at(clock.now() - DAY_S))
    assert data(cloud.pull(name)) == [b"1"]


def test_without_retention_the_acknowledged_stays_gone(cloud, clock):
    """Subscription.retain_acked_messages: needed to seek back to what was acknowledged."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic)
    consume(cloud, name)
    seek(cloud, name, time=at(clock.now() - DAY_S))
    assert cloud.pull(name, now=True) == []


@pytest.mark.ours_only("lets the retention pass on our clock")
def test_the_acknowledged_is_retained_for_the_retention_duration(cloud, clock):
    """message_retention_duration: with retain_acked_messages, how far back a seek can reach."""
    topic = cloud.topic()
    name = cloud.subscription(
        topic, retain_acked_messages=True, message_retention_duration={"seconds": 600}
    )
    cloud.publish(topic, b"old")
    consume(cloud, name)
    cloud.advance(400)
    cloud.publish(topic, b"new")
    consume(cloud, name)
    cloud.advance(300)
    seek(cloud, name, time=at(clock.now() - DAY_S))
    assert data(cloud.pull(name, now=True)) == [b"new"]


@pytest.mark.ours_only("looks into the store after time has passed")
def test_what_no_seek_can_reach_leaves_the_store(cloud, clock):
    """message_retention_duration: after it acknowledged messages are gone for good."""
    topic = cloud.topic()
    name = cloud.subscription(
        topic, retain_acked_messages=True, message_retention_duration={"seconds": 600}
    )
    cloud.publish(topic, b"old")
    consume(cloud, name)
    store = cloud.server._broker._store
    assert len(store.batches()) == 1
    cloud.advance(700)
    cloud.publish(topic, b"new")
    assert [row["published"] for row in store.batches()] == [clock.now()]


def test_topic_retention_serves_every_subscription(cloud, clock):
    """Topic.message_retention_duration: any subscription attached to the topic can seek back."""
    topic = cloud.topic(message_retention_duration={"seconds": 3600})
    name = cloud.subscription(topic)
    cloud.publish(topic, b"1")
    consume(cloud, name)
    seek(cloud, name, time=at(clock.now() - 600))
    assert data(cloud.pull(name, now=True)) == [b"1"]


@pytest.mark.google_differs("a late subscription gets nothing from before it")
def test_topic_retention_serves_subscriptions_created_later(cloud, clock):
    """Topic message retention: allows to replay messages published before the subscription."""
    topic = cloud.topic(message_retention_duration={"seconds": 3600})
    cloud.publish(topic, b"before")
    name = cloud.subscription(topic)
    assert cloud.pull(name, now=True) == []
    seek(cloud, name, time=at(clock.now() - 600))
    assert data(cloud.pull(name, now=True)) == [b"before"]


@pytest.mark.google_differs("does not show the topic's retention on its subscriptions")
def test_a_subscription_shows_its_topics_retention(cloud):
    """Subscription.topic_message_retention_duration: output only, as the topic has it now."""
    topic = cloud.topic(message_retention_duration={"seconds": 3600})
    name = cloud.subscription(topic)
    cloud.publisher.update_topic(
        topic={"name": topic, "message_retention_duration": {"seconds": 7200}},
        update_mask=FieldMask(paths=["message_retention_duration"]),
    )
    got = cloud.subscriber.get_subscription(subscription=name)
    assert got.topic_message_retention_duration.total_seconds() == 7200


@pytest.mark.ours_only("lets the retention pass on our clock")
def test_the_longer_retention_keeps_the_unacknowledged(cloud):
    """Topic message retention: unacknowledged messages stay for the longer of the two."""
    topic = cloud.topic(message_retention_duration={"seconds": DAY_S})
    name = cloud.subscription(topic, message_retention_duration={"seconds": 600})
    cloud.publish(topic, b"1")
    cloud.advance(3600)
    assert data(cloud.pull(name, now=True)) == [b"1"]


@pytest.mark.ours_only("lets the retention pass on our clock")
def test_the_unacknowledged_is_dropped_after_its_retention(cloud):
    """message_retention_duration: an unacknowledged message is deleted when its age exceeds it."""
    topic = cloud.topic()
    name = cloud.subscription(topic, message_retention_duration={"seconds": 600})
    cloud.publish(topic, b"old")
    cloud.advance(599)
    cloud.publish(topic, b"new")
    cloud.advance(2)
    assert data(cloud.pull(name, now=True)) == [b"new"]


@pytest.mark.google_differs("filters are accepted and ignored")
def test_a_seek_keeps_to_the_filter(cloud, clock):
    """Filters: a subscription never delivers what its filter does not let through."""
    topic = cloud.topic(message_retention_duration={"seconds": 3600})
    name = cloud.subscription(topic, filter="attributes:wanted")
    cloud.publish(topic, b"1", wanted="yes")
    cloud.publish(topic, b"2")
    consume(cloud, name)
    seek(cloud, name, time=at(clock.now() - 600))
    assert data(cloud.pull(name, now=True)) == [b"1"]


def test_a_seek_leaves_the_other_subscriptions_alone(cloud, clock, retaining):
    """projects.subscriptions.seek: acts on the named subscription."""
    topic, name = retaining
    other = cloud.subscription(topic, "other", retain_acked_messages=True)
    cloud.publish(topic, b"1")
    consume(cloud, name)
    consume(cloud, other)
    seek(cloud, name, time=at(clock.now() - 600))
    assert data(cloud.pull(name)) == [b"1"]
    assert cloud.pull(other, now=True) == []


def test_an_ack_id_from_before_a_seek_does_not_settle_what_it_brought_back(cloud, clock, retaining):
    """Seek: what it marks as unacknowledged is delivered at least once after it."""
    topic, name = retaining
    cloud.publish(topic, b"1")
    received = consume(cloud, name)
    seek(cloud, name, time=at(clock.now() - 600))
    cloud.ack(name, *received)
    assert data(cloud.pull(name, now=True)) == [b"1"]


@pytest.mark.google_differs("Seek is not implemented there for ordered subscriptions")
def test_a_replayed_key_keeps_its_order(cloud, clock):
    """Ordering: replayed messages of a key are delivered in the order they were published in."""
    topic = cloud.topic()
    name = cloud.subscription(topic, enable_message_ordering=True, retain_acked_messages=True)
    for body in (b"1", b"2", b"3"):
        cloud.publish(topic, body, key="k")
    for _ in range(3):
        consume(cloud, name, 1)
    seek(cloud, name, time=at(clock.now() - 600))
    again = []
    while received := consume_now(cloud, name):
        again += [r.message.data for r in received]
    assert again == [b"1", b"2", b"3"]


def consume_now(cloud, subscription):
    received = cloud.pull(subscription, now=True)
    cloud.ack(subscription, *received)
    return received


@pytest.mark.ours_only("waits until the first push is acknowledged")
def test_a_seek_on_a_push_subscription_pushes_again(cloud, clock, endpoint):
    """Seek works for push subscriptions: what it brings back is pushed."""
    topic = cloud.topic()
    push = {"push_endpoint": endpoint.url}
    name = cloud.subscription(topic, retain_acked_messages=True, push_config=push)
    message_id = cloud.publish(topic)
    endpoint.take()
    cloud.settle()
    seek(cloud, name, time=at(clock.now() - 600))
    assert endpoint.take()[0].message["messageId"] == message_id


@pytest.mark.parametrize("target", [{}, {"snapshot": "projects/p1/snapshots/none"}])
def test_a_seek_needs_a_target_that_exists(cloud, target):
    """SeekRequest.target: required (INVALID_ARGUMENT); NOT_FOUND for an unknown snapshot."""
    name = cloud.subscription(cloud.topic())
    expected = exceptions.NotFound if target else exceptions.InvalidArgument
    with pytest.raises(expected):
        seek(cloud, name, **target)


def test_a_seek_on_nothing_is_not_found(cloud, clock):
    """projects.subscriptions.seek: NOT_FOUND if the subscription does not exist."""
    with pytest.raises(exceptions.NotFound):
        seek(cloud, f"{cloud.project}/subscriptions/none", time=at(clock.now()))


def test_a_snapshot_restores_what_was_unacknowledged(cloud):
    """Seek to a snapshot: its unacknowledged messages and all published since are delivered."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic, b"done")
    consume(cloud, name)
    cloud.publish(topic, b"open")
    snap = snapshot(cloud, name)
    cloud.publish(topic, b"later")
    got = []
    while len(got) < 2:
        got += consume(cloud, name)
    seek(cloud, name, snapshot=snap)
    assert data(cloud.pull(name)) == [b"later", b"open"]


def test_a_snapshot_serves_another_subscription_of_the_topic(cloud):
    """Snapshots: copy the acknowledgement state of one subscription to another one."""
    topic = cloud.topic()
    one = cloud.subscription(topic, "one")
    other = cloud.subscription(topic, "other")
    for body in (b"1", b"2"):
        cloud.publish(topic, body)
    [first] = cloud.pull(one, 1)
    cloud.ack(one, first)
    seek(cloud, other, snapshot=snapshot(cloud, one))
    assert len(cloud.pull(other)) == 1
    assert data(cloud.pull(other, now=True)) == []


@pytest.mark.google_differs("a late subscription does not get the snapshot's messages")
def test_a_snapshot_serves_a_subscription_created_later(cloud):
    """Snapshots: what one retains can be sought by any subscription of its topic."""
    topic = cloud.topic()
    one = cloud.subscription(topic, "one")
    cloud.publish(topic, b"1")
    snap = snapshot(cloud, one)
    consume(cloud, one)
    late = cloud.subscription(topic, "late")
    seek(cloud, late, snapshot=snap)
    assert data(cloud.pull(late, now=True)) == [b"1"]


def test_a_snapshot_of_another_topic_is_refused(cloud):
    """SeekRequest.snapshot: its topic must be the same as that of the subscription."""
    snap = snapshot(cloud, cloud.subscription(cloud.topic()))
    other = cloud.subscription(cloud.topic("other"), "other")
    with pytest.raises(exceptions.FailedPrecondition):
        seek(cloud, other, snapshot=snap)


@pytest.mark.google_differs("takes a topic created again for the deleted one")
def test_a_topic_created_again_is_another_topic(cloud):
    """SeekRequest.snapshot: a topic of the same name is distinct from the deleted one."""
    topic = cloud.topic()
    snap = snapshot(cloud, cloud.subscription(topic, "old"))
    cloud.publisher.delete_topic(topic=topic)
    name = cloud.subscription(cloud.topic(), "new")
    with pytest.raises(exceptions.FailedPrecondition):
        seek(cloud, name, snapshot=snap)


def test_a_deleted_snapshot_is_gone(cloud):
    """projects.snapshots.delete: NOT_FOUND afterwards, for get, seek and delete alike."""
    name = cloud.subscription(cloud.topic())
    snap = snapshot(cloud, name)
    cloud.subscriber.delete_snapshot(snapshot=snap)
    for call in ("get_snapshot", "delete_snapshot"):
        with pytest.raises(exceptions.NotFound):
            getattr(cloud.subscriber, call)(snapshot=snap)
    with pytest.raises(exceptions.NotFound):
        seek(cloud, name, snapshot=snap)


def test_a_snapshot_is_read_back(cloud, clock):
    """projects.snapshots.get: name, topic, and 7 days to live without a backlog."""
    topic = cloud.topic()
    snap = snapshot(cloud, cloud.subscription(topic))
    got = cloud.subscriber.get_snapshot(snapshot=snap)
    assert (got.name, got.topic) == (snap, topic)
    assert got.expire_time.timestamp() == pytest.approx(clock.now() + 7 * DAY_S, abs=30)


@pytest.mark.google_differs("drops the labels of a snapshot")
def test_a_snapshot_has_its_labels(cloud):
    """CreateSnapshotRequest.labels: kept on the snapshot."""
    snap = snapshot(cloud, cloud.subscription(cloud.topic()), labels={"team": "ads"})
    assert dict(cloud.subscriber.get_snapshot(snapshot=snap).labels) == {"team": "ads"}


@pytest.mark.ours_only("needs an old backlog")
def test_a_snapshot_lives_shorter_by_the_age_of_the_backlog(cloud, clock):
    """Snapshot.expire_time: 7 days less the age of the oldest unacknowledged message."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic)
    cloud.advance(2 * DAY_S)
    snap = snapshot(cloud, name)
    got = cloud.subscriber.get_snapshot(snapshot=snap)
    assert got.expire_time.timestamp() == clock.now() + 5 * DAY_S


@pytest.mark.ours_only("needs an old backlog")
def test_a_snapshot_of_too_old_a_backlog_is_refused(cloud):
    """CreateSnapshot: FAILED_PRECONDITION if it would expire in less than 1 hour."""
    topic = cloud.topic()
    name = cloud.subscription(topic, message_retention_duration={"seconds": 31 * DAY_S})
    cloud.publish(topic)
    cloud.advance(7 * DAY_S - 3599)
    with pytest.raises(exceptions.FailedPrecondition):
        snapshot(cloud, name)


@pytest.mark.ours_only("lets the snapshot expire on our clock")
def test_a_snapshot_expires(cloud):
    """Snapshot.expire_time: after it the snapshot is gone and its name is free."""
    name = cloud.subscription(cloud.topic())
    snap = snapshot(cloud, name)
    cloud.advance(7 * DAY_S + 1)
    with pytest.raises(exceptions.NotFound):
        cloud.subscriber.get_snapshot(snapshot=snap)
    assert list(cloud.subscriber.list_snapshots(project=cloud.project)) == []
    snapshot(cloud, name)


def test_a_taken_snapshot_name_is_refused(cloud):
    """CreateSnapshot: ALREADY_EXISTS if the snapshot exists."""
    name = cloud.subscription(cloud.topic())
    snapshot(cloud, name)
    with pytest.raises(exceptions.AlreadyExists):
        snapshot(cloud, name)


def test_a_snapshot_of_nothing_is_not_found(cloud):
    """CreateSnapshot: NOT_FOUND if the subscription does not exist."""
    with pytest.raises(exceptions.NotFound):
        snapshot(cloud, f"{cloud.project}/subscriptions/none")


@pytest.mark.parametrize("short", ["ab", "1abc", "googsnap"])
def test_a_bad_snapshot_name_is_refused(cloud, short):
    """Snapshot.name: the rules of resource names hold ("Guidelines to name a resource")."""
    name = cloud.subscription(cloud.topic())
    with pytest.raises(exceptions.InvalidArgument):
        snapshot(cloud, name, short)


@pytest.mark.google_differs("UpdateSnapshot is not implemented there")
def test_a_snapshots_labels_change_under_a_mask(cloud):
    """projects.snapshots.patch: the fields that update_mask names take the request's values."""
    snap = snapshot(cloud, cloud.subscription(cloud.topic()))
    cloud.subscriber.update_snapshot(
        request={
            "snapshot": {"name": snap, "labels": {"a": "1"}},
            "update_mask": FieldMask(paths=["labels"]),
        }
    )
    assert dict(cloud.subscriber.get_snapshot(snapshot=snap).labels) == {"a": "1"}


@pytest.mark.google_differs("UpdateSnapshot is not implemented there")
@pytest.mark.parametrize("paths", [[], ["topic"], ["nonsense"]])
def test_a_snapshot_update_needs_a_mask_of_changeable_fields(cloud, paths):
    """UpdateSnapshotRequest.update_mask: required, existing fields, none that cannot change."""
    snap = snapshot(cloud, cloud.subscription(cloud.topic()))
    with pytest.raises(exceptions.InvalidArgument):
        cloud.subscriber.update_snapshot(
            request={"snapshot": {"name": snap}, "update_mask": FieldMask(paths=paths)}
        )


def test_snapshots_are_listed_in_pages(cloud):
    """projects.snapshots.list: page_size at most, all of the project's in the end."""
    name = cloud.subscription(cloud.topic())
    names = {snapshot(cloud, name, f"snap-{i}") for i in range(3)}
    request = {"project": cloud.project, "page_size": 2}
    pages = list(cloud.subscriber.list_snapshots(request=request).pages)
    assert [len(page.snapshots) for page in pages] == [2, 1]
    assert {s.name for page in pages for s in page.snapshots} == names


def test_a_topics_snapshots_are_listed(cloud):
    """projects.topics.snapshots.list: the names of the snapshots of that topic."""
    topic = cloud.topic()
    snap = snapshot(cloud, cloud.subscription(topic))
    snapshot(cloud, cloud.subscription(cloud.topic("other"), "other"), "other-snap")
    assert list(cloud.publisher.list_topic_snapshots(topic=topic)) == [snap]


@pytest.mark.ours_only("looks into the store")
def test_a_deleted_snapshot_keeps_nothing(cloud):
    """projects.snapshots.delete: all messages retained in the snapshot are dropped."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic)
    snap = snapshot(cloud, name)
    consume(cloud, name)
    store = cloud.server._broker._store
    assert len(store.batches()) == 1
    cloud.subscriber.delete_snapshot(snapshot=snap)
    assert store.batches() == []
    assert store.deliveries() == []


@pytest.mark.ours_only("restarts the server")
def test_seeks_and_snapshots_survive_a_restart(cloud, clock, retaining):
    """A snapshot, what it retains, and what a seek brought back are durable."""
    topic, name = retaining
    for body in (b"1", b"2"):
        cloud.publish(topic, body)
    snap = snapshot(cloud, name)
    void = consume(cloud, name)
    cloud.restart()
    assert cloud.pull(name, now=True) == []
    seek(cloud, name, snapshot=snap)
    cloud.restart()
    cloud.ack(name, *void)
    assert data(consume(cloud, name)) == [b"1", b"2"]
    cloud.restart()
    assert cloud.pull(name, now=True) == []
    seek(cloud, name, time=at(clock.now() - 600))
    cloud.restart()
    assert data(cloud.pull(name)) == [b"1", b"2"]


@pytest.mark.ours_only("restarts the server")
def test_a_deleted_topics_backlog_survives_a_restart(cloud):
    """projects.topics.delete: subscriptions keep their backlog; a new topic's name adds nothing."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic, b"old")
    cloud.publisher.delete_topic(topic=topic)
    cloud.topic()
    cloud.subscription(topic, "new")
    cloud.publish(topic, b"new")
    cloud.restart()
    assert data(cloud.pull(name)) == [b"old"]
    assert data(cloud.pull(f"{cloud.project}/subscriptions/new")) == [b"new"]
