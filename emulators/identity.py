"""A local OIDC issuer: the Google of this cloud's tokens, with a key of its own.

Push subscriptions, tasks and schedules carry ID tokens minted here; the host's edge verifies them
as Cloud Run does. Times are read from the cloud's clock, so a token also expires on an accelerated
one. The key is kept in the state directory: tokens in flight survive a restart.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from geminivideo.runtime.clock import Clock
from google.auth import crypt
from google.auth import jwt as google_jwt

from emulators.serving import HttpService

ISSUER = "https://accounts.google.com"
LIFETIME_S = 3600.0
LEEWAY_S = 10.0
_KEY_BITS = 2048
_KEPT = 256


class TokenError(RuntimeError):
    """A bearer token was refused; the message says why and never holds the token."""


class TokenMalformedError(TokenError):
    """Not a JWT, or one without the claims of an ID token."""


class TokenSignatureError(TokenError):
    """Not signed by this cloud's issuer."""


class TokenExpiredError(TokenError):
    """Past its ``exp``, or not yet valid, on the cloud's clock."""


class TokenAudienceError(TokenError):
    """Minted for another audience."""


class Issuer:
    """Mints and verifies RS256 ID tokens of service accounts."""

    def __init__(self, *, state_dir: Path, clock: Clock) -> None:
        self._clock = clock
        self._key = _load_or_create(state_dir / "identity" / "key.pem")
        public = self._key.public_key()
        self._public_pem = public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_id = hashlib.sha256(self._public_pem).hexdigest()[:40]
        self._signer = crypt.RSASigner(self._key, self.key_id)
        self._verifier = crypt.RSAVerifier(public)
        # One moment's deliveries to one function carry the same token, byte for byte.
        self._signed = lru_cache(_KEPT)(self._sign)
        self._checked = lru_cache(_KEPT)(self._signed_claims)

    def mint(self, audience: str, service_account_email: str) -> str:
        """An ID token of the account for ``audience``, valid for an hour of the clock."""
        return self._signed(audience, service_account_email, int(self._clock.now()))

    def _sign(self, audience: str, service_account_email: str, now: int) -> str:
        claims = {
            "iss": ISSUER,
            "sub": subject_of(service_account_email),
            "azp": subject_of(service_account_email),
            "aud": audience,
            "email": service_account_email,
            "email_verified": True,
            "iat": now,
            "exp": now + int(LIFETIME_S),
        }
        return google_jwt.encode(self._signer, claims).decode()

    def verify(self, token: str, audience: str) -> str:
        """The verified e-mail in ``token``; raises a ``TokenError`` by name."""
        claims = self._checked(token)
        now = self._clock.now()
        if now > claims["exp"] + LEEWAY_S or now < claims["iat"] - LEEWAY_S:
            raise TokenExpiredError("the token is outside its validity on the cloud's clock")
        if claims["aud"] != audience:
            raise TokenAudienceError(
                f"the token's audience is {claims['aud']!r}; this service is {audience!r}"
            )
        return str(claims["email"])

    def jwks(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "kid": self.key_id,
            "n": _encoded_int(numbers.n),
            "e": _encoded_int(numbers.e),
        }
        return {"keys": [key]}

    def certificates(self) -> dict[str, str]:
        """Key id to public PEM: what ``google.auth.jwt.decode(token, certs=...)`` takes."""
        return {self.key_id: self._public_pem.decode()}

    def _signed_claims(self, token: str) -> dict[str, Any]:
        try:
            head, body, signature = token.split(".")
            header = json.loads(_decoded(head))
            claims = json.loads(_decoded(body))
            raw_signature = _decoded(signature)
        except (ValueError, TypeError) as error:
            raise TokenMalformedError("the bearer token is not a JWT") from error
        self._check_signature(header, f"{head}.{body}".encode(), raw_signature)
        if not _is_id_token(claims):
            raise TokenMalformedError("the token lacks iss, aud, email, iat or exp of an ID token")
        return claims

    def _check_signature(self, header: Any, signed: bytes, signature: bytes) -> None:
        known = isinstance(header, dict) and header.get("alg") == "RS256"
        if not known or header.get("kid") != self.key_id:
            raise TokenSignatureError(
                "the token names a key that this cloud's issuer does not have"
            )
        if not self._verifier.verify(signed, signature):
            raise TokenSignatureError("the token's signature does not fit its content")


def subject_of(service_account_email: str) -> str:
    """A stable 21-digit subject, as Google's unique ids are."""
    digest = hashlib.sha256(service_account_email.encode()).hexdigest()
    return str(10**20 + int(digest, 16) % (9 * 10**20))


def without_signature(token: str) -> str:
    """The token as Cloud Run hands it to the container: readable, no longer usable."""
    head, _, _ = token.rpartition(".")
    return f"{head}.SIGNATURE_REMOVED_BY_GOOGLE"


def _is_id_token(claims: Any) -> bool:
    return (
        isinstance(claims, dict)
        and claims.get("iss") == ISSUER
        and isinstance(claims.get("aud"), str)
        and isinstance(claims.get("email"), str)
        and claims.get("email_verified") is True
        and all(isinstance(claims.get(name), int) for name in ("iat", "exp"))
    )


def _load_or_create(path: Path) -> rsa.RSAPrivateKey:
    if path.exists():
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".new")
    partial.touch(mode=0o600)
    partial.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    partial.replace(path)
    return key


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _encoded_int(value: int) -> str:
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


class Server(HttpService):
    """The issuer's public key over HTTP, where Google publishes its own (``/oauth2/v3/certs``)."""

    def __init__(self, *, issuer: Issuer, port: int = 0) -> None:
        super().__init__("identity", self._application, (port,))
        self._issuer = issuer

    @property
    def certificates_url(self) -> str:
        """What ``google.oauth2.id_token.verify_token(certs_url=...)`` takes."""
        return f"{self.url}/oauth2/v1/certs"

    def _application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/oauth2/v3/certs", self._jwks)
        app.router.add_get("/oauth2/v1/certs", self._certificates)
        return app

    async def _jwks(self, _: web.Request) -> web.Response:
        return web.json_response(self._issuer.jwks())

    async def _certificates(self, _: web.Request) -> web.Response:
        return web.json_response(self._issuer.certificates())
