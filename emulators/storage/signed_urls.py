"""Signed URLs: their expiry is enforced on the clock, their signature is not verified."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from emulators.storage import errors, rules

_V4_REQUIRED = (
    "X-Goog-Credential",
    "X-Goog-Date",
    "X-Goog-Expires",
    "X-Goog-SignedHeaders",
    "X-Goog-Signature",
)


def check(query: Mapping[str, str], headers: Mapping[str, str], now: float) -> None:
    """Raise 400 for a signed URL that is malformed or past its expiry; unsigned ones pass.

    V4: ``X-Goog-Date`` + ``X-Goog-Expires`` (1 s to 7 days); every signed header must be sent.
    V2: ``Expires`` in epoch seconds.
    """
    if "X-Goog-Algorithm" in query:
        _check_v4(query, headers, now)
    elif "Signature" in query and now > (rules.number(query, "Expires") or 0):
        raise errors.url_expired()


def _check_v4(query: Mapping[str, str], headers: Mapping[str, str], now: float) -> None:
    for name in _V4_REQUIRED:
        if not query.get(name):
            raise errors.invalid(f"Missing signed URL parameter {name}", "AuthenticationRequired")
    lifetime = rules.number(query, "X-Goog-Expires") or 0
    if not 0 < lifetime <= rules.MAX_SIGNED_URL_S:
        raise errors.invalid("X-Goog-Expires must be between 1 and 604800 seconds.")
    for name in query["X-Goog-SignedHeaders"].split(";"):
        if name not in headers:
            raise errors.invalid(f"Signed header {name} was not sent.", "MalformedSecurityHeader")
    if now > _signed_at(query["X-Goog-Date"]) + lifetime:
        raise errors.url_expired()


def _signed_at(raw: str) -> float:
    try:
        return datetime.strptime(raw, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise errors.invalid("X-Goog-Date must look like 20260131T235959Z.") from None
