"""The rules a change passes before it may touch Meta, in order, each with its reason. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from geminivideo.policy import ExecutionMode, ExecutorPolicy
from geminivideo.records import Account, ChangeStatus, PendingChange
from geminivideo.safe_executor.ledger import Breaker, Entry, Pause, RateWindow
from geminivideo.safe_executor.saga import OPEN

HOUR_S = 3600.0


class Result(StrEnum):
    """What a rule says."""

    PASSED = "passed"
    HELD = "held"
    CLAMPED = "clamped"


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """One rule's answer.

    A held change is looked at again at ``until_at``, or when a person acts if that is None;
    ``limit`` marks a matter of pace (the change is deferred, nothing is wrong).
    """

    rule: str
    result: Result
    reason: str
    until_at: float | None = None
    limit: bool = False

    @property
    def passed(self) -> bool:
        """Whether the change may go on."""
        return self.result is not Result.HELD


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Everything the rules look at, read in the claim transaction."""

    change: PendingChange
    now: float
    policy: ExecutorPolicy
    account: Account | None
    kill_switch: Breaker | None = None
    token_breaker: Breaker | None = None
    account_breaker: Breaker | None = None
    pause: Pause | None = None
    app_pause: Pause | None = None
    window: RateWindow = field(default_factory=RateWindow)


def check(situation: Situation) -> tuple[RuleResult, ...]:
    """Every rule in order, up to and including the first that holds."""
    results: list[RuleResult] = []
    for rule in RULES:
        results.append(rule(situation))
        if not results[-1].passed:
            break
    return tuple(results)


def blocking(results: Iterable[RuleResult]) -> RuleResult | None:
    """The rule that holds the change, if one does."""
    return next((result for result in results if not result.passed), None)


def kill_switch(situation: Situation) -> RuleResult:
    """Nothing leaves while the kill switch is on."""
    return _stopped("kill_switch", situation, situation.kill_switch)


def token_health(situation: Situation) -> RuleResult:
    """Nothing leaves while the access token is known to be bad."""
    return _stopped("token_health", situation, situation.token_breaker)


def account_health(situation: Situation) -> RuleResult:
    """Nothing leaves for an account whose breaker is open, or that is not known."""
    if situation.account is None:
        reason = f"accounts/{situation.change.account_id} does not exist"
        return _held("account_health", reason, situation.now + situation.policy.recheck_s)
    return _stopped("account_health", situation, situation.account_breaker)


def approval(situation: Situation) -> RuleResult:
    """``observe`` lets nothing out; ``approve`` what a person confirmed; ``auto`` the rest too.

    A change that was let out, and whose outcome got lost, goes on whatever the mode became: nobody
    could approve it, and others wait for what became of it.
    """
    change, mode = situation.change, situation.policy.mode
    begun = change.status is ChangeStatus.UNKNOWN or _has_open_step(change)
    if mode is ExecutionMode.OBSERVE:
        again = situation.now + HOUR_S if begun or change.approved_by else None
        return _held("approval", "the account only observes: nothing leaves", again)
    if change.approved_by:
        return _passed("approval", f"approved by {change.approved_by}")
    if begun:
        return _passed("approval", "it was let out before: what became of it is to be settled")
    if mode is ExecutionMode.AUTO and not change.needs_approval:
        return _passed("approval", "the account's mode is auto")
    return _held("approval", "waits for a person to approve it", None)


def _has_open_step(change: PendingChange) -> bool:
    return any(step.get("state") in OPEN for step in change.steps.values())


def pace(situation: Situation) -> RuleResult:
    """Meta's own limit, as it told us: no call before the pause is over."""
    asked = [pause for pause in (situation.pause, situation.app_pause) if pause]
    pause = max(asked, key=lambda pause: pause.until_at, default=None)
    if pause is None or pause.until_at <= situation.now:
        return _passed("pace", "Meta asked for no pause")
    return _limited("pace", pause.reason, pause.until_at + situation.change.jitter_s)


def jitter(situation: Situation) -> RuleResult:
    """The earliest slot plus the drawn jitter has come."""
    if situation.change.not_before_at > situation.now:
        return _limited("jitter", "its time has not come", situation.change.not_before_at)
    return _passed("jitter", f"{situation.change.jitter_s:.2f} s were drawn and waited out")


def campaign_rate(situation: Situation) -> RuleResult:
    """At most so many changes per campaign and hour; a change counts once an hour."""
    allowed = situation.policy.changes_per_campaign_hour
    others = [e for e in recent(situation) if e.change_id != situation.change.id]
    reason = f"{len(others)} of {allowed} changes of the campaign in the last hour"
    if len(others) < allowed:
        return _passed("campaign_rate", reason)
    free_at = sorted(entry.at for entry in others)[-allowed] + HOUR_S
    return _limited("campaign_rate", reason, free_at + situation.change.jitter_s)


RULES = (kill_switch, token_health, account_health, approval, pace, jitter, campaign_rate)


def recent(situation: Situation) -> tuple[Entry, ...]:
    """The window's entries of the last hour."""
    horizon = situation.now - HOUR_S
    return tuple(entry for entry in situation.window.entries if entry.at > horizon)


def counted(situation: Situation) -> RateWindow:
    """The window with this change in it (kept where it is when it counts already)."""
    entries = recent(situation)
    if any(entry.change_id == situation.change.id for entry in entries):
        return RateWindow(entries=entries)
    entry = Entry(change_id=situation.change.id, at=situation.now)
    return RateWindow(entries=(*entries, entry))


def _stopped(rule: str, situation: Situation, breaker: Breaker | None) -> RuleResult:
    if breaker is None:
        return _passed(rule, "closed")
    return _held(rule, breaker.reason, situation.now + situation.policy.recheck_s)


def _passed(rule: str, reason: str) -> RuleResult:
    return RuleResult(rule=rule, result=Result.PASSED, reason=reason)


def _held(rule: str, reason: str, until_at: float | None) -> RuleResult:
    return RuleResult(rule=rule, result=Result.HELD, reason=reason, until_at=until_at)


def _limited(rule: str, reason: str, until_at: float) -> RuleResult:
    return RuleResult(rule=rule, result=Result.HELD, reason=reason, until_at=until_at, limit=True)
