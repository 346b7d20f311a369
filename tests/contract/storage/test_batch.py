"""Batch requests: https://cloud.google.com/storage/docs/batch, through the client's own batch."""

import pytest
import requests
from google.api_core import exceptions


@pytest.fixture
def filled(bucket):
    for number in range(5):
        bucket.blob(f"o{number}").upload_from_string(b"x")
    return bucket


def names(bucket):
    return [blob.name for blob in bucket.list_blobs()]


def test_deletes_in_one_request(client, filled):
    """Calls of a batch are carried out together at its end."""
    with client.batch():
        for number in range(4):
            filled.blob(f"o{number}").delete()
        assert len(names_without_batch(client, filled)) == 5
    assert names(filled) == ["o4"]


def names_without_batch(client, bucket):
    """What another client sees while the batch is still open."""
    answer = requests.get(
        f"{client._connection.API_BASE_URL}/storage/v1/b/{bucket.name}/o", timeout=10
    )
    return answer.json()["items"]


def test_metadata_changes_fill_the_objects(client, filled):
    """PATCH calls of a batch give their resources back to the objects that made them."""
    blobs = [filled.blob(f"o{number}") for number in range(3)]
    with client.batch():
        for number, blob in enumerate(blobs):
            blob.metadata = {"number": f"{number} ü"}
            blob.patch()
    assert [blob.metageneration for blob in blobs] == [2, 2, 2]
    assert [blob.metadata["number"] for blob in blobs] == ["0 ü", "1 ü", "2 ü"]


def test_one_failure_leaves_the_others(client, filled):
    """Each call has its own answer: one that fails does not undo the rest."""

    def delete_three():
        with client.batch():
            for name in ("o0", "nothing", "o1"):
                filled.blob(name).delete()

    with pytest.raises(exceptions.NotFound):
        delete_three()
    assert names(filled) == ["o2", "o3", "o4"]


def test_every_answer_can_be_had(client, filled):
    """With raise_exception=False the answers come in the order of the calls."""
    with client.batch(raise_exception=False) as batch:
        filled.blob("o0").delete()
        filled.blob("nothing").delete()
        filled.blob("o1").delete(if_generation_match=5)
    assert [answer.status_code for answer in batch._responses] == [204, 404, 412]
    assert batch._responses[1].json()["error"]["code"] == 404


def test_buckets_and_preconditions_in_a_batch(client, filled):
    """Calls of different kinds share a batch."""
    stale = filled.metageneration
    with client.batch():
        filled.labels = {"env": "demo"}
        filled.patch(if_metageneration_match=stale)
        filled.blob("o0").delete()
    assert client.get_bucket(filled.name).labels == {"env": "demo"}


def test_names_that_need_encoding(client, bucket):
    """Paths of a batch are taken as they are encoded."""
    blob = bucket.blob("a b/c%2Fd+é.mp4")
    blob.upload_from_string(b"x")
    with client.batch():
        blob.delete()
    assert names(bucket) == []


def post(server, parts):
    body = "".join(f"--b\r\nContent-Type: application/http\r\n{part}\r\n" for part in parts)
    headers = {"Content-Type": "multipart/mixed; boundary=b"}
    url = f"{server.url}/batch/storage/v1"
    return requests.post(url, data=f"{body}--b--\r\n".encode(), headers=headers, timeout=10)


def test_content_ids_come_back(server, filled):
    """The answer to a part with a Content-ID carries ``response-`` and that id."""
    call = "Content-ID: <own+1>\r\n\r\nGET /storage/v1/b/demo-uploads/o/o1 HTTP/1.1\r\n\r\n"
    answer = post(server, [call])
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("multipart/mixed")
    assert "Content-ID: <response-own+1>" in answer.text
    assert '"name":"o1"' in answer.text


@pytest.mark.parametrize(
    "call",
    [
        "\r\nPOST /upload/storage/v1/b/demo-uploads/o?uploadType=media&name=a HTTP/1.1\r\n\r\nx",
        "\r\nGET /storage/v1/b/demo-uploads/o/o1?alt=media HTTP/1.1\r\n\r\n",
        "\r\nGET /download/storage/v1/b/demo-uploads/o/o1 HTTP/1.1\r\n\r\n",
        "\r\nPOST /batch/storage/v1 HTTP/1.1\r\n\r\n",
        "\r\n\r\n",
    ],
    ids=["upload", "media", "download", "batch", "nothing"],
)
def test_uploads_and_downloads_are_refused(server, filled, call):
    """Batches hold no uploads and no downloads, no batches, and only HTTP requests: 400."""
    assert post(server, [call]).status_code == 400


def test_too_many_calls(server, filled):
    """More than a thousand calls in one batch are refused."""
    call = "\r\nGET /storage/v1/b/demo-uploads HTTP/1.1\r\n\r\n"
    assert post(server, [call] * 1001).status_code == 400
    assert post(server, []).status_code == 400
