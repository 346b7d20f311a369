"""Learning cycles on real Firestore and Pub/Sub emulators, with the true doors or toy loops."""

import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import flask
import pytest
from geminivideo.cloud.documents import Documents
from geminivideo.events import LearningDue, LoopDue, cycle_id_of
from geminivideo.learning_records import LearningCycle
from geminivideo.records import Account, Flow
from geminivideo.runtime import outbox, runs
from geminivideo.runtime.clock import Clock
from geminivideo.runtime.step import Ports, Step, StepDoor
from geminivideo.services.learning_loops import LOOPS, LoopResult, path_of, run_loop
from geminivideo.services.learning_rescue import step_of
from geminivideo.topology import LOOP_TOPICS
from google.cloud import pubsub_v1
from werkzeug.test import EnvironBuilder

from emulators.environment import environment
from emulators.firestore import Index
from emulators.firestore import Server as Firestore
from emulators.pubsub import Server as PubSub
from infra.indexes import INDEXES

ROOT = Path(__file__).resolve().parents[4]
TICK = "tick-1"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    where = tmp_path_factory.mktemp("learning")
    firestore = Firestore(state_dir=where / "firestore", clock=Clock())
    pubsub = PubSub(state_dir=where / "pubsub", clock=Clock())
    firestore.start()
    firestore.declare_indexes(Index.of(one.collection, *one.fields) for one in INDEXES)
    pubsub.start()
    with environment({"PUBSUB_EMULATOR_HOST": f"127.0.0.1:{pubsub.port}"}):
        clients = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    yield SimpleNamespace(firestore=firestore, pubsub=pubsub, clients=clients)
    pubsub.stop()
    firestore.stop()


def load(path):
    """A step's or a service's main.py, with clients of its own."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_of_cycle", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Started:
    """A starter that keeps what it is asked to start."""

    asked: list = field(default_factory=list)

    def run(self, job, env, task_count=1):
        self.asked.append((job, dict(env)))
        return f"executions/{len(self.asked)}"


class World:
    """One test's cloud: its own project, its topics, an account, and loops that do as told."""

    def __init__(self, project, publisher, subscriber):
        self.project, self._subscriber = project, subscriber
        self.documents = Documents(project)
        self.clock = Clock.from_env()
        self.ports = Ports("test")
        self.starter = Started()
        self.works = {loop.name: lambda context: LoopResult({"seen": 1}) for loop in LOOPS}
        self.done = []
        for name in ("learning-due", *LOOP_TOPICS):
            topic = publisher.create_topic(name=f"projects/{project}/topics/{name}")
            self._subscriber.create_subscription(name=self._subscription(name), topic=topic.name)

    def _subscription(self, topic):
        return f"projects/{self.project}/subscriptions/{topic}"

    def messages(self, topic):
        """Bodies published to a topic so far (acknowledged here)."""
        pulled = self._subscriber.pull(
            subscription=self._subscription(topic), max_messages=100, return_immediately=True
        ).received_messages
        if pulled:
            self._subscriber.acknowledge(
                subscription=self._subscription(topic), ack_ids=[m.ack_id for m in pulled]
            )
        return [one.message.data for one in pulled]

    def add_account(self, account_id="a"):
        account = Account(
            id=account_id, ad_account_id=f"act_{account_id}", page_id="1", link_url=""
        )
        self.documents.set(f"accounts/{account_id}", account)

    def due(self, account_id="a", tick=TICK, **members):
        """One account's share of a tick."""
        return LearningDue(
            flow_id=cycle_id_of(account_id, tick), tick=tick, account_id=account_id, **members
        )

    def main(self, folder):
        return load(ROOT / "functions" / folder / "main.py")

    def begin(self, account_id="a", tick=TICK):
        """A begun cycle, through start_cycle's own door."""
        asked = self.due(account_id, tick)
        assert self.main("learning/start_cycle").main.door.work(asked).status == 200
        return self.cycle(asked.flow_id)

    def cycle(self, cycle_id):
        return self.documents.require(path_of(cycle_id), LearningCycle)

    def flow(self, cycle_id):
        return self.documents.require(f"flows/{cycle_id}", Flow)

    def run_of(self, step_name, cycle_id):
        run_id = runs.run_id_of(step_name, cycle_id)
        return self.documents.get(runs.path_of(run_id), runs.StepRun)

    def door(self, loop, step_name=""):
        """A loop's door with this test's work behind it."""

        def main(event: LoopDue, step: Step) -> LoopDue | None:
            self.done.append(loop.name)
            return run_loop(event, step, lambda context: self.works[loop.name](context))

        return StepDoor(step_name or step_of(loop), main)

    def deliver(self, loop, cycle, times=1):
        """Deliver a loop's event; the last answer."""
        event = loop.event(flow_id=cycle.id, account_id=cycle.account_id)
        return [self.door(loop).work(event) for _ in range(times)][-1]

    def waiting(self, cycle):
        """Rows of the outbox that a cycle has left."""
        from geminivideo.cloud.documents import Query

        query = Query("outbox", [("flow_id", "==", cycle.id)])
        return self.documents.query(query, outbox.OutboxRow)

    def call(self, service, method, path, body=None):
        """Status and JSON of one request to a service."""
        url = urlsplit(path)
        data = None if body is None else json.dumps(body).encode()
        builder = EnvironBuilder(method=method, path=url.path, query_string=url.query, data=data)
        response = self.main(f"services/{service}").api(flask.Request(builder.get_environ()))
        return response.status_code, json.loads(response.get_data())


@pytest.fixture
def world(servers, monkeypatch, request):
    project = "p-" + format(abs(hash(request.node.nodeid)) % 10**10, "d")
    for name, value in {
        "GOOGLE_CLOUD_PROJECT": project,
        "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{servers.firestore.port}",
        "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{servers.pubsub.port}",
        "GV_REGION": "r",
        "GV_UPLOADS_BUCKET": "uploads",
        "GV_MEDIA_BUCKET": "media",
        "GV_MODELS_BUCKET": "models",
        "GV_RETRAIN_JOB": "jobs/retrain",
    }.items():
        monkeypatch.setenv(name, value)
    made = World(project, *servers.clients)
    made.add_account()
    return made
