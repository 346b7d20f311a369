"""Signed URLs, V4 and V2: the signature is verified against the account's key, then the expiry.

Canonical requests and strings to sign:
https://cloud.google.com/storage/docs/authentication/canonical-requests and
https://cloud.google.com/storage/docs/access-control/signed-urls-v2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote, urlencode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from emulators.service_accounts import UnknownAccountError
from emulators.storage import errors, rules

KeyOf = Callable[[str], rsa.RSAPublicKey]
"""The public key of a service account by e-mail; raises ``UnknownAccountError``."""

_V4_REQUIRED = (
    "X-Goog-Credential",
    "X-Goog-Date",
    "X-Goog-Expires",
    "X-Goog-SignedHeaders",
    "X-Goog-Signature",
)
_V4_ALGORITHM = "GOOG4-RSA-SHA256"
_V2_REQUIRED = ("GoogleAccessId", "Expires", "Signature")
_V2_UNSIGNED = frozenset(
    {*_V2_REQUIRED, "generation", "response-content-disposition", "response-content-type"}
)


@dataclass(frozen=True)
class SignedRequest:
    """A request as it arrived: ``path`` still percent-encoded, header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def resource(self) -> str:
        """The path in its canonical encoding."""
        return quote(unquote(self.path), safe="/~")


def check(request: SignedRequest, now: float, key_of: KeyOf) -> None:
    """Raise 400 or 403 for a signed URL that is malformed, expired or not what was signed.

    V4: ``X-Goog-Date`` + ``X-Goog-Expires`` (1 s to 7 days); every signed header must be sent.
    V2: ``Expires`` in epoch seconds. A request that carries no signature passes.
    """
    if any(name.startswith("X-Goog-") for name in request.query):
        _check_v4(request, now, key_of)
    elif any(name in request.query for name in ("GoogleAccessId", "Signature")):
        _check_v2(request, now, key_of)


def _check_v4(request: SignedRequest, now: float, key_of: KeyOf) -> None:
    query = request.query
    _check_present(query, ("X-Goog-Algorithm", *_V4_REQUIRED))
    if query["X-Goog-Algorithm"] != _V4_ALGORITHM:
        raise errors.not_emulated(f"X-Goog-Algorithm {query['X-Goog-Algorithm']}")
    lifetime = rules.number(query, "X-Goog-Expires") or 0
    if not 0 < lifetime <= rules.MAX_SIGNED_URL_S:
        raise errors.invalid("X-Goog-Expires must be between 1 and 604800 seconds.")
    signed_at = _signed_at(query["X-Goog-Date"])
    account, scope = _credential(query)
    for name in query["X-Goog-SignedHeaders"].split(";"):
        if name not in request.headers:
            raise errors.invalid(f"Signed header {name} was not sent.", "MalformedSecurityHeader")
    if now > signed_at + lifetime:
        raise errors.url_expired()
    canonical = _canonical_v4(request)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join((_V4_ALGORITHM, query["X-Goog-Date"], scope, digest))
    _verify(key_of, account, _unhexed(query["X-Goog-Signature"]), to_sign, canonical)


def _check_v2(request: SignedRequest, now: float, key_of: KeyOf) -> None:
    query = request.query
    _check_present(query, _V2_REQUIRED)
    if now > (rules.number(query, "Expires") or 0):
        raise errors.url_expired()
    try:
        signature = base64.b64decode(query["Signature"], validate=True)
    except binascii.Error:
        signature = b""
    _verify(key_of, query["GoogleAccessId"], signature, _to_sign_v2(request))


def _canonical_v4(request: SignedRequest) -> str:
    """Method, resource, query, signed headers, their names, and the payload's hash."""
    names = request.query["X-Goog-SignedHeaders"]
    pairs = sorted(
        f"{quote(name, safe='~')}={quote(value, safe='~')}"
        for name, value in request.query.items()
        if name != "X-Goog-Signature"
    )
    headers = "".join(f"{n}:{' '.join(request.headers[n].split())}\n" for n in names.split(";"))
    signed = names.split(";")
    payload = "x-goog-content-sha256"
    sha256 = request.headers[payload] if payload in signed else "UNSIGNED-PAYLOAD"
    return "\n".join((request.method, request.resource, "&".join(pairs), headers, names, sha256))


def _to_sign_v2(request: SignedRequest) -> str:
    """Method, MD5, type, expiry, the ``x-goog-`` headers and the resource with its subresources."""
    headers = request.headers
    extensions = sorted(
        f"{name}:{' '.join(value.split())}"
        for name, value in headers.items()
        if name.startswith("x-goog-")
    )
    asked = sorted((k, v) for k, v in request.query.items() if k not in _V2_UNSIGNED)
    resource = request.resource + (f"?{urlencode(asked)}" if asked else "")
    md5, kind = headers.get("content-md5", ""), headers.get("content-type", "")
    first = (request.method, md5, kind, request.query["Expires"])
    return "\n".join((*first, *extensions, resource))


def _verify(
    key_of: KeyOf, account: str, signature: bytes, to_sign: str, canonical: str = ""
) -> None:
    try:
        key = key_of(account)
        key.verify(signature, to_sign.encode(), padding.PKCS1v15(), hashes.SHA256())
    except UnknownAccountError as error:
        raise errors.signature_mismatch(str(error), to_sign, canonical) from error
    except InvalidSignature as error:
        message = "The request signature we calculated does not match the signature you provided."
        raise errors.signature_mismatch(message, to_sign, canonical) from error


def _check_present(query: Mapping[str, str], names: tuple[str, ...]) -> None:
    for name in names:
        if not query.get(name):
            raise errors.invalid(f"Missing signed URL parameter {name}", "AuthenticationRequired")


def _credential(query: Mapping[str, str]) -> tuple[str, str]:
    """E-mail and scope of ``EMAIL/DATE/LOCATION/storage/goog4_request``; raises 400."""
    account, _, scope = query["X-Goog-Credential"].partition("/")
    parts = scope.split("/")
    if len(parts) != 4 or parts[2:] != ["storage", "goog4_request"]:
        raise errors.invalid("X-Goog-Credential has no valid scope.", "InvalidCredential")
    if parts[0] != query["X-Goog-Date"][:8]:
        raise errors.invalid("The scope's date is not that of X-Goog-Date.", "InvalidCredential")
    return account, scope


def _unhexed(raw: str) -> bytes:
    try:
        return bytes.fromhex(raw)
    except ValueError:
        return b""


def _signed_at(raw: str) -> float:
    try:
        return datetime.strptime(raw, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise errors.invalid("X-Goog-Date must look like 20260131T235959Z.") from None
