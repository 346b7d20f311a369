"""Faults on HTTP services: each answers in its own shape, its own client understands it."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2
from google.cloud.run_v2.services.jobs.transports import JobsRestTransport
from google.cloud.storage.retry import DEFAULT_RETRY

from emulators import meta as our_meta
from emulators import run as our_run
from emulators.faults import Quota, Rule

UPLOADS = "POST /upload/*"


def test_the_storage_client_retries_a_backend_error(bucket, faults):
    """503 backendError is retried by the client: the object is read at the third attempt."""
    bucket.blob("a").upload_from_string(b"x")
    faults.add(Rule(service="storage", endpoint="GET *", code=503, times=2))
    assert bucket.blob("a").download_as_bytes(retry=DEFAULT_RETRY.with_delay(0.01, 0.01)) == b"x"
    assert faults.standings()[0].struck == 2


def test_storage_words_a_quota_as_cloud_storage_does(bucket, faults, clock):
    """429 rateLimitExceeded of the domain usageLimits, with Retry-After; then the window ends."""
    rule = {"service": "storage", "endpoint": UPLOADS, "retry_after_s": 7}
    faults.add(Rule(**rule, quota=Quota(calls=1, window_s=60)))
    bucket.blob("a").upload_from_string(b"x")
    with pytest.raises(exceptions.TooManyRequests) as caught:
        bucket.blob("b").upload_from_string(b"x", retry=None)
    answer = caught.value.response
    (item,) = answer.json()["error"]["errors"]
    assert (item["reason"], item["domain"]) == ("rateLimitExceeded", "usageLimits")
    assert answer.headers["Retry-After"] == "7"
    assert not bucket.blob("b").exists()
    clock.advance(60)
    bucket.blob("b").upload_from_string(b"x")


def test_the_xml_api_answers_xml(bucket, faults):
    """A fault on an XML path has the XML API's error body."""
    bucket.blob("a").upload_from_string(b"x")
    faults.add(Rule(service="storage", endpoint="GET /bucket/*", code=503, message="no"))
    answer = requests.get(f"{bucket.client._connection.API_BASE_URL}/bucket/a", timeout=10)
    assert answer.status_code == 503
    assert "<Code>ServiceUnavailable</Code><Message>no</Message>" in answer.text


@pytest.mark.parametrize(("drop", "there"), [("before", False), ("after", True)])
def test_an_upload_whose_connection_is_cut(bucket, faults, drop, there):
    """The client sees a broken connection either way; the object is there or is not."""
    faults.add(Rule(service="storage", endpoint=UPLOADS, drop=drop))
    with pytest.raises(requests.exceptions.ConnectionError):
        bucket.blob("a").upload_from_string(b"x", retry=None)
    assert bucket.blob("a").exists() is there


def test_an_upload_with_a_precondition_survives_a_lost_answer(bucket, faults):
    """if_generation_match=0 makes the retry safe: 412 tells that the first attempt was stored."""
    faults.add(Rule(service="storage", endpoint=UPLOADS, drop="after"))
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a").upload_from_string(b"x", if_generation_match=0)
    assert bucket.blob("a").download_as_bytes() == b"x"


def test_a_download_is_cut_before_its_first_byte(bucket, faults):
    """A streamed answer that is lost is lost whole: no caller takes a part for the object."""
    bucket.blob("a").upload_from_string(b"x" * 300_000)
    faults.add(Rule(service="storage", endpoint="GET *", drop="after"))
    with pytest.raises(requests.exceptions.ConnectionError):
        bucket.blob("a").download_as_bytes(retry=None)


def test_a_rule_can_be_for_one_object(bucket, faults):
    """``resource`` is ``bucket/object``."""
    for name in ("in/a", "out/a"):
        bucket.blob(name).upload_from_string(b"x")
    faults.add(Rule(service="storage", resource="bucket/in/*", code=403, times="forever"))
    with pytest.raises(exceptions.Forbidden):
        bucket.blob("in/a").download_as_bytes()
    assert bucket.blob("out/a").download_as_bytes() == b"x"


def test_a_delay_is_on_the_clock(bucket, faults, clock, wait_until):
    """A delayed answer comes when the clock has passed the delay."""
    bucket.blob("a").upload_from_string(b"x")
    faults.add(Rule(service="storage", endpoint="GET *", delay_s=3600))
    read = []
    reader = threading.Thread(target=lambda: read.append(bucket.blob("a").download_as_bytes()))
    reader.start()
    wait_until(lambda: faults.standings()[0].struck == 1)
    assert not read
    clock.advance(3600)
    reader.join(timeout=20)
    assert read == [b"x"]


def test_run_answers_googles_rest_error(serve, faults):
    """The Admin API's errors are google.rpc.Status: the real client raises by its code."""
    server = serve(our_run.Server, launch=lambda spec: None)
    transport = JobsRestTransport(
        host=urlsplit(server.url).netloc, url_scheme="http", credentials=AnonymousCredentials()
    )
    jobs = run_v2.JobsClient(transport=transport)
    faults.add(Rule(service="run", endpoint="GET /v2/*", code=503, message="not now"))
    with pytest.raises(exceptions.ServiceUnavailable, match="not now"):
        list(jobs.list_jobs(parent="projects/p/locations/r", retry=None))
    assert list(jobs.list_jobs(parent="projects/p/locations/r")) == []


def test_meta_answers_a_quota_as_meta_does(serve, faults):
    """Over a quota the Graph API answers 80004 in its own shape, transient to its client."""
    server = serve(our_meta.Server, tokens={"t"})
    faults.add(Rule(service="meta", endpoint="GET *", quota=Quota(calls=0, window_s=60)))
    url = f"{server.url}/v26.0/act_1/campaigns"
    body = requests.get(url, params={"access_token": "t"}, timeout=10).json()
    assert (body["error"]["code"], body["error"]["error_subcode"]) == (80004, 2446079)


def test_metas_controls_are_never_struck(serve, faults):
    """A rule for everything leaves the double's own log and script readable."""
    server = serve(our_meta.Server, tokens={"t"})
    faults.add(Rule(service="meta", code=1, times="forever"))
    assert requests.get(f"{server.url}/_log", timeout=10).json() == []
    assert requests.delete(f"{server.url}/_faults", timeout=10).json() == {"cleared": 1}


def test_meta_can_be_struck_once_an_account(serve, faults):
    """``count_by: resource`` counts each edge of each account for itself."""
    server = serve(our_meta.Server, tokens={"t"})
    faults.add(Rule(service="meta", endpoint="GET act_*/ads", code=2, count_by="resource"))
    urls = [f"{server.url}/v26.0/act_{account}/ads" for account in (1, 2, 1, 2)]
    answers = [requests.get(url, params={"access_token": "t"}, timeout=10) for url in urls]
    assert [answer.status_code for answer in answers] == [400, 400, 200, 200]


def test_storage_can_be_struck_once_an_object(bucket, faults):
    """With ``count_by: resource`` each object of a bucket fails its first read."""
    for name in ("a", "b"):
        bucket.blob(name).upload_from_string(b"x")
    faults.add(Rule(service="storage", endpoint="GET *", code=404, count_by="resource"))
    for name in ("a", "b"):
        with pytest.raises(exceptions.NotFound):
            bucket.blob(name).download_as_bytes()
        assert bucket.blob(name).download_as_bytes() == b"x"
