"""How far a budget may move now: fuzz, Meta's minimum, velocity, hourly rate, account cap. Pure.

Budgets are integer minor units of the account's currency. For every moment s of the window before
now, the new budget stays within ``max_budget_change`` of the budget that was live at s: so no two
moments of any window differ by more, however many changes lie between them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from geminivideo.policy import ExecutorPolicy
from geminivideo.safe_executor.ledger import AccountTotal, BudgetEntry, BudgetWindow
from geminivideo.safe_executor.rules import HOUR_S, Result, RuleResult


@dataclass(frozen=True, kw_only=True)
class BudgetSituation:
    """Everything that decides about one budget change; ``live`` was just read at Meta.

    ``total`` is the sum of the account's live daily budgets, None when nobody has counted it;
    ``decided_on`` is the budget that was live when the change was decided, None for a plain wish.
    """

    change_id: str
    requested: int
    rising: bool
    live: int
    minimum: int
    now: float
    jitter_s: float
    policy: ExecutorPolicy
    window: BudgetWindow
    total: AccountTotal | None = None
    decided_on: int | None = None


@dataclass(frozen=True, kw_only=True)
class FixedBudget:
    """What is sent (``value``), or why nothing is: it waits until a time, is overtaken, or would
    wait for ever (``impossible``)."""

    results: tuple[RuleResult, ...]
    value: int | None = None
    until_at: float | None = None
    overtaken: bool = False
    impossible: bool = False

    @property
    def reason(self) -> str:
        """The last rule's words: it decided."""
        return f"{self.results[-1].rule}: {self.results[-1].reason}"


def fuzzed(change_id: str, requested: int, policy: ExecutorPolicy) -> int:
    """The request moved by U(-fuzz, +fuzz), drawn once per change (seeded by its id)."""
    draw = random.Random(f"fuzz:{change_id}").uniform(-policy.fuzz, policy.fuzz)
    return round(requested * (1 + draw))


def bounds(window: BudgetWindow, live: int, now: float, policy: ExecutorPolicy) -> tuple[int, int]:
    """The least and the greatest budget that velocity allows now."""
    seen = list(_budgets_seen(window, live, now - policy.budget_window_hours * HOUR_S))
    low = max(math.ceil((1 - policy.max_budget_change) * budget - 1e-9) for budget in seen)
    high = min(math.floor((1 + policy.max_budget_change) * budget + 1e-9) for budget in seen)
    return low, high


def _budgets_seen(window: BudgetWindow, live: int, since: float) -> Iterator[int]:
    """Every budget that was live at some moment since; a foreign change begins a new history."""
    recent = [entry for entry in window.entries if entry.open or entry.at > since]
    foreign = [index for index, entry in enumerate(recent) if entry.foreign]
    for entry in recent[foreign[-1] + 1 if foreign else 0 :]:
        yield entry.before
        yield entry.after
    yield live


def with_drift(window: BudgetWindow, live: int, now: float) -> BudgetWindow:
    """The window with a foreign entry when Meta shows another budget than our last one."""
    if not window.entries or window.entries[-1].after == live:
        return window
    entry = BudgetEntry(
        change_id="", at=now, before=window.entries[-1].after, after=live, foreign=True
    )
    return BudgetWindow(entries=(*window.entries, entry))


def trimmed(window: BudgetWindow, now: float, policy: ExecutorPolicy) -> BudgetWindow:
    """The window without what no limit looks at any more."""
    since = now - max(policy.budget_window_hours, 1.0) * HOUR_S
    return BudgetWindow(entries=tuple(e for e in window.entries if e.open or e.at > since))


def fix_budget(situation: BudgetSituation) -> FixedBudget:
    """The budget to send: fuzzed, then clamped to velocity and minimum, rounded inside the bounds.

    ``results`` are the rules that were asked, in order; the first that holds is the last.
    """
    results: list[RuleResult] = []
    overtaken = _overtaken(situation)
    if overtaken is not None:
        return FixedBudget(results=(overtaken,), overtaken=True)
    rate = adset_rate(situation)
    results.append(rate)
    if not rate.passed:
        return FixedBudget(results=tuple(results), until_at=rate.until_at)
    value, *clamps = _clamped(situation)
    results.extend(clamps)
    if value is None:
        alone = _within(replace(situation, window=BudgetWindow()))
        until = results[-1].until_at if alone else None
        return FixedBudget(results=tuple(results), until_at=until, impossible=alone is None)
    cap = account_cap(situation, value)
    return FixedBudget(
        results=(*results, cap), value=value if cap.passed else None, until_at=cap.until_at
    )


def _overtaken(situation: BudgetSituation) -> RuleResult | None:
    """A rise below what is live already (or a cut above it) would undo what somebody else did.

    So would one that was decided before somebody else moved the budget the other way.
    """
    word, sign = ("rise", 1) if situation.rising else ("cut", -1)
    live, decided_on = situation.live, situation.decided_on
    if (situation.requested - live) * sign <= 0:
        reason = f"a {word} to {situation.requested} was asked for, but {live} is live"
    elif decided_on is not None and (decided_on - live) * sign > 0 and not _is_ours(situation):
        reason = f"the {word} was decided on {decided_on}, and somebody else has set {live} since"
    else:
        return None
    return RuleResult(rule="drift", result=Result.HELD, reason=reason)


def _is_ours(situation: BudgetSituation) -> bool:
    """Whether the live budget is what our own last change left."""
    last = situation.window.entries[-1] if situation.window.entries else None
    return last is not None and not last.foreign and last.after == situation.live


def adset_rate(situation: BudgetSituation) -> RuleResult:
    """At most so many budget changes per ad set and hour (Meta's own limit, 613/1487632)."""
    allowed = situation.policy.budget_changes_per_adset_hour
    others = _of_others(situation, situation.now - HOUR_S)
    reason = f"{len(others)} of {allowed} budget changes of the ad set in the last hour"
    if len(others) < allowed:
        return RuleResult(rule="adset_rate", result=Result.PASSED, reason=reason)
    free_at = sorted(entry.at for entry in others)[-allowed] + HOUR_S
    return _later("adset_rate", reason, free_at + situation.jitter_s)


def _of_others(situation: BudgetSituation, since: float) -> list[BudgetEntry]:
    return [
        entry
        for entry in situation.window.entries
        if (entry.open or entry.at > since) and entry.change_id != situation.change_id
    ]


def _within(situation: BudgetSituation) -> int | None:
    """The budget nearest to the fuzzed wish that velocity and minimum allow, if that is a move.

    A move that is smaller than the fuzz may drown in it: then the wish itself is what counts.
    """
    low, high = _allowed(situation)
    wish = fuzzed(situation.change_id, situation.requested, situation.policy)
    near = (min(max(each, low), high) for each in (wish, situation.requested))
    moves = (each for each in near if (each - situation.live) * (1 if situation.rising else -1) > 0)
    return next(moves, None) if low <= high else None


def _allowed(situation: BudgetSituation) -> tuple[int, int]:
    low, high = bounds(situation.window, situation.live, situation.now, situation.policy)
    return max(low, situation.minimum), high


def _clamped(situation: BudgetSituation) -> tuple[int | None, RuleResult]:
    low, high = _allowed(situation)
    if low > high:
        return None, _no_room(situation, f"Meta's minimum {situation.minimum} is above {high}")
    value = _within(situation)
    if value is None:
        return None, _no_room(situation, f"between {low} and {high} no move from {situation.live}")
    wish = fuzzed(situation.change_id, situation.requested, situation.policy)
    shown = f"{situation.live} -> {value}, asked {situation.requested}, fuzzed {wish}"
    result = Result.PASSED if value == wish else Result.CLAMPED
    reason = f"{shown}; {low} to {high} is allowed now"
    return value, RuleResult(rule="velocity", result=result, reason=reason)


def _no_room(situation: BudgetSituation, reason: str) -> RuleResult:
    """The change waits until the oldest change leaves the window."""
    window_s = situation.policy.budget_window_hours * HOUR_S
    others = _of_others(situation, situation.now - window_s)
    oldest = min((entry.at for entry in others), default=situation.now)
    return _later("velocity", reason, oldest + window_s + situation.jitter_s)


def account_cap(situation: BudgetSituation, value: int) -> RuleResult:
    """The account's live daily budgets stay within its cap, where one is set."""
    capped = situation.policy.account_daily_cap is not None
    if capped and value <= situation.live:
        return RuleResult(rule="account_cap", result=Result.PASSED, reason="it is a cut")
    taken = situation.total.taken(situation.change_id) if situation.total else None
    return under_cap(situation.policy, taken, value - situation.live, situation.now)


def under_cap(policy: ExecutorPolicy, taken: int | None, gain: int, now: float) -> RuleResult:
    """``gain`` more a day (minor units) fits under the account's cap, of which so much is taken."""
    cap = policy.account_daily_cap
    if cap is None:
        return RuleResult(rule="account_cap", result=Result.PASSED, reason="no cap is set")
    recheck = now + policy.recheck_s
    if taken is None:
        return _later("account_cap", "the account's total is not known yet", recheck)
    reason = f"{taken + gain} of {cap} minor units a day"
    if taken + gain <= cap:
        return RuleResult(rule="account_cap", result=Result.PASSED, reason=reason)
    return _later("account_cap", reason, recheck)


def _later(rule: str, reason: str, until_at: float) -> RuleResult:
    return RuleResult(rule=rule, result=Result.HELD, reason=reason, until_at=until_at, limit=True)
