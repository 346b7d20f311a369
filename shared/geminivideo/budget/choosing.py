"""From a decision to the verdicts that may leave: gated, worth a change, and settled together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from geminivideo.budget.decision import DecisionRecord, Move
from geminivideo.budget.gate import (
    AccountHealth,
    Outcome,
    RuleOutcome,
    RuleResult,
    VelocityWindow,
    Verdict,
    judge,
)
from geminivideo.budget.settling import settle
from geminivideo.policy import Policy

TRIVIAL = "min_move"
CYCLE = "max_changes"
_ROUNDS = 64  # each halves what is trivial: more than any account needs


def choose(
    record: DecisionRecord, *, health: AccountHealth, policy: Policy, now: float
) -> tuple[Verdict, ...]:
    """A verdict for every recommendation, in the record's order.

    Moves too small to be worth a change are held, and of more moves than a cycle may queue the
    smallest; what is left is settled so that raises are paid for by cuts.
    """
    live = {ad.ad_id: ad.daily_budget or 0 for ad in record.request.ads}
    gated = [
        judge(
            recommendation,
            ad,
            health=health,
            window=VelocityWindow(start_budget=ad.window_budget),
            policy=policy,
            now=now,
        )
        for recommendation, ad in zip(record.recommendations, record.request.ads, strict=True)
    ]
    worth = _without_trivial(gated, live, policy)
    few = _largest(worth, live, policy.gate.max_changes)
    return _settled(few, live, record.total, policy)


def _settled(
    verdicts: list[Verdict], live: Mapping[str, int], total: int, policy: Policy
) -> tuple[Verdict, ...]:
    """Settled so that what is left of each move is worth a change.

    Settling may clamp moves until they are trivial. Holding those takes from what the others are
    paid with, so it is settled anew; half at a time, the smallest wishes first, because what they
    give up may make the rest worth it.
    """
    for _ in range(_ROUNDS):
        settled = settle(verdicts, live, total)
        worth = _without_trivial(settled, live, policy)
        trivial = {
            new.ad_id: new for new, old in zip(worth, settled, strict=True) if new is not old
        }
        if not trivial:
            return settled
        asked = [verdict for verdict in verdicts if verdict.ad_id in trivial]
        asked.sort(key=lambda v: (abs(v.budget - live[v.ad_id]), v.ad_id))
        given_up = {verdict.ad_id for verdict in asked[: (len(asked) + 1) // 2]}
        verdicts = [trivial[v.ad_id] if v.ad_id in given_up else v for v in verdicts]
    return settle(verdicts, live, total)


def _without_trivial(
    verdicts: Sequence[Verdict], live: Mapping[str, int], policy: Policy
) -> list[Verdict]:
    return [_worth_it(verdict, live[verdict.ad_id], policy) for verdict in verdicts]


def _worth_it(verdict: Verdict, live: int, policy: Policy) -> Verdict:
    least = policy.gate.min_move
    if verdict.outcome is Outcome.HELD or verdict.move is Move.KILL or not live:
        return verdict
    moved = abs(verdict.budget - live) / live
    if moved >= least:
        return verdict
    return _held(verdict, live, TRIVIAL, f"a move of {moved:.1%} is below {least:.0%}")


def _largest(verdicts: Sequence[Verdict], live: Mapping[str, int], most: int) -> list[Verdict]:
    """Stops first, then the largest moves."""
    moving = [v for v in verdicts if v.outcome is not Outcome.HELD]
    if len(moving) <= most:
        return list(verdicts)
    ranked = sorted(
        moving,
        key=lambda v: (v.move is not Move.KILL, -abs(v.budget - live[v.ad_id]), v.ad_id),
    )
    chosen = {verdict.ad_id for verdict in ranked[:most]}
    reason = f"{len(moving)} moves were decided and a cycle queues {most}: the next one goes on"
    return [
        v
        if v.ad_id in chosen or v.outcome is Outcome.HELD
        else _held(v, live[v.ad_id], CYCLE, reason)
        for v in verdicts
    ]


def _held(verdict: Verdict, live: int, rule: str, reason: str) -> Verdict:
    result = RuleResult(rule=rule, result=RuleOutcome.HELD, reason=reason)
    return replace(
        verdict,
        outcome=Outcome.HELD,
        budget=live,
        reason=f"{rule}: {reason}",
        rules=(*verdict.rules, result),
    )


def beyond_cycle(verdicts: Sequence[Verdict]) -> int:
    """How many moves wait for the next cycle."""
    return sum(map(of_next_cycle, verdicts))


def of_next_cycle(verdict: Verdict) -> bool:
    """Whether the move is wanted, and waits for the next cycle."""
    return verdict.reason.startswith(f"{CYCLE}:")


def outcomes(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """How many verdicts there are of each outcome."""
    return dict(Counter(str(verdict.outcome) for verdict in verdicts))


def summary(verdicts: Sequence[Verdict]) -> str:
    """Why nothing leaves, in one line: how many budgets each rule held."""
    rules = Counter(_first_rule(verdict) for verdict in verdicts)
    parts = [f"{rule} {count}" for rule, count in rules.most_common()]
    return f"{len(verdicts)} budgets stay as they are: {', '.join(parts)}"


def _first_rule(verdict: Verdict) -> str:
    held = [r.rule for r in verdict.rules if r.result is RuleOutcome.HELD]
    return held[0] if held else "no change"
