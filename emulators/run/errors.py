"""Every error that the Cloud Run Admin API answers here, in Google's REST shape."""

from __future__ import annotations

import json

_HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "UNIMPLEMENTED": 501,
}


class ApiError(Exception):
    """An answer that is not a success: canonical code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status of the canonical code."""
        return _HTTP[self.code]

    def json(self) -> bytes:
        """``{error: {code, message, status}}``."""
        error = {"code": self.status, "message": self.message, "status": self.code}
        return json.dumps({"error": error}).encode()


def invalid(message: str) -> ApiError:
    """400: the request cannot be meant."""
    return ApiError("INVALID_ARGUMENT", message)


def not_found(kind: str, name: str) -> ApiError:
    """404: no such resource."""
    return ApiError("NOT_FOUND", f"Resource '{name}' of kind '{kind}' does not exist.")


def exists(name: str) -> ApiError:
    """409: the name is taken."""
    return ApiError("ALREADY_EXISTS", f"Resource '{name}' already exists.")


def etag_mismatch(name: str) -> ApiError:
    """409: somebody changed the resource since it was read."""
    return ApiError("ABORTED", f"The etag of '{name}' is not the current one; read it again.")


def already_done(name: str) -> ApiError:
    """400: the execution has ended."""
    return ApiError("FAILED_PRECONDITION", f"Execution '{name}' is already completed.")


def not_emulated(feature: str) -> ApiError:
    """501: the method or feature is not emulated; the message names it."""
    return ApiError("UNIMPLEMENTED", f"{feature} is not emulated: see docs/emulators/run.md")
