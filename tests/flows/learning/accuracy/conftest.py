"""An account with actuals whose truth is known, on a real Firestore emulator."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import flask
import numpy as np
import pytest
from geminivideo.cloud.documents import Documents
from geminivideo.events import AccuracyDue, ObjectRef, cycle_id_of
from geminivideo.learning_records import (
    AccuracyReport,
    Actual,
    CycleStatus,
    LearningCycle,
    ShadowPrediction,
)
from geminivideo.policy import Policy
from geminivideo.records import Account, ChampionModel, Flow, FlowStatus
from geminivideo.runtime import runs
from geminivideo.runtime.http import Api
from geminivideo.runtime.step import door_of
from geminivideo.services import accuracy
from werkzeug.test import EnvironBuilder

from emulators.firestore import Server as Firestore

from ...worlds import StillClock, load, mark_of, serving, settle

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()
DAY = 86400.0
ACCOUNT, TICK = "acme", "t1"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("accuracy"), firestore=Firestore) as made:
        yield made


class World:
    """One test's project: actuals drawn from known rates, and the loop that judges them."""

    def __init__(self, project):
        self.documents = Documents(project)
        self.clock, self.sent = StillClock(NOON), []
        account = Account(id=ACCOUNT, ad_account_id="act_1", page_id="7", link_url="https://x.test")
        self.put(f"accounts/{ACCOUNT}", account)

    def put(self, path, record):
        self.documents.set(path, record)

    def champion(self, version):
        artifact = ObjectRef(bucket="models", name=version, generation=1)
        self.put(
            "model_registry/ctr",
            ChampionModel(name="ctr", version=version, artifact=artifact, promoted_at=NOON),
        )

    def ads(self, count, prefix="a", account=ACCOUNT, shown=4000, said=1.0, drift=None, **members):
        """Ads shown one a day up to now; ``said`` is predicted over true rate, ``drift`` what the
        true rate is multiplied by in the latest third."""
        draws = np.random.default_rng([count, *prefix.encode()])
        found = []
        for index in range(count):
            rate = float(0.02 * draws.uniform(0.5, 2.0))
            late = drift is not None and index >= 2 * count // 3
            true = rate * (drift if late else 1.0)
            clicks = int(draws.binomial(shown, true))
            at = NOON - (count - index) * DAY * 80 / count
            actual = Actual(
                id=f"{prefix}{index:03d}", ad_id=f"{prefix}{index:03d}", account_id=account,
                currency="USD", impressions=shown, clicks=clicks, spend=10_000, pipeline_value=0,
                cash_revenue=0, first_shown_at=at, until_at=NOON, linked_at=NOON,
                prediction_id=f"v-{prefix}{index}", model_version="ctr-a",
                predicted_ctr=min(rate * said, 1.0), interval=(0.0, 1.0),
            )  # fmt: skip
            found.append(replace(actual, **members))
        self.store(found)
        return found

    def store(self, actuals):
        self.documents.set_many((f"actuals/{one.id}", one) for one in actuals)

    def track(self, tick=TICK):
        """Deliver loop 2 of a cycle; what its record has of it."""
        cycle_id = cycle_id_of(ACCOUNT, tick)
        cycle = LearningCycle(
            id=cycle_id, account_id=ACCOUNT, trigger="command", status=CycleStatus.RUNNING,
            started_at=self.clock.at,
        )  # fmt: skip
        flow = Flow(
            id=cycle_id, kind="learning", status=FlowStatus.RUNNING, account_id=ACCOUNT,
            created_at=NOON, updated_at=NOON,
        )  # fmt: skip
        self.put(f"learning_cycles/{cycle_id}", cycle)
        self.put(f"flows/{cycle_id}", flow)
        door = door_of(load("functions/learning/track_accuracy/main.py").main)
        door.ports.clock, door.ports.send = self.clock, self.sent.extend
        answer = door.work(AccuracyDue(flow_id=cycle_id, account_id=ACCOUNT))
        assert answer.status == 200, answer
        return self.documents.require(f"learning_cycles/{cycle_id}", LearningCycle).steps["2"]

    def forget(self, tick=TICK):
        """As if the loop had never been done."""
        run_id = runs.run_id_of("track_accuracy", cycle_id_of(ACCOUNT, tick))
        self.documents.delete(runs.path_of(run_id))

    def report(self, tick=TICK):
        path = f"accuracy_reports/{ACCOUNT}-{cycle_id_of(ACCOUNT, tick)}"
        return self.documents.require(path, AccuracyReport)

    def post(self, body):
        """Status and JSON of one call of the loop's route, on a service that has no other."""
        api = Api("ml_service")
        accuracy.serve(api)
        api.ports.clock = self.clock
        path = "/api/ml/accuracy/calculate"
        builder = EnvironBuilder(method="POST", path=path, data=json.dumps(body).encode())
        answer = api(flask.Request(builder.get_environ()))
        return answer.status_code, json.loads(answer.get_data())


@pytest.fixture
def world(servers, monkeypatch, request):
    return World(settle(monkeypatch, servers, mark_of(request), GV_PROFILE="local"))


@pytest.fixture
def make():
    """Names that tests share."""
    return SimpleNamespace(
        account=ACCOUNT, now=NOON, day=DAY, policy=Policy(), shadow=ShadowPrediction
    )
