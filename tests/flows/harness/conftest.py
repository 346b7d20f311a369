"""The step harness on real Firestore and Pub/Sub emulators, through the real clients."""

from types import SimpleNamespace

import pytest
from geminivideo.cloud.documents import Documents
from geminivideo.events import ObjectRef, VideoIngested
from geminivideo.runtime import flows
from geminivideo.runtime.clock import Clock
from geminivideo.topology import topics
from google.cloud import pubsub_v1

from emulators.firestore import Server as Firestore
from emulators.pubsub import Server as PubSub

PROJECT = "harness"
VIDEO = ObjectRef(bucket="uploads", name="a.mp4", generation=1)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    where = tmp_path_factory.mktemp("cloud")
    firestore = Firestore(state_dir=where / "firestore", clock=Clock())
    pubsub = PubSub(state_dir=where / "pubsub", clock=Clock())
    firestore.start()
    pubsub.start()
    yield SimpleNamespace(firestore=firestore, pubsub=pubsub)
    pubsub.stop()
    firestore.stop()


class World:
    """One test's cloud: its own project, every topic with a pulling subscription."""

    def __init__(self, servers, project):
        self.project = project
        self.documents = Documents(project)
        self.clock = Clock.from_env()
        publisher, self._subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
        for name in topics():
            topic = publisher.create_topic(name=f"projects/{project}/topics/{name}")
            self._subscriber.create_subscription(name=self._subscription(name), topic=topic.name)

    def _subscription(self, topic):
        return f"projects/{self.project}/subscriptions/{topic}"

    def messages(self, topic):
        """Bodies published to a topic so far (acknowledged here)."""
        found = []
        while True:
            pulled = self._subscriber.pull(
                subscription=self._subscription(topic), max_messages=100, return_immediately=True
            ).received_messages
            if not pulled:
                return found
            self._subscriber.acknowledge(
                subscription=self._subscription(topic), ack_ids=[m.ack_id for m in pulled]
            )
            found += [m.message.data for m in pulled]

    def start_flow(self, flow_id):
        flows.start(
            self.documents,
            self.clock,
            flow_id=flow_id,
            kind="creative",
            video=VIDEO,
            account_id="a",
        )
        return VideoIngested(flow_id=flow_id, video=VIDEO)


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
    }.items():
        monkeypatch.setenv(name, value)
    return World(servers, project)
