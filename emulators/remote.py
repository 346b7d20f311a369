"""The control API from another process; light to import."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from emulators.running import CloudNotRunningError, Running
from emulators.serving import LOOPBACK

_TIMEOUT_S = 600.0  # a move in many steps takes its time


class RefusedError(RuntimeError):
    """The control API refused; the message is its own."""


class Control:
    """The control API of the cloud that runs on a state directory.

    Raises ``CloudNotRunningError``.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        port = Running.find(state_dir).services["control"]
        self.url = f"http://{LOOPBACK}:{port}"

    def get(self, path: str) -> dict[str, Any]:
        """What a path shows; raises ``RefusedError``."""
        return self._call("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What a path answers to a body; raises ``RefusedError``."""
        return self._call("POST", path, body)

    def delete(self, path: str) -> dict[str, Any]:
        """Remove what a path names; raises ``RefusedError``."""
        return self._call("DELETE", path, None)

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise RefusedError(_reason(error)) from error
        except urllib.error.URLError as error:
            raise CloudNotRunningError(self._state_dir) from error


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"the control API answered {error.code}"
