"""All verdicts of one decision together: a raise is paid for by the cuts that were let through.

The split conserves the total, but the gate may hold one side of it. Approved raises beyond what
approved cuts and the unspent rest of the total release are clamped, and cuts that would feed no
raise are clamped too, so that the account spends what was decided whatever was held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from geminivideo.budget.decision import Move
from geminivideo.budget.gate import Outcome, RuleOutcome, RuleResult, Verdict

RULE = "conservation"


def settle(verdicts: Sequence[Verdict], live: Mapping[str, int], total: int) -> tuple[Verdict, ...]:
    """Match raises and cuts to ``total`` (minor units a day), given every ad's live budget.

    Held verdicts keep what is live; kills are never undone, so that less than the total may be
    spent after one. What was clamped says so as the rule ``conservation``.
    """
    slack = total - sum(live.values())
    moving = [verdict for verdict in verdicts if verdict.outcome is not Outcome.HELD]
    gains = {v.ad_id: v.budget - live.get(v.ad_id, 0) for v in moving}
    raises = {ad: gain for ad, gain in gains.items() if gain > 0}
    stops = {v.ad_id for v in moving if v.move is Move.KILL}
    cuts = {ad: -gain for ad, gain in gains.items() if gain < 0 and ad not in stops}
    stopped = sum(-gains[ad] for ad in stops)
    most_raised = max(0, stopped + sum(cuts.values()) + slack)
    given = _scaled(raises, most_raised)
    taken = _scaled(cuts, max(0, sum(given.values()) - stopped - slack))
    return tuple(
        _clamp(verdict, live, given, taken)
        if verdict.ad_id in raises or verdict.ad_id in cuts
        else verdict
        for verdict in verdicts
    )


def _scaled(wishes: Mapping[str, int], most: int) -> dict[str, int]:
    """The wishes scaled down to ``most`` in all, whole units by the largest remainder."""
    wanted = sum(wishes.values())
    if wanted <= most:
        return dict(wishes)
    given = {ad: wish * most // wanted for ad, wish in wishes.items()}
    rest = most - sum(given.values())
    by_remainder = sorted(wishes, key=lambda ad: (-(wishes[ad] * most % wanted), ad))
    for ad in by_remainder[:rest]:
        given[ad] += 1
    return given


def _clamp(
    verdict: Verdict, live: Mapping[str, int], given: Mapping[str, int], taken: Mapping[str, int]
) -> Verdict:
    now = live.get(verdict.ad_id, 0)
    budget = now + given.get(verdict.ad_id, 0) - taken.get(verdict.ad_id, 0)
    if budget == verdict.budget:
        return verdict
    side = "cuts release no more" if budget > now or verdict.budget > now else "no raise needs it"
    result = RuleResult(
        rule=RULE, result=RuleOutcome.CLAMPED, reason=f"{side}: {budget}", budget=budget
    )
    return replace(
        verdict,
        outcome=_outcome(verdict.outcome, unchanged=budget == now),
        budget=budget,
        reason=f"{RULE}: {side}",
        rules=(*verdict.rules, result),
    )


def _outcome(outcome: Outcome, *, unchanged: bool) -> Outcome:
    if unchanged:
        return Outcome.HELD
    return Outcome.NEEDS_APPROVAL if outcome is Outcome.NEEDS_APPROVAL else Outcome.APPROVED_CLAMPED
