"""Video Intelligence's errors as its REST API writes them."""

from __future__ import annotations

from emulators.rest import ApiError, invalid, unimplemented

__all__ = ["ApiError", "invalid", "missing", "unimplemented"]


def missing(name: str) -> ApiError:
    """An operation that was never started here."""
    return ApiError(404, "NOT_FOUND", f"operation {name} does not exist")
