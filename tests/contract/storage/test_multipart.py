"""XML multipart uploads: https://cloud.google.com/storage/docs/multipart-uploads."""

import base64
import os
from xml.etree import ElementTree

import google_crc32c
import pytest
import requests
from google.cloud.storage import transfer_manager

from emulators.storage import Server

MIB = 1 << 20
DAY_S = 86_400.0
SPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def post(url, data=None, **headers):
    return requests.post(url, data=data, headers=headers, timeout=10)


@pytest.fixture
def url(server, bucket):
    return f"{server.url}/{bucket.name}/folder/big.mp4"


@pytest.fixture
def upload(url):
    """The id of an open upload."""
    answer = post(f"{url}?uploads", **{"Content-Type": "video/mp4", "x-goog-meta-flow": "cf-1"})
    assert answer.status_code == 200
    return ElementTree.fromstring(answer.text).find(f"{SPACE}UploadId").text


def put_part(url, upload, number, data, **headers):
    query = f"partNumber={number}&uploadId={upload}"
    return requests.put(f"{url}?{query}", data=data, headers=headers, timeout=10)


def complete(url, upload, parts):
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in parts
    )
    document = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>"
    return post(f"{url}?uploadId={upload}", document)


def code(answer):
    return answer.status_code, ElementTree.fromstring(answer.text).find("Code").text


def test_the_clients_parallel_upload(bucket, tmp_path):
    """transfer_manager.upload_chunks_concurrently: the file arrives whole, with its metadata."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(11 * MIB + 5))
    blob = bucket.blob("big file.mp4")
    blob.content_type, blob.metadata = "video/mp4", {"flow": "cf-1"}
    transfer_manager.upload_chunks_concurrently(
        str(source), blob, chunk_size=5 * MIB, worker_type=transfer_manager.THREAD, max_workers=2
    )
    found = bucket.get_blob("big file.mp4")
    assert found.download_as_bytes() == source.read_bytes()
    assert (found.content_type, found.metadata) == ("video/mp4", {"flow": "cf-1"})


def test_parts_in_their_order_make_the_object(bucket, url, upload):
    """Parts are joined by number, whatever the order they came in; no MD5, a CRC-32C."""
    first, last = os.urandom(5 * MIB), b"end"
    etags = {2: put_part(url, upload, 2, last).headers["ETag"]}
    etags[1] = put_part(url, upload, 1, first).headers["ETag"]
    done = complete(url, upload, sorted(etags.items()))
    assert done.status_code == 200
    blob = bucket.get_blob("folder/big.mp4")
    assert blob.download_as_bytes() == first + last
    assert (blob.md5_hash, blob.metadata) == (None, {"flow": "cf-1"})
    digest = google_crc32c.Checksum(first + last).digest()
    assert blob.crc32c == base64.b64encode(digest).decode()
    assert done.headers["X-Goog-Generation"] == str(blob.generation)


def test_nothing_is_there_before_it_is_complete(bucket, url, upload):
    """The object appears with the completion, and the upload is gone then."""
    etag = put_part(url, upload, 1, b"only").headers["ETag"]
    assert bucket.get_blob("folder/big.mp4") is None
    assert complete(url, upload, [(1, etag)]).ok
    assert code(complete(url, upload, [(1, etag)])) == (404, "NoSuchUpload")
    assert code(put_part(url, upload, 2, b"x")) == (404, "NoSuchUpload")


def test_a_part_may_be_sent_again(bucket, url, upload, server):
    """A part number that comes again replaces the part; the old bytes go."""
    put_part(url, upload, 1, b"old")
    etag = put_part(url, upload, 1, b"new").headers["ETag"]
    listed = requests.get(f"{url}?uploadId={upload}", timeout=10)
    sizes = [size.text for size in ElementTree.fromstring(listed.text).iter(f"{SPACE}Size")]
    assert sizes == ["3"]
    assert complete(url, upload, [(1, etag)]).ok
    assert bucket.get_blob("folder/big.mp4").download_as_bytes() == b"new"
    assert len(list(server.state.contents._folder.glob("*/*"))) == 1


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], "MalformedXML"),
        ([(2, None), (1, None)], "InvalidPartOrder"),
        ([(1, None), (1, None)], "InvalidPartOrder"),
        ([(1, "wrong")], "InvalidPart"),
        ([(1, None), (3, None)], "InvalidPart"),
        ([(1, None), (2, None)], "EntityTooSmall"),
        ([(0, None)], "InvalidArgument"),
    ],
)
def test_completions_that_are_refused(bucket, url, upload, parts, expected):
    """Order, ETags, presence and the least size of parts are held: 400 by code, nothing made."""
    etags = {number: put_part(url, upload, number, b"small").headers["ETag"] for number in (1, 2)}
    asked = [(number, etag or etags.get(number, "none")) for number, etag in parts]
    assert code(complete(url, upload, asked)) == (400, expected)
    assert bucket.get_blob("folder/big.mp4") is None
    assert complete(url, upload, [(1, etags[1])]).ok


def test_a_digest_that_does_not_match_refuses_the_part(url, upload):
    """A supplied checksum is held against the part, which is not kept."""
    answer = put_part(url, upload, 1, b"x", **{"X-Goog-Hash": "crc32c=AAAAAA=="})
    assert code(answer) == (400, "BadDigest")
    assert code(complete(url, upload, [(1, "any")])) == (400, "InvalidPart")


def test_part_numbers_and_documents(url, upload):
    """Part numbers are 1 to 10,000; what is no XML is MalformedXML."""
    for number in ("0", "10001", "x", ""):
        assert put_part(url, upload, number, b"x").status_code == 400
    assert code(post(f"{url}?uploadId={upload}", "no xml")) == (400, "MalformedXML")


def test_abort(bucket, url, upload, server):
    """DELETE forgets the upload and its bytes; the id is not found any more."""
    put_part(url, upload, 1, b"x")
    assert requests.delete(f"{url}?uploadId={upload}", timeout=10).status_code == 204
    assert code(put_part(url, upload, 1, b"x")) == (404, "NoSuchUpload")
    assert list(server.state.contents._folder.glob("*/*")) == []


def test_uploads_survive_a_restart(tmp_path, clock, bucket, server, upload, url):
    """An open upload and its parts are there after a restart."""
    etag = put_part(url, upload, 1, b"kept").headers["ETag"]
    port = server.port
    server.stop()
    again = Server(state_dir=tmp_path / "state", clock=clock, port=port)
    again.start()
    try:
        assert complete(url, upload, [(1, etag)]).ok
        assert bucket.get_blob("folder/big.mp4").download_as_bytes() == b"kept"
    finally:
        again.stop()


def test_lifecycle_aborts_what_was_left(bucket, url, upload, server, clock):
    """AbortIncompleteMultipartUpload: after its age an unfinished upload is gone."""
    put_part(url, upload, 1, b"x")
    rule = {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 2}}
    bucket.lifecycle_rules = [rule]
    bucket.patch()
    clock.advance(DAY_S)
    server.state.expire()
    assert requests.get(f"{url}?uploadId={upload}", timeout=10).ok
    clock.advance(DAY_S)
    server.state.expire()
    assert code(requests.get(f"{url}?uploadId={upload}", timeout=10)) == (404, "NoSuchUpload")


def test_listing_uploads_is_refused_by_name(url):
    """Listing the open uploads is not emulated and says so."""
    answer = requests.get(f"{url}?uploads", timeout=10)
    assert answer.status_code == 501
    assert "listing multipart uploads" in answer.text
