"""The control API from another process; light to import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emulators import json_http
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
        try:
            return json_http.call(method, self.url + path, body, timeout_s=_TIMEOUT_S)
        except json_http.RefusedRequestError as error:
            words = str(error) or f"the control API answered {error.status}"
            raise RefusedError(words) from error
        except json_http.NoAnswerError as error:
            raise CloudNotRunningError(self._state_dir) from error
