"""HubSpot's signatures: the published vector, and everything that must be refused."""

import base64
import dataclasses

import pytest
from geminivideo.crm.signature import (
    SIGNATURE,
    SIGNATURE_V1,
    TIMESTAMP,
    SignedRequest,
    decoded,
    refusal,
    refusal_v1,
    signed,
)
from hypothesis import given
from hypothesis import strategies as st

# From HubSpot's "Validating requests" page.
SECRET = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"
STAMP = "1693657560000"
NOW = 1693657560.0
REQUEST = SignedRequest(
    method="POST",
    uri="https://www.example.com/webhook_uri",
    body=b"{'example_field':'example_value'}",
    headers={SIGNATURE: "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y=", TIMESTAMP: STAMP},
)


def signed_by_us(request: SignedRequest, stamp: str = STAMP) -> SignedRequest:
    """The request with a valid signature for its own members."""
    given_signature = base64.b64encode(signed(request, SECRET, stamp)).decode()
    return dataclasses.replace(request, headers={SIGNATURE: given_signature, TIMESTAMP: stamp})


def test_the_published_vector_is_accepted() -> None:
    """The example of HubSpot's own page passes."""
    assert refusal(REQUEST, SECRET, NOW) is None


def test_header_names_have_no_case() -> None:
    """Proxies write headers as they like."""
    lower = {name.lower(): value for name, value in REQUEST.headers.items()}
    assert refusal(dataclasses.replace(REQUEST, headers=lower), SECRET, NOW) is None


@pytest.mark.parametrize("skew", [-299.0, 0.0, 299.0])
def test_a_clock_may_be_five_minutes_off(skew: float) -> None:
    """Both ways."""
    assert refusal(REQUEST, SECRET, NOW + skew) is None


@pytest.mark.parametrize("skew", [-3600.0, -301.0, 301.0, 360.0, 86400.0])
def test_a_replayed_or_future_request_is_refused(skew: float) -> None:
    """Six minutes old, or from the future: refused although its signature is right."""
    assert "ago" in str(refusal(REQUEST, SECRET, NOW + skew))


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "GET"},
        {"uri": "https://www.example.com/webhook_uri/"},
        {"uri": "http://www.example.com/webhook_uri"},
        {"body": b"{'example_field':'other_value'}"},
        {"body": b"{'example_field': 'example_value'}"},
        {"body": b"{'example_field':'example_value"},
        {"body": b""},
    ],
)
def test_what_was_signed_is_what_must_come(changes: dict[str, object]) -> None:
    """Another method, address or body (re-serialised, truncated, empty) is refused."""
    forged = dataclasses.replace(REQUEST, **changes)  # type: ignore[arg-type]
    assert refusal(forged, SECRET, NOW) == "the signature does not match"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {SIGNATURE: REQUEST.headers[SIGNATURE]},
        {TIMESTAMP: STAMP},
        {SIGNATURE: "", TIMESTAMP: STAMP},
        {SIGNATURE: "ünicode", TIMESTAMP: STAMP},
        {SIGNATURE: "not base64!", TIMESTAMP: STAMP},
        {SIGNATURE: REQUEST.headers[SIGNATURE][:-4], TIMESTAMP: STAMP},
        {SIGNATURE: REQUEST.headers[SIGNATURE], TIMESTAMP: "1693657560"},
        {SIGNATURE: REQUEST.headers[SIGNATURE], TIMESTAMP: "1693657560000.0"},
        {SIGNATURE: REQUEST.headers[SIGNATURE], TIMESTAMP: "169365756000\u0660"},
        {SIGNATURE: REQUEST.headers[SIGNATURE], TIMESTAMP: "-693657560000"},
    ],
)
def test_missing_or_odd_headers_are_refused_without_a_crash(headers: dict[str, str]) -> None:
    """Each says what is wrong; none raises."""
    assert refusal(dataclasses.replace(REQUEST, headers=headers), SECRET, NOW)


def test_another_secret_is_refused() -> None:
    """The key decides."""
    assert refusal(REQUEST, SECRET[:-1] + "x", NOW)


def test_exactly_twelve_escapes_are_decoded() -> None:
    """Once, whatever their case, and nothing else: %20 and %25 stay."""
    assert decoded("https://x/a%3Ab%2fc%20d%253A?q=%2C") == "https://x/a:b/c%20d%253A?q=,"


def test_an_escaped_address_is_signed_decoded() -> None:
    """HubSpot signs the decoded form of what it calls."""
    escaped = dataclasses.replace(REQUEST, uri="https://www.example.com/webhook%5Furi%3Ax")
    plain = dataclasses.replace(escaped, uri="https://www.example.com/webhook%5Furi:x")
    assert (
        refusal(dataclasses.replace(escaped, headers=signed_by_us(plain).headers), SECRET, NOW)
        is None
    )


@given(body=st.binary(max_size=200), flip=st.integers(0, 10_000))
def test_any_flipped_bit_of_the_body_is_found(body: bytes, flip: int) -> None:
    """Raw bytes count, whatever they are."""
    request = signed_by_us(dataclasses.replace(REQUEST, body=body))
    assert refusal(request, SECRET, NOW) is None
    if body:
        at, bit = divmod(flip % (len(body) * 8), 8)
        changed = bytes([*body[:at], body[at] ^ (1 << bit), *body[at + 1 :]])
        assert refusal(dataclasses.replace(request, body=changed), SECRET, NOW)


def test_version_one_is_checked_on_its_own() -> None:
    """Private apps sign secret + body, without a time; a v1 header never passes as v3."""
    import hashlib

    right = hashlib.sha256(SECRET.encode() + REQUEST.body).hexdigest()
    request = dataclasses.replace(REQUEST, headers={SIGNATURE_V1: right})
    assert refusal_v1(request, SECRET) is None
    assert refusal(request, SECRET, NOW)
    assert refusal_v1(dataclasses.replace(request, body=b"x"), SECRET)
    assert refusal_v1(dataclasses.replace(request, headers={SIGNATURE_V1: "é"}), SECRET)
    assert refusal_v1(dataclasses.replace(request, headers={}), SECRET)
