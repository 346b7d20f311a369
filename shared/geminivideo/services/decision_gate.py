"""The decision gate as a question: what would become of this recommendation, and why."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from geminivideo import money
from geminivideo.budget.decision import Metrics, Move, Recommendation
from geminivideo.budget.gate import Outcome, VelocityWindow, Verdict, judge
from geminivideo.budget.gathering import NEVER_READ
from geminivideo.budget.signals import HOUR_S, AdSignals
from geminivideo.policy import Policy
from geminivideo.records import Account, AdState
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.safe_executor.ledger import BudgetWindow, adset_window_path
from geminivideo.services.budget_changes import health_of
from geminivideo.services.budget_decisions import window_start
from geminivideo.services.insights_intake import minor

AD_UNKNOWN = "ad-unknown"
_SWITCHES = {
    "ignorance_zone": "check_ignorance_zone",
    "confidence": "check_confidence",
    "velocity": "check_velocity",
}


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A daily budget that somebody recommends; money is in major units of the account's currency.

    A rule whose ``check_*`` is false is not asked. Without ``current_budget`` it is the one that
    was last read at Meta.
    """

    ad_id: str
    recommended_budget: float
    confidence: float
    current_budget: float | None = None
    check_ignorance_zone: bool = True
    check_confidence: bool = True
    check_velocity: bool = True
    account_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class RuleShown:
    """One rule's answer (passed, clamped, held) and why."""

    rule: str
    result: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class GateAnswer:
    """``approved``: the gate lets it (or the clamped ``adjusted_budget``, major units) through.

    With outcome NEEDS_APPROVAL the account's mode still asks a person once it is queued.
    """

    approved: bool
    outcome: str
    adjusted_budget: float
    reason: str
    rules: list[RuleShown]
    policy_version: str
    degraded: list[str] = field(default_factory=list)


def ask_gate(call: Call) -> GateAnswer:
    """Put one recommendation before the gate; nothing is queued."""
    asked: Proposal = call.body
    documents, now = call.ports.documents, call.ports.clock.now()
    if not 0 <= asked.confidence <= 1:
        raise ApiError(422, "confidence must be from 0 to 1")
    state = documents.get(f"ad_states/{identifier(asked.ad_id, 'ad_id')}", AdState)
    named = state.account_id if state else (asked.account_id or "default")
    account_id = identifier(named, "account_id")
    policy = _asked_rules(asked, policy_of(documents, account_id))
    account = documents.get(f"accounts/{account_id}", Account)
    currency = account.currency if account else "USD"
    ad = _signals(asked, state, currency, now)
    window = _window(call, state, ad.daily_budget, policy, now)
    verdict = judge(
        _recommendation(asked, ad, currency),
        ad,
        health=health_of(documents, account_id, policy, now),
        window=VelocityWindow(start_budget=window),
        policy=policy,
        now=now,
    )
    return _answer(verdict, currency, known=state is not None)


def _asked_rules(asked: Proposal, policy: Policy) -> Policy:
    left_out = {rule for rule, switch in _SWITCHES.items() if not getattr(asked, switch)}
    order = tuple(rule for rule in policy.gate.order if rule not in left_out)
    return replace(policy, gate=replace(policy.gate, order=order))


def _signals(asked: Proposal, state: AdState | None, currency: str, now: float) -> AdSignals:
    """What is known of the ad; one that was never read is as old and as proven as nothing is.

    What the caller says of it is what it sees now.
    """
    told = asked.current_budget
    budget = minor(told, currency, "current_budget") if told is not None else None
    if state is None:
        return AdSignals(
            ad_id=asked.ad_id, age_hours=0.0, impressions=0, clicks=0, spend=0,
            currency=currency, daily_budget=budget, observed_at=now, degraded=(AD_UNKNOWN,),
        )  # fmt: skip
    return AdSignals(
        ad_id=state.id,
        adset_id=state.adset_id,
        age_hours=(now - state.created_at) / HOUR_S if state.created_at is not None else 0.0,
        impressions=state.impressions,
        clicks=state.clicks,
        spend=state.spend,
        currency=currency,
        pipeline_value=state.pipeline_value,
        cash_revenue=state.cash_revenue,
        daily_budget=budget if budget is not None else state.daily_budget,
        observed_at=state.insights_at,
        degraded=state.degraded if state.insights_at is not None else (NEVER_READ,),
    )


def _window(
    call: Call, state: AdState | None, live: int | None, policy: Policy, now: float
) -> int | None:
    if state is None or state.adset_id is None:
        return None
    found = call.ports.documents.get(adset_window_path(state.adset_id), BudgetWindow)
    since = now - policy.executor.budget_window_hours * HOUR_S
    return window_start(found, since, live) if found else None


def _recommendation(asked: Proposal, ad: AdSignals, currency: str) -> Recommendation:
    """The proposal as the gate takes it; the caller's own reasons are not known here."""
    wanted = minor(asked.recommended_budget, currency, "recommended_budget")
    current = ad.daily_budget
    rises = current is None or wanted > current
    move = Move.KEEP if wanted == current else Move.INCREASE if rises else Move.DECREASE
    roas = ad.pipeline_roas
    metrics = Metrics(
        impressions=ad.impressions, clicks=ad.clicks, spend=ad.spend, age_hours=ad.age_hours,
        ctr=ad.clicks / ad.impressions if ad.impressions else 0.0,
        click_weight=0.0, roas_weight=0.0, click_roas=None, expected_roas=None,
        pipeline_roas=roas, cash_roas=ad.cash_roas, deals_seen=0.0, deals_expected=0.0,
        fatigue=1.0, drawn=1.0, spread=0.0,
    )  # fmt: skip
    return Recommendation(
        ad_id=ad.ad_id,
        move=move,
        current=current,
        recommended=wanted,
        confidence=asked.confidence,
        reason="asked over HTTP",
        metrics=metrics,
    )


def _answer(verdict: Verdict, currency: str, *, known: bool) -> GateAnswer:
    return GateAnswer(
        approved=verdict.outcome is not Outcome.HELD,
        outcome=verdict.outcome,
        adjusted_budget=money.major(verdict.budget, currency),
        reason=verdict.reason,
        rules=[RuleShown(rule=r.rule, result=r.result, reason=r.reason) for r in verdict.rules],
        policy_version=verdict.policy_version,
        degraded=[] if known else [AD_UNKNOWN],
    )


def serve(api: Api) -> None:
    """The route of the gateway."""
    api.post("/api/ml/decision-gate", body=Proposal, answer=GateAnswer)(ask_gate)
