"""Notifications: https://cloud.google.com/storage/docs/pubsub-notifications."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from google.api_core import exceptions

from emulators.storage import Server

ROOT = Path(__file__).resolve().parents[3]
CRASHING = """
import os, signal, sys
from pathlib import Path
from emulators.storage import Server
from geminivideo.runtime.clock import Clock

def publish(topic, data, attributes):
    os.kill(os.getpid(), signal.SIGKILL)

server = Server(state_dir=Path(sys.argv[1]), clock=Clock(), publish=publish)
server.start()
print(server.url, flush=True)
signal.pause()
"""


def notify(bucket, **options):
    config = bucket.notification(
        topic_name="uploads", topic_project="demo-project", payload_format="JSON_API_V1", **options
    )
    config.create()
    return config


def test_finalize_message(bucket, inbox):
    """A new object publishes OBJECT_FINALIZE with the documented attributes and the resource."""
    config = notify(bucket)
    blob = bucket.blob("folder/a.mp4")
    blob.metadata = {"account": "acc-1"}
    blob.upload_from_string(b"video", content_type="video/mp4")
    topic, data, attributes = inbox.take()
    assert topic == "projects/demo-project/topics/uploads"
    assert attributes.pop("eventTime").endswith("Z")
    assert attributes == {
        "notificationConfig": (
            f"projects/_/buckets/demo-uploads/notificationConfigs/{config.notification_id}"
        ),
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "JSON_API_V1",
        "bucketId": "demo-uploads",
        "objectId": "folder/a.mp4",
        "objectGeneration": str(blob.generation),
    }
    resource = json.loads(data)
    assert resource["kind"] == "storage#object"
    assert resource["generation"] == str(blob.generation)
    assert resource["metadata"] == {"account": "acc-1"}
    assert resource["size"] == "5"


def test_overwrite_tells_both_generations(bucket, inbox):
    """An overwrite publishes the new object and the old one's end, each naming the other."""
    notify(bucket)
    blob = bucket.blob("a")
    blob.upload_from_string(b"one")
    first = blob.generation
    blob.upload_from_string(b"two")
    second = blob.generation
    events = {(m[2]["eventType"], m[2]["objectGeneration"]): m[2] for m in inbox.take(3)}
    finalized = events["OBJECT_FINALIZE", str(second)]
    deleted = events["OBJECT_DELETE", str(first)]
    assert finalized["overwroteGeneration"] == str(first)
    assert deleted["overwrittenByGeneration"] == str(second)
    assert "overwroteGeneration" not in events["OBJECT_FINALIZE", str(first)]


def test_delete_and_metadata_update(bucket, inbox):
    """Metadata changes and deletions publish their events."""
    notify(bucket)
    blob = bucket.blob("a")
    blob.upload_from_string(b"x")
    blob.metadata = {"k": "v"}
    blob.patch()
    blob.delete()
    assert [message[2]["eventType"] for message in inbox.take(3)] == [
        "OBJECT_FINALIZE",
        "OBJECT_METADATA_UPDATE",
        "OBJECT_DELETE",
    ]


def test_versioned_delete_archives(bucket, inbox):
    """In a versioned bucket a deleted live object becomes noncurrent: OBJECT_ARCHIVE."""
    bucket.versioning_enabled = True
    bucket.patch()
    notify(bucket, event_types=["OBJECT_ARCHIVE"])
    bucket.blob("a").upload_from_string(b"x")
    bucket.blob("a").delete()
    assert inbox.take()[2]["eventType"] == "OBJECT_ARCHIVE"


def test_types_prefix_and_custom_attributes(bucket, inbox):
    """event_types and object_name_prefix select; custom_attributes travel with each message."""
    notify(
        bucket,
        event_types=["OBJECT_FINALIZE"],
        blob_name_prefix="videos/",
        custom_attributes={"team": "ads"},
    )
    bucket.blob("other/a").upload_from_string(b"x")
    bucket.blob("videos/a").upload_from_string(b"x")
    bucket.blob("videos/a").delete()
    bucket.blob("videos/b").upload_from_string(b"x")
    first, second = inbox.take(2)
    assert [first[2]["objectId"], second[2]["objectId"]] == ["videos/a", "videos/b"]
    assert first[2]["team"] == "ads"


def test_no_payload(bucket, inbox):
    """payload_format NONE sends the attributes alone."""
    bucket.notification(
        topic_name="t", topic_project="demo-project", payload_format="NONE"
    ).create()
    bucket.blob("a").upload_from_string(b"x")
    _, data, attributes = inbox.take()
    assert (data, attributes["payloadFormat"]) == (b"", "NONE")


def test_copy_rewrite_and_compose_finalize(bucket, inbox):
    """Every way of making an object publishes OBJECT_FINALIZE."""
    source = bucket.blob("a")
    source.upload_from_string(b"x")
    notify(bucket)
    bucket.copy_blob(source, bucket, "copied")
    bucket.blob("rewritten").rewrite(source)
    bucket.blob("composed").compose([source])
    assert [message[2]["objectId"] for message in inbox.take(3)] == [
        "copied",
        "rewritten",
        "composed",
    ]


def test_configurations_are_listed_read_and_deleted(bucket, inbox):
    """notificationConfigs: insert, list, get, delete; a deleted one publishes nothing more."""
    first, second = notify(bucket), notify(bucket, event_types=["OBJECT_DELETE"])
    listed = {config.notification_id: config for config in bucket.list_notifications()}
    assert set(listed) == {first.notification_id, second.notification_id}
    assert listed[second.notification_id].event_types == ["OBJECT_DELETE"]
    assert listed[first.notification_id].topic_name == "uploads"
    assert second.exists()
    second.delete()
    assert not second.exists()
    assert bucket.get_notification(first.notification_id).payload_format == "JSON_API_V1"
    with pytest.raises(exceptions.NotFound):
        second.delete()


def test_bad_configurations_are_refused(bucket):
    """An unknown event type is 400."""
    with pytest.raises(exceptions.BadRequest, match="Invalid event type"):
        notify(bucket, event_types=["OBJECT_SEEN"])


def test_a_topic_that_fails_gets_the_message_later(server, bucket, inbox, clock):
    """A failed publication comes again with backoff; later messages do not wait for it."""
    notify(bucket)
    inbox.refusals["a"] = 2
    bucket.blob("a").upload_from_string(b"x")
    inbox.refused.get(timeout=10)
    bucket.blob("b").upload_from_string(b"x")
    assert inbox.take()[2]["objectId"] == "b"
    clock.advance(60)
    server.clock_moved()
    inbox.refused.get(timeout=10)
    clock.advance(60)
    server.clock_moved()
    assert inbox.take()[2]["objectId"] == "a"


def test_refused_writes_publish_nothing(bucket, inbox):
    """A write that a precondition refused leaves no notification."""
    notify(bucket)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a").upload_from_string(b"x", if_generation_match=5)
    bucket.blob("b").upload_from_string(b"x")
    assert inbox.take()[2]["objectId"] == "b"


def test_killed_between_commit_and_publish(tmp_path, clock, inbox, monkeypatch):
    """kill -9 after the object was committed: the notification is published at the restart."""
    from google.cloud import storage

    process = subprocess.Popen(
        [sys.executable, "-c", CRASHING, str(tmp_path / "s")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'shared'}"},
    )
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", process.stdout.readline().strip())
    bucket = storage.Client(project="demo").create_bucket("demo-uploads")
    notify(bucket)
    with contextlib.suppress(OSError):  # the process may be gone before its answer was sent
        bucket.blob("a").upload_from_string(b"acknowledged", if_generation_match=0, retry=None)
    assert process.wait(timeout=20) == -signal.SIGKILL
    process.stdout.close()
    again = Server(state_dir=tmp_path / "s", clock=clock, publish=inbox.publish)
    again.start()
    try:
        assert inbox.take()[2]["objectId"] == "a"
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", again.url)
        read = storage.Client(project="demo").bucket("demo-uploads").blob("a").download_as_bytes()
        assert read == b"acknowledged"
    finally:
        again.stop()


def test_a_future_that_fails_is_not_a_publication(tmp_path, clock, inbox, monkeypatch):
    """A publisher that returns a future is believed only when the future succeeds."""
    from concurrent.futures import Future

    from google.cloud import storage

    inbox.refusals["a"] = 1

    def publish(topic, data, attributes):
        future = Future()
        try:
            inbox.publish(topic, data, attributes)
        except ConnectionError as error:
            future.set_exception(error)
        else:
            future.set_result("message-id")
        return future

    server = Server(state_dir=tmp_path / "s", clock=clock, publish=publish)
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    try:
        bucket = storage.Client(project="demo").create_bucket("demo-uploads")
        notify(bucket)
        bucket.blob("a").upload_from_string(b"x")
        inbox.refused.get(timeout=10)
        clock.advance(5)
        assert inbox.take()[2]["objectId"] == "a"
    finally:
        server.stop()
