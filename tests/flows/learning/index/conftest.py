"""The index of winners over real Firestore and Storage emulators, through the real clients."""

import hashlib
import json
from types import SimpleNamespace

import flask
import numpy as np
import pytest
from geminivideo.cloud.documents import Documents, Query
from geminivideo.cloud.files import Files
from geminivideo.language import ModelUnavailableError
from geminivideo.learning_records import (
    Actual,
    CreativeFeatures,
    LearningCycle,
    PredictionRecord,
    WinnerEntry,
)
from geminivideo.policy import WinnersPolicy
from geminivideo.records import (
    Blueprint,
    Detection,
    Features,
    Flow,
    FlowStatus,
    HookType,
    Scene,
    Shot,
    Transcript,
    Word,
)
from geminivideo.records import Box as BoxRecord
from geminivideo.runtime.http import Api
from geminivideo.services import rag
from geminivideo.services.winner_store import WinnerStore, manifest_name
from google.cloud import storage
from werkzeug.test import EnvironBuilder

from emulators.firestore import Server as Firestore
from emulators.storage import Server as Storage

from ...worlds import ROOT, StillClock, load, mark_of, serving, settle

NOW = 1_795_000_000.0
DAY = 86_400.0
ACCOUNT = "acme"


class WordModel:
    """An embedder whose directions are known: one dimension for each word's hash."""

    def __init__(self, source="words-64", length=64):
        self.source, self.length, self.asked, self.is_down = source, length, [], False

    def embed(self, texts, *, question=False):
        if self.is_down:
            raise ModelUnavailableError("the model is down")
        self.asked += texts
        return [self._direction(text) for text in texts]

    def _direction(self, text):
        vector = np.zeros(self.length)
        for word in text.lower().replace(".", " ").replace('"', " ").split():
            vector[int(hashlib.sha256(word.encode()).hexdigest(), 16) % self.length] += 1.0
        return (vector / (np.linalg.norm(vector) or 1.0)).tolist()


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("winners"), firestore=Firestore, storage=Storage) as made:
        yield made


class World:
    """One test's project: its documents, its models bucket, the loop's door and the service."""

    def __init__(self, project, bucket, clock, model):
        self.project, self.bucket, self.clock, self.model = project, bucket, clock, model
        self.documents, self.files = Documents(project), Files(project)
        self._api = None

    def store(self, policy=None, own=False):
        """A store; with clients of its ``own`` where it is one writer of many, or tampered with."""
        return WinnerStore(
            documents=Documents(self.project) if own else self.documents,
            files=Files(self.project) if own else self.files,
            bucket=self.bucket,
            source=self.model.source,
            policy=policy or WinnersPolicy(),
            now=self.clock.now,
        )

    # What there is to learn from ------------------------------------------------------------

    def ad(
        self, ad_id, *, clicks=50, impressions=1000, account=ACCOUNT, hook="Tired of wet feet?",
        kind=HookType.QUESTION, says="these boots keep you dry", shows="boot", **more,
    ):  # fmt: skip
        """An ad with its prediction, plan, scene and speech; 50 clicks of 1,000 win."""
        flow = f"cf-{account}-{ad_id}"
        box = BoxRecord(x=0.1, y=0.1, w=0.2, h=0.2)
        seen = Features(
            motion=0.3, objects=(Detection(label=shows, confidence=0.9, box=box, at_s=1.0),)
        )
        scene = Scene(
            id=f"{flow}-000", flow_id=flow, index=0, start_s=0.0, end_s=4.0, features=seen
        )
        plan = Blueprint(
            id=f"{flow}-bp00", flow_id=flow, title="t", hook_text=hook, hook_type=kind,
            shots=(Shot(scene_id=scene.id, start_s=0.0, end_s=4.0),), cta_text="Shop now",
            cta_type="buy_now", caption="", emotional_triggers=(), grade="warm", mode="default",
        )  # fmt: skip
        words = tuple(
            Word(text=word, start_s=0.2 * n, end_s=0.2 * n + 0.1, confidence=0.9)
            for n, word in enumerate(says.split())
        )
        known = CreativeFeatures(hook_type=kind.value, cta_type="buy_now", motion=0.3, **more)
        said = PredictionRecord(
            id=f"v-{ad_id}", account_id=account, at=NOW - 9 * DAY, features=known, predicted=None,
            blueprint_id=plan.id, variation_id=f"v-{ad_id}",
        )  # fmt: skip
        for path, record in {
            f"scenes/{scene.id}": scene,
            f"blueprints/{plan.id}": plan,
            f"transcripts/{flow}": Transcript(id=flow, words=words, language="en", source="t"),
            f"predictions/{said.id}": said,
        }.items():
            self.documents.set(path, record)
        return self.actual(
            ad_id, clicks=clicks, impressions=impressions, account=account, features=known
        )

    def actual(self, ad_id, *, clicks=50, impressions=1000, account=ACCOUNT, features=None):
        actual = Actual(
            id=ad_id, ad_id=ad_id, account_id=account, currency="USD", impressions=impressions,
            clicks=clicks, spend=100_00, pipeline_value=150_00, cash_revenue=50_00,
            first_shown_at=NOW - 8 * DAY, until_at=NOW, linked_at=NOW,
            prediction_id=f"v-{ad_id}" if features else None, features=features,
        )  # fmt: skip
        self.documents.set(f"actuals/{ad_id}", actual)
        return actual

    # The cycle and the service ----------------------------------------------------------------

    def cycle(self, cycle_id="lc-1", account=ACCOUNT):
        """A cycle that has come to its last loop."""
        flow = Flow(
            id=cycle_id, kind="learning", status=FlowStatus.RUNNING, account_id=account,
            created_at=self.clock.at, updated_at=self.clock.at,
        )  # fmt: skip
        cycle = LearningCycle(
            id=cycle_id, account_id=account, trigger="schedule", status="running",
            started_at=self.clock.at,
        )  # fmt: skip
        self.documents.set(f"flows/{cycle_id}", flow)
        self.documents.set(f"learning_cycles/{cycle_id}", cycle)
        return cycle_id

    def door(self):
        from geminivideo.runtime.step import door_of

        door = door_of(load("functions/learning/index_winners/main.py").main)
        door.ports.clock = self.clock
        door.ports.documents, door.ports.files = self.documents, self.files
        return door

    def run_loop(self, cycle_id="lc-1", account=ACCOUNT):
        """The loop's own door does one cycle's last loop; returns the loop's record."""
        from geminivideo.events import IndexingDue

        self.cycle(cycle_id, account)
        answer = self.door().work(IndexingDue(flow_id=cycle_id, account_id=account))
        assert answer.status == 200, answer
        return self.documents.require(f"learning_cycles/{cycle_id}", LearningCycle).steps["7"]

    def api(self):
        if self._api is None:
            self._api = Api("ml_service")
            rag.serve(self._api)
            self._api.ports.clock = self.clock
            self._api.ports.documents, self._api.ports.files = self.documents, self.files
        return self._api

    def metrics(self):
        builder = EnvironBuilder(method="GET", path="/metrics")
        return self.api()(flask.Request(builder.get_environ())).get_data().decode()

    def post(self, path, **body):
        builder = EnvironBuilder(method="POST", path=path, data=json.dumps(body).encode())
        response = self.api()(flask.Request(builder.get_environ()))
        return SimpleNamespace(status=response.status_code, json=json.loads(response.get_data()))

    def search(self, **body):
        return self.post("/api/ml/rag/search-winners", **({"account_id": ACCOUNT} | body))

    # What is there -----------------------------------------------------------------------------

    def entries(self):
        return {e.id: e for e in self.documents.query(Query("winner_entries"), WinnerEntry)}

    def manifest(self, account=ACCOUNT):
        ref = self.files.find(self.bucket, manifest_name(account))
        return json.loads(self.files.read(ref)) if ref else None

    def objects(self):
        return [ref.name for ref in self.files.list(self.bucket, "winners/")]

    def overwrite(self, name, data):
        """What no product code does: other bytes under an object's name."""
        client = storage.Client(project=self.project)
        client.bucket(self.bucket).blob(name).upload_from_string(data)


@pytest.fixture
def clock():
    return StillClock(NOW)


@pytest.fixture
def model(monkeypatch):
    """The deployment's text model, with directions that a test can foresee."""
    words = WordModel()
    for module in ("winners_index", "rag"):
        monkeypatch.setattr(f"geminivideo.services.{module}.embedder", lambda project: words)
    return words


@pytest.fixture
def world(servers, clock, model, monkeypatch, request):
    mark = mark_of(request)
    project, bucket = settle(monkeypatch, servers, mark), f"{mark}-models"
    storage.Client(project=project).create_bucket(bucket)
    return World(project, bucket, clock, model)


@pytest.fixture
def root():
    """The repository."""
    return ROOT
