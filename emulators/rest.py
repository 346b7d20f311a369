"""An error as Google's REST APIs write it, for the emulators that speak JSON over HTTP."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """One error answer: HTTP status, the canonical code's name, a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return {"error": {"code": self.status, "message": self.message, "status": self.code}}


def invalid(message: str) -> ApiError:
    """A request that the real API would refuse."""
    return ApiError(400, "INVALID_ARGUMENT", message)


def unimplemented(method: str) -> ApiError:
    """A method of the real API that the emulator does not have."""
    return ApiError(501, "UNIMPLEMENTED", f"{method} is not emulated")
