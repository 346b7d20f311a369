"""The promotion loop over real Firestore, Pub/Sub and Cloud Tasks, with the Meta double behind."""

import json
from datetime import date
from functools import partial
from types import SimpleNamespace
from urllib.parse import urlsplit

import flask
import functions_framework
import pytest
from geminivideo.budget import history
from geminivideo.budget.history import AdDay
from geminivideo.cloud.documents import Documents, Query
from geminivideo.cloud.tasks import Tasks as TasksPort
from geminivideo.events import ObjectRef, PromotionDue
from geminivideo.learning_records import (
    Actual,
    Condition,
    CycleStatus,
    LearningCycle,
    VariationRequest,
    WinningPattern,
)
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.records import (
    Account,
    AdState,
    Blueprint,
    Brief,
    Campaign,
    ChangeStatus,
    ChangeType,
    Features,
    Flow,
    FlowStatus,
    HistoryRow,
    HookType,
    PendingChange,
    Prediction,
    Scene,
    Shot,
    TextSeen,
    Transcript,
    Video,
    Word,
)
from geminivideo.records import Box as BoxRecord
from geminivideo.runtime.clock import Clock
from geminivideo.runtime.step import door_of
from google.cloud import pubsub_v1, storage, tasks_v2
from werkzeug.test import EnvironBuilder

from emulators.firestore import Server as Firestore
from emulators.meta import Pace
from emulators.meta import Server as Meta
from emulators.pubsub import Server as PubSub
from emulators.storage import Server as Storage
from emulators.tasks import Server as Tasks

from ...worlds import ROOT, StillClock, load, mark_of, serving, settle

TOKEN, ACCOUNT, ACT = "EAAB-writes", "acme", "act_3003"
HOUR, DAY = 3600.0, 86400.0
TOPICS = ("sharing-due", "scenes-ranked", "blueprints-approved")
# Without jitter a task is due when it is queued.
AUTO = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO, jitter_min_s=0.0, jitter_max_s=0.0))


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    kinds = {
        "firestore": Firestore,
        "storage": Storage,
        "pubsub": PubSub,
        "tasks": partial(Tasks, token_minter=lambda account, audience: "t"),
    }
    with serving(tmp_path_factory.mktemp("promotion"), **kinds) as made:
        yield made


class World:
    """One test's account at Meta: its ads, the loop's door, the executor's, and what they sent."""

    def __init__(self, project, queue, meta, clock):
        self.project, self.queue, self.meta, self.clock = project, queue, meta, clock
        self.documents = Documents(project)
        self.tasks = TasksPort().client
        self.apis = {}
        self.ads = []
        self.account()
        self.policy(AUTO)
        publisher, self.subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
        for name in TOPICS:
            topic = publisher.create_topic(name=f"projects/{project}/topics/{name}")
            self.subscriber.create_subscription(name=self._subscription(name), topic=topic.name)

    # The account ------------------------------------------------------------------------------

    def account(self, **members):
        given = {"id": ACCOUNT, "ad_account_id": ACT, "page_id": "7", "link_url": "https://x.test"}
        self.documents.set(f"accounts/{ACCOUNT}", Account(**(given | members)))

    def policy(self, policy):
        self.documents.set(f"policies/{ACCOUNT}", policy)

    def seed(self, *daily_clicks, days=5, **members):
        """An ad with an ad set of its own for each, live for ``days``, as insights told of them."""
        if not self.ads:
            self.ads = self.meta.seed(ACT, len(daily_clicks), 5000)
        self.adsets = {ad["id"]: ad["adset_id"] for ad in self.meta.objects(ACT, "ad")}
        for ad, clicks in zip(self.ads, daily_clicks, strict=True):
            self.state(ad, clicks, days=days, **members)
        return self.ads

    def state(self, ad, clicks, days=5, impressions=2000, spend=5000, **members):
        now = self.clock.at
        given = {
            "id": ad, "account_id": ACCOUNT, "currency": "USD", "updated_at": now,
            "campaign_id": "cm-1", "adset_id": self.adsets[ad], "status": "ACTIVE",
            "created_at": now - days * DAY, "daily_budget": 5000, "insights_at": now,
            "impressions": impressions * days, "clicks": clicks * days, "spend": spend * days,
            "days": self.daily([clicks] * days, impressions, spend),
        }  # fmt: skip
        self.documents.set(f"ad_states/{ad}", AdState(**(given | members)))

    def daily(self, clicks, impressions, spend=5000):
        """Days up to now as an ad's state keeps them, oldest first."""
        now, rows = self.clock.at, []
        for back, clicked in zip(range(len(clicks), 0, -1), clicks, strict=True):
            at = now - back * DAY
            rows.append(
                AdDay(
                    date=date.fromtimestamp(at).isoformat(), begins_at=at, impressions=impressions,
                    clicks=clicked, spend=spend, frequency=1.2,
                )
            )  # fmt: skip
        return history.packed(rows)

    def make_here(self, ad, flow_id="cf-source"):
        """The ad as one of ours: its video, scenes, plan, and the change that created it."""
        self.documents.set(f"videos/{flow_id}", video(flow_id))
        self.documents.set("campaigns/ca-brief", campaign())
        for scene in scenes(flow_id):
            self.documents.set(f"scenes/{scene.id}", scene)
        self.documents.set(f"transcripts/{flow_id}", transcript(flow_id))
        plan = blueprint(flow_id)
        self.documents.set(f"blueprints/{plan.id}", plan)
        change = PendingChange(
            id="ch-made", change_type=ChangeType.CREATE_AD, status=ChangeStatus.COMPLETED,
            account_id=ACCOUNT, campaign_id="ca-brief", ad_id=ad, meta_id=ad, payload={},
            requested_by="creative-generation", reasoning="", created_at=1.0, not_before_at=1.0,
            jitter_s=0.0, flow_id=flow_id, variation_id=f"{plan.id}-v", finished_at=2.0,
        )  # fmt: skip
        self.documents.set("pending_ad_changes/ch-made", change)
        return plan

    # The loop ---------------------------------------------------------------------------------

    def promote(self, cycle_id="lc-1"):
        """Deliver the loop's event in a cycle; a fresh door each time, as a new process has."""
        if self.documents.get(f"learning_cycles/{cycle_id}", dict) is None:
            self.begin(cycle_id)
        door = door_of(load("functions/learning/promote_winners/main.py").main)
        door.ports.clock = self.clock
        return door.work(PromotionDue(flow_id=cycle_id, account_id=ACCOUNT))

    def begin(self, cycle_id):
        now = self.clock.at
        cycle = LearningCycle(
            id=cycle_id, account_id=ACCOUNT, trigger="schedule", status=CycleStatus.RUNNING,
            started_at=now,
        )  # fmt: skip
        flow = Flow(
            id=cycle_id, kind="learning", status=FlowStatus.RUNNING, account_id=ACCOUNT,
            created_at=now, updated_at=now,
        )  # fmt: skip
        self.documents.set(f"learning_cycles/{cycle_id}", cycle)
        self.documents.set(f"flows/{cycle_id}", flow)

    def result(self, cycle_id="lc-1"):
        """What the cycle's record says of the loop."""
        cycle = self.documents.require(f"learning_cycles/{cycle_id}", LearningCycle)
        return cycle.steps["5"].result

    def promoted(self, cycle_id="lc-1"):
        """Run the loop; its result."""
        answer = self.promote(cycle_id)
        assert answer.outcome == "completed", answer
        return self.result(cycle_id)

    def held(self, cycle_id="lc-1"):
        """Reasons by (ad, rule)."""
        held = self.result(cycle_id)["held"]
        return {(one["ad_id"], one["rule"]): one["reason"] for one in held}

    # What is there ----------------------------------------------------------------------------

    def raises(self):
        where = [("requested_by", "==", "auto-promotion")]
        return self.documents.query(Query("pending_ad_changes", where), PendingChange)

    def history(self, change_id):
        query = Query("ad_change_history", [("change_id", "==", change_id)])
        return sorted(self.documents.query(query, HistoryRow), key=lambda row: row.id)

    def requests(self):
        return self.documents.query(Query("variation_requests"), VariationRequest)

    def due(self):
        """Bodies of the tasks that wait for the executor."""
        asked = {"parent": self.queue, "response_view": tasks_v2.Task.View.FULL}
        return [json.loads(task.http_request.body) for task in self.tasks.list_tasks(request=asked)]

    def messages(self, topic):
        """Bodies published to a topic so far (acknowledged here)."""
        where = {"subscription": self._subscription(topic)}
        pulled = self.subscriber.pull(
            **where, max_messages=50, return_immediately=True
        ).received_messages
        if pulled:
            self.subscriber.acknowledge(**where, ack_ids=[m.ack_id for m in pulled])
        return [json.loads(one.message.data) for one in pulled]

    def _subscription(self, topic):
        return f"projects/{self.project}/subscriptions/{topic}"

    # Others -----------------------------------------------------------------------------------

    def execute(self, change_id):
        """The executor's own function, as Cloud Tasks would call it."""
        source = ROOT / "functions/executor/execute_change/main.py"
        client = functions_framework.create_app("main", str(source), "http").test_client()
        answer = client.post("/", data=json.dumps({"flow_id": "", "change_id": change_id}))
        return answer.status_code, answer.text

    def settle(self):
        """Every raise as if it had been executed by now (the executor's own clock is the real)."""
        for change in self.raises():
            done = {"status": ChangeStatus.COMPLETED, "finished_at": change.created_at + 20.0}
            self.documents.update(f"pending_ad_changes/{change.id}", done)

    def live_budget(self, ad):
        found = self.meta.objects(ACT, "adset")
        return next(int(one["daily_budget"]) for one in found if one["id"] == self.adsets[ad])

    def call(self, service, method, path, body=None):
        """Status and JSON of one request to a service."""
        if service not in self.apis:
            self.apis[service] = load(f"functions/services/{service}/main.py").api
            self.apis[service].ports.clock = self.clock
        data = b"" if body is None else json.dumps(body).encode()
        url = urlsplit(path)
        builder = EnvironBuilder(
            method=method, path=url.path, query_string=url.query, data=data or None
        )
        answer = self.apis[service](flask.Request(builder.get_environ()))
        return answer.status_code, json.loads(answer.get_data())

    def post(self, path, body, service="gateway"):
        return self.call(service, "POST", path, body)


VIDEO = ObjectRef(bucket="uploads", name="acme/duck.mp4", generation=7)


def video(flow_id):
    return Video(
        id=flow_id, account_id=ACCOUNT, campaign_id="ca-brief", video=VIDEO, container="mp4",
        video_codec="h264", audio_codec="aac", width=1080, height=1920, fps=30.0, duration_s=16.0,
        rotation_deg=0, size_bytes=1000, title="Rubber Duck", created_at=1.0,
    )  # fmt: skip


def campaign():
    brief = Brief(product_name="Rubber Duck", offer="Two for one", pain_points=("dull baths",))
    return Campaign(
        id="ca-brief", flow_id="cf-source", account_id=ACCOUNT, name="Rubber Duck", brief=brief,
        status="PLANNED", created_at=1.0,
    )  # fmt: skip


def scenes(flow_id):
    texts = ("The quick duck", "Two for one", "Dull baths", "Swims for hours")
    box = BoxRecord(x=0.1, y=0.1, w=0.4, h=0.1)
    for index, text in enumerate(texts):
        at = 4.0 * index
        seen = TextSeen(text=text, confidence=0.9, box=box, at_s=at + 0.5, until_s=at + 2.0)
        yield Scene(
            id=f"{flow_id}-{index:03d}", flow_id=flow_id, index=index, start_s=at, end_s=at + 4.0,
            features=Features(motion=0.4, sharpness=90.0, texts=(seen,), faces=()),
            prediction=Prediction(
                score=0.8 - 0.1 * index, ctr=None, interval=None, model_version="heuristic",
                sample_size=0,
            ),
            rank=index,
        )  # fmt: skip


def transcript(flow_id):
    said = ["the", "quick", "duck", "swims", "for", "hours.", "are", "your", "baths", "dull?"]
    words = tuple(
        Word(text=text, start_s=0.5 * n, end_s=0.5 * n + 0.4, confidence=0.9)
        for n, text in enumerate(said)
    )
    return Transcript(id=flow_id, words=words, language="en", source="test")


def blueprint(flow_id):
    shots = tuple(
        Shot(scene_id=f"{flow_id}-{n:03d}", start_s=4.0 * n + 0.4, end_s=4.0 * n + 3.4)
        for n in (0, 1, 2)
    )
    return Blueprint(
        id=f"{flow_id}-bp00", flow_id=flow_id, title="question", hook_text="Tired of dull baths?",
        hook_type=HookType.QUESTION, shots=shots, cta_text="Shop now", cta_type="buy_now",
        caption="Two for one - Rubber Duck", emotional_triggers=("curiosity",), grade="natural",
        mode="default",
    )  # fmt: skip


@pytest.fixture
def clock():
    return StillClock(Clock().now())


@pytest.fixture
def meta(tmp_path, clock):
    double = Meta(state_dir=tmp_path, clock=clock, tokens={TOKEN}, pace=Pace(review_s=0.0))
    double.start()
    yield double
    double.stop()


@pytest.fixture
def world(servers, meta, clock, monkeypatch, request):
    mark = mark_of(request)
    queue = f"projects/p-{mark}/locations/us-central1/queues/meta-changes"
    project = settle(
        monkeypatch,
        servers,
        mark,
        PUBSUB_EMULATOR_HOST=f"127.0.0.1:{servers.pubsub.port}",
        GV_TASKS_ENDPOINT=f"127.0.0.1:{servers.tasks.port}",
        GV_CHANGES_QUEUE=queue,
        GV_EXECUTOR_URL="http://127.0.0.1:9/",
        GV_EXECUTOR_INVOKER="tasks@p.iam",
        GV_META_GRAPH_URL=meta.url,
        META_TOKEN=TOKEN,
    )
    for bucket in ("media", "models"):
        storage.Client(project=project).create_bucket(f"{mark}-{bucket}")
    client = TasksPort().client
    client.create_queue(parent=queue.rpartition("/queues/")[0], queue=tasks_v2.Queue(name=queue))
    client.pause_queue(name=queue)  # its tasks are looked at here, and executed by hand
    return World(project, queue, meta, clock)


@pytest.fixture
def make():
    """Values that tests share."""
    return SimpleNamespace(
        account=ACCOUNT, auto=AUTO, hour=HOUR, day=DAY, root=ROOT, load=load, scenes=scenes
    )


@pytest.fixture
def ad(world):
    """An ad of ours that is shown, with what became of it and what its account learned."""
    first, *_ = world.seed(12, 60, 62)
    world.make_here(first)
    seen = Actual(
        id=first, ad_id=first, account_id="acme", currency="USD", impressions=10_000, clicks=60,
        spend=250_00, pipeline_value=100_00, cash_revenue=0, first_shown_at=world.clock.at - 5e5,
        until_at=world.clock.at, linked_at=world.clock.at,
    )  # fmt: skip
    world.documents.set(f"actuals/{first}", seen)
    pattern = WinningPattern(
        id="acme-story", account_id="acme", pattern_type="hook_type", pattern="story openings",
        conditions=(Condition(member="hook_type", equals="story"),), design="within",
        basis="ctr", winners=20, lift=1.8, interval=(1.4, 2.2), support=40, others=60,
        p_value=0.001, q_value=0.01, strength=1.0, found_at=1.0, confirmed_at=1.0,
    )  # fmt: skip
    world.documents.set("winning_patterns/acme-story", pattern)
    return first
