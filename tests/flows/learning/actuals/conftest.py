"""An account whose ads were predicted, made and shown, on real Firestore and Storage emulators."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import flask
import pytest
from geminivideo.budget import history
from geminivideo.budget.calendar import Calendar, days_before
from geminivideo.cloud.documents import Documents, Query
from geminivideo.cloud.files import Files
from geminivideo.events import (
    ActualsDue,
    InsightsDue,
    ObjectRef,
    VariationsRendered,
    budget_flow_id_of,
    cycle_id_of,
)
from geminivideo.learning_records import (
    Actual,
    CreativeFeatures,
    CycleStatus,
    LearningCycle,
    ModelVersion,
    PredictionRecord,
)
from geminivideo.ml.ctr import CtrModel, Report, version_of
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.records import (
    Account,
    AdState,
    Blueprint,
    ChampionModel,
    ChangeStatus,
    ChangeType,
    Features,
    Flow,
    FlowStatus,
    HookType,
    PendingChange,
    Prediction,
    Scene,
    SettledTotals,
    Shot,
    Transcript,
    Variation,
    VariationStatus,
    Video,
    Word,
)
from geminivideo.runtime import runs
from geminivideo.runtime.http import Api
from geminivideo.runtime.step import door_of
from geminivideo.safe_executor import Ports, execute
from geminivideo.safe_executor.executor import OutcomeKind
from geminivideo.safe_executor.graph import MetaGraph
from geminivideo.services import actuals
from google.cloud import storage
from werkzeug.test import EnvironBuilder

from emulators.firestore import Server as Firestore
from emulators.meta import AdDay as MetaDay
from emulators.meta import Pace
from emulators.meta import Server as Meta
from emulators.storage import Server as Storage

from ...worlds import StillClock, load, mark_of, serving, settle

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86400.0
ACCOUNT, FLOW, TICK = "acme", "cf-duck", "t1"
READ, WRITE = "EAAB-reads-only", "EAAB-writes"
AUTO = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO))
VIDEO = ObjectRef(bucket="uploads", name="acme/duck.mp4", generation=1)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("actuals"), firestore=Firestore, storage=Storage) as made:
        yield made


class World:
    """One test's project: what is stored in it, and the doors that work on it."""

    def __init__(self, project, buckets):
        self.project, self.buckets = project, buckets
        self.documents, self.files = Documents(project), Files(project)
        self.clock, self.sent, self.auto = StillClock(NOON), [], AUTO
        account = Account(id=ACCOUNT, ad_account_id="act_1", page_id="7", link_url="https://x.test")
        self.put(f"accounts/{ACCOUNT}", account)

    def put(self, path, record):
        self.documents.set(path, record)

    def door(self, folder):
        door = door_of(load(f"functions/{folder}/main.py").main)
        door.ports.clock = self.clock
        door.ports.send = self.sent.extend
        return door

    # Publishing -----------------------------------------------------------------------------

    def rendered(self, count=2, **changes):
        """A flow whose variations are rendered; each blueprint opens in its own way."""
        hooks = list(HookType)
        self.put(f"flows/{FLOW}", self.flow("creative"))
        self.put(f"videos/{FLOW}", video())
        self.put(f"render_jobs/rj-{FLOW}", {"id": f"rj-{FLOW}", "status": "RUNNING"})
        for index in range(3):
            self.put(f"scenes/{FLOW}-{index:03d}", scene(index))
        said = (Word(text="hello", start_s=1.0, end_s=1.4, confidence=0.9),)
        self.put(f"transcripts/{FLOW}", Transcript(id=FLOW, words=said, language="en", source="t"))
        for number in range(count):
            plan = replace(blueprint(number, hooks[number % len(hooks)]), **changes)
            self.put(f"blueprints/{plan.id}", plan)
            one = variation(plan)
            self.put(f"render_jobs/rj-{FLOW}/variations/{one.id}", one)

    def moved_material(self, flow_id):
        """The scenes and the transcript belong to an earlier flow on the same video."""
        self.put(f"videos/{FLOW}", replace(video(), material_flow_id=flow_id))
        for index in range(3):
            self.put(f"scenes/{FLOW}-{index:03d}", replace(scene(index), flow_id=flow_id))
        heard = self.documents.require(f"transcripts/{FLOW}", Transcript)
        self.put(f"transcripts/{flow_id}", replace(heard, id=flow_id))
        self.documents.delete(f"transcripts/{FLOW}")

    def flow(self, kind, flow_id=FLOW):
        return Flow(
            id=flow_id, kind=kind, status=FlowStatus.RUNNING, account_id=ACCOUNT,
            created_at=self.clock.now(), updated_at=self.clock.now(),
        )  # fmt: skip

    def publish(self):
        event = VariationsRendered(flow_id=FLOW, render_job_id=f"rj-{FLOW}")
        return self.door("creative/publish_ads").work(event)

    def forget_run(self, step, key):
        """As if a step had never been done: an operator sends its message again."""
        self.documents.delete(runs.path_of(runs.run_id_of(step, key)))

    def flow_now(self):
        return self.documents.require(f"flows/{FLOW}", Flow)

    def registered(self):
        return self.documents.require("model_registry/ctr", ChampionModel)

    def predictions(self):
        found = self.documents.query(Query("predictions"), PredictionRecord)
        return sorted(found, key=lambda one: one.id)

    def changes(self):
        found = self.documents.query(Query("pending_ad_changes"), PendingChange)
        return sorted(found, key=lambda one: str(one.variation_id))

    def made(self, change, ad_id):
        """The executor has seen the change's ad at Meta."""
        done = replace(
            change, status=ChangeStatus.COMPLETED, meta_id=ad_id, ad_id=ad_id,
            finished_at=self.clock.now(),
        )  # fmt: skip
        self.put(f"pending_ad_changes/{change.id}", done)

    # Models -----------------------------------------------------------------------------------

    def model(self, seed=1):
        """A small model, stored as an artifact: (model, its object)."""
        model = trained(seed)
        name = f"ctr/{model.version}.json"
        return model, self.files.write(model.dump(), self.buckets["models"], name, "text/json")

    def champion(self, seed=1):
        model, artifact = self.model(seed)
        self.put(
            "model_registry/ctr",
            ChampionModel(name="ctr", version=model.version, artifact=artifact, promoted_at=NOON),
        )
        return model

    def on_trial(self, seed, **changes):
        model, artifact = self.model(seed)
        known = ModelVersion(
            version=model.version, state="shadow", artifact=artifact, checksum="",
            trained_at=NOON, trained_from=0.0, trained_to=NOON, kind="logistic",
        )  # fmt: skip
        self.put(f"model_registry/ctr/versions/{model.version}", replace(known, **changes))
        return model

    # Ads and their loop -----------------------------------------------------------------------

    def ad(self, ad_id, days=5, ago=None, impressions=1000, clicks=20, skip=(), **members):
        """An ad as the budget cycle keeps it: so many whole days, up to yesterday."""
        ago = days if ago is None else ago
        today = datetime.fromtimestamp(self.clock.at, UTC).date().isoformat()
        rows = []
        for back in range(ago, ago - days, -1):
            if back in skip:
                continue
            date = days_before(today, back)
            seen = clicks(back) if callable(clicks) else clicks
            begins = Calendar().begins_at(date)
            rows.append(history.AdDay(date, begins, impressions, seen, spend=500))
        bare = AdState(
            id=ad_id, account_id=ACCOUNT, currency="USD", updated_at=self.clock.at,
            insights_at=self.clock.at, status="ACTIVE", pipeline_value=90_000,
            settled=members.pop("settled", SettledTotals()),
        )  # fmt: skip
        members.setdefault("created_at", self.clock.at - ago * DAY)
        state = replace(history.absorb(bare, rows, 37), **members)
        self.put(f"ad_states/{ad_id}", state)
        return state

    def predicted(self, ad_id, at=None, ctr=0.02, **members):
        """An ad that was predicted and made here, without the steps in between."""
        at = self.clock.at - 40 * DAY if at is None else at
        made = Prediction(
            score=0.5, ctr=ctr, interval=(ctr / 2, ctr * 2), model_version="ctr-a", sample_size=9
        )
        record = PredictionRecord(
            id=f"v-{ad_id}", account_id=ACCOUNT, at=at, variation_id=f"v-{ad_id}",
            features=CreativeFeatures(hook_type="question"), predicted=made,
        )  # fmt: skip
        self.put(f"predictions/v-{ad_id}", replace(record, **members))
        self.put(f"pending_ad_changes/ch-{ad_id}", creation(ad_id, at))

    def link(self, tick=TICK):
        """Deliver loop 1 of a cycle; the cycle's record afterwards."""
        cycle_id = cycle_id_of(ACCOUNT, tick)
        if self.documents.get(f"learning_cycles/{cycle_id}", LearningCycle) is None:
            cycle = LearningCycle(
                id=cycle_id, account_id=ACCOUNT, trigger="command", status=CycleStatus.RUNNING,
                started_at=self.clock.at,
            )  # fmt: skip
            self.put(f"learning_cycles/{cycle_id}", cycle)
            self.put(f"flows/{cycle_id}", self.flow("learning", cycle_id))
        event = ActualsDue(flow_id=cycle_id, account_id=ACCOUNT)
        answer = self.door("learning/fetch_actuals").work(event)
        assert answer.status == 200, answer
        return self.documents.require(f"learning_cycles/{cycle_id}", LearningCycle).steps["1"]

    def execute(self, change):
        """The true executor on the Meta double; the ad's id as Meta gave it."""
        ports = Ports(
            documents=self.documents, tasks=Tasks(),
            graph=MetaGraph(WRITE, url=self.meta.url), workdir=self.workdir,
            fetch=lambda ref, to: written(to / Path(ref.name).name),
            dead_letter=lambda change, reason: None, on_finished=lambda change: None,
            alert=lambda kind, text: None,
        )  # fmt: skip
        outcome = execute(change.id, ports, self.clock, AUTO)
        assert outcome.kind is OutcomeKind.COMPLETED, outcome
        return outcome.meta_id

    def shown(self, *ad_ids, days=3):
        """What Meta shows of ads on the days up to yesterday, read by the budget cycle."""
        rows = [
            MetaDay(
                ad_id=ad_id, date=date.fromtimestamp(self.clock.at - back * DAY),
                impressions=1000, clicks=30, spend=2500,
            )
            for ad_id in ad_ids
            for back in range(days, 0, -1)
        ]  # fmt: skip
        self.meta.set_insights("act_1", rows)
        flow_id = budget_flow_id_of(ACCOUNT, "b1")
        event = InsightsDue(flow_id=flow_id, tick="b1", account_id=ACCOUNT)
        door = self.door("budget/receive_insights")
        for _ in range(6):
            if door.work(event).status == 200:
                return
            self.clock.sleep(10.0)
        raise AssertionError("the insights were not read")

    def forget_loop(self, tick):
        """As if the loop's process had died between its writes and its end; what was recorded."""
        path = f"learning_cycles/{cycle_id_of(ACCOUNT, tick)}"
        cycle = self.documents.require(path, LearningCycle)
        self.put(path, replace(cycle, steps={}))
        self.forget_run("fetch_actuals", cycle.id)
        return cycle

    def actual(self, ad_id):
        return self.documents.get(f"actuals/{ad_id}", Actual)

    def post(self, path, body):
        """Status and JSON of one call of the loop's route, on a service that has no other."""
        api = Api("ml_service")
        actuals.serve(api)
        api.ports.clock = self.clock
        builder = EnvironBuilder(method="POST", path=path, data=json.dumps(body).encode())
        answer = api(flask.Request(builder.get_environ()))
        return answer.status_code, json.loads(answer.get_data())


def video():
    return Video(
        id=FLOW, account_id=ACCOUNT, campaign_id=None, video=VIDEO, container="mp4",
        video_codec="h264", audio_codec="aac", width=640, height=360, fps=25.0, duration_s=12.0,
        rotation_deg=0, size_bytes=10, title="duck", created_at=100.0,
    )  # fmt: skip


def scene(index):
    return Scene(
        id=f"{FLOW}-{index:03d}", flow_id=FLOW, index=index, start_s=4.0 * index,
        end_s=4.0 * index + 4.0, features=Features(motion=0.1 * index, quality=0.8, faces=()),
    )  # fmt: skip


def blueprint(number, hook):
    said = Prediction(
        score=0.4, ctr=None, interval=None, model_version="heuristic-1", sample_size=0
    )
    return Blueprint(
        id=f"{FLOW}-bp{number:02d}", flow_id=FLOW, title=f"duck {number}", hook_text="Seen it?",
        hook_type=hook, cta_text="Learn more", cta_type="learn_more", caption="duck",
        shots=(Shot(scene_id=f"{FLOW}-{number % 3:03d}", start_s=0.5, end_s=3.5),),
        emotional_triggers=(), grade="natural", mode="default", predicted=said,
    )  # fmt: skip


def variation(plan):
    media = ObjectRef(bucket="media", name=f"{plan.id}.mp4", generation=1)
    poster = ObjectRef(bucket="media", name=f"{plan.id}.jpg", generation=1)
    return Variation(
        id=f"{plan.id}-v", render_job_id=f"rj-{FLOW}", flow_id=FLOW, blueprint_id=plan.id,
        status=VariationStatus.RENDERED, media=media, poster=poster,
    )  # fmt: skip


def creation(ad_id, at):
    """The finished change that made an ad."""
    return PendingChange(
        id=f"ch-{ad_id}", change_type=ChangeType.CREATE_AD, status=ChangeStatus.COMPLETED,
        account_id=ACCOUNT, campaign_id="ca-1", ad_id=ad_id, payload={}, requested_by="test",
        reasoning="test", created_at=at, not_before_at=at, jitter_s=3.0,
        variation_id=f"v-{ad_id}", meta_id=ad_id,
    )  # fmt: skip


def trained(seed):
    """A model of one hook, which it likes the more the larger the seed."""
    report = Report(
        trained_rows=60, held_out_rows=20, held_out_impressions=9000, log_loss=0.1,
        baseline_log_loss=0.11, calibration=1.0,
    )  # fmt: skip
    model = CtrModel(
        version="", names=("hook_type=question", "motion"), means=(0.3, 0.1), spreads=(0.5, 0.1),
        intercept=-4.0, coefficients=(0.2 * seed, 0.1), base_rate=0.02, impressions=90_000,
        covariance=((0.01, 0.0, 0.0), (0.0, 0.01, 0.0), (0.0, 0.0, 0.01)),
        trained_from=0.0, trained_to=NOON, report=report, interval=0.9,
    )  # fmt: skip
    return replace(model, version=version_of(model))


@pytest.fixture
def world(servers, monkeypatch, request):
    mark = mark_of(request)
    project = settle(monkeypatch, servers, mark, GV_PROFILE="local")
    buckets = {name: f"{mark}-{name}" for name in ("uploads", "media", "models")}
    storage.Client(project=project).create_bucket(buckets["models"])
    return World(project, buckets)


@pytest.fixture
def make():
    """Names that tests share."""
    return SimpleNamespace(
        account=ACCOUNT, flow=FLOW, now=NOON, hour=HOUR, day=DAY, policy=Policy(),
    )  # fmt: skip


def written(path):
    """A media file as far as Meta looks at its beginning."""
    picture = path.suffix == ".jpg"
    path.write_bytes(b"\xff\xd8\xff" if picture else b"\x00\x00\x00\x18ftypmp42" + bytes(3000))
    return path


class Tasks:
    """The queue's wishes, unheeded: the test wakes the executor itself."""

    def enqueue(self, change_id, at, name):
        return None


@pytest.fixture
def meta(world, tmp_path, monkeypatch):
    """The Meta double, to which the executor writes and from which insights are read."""
    double = Meta(
        state_dir=tmp_path, clock=world.clock, tokens={WRITE}, read_tokens={READ},
        pace=Pace(review_s=0.0, video_processing_s=0.0, report_s=0.0),
    )  # fmt: skip
    double.start()
    monkeypatch.setenv("META_READ_TOKEN", READ)
    monkeypatch.setenv("GV_META_GRAPH_URL", double.url)
    world.meta, world.workdir = double, tmp_path
    yield double
    double.stop()
