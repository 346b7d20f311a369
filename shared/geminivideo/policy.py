"""Every threshold the product decides by, in one place.

Units: rates are fractions, money is integer minor units, durations are seconds unless the name
says hours, loudness is LUFS / dBTP. An ad account may override any section through the
``policies`` collection; each decision records ``POLICY_VERSION`` or the override's own version.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

POLICY_VERSION = "2026-11-22.1"
MODES = ("pipeline", "direct")  # what counts as an ad's value: HubSpot's deals, Meta's purchases


class ExecutionMode(StrEnum):
    """What happens to a planned change: nothing leaves, a person confirms, or it runs."""

    OBSERVE = "observe"
    APPROVE = "approve"
    AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class IngestPolicy:
    """Which uploads are accepted (Video Intelligence's own limits are 50 GB and 3 h)."""

    max_bytes: int = 10 * 1024**3
    min_duration_s: float = 1.0
    max_duration_s: float = 2 * 3600.0
    min_side_px: int = 120
    max_side_px: int = 7680
    max_missing_s: float = 1.0  # of the declared duration that may be absent at the end
    max_missing_fraction: float = 0.02
    containers: tuple[str, ...] = (
        "mov,mp4,m4a,3gp,3g2,mj2",
        "matroska,webm",
        "avi",
        "flv",
        "mpegts",
    )


@dataclass(frozen=True, kw_only=True)
class CutPolicy:
    """What is a cut (``drive_intel/cut_detector.py``); differences are in levels (0-255) a cell.

    A step counts as hard when it is ``hard_ratio`` times the usual one of the ``around`` frames on
    either side, the ``outliers`` largest of them left out.
    """

    min_scene_s: float = 0.6
    horizon_s: float = 3.0  # nothing after this much later changes what was found
    hard_step: float = 11.0
    hard_ratio: float = 2.5
    hard_share: float = 0.35  # of the cells that must change by more than the noise
    noise: float = 6.0
    around: int = 6
    outliers: int = 2
    sparse_step: float = 24.0  # between key frames and slides: only the step itself is known
    slide_s: float = 0.4  # a picture that stood for so long is a slide
    flash_s: float = 0.25  # a picture that comes back within this time was interrupted by a flash
    flash_ratio: float = 0.5
    dissolve_lengths_s: tuple[float, ...] = (0.24, 0.4, 0.64, 1.0, 1.6)
    dissolve_stride: int = 2  # ends of dissolves are looked for at every so manyth frame
    dissolve_step: float = 18.0
    dissolve_stride_share: float = 0.45  # of the whole difference that one step may make
    dissolve_rest: float = 0.33
    dissolve_unevenness: float = 0.2
    same_drawing: float = 0.6  # correlation of luma above which only the light has changed
    dark_level: float = 40.0  # mean luma below which a plain frame shows nothing (black is 16)
    dark_step: float = 6.0  # levels above the darkest frame that still count as the same darkness
    fade_s: float = 1.5  # the picture goes dark and comes back as another one within this time
    fade_ratio: float = 1.8  # how much brighter than its darkest frame a fade is at both ends


@dataclass(frozen=True, kw_only=True)
class ScenePolicy:
    """How a video is decoded into scenes, and what a feature must reach to count."""

    cuts: CutPolicy = field(default_factory=CutPolicy)
    coarse_after_s: float = 1800.0  # longer videos: cuts at key frames only (time limit of a step)
    watching_share: float = 0.9  # of a step's time; the rest is for its sound
    whole_share: float = 0.6  # of the time for watching: then the rest of a video is coarse as well
    candidate_every_s: float = 0.15  # pictures of which a scene's samples are chosen
    min_samples: int = 4
    max_samples: int = 8
    sample_every_s: float = 0.8
    motion_gap_s: float = 0.1
    text_samples: int = 3
    min_text_confidence: float = 0.5
    min_object_confidence: float = 0.3
    min_face_confidence: float = 0.9  # where photographs and bark part (docs/models.md)
    min_motion: float = 0.004  # below this mean difference a pair of frames counts as still


@dataclass(frozen=True, kw_only=True)
class SpeechPolicy:
    """When a recognised segment counts as speech (Whisper's own measures)."""

    min_segment_confidence: float = 0.45
    max_no_speech: float = 0.6
    max_heard_s: float = 3600.0  # longer tracks are heard up to here (time limit of a step)
    time_share: float = 0.8  # of a step's time; the rest is for what else the sound is made of
    min_language_confidence: float = 0.5  # below it the language that was heard is unsure
    max_hint_words: int = 24  # names told to the recogniser: more of them make it hear them
    # A voice that is there for certain, though no word of it was understood: Silero's probability,
    # and for how long in all (measured: 0.26 s of one foreign word, none in music).
    certain_voice: float = 0.8
    certain_voice_s: float = 0.25


@dataclass(frozen=True, kw_only=True)
class SoundPolicy:
    """What makes a stretch of sound a voice, music, noise or silence (docs/models.md)."""

    min_voice: float = 0.5  # Silero's probability, per 32 ms
    silence_dbfs: float = -60.0  # RMS of a quarter of a second
    min_part_s: float = 0.5
    min_music: float = 0.5  # of the music score of a second


@dataclass(frozen=True, kw_only=True)
class VisionPolicy:
    """Who looks at this account's videos and hears them, and what that costs.

    ``provider`` is ``local``, ``video-intelligence``, or empty: what the deployment says
    (``GV_VISION``). ``wanted`` is what the Video Intelligence API is asked for and paid for.
    Prices are USD per minute of stored video beyond the month's first 1,000, from
    cloud.google.com/video-intelligence/pricing as read on ``prices_of``; shots are free with
    labels.
    """

    provider: str = ""
    wanted: tuple[str, ...] = ("objects", "faces", "texts", "labels", "speech")
    language: str = "en-US"
    prices_of: str = "2026-11-22"
    prices_usd: tuple[tuple[str, float], ...] = (
        ("labels", 0.10),
        ("shots", 0.05),
        ("speech", 0.048),
        ("objects", 0.15),
        ("texts", 0.15),
        ("faces", 0.10),
    )


@dataclass(frozen=True, kw_only=True)
class SearchPolicy:
    """Search over scenes: how near a meaning must be (cosine) to count, and how many pieces of a
    scene's text have a vector of their own."""

    min_similarity: float = 0.25
    max_pieces: int = 16
    piece_words: int = 40


@dataclass(frozen=True, kw_only=True)
class RankPolicy:
    """The documented heuristic used while no champion model exists; weights sum to 1."""

    motion_weight: float = 0.30
    objects_weight: float = 0.25
    text_weight: float = 0.20
    quality_weight: float = 0.25
    objects_saturation: int = 5
    interval: float = 0.90


@dataclass(frozen=True, kw_only=True)
class TrainingPolicy:
    """What the CTR model learns from, how it is judged, and what it takes to replace the champion.

    ``held_out`` are the latest ads, by which the challenger is judged; ``validation`` is the latest
    part of the rest, by which one candidate is chosen: logistic regressions of each of ``ridges``,
    with all ads alike or with their weight halving every ``half_life_days``, and boosted trees from
    ``boosting_rows`` ads on; where ads are stale (from before a drift), with one of
    ``stale_weights`` for these instead. A test is a bootstrap over ads (``resamples``, ``seed``) of
    the difference in log loss; it is won when the one-sided bound at ``level`` is above zero, on at
    least ``min_judged`` ads, or ``min_shadow_ads`` for a shadow, which has ``max_shadow_days``.
    ``max_graph_difference`` is how far (probability) what is served may be from what was trained.
    An account with ``pooled`` False keeps its ads out of the deployment's model.

    Guards: an ad with more than ``max_ctr`` of at least ``min_extreme_impressions`` is no ad's
    truth; a day whose rate is ``outlier_factor`` times the usual and ``outlier_z`` deviations away
    is left out; above ``max_refused`` of impossible ads or ``max_outlying`` of ads on such days
    nothing is learned at all.
    """

    min_rows: int = 24
    min_clicks: int = 100
    held_out: float = 0.25
    ridge: float = 1.0
    validation: float = 0.20
    ridges: tuple[float, ...] = (1.0, 10.0, 100.0)
    half_life_days: float = 21.0
    stale_weights: tuple[float, ...] = (0.05, 0.25)
    boosting_rows: int = 400
    window_days: float = 365.0
    max_rows: int = 50_000
    account_rows: int = 10  # ads that an account needs for a level of its own in the model
    level: float = 0.50  # in what share of resamples it must be better to be tried, or to be first
    resamples: int = 2000
    seed: int = 20261122
    min_judged: int = 6
    shadows: int = 3
    min_shadow_ads: int = 8
    shadow_level: float = 0.60  # of resamples in which a shadow must be better, or worse to go
    max_shadow_days: float = 45.0
    max_graph_difference: float = 1e-5
    pooled: bool = True
    max_ctr: float = 0.5
    min_extreme_impressions: int = 100
    max_refused: float = 0.10
    outlier_z: float = 6.0
    outlier_factor: float = 3.0
    min_outlier_clicks: int = 20
    max_outlying: float = 0.25
    wait_s: float = 40.0  # how long the HTTP route waits for the job before it answers 202


@dataclass(frozen=True, kw_only=True)
class CouncilPolicy:
    """The Council of Titans: scores 0-100, weighted mean of the members that answered."""

    approval_score: float = 85.0
    min_members: int = 2
    max_rounds: int = 3
    blueprints: int = 10
    max_blueprints: int = 50
    max_rendered: int = 10
    max_hook_chars: int = 38
    min_shot_s: float = 0.8
    max_shot_s: float = 4.0
    max_shots_per_scene: int = 2
    lead_in_s: float = 0.4
    min_ad_s: float = 3.0
    max_ad_s: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Quality:
    """A quality level: x264's preset and CRF (other codecs follow from them) and the passes.

    With two passes the first one finds the rate that the CRF needs, and the second one spends it.
    """

    preset: str
    crf: int
    passes: int = 1


# veryfast is where x264's time and size meet (measured); slower levels buy size with time.
QUALITIES: dict[str, Quality] = {
    "draft": Quality(preset="superfast", crf=28),
    "standard": Quality(preset="veryfast", crf=23),
    "high": Quality(preset="slow", crf=20, passes=2),
    "master": Quality(preset="slower", crf=18, passes=2),
}


@dataclass(frozen=True, kw_only=True)
class RenderPolicy:
    """How a variation is rendered, and what every rendered file is checked against.

    The safe zone (``safe_*``, fractions of the frame) is that of Reels and Stories, whose own
    buttons cover the rest of a 9:16 frame; other shapes keep ``feed_margin`` on every side.
    ``encoder_threads`` is fixed because x264's bytes depend on it. One task renders at most
    ``outputs_per_task`` variations of the same shots together (docs/rendering.md has what that
    costs in memory), and says how far it is every ``progress_every_s``.
    """

    loudness_lufs: float = -16.0
    loudness_tolerance_lu: float = 1.0
    true_peak_dbtp: float = -1.0
    duration_tolerance_s: float = 0.1
    max_side_px: int = 1920
    max_upscale: float = 1.8
    safe_top: float = 0.14
    safe_bottom: float = 0.35
    safe_left: float = 0.06
    safe_right: float = 0.06
    feed_margin: float = 0.05
    preferred_short_px: int = 720
    max_short_px: int = 1080
    max_fps: float = 30.0
    crf: int = 23
    preset: str = "veryfast"
    hook_s: float = 3.0
    cta_s: float = 3.0
    caption_words: int = 6
    caption_chars: int = 40
    caption_gap_s: float = 0.6
    caption_min_s: float = 1.0
    caption_max_s: float = 5.0
    fade_s: float = 0.25
    join_fade_s: float = 0.012
    silence_lufs: float = -50.0
    peak_headroom_db: float = 0.8
    max_black_share: float = 0.5
    max_still_s: float = 1.0
    min_contrast: float = 3.0
    timeout_s: float = 900.0
    encoder_threads: int = 2
    outputs_per_task: int = 5
    progress_every_s: float = 3.0

    def at(self, quality: str) -> RenderPolicy:
        """This policy at a level of ``QUALITIES``; ``standard`` is the policy itself."""
        if quality == "standard":
            return self
        level = QUALITIES[quality]
        return replace(self, preset=level.preset, crf=level.crf)


@dataclass(frozen=True, kw_only=True)
class AdPolicy:
    """Which lengths an ad of a template may have, and how its footage is cut.

    A beat is never shown in pieces shorter than ``min_shot_s``; ``level_lufs`` is the loudness
    that each clip's sound is brought to before they are joined, by at most ``max_gain_db``.
    """

    min_duration_s: float = 6.0
    max_duration_s: float = 90.0
    min_shot_s: float = 0.8
    min_hook_s: float = 1.5
    min_cta_s: float = 1.5
    level_lufs: float = -20.0
    max_gain_db: float = 15.0
    max_variants: int = 20


@dataclass(frozen=True, kw_only=True)
class VoicePolicy:
    """How far a spoken line may be sped up or slowed down to fit its beat."""

    min_tempo: float = 0.8
    max_tempo: float = 1.25
    max_chars: int = 5000
    peak_dbfs: float = -3.0


@dataclass(frozen=True, kw_only=True)
class ProPolicy:
    """Which Pro work a service does while its caller waits; all else is the render job's.

    ``wait_s`` is the longest estimated work (seconds of the service's own CPU) and
    ``wait_bytes`` the largest sum of sources: a service's disk is its memory.
    """

    wait_s: float = 20.0
    wait_bytes: int = 64 * 1024**2
    max_bytes: int = 4 * 1024**3
    max_sources: int = 50
    asset_bytes: int = 256 * 1024**2  # of one asset of the library: it is read by the service
    max_request_bytes: int = 256 * 1024
    abandoned_s: float = 300.0  # a service that held work longer than its time-out is gone


@dataclass(frozen=True, kw_only=True)
class ExecutorPolicy:
    """The SafeExecutor's limits.

    ``account_daily_cap`` bounds the sum of an account's daily budgets (minor units; None: no cap).
    What was decided from signals and not executed or confirmed within ``decided_valid_hours``
    lapses. A held change is looked at again after ``recheck_s``; attempt n of a failing one waits
    ``backoff_first_s * 4 ** (n - 1)``, at most ``backoff_max_s``. A limit without a time of its own
    waits ``limited_wait_s``; from ``usage_pause_percent`` of Meta's usage header on, the account
    pauses. A video is polled ``video_polls`` times, then the change is deferred by
    ``video_defer_s``, until ``video_deadline_s`` after its upload.
    """

    mode: ExecutionMode = ExecutionMode.APPROVE
    jitter_min_s: float = 3.0
    jitter_max_s: float = 18.0
    changes_per_campaign_hour: int = 15
    budget_changes_per_adset_hour: int = 4
    max_budget_change: float = 0.20
    budget_window_hours: float = 6.0
    window_patience_s: float = 5400.0  # a decided change waits so long for the window's oldest one
    account_daily_cap: int | None = None
    decided_valid_hours: float = 24.0
    fuzz: float = 0.005
    max_attempts: int = 5
    lease_s: float = 60.0
    settle_s: float = 5.0
    recheck_s: float = 300.0
    backoff_first_s: float = 5.0
    backoff_max_s: float = 320.0
    limited_wait_s: float = 300.0
    usage_pause_percent: float = 95.0
    video_polls: int = 3
    video_poll_s: float = 2.0
    video_defer_s: float = 15.0
    video_deadline_s: float = 3600.0


@dataclass(frozen=True, kw_only=True)
class SamplerPolicy:
    """What BattleHardenedSampler believes before it has seen anything, and how fast it forgets.

    ``ctr_weight`` is the share of the click signal by age in hours: linear between the knots;
    after the last one it decays exponentially to ``ctr_weight_end`` at ``ctr_weight_end_hours``.
    Evidence halves in weight every ``*_half_life_days``: that is how a change in an ad's truth is
    followed. ``prior_*`` hold for an account of which nothing is known; ``*_strength`` is how much
    evidence (ads, credited deals) it takes to outweigh them.
    """

    mode: str = "pipeline"  # or "direct": the cash revenue of purchases that Meta reports
    ctr_weight: tuple[tuple[float, float], ...] = ((6.0, 1.0), (24.0, 0.7), (72.0, 0.3))
    ctr_weight_end: float = 0.1
    ctr_weight_end_hours: float = 336.0
    click_half_life_days: float = 4.0
    value_half_life_days: float = 60.0
    history_days: int = 30
    prior_ctr: float = 0.01
    prior_ctr_impressions: float = 500.0
    prior_ctr_strength: float = 3.0
    prior_value_dispersion: float = 0.30  # variance between ads of value per click, mean 1
    min_value_dispersion: float = 0.10
    max_value_dispersion: float = 2.0
    prior_dispersion_strength: float = 4.0  # 1 / the relative variance of what is believed of it
    deal_value_dispersion: float = 0.08  # variance between ads of what a deal is worth, mean 1
    prior_credit_spread: float = 1.0  # squared coefficient of variation of one deal's credit
    draw_sharpness: float = 4.0  # the posterior's variance by that of its Thompson draws
    prior_move: float = 0.20  # what likeness to winners and cross-account wisdom may each do
    elasticity_spread: float = 0.10  # of the audience's answer to spend, and of an ad's around it
    elasticity_spread_ads: float = 0.25
    elasticity_half_life_days: float = 4.0
    min_elasticity: float = 0.35
    max_elasticity: float = 0.98
    saturation_spread: float = 0.7  # of the log of the spend at which half a return is left
    saturation_spread_ads: float = 0.10  # of an ad's elasticity around the account's curve
    model_spread: float = 0.10  # relative error of the model itself, beside the sampling error
    daily_noise: float = 0.05  # relative, of a day's rates, beside the noise of counting
    fatigue_days: int = 7
    fatigue_min_days: int = 4
    fatigue_z: float = 2.33
    fatigue_z_frequency: float = 1.64  # enough when frequency rises as well
    fatigue_horizon_days: float = 1.0
    max_fatigue: float = 0.50
    min_impressions: int = 100  # below this an ad is said to be little known


@dataclass(frozen=True, kw_only=True)
class AllocationPolicy:
    """Bounds of one ad's daily budget, in minor units of the account's currency.

    Velocity is the executor's (``ExecutorPolicy``): one home for one limit.
    """

    daily_total: int | None = None  # what the account's budgets are to sum to; None: as it is
    min_daily_budget: int = 1_00
    max_share: float = 1.0
    exploration_share: float = 0.20  # of an equal share, for ads in the ignorance zone
    least_share: float = 0.04  # of an equal share, for every other ad: a changed truth is seen
    kill_certainty: float = 0.95


@dataclass(frozen=True, kw_only=True)
class GatePolicy:
    """The decision gate: ``order`` names its rules; ages in hours, money in minor units."""

    order: tuple[str, ...] = (
        "data_fresh",
        "ignorance_zone",
        "confidence",
        "kill",
        "scale",
        "velocity",
        "spend_cap",
        "account_health",
        "approval",
    )
    max_data_age_hours: float = 6.0
    ignorance_hours: float = 48.0
    ignorance_spend: int = 100_00
    min_confidence: float = 0.70
    kill_spend: int = 200_00
    kill_roas: float = 0.5
    scale_roas: float = 3.0
    scale_step: float = 0.10  # a raise beyond this is hard scaling
    min_move: float = 0.02  # relative: below it a move is not worth one of Meta's changes
    max_changes: int = 500  # queued in one cycle, the largest moves first


@dataclass(frozen=True, kw_only=True)
class InsightsPolicy:
    """How Meta's insights are read. Days are those of the ad account's calendar.

    ``window_days`` are read again each time, because Meta still corrects them, and once a day
    ``conversion_days``, in which clicks may still convert (Meta's default window: 7 days after the
    click); an account that is seen for the first time is read ``first_days`` back. ``kept_days``
    stay in the ad's state day by day. A report is asked after ``polls`` times, ``poll_s`` apart,
    then the delivery is given back; after ``report_deadline_s`` it is given up for this cycle. From
    ``usage_pause_percent`` of Meta's limit on, reading waits; ``pause_s`` when Meta says no time.
    ``reads_per_hour`` bounds what callers of the HTTP route may read of one account. Totals that a
    caller sends and that went back by up to ``max_correction`` (a share) were corrected; by more,
    the ad is counted anew. Counts that fell on ``least_falls`` days, and on more than
    ``falling_share`` of all days of a caller's ads, were never totals but each day's own.
    """

    window_days: int = 5
    conversion_days: int = 9  # seven days after a click, and the part of a day on either side
    first_days: int = 28
    kept_days: int = 37
    max_correction: float = 0.2
    least_falls: int = 2
    falling_share: float = 0.25
    polls: int = 3
    poll_s: float = 2.0
    report_deadline_s: float = 4 * 3600.0
    usage_pause_percent: float = 90.0
    pause_s: float = 300.0
    reads_per_hour: int = 200
    whole_days_up_to: int = 20_000  # of more budgets, days older than a week are one stretch


@dataclass(frozen=True, kw_only=True)
class LagPolicy:
    """A lag (days): a Weibull prior, and its weight.

    ``Policy.lag`` is from a click to the deal, ``Policy.ripening`` from the deal's beginning to its
    value; ``Policy.purchasing`` from a click to the purchase, within the week that Meta attributes.
    ``prior_*_spread`` are standard deviations of the natural logarithm.
    """

    prior_median_days: float = 4.0
    prior_median_spread: float = 0.7
    prior_shape: float = 1.4
    prior_shape_spread: float = 0.35
    max_days: float = 90.0


@dataclass(frozen=True, kw_only=True)
class AttributionPolicy:
    """Windows (hours) and confidences of the ways by which a deal finds its ad, best first."""

    click_id_hours: float = 168.0
    click_id_confidence: float = 1.0
    utm_confidence: float = 0.95
    fingerprint_hours: float = 168.0
    fingerprint_confidence: float = 0.9
    network_hours: float = 24.0
    network_confidence: float = 0.7
    network_confidence_end: float = 0.5  # at the end of the window


@dataclass(frozen=True, kw_only=True)
class RevenuePolicy:
    """What a deal is worth while it has not paid, until an account has a stage map of its own.

    ``stages`` are (stage id, share of ``deal_value``, confidence). Stages of the earlier system
    (lead, appointment, show-up, won) keep its values and confidences: appointment 15 % and show-up
    60 % of a deal of 15,000. The other stages of HubSpot's default pipeline take the win
    probability that HubSpot gives them as share and as confidence. ``deal_value`` is in major
    units of the account's currency. ``*_property`` name the deal's members that hold the evidence
    of attribution; the poll looks back ``poll_overlap_s``, at first ``poll_first_s``.
    """

    deal_value: int = 15_000
    pipeline: str = "default"
    stages: tuple[tuple[str, float, float], ...] = (
        ("lead", 0.0, 0.10),
        ("appointmentscheduled", 0.15, 0.60),
        ("qualifiedtobuy", 0.40, 0.40),
        ("presentationscheduled", 0.60, 0.60),
        ("showup", 0.60, 0.85),
        ("decisionmakerboughtin", 0.80, 0.80),
        ("contractsent", 0.90, 0.90),
        ("closedwon", 1.0, 1.0),
    )
    won: tuple[str, ...] = ("closedwon",)
    lost: tuple[str, ...] = ("closedlost",)
    click_id_property: str = "gv_click_id"
    fbclid_property: str = "hs_facebook_click_id"
    utm_content_property: str = "utm_content"
    fingerprint_property: str = "gv_fingerprint"
    ip_property: str = "gv_ip_address"
    user_agent_property: str = "gv_user_agent"
    poll_overlap_s: float = 300.0
    poll_deleted_pages: int = 10  # of a hundred deleted deals each: one poll's part of all
    poll_first_s: float = 30 * 86400.0


@dataclass(frozen=True, kw_only=True)
class WinnerPolicy:
    """The one definition of a winner; CTR is a fraction, money minor units, age hours."""

    min_ctr: float = 0.03
    min_roas: float = 3.0
    min_impressions: int = 1_000
    min_age_hours: float = 24.0
    min_spend: int = 50_00


@dataclass(frozen=True, kw_only=True)
class CreativePolicy:
    """When something is known of a whole ad (``ml/creative.py``); shares are of its time.

    ``opening_s`` is what its first frame's kind is read from; ``min_motion`` is that of
    ``ScenePolicy``.
    """

    min_known: float = 0.5
    min_sound_share: float = 0.2
    opening_s: float = 1.0
    min_motion: float = 0.004


@dataclass(frozen=True, kw_only=True)
class PlausibilityPolicy:
    """Which days of actuals are not believed (``learning/plausible.py``).

    A day of all ads is doubted when the median ad's CTR is ``jump_factor`` times (or that part of)
    its other days', ``jump_share`` of the ads moved the same way, and the clicks are
    ``jump_sigmas`` deviations of counting off; the day of single ads when ``min_ads`` of them leap
    up so on the same one, each by itself. Ads count with ``min_day_impressions`` that day.

    A day is doubted as well when ads disagree about it: ``min_odd_ads`` of them, and
    ``min_odd_share``, are ``odd_sigmas`` off their ``neighbours`` days before and after it. Of
    1,560 days of markets told truly two were, the two latest after a change of taste apart; of 322
    that were told 5 times over, or not at all, of half of 24 ads every one was.
    """

    min_ads: int = 5
    min_day_impressions: int = 100
    jump_factor: float = 3.0
    jump_share: float = 0.8
    jump_sigmas: float = 6.0
    max_jumps: int = 7
    neighbours: int = 3
    odd_sigmas: float = 3.0
    min_odd_ads: int = 3
    min_odd_share: float = 0.05


@dataclass(frozen=True, kw_only=True)
class AccuracyPolicy:
    """How predictions are judged by actuals (``learning/accuracy.py``, ``learning/drift.py``).

    Below ``min_ads`` ads or ``min_clicks`` clicks the accuracy is unknown. ``interval`` is the
    level of every interval, of ``resamples`` bootstrap samples of ads. Drift is looked for from
    ``drift_min_ads`` on, with ``drift_false_alarms`` per look, by ``permutations`` of their order.
    """

    min_ads: int = 3
    min_clicks: int = 20
    interval: float = 0.90
    min_dispersion_pairs: int = 20  # of neighbouring days that tell how much days differ
    bins: int = 10
    min_bin_ads: int = 5
    resamples: int = 400
    drift_min_ads: int = 20
    drift_min_clicks: float = 5.0  # expected of an ad that tells of drift
    drift_false_alarms: float = 0.01
    permutations: int = 999
    window_days: float = 90.0  # ads first shown in these are judged, the latest ``max_ads``
    max_ads: int = 10_000


@dataclass(frozen=True, kw_only=True)
class LearningPolicy:
    """The self-learning cycle.

    Ads aged ``min_age_hours`` to ``max_age_days`` are looked at. A loop stops taking up work after
    ``loop_s`` and goes on with what it has (partial data, said); one that has not ended
    ``lost_after_s`` after its start is recorded as timed out, and the cycle goes on; one that
    raises is recorded as failed at its try number ``tries``. The model is retrained when its
    accuracy is below ``min_accuracy`` or its errors drift.
    """

    min_age_hours: float = 24.0
    max_age_days: float = 30.0
    loop_s: float = 240.0
    lost_after_s: float = 1800.0
    lost_retrain_s: float = 5400.0
    tries: int = 3
    min_accuracy: float = 0.80
    max_data_age_hours: float = 24.0


@dataclass(frozen=True, kw_only=True)
class DnaPolicy:
    """Words for measures: below the first bound it is little, from the second on much.

    motion, brightness, contrast and saturation are 0-1; cuts and words are per second; ``quotes``
    bounds the words that are quoted of what is said, ``shown`` the things that are named.
    """

    motion: tuple[float, float] = (0.05, 0.2)
    brightness: tuple[float, float] = (0.35, 0.6)
    contrast: tuple[float, float] = (0.15, 0.3)
    saturation: tuple[float, float] = (0.2, 0.45)
    cuts_per_s: tuple[float, float] = (0.2, 0.5)
    words_per_s: tuple[float, float] = (1.0, 2.5)
    quotes: int = 60
    shown: int = 8


@dataclass(frozen=True, kw_only=True)
class WinnersPolicy:
    """The index of winners (measured: ``python -m bench winners``).

    Up to ``flat_up_to`` vectors every one is compared; above, cells (IVF) of which ``probes`` are
    looked into, all of them when fewer than ``narrow`` of the rows are wanted. Cells are learned
    anew once the index has grown by ``regrow``. ``conflicts`` is how often a writer that was
    overtaken tries again; objects that no manifest names are deleted after ``orphan_s``.
    ``top_k`` bounds one search; ``embed_batch`` winners are embedded between two looks at the
    clock. The Director is given ``examples`` winners at least ``min_similarity`` near (cosine).
    """

    flat_up_to: int = 50_000
    probes: int = 16
    narrow: float = 0.1
    regrow: float = 2.0
    points_per_cell: int = 64  # that cells are learned from (FAISS' own default: 256)
    conflicts: int = 30
    orphan_s: float = 86_400.0
    kept_bytes: int = 256 * 1024**2  # of indices that one process keeps in memory
    spare: int = 8  # found beyond what was asked for: an entry may be gone meanwhile
    top_k: int = 100
    embed_batch: int = 32
    examples: int = 3
    min_similarity: float = 0.25
    dna: DnaPolicy = field(default_factory=DnaPolicy)


@dataclass(frozen=True, kw_only=True)
class SemanticCachePolicy:
    """Bands: the same words are ``exact``; a question at least ``near`` (cosine) with the same
    words but for their forms and carriers (``rag.cache``) is answered with what was found for the
    other; all else is a miss. A page holds the ``kept`` latest questions and lives for ``ttl_s``;
    counts are stored at least every ``count_every_s``."""

    near: float = 0.85
    kept: int = 64
    ttl_s: float = 86_400.0
    count_every_s: float = 5.0
    counts_ttl_s: float = 7 * 86_400.0


@dataclass(frozen=True, kw_only=True)
class TraitPolicy:
    """Where a measure of an ad changes its name (``learning/traits.py``): ascending cut points.

    A value below the first cut has the first name, and so on. Units are those of
    ``CreativeFeatures``: words, seconds, rates per second, fractions of full scale.
    """

    hook_words: tuple[float, ...] = (5, 8)
    duration_s: tuple[float, ...] = (10.0, 13.5)
    opening_shot_s: tuple[float, ...] = (1.5, 3.0)
    cuts_per_s: tuple[float, ...] = (0.25, 0.5)
    words_per_s: tuple[float, ...] = (1.0, 2.5)
    letters_per_s: tuple[float, ...] = (4.0, 12.0)
    motion: tuple[float, ...] = (0.05, 0.2)
    brightness: tuple[float, ...] = (0.35, 0.6)
    saturation: tuple[float, ...] = (0.2, 0.45)
    contrast: tuple[float, ...] = (0.15, 0.25)
    faces: tuple[float, ...] = (0.5,)


@dataclass(frozen=True, kw_only=True)
class PatternPolicy:
    """Compound learning (``learning/patterns.py``).

    Ads first shown in the last ``window_days`` are compared, at most ``max_ads`` (the newest), with
    at least ``min_impressions``. A trait needs ``min_support`` units with it and without it, a pair
    ``min_pair_support`` (at most ``max_pairs``, the best supported); winners are compared with
    others from ``min_winners`` of each on. Units of no common campaign are compared within the same
    ``stratum_days``. ``false_discovery_rate`` is that of all patterns found at once; ``shuffles``
    of the permutation test (more when many traits are compared, at most ``max_shuffles``). Beside a
    stronger pattern one must keep ``kept_share`` of its logarithmic lift, or it is confounded.
    ``strength`` halves every ``half_life_days`` of newer data; a pattern is confirmed by
    ``min_newer`` newer units with and without it that point the same way, ends below ``floor``, and
    is deleted ``kept_days`` later. At most ``max_patterns`` are found at once. Plans are taught the
    ``taught`` most effective ones, and ``following_share`` of them follow these. Trends compare the
    halves of ``trend_days``.
    """

    window_days: float = 120.0
    max_ads: int = 2000
    min_impressions: int = 200
    min_support: int = 5
    min_pair_support: int = 8
    max_pairs: int = 300
    min_winners: int = 5
    stratum_days: float = 30.0
    false_discovery_rate: float = 0.10
    interval: float = 0.95
    shuffles: int = 2000
    max_shuffles: int = 10_000
    kept_share: float = 0.5
    half_life_days: float = 30.0
    min_newer: int = 2
    floor: float = 0.2
    kept_days: float = 180.0
    max_patterns: int = 40
    taught: int = 12
    following_share: float = 0.7
    trend_days: float = 60.0
    traits: TraitPolicy = field(default_factory=TraitPolicy)


@dataclass(frozen=True, kw_only=True)
class PromotionPolicy:
    """When an ad is promoted, and what its promotion may do (docs/promotion.md).

    An ad must beat the others of its set with ``min_probability`` after allowance for all ads
    that are looked at and for every look: it is looked at again when its clicks grew by
    ``look_growth``. A set has at least ``min_others`` other ads of which enough is known. A
    promotion raises a daily budget by ``raise_step`` before the gate and the executor limit it, at
    most once in ``cooldown_hours``; all raises of an account within ``growth_days`` sum up to at
    most ``max_growth`` of its live daily budgets. Of its winners' videos ``variation_flows`` are
    planned anew within ``growth_days``, with up to ``variation_ads`` ads each.
    """

    min_probability: float = 0.95
    draws: int = 2000
    look_growth: float = 0.25
    min_others: int = 1
    raise_step: float = 0.20
    cooldown_hours: float = 24.0
    max_growth: float = 0.10
    growth_days: float = 7.0
    variation_flows: int = 2
    variation_ads: int = 3
    shown_held: int = 100  # in a loop's result; every verdict is in promotion_checks


@dataclass(frozen=True, kw_only=True)
class SharingPolicy:
    """What opted-in accounts share, and what that may cost each of them (docs/privacy.md).

    One for the deployment: the section of ``policies/_deployment``; an account's own is not looked
    at. There is one release in each ``release_days`` (slots are counted from 1970), a measurement
    of (``epsilon``, ``delta``) differential privacy for an account as a whole; no account is in
    releases of more than ``budget_epsilon`` within ``budget_days``. A cell that fewer than
    ``min_accounts`` contribute to holds none of their data.

    One account's vector is at most ``count_units`` + ``base_units`` + ``max_traits`` *
    ``lift_units`` long (L1): the sensitivity. ``lift_clip`` and ``base_clip`` are the logs of
    ratios that the last two units stand for; the base is the CTR against ``base_ctr``. An ad counts
    with ``min_impressions``, a trait with ``min_ads`` ads that have it and as many that have not;
    ``prior_impressions`` of the account's CTR are added to each ad. A contribution older than
    ``max_age_days`` is left out. ``lift_spread`` and ``base_spread`` (logs) are how much traits and
    accounts differ; a pattern stands out by ``min_z`` standard errors of the noise.
    """

    min_accounts: int = 5
    release_days: float = 56.0
    epsilon: float = 2.0
    delta: float = 1e-6
    budget_epsilon: float = 14.0
    budget_days: float = 364.0
    max_traits: int = 8
    count_units: int = 3000
    base_units: int = 1000
    lift_units: int = 750
    lift_clip: float = 0.25
    base_clip: float = 1.5
    base_ctr: float = 0.01
    min_impressions: int = 200
    min_ads: int = 2
    prior_impressions: float = 100.0
    max_age_days: float = 35.0
    lift_spread: float = 0.10
    base_spread: float = 0.70
    min_z: float = 1.5


@dataclass(frozen=True, kw_only=True)
class LikenessPolicy:
    """How far a new ad's predicted CTR is believed when it moves its prior (at most
    ``SamplerPolicy.prior_move``): ``ctr_spread`` (log) is how much an account's ads differ, against
    which the prediction's interval is weighed; without one ``trust_without_interval`` (0-1)."""

    ctr_spread: float = 0.30
    trust_without_interval: float = 0.5


@dataclass(frozen=True, kw_only=True)
class FatiguePolicy:
    """What a worn ad is, beside the sampler's tests of slopes (``SamplerPolicy.fatigue_*``).

    ``high_frequency`` is impressions per person on one day; fewer than ``min_impressions`` on the
    days that are looked at tell nothing.
    """

    high_frequency: float = 2.0
    min_impressions: int = 1_000


@dataclass(frozen=True, kw_only=True)
class Policy:
    """All sections; ``Policy()`` is the default of a new ad account."""

    version: str = POLICY_VERSION
    ingest: IngestPolicy = field(default_factory=IngestPolicy)
    scenes: ScenePolicy = field(default_factory=ScenePolicy)
    speech: SpeechPolicy = field(default_factory=SpeechPolicy)
    sound: SoundPolicy = field(default_factory=SoundPolicy)
    vision: VisionPolicy = field(default_factory=VisionPolicy)
    search: SearchPolicy = field(default_factory=SearchPolicy)
    rank: RankPolicy = field(default_factory=RankPolicy)
    training: TrainingPolicy = field(default_factory=TrainingPolicy)
    council: CouncilPolicy = field(default_factory=CouncilPolicy)
    render: RenderPolicy = field(default_factory=RenderPolicy)
    ad: AdPolicy = field(default_factory=AdPolicy)
    voice: VoicePolicy = field(default_factory=VoicePolicy)
    pro: ProPolicy = field(default_factory=ProPolicy)
    executor: ExecutorPolicy = field(default_factory=ExecutorPolicy)
    sampler: SamplerPolicy = field(default_factory=SamplerPolicy)
    allocation: AllocationPolicy = field(default_factory=AllocationPolicy)
    gate: GatePolicy = field(default_factory=GatePolicy)
    lag: LagPolicy = field(default_factory=LagPolicy)
    ripening: LagPolicy = field(default_factory=lambda: LagPolicy(prior_median_days=2.0))
    purchasing: LagPolicy = field(
        default_factory=lambda: LagPolicy(
            prior_median_days=0.2, prior_median_spread=1.2, prior_shape=0.6, max_days=7.0
        )
    )
    insights: InsightsPolicy = field(default_factory=InsightsPolicy)
    attribution: AttributionPolicy = field(default_factory=AttributionPolicy)
    revenue: RevenuePolicy = field(default_factory=RevenuePolicy)
    winner: WinnerPolicy = field(default_factory=WinnerPolicy)
    creative: CreativePolicy = field(default_factory=CreativePolicy)
    plausibility: PlausibilityPolicy = field(default_factory=PlausibilityPolicy)
    accuracy: AccuracyPolicy = field(default_factory=AccuracyPolicy)
    learning: LearningPolicy = field(default_factory=LearningPolicy)
    promotion: PromotionPolicy = field(default_factory=PromotionPolicy)
    fatigue: FatiguePolicy = field(default_factory=FatiguePolicy)
    patterns: PatternPolicy = field(default_factory=PatternPolicy)
    winners: WinnersPolicy = field(default_factory=WinnersPolicy)
    semantic_cache: SemanticCachePolicy = field(default_factory=SemanticCachePolicy)
    sharing: SharingPolicy = field(default_factory=SharingPolicy)
    likeness: LikenessPolicy = field(default_factory=LikenessPolicy)
