"""A promotion's raise as a pending change: one transaction, in which every limit is read again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geminivideo.budget.gate import (
    AccountHealth,
    Outcome,
    VelocityWindow,
    Verdict,
    judge,
)
from geminivideo.budget.signals import DAY_S, HOUR_S, AdSignals
from geminivideo.cloud.documents import Query
from geminivideo.learning.promotion import Promotion
from geminivideo.learning_records import (
    PromotionEntry,
    PromotionLedger,
    PromotionOverrides,
    PromotionState,
)
from geminivideo.meta_publisher.changes import draw_jitter, queued_row
from geminivideo.policy import Policy
from geminivideo.records import ChangeStatus, ChangeType, PendingChange
from geminivideo.runtime import outbox
from geminivideo.safe_executor import ledger
from geminivideo.services import budget_changes
from geminivideo.services import promotion_evidence as evidence
from geminivideo.services.queueing import path_of, wake_up

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.services.promotion_evidence import Standpoint

REQUESTED_BY = "auto-promotion"


def ledger_path(account_id: str) -> str:
    """``promotion_ledgers/{account_id}``."""
    return f"promotion_ledgers/{account_id}"


def change_id_of(cycle_id: str, adset_id: str) -> str:
    """The change of a promotion: the same cycle and ad set, the same change."""
    digest = hashlib.sha256(f"promotion/{cycle_id}/{adset_id}".encode()).hexdigest()
    return f"ch-{digest[:20]}"


@dataclass(frozen=True, kw_only=True)
class Raised:
    """The change that was queued, or why there is none."""

    change: PendingChange | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Raises:
    """Queues the raises of one cycle. ``live_total`` is the account's live daily budgets."""

    documents: Documents
    outlet: outbox.Outlet
    account_id: str
    cycle_id: str
    stand: Standpoint
    policy: Policy
    health: AccountHealth
    campaigns: dict[str, str]
    now: float

    def queue(self, promotion: Promotion) -> Raised:
        """Put the raise before the gate, and queue what it lets through, once."""
        ad = self.stand.ad(promotion.id)
        if ad is None or not ad.daily_budget or ad.adset_id is None:
            return Raised(change=None, reason="its budget is not known any more")
        made = self.documents.get(path_of(self._id(ad)), PendingChange)
        if made is not None:
            return self._sent(made)
        verdict = self._verdict(promotion, ad)
        if verdict.outcome is Outcome.HELD:
            return Raised(change=None, reason=f"the gate holds it: {verdict.reason}")
        raised = self.documents.transact(
            lambda transaction: self._written(transaction, promotion, ad, verdict)
        )
        return self._sent(raised.change) if raised.change else raised

    def _id(self, ad: AdSignals) -> str:
        return change_id_of(self.cycle_id, ad.adset_id or "")

    def _sent(self, change: PendingChange) -> Raised:
        """Enqueue the change's task, unless a person is to confirm it first."""
        rows = outbox.unpublished(self.documents, [_row_id(change)])
        outbox.publish(self.documents, self.outlet, rows)
        return Raised(change=change, reason=change.reasoning)

    def _verdict(self, promotion: Promotion, ad: AdSignals) -> Verdict:
        live = ad.daily_budget or 0
        wanted = round(live * (1.0 + self.policy.promotion.raise_step))
        # What a person decided is not a guess.
        sure = promotion.probability if promotion.doubt is not None else 1.0
        return judge(
            self.stand.recommendation(ad, sure or 0.0, wanted),
            ad,
            health=self.health,
            window=VelocityWindow(start_budget=ad.window_budget),
            policy=self.policy,
            now=self.now,
        )

    def _written(
        self, transaction: Transaction, promotion: Promotion, ad: AdSignals, verdict: Verdict
    ) -> Raised:
        """The change with all that belongs to it, or why it may not be."""
        adset = ad.adset_id or ""
        known = transaction.get(path_of(self._id(ad)), PendingChange)
        if known is not None:
            return Raised(change=known, reason=known.reasoning)
        overrides = evidence.overrides_of(transaction, self.account_id)
        path, own = ledger_path(self.account_id), evidence.state_path(adset)
        kept = transaction.get(path, PromotionLedger) or PromotionLedger(id=self.account_id)
        state = transaction.get(own, PromotionState)
        state = state or PromotionState(id=adset, account_id=self.account_id)
        refused = (
            evidence.paused_by(overrides)
            or evidence.excluded_by(overrides, promotion.ad_ids)
            or evidence.promoted_lately(state, self.policy, self.now)
            or self._on_its_way(transaction, adset, promotion.ad_ids)
        )
        if refused:
            return Raised(change=None, reason=refused)
        budget, short = self._affordable(kept, ad, verdict)
        if short:
            return Raised(change=None, reason=short)
        change = self._change(promotion, ad, budget, verdict)
        entry = PromotionEntry(id=change.id, of=adset, at=self.now, raised=budget - _live(ad))
        transaction.set(path, replace(kept, raises=(*self._recent(kept), entry)))
        transaction.set(own, self._promoted(state, change, overrides, promotion))
        self._create(transaction, change)
        return Raised(change=change, reason=change.reasoning)

    def _on_its_way(self, transaction: Transaction, adset: str, ad_ids: tuple[str, ...]) -> str:
        """The change of the same budget, or of one of its ads, that is not ended."""
        about = [("payload.adset_id", adset), *(("ad_id", ad_id) for ad_id in ad_ids)]
        for member, value in about:
            where = [(member, "==", value), ("status", "in", list(evidence.OPEN))]
            for change in transaction.query(Query("pending_ad_changes", where), PendingChange):
                for _, told in evidence.on_its_way(change):
                    return told
        return ""

    def _affordable(
        self, kept: PromotionLedger, ad: AdSignals, verdict: Verdict
    ) -> tuple[int, str]:
        """(what the account's growth lets through of the raise, why that is nothing)."""
        live, limits = _live(ad), self.policy.promotion
        total = self.stand.live_total
        spent = sum(entry.raised for entry in self._recent(kept))
        room = int(limits.max_growth * total) - spent
        words = f"{limits.max_growth:.0%} of {total} within {limits.growth_days:g} days"
        daily_total = self.policy.allocation.daily_total
        if daily_total is not None and daily_total - total - self._unseen(kept) < room:
            room = daily_total - total - self._unseen(kept)
            words = f"the account's daily total of {daily_total}"
        budget = min(verdict.budget, live + room)
        if budget - live >= max(1.0, self.policy.gate.min_move * live):
            return budget, ""
        return live, f"promotions may raise {max(room, 0)} more (minor units): {words}"

    def _recent(self, kept: PromotionLedger) -> tuple[PromotionEntry, ...]:
        since = self.now - self.policy.promotion.growth_days * DAY_S
        return tuple(entry for entry in kept.raises if entry.at > since)

    def _unseen(self, kept: PromotionLedger) -> int:
        """What was raised since the budgets were last read at Meta."""
        seen = [one.observed_at for one in self.stand.found.signals if one.observed_at]
        since = min(seen, default=0.0)
        return sum(entry.raised for entry in kept.raises if entry.at > since)

    def _change(
        self, promotion: Promotion, ad: AdSignals, budget: int, verdict: Verdict
    ) -> PendingChange:
        change_id = self._id(ad)
        jitter_s = draw_jitter(change_id, self.policy)
        return PendingChange(
            id=change_id,
            change_type=ChangeType.BUDGET_INCREASE,
            status=ChangeStatus.PENDING,
            account_id=self.account_id,
            campaign_id=self.campaigns.get(ad.campaign_id or "", ad.campaign_id),
            ad_id=promotion.ad_ids[0] if len(promotion.ad_ids) == 1 else None,
            payload={"new_budget": budget, "adset_id": ad.adset_id, "old_budget": _live(ad)},
            requested_by=REQUESTED_BY,
            reasoning=f"{promotion.reason} | {verdict.outcome}: {verdict.reason} | cycle "
            f"{self.cycle_id}",
            created_at=self.now,
            not_before_at=self.now + jitter_s,
            jitter_s=jitter_s,
            needs_approval=verdict.outcome is Outcome.NEEDS_APPROVAL,
            policy_version=self.policy.version,
            valid_until_at=self.now + self.policy.executor.decided_valid_hours * HOUR_S,
        )

    def _promoted(
        self,
        state: PromotionState,
        change: PendingChange,
        overrides: PromotionOverrides,
        promotion: Promotion,
    ) -> PromotionState:
        wishes = [
            overrides.forced[ad_id].at for ad_id in promotion.ad_ids if ad_id in overrides.forced
        ]
        return replace(
            state,
            promoted_at=self.now,
            change_id=change.id,
            forced_at=max([*wishes, state.forced_at or 0.0]),
        )

    def _create(self, transaction: Transaction, change: PendingChange) -> None:
        transaction.create(path_of(change.id), change)
        row = queued_row(change)
        transaction.create(ledger.history_path(row.id), row)
        if not change.needs_approval:
            task = wake_up(change, _cause(change), self.now)
            transaction.set(task.path, task)


def _live(ad: AdSignals) -> int:
    return ad.daily_budget or 0


def _cause(change: PendingChange) -> str:
    return f"promote:{change.id}"


def _row_id(change: PendingChange) -> str:
    return f"{_cause(change)}:0"


def raises(
    documents: Documents,
    outlet: outbox.Outlet,
    stand: Standpoint,
    policy: Policy,
    cycle_id: str,
) -> Raises:
    """The raises of a cycle, with what they are measured against."""
    account_id, now = stand.found.account_id, stand.found.now
    return Raises(
        documents=documents,
        outlet=outlet,
        account_id=account_id,
        cycle_id=cycle_id,
        stand=stand,
        policy=policy,
        health=budget_changes.health_of(documents, account_id, policy, now),
        campaigns=budget_changes.our_campaigns(documents, account_id),
        now=now,
    )
