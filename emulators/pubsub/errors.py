"""Every error that the Pub/Sub API reports, in one place."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from google.rpc.code_pb2 import INVALID_ARGUMENT
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from emulators.rpc import ApiError


def invalid(message: str) -> ApiError:
    """INVALID_ARGUMENT: the request breaks a documented rule."""
    return ApiError(grpc.StatusCode.INVALID_ARGUMENT, message)


def missing(name: str) -> ApiError:
    """NOT_FOUND: no such topic, subscription or snapshot."""
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


ACK_FAILURE = "Some acknowledgement ids failed in the request."


def ack_failures(ack_ids: Iterable[str]) -> Status:
    """What goes with INVALID_ARGUMENT when exactly-once delivery refuses ack ids."""
    info = ErrorInfo(
        reason="EXACTLY_ONCE_ACKID_FAILURE",
        domain="pubsub.googleapis.com",
        metadata=dict.fromkeys(ack_ids, "PERMANENT_FAILURE_INVALID_ACK_ID"),
    )
    status = Status(code=INVALID_ARGUMENT, message=ACK_FAILURE)
    status.details.add().Pack(info)
    return status
