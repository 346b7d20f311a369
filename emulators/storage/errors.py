"""Every error that Cloud Storage answers here, in its JSON and XML shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from xml.sax.saxutils import escape


class ApiError(Exception):
    """An answer that is not a success: HTTP status, Google's reason, message, and XML code."""

    def __init__(
        self, status: int, reason: str, message: str, *, location: str = "", code: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.location = location
        self.code = code or reason[:1].upper() + reason[1:]
        self.domain = "global"
        self.headers: dict[str, str] = {}
        self.details: dict[str, str] = {}

    def json(self) -> bytes:
        """The body of the JSON API's error answer."""
        item = {"message": self.message, "domain": self.domain, "reason": self.reason}
        if self.location:
            item |= {"locationType": "header", "location": self.location}
        error = {"code": self.status, "message": self.message, "errors": [item]}
        return json.dumps({"error": error}).encode()

    def xml(self) -> bytes:
        """The body of the XML API's error answer."""
        told = {"Details": self.message} | self.details
        details = "".join(f"<{k}>{escape(v)}</{k}>" for k, v in told.items() if v)
        return (
            "<?xml version='1.0' encoding='UTF-8'?>"
            f"<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message>"
            f"{details}</Error>"
        ).encode()


def invalid(message: str, code: str = "InvalidArgument") -> ApiError:
    """400: the request cannot be meant."""
    return ApiError(400, "invalid", message, code=code)


def required(parameter: str) -> ApiError:
    """400: a parameter is missing."""
    return ApiError(400, "required", f"Required parameter: {parameter}")


def no_bucket() -> ApiError:
    """404: no such bucket."""
    return ApiError(404, "notFound", "The specified bucket does not exist.", code="NoSuchBucket")


def no_object(bucket: str, name: str) -> ApiError:
    """404: no such object, or not this generation of it."""
    return ApiError(404, "notFound", f"No such object: {bucket}/{name}", code="NoSuchKey")


def no_upload() -> ApiError:
    """404: no such resumable session."""
    return ApiError(404, "notFound", "The upload session does not exist.", code="NoSuchUpload")


def upload_expired() -> ApiError:
    """410: the resumable session is older than a week."""
    return ApiError(410, "gone", "The upload session has expired; start a new one.")


def upload_cancelled() -> ApiError:
    """499: the resumable session was cancelled by its client."""
    return ApiError(499, "clientClosedRequest", "The upload was cancelled by the client.")


def upload_gap(offset: int, persisted: int) -> ApiError:
    """503: a chunk begins after the end of what is stored."""
    return ApiError(
        503,
        "backendError",
        f"Invalid request.  According to the Content-Range header, the upload offset is {offset} "
        f"byte(s), which exceeds already uploaded size of {persisted} byte(s).",
        code="ServiceUnavailable",
    )


def no_notification(bucket: str, notification: str) -> ApiError:
    """404: no such notification configuration."""
    return ApiError(404, "notFound", f"Notification {notification} not found for bucket {bucket}")


def bucket_exists() -> ApiError:
    """409: the bucket name is taken."""
    return ApiError(
        409,
        "conflict",
        "Your previous request to create the named bucket succeeded and you already own it.",
        code="BucketAlreadyOwnedByYou",
    )


def bucket_not_empty() -> ApiError:
    """409: only an empty bucket can be deleted."""
    return ApiError(
        409, "conflict", "The bucket you tried to delete is not empty.", code="BucketNotEmpty"
    )


def condition_not_met() -> ApiError:
    """412: a precondition did not hold."""
    return ApiError(
        412,
        "conditionNotMet",
        "At least one of the pre-conditions you specified did not hold.",
        location="If-Match",
        code="PreconditionFailed",
    )


def not_modified() -> ApiError:
    """304: a NotMatch precondition of a read did not hold."""
    return ApiError(304, "notModified", "Not Modified")


def range_not_satisfiable(size: int) -> ApiError:
    """416: the range begins after the end of the object."""
    error = ApiError(
        416,
        "requestedRangeNotSatisfiable",
        "The requested range cannot be satisfied.",
        code="InvalidRange",
    )
    error.headers["Content-Range"] = f"bytes */{size}"
    return error


def url_expired() -> ApiError:
    """400: a signed URL is past its expiry."""
    return ApiError(400, "expired", "The provided token has expired.", code="ExpiredToken")


def signature_mismatch(message: str, to_sign: str, canonical: str) -> ApiError:
    """403: a signed URL's signature is not the one that its account's key makes of the request."""
    error = ApiError(403, "forbidden", message, code="SignatureDoesNotMatch")
    error.details = {"StringToSign": to_sign, "CanonicalRequest": canonical}
    return error


def not_emulated(method: str) -> ApiError:
    """501: the method or feature is not emulated; the message names it."""
    return ApiError(
        501,
        "notImplemented",
        f"{method} is not emulated: see docs/emulators/storage.md",
        code="NotImplemented",
    )


_SCRIPTED = {
    401: ("authError", "Unauthorized"),
    403: ("forbidden", "AccessDenied"),
    404: ("notFound", "NoSuchKey"),
    408: ("uploadBrokenConnection", "RequestTimeout"),
    409: ("conflict", "OperationAborted"),
    412: ("conditionNotMet", "PreconditionFailed"),
    429: ("rateLimitExceeded", "SlowDown"),
    500: ("internalError", "InternalError"),
    502: ("backendError", "BadGateway"),
    503: ("backendError", "ServiceUnavailable"),
    504: ("gatewayTimeout", "GatewayTimeout"),
}


def scripted(status: int, message: str, headers: Mapping[str, str]) -> ApiError:
    """Any documented status, for a fault; 429 is of the domain ``usageLimits``."""
    reason, code = _SCRIPTED.get(status, ("invalid", "InvalidArgument"))
    error = ApiError(status, reason, message, code=code)
    error.domain = "usageLimits" if status == 429 else "global"
    error.headers |= headers
    return error
