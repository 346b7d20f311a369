"""The documents of the product, one frozen dataclass per Firestore collection.

Times end in ``_at`` and are UTC epoch seconds; positions in a video are seconds from its start;
rates are fractions; money is integer minor units of ``currency``. A value that could not be had is
``None`` (or absent), never a default, and the reason is in a ``degraded`` list.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from geminivideo.events import ObjectRef


class FlowStatus(StrEnum):
    """Where a flow stands; every flow ends in one of the last three."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    REJECTED = "REJECTED"
    DEAD = "DEAD"


@dataclass(frozen=True, kw_only=True)
class Flow:
    """``flows/{id}``: one video's way through the creative generation, or one budget cycle.

    ``kind`` is ``creative`` (with its ``video``), ``variations`` (new ads of a video that another
    flow analysed), or ``budget`` (one account, one cycle).
    """

    id: str
    kind: str
    status: FlowStatus
    video: ObjectRef | None = None
    account_id: str
    created_at: float
    updated_at: float
    finished_at: float | None = None
    reason: str | None = None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Video:
    """``videos/{flow_id}``: what the probe found. Rotation is applied to width and height.

    ``material_flow_id`` names the flow that analysed the same video before, if this one did not.
    """

    id: str
    account_id: str
    campaign_id: str | None
    video: ObjectRef
    container: str
    video_codec: str
    audio_codec: str | None
    width: int
    height: int
    fps: float
    duration_s: float
    rotation_deg: int
    size_bytes: int
    title: str
    created_at: float
    vision: VisionRequest | None = None
    material_flow_id: str | None = None

    @property
    def material_id(self) -> str:
        """The flow whose scenes and transcript are this video's."""
        return self.material_flow_id or self.id


@dataclass(frozen=True, kw_only=True)
class VisionRequest:
    """What the Video Intelligence API was asked about a video, once, and what that costs.

    ``operation`` names the long-running operation whose answer every step reads. ``minutes`` are
    started minutes per feature; ``cost_microusd`` is an *estimate*: minutes x the price list of
    ``prices_of`` (its date), the free minutes of a month left out.
    """

    operation: str
    minutes: dict[str, int]
    cost_microusd: int
    prices_of: str


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box in fractions of the frame: left, top, width, height."""

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One object or face: its class, confidence (0-1), place, and the time it was seen."""

    label: str
    confidence: float
    box: Box
    at_s: float


@dataclass(frozen=True, kw_only=True)
class TextSeen:
    """On-screen text with its confidence (0-1) and place, first seen at ``at_s``.

    ``until_s`` is the last moment at which it was seen; ``None``: only the first is known.
    """

    text: str
    confidence: float
    box: Box
    at_s: float
    until_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a service says that a scene is about, without a place; confidence 0-1."""

    label: str
    confidence: float


class SoundKind(StrEnum):
    """What a stretch of a sound track is. A voice may lie over music; the others exclude."""

    VOICE = "voice"
    MUSIC = "music"
    NOISE = "noise"
    SILENCE = "silence"


@dataclass(frozen=True, kw_only=True)
class SoundPart:
    """A stretch of the sound, in seconds of the video, and how sure its kind is (0-1)."""

    kind: SoundKind
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Loudness:
    """EBU R 128 of a range: integrated LUFS (-70 is silence), true peak dBTP, range LU.

    ``None`` of a member: the range is too short for it (or, of the peak, digitally silent).
    """

    integrated_lufs: float | None = None
    true_peak_dbtp: float | None = None
    range_lu: float | None = None


@dataclass(frozen=True, kw_only=True)
class SoundTrack:
    """``sounds/{flow_id}``: the whole first sound track: what it is made of, and how loud.

    ``parts`` and ``loudness`` are ``None`` when unknown, with the reason in ``degraded``.
    ``sources`` and ``versions`` name what measured each.
    """

    id: str
    parts: tuple[SoundPart, ...] | None = None
    loudness: Loudness | None = None
    sources: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Word:
    """A spoken word with its times in the source video and the recogniser's probability."""

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """``transcripts/{flow_id}``: the whole speech track; ``words`` empty means none was spoken.

    ``source`` names the recogniser; ``None`` words with a reason in ``degraded`` mean unknown.
    ``language_confidence`` is ``None`` when the recogniser knows one language only, or says none.
    """

    id: str
    words: tuple[Word, ...] | None
    language: str | None
    source: str
    degraded: tuple[str, ...] = ()
    language_confidence: float | None = None
    model_version: str = ""


@dataclass(frozen=True, kw_only=True)
class Features:
    """What was seen in one scene. Every member may be ``None``: not measured, see ``degraded``.

    motion, brightness, contrast and saturation are 0-1; sharpness is the variance of the
    Laplacian of the grey frame at 480 lines; quality is 0-1 (0.6 min(sharpness/100, 1) + 0.4
    min(height/1080, 1)); loudness is integrated LUFS, with its true peak (dBTP) and range (LU).
    ``focus`` is the path of interest for a crop: (time s, x, y) with the centre in fractions of
    the frame. ``sound`` is what the scene's sound is made of. Per feature, ``sources`` names the
    model or method that measured it, ``versions`` the version of that, and ``confidences`` (0-1)
    how sure it is: of found things the mean of their own, of measures the share of the planned
    moments that could be measured; what found nothing has none.
    """

    motion: float | None = None
    sharpness: float | None = None
    quality: float | None = None
    brightness: float | None = None
    contrast: float | None = None
    saturation: float | None = None
    loudness_lufs: float | None = None
    true_peak_dbtp: float | None = None
    loudness_range_lu: float | None = None
    sound: tuple[SoundPart, ...] | None = None
    labels: tuple[Label, ...] | None = None
    objects: tuple[Detection, ...] | None = None
    faces: tuple[Detection, ...] | None = None
    texts: tuple[TextSeen, ...] | None = None
    focus: tuple[tuple[float, float, float], ...] | None = None
    sources: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    confidences: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A predicted click-through rate (fraction) with its interval, and who said so.

    ``ctr`` is ``None`` when no model has learned from actuals yet; ``score`` (0-1) then comes from
    the documented heuristic and ``degraded`` says ``heuristic-rank``.
    """

    score: float
    ctr: float | None
    interval: tuple[float, float] | None
    model_version: str
    sample_size: int
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """A text as directions: one packed vector (``drive_intel.meaning``) per piece of it.

    Only vectors of the same ``source`` may be compared.
    """

    source: str
    vectors: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SceneSample:
    """One picture of a scene that the decoding pass kept: JPEG, upright, at most 1280 px.

    ``motion`` (0-1) is the mean change since a moment before; ``moving`` and ``detail`` are (x, y)
    in fractions of the frame: the centre of what changed and of the picture's edges, if any.
    """

    at_s: float
    picture: ObjectRef
    motion: float
    moving: tuple[float, float] | None = None
    detail: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Scene:
    """``scenes/{flow_id}-{index:03d}``: one shot, its features, and its place in the ranking.

    ``samples`` are empty where its pictures were not kept: they are then decoded when wanted.
    """

    id: str
    flow_id: str
    index: int
    start_s: float
    end_s: float
    thumbnail: str | None = None
    samples: tuple[SceneSample, ...] = ()
    features: Features | None = None
    transcript: str | None = None
    prediction: Prediction | None = None
    rank: int | None = None
    degraded: tuple[str, ...] = ()
    meaning: Meaning | None = None

    def with_transcript(self, spoken: str | None) -> Scene:
        """The scene with what is said in it."""
        return replace(self, transcript=spoken)


SPEECH_ITEM = "speech"  # the item of the feature fan-out that is no scene


def scene_id_of(flow_id: str, index: int) -> str:
    """The document id of a scene."""
    return f"{flow_id}-{index:03d}"


@dataclass(frozen=True, kw_only=True)
class ChampionModel:
    """``model_registry/{name}``: the model in use, and where its artifact is.

    ``checksum`` is the artifact's SHA-256 (empty: it was registered without). ``previous`` are the
    champions before it, the latest first: where a rollback goes.
    """

    name: str
    version: str
    artifact: ObjectRef
    promoted_at: float
    checksum: str = ""
    previous: tuple[str, ...] = ()
    by: str = ""
    reason: str = ""


class HookType(StrEnum):
    """How an ad opens."""

    PATTERN_INTERRUPT = "pattern_interrupt"
    QUESTION = "question"
    STATISTIC = "statistic"
    STORY = "story"
    TRANSFORMATION = "transformation"
    AUTHORITY = "authority"
    URGENCY = "urgency"


@dataclass(frozen=True, kw_only=True)
class Brief:
    """What the advertiser said; everything may be unknown (``None`` or empty).

    ``proven`` is not said but measured: what a winning ad is made of, of which new ones are wanted.
    """

    product_name: str | None = None
    offer: str | None = None
    target_avatar: str | None = None
    pain_points: tuple[str, ...] = ()
    desires: tuple[str, ...] = ()
    link_url: str | None = None
    # Not in the repr: campaigns are named by what the advertiser said.
    proven: tuple[str, ...] = field(default=(), repr=False)


# Into a shot: at once, or through black inside the two shots' own time.
TRANSITIONS = ("cut", "fade")


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One piece of the source used in a blueprint: from-to, text over it, how it is entered.

    ``transition`` into this shot is one of ``TRANSITIONS``.
    """

    scene_id: str
    start_s: float
    end_s: float
    overlay_text: str | None = None
    transition: str = "cut"

    @property
    def length_s(self) -> float:
        """How long it is shown, in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True, kw_only=True)
class MemberVerdict:
    """One Council member's score (0-100) and reason; ``score`` None when it did not answer."""

    member: str
    weight: float
    score: float | None
    reason: str
    model_version: str


class Verdict(StrEnum):
    """The Council's judgement of a blueprint."""

    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    NEEDS_REVIEW = "NEEDS_REVIEW"


@dataclass(frozen=True, kw_only=True)
class Heeded:
    """A pattern of the account's ads that a plan follows (or avoids), and what was measured."""

    pattern_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Citation:
    """A winner that a plan takes after, how near it is (cosine), and in what."""

    ad_id: str
    similarity: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """``blueprints/{flow_id}-bp{n:02d}``: one planned ad and the Council's verdict on it."""

    id: str
    flow_id: str
    title: str
    hook_text: str
    hook_type: HookType
    shots: tuple[Shot, ...]
    cta_text: str
    cta_type: str
    caption: str
    emotional_triggers: tuple[str, ...]
    grade: str
    mode: str
    verdict: Verdict | None = None
    council_score: float | None = None
    members: tuple[MemberVerdict, ...] = ()
    rounds: int = 0
    predicted: Prediction | None = None
    rank: int | None = None
    prompt_version: str = ""
    cost_microusd: int | None = None
    degraded: tuple[str, ...] = ()
    followed: tuple[Heeded, ...] = ()
    cites: tuple[Citation, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Check:
    """One measured property of a rendered file; ``passed`` only when it was truly measured."""

    name: str
    passed: bool
    measured: Any
    wanted: Any


class VariationStatus(StrEnum):
    """Where one variation of a render job stands."""

    QUEUED = "QUEUED"
    RENDERED = "RENDERED"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True)
class Variation:
    """``render_jobs/{job}/variations/{id}``: one rendered file with its checks.

    ``aspect`` None means that of the job; ``progress`` is the fraction that is rendered.
    """

    id: str
    render_job_id: str
    flow_id: str
    blueprint_id: str
    status: VariationStatus
    aspect: str | None = None
    media: ObjectRef | None = None
    poster: ObjectRef | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    checks: tuple[Check, ...] = ()
    reason: str | None = None
    degraded: tuple[str, ...] = ()
    progress: float = 0.0

    @property
    def is_queued(self) -> bool:
        """Whether it is still to be rendered."""
        return self.status is VariationStatus.QUEUED

    def rendered(self, **found: Any) -> Variation:
        """The variation with its file and what was measured of it."""
        return replace(self, status=VariationStatus.RENDERED, reason=None, progress=1.0, **found)

    def failed(self, reason: str) -> Variation:
        """The variation that could not be made, and why."""
        degraded = (*self.degraded, f"variation-failed:{self.id}")
        return replace(self, status=VariationStatus.FAILED, reason=reason, degraded=degraded)


@dataclass(frozen=True, kw_only=True)
class Rendition:
    """``renditions/{fingerprint}``: the checked file that a rendering request has come to.

    A request of the same fingerprint (request, source generation, renderer) takes it as it is.
    """

    id: str
    media: ObjectRef
    poster: ObjectRef
    sha256: str
    width: int
    height: int
    duration_s: float
    checks: tuple[Check, ...]
    degraded: tuple[str, ...]
    created_at: float


@dataclass(frozen=True, kw_only=True)
class RenderTask:
    """The variations that one task of a render job renders, together where that pays."""

    variation_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RenderJob:
    """``render_jobs/{id}``: one execution of the render job for one flow or remix.

    ``notify`` is False for a remix or a Pro job asked for over HTTP: nothing is published.
    ``quality`` is a level of ``policy.QUALITIES``. Without ``tasks`` each variation has its own.
    """

    id: str
    flow_id: str
    account_id: str
    video: ObjectRef
    aspect: str
    variation_ids: tuple[str, ...]
    status: str
    created_at: float
    execution: str | None = None
    notify: bool = True
    quality: str = "standard"
    tasks: tuple[RenderTask, ...] = ()

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The variations of each task, by its index."""
        grouped = tuple(task.variation_ids for task in self.tasks)
        return grouped or tuple((each,) for each in self.variation_ids)

    def group_of(self, variation_id: str) -> tuple[str, ...]:
        """The variations of the task that has this one."""
        return next(group for group in self.groups if variation_id in group)


class AssetKind(StrEnum):
    """What an asset of the library is."""

    VIDEO = "video"
    IMAGE = "image"
    MUSIC = "music"
    SOUND = "sound"
    FONT = "font"
    LUT = "lut"
    LOGO = "logo"


@dataclass(frozen=True, kw_only=True)
class AssetVersion:
    """One content of an asset, from 1; equal contents are one object of the media bucket.

    ``facts`` are what was measured in the file: sides (px), duration (s), codec, LUT size.
    """

    number: int
    media: ObjectRef
    sha256: str
    size_bytes: int
    content_type: str
    facts: dict[str, Any]
    added_at: float


@dataclass(frozen=True, kw_only=True)
class LibraryAsset:
    """``library_assets/{id}``: something that renders may use, and under what licence.

    ``versions`` are oldest first; the last one is current. ``licence`` is one of
    ``asset_library.LICENCES``; ``attribution`` is the credit that it demands, ``proof`` where the
    right to use it is written down. ``deleted_at`` is set when it is gone for readers but a
    render still refers to a version.
    """

    id: str
    account_id: str
    kind: AssetKind
    name: str
    licence: str
    versions: tuple[AssetVersion, ...]
    created_at: float
    updated_at: float
    tags: tuple[str, ...] = ()
    attribution: str = ""
    proof: str = ""
    contents: tuple[str, ...] = ()
    deleted_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class StoredTimeline:
    """``timelines/{id}``: a timeline as OpenTimelineIO text; ``revision`` counts its edits."""

    id: str
    otio: str
    revision: int
    created_at: float
    updated_at: float


class ProStatus(StrEnum):
    """Where one piece of Pro work stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True)
class ProFile:
    """One file that a Pro module made; its object is named by its content."""

    name: str
    media: ObjectRef
    content_type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ProJob:
    """``pro_jobs/{id}``: one piece of Pro work. The id is a digest of the tool, the request, the
    sources' generations, the policy and the code, so that the same work is done once.

    ``request`` and ``details`` are JSON. ``execution`` is empty for work that the service did
    itself. ``attempt`` counts the times that it was started by a request. ``source_keys`` are
    the keys of ``sources``, to be found by. Each of ``refusals`` is a licence that forbids
    publishing it; ``credits`` must be shown with it.
    """

    id: str
    tool: str
    request: str
    sources: dict[str, ObjectRef]
    source_keys: tuple[str, ...]
    account_id: str
    status: ProStatus
    attempt: int
    created_at: float
    updated_at: float
    progress: float = 0.0
    execution: str = ""
    files: tuple[ProFile, ...] = ()
    checks: tuple[Check, ...] = ()
    details: str = "{}"
    degraded: tuple[str, ...] = ()
    reason: str | None = None
    refusals: tuple[str, ...] = ()
    credits: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Account:
    """``accounts/{id}``: an ad account and where its ads point. Ids are Meta's.

    Audiences in the EU need ``dsa_beneficiary`` and ``dsa_payor`` (who profits, who pays).
    ``hubspot_portal_id`` names the HubSpot portal whose deals are credited to this account.
    """

    id: str
    ad_account_id: str
    page_id: str
    link_url: str
    currency: str = "USD"
    daily_budget: int = 2000
    countries: tuple[str, ...] = ("US",)
    special_ad_categories: tuple[str, ...] = ()
    dsa_beneficiary: str | None = None
    dsa_payor: str | None = None
    hubspot_portal_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """``campaigns/{id}``: the planned Meta tree of one flow, and what exists of it.

    ``steps`` is the saga of the one object that the campaign's ads share (``campaign``):
    ``{step: {state: INTENT|DONE|UNKNOWN, name, meta_id, owner, epoch, at}}``; a step is owned as
    long as the lease of the owning change's ``epoch`` lives.
    """

    id: str
    flow_id: str | None
    account_id: str
    name: str
    brief: Brief
    status: str
    created_at: float
    plan: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, Any] = field(default_factory=dict)


KILL_SWITCH = "breakers/kill-switch"  # a document there stops every write to Meta


class ChangeStatus(StrEnum):
    """The state machine of a pending change (docs/state_machine.md)."""

    PENDING = "PENDING"
    CLAIMED = "CLAIMED"
    EXECUTING = "EXECUTING"
    UNKNOWN = "UNKNOWN"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class ChangeType(StrEnum):
    """What a change does at Meta."""

    CREATE_CAMPAIGN = "CREATE_CAMPAIGN"
    CREATE_ADSET = "CREATE_ADSET"
    CREATE_AD = "CREATE_AD"
    BUDGET_INCREASE = "BUDGET_INCREASE"
    BUDGET_DECREASE = "BUDGET_DECREASE"
    STATUS_CHANGE = "STATUS_CHANGE"


@dataclass(frozen=True, kw_only=True)
class PendingChange:
    """``pending_ad_changes/{id}``: one wish at Meta, executed by the SafeExecutor alone.

    ``not_before_at`` is the earliest slot plus the jitter drawn once; ``steps`` is this change's
    own saga (``adset``, ``video``, ``image``, ``creative``, ``ad``; ``budget``; ``status``) in the
    shape of ``Campaign.steps``. From ``valid_until_at`` on the signals that it was decided from are
    too old: nobody may approve it, and unless somebody has it ends CANCELLED. None: no such time.
    """

    id: str
    change_type: ChangeType
    status: ChangeStatus
    account_id: str
    campaign_id: str | None
    ad_id: str | None
    payload: dict[str, Any]
    requested_by: str
    reasoning: str
    created_at: float
    not_before_at: float
    jitter_s: float
    flow_id: str | None = None
    variation_id: str | None = None
    approved_by: str | None = None
    needs_approval: bool = False
    claim_epoch: int = 0
    lease_until_at: float | None = None
    attempts: int = 0
    enqueued: int = 0
    priority: int = 0
    steps: dict[str, Any] = field(default_factory=dict)
    policy_version: str = ""
    last_error: str | None = None
    meta_id: str | None = None
    finished_at: float | None = None
    valid_until_at: float | None = None

    def lapsed(self, now: float) -> bool:
        """Whether it was decided too long ago, and nobody confirmed it since."""
        until = self.valid_until_at
        return until is not None and not self.approved_by and now >= until


@dataclass(frozen=True, kw_only=True)
class HistoryRow:
    """``ad_change_history/{change_id}-{claim_epoch:03d}``: append-only, one row per execution.

    ``{change_id}-000`` is written when the change is queued; the one terminal row of a change is
    ``{change_id}-end``.
    ``rules`` are the results of every rule ({rule, result, reason}); ``sent`` is what went to
    Meta without secrets; ``answer`` what came back; ``read_back`` what Meta then showed.
    """

    id: str
    change_id: str
    status: str
    at: float
    account_id: str
    change_type: str
    requested_by: str
    reasoning: str
    rules: tuple[dict[str, Any], ...] = ()
    sent: tuple[dict[str, Any], ...] = ()
    answer: dict[str, Any] | None = None
    read_back: dict[str, Any] | None = None
    meta_id: str | None = None
    error: str | None = None
    terminal: bool = False


@dataclass(frozen=True, kw_only=True)
class PerformanceDay:
    """``performance_metrics/{ad_id}-{date}``: one ad on one day of its account's calendar.

    The whole day is written each time it is read again, so overlapping windows never count twice.
    ``spend`` and ``conversion_value`` are minor units; ``frequency`` is impressions per person;
    ``begins_at`` is the day's midnight in the account's time zone, ``hours`` its length: 23 or 25
    where clocks change. ``conversions`` are purchases and leads; ``bought_within_*`` the purchases
    that came so soon after their click, ``None`` where Meta tells of none.
    """

    id: str
    ad_id: str
    account_id: str
    date: str
    impressions: int
    clicks: int
    spend: int
    currency: str
    source: str
    fetched_at: float
    begins_at: float | None = None
    hours: float = 24.0
    conversions: float | None = None
    conversion_value: int | None = None
    frequency: float | None = None
    warnings: tuple[str, ...] = ()
    purchases: float | None = None
    bought_within_day: float | None = None
    bought_within_week: float | None = None


@dataclass(frozen=True, kw_only=True)
class SettledTotals:
    """An ad's totals up to and with the day ``through`` (ISO; empty: nothing is settled)."""

    through: str = ""
    impressions: int = 0
    clicks: int = 0
    spend: int = 0
    conversions: float = 0.0
    cash_revenue: int = 0
    purchases: float = 0.0


@dataclass(frozen=True, kw_only=True)
class AdState:
    """``ad_states/{ad_id}``: what is known of one ad at Meta, totals included.

    ``daily_budget`` is that of its ad set as last read (``None``: unknown, or the budget sits on
    the campaign); money is minor units. ``pipeline_value`` is credited synthetic revenue,
    ``cash_revenue`` what Meta's purchase values add up to. The totals are those of ``settled``
    and of the ad's recent days, which ``days`` holds as ``budget.history`` packs them: a decision
    over many ads reads one document for each.
    """

    id: str
    account_id: str
    currency: str
    updated_at: float
    name: str = ""
    campaign_id: str | None = None
    adset_id: str | None = None
    status: str = ""
    created_at: float | None = None
    daily_budget: int | None = None
    impressions: int = 0
    clicks: int = 0
    spend: int = 0
    conversions: float = 0.0
    cash_revenue: int = 0
    purchases: float = 0.0
    pipeline_value: int = 0
    deals: int = 0
    insights_at: float | None = None
    settled: SettledTotals = field(default_factory=SettledTotals)
    days: str = ""
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BoughtDay:
    """An account's purchases of one day (ISO) that came within a day, and a week, of a click."""

    date: str
    within_day: float
    within_week: float


@dataclass(frozen=True, kw_only=True)
class AccountReading:
    """``account_readings/{account_id}``: the ad account as Meta showed it when last read.

    Meta's days follow ``time_zone`` (IANA; empty when Meta or the database here does not know it);
    ``utc_offset_hours`` is that of its clocks when it was read. ``min_daily_budget`` is minor
    units; ``read_through`` is the last day (ISO) of its calendar that was read. ``bought`` is how
    soon after their clicks people bought, by day, oldest first.
    """

    id: str
    currency: str
    utc_offset_hours: float
    read_at: float
    read_through: str
    min_daily_budget: int | None = None
    ads: int = 0
    degraded: tuple[str, ...] = ()
    time_zone: str = ""
    bought: tuple[BoughtDay, ...] = ()


@dataclass(frozen=True, kw_only=True)
class InsightsReport:
    """``insights_reports/{flow_id}``: the reports that one cycle asked Meta for.

    ``run_id`` is the report of the days ``since`` to ``until`` (ISO), ``before_run_id`` that of
    everything before them, asked for once in the life of an account.
    """

    id: str
    account_id: str
    since: str
    until: str
    asked_at: float
    run_id: str
    before_run_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class StageSeen:
    """A deal was in ``stage`` of ``pipeline`` from ``at`` on; ``amount`` is minor units."""

    pipeline: str
    stage: str
    at: float
    amount: int | None = None


@dataclass(frozen=True, kw_only=True)
class CreditedDeal:
    """What a decision over budgets reads of a ``Deal``."""

    id: str
    history: tuple[StageSeen, ...] = ()
    began_at: float | None = None
    seen_at: float | None = None
    deleted_at: float | None = None
    ad_id: str | None = None
    clicked_at: float | None = None
    credited: int = 0

    @property
    def is_deleted(self) -> bool:
        """Whether the newest reading did not find it."""
        return self.deleted_at is not None and self.deleted_at > (self.seen_at or 0.0)


@dataclass(frozen=True, kw_only=True)
class Deal(CreditedDeal):
    """``deals/{portal_id}-{deal_id}``: a CRM deal, its history, and what it has been credited.

    ``value`` is what its stage is worth (minor units); ``credited`` is the sum of its feedback
    ``events`` (value x attribution confidence). ``attribution`` says how the ad was found,
    ``unattributed`` when nothing tells; ``touch`` is the evidence that the deal brought along
    (read at ``touched_at``), and ``named_ad`` the ad that a caller named at ``named_at``.
    ``seen_at`` is the newest reading that found the deal, ``deleted_at`` the newest that did not;
    ``modified_at`` the newest change that a reading knew of, by the CRM's clock. ``clicked_at`` is
    never later than ``began_at``.
    """

    portal_id: int
    deal_id: str
    account_id: str
    currency: str
    updated_at: float
    value: int = 0
    touch: dict[str, str] = field(default_factory=dict)
    touched_at: float | None = None
    named_ad: str | None = None
    named_at: float | None = None
    modified_at: float | None = None
    events: int = 0
    attribution: str = "unattributed"
    attribution_confidence: float = 0.0
    degraded: tuple[str, ...] = ()

    def is_read_as_of(self, modified_at: float) -> bool:
        """Whether it has been read since the CRM changed it then: nothing is left to learn."""
        known = self.modified_at is not None and self.modified_at >= modified_at
        return known and not self.is_deleted


@dataclass(frozen=True, kw_only=True)
class Unattributed:
    """``unattributed/{account_id}``: deals whose ad nothing tells, and what they are worth now."""

    id: str
    currency: str
    updated_at: float
    deals: int = 0
    value: int = 0


@dataclass(frozen=True, kw_only=True)
class TrackedClick:
    """``clicks/{id}``: a click on one of our ads, as the landing page saw it at ``at``."""

    id: str
    account_id: str
    ad_id: str
    at: float
    click_id: str = ""
    fbclid: str = ""
    fingerprint: str = ""
    ip: str = ""
    user_agent: str = ""


@dataclass(frozen=True, kw_only=True)
class CrmEvent:
    """``hubspot_events/{key}``: one webhook event as it came; the same key for every delivery."""

    id: str
    portal_id: int
    deal_id: str
    member: str
    value: str
    occurred_at: float
    received_at: float
    kind: str
    subscription_id: int
    source: str
    verified: bool


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """``reconciliations/{portal_id}``: up to when (UTC epoch s) the poll has seen every deal.

    ``deleted_after`` is how far the present walk through the deleted deals has come.
    """

    id: str
    seen_until_at: float
    polled_at: float
    deleted_after: str = ""


@dataclass(frozen=True, kw_only=True)
class FeedbackEvent:
    """``feedback_events/{id}``: one signal as it was counted; append-only.

    ``value`` is the signed credit in minor units (stage value difference x attribution
    confidence); negative when a deal goes back or is lost. ``verified`` is False for what came
    without a signature (local profile only).
    """

    id: str
    kind: str
    account_id: str
    occurred_at: float
    received_at: float
    ad_id: str | None = None
    deal_id: str | None = None
    stage_from: str | None = None
    stage_to: str | None = None
    value: int = 0
    currency: str = ""
    attribution: str = ""
    confidence: float | None = None
    verified: bool = True
    members: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BudgetCycle:
    """``budget_cycles/{flow_id}``: one decision over one account's ads.

    ``record`` is the replayable record of the decision (inputs, seed, draws, policy version) in
    Cloud Storage; ``outcomes`` counts the gate's verdicts, ``changes`` names what was queued.
    ``ads`` counts the budgets decided on: an ad set with several ads is one.
    """

    id: str
    account_id: str
    at: float
    ads: int
    total_budget: int
    currency: str
    seed: int
    policy_version: str
    record: ObjectRef
    outcomes: dict[str, int] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BudgetVerdict:
    """``budget_cycles/{flow_id}/verdicts/{ad_id}``: the gate on one recommendation, held or not.

    ``ads`` are those that share the budget; with more than one, ``ad_id`` is their ad set's id.
    """

    id: str
    ad_id: str
    adset_id: str | None
    outcome: str
    current_budget: int | None
    recommended_budget: int
    approved_budget: int | None
    confidence: float
    reason: str
    rules: tuple[dict[str, Any], ...] = ()
    ads: tuple[str, ...] = ()
    change_ids: tuple[str, ...] = ()
