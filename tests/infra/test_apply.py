"""The graph becomes a running local cloud: through the real clients, again and again."""

import base64
import json
import queue
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from geminivideo.runtime.clock import Clock
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2, scheduler_v1, storage, tasks_v2
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

import emulators.pubsub
import emulators.run
import emulators.scheduler
import emulators.storage
import emulators.tasks
from emulators.topology.apply import CLOUD_ONLY, ORDER, READ_BY_HOST, NotApplicableError, apply
from emulators.topology.endpoints import Endpoints
from emulators.topology.graph import Graph, Resource
from emulators.topology.outputs import KNOWN_TYPES

PROJECT = "projects/demo-project"
PLACE = f"{PROJECT}/locations/us-central1"
QUEUE = "gcp:cloudtasks/queue:Queue"
SUBSCRIPTION = "gcp:pubsub/subscription:Subscription"


class Cloud:
    """The services that ``apply`` talks to, each on a port of its own."""

    def __init__(self, folder):
        clock, mint = Clock(), lambda audience, account: f"{account} for {audience}"
        self.pubsub = emulators.pubsub.Server(state_dir=folder, clock=clock, token_minter=mint)
        self.tasks = emulators.tasks.Server(state_dir=folder, clock=clock, token_minter=mint)
        self.scheduler = emulators.scheduler.Server(
            state_dir=folder, clock=clock, token_minter=mint, publish=self.pubsub.publish
        )
        self.storage = emulators.storage.Server(
            state_dir=folder, clock=clock, publish=self.pubsub.publish
        )
        self.run = emulators.run.Server(state_dir=folder, clock=clock, launch=self._no_launch)
        self.servers = (self.pubsub, self.tasks, self.scheduler, self.storage, self.run)

    @staticmethod
    def _no_launch(spec):
        raise AssertionError(f"nothing should run here: {spec}")

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(
            pubsub=f"127.0.0.1:{self.pubsub.port}",
            firestore="127.0.0.1:1",
            storage=self.storage.url,
            tasks=f"127.0.0.1:{self.tasks.port}",
            scheduler=f"127.0.0.1:{self.scheduler.port}",
            run=f"127.0.0.1:{self.run.port}",
        )


@pytest.fixture
def cloud(tmp_path):
    cloud = Cloud(tmp_path)
    for server in cloud.servers:
        server.start()
    yield cloud
    for server in reversed(cloud.servers):
        server.stop()


def subscriber(cloud: Cloud) -> SubscriberClient:
    channel = grpc.insecure_channel(cloud.endpoints.pubsub)
    return SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))


def publisher(cloud: Cloud) -> PublisherClient:
    channel = grpc.insecure_channel(cloud.endpoints.pubsub)
    return PublisherClient(transport=PublisherGrpcTransport(channel=channel))


def storage_client(cloud: Cloud) -> storage.Client:
    return storage.Client(
        project="demo-project",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": cloud.endpoints.storage},
    )


def changed(graph: Graph, kind: str, name: str, **inputs) -> Graph:
    """The graph with some inputs of one resource changed."""
    return replace(
        graph,
        resources=tuple(
            replace(r, inputs=r.inputs | inputs)
            if r.type == kind and r.inputs.get("name") == name
            else r
            for r in graph.resources
        ),
    )


def test_everything_is_created_once(cloud, graph):
    """The first time creates all that runs locally; the second time changes nothing."""
    first = apply(graph, cloud.endpoints)
    expected = [r.id for kind in ORDER for r in graph.of_type(kind)]
    assert list(first.done) == expected
    assert set(first.done.values()) == {"created"}
    second = apply(graph, cloud.endpoints)
    assert set(second.done.values()) == {"unchanged"}


def test_subscriptions_arrive_whole(cloud, graph):
    """Push endpoint, identity, backoff, deadline and dead letter are what was declared."""
    apply(graph, cloud.endpoints)
    found = subscriber(cloud).get_subscription(
        request={"subscription": f"{PROJECT}/subscriptions/detect-scenes"}
    )
    assert found.topic == f"{PROJECT}/topics/video-ingested"
    assert found.ack_deadline_seconds == 570
    url = next(f.url for f in graph.functions() if f.name == "detect-scenes")
    assert found.push_config.push_endpoint == url
    account = "invoke-push@demo-project.iam.gserviceaccount.com"
    assert found.push_config.oidc_token.service_account_email == account
    assert found.push_config.oidc_token.audience == url
    assert found.dead_letter_policy.dead_letter_topic == f"{PROJECT}/topics/dead-letters"
    assert found.dead_letter_policy.max_delivery_attempts == 5
    assert found.retry_policy.minimum_backoff.total_seconds() == 10
    assert not found.expiration_policy.ttl


def test_buckets_arrive_whole(cloud, graph):
    """Buckets keep old generations, and the uploads bucket notifies its topic."""
    apply(graph, cloud.endpoints)
    client = storage_client(cloud)
    names = {bucket.name for bucket in client.list_buckets()}
    assert names == {f"demo-project-{n}" for n in ("uploads", "media", "models", "bundles")}
    uploads = client.get_bucket("demo-project-uploads")
    assert uploads.versioning_enabled
    assert uploads.location == "US-CENTRAL1"
    (notification,) = uploads.list_notifications()
    assert notification.topic_name == "video-uploads"
    assert notification.event_types == ["OBJECT_FINALIZE"]


def test_a_lifecycle_rule_arrives_in_the_apis_own_words(cloud, graph):
    """The provider's plural names and its own flags are translated; the API refuses them."""
    kind, name = "gcp:storage/bucket:Bucket", "demo-project-media"
    condition = {"age": 3, "matchesPrefixes": ["tmp/"], "sendAgeIfZero": True, "withState": "LIVE"}
    rule = {"action": {"type": "Delete"}, "condition": condition}
    new = changed(graph, kind, name, lifecycleRules=[rule])
    apply(new, cloud.endpoints)
    (kept,) = storage_client(cloud).get_bucket(name).lifecycle_rules
    assert dict(kept)["condition"] == {"age": 3, "matchesPrefix": ["tmp/"], "isLive": True}
    assert set(apply(new, cloud.endpoints).done.values()) == {"unchanged"}


def test_queue_job_and_schedule_arrive(cloud, graph):
    """Cloud Tasks, Cloud Run and Cloud Scheduler hold what was declared."""
    apply(graph, cloud.endpoints)
    channel = grpc.insecure_channel(cloud.endpoints.tasks)
    transports = tasks_v2.services.cloud_tasks.transports
    tasks = tasks_v2.CloudTasksClient(transport=transports.CloudTasksGrpcTransport(channel=channel))
    queued = tasks.get_queue(name=f"{PLACE}/queues/meta-changes")
    assert queued.rate_limits.max_dispatches_per_second == 5
    assert queued.retry_config.max_attempts == 20
    jobs = run_v2.JobsClient(
        transport=run_v2.services.jobs.transports.JobsRestTransport(
            host=cloud.endpoints.run, credentials=AnonymousCredentials(), url_scheme="http"
        )
    )
    job = jobs.get_job(name=f"{PLACE}/jobs/render")
    assert job.template.template.timeout.total_seconds() == 1800
    env = {item.name: item.value for item in job.template.template.containers[0].env}
    assert env["GV_STEP"] == "render"
    channel = grpc.insecure_channel(cloud.endpoints.scheduler)
    scheduling = scheduler_v1.services.cloud_scheduler.transports
    scheduler = scheduler_v1.CloudSchedulerClient(
        transport=scheduling.CloudSchedulerGrpcTransport(channel=channel)
    )
    schedule = scheduler.get_job(name=f"{PLACE}/jobs/sweep")
    assert schedule.schedule == "* * * * *"
    assert schedule.pubsub_target.data == b"{}"


def test_a_changed_declaration_is_an_update(cloud, graph):
    """A subscription's new settings reach the running service; nothing else is touched."""
    apply(graph, cloud.endpoints)
    retry = {"minimumBackoff": "20s", "maximumBackoff": "300s"}
    new = changed(graph, SUBSCRIPTION, "sweep", ackDeadlineSeconds=400, retryPolicy=retry)
    done = apply(new, cloud.endpoints).done
    assert {k: v for k, v in done.items() if v != "unchanged"} == {
        f"{PROJECT}/subscriptions/sweep": "updated"
    }
    found = subscriber(cloud).get_subscription(
        request={"subscription": f"{PROJECT}/subscriptions/sweep"}
    )
    assert found.ack_deadline_seconds == 400
    assert found.retry_policy.minimum_backoff.total_seconds() == 20


@pytest.mark.parametrize(
    ("kind", "name", "inputs"),
    [
        (QUEUE, "meta-changes", {"rateLimits": {"maxConcurrentDispatches": 2}}),
        ("gcp:cloudscheduler/job:Job", "sweep", {"schedule": "*/5 * * * *"}),
        ("gcp:storage/bucket:Bucket", "demo-project-media", {"versioning": {"enabled": False}}),
        ("gcp:pubsub/topic:Topic", "sweep-due", {"labels": {"team": "ads"}}),
    ],
)  # fmt: skip
def test_each_kind_is_updated(cloud, graph, kind, name, inputs):
    """Every kind that is applied is brought up to date, then left alone."""
    apply(graph, cloud.endpoints)
    new = changed(graph, kind, name, **inputs)
    assert sorted(apply(new, cloud.endpoints).done.values()).count("updated") == 1
    assert set(apply(new, cloud.endpoints).done.values()) == {"unchanged"}


def test_a_changed_job_is_updated(cloud, graph):
    """A new image of the render job replaces the old one."""
    apply(graph, cloud.endpoints)
    job = next(graph.of_type("gcp:cloudrunv2/job:Job"))
    template = json.loads(json.dumps(job.inputs["template"]))
    template["template"]["containers"][0]["image"] += "0"
    new = changed(graph, job.type, "render", template=template)
    assert apply(new, cloud.endpoints).done[job.id] == "updated"
    assert apply(new, cloud.endpoints).done[job.id] == "unchanged"


def test_a_subscription_moves_to_another_topic(cloud, graph):
    """A topic cannot be changed in place: the subscription is made anew, as in the cloud."""
    apply(graph, cloud.endpoints)
    topic = f"{PROJECT}/topics/video-ingested"
    new = changed(graph, SUBSCRIPTION, "sweep", topic=topic)
    assert apply(new, cloud.endpoints).done[f"{PROJECT}/subscriptions/sweep"] == "replaced"
    found = subscriber(cloud).get_subscription(
        request={"subscription": f"{PROJECT}/subscriptions/sweep"}
    )
    assert found.topic == topic


@pytest.mark.long
def test_a_restarted_cloud_takes_new_addresses(tree, graph, cloud, tools, tmp_path):
    """Functions on other ports: the subscriptions of an earlier run follow."""
    apply(graph, cloud.endpoints)
    urls = {f.name: f"http://127.0.0.1:{7000 + n}" for n, f in enumerate(graph.functions())}
    moved = tools.record_tree(tree, tmp_path / "moved.json", function_urls=urls)
    done = apply(moved, cloud.endpoints).done
    updated = {name for name, verb in done.items() if verb == "updated"}
    subscriptions = {r.id for r in graph.of_type(SUBSCRIPTION)}
    assert subscriptions <= updated
    assert updated - subscriptions <= {f"{PLACE}/jobs/{job.name}" for job in graph.jobs()}


@pytest.mark.long
def test_a_dropped_object_reaches_its_function(cloud, tree, tools, tmp_path):
    """The declared wiring carries a real upload to the first step, with the declared identity."""
    arrived = queue.Queue()

    class Door(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.put((self.headers["Authorization"], json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    door = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=door.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{door.server_port}"
    graph = tools.record_tree(tree, tmp_path / "wired.json", function_urls={"ingest-video": url})
    try:
        apply(graph, cloud.endpoints)
        blob = storage_client(cloud).bucket("demo-project-uploads").blob("holiday.mp4")
        blob.upload_from_string(b"not really a film", content_type="video/mp4")
        token, push = arrived.get(timeout=30)
    finally:
        door.shutdown()
        door.server_close()
    assert token == f"Bearer invoke-push@demo-project.iam.gserviceaccount.com for {url}"
    assert push["subscription"] == f"{PROJECT}/subscriptions/ingest-video"
    assert push["message"]["attributes"]["eventType"] == "OBJECT_FINALIZE"
    sent = json.loads(base64.b64decode(push["message"]["data"]))
    assert (sent["name"], sent["generation"]) == ("holiday.mp4", str(blob.generation))


def test_unknown_type_is_refused_before_anything_is_done(cloud, graph):
    """A type that has no place here is an error with its line, not a silent gap."""
    stranger = Resource(
        urn="urn:x", type="gcp:redis/instance:Instance", name="cache", id="x",
        file="infra/cache.py", line=7,
    )  # fmt: skip
    with pytest.raises(NotApplicableError, match=r"infra/cache\.py:7: apply: gcp:redis"):
        apply(replace(graph, resources=(*graph.resources, stranger)), cloud.endpoints)
    assert list(publisher(cloud).list_topics(request={"project": PROJECT})) == []


def test_cloud_only_types_are_told(cloud, graph):
    """What is not run here is counted and printed, never skipped in silence."""
    applied = apply(graph, cloud.endpoints)
    declared = [r for r in graph.resources if r.type in CLOUD_ONLY]
    assert sum(applied.cloud_only.values()) == len(declared) > 100
    summary = applied.summary()
    applied_here = sum(resource.type in ORDER for resource in graph.resources)
    assert summary.startswith(f"applied: {applied_here} created\ncloud only: ")
    assert "projects.IAMMember" in summary


def test_every_known_type_has_one_place():
    """A type that the recorder answers for is applied, read by the host, or cloud only."""
    places = [set(ORDER), set(READ_BY_HOST), set(CLOUD_ONLY)]
    assert set.union(*places) == KNOWN_TYPES
    assert sum(map(len, places)) == len(KNOWN_TYPES)
