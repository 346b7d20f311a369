"""Subscriptions, as the Pub/Sub API reference (projects.subscriptions) documents them."""

import pytest
from google.api_core import exceptions
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask


def seconds(value: float) -> Duration:
    span = Duration()
    span.FromMilliseconds(int(value * 1000))
    return span


def changed(cloud, name, paths, **fields):
    return cloud.subscriber.update_subscription(
        subscription={"name": name, **fields}, update_mask=FieldMask(paths=paths)
    )


@pytest.mark.google_differs("shows no expiration policy")
def test_a_subscription_has_the_documented_defaults(cloud):
    """projects.subscriptions: 10 s ack deadline, 7 days retention, 31 days to expiry, pull."""
    name = cloud.subscription(cloud.topic())
    got = cloud.subscriber.get_subscription(subscription=name)
    assert got.ack_deadline_seconds == 10
    assert got.message_retention_duration.total_seconds() == 7 * 86400
    assert got.expiration_policy.ttl.total_seconds() == 31 * 86400
    assert got.push_config.push_endpoint == ""
    assert got.state.name == "ACTIVE"


def test_a_taken_name_is_refused(cloud):
    """projects.subscriptions.create: ALREADY_EXISTS when the subscription exists."""
    topic = cloud.topic()
    cloud.subscription(topic)
    with pytest.raises(exceptions.AlreadyExists):
        cloud.subscription(topic)


def test_its_topic_must_exist(cloud):
    """projects.subscriptions.create: NOT_FOUND when the topic does not exist."""
    with pytest.raises(exceptions.NotFound):
        cloud.subscription("projects/p1/topics/none")


@pytest.mark.parametrize(
    "deadline",
    [pytest.param(9, marks=pytest.mark.google_differs("accepts less than 10 s")), 601, -1],
)
def test_the_ack_deadline_is_10_to_600_seconds(cloud, deadline):
    """Subscription.ack_deadline_seconds: at least 10, at most 600."""
    with pytest.raises(exceptions.InvalidArgument):
        cloud.subscription(cloud.topic(), ack_deadline_seconds=deadline)


@pytest.mark.parametrize("attempts", [4, 101])
def test_delivery_attempts_are_5_to_100(cloud, attempts):
    """DeadLetterPolicy.max_delivery_attempts: between 5 and 100."""
    policy = {"dead_letter_topic": cloud.topic("dead"), "max_delivery_attempts": attempts}
    with pytest.raises((exceptions.InvalidArgument, exceptions.OutOfRange)):
        cloud.subscription(cloud.topic(), dead_letter_policy=policy)


def test_delivery_attempts_default_to_5(cloud):
    """DeadLetterPolicy.max_delivery_attempts: 0 means the default of 5."""
    policy = {"dead_letter_topic": cloud.topic("dead")}
    name = cloud.subscription(cloud.topic(), dead_letter_policy=policy)
    got = cloud.subscriber.get_subscription(subscription=name)
    assert got.dead_letter_policy.max_delivery_attempts == 5


def test_the_dead_letter_topic_must_exist(cloud):
    """DeadLetterPolicy.dead_letter_topic: the operation fails if the topic does not exist."""
    policy = {"dead_letter_topic": "projects/p1/topics/none"}
    with pytest.raises(exceptions.NotFound):
        cloud.subscription(cloud.topic(), dead_letter_policy=policy)


def test_a_retry_policy_defaults_to_10_and_600_seconds(cloud):
    """RetryPolicy: minimum_backoff defaults to 10 s, maximum_backoff to 600 s."""
    name = cloud.subscription(cloud.topic(), retry_policy={})
    got = cloud.subscriber.get_subscription(subscription=name).retry_policy
    assert got.minimum_backoff.total_seconds() == 10
    assert got.maximum_backoff.total_seconds() == 600


@pytest.mark.parametrize(("low", "high"), [(0, 601), (-1, 10), (20, 10)])
def test_backoff_is_between_0_and_600_seconds(cloud, low, high):
    """RetryPolicy: both between 0 and 600 s, the minimum not above the maximum."""
    policy = {"minimum_backoff": seconds(low), "maximum_backoff": seconds(high)}
    with pytest.raises(exceptions.InvalidArgument):
        cloud.subscription(cloud.topic(), retry_policy=policy)


@pytest.mark.parametrize("retention", [599, 31 * 86400 + 1])
def test_retention_is_10_minutes_to_31_days(cloud, retention):
    """Subscription.message_retention_duration: not over 31 days, not under 10 minutes."""
    with pytest.raises(exceptions.InvalidArgument):
        cloud.subscription(cloud.topic(), message_retention_duration=seconds(retention))


def test_a_mask_changes_what_it_names_and_nothing_else(cloud):
    """projects.subscriptions.patch: only the masked fields take the request's values."""
    name = cloud.subscription(cloud.topic(), labels={"a": "1"})
    changed(cloud, name, ["ack_deadline_seconds"], ack_deadline_seconds=60, labels={"a": "2"})
    got = cloud.subscriber.get_subscription(subscription=name)
    assert got.ack_deadline_seconds == 60
    assert dict(got.labels) == {"a": "1"}


def test_a_masked_field_that_is_left_out_is_cleared(cloud):
    """projects.subscriptions.patch: a masked message that is not given is removed."""
    policy = {"dead_letter_topic": cloud.topic("dead")}
    name = cloud.subscription(cloud.topic(), dead_letter_policy=policy)
    changed(cloud, name, ["dead_letter_policy"])
    got = cloud.subscriber.get_subscription(subscription=name)
    assert got.dead_letter_policy.dead_letter_topic == ""


@pytest.mark.google_differs("a path into a message is unknown there")
def test_a_nested_mask_changes_one_member(cloud):
    """projects.subscriptions.patch: a path into a message changes that member alone."""
    push = {"push_endpoint": "http://127.0.0.1:9/a", "attributes": {"x-goog-version": "v1"}}
    name = cloud.subscription(cloud.topic(), push_config=push)
    wanted = {"push_endpoint": "http://127.0.0.1:9/b"}
    changed(cloud, name, ["push_config.push_endpoint"], push_config=wanted)
    got = cloud.subscriber.get_subscription(subscription=name).push_config
    assert got.push_endpoint == "http://127.0.0.1:9/b"
    assert dict(got.attributes) == {"x-goog-version": "v1"}


@pytest.mark.parametrize(
    "paths", [[], ["topic"], ["filter"], ["enable_message_ordering"], ["nonsense"]]
)
def test_what_cannot_change_is_refused(cloud, paths):
    """projects.subscriptions.patch: name, topic, filter and ordering are fixed at creation."""
    name = cloud.subscription(cloud.topic())
    with pytest.raises(exceptions.InvalidArgument):
        changed(cloud, name, paths)


@pytest.mark.google_differs("accepts an ack deadline under 10 s")
def test_a_changed_value_is_checked_too(cloud):
    """projects.subscriptions.patch: the documented limits hold for updates."""
    name = cloud.subscription(cloud.topic())
    with pytest.raises(exceptions.InvalidArgument):
        changed(cloud, name, ["ack_deadline_seconds"], ack_deadline_seconds=5)


def test_subscriptions_are_listed_in_pages(cloud):
    """projects.subscriptions.list: page_size at most, all of them in the end."""
    topic = cloud.topic()
    names = {cloud.subscription(topic, f"sub-{i}") for i in range(3)}
    request = {"project": cloud.project, "page_size": 2}
    pages = list(cloud.subscriber.list_subscriptions(request=request).pages)
    assert [len(page.subscriptions) for page in pages] == [2, 1]
    assert {s.name for page in pages for s in page.subscriptions} == names


def test_a_deleted_subscription_is_gone_with_its_backlog(cloud):
    """projects.subscriptions.delete: retained messages are dropped; the name is free again."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic)
    cloud.subscriber.delete_subscription(subscription=name)
    with pytest.raises(exceptions.NotFound):
        cloud.subscriber.get_subscription(subscription=name)
    cloud.subscription(topic)
    assert cloud.pull(name, now=True) == []


@pytest.mark.parametrize("endpoint", ["ftp://host/x", "host/x"])
def test_a_push_endpoint_is_a_url(cloud, endpoint):
    """PushConfig.push_endpoint: a URL locating the endpoint."""
    with pytest.raises(exceptions.InvalidArgument):
        cloud.subscription(cloud.topic(), push_config={"push_endpoint": endpoint})


@pytest.mark.google_differs("does not look at oidc_token")
def test_an_oidc_token_names_its_service_account(cloud):
    """PushConfig.OidcToken.service_account_email: needed to sign for someone."""
    push = {"push_endpoint": "http://127.0.0.1:9/", "oidc_token": {"audience": "a"}}
    with pytest.raises(exceptions.InvalidArgument):
        cloud.subscription(cloud.topic(), push_config=push)


@pytest.mark.ours_only("these gaps are ours")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bigtable_config", {"table": "projects/p/instances/i/tables/t"}),
        ("message_transforms", [{"disabled": True}]),
        ("bigquery_config", {"table": "p.d.t"}),
        ("cloud_storage_config", {"bucket": "b"}),
    ],
)
def test_what_is_not_emulated_is_refused_by_name(cloud, field, value):
    """A kind of delivery that is not emulated is UNIMPLEMENTED, never accepted and ignored."""
    with pytest.raises(exceptions.MethodNotImplemented):
        cloud.subscription(cloud.topic(), **{field: value})


@pytest.mark.google_differs("filters are accepted and ignored")
@pytest.mark.parametrize("text", ["attributes:", 'attributes.a = "x" AND', "data = 1", "x" * 300])
def test_a_filter_that_does_not_parse_is_refused(cloud, text):
    """Filtering: INVALID_ARGUMENT for a bad expression or one of more than 256 bytes."""
    with pytest.raises(exceptions.InvalidArgument):
        cloud.subscription(cloud.topic(), filter=text)
