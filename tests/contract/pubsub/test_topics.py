"""Topics, as the Pub/Sub API reference (projects.topics) documents them."""

import grpc
import pytest
from google.api_core import exceptions
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask


def test_a_topic_is_created_and_read_back(cloud):
    """projects.topics.create: the created topic is returned and can be got by its name."""
    name = cloud.topic(labels={"team": "ads"})
    topic = cloud.publisher.get_topic(topic=name)
    assert topic.name == name
    assert dict(topic.labels) == {"team": "ads"}


def test_a_taken_name_is_refused(cloud):
    """projects.topics.create: ALREADY_EXISTS when the topic exists."""
    cloud.topic()
    with pytest.raises(exceptions.AlreadyExists):
        cloud.topic()


@pytest.mark.parametrize(
    "name",
    [
        "projects/p1/topics/ab",
        "projects/p1/topics/1abc",
        "projects/p1/topics/googtopic",
        "projects/p1/topics/has space",
        "projects/p1/topics/" + "a" * 256,
        "projects/p1/subscriptions/top",
        "top",
    ],
)
def test_a_bad_topic_name_is_refused(cloud, name):
    """Topic.name: 3 to 255 of the documented characters, letter first, not "goog"."""
    with pytest.raises(exceptions.InvalidArgument):
        cloud.publisher.create_topic(name=name)


@pytest.mark.parametrize(
    "call",
    [
        "get_topic",
        "delete_topic",
        pytest.param(
            "list_topic_subscriptions",
            marks=pytest.mark.google_differs("lists nothing instead of refusing"),
        ),
    ],
)
def test_a_topic_that_is_not_there_is_not_found(cloud, call):
    """projects.topics: NOT_FOUND for a topic that does not exist."""
    with pytest.raises(exceptions.NotFound):
        getattr(cloud.publisher, call)(topic="projects/p1/topics/none")


@pytest.mark.google_differs("labels cannot be updated there")
def test_labels_change_under_a_mask(cloud):
    """projects.topics.patch: the fields that update_mask names take the request's values."""
    name = cloud.topic(labels={"team": "ads"})
    changed = cloud.publisher.update_topic(
        topic={"name": name, "labels": {"team": "video"}}, update_mask=FieldMask(paths=["labels"])
    )
    assert dict(changed.labels) == {"team": "video"}
    assert dict(cloud.publisher.get_topic(topic=name).labels) == {"team": "video"}


def test_retention_has_its_documented_bounds(cloud):
    """Topic.message_retention_duration: not less than 10 minutes, not more than 31 days."""
    name = cloud.topic(message_retention_duration=Duration(seconds=600))
    with pytest.raises(exceptions.InvalidArgument):
        cloud.publisher.update_topic(
            topic={"name": name, "message_retention_duration": Duration(seconds=599)},
            update_mask=FieldMask(paths=["message_retention_duration"]),
        )


@pytest.mark.parametrize("paths", [[], ["name"], ["nonsense"]])
def test_an_update_needs_a_mask_of_changeable_fields(cloud, paths):
    """UpdateTopicRequest.update_mask: required, existing fields, none that cannot change."""
    name = cloud.topic()
    with pytest.raises(exceptions.InvalidArgument):
        cloud.publisher.update_topic(topic={"name": name}, update_mask=FieldMask(paths=paths))


def test_topics_are_listed_in_pages(cloud):
    """projects.topics.list: page_size at most, and a token that goes on until all are listed."""
    names = {cloud.topic(f"topic-{i}") for i in range(5)}
    request = {"project": cloud.project, "page_size": 2}
    pages = list(cloud.publisher.list_topics(request=request).pages)
    assert [len(page.topics) for page in pages] == [2, 2, 1]
    assert {topic.name for page in pages for topic in page.topics} == names


def test_only_the_projects_topics_are_listed(cloud):
    """projects.topics.list: topics of the named project."""
    cloud.topic()
    assert list(cloud.publisher.list_topics(project="projects/p2")) == []


def test_a_topics_subscriptions_are_listed(cloud):
    """projects.topics.subscriptions.list: the names of the attached subscriptions."""
    topic = cloud.topic()
    names = {cloud.subscription(topic, "sub-a"), cloud.subscription(topic, "sub-b")}
    cloud.subscription(cloud.topic("other"), "sub-c")
    assert set(cloud.publisher.list_topic_subscriptions(topic=topic)) == names


def test_deleting_a_topic_keeps_its_subscriptions(cloud):
    """projects.topics.delete: subscriptions stay, their topic becomes _deleted-topic_."""
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic, b"before")
    cloud.publisher.delete_topic(topic=topic)
    assert cloud.subscriber.get_subscription(subscription=subscription).topic == "_deleted-topic_"
    assert [r.message.data for r in cloud.pull(subscription)] == [b"before"]


def test_a_topic_of_the_same_name_is_a_new_topic(cloud):
    """projects.topics.delete: a topic created again has none of the old subscriptions."""
    topic = cloud.topic()
    cloud.subscription(topic)
    cloud.publisher.delete_topic(topic=topic)
    cloud.topic()
    assert list(cloud.publisher.list_topic_subscriptions(topic=topic)) == []


@pytest.mark.ours_only("these gaps are ours")
@pytest.mark.parametrize(
    "fields",
    [
        {"kms_key_name": "projects/p1/locations/l/keyRings/r/cryptoKeys/k"},
        {"schema_settings": {"schema": "projects/p1/schemas/s"}},
    ],
)
def test_what_is_not_emulated_is_refused_by_name(cloud, fields):
    """A field that this emulator would have to ignore is UNIMPLEMENTED, naming the field."""
    with pytest.raises(exceptions.MethodNotImplemented, match=next(iter(fields))):
        cloud.topic(**fields)


@pytest.mark.parametrize(
    "method",
    [
        "google.pubsub.v1.SchemaService/CreateSchema",
        "google.pubsub.v1.SchemaService/ListSchemas",
        "google.iam.v1.IAMPolicy/GetIamPolicy",
        "google.iam.v1.IAMPolicy/SetIamPolicy",
    ],
)
def test_a_method_that_is_not_emulated_answers_with_its_name(cloud, method):
    """Every other method answers UNIMPLEMENTED with its name, never a silent success."""
    with grpc.insecure_channel(cloud.server.host) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/" + method)(b"", timeout=5)
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert method in refused.value.details()
