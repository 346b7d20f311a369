"""The campaigns that did best: Meta's days and the deals' credits of a time, added up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from geminivideo import money
from geminivideo.cloud.documents import Query
from geminivideo.learning_records import Actual
from geminivideo.records import Account, AdState, Campaign, FeedbackEvent, PerformanceDay
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.services.periods import Period, period

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents

UNKNOWN = "unknown"
MOST_DAYS = 20_000  # days of ads that one answer adds up; of more, the newest
NEWEST_ONLY = "newest-days-only"
_MOST = 100


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What some ads did in a time; money is minor units until it is shown."""

    impressions: int = 0
    clicks: int = 0
    spend: float = 0
    conversions: float = 0.0
    cash_revenue: float = 0
    pipeline_value: float = 0

    def plus(self, other: Totals) -> Totals:
        """Both added up."""
        mine, theirs = asdict(self), asdict(other)
        return Totals(**{member: mine[member] + theirs[member] for member in mine})

    def value(self, metric: str) -> float | None:
        """A metric; a ratio without its denominator is unknown."""
        if metric not in RATIOS:
            return float(getattr(self, metric))
        above, below = (float(getattr(self, member)) for member in RATIOS[metric])
        return above / below if below else None


RATIOS: Mapping[str, tuple[str, str]] = {
    "ctr": ("clicks", "impressions"),
    "cpc": ("spend", "clicks"),
    "conversion_rate": ("conversions", "clicks"),
    "roas": ("cash_revenue", "spend"),
    "pipeline_roas": ("pipeline_value", "spend"),
}
METRICS = (*RATIOS, *Totals.__dataclass_fields__)
_LOWER_IS_BETTER = ("cpc",)


@dataclass(frozen=True, kw_only=True)
class TopAsked:
    """``time_period``: Q1 to Q4, last_week, last_month, last_quarter, 7d ...; none: all time.

    ``group_by``: campaign, adset, ad, status, a kind of the ads (hook_type, cta_type, grade,
    first_frame), or day, week, month (of the last quarter, when no time is given). ``metric``:
    without one the return that the account counts, ``roas`` (cash) in mode direct, else
    ``pipeline_roas``.
    """

    account_id: str = "default"
    top_k: int = 10
    time_period: str | float | None = None
    metric: str | None = None
    group_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One campaign or group; money is in major units of the currency, ratios are fractions.

    ``value`` is that of the metric asked for, null when it cannot be told.
    """

    id: str
    name: str
    value: float | None
    ads: int
    impressions: int
    clicks: int
    spend: float
    conversions: float
    cash_revenue: float
    pipeline_value: float
    ctr: float | None
    roas: float | None
    pipeline_roas: float | None


@dataclass(frozen=True, kw_only=True)
class TopCampaigns:
    """The best first; ``groups`` is empty unless asked for."""

    campaigns: list[Row]
    groups: list[Row]
    metric: str
    currency: str
    data_status: str
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """One ad, or one day of it, as it is added up."""

    state: AdState
    totals: Totals
    date: str = ""


def top(call: Call) -> TopCampaigns:
    """Rank an account's campaigns by a metric over a time."""
    asked: TopAsked = call.body
    account_id = identifier(asked.account_id, "account_id")
    group = _checked(asked)
    documents = call.ports.documents
    metric = asked.metric or _return(documents, account_id)
    time = _time(asked, group, call.ports.clock.now())
    states = documents.query(Query("ad_states", [("account_id", "==", account_id)]), AdState)
    account = documents.get(f"accounts/{account_id}", Account)
    currency = account.currency if account else states[0].currency if states else "USD"
    parts, degraded = _parts(documents, account_id, states, time)
    names = _names(documents, account_id)
    campaigns = _ranked(parts, lambda part: part.state.campaign_id, names, metric, currency)
    key = _key(documents, group, states)
    groups = _ranked(parts, key, names if group == "campaign" else {}, metric, currency)
    return TopCampaigns(
        campaigns=campaigns[: asked.top_k],
        groups=groups[: asked.top_k] if group else [],
        metric=metric,
        currency=currency,
        data_status=_status(campaigns, degraded),
        degraded=degraded,
    )


def _return(documents: Documents, account_id: str) -> str:
    direct = policy_of(documents, account_id).sampler.mode == "direct"
    return "roas" if direct else "pipeline_roas"


def _time(asked: TopAsked, group: str | None, now: float) -> Period | None:
    time = period(asked.time_period, now, "time_period")
    if time is None and group in _OF_DATE:
        return period("last_quarter", now, "time_period")
    return time


def _status(campaigns: list[Row], degraded: list[str]) -> str:
    if not any(row.impressions or row.spend for row in campaigns):
        return "insufficient"
    return "partial" if degraded else "complete"


def _checked(asked: TopAsked) -> str | None:
    if not 1 <= asked.top_k <= _MOST:
        raise ApiError(422, f"top_k must be 1 to {_MOST}")
    if asked.metric is not None and asked.metric not in METRICS:
        raise ApiError(422, f"metric must be one of {', '.join(METRICS)}, not {asked.metric!r}")
    group = (asked.group_by or "").strip().lower() or None
    if group is not None and group not in (*_OF_STATE, *_OF_DATE, *_KINDS):
        known = ", ".join((*_OF_STATE, *_OF_DATE, *_KINDS))
        raise ApiError(422, f"group_by must be one of {known}, not {asked.group_by!r}")
    return group


def _parts(
    documents: Documents, account_id: str, states: Iterable[AdState], time: Period | None
) -> tuple[list[Part], list[str]]:
    """What is added up: the ads' lives, or their days and credits in a time."""
    by_id = {state.id: state for state in states}
    if time is None:
        return [Part(state, _life(state)) for state in by_id.values()], []
    days, credits = _days(documents, account_id, time), _credits(documents, account_id, time)
    degraded = [NEWEST_ONLY] if max(len(days), len(credits)) > MOST_DAYS else []
    parts = [
        *(_part(by_id, day.ad_id, day.date, _of_day(day)) for day in days[:MOST_DAYS]),
        *(
            _part(by_id, event.ad_id, _date(event.occurred_at), Totals(pipeline_value=event.value))
            for event in credits[:MOST_DAYS]
            if event.ad_id is not None
        ),
    ]
    return [part for part in parts if part is not None], degraded


def _life(state: AdState) -> Totals:
    return Totals(
        impressions=state.impressions,
        clicks=state.clicks,
        spend=state.spend,
        conversions=state.conversions,
        cash_revenue=state.cash_revenue,
        pipeline_value=state.pipeline_value,
    )


def _of_day(day: PerformanceDay) -> Totals:
    return Totals(
        impressions=day.impressions,
        clicks=day.clicks,
        spend=day.spend,
        conversions=day.conversions or 0.0,
        cash_revenue=day.conversion_value or 0,
    )


def _part(
    states: Mapping[str, AdState], ad_id: str | None, date: str, totals: Totals
) -> Part | None:
    state = states.get(ad_id or "")
    return Part(state, totals, date) if state is not None else None


def _days(documents: Documents, account_id: str, time: Period) -> list[PerformanceDay]:
    """The newest days of the account's own calendar that begin in a time."""
    last = datetime.fromtimestamp(time.until, UTC) - timedelta(seconds=1)
    query = Query(
        "performance_metrics",
        [
            ("account_id", "==", account_id),
            ("date", ">=", _date(time.since)),
            ("date", "<=", last.date().isoformat()),
        ],
        order=["-date"],
        limit=MOST_DAYS + 1,
    )
    return documents.query(query, PerformanceDay)


def _credits(documents: Documents, account_id: str, time: Period) -> list[FeedbackEvent]:
    query = Query(
        "feedback_events",
        [
            ("account_id", "==", account_id),
            ("occurred_at", ">=", time.since),
            ("occurred_at", "<", time.until),
        ],
        order=["-occurred_at"],
        limit=MOST_DAYS + 1,
    )
    return documents.query(query, FeedbackEvent)


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _names(documents: Documents, account_id: str) -> dict[str, str]:
    """The names of the campaigns that were made here, by the ids that Meta gave them."""
    query = Query("campaigns", [("account_id", "==", account_id)])
    made = documents.query(query, Campaign)
    return {one.steps["campaign"]["meta_id"]: one.name for one in made if _meta_id(one)}


def _meta_id(campaign: Campaign) -> str | None:
    step = campaign.steps.get("campaign") or {}
    found = step.get("meta_id")
    return str(found) if found else None


Key = Callable[[Part], str | None]
_OF_STATE: Mapping[str, Key] = {
    "campaign": lambda part: part.state.campaign_id,
    "adset": lambda part: part.state.adset_id,
    "ad": lambda part: part.state.id,
    "status": lambda part: part.state.status or None,
}
_OF_DATE: Mapping[str, Key] = {
    "day": lambda part: part.date or None,
    "week": lambda part: _week(part.date) if part.date else None,
    "month": lambda part: part.date[:7] or None,
}
_KINDS = ("hook_type", "cta_type", "grade", "first_frame")


def _week(date: str) -> str:
    year, week, _ = datetime.fromisoformat(date).isocalendar()
    return f"{year}-W{week:02d}"


def _key(documents: Documents, group: str | None, states: Iterable[AdState]) -> Key:
    if group in _KINDS:
        return _kind_key(documents, group, states)
    return {**_OF_STATE, **_OF_DATE}[group or "campaign"]


def _kind_key(documents: Documents, kind: str, states: Iterable[AdState]) -> Key:
    """What kind each ad is, as its actuals know it."""
    found = documents.get_many([f"actuals/{state.id}" for state in states], Actual)
    kinds = {
        one.ad_id: getattr(one.features, kind) for one in found.values() if one.features is not None
    }
    return lambda part: kinds.get(part.state.id)


def _ranked(
    parts: Iterable[Part], key: Key, names: Mapping[str, str], metric: str, currency: str
) -> list[Row]:
    totals: dict[str, Totals] = {}
    ads: dict[str, set[str]] = {}
    for part in parts:
        mine = key(part) or UNKNOWN
        totals[mine] = totals.get(mine, Totals()).plus(part.totals)
        ads.setdefault(mine, set()).add(part.state.id)
    rows = [_row(id_, names, one, len(ads[id_]), metric, currency) for id_, one in totals.items()]
    return list(_best_first(rows, metric))


def _best_first(rows: Iterable[Row], metric: str) -> Iterator[Row]:
    sign = 1 if metric in _LOWER_IS_BETTER else -1
    yield from sorted(
        rows,
        key=lambda row: (
            row.value is None, sign * (row.value or 0.0), -row.impressions, row.id,
        ),
    )  # fmt: skip


def _row(
    id_: str,
    names: Mapping[str, str],
    totals: Totals,
    ads: int,
    metric: str,
    currency: str,
) -> Row:
    shown = replace(
        totals,
        spend=money.major(int(totals.spend), currency),
        cash_revenue=money.major(int(totals.cash_revenue), currency),
        pipeline_value=money.major(int(totals.pipeline_value), currency),
    )
    return Row(
        id=id_,
        name=names.get(id_, id_),
        value=shown.value(metric),
        ads=ads,
        **asdict(shown),
        ctr=shown.value("ctr"),
        roas=shown.value("roas"),
        pipeline_roas=shown.value("pipeline_roas"),
    )


def serve(api: Api) -> None:
    """The route of the best campaigns."""
    path = "/api/ml/analytics/top-campaigns"
    api.post(path, body=TopAsked, answer=TopCampaigns)(top)
