"""The typed messages between steps.

Each event knows its topic, the flow it belongs to, and the business key that makes two deliveries
the same work. Media travel as references (bucket, name, generation), never as bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import msgspec

from geminivideo.decoding import learned


@dataclass(frozen=True, kw_only=True)
class ObjectRef:
    """One generation of one Cloud Storage object."""

    bucket: str
    name: str
    generation: int

    @property
    def uri(self) -> str:
        """``gs://bucket/name`` (the generation travels beside it)."""
        return f"gs://{self.bucket}/{self.name}"

    @property
    def key(self) -> str:
        """``bucket/name#generation``: the business key of an upload."""
        return f"{self.bucket}/{self.name}#{self.generation}"


def flow_id_of(video: ObjectRef) -> str:
    """The creative flow of an upload: same generation, same flow; a new generation, a new one."""
    return "cf-" + hashlib.sha256(video.key.encode()).hexdigest()[:20]


@dataclass(frozen=True, kw_only=True)
class Event:
    """What one step tells the next; subclasses name their topic."""

    TOPIC: ClassVar[str]
    QUEUE: ClassVar[str] = ""

    flow_id: str

    @property
    def key(self) -> str:
        """The business key: the work is the same work when this is the same."""
        return self.flow_id

    def encode(self) -> bytes:
        """The JSON body of the message."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, body: bytes | str) -> Self:
        """Parse and validate a message body; raises ``msgspec.ValidationError`` by member."""
        return msgspec.json.decode(body, type=learned(cls))

    @classmethod
    def of_delivery(cls, body: bytes, attributes: Mapping[str, str], delivery_id: str) -> Self:
        """The event that a delivery carries; senders that are not ours override the reading."""
        return cls.decode(body)

    @property
    def item(self) -> str:
        """Which item of a fan-out this is; empty for a step that runs once a flow."""
        return ""


@dataclass(frozen=True, kw_only=True)
class VideoUploaded(Event):
    """A finished object in the uploads bucket (from the bucket's own notification)."""

    TOPIC: ClassVar[str] = "video-uploads"

    video: ObjectRef
    size: int
    content_type: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.video.key

    @classmethod
    def of_delivery(cls, body: bytes, attributes: Mapping[str, str], delivery_id: str) -> Self:
        """From the bucket's notification, or from the same event sent again by us."""
        if "eventType" in attributes:
            return cls.from_object(msgspec.json.decode(body, type=dict[str, Any]))
        return cls.decode(body)

    @classmethod
    def from_object(cls, resource: dict[str, Any]) -> Self:
        """From the storage object resource that a notification carries as JSON."""
        video = ObjectRef(
            bucket=resource["bucket"],
            name=resource["name"],
            generation=int(resource["generation"]),
        )
        return cls(
            flow_id=flow_id_of(video),
            video=video,
            size=int(resource.get("size", 0)),
            content_type=resource.get("contentType", ""),
            metadata=dict(resource.get("metadata") or {}),
        )


@dataclass(frozen=True, kw_only=True)
class VideoIngested(Event):
    """The upload was probed and accepted; ``videos/{flow_id}`` holds what was found."""

    TOPIC: ClassVar[str] = "video-ingested"

    video: ObjectRef


@dataclass(frozen=True, kw_only=True)
class SceneDetected(Event):
    """One item of the feature fan-out: a scene (``scene-003``) or the whole ``speech`` track."""

    TOPIC: ClassVar[str] = "scene-detected"

    video: ObjectRef
    item: str = ""

    @property
    def key(self) -> str:
        return f"{self.flow_id}/{self.item}"


@dataclass(frozen=True, kw_only=True)
class FeaturesExtracted(Event):
    """Every item of the fan-out is in ``scenes/{flow_id}-*`` and ``transcripts/{flow_id}``."""

    TOPIC: ClassVar[str] = "features-extracted"


@dataclass(frozen=True, kw_only=True)
class ScenesRanked(Event):
    """Every scene of the flow carries its predicted CTR and rank."""

    TOPIC: ClassVar[str] = "scenes-ranked"


@dataclass(frozen=True, kw_only=True)
class BlueprintsApproved(Event):
    """The Council approved these blueprints (ids in ``blueprints``), best first."""

    TOPIC: ClassVar[str] = "blueprints-approved"

    blueprint_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class VariationsRendered(Event):
    """Every variation of the render job is RENDERED or FAILED, with its checks."""

    TOPIC: ClassVar[str] = "variations-rendered"

    render_job_id: str


@dataclass(frozen=True, kw_only=True)
class RenderVariation(Event):
    """One task of the render job: not a message, but the same kind of work with the same key."""

    TOPIC: ClassVar[str] = ""

    render_job_id: str
    variation_id: str

    @property
    def key(self) -> str:
        return f"{self.render_job_id}/{self.variation_id}"

    @property
    def item(self) -> str:
        return self.variation_id


@dataclass(frozen=True, kw_only=True)
class ProDue(Event):
    """A Pro job's execution: not a message, but the same kind of work; it belongs to no flow.

    ``VARIABLE`` names the job to an execution of the render job.
    """

    TOPIC: ClassVar[str] = ""
    VARIABLE: ClassVar[str] = "PRO_JOB_ID"

    flow_id: str = ""
    pro_job_id: str
    attempt: int

    @property
    def key(self) -> str:
        return f"{self.pro_job_id}/{self.attempt}"


@dataclass(frozen=True, kw_only=True)
class ChangeDue(Event):
    """The body of a Cloud Task: execute ``pending_ad_changes/{change_id}``."""

    TOPIC: ClassVar[str] = ""
    QUEUE: ClassVar[str] = "meta-changes"

    change_id: str
    not_before_at: float = 0.0

    @property
    def key(self) -> str:
        return self.change_id


@dataclass(frozen=True, kw_only=True)
class _Tick:
    """What Cloud Scheduler's events share: the message carries nothing but its coming."""

    flow_id: str = ""
    tick: str = ""

    @property
    def key(self) -> str:
        return self.tick

    @classmethod
    def of_delivery(cls, body: bytes, attributes: Mapping[str, str], delivery_id: str) -> Self:
        """The delivery itself is the tick."""
        return cls(tick=delivery_id)


def budget_flow_id_of(account_id: str, tick: str) -> str:
    """The budget flow of one account and one cycle: the same tick is the same flow."""
    return "bf-" + hashlib.sha256(f"{account_id}/{tick}".encode()).hexdigest()[:20]


@dataclass(frozen=True, kw_only=True)
class InsightsDue(Event):
    """Cloud Scheduler's budget cycle (no account: every one), or one account's share of it."""

    TOPIC: ClassVar[str] = "insights-due"

    flow_id: str = ""
    tick: str = ""
    account_id: str = ""

    @property
    def key(self) -> str:
        return f"{self.tick}/{self.account_id}" if self.account_id else self.tick

    @classmethod
    def of_delivery(cls, body: bytes, attributes: Mapping[str, str], delivery_id: str) -> Self:
        """Scheduler's message is the tick; ours names an account."""
        asked = msgspec.json.decode(body, type=dict[str, Any]) if body else {}
        return cls.decode(body) if asked.get("account_id") else cls(tick=delivery_id)


@dataclass(frozen=True, kw_only=True)
class SignalsReceived(Event):
    """The account's insights are in ``performance_metrics`` and ``ad_states``."""

    TOPIC: ClassVar[str] = "signals-received"

    account_id: str


@dataclass(frozen=True, kw_only=True)
class AdsScored(Event):
    """The sampler's recommendations for one account, with all they rest on, in ``record``."""

    TOPIC: ClassVar[str] = "ads-scored"

    account_id: str
    record: ObjectRef


@dataclass(frozen=True, kw_only=True)
class DealsTouched(Event):
    """CRM deals may have changed (webhook or reconciliation): read them and credit their ads.

    ``cause`` tells the webhook's events, or what the poll saw, from any other about these deals.
    """

    TOPIC: ClassVar[str] = "deals-touched"
    MOST: ClassVar[int] = 50  # deals of one message: HubSpot reads so many with their histories

    flow_id: str = ""
    portal_id: int
    deal_ids: tuple[str, ...]
    cause: str

    @property
    def key(self) -> str:
        named = ",".join(self.deal_ids)
        if len(self.deal_ids) > 1:
            named = hashlib.sha256(named.encode()).hexdigest()[:16]
        return f"{self.portal_id}/{named}/{self.cause}"


@dataclass(frozen=True, kw_only=True)
class ReconciliationDue(_Tick, Event):
    """Cloud Scheduler's poll for deals whose webhook was lost."""

    TOPIC: ClassVar[str] = "reconciliation-due"


@dataclass(frozen=True, kw_only=True)
class SweepDue(_Tick, Event):
    """Cloud Scheduler's minute: return expired leases, publish old outbox rows, find lost work."""

    TOPIC: ClassVar[str] = "sweep-due"


def cycle_id_of(account_id: str, tick: str) -> str:
    """The learning cycle of one account and one tick: the same tick is the same cycle."""
    return "lc-" + hashlib.sha256(f"{account_id}/{tick}".encode()).hexdigest()[:20]


@dataclass(frozen=True, kw_only=True)
class LearningDue(Event):
    """Cloud Scheduler's learning cycle (no account: every one), or one account's share of it.

    ``accuracy_threshold`` (fraction) stands in for the account's policy when it is given.
    """

    TOPIC: ClassVar[str] = "learning-due"

    flow_id: str = ""
    tick: str = ""
    account_id: str = ""
    trigger: str = "schedule"
    trigger_retrain: bool = True
    accuracy_threshold: float | None = None

    @property
    def key(self) -> str:
        return f"{self.tick}/{self.account_id}" if self.account_id else self.tick

    @classmethod
    def of_delivery(cls, body: bytes, attributes: Mapping[str, str], delivery_id: str) -> Self:
        """Scheduler's message is the tick; one of ours names its own, and may name an account."""
        asked = cls.decode(body) if body else cls()
        return asked if asked.tick else replace(asked, tick=delivery_id)


@dataclass(frozen=True, kw_only=True)
class LoopDue(Event):
    """A loop of the learning cycle ``flow_id`` is next; subclasses name the loop's topic."""

    account_id: str


@dataclass(frozen=True, kw_only=True)
class ActualsDue(LoopDue):
    """Loop 1: what became of the ads."""

    TOPIC: ClassVar[str] = "actuals-due"


@dataclass(frozen=True, kw_only=True)
class AccuracyDue(LoopDue):
    """Loop 2: how right the predictions were."""

    TOPIC: ClassVar[str] = "accuracy-due"


@dataclass(frozen=True, kw_only=True)
class RetrainDue(LoopDue):
    """Loop 3: a challenger is trained if it is wanted."""

    TOPIC: ClassVar[str] = "retrain-due"


@dataclass(frozen=True, kw_only=True)
class TrainingDue(Event):
    """A training outside any cycle: not a message, but the retrain job's work all the same.

    ``VARIABLE`` names the training to an execution of the job.
    """

    TOPIC: ClassVar[str] = ""
    VARIABLE: ClassVar[str] = "TRAINING_ID"

    flow_id: str = ""
    training_id: str

    @property
    def key(self) -> str:
        return self.training_id


@dataclass(frozen=True, kw_only=True)
class PatternsDue(LoopDue):
    """Loop 4: what winners have in common."""

    TOPIC: ClassVar[str] = "patterns-due"


@dataclass(frozen=True, kw_only=True)
class PromotionDue(LoopDue):
    """Loop 5: winners get more, through the gate and the SafeExecutor."""

    TOPIC: ClassVar[str] = "promotion-due"


@dataclass(frozen=True, kw_only=True)
class SharingDue(LoopDue):
    """Loop 6: what opted-in accounts may know of each other."""

    TOPIC: ClassVar[str] = "sharing-due"


@dataclass(frozen=True, kw_only=True)
class IndexingDue(LoopDue):
    """Loop 7: new winners enter the index."""

    TOPIC: ClassVar[str] = "indexing-due"


@dataclass(frozen=True, kw_only=True)
class DeadLettered(Event):
    """A message that Pub/Sub gave up on, with the subscription that it was for."""

    TOPIC: ClassVar[str] = "dead-letters"

    delivery_id: str
    subscription: str
    body: str
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.delivery_id

    @classmethod
    def of_delivery(cls, body: bytes, attributes: Mapping[str, str], delivery_id: str) -> Self:
        """As Pub/Sub forwards it: the same body, attributes added."""
        return cls(
            flow_id=attributes.get("flow_id", ""),
            delivery_id=delivery_id,
            subscription=attributes.get("CloudPubSubDeadLetterSourceSubscription", ""),
            body=body.decode("utf-8", "replace"),
            attributes={k: v for k, v in attributes.items() if not k.startswith("CloudPubSub")},
        )
