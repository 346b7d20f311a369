"""The decision: signals in, recommendations out. Pure, and the same for the same request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from geminivideo.budget import bounds as limits
from geminivideo.budget import evidence, prior, reasons, sampler
from geminivideo.budget.allocation import Filled, fill
from geminivideo.budget.bounds import Bound
from geminivideo.budget.decision import (
    FORMAT,
    DecisionRecord,
    Metrics,
    Move,
    Recommendation,
    Request,
)
from geminivideo.budget.sampler import Draws, Posterior
from geminivideo.budget.signals import AdSignals, SignalsError, one_currency

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column = NDArray[np.float64]
    Cents = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The split as columns: who is killed, what each gets, and how sure each move is."""

    filled: Filled
    killed: NDArray[np.bool_]
    certainty: Column


def decide(request: Request) -> DecisionRecord:
    """Split the account's daily budget over its ads.

    Raises ``SignalsError`` for ads of several currencies or one ad twice.
    """
    return _decide(_ordered(request), None)


def replay(record: DecisionRecord) -> DecisionRecord:
    """The decision again, from what its record stores; its bytes must be the record's."""
    return _decide(record.request, record.draws())


def _ordered(request: Request) -> Request:
    ads = tuple(sorted(request.ads, key=lambda ad: ad.ad_id))
    for first, second in pairwise(ads):
        if first.ad_id == second.ad_id:
            raise SignalsError(f"ad {first.ad_id} twice: send the latest state of each ad once")
    return replace(request, ads=ads)


def _decide(request: Request, drawn: Draws | None) -> DecisionRecord:
    currency = one_currency(request.ads)
    total = _total(request)
    policy = request.policy.sampler
    seen = evidence.gather(
        request.ads, now=request.decided_at, total=total, lag=request.lag, policy=policy
    )
    learned = request.prior or prior.learn(seen, policy)
    sampled = sampler.thompson(seen, learned, policy, drawn or _source(request))
    posterior, draws = sampler.believe(seen, learned, policy), sampled.draws
    boundaries = _bounds(request, total)
    plan = _plan(request, posterior, sampled.weights, boundaries, total)
    filled = plan.filled
    return DecisionRecord(
        format=FORMAT,
        policy_version=request.policy.version,
        request=request,
        currency=currency,
        total=total,
        shortfall=filled.shortfall,
        forced=str(filled.forced) if filled.forced else None,
        prior=learned,
        ctr_draws=tuple(draws.ctr.tolist()),
        value_draws=tuple(draws.value.tolist()),
        recommendations=_recommend(request, posterior, draws, boundaries, plan),
        degraded=reasons.missing(request, learned),
    )


def _total(request: Request) -> int:
    if request.total is not None:
        return request.total
    return sum(ad.daily_budget or 0 for ad in request.ads)


def _source(request: Request) -> sampler.Source:
    return sampler.source(
        seed=request.seed, account_id=request.account_id, decided_at=request.decided_at
    )


def _bounds(request: Request, total: int) -> list[Bound]:
    count = len(request.ads)
    return [limits.bound(ad, total=total, ads=count, policy=request.policy) for ad in request.ads]


def _plan(
    request: Request, posterior: Posterior, weights: Column, boundaries: Sequence[Bound], total: int
) -> _Plan:
    import numpy as np

    lower, upper = limits.columns(boundaries)
    loss = sampler.below(posterior, request.policy.gate.kill_roas)
    killed = _killed(request, loss, upper, total)
    alive_lower, alive_upper = np.where(killed, 0, lower), np.where(killed, 0, upper)
    saturation = posterior.saturation.astype(np.int64)
    filled = fill(weights, alive_lower, alive_upper, total, saturation)
    live = np.fromiter((ad.daily_budget or 0 for ad in request.ads), np.float64, len(request.ads))
    certain = sampler.certainty(posterior, filled.amounts - live)
    return _Plan(filled=filled, killed=killed, certainty=np.where(killed, loss, certain))


def _killed(request: Request, loss: Column, upper: Cents, total: int) -> NDArray[np.bool_]:
    """Ads that surely lose money, worst first, as long as the others can take their budget."""
    import numpy as np

    killed = np.zeros(len(request.ads), bool)
    room = int(upper.sum())
    for index in np.argsort(-loss, kind="stable"):
        if loss[index] < request.policy.allocation.kill_certainty:
            break
        if _may_be_killed(request.ads[index], request) and room - int(upper[index]) >= total:
            killed[index] = True
            room -= int(upper[index])
    return killed


def _may_be_killed(ad: AdSignals, request: Request) -> bool:
    gate, mode = request.policy.gate, request.policy.sampler.mode
    roas = ad.roas(mode)
    known = request.prior is not None or roas is not None
    if mode == "direct" and ad.unvalued:
        return False
    return (
        known
        and not ad.locked
        and ad.spend >= gate.kill_spend
        and (roas or 0.0) < gate.kill_roas
        and not limits.in_ignorance_zone(ad, request.policy)
    )


def _recommend(
    request: Request,
    posterior: Posterior,
    draws: Draws,
    boundaries: Sequence[Bound],
    plan: _Plan,
) -> tuple[Recommendation, ...]:
    numbers = _metrics(request, posterior, draws)
    rows = zip(
        request.ads,
        plan.filled.amounts.tolist(),
        plan.killed.tolist(),
        plan.certainty.tolist(),
        boundaries,
        numbers,
        strict=True,
    )
    sold = reasons.sales(request.policy.sampler.mode)
    return tuple(_one(*row, sold=sold) for row in rows)


def _one(
    ad: AdSignals,
    amount: int,
    killed: bool,
    certainty: float,
    boundary: Bound,
    metrics: Metrics,
    *,
    sold: str,
) -> Recommendation:
    move = Move.KILL if killed else _move(ad.daily_budget, amount)
    bound_by = "" if killed else _bound_by(amount, boundary)
    confidence = round(min(1.0, max(0.0, certainty)), 4)
    return Recommendation(
        ad_id=ad.ad_id,
        move=move,
        current=ad.daily_budget,
        recommended=amount,
        confidence=confidence,
        reason=_reason(ad, move, amount, confidence, boundary, bound_by, metrics, sold),
        metrics=metrics,
        bound_by=bound_by,
        degraded=reasons.degraded(ad, boundary.contradiction),
    )


def _reason(
    ad: AdSignals,
    move: Move,
    amount: int,
    confidence: float,
    boundary: Bound,
    bound_by: str,
    metrics: Metrics,
    sold: str,
) -> str:
    if boundary.contradiction:
        return reasons.contradicted(boundary.contradiction)
    return reasons.explain(ad, move, amount, confidence, bound_by, metrics, sold)


def _move(current: int | None, amount: int) -> Move:
    if current == amount:
        return Move.KEEP
    return Move.INCREASE if current is None or amount > current else Move.DECREASE


def _bound_by(amount: int, boundary: Bound) -> str:
    if amount == boundary.upper:
        return boundary.upper_by
    return boundary.lower_by if amount == boundary.lower else ""


def _metrics(request: Request, posterior: Posterior, draws: Draws) -> list[Metrics]:
    import numpy as np

    known = bool((posterior.expected > 0).any())
    means = posterior.mean_returns
    by_clicks = posterior.returns(posterior.ctr, posterior.multiple * 0.0 + 1.0)
    drawn = posterior.returns(draws.ctr, draws.value) / np.maximum(means, 1e-300)
    rows = zip(
        request.ads,
        (posterior.ctr * posterior.fatigue).tolist(),
        posterior.click_weight.tolist(),
        by_clicks.tolist(),
        means.tolist(),
        posterior.seen.tolist(),
        posterior.expected.tolist(),
        posterior.fatigue.tolist(),
        drawn.tolist(),
        posterior.spread.tolist(),
        strict=True,
    )
    return [_numbers(known, *row) for row in rows]


def _numbers(
    known: bool,
    ad: AdSignals,
    ctr: float,
    weight: float,
    by_clicks: float,
    mean: float,
    seen: float,
    expected: float,
    fatigue: float,
    drawn: float,
    spread: float,
) -> Metrics:
    return Metrics(
        impressions=ad.impressions,
        clicks=ad.clicks,
        spend=ad.spend,
        age_hours=ad.age_hours,
        ctr=ctr,
        click_weight=weight,
        roas_weight=1.0 - weight,
        click_roas=by_clicks if known else None,
        expected_roas=mean if known else None,
        pipeline_roas=ad.pipeline_roas,
        cash_roas=ad.cash_roas,
        deals_seen=seen,
        deals_expected=expected,
        fatigue=fatigue,
        drawn=drawn,
        spread=spread,
    )
