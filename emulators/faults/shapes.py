"""Scripted errors and exceeded quotas as the services themselves word them."""

from __future__ import annotations

import math
from typing import Any

from emulators.faults.rules import MESSAGES, Rule

# google.rpc.Code of each HTTP status, as Google's REST APIs pair them.
CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
TOO_MANY = 429
DOMAINS = {
    "pubsub": "pubsub.googleapis.com",
    "firestore": "firestore.googleapis.com",
    "tasks": "cloudtasks.googleapis.com",
    "scheduler": "cloudscheduler.googleapis.com",
    "storage": "storage.googleapis.com",
    "run": "run.googleapis.com",
    "vertex": "aiplatform.googleapis.com",
    "vision": "videointelligence.googleapis.com",
}
RATE_EXCEEDED = "RATE_LIMIT_EXCEEDED"


def status_of(rule: Rule) -> int:
    """The HTTP status that a rule answers."""
    return rule.code if isinstance(rule.code, int) else TOO_MANY


def code_of(rule: Rule) -> str:
    """The canonical code that a rule answers; 4xx and 5xx without one are told apart only."""
    if isinstance(rule.code, str):
        return rule.code
    status = status_of(rule)
    return CODES.get(status, "UNKNOWN" if status >= 500 else "FAILED_PRECONDITION")


def message_of(rule: Rule) -> str:
    """What the error says: the rule's own words, or Google's."""
    if rule.message:
        return rule.message
    return _over(rule) if rule.quota else MESSAGES[code_of(rule)]


def details_of(rule: Rule) -> list[dict[str, Any]]:
    """``google.rpc.ErrorInfo`` of a quota and ``RetryInfo``, as proto3 JSON."""
    details: list[dict[str, Any]] = []
    if rule.quota:
        domain = DOMAINS.get(rule.service, "run.googleapis.com")
        limit = {"quota_limit_value": str(rule.quota.calls), "service": domain}
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": RATE_EXCEEDED,
                "domain": "googleapis.com",
                "metadata": limit,
            }
        )
    if rule.retry_after_s:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": f"{rule.retry_after_s:g}s",
            }
        )
    return details


def retry_after(rule: Rule) -> dict[str, str]:
    """The header of a rule that says when to come again, in whole seconds."""
    return {"Retry-After": str(math.ceil(rule.retry_after_s))} if rule.retry_after_s else {}


def rest_body(rule: Rule) -> dict[str, Any]:
    """The error as Google's REST APIs write it."""
    error: dict[str, Any] = {
        "code": status_of(rule),
        "message": message_of(rule),
        "status": code_of(rule),
    }
    if details := details_of(rule):
        error["details"] = details
    return {"error": error}


def _over(rule: Rule) -> str:
    assert rule.quota is not None
    limit = f"{rule.quota.calls} requests per {rule.quota.window_s:g} s"
    domain = DOMAINS.get(rule.service, rule.service)
    return f"Quota exceeded for quota metric 'Requests' and limit '{limit}' of service '{domain}'."
