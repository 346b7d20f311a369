"""The product's gateway over HTTP: the local cloud's, or a deployed one. Light to import."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from emulators.running import Running

TOKEN_ENV = "GEMINIVIDEO_TOKEN"
_TIMEOUT_S = 60.0


class GatewayError(RuntimeError):
    """The gateway refused or did not answer; the message is its own."""


class Gateway:
    """The gateway at ``url``; ``token`` is an identity token for one behind Cloud Run's edge."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        self._token = token

    @classmethod
    def at(cls, url: str, state_dir: Path) -> Gateway:
        """The deployed one if ``url`` names it, else that of the cloud on ``state_dir``.

        Raises ``CloudNotRunningError``.
        """
        if url:
            return cls(url, os.environ.get(TOKEN_ENV, ""))
        return cls(Running.find(state_dir).urls["gateway"])

    def get(self, path: str) -> dict[str, Any]:
        """What a path shows; raises ``GatewayError``."""
        return self._call(path, None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What a path answers to a body; raises ``GatewayError``."""
        return self._call(path, body)

    def _call(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise GatewayError(_reason(error)) from error
        except (urllib.error.URLError, TimeoutError) as error:
            raise GatewayError(f"the gateway at {self.url} does not answer") from error


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        hint = f": give an identity token in {TOKEN_ENV}" if error.code in (401, 403) else ""
        return f"the gateway answered {error.code}{hint}"
