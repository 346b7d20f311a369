"""The decision gate: ordered rules between a recommendation and the SafeExecutor. Pure, no numpy.

Every rule answers, also after one has held, so that the reader sees everything that stood in the
way. A rule that clamps hands its smaller budget to the rules after it. A rule that errors holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from geminivideo.budget.decision import Move, Recommendation
from geminivideo.budget.signals import HOUR_S, AdSignals
from geminivideo.money import shown
from geminivideo.policy import ExecutionMode, Policy


class RuleOutcome(StrEnum):
    """What a rule says."""

    PASSED = "passed"
    CLAMPED = "clamped"
    HELD = "held"


class Outcome(StrEnum):
    """What becomes of a recommendation."""

    APPROVED = "APPROVED"
    APPROVED_CLAMPED = "APPROVED_CLAMPED"
    HELD = "HELD"
    NEEDS_APPROVAL = "NEEDS_APPROVAL"


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleResult:
    """One rule's answer; ``budget`` (minor units) is what it lets through when it clamps."""

    rule: str
    result: RuleOutcome
    reason: str
    budget: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountHealth:
    """The account as it stands: open breakers (their reasons), live and highest daily budget.

    ``live_total`` is the sum of the live daily budgets in minor units, ``None`` when unknown;
    ``daily_cap`` ``None`` means that the account has none.
    """

    breakers: tuple[str, ...] = ()
    live_total: int | None = None
    daily_cap: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class VelocityWindow:
    """The live budget (minor units) when the velocity window began; ``None`` when unknown."""

    start_budget: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One recommendation before the gate; ``budget`` is what the rules so far let through."""

    recommendation: Recommendation
    ad: AdSignals
    health: AccountHealth
    window: VelocityWindow
    policy: Policy
    now: float
    budget: int

    @property
    def current(self) -> int:
        """The live budget; 0 when unknown."""
        return self.recommendation.current or 0

    @property
    def kills(self) -> bool:
        """Whether the ad is to be stopped."""
        return self.recommendation.move is Move.KILL

    @property
    def cuts(self) -> bool:
        """Whether the ad would get less, or nothing."""
        return self.kills or (
            self.recommendation.current is not None and self.budget < self.current
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The gate on one recommendation; ``budget`` is what may be executed (the current when held).

    A KILL that is let through has ``budget`` 0 and is a change of status, not of budget.
    """

    ad_id: str
    outcome: Outcome
    move: Move
    budget: int
    reason: str
    rules: tuple[RuleResult, ...]
    policy_version: str

    @property
    def approved(self) -> bool:
        """Whether it may go to the executor without a person."""
        return self.outcome in (Outcome.APPROVED, Outcome.APPROVED_CLAMPED)


Rule = Callable[[Case], RuleResult]


def judge(
    recommendation: Recommendation,
    ad: AdSignals,
    *,
    health: AccountHealth,
    window: VelocityWindow,
    policy: Policy,
    now: float,
    rules: Mapping[str, Rule] | None = None,
) -> Verdict:
    """Every rule of ``policy.gate.order``, and what they make of the recommendation.

    ``rules`` replaces the rules themselves (a name without a rule holds, as any error does).
    """
    case = Case(
        recommendation=recommendation,
        ad=ad,
        health=health,
        window=window,
        policy=policy,
        now=now,
        budget=recommendation.recommended,
    )
    results = []
    for name in policy.gate.order:
        result = _ask(name, case, RULES if rules is None else rules)
        if result.budget is not None:
            case = replace(case, budget=result.budget)
        results.append(result)
    return _verdict(case, tuple(results))


def data_fresh(case: Case) -> RuleResult:
    """Signals older than ``max_data_age_hours``, or of unknown age, decide nothing."""
    most = case.policy.gate.max_data_age_hours
    if case.ad.observed_at is None:
        return _held("data_fresh", "it is not known when the signals were read")
    age = (case.now - case.ad.observed_at) / HOUR_S
    words = f"signals are {age:.1f} h old, {most:g} h are allowed"
    return _passed("data_fresh", words) if age < most else _held("data_fresh", words)


def ignorance_zone(case: Case) -> RuleResult:
    """No kill and no cut before the ad is old enough and has spent enough."""
    gate, ad = case.policy.gate, case.ad
    known = f"{ad.age_hours:.0f} h old, {shown(ad.spend, ad.currency)} spent"
    inside = ad.age_hours < gate.ignorance_hours or ad.spend < gate.ignorance_spend
    least = f"{gate.ignorance_hours:g} h and {shown(gate.ignorance_spend, ad.currency)}"
    if inside and case.cuts:
        return _held("ignorance_zone", f"no cut in the ignorance zone: {known}, below {least}")
    return _passed("ignorance_zone", f"{known}; {'no cut' if inside else f'beyond {least}'}")


def confidence(case: Case) -> RuleResult:
    """The direction of the move must be sure enough."""
    sure, least = case.recommendation.confidence, case.policy.gate.min_confidence
    words = f"{sure:.2f} of the {least:.2f} that are needed"
    return _passed("confidence", words) if sure >= least else _held("confidence", words)


def kill(case: Case) -> RuleResult:
    """An ad is stopped only after enough spend and with a ROAS below the threshold."""
    if not case.kills:
        return _passed("kill", "the ad is not to be stopped")
    gate, ad = case.policy.gate, case.ad
    roas = ad.roas(case.policy.sampler.mode)
    if ad.spend < gate.kill_spend or roas is None:
        spent = shown(ad.spend, ad.currency)
        return _held("kill", f"only {spent} spent of {shown(gate.kill_spend, ad.currency)}")
    words = f"ROAS {roas:.2f} against {gate.kill_roas:g}"
    return _passed("kill", words) if roas < gate.kill_roas else _held("kill", words)


def scale(case: Case) -> RuleResult:
    """A raise beyond ``scale_step`` wants a ROAS above ``scale_roas``; else it is clamped."""
    gate = case.policy.gate
    most = math.floor(case.current * (1 + gate.scale_step) + 1e-9)
    if case.cuts or not case.current or case.budget <= most:
        return _passed("scale", "no hard scaling")
    roas = _expected_roas(case)
    if roas is not None and roas > gate.scale_roas:
        return _passed("scale", f"ROAS {roas:.2f} is above {gate.scale_roas:g}")
    seen = "unknown" if roas is None else f"{roas:.2f}"
    return _clamped("scale", f"ROAS {seen} is not above {gate.scale_roas:g}", most, case)


def velocity(case: Case) -> RuleResult:
    """At most ``max_budget_change`` within the window, against the budget at its start."""
    if case.kills:
        return _passed("velocity", "a stop is no change of budget")
    base = case.window.start_budget if case.window.start_budget is not None else case.current
    if not base:
        return _held("velocity", "what is live is not known, so the limit cannot be kept")
    limits = case.policy.executor
    least = math.ceil(base * (1 - limits.max_budget_change) - 1e-9)
    most = math.floor(base * (1 + limits.max_budget_change) + 1e-9)
    words = (
        f"{limits.max_budget_change:.0%} within {limits.budget_window_hours:g} h of "
        f"{shown(base, case.ad.currency)}"
    )
    within = min(most, max(least, case.budget))
    if (within - case.current) * (case.budget - case.current) <= 0:
        within = case.current  # a limit ends a move, and never makes one the other way
    if within == case.budget:
        return _passed("velocity", f"within {words}")
    return _clamped("velocity", f"beyond {words}", within, case)


def spend_cap(case: Case) -> RuleResult:
    """A raise must fit under the account's daily cap."""
    health, gain = case.health, case.budget - case.current
    if gain <= 0 or case.kills:
        return _passed("spend_cap", "spends no more than before")
    if health.daily_cap is None:
        return _passed("spend_cap", "the account has no daily cap")
    cap = shown(health.daily_cap, case.ad.currency)
    if health.live_total is None:
        return _held("spend_cap", f"what is live is not known, so the cap of {cap} cannot be kept")
    room = max(0, health.daily_cap - health.live_total)
    words = f"{shown(room, case.ad.currency)} left under the account's cap of {cap}"
    if gain <= room:
        return _passed("spend_cap", words)
    return _clamped("spend_cap", words, case.current + room, case)


def account_health(case: Case) -> RuleResult:
    """Nothing leaves while a breaker of the account is open."""
    if case.health.breakers:
        return _held("account_health", "; ".join(case.health.breakers))
    return _passed("account_health", "no breaker is open")


def approval(case: Case) -> RuleResult:
    """``observe`` lets nothing out; ``approve`` asks a person; ``auto`` lets it pass."""
    mode = case.policy.executor.mode
    if mode is ExecutionMode.OBSERVE:
        return _held("approval", "the account only observes: nothing leaves")
    words = "a person must confirm" if mode is ExecutionMode.APPROVE else "the mode is auto"
    return _passed("approval", words)


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        data_fresh,
        ignorance_zone,
        confidence,
        kill,
        scale,
        velocity,
        spend_cap,
        account_health,
        approval,
    )
}


def _ask(name: str, case: Case, rules: Mapping[str, Rule]) -> RuleResult:
    try:
        return rules[name](case)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a rule, money stays put
        return _held(name, f"the rule failed ({type(error).__name__}: {error}), so it holds")


def _verdict(case: Case, results: tuple[RuleResult, ...]) -> Verdict:
    held = [result for result in results if result.result is RuleOutcome.HELD]
    clamped = [result for result in results if result.result is RuleOutcome.CLAMPED]
    outcome, reason = _outcome(case, held, clamped)
    stays = outcome is Outcome.HELD
    return Verdict(
        ad_id=case.recommendation.ad_id,
        outcome=outcome,
        move=case.recommendation.move,
        budget=case.current if stays else (0 if case.kills else case.budget),
        reason=reason,
        rules=results,
        policy_version=case.policy.version,
    )


def _outcome(case: Case, held: list[RuleResult], clamped: list[RuleResult]) -> tuple[Outcome, str]:
    if held:
        return Outcome.HELD, _words(held)
    if not case.kills and case.budget == case.recommendation.current:
        return Outcome.HELD, _words(clamped) or "nothing changes"
    if case.policy.executor.mode is not ExecutionMode.AUTO:
        return Outcome.NEEDS_APPROVAL, "; ".join(["a person must confirm", *map(_line, clamped)])
    if clamped:
        return Outcome.APPROVED_CLAMPED, _words(clamped)
    return Outcome.APPROVED, "every rule passed"


def _words(results: list[RuleResult]) -> str:
    return "; ".join(map(_line, results))


def _line(result: RuleResult) -> str:
    return f"{result.rule}: {result.reason}"


def _expected_roas(case: Case) -> float | None:
    """The mature ROAS that the sampler expects; without one, what was credited so far."""
    expected = case.recommendation.metrics.expected_roas
    return expected if expected is not None else case.ad.roas(case.policy.sampler.mode)


def _passed(rule: str, reason: str) -> RuleResult:
    return RuleResult(rule=rule, result=RuleOutcome.PASSED, reason=reason)


def _held(rule: str, reason: str) -> RuleResult:
    return RuleResult(rule=rule, result=RuleOutcome.HELD, reason=reason)


def _clamped(rule: str, reason: str, budget: int, case: Case) -> RuleResult:
    amount = shown(budget, case.ad.currency)
    return RuleResult(
        rule=rule, result=RuleOutcome.CLAMPED, reason=f"{reason}: {amount}", budget=budget
    )
