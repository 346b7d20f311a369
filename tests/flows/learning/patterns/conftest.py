"""Loop 4 and its routes over a real Firestore emulator, through the real client."""

import json
import math
from types import SimpleNamespace

import flask
import numpy as np
import pytest
from geminivideo.cloud.documents import Documents, Query
from geminivideo.events import PatternsDue
from geminivideo.learning_records import (
    Actual,
    CreativeFeatures,
    KnowledgeEdge,
    KnowledgeNode,
    LearningCycle,
    PredictionRecord,
    WinningPattern,
)
from geminivideo.policy import PatternPolicy, Policy
from geminivideo.records import Flow, FlowStatus
from geminivideo.runtime.step import door_of
from werkzeug.test import EnvironBuilder

from emulators.firestore import Server as Firestore

from ...worlds import StillClock, load, mark_of, serving, settle

NOW = 1_795_000_000.0
DAY = 86_400.0
ACCOUNT = "acme"
HOOKS = ("question", "story", "statistic")


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("patterns"), firestore=Firestore) as made:
        yield made


class World:
    """One test's project: its documents, the loop's door and the services."""

    def __init__(self, project, clock):
        self.project, self.clock = project, clock
        self.documents = Documents(project)
        self._apis = {}
        brisk = PatternPolicy(max_pairs=5, shuffles=500, max_shuffles=500)
        self.documents.set(f"policies/{ACCOUNT}", Policy(patterns=brisk))

    def ads(self, *, campaigns=6, each=6, factor=3.0, seed=1, until=NOW, name="c", account=ACCOUNT):
        """Ads with their predictions and actuals; questions have ``factor`` times the CTR."""
        rng = np.random.default_rng(seed)
        written = []
        for number in range(campaigns):
            level = 0.018 * math.exp(rng.normal(0, 0.3))
            for index in range(each):
                ad = f"{account}-{name}{number}-{index}"
                hook = HOOKS[int(rng.integers(3))]
                made = CreativeFeatures(
                    hook_type=hook, grade=str(rng.choice(["warm", "vivid"])),
                    duration_s=float(rng.choice([8.0, 12.0])),
                )  # fmt: skip
                ctr = level * (factor if hook == "question" else 1) * math.exp(rng.normal(0, 0.1))
                shown = until - DAY * (2 + 2 * (campaigns - number))
                written += self._ad(ad, account, f"ca-{name}{number}", made, ctr, shown, rng)
        self.documents.set_many(written)

    def _ad(self, ad, account, campaign, made, ctr, shown, rng):
        impressions = int(rng.integers(3000, 6000))
        said = PredictionRecord(
            id=f"v-{ad}", account_id=account, at=shown, features=made, predicted=None,
            campaign_id=campaign, ad_id=ad,
        )  # fmt: skip
        actual = Actual(
            id=ad, ad_id=ad, account_id=account, currency="USD", impressions=impressions,
            clicks=int(rng.binomial(impressions, ctr)), spend=80_00, pipeline_value=0,
            cash_revenue=0, first_shown_at=shown, until_at=shown + 2 * DAY, linked_at=shown,
            prediction_id=said.id, features=made,
        )  # fmt: skip
        return [(f"predictions/{said.id}", said), (f"actuals/{ad}", actual)]

    # The cycle and the services -----------------------------------------------------------------

    def cycle(self, cycle_id="lc-1", account=ACCOUNT):
        """A cycle that has come to its fourth loop."""
        at = self.clock.at
        flow = Flow(
            id=cycle_id, kind="learning", status=FlowStatus.RUNNING, account_id=account,
            created_at=at, updated_at=at,
        )  # fmt: skip
        cycle = LearningCycle(
            id=cycle_id, account_id=account, trigger="schedule", status="running", started_at=at
        )
        self.documents.set(f"flows/{cycle_id}", flow)
        self.documents.set(f"learning_cycles/{cycle_id}", cycle)

    def door(self):
        door = door_of(load("functions/learning/learn_patterns/main.py").main)
        door.ports.clock = self.clock
        self.sent = []
        door.ports.send = self.sent.extend
        return door

    def run_loop(self, cycle_id="lc-1", account=ACCOUNT):
        """The loop's own door does one cycle's fourth loop; returns the loop's record."""
        self.cycle(cycle_id, account)
        answer = self.door().work(PatternsDue(flow_id=cycle_id, account_id=account))
        assert answer.status == 200, answer
        return self.loop(cycle_id)

    def loop(self, cycle_id="lc-1"):
        return self.documents.require(f"learning_cycles/{cycle_id}", LearningCycle).steps["4"]

    def post(self, path, service="ml_service", **body):
        if service not in self._apis:
            self._apis[service] = load(f"functions/services/{service}/main.py").api
            self._apis[service].ports.clock = self.clock
        builder = EnvironBuilder(method="POST", path=path, data=json.dumps(body).encode())
        response = self._apis[service](flask.Request(builder.get_environ()))
        return SimpleNamespace(status=response.status_code, json=json.loads(response.get_data()))

    # What is there -----------------------------------------------------------------------------

    def all(self, collection, kind):
        return self.documents.named(Query(collection), kind)

    def patterns(self):
        return {p.pattern: p for p in self.all("winning_patterns", WinningPattern).values()}

    def graph(self):
        return self.all("knowledge_nodes", KnowledgeNode), self.all(
            "knowledge_edges", KnowledgeEdge
        )


@pytest.fixture
def clock():
    return StillClock(NOW)


@pytest.fixture
def world(servers, clock, monkeypatch, request):
    return World(settle(monkeypatch, servers, mark_of(request), GV_PROFILE="local"), clock)
