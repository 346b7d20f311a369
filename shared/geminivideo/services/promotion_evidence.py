"""What a check of promotions rests on: the sampler's posteriors as numbers, and what stands by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from geminivideo.budget import evidence, prior, sampler
from geminivideo.budget.decision import Metrics, Move, Recommendation
from geminivideo.budget.gathering import Unit
from geminivideo.budget.sampler import Posterior
from geminivideo.budget.signals import AdSignals, contradiction
from geminivideo.cloud.documents import Query
from geminivideo.learning import dispersion
from geminivideo.learning.dispersion import Delivered
from geminivideo.learning.promotion import CheckRequest, Contender, Promotion
from geminivideo.learning_records import Actual, Override, PromotionOverrides, PromotionState
from geminivideo.policy import Policy
from geminivideo.records import Account, ChangeStatus, ChangeType, PendingChange
from geminivideo.services import budget_decisions

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.services.budget_decisions import Found

HOUR_S = 3600.0
_WHOLE_H, _LONG_H = 23.0, 36.0
OPEN = (
    ChangeStatus.PENDING,
    ChangeStatus.CLAIMED,
    ChangeStatus.EXECUTING,
    ChangeStatus.UNKNOWN,
)
MOVES = (ChangeType.BUDGET_INCREASE, ChangeType.BUDGET_DECREASE, ChangeType.STATUS_CHANGE)


def overrides_path(account_id: str) -> str:
    """``promotion_overrides/{account_id}``."""
    return f"promotion_overrides/{account_id}"


def state_path(adset_id: str) -> str:
    """``promotion_states/{adset_id}``."""
    return f"promotion_states/{adset_id}"


@dataclass(frozen=True, kw_only=True)
class Standpoint:
    """The account's budgets as the sampler sees them, by unit; ``undecided`` have no numbers."""

    found: Found
    posterior: Posterior | None
    contenders: tuple[Contender, ...]
    undecided: tuple[Promotion, ...]

    @cached_property
    def rows(self) -> dict[str, int]:
        """Where each unit stands among the signals."""
        return {ad.ad_id: row for row, ad in enumerate(self.found.signals)}

    def ad(self, unit_id: str) -> AdSignals | None:
        """The signals of a unit that still has any."""
        row = self.rows.get(unit_id)
        return None if row is None else self.found.signals[row]

    @property
    def live_total(self) -> int:
        """The sum of the daily budgets (minor units)."""
        return sum(ad.daily_budget or 0 for ad in self.found.signals)

    def recommendation(self, ad: AdSignals, confidence: float, wanted: int) -> Recommendation:
        """A raise of one of the ads as the gate takes it."""
        if self.posterior is None:
            raise LookupError(f"{ad.ad_id} is none of the account's ads")
        row = self.rows[ad.ad_id]
        return _recommendation(ad, row, self.posterior, confidence, wanted)


@dataclass(frozen=True, kw_only=True)
class Around:
    """What holds an ad whatever its numbers: people, changes on their way, earlier promotions."""

    overrides: PromotionOverrides
    waiting: Mapping[str, str]  # the change on its way, by ad set and by ad
    states: Mapping[str, PromotionState]
    cycle_id: str


def overrides_of(documents: Documents | Transaction, account_id: str) -> PromotionOverrides:
    """What people decided; nothing, until somebody does."""
    found = documents.get(overrides_path(account_id), PromotionOverrides)
    return found or PromotionOverrides(id=account_id)


def paused_by(overrides: PromotionOverrides) -> str:
    """Why nothing is promoted, if a person said so."""
    return f"promotion is paused {_told(overrides.paused)}" if overrides.paused else ""


def excluded_by(overrides: PromotionOverrides, ad_ids: Iterable[str]) -> str:
    """Why a person wants none of these ads promoted."""
    named = [ad_id for ad_id in ad_ids if ad_id in overrides.excluded]
    return f"{named[0]} is excluded {_told(overrides.excluded[named[0]])}" if named else ""


def _told(override: Override) -> str:
    return f"by {override.by}" + (f": {override.reason}" if override.reason else "")


def look(
    documents: Documents, account: Account, policy: Policy, now: float, cycle_id: str
) -> Standpoint:
    """Read the account, and see every budget as the sampler does."""
    found = budget_decisions.gather(documents, account, policy, now)
    around = _around(documents, account.id, found, cycle_id)
    posterior = _posterior(found, policy, cycle_id)
    drawn = numbers(posterior) if posterior is not None else []
    believed = _believed(documents, found)
    contenders = tuple(
        _contender(
            believed.get(ad.ad_id, ad),
            found.shared.get(ad.ad_id),
            one,
            around,
            policy,
            found.now,
        )
        for ad, one in zip(found.signals, drawn, strict=True)
    )

    return Standpoint(
        found=found,
        posterior=posterior,
        contenders=contenders,
        undecided=tuple(_undecided(unit, why) for unit, why in found.undecided),
    )


def request_of(
    stand: Standpoint, overrides: PromotionOverrides, policy: Policy, cycle_id: str
) -> CheckRequest:
    """The check's request; its seed is the cycle's."""
    found = dispersion.of_account(map(delivered, stand.found.signals), policy.sampler.daily_noise)
    return CheckRequest(
        account_id=stand.found.account_id,
        at=stand.found.now,
        seed=budget_decisions.seed_of(f"promotion/{cycle_id}"),
        policy=policy,
        contenders=stand.contenders,
        paused=paused_by(overrides),
        dispersion=found.ratio,
        freedom=found.freedom,
    )


def delivered(ad: AdSignals) -> list[Delivered]:
    """The ad's whole days, oldest first; today is not over."""
    whole = (day for day in ad.days if _WHOLE_H <= day.hours <= _LONG_H and day.spend > 0)
    return [Delivered(day.clicks, day.spend) for day in whole]


def _undecided(unit: Unit, why: str) -> Promotion:
    return Promotion(id=unit.id, ad_ids=unit.ad_ids, promoted=False, rule="unknown", reason=why)


def _around(documents: Documents, account_id: str, found: Found, cycle_id: str) -> Around:
    adsets = {ad.adset_id for ad in found.signals if ad.adset_id}
    states = documents.get_many(map(state_path, sorted(adsets)), PromotionState)
    return Around(
        overrides=overrides_of(documents, account_id),
        waiting=_waiting(documents, account_id),
        states={state.id: state for state in states.values()},
        cycle_id=cycle_id,
    )


def _waiting(documents: Documents, account_id: str) -> dict[str, str]:
    of_account = [("account_id", "==", account_id), ("status", "in", list(OPEN))]
    changes = [
        change
        for page in documents.pages(Query("pending_ad_changes", of_account), PendingChange)
        for change in page
    ]
    return {about: told for change in changes for about, told in on_its_way(change)}


def on_its_way(change: PendingChange) -> list[tuple[str, str]]:
    """(ad set or ad, what is about to happen to it) for a change of its budget or status."""
    if change.change_type not in MOVES:
        return []
    words = f"{change.change_type} {change.id} of {change.requested_by} is {change.status}"
    about = [str(change.payload.get("adset_id") or ""), change.ad_id or ""]
    return [(each, words) for each in about if each]


def _posterior(found: Found, policy: Policy, cycle_id: str) -> Posterior | None:
    if not found.signals:
        return None
    asked = budget_decisions.request_of(found, policy, cycle_id)
    total = sum(ad.daily_budget or 0 for ad in asked.ads)
    seen = evidence.gather(
        asked.ads, now=found.now, total=total, lag=asked.lag, policy=policy.sampler
    )
    return sampler.believe(seen, prior.learn(seen, policy.sampler), policy.sampler)


def _believed(documents: Documents, found: Found) -> dict[str, AdSignals]:
    """Ads whose actuals leave out days that are not to be believed, with what is left of them."""
    paths = {f"actuals/{ad.ad_id}": ad for ad in found.signals}
    actuals = documents.get_many(paths, Actual)
    return {
        actual.ad_id: replace(
            paths[path],
            impressions=min(actual.impressions, paths[path].impressions),
            clicks=min(actual.clicks, paths[path].clicks),
        )
        for path, actual in actuals.items()
        if actual.partial
    }


def by_clicks_alone(posterior: Posterior) -> bool:
    """Whether no value was ever credited: what a click is worth then tells no ads apart."""
    return not bool((posterior.expected > 0).any())


def numbers(posterior: Posterior) -> list[dict[str, float]]:
    """Each budget's posterior by the contender's own names."""
    weight = posterior.click_weight
    columns = {
        "ctr_alpha": posterior.ctr_alpha,
        "ctr_beta": posterior.ctr_beta,
        "value_shape": posterior.value_shape,
        "value_rate": posterior.value_rate,
        "click_weight": weight * 0.0 + 1.0 if by_clicks_alone(posterior) else weight,
        "scale": posterior.elasticity
        * posterior.fatigue
        * posterior.pace
        * (posterior.unit / posterior.budget),
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _contender(
    ad: AdSignals,
    shared: Unit | None,
    drawn: dict[str, float],
    around: Around,
    policy: Policy,
    now: float,
) -> Contender:
    ad_ids = shared.ad_ids if shared else (ad.ad_id,)
    state = around.states.get(ad.adset_id or "")
    looks, clicks_looked_at = _before(state, around.cycle_id)
    return Contender(
        id=ad.ad_id,
        adset_id=ad.adset_id or "",
        ad_ids=ad_ids,
        campaign_id=ad.campaign_id,
        currency=ad.currency,
        budget=ad.daily_budget or 0,
        age_hours=ad.age_hours,
        impressions=ad.impressions,
        clicks=ad.clicks,
        spend=ad.spend,
        pipeline_value=ad.pipeline_value,
        cash_revenue=ad.cash_revenue,
        looks=looks,
        clicks_looked_at=clicks_looked_at,
        excluded=excluded_by(around.overrides, ad_ids),
        forced=_forced(around.overrides, ad_ids, state),
        waits=_waits(ad, ad_ids, state, around, policy, now),
        **drawn,
    )


def _before(state: PromotionState | None, cycle_id: str) -> tuple[int, int]:
    """(looks, clicks at the last) before this cycle: its own look is not counted twice."""
    if state is None:
        return 0, 0
    if state.cycle_id == cycle_id:
        return state.looks - 1, state.clicks_before
    return state.looks, state.clicks


def _forced(
    overrides: PromotionOverrides, ad_ids: Iterable[str], state: PromotionState | None
) -> str:
    """Why a person wants one of these ads promoted, once; empty when it was done."""
    done = (state.forced_at if state else None) or 0.0
    wishes = [overrides.forced[ad_id] for ad_id in ad_ids if ad_id in overrides.forced]
    return next((f"forced {_told(wish)}" for wish in wishes if wish.at > done), "")


def _waits(
    ad: AdSignals,
    ad_ids: tuple[str, ...],
    state: PromotionState | None,
    around: Around,
    policy: Policy,
    now: float,
) -> str:
    for about in (ad.adset_id or "", *ad_ids):
        if about in around.waiting:
            return around.waiting[about]
    if wrong := contradiction(ad):
        return f"its numbers cannot be true: {wrong}"
    hours = policy.executor.budget_window_hours
    if ad.window_budget is not None and ad.window_budget > (ad.daily_budget or 0):
        return f"its budget was cut within the last {hours:g} hours"
    return promoted_lately(state, policy, now)


def promoted_lately(state: PromotionState | None, policy: Policy, now: float) -> str:
    """Why it is too early for another promotion of the same budget, if it is."""
    if state is None or state.promoted_at is None:
        return ""
    hours = max(policy.promotion.cooldown_hours, policy.executor.budget_window_hours)
    passed = (now - state.promoted_at) / HOUR_S
    if passed >= hours:
        return ""
    return f"promoted {passed:.1f} h ago ({state.change_id}); again after {hours:g} h"


def _recommendation(
    ad: AdSignals, row: int, posterior: Posterior, confidence: float, wanted: int
) -> Recommendation:
    """The raise as the gate takes it, with what the sampler expects of the ad."""
    known = not by_clicks_alone(posterior)
    weight = float(posterior.click_weight[row])
    expected = float(posterior.mean_returns[row])
    metrics = Metrics(
        impressions=ad.impressions,
        clicks=ad.clicks,
        spend=ad.spend,
        age_hours=ad.age_hours,
        ctr=float(posterior.ctr[row] * posterior.fatigue[row]),
        click_weight=weight,
        roas_weight=1.0 - weight,
        click_roas=None,
        expected_roas=expected if known else None,
        pipeline_roas=ad.pipeline_roas,
        cash_roas=ad.cash_roas,
        deals_seen=float(posterior.seen[row]),
        deals_expected=float(posterior.expected[row]),
        fatigue=float(posterior.fatigue[row]),
        drawn=1.0,
        spread=float(posterior.spread[row]),
    )
    return Recommendation(
        ad_id=ad.ad_id,
        move=Move.INCREASE,
        current=ad.daily_budget,
        recommended=wanted,
        confidence=confidence,
        reason="a winner is promoted",
        metrics=metrics,
    )
