"""The product's gateway over HTTP: the local cloud's, or a deployed one. Light to import."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from emulators import json_http
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
        return self._call("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What a path answers to a body; raises ``GatewayError``."""
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            return json_http.call(
                method, self.url + path, body, timeout_s=_TIMEOUT_S, headers=headers
            )
        except json_http.RefusedRequestError as error:
            raise GatewayError(str(error) or _hint(error.status)) from error
        except json_http.NoAnswerError as error:
            raise GatewayError(f"the gateway at {self.url} does not answer") from error


def _hint(status: int) -> str:
    hint = f": give an identity token in {TOKEN_ENV}" if status in (401, 403) else ""
    return f"the gateway answered {status}{hint}"
