"""Verdicts as pending changes, each replacing what was still waiting for the same budget."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from geminivideo.budget.choosing import of_next_cycle
from geminivideo.budget.decision import DecisionRecord, Move, Recommendation
from geminivideo.budget.gate import AccountHealth, Outcome, Verdict
from geminivideo.budget.signals import HOUR_S, AdSignals
from geminivideo.cloud.documents import Query
from geminivideo.meta_publisher.changes import draw_jitter, queued_row
from geminivideo.policy import Policy
from geminivideo.records import (
    BudgetVerdict,
    Campaign,
    ChangeStatus,
    ChangeType,
    HistoryRow,
    PendingChange,
)
from geminivideo.safe_executor import ledger
from geminivideo.services.budget_decisions import verdict_path

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction

REQUESTED_BY = "budget-optimization"
BUDGETS = (ChangeType.BUDGET_INCREASE, ChangeType.BUDGET_DECREASE)
LONG_PAUSE_S = 3600.0  # a shorter one the executor waits out by itself


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A verdict with the changes that it queues."""

    verdict: BudgetVerdict
    changes: tuple[PendingChange, ...]


def health_of(documents: Documents, account_id: str, policy: Policy, now: float) -> AccountHealth:
    """Open breakers and long pauses of an account, and its live total."""
    breakers = [
        f"{name}: {found.reason}"
        for name, path in (
            ("kill switch", ledger.KILL_SWITCH),
            ("Meta's token", ledger.TOKEN_BREAKER),
            ("account", ledger.breaker_path(account_id)),
        )
        if (found := documents.get(path, ledger.Breaker)) is not None
    ]
    pauses = [
        pause.reason
        for path in (ledger.pause_path(account_id), ledger.APP_PAUSE)
        if (pause := documents.get(path, ledger.Pause)) and pause.until_at > now + LONG_PAUSE_S
    ]
    total = documents.get(ledger.total_path(account_id), ledger.AccountTotal)
    return AccountHealth(
        breakers=(*breakers, *pauses),
        live_total=total.minor if total else None,
        daily_cap=policy.executor.account_daily_cap,
    )


def plan(
    documents: Documents,
    flow_id: str,
    record: DecisionRecord,
    verdicts: Iterable[Verdict],
    policy: Policy,
    now: float,
) -> list[Planned]:
    """Each verdict with its changes; the same flow plans the same changes again."""
    ours = our_campaigns(documents, record.request.account_id)
    shared = _shared_ads(documents, flow_id, record)
    rows = list(zip(verdicts, record.recommendations, record.request.ads, strict=True))
    moving = [ad.adset_id for verdict, _, ad in rows if verdict.outcome is not Outcome.HELD]
    free = _free(documents, [adset for adset in moving if adset], policy, now)
    planner = _Planner(flow_id, record.request.account_id, policy, now, ours, shared, free)
    return [planner.planned(*row) for row in rows]


def _free(
    documents: Documents, adsets: Iterable[str], policy: Policy, now: float
) -> dict[str, float]:
    """When the velocity window lets go of the change before, where that is waited for."""
    paths = {ledger.adset_window_path(adset): adset for adset in adsets}
    window_s = policy.executor.budget_window_hours * HOUR_S
    latest = now + policy.executor.window_patience_s
    leaving = {
        paths[path]: [e.at + window_s for e in window.entries if e.at + window_s <= latest]
        for path, window in documents.get_many(paths, ledger.BudgetWindow).items()
    }
    return {adset: max(times) for adset, times in leaving.items() if times}


def our_campaigns(documents: Documents, account_id: str) -> dict[str, str]:
    """Our id of every campaign that was made here, by Meta's: rates are counted under ours."""
    of_account = Query("campaigns", [("account_id", "==", account_id)])
    made = (
        (campaign.steps.get("campaign", {}).get("meta_id"), campaign.id)
        for page in documents.pages(of_account, Campaign)
        for campaign in page
    )
    return {str(meta_id): ours for meta_id, ours in made if meta_id}


def _shared_ads(
    documents: Documents, flow_id: str, record: DecisionRecord
) -> dict[str, tuple[str, ...]]:
    """The ads of every budget that several share, as the scoring step wrote them down."""
    shared = [ad.ad_id for ad in record.request.ads if ad.ad_id == ad.adset_id]
    found = documents.get_many((verdict_path(flow_id, unit) for unit in shared), BudgetVerdict)
    return {verdict.id: verdict.ads for verdict in found.values()}


@dataclass(frozen=True)
class _Planner:
    flow_id: str
    account_id: str
    policy: Policy
    now: float
    campaigns: Mapping[str, str]
    shared: Mapping[str, tuple[str, ...]]
    free: Mapping[str, float]

    def planned(self, verdict: Verdict, recommendation: Recommendation, ad: AdSignals) -> Planned:
        """One verdict as it is kept, and its changes."""
        ads = self.shared.get(ad.ad_id, (ad.ad_id,))
        changes = (
            ()
            if verdict.outcome is Outcome.HELD
            else self._changes(verdict, recommendation, ad, ads)
        )
        kept = BudgetVerdict(
            id=ad.ad_id,
            ad_id=ad.ad_id,
            adset_id=ad.adset_id,
            outcome=verdict.outcome,
            current_budget=ad.daily_budget,
            recommended_budget=recommendation.recommended,
            approved_budget=None if verdict.outcome is Outcome.HELD else verdict.budget,
            confidence=recommendation.confidence,
            reason=_reason(verdict, recommendation),
            rules=tuple(msgspec.to_builtins(rule) for rule in verdict.rules),
            ads=ads,
            change_ids=tuple(change.id for change in changes),
        )
        return Planned(verdict=kept, changes=changes)

    def _changes(
        self,
        verdict: Verdict,
        recommendation: Recommendation,
        ad: AdSignals,
        ads: tuple[str, ...],
    ) -> tuple[PendingChange, ...]:
        reasoning = _reason(verdict, recommendation)
        if verdict.move is Move.KILL:
            stop = {"new_status": "PAUSED", "adset_id": ad.adset_id}
            kind = ChangeType.STATUS_CHANGE
            return tuple(self._change(kind, one, ad, stop, verdict, reasoning) for one in ads)
        live = ad.daily_budget or 0
        rises = verdict.budget > live
        payload = {"new_budget": verdict.budget, "adset_id": ad.adset_id, "old_budget": live}
        kind = ChangeType.BUDGET_INCREASE if rises else ChangeType.BUDGET_DECREASE
        only = ads[0] if len(ads) == 1 else None
        return (self._change(kind, only, ad, payload, verdict, reasoning),)

    def _change(
        self,
        kind: ChangeType,
        ad_id: str | None,
        ad: AdSignals,
        payload: dict[str, Any],
        verdict: Verdict,
        reasoning: str,
    ) -> PendingChange:
        digest = hashlib.sha256(f"{self.flow_id}/{ad.adset_id}/{ad_id}".encode()).hexdigest()
        change_id = f"ch-{digest[:20]}"
        jitter_s = draw_jitter(change_id, self.policy)
        waits = self.free.get(ad.adset_id or "", 0.0) if kind in BUDGETS else 0.0
        return PendingChange(
            id=change_id,
            change_type=kind,
            status=ChangeStatus.PENDING,
            account_id=self.account_id,
            campaign_id=self.campaigns.get(ad.campaign_id or "", ad.campaign_id),
            ad_id=ad_id,
            payload=payload,
            requested_by=REQUESTED_BY,
            reasoning=reasoning,
            created_at=self.now,
            not_before_at=max(self.now, waits) + jitter_s,
            jitter_s=jitter_s,
            flow_id=self.flow_id,
            needs_approval=verdict.outcome is Outcome.NEEDS_APPROVAL,
            policy_version=self.policy.version,
            valid_until_at=self.now + self.policy.executor.decided_valid_hours * HOUR_S,
        )


def _reason(verdict: Verdict, recommendation: Recommendation) -> str:
    return f"{recommendation.reason} | {verdict.outcome}: {verdict.reason}"


def keep_verdicts(documents: Documents, flow_id: str, planned: Iterable[Planned]) -> None:
    """Every verdict, held ones too."""
    documents.set_many((verdict_path(flow_id, p.verdict.id), p.verdict) for p in planned)


def first_rows(changes: Iterable[PendingChange]) -> list[tuple[str, Any]]:
    """The changes and the first row of each one's history, by path."""
    return [
        write
        for change in changes
        for write in (
            (ledger.change_path(change.id), change),
            (ledger.history_path(queued_row(change).id), queued_row(change)),
        )
    ]


def stays(verdicts: Iterable[Verdict], record: DecisionRecord) -> dict[str, str]:
    """The ad sets whose budget is to stay as it is, and why; not those whose turn comes later."""
    return {
        str(ad.adset_id): verdict.reason
        for verdict, ad in zip(verdicts, record.request.ads, strict=True)
        if verdict.outcome is Outcome.HELD and not of_next_cycle(verdict)
    }


@dataclass(frozen=True, kw_only=True)
class _Withdrawal:
    """Why an older change gives way; ``for_stay``: nothing takes its place."""

    reason: str
    for_stay: bool = False

    def fits(self, older: PendingChange) -> bool:
        """Whether that is a reason for this change, as it stands now."""
        if self.for_stay:
            ours = older.requested_by == REQUESTED_BY
            return ours and older.needs_approval and not older.approved_by
        return _replaceable(older)


class Superseded:
    """The changes that waited for a budget that was decided anew: withdrawn, if they still wait.

    One that waits for a person gives way to a decision to let the budget be, too (``held``, its
    reason by ad set): what nobody would decide today is nothing to approve.
    """

    def __init__(
        self,
        documents: Documents,
        account_id: str,
        changes: list[PendingChange],
        held: Mapping[str, str],
        now: float,
    ) -> None:
        self._now = now
        self._newer = {str(change.payload["adset_id"]): change for change in changes}
        self._by_ad = {change.ad_id: change for change in changes if change.ad_id}
        self._held = held
        own = {change.id for change in changes}
        waiting = Query(
            "pending_ad_changes",
            [("account_id", "==", account_id), ("status", "==", ChangeStatus.PENDING)],
        )
        self._older = {
            older.id: why
            for page in documents.pages(waiting, PendingChange)
            for older in page
            if older.id not in own and (why := self._why(older)) is not None and why.fits(older)
        }

    def _why(self, older: PendingChange) -> _Withdrawal | None:
        adset = str(older.payload.get("adset_id"))
        by = self._newer.get(adset) or self._by_ad.get(older.ad_id or "")
        if by is not None:
            return _Withdrawal(reason=f"superseded by {by.id}, decided on newer signals")
        if adset in self._held:
            reason = f"newer signals let the budget be: {self._held[adset]}"
            return _Withdrawal(reason=reason, for_stay=True)
        return None

    def __len__(self) -> int:
        return len(self._older)

    def __call__(self, transaction: Transaction) -> list[tuple[str, Any]]:
        """What to write for those that nobody has taken up or approved since."""
        found = [
            (transaction.get(ledger.change_path(older), PendingChange), why)
            for older, why in self._older.items()
        ]
        return [
            write
            for older, why in found
            if older is not None and older.status is ChangeStatus.PENDING and why.fits(older)
            for write in self._withdrawn(older, why.reason)
        ]

    def _withdrawn(self, older: PendingChange, reason: str) -> list[tuple[str, Any]]:
        cancelled = replace(
            older,
            status=ChangeStatus.CANCELLED,
            claim_epoch=older.claim_epoch + 1,
            finished_at=self._now,
            last_error=reason,
        )
        row = HistoryRow(
            id=f"{older.id}-end",
            change_id=older.id,
            status=ChangeStatus.CANCELLED,
            at=self._now,
            account_id=older.account_id,
            change_type=older.change_type,
            requested_by=REQUESTED_BY,
            reasoning=older.reasoning,
            error=reason,
            terminal=True,
        )
        return [(ledger.change_path(older.id), cancelled), (ledger.history_path(row.id), row)]


def _replaceable(older: PendingChange) -> bool:
    """A budget change, whoever asked for it; a stop only when it was decided here.

    A person's rollback or approval is an answer, not a wish: it stays.
    """
    if older.approved_by:
        return False
    return older.change_type in BUDGETS or older.requested_by == REQUESTED_BY
