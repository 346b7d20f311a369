"""Typed documents of the self-learning cycle; units as in ``records``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from geminivideo.events import ObjectRef
from geminivideo.records import Prediction


@dataclass(frozen=True, kw_only=True)
class CreativeFeatures:
    """What an ad is made of, as known when it was published; ``None`` is unknown, never a default.

    Measured members are means over the ad's shots, weighted by their time. ``cuts_per_s``,
    ``words_per_s`` and ``letters_per_s`` are rates over the ad's duration; ``first_frame`` is what
    its opening shows (``face``, ``text``, ``motion`` or ``still``).
    """

    hook_type: str | None = None
    hook_words: int | None = None
    hook_has_number: bool | None = None
    cta_type: str | None = None
    grade: str | None = None
    first_frame: str | None = None
    duration_s: float | None = None
    opening_shot_s: float | None = None
    cuts_per_s: float | None = None
    words_per_s: float | None = None
    letters_per_s: float | None = None
    has_speech: bool | None = None
    has_music: bool | None = None
    motion: float | None = None
    sharpness: float | None = None
    quality: float | None = None
    brightness: float | None = None
    contrast: float | None = None
    saturation: float | None = None
    loudness_lufs: float | None = None
    object_kinds: float | None = None
    faces: float | None = None


@dataclass(frozen=True, kw_only=True)
class ShadowPrediction:
    """What a model that is not in use said of the same ad at the same time."""

    model_version: str
    ctr: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class PredictionRecord:
    """``predictions/{id}``: what was predicted of an ad before it was shown; append-only.

    ``id`` is the variation's (or the ad's, for an ad that was not made here). ``features`` are
    those of prediction time. ``predicted.ctr`` is ``None`` while no model has learned from actuals.
    """

    id: str
    account_id: str
    at: float
    features: CreativeFeatures
    predicted: Prediction | None
    variation_id: str | None = None
    blueprint_id: str | None = None
    campaign_id: str | None = None
    ad_id: str | None = None
    shadows: tuple[ShadowPrediction, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Actual:
    """``actuals/{ad_id}``: what became of an ad, linked to the prediction that preceded it.

    Totals are the ad's life up to ``until_at``. ``partial`` says why they are not whole (insights
    older than they should be, days missing); ``features`` are copied from the prediction, so that
    training reads one document for each ad. ``first_shown_at`` orders ads in time.
    ``day_dispersion`` is how much more its days differ than by chance (``learning/dispersion.py``),
    of ``day_pairs``.
    """

    id: str
    ad_id: str
    account_id: str
    currency: str
    impressions: int
    clicks: int
    spend: int
    pipeline_value: int
    cash_revenue: int
    first_shown_at: float
    until_at: float
    linked_at: float
    prediction_id: str | None = None
    model_version: str | None = None
    predicted_ctr: float | None = None
    interval: tuple[float, float] | None = None
    features: CreativeFeatures | None = None
    shadows: tuple[ShadowPrediction, ...] = ()
    partial: tuple[str, ...] = ()
    day_dispersion: float | None = None
    day_pairs: int = 0

    @property
    def ctr(self) -> float | None:
        """Clicks per impression (fraction); unknown without an impression."""
        return self.clicks / self.impressions if self.impressions else None


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Ads of alike predictions: the mean predicted and the seen CTR (fractions)."""

    predicted: float
    observed: float
    interval: tuple[float, float]
    ads: int
    impressions: int


@dataclass(frozen=True, kw_only=True)
class AccuracyScore:
    """How good predictions were over ``n`` ads (``learning/accuracy.py``); ``None`` is unknown.

    ``accuracy`` (0-1) leaves out what counting clicks makes, ``accuracy_as_seen`` does not;
    ``counting_error`` is the relative error of a perfect model. ``rmse``, ``mae`` are fractions of
    impressions; ``bias`` is predicted over seen clicks. ``intervals`` are by the measure's name.
    ``dispersion`` is the factor by which the ads' days differ more than by chance (1: not at all).
    """

    n: int
    impressions: int = 0
    clicks: int = 0
    accuracy: float | None = None
    accuracy_as_seen: float | None = None
    counting_error: float | None = None
    dispersion: float | None = None
    bias: float | None = None
    rmse: float | None = None
    rmse_beyond_counting: float | None = None
    mae: float | None = None
    r_squared: float | None = None
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    calibration: tuple[CalibrationBin, ...] = ()
    calibration_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class DriftFound:
    """Whether errors changed over time (``learning/drift.py``); ``found`` ``None``: unknown.

    ``kind`` is ``level`` (they moved to one side) or ``spread`` (they grew or shrank);
    ``before`` and ``after`` are clicks over the expected ones, less 1.
    """

    found: bool | None
    n: int
    reason: str
    p_value: float | None = None
    kind: str | None = None
    since_at: float | None = None
    before: float | None = None
    after: float | None = None


@dataclass(frozen=True, kw_only=True)
class AccuracyReport:
    """``accuracy_reports/{account_id}-{cycle_id}``: how good the predictions of an account were.

    ``overall`` is that of ``model_version``, the model in use, or of all models together (``None``)
    while that one has predicted too few ads. ``models`` has every version, those on trial too.
    ``excluded`` names ads whose actuals cannot be.
    """

    id: str
    account_id: str
    at: float
    overall: AccuracyScore
    drift: DriftFound
    seed: int
    model_version: str | None = None
    models: dict[str, AccuracyScore] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    partial_ads: int = 0
    policy_version: str = ""


class CycleStatus(StrEnum):
    """Whether a cycle still runs."""

    RUNNING = "running"
    COMPLETED = "completed"


class LoopStatus(StrEnum):
    """What became of one loop; the cycle goes on in every case."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, kw_only=True)
class LoopRun:
    """One loop of a cycle. ``result`` has the members of the loop's own HTTP route.

    ``lost_at`` is when it is given up. ``restarts`` counts the executions of the job that the
    sweeper started for it, the last ``restarted_at``.
    """

    number: int
    name: str
    status: LoopStatus
    started_at: float
    lost_at: float
    restarts: int = 0
    restarted_at: float | None = None
    finished_at: float | None = None
    duration_seconds: float | None = None
    result: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LearningCycle:
    """``learning_cycles/{id}``: one run of the seven loops for one account.

    ``steps`` is keyed "1" to "7". ``trigger`` is who asked (schedule, http, command).
    """

    id: str
    account_id: str
    trigger: str
    status: CycleStatus
    started_at: float
    trigger_retrain: bool = True
    accuracy_threshold: float | None = None
    steps: dict[str, LoopRun] = field(default_factory=dict)
    finished_at: float | None = None
    duration_seconds: float | None = None


MODEL_VERSIONS = "model_registry/ctr/versions"
MODEL_TRAININGS = "model_trainings"


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """``model_registry/ctr/versions/{version}``: one trained model and how it was judged.

    ``state`` is ``shadow`` (predicts beside the champion), ``champion``, ``retired`` or
    ``rejected``; ``reason`` says why. ``checksum`` is the artifact's SHA-256; ``card`` the model
    card (gs://). Scores are log loss per impression on held-out later ads. ``changes``: when (epoch
    s) accounts had been found to change by then, whose older ads it learned little from.
    """

    version: str
    state: str
    artifact: ObjectRef
    checksum: str
    trained_at: float
    trained_from: float
    trained_to: float
    kind: str
    champion_version: str | None = None
    champion_score: float | None = None
    challenger_score: float | None = None
    baseline_score: float | None = None
    test: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, float] = field(default_factory=dict)
    accounts: tuple[str, ...] = ()
    reason: str = ""
    card: ObjectRef | None = None


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One thing that an ad has: a member of its features equals ``equals``, or lies in a range.

    A range is ``low`` <= value < ``high`` in the member's own unit; ``None`` is open.
    """

    member: str
    equals: str | bool | None = None
    low: float | None = None
    high: float | None = None

    def met_by(self, features: CreativeFeatures) -> bool | None:
        """Whether an ad has it; ``None`` while the member is unknown."""
        value = getattr(features, self.member)
        return None if value is None else self.allows(value)

    def allows(self, value: str | float | bool) -> bool:
        """Whether a known value meets it."""
        if self.equals is not None:
            return bool(value == self.equals)
        if isinstance(value, str):
            return False
        return (self.low is None or value >= self.low) and (self.high is None or value < self.high)


def all_met(conditions: Iterable[Condition], features: CreativeFeatures) -> bool | None:
    """Whether an ad meets every condition; ``None`` while that is unknown."""
    met = [condition.met_by(features) for condition in conditions]
    return False if False in met else None if None in met else True


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """``model_trainings/{id}``: a training that somebody asked for outside a cycle.

    ``status`` is running, completed or failed; ``result`` has the members of the retrain loop.
    ``restarts``: how often its execution was lost and started again.
    """

    id: str
    account_id: str
    trigger: str
    status: LoopStatus
    asked_at: float
    execution: str | None = None
    restarts: int = 0
    restarted_at: float | None = None
    finished_at: float | None = None
    result: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AudienceLift:
    """A pattern among the ads for one audience (the brief's words): units, lift and interval."""

    audience: str
    support: int
    others: int
    lift: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class WinningPattern:
    """``winning_patterns/{account_id}-{id}``: a trait, or two, of winners (or losers).

    ``pattern_type`` is the part of the ad (hook, visual, audio, pacing, copy, cta; ``pair`` of two
    traits), ``support`` the units that have it: ads, or whole videos where the trait never varies
    inside one (``design`` ``within`` campaigns or ``between`` videos). ``basis`` says what
    ``lift`` compares: ``winners`` (share of winners) or ``ctr``, with / without the trait; below 1
    the trait is one to avoid. ``interval`` is that of the lift; ``p_value`` that of the test, and
    ``q_value`` after control of the false discovery rate. ``confounded_by`` names stronger
    patterns that account for this one; ``audiences`` has the lift for each audience with enough
    ads. ``strength`` (0-1) halves with each half-life of newer data that do not confirm it; the
    pattern ends (``ended_at``) below the floor. ``confirmed_through`` is until when (epoch s) ads
    are counted in its last confirmation.
    """

    id: str
    account_id: str
    pattern_type: str
    pattern: str
    support: int
    winners: int
    lift: float
    interval: tuple[float, float]
    p_value: float
    q_value: float
    strength: float
    found_at: float
    confirmed_at: float
    basis: str = "winners"
    design: str = "within"
    conditions: tuple[Condition, ...] = ()
    others: int = 0
    other_winners: int = 0
    confounded_by: tuple[str, ...] = ()
    audiences: tuple[AudienceLift, ...] = ()
    confirmed_through: float = 0.0
    confirmed_strength: float = 0.0
    confirmations: int = 1
    ended_at: float | None = None
    expire_at: float | None = None

    @property
    def raises(self) -> bool:
        """Whether the trait goes with more success, not less."""
        return self.lift > 1

    def met_by(self, features: CreativeFeatures) -> bool | None:
        """Whether an ad has all of it; ``None`` while that is unknown."""
        return all_met(self.conditions, features) if self.conditions else None


@dataclass(frozen=True, kw_only=True)
class KnowledgeNode:
    """``knowledge_nodes/{account_id}-{id}``: something that is known to matter.

    ``kind`` is a part of the ad (as a pattern's type), ``pair``, ``audience`` or ``outcome``.
    ``sources`` are who says so: ``ads`` for what was measured; others told it, and ``told`` holds
    the effectiveness each of them claims, which is no evidence.
    """

    id: str
    account_id: str
    kind: str
    name: str
    added_at: float
    updated_at: float
    sources: tuple[str, ...] = ()
    told: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class KnowledgeEdge:
    """``knowledge_edges/{account_id}-{from_id}-{to_id}``: how one node bears on another.

    ``relation`` is ``raises`` or ``lowers`` (an outcome) with the evidence: units with and without
    the trait, how often newer ads confirmed it, lift and its interval; the same from an audience to
    a trait, where it holds for that audience alone; or ``part_of`` (a pair).
    """

    id: str
    account_id: str
    from_id: str
    to_id: str
    relation: str
    added_at: float
    updated_at: float
    pattern_id: str | None = None
    evidence: int = 0
    evidence_without: int = 0
    confirmations: int = 0
    lift: float | None = None
    interval: tuple[float, float] | None = None
    strength: float = 0.0
    ended_at: float | None = None
    expire_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class CreativeDna:
    """``creative_dna_extractions/{ad_id}``: an ad in six parts, each a sentence of known facts.

    A part whose facts are unknown is ``None`` and named in ``missing``; ``score`` (0-1) is unknown
    without a model or actuals.
    """

    id: str
    account_id: str
    at: float
    hook: str | None = None
    visual: str | None = None
    audio: str | None = None
    pacing: str | None = None
    copy: str | None = None
    cta: str | None = None
    score: float | None = None
    features: CreativeFeatures | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WinnerPerformance:
    """How an ad did: CTR is a fraction, ROAS is value per unit of spend; ``None`` is unknown."""

    ctr: float | None = None
    roas: float | None = None
    pipeline_roas: float | None = None
    impressions: int | None = None


@dataclass(frozen=True, kw_only=True)
class WinnerEntry:
    """``winner_entries/{account_id}-{ad_id}``: one winner as it can be found: the truth from which
    an index is built.

    ``text`` is what was embedded, ``vector`` its direction (little-endian float32) by the model
    ``source``; both are empty while no model could be had. ``revision`` is a digest of all that an
    index holds of it. ``origin`` is ``loop`` (found by the cycle) or ``http`` (told by a caller).
    """

    id: str
    account_id: str
    ad_id: str
    dna: CreativeDna
    performance: WinnerPerformance
    text: str
    origin: str
    revision: str
    indexed_at: float
    source: str = ""
    vector: bytes = b""


@dataclass(frozen=True, kw_only=True)
class CachedSearch:
    """A question that was answered: its normalised words, its direction (float32), and what was
    found (ad id, similarity)."""

    text: str
    vector: bytes
    found: tuple[tuple[str, float], ...]
    at: float


@dataclass(frozen=True, kw_only=True)
class CachePage:
    """``semantic_cache_entries/{scope}``: an account's latest questions with the same filters.

    It holds for one version of the index and one model; ``expire_at`` deletes it.
    """

    id: str
    account_id: str
    index_version: str
    source: str
    expire_at: float
    searches: tuple[CachedSearch, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CacheCounts:
    """``semantic_cache_counts/{process}``: how the searches of one process were answered."""

    id: str
    expire_at: float
    exact: int = 0
    near: int = 0
    miss: int = 0


@dataclass(frozen=True, kw_only=True)
class Override:
    """What a person said of one ad's promotion, when and why."""

    by: str
    at: float
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class PromotionOverrides:
    """``promotion_overrides/{account_id}``: what people decided about promotion, by ad id.

    ``excluded`` ads are never promoted. ``forced`` ones are promoted once without being a winner,
    within the same limits. While it is ``paused`` nothing is promoted.
    """

    id: str
    excluded: dict[str, Override] = field(default_factory=dict)
    forced: dict[str, Override] = field(default_factory=dict)
    paused: Override | None = None


@dataclass(frozen=True, kw_only=True)
class PromotionState:
    """``promotion_states/{adset_id}``: how often a budget's ads were looked at, and its promotion.

    ``cycle_id`` is the cycle of the last of ``looks``, taken at ``clicks``, the one before it at
    ``clicks_before``; ``promoted_at`` and ``change_id`` are of the last promotion, ``forced_at``
    of the wish that it fulfilled.
    """

    id: str
    account_id: str
    looks: int = 0
    clicks: int = 0
    clicks_before: int = 0
    cycle_id: str = ""
    promoted_at: float | None = None
    change_id: str | None = None
    forced_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class PromotionEntry:
    """A raise that was queued, by its change's id, or a flow of variations by its own.

    ``of`` is the ad set that was raised, or the ad that is varied.
    """

    id: str
    of: str
    at: float
    raised: int = 0  # minor units a day


@dataclass(frozen=True, kw_only=True)
class PromotionLedger:
    """``promotion_ledgers/{account_id}``: what the limits on an account's promotions look at."""

    id: str
    raises: tuple[PromotionEntry, ...] = ()
    variations: tuple[PromotionEntry, ...] = ()


class VariationsStatus(StrEnum):
    """Where a request for new variations stands."""

    ASKED = "ASKED"  # a person must confirm
    STARTED = "STARTED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, kw_only=True)
class VariationRequest:
    """``variation_requests/{flow_id}``: new ads of a winner's own video, in a flow of their own.

    ``blueprint_id`` is the winner's plan; ``dna`` what is known of it, a sentence each; ``ads`` is
    the most that are made, the ``turn``-th time (from 0) for this ad. ``decided_by`` confirmed or
    rejected it.
    """

    id: str
    account_id: str
    ad_id: str
    blueprint_id: str
    source_flow_id: str
    campaign_id: str
    cycle_id: str
    at: float
    ads: int
    turn: int
    status: VariationsStatus
    reason: str
    dna: tuple[str, ...] = ()
    decided_by: str | None = None
    decided_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What one account puts into the next release: bounded, in whole units, read by nobody else.

    ``base`` is its CTR against the policy's, ``lifts`` its CTR with a trait against without, both
    as logs of ratios, clipped and in the policy's units. ``vocabulary`` names the list of traits.
    """

    vocabulary: str
    at: float
    base: int
    lifts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SharingConsent:
    """``sharing_consents/{account_id}``: whether an account shares; without one it does not.

    Opting out removes the ``contribution`` in the same write.
    """

    id: str
    opted_in: bool
    changed_at: float
    by: str
    contribution: Contribution | None = None


@dataclass(frozen=True, kw_only=True)
class PrivacyLoss:
    """What one release may have told of an account; ``at`` is the beginning of its slot."""

    release: str
    at: float
    epsilon: float
    delta: float


@dataclass(frozen=True, kw_only=True)
class PrivacyLedger:
    """``privacy_ledger/{digest of the account's id}``: the account's losses; append-only.

    It outlives consent and account, so that neither opting in again nor making the account anew
    gives a budget back; ``expire_at`` is when its last loss leaves the budget's window.
    """

    id: str
    losses: tuple[PrivacyLoss, ...] = ()
    expire_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class GlobalPattern:
    """A trait that stands out over the accounts: CTR with it over CTR without it.

    ``lift`` is shrunk by what the noise leaves uncertain; ``interval`` (90 %) is of the noise and
    the spread between traits, not of the sampling of accounts.
    """

    trait: str
    condition: Condition
    lift: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class SharedRelease:
    """``cross_account_patterns/{slot}``: what accounts told each other in one slot; never changed.

    Everything but the mechanism's own numbers follows from ``noisy``, whose noise is discrete
    Laplace of ``scale`` (units) a cell. A release that is withheld holds no cell: ``released_at``
    is ``None`` and ``reason`` says why. ``accounts`` is the noisy count; ``base_ctr`` a new
    account's expected CTR with its interval (90 %).
    """

    id: str
    at: float
    from_at: float
    until_at: float
    vocabulary: str
    mechanism: str
    epsilon: float
    delta: float
    sensitivity: int
    scale: float
    min_accounts: int
    released_at: float | None = None
    reason: str = ""
    accounts: int | None = None
    noisy: dict[str, int] = field(default_factory=dict)
    patterns: tuple[GlobalPattern, ...] = ()
    base_ctr: float | None = None
    base_interval: tuple[float, float] | None = None
