"""Signed URLs: https://cloud.google.com/storage/docs/access-control/signed-urls."""

import datetime

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2 import service_account


@pytest.fixture(scope="module")
def signer():
    """Service-account credentials with a key made here."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return service_account.Credentials.from_service_account_info(
        {
            "client_email": "signer@demo.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
            "private_key": pem.decode(),
        }
    )


def signed(blob, signer, server, **options):
    options = {"version": "v4", "expiration": datetime.timedelta(minutes=5)} | options
    return blob.generate_signed_url(credentials=signer, api_access_endpoint=server.url, **options)


def test_signed_download_until_it_expires(bucket, signer, server, clock):
    """A V4 signed URL reads the object until X-Goog-Date + X-Goog-Expires, then it is 400."""
    blob = bucket.blob("folder/a b.mp4")
    blob.upload_from_string(b"video", content_type="video/mp4")
    url = signed(blob, signer, server)
    assert requests.get(url, timeout=10).content == b"video"
    assert requests.get(url, headers={"Range": "bytes=1-2"}, timeout=10).content == b"id"
    clock.advance(301)
    answer = requests.get(url, timeout=10)
    assert answer.status_code == 400
    assert "<Code>ExpiredToken</Code>" in answer.text


def test_signed_upload(bucket, signer, server, clock):
    """A V4 signed PUT writes the object with the signed type, and refuses when it expired."""
    url = signed(bucket.blob("up.mp4"), signer, server, method="PUT", content_type="video/mp4")
    assert requests.put(url, data=b"v", headers={"Content-Type": "video/mp4"}, timeout=10).ok
    assert bucket.get_blob("up.mp4").content_type == "video/mp4"
    clock.advance(301)
    late = requests.put(url, data=b"w", headers={"Content-Type": "video/mp4"}, timeout=10)
    assert late.status_code == 400
    assert bucket.blob("up.mp4").download_as_bytes() == b"v"


def test_signed_headers_must_be_sent(bucket, signer, server):
    """A header that the signature covers and the request lacks is refused."""
    url = signed(
        bucket.blob("a"), signer, server, method="PUT", headers={"x-goog-if-generation-match": "0"}
    )
    assert requests.put(url, data=b"v", timeout=10).status_code == 400
    sent = {"x-goog-if-generation-match": "0"}
    assert requests.put(url, data=b"v", headers=sent, timeout=10).status_code == 200
    assert requests.put(url, data=b"v", headers=sent, timeout=10).status_code == 412


def test_signed_resumable_start(bucket, signer, server):
    """A signed POST with x-goog-resumable: start opens a session by its Location."""
    url = signed(bucket.blob("big"), signer, server, method="RESUMABLE")
    started = requests.post(url, headers={"x-goog-resumable": "start"}, timeout=10)
    assert started.status_code == 201
    assert requests.put(started.headers["Location"], data=b"content", timeout=10).ok
    assert bucket.blob("big").download_as_bytes() == b"content"


def test_signed_delete(bucket, signer, server):
    """A signed DELETE removes the object; the next one is 404 in XML."""
    bucket.blob("a").upload_from_string(b"x")
    url = signed(bucket.blob("a"), signer, server, method="DELETE")
    assert requests.delete(url, timeout=10).status_code == 204
    gone = requests.delete(url, timeout=10)
    assert gone.status_code == 404
    assert "<Code>NoSuchKey</Code>" in gone.text


def test_head(bucket, signer, server):
    """HEAD answers the headers without the bytes."""
    bucket.blob("a").upload_from_string(b"12345")
    answer = requests.head(signed(bucket.blob("a"), signer, server, method="HEAD"), timeout=10)
    assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (200, "5", b"")


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("X-Goog-Expires=300", "X-Goog-Expires=604801"),
        ("X-Goog-Expires=300", "X-Goog-Expires=soon"),
        ("X-Goog-Date=", "X-Goog-Date=x"),
        ("X-Goog-Signature=", "X-Nothing="),
    ],
)
def test_malformed_signed_urls(bucket, signer, server, part, changed):
    """More than seven days, a bad date, a missing parameter: 400."""
    bucket.blob("a").upload_from_string(b"x")
    url = signed(bucket.blob("a"), signer, server).replace(part, changed)
    assert requests.get(url, timeout=10).status_code == 400


def test_v2_expiry(bucket, signer, server, clock):
    """A V2 signed URL expires at its Expires second."""
    bucket.blob("a").upload_from_string(b"x")
    url = signed(bucket.blob("a"), signer, server, version="v2")
    assert requests.get(url, timeout=10).ok
    clock.advance(400)
    assert requests.get(url, timeout=10).status_code == 400
