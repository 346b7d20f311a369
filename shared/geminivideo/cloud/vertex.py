"""Gemini on Vertex AI through google-genai: answers as JSON of a schema, texts as vectors."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from geminivideo.language import Completion, ModelUnavailableError

if TYPE_CHECKING:
    from google import genai

_TIMEOUT_MS = 120_000
_ATTEMPTS = 3
_EMBEDDING_MODEL = "gemini-embedding-001"
_DIMENSIONS = 256  # of its 3,072: the model is trained so that the first ones hold most
_EMBED_BATCH = 32


class Vertex:
    """One Gemini model; ``GV_VERTEX_URL`` points the client at another endpoint."""

    def __init__(
        self,
        project: str,
        location: str,
        model: str,
        attempts: int = _ATTEMPTS,
        timeout_ms: int = _TIMEOUT_MS,
    ) -> None:
        self._project = project
        self._location = location
        self._attempts = attempts
        self._timeout_ms = timeout_ms
        self.model = model

    @classmethod
    def from_env(cls, project: str, within_s: float | None = None) -> Vertex:
        """``GV_VERTEX_LOCATION`` (default ``global``) and ``GV_GEMINI_MODEL`` choose the model.

        With ``within_s`` it is asked once and waited for so long: for somebody who waits.
        """
        location = os.environ.get("GV_VERTEX_LOCATION", "global")
        model = os.environ.get("GV_GEMINI_MODEL", "gemini-2.5-flash")
        if within_s is None:
            return cls(project, location, model)
        return cls(project, location, model, attempts=1, timeout_ms=round(1000 * within_s))

    @cached_property
    def client(self) -> genai.Client:
        """The real client, opened on first use."""
        return _client(self._project, self._location, self._attempts, self._timeout_ms)

    def complete(
        self, prompt: str, schema: dict[str, Any], media_uris: Sequence[str]
    ) -> Completion:
        """A JSON answer of ``schema``; raises ``ModelUnavailableError`` for anything else."""
        from google.genai import errors, types

        parts: list[Any] = [
            types.Part.from_uri(file_uri=uri, mime_type="video/mp4") for uri in media_uris
        ]
        config = types.GenerateContentConfig(
            response_mime_type="application/json", response_json_schema=schema, temperature=0.7
        )
        try:
            response = self.client.models.generate_content(
                model=self.model, contents=[*parts, prompt], config=config
            )
        except errors.APIError as error:
            raise ModelUnavailableError(f"{self.model}: {error.code} {error.status}") from error
        except _transport_errors() as error:
            raise ModelUnavailableError(f"{self.model}: {type(error).__name__}") from error
        return _parsed(response, self.model)


class VertexEmbeddings:
    """A text embedding model (``language.Embedder``) of Vertex AI."""

    def __init__(
        self,
        project: str,
        location: str,
        model: str,
        dimensions: int = _DIMENSIONS,
        attempts: int = _ATTEMPTS,
    ) -> None:
        self._attempts = attempts
        self._project = project
        self._location = location
        self._model = model
        self._dimensions = dimensions

    @classmethod
    def from_env(cls, project: str) -> VertexEmbeddings:
        """``GV_VERTEX_LOCATION`` (default ``global``) and ``GV_EMBEDDING_MODEL`` choose it."""
        location = os.environ.get("GV_VERTEX_LOCATION", "global")
        return cls(project, location, os.environ.get("GV_EMBEDDING_MODEL", _EMBEDDING_MODEL))

    @property
    def source(self) -> str:
        """The model and the length of its vectors."""
        return f"{self._model}:{self._dimensions}"

    @cached_property
    def client(self) -> genai.Client:
        """The real client, opened on first use."""
        return _client(self._project, self._location, self._attempts)

    def embed(self, texts: Sequence[str], *, question: bool = False) -> list[list[float]]:
        """One unit vector per text; raises ``ModelUnavailableError`` for anything else."""
        starts = range(0, len(texts), _EMBED_BATCH)
        batches = [self._batch(texts[i : i + _EMBED_BATCH], question) for i in starts]
        return [vector for batch in batches for vector in batch]

    def _batch(self, texts: Sequence[str], question: bool) -> list[list[float]]:
        from google.genai import errors, types

        parts: list[Any] = list(texts)
        config = types.EmbedContentConfig(
            task_type="RETRIEVAL_QUERY" if question else "RETRIEVAL_DOCUMENT",
            output_dimensionality=self._dimensions,
        )
        try:
            answer = self.client.models.embed_content(
                model=self._model, contents=parts, config=config
            )
        except errors.APIError as error:
            raise ModelUnavailableError(f"{self._model}: {error.code} {error.status}") from error
        except _transport_errors() as error:
            raise ModelUnavailableError(f"{self._model}: {type(error).__name__}") from error
        vectors = [one.values or [] for one in answer.embeddings or []]
        if [len(vector) for vector in vectors] != [self._dimensions] * len(texts):
            raise ModelUnavailableError(f"{self._model}: not one vector for each text")
        return [_unit(vector) for vector in vectors]


def _unit(vector: Sequence[float]) -> list[float]:
    """Shortened vectors do not come with length 1."""
    length = math.hypot(*vector) or 1.0
    return [value / length for value in vector]


def _client(
    project: str, location: str, attempts: int, timeout_ms: int = _TIMEOUT_MS
) -> genai.Client:
    from google import genai
    from google.genai import types

    url = os.environ.get("GV_VERTEX_URL")
    options = types.HttpOptions(
        api_version="v1",
        timeout=timeout_ms,
        base_url=url,
        retry_options=types.HttpRetryOptions(attempts=attempts),
    )
    return genai.Client(
        vertexai=True,
        project=project,
        location=location,
        credentials=_local_credentials() if url else None,
        http_options=options,
    )


def _parsed(response: Any, model: str) -> Completion:
    candidate = response.candidates[0] if response.candidates else None
    reason = str(getattr(candidate, "finish_reason", None) or "")
    if candidate is None or not reason.endswith("STOP"):
        raise ModelUnavailableError(f"{model}: no answer (finish reason {reason or 'none'})")
    try:
        data = json.loads(response.text or "")
    except json.JSONDecodeError as error:
        raise ModelUnavailableError(f"{model}: the answer is not JSON: {error}") from error
    usage = response.usage_metadata
    tokens = (usage.prompt_token_count, usage.candidates_token_count) if usage else (None, None)
    return Completion(
        data=data,
        model_version=response.model_version or model,
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        cost_microusd=_cost(*tokens),
    )


def _cost(input_tokens: int | None, output_tokens: int | None) -> int | None:
    """Micro-dollars by ``GV_GEMINI_PRICES`` (USD per million tokens: ``in,out``), else unknown."""
    prices = os.environ.get("GV_GEMINI_PRICES", "")
    if not prices or input_tokens is None or output_tokens is None:
        return None
    price_in, price_out = (float(price) for price in prices.split(","))
    return round(input_tokens * price_in + output_tokens * price_out)


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the client's transport raises when nobody answers in time."""
    import google.auth.exceptions
    import httpx2

    return (httpx2.HTTPError, google.auth.exceptions.GoogleAuthError, TimeoutError, OSError)


def _local_credentials() -> Any:
    """A token for an endpoint that asks for none; Google's own client insists on having one."""
    from google.oauth2.credentials import Credentials

    return Credentials(token="local")
