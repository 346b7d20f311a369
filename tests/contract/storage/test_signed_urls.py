"""Signed URLs: https://cloud.google.com/storage/docs/access-control/signed-urls."""

import base64
import datetime
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests
from google.oauth2 import service_account

from emulators import service_accounts

SIGNER = "signer@demo.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A state directory whose keys were made once."""
    folder = tmp_path_factory.mktemp("keys")
    for email in (SIGNER, "other@demo.iam.gserviceaccount.com"):
        service_accounts.key_file(folder, email)
    return folder / "identity"


@pytest.fixture
def accounts(keys, tmp_path):
    """The service accounts of the cloud under test: e-mail to credentials."""
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "identity").symlink_to(keys)
    return lambda email: service_account.Credentials.from_service_account_file(
        str(service_accounts.key_file(tmp_path / "state", email))
    )


@pytest.fixture
def signer(accounts):
    """Credentials of an account of this cloud, from its key file."""
    return accounts(SIGNER)


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
        ("X-Goog-Algorithm=", "X-Nothing="),
        ("%2Fgoog4_request", "%2Fgoog4"),
        ("%2Fauto", ""),
        ("/20", "/19"),
    ],
)
def test_malformed_signed_urls(bucket, signer, server, part, changed):
    """More than seven days, a bad date or scope, a missing parameter: 400."""
    bucket.blob("a").upload_from_string(b"x")
    if part == "/20":
        part, changed = f"{SIGNER.replace('@', '%40')}%2F20", f"{SIGNER.replace('@', '%40')}%2F19"
    url = signed(bucket.blob("a"), signer, server)
    assert part in url
    assert requests.get(url.replace(part, changed), timeout=10).status_code == 400


def refused(answer):
    """403 in XML with what was to be signed, as the service shows it."""
    assert answer.status_code == 403, answer.text
    assert "<Code>SignatureDoesNotMatch</Code>" in answer.text
    assert "<StringToSign>" in answer.text
    return True


@pytest.mark.parametrize("version", ["v2", "v4"])
def test_another_object_than_the_signed_one(bucket, signer, server, version):
    """The signature covers the resource: it opens no other object."""
    for name in ("a", "b"):
        bucket.blob(name).upload_from_string(b"x")
    url = signed(bucket.blob("a"), signer, server, version=version)
    assert requests.get(url, timeout=10).ok
    assert refused(requests.get(url.replace("/a?", "/b?"), timeout=10))


@pytest.mark.parametrize("version", ["v2", "v4"])
def test_another_method_than_the_signed_one(bucket, signer, server, version):
    """The signature covers the method: a URL that reads cannot delete."""
    bucket.blob("a").upload_from_string(b"x")
    url = signed(bucket.blob("a"), signer, server, version=version)
    assert refused(requests.delete(url, timeout=10))
    assert bucket.blob("a").exists()


@pytest.mark.parametrize("version", ["v2", "v4"])
def test_a_key_of_another_cloud_opens_nothing(bucket, server, tmp_path, accounts, version):
    """A signature by a key that this cloud does not have for the account is 403."""
    bucket.blob("a").upload_from_string(b"x")
    foreign = service_accounts.key_file(tmp_path / "elsewhere", SIGNER)
    forged = service_account.Credentials.from_service_account_file(str(foreign))
    url = signed(bucket.blob("a"), forged, server, version=version)
    assert refused(requests.get(url, timeout=10))


@pytest.mark.parametrize("version", ["v2", "v4"])
def test_an_account_without_a_key_is_told_how_to_get_one(bucket, server, tmp_path, version):
    """An account that this cloud made no key for is 403 with the way out."""
    bucket.blob("a").upload_from_string(b"x")
    path = service_accounts.key_file(tmp_path / "elsewhere", "ghost@demo.iam.gserviceaccount.com")
    ghost = service_account.Credentials.from_service_account_file(str(path))
    answer = requests.get(signed(bucket.blob("a"), ghost, server, version=version), timeout=10)
    assert refused(answer)
    assert "GV_SERVICE_ACCOUNT_KEY" in answer.text


def test_one_accounts_key_does_not_sign_for_another(bucket, server, accounts):
    """The key must be that of the account which the URL names."""
    bucket.blob("a").upload_from_string(b"x")
    url = signed(bucket.blob("a"), accounts("other@demo.iam.gserviceaccount.com"), server)
    assert requests.get(url, timeout=10).ok
    assert refused(requests.get(url.replace("other%40", "signer%40"), timeout=10))


@pytest.mark.parametrize("added", ["generation=1", "X-Goog-Expires=301", "response-x=1"])
def test_v4_covers_the_whole_query(bucket, signer, server, added):
    """Canonical request: every query parameter but the signature; changed or added ones are 403."""
    bucket.blob("a").upload_from_string(b"x")
    parts = urlsplit(signed(bucket.blob("a"), signer, server))
    name, value = added.split("=")
    query = dict(parse_qsl(parts.query)) | {name: value}
    assert refused(requests.get(parts._replace(query=urlencode(query)).geturl(), timeout=10))


def test_v4_covers_the_values_of_signed_headers(bucket, signer, server):
    """Canonical headers: another value than the signed one is 403; unsigned headers are free."""
    url = signed(bucket.blob("a"), signer, server, method="PUT", content_type="video/mp4")
    other = {"Content-Type": "text/plain"}
    assert refused(requests.put(url, data=b"v", headers=other, timeout=10))
    free = {"Content-Type": "video/mp4", "X-Own": "1"}
    assert requests.put(url, data=b"v", headers=free, timeout=10).ok


def test_v4_query_parameters_and_names_that_need_encoding(bucket, signer, server):
    """Canonical resource and query: spaces, plus signs, percent signs, quotes and non-ASCII."""
    blob = bucket.blob("a b+c%2F/ü'~(1)&=.mp4")
    blob.upload_from_string(b"x")
    url = signed(blob, signer, server, query_parameters={"own": "a b+c/ü", "empty": ""})
    assert requests.get(url, timeout=10).content == b"x"
    assert requests.get(signed(blob, signer, server, version="v2"), timeout=10).content == b"x"


def test_v4_generation_is_signed_and_read(bucket, signer, server):
    """A signed ``generation`` reads that generation only."""
    bucket.versioning_enabled = True
    bucket.patch()
    blob = bucket.blob("a")
    blob.upload_from_string(b"one")
    first = blob.generation
    blob.upload_from_string(b"two")
    assert (
        requests.get(signed(blob, signer, server, generation=first), timeout=10).content == b"one"
    )


def test_v4_hmac_keys_are_refused_by_name(bucket, signer, server):
    """GOOG4-HMAC-SHA256 needs HMAC keys, which are not emulated: 501 with its name."""
    url = signed(bucket.blob("a"), signer, server)
    answer = requests.get(url.replace("GOOG4-RSA-SHA256", "GOOG4-HMAC-SHA256"), timeout=10)
    assert answer.status_code == 501
    assert "GOOG4-HMAC-SHA256" in answer.text


def test_v2_expiry(bucket, signer, server, clock):
    """A V2 signed URL expires at its Expires second."""
    bucket.blob("a").upload_from_string(b"x")
    url = signed(bucket.blob("a"), signer, server, version="v2")
    assert requests.get(url, timeout=10).ok
    clock.advance(400)
    assert requests.get(url, timeout=10).status_code == 400


def test_v2_covers_expiry_type_and_extension_headers(bucket, signer, server):
    """V2 string to sign: the expiry, the content type and every x-goog- header."""
    url = signed(
        bucket.blob("a"),
        signer,
        server,
        version="v2",
        method="PUT",
        content_type="video/mp4",
        headers={"x-goog-meta-flow": "cf-1"},
    )
    sent = {"Content-Type": "video/mp4", "x-goog-meta-flow": "cf-1"}
    assert refused(requests.put(url, data=b"v", headers={"Content-Type": "video/mp4"}, timeout=10))
    assert refused(requests.put(url, data=b"v", headers=sent | {"x-goog-acl": "p"}, timeout=10))
    assert refused(requests.put(url, data=b"v", headers=sent | {"Content-Type": "a/b"}, timeout=10))
    longer = url.replace("Expires=", "Expires=9")
    assert refused(requests.put(longer, data=b"v", headers=sent, timeout=10))
    assert requests.put(url, data=b"v", headers=sent, timeout=10).ok
    assert bucket.get_blob("a").metadata == {"flow": "cf-1"}


@pytest.mark.parametrize("signature", ["", "not base64", base64.b64encode(b"short").decode()])
def test_v2_malformed_signatures(bucket, signer, server, signature):
    """A missing signature is 400, one that is no signature 403."""
    bucket.blob("a").upload_from_string(b"x")
    parts = urlsplit(signed(bucket.blob("a"), signer, server, version="v2"))
    query = dict(parse_qsl(parts.query)) | {"Signature": signature}
    answer = requests.get(parts._replace(query=urlencode(query)).geturl(), timeout=10)
    assert answer.status_code == (403 if signature else 400)


def test_keys_are_kept_and_private(tmp_path):
    """A key file is made once, readable by its owner alone, in Google's format."""
    first = service_accounts.key_file(tmp_path, SIGNER)
    content = first.read_text()
    assert service_accounts.key_file(tmp_path, SIGNER).read_text() == content
    assert first.stat().st_mode & 0o077 == 0
    credentials = service_account.Credentials.from_service_account_file(str(first))
    assert (credentials.signer_email, credentials.project_id) == (SIGNER, "demo")


@pytest.mark.parametrize("email", ["../../etc/passwd", "a/b@c", "", "no-at"])
def test_names_that_are_no_accounts(tmp_path, email):
    """What is no service account's e-mail names no file."""
    with pytest.raises(ValueError, match="not a service account"):
        service_accounts.key_file(tmp_path, email)
    with pytest.raises(service_accounts.UnknownAccountError):
        service_accounts.public_key(tmp_path, email)
