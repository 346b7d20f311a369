"""Bring the local cloud to what the graph declares, through the real Google clients.

Applying again applies the difference, as Pulumi would: what is new is created, what changed is
updated, or replaced where the cloud cannot change it, and what an earlier apply had made and the
program no longer declares is deleted. Every type of the graph is applied here, read from the graph
by the host, or on the ``CLOUD_ONLY`` list; any other is an error, so nothing is skipped in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
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
    Finding,
    Graph,
    Resource,
)
from emulators.topology.ledger import Ledger
from emulators.topology.program import RecordError

TOPIC = "gcp:pubsub/topic:Topic"
BUCKET = "gcp:storage/bucket:Bucket"
NOTIFICATION = "gcp:storage/notification:Notification"
SUBSCRIPTION = "gcp:pubsub/subscription:Subscription"
QUEUE = "gcp:cloudtasks/queue:Queue"
SCHEDULE = "gcp:cloudscheduler/job:Job"

# What no API can change on a subscription that exists: the provider makes it anew.
_SUBSCRIPTION_FIXED = frozenset({"topic", "filter", "enable_message_ordering"})
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
        "gcp:projects/iAMCustomRole:IAMCustomRole",
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


# The host and Firestore take these from the graph as they are.
HOSTED = (FUNCTION, FIRESTORE_INDEX, FIRESTORE_FIELD)
CREATED, UPDATED, REPLACED, UNCHANGED = "created", "updated", "replaced", "unchanged"
DELETED = "deleted"


class NotReplaceableError(RecordError):
    """A change needs the resource to be made anew, and what is in it forbids that."""

    def __init__(self, resource: Resource, why: str) -> None:
        super().__init__([_finding(resource, why)])


class NotApplicableError(RecordError):
    """The graph holds a type that the local cloud neither runs nor lists as cloud only."""

    def __init__(self, resource: Resource) -> None:
        why = "emulators/topology/apply.py neither applies this type nor lists it as cloud only"
        super().__init__([_finding(resource, why)])


def _finding(resource: Resource, why: str) -> Finding:
    message = f"{resource.type} {resource.name}: {why}"
    return Finding(file=resource.file, line=resource.line, rule="apply", message=message)


@dataclass(frozen=True)
class Applied:
    """What was done: resource id -> a verb; what only the cloud has, by type; and what was kept.

    ``kept`` says why something that is no longer declared was not deleted.
    """

    done: dict[str, str] = field(default_factory=dict)
    cloud_only: dict[str, int] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """For a person: what was applied, what only the cloud has, and what was not deleted."""
        counts = Counter(self.done.values())
        applied = ", ".join(f"{number} {verb}" for verb, number in sorted(counts.items()))
        rest = ", ".join(f"{kind} {n}" for kind, n in sorted(self.cloud_only.items()))
        lines = [f"applied: {applied or 'nothing'}", f"cloud only: {rest or 'nothing'}"]
        return "\n".join([*lines, *(f"kept: {id_}: {why}" for id_, why in self.kept.items())])

    def changes(self) -> list[str]:
        """A line for each thing that is not as it was."""
        return [f"{verb} {id_}" for id_, verb in self.done.items() if verb != UNCHANGED]


def apply(graph: Graph, endpoints: Endpoints, ledger: Ledger | None = None) -> Applied:
    """Bring the local cloud to what ``graph`` declares; raises what a service answered.

    ``ledger`` knows what earlier applies made; without one nothing is deleted. Raises
    ``NotApplicableError`` before anything is done when a type has no place here.
    """
    for resource in graph.resources:
        _place(resource)
    applied = Applied(cloud_only=dict(_cloud_only(graph)))
    local = _Local(graph, endpoints, ledger or Ledger())
    try:
        for kind in ORDER:
            for resource in graph.of_type(kind):
                applied.done[resource.id] = local.ensure(resource)
        if ledger is not None:
            applied.done.update(_hosted(graph, ledger))
            _delete_rest(graph, local, ledger, applied)
    finally:
        local.close()
    return applied


def _cloud_only(graph: Graph) -> Counter[str]:
    return Counter(_short(r.type) for r in graph.resources if r.type in CLOUD_ONLY)


def _hosted(graph: Graph, ledger: Ledger) -> dict[str, str]:
    """What the host and Firestore have taken from the graph already, compared with earlier."""
    done = {}
    for kind in HOSTED:
        for resource in graph.of_type(kind):
            earlier = ledger.earlier(resource)
            if earlier is None:
                done[resource.id] = CREATED
            else:
                done[resource.id] = UNCHANGED if earlier.inputs == resource.inputs else UPDATED
            ledger.claim(resource)
    return done


def _delete_rest(graph: Graph, local: _Local, ledger: Ledger, applied: Applied) -> None:
    """Users of a thing go before it: the reverse of the order of creation."""
    last_first = {kind: -place for place, kind in enumerate((*ORDER, *HOSTED))}
    gone = [r for r in ledger.owned() if (r.type, r.id) not in graph.by_id]
    for resource in sorted(gone, key=lambda r: last_first.get(r.type, 0)):
        if reason := local.reason_to_keep(resource):
            applied.kept[resource.id] = reason
            continue
        local.delete(resource)
        ledger.release(resource)
        applied.done[resource.id] = DELETED


def _place(resource: Resource) -> None:
    known = resource.type in {*ORDER, *READ_BY_HOST, *CLOUD_ONLY}
    if not known and resource.type.startswith("gcp:"):
        raise NotApplicableError(resource)


def _short(kind: str) -> str:
    return kind.removeprefix("gcp:").partition("/")[0] + "." + kind.rpartition(":")[2]


class _Local:
    """The clients of one run, opened on first use."""

    def __init__(self, graph: Graph, endpoints: Endpoints, ledger: Ledger) -> None:
        self._graph = graph
        self._endpoints = endpoints
        self._ledger = ledger
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
        self._delete: dict[str, Callable[[Resource], None]] = {
            TOPIC: lambda r: self._publisher.delete_topic(request={"topic": r.id}),
            BUCKET: lambda r: self._storage.bucket(r.inputs["name"]).delete(force=_by_force(r)),
            NOTIFICATION: self._delete_notification,
            SUBSCRIPTION: lambda r: self._subscriber.delete_subscription({"subscription": r.id}),
            QUEUE: lambda r: self._tasks.delete_queue(request={"name": r.id}),
            RUN_JOB: lambda r: self._run.delete_job(request={"name": r.id}).result(),
            SCHEDULE: lambda r: self._scheduler.delete_job(request={"name": r.id}),
            **dict.fromkeys(HOSTED, lambda _: None),
        }

    def ensure(self, resource: Resource) -> str:
        """Create, replace or update one resource; returns the verb."""
        verb = self._ensure[resource.type](resource)
        self._ledger.settle(resource)
        return verb

    def delete(self, resource: Resource) -> None:
        """Delete what an earlier apply made; what is gone already is no error."""
        with suppress(NotFound):
            self._delete[resource.type](resource)

    def reason_to_keep(self, resource: Resource) -> str:
        """Why Pulumi would refuse to delete it; empty when it would not."""
        if resource.protect:
            return "it is protected: declare it without protect first, or start fresh"
        if resource.type == BUCKET and not _by_force(resource) and self._holds_objects(resource):
            return "it holds objects and has no forceDestroy"
        return ""

    def _holds_objects(self, resource: Resource) -> bool:
        bucket = self._storage.bucket(resource.inputs["name"])
        with suppress(NotFound):
            return any(True for _ in bucket.list_blobs(versions=True, max_results=1))
        return False

    def _create(self, resource: Resource, create: Callable[[], Any]) -> str:
        """Claimed first: what is created by us is ours, whenever this process dies."""
        self._ledger.claim(resource)
        create()
        return CREATED

    def _differences(self, resource: Resource, wanted: Message, found: Message) -> list[str]:
        """Fields that differ from what is there, and those that are declared no longer."""
        earlier = self._ledger.earlier(resource)
        before = _parsed(earlier) if earlier is not None else None
        return sorted({*_changed(wanted, found), *_changed_declaration(before, wanted)})

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
            create = partial(self._publisher.create_topic, request=types.Topic.wrap(wanted))
            return self._create(resource, create)
        changed = self._differences(resource, wanted, types.Topic.pb(found))
        if changed:
            self._publisher.update_topic(
                request={"topic": types.Topic.wrap(wanted), "update_mask": _mask(changed)}
            )
        return UPDATED if changed else UNCHANGED

    def _subscription(self, resource: Resource) -> str:
        from google.pubsub_v1 import types

        wanted = _parsed(resource)
        request = {"subscription": resource.id}
        found = _or_none(lambda: self._subscriber.get_subscription(request=request))
        create = partial(
            self._subscriber.create_subscription, request=types.Subscription.wrap(wanted)
        )
        if found is None:
            return self._create(resource, create)
        changed = self._differences(resource, wanted, types.Subscription.pb(found))
        if not _SUBSCRIPTION_FIXED.isdisjoint(changed):
            self._subscriber.delete_subscription(request=request)
            self._create(resource, create)
            return REPLACED
        if changed:
            self._subscriber.update_subscription(
                request={
                    "subscription": types.Subscription.wrap(wanted),
                    "update_mask": _mask(changed),
                }
            )
        return UPDATED if changed else UNCHANGED

    def _queue(self, resource: Resource) -> str:
        from google.cloud.tasks_v2 import types

        wanted = _parsed(resource)
        found = _or_none(lambda: self._tasks.get_queue(request={"name": resource.id}))
        if found is None:
            parent = resource.id.rpartition("/queues/")[0]
            new = {"parent": parent, "queue": types.Queue.wrap(wanted)}
            return self._create(resource, partial(self._tasks.create_queue, request=new))
        changed = self._differences(resource, wanted, types.Queue.pb(found))
        if changed:
            self._tasks.update_queue(
                request={"queue": types.Queue.wrap(wanted), "update_mask": _mask(changed)}
            )
        return UPDATED if changed else UNCHANGED

    def _schedule(self, resource: Resource) -> str:
        from google.cloud.scheduler_v1 import types

        wanted = _parsed(resource)
        found = _or_none(lambda: self._scheduler.get_job(request={"name": resource.id}))
        if found is None:
            parent = resource.id.rpartition("/jobs/")[0]
            new = {"parent": parent, "job": types.Job.wrap(wanted)}
            return self._create(resource, partial(self._scheduler.create_job, request=new))
        changed = self._differences(resource, wanted, types.Job.pb(found))
        if changed:
            self._scheduler.update_job(
                request={"job": types.Job.wrap(wanted), "update_mask": _mask(changed)}
            )
        return UPDATED if changed else UNCHANGED

    def _run_job(self, resource: Resource) -> str:
        from google.cloud.run_v2 import types

        wanted = _parsed(resource)
        found = _or_none(lambda: self._run.get_job(request={"name": resource.id}))
        if found is None:
            wanted.ClearField("name")
            parent, _, job_id = resource.id.rpartition("/jobs/")
            new = {"parent": parent, "job": types.Job.wrap(wanted), "job_id": job_id}
            return self._create(resource, lambda: self._run.create_job(request=new).result())
        if not self._differences(resource, wanted, types.Job.pb(found)):
            return UNCHANGED
        self._run.update_job(request={"job": types.Job.wrap(wanted)}).result()
        return UPDATED

    def _bucket(self, resource: Resource) -> str:
        inputs = resource.inputs
        found = self._storage.lookup_bucket(inputs["name"])
        bucket = found or self._storage.bucket(inputs["name"])
        wanted = {
            "versioning_enabled": bool(inputs.get("versioning", {}).get("enabled")),
            "lifecycle_rules": [_lifecycle_rule(rule) for rule in inputs.get("lifecycleRules", [])],
        }
        create = partial(self._make_bucket, bucket, wanted, inputs["location"])
        if found is None:
            return self._create(resource, create)
        if found.location.upper() != inputs["location"].upper():
            return self._move_bucket(resource, found, create)
        actual = {
            "versioning_enabled": bool(found.versioning_enabled),
            "lifecycle_rules": [dict(rule) for rule in found.lifecycle_rules],
        }
        if actual == wanted:
            return UNCHANGED
        _set(bucket, wanted)
        bucket.patch()
        return UPDATED

    def _make_bucket(self, bucket: Any, wanted: dict[str, Any], location: str) -> None:
        _set(bucket, wanted)
        self._storage.create_bucket(bucket, location=location)

    def _move_bucket(self, resource: Resource, found: Any, create: Callable[[], None]) -> str:
        """A bucket cannot move: Pulumi would delete it first, if it may."""
        if reason := self.reason_to_keep(resource):
            raise NotReplaceableError(resource, f"its location changes, but {reason}")
        found.delete(force=_by_force(resource))
        self._create(resource, create)
        return REPLACED

    def _notification(self, resource: Resource) -> str:
        """Nothing of a notification can be changed: another one takes its place."""
        if any(_is_it(item, resource) for item in self._notifications(resource)):
            return UNCHANGED
        earlier = self._ledger.earlier(resource)
        if earlier is not None:
            self._delete_notification(earlier)
        _, project, _, name = resource.inputs["topic"].split("/")
        bucket = self._storage.bucket(resource.inputs["bucket"])
        new = bucket.notification(
            topic_name=name,
            topic_project=project,
            event_types=list(resource.inputs.get("eventTypes", ())) or None,
            payload_format=resource.inputs["payloadFormat"],
            blob_name_prefix=resource.inputs.get("objectNamePrefix"),
            custom_attributes=resource.inputs.get("customAttributes"),
        )
        self._create(resource, new.create)
        return REPLACED if earlier is not None else CREATED

    def _delete_notification(self, resource: Resource) -> None:
        for item in self._notifications(resource):
            if _is_it(item, resource):
                item.delete()

    def _notifications(self, resource: Resource) -> list[Any]:
        return list(self._storage.bucket(resource.inputs["bucket"]).list_notifications())


def _is_it(item: Any, resource: Resource) -> bool:
    inputs = resource.inputs
    return (
        f"projects/{item.topic_project}/topics/{item.topic_name}" == inputs["topic"]
        and list(item.event_types or ()) == list(inputs.get("eventTypes", ()))
        and item.payload_format == inputs["payloadFormat"]
        and (item.blob_name_prefix or "") == inputs.get("objectNamePrefix", "")
        and dict(item.custom_attributes or {}) == inputs.get("customAttributes", {})
    )


def _by_force(bucket: Resource) -> bool:
    return bool(bucket.inputs.get("forceDestroy"))


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


def _changed_declaration(before: Message | None, wanted: Message) -> list[str]:
    """The top-level fields that were declared otherwise before, or are declared no longer."""
    if before is None:
        return []
    fields = {
        descriptor.name for message in (before, wanted) for descriptor, _ in message.ListFields()
    }
    return [n for n in fields if n != "name" and getattr(before, n) != getattr(wanted, n)]


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


_CONDITIONS = {
    "matchesPrefixes": "matchesPrefix",
    "matchesSuffixes": "matchesSuffix",
    "matchesStorageClasses": "matchesStorageClass",
}
# What the provider keeps to itself: how it tells a zero from nothing.
_PROVIDERS_OWN = (
    "sendAgeIfZero",
    "sendDaysSinceCustomTimeIfZero",
    "sendDaysSinceNoncurrentTimeIfZero",
    "sendNumNewerVersionsIfZero",
)


def _lifecycle_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """A provider's lifecycle rule as the JSON API spells it."""
    condition = {_CONDITIONS.get(name, name): value for name, value in rule["condition"].items()}
    for own in _PROVIDERS_OWN:
        condition.pop(own, None)
    state = condition.pop("withState", None)
    if state in ("LIVE", "ARCHIVED"):
        condition["isLive"] = state == "LIVE"
    return {"action": rule["action"], "condition": condition}


def _set(bucket: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(bucket, name, value)
