"""Campaigns and ads asked for over HTTP, and an ad's insights read for a caller.

Nothing here writes to Meta: a campaign or an ad becomes a change of the SafeExecutor. Budgets are
in minor units, as Meta's own API takes them; insights are answered in major units.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

from geminivideo import money
from geminivideo.budget import insights
from geminivideo.budget.calendar import days_before
from geminivideo.cloud.documents import Documents, Query, Transaction
from geminivideo.cloud.meta_insights import MetaInsights
from geminivideo.meta_client import GraphLostError, GraphRefusedError
from geminivideo.meta_publisher.creative import creative_params
from geminivideo.meta_publisher.plan import PlanError, plan_campaign
from geminivideo.policy import Policy
from geminivideo.records import (
    Account,
    AccountReading,
    Blueprint,
    Brief,
    Campaign,
    ChangeStatus,
    ChangeType,
    HookType,
    PendingChange,
    PerformanceDay,
)
from geminivideo.runtime.http import Api, ApiError, Call, identifier, service_unavailable
from geminivideo.runtime.policies import policy_of
from geminivideo.safe_executor import pausing
from geminivideo.safe_executor.ledger import Pause, reading_path
from geminivideo.services import crediting
from geminivideo.services.insights_reading import calendar_of, pause_for, pause_path
from geminivideo.services.queueing import new_change, queue
from geminivideo.topology import NOT_CONFIGURED, Need, variable_of

HOUR_S = 3600.0
DEFAULT_DAYS = 28
MOST_DAYS = 90
MAX_NAME = 200
CREATED_PAUSED = "created-paused"
STORED = "stored-insights"
_CAME_TO_NOTHING = (ChangeStatus.FAILED, ChangeStatus.CANCELLED)
READ_BUDGET = "the account's read budget is spent"


@dataclass(frozen=True, kw_only=True)
class NewMetaCampaign:
    """A campaign at Meta; ``daily_budget`` (minor units) is what its ads will share."""

    name: str
    objective: str | None = None
    status: str = "PAUSED"
    daily_budget: int | None = None
    account_id: str = "default"


@dataclass(frozen=True, kw_only=True)
class CampaignAsked:
    """``id`` is ours; Meta's follows in the history of ``change_id``."""

    id: str
    change_id: str
    status: str
    needs_approval: bool
    meta_id: str | None = None
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class NewCreative:
    """An ad's video at Meta and its words."""

    video_id: str
    title: str = ""
    body: str = ""
    link_url: str | None = None
    call_to_action: str = "LEARN_MORE"


@dataclass(frozen=True, kw_only=True)
class NewMetaAd:
    """An ad in an ad set of Meta's, or (without ``adset_id``) in one of its own.

    Its own ad set has ``daily_budget`` (minor units) of the campaign's; without, all that is left.
    """

    campaign_id: str
    creative: NewCreative
    adset_id: str | None = None
    daily_budget: int | None = None
    name: str | None = None
    status: str = "PAUSED"
    account_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class AdAsked:
    """``id`` is that of the change until Meta's follows in its history."""

    id: str
    change_id: str
    status: str
    needs_approval: bool
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class DayShown:
    """One ad on one day; ``spend`` and ``conversion_value`` are in major units."""

    date: str
    impressions: int
    clicks: int
    spend: float
    ctr: float | None
    conversions: float | None
    conversion_value: float | None
    warnings: list[str]


@dataclass(frozen=True, kw_only=True)
class InsightsShown:
    """An ad's days, oldest first; ``data_status``: complete, or insufficient without any."""

    ad_id: str
    data_status: str
    currency: str | None
    days: list[DayShown]
    impressions: int | None
    clicks: int | None
    spend: float | None
    source: str | None
    degraded: list[str] = field(default_factory=list)


# Campaigns and ads ---------------------------------------------------------------------------


def create_campaign(call: Call) -> CampaignAsked:
    """Queue a campaign for the SafeExecutor; it is created paused."""
    asked: NewMetaCampaign = call.body
    account = _account(call, asked.account_id)
    name = _named(asked.name, "name")
    if asked.daily_budget is not None and asked.daily_budget <= 0:
        raise ApiError(422, "daily_budget must be above 0 minor units")
    campaign_id = f"ca-{uuid.uuid4().hex[:16]}"
    brief = Brief(product_name=name)
    try:
        plan = plan_campaign(
            campaign_id, account, brief, title=name, campaign_id=campaign_id,
            objective=asked.objective, daily_budget=asked.daily_budget,
        )  # fmt: skip
    except PlanError as error:
        raise ApiError(422, str(error)) from error
    record = replace(plan.record("", account, brief, call.ports.clock.now()), flow_id=None)
    change = _queued(
        call,
        account,
        ChangeType.CREATE_CAMPAIGN,
        {},
        campaign_id,
        f"campaign {name} was asked for",
        more={f"campaigns/{campaign_id}": record},
    )
    return CampaignAsked(
        id=campaign_id,
        change_id=change.id,
        status=change.status,
        needs_approval=change.needs_approval,
        degraded=_paused(asked.status),
    )


def create_ad(call: Call) -> AdAsked:
    """Queue an ad with a video that is at Meta already; it is created paused."""
    asked: NewMetaAd = call.body
    campaign_id = identifier(asked.campaign_id, "campaign_id")
    campaign = call.ports.documents.get(f"campaigns/{campaign_id}", Campaign)
    account = _account(call, campaign.account_id if campaign else asked.account_id or "default")
    if asked.adset_id is None and (campaign is None or "adset" not in campaign.plan):
        raise ApiError(422, "adset_id is missing: the campaign is not planned here")
    identifier(asked.creative.video_id, "creative.video_id")
    change_id = f"ch-{uuid.uuid4().hex[:20]}"
    name = _named(asked.name or asked.creative.title or "ad", "name")
    payload = _ad_payload(asked, account, campaign, change_id, name)
    share = None
    if campaign is not None and asked.adset_id is None:
        share = _Share(campaign, policy_of(call.ports.documents, account.id))
        budget = asked.daily_budget or share.left(call.ports.documents)
        payload["adset"] = payload["adset"] | {"daily_budget": budget}
    change = _queued(
        call, account, ChangeType.CREATE_AD, payload, campaign_id, f"ad {name} was asked for",
        change_id=change_id,
        check=share.check(payload["adset"]["daily_budget"]) if share else None,
    )  # fmt: skip
    return AdAsked(
        id=change.id,
        change_id=change.id,
        status=change.status,
        needs_approval=change.needs_approval,
        degraded=_paused(asked.status),
    )


@dataclass(frozen=True)
class _Share:
    """What the ads of a campaign have of its daily budget, in minor units."""

    campaign: Campaign
    policy: Policy

    def left(self, reader: Documents | Transaction) -> int:
        """What no ad has that was made or is still to be made."""
        of_campaign = [("campaign_id", "==", self.campaign.id)]
        ads = [
            change.payload["adset"]["daily_budget"]
            for change in reader.query(Query("pending_ad_changes", of_campaign), PendingChange)
            if change.status not in _CAME_TO_NOTHING and "adset" in change.payload
        ]
        return int(self.campaign.plan["adset"]["daily_budget"]) - sum(ads)

    def check(self, budget: int) -> Callable[[Transaction], None]:
        """Raises 422 unless the budget is at least the smallest there is, and still left."""

        def holds(transaction: Transaction) -> None:
            left, least = self.left(transaction), self.policy.allocation.min_daily_budget
            if not least <= budget <= left:
                raise ApiError(
                    422,
                    f"daily_budget must be from {least} to the {max(left, 0)} (minor units a day) "
                    f"that campaign {self.campaign.id} has left: say each ad's share",
                )

        return holds


def _ad_payload(
    asked: NewMetaAd, account: Account, campaign: Campaign | None, change_id: str, name: str
) -> dict[str, Any]:
    tags = {"gv_change": change_id}
    words = _words(asked.creative)
    brief = Brief(link_url=asked.creative.link_url)
    creative = creative_params(f"{name} [{change_id}-cr]", account, brief, words, tags)
    payload = {
        "video_id": asked.creative.video_id,
        "creative": creative,
        "ad": {"name": f"{name} [{change_id}]", "status": "PAUSED"},
    }
    if asked.adset_id is not None:
        return payload | {"adset_id": identifier(asked.adset_id, "adset_id")}
    assert campaign is not None
    adset = campaign.plan["adset"] | {"name": f"{name} [{change_id}-as]"}
    return payload | {"adset": adset}


def _words(creative: NewCreative) -> Blueprint:
    """The creative's words as the planner takes them."""
    return Blueprint(
        id="",
        flow_id="",
        title=creative.title,
        hook_text=creative.title,
        hook_type=HookType.STORY,
        shots=(),
        cta_text="",
        cta_type=creative.call_to_action,
        caption=creative.body,
        emotional_triggers=(),
        grade="",
        mode="api",
    )


def _queued(
    call: Call,
    account: Account,
    kind: ChangeType,
    payload: dict[str, Any],
    campaign_id: str,
    reasoning: str,
    *,
    change_id: str = "",
    more: Mapping[str, Any] | None = None,
    check: Callable[[Transaction], None] | None = None,
) -> PendingChange:
    """The change with its history, its task and what it needs, all or nothing."""
    change_id = change_id or f"ch-{uuid.uuid4().hex[:20]}"
    change = new_change(
        call,
        change_id,
        account.id,
        change_type=kind,
        campaign_id=campaign_id,
        ad_id=None,
        payload=payload,
        requested_by=call.caller or "api",
        reasoning=reasoning,
    )
    queue(call, change, f"api:{change.id}", more, check)
    return change


def _account(call: Call, account_id: str) -> Account:
    path = f"accounts/{identifier(account_id, 'account_id')}"
    account = call.ports.documents.get(path, Account)
    if account is None:
        raise ApiError(422, f"account_id {account_id!r} is not known: there is no {path}")
    return account


def _named(text: str, member: str) -> str:
    if not text.strip() or len(text) > MAX_NAME:
        raise ApiError(422, f"{member} must have 1 to {MAX_NAME} characters")
    return text.strip()


def _paused(status: str) -> list[str]:
    """Everything is created paused; who asked for more is told so."""
    return [] if status.upper() == "PAUSED" else [CREATED_PAUSED]


# Insights ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Reads:
    """``rate_windows/reads-{account}``: what callers read in the hour from ``since_at`` on."""

    since_at: float
    count: int


def show_insights(call: Call) -> InsightsShown:
    """An ad's days as Meta shows them now; 429 once the account's read budget is spent."""
    if "ad_id" not in call.query:
        raise ApiError(422, "ad_id is missing: give ?ad_id=")
    ad_id = identifier(call.query["ad_id"], "ad_id")
    days = call.number("days", DEFAULT_DAYS, 1, MOST_DAYS)
    account = crediting.account_of_ad(call.ports.documents, ad_id)
    if account is None:
        return _none(ad_id, None)
    policy = policy_of(call.ports.documents, account.id)
    _spend_read(call, account.id, policy)
    token = os.environ.get(variable_of(Need.META_READ_TOKEN), "")
    if token in ("", NOT_CONFIGURED):
        return _shown(ad_id, account, _stored(call, ad_id, days), [STORED])
    meta = MetaInsights(token, url=os.environ.get("GV_META_GRAPH_URL", ""), timeout_s=10.0)
    return _shown(ad_id, account, _live(call, meta, account, ad_id, days, policy), [])


def _spend_read(call: Call, account_id: str, policy: Policy) -> None:
    """Count a read; raises 429 when the hour's are used up, or Meta asked for a pause."""
    now, documents = call.ports.clock.now(), call.ports.documents
    pause = documents.get(pause_path(account_id), Pause)
    if pause is not None and pause.until_at > now:
        raise _too_many(pause.reason, pause.until_at - now)
    path, most = f"rate_windows/reads-{account_id}", policy.insights.reads_per_hour

    def body(transaction: Transaction) -> float | None:
        known = transaction.get(path, Reads)
        if known is None or known.since_at + HOUR_S <= now:
            known = Reads(since_at=now, count=0)
        if known.count >= most:
            return known.since_at + HOUR_S - now
        transaction.set(path, Reads(since_at=known.since_at, count=known.count + 1))
        return None

    wait_s = documents.transact(body)
    if wait_s is not None:
        raise _too_many(READ_BUDGET, wait_s)


def _too_many(reason: str, wait_s: float) -> ApiError:
    return ApiError(429, reason, retry_after=max(1, ceil(wait_s)))


def _live(
    call: Call, meta: MetaInsights, account: Account, ad_id: str, days: int, policy: Policy
) -> list[PerformanceDay]:
    now = call.ports.clock.now()
    reading = call.ports.documents.get(reading_path(account.id), AccountReading)
    calendar = calendar_of(reading)
    until = calendar.day_of(now)
    try:
        rows = meta.ad_rows(ad_id, days_before(until, days - 1), until)
        found = [
            insights.performance_day(
                row, account_id=account.id, currency=account.currency, calendar=calendar,
                fetched_at=now,
            )
            for row in rows
        ]  # fmt: skip
    except GraphRefusedError as error:
        return _refused(call, meta, error, account, policy)
    except (GraphLostError, insights.InsightsError) as error:
        raise service_unavailable(f"Meta: {error}") from error
    usage = meta.usage()
    pause = pause_for(usage, now, policy) if usage else None
    if pause is not None:
        pausing.keep(call.ports.documents, pause_path(account.id), pause)
    return sorted(found, key=lambda day: day.date)


def _refused(
    call: Call, meta: MetaInsights, error: GraphRefusedError, account: Account, policy: Policy
) -> list[PerformanceDay]:
    """A limit is a 429; an ad that Meta does not show has no days; all else is its failure."""
    now = call.ports.clock.now()
    pause = pause_for(error, now, policy, meta.usage())
    if pause is not None:
        pausing.keep(call.ports.documents, pause_path(account.id), pause)
        raise _too_many(pause.reason, pause.until_at - now) from error
    if error.code == 100:
        return []
    raise service_unavailable(f"Meta refused: {error}") from error


def _stored(call: Call, ad_id: str, days: int) -> list[PerformanceDay]:
    of_ad = Query("performance_metrics", [("ad_id", "==", ad_id)])
    found = call.ports.documents.query(of_ad, PerformanceDay)
    return sorted(found, key=lambda day: day.date)[-days:]


def _shown(
    ad_id: str, account: Account, days: list[PerformanceDay], degraded: list[str]
) -> InsightsShown:
    if not days:
        return _none(ad_id, account.currency, degraded)
    return InsightsShown(
        ad_id=ad_id,
        data_status="complete",
        currency=account.currency,
        days=[_day(day) for day in days],
        impressions=sum(day.impressions for day in days),
        clicks=sum(day.clicks for day in days),
        spend=money.major(sum(day.spend for day in days), account.currency),
        source=days[-1].source,
        degraded=degraded,
    )


def _day(day: PerformanceDay) -> DayShown:
    value = day.conversion_value
    return DayShown(
        date=day.date,
        impressions=day.impressions,
        clicks=day.clicks,
        spend=money.major(day.spend, day.currency),
        ctr=day.clicks / day.impressions if day.impressions else None,
        conversions=day.conversions,
        conversion_value=None if value is None else money.major(value, day.currency),
        warnings=list(day.warnings),
    )


def _none(ad_id: str, currency: str | None, degraded: list[str] | None = None) -> InsightsShown:
    return InsightsShown(
        ad_id=ad_id, data_status="insufficient", currency=currency, days=[], impressions=None,
        clicks=None, spend=None, source=None, degraded=degraded or [],
    )  # fmt: skip


def serve(api: Api) -> None:
    """The routes of meta_publisher."""
    api.post("/api/meta/campaigns", body=NewMetaCampaign, answer=CampaignAsked)(create_campaign)
    api.post("/api/meta/ads", body=NewMetaAd, answer=AdAsked)(create_ad)
    api.get("/api/meta/insights", answer=InsightsShown, query=("ad_id", "days"))(show_insights)
