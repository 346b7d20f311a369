"""New variations of a winner: a flow of its own on the winner's video, bounded and asked for.

The flow begins where the video is analysed already: its Council is given the advertiser's brief
with what the winner is made of, and the winner's own plan to vary. What it makes is PAUSED, as
every ad is. In mode ``auto`` it starts at once; in ``approve`` a person confirms it; in ``observe``
nothing is asked for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geminivideo.budget.signals import DAY_S
from geminivideo.cloud.documents import Query
from geminivideo.events import ScenesRanked
from geminivideo.learning.promotion import Promotion
from geminivideo.learning_records import (
    CreativeDna,
    PromotionEntry,
    PromotionLedger,
    VariationRequest,
    VariationsStatus,
)
from geminivideo.meta_publisher.plan import campaign_id_of
from geminivideo.policy import ExecutionMode, Policy
from geminivideo.records import (
    Account,
    Blueprint,
    Brief,
    Campaign,
    ChangeType,
    Flow,
    FlowStatus,
    PendingChange,
    Video,
)
from geminivideo.runtime import flows, outbox
from geminivideo.services import promotion_evidence as evidence
from geminivideo.services.promotion_raises import ledger_path
from geminivideo.services.variation_council import request_path
from geminivideo.video_agent.dispatch import blueprint_id_of

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.services.promotion_evidence import Standpoint

KIND = "variations"
NOT_MADE_HERE = "the ad was not made here, so there is no video and no plan of it to vary"


class VariationsError(RuntimeError):
    """A request cannot be decided; the message says why."""


class NoRequestError(VariationsError):
    """There is no such request."""


def flow_id_of(cycle_id: str, ad_id: str) -> str:
    """The flow of a winner's variations: the same cycle and ad, the same flow."""
    return "cf-" + hashlib.sha256(f"variations/{cycle_id}/{ad_id}".encode()).hexdigest()[:20]


@dataclass(frozen=True, kw_only=True)
class Made:
    """How an ad was made here: its plan and its video."""

    ad_id: str
    blueprint: Blueprint
    video: Video


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The request that stands, or why there is none."""

    request: VariationRequest | None
    reason: str


def made_of(documents: Documents, ad_id: str) -> Made | None:
    """The plan and the video of an ad at Meta that was made here."""
    of_ad = documents.query(Query("pending_ad_changes", [("ad_id", "==", ad_id)]), PendingChange)
    created = [one for one in of_ad if one.change_type is ChangeType.CREATE_AD]
    for change in created:
        if change.variation_id is None:
            continue
        plan = blueprint_id_of(change.variation_id)
        blueprint = documents.get(f"blueprints/{plan}", Blueprint)
        if blueprint is None:
            continue
        video = documents.get(f"videos/{blueprint.flow_id}", Video)
        if video is not None:
            return Made(ad_id=ad_id, blueprint=blueprint, video=video)
    return None


def proven(documents: Documents, ad_id: str, blueprint: Blueprint) -> tuple[str, ...]:
    """What a winner is made of, a sentence each: its Creative DNA, else what its plan says."""
    dna = documents.get(f"creative_dna_extractions/{ad_id}", CreativeDna)
    if dna is not None:
        parts = (dna.hook, dna.visual, dna.audio, dna.pacing, dna.copy, dna.cta)
        return tuple(part for part in parts if part)
    length_s = sum(shot.length_s for shot in blueprint.shots)
    return (
        f"It opens with a {blueprint.hook_type.replace('_', ' ')}: {blueprint.hook_text}",
        f"It shows {len(blueprint.shots)} shots in {length_s:.1f} s, graded {blueprint.grade}.",
        f"It calls to action with {blueprint.cta_text!r} ({blueprint.cta_type}).",
    )


@dataclass(frozen=True, kw_only=True)
class Wanting:
    """Asks for variations of one cycle's winners."""

    documents: Documents
    outlet: outbox.Outlet
    account: Account
    cycle_id: str
    policy: Policy
    now: float

    def want(self, promotion: Promotion) -> Wanted:
        """Ask for variations of a winner once, or say why not."""
        mode = self.policy.executor.mode
        if mode is ExecutionMode.OBSERVE:
            return Wanted(request=None, reason="the account only observes: nothing is made")
        if len(promotion.ad_ids) != 1:
            return Wanted(request=None, reason="several ads share the budget: none is the winner")
        (ad_id,) = promotion.ad_ids
        flow_id = flow_id_of(self.cycle_id, ad_id)
        known = self.documents.get(request_path(flow_id), VariationRequest)
        if known is None:
            made = made_of(self.documents, ad_id)
            if made is None:
                return Wanted(request=None, reason=NOT_MADE_HERE)
            wanted = self._request(flow_id, promotion, made)
            refused = self.documents.transact(lambda t: self._written(t, wanted, made))
            if refused:
                return Wanted(request=None, reason=refused)
            known = wanted
        publish_start(self.documents, self.outlet, flow_id)
        return Wanted(request=known, reason=known.reason)

    def _request(self, flow_id: str, promotion: Promotion, made: Made) -> VariationRequest:
        earlier = self.documents.count("variation_requests", [("ad_id", "==", made.ad_id)])
        auto = self.policy.executor.mode is ExecutionMode.AUTO
        return VariationRequest(
            id=flow_id,
            account_id=self.account.id,
            ad_id=made.ad_id,
            blueprint_id=made.blueprint.id,
            source_flow_id=made.video.id,
            campaign_id=campaign_id_of(flow_id),
            cycle_id=self.cycle_id,
            at=self.now,
            ads=self.policy.promotion.variation_ads,
            turn=earlier,
            status=VariationsStatus.STARTED if auto else VariationsStatus.ASKED,
            reason=promotion.reason,
            dna=proven(self.documents, made.ad_id, made.blueprint),
        )

    def _written(self, transaction: Transaction, wanted: VariationRequest, made: Made) -> str:
        """Write the request and, where nobody is to be asked, its start; or say why not."""
        path = ledger_path(self.account.id)
        overrides = evidence.overrides_of(transaction, self.account.id)
        kept = transaction.get(path, PromotionLedger) or PromotionLedger(id=self.account.id)
        known = transaction.get(request_path(wanted.id), VariationRequest)
        if known is not None:
            return ""
        brief = _brief_of(transaction, made.video)
        refused = (
            evidence.paused_by(overrides)
            or evidence.excluded_by(overrides, [made.ad_id])
            or self._beyond(kept, made.ad_id)
        )
        if refused:
            return refused
        entry = PromotionEntry(id=wanted.id, of=made.ad_id, at=self.now)
        transaction.set(path, replace(kept, variations=(*self._recent(kept), entry)))
        transaction.create(request_path(wanted.id), wanted)
        if wanted.status is VariationsStatus.STARTED:
            start(transaction, wanted, made.video, brief, self.now)
        return ""

    def _recent(self, kept: PromotionLedger) -> tuple[PromotionEntry, ...]:
        since = self.now - self.policy.promotion.growth_days * DAY_S
        return tuple(entry for entry in kept.variations if entry.at > since)

    def _beyond(self, kept: PromotionLedger, ad_id: str) -> str:
        limits, recent = self.policy.promotion, self._recent(kept)
        if any(entry.of == ad_id for entry in recent):
            return f"variations of it were wanted within {limits.growth_days:g} days"
        if len(recent) >= limits.variation_flows:
            return (
                f"{len(recent)} of {limits.variation_flows} flows of variations were wanted "
                f"within {limits.growth_days:g} days"
            )
        return ""


def wanting(
    documents: Documents,
    outlet: outbox.Outlet,
    account: Account,
    policy: Policy,
    cycle_id: str,
    stand: Standpoint,
) -> Wanting:
    """What asks for variations in a cycle."""
    return Wanting(
        documents=documents,
        outlet=outlet,
        account=account,
        cycle_id=cycle_id,
        policy=policy,
        now=stand.found.now,
    )


def _brief_of(transaction: Transaction, video: Video) -> Brief:
    """The advertiser's brief of the winner's campaign."""
    if video.campaign_id is None:
        return Brief()
    campaign = transaction.get(f"campaigns/{video.campaign_id}", Campaign)
    return campaign.brief if campaign else Brief()


def start(
    transaction: Transaction, wanted: VariationRequest, source: Video, brief: Brief, now: float
) -> None:
    """Write the flow at its Council: video, campaign with its brief, and the message that wakes it.

    Every read of the transaction must have been done.
    """
    video = replace(
        source,
        id=wanted.id,
        campaign_id=wanted.campaign_id,
        created_at=now,
        material_flow_id=source.material_id,
    )
    told = replace(brief, proven=wanted.dna)
    campaign = Campaign(
        id=wanted.campaign_id,
        flow_id=wanted.id,
        account_id=wanted.account_id,
        name=told.product_name or source.title,
        brief=told,
        status="DRAFT",
        created_at=now,
    )
    flow = Flow(
        id=wanted.id,
        kind=KIND,
        status=FlowStatus.RUNNING,
        video=source.video,
        account_id=wanted.account_id,
        created_at=now,
        updated_at=now,
    )
    row = outbox.row_of(ScenesRanked(flow_id=wanted.id), _cause(wanted.id), 0, now)
    transaction.set(f"videos/{wanted.id}", video)
    transaction.set(f"campaigns/{campaign.id}", campaign)
    transaction.create(flows.path_of(wanted.id), flow)
    transaction.set(row.path, row)


def _cause(flow_id: str) -> str:
    return f"variations:{flow_id}"


def publish_start(documents: Documents, outlet: outbox.Outlet, flow_id: str) -> None:
    """Send what a start promised, if it is not sent yet."""
    outbox.publish(documents, outlet, outbox.unpublished(documents, [f"{_cause(flow_id)}:0"]))


def decide(
    documents: Documents, outlet: outbox.Outlet, flow_id: str, by: str, now: float, *, yes: bool
) -> VariationRequest:
    """Confirm or reject a request that waits; raises ``VariationsError``."""

    def body(transaction: Transaction) -> VariationRequest:
        wanted = transaction.get(request_path(flow_id), VariationRequest)
        if wanted is None:
            raise NoRequestError(f"no request {flow_id}: `geminivideo promote list` shows them")
        if wanted.status is not VariationsStatus.ASKED:
            raise VariationsError(f"{flow_id} is {wanted.status}: only ASKED ones are decided")
        status = VariationsStatus.STARTED if yes else VariationsStatus.REJECTED
        decided = replace(wanted, status=status, decided_by=by, decided_at=now)
        if yes:
            source = transaction.require(f"videos/{wanted.source_flow_id}", Video)
            start_with = _brief_of(transaction, source)
            start(transaction, decided, source, start_with, now)
        transaction.set(request_path(flow_id), decided)
        return decided

    decided = documents.transact(body)
    publish_start(documents, outlet, flow_id)
    return decided
