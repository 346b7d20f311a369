"""What rules share: the graph with its look-ups, and their register."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from emulators.topology.graph import (
    FUNCTION,
    INVOKER_ROLE,
    RUN_JOB,
    SERVICE_INVOKER,
    Graph,
    MapStep,
    Resource,
    TopologyMap,
)

TOPIC = "gcp:pubsub/topic:Topic"
SUBSCRIPTION = "gcp:pubsub/subscription:Subscription"
QUEUE = "gcp:cloudtasks/queue:Queue"
SCHEDULE = "gcp:cloudscheduler/job:Job"
BUCKET = "gcp:storage/bucket:Bucket"
BUCKET_OBJECT = "gcp:storage/bucketObject:BucketObject"
NOTIFICATION = "gcp:storage/notification:Notification"
ACCOUNT = "gcp:serviceaccount/account:Account"
SECRET = "gcp:secretmanager/secret:Secret"
SECRET_VERSION = "gcp:secretmanager/secretVersion:SecretVersion"
SERVICE = "gcp:projects/service:Service"
ALERT = "gcp:monitoring/alertPolicy:AlertPolicy"
DATABASE = "gcp:firestore/database:Database"

EXECUTOR = "execute_change"
PUBLISHER = "roles/pubsub.publisher"
SUBSCRIBER = "roles/pubsub.subscriber"
SECRET_READER = "roles/secretmanager.secretAccessor"
NAME_KEYS = {
    ACCOUNT: "accountId",
    SECRET: "secretId",
    "gcp:artifactregistry/repository:Repository": "repositoryId",
    **dict.fromkeys(
        (TOPIC, SUBSCRIPTION, QUEUE, SCHEDULE, BUCKET, BUCKET_OBJECT, FUNCTION, RUN_JOB, DATABASE),
        "name",
    ),
}

# Which input of a grant says what it is a grant on.
TARGET_KEYS = {
    "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember": ("repository", "repository"),
    "gcp:cloudrunv2/jobIamMember:JobIamMember": ("job", "name"),
    SERVICE_INVOKER: ("function", "name"),
    "gcp:cloudtasks/queueIamMember:QueueIamMember": ("queue", "name"),
    "gcp:projects/iAMMember:IAMMember": ("project", "project"),
    "gcp:pubsub/subscriptionIAMMember:SubscriptionIAMMember": ("subscription", "subscription"),
    "gcp:pubsub/topicIAMMember:TopicIAMMember": ("topic", "topic"),
    "gcp:secretmanager/secretIamMember:SecretIamMember": ("secret", "secretId"),
    "gcp:serviceaccount/iAMMember:IAMMember": ("account", "serviceAccountId"),
    "gcp:storage/bucketIAMMember:BucketIAMMember": ("bucket", "bucket"),
}
NO_MAP = TopologyMap(steps=(), queues=(), buckets=(), topics=(), dead_letters="")
Grant = tuple[str, str, str]  # what kind of thing, which one, role


class View:
    """The graph with the look-ups that rules share."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.map = graph.map or NO_MAP

    def all(self, kind: str) -> list[Resource]:
        """Resources of a type."""
        return self._by_type.get(kind, [])

    def named(self, kind: str, name: str) -> Resource | None:
        """The resource of a type whose cloud name is ``name``."""
        key = NAME_KEYS[kind]
        return next((r for r in self.all(kind) if r.inputs.get(key) == name), None)

    def with_id(self, kind: str, id_: str) -> Resource | None:
        """The resource of a type with that id."""
        return self.graph.by_id.get((kind, id_))

    @cached_property
    def _by_type(self) -> dict[str, list[Resource]]:
        found: dict[str, list[Resource]] = {}
        for resource in self.graph.resources:
            found.setdefault(resource.type, []).append(resource)
        return found

    @cached_property
    def grants(self) -> dict[str, dict[Grant, Resource]]:
        """Member -> grant -> the resource that gives it."""
        found: dict[str, dict[Grant, Resource]] = {}
        for kind, (thing, key) in TARGET_KEYS.items():
            for r in self.all(kind):
                grant = (thing, str(r.inputs.get(key)), str(r.inputs.get("role")))
                found.setdefault(str(r.inputs.get("member")), {})[grant] = r
        return found

    def granted(self, member: str, grant: Grant) -> bool:
        """Whether a member holds a grant."""
        return grant in self.grants.get(member, {})

    def account_of(self, step: MapStep) -> str:
        """The e-mail a step runs as, from the function or job itself; empty when it has none."""
        resource = self.runs(step)
        if resource is None:
            return ""
        if step.trigger == "execution":
            return resource.inputs["template"]["template"].get("serviceAccount", "")
        return resource.inputs["serviceConfig"].get("serviceAccountEmail", "")

    def runs(self, step: MapStep) -> Resource | None:
        """The function or job of a step."""
        kind = RUN_JOB if step.trigger == "execution" else FUNCTION
        return self.named(kind, step.resource_name)

    def step_of(self, function: Resource) -> MapStep | None:
        """The step that a function or job runs."""
        name = function.inputs.get("name")
        return next((s for s in self.map.steps if s.resource_name == name), None)

    def url(self, name: str) -> str:
        """A function's URL; empty when there is no such function."""
        function = self.named(FUNCTION, name)
        return function.outputs["serviceConfig"]["uri"] if function else ""

    def agent(self, domain: str) -> str:
        """One of Google's own agents as an IAM member."""
        number = self.graph.project_number
        return f"serviceAccount:service-{number}@{domain}.iam.gserviceaccount.com"

    def subscription_of(self, step: MapStep) -> Resource | None:
        """The push subscription that wakes a step."""
        return self.named(SUBSCRIPTION, step.resource_name)


Problem = tuple[Resource, str]
Rule = Callable[[View], Iterator[Problem]]
RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    """Register a rule under its function's name."""
    RULES[function.__name__.replace("_", "-")] = function
    return function


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string inside a value, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from strings(item, f"{path}[{number}]")


def seconds(text: Any) -> float | None:
    """``"600s"`` -> 600.0; None when it is no such duration."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(text))
    return float(match[1]) if match else None


def program_of(view: View) -> list[Resource]:
    """Where a missing thing is reported: the stack's first component."""
    ours = [r for r in view.graph.resources if r.type.startswith("geminivideo:infra:Functions")]
    return ours[:1] or list(view.graph.resources[:1])


def invoker_of(view: View, step: MapStep) -> str:
    """Who may call a step: the one service account with the right to."""
    for member, grants in view.grants.items():
        if ("function", step.resource_name, INVOKER_ROLE) in grants:
            return member.removeprefix("serviceAccount:")
    return ""


def pushed_to(view: View, subscription: Resource) -> Resource | None:
    """The function that a push subscription calls."""
    endpoint = subscription.inputs.get("pushConfig", {}).get("pushEndpoint", "")
    for function in view.all(FUNCTION):
        if endpoint and endpoint == function.outputs["serviceConfig"]["uri"]:
            return function
    return None
