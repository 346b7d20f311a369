"""The files port (geminivideo.cloud.files) over the wire."""

import os

import pytest
import requests
from geminivideo.cloud.files import (
    Files,
    NotAnObjectUriError,
    ObjectChangedError,
    ObjectConflictError,
    ObjectGoneError,
    parse_uri,
)
from geminivideo.events import ObjectRef


@pytest.fixture
def files(bucket):
    return Files("demo")


def test_upload_and_download(files, bucket, tmp_path):
    """What was uploaded is downloaded again by its exact generation."""
    source = tmp_path / "ad.mp4"
    source.write_bytes(os.urandom(100_000))
    ref = files.upload(source, bucket.name, "renders/ad.mp4", "video/mp4", {"flow": "cf-1"})
    back = files.download(ref, tmp_path / "back.mp4")
    assert back.read_bytes() == source.read_bytes()
    blob = bucket.get_blob("renders/ad.mp4")
    assert (blob.content_type, blob.metadata) == ("video/mp4", {"flow": "cf-1"})


def test_second_upload_returns_the_first(files, bucket, tmp_path):
    """An equal object that is there already is returned as it is: one generation."""
    source = tmp_path / "ad.mp4"
    source.write_bytes(b"same")
    first = files.upload(source, bucket.name, "ad", "video/mp4")
    assert files.upload(source, bucket.name, "ad", "video/mp4") == first
    assert files.write(b"same", bucket.name, "ad", "video/mp4") == first


def test_another_content_under_the_name_is_a_conflict(files, bucket):
    """A name that holds other bytes is refused by name."""
    files.write(b"one", bucket.name, "thumb.jpg", "image/jpeg")
    with pytest.raises(ObjectConflictError, match=r"gs://demo-uploads/thumb\.jpg"):
        files.write(b"two", bucket.name, "thumb.jpg", "image/jpeg")


def test_large_upload_meets_an_existing_object(files, bucket, tmp_path):
    """The resumable path returns the existing equal object as well."""
    source = tmp_path / "large"
    source.write_bytes(os.urandom(9 << 20))
    first = files.upload(source, bucket.name, "large", "video/mp4")
    assert files.upload(source, bucket.name, "large", "video/mp4") == first


def test_vanished_generation(files, bucket, tmp_path):
    """A generation that was overwritten raises ObjectGoneError and leaves no partial file."""
    bucket.blob("a").upload_from_string(b"one")
    old = files.find(bucket.name, "a")
    bucket.blob("a").upload_from_string(b"two")
    with pytest.raises(ObjectGoneError, match="demo-uploads/a#"):
        files.download(old, tmp_path / "a")
    with pytest.raises(ObjectGoneError):
        files.read(old)
    assert list(tmp_path.glob("a*")) == []
    assert files.read(files.find(bucket.name, "a")) == b"two"


def test_replace_under_the_generation_that_was_read(files, bucket):
    """0 creates; the generation that was read replaces; any other one is refused by name."""
    first = files.replace(b"one", bucket.name, "manifest.json", "application/json", 0)
    second = files.replace(
        b"two", bucket.name, "manifest.json", "application/json", first.generation
    )
    for generation in (0, first.generation):
        with pytest.raises(ObjectChangedError, match=rf"manifest\.json is not of .* {generation} "):
            files.replace(b"three", bucket.name, "manifest.json", "application/json", generation)
    assert files.find(bucket.name, "manifest.json") == second
    assert files.read(second) == b"two"


def test_delete_takes_exactly_one_generation(files, bucket):
    """Another generation under the name stays; what is gone already is no error."""
    old = files.replace(b"one", bucket.name, "a", "text/plain", 0)
    new = files.replace(b"two", bucket.name, "a", "text/plain", old.generation)
    files.delete(old)
    assert files.find(bucket.name, "a") == new
    files.delete(new)
    files.delete(new)
    assert files.find(bucket.name, "a") is None


def test_older_lists_what_was_written_before_then(files, bucket):
    """By the store's own time of creation, below a prefix."""
    ref = files.write(b"one", bucket.name, "winners/x", "text/plain")
    files.write(b"one", bucket.name, "other", "text/plain")
    assert files.older(bucket.name, "winners/", 4e9) == [ref]
    assert files.older(bucket.name, "winners/", 1e9) == []


def test_find_and_list(files, bucket):
    """find gives the live generation or None; list gives the references in name order."""
    refs = [files.write(b"x", bucket.name, f"s/{n}", "text/plain") for n in (2, 1)]
    files.write(b"x", bucket.name, "other", "text/plain")
    assert files.list(bucket.name, "s/") == sorted(refs, key=lambda ref: ref.name)
    assert len(files.list(bucket.name)) == 3
    assert files.find(bucket.name, "s/1") == refs[1]
    assert files.find(bucket.name, "none") is None


def test_start_upload(files, bucket):
    """A session URI takes the bytes of somebody without credentials."""
    uri = files.start_upload(bucket.name, "in/v.mp4", "video/mp4", {"account": "acc-1"})
    assert requests.put(uri, data=b"video", timeout=10).ok
    blob = bucket.get_blob("in/v.mp4")
    assert (blob.content_type, blob.metadata) == ("video/mp4", {"account": "acc-1"})


def test_parse_uri():
    """gs:// addresses are split into bucket and name; others are refused."""
    ref = ObjectRef(bucket="b", name="a/b.mp4", generation=1)
    assert parse_uri(ref.uri) == ("b", "a/b.mp4")
    for bad in ("http://b/a", "gs://b", "gs:///a", "gs://b/", ""):
        with pytest.raises(NotAnObjectUriError):
            parse_uri(bad)
