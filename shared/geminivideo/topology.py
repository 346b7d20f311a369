"""THE MAP: what every step is, what wakes it, what it emits, and what it may use. Data only.

``infra`` builds the cloud from this map, the local cloud is built from infra's graph, and the step
harness reads its retries and leases here. Durations are seconds, memory is MiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Need(StrEnum):
    """A right that a step's service account is given; nothing else is granted."""

    DOCUMENTS = "documents"  # read and write Firestore
    READ_UPLOADS = "read-uploads"
    WRITE_UPLOADS = "write-uploads"
    READ_MEDIA = "read-media"
    WRITE_MEDIA = "write-media"
    READ_MODELS = "read-models"
    WRITE_MODELS = "write-models"  # models and the winners' index, each under a precondition
    RUN_RENDER = "run-render"  # start executions of the render job
    RUN_RETRAIN = "run-retrain"  # start executions of the retrain job
    ENQUEUE_CHANGES = "enqueue-changes"  # create tasks on the SafeExecutor's queue
    VERTEX = "vertex"
    VISION = "vision"
    PAUSE_CHANGES = "pause-changes"  # pause and resume that queue: the kill switch
    META_TOKEN = "meta-token"  # writes to Meta: the SafeExecutor alone
    META_READ_TOKEN = "meta-read-token"  # reads insights (Meta's ads_read), writes nothing
    HUBSPOT_TOKEN = "hubspot-token"  # reads deals
    HUBSPOT_SECRET = "hubspot-secret"  # verifies HubSpot's webhooks


# Each is a secret of that name, handed to the steps that need it as META_TOKEN and so on.
SECRETS = (Need.META_TOKEN, Need.META_READ_TOKEN, Need.HUBSPOT_TOKEN, Need.HUBSPOT_SECRET)
# What a deployment may name, by environment variable: its setting in the stack. Without it the
# default models serve, and say so.
MODEL_SETTINGS = {
    "GV_OBJECT_MODEL": "objectModel",
    "GV_SPEECH_MODEL": "speechModel",
    "GV_TTS_VOICE": "ttsVoice",
    "GV_TTS_PRICE": "ttsPrice",
}
NOT_CONFIGURED = "not-configured"  # the value of a secret that this deployment does without


def variable_of(secret: Need) -> str:
    """The environment variable that holds a secret."""
    return secret.upper().replace("-", "_")


@dataclass(frozen=True)
class Topic:
    """Woken by our own push subscription on this topic."""

    name: str


@dataclass(frozen=True)
class Queue:
    """Woken by tasks of this Cloud Tasks queue."""

    name: str


@dataclass(frozen=True)
class Https:
    """Called over HTTPS; ``local_port`` is its port in the local cloud (base 8000)."""

    local_port: int


@dataclass(frozen=True)
class Execution:
    """Started as an execution of this Cloud Run job."""

    job: str


Trigger = Topic | Queue | Https | Execution


_WORK_SHARE = 0.9


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """One step: a Cloud Function, or a Cloud Run job when its trigger is an ``Execution``."""

    name: str
    source: str
    wakes_on: Trigger
    emits: tuple[str, ...] = ()
    needs: frozenset[Need] = frozenset({Need.DOCUMENTS})
    timeout_s: int = 60
    memory_mib: int = 512
    cpu: float = 1
    concurrency: int = 1
    max_instances: int = 10
    max_attempts: int = 5
    min_backoff_s: int = 10
    max_backoff_s: int = 600
    schedule: str = ""  # cron (UTC) on which Cloud Scheduler publishes to the step's topic
    public: bool = False  # anyone may call it: what it takes is signed by the sender
    has_model: bool = False  # loads a model: its cold start is held to 3 x, not 2 x

    @property
    def work_s(self) -> float:
        """For how long a step may take up work: the rest of its time is for writing it down."""
        return self.timeout_s * _WORK_SHARE

    @property
    def resource_name(self) -> str:
        """The cloud resource name: dashes, as Google requires."""
        return self.name.replace("_", "-")


@dataclass(frozen=True, kw_only=True)
class QueueSpec:
    """A Cloud Tasks queue: the coarse outer guard; fine limits live in the SafeExecutor."""

    name: str
    max_dispatches_per_second: float
    max_concurrent_dispatches: int
    max_attempts: int
    min_backoff_s: int
    max_backoff_s: int


@dataclass(frozen=True, kw_only=True)
class BucketSpec:
    """A bucket ``{project}-{suffix}``; ``notify`` is the topic its finished objects go to."""

    suffix: str
    notify: str = ""
    expire_days: int = 0


DEAD_LETTERS = "dead-letters"
UPLOADS = BucketSpec(suffix="uploads", notify="video-uploads")
MEDIA = BucketSpec(suffix="media")
MODELS = BucketSpec(suffix="models")
BUCKETS = (UPLOADS, MEDIA, MODELS)
CHANGES_QUEUE = QueueSpec(
    name="meta-changes",
    max_dispatches_per_second=5,
    max_concurrent_dispatches=4,
    max_attempts=20,
    min_backoff_s=5,
    max_backoff_s=300,
)
QUEUES = (CHANGES_QUEUE,)
# What wakes the seven loops of the learning cycle, in their order.
LOOP_TOPICS = (
    "actuals-due",
    "accuracy-due",
    "retrain-due",
    "patterns-due",
    "promotion-due",
    "sharing-due",
    "indexing-due",
)


def _step(group: str, name: str, trigger: Trigger, *needs: Need, **rest: object) -> StepSpec:
    return StepSpec(
        name=name,
        source=f"{group}/{name}",
        wakes_on=trigger,
        needs=frozenset({Need.DOCUMENTS, *needs}),
        **rest,  # type: ignore[arg-type]
    )


CREATIVE = (
    _step(
        "functions/creative",
        "ingest_video",
        Topic("video-uploads"),
        Need.READ_UPLOADS,
        emits=("video-ingested",),
        timeout_s=300,
        memory_mib=1024,
        concurrency=2,
    ),
    _step(
        "functions/creative",
        "detect_scenes",
        Topic("video-ingested"),
        Need.READ_UPLOADS,
        Need.WRITE_MEDIA,
        Need.VISION,
        emits=("scene-detected",),
        timeout_s=540,
        memory_mib=2048,
        cpu=2,
        concurrency=2,
    ),
    _step(
        "functions/creative",
        "extract_features",
        Topic("scene-detected"),
        Need.READ_UPLOADS,
        Need.READ_MEDIA,
        Need.READ_MODELS,
        Need.VISION,
        emits=("features-extracted",),
        timeout_s=540,
        memory_mib=4096,
        cpu=2,
        concurrency=2,
        has_model=True,
    ),
    _step(
        "functions/creative",
        "rank_scenes",
        Topic("features-extracted"),
        Need.READ_MODELS,
        Need.VERTEX,
        emits=("scenes-ranked",),
        timeout_s=120,
        memory_mib=1024,
        concurrency=4,
        has_model=True,
    ),
    _step(
        "functions/creative",
        "convene_council",
        Topic("scenes-ranked"),
        Need.VERTEX,
        Need.READ_MODELS,
        Need.READ_MEDIA,
        Need.READ_UPLOADS,
        emits=("blueprints-approved",),
        timeout_s=540,
        memory_mib=1024,
        concurrency=4,
    ),
    _step(
        "functions/creative",
        "dispatch_render",
        Topic("blueprints-approved"),
        Need.RUN_RENDER,
        concurrency=4,
    ),
    _step(
        "functions/creative",
        "publish_ads",
        Topic("variations-rendered"),
        Need.ENQUEUE_CHANGES,
        Need.READ_MODELS,
        timeout_s=120,
        concurrency=4,
    ),
)
EXECUTOR = (
    _step(
        "functions/executor",
        "execute_change",
        Queue("meta-changes"),
        Need.ENQUEUE_CHANGES,
        Need.READ_MEDIA,
        Need.META_TOKEN,
        timeout_s=540,
        concurrency=4,
    ),
    _step(
        "functions/executor",
        "sweep",
        Topic("sweep-due"),
        Need.ENQUEUE_CHANGES,
        Need.RUN_RENDER,
        Need.RUN_RETRAIN,
        timeout_s=300,
        schedule="* * * * *",
        emits=(
            "insights-due",
            "signals-received",
            "ads-scored",
            "deals-touched",
            "video-uploads",
            "video-ingested",
            "scene-detected",
            "features-extracted",
            "scenes-ranked",
            "blueprints-approved",
            "variations-rendered",
            "learning-due",
            *LOOP_TOPICS,
        ),
    ),
    _step(
        "functions/executor",
        "dead_letters",
        Topic(DEAD_LETTERS),
        emits=LOOP_TOPICS[1:],
        concurrency=4,
    ),
)
BUDGET = (
    _step(
        "functions/budget",
        "receive_insights",
        Topic("insights-due"),
        Need.META_READ_TOKEN,
        emits=("insights-due", "signals-received"),
        timeout_s=540,
        memory_mib=1024,
        concurrency=2,
        # Each delivery that finds a report unfinished, or Meta's limit reached, comes back.
        max_attempts=40,
        schedule="0 */6 * * *",
    ),
    _step(
        "functions/budget",
        "score_ads",
        Topic("signals-received"),
        Need.WRITE_MEDIA,
        emits=("ads-scored",),
        timeout_s=540,
        memory_mib=4096,
        cpu=2,
        concurrency=1,
    ),
    _step(
        "functions/budget",
        "decide_budgets",
        Topic("ads-scored"),
        Need.READ_MEDIA,
        Need.ENQUEUE_CHANGES,
        timeout_s=540,
        memory_mib=4096,
        cpu=2,
        concurrency=1,
    ),
    _step(
        "functions/budget",
        "hubspot_webhook",
        Https(8006),
        Need.HUBSPOT_SECRET,
        emits=("deals-touched",),
        concurrency=16,
        public=True,
    ),
    _step(
        "functions/budget",
        "credit_deals",
        Topic("deals-touched"),
        Need.HUBSPOT_TOKEN,
        emits=("deals-touched",),
        timeout_s=120,
        concurrency=4,
    ),
    _step(
        "functions/budget",
        "reconcile_deals",
        Topic("reconciliation-due"),
        Need.HUBSPOT_TOKEN,
        emits=("deals-touched",),
        timeout_s=300,
        schedule="*/30 * * * *",
    ),
)
# A loop is given up after ``LearningPolicy.tries``. Pub/Sub also counts deliveries that find it in
# other hands (after a kill, until its lease has ended), so there are more of them.
_LOOP: dict[str, object] = {
    "timeout_s": 540,
    "memory_mib": 1024,
    "concurrency": 1,
    "max_attempts": 12,
    "max_backoff_s": 60,
}
LEARNING = (
    _step(
        "functions/learning",
        "start_cycle",
        Topic("learning-due"),
        emits=("learning-due", "actuals-due"),
        timeout_s=120,
        concurrency=4,
        schedule="30 3 * * *",
    ),
    _step(
        "functions/learning",
        "fetch_actuals",
        Topic("actuals-due"),
        emits=("accuracy-due",),
        **_LOOP,
    ),
    _step(
        "functions/learning",
        "track_accuracy",
        Topic("accuracy-due"),
        emits=("retrain-due",),
        **_LOOP,
    ),
    _step(
        "functions/learning",
        "retrain_model",
        Topic("retrain-due"),
        Need.READ_MODELS,
        Need.RUN_RETRAIN,
        emits=("patterns-due",),
        **_LOOP,
    ),
    _step(
        "functions/learning",
        "learn_patterns",
        Topic("patterns-due"),
        emits=("promotion-due",),
        **_LOOP,
    ),
    _step(
        "functions/learning",
        "promote_winners",
        Topic("promotion-due"),
        Need.ENQUEUE_CHANGES,
        emits=("sharing-due", "scenes-ranked"),
        **_LOOP,
    ),
    _step(
        "functions/learning",
        "share_patterns",
        Topic("sharing-due"),
        emits=("indexing-due",),
        **_LOOP,
    ),
    _step(
        "functions/learning",
        "index_winners",
        Topic("indexing-due"),
        Need.WRITE_MODELS,
        Need.VERTEX,
        **_LOOP | {"memory_mib": 2048},
    ),
)
SERVICES = (
    _step(
        "functions/services",
        "gateway",
        Https(8000),
        Need.READ_UPLOADS,
        Need.WRITE_UPLOADS,
        Need.READ_MEDIA,
        Need.ENQUEUE_CHANGES,
        Need.PAUSE_CHANGES,
        Need.RUN_RENDER,
        Need.READ_MODELS,
        Need.HUBSPOT_SECRET,
        emits=("deals-touched", "scenes-ranked"),
        concurrency=16,
        timeout_s=120,
    ),
    _step(
        "functions/services",
        "drive_intel",
        Https(8001),
        Need.READ_UPLOADS,
        Need.WRITE_UPLOADS,
        Need.READ_MEDIA,
        Need.VERTEX,
        concurrency=16,
        timeout_s=120,
        memory_mib=1024,
    ),
    _step(
        "functions/services",
        "video_agent",
        Https(8002),
        Need.READ_UPLOADS,
        Need.READ_MEDIA,
        Need.WRITE_MEDIA,
        Need.RUN_RENDER,
        concurrency=16,
        timeout_s=300,
        memory_mib=2048,
        cpu=2,
    ),
    _step(
        "functions/services",
        "meta_publisher",
        Https(8003),
        Need.ENQUEUE_CHANGES,
        Need.META_READ_TOKEN,
        Need.RUN_RENDER,
        Need.RUN_RETRAIN,
        Need.WRITE_MODELS,
        Need.VERTEX,
        emits=("learning-due",),
        concurrency=16,
        timeout_s=120,
        memory_mib=1024,
    ),
    _step(
        "functions/services",
        "ml_service",
        Https(8004),
        Need.RUN_RENDER,
        Need.RUN_RETRAIN,
        Need.WRITE_MODELS,
        Need.VERTEX,
        emits=("learning-due",),
        concurrency=16,
        timeout_s=120,
        memory_mib=1024,
    ),
    _step(
        "functions/services",
        "titan_core",
        Https(8005),
        Need.READ_MODELS,
        Need.VERTEX,
        concurrency=16,
        timeout_s=300,
        memory_mib=1024,
    ),
)
JOBS = (
    _step(
        "jobs",
        "render",
        Execution("render"),
        Need.READ_UPLOADS,
        Need.READ_MEDIA,
        Need.WRITE_MEDIA,
        Need.READ_MODELS,
        emits=("variations-rendered",),
        timeout_s=1800,
        memory_mib=4096,
        cpu=2,
        max_attempts=4,
    ),
    _step(
        "jobs",
        "retrain",
        Execution("retrain"),
        Need.WRITE_MODELS,
        emits=("patterns-due",),
        timeout_s=1800,
        memory_mib=4096,
        cpu=2,
        max_attempts=3,
    ),
)
FUNCTIONS = CREATIVE + EXECUTOR + BUDGET + LEARNING + SERVICES
STEPS = {step.name: step for step in FUNCTIONS + JOBS}


def topics() -> tuple[str, ...]:
    """Every topic of the map, the dead-letter topic last."""
    woken = [s.wakes_on.name for s in FUNCTIONS if isinstance(s.wakes_on, Topic)]
    emitted = [topic for s in STEPS.values() for topic in s.emits]
    notified = [bucket.notify for bucket in BUCKETS if bucket.notify]
    names = dict.fromkeys([*woken, *emitted, *notified])
    names.pop(DEAD_LETTERS, None)
    return (*names, DEAD_LETTERS)
