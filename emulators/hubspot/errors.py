"""HubSpot's error answers, in one place: status, body, headers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ApiError(Exception):
    """An error as the CRM API writes it."""

    status: int
    message: str
    category: str
    more: Mapping[str, Any] = field(default_factory=dict)

    def body(self, seed: str) -> dict[str, Any]:
        """The JSON body; the correlation id is made from ``seed``."""
        digest = hashlib.sha256(seed.encode()).hexdigest()
        parts = (digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32])
        return {
            "status": "error",
            "message": self.message,
            "correlationId": "-".join(parts),
            "category": self.category,
            **self.more,
        }


def unauthorized() -> ApiError:
    """No bearer token, or one that is not known."""
    return ApiError(
        401,
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and "
        "you can find more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
        "INVALID_AUTHENTICATION",
    )


def not_found() -> ApiError:
    """No such deal, or one that is in the recycling bin."""
    return ApiError(404, "resource not found", "OBJECT_NOT_FOUND")


def missing(deal_ids: list[str]) -> dict[str, Any]:
    """What a batch says of the deals that are not in its answer."""
    return {
        "status": "error",
        "category": "OBJECT_NOT_FOUND",
        "message": "Could not get some DEAL objects, they may be deleted or not exist.",
        "context": {"ids": deal_ids},
    }


def invalid(message: str) -> ApiError:
    """The request cannot be understood."""
    return ApiError(400, message, "VALIDATION_ERROR")


def rate_limited(policy: str) -> ApiError:
    """Too many calls; ``policy`` is ``TEN_SECONDLY_ROLLING`` or ``SECONDLY``."""
    return ApiError(
        429,
        f"You have reached your {policy.lower()} limit.",
        "RATE_LIMITS",
        {"errorType": "RATE_LIMIT", "policyName": policy},
    )


def unimplemented(what: str) -> ApiError:
    """Something that this double does not do; docs/emulators/hubspot.md."""
    return ApiError(501, f"the HubSpot double does not do {what}", "NOT_IMPLEMENTED")
