"""Every error that the Cloud Tasks API reports, in one place."""

from __future__ import annotations

import grpc

from emulators.rpc import ApiError


def invalid(message: str) -> ApiError:
    """INVALID_ARGUMENT: the request breaks a documented rule."""
    return ApiError(grpc.StatusCode.INVALID_ARGUMENT, message)


def queue_missing(name: str) -> ApiError:
    """NOT_FOUND: no such queue."""
    return ApiError(grpc.StatusCode.NOT_FOUND, f"Queue does not exist: {name}")


def task_missing(name: str) -> ApiError:
    """NOT_FOUND: the task is not there, or no longer."""
    return ApiError(grpc.StatusCode.NOT_FOUND, f"The task does not exist: {name}")


def queue_exists(name: str) -> ApiError:
    """ALREADY_EXISTS: the queue's name is taken."""
    return ApiError(grpc.StatusCode.ALREADY_EXISTS, f"Queue already exists: {name}")


def task_exists(name: str) -> ApiError:
    """ALREADY_EXISTS: a task of that name waits."""
    return ApiError(grpc.StatusCode.ALREADY_EXISTS, f"The task already exists: {name}")


def task_existed(name: str) -> ApiError:
    """ALREADY_EXISTS: a task of that name ran or was deleted too recently."""
    return ApiError(
        grpc.StatusCode.ALREADY_EXISTS,
        f"The task cannot be created because a task with this name existed too recently: {name}",
    )


def not_emulated(what: str) -> ApiError:
    """UNIMPLEMENTED: Google does this, this emulator does not."""
    return ApiError(grpc.StatusCode.UNIMPLEMENTED, f"{what} is not emulated")
