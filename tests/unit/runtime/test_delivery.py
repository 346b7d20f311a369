"""What wakes a function is understood whoever sent it."""

import base64
import json

import pytest
from geminivideo.events import DeadLettered, SweepDue, VideoUploaded, flow_id_of
from geminivideo.runtime.delivery import MalformedDeliveryError, decode

OBJECT = {
    "bucket": "b",
    "name": "folder/clip.mp4",
    "generation": "1700000000000001",
    "size": "42",
    "contentType": "video/mp4",
    "metadata": {"account": "demo"},
}


def push(data: bytes, attributes: dict | None = None, **rest) -> bytes:
    message = {"messageId": "7", "attributes": attributes or {}}
    if data:
        message["data"] = base64.b64encode(data).decode()
    return json.dumps(
        {"message": message, "subscription": "projects/p/subscriptions/s"} | rest
    ).encode()


def test_raw_push_keeps_attempt_and_subscription():
    """A raw Pub/Sub push gives body, attributes, subscription and the delivery attempt."""
    got = decode({"Content-Type": "application/json"}, push(b"{}", {"a": "1"}, deliveryAttempt=3))
    assert (got.kind, got.id, got.body, got.attempt) == ("pubsub", "7", b"{}", 3)
    assert got.attributes == {"a": "1"}
    assert got.subscription == "projects/p/subscriptions/s"


def test_push_without_data_is_a_delivery():
    """A message of attributes only (which functions-framework refuses) is a delivery here."""
    assert decode({}, push(b"", {"tick": "1"})).body == b""


def test_cloud_task_counts_attempts_from_one():
    """A Cloud Tasks request gives its raw body, and its retry count plus one as the attempt."""
    headers = {"X-CloudTasks-TaskName": "t1", "X-CloudTasks-TaskRetryCount": "2"}
    got = decode(headers, b'{"change_id": "c"}')
    assert (got.kind, got.id, got.attempt, got.body) == ("task", "t1", 3, b'{"change_id": "c"}')


def test_storage_cloud_event_is_its_object():
    """A binary CloudEvent of Cloud Storage carries the object resource as its body."""
    headers = {"ce-type": "google.cloud.storage.object.v1.finalized", "ce-id": "e1"}
    got = decode(headers, json.dumps(OBJECT).encode())
    assert VideoUploaded.from_object(json.loads(got.body)).video.name == "folder/clip.mp4"


def test_pubsub_cloud_event_is_unwrapped():
    """A CloudEvent of Pub/Sub is read like a raw push."""
    headers = {"ce-type": "google.cloud.pubsub.topic.v1.messagePublished", "ce-id": "e1"}
    assert decode(headers, push(b"x")).body == b"x"


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[1]", b"{}", b'{"message": 3}', b'{"message": {"data": "%%%"}}'],
)
def test_what_is_no_delivery_is_refused_with_a_reason(body):
    """Anything else is refused with a message that says what is wrong."""
    with pytest.raises(MalformedDeliveryError, match=r"\w+"):
        decode({}, body)


def test_bucket_notification_becomes_an_upload():
    """The bucket's notification becomes an event keyed by bucket, name and generation."""
    event = VideoUploaded.of_delivery(
        json.dumps(OBJECT).encode(), {"eventType": "OBJECT_FINALIZE"}, "1"
    )
    assert event.key == "b/folder/clip.mp4#1700000000000001"
    assert event.flow_id == flow_id_of(event.video)
    assert (event.size, event.metadata) == (42, {"account": "demo"})


def test_own_event_sent_again_is_read_back():
    """An upload that was dead-lettered and replayed is the same event."""
    event = VideoUploaded.from_object(OBJECT)
    assert VideoUploaded.of_delivery(event.encode(), {}, "1") == event


def test_a_new_generation_is_a_new_flow_and_the_same_is_not():
    """The flow id depends on bucket, name and generation alone."""
    one, again = (
        VideoUploaded.from_object(OBJECT),
        VideoUploaded.from_object(OBJECT | {"size": "9"}),
    )
    other = VideoUploaded.from_object(OBJECT | {"generation": "2"})
    assert one.flow_id == again.flow_id != other.flow_id


def test_each_tick_of_the_scheduler_is_its_own_work():
    """Two messages of the scheduler have different keys, one delivered twice has one."""
    keys = [SweepDue.of_delivery(b"", {}, tick).key for tick in ("1", "1", "2")]
    assert keys == ["1", "1", "2"]


def test_dead_letter_keeps_the_message_without_the_forwarders_attributes():
    """A forwarded message names its subscription and keeps its own attributes."""
    attributes = {"flow_id": "f", "CloudPubSubDeadLetterSourceSubscription": "rank-scenes"}
    dead = DeadLettered.of_delivery(b'{"flow_id":"f"}', attributes, "9")
    assert (dead.subscription, dead.attributes, dead.flow_id) == (
        "rank-scenes",
        {"flow_id": "f"},
        "f",
    )
