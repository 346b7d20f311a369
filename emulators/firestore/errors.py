"""The errors of the API, one place: canonical code and the message that production words alike."""

from __future__ import annotations

import grpc


class ApiError(Exception):
    """A request that is answered with a canonical gRPC status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid_argument(message: str) -> ApiError:
    """INVALID_ARGUMENT."""
    return ApiError(grpc.StatusCode.INVALID_ARGUMENT, message)


def failed_precondition(message: str) -> ApiError:
    """FAILED_PRECONDITION."""
    return ApiError(grpc.StatusCode.FAILED_PRECONDITION, message)


def unimplemented(what: str) -> ApiError:
    """UNIMPLEMENTED, naming the method or option that this emulator does not have."""
    return ApiError(grpc.StatusCode.UNIMPLEMENTED, f"{what} is not emulated")


def document_exists(name: str) -> ApiError:
    """ALREADY_EXISTS: the precondition ``exists: false`` met a document."""
    return ApiError(grpc.StatusCode.ALREADY_EXISTS, f"Document already exists: {name}")


def document_missing(name: str, verb: str) -> ApiError:
    """NOT_FOUND: the precondition ``exists: true`` met none."""
    return ApiError(grpc.StatusCode.NOT_FOUND, f"No document to {verb}: {name}")


def document_not_found(name: str) -> ApiError:
    """NOT_FOUND of a plain get."""
    return ApiError(grpc.StatusCode.NOT_FOUND, f'Document "{name}" not found.')


def version_mismatch(stored: int, required: int) -> ApiError:
    """FAILED_PRECONDITION: ``update_time`` is not that of the stored document (microseconds)."""
    return failed_precondition(
        f"the stored version ({stored}) does not match the required base version ({required})"
    )


def contention() -> ApiError:
    """ABORTED: another writer was faster; the client runs the transaction again."""
    return ApiError(
        grpc.StatusCode.ABORTED, "Too much contention on these documents. Please try again."
    )


def transaction_lost() -> ApiError:
    """ABORTED: the transaction began before this server did."""
    return ApiError(
        grpc.StatusCode.ABORTED,
        "The transaction was aborted by a server restart. Please try again.",
    )


def transaction_unknown() -> ApiError:
    """INVALID_ARGUMENT: the id was never given out."""
    return invalid_argument("Invalid transaction.")


def transaction_closed() -> ApiError:
    """INVALID_ARGUMENT: committed, rolled back or failed before."""
    return invalid_argument("Transaction is invalid or closed.")


def transaction_expired() -> ApiError:
    """INVALID_ARGUMENT: idle for 60 s or open for 270 s."""
    return invalid_argument("The referenced transaction has expired or is no longer valid.")


def index_required(collection: str, scope: str, fields: str) -> ApiError:
    """FAILED_PRECONDITION: production has no index for this query either."""
    return failed_precondition(
        f"The query requires an index. Declare a composite index on collection '{collection}' "
        f"(query scope {scope}) with the fields: {fields}"
    )
