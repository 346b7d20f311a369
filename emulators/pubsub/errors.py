"""Every error that the Pub/Sub API reports, in one place."""

from __future__ import annotations

import grpc

from emulators.rpc import ApiError


def invalid(message: str) -> ApiError:
    """INVALID_ARGUMENT: the request breaks a documented rule."""
    return ApiError(grpc.StatusCode.INVALID_ARGUMENT, message)


def missing(name: str) -> ApiError:
    """NOT_FOUND: no such topic or subscription."""
    return ApiError(
        grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name.rpartition('/')[2]})."
    )


def exists(name: str) -> ApiError:
    """ALREADY_EXISTS: the name is taken."""
    return ApiError(
        grpc.StatusCode.ALREADY_EXISTS,
        f"Resource already exists in the project (resource={name.rpartition('/')[2]}).",
    )


def precondition(message: str) -> ApiError:
    """FAILED_PRECONDITION: right in itself, wrong for the state of the resource."""
    return ApiError(grpc.StatusCode.FAILED_PRECONDITION, message)


def not_emulated(what: str) -> ApiError:
    """UNIMPLEMENTED: Google does this, this emulator does not."""
    return ApiError(grpc.StatusCode.UNIMPLEMENTED, f"{what} is not emulated")


def stopping() -> ApiError:
    """UNAVAILABLE: the server is going away; clients reconnect."""
    return ApiError(grpc.StatusCode.UNAVAILABLE, "the emulator is stopping")
