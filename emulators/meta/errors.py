"""The Graph API's errors, one constructor per case.

Codes and subcodes are those of Meta's public tables. Where a subcode is not known for certain it
is left out instead of guessed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

API_VERSION = "v26.0"


class GraphApiError(Exception):
    """An error answer: HTTP status and the members of the ``error`` object."""

    def __init__(
        self,
        message: str,
        code: int,
        *,
        status: int = 400,
        subcode: int | None = None,
        kind: str = "OAuthException",
        transient: bool = False,
        blame: Iterable[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.subcode = subcode
        self.kind = kind
        self.transient = transient
        self.blame = tuple(blame)

    def body(self, seed: str) -> dict[str, Any]:
        """The JSON body; ``seed`` makes the ``fbtrace_id`` of this very answer."""
        error: dict[str, Any] = {
            "message": f"(#{self.code}) {self.message}",
            "type": self.kind,
            "code": self.code,
            "is_transient": self.transient,
            "fbtrace_id": "A" + hashlib.sha256(seed.encode()).hexdigest()[:22],
        }
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        if self.blame:
            error["error_data"] = json.dumps({"blame_field_specs": [[n] for n in self.blame]})
        return {"error": error}


def missing(name: str) -> GraphApiError:
    """A required parameter is absent."""
    return GraphApiError(f"The parameter {name} is required", 100, blame=[name])


def invalid(name: str, why: str) -> GraphApiError:
    """A parameter has a value Meta does not take."""
    return GraphApiError(f"Invalid parameter: {name} {why}", 100, blame=[name])


def no_object(object_id: str, method: str) -> GraphApiError:
    """The object does not exist, or the token may not see it."""
    return GraphApiError(
        f"Unsupported {method.lower()} request. Object with ID '{object_id}' does not exist, "
        "cannot be loaded due to missing permissions, or does not support this operation",
        100,
        subcode=33,
        kind="GraphMethodException",
    )


def no_field(name: str, node: str) -> GraphApiError:
    """A field that this node type does not have."""
    return GraphApiError(f"Tried accessing nonexisting field ({name}) on node type ({node})", 100)


def bad_token() -> GraphApiError:
    """The access token is not one of ours."""
    return GraphApiError("Invalid OAuth access token - Cannot parse access token", 190)


def may_not_write() -> GraphApiError:
    """The token may read only."""
    return GraphApiError("Requires ads_management permission to manage the object", 200, status=403)


def report_not_completed() -> GraphApiError:
    """The rows of a report run were asked for too early, or of one that failed."""
    return GraphApiError("Error accessing adreport job.", 2601, subcode=1815107, transient=True)


def too_long_ago() -> GraphApiError:
    """Insights are kept for 37 months."""
    return GraphApiError(
        "The start date of the time range cannot be beyond 37 months from the current date", 3018
    )


def no_insights_field(name: str) -> GraphApiError:
    """A field that insights do not have."""
    return GraphApiError(f"{name} is not valid for fields param", 100, blame=["fields"])


def insights_limited() -> GraphApiError:
    """The hour's ads_insights calls of the ad account are used up."""
    return GraphApiError(
        "There have been too many calls from this ad-account. Wait a bit and try again.",
        80000,
        subcode=2446079,
    )


def unsupported_version(version: str) -> GraphApiError:
    """Only the version of the installed client is spoken."""
    return GraphApiError(f"API version {version} is not spoken here; use {API_VERSION}", 2635)


def account_limited() -> GraphApiError:
    """The ad account's score is used up."""
    return GraphApiError("User request limit reached", 17, subcode=2446079, transient=True)


def use_case_limited() -> GraphApiError:
    """The hour's ads_management calls of the ad account are used up."""
    return GraphApiError(
        "There have been too many calls to this ad-account. Wait a bit and try again.",
        80004,
        subcode=2446079,
    )


def budget_changed_too_often() -> GraphApiError:
    """An ad set's budget was changed more than four times in an hour."""
    return GraphApiError(
        "The ad set budget was changed too many times in the last hour", 613, subcode=1487632
    )


def missing_thumbnail() -> GraphApiError:
    """Video creatives need an image."""
    return GraphApiError(
        "Your ad needs a video thumbnail: set image_hash or image_url",
        100,
        subcode=1443226,
        blame=["object_story_spec"],
    )


def unsupported_video() -> GraphApiError:
    """The uploaded bytes are no video that Meta reads."""
    return GraphApiError(
        "Sorry, the video file you selected is in a format that we don't support.", 352
    )


def not_emulated(what: str) -> GraphApiError:
    """A real method of the Graph API that this double does not speak."""
    return GraphApiError(f"not emulated by the Meta double: {what}", 3, status=501)
