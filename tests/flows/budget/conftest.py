"""The steps of a budget cycle over real Firestore and Storage emulators and the Meta double."""

import threading
from datetime import UTC, date, datetime
from types import SimpleNamespace

import msgspec
import pytest
from geminivideo.cloud.documents import Documents, Query
from geminivideo.cloud.files import Files
from geminivideo.events import (
    AdsScored,
    ChangeDue,
    InsightsDue,
    SignalsReceived,
    budget_flow_id_of,
)
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.records import (
    Account,
    AdState,
    BudgetCycle,
    BudgetVerdict,
    Flow,
    HistoryRow,
    PendingChange,
    PerformanceDay,
)
from geminivideo.runtime.runs import run_id_of
from geminivideo.runtime.step import door_of
from google.cloud import storage

from emulators.firestore import Server as Firestore
from emulators.meta import AdDay, Pace
from emulators.meta import Server as Meta
from emulators.storage import Server as Storage

from ..worlds import StillClock, load, mark_of, serving, settle

READ_TOKEN, WRITE_TOKEN = "EAAB-reads-only", "EAAB-writes"
ACCOUNT, ACT = "acme", "act_2002"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86400.0
STEPS = ("receive_insights", "score_ads", "decide_budgets")
AUTO = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO))


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("budget"), firestore=Firestore, storage=Storage) as made:
        yield made


class World:
    """One test's account: its documents, Meta, the three doors, and what they sent."""

    def __init__(self, project, bucket, meta, clock):
        self.project, self.bucket, self.meta, self.clock = project, bucket, meta, clock
        self.documents, self.files = Documents(project), Files(project)
        self.sent = []
        self.doors = {
            name: door_of(load(f"functions/budget/{name}/main.py").main) for name in STEPS
        }
        for door in self.doors.values():
            door.ports.clock = clock
            door.ports.send = self.sent.extend
        self.account()
        self.policy(AUTO)

    def account(self, **members):
        given = {"id": ACCOUNT, "ad_account_id": ACT, "page_id": "7", "link_url": "https://x.test"}
        account = Account(**(given | members))
        self.documents.set(f"accounts/{account.id}", account)
        return account

    def policy(self, policy):
        self.documents.set(f"policies/{ACCOUNT}", policy)

    def row(self, ad, days_ago=0, *, impressions=1000, clicks=50, spend=2500, **more):
        """What the double's insights show of one ad on one day (spend in cents)."""
        day = date.fromtimestamp(self.clock.at - days_ago * DAY)
        return AdDay(
            ad_id=ad, date=day, impressions=impressions, clicks=clicks, spend=spend, **more
        )

    def show(self, *rows):
        self.meta.set_insights(ACT, rows)

    # One step after another -----------------------------------------------------------------

    def flow_of(self, tick="t1"):
        return budget_flow_id_of(ACCOUNT, tick)

    def due(self, tick="t1"):
        return InsightsDue(flow_id=self.flow_of(tick), tick=tick, account_id=ACCOUNT)

    def read(self, tick="t1"):
        return self.doors["receive_insights"].work(self.due(tick))

    def read_through(self, tick="t1", deliveries=6):
        """Deliver until the report is read, as Pub/Sub would."""
        for _ in range(deliveries):
            answer = self.read(tick)
            if answer.status == 200:
                return answer
            self.clock.sleep(10.0)
        raise AssertionError(answer)

    def score(self, tick="t1"):
        event = SignalsReceived(flow_id=self.flow_of(tick), account_id=ACCOUNT)
        return self.doors["score_ads"].work(event)

    def decide(self, tick="t1"):
        cycle = self.cycle(tick)
        event = AdsScored(flow_id=cycle.id, account_id=ACCOUNT, record=cycle.record)
        return self.doors["decide_budgets"].work(event)

    def cycle_through(self, tick="t1"):
        """The whole cycle; returns its record."""
        self.read_through(tick)
        assert self.score(tick).outcome == "completed"
        assert self.decide(tick).outcome == "completed"
        return self.cycle(tick)

    # What is there ----------------------------------------------------------------------------

    def all(self, collection, kind, *where):
        return self.documents.query(Query(collection, where), kind)

    def state(self, ad):
        return self.documents.require(f"ad_states/{ad}", AdState)

    def days(self, ad):
        found = self.all("performance_metrics", PerformanceDay, ("ad_id", "==", ad))
        return sorted(found, key=lambda day: day.date)

    def flow(self, tick="t1"):
        return self.documents.require(f"flows/{self.flow_of(tick)}", Flow)

    def cycle(self, tick="t1"):
        return self.documents.require(f"budget_cycles/{self.flow_of(tick)}", BudgetCycle)

    def verdicts(self, tick="t1"):
        path = f"budget_cycles/{self.flow_of(tick)}/verdicts"
        return {v.id: v for v in self.all(path, BudgetVerdict)}

    def changes(self):
        return self.all("pending_ad_changes", PendingChange)

    def history(self, change_id):
        rows = self.all("ad_change_history", HistoryRow, ("change_id", "==", change_id))
        return sorted(rows, key=lambda row: row.id)

    def due_changes(self):
        """The tasks that were sent for the executor."""
        return [ChangeDue.decode(row.body) for row in self.sent if row.queue]

    def events(self, topic):
        return [msgspec.json.decode(row.body) for row in self.sent if row.topic == topic]

    def step_run(self, step, event):
        from geminivideo.runtime.runs import StepRun, path_of

        return self.documents.require(path_of(run_id_of(step, event.key)), StepRun)


@pytest.fixture
def clock():
    return StillClock(NOON)


@pytest.fixture
def meta(tmp_path, clock):
    double = Meta(
        state_dir=tmp_path,
        clock=clock,
        tokens={WRITE_TOKEN},
        read_tokens={READ_TOKEN},
        pace=Pace(review_s=0.0),
    )
    double.start()
    yield double
    double.stop()


@pytest.fixture
def world(servers, meta, clock, monkeypatch, request):
    mark = mark_of(request)
    project = settle(
        monkeypatch, servers, mark, META_READ_TOKEN=READ_TOKEN, GV_META_GRAPH_URL=meta.url
    )
    storage.Client(project=project).create_bucket(f"{mark}-media")
    return World(project, f"{mark}-media", meta, clock)


@pytest.fixture
def make():
    """Names that tests share."""
    return SimpleNamespace(
        account=ACCOUNT,
        act=ACT,
        day=DAY,
        hour=HOUR,
        auto=AUTO,
        token=READ_TOKEN,
        write_token=WRITE_TOKEN,
        event=threading.Event,
    )
