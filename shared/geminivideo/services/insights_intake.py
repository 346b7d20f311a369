"""One row of insights that a caller sends: kept as an event, as its day, and in the ad's state.

Money is in major units of the account's currency, as the earlier system's callers send it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from geminivideo import money
from geminivideo.budget import history, insights
from geminivideo.cloud.documents import AlreadyExistsError
from geminivideo.records import Account, AccountReading, AdState, FeedbackEvent, PerformanceDay
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.safe_executor.ledger import reading_path
from geminivideo.services import crediting
from geminivideo.services.insights_reading import calendar_of

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Transaction

SOURCE = "api"
RATIO_CONTRADICTS = "ctr-contradicts-counts"
ACCOUNT_UNKNOWN = "account-unknown"
MOST = 10**12
CTR_TOLERANCE = 0.001
_MOST_EPOCH_S = 1e11  # a larger timestamp is milliseconds
_AHEAD_S = 86400.0


@dataclass(frozen=True, kw_only=True)
class InsightsRow:
    """What an ad has done on one day so far; a later row of the same day replaces it.

    ``spend`` and ``conversion_value`` (below 0 where refunds were more than sales) are in major
    units; ``ctr`` is only compared; ``timestamp`` (default: now) is epoch (s or ms) or ISO 8601,
    and its day is that of the account's calendar.
    """

    ad_id: str
    impressions: int
    clicks: int
    spend: float | str
    conversions: float | None = None
    conversion_value: float | str | None = None
    ctr: float | None = None
    timestamp: float | str | None = None
    account_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class RowTaken:
    """``status``: recorded, duplicate (the same row again), or outdated (the day is known newer).

    ``warnings`` name what cannot be true of the row's numbers; it is kept all the same.
    """

    event_id: str
    status: str
    ad_id: str
    date: str
    warnings: list[str] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)


def moment(value: float | str | None, now: float, member: str) -> float:
    """A caller's time as epoch seconds; raises 422 naming the member."""
    if value is None:
        return now
    try:
        at = float(value)
        at = at / 1000.0 if at > _MOST_EPOCH_S else at
    except ValueError:
        at = _iso(str(value), member)
    if not 0 <= at <= now + _AHEAD_S:
        raise ApiError(422, f"{member} {value!r} is before 1970 or in the future")
    return at


def _iso(text: str, member: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ApiError(422, f"{member} {text[:40]!r} is neither epoch nor ISO 8601") from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def minor(amount: float | str, currency: str, member: str) -> int:
    """A caller's amount in major units as minor ones; raises 422 naming the member."""
    found = net(amount, currency, member)
    if found < 0:
        raise ApiError(422, f"{member} must not be below 0")
    return found


def net(amount: float | str, currency: str, member: str) -> int:
    """``minor`` of an amount that may be below 0: a day may pay back more than it took."""
    try:
        return money.minor(amount, currency)
    except money.AmountError as error:
        raise ApiError(422, f"{member}: {error}") from error


def count(value: int, member: str) -> int:
    """A caller's count; raises 422 naming the member."""
    if not 0 <= value <= MOST:
        raise ApiError(422, f"{member} must be a count from 0 to {MOST}")
    return value


def take_row(call: Call) -> RowTaken:
    """Record one ad's day as the caller saw it; numbers that contradict are kept and named."""
    row: InsightsRow = call.body
    ad_id, now = identifier(row.ad_id, "ad_id"), call.ports.clock.now()
    account, known = _account(call, row)
    at = moment(row.timestamp, now, "timestamp")
    day = _day(call, row, account, at, now)
    event = _event(row, day, account, at, now)
    policy = policy_of(call.ports.documents, account.id)
    kept = policy.insights.kept_days

    def body(transaction: Transaction) -> str:
        stored = transaction.get(f"performance_metrics/{day.id}", PerformanceDay)
        state = transaction.get(f"ad_states/{ad_id}", AdState) or _new(ad_id, account)
        transaction.create(f"feedback_events/{event.id}", event)
        if stored is not None and stored.fetched_at > day.fetched_at:
            return "outdated"
        seen = max(day.fetched_at, state.insights_at or 0.0)
        grown = history.absorb(state, [history.ad_day(day)], kept)
        transaction.set(f"performance_metrics/{day.id}", day)
        told = crediting.with_insights(replace(grown, updated_at=now, insights_at=seen))
        transaction.set(f"ad_states/{ad_id}", told)
        return "recorded"

    try:
        status = call.ports.documents.transact(body)
    except AlreadyExistsError:
        status = "duplicate"
    return RowTaken(
        event_id=event.id,
        status=status,
        ad_id=ad_id,
        date=day.date,
        warnings=list(day.warnings),
        degraded=[] if known else [ACCOUNT_UNKNOWN],
    )


def _account(call: Call, row: InsightsRow) -> tuple[Account, bool]:
    """The ad's account, else the one named; one that we do not know counts in US dollars."""
    found = crediting.account_of_ad(call.ports.documents, row.ad_id)
    if found is not None:
        return found, True
    account_id = identifier(row.account_id or "default", "account_id")
    named = call.ports.documents.get(f"accounts/{account_id}", Account)
    unknown = Account(id=account_id, ad_account_id="", page_id="", link_url="")
    return named or unknown, named is not None


def _day(call: Call, row: InsightsRow, account: Account, at: float, now: float) -> PerformanceDay:
    """The row as a day. It is as fresh as now at most, however far ahead the caller's clock is."""
    impressions, clicks = count(row.impressions, "impressions"), count(row.clicks, "clicks")
    spend = minor(row.spend, account.currency, "spend")
    value = row.conversion_value
    reading = call.ports.documents.get(reading_path(account.id), AccountReading)
    calendar = calendar_of(reading)
    date = calendar.day_of(at)
    return PerformanceDay(
        id=insights.day_id(row.ad_id, date),
        ad_id=row.ad_id,
        account_id=account.id,
        date=date,
        impressions=impressions,
        clicks=clicks,
        spend=spend,
        currency=account.currency,
        source=SOURCE,
        fetched_at=min(at, now),
        begins_at=calendar.begins_at(date),
        hours=calendar.hours(date),
        conversions=_conversions(row),
        purchases=_conversions(row) if value is not None else None,  # those that brought it
        conversion_value=(
            None if value is None else net(value, account.currency, "conversion_value")
        ),
        warnings=(
            *insights.contradictions(impressions, clicks, spend),
            *ratio_contradiction(row.ctr, impressions, clicks),
        ),
    )


def _conversions(row: InsightsRow) -> float | None:
    if row.conversions is not None and not 0 <= row.conversions <= MOST:
        raise ApiError(422, f"conversions must be a count from 0 to {MOST}")
    return row.conversions


def ratio_contradiction(ctr: float | None, impressions: int, clicks: int) -> tuple[str, ...]:
    """Whether a stated CTR (a fraction, or a percentage) is that of the counts."""
    if ctr is None:
        return ()
    real = clicks / impressions if impressions else 0.0
    near = any(abs(told - real) <= CTR_TOLERANCE for told in (ctr, ctr / 100.0))
    return () if near else (f"{RATIO_CONTRADICTS}:{ctr:g}/{real:.4f}",)


def _event(
    row: InsightsRow, day: PerformanceDay, account: Account, at: float, now: float
) -> FeedbackEvent:
    members = {
        "date": day.date,
        "impressions": day.impressions,
        "clicks": day.clicks,
        "spend": day.spend,
        "conversions": day.conversions,
        "conversion_value": day.conversion_value,
        "warnings": list(day.warnings),
    }
    timed = at if row.timestamp is not None else day.date
    digest = hashlib.sha256(repr((day.ad_id, timed, sorted(members.items()))).encode())
    return FeedbackEvent(
        id=f"in-{digest.hexdigest()[:24]}",
        kind="insights",
        account_id=account.id,
        occurred_at=at,
        received_at=now,
        ad_id=day.ad_id,
        currency=account.currency,
        verified=False,
        members=members,
    )


def _new(ad_id: str, account: Account) -> AdState:
    return AdState(id=ad_id, account_id=account.id, currency=account.currency, updated_at=0.0)


def serve(api: Api) -> None:
    """The route of the gateway."""
    api.post("/api/meta/insights", body=InsightsRow, answer=RowTaken)(take_row)
