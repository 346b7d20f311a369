"""Patterns over HTTP: look for them now, read them as principles, and see what changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geminivideo.learning.comparing import DAY_S
from geminivideo.learning.teaching import effect, sentence
from geminivideo.learning.traits import PAIR, PARTS
from geminivideo.learning_records import WinningPattern
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.services.patterns import ads_of, learned, patterns_of
from geminivideo.services.periods import Period, period

DEFAULT_ACCOUNT = "default"
COMPLETE, INSUFFICIENT = "complete", "insufficient"
_EVERY = ("all", "comprehensive", "full")
_MOST = 100


@dataclass(frozen=True, kw_only=True)
class ExtractAsked:
    """``time_range``: when the ads were first shown (``30d``, ``last_month``, ``Q3`` ...)."""

    account_id: str = DEFAULT_ACCOUNT
    time_range: str | float | None = None


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What was new, and every pattern that holds; ``ads_compared`` were shown often enough."""

    new_patterns: int
    new_knowledge_nodes: int
    patterns: list[dict[str, Any]]
    ads_compared: int
    data_status: str


def extract(call: Call) -> Extracted:
    """Look for patterns now, as loop 4 does. A narrower time confirms and adds, but ends nothing:
    that a part of the ads does not show a pattern is no word against it."""
    asked: ExtractAsked = call.body
    account_id = identifier(asked.account_id, "account_id")
    documents, now = call.ports.documents, call.ports.clock.now()
    policy = policy_of(documents, account_id)
    window = Period(now - policy.patterns.window_days * DAY_S, now)
    narrower = period(asked.time_range, now, "time_range")
    time = narrower or window
    ads = ads_of(documents, account_id, policy, max(time.since, window.since), time.until)
    found = learned(documents, account_id, policy, ads, now, decays=narrower is None)
    documents.set_many(found.writes)
    status = COMPLETE if found.compared else INSUFFICIENT
    return Extracted(**found.members, ads_compared=found.compared, data_status=status)


@dataclass(frozen=True, kw_only=True)
class PrinciplesAsked:
    """``analysis_type``: all, winning, losing, or a part of the ad (hook, visual, audio, pacing,
    copy, cta, pair). ``time_period``: when the patterns were last confirmed."""

    account_id: str = DEFAULT_ACCOUNT
    top_n: int = 10
    time_period: str | float | None = None
    analysis_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Principles:
    """The most effective patterns as sentences; ``patterns_count`` is how many there are."""

    patterns_count: int
    principles: list[dict[str, Any]]
    data_status: str


def principles(call: Call) -> Principles:
    """What the account's ads taught, the most effective first."""
    asked: PrinciplesAsked = call.body
    account_id = identifier(asked.account_id, "account_id")
    count, kind = _bounded(asked.top_n, "top_n"), _kind(asked.analysis_type)
    time = period(asked.time_period, call.ports.clock.now(), "time_period")
    known = [one for one in patterns_of(call.ports.documents, account_id) if one.ended_at is None]
    kept = [p for p in known if _wanted(p, kind) and _confirmed_in(p, time)]
    kept.sort(key=lambda one: (-abs(effect(one)), one.id))
    return Principles(
        patterns_count=len(kept),
        principles=[_principle(one) for one in kept[:count]],
        data_status=COMPLETE if known else INSUFFICIENT,
    )


def _bounded(count: int, member: str) -> int:
    if not 1 <= count <= _MOST:
        raise ApiError(422, f"{member} must be 1 to {_MOST}")
    return count


def _kind(asked: str | None) -> str:
    kind = (asked or "all").strip().lower()
    known = ("winning", "losing", *PARTS, PAIR)
    if kind not in (*_EVERY, *known):
        listed = ", ".join(("all", *known))
        raise ApiError(422, f"analysis_type must be one of {listed}, not {asked!r}")
    return "all" if kind in _EVERY else kind


def _wanted(one: WinningPattern, kind: str) -> bool:
    if kind in ("winning", "losing"):
        return one.raises is (kind == "winning")
    return kind in ("all", one.pattern_type)


def _confirmed_in(one: WinningPattern, time: Period | None) -> bool:
    return time is None or time.since <= one.confirmed_at <= time.until


def _principle(one: WinningPattern) -> dict[str, Any]:
    advice = "Prefer" if one.raises else "Avoid"
    return {
        "principle": f"{advice} {sentence(one)}",
        "pattern_type": one.pattern_type,
        "pattern": one.pattern,
        "effect": "raises" if one.raises else "lowers",
        "lift": one.lift,
        "interval": list(one.interval),
        "support": one.support,
        "q_value": one.q_value,
        "strength": one.strength,
        "confounded_by": list(one.confounded_by),
    }


@dataclass(frozen=True, kw_only=True)
class TrendsAsked:
    """``industry`` and ``platform`` are not modelled: only the account's own ads are known."""

    account_id: str = DEFAULT_ACCOUNT
    industry: str | None = None
    trends_count: int = 5
    platform: str | None = None


@dataclass(frozen=True, kw_only=True)
class Trends:
    """What works more or less than it did in the account's own ads, surest first.

    ``not_modelled`` are the members that changed nothing.
    """

    trends: list[dict[str, Any]]
    source: str
    data_status: str
    not_modelled: list[str] = field(default_factory=list)


def market_trends(call: Call) -> Trends:
    """Compare the account's newer ads with those before. No other account's data is looked at."""
    from geminivideo.learning import trends

    asked: TrendsAsked = call.body
    account_id = identifier(asked.account_id, "account_id")
    count = _bounded(asked.trends_count, "trends_count")
    documents, now = call.ports.documents, call.ports.clock.now()
    policy = policy_of(documents, account_id)
    since = now - policy.patterns.trend_days * DAY_S
    ads = ads_of(documents, account_id, policy, since, now)
    found = trends.trends(ads, policy.patterns, now)
    given = {"industry": asked.industry, "platform": asked.platform}
    return Trends(
        trends=[_trend(one) for one in found[:count]],
        source="own_ads",
        data_status=COMPLETE if found else INSUFFICIENT,
        not_modelled=[member for member, value in given.items() if value is not None],
    )


def _trend(one: Any) -> dict[str, Any]:
    return {
        "trend": one.trait.name,
        "pattern_type": one.trait.part,
        "direction": one.direction,
        "change": one.change,
        "lift_before": one.before.value,
        "interval_before": [one.before.low, one.before.high],
        "lift_now": one.now.value,
        "interval_now": [one.now.low, one.now.high],
        "share_before": one.share_before,
        "share_now": one.share_now,
        "q_value": one.q_value,
    }


def serve(api: Api) -> None:
    """The routes of loop 4 and of what it found."""
    ml = "/api/ml"
    api.post(f"{ml}/compound-learn/extract", body=ExtractAsked, answer=Extracted)(extract)
    api.post(f"{ml}/pattern-extractor/analyze", body=PrinciplesAsked, answer=Principles)(principles)
    api.post(f"{ml}/market-trend/analyze", body=TrendsAsked, answer=Trends)(market_trends)
