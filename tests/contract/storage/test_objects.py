"""Objects: https://cloud.google.com/storage/docs/json_api/v1/objects."""

import base64
import gzip
import hashlib
import re

import google_crc32c
import pytest
import requests
from google.api_core import exceptions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def test_written_bytes_are_read_back_with_their_digests(bucket):
    """An object carries size, CRC-32C and MD5 of its bytes, both base64 (data-validation docs)."""
    data = b"line one\r\nline two"
    blob = bucket.blob("folder/a b.txt")
    blob.upload_from_string(data, content_type="text/plain")
    blob.reload()
    assert blob.download_as_bytes() == data
    assert blob.size == len(data)
    assert blob.md5_hash == base64.b64encode(hashlib.md5(data).digest()).decode()
    assert blob.crc32c == base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
    assert blob.content_type == "text/plain"
    assert blob.metageneration == 1


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.text(
        st.characters(exclude_characters="\r\n", exclude_categories=("Cs", "Cc")),
        min_size=1,
        max_size=40,
    ).filter(lambda name: name not in (".", "..")),
    data=st.binary(max_size=300),
)
def test_any_name_and_any_bytes_survive(bucket, name, data):
    """Every legal name and every content comes back as it was written (multipart upload)."""
    blob = bucket.blob(name)
    blob.upload_from_string(data)
    assert bucket.get_blob(name).name == name
    assert blob.download_as_bytes() == data
    assert name in {found.name for found in bucket.list_blobs(prefix=name)}


@pytest.mark.parametrize("name", ["a\nb", "x" * 1025])
def test_bad_object_names_are_refused(bucket, name):
    """Object names have 1-1024 bytes and no line breaks (docs/objects#naming)."""
    with pytest.raises(exceptions.BadRequest, match="Invalid object name"):
        bucket.blob(name).upload_from_string(b"x")


def test_missing_object_is_not_found(bucket):
    """Reading, deleting or changing an object that is not there is 404."""
    blob = bucket.blob("nothing")
    assert bucket.get_blob("nothing") is None
    for call in (blob.download_as_bytes, blob.delete, blob.patch):
        with pytest.raises(exceptions.NotFound):
            call()


def test_upload_into_a_missing_bucket_is_not_found(client):
    """Uploading into a bucket that does not exist is 404."""
    with pytest.raises(exceptions.NotFound):
        client.bucket("demo-nothing").blob("a").upload_from_string(b"x")


def test_generations_rise_and_an_overwritten_one_is_gone(bucket, clock):
    """Each write makes a higher generation; without versioning the old one is 404 at once."""
    blob, generations = bucket.blob("a"), []
    for text in ("one", "two", "three"):
        blob.upload_from_string(text)
        generations.append(blob.generation)
    assert generations == sorted(set(generations))
    assert abs(generations[-1] / 1e6 - clock.now()) < 60
    assert bucket.blob("a", generation=generations[-1]).download_as_bytes() == b"three"
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a", generation=generations[0]).download_as_bytes()
    assert bucket.get_blob("a", generation=generations[1]) is None


def test_generation_rises_even_when_the_clock_stands_still(tmp_path):
    """Generations are strictly rising also when the clock gives the same instant twice."""
    from geminivideo.runtime.clock import Clock

    from emulators.storage.rules import NO_CONDITIONS
    from emulators.storage.state import State

    state = State(tmp_path, Clock(anchor=1_700_000_000.0, speed=0.0), "http://x")
    state.create_bucket("demo-uploads", "demo", {})
    made = []
    for _ in range(3):
        stored = state.contents.digest(state.contents.create())
        resource = state.insert("demo-uploads", "a", {}, stored, NO_CONDITIONS, {})
        made.append(int(resource["generation"]))
    assert made == sorted(set(made))
    state.close()


def test_metadata_patch_merges_and_put_replaces(bucket):
    """PATCH merges custom metadata and raises the metageneration; PUT (update) replaces it."""
    blob = bucket.blob("a")
    blob.metadata = {"flow": "1", "keep": "yes"}
    blob.upload_from_string(b"x", content_type="video/mp4")
    generation = blob.generation
    blob.metadata = {"flow": "2"}
    blob.patch()
    found = bucket.get_blob("a")
    assert (found.generation, found.metageneration) == (generation, 2)
    assert found.metadata == {"flow": "2", "keep": "yes"}
    found.metadata = {"only": "this"}
    found.update()
    assert bucket.get_blob("a").metadata == {"only": "this"}


def test_ranges(bucket):
    """Byte ranges answer 206 with exactly those bytes; open and suffix ranges as well."""
    blob = bucket.blob("a")
    blob.upload_from_string(b"0123456789")
    assert blob.download_as_bytes(start=2, end=4) == b"234"
    assert blob.download_as_bytes(start=7) == b"789"
    assert blob.download_as_bytes(start=-3) == b"789"
    answer = requests.get(blob.media_link, headers={"Range": "bytes=8-99"}, timeout=10)
    assert answer.status_code == 206
    assert answer.headers["Content-Range"] == "bytes 8-9/10"
    assert answer.content == b"89"


def test_range_after_the_end_is_416(bucket):
    """A range that begins at or after the end is 416 with the size."""
    blob = bucket.blob("a")
    blob.upload_from_string(b"0123456789")
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=10)
    answer = requests.get(blob.media_link, headers={"Range": "bytes=10-"}, timeout=10)
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */10")


def test_chunked_download(bucket):
    """A client that reads in chunks (blob.open) gets the whole object."""
    data = bytes(range(256)) * 5000
    bucket.blob("a").upload_from_string(data)
    with bucket.blob("a").open("rb", chunk_size=256 * 1024) as file:
        assert file.read() == data


def test_download_headers(bucket):
    """Downloads carry generation, digests and the stored length (XML API headers reference)."""
    blob = bucket.blob("a")
    blob.cache_control = "public, max-age=60"
    blob.upload_from_string(b"abc", content_type="video/mp4")
    headers = requests.get(blob.media_link, timeout=10).headers
    assert headers["x-goog-generation"] == str(blob.generation)
    assert headers["x-goog-hash"] == f"crc32c={blob.crc32c},md5={blob.md5_hash}"
    assert headers["x-goog-stored-content-length"] == "3"
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Cache-Control"] == "public, max-age=60"


def test_supplied_md5_is_verified(bucket):
    """A supplied MD5 that does not match refuses the upload: 400 and no object."""
    blob = bucket.blob("a")
    blob.md5_hash = base64.b64encode(b"wrong").decode()
    with pytest.raises(exceptions.BadRequest, match="doesn't match calculated MD5"):
        blob.upload_from_string(b"right")
    assert bucket.get_blob("a") is None


def test_supplied_crc32c_is_verified(server, bucket):
    """A supplied CRC-32C (x-goog-hash) that does not match refuses the upload: 400, no object."""
    answer = requests.post(
        f"{server.url}/upload/storage/v1/b/{bucket.name}/o",
        params={"uploadType": "media", "name": "a"},
        headers={"X-Goog-Hash": "crc32c=AAAAAA=="},
        data=b"right",
        timeout=10,
    )
    assert answer.status_code == 400
    assert "doesn't match calculated CRC32C" in answer.json()["error"]["message"]
    assert bucket.get_blob("a") is None


def test_supplied_digest_that_matches_is_accepted(bucket):
    """A supplied checksum that matches is accepted."""
    blob = bucket.blob("a")
    blob.md5_hash = base64.b64encode(hashlib.md5(b"right").digest()).decode()
    blob.upload_from_string(b"right")
    assert bucket.get_blob("a").size == 5


def test_media_upload(server, bucket):
    """uploadType=media: the body is the object, its type comes from the header."""
    answer = requests.post(
        f"{server.url}/upload/storage/v1/b/{bucket.name}/o",
        params={"uploadType": "media", "name": "plain"},
        headers={"Content-Type": "text/csv"},
        data=b"a,b",
        timeout=10,
    )
    assert answer.json()["contentType"] == "text/csv"
    assert bucket.blob("plain").download_as_bytes() == b"a,b"


def test_copy_keeps_metadata_and_makes_a_generation(bucket, client):
    """Objects: copy and rewrite bring the metadata along and give a generation of their own."""
    source = bucket.blob("a")
    source.metadata = {"flow": "1"}
    source.upload_from_string(b"bytes", content_type="video/mp4")
    other = client.create_bucket("demo-media")
    copied = bucket.copy_blob(source, other, "b")
    assert copied.download_as_bytes() == b"bytes"
    assert (copied.content_type, copied.metadata) == ("video/mp4", {"flow": "1"})
    assert copied.generation > source.generation
    target = other.blob("c")
    assert target.rewrite(source) == (None, 5, 5)
    source.delete()
    assert target.download_as_bytes() == b"bytes"


def test_rewrite_with_metadata_replaces_it(bucket):
    """A rewrite whose body names metadata replaces what the source had."""
    source = bucket.blob("a")
    source.upload_from_string(b"x", content_type="text/plain")
    target = bucket.blob("b")
    target.content_type = "video/mp4"
    target.rewrite(source)
    assert bucket.get_blob("b").content_type == "video/mp4"


def test_compose(bucket):
    """Compose joins sources in order: CRC-32C, componentCount, and no MD5 (composite docs)."""
    parts = [b"one", b"two", b"three"]
    for index, data in enumerate(parts):
        bucket.blob(f"p{index}").upload_from_string(data)
    whole = bucket.blob("whole")
    whole.content_type = "text/plain"
    whole.compose([bucket.blob(f"p{index}") for index in range(3)])
    assert whole.download_as_bytes() == b"onetwothree"
    assert whole.component_count == 3
    assert whole.md5_hash is None
    assert (
        whole.crc32c == base64.b64encode(google_crc32c.Checksum(b"onetwothree").digest()).decode()
    )


def test_compose_limits(bucket):
    """Compose takes 1 to 32 sources, and each must be there."""
    bucket.blob("p").upload_from_string(b"x")
    with pytest.raises(exceptions.BadRequest, match="between 1 and 32"):
        bucket.blob("whole").compose([bucket.blob("p")] * 33)
    with pytest.raises(exceptions.NotFound):
        bucket.blob("whole").compose([bucket.blob("p"), bucket.blob("nothing")])


def test_error_shape(server, bucket):
    """Errors have Google's JSON shape: code, message and errors with domain and reason."""
    answer = requests.get(f"{server.url}/storage/v1/b/{bucket.name}/o/none", timeout=10)
    error = answer.json()["error"]
    assert answer.status_code == error["code"] == 404
    assert error["errors"][0]["reason"] == "notFound"
    assert re.match("No such object: demo-uploads/none", error["message"])


def test_methods_not_emulated_are_refused(server, bucket):
    """An unknown method of the API answers 501 with its path."""
    answer = requests.get(f"{server.url}/storage/v1/b/{bucket.name}/unheard/of", timeout=10)
    assert answer.status_code == 501
    assert "unheard/of" in answer.json()["error"]["message"]
    bucket.blob("a").upload_from_string(b"x")
    with pytest.raises(exceptions.MethodNotImplemented, match="move"):
        bucket.move_blob(bucket.blob("a"), "b")


def test_custom_metadata_is_limited(bucket):
    """Custom metadata is at most 8 KiB per object (docs/quotas#objects): more is 400."""
    blob = bucket.blob("a")
    blob.metadata = {"k": "v" * 8_191}
    blob.upload_from_string(b"x")
    blob.metadata = {"k": "v" * 8_192}
    with pytest.raises(exceptions.BadRequest, match="custom metadata"):
        blob.patch()
    other = bucket.blob("b")
    other.metadata = {"k": "ü" * 4_096}
    with pytest.raises(exceptions.BadRequest, match="custom metadata"):
        other.upload_from_string(b"x")
    assert bucket.get_blob("b") is None


def compressed(bucket, cache_control=None):
    """A gzip object whose bytes are compressed, and its address."""
    blob = bucket.blob("page")
    blob.content_encoding, blob.cache_control = "gzip", cache_control
    blob.upload_from_string(gzip.compress(b"text " * 100_000, mtime=0), content_type="text/plain")
    return blob


def fetched(blob, accept="identity", **headers):
    headers["Accept-Encoding"] = accept
    return requests.get(blob.media_link, headers=headers, timeout=10)


def test_gzip_is_decompressed_for_who_does_not_take_it(bucket):
    """Decompressive transcoding (docs/transcoding): without Accept-Encoding: gzip the bytes come
    decompressed, whole, without their encoding."""
    blob = compressed(bucket)
    answer = fetched(blob, Range="bytes=0-3")
    assert answer.status_code == 200
    assert answer.content == b"text " * 100_000
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Warning"] == "214 UploadServer gunzipped"
    assert answer.headers["x-goog-stored-content-encoding"] == "gzip"


def test_gzip_is_served_as_stored_for_who_takes_it(bucket):
    """With Accept-Encoding: gzip the stored bytes come with their encoding and hash."""
    blob = compressed(bucket)
    answer = fetched(blob, accept="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Length"] == str(blob.size)
    assert answer.content == b"text " * 100_000
    assert blob.download_as_bytes(raw_download=True) == gzip.compress(b"text " * 100_000, mtime=0)


def test_no_transform_prevents_transcoding(bucket):
    """Cache-Control: no-transform serves the stored bytes to everyone."""
    answer = fetched(compressed(bucket, cache_control="no-transform"))
    assert answer.headers["Content-Encoding"] == "gzip"


def test_what_is_no_gzip_is_not_decompressed(bucket):
    """An object that only says that it is gzip cannot be decompressed: 400."""
    blob = bucket.blob("page")
    blob.content_encoding = "gzip"
    blob.upload_from_string(b"plain")
    assert fetched(blob).status_code == 400
