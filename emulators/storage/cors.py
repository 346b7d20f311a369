"""Cross-origin answers: by the bucket's rules on the XML API, always on the JSON API.

https://cloud.google.com/storage/docs/cross-origin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emulators.storage import errors

_DEFAULT_MAX_AGE_S = 3600
_JSON_METHODS = "GET,HEAD,POST,PUT,PATCH,DELETE"
_JSON_EXPOSED = "Content-Range,ETag,Location,Range,X-GUploader-UploadID,X-Goog-Hash"
_METHODS = frozenset({"*", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


def check(rules: Any) -> None:
    """Raise 400 for a ``cors`` member of a bucket that cannot be meant."""
    for rule in rules or ():
        if not isinstance(rule, dict) or not rule.get("origin") or not rule.get("method"):
            raise errors.invalid("A CORS rule needs an origin and a method.")
        unknown = set(map(str.upper, rule["method"])) - _METHODS
        if unknown:
            raise errors.invalid(f"Invalid CORS method: {sorted(unknown)[0]}")


def answer_headers(
    rules: Sequence[Mapping[str, Any]] | None, method: str, asked: Mapping[str, str]
) -> dict[str, str]:
    """The headers of the answer to a request with an Origin; none where no rule allows it.

    ``rules`` are the bucket's, in their order, the first that fits counts; None is the JSON API.
    A preflight (OPTIONS) is about the method that it announces.
    """
    origin = asked.get("Origin")
    if not origin:
        return {}
    preflight = method == "OPTIONS"
    wanted = asked.get("Access-Control-Request-Method", "") if preflight else method
    if rules is None:
        return _json_headers(origin, asked, preflight=preflight)
    rule = _first(rules, origin, wanted)
    return _rule_headers(rule, origin, asked, preflight=preflight) if rule else {}


def _first(
    rules: Sequence[Mapping[str, Any]], origin: str, method: str
) -> Mapping[str, Any] | None:
    for rule in rules:
        origins, methods = rule["origin"], [each.upper() for each in rule["method"]]
        if ("*" in origins or origin in origins) and ("*" in methods or method in methods):
            return rule
    return None


def _rule_headers(
    rule: Mapping[str, Any], origin: str, asked: Mapping[str, str], *, preflight: bool
) -> dict[str, str]:
    allowed = "*" if "*" in rule["origin"] else origin
    headers = {"Access-Control-Allow-Origin": allowed, "Vary": "Origin"}
    shared = rule.get("responseHeader") or []
    if not preflight:
        return headers | ({"Access-Control-Expose-Headers": ", ".join(shared)} if shared else {})
    requested = asked.get("Access-Control-Request-Headers", "")
    granted = [h for h in map(str.strip, requested.split(",")) if h and _granted(h, shared)]
    return headers | {
        "Access-Control-Allow-Methods": ",".join(rule["method"]),
        "Access-Control-Allow-Headers": ",".join(granted),
        "Access-Control-Max-Age": str(rule.get("maxAgeSeconds", _DEFAULT_MAX_AGE_S)),
    }


def _granted(header: str, shared: Sequence[str]) -> bool:
    """Whether a rule's ``responseHeader`` names the header, or a prefix of it with a ``*``."""
    name = header.lower()
    return any(
        name.startswith(each[:-1].lower()) if each.endswith("*") else name == each.lower()
        for each in shared
    )


def _json_headers(origin: str, asked: Mapping[str, str], *, preflight: bool) -> dict[str, str]:
    headers = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
    if not preflight:
        return headers | {"Access-Control-Expose-Headers": _JSON_EXPOSED}
    return headers | {
        "Access-Control-Allow-Methods": _JSON_METHODS,
        "Access-Control-Allow-Headers": asked.get("Access-Control-Request-Headers", ""),
        "Access-Control-Max-Age": str(_DEFAULT_MAX_AGE_S),
    }
