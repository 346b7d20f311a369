"""Vertex AI's errors as its REST API writes them."""

from __future__ import annotations

from emulators.rest import ApiError, invalid, unimplemented

__all__ = ["ApiError", "invalid", "unimplemented", "unscripted"]


def unscripted(model: str) -> ApiError:
    """Nothing is scripted: this endpoint has no model and invents no answer."""
    return ApiError(503, "UNAVAILABLE", f"no answer is scripted for {model}; this is no model")
