"""Why a budget moves, in words made of the numbers."""

from __future__ import annotations

from geminivideo.budget.decision import Metrics, Move, Request
from geminivideo.budget.signals import AccountPrior, AdSignals

NO_DAYS = "no-daily-signals"
NO_BUDGET = "budget-unknown"
NO_VALUE = "no-value-credited"
OTHER_VALUE = "other-value-not-counted"
UNVALUED = "purchases-without-value"
CONTRADICTION = "signals-contradict"

_VERBS: dict[Move, str] = {
    Move.INCREASE: "raised",
    Move.DECREASE: "lowered",
    Move.KEEP: "kept",
    Move.KILL: "to be stopped",
}


def sales(mode: str) -> str:
    """What value comes of in a mode, in a word."""
    return "purchases" if mode == "direct" else "deals"


def explain(
    ad: AdSignals,
    move: Move,
    amount: int,
    confidence: float,
    bound_by: str,
    metrics: Metrics,
    sold: str,
) -> str:
    """One sentence an advertiser understands, with every number that decided; ``sold``: of what."""
    verb = "set" if ad.daily_budget is None and move is not Move.KILL else _VERBS[move]
    parts = [f"{verb}{_by(ad, move, amount)}: {_worth(metrics)}", _signals(metrics, sold)]
    if metrics.fatigue < 0.995:
        parts.append(f"worn down by fatigue to {metrics.fatigue:.0%} of its recent CTR")
    if ad.moved_by:
        parts.append(f"its prior CTR was moved by {', '.join(ad.moved_by[:2])}")
    if bound_by:
        parts.append(f"bound by {bound_by}")
    return "; ".join([*parts, f"{confidence:.0%} sure"])


def contradicted(wrong: str) -> str:
    """The reason of an ad whose numbers cannot be true."""
    return f"kept: its signals contradict each other ({wrong})"


def degraded(ad: AdSignals, wrong: str | None) -> tuple[str, ...]:
    """What this ad's estimate had to do without."""
    found = list(ad.degraded)
    if not ad.days and ad.impressions:
        found.append(NO_DAYS)
    if ad.daily_budget is None:
        found.append(NO_BUDGET)
    if wrong:
        found.append(CONTRADICTION)
    return tuple(dict.fromkeys(found))


def missing(request: Request, prior: AccountPrior) -> tuple[str, ...]:
    """What the whole decision had to do without, and what it was told in vain."""
    blind, direct = prior.value_per_click <= 0, request.policy.sampler.mode == "direct"
    other = any((ad.pipeline_value if direct else ad.cash_revenue) > 0 for ad in request.ads)
    unvalued = any(ad.unvalued for ad in request.ads)
    told = {NO_VALUE: blind, OTHER_VALUE: blind and other, UNVALUED: direct and unvalued}
    return tuple(name for name, is_so in told.items() if is_so)


def _by(ad: AdSignals, move: Move, amount: int) -> str:
    if move in (Move.KEEP, Move.KILL) or not ad.daily_budget:
        return ""
    return f" by {abs(amount - ad.daily_budget) / ad.daily_budget:.1%}"


def _worth(metrics: Metrics) -> str:
    if metrics.expected_roas is None:
        return "no value credited yet, so clicks alone decide"
    return f"expected ROAS {metrics.expected_roas:.2f}"


def _signals(metrics: Metrics, sold: str) -> str:
    clicks = (
        f"{metrics.click_weight:.0%} by clicks "
        f"(CTR {metrics.ctr:.2%} of {metrics.impressions} impressions)"
    )
    value = (
        f"{metrics.roas_weight:.0%} by {sold} "
        f"({metrics.deals_seen:.1f} credited, {metrics.deals_expected:.1f} expected by now)"
    )
    return f"{clicks}, {value}"
