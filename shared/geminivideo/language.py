"""What models of language are to the product: answers as data, and texts as directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class ModelUnavailableError(RuntimeError):
    """The model gave no usable answer; callers go on with their labelled default."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A model's answer as data, the model that gave it, and its cost where prices are known."""

    data: Any
    model_version: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_microusd: int | None = None


class LanguageModel(Protocol):
    """A model that answers with JSON of a given schema; raises ``ModelUnavailableError``."""

    def complete(
        self, prompt: str, schema: dict[str, Any], media_uris: Sequence[str]
    ) -> Completion:
        """Ask about a prompt and, if given, videos by ``gs://`` URI."""
        ...


class Embedder(Protocol):
    """A model that gives texts directions: alike in meaning, alike in direction."""

    @property
    def source(self) -> str:
        """The model and its version; only vectors of the same source may be compared."""
        ...

    def embed(self, texts: Sequence[str], *, question: bool = False) -> list[list[float]]:
        """One unit vector per text; ``question``: it looks for passages, it is none.

        Raises ``ModelUnavailableError`` when the model cannot be had.
        """
        ...
