"""Applying a changed program: what is new, changed, made anew, gone, and nobody's but the user's.

The rules are Pulumi's: https://www.pulumi.com/docs/iac/concepts/resources/ (updates, replacements,
``protect``) and the provider's pages (which inputs force a replacement, ``forceDestroy``).
"""

import contextlib
from dataclasses import replace

import grpc
import pytest
from geminivideo.runtime.clock import Clock
from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

import emulators.pubsub
import emulators.run
import emulators.scheduler
import emulators.storage
import emulators.tasks
from emulators.topology.apply import Applied, NotReplaceableError, apply
from emulators.topology.endpoints import Endpoints
from emulators.topology.graph import FIRESTORE_INDEX, FUNCTION, RUN_JOB, Graph, Resource
from emulators.topology.ledger import Ledger

P = "projects/our-project"
PLACE = f"{P}/locations/us-central1"
TOPIC = "gcp:pubsub/topic:Topic"
SUBSCRIPTION = "gcp:pubsub/subscription:Subscription"
BUCKET = "gcp:storage/bucket:Bucket"
NOTIFICATION = "gcp:storage/notification:Notification"
QUEUE = "gcp:cloudtasks/queue:Queue"
SCHEDULE = "gcp:cloudscheduler/job:Job"


def resource(kind: str, id_: str, inputs: dict, **rest) -> Resource:
    return Resource(
        urn=f"urn:{kind}:{id_}", type=kind, name=id_.rpartition("/")[2], id=id_, inputs=inputs,
        file="__main__.py", line=1, **rest,
    )  # fmt: skip


def topic(name: str, **inputs) -> Resource:
    return resource(TOPIC, f"{P}/topics/{name}", {"name": name, **inputs})


def subscription(name: str, of: str = "news", **inputs) -> Resource:
    given = {"name": name, "topic": f"{P}/topics/{of}", **inputs}
    return resource(SUBSCRIPTION, f"{P}/subscriptions/{name}", given)


def bucket(name: str, protect: bool = False, **inputs) -> Resource:
    given = {"name": name, "location": "US-CENTRAL1", **inputs}
    return resource(BUCKET, name, given, protect=protect)


def notification(of: str, to: str, **inputs) -> Resource:
    given = {"bucket": of, "topic": f"{P}/topics/{to}", "payloadFormat": "JSON_API_V1", **inputs}
    return resource(NOTIFICATION, f"{of}/notificationConfigs/{P}/topics/{to}", given)


def queue(name: str, **inputs) -> Resource:
    given = {"name": name, "location": "us-central1", **inputs}
    return resource(QUEUE, f"{PLACE}/queues/{name}", given)


def schedule(name: str) -> Resource:
    target = {"topicName": f"{P}/topics/news", "data": "e30="}
    given = {"name": name, "schedule": "* * * * *", "timeZone": "Etc/UTC", "pubsubTarget": target}
    return resource(SCHEDULE, f"{PLACE}/jobs/{name}", given)


def run_job(name: str) -> Resource:
    task = {"containers": [{"image": f"r/{name}:1"}], "serviceAccount": "a@p"}
    given = {"name": name, "location": "us-central1", "template": {"template": task}}
    return resource(RUN_JOB, f"{PLACE}/jobs/{name}", given)


class Site:
    """A local cloud without functions, and the ledger of what was applied to it."""

    def __init__(self, folder, servers) -> None:
        self.path = folder / "applied.json"
        self.pubsub, self.tasks, self.scheduler, self.storage, self.run = servers
        self.endpoints = Endpoints(
            pubsub=f"127.0.0.1:{self.pubsub.port}",
            firestore="127.0.0.1:1",
            storage=self.storage.url,
            tasks=f"127.0.0.1:{self.tasks.port}",
            scheduler=f"127.0.0.1:{self.scheduler.port}",
            run=f"127.0.0.1:{self.run.port}",
        )
        channel = grpc.insecure_channel(self.endpoints.pubsub)
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        self.subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        self.files = storage.Client(
            project="our-project",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.endpoints.storage},
        )

    def up(self, *resources: Resource) -> Applied:
        """Apply a program that declares these, as one start after another does."""
        graph = Graph(
            root="/", project="our-project", project_number="1", region="us-central1", stack="s",
            resources=resources, exports={},
        )  # fmt: skip
        return apply(graph, self.endpoints, Ledger(self.path))

    def topics(self) -> set[str]:
        found = self.publisher.list_topics(request={"project": P})
        return {item.name.rpartition("/")[2] for item in found}

    def subscriptions(self) -> set[str]:
        found = self.subscriber.list_subscriptions(request={"project": P})
        return {item.name.rpartition("/")[2] for item in found}

    def subscription(self, name: str):
        return self.subscriber.get_subscription(
            request={"subscription": f"{P}/subscriptions/{name}"}
        )


@pytest.fixture
def site(tmp_path):
    """The five services that an apply talks to."""

    def mint(audience, account):
        return f"{account} for {audience}"

    kept = {"state_dir": tmp_path, "clock": Clock()}
    pubsub = emulators.pubsub.Server(**kept, token_minter=mint)
    servers = (
        pubsub,
        emulators.tasks.Server(**kept, token_minter=mint),
        emulators.scheduler.Server(**kept, token_minter=mint, publish=pubsub.publish),
        emulators.storage.Server(**kept, publish=pubsub.publish),
        emulators.run.Server(**kept, launch=lambda spec: None),
    )
    with contextlib.ExitStack() as running:
        for server in servers:
            server.start()
            running.callback(server.stop)
        yield Site(tmp_path, servers)


def verbs(applied: Applied) -> dict[str, str]:
    """Short name to verb, for what is not as it was."""
    return {
        id_.rpartition("/")[2]: verb for id_, verb in applied.done.items() if verb != "unchanged"
    }


def test_what_is_no_longer_declared_is_deleted(site):
    """A topic and its subscription go from the program, and from the cloud; the others stay."""
    site.up(topic("news"), topic("old"), subscription("reader"), subscription("gone", "old"))
    done = site.up(topic("news"), subscription("reader"))
    assert verbs(done) == {"old": "deleted", "gone": "deleted"}
    assert (site.topics(), site.subscriptions()) == ({"news"}, {"reader"})
    assert verbs(site.up(topic("news"), subscription("reader"))) == {}


def test_every_kind_is_deleted(site):
    """Each kind that is applied can go, users before what they use."""
    everything = (
        topic("news"), subscription("reader"), bucket("box"), notification("box", "news"),
        queue("q"), schedule("s"), run_job("j"),
    )  # fmt: skip
    assert set(site.up(*everything).done.values()) == {"created"}
    done = site.up()
    assert list(done.done.values()) == ["deleted"] * len(everything)
    assert done.summary().startswith(f"applied: {len(everything)} deleted\n")
    assert set(site.up(*everything[:4]).done.values()) == {"created"}


def test_what_somebody_made_by_hand_is_left_alone(site):
    """Only what an apply created is deleted; a topic made with a client is the user's."""
    site.publisher.create_topic(request={"name": f"{P}/topics/mine"})
    site.up(topic("news"))
    site.up()
    assert site.topics() == {"mine"}


def test_a_declared_thing_that_was_there_already_is_not_taken_over(site):
    """Made by hand, then declared for a while: it is brought up to date, and never deleted."""
    site.publisher.create_topic(request={"name": f"{P}/topics/mine"})
    assert verbs(site.up(topic("mine", labels={"team": "ads"}))) == {"mine": "updated"}
    site.up()
    assert site.topics() == {"mine"}


def test_a_notification_made_by_hand_is_left_alone(site):
    """Another notification of the same bucket to the same topic is not ours to delete."""
    site.up(topic("news"), bucket("box"))
    by_hand = site.files.bucket("box").notification(
        "news", topic_project="our-project", event_types=None
    )
    by_hand.create()
    declared = notification("box", "news", eventTypes=["OBJECT_FINALIZE"])
    site.up(topic("news"), bucket("box"), declared)
    assert len(list(site.files.bucket("box").list_notifications())) == 2
    assert verbs(site.up(topic("news"), bucket("box"))) == {"news": "deleted"}
    (left,) = site.files.bucket("box").list_notifications()
    assert left.notification_id == by_hand.notification_id


def test_a_changed_notification_is_made_anew(site):
    """The API cannot change one: the provider replaces it on any change."""
    rest = (topic("news"), bucket("box"))
    site.up(*rest, notification("box", "news", eventTypes=["OBJECT_FINALIZE"]))
    new = notification("box", "news", eventTypes=["OBJECT_DELETE"], objectNamePrefix="in/")
    assert verbs(site.up(*rest, new)) == {"news": "replaced"}
    (found,) = site.files.bucket("box").list_notifications()
    assert (found.event_types, found.blob_name_prefix) == (["OBJECT_DELETE"], "in/")


@pytest.mark.parametrize(
    "changed",
    [{"filter": 'attributes:"a"'}, {"enableMessageOrdering": True}, {"of": "other"}],
    ids=str,
)
def test_what_a_subscription_cannot_change_makes_it_anew(site, changed):
    """Filter, ordering and topic force a replacement: messages that waited are gone with it."""
    topics = (topic("news"), topic("other"))
    site.up(*topics, subscription("reader"))
    site.publisher.publish(topic=f"{P}/topics/news", messages=[{"data": b"waits"}])
    assert verbs(site.up(*topics, subscription("reader", **changed))) == {"reader": "replaced"}
    name = f"{P}/subscriptions/reader"
    pull = {"subscription": name, "max_messages": 1, "return_immediately": True}
    assert not site.subscriber.pull(request=pull).received_messages


def test_a_setting_that_is_declared_no_longer_is_taken_back(site):
    """A push subscription without its pushConfig pulls again, as in the cloud."""
    push = {"pushEndpoint": "http://127.0.0.1:9/"}
    dead = {"deadLetterTopic": f"{P}/topics/dead", "maxDeliveryAttempts": 5}
    topics = (topic("news"), topic("dead"))
    site.up(*topics, subscription("reader", pushConfig=push, deadLetterPolicy=dead))
    assert site.subscription("reader").push_config.push_endpoint
    assert verbs(site.up(*topics, subscription("reader"))) == {"reader": "updated"}
    found = site.subscription("reader")
    assert not found.push_config.push_endpoint
    assert not found.dead_letter_policy.dead_letter_topic
    assert verbs(site.up(*topics, subscription("reader"))) == {}


def test_a_bucket_with_objects_is_kept_and_says_why(site):
    """Without forceDestroy the provider refuses to delete a bucket that is not empty."""
    site.up(bucket("box"))
    site.files.bucket("box").blob("x").upload_from_string("data")
    done = site.up()
    assert done.kept == {"box": "it holds objects and has no forceDestroy"}
    assert "kept: box: it holds objects" in done.summary()
    site.files.bucket("box").blob("x").delete()
    assert verbs(site.up()) == {"box": "deleted"}


def test_a_bucket_with_force_destroy_goes_with_its_objects(site):
    """``forceDestroy`` deletes what is in it."""
    site.up(bucket("box", forceDestroy=True))
    site.files.bucket("box").blob("x").upload_from_string("data")
    assert verbs(site.up()) == {"box": "deleted"}
    assert site.files.lookup_bucket("box") is None


def test_a_protected_thing_is_kept_and_says_so(site):
    """Pulumi refuses to delete what is protected, until it was declared without."""
    site.up(bucket("box", protect=True))
    assert "protected" in site.up().kept["box"]
    site.up(bucket("box"))
    assert verbs(site.up()) == {"box": "deleted"}


def test_a_bucket_that_moves_is_made_anew_only_when_it_is_empty(site):
    """A location cannot be changed; a bucket with objects is not deleted for it."""
    site.up(bucket("box"))
    assert verbs(site.up(bucket("box", location="EU"))) == {"box": "replaced"}
    site.files.bucket("box").blob("x").upload_from_string("data")
    with pytest.raises(NotReplaceableError, match=r"__main__\.py:1: .*location changes, but"):
        site.up(bucket("box", location="US"))
    assert site.files.get_bucket("box").location == "EU"


def test_a_location_in_other_letters_is_the_same(site):
    """``us-central1`` and ``US-CENTRAL1`` are one place: nothing is made anew for it."""
    site.up(bucket("box", location="us-central1"))
    site.files.bucket("box").blob("x").upload_from_string("data")
    assert verbs(site.up(bucket("box", location="US-CENTRAL1"))) == {}


def test_what_was_deleted_by_hand_is_created_again(site):
    """A declared thing that is not there is made, whoever took it."""
    site.up(topic("news"))
    site.publisher.delete_topic(request={"topic": f"{P}/topics/news"})
    assert verbs(site.up(topic("news"))) == {"news": "created"}
    site.publisher.delete_topic(request={"topic": f"{P}/topics/news"})
    assert verbs(site.up()) == {"news": "deleted"}


def test_a_crash_between_claim_and_creation_leaves_nothing_ownerless(site, monkeypatch):
    """What was claimed is deleted later, whether it came to be or not."""
    apply_ = Ledger(site.path)
    apply_.claim(topic("never"))
    site.publisher.create_topic(request={"name": f"{P}/topics/made"})
    apply_.claim(topic("made"))
    assert verbs(site.up()) == {"never": "deleted", "made": "deleted"}
    with pytest.raises(NotFound):
        site.publisher.get_topic(request={"topic": f"{P}/topics/made"})


def test_functions_and_indexes_are_told_too(site):
    """What the host and Firestore take from the graph is part of the difference."""
    function = resource(FUNCTION, f"{PLACE}/functions/f", {"name": "f", "x": 1})
    index = resource(FIRESTORE_INDEX, "c/indexes/a-b", {"collection": "c"})
    assert set(site.up(function, index).done.values()) == {"created"}
    changed = replace(function, inputs={"name": "f", "x": 2})
    assert verbs(site.up(changed, index)) == {"f": "updated"}
    assert verbs(site.up(changed)) == {"a-b": "deleted"}
