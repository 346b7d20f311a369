"""HubSpot's request signatures, checked by ourselves.

Source: HubSpot's "Validating requests" page. Version 3 is
``base64(HMAC-SHA256(secret, method + uri + body + timestamp))`` over the raw body, with a time
stamp in milliseconds. HubSpot's own client accepts time stamps of the future, answers a bytes body
with "invalid" and raises on a header that is missing or not ASCII; hence these lines.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_SKEW_S = 300.0
SIGNATURE = "X-HubSpot-Signature-v3"
TIMESTAMP = "X-HubSpot-Request-Timestamp"
SIGNATURE_V1 = "X-HubSpot-Signature"
_MILLISECONDS = re.compile(r"[0-9]{13}")
# The escapes that HubSpot decodes in the URI before it signs, and no others.
_DECODED = {
    "%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$",
    "%27": "'", "%28": "(", "%29": ")", "%2A": "*", "%2C": ",", "%3B": ";",
}  # fmt: skip
_ESCAPE = re.compile("|".join(_DECODED), re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class SignedRequest:
    """A webhook call as it came; ``uri`` is the public URL that HubSpot called, as configured.

    Behind Cloud Run the request's own scheme and host are not those that were signed.
    """

    method: str
    uri: str
    body: bytes
    headers: Mapping[str, str]

    def header(self, name: str) -> str:
        """A header's value whatever its case; empty when it is not there."""
        wanted = name.lower()
        return next((v for k, v in self.headers.items() if k.lower() == wanted), "")


def refusal(request: SignedRequest, secret: str, now: float) -> str | None:
    """Why the request is not HubSpot's (one line for the security log), or ``None``: it is.

    ``now`` is UTC epoch seconds; a time stamp more than ``MAX_SKEW_S`` away, past or future, is
    refused whatever its signature. The comparison takes the same time wherever they differ.
    """
    stamp, given = request.header(TIMESTAMP), request.header(SIGNATURE)
    if not given:
        return f"no {SIGNATURE}"
    if not _MILLISECONDS.fullmatch(stamp):
        return f"no {TIMESTAMP} in milliseconds"
    if abs(now - int(stamp) / 1000) > MAX_SKEW_S:
        return f"signed {now - int(stamp) / 1000:+.0f} s ago"
    if not _same(given, signed(request, secret, stamp)):
        return "the signature does not match"
    return None


def refusal_v1(request: SignedRequest, secret: str) -> str | None:
    """The same for version 1 (private apps): it protects against no replay, so it is opt-in."""
    given = request.header(SIGNATURE_V1).strip().lower()
    wanted = hashlib.sha256(secret.encode() + request.body).hexdigest()
    if not given:
        return f"no {SIGNATURE_V1}"
    if not given.isascii() or not hmac.compare_digest(given, wanted):
        return "the signature does not match"
    return None


def signed(request: SignedRequest, secret: str, stamp: str) -> bytes:
    """The 32 bytes of the v3 signature; ``stamp`` is the header's text."""
    source = b"".join(
        (request.method.upper().encode(), decoded(request.uri).encode(), request.body)
    )
    return hmac.new(secret.encode(), source + stamp.encode(), hashlib.sha256).digest()


def decoded(uri: str) -> str:
    """The URI as it is signed: twelve escapes decoded once, everything else as it is."""
    return _ESCAPE.sub(lambda found: _DECODED[found.group().upper()], uri)


def _same(given: str, wanted: bytes) -> bool:
    try:
        return hmac.compare_digest(base64.b64decode(given.encode("ascii"), validate=True), wanted)
    except (UnicodeEncodeError, binascii.Error):
        return False
