"""Every error that the Cloud Scheduler API reports, in one place."""

from __future__ import annotations

import grpc

from emulators.rpc import ApiError


def invalid(message: str) -> ApiError:
    """INVALID_ARGUMENT: the request breaks a documented rule."""
    return ApiError(grpc.StatusCode.INVALID_ARGUMENT, message)


def missing(name: str) -> ApiError:
    """NOT_FOUND: no such job."""
    return ApiError(grpc.StatusCode.NOT_FOUND, f"Job not found: {name}")


def exists(name: str) -> ApiError:
    """ALREADY_EXISTS: the name is taken."""
    return ApiError(grpc.StatusCode.ALREADY_EXISTS, f"Job already exists: {name}")


def precondition(message: str) -> ApiError:
    """FAILED_PRECONDITION: right in itself, wrong for the state of the job."""
    return ApiError(grpc.StatusCode.FAILED_PRECONDITION, message)


def not_emulated(what: str) -> ApiError:
    """UNIMPLEMENTED: Google does this, this emulator does not."""
    return ApiError(grpc.StatusCode.UNIMPLEMENTED, f"{what} is not emulated")
