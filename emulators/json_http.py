"""JSON over HTTP from the command line: one request, its answer, or why not. Light to import."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import InvalidURL
from typing import Any


class RefusedRequestError(RuntimeError):
    """The server answered with an error: its ``status``, and its own words if it had any."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class NoAnswerError(RuntimeError):
    """Nothing answers at the address."""


def call(
    method: str,
    url: str,
    body: dict[str, Any] | None,
    *,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The JSON answer; raises ``RefusedRequestError`` or ``NoAnswerError``."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **(headers or {})}
    try:
        request = urllib.request.Request(url, data, sent, method=method)
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise RefusedRequestError(error.code, _words(error)) from error
    except (urllib.error.URLError, TimeoutError, InvalidURL, UnicodeError, ValueError) as error:
        raise NoAnswerError(f"{url} does not answer") from error


def _words(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return ""
