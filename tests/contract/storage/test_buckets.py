"""Buckets: https://cloud.google.com/storage/docs/json_api/v1/buckets."""

import pytest
from google.api_core import exceptions
from google.cloud.storage import constants


def test_created_bucket_is_found(client):
    """A created bucket can be read, with metageneration 1 and the location it was given."""
    client.create_bucket("demo-media", location="europe-west1")
    found = client.get_bucket("demo-media")
    assert found.metageneration == 1
    assert found.location == "europe-west1"
    assert found.time_created is not None


def test_missing_bucket_is_not_found(client):
    """Reading a bucket that does not exist is 404."""
    with pytest.raises(exceptions.NotFound, match="bucket does not exist"):
        client.get_bucket("demo-nothing")
    assert client.lookup_bucket("demo-nothing") is None
    assert not client.bucket("demo-nothing").exists()


def test_second_creation_conflicts(client, bucket):
    """Bucket names are unique: creating one twice is 409."""
    with pytest.raises(exceptions.Conflict):
        client.create_bucket(bucket.name)


@pytest.mark.parametrize(
    "name", ["ab", "Upper", "a b", "192.168.0.1", "goog-x", "my-google-x", "a" * 64, "a..b"]
)
def test_bad_names_are_refused(client, name):
    """Bucket naming rules (docs/buckets#naming) are held: anything else is 400."""
    with pytest.raises(exceptions.BadRequest, match="Invalid bucket name"):
        client.create_bucket(name)


def test_buckets_are_listed_by_project_and_prefix_in_pages(client):
    """Buckets are listed in name order, by project and prefix, page by page."""
    for name in ("demo-c", "demo-a", "demo-b", "other-z"):
        client.create_bucket(name)
    client.create_bucket("demo-foreign", project="another")
    assert [b.name for b in client.list_buckets(prefix="demo-", page_size=1)] == [
        "demo-a",
        "demo-b",
        "demo-c",
    ]


def test_patch_merges_and_raises_the_metageneration(client, bucket):
    """PATCH changes only what it names; each change raises the metageneration."""
    bucket.labels = {"env": "demo"}
    bucket.patch()
    bucket.storage_class = constants.NEARLINE_STORAGE_CLASS
    bucket.patch()
    found = client.get_bucket(bucket.name)
    assert found.labels == {"env": "demo"}
    assert found.storage_class == "NEARLINE"
    assert found.metageneration == 3


def test_bucket_metageneration_precondition(client, bucket):
    """A PATCH with a stale ifMetagenerationMatch is 412."""
    stale = client.get_bucket(bucket.name)
    bucket.labels = {"a": "1"}
    bucket.patch()
    stale.labels = {"a": "2"}
    with pytest.raises(exceptions.PreconditionFailed):
        stale.patch(if_metageneration_match=1)


def test_only_an_empty_bucket_is_deleted(client, bucket):
    """Deleting a bucket that holds an object is 409; an empty one goes."""
    blob = bucket.blob("a")
    blob.upload_from_string(b"x")
    with pytest.raises(exceptions.Conflict, match="not empty"):
        bucket.delete()
    blob.delete()
    bucket.delete()
    assert client.lookup_bucket(bucket.name) is None


def test_features_not_emulated_are_refused_by_name(client, bucket):
    """What is not emulated answers 501 with its name, never a silent success."""
    for call, name in (
        (bucket.get_iam_policy, "IAM"),
        (lambda: bucket.acl.reload(), "bucketAccessControls"),
        (lambda: bucket.blob("x").acl.reload(), "objectAccessControls"),
        (lambda: list(client.list_hmac_keys()), "hmacKeys"),
    ):
        with pytest.raises(exceptions.MethodNotImplemented, match=name):
            call()
    bucket.retention_period = 60
    with pytest.raises(exceptions.MethodNotImplemented, match="retentionPolicy"):
        bucket.patch()


def test_labels_are_limited(client, bucket):
    """A bucket has at most 64 labels (docs/tags-and-labels): more are 400."""
    bucket.labels = {f"k{n}": "v" for n in range(65)}
    with pytest.raises(exceptions.BadRequest, match="64 labels"):
        bucket.patch()


def test_update_replaces_what_patch_would_keep(client, bucket):
    """PUT replaces the configuration; what it does not name is gone."""
    bucket.versioning_enabled = True
    bucket.labels = {"env": "demo"}
    bucket.patch()
    bucket._properties = {"name": bucket.name, "labels": {"env": "prod"}}
    bucket.update()
    found = client.get_bucket(bucket.name)
    assert (found.labels, found.versioning_enabled) == ({"env": "prod"}, False)


def test_bucket_reads_hold_preconditions(client, bucket):
    """buckets.get: ifMetagenerationMatch is 412, ifMetagenerationNotMatch 304 when it is met."""
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.reload(if_metageneration_match=9)
    with pytest.raises(exceptions.NotModified):
        bucket.reload(if_metageneration_not_match=1)
