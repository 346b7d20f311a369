"""How worn an account's ads are, from their recent days at Meta, over HTTP."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from geminivideo.budget import elasticity, fatigue, gathering, history, panel
from geminivideo.budget.gathering import Unit
from geminivideo.budget.signals import DAY_S
from geminivideo.cloud.documents import Query
from geminivideo.learning.fatigue_state import REMEDIES, Finding, Slope, Wear, Worn, state
from geminivideo.policy import Policy
from geminivideo.records import AdState
from geminivideo.runtime.http import Api, Call, identifier
from geminivideo.runtime.policies import policy_of

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents

INSUFFICIENT, COMPLETE = "insufficient", "complete"
MOST = 2000
MORE_ADS = "more-ads"


@dataclass(frozen=True, kw_only=True)
class WearQuestion:
    """``status``: one of the states, or a delivery status of Meta; empty or ``all`` for every ad.

    Without an account the ads of every account are looked at.
    """

    status: str = ""
    include_remediation: bool = False
    account_id: str | None = None
    ad_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class WearEvidence:
    """What the state rests on: slopes are relative changes per day with their z; null is unknown.

    ``frequency`` is impressions per person and day.
    """

    facts: tuple[str, ...]
    days: int
    impressions: int
    ctr_slope: float | None = None
    ctr_z: float | None = None
    cpm_slope: float | None = None
    cpm_z: float | None = None
    frequency: float | None = None
    frequency_slope: float | None = None
    frequency_z: float | None = None


@dataclass(frozen=True, kw_only=True)
class WornAd:
    """One ad's state; ``remediation`` when it was asked for."""

    ad_id: str
    account_id: str
    state: Wear
    evidence: WearEvidence
    remediation: tuple[str, ...] | None = None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WearShown:
    """The ads, the most worn first. ``data_status`` insufficient: no ad could be judged."""

    ads: list[WornAd]
    counts: dict[str, int]
    data_status: str
    degraded: list[str] = field(default_factory=list)


_WORST_FIRST = (
    Wear.AUDIENCE_EXHAUSTED,
    Wear.SATURATED,
    Wear.FATIGUING,
    Wear.HEALTHY,
    Wear.INSUFFICIENT_DATA,
)


def monitor(call: Call) -> WearShown:
    """How worn ads are, each with its evidence and, if wanted, what can be done."""
    asked: WearQuestion = call.body
    documents, now = call.ports.documents, call.ports.clock.now()
    wanted = asked.status.strip().upper()
    states, more = _states(documents, asked, wanted)
    judged = [
        (one, worn, finding)
        for account_id, of_account in _by_account(states).items()
        for one, worn, finding in judge(of_account, policy_of(documents, account_id), now)
        if wanted not in set(Wear) or finding.wear == wanted
    ]
    judged.sort(key=lambda row: (_WORST_FIRST.index(row[2].wear), row[0].id))
    told = [row for row in judged if row[2].wear is not Wear.INSUFFICIENT_DATA]
    return WearShown(
        ads=[_shown(*row, remedies=asked.include_remediation) for row in judged],
        counts=_counted(finding for _, _, finding in judged),
        data_status=COMPLETE if told else INSUFFICIENT,
        degraded=[f"{MORE_ADS}:{MOST}"] if more else [],
    )


def _states(documents: Documents, asked: WearQuestion, wanted: str) -> tuple[list[AdState], bool]:
    """The ads asked for, and whether there are more than are looked at."""
    if asked.ad_id is not None:
        one = documents.get(f"ad_states/{identifier(asked.ad_id, 'ad_id')}", AdState)
        return [one] if one else [], False
    where = []
    if asked.account_id is not None:
        where.append(("account_id", "==", identifier(asked.account_id, "account_id")))
    if wanted and wanted != "ALL" and wanted not in set(Wear):
        where.append(("status", "==", wanted))
    found = (one for page in documents.pages(Query("ad_states", where), AdState) for one in page)
    some = list(islice(found, MOST + 1))
    return some[:MOST], len(some) > MOST


def _by_account(states: Iterable[AdState]) -> dict[str, list[AdState]]:
    found: dict[str, list[AdState]] = defaultdict(list)
    for one in states:
        found[one.account_id].append(one)
    return found


def judge(states: list[AdState], policy: Policy, now: float) -> list[tuple[AdState, Worn, Finding]]:
    """The state of each of an account's ads; the price's elasticity is learned from all of them."""
    if not states:
        return []
    signals = [
        gathering.signals(
            Unit(id=one.id, adset_id=one.adset_id, ads=(one,)), credits={}, now=now, policy=policy
        )
        for one in states
    ]
    days = panel.build(signals, now, policy.sampler)
    slopes = fatigue.measure(days, elasticity.learn(days, policy.sampler).ads, policy.sampler)
    since = now - policy.sampler.fatigue_days * DAY_S
    worn = [
        _worn(one, since, *(_slope(trend, row) for trend in (slopes.ctr, slopes.cpm,
                                                              slopes.frequency)))
        for row, one in enumerate(states)
    ]  # fmt: skip
    found = (state(each, policy.fatigue, policy.sampler) for each in worn)
    return list(zip(states, worn, found, strict=True))


def _slope(trend: fatigue.Trend, row: int) -> Slope:
    return Slope(per_day=float(trend.slope[row]), z=float(trend.z[row]))


def _worn(one: AdState, since: float, ctr: Slope, cpm: Slope, frequency: Slope) -> Worn:
    recent = [day for day in history.days_of(one) if day.begins_at >= since and day.impressions > 0]
    seen = [day.frequency for day in recent if day.frequency is not None]
    return Worn(
        ad_id=one.id,
        days=len(recent),
        impressions=sum(day.impressions for day in recent),
        ctr=ctr,
        cpm=cpm,
        frequency_slope=frequency,
        frequency=sum(seen) / len(seen) if seen else None,
    )


def _counted(findings: Iterable[Finding]) -> dict[str, int]:
    counts = dict.fromkeys(map(str, _WORST_FIRST), 0)
    for finding in findings:
        counts[finding.wear] += 1
    return counts


def _shown(one: AdState, worn: Worn, finding: Finding, *, remedies: bool) -> WornAd:
    return WornAd(
        ad_id=one.id,
        account_id=one.account_id,
        state=finding.wear,
        evidence=evidence_of(worn, finding),
        remediation=REMEDIES[finding.wear] if remedies else None,
        degraded=one.degraded,
    )


def evidence_of(worn: Worn, finding: Finding) -> WearEvidence:
    """The numbers behind a state; a slope that nothing tells is null, not 0."""
    if finding.wear is Wear.INSUFFICIENT_DATA:
        return WearEvidence(
            facts=finding.facts,
            days=worn.days,
            impressions=worn.impressions,
            frequency=worn.frequency,
        )
    seen = worn.frequency is not None
    return WearEvidence(
        facts=finding.facts,
        days=worn.days,
        impressions=worn.impressions,
        ctr_slope=worn.ctr.per_day,
        ctr_z=worn.ctr.z,
        cpm_slope=worn.cpm.per_day,
        cpm_z=worn.cpm.z,
        frequency=worn.frequency,
        frequency_slope=worn.frequency_slope.per_day if seen else None,
        frequency_z=worn.frequency_slope.z if seen else None,
    )


def serve(api: Api) -> None:
    """The route of ml_service and of meta_publisher."""
    api.post("/api/ml/fatigue/monitor", body=WearQuestion, answer=WearShown)(monitor)
