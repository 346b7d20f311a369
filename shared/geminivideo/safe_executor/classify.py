"""Meta's error codes and what we do about each.

The table follows Meta's pages on Marketing API rate limiting and Graph API errors. A limit had no
effect; a transient error on a create may have had one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from geminivideo.policy import ExecutorPolicy

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


class Reaction(StrEnum):
    """What an error makes of the change, and of the account."""

    RETRY = "retry"  # bounded; a create becomes UNKNOWN
    DEFER = "defer"  # this change waits
    PAUSE_ACCOUNT = "pause-account"  # every change of the account waits
    PAUSE_APP = "pause-app"  # every change of every account waits
    REFUSED = "refused"  # permanent: trying again cannot help
    FORBIDDEN = "forbidden"  # permission: stop this action, tell a person
    OPEN_BREAKER = "open-breaker"  # the account stops until a person looked
    STOP_TOKEN = "stop-token"  # everything stops until a person looked


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A reaction, how long to wait (seconds) where it waits, and the reason in words."""

    reaction: Reaction
    wait_s: float = 0.0
    reason: str = ""


TRANSIENT_CODES = frozenset({1, 2, 104, 960})
TOKEN_CODES = frozenset({102, 190})
PERMISSION_CODES = frozenset({10, 200, 294})
APP_LIMIT = 4
ACCOUNT_LIMIT_CODES = frozenset({17, 32})
BUSINESS_USE_CASES = range(80000, 80015)
SPEND_CAP_CHANGES = 1885172
BUDGET_CHANGES = 1487632
MUTATIONS_PER_SECOND = 5044001
CREATIONS = 1487225


def classify(
    policy: ExecutorPolicy,
    *,
    code: int | None,
    subcode: int | None = None,
    http_status: int = 400,
    transient: bool = False,
    regain_s: float | None = None,
) -> Verdict:
    """The verdict on one error answer; ``regain_s`` is what the usage header said, if it did."""
    wait = regain_s or policy.limited_wait_s
    if code in TOKEN_CODES:
        return Verdict(reaction=Reaction.STOP_TOKEN, reason="the access token is not valid")
    if code == 368 or (code == 613 and subcode is None):
        return Verdict(reaction=Reaction.OPEN_BREAKER, reason="Meta suspects abuse; ask support")
    if code in PERMISSION_CODES:
        return Verdict(reaction=Reaction.FORBIDDEN, reason="the token lacks the permission")
    if code == 613:
        return _call_limit(policy, subcode, wait)
    if code == 17 and subcode == SPEND_CAP_CHANGES:
        return _defer(DAY_S, "the account's spend cap was changed too often today")
    if code == APP_LIMIT:
        reason = "Meta's call limit of the app is reached"
        return Verdict(reaction=Reaction.PAUSE_APP, wait_s=wait, reason=reason)
    if code in ACCOUNT_LIMIT_CODES or code in BUSINESS_USE_CASES:
        return _pause(wait, "Meta's call limit is reached")
    if code in TRANSIENT_CODES or transient or http_status >= 500 or code is None:
        return Verdict(reaction=Reaction.RETRY, reason="Meta had a transient error")
    return Verdict(reaction=Reaction.REFUSED, reason="Meta refused the request")


def _call_limit(policy: ExecutorPolicy, subcode: int | None, wait: float) -> Verdict:
    if subcode == BUDGET_CHANGES:
        return _defer(HOUR_S, "the ad set's budget was changed four times in an hour")
    if subcode == MUTATIONS_PER_SECOND:
        return _defer(policy.backoff_first_s, "too many changes in one second")
    if subcode == CREATIONS:
        return _defer(wait, "Meta's limit of ad creations is reached")
    return _pause(wait, "too many calls from this ad account")


def _defer(wait_s: float, reason: str) -> Verdict:
    return Verdict(reaction=Reaction.DEFER, wait_s=wait_s, reason=reason)


def _pause(wait_s: float, reason: str) -> Verdict:
    return Verdict(reaction=Reaction.PAUSE_ACCOUNT, wait_s=wait_s, reason=reason)


def backoff_s(policy: ExecutorPolicy, attempts: int) -> float:
    """How long attempt number ``attempts`` (from 1) is waited out."""
    return min(policy.backoff_first_s * 4 ** max(attempts - 1, 0), policy.backoff_max_s)
