"""Loop 3 and its job over real Firestore, Storage and Pub/Sub emulators, and an audience."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import flask
import numpy as np
import pytest
from geminivideo.cloud.documents import Documents
from geminivideo.cloud.files import Files
from geminivideo.events import LoopDue, RetrainDue, TrainingDue
from geminivideo.learning_records import (
    Actual,
    CreativeFeatures,
    CycleStatus,
    LearningCycle,
    LoopRun,
    LoopStatus,
    ModelVersion,
    ShadowPrediction,
)
from geminivideo.ml import creative
from geminivideo.policy import Policy, TrainingPolicy
from geminivideo.records import Account, ChampionModel, HookType
from geminivideo.runtime import runs
from geminivideo.runtime.clock import Clock
from geminivideo.runtime.step import Step, StepDoor
from geminivideo.services import model_registry
from geminivideo.services.learning_loops import path_of, run_loop
from geminivideo.services.model_training import train, train_asked
from geminivideo.services.retraining import consider
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, run_v2, storage
from google.cloud.run_v2.services.jobs.transports import JobsRestTransport
from werkzeug.test import EnvironBuilder

from emulators.firestore import Index
from emulators.firestore import Server as Firestore
from emulators.pubsub import Server as PubSub
from emulators.run import Server as Run
from emulators.storage import Server as Storage
from infra.indexes import INDEXES

ROOT = Path(__file__).resolve().parents[4]
DAY = 86400.0
HOOKS = [kind.value for kind in HookType]
TASTE = {"question": 0.6, "statistic": -0.5}
POLICY = TrainingPolicy(resamples=400, wait_s=0.0)


class Launcher:
    """Starts a process that ends at once, and remembers what a job's task was given."""

    def __init__(self):
        self.specs = []

    def __call__(self, spec):
        self.specs.append(spec)
        return subprocess.Popen([sys.executable, "-S", "-c", ""], start_new_session=True)


def retrain_job(run):
    """The retrain job, created by the real client."""
    target = {"host": f"127.0.0.1:{run.port}", "url_scheme": "http"}
    rest = JobsRestTransport(**target, credentials=AnonymousCredentials())
    task = run_v2.TaskTemplate(containers=[run_v2.Container(image="local/retrain")], max_retries=0)
    job = run_v2.Job(template=run_v2.ExecutionTemplate(template=task))
    parent = "projects/retrain/locations/us-central1"
    made = run_v2.JobsClient(transport=rest).create_job(parent=parent, job=job, job_id="retrain")
    return made.result(timeout=10).name


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    where = tmp_path_factory.mktemp("retrain")
    firestore = Firestore(state_dir=where / "firestore", clock=Clock())
    store = Storage(state_dir=where / "storage", clock=Clock())
    pubsub = PubSub(state_dir=where / "pubsub", clock=Clock())
    launcher = Launcher()
    run = Run(state_dir=where / "run", clock=Clock(), launch=launcher)
    for server in (firestore, store, pubsub, run):
        server.start()
    firestore.declare_indexes(Index.of(one.collection, *one.fields) for one in INDEXES)
    yield SimpleNamespace(
        firestore=firestore, storage=store, pubsub=pubsub, run=run, job=retrain_job(run),
        launcher=launcher,
    )  # fmt: skip
    for server in (run, pubsub, store, firestore):
        server.stop()


class Audience:
    """What people click: the log odds are a base, a taste in hooks, and the picture's motion."""

    def __init__(self, seed=1, base=-3.5, taste=None):
        self.rng = np.random.default_rng(seed)
        self.base, self.taste = base, TASTE if taste is None else taste

    def features(self):
        return CreativeFeatures(
            hook_type=str(self.rng.choice(HOOKS)),
            motion=float(self.rng.uniform(0, 1)),
            duration_s=float(self.rng.uniform(6, 30)),
            quality=float(self.rng.uniform(0.3, 1)),
        )

    def rate(self, features):
        effect = self.taste.get(features.hook_type, 0.0) + 0.8 * (features.motion - 0.5)
        return float(1 / (1 + np.exp(-(self.base + effect))))


class World:
    """One test's cloud: its project and bucket, an audience, cycles and their doors."""

    def __init__(self, project, bucket, monkeypatch):
        self.project, self.bucket, self._environment = project, bucket, monkeypatch
        self.documents, self.files = Documents(project), Files(project)
        self.started, self.audience = [], Audience()
        self.real = Clock().now()
        self.now = self.real // 3600 * 3600 + 60  # what happens in one hour is in one hour
        self.later(0)
        self._ads = self._cycles = 0
        self.policy("a", POLICY)
        account = Account(id="a", ad_account_id="act_a", page_id="1", link_url="")
        self.documents.set("accounts/a", account)

    def later(self, days):
        """Move the clock of everything that works from here on."""
        self.now += days * DAY
        self._environment.setenv("GV_CLOCK", f"{self.real},{self.now},1")

    def policy(self, account_id, training, **sections):
        self.documents.set(f"policies/{account_id}", Policy(training=training, **sections))

    def show(self, count, since_days, account_id="a", clicks=None, says=()):
        """``count`` ads, one every so often from ``since_days`` ago until now, as actuals.

        ``says`` are the models that spoke of them before: the champion first.
        """
        ads = []
        for place in range(count):
            at = self.now - since_days * DAY * (1 - place / count) - 2 * DAY
            ads.append(self._ad(at, account_id, clicks, says))
        self.documents.set_many((f"actuals/{ad.id}", ad) for ad in ads)
        return ads

    def _ad(self, at, account_id, clicks, says):
        features = self.audience.features()
        shown = int(self.audience.rng.integers(20_000, 60_000))
        clicked = int(self.audience.rng.binomial(shown, self.audience.rate(features)))
        self._ads += 1
        said = [
            (m.version, m.for_account(account_id).predict_vector(creative.vector(features)).ctr)
            for m in says
        ]
        return Actual(
            id=f"ad-{self._ads:04d}",
            ad_id=f"ad-{self._ads:04d}",
            account_id=account_id,
            currency="USD",
            impressions=shown,
            clicks=clicked if clicks is None else clicks(shown, clicked),
            spend=100_00,
            pipeline_value=0,
            cash_revenue=0,
            first_shown_at=at,
            until_at=at + DAY,
            linked_at=self.now,
            features=features,
            model_version=said[0][0] if said else None,
            predicted_ctr=said[0][1] if said else None,
            shadows=tuple(ShadowPrediction(model_version=v, ctr=c) for v, c in said[1:]),
        )

    def cycle(self, accuracy=None, drift=None, account_id="a", **members):
        """A running cycle whose second loop found this."""
        self._cycles += 1
        result = {"accuracy": accuracy, "drift": drift}
        found = LoopRun(
            number=2, name="accuracy", status=LoopStatus.COMPLETED, started_at=0, lost_at=0,
            result=result,
        )  # fmt: skip
        cycle = LearningCycle(
            id=f"lc-{self._cycles}", account_id=account_id, trigger="test",
            status=CycleStatus.RUNNING, started_at=self.now, steps={"2": found}, **members,
        )  # fmt: skip
        self.documents.set(path_of(cycle.id), cycle)
        return cycle

    def consider(self, cycle):
        """Loop 3 of a cycle; its run, or None when the job is to go on."""
        self._work("retrain_model", cycle, consider, lambda c: self.started.append(c.cycle.id))
        return self.result(cycle)

    def train(self, cycle, work=train):
        """The job for a cycle; the loop's run then."""
        self._work("retrain", cycle, work)
        return self.result(cycle)

    def _work(self, name, cycle, work, hand_over=None):
        def main(event: RetrainDue, step: Step) -> LoopDue | None:
            return run_loop(event, step, work, hand_over)

        return StepDoor(name, main).work(RetrainDue(flow_id=cycle.id, account_id=cycle.account_id))

    def train_asked(self, training_id):
        """The job for a training that was asked for."""

        def main(event: TrainingDue, step: Step) -> None:
            train_asked(event, step)

        return StepDoor("retrain", main).work(TrainingDue(training_id=training_id))

    def result(self, cycle):
        """The third loop as it is recorded; None while it runs."""
        found = self.documents.require(path_of(cycle.id), LearningCycle).steps.get("3")
        return found if found and found.status is not LoopStatus.RUNNING else None

    def learned(self, **members):
        """One whole third loop that trains: its run."""
        cycle = self.cycle(**members)
        assert self.consider(cycle) is None
        return self.train(cycle)

    @property
    def champion(self):
        return self.documents.get(model_registry.PATH, ChampionModel)

    def model(self, version=None):
        """A registered model, the champion's by default."""
        found = self.version(version or self.champion.version)
        return model_registry.load(self.files, found.artifact, found.checksum)

    def version(self, version):
        return self.documents.require(model_registry.path_of(version), ModelVersion)

    def run_of(self, name, cycle):
        run_id = runs.run_id_of(name, cycle.id)
        return self.documents.get(runs.path_of(run_id), runs.StepRun)

    def main(self, folder):
        """The module of a step or a service, with clients and a clock of its own."""
        path = ROOT / "functions" / folder / "main.py"
        spec = importlib.util.spec_from_file_location(f"{path.parent.name}_of_retrain", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def call(self, service, method, path, body=None):
        """Status and JSON of one request to a service."""
        url = urlsplit(path)
        data = None if body is None else json.dumps(body).encode()
        builder = EnvironBuilder(method=method, path=url.path, query_string=url.query, data=data)
        response = self.main(f"services/{service}").api(flask.Request(builder.get_environ()))
        return response.status_code, json.loads(response.get_data())


@pytest.fixture
def world(servers, monkeypatch, request):
    mark = format(abs(hash(request.node.nodeid)) % 10**10, "d")
    project, bucket = f"p-{mark}", f"{mark}-models"
    for name, value in {
        "GOOGLE_CLOUD_PROJECT": project,
        "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{servers.firestore.port}",
        "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{servers.pubsub.port}",
        "STORAGE_EMULATOR_HOST": servers.storage.url,
        "GV_REGION": "r",
        "GV_UPLOADS_BUCKET": "uploads",
        "GV_MEDIA_BUCKET": "media",
        "GV_MODELS_BUCKET": bucket,
        "GV_RUN_ENDPOINT": f"127.0.0.1:{servers.run.port}",
        "GV_RETRAIN_JOB": servers.job,
    }.items():
        monkeypatch.setenv(name, value)
    storage.Client(project=project).create_bucket(bucket)
    pubsub_v1.PublisherClient().create_topic(name=f"projects/{project}/topics/patterns-due")
    return World(project, bucket, monkeypatch)
