"""BattleHardenedSampler over HTTP, for callers who send what their ads did so far, again and again.

Money is in major units of the account's currency. What was seen of an ad is remembered on the
ad's own time line (its age), so that the days between two calls become days whatever clock the
caller lives by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import msgspec

from geminivideo import money
from geminivideo.budget import lag
from geminivideo.budget.decision import DecisionRecord, Metrics, Recommendation, Request
from geminivideo.budget.gathering import deciding_policy
from geminivideo.budget.memory import AdMemory, are_of_a_day, recall, recall_days, remember
from geminivideo.budget.revenue import change, stage_key
from geminivideo.budget.scoring import decide
from geminivideo.budget.signals import HOUR_S, AdSignals, SignalsError
from geminivideo.policy import MODES, InsightsPolicy, Policy
from geminivideo.records import Account, Campaign, FeedbackEvent
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.services import crediting, prior_moves
from geminivideo.services.budget_decisions import seed_of
from geminivideo.services.insights_intake import (
    count,
    minor,
    moment,
    ratio_contradiction,
)
from geminivideo.services.prior_moves import Known

MOST_ADS = 5000
# Ages alone place an ad's days, so that the same question with the same seed has the same answer.
DECIDED_AT = 1e9
BOUNDS_BEYOND = "bounds-exceed-total"
CLICKS_CUT = "clicks-exceed-impressions"
DEFAULT_MAP = "default-stage-map"
DEFAULT_ACCOUNT = "default"
DAY_COUNTS = "counts-taken-as-days"
_VALUES = ("pipeline_value", "cash_revenue")


@dataclass(frozen=True, kw_only=True)
class AdTotals:
    """An ad's totals since it was created, or counts of the day alone; money is in major units.

    With ``current_budget`` (a day) no more than the velocity limit is recommended away from it;
    without, the pace of its spend stands for it. ``ctr`` is only compared with the counts.
    """

    ad_id: str
    impressions: int
    clicks: int
    spend: float
    age_hours: float
    pipeline_value: float | None = None
    cash_revenue: float | None = None
    current_budget: float | None = None
    daily_budget: float | None = None
    ctr: float | None = None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A daily budget to be split over ads; ``mode``: pipeline (services) or direct (cash).

    ``counts`` says what the ads' counts are: ``life``, totals since each ad was created, or
    ``day``, those of the day alone. Without it they are taken for totals until they were seen to
    fall as only counts of a day do; ``degraded`` then says ``counts-taken-as-days``.

    The same question with the same ``seed`` has the same answer, whenever it is asked again; the
    answer names the one that was taken.
    """

    ad_states: list[AdTotals]
    total_budget: float
    creative_dna_scores: dict[str, float] | None = None
    account_id: str | None = None
    mode: str | None = None
    counts: str | None = None
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Allocated:
    """One ad's share. ``current_budget`` is as sent, else the recent pace of its spend.

    ``change_percentage`` is null when nothing was spent before.
    """

    ad_id: str
    current_budget: float | None
    recommended_budget: float
    change_percentage: float | None
    confidence: float
    reason: str
    metrics: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Heard:
    """How many ads' prior CTR other accounts' experience moved; ``insufficient``: none, and why."""

    data_status: str
    ads: int = 0
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Selected:
    """The split; ``shortfall`` is what the bounds left over of ``total_budget``.

    Below zero, the least that the bounds allow (Meta's minimum, the velocity limit from
    ``current_budget``) is more than the total; ``degraded`` then says ``bounds-exceed-total``.
    """

    total_budget: float
    num_ads: int
    recommendations: list[Allocated]
    seed: int
    policy_version: str
    mode: str
    currency: str
    wisdom: Heard
    shortfall: float = 0.0
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Actuals:
    """What an ad has really brought and cost so far (major units): one of the values, or both.

    ``actual_cash_revenue`` is for accounts in mode direct, where pipeline value does not count.
    """

    ad_id: str
    actual_spend: float
    actual_pipeline_value: float | None = None
    actual_cash_revenue: float | None = None
    timestamp: float | str | None = None
    account_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ActualsTaken:
    """``sampler_updated``: the next selection counts it. No model is trained by one report.

    ``actual_roas`` is of the value that the account counts; null where that was not told.
    """

    status: str
    ad_id: str
    actual_roas: float | None
    model_updated: bool
    sampler_updated: bool
    timestamp: float


@dataclass(frozen=True, kw_only=True)
class KnownActuals:
    """``ad_actuals/{account}-{ad}``: the latest report of an ad's value (minor units)."""

    ad_id: str
    at: float
    pipeline_value: int | None
    spend: int
    cash_revenue: int | None = None


@dataclass(frozen=True, kw_only=True)
class StageQuestion:
    """A deal's stage, or its move; ``deal_value`` is in major units, ``tenant_id`` an account."""

    stage: str | None = None
    stage_from: str | None = None
    stage_to: str | None = None
    deal_value: float | None = None
    pipeline: str | None = None
    tenant_id: str | None = None
    account_id: str | None = None
    campaign: str | None = None


@dataclass(frozen=True, kw_only=True)
class StageAnswer:
    """``synthetic_value`` is what the stage is worth, ``calculated_value`` what the move adds."""

    stage_from: str | None
    stage_to: str
    synthetic_value: float
    calculated_value: float
    confidence: float
    reason: str
    currency: str
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Owner:
    """Whose ads they are: an account that is not known counts in US dollars."""

    id: str
    currency: str
    policy: Policy


# Selection -----------------------------------------------------------------------------------


def select(call: Call) -> Selected:
    """Split a daily budget over ads by what each is worth; each share says why."""
    asked: Selection = call.body
    owner = _owner(call, asked.account_id)
    total = minor(asked.total_budget, owner.currency, "total_budget")
    total -= money.major(total, owner.currency) > asked.total_budget  # never more than was given
    _check(asked, total)
    now = call.ports.clock.now()
    warnings = {ad.ad_id: _warnings(ad) for ad in asked.ad_states}
    reported = _actuals(call, owner, asked)
    ads = [_signals(ad, owner, asked.creative_dna_scores or {}, reported) for ad in asked.ad_states]
    remembered, of_a_day = _remembered(call, owner, asked, ads)
    policy = _with_mode(owner.policy, asked, remembered)
    known = prior_moves.known_of(call.ports.documents, owner.id, remembered, policy, now)
    moved = prior_moves.moved_by(known, remembered, {}, policy)
    record = _decided(asked, owner, policy, moved, total)
    selected = _selected(record, warnings, policy.sampler.mode, _heard(known, moved))
    guessed = [DAY_COUNTS] if of_a_day and asked.counts is None else []
    return replace(selected, degraded=[*selected.degraded, *guessed])


def _check(asked: Selection, total: int) -> None:
    if not asked.ad_states:
        raise ApiError(422, "ad_states must not be empty")
    if len(asked.ad_states) > MOST_ADS:
        raise ApiError(422, f"ad_states must be at most {MOST_ADS}: larger accounts are scored by "
                            "the budget cycle")  # fmt: skip
    if total <= 0:
        raise ApiError(422, "total_budget must be above 0")
    if asked.mode not in (None, *MODES):
        raise ApiError(422, f"mode must be {' or '.join(MODES)}")
    if asked.counts not in (None, "life", "day"):
        raise ApiError(422, "counts must be life (totals since each ad was created) or day")
    if asked.seed is not None and not 0 <= asked.seed < 2**63:
        raise ApiError(422, "seed must be from 0 to 2**63 - 1")


def _warnings(ad: AdTotals) -> list[str]:
    """What contradicts in the totals; they are decided on all the same."""
    impressions, clicks = count(ad.impressions, "impressions"), count(ad.clicks, "clicks")
    found = list(ratio_contradiction(ad.ctr, impressions, clicks))
    if clicks > impressions:
        found.append(f"{CLICKS_CUT}:{clicks}/{impressions}")
    return found


def _signals(
    ad: AdTotals, owner: _Owner, dna: Mapping[str, float], known: Mapping[str, KnownActuals]
) -> AdSignals:
    if not 0 <= ad.age_hours < 1e7:
        raise ApiError(422, "age_hours must be from 0 on")
    budget = ad.current_budget if ad.current_budget is not None else ad.daily_budget
    actual = known.get(ad.ad_id)

    def cents(amount: float | None, member: str) -> int:
        return minor(amount or 0.0, owner.currency, member)

    likeness = _share(dna.get(ad.ad_id))
    value = cents(ad.pipeline_value, "pipeline_value")
    if ad.pipeline_value is None and actual is not None:
        value = actual.pipeline_value or 0
    cash = cents(ad.cash_revenue, "cash_revenue")
    if ad.cash_revenue is None and actual is not None:
        cash = actual.cash_revenue or 0
    return AdSignals(
        ad_id=identifier(ad.ad_id, "ad_id"),
        age_hours=ad.age_hours,
        impressions=ad.impressions,
        clicks=min(ad.clicks, ad.impressions),
        spend=cents(ad.spend, "spend"),
        currency=owner.currency,
        pipeline_value=value,
        cash_revenue=cash,
        daily_budget=cents(budget, "current_budget") or None,
        dna=likeness,
        moved_by=() if likeness is None else (f"the creative DNA score given, {likeness:g}",),
    )


def _share(score: float | None) -> float | None:
    if score is not None and not 0 <= score <= 1:
        raise ApiError(422, "creative_dna_scores must be from 0 to 1")
    return score


def _remembered(
    call: Call, owner: _Owner, asked: Selection, ads: list[AdSignals]
) -> tuple[list[AdSignals], bool]:
    """The ads with the days that earlier calls tell apart, and whether their counts are a day's.

    This call is remembered too.
    """
    paths = {ad.ad_id: f"ad_memories/{owner.id}:{ad.ad_id}" for ad in ads}
    known = call.ports.documents.get_many(paths.values(), AdMemory)
    policy = owner.policy.insights
    totals = {ad.ad_id: _reported(ad) for ad in asked.ad_states}
    memories = {
        ad.ad_id: _grown(known.get(paths[ad.ad_id]), ad, policy, totals[ad.ad_id]) for ad in ads
    }
    call.ports.documents.set_many((paths[ad_id], memory) for ad_id, memory in memories.items())
    of_a_day = asked.counts == "day"
    if asked.counts is None:
        of_a_day = are_of_a_day(memories.values(), policy)
    read = recall_days if of_a_day else recall
    return [_placed(read(memories[ad.ad_id], ad)) for ad in ads], of_a_day


def _grown(
    memory: AdMemory | None, ad: AdSignals, policy: InsightsPolicy, totals: Collection[str]
) -> AdMemory:
    """On the ad's own time line: seconds since its birth; one that is younger now begins anew."""
    at = ad.age_hours * HOUR_S
    if (
        memory is not None
        and at < memory.seen_at
        and ad.impressions < (1 - policy.max_correction) * memory.impressions
    ):
        memory = None
    return remember(memory, ad, at, policy, totals=totals)


def _reported(ad: AdTotals) -> list[str]:
    """The values that the caller leaves to feedback, which tells totals."""
    return [name for name in _VALUES if getattr(ad, name) is None]


def _placed(ad: AdSignals) -> AdSignals:
    """The ad's days, counted from its birth until here, at the moment that is decided for."""
    birth = DECIDED_AT - ad.age_hours * HOUR_S
    return replace(ad, days=tuple(replace(day, at=birth + day.at) for day in ad.days))


def _with_mode(policy: Policy, asked: Selection, ads: list[AdSignals]) -> Policy:
    """The mode asked for; else direct when only cash was ever reported.

    What the caller sends of ads goes before what feedback says of one: else one report would take
    the cash of all others out of account.
    """
    told = _kinds(asked.ad_states) or _kinds(ads)
    mode = asked.mode or ("direct" if told == {"cash_revenue"} else policy.sampler.mode)
    moded = replace(policy, sampler=replace(policy.sampler, mode=mode))
    return deciding_policy(moded, ads)


def _kinds(ads: Iterable[AdTotals | AdSignals]) -> set[str]:
    return {name for ad in ads for name in _VALUES if getattr(ad, name)}


def _decided(
    asked: Selection,
    owner: _Owner,
    policy: Policy,
    ads: tuple[AdSignals, ...],
    total: int,
) -> DecisionRecord:
    direct = policy.sampler.mode == "direct"
    digest = hashlib.sha256(msgspec.json.encode(asked)).hexdigest()
    request = Request(
        account_id=owner.id,
        decided_at=DECIDED_AT,
        ads=ads,
        lag=lag.learn_purchases(0, 0, policy.purchasing) if direct else lag.learn((), policy.lag),
        seed=asked.seed if asked.seed is not None else seed_of(digest),
        policy=policy,
        total=total,
    )
    try:
        return decide(request)
    except SignalsError as error:
        raise ApiError(422, f"ad_states: {error}") from error


def _heard(known: Known, ads: Sequence[AdSignals]) -> Heard:
    """What other accounts' experience did to this split."""
    moved = sum(ad.wisdom is not None for ad in ads)
    if moved:
        return Heard(data_status="complete", ads=moved)
    reason = "the release that stands says nothing of these ads"
    if known.release is None:
        reason = "nothing is released yet: too few accounts share"
    if not known.opted_in:
        reason = "the account takes no part in sharing"
    return Heard(data_status="insufficient", reason=reason)


def _selected(
    record: DecisionRecord, warnings: Mapping[str, list[str]], mode: str, heard: Heard
) -> Selected:
    currency = record.currency
    pairs = zip(record.recommendations, record.request.ads, strict=True)
    return Selected(
        total_budget=money.major(record.total, currency),
        num_ads=len(record.recommendations),
        recommendations=[_allocated(r, ad, currency, warnings[ad.ad_id]) for r, ad in pairs],
        seed=record.request.seed,
        policy_version=record.policy_version,
        mode=mode,
        currency=currency,
        wisdom=heard,
        shortfall=money.major(record.shortfall, currency),
        degraded=[*record.degraded, *_beyond(record)],
    )


def _beyond(record: DecisionRecord) -> list[str]:
    """That the least that the ads' bounds allow is more than the total, and by how much."""
    if record.shortfall >= 0:
        return []
    return [f"{BOUNDS_BEYOND}:{money.shown(-record.shortfall, record.currency)}"]


def _allocated(
    recommendation: Recommendation, ad: AdSignals, currency: str, warnings: list[str]
) -> Allocated:
    current = ad.daily_budget if ad.daily_budget is not None else _pace(ad)
    change = (recommendation.recommended - current) / current if current else None
    return Allocated(
        ad_id=ad.ad_id,
        current_budget=money.major(current, currency) if current else None,
        recommended_budget=money.major(recommendation.recommended, currency),
        change_percentage=round(100 * change, 2) if change is not None else None,
        confidence=recommendation.confidence,
        reason=recommendation.reason,
        metrics=_metrics(recommendation.metrics, ad, currency),
        warnings=warnings,
    )


def _pace(ad: AdSignals) -> int | None:
    """What the ad spent a day lately; nothing spent: unknown."""
    if not ad.days or not ad.days[-1].hours:
        return None
    last = ad.days[-1]
    return round(last.spend * 24.0 / max(last.hours, 24.0)) or None


def _metrics(metrics: Metrics, ad: AdSignals, currency: str) -> dict[str, Any]:
    """The numbers behind a share; rates are fractions, ``spend`` is in major units.

    ``dna`` and ``wisdom`` are what moved the ad's prior CTR (``moved_by`` says why); null: nothing.
    """
    moved = {"dna": ad.dna, "wisdom": ad.wisdom, "moved_by": list(ad.moved_by)}
    return asdict(metrics) | moved | {"spend": money.major(metrics.spend, currency)}


# Feedback ------------------------------------------------------------------------------------


def take_feedback(call: Call) -> ActualsTaken:
    """Record what an ad really brought; selections that name no value of their own use it."""
    asked: Actuals = call.body
    owner = _owner(call, asked.account_id)
    ad_id, now = identifier(asked.ad_id, "ad_id"), call.ports.clock.now()
    at = moment(asked.timestamp, now, "timestamp")
    spend = minor(asked.actual_spend, owner.currency, "actual_spend")
    value, cash = _told(asked, owner)
    told = {"pipeline_value": value, "cash_revenue": cash, "spend": spend}
    members = {name: amount for name, amount in told.items() if amount is not None}
    digest = hashlib.sha256(repr((owner.id, ad_id, at, members)).encode()).hexdigest()
    event = FeedbackEvent(
        id=f"ac-{digest[:24]}",
        kind="actuals",
        account_id=owner.id,
        occurred_at=at,
        received_at=now,
        ad_id=ad_id,
        currency=owner.currency,
        verified=False,
        members=members,
    )
    path = _actuals_path(owner, ad_id)
    known = call.ports.documents.get(path, KnownActuals)
    newer = known is None or known.at <= at
    writes: dict[str, Any] = {f"feedback_events/{event.id}": event}
    if newer:
        writes[path] = KnownActuals(
            ad_id=ad_id, at=at, pipeline_value=value, spend=spend, cash_revenue=cash
        )
    direct = owner.policy.sampler.mode == "direct" or value is None
    counted = cash if direct else value
    call.ports.documents.set_all(writes)
    return ActualsTaken(
        status="feedback_registered",
        ad_id=ad_id,
        actual_roas=counted / spend if spend and counted is not None else None,
        model_updated=False,
        sampler_updated=newer and counted is not None,
        timestamp=at,
    )


def _told(asked: Actuals, owner: _Owner) -> tuple[int | None, int | None]:
    """Pipeline value and cash revenue (minor units); null what was not told. Raises 422."""
    if asked.actual_pipeline_value is None and asked.actual_cash_revenue is None:
        raise ApiError(422, "actual_pipeline_value or actual_cash_revenue is missing")

    def cents(name: str) -> int | None:
        amount = getattr(asked, name)
        return None if amount is None else minor(amount, owner.currency, name)

    return cents("actual_pipeline_value"), cents("actual_cash_revenue")


def _actuals_path(owner: _Owner, ad_id: str) -> str:
    return f"ad_actuals/{owner.id}:{ad_id}"


def _actuals(call: Call, owner: _Owner, asked: Selection) -> dict[str, KnownActuals]:
    """Reported values of the ads whose caller sends none."""
    silent = [
        _actuals_path(owner, identifier(ad.ad_id, "ad_id"))
        for ad in asked.ad_states
        if _reported(ad)
    ]
    found = call.ports.documents.get_many(silent, KnownActuals)
    return {actual.ad_id: actual for actual in found.values()}


# Synthetic revenue ---------------------------------------------------------------------------


def value_stage(call: Call) -> StageAnswer:
    """What a deal is worth in a stage, and what its move there adds; nothing is stored."""
    asked: StageQuestion = call.body
    stage_to = asked.stage_to or asked.stage
    if not stage_to or not stage_to.strip():
        raise ApiError(422, "stage or stage_to is missing")
    owner = _owner(call, asked.tenant_id or asked.account_id or _account_of(call, asked.campaign))
    account = Account(
        id=owner.id, ad_account_id="", page_id="", link_url="", currency=owner.currency
    )
    stages = crediting.stages_of(call.ports.documents, account, owner.policy.revenue)
    own = call.ports.documents.get(f"stage_maps/{owner.id}", dict) is not None
    amount = (
        minor(asked.deal_value, owner.currency, "deal_value")
        if asked.deal_value is not None
        else None
    )
    pipeline = (asked.pipeline or owner.policy.revenue.pipeline).lower()

    def key(stage: str) -> str:
        return stage_key(pipeline, crediting.stage_name(stage))

    moved = change(
        key(asked.stage_from) if asked.stage_from else None,
        key(stage_to),
        amount,
        crediting.normalised(stages),
    )
    return StageAnswer(
        stage_from=asked.stage_from,
        stage_to=stage_to,
        synthetic_value=money.major(moved.value, stages.currency),
        calculated_value=money.major(moved.increment, stages.currency),
        confidence=moved.confidence,
        reason=moved.reason,
        currency=stages.currency,
        degraded=[*([] if own else [DEFAULT_MAP]), *moved.warnings],
    )


def _account_of(call: Call, campaign_id: str | None) -> str | None:
    if not campaign_id:
        return None
    path = f"campaigns/{identifier(campaign_id, 'campaign')}"
    campaign = call.ports.documents.get(path, Campaign)
    return campaign.account_id if campaign else None


def _owner(call: Call, account_id: str | None) -> _Owner:
    owner = identifier(account_id or DEFAULT_ACCOUNT, "account_id")
    account = call.ports.documents.get(f"accounts/{owner}", Account)
    policy = policy_of(call.ports.documents, owner)
    return _Owner(owner, account.currency if account else "USD", policy)


def serve(api: Api) -> None:
    """The routes of ml_service and of meta_publisher."""
    ml = "/api/ml"
    api.post(f"{ml}/battle-hardened/select", body=Selection, answer=Selected)(select)
    api.post(f"{ml}/battle-hardened/feedback", body=Actuals, answer=ActualsTaken)(take_feedback)
    api.post(f"{ml}/synthetic-revenue/calculate", body=StageQuestion, answer=StageAnswer)(
        value_stage
    )
