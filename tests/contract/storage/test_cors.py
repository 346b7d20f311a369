"""Cross-origin requests: https://cloud.google.com/storage/docs/cross-origin."""

import pytest
import requests
from google.api_core import exceptions

PAGE = "https://ads.example.com"


@pytest.fixture
def shared(bucket):
    """A bucket whose rules let one page read and write, and every page read."""
    bucket.cors = [
        {
            "origin": [PAGE],
            "method": ["GET", "PUT"],
            "responseHeader": ["Content-Type", "x-goog-meta-*"],
            "maxAgeSeconds": 600,
        },
        {"origin": ["*"], "method": ["GET"]},
    ]
    bucket.patch()
    bucket.blob("a").upload_from_string(b"x")
    return bucket


def preflight(url, origin, method, headers=""):
    sent = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        sent["Access-Control-Request-Headers"] = headers
    return requests.options(url, headers=sent, timeout=10)


def test_preflight_by_the_first_rule_that_fits(server, shared):
    """A preflight is answered from the first rule with the origin and the announced method."""
    asked = "content-type, X-Goog-Meta-Flow, authorization"
    answer = preflight(f"{server.url}/{shared.name}/a", PAGE, "PUT", asked)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert answer.headers["Access-Control-Allow-Methods"] == "GET,PUT"
    assert answer.headers["Access-Control-Allow-Headers"] == "content-type,X-Goog-Meta-Flow"
    assert answer.headers["Access-Control-Max-Age"] == "600"


def test_an_origin_without_a_rule_gets_no_headers(server, shared):
    """What no rule allows is answered without CORS headers: the browser refuses it."""
    answer = preflight(f"{server.url}/{shared.name}/a", "https://evil.example", "PUT")
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_simple_requests_carry_the_headers(server, shared):
    """The answer to the request itself names the origin and what the page may read."""
    url = f"{server.url}/{shared.name}/a"
    own = requests.get(url, headers={"Origin": PAGE}, timeout=10)
    assert own.headers["Access-Control-Allow-Origin"] == PAGE
    assert own.headers["Access-Control-Expose-Headers"] == "Content-Type, x-goog-meta-*"
    other = requests.get(url, headers={"Origin": "https://any.example"}, timeout=10)
    assert other.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Origin" not in requests.get(url, timeout=10).headers


def test_errors_carry_the_headers_too(server, shared):
    """A page may read why its request failed."""
    answer = requests.get(f"{server.url}/{shared.name}/no", headers={"Origin": PAGE}, timeout=10)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (404, PAGE)


def test_a_bucket_without_rules_shares_nothing(server, bucket):
    """Without a CORS configuration the XML API allows no other origin."""
    answer = preflight(f"{server.url}/{bucket.name}/a", PAGE, "GET")
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_browser_uploads_through_a_session(server, bucket):
    """The JSON API allows every origin: a page can upload to a session URI that it was given."""
    uri = bucket.blob("up").create_resumable_upload_session(content_type="video/mp4", origin=PAGE)
    asked = preflight(uri, PAGE, "PUT", "content-type, content-range")
    assert asked.headers["Access-Control-Allow-Origin"] == PAGE
    assert asked.headers["Access-Control-Allow-Headers"] == "content-type, content-range"
    assert "PUT" in asked.headers["Access-Control-Allow-Methods"]
    half = {"Origin": PAGE, "Content-Range": f"bytes 0-{256 * 1024 - 1}/*"}
    kept = requests.put(uri, data=b"x" * 256 * 1024, headers=half, timeout=10)
    assert kept.status_code == 308
    assert "Range" in kept.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    "rule", [{"origin": ["*"]}, {"method": ["GET"]}, {"origin": ["*"], "method": ["BREW"]}]
)
def test_rules_that_cannot_be_meant(bucket, rule):
    """A rule without origin or method, or with an unknown method, is 400."""
    bucket.cors = [rule]
    with pytest.raises(exceptions.BadRequest):
        bucket.patch()
