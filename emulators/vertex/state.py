"""What was asked, and what is to be answered: replies are taken in order, then asked of a rule.

Texts are embedded by a rule alone: what vector a text has is the test's to say.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from emulators.vertex.errors import ApiError, invalid, unscripted


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request: the model, the prompt's text, media URIs, the schema asked for."""

    model: str
    prompt: str
    media: tuple[str, ...]
    schema: dict[str, Any] | None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer: its text, why it ended, tokens; or an error instead."""

    text: str = ""
    finish_reason: str = "STOP"
    input_tokens: int = 0
    output_tokens: int = 0
    error: ApiError | None = None


Rule = Callable[[Asked], Reply | None]


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """One request for vectors: the model, the texts, what they are for, how long they shall be."""

    model: str
    texts: tuple[str, ...]
    task: str
    dimensions: int | None


Vectors = Callable[[Embedded], list[list[float]]]


class State:
    """The script and the log; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[Reply] = deque()
        self._rule: Rule | None = None
        self._vectors: Vectors | None = None
        self.embedded: list[Embedded] = []
        self.log: list[Asked] = []

    def enqueue(self, *replies: Reply) -> None:
        """Answer the next requests with these, in order."""
        with self._lock:
            self._queue.extend(replies)

    def answer_by(self, rule: Rule | None) -> None:
        """Answer what the queue does not by this rule (None: nothing)."""
        with self._lock:
            self._rule = rule

    def embed_by(self, rule: Vectors | None) -> None:
        """Give texts the vectors of this rule (None: none, which is answered 503)."""
        with self._lock:
            self._vectors = rule

    def embed(self, asked: Embedded) -> list[list[float]]:
        """The vectors of the rule; raises ``ApiError`` when there is none."""
        with self._lock:
            self.embedded.append(asked)
            rule = self._vectors
        if rule is None:
            raise unscripted(asked.model)
        return rule(asked)

    def generate(self, model: str, request: dict[str, Any], headers: dict[str, str]) -> Reply:
        """The scripted answer; raises ``ApiError`` as scripted, or when nothing is."""
        asked = _asked(model, request, headers)
        with self._lock:
            self.log.append(asked)
            reply = self._queue.popleft() if self._queue else None
            rule = self._rule
        reply = reply or (rule(asked) if rule else None)
        if reply is None:
            raise unscripted(model)
        if reply.error is not None:
            raise reply.error
        return reply


def _uri(file_data: dict[str, str]) -> str:
    """proto3 JSON is read in both spellings; google-genai sends the snake_case one."""
    return file_data.get("fileUri") or file_data.get("file_uri") or ""


def _asked(model: str, request: dict[str, Any], headers: dict[str, str]) -> Asked:
    contents = request.get("contents")
    if not contents:
        raise invalid("contents is required")
    parts = [part for content in contents for part in content.get("parts", [])]
    config = request.get("generationConfig", {})
    return Asked(
        model=model,
        prompt="\n".join(part["text"] for part in parts if "text" in part),
        media=tuple(_uri(part["fileData"]) for part in parts if "fileData" in part),
        schema=config.get("responseJsonSchema") or config.get("responseSchema"),
        headers=headers,
    )
