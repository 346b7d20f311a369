"""Create what the graph declares on the local cloud, through the real Google clients.

Applying again updates. Every type of the graph is applied here, read from the graph by the host,
or on the ``CLOUD_ONLY`` list; any other is an error, so nothing is skipped in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from google.api_core.exceptions import NotFound
from google.protobuf import field_mask_pb2
from google.protobuf.message import Message

from emulators.topology import messages
from emulators.topology.endpoints import Endpoints
from emulators.topology.graph import (
    BUCKET_OBJECT,
    FIRESTORE_FIELD,
    FIRESTORE_INDEX,
    FUNCTION,
    INVOKER_GRANTS,
    RUN_JOB,
    Graph,
    Resource,
)

TOPIC = "gcp:pubsub/topic:Topic"
BUCKET = "gcp:storage/bucket:Bucket"
NOTIFICATION = "gcp:storage/notification:Notification"
SUBSCRIPTION = "gcp:pubsub/subscription:Subscription"
QUEUE = "gcp:cloudtasks/queue:Queue"
SCHEDULE = "gcp:cloudscheduler/job:Job"

# Later ones refer to earlier ones; schedules come last, when their messages have a listener.
ORDER = (TOPIC, BUCKET, NOTIFICATION, SUBSCRIPTION, QUEUE, RUN_JOB, SCHEDULE)
READ_BY_HOST = frozenset(
    {
        FUNCTION,
        BUCKET_OBJECT,
        *INVOKER_GRANTS,
        FIRESTORE_INDEX,
        FIRESTORE_FIELD,
        "gcp:firestore/database:Database",
        "gcp:secretmanager/secret:Secret",
        "gcp:secretmanager/secretVersion:SecretVersion",
    }
)
CLOUD_ONLY = frozenset(
    {
        "gcp:artifactregistry/repository:Repository",
        "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember",
        "gcp:cloudrunv2/jobIamMember:JobIamMember",
        "gcp:cloudtasks/queueIamMember:QueueIamMember",
        "gcp:monitoring/alertPolicy:AlertPolicy",
        "gcp:monitoring/notificationChannel:NotificationChannel",
        "gcp:projects/iAMMember:IAMMember",
        "gcp:projects/service:Service",
        "gcp:projects/serviceIdentity:ServiceIdentity",
        "gcp:pubsub/subscriptionIAMMember:SubscriptionIAMMember",
        "gcp:pubsub/topicIAMMember:TopicIAMMember",
        "gcp:secretmanager/secretIamMember:SecretIamMember",
        "gcp:serviceaccount/account:Account",
        "gcp:serviceaccount/iAMMember:IAMMember",
        "gcp:storage/bucketIAMMember:BucketIAMMember",
    }
)


class NotApplicableError(RuntimeError):
    """The graph holds a type that the local cloud neither runs nor lists as cloud only."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(
            f"{resource.where}: {resource.type} {resource.name}: emulators/topology/apply.py "
            "neither applies this type nor lists it as cloud only"
        )


@dataclass(frozen=True)
class Applied:
    """What was done: resource id -> created, updated or unchanged; and what stays in the cloud."""

    done: dict[str, str] = field(default_factory=dict)
    cloud_only: dict[str, int] = field(default_factory=dict)

    def summary(self) -> str:
        """Two lines for a person: what was applied, and what only the cloud has."""
        counts = Counter(self.done.values())
        applied = ", ".join(f"{number} {verb}" for verb, number in sorted(counts.items()))
        rest = ", ".join(f"{kind} {n}" for kind, n in sorted(self.cloud_only.items()))
        return f"applied: {applied or 'nothing'}\ncloud only: {rest or 'nothing'}"


def apply(graph: Graph, endpoints: Endpoints) -> Applied:
    """Bring the local cloud to what ``graph`` declares; raises what a service answered.

    Raises ``NotApplicableError`` before anything is done when a type has no place here.
    """
    for resource in graph.resources:
        _place(resource)
    local = _Local(graph, endpoints)
    try:
        done = {
            resource.id: local.ensure(resource)
            for kind in ORDER
            for resource in graph.of_type(kind)
        }
    finally:
        local.close()
    counts = Counter(_short(r.type) for r in graph.resources if r.type in CLOUD_ONLY)
    return Applied(done, dict(counts))


def _place(resource: Resource) -> None:
    known = resource.type in {*ORDER, *READ_BY_HOST, *CLOUD_ONLY}
    if not known and resource.type.startswith("gcp:"):
        raise NotApplicableError(resource)


def _short(kind: str) -> str:
    return kind.removeprefix("gcp:").partition("/")[0] + "." + kind.rpartition(":")[2]


class _Local:
    """The clients of one run, opened on first use."""

    def __init__(self, graph: Graph, endpoints: Endpoints) -> None:
        self._graph = graph
        self._endpoints = endpoints
        self._channels: list[Any] = []
        self._ensure: dict[str, Callable[[Resource], str]] = {
            TOPIC: self._topic,
            BUCKET: self._bucket,
            NOTIFICATION: self._notification,
            SUBSCRIPTION: self._subscription,
            QUEUE: self._queue,
            RUN_JOB: self._run_job,
            SCHEDULE: self._schedule,
        }

    def ensure(self, resource: Resource) -> str:
        """Create or update one resource; ``created``, ``updated`` or ``unchanged``."""
        return self._ensure[resource.type](resource)

    def close(self) -> None:
        """Close every channel that was opened."""
        for channel in self._channels:
            channel.close()

    def _channel(self, target: str) -> Any:
        import grpc

        channel = grpc.insecure_channel(target)
        self._channels.append(channel)
        return channel

    @cached_property
    def _publisher(self) -> Any:
        from google.pubsub_v1.services.publisher import PublisherClient
        from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

        channel = self._channel(self._endpoints.pubsub)
        return PublisherClient(transport=PublisherGrpcTransport(channel=channel))

    @cached_property
    def _subscriber(self) -> Any:
        from google.pubsub_v1.services.subscriber import SubscriberClient
        from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

        channel = self._channel(self._endpoints.pubsub)
        return SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))

    @cached_property
    def _tasks(self) -> Any:
        from google.cloud.tasks_v2 import CloudTasksClient
        from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport

        channel = self._channel(self._endpoints.tasks)
        return CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))

    @cached_property
    def _scheduler(self) -> Any:
        from google.cloud.scheduler_v1 import CloudSchedulerClient
        from google.cloud.scheduler_v1.services.cloud_scheduler import transports

        channel = self._channel(self._endpoints.scheduler)
        transport = transports.CloudSchedulerGrpcTransport(channel=channel)
        return CloudSchedulerClient(transport=transport)

    @cached_property
    def _run(self) -> Any:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.run_v2 import JobsClient
        from google.cloud.run_v2.services.jobs.transports import JobsRestTransport

        return JobsClient(
            transport=JobsRestTransport(
                host=self._endpoints.run, credentials=AnonymousCredentials(), url_scheme="http"
            )
        )

    @cached_property
    def _storage(self) -> Any:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        return storage.Client(
            project=self._graph.project,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self._endpoints.storage},
        )

    def _topic(self, resource: Resource) -> str:
        from google.pubsub_v1 import types

        wanted = _parsed(resource)
        found = _or_none(lambda: self._publisher.get_topic(request={"topic": resource.id}))
        if found is None:
            self._publisher.create_topic(request=types.Topic.wrap(wanted))
            return "created"
        changed = _changed(wanted, types.Topic.pb(found))
        if changed:
            self._publisher.update_topic(
                request={"topic": types.Topic.wrap(wanted), "update_mask": _mask(changed)}
            )
        return "updated" if changed else "unchanged"

    def _subscription(self, resource: Resource) -> str:
        from google.pubsub_v1 import types

        wanted = _parsed(resource)
        request = {"subscription": resource.id}
        found = _or_none(lambda: self._subscriber.get_subscription(request=request))
        # A subscription cannot move to another topic: like the provider, make it anew.
        if found is not None and found.topic != resource.inputs["topic"]:
            self._subscriber.delete_subscription(request=request)
            found = None
        if found is None:
            self._subscriber.create_subscription(request=types.Subscription.wrap(wanted))
            return "created"
        changed = _changed(wanted, types.Subscription.pb(found))
        if changed:
            self._subscriber.update_subscription(
                request={
                    "subscription": types.Subscription.wrap(wanted),
                    "update_mask": _mask(changed),
                }
            )
        return "updated" if changed else "unchanged"

    def _queue(self, resource: Resource) -> str:
        from google.cloud.tasks_v2 import types

        wanted = _parsed(resource)
        found = _or_none(lambda: self._tasks.get_queue(request={"name": resource.id}))
        if found is None:
            parent = resource.id.rpartition("/queues/")[0]
            self._tasks.create_queue(request={"parent": parent, "queue": types.Queue.wrap(wanted)})
            return "created"
        changed = _changed(wanted, types.Queue.pb(found))
        if changed:
            self._tasks.update_queue(
                request={"queue": types.Queue.wrap(wanted), "update_mask": _mask(changed)}
            )
        return "updated" if changed else "unchanged"

    def _schedule(self, resource: Resource) -> str:
        from google.cloud.scheduler_v1 import types

        wanted = _parsed(resource)
        found = _or_none(lambda: self._scheduler.get_job(request={"name": resource.id}))
        if found is None:
            parent = resource.id.rpartition("/jobs/")[0]
            self._scheduler.create_job(request={"parent": parent, "job": types.Job.wrap(wanted)})
            return "created"
        changed = _changed(wanted, types.Job.pb(found))
        if changed:
            self._scheduler.update_job(
                request={"job": types.Job.wrap(wanted), "update_mask": _mask(changed)}
            )
        return "updated" if changed else "unchanged"

    def _run_job(self, resource: Resource) -> str:
        from google.cloud.run_v2 import types

        wanted = _parsed(resource)
        found = _or_none(lambda: self._run.get_job(request={"name": resource.id}))
        if found is None:
            wanted.ClearField("name")
            parent, _, job_id = resource.id.rpartition("/jobs/")
            self._run.create_job(
                request={"parent": parent, "job": types.Job.wrap(wanted), "job_id": job_id}
            ).result()
            return "created"
        if not _changed(wanted, types.Job.pb(found)):
            return "unchanged"
        self._run.update_job(request={"job": types.Job.wrap(wanted)}).result()
        return "updated"

    def _bucket(self, resource: Resource) -> str:
        inputs = resource.inputs
        found = self._storage.lookup_bucket(inputs["name"])
        bucket = found or self._storage.bucket(inputs["name"])
        wanted = {
            "versioning_enabled": bool(inputs.get("versioning", {}).get("enabled")),
            "lifecycle_rules": [_lifecycle_rule(rule) for rule in inputs.get("lifecycleRules", [])],
        }
        if found is None:
            _set(bucket, wanted)
            self._storage.create_bucket(bucket, location=inputs["location"])
            return "created"
        actual = {
            "versioning_enabled": bool(found.versioning_enabled),
            "lifecycle_rules": [dict(rule) for rule in found.lifecycle_rules],
        }
        if actual == wanted:
            return "unchanged"
        _set(bucket, wanted)
        bucket.patch()
        return "updated"

    def _notification(self, resource: Resource) -> str:
        inputs = resource.inputs
        bucket = self._storage.bucket(inputs["bucket"])
        wanted = (inputs["topic"], tuple(inputs.get("eventTypes", ())), inputs["payloadFormat"])
        present, verb = False, "unchanged"
        for item in bucket.list_notifications():
            topic = f"projects/{item.topic_project}/topics/{item.topic_name}"
            if (
                not present
                and (topic, tuple(item.event_types or ()), item.payload_format) == wanted
            ):
                present = True
            elif topic == inputs["topic"]:
                item.delete()
                verb = "updated"
        if not present:
            _, project, _, name = inputs["topic"].split("/")
            bucket.notification(
                topic_name=name,
                topic_project=project,
                event_types=list(wanted[1]) or None,
                payload_format=wanted[2],
            ).create()
            return "updated" if verb == "updated" else "created"
        return verb


def _parsed(resource: Resource) -> Message:
    message = messages.parse(resource)
    if message is None:
        raise NotApplicableError(resource)
    return message


def _or_none(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except NotFound:
        return None


def _changed(wanted: Message, found: Message) -> list[str]:
    """The top-level fields that are set in ``wanted`` and differ in ``found``.

    A service fills in defaults: a nested field that nobody asked for is no difference.
    """
    return sorted(
        descriptor.name
        for descriptor, value in wanted.ListFields()
        if descriptor.name != "name" and not _covers(getattr(found, descriptor.name), value)
    )


def _covers(found: Any, wanted: Any) -> bool:
    if not isinstance(wanted, Message):
        return _repeated_covers(found, wanted) if _is_list_of_messages(wanted) else found == wanted
    return all(
        _covers(getattr(found, descriptor.name), value) for descriptor, value in wanted.ListFields()
    )


def _is_list_of_messages(value: Any) -> bool:
    return (
        not isinstance(value, (str, bytes))
        and isinstance(value, Iterable)
        and bool([item for item in value if isinstance(item, Message)])
    )


def _repeated_covers(found: Any, wanted: Any) -> bool:
    return len(found) == len(wanted) and all(map(_covers, found, wanted))


def _mask(paths: list[str]) -> field_mask_pb2.FieldMask:
    return field_mask_pb2.FieldMask(paths=paths)


def _lifecycle_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """A provider's lifecycle rule as the JSON API spells it."""
    condition = dict(rule["condition"])
    state = condition.pop("withState", None)
    if state in ("LIVE", "ARCHIVED"):
        condition["isLive"] = state == "LIVE"
    return {"action": rule["action"], "condition": condition}


def _set(bucket: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(bucket, name, value)
