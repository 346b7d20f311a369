"""Keys of service accounts: JSON key files like Google's, kept in the state directory.

Whoever signs (``google.oauth2.service_account.Credentials.from_service_account_file``) does so as
in the cloud; whoever verifies finds the public half here. An account has one key.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_EMAIL = re.compile(r"[a-z0-9][a-z0-9-]*@[a-z0-9.-]+")
_KEY_BITS = 2048
# A client that tries to exchange the key for a token must not reach Google with it.
_NO_TOKENS = "http://127.0.0.1/access-tokens-are-not-emulated"


class UnknownAccountError(LookupError):
    """No key of this account was made in this cloud; the message says how to make one."""

    def __init__(self, email: str) -> None:
        super().__init__(
            f"this cloud has no key of {email!r}: sign with the key file that "
            "GV_SERVICE_ACCOUNT_KEY names, or make one (emulators.service_accounts.key_file)"
        )


def key_file(state_dir: Path, email: str, project: str = "") -> Path:
    """The account's JSON key file under ``state_dir``, made the first time (mode 0600).

    Raises ``ValueError`` for what is no service account's e-mail address.
    """
    path = _path(state_dir, email)
    if path is None:
        raise ValueError(f"not a service account's e-mail address: {email!r}")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".new")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(_made(email, project), indent=1))
        partial.replace(path)
    return path


def public_key(state_dir: Path, email: str) -> rsa.RSAPublicKey:
    """What verifies the account's signatures; raises ``UnknownAccountError``."""
    path = _path(state_dir, email)
    if path is None or not path.exists():
        raise UnknownAccountError(email)
    return _public_half(path, path.stat().st_mtime_ns)


def _path(state_dir: Path, email: str) -> Path | None:
    if not _EMAIL.fullmatch(email):
        return None
    return Path(state_dir) / "identity" / "service_accounts" / f"{email}.json"


@lru_cache(maxsize=64)
def _public_half(path: Path, changed: int) -> rsa.RSAPublicKey:
    pem = json.loads(path.read_text())["private_key"].encode()
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.public_key()


def _made(email: str, project: str) -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    return {
        "type": "service_account",
        "project_id": project or email.partition("@")[2].split(".")[0],
        "private_key_id": hashlib.sha256(pem.encode()).hexdigest()[:40],
        "private_key": pem,
        "client_email": email,
        "token_uri": _NO_TOKENS,
    }
